"""Whole command lines of the Docker runner, for Docker and for Podman, as --dry-run prints them."""

from __future__ import annotations

import csv
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pytest

from mlcommons_box.command import Command
from mlcommons_box.definition.loader import load_platform
from mlcommons_box.errors import EX_CONFIGURATION
from mlcommons_box.model import DockerOptions, EnvironmentVariable, Platform, Resources
from mlcommons_box.process import Completed
from mlcommons_box.runners import docker_image
from mlcommons_box.runners.container_run import Caller
from mlcommons_box.runners.docker import DockerRunner
from tests.conftest import MakeBox, write_files
from tests.golden.container_plans import CALLER, RUN_ID, lines, run_plan, setup_plan

ADA = Caller(uid=1000, gid=100)
ROOT = Caller(uid=0, gid=0)
Executable = Literal["docker", "nvidia-docker", "podman"]

LABELS = (
    f"--label org.mlcommons.box.box=echo --label org.mlcommons.box.task=copy --label org.mlcommons.box.run={RUN_ID}"
)
HOME = "--env HOME=/tmp --env USER=box --env LOGNAME=box"
LOCKED = "--cap-drop ALL --security-opt no-new-privileges"
OUTPUT_MOUNTS = (
    "--mount type=bind,source=BOX/workspace/out,target=/mlbox_io1 "
    "--mount type=bind,source=BOX/workspace/logs,target=/mlbox_io2/logs"
)
INPUT_MOUNT = "--mount type=bind,source=BOX/workspace/in.txt,target=/mlbox_io0/in.txt"
DOCKER_MOUNTS = f"{INPUT_MOUNT},readonly {OUTPUT_MOUNTS}"
PODMAN_MOUNTS = f"{INPUT_MOUNT},ro=true {OUTPUT_MOUNTS}"
TASK = "example/echo:1 copy --source=/mlbox_io0/in.txt --target=/mlbox_io1/copy.txt --logs=/mlbox_io2/logs"


def run_line(executable: str, identity: str, middle: str, rest: str = f"{HOME} {LABELS} {TASK}") -> str:
    return f"{executable} run --rm --init --pull never --name mlbox-{RUN_ID} {identity} {middle} {rest}"


DOCKER = run_line("docker", "--user 1000:100", f"{LOCKED} {DOCKER_MOUNTS}")
PODMAN = run_line("podman", "--userns keep-id --user 1000:100", f"{LOCKED} {PODMAN_MOUNTS}")


def platform_with(executable: Executable = "docker", **settings: object) -> Platform:
    options = DockerOptions(image="example/echo:1", executable=executable)
    return Platform(name=executable, runner="docker", options=options, **settings)  # type: ignore[arg-type]


def printed(
    root: Path,
    platform: Platform,
    *,
    caller: Caller = ADA,
    environ: Mapping[str, str] = CALLER,
    selinux: bool = False,
    ca_bundle: Path | None = None,
) -> str:
    """The command line of the run."""
    plan = run_plan(root, platform, ca_bundle)
    runner = DockerRunner(platform, environ, caller, selinux)
    (line,) = lines(runner.commands(plan), plan, environ)
    return line


# ---- A run ---------------------------------------------------------------------------------------


def test_a_plain_run(make_box: MakeBox) -> None:
    assert printed(make_box(), platform_with()) == DOCKER


def test_a_plain_run_of_podman_for_an_ordinary_user_and_for_root(make_box: MakeBox) -> None:
    root = make_box()
    assert printed(root, platform_with("podman")) == PODMAN
    assert printed(root, platform_with("podman"), caller=ROOT) == run_line(
        "podman", "--user 0:0", f"{LOCKED} {PODMAN_MOUNTS}"
    )


@pytest.mark.parametrize(("executable", "plain"), [("docker", DOCKER), ("podman", PODMAN)])
def test_without_network(make_box: MakeBox, executable: Executable, plain: str) -> None:
    line = printed(make_box(), platform_with(executable, network="none"))
    assert line == plain.replace(LOCKED, f"{LOCKED} --network none")


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        (Resources(cpus=2), "--cpus 2"),
        (Resources(cpus=0.5), "--cpus 0.5"),
        (Resources(memory=8 * 10**9), "--memory 8000000000 --memory-swap 8000000000"),
        (Resources(gpus=2), "--gpus 2"),
        (Resources(gpus="all"), "--gpus all"),
        (Resources(cpus=1, memory=10**6, gpus=1), "--cpus 1 --memory 1000000 --memory-swap 1000000 --gpus 1"),
    ],
)
def test_resources(make_box: MakeBox, resources: Resources, words: str) -> None:
    line = printed(make_box(), platform_with(resources=resources))
    assert line == DOCKER.replace(LABELS, f"{LABELS} {words}")
    assert printed(make_box(), platform_with(resources=Resources(gpus=0, time=60))) == DOCKER


@pytest.mark.parametrize(
    ("gpus", "words"),
    [(2, "--device nvidia.com/gpu=0 --device nvidia.com/gpu=1"), ("all", "--device nvidia.com/gpu=all")],
)
def test_gpus_of_podman(make_box: MakeBox, gpus: int | Literal["all"], words: str) -> None:
    line = printed(make_box(), platform_with("podman", resources=Resources(gpus=gpus)))
    assert line == PODMAN.replace(LABELS, f"{LABELS} {words}")


def test_nvidia_docker_where_it_is_and_where_it_is_no_more(make_box: MakeBox, tmp_path: Path) -> None:
    root = make_box()
    assert printed(root, platform_with("nvidia-docker")) == DOCKER.replace(LABELS, f"{LABELS} --gpus all")
    assert printed(root, platform_with("nvidia-docker", resources=Resources(gpus=1))) == DOCKER.replace(
        LABELS, f"{LABELS} --gpus 1"
    )
    wrapper = tmp_path / "bin/nvidia-docker"
    wrapper.parent.mkdir()
    wrapper.touch(0o755)
    there = {**CALLER, "PATH": str(wrapper.parent)}
    assert printed(root, platform_with("nvidia-docker"), environ=there) == f"nvidia-{DOCKER}"


@pytest.mark.parametrize(("executable", "plain"), [("docker", DOCKER), ("podman", PODMAN)])
def test_variables_by_value_and_by_name(make_box: MakeBox, executable: Executable, plain: str) -> None:
    variables = (
        EnvironmentVariable(name="OMP_NUM_THREADS", value="2"),
        EnvironmentVariable(name="TOKENIZERS_PARALLELISM", value="false"),
        EnvironmentVariable(name="MESSAGE", value="it's $(touch x)\n"),
        EnvironmentVariable(name="MINE", value=None),
        EnvironmentVariable(name="NOT_SET", value=None),
        EnvironmentVariable(name="API_KEY", value="swordfish"),
    )
    line = printed(
        make_box(), platform_with(executable, environment=variables), environ={**CALLER, "MINE": "of the caller"}
    )
    words = (
        "--env OMP_NUM_THREADS=2 --env TOKENIZERS_PARALLELISM=false --env 'MESSAGE=it'\"'\"'s $(touch x)\n' "
        "--env MINE --env API_KEY"
    )
    assert line == f"env API_KEY='***' {plain}".replace(HOME, f"{HOME} {words}")


def test_a_secret_of_the_platform_file_is_handed_over_outside_of_the_arguments(make_box: MakeBox) -> None:
    platform = platform_with(environment=(EnvironmentVariable(name="API_KEY", value="swordfish"),))
    plan = run_plan(make_box(), platform)
    (command,) = DockerRunner(platform, CALLER, ADA, selinux=False).commands(plan)
    assert not any("swordfish" in word for word in command.argv)
    assert command.variables(CALLER) == {**CALLER, "API_KEY": "swordfish"}


def test_a_platform_may_choose_another_home(make_box: MakeBox) -> None:
    line = printed(make_box(), platform_with(environment=(EnvironmentVariable(name="HOME", value="/root"),)))
    assert line == DOCKER.replace("HOME=/tmp", "HOME=/root")


def test_proxies_go_by_name_in_both_cases(make_box: MakeBox) -> None:
    proxies = {
        "https_proxy": "http://ada:swordfish@proxy:1",
        "HTTPS_PROXY": "http://p:1",
        "no_proxy": "",
        "all_proxy": "x",
    }
    line = printed(make_box(), platform_with(), environ={**CALLER, **proxies})
    assert line == DOCKER.replace(HOME, f"{HOME} --env https_proxy --env HTTPS_PROXY --env all_proxy")


@pytest.mark.parametrize(
    ("executable", "plain", "flag"), [("docker", DOCKER, "readonly"), ("podman", PODMAN, "ro=true")]
)
def test_a_site_with_its_own_certificates(make_box: MakeBox, executable: Executable, plain: str, flag: str) -> None:
    environ = {**CALLER, "PIP_INDEX_URL": "https://ada:swordfish@index/simple", "UV_INDEX": ""}
    line = printed(make_box(), platform_with(executable), environ=environ, ca_bundle=Path("/etc/ca, mine.pem"))
    programs = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT", "CONDA_SSL_VERIFY")
    names = (*programs, "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS")
    variables = " ".join(f"--env {name}=/mlbox_site/ca.crt" for name in names)
    mount = f"""--mount 'type=bind,"source=/etc/ca, mine.pem",target=/mlbox_site/ca.crt,{flag}'"""
    assert line == plain.replace(f" {HOME}", f" {mount} {HOME} {variables} --env PIP_INDEX_URL")


# ---- Whom a task runs as -------------------------------------------------------------------------

ROOT_LOCKED = (
    "--cap-drop ALL --cap-add CHOWN --cap-add DAC_OVERRIDE --cap-add FOWNER --cap-add SETGID --cap-add SETUID "
    "--security-opt no-new-privileges"
)


@pytest.mark.parametrize("user", ["root", "0", "0:0", "root:root"])
def test_root_keeps_what_it_takes_to_own_files(make_box: MakeBox, user: str) -> None:
    root = make_box()
    assert printed(root, platform_with(user=user)) == run_line(
        "docker", f"--user {user}", f"{ROOT_LOCKED} {DOCKER_MOUNTS}"
    )
    assert printed(root, platform_with("podman", user=user)) == run_line(
        "podman", f"--user {user}", f"{ROOT_LOCKED} {PODMAN_MOUNTS}"
    )


@pytest.mark.parametrize("user", ["www-data", "1234:5", "rooter"])
def test_another_user_has_no_privilege(make_box: MakeBox, user: str) -> None:
    root = make_box()
    assert printed(root, platform_with(user=user)) == DOCKER.replace("1000:100", user)
    assert printed(root, platform_with("podman", user=user)) == PODMAN.replace(
        "--userns keep-id --user 1000:100", f"--user {user}"
    )


def test_other_groups_of_the_caller_where_the_engine_has_a_way(make_box: MakeBox) -> None:
    root = make_box()
    caller = Caller(uid=1000, gid=100, groups=(27, 1001))
    assert printed(root, platform_with(), caller=caller) == DOCKER.replace(
        "--user 1000:100", "--user 1000:100 --group-add 27 --group-add 1001"
    )
    assert printed(root, platform_with("podman"), caller=caller) == PODMAN
    assert printed(root, platform_with(user="www-data"), caller=caller) == DOCKER.replace("1000:100", "www-data")


@pytest.mark.parametrize(
    ("executable", "user", "caller", "owner"),
    [
        ("docker", "root", ADA, "1000:100"),
        ("docker", "www-data", ROOT, "0:0"),
        ("podman", "1234", ADA, "0:0"),
        ("podman", "1234", ROOT, "0:0"),
    ],
)
def test_outputs_are_handed_over_by_the_program_of_the_image(
    make_box: MakeBox, executable: Executable, user: str, caller: Caller, owner: str
) -> None:
    platform = platform_with(executable, user=user)
    plan = run_plan(make_box(), platform)
    command = DockerRunner(platform, CALLER, caller, selinux=False).hand_over_command(plan)
    mounts = DOCKER_MOUNTS if executable == "docker" else PODMAN_MOUNTS
    assert lines([command], plan, CALLER) == [
        f"{executable} run --rm --pull never --network none --user 0:0 --cap-drop ALL --cap-add CHOWN "
        f"--cap-add DAC_OVERRIDE --security-opt no-new-privileges {mounts} --entrypoint chown example/echo:1 "
        f"-R -h {owner} /mlbox_io1 /mlbox_io2/logs"
    ]


# ---- SELinux -------------------------------------------------------------------------------------

UNLABELLED = "--security-opt label=disable"


def test_selinux_lets_docker_see_the_files_and_changes_no_label(make_box: MakeBox) -> None:
    assert printed(make_box(), platform_with(), selinux=True) == DOCKER.replace(LOCKED, f"{LOCKED} {UNLABELLED}")


def test_selinux_lets_podman_label_what_lies_in_the_workspace(make_box: MakeBox) -> None:
    mounts = " ".join(
        f"{word},relabel=shared" if word.startswith("type=") else word for word in PODMAN_MOUNTS.split()
    )
    assert printed(make_box(), platform_with("podman"), selinux=True) == PODMAN.replace(PODMAN_MOUNTS, mounts)


def test_selinux_never_lets_podman_label_what_lies_elsewhere(make_box: MakeBox, tmp_path: Path) -> None:
    run = """\
schema_version: 1.0.0
schema_type: mlbox_invoke
task_name: copy
input_binding: {source: /data/in.txt}
output_binding: {target: out/copy.txt, logs: logs}
"""
    elsewhere = printed(make_box({"run/copy.yaml": run}), platform_with("podman"), selinux=True)
    plain = printed(make_box({"run/copy.yaml": run}), platform_with("podman"))
    assert elsewhere == plain.replace(LOCKED, f"{LOCKED} {UNLABELLED}")
    certificates = tmp_path / "ca.pem"
    unlabelled = printed(make_box(), platform_with("podman"), selinux=True, ca_bundle=certificates)
    assert unlabelled == printed(make_box(), platform_with("podman"), ca_bundle=certificates).replace(
        LOCKED, f"{LOCKED} {UNLABELLED}"
    )


def test_a_link_in_the_workspace_to_elsewhere_is_elsewhere(make_box: MakeBox, tmp_path: Path) -> None:
    root = make_box({"workspace/in.txt": None})
    (root / "workspace").mkdir()
    (root / "workspace/in.txt").symlink_to(tmp_path / "data.txt")
    line = printed(root, platform_with("podman"), selinux=True)
    assert UNLABELLED in line
    assert "relabel" not in line


def test_selinux_when_outputs_are_handed_over(make_box: MakeBox) -> None:
    plan = run_plan(make_box(), platform_with(user="root"))
    docker = DockerRunner(platform_with(user="root"), CALLER, ADA, selinux=True).hand_over_command(plan)
    assert UNLABELLED in docker.shell(CALLER)
    podman = DockerRunner(platform_with("podman", user="1234"), CALLER, ADA, selinux=True).hand_over_command(plan)
    assert podman.shell(CALLER).count("relabel=shared") == 3


# ---- The user's own words ------------------------------------------------------------------------


def test_arguments_of_the_platform_file_stand_before_the_image(make_box: MakeBox) -> None:
    arguments = ("--shm-size=8g", "--ulimit", "memlock=-1", "--token", "swordfish", "a b")
    assert printed(make_box(), platform_with(arguments=arguments)) == DOCKER.replace(
        TASK, f"--shm-size=8g --ulimit memlock=-1 --token '***' 'a b' {TASK}"
    )


def test_a_whole_platform_file(make_box: MakeBox) -> None:
    platform_file = """\
schema_version: 1.1.0
schema_type: mlbox_docker
image: example/echo:1
docker_runtime: docker
environment: {SEED: 1}
resources: {cpus: 1.5, memory: 2G, gpus: all}
network: none
user: www-data
arguments: [--ipc=host]
"""
    root = make_box({"platforms/docker.yaml": platform_file})
    platform = load_platform(root / "platforms/docker.yaml")
    assert printed(root, platform) == run_line(
        "docker",
        "--user www-data",
        f"{LOCKED} --network none {DOCKER_MOUNTS}",
        f"{HOME} --env SEED=1 {LABELS} --cpus 1.5 --memory {platform.resources.memory} "
        f"--memory-swap {platform.resources.memory} --gpus all --ipc=host {TASK}",
    )


ODD = [
    "a b",
    "a,b",
    "a:b",
    "a'b",
    'a"b',
    "a\nb",
    "$(touch x)",
    "a=b",
    "-rf",
    "données 数据 😀",
    " ",
    "#;&|",
    "a\rb",
    "a\\b",
]


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("executable", ["docker", "podman"])
def test_odd_paths_are_one_field_of_one_word(make_box: MakeBox, executable: Executable, name: str) -> None:
    run = f"""\
schema_version: 1.0.0
schema_type: mlbox_invoke
task_name: copy
input_binding: {{source: {_yaml(name)}}}
output_binding: {{target: {_yaml(f"out/{name}/{name}")}, logs: logs}}
"""
    root = make_box({"run/copy.yaml": run}, name=f"box {name}")
    platform = platform_with(executable)
    plan = run_plan(root, platform)
    (command,) = DockerRunner(platform, CALLER, ADA, selinux=False).commands(plan)
    words = shlex.split(command.shell(CALLER))
    assert tuple(words) == command.argv
    sources = [
        dict(field.partition("=")[::2] for field in next(csv.reader([words[place + 1]])))["source"]
        for place, word in enumerate(words)
        if word == "--mount"
    ]
    workspace = f"{root}/workspace"
    assert sorted(sources) == sorted([f"{workspace}/{name}", f"{workspace}/out/{name}", f"{workspace}/logs"])
    assert words[-3:] == [f"--source=/mlbox_io0/{name}", f"--target=/mlbox_io1/{name}", "--logs=/mlbox_io2/logs"]


def _yaml(text: str) -> str:
    import json

    return json.dumps(text, ensure_ascii=False)


# ---- The image -----------------------------------------------------------------------------------

BUNDLE = "-----BEGIN CERTIFICATE-----\n"


def preparation(
    root: Path, platform: Platform, environ: Mapping[str, str] = CALLER, ca_bundle: Path | None = None
) -> list[str]:
    plan = setup_plan(root, platform, ca_bundle)
    runner = DockerRunner(platform, environ, ADA, selinux=False)
    return lines(runner.commands(plan), plan, environ, WORK=str(runner.image(plan).work_directory))


@pytest.mark.parametrize("executable", ["docker", "podman"])
def test_without_a_recipe_the_image_is_pulled(make_box: MakeBox, executable: Executable) -> None:
    assert preparation(make_box(), platform_with(executable)) == [f"{executable} pull example/echo:1"]


@pytest.mark.parametrize(("executable", "form"), [("docker", ""), ("podman", " --format docker")])
def test_a_recipe_is_built_and_proxies_go_by_name(make_box: MakeBox, executable: Executable, form: str) -> None:
    root = make_box({"build/Dockerfile": "FROM scratch\n"})
    environ = {**CALLER, "http_proxy": "http://ada:swordfish@proxy:1", "HTTP_PROXY": "http://proxy:1"}
    assert preparation(root, platform_with(executable)) == [
        f"{executable} build --force-rm --tag example/echo:1{form} --file BOX/build/Dockerfile BOX/build"
    ]
    assert preparation(root, platform_with(executable), environ) == [
        f"{executable} build --force-rm --tag example/echo:1{form} --build-arg http_proxy --build-arg HTTP_PROXY "
        "--file BOX/build/Dockerfile BOX/build"
    ]


def test_a_recipe_in_an_odd_place_is_one_file_for_podman_which_takes_a_list(make_box: MakeBox) -> None:
    root = make_box({"build/Dockerfile": "FROM scratch\n"}, name='a, "b"')
    quoted = str(root).replace('"', '""')
    cases: list[tuple[Executable, str]] = [
        ("podman", f'"{quoted}/build/Dockerfile"'),
        ("docker", f"{root}/build/Dockerfile"),
    ]
    for executable, file in cases:
        (command,) = DockerRunner(platform_with(executable), CALLER, ADA).commands(
            setup_plan(root, platform_with())
        )
        assert command.argv[-3:] == ("--file", file, f"{root}/build")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_files(tmp_path / "site", {"ca.pem": BUNDLE}) / "ca.pem"


SECRETS = (
    "--secret id=mlbox_ca_crt,src=WORK/settings/ca.crt --secret id=mlbox_apt_conf,src=WORK/settings/apt.conf "
    "--secret id=mlbox_pip_conf,src=WORK/settings/pip.conf"
)


@pytest.fixture
def no_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_image, "_PLUGIN_DIRECTORIES", ())


def version_is(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(command: Command, *, timeout: float | None = None) -> tuple[Completed, bytes]:
        assert command.argv == ("docker", "--version")
        return Completed(exit_status=0), f"Docker version {version}, build 0a1b2c3\n".encode()

    monkeypatch.setattr(docker_image, "capture", answer)


def test_a_build_with_buildkit_gets_the_settings_as_secrets(
    make_box: MakeBox, bundle: Path, tmp_path: Path, no_plugins: None
) -> None:
    write_files(tmp_path / "docker", {"cli-plugins/docker-buildx": ""})
    environ = {**CALLER, "DOCKER_CONFIG": str(tmp_path / "docker"), "PIP_INDEX_URL": "https://a:swordfish@i"}
    root = make_box({"build/Dockerfile": "FROM scratch\n"})
    assert preparation(root, platform_with(), environ, bundle) == [
        f"env DOCKER_BUILDKIT=1 docker build --force-rm --tag example/echo:1 {SECRETS} "
        "--file WORK/Dockerfile BOX/build"
    ]


def test_a_secret_whose_file_has_a_comma_in_its_name_is_one_field(
    make_box: MakeBox, bundle: Path, tmp_path: Path, no_plugins: None
) -> None:
    write_files(tmp_path / "home", {".docker/cli-plugins/docker-buildx": ""})
    environ = {"HOME": str(tmp_path / "home"), "MLCOMMONS_BOX_CACHE": "/a,b"}
    plan = setup_plan(make_box({"build/Dockerfile": "FROM scratch\n"}), platform_with(), bundle)
    (command,) = DockerRunner(platform_with(), environ, ADA, selinux=False).commands(plan)
    word = command.argv[command.argv.index("--secret") + 1]
    assert [field.partition("=")[0] for field in next(csv.reader([word]))] == ["id", "src"]


@pytest.mark.parametrize(("version", "built_in"), [("20.10.24+dfsg1", True), ("18.09.1", False), ("28.2.2", False)])
def test_a_client_without_the_plugin_is_asked_for_its_version(
    make_box: MakeBox,
    bundle: Path,
    no_plugins: None,
    monkeypatch: pytest.MonkeyPatch,
    version: str,
    built_in: bool,
) -> None:
    version_is(version, monkeypatch)
    root = make_box({"build/Dockerfile": "FROM scratch\n"})
    secrets = SECRETS.partition(" --secret id=mlbox_pip")[0]
    assert preparation(root, platform_with(), CALLER, bundle) == [
        f"env DOCKER_BUILDKIT=1 docker build --force-rm --tag example/echo:1 {secrets} "
        "--file WORK/Dockerfile BOX/build"
        if built_in
        else "docker build --force-rm --tag example/echo:1 --file WORK/Dockerfile WORK/context"
    ]


def test_a_build_with_podman_mounts_the_settings(make_box: MakeBox, bundle: Path) -> None:
    root = make_box({"build/Dockerfile": "FROM scratch\n"})
    assert preparation(root, platform_with("podman"), CALLER, bundle) == [
        "podman build --force-rm --tag example/echo:1 --format docker --volume WORK/settings:/mlbox_site:ro "
        "--file WORK/Dockerfile BOX/build"
    ]


def test_an_image_that_is_pulled_needs_no_settings(make_box: MakeBox, bundle: Path) -> None:
    assert preparation(make_box(), platform_with(), CALLER, bundle) == ["docker pull example/echo:1"]


# ---- What stands in the way ----------------------------------------------------------------------


def test_a_missing_client_is_named_and_so_is_a_path_that_cannot_be_mounted(make_box: MakeBox) -> None:
    run = """\
schema_version: 1.0.0
schema_type: mlbox_invoke
task_name: copy
input_binding: {source: in.txt}
output_binding: {target: /copy.txt, logs: logs}
"""
    plan = run_plan(make_box({"run/copy.yaml": run}), platform_with("podman"))
    problems = DockerRunner(platform_with("podman"), CALLER, ADA, selinux=False).check(plan)
    assert [problem.code for problem in problems] == ["cannot-mount", "no-engine"]
    assert problems[0].exit_status == EX_CONFIGURATION
    assert "'podman'" in problems[1].message
