"""Whole command lines of the Singularity runner, for Apptainer and for SingularityCE, as --dry-run prints them."""

from __future__ import annotations

import csv
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pytest

from mlcommons_box.definition.loader import load_platform
from mlcommons_box.errors import EX_CONFIGURATION, EX_UNAVAILABLE, PreparationError
from mlcommons_box.model import EnvironmentVariable, Platform, Resources, SingularityOptions
from mlcommons_box.runners.container_run import Caller
from mlcommons_box.runners.singularity import SingularityRunner
from tests.conftest import MakeBox, write_files
from tests.golden.container_plans import CALLER, RUN_ID, lines, run_plan, setup_plan

SCRATCH = f"/tmp/mlbox-{RUN_ID}"
START = f"--quiet run --cleanenv --containall --no-eval --home {SCRATCH}/home:/mlbox_home --workdir {SCRATCH}/work"
MOUNTS = (
    "--mount type=bind,source=BOX/workspace/in.txt,destination=/mlbox_io0/in.txt,ro "
    "--mount type=bind,source=BOX/workspace/out,destination=/mlbox_io1 "
    "--mount type=bind,source=BOX/workspace/logs,destination=/mlbox_io2/logs"
)
TASK = "copy --source=/mlbox_io0/in.txt --target=/mlbox_io1/copy.txt --logs=/mlbox_io2/logs"
USER = "APPTAINERENV_USER=box APPTAINERENV_LOGNAME=box"
IMAGE = "BOX/workspace/box.sif"
APPTAINER = f"env {USER} apptainer {START} {MOUNTS} {IMAGE} {TASK}"

ADA = Caller(uid=1000, gid=100)


def platform_with(image: str = "box.sif", **settings: object) -> Platform:
    options = SingularityOptions(image=image)
    return Platform(name="singularity", runner="singularity", options=options, **settings)  # type: ignore[arg-type]


def printed(
    root: Path, platform: Platform, *, environ: Mapping[str, str] = CALLER, ca_bundle: Path | None = None
) -> list[str]:
    """The command lines of the run."""
    plan = run_plan(root, platform, ca_bundle)
    runner = SingularityRunner(platform, environ, ADA)
    return lines(runner.commands(plan), plan, environ, WORK=str(runner.image(plan).work_directory))


def run_line(root: Path, platform: Platform, **settings: object) -> str:
    """The one of them that runs the task."""
    return printed(root, platform, **settings)[-2]  # type: ignore[arg-type]


@pytest.fixture
def root(make_box: MakeBox) -> Path:
    """A box whose image is there."""
    return make_box({"workspace/box.sif": ""})


# ---- A run ---------------------------------------------------------------------------------------


def test_a_plain_run_in_a_scratch_directory_of_its_own(root: Path) -> None:
    assert printed(root, platform_with()) == [
        f"mkdir -p -m 700 {SCRATCH}/home {SCRATCH}/work",
        APPTAINER,
        f"rm -rf {SCRATCH}",
    ]


def test_the_scratch_directory_is_where_the_caller_wants_it(root: Path) -> None:
    environ = {**CALLER, "TMPDIR": "/big disk"}
    assert printed(root, platform_with(), environ=environ)[0] == (
        f"mkdir -p -m 700 '/big disk/mlbox-{RUN_ID}/home' '/big disk/mlbox-{RUN_ID}/work'"
    )


def test_singularity_where_there_is_no_apptainer(root: Path, tmp_path: Path) -> None:
    for name in ("singularity", "apptainer"):
        write_files(tmp_path / name, {name: ""})
        (tmp_path / name / name).chmod(0o755)
    only = {**CALLER, "PATH": str(tmp_path / "singularity")}
    both = {**CALLER, "PATH": f"{tmp_path / 'singularity'}:{tmp_path / 'apptainer'}"}
    assert run_line(root, platform_with(), environ=only) == APPTAINER.replace(
        "APPTAINERENV", "SINGULARITYENV"
    ).replace("apptainer", "singularity")
    assert run_line(root, platform_with(), environ=both) == APPTAINER


def test_without_network(root: Path) -> None:
    assert run_line(root, platform_with(network="none")) == APPTAINER.replace(
        f" {IMAGE}", f" --net --network none {IMAGE}"
    )


def test_root_is_root_in_name_only(root: Path) -> None:
    assert run_line(root, platform_with(user="root")) == APPTAINER.replace(f" {IMAGE}", f" --fakeroot {IMAGE}")


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        (Resources(cpus=0.5), "--cpus 0.5"),
        (Resources(memory=10**9), "--memory 1000000000 --memory-swap 1000000000"),
        (Resources(gpus="all"), "--nv"),
        (Resources(cpus=2, gpus="all"), "--cpus 2 --nv"),
    ],
)
def test_resources(root: Path, resources: Resources, words: str) -> None:
    assert run_line(root, platform_with(resources=resources)) == APPTAINER.replace(f" {IMAGE}", f" {words} {IMAGE}")
    assert run_line(root, platform_with(resources=Resources(gpus=0, time=60))) == APPTAINER


@pytest.mark.parametrize(("visible", "devices"), [(None, "0,1"), ("3,5,7", "3,5"), ("GPU-a", "GPU-a"), ("", "''")])
def test_a_number_of_gpus_is_of_those_that_the_caller_may_use(
    root: Path, visible: str | None, devices: str
) -> None:
    environ = CALLER if visible is None else {**CALLER, "CUDA_VISIBLE_DEVICES": visible}
    assert run_line(root, platform_with(resources=Resources(gpus=2)), environ=environ) == APPTAINER.replace(
        USER, f"{USER} APPTAINERENV_CUDA_VISIBLE_DEVICES={devices}"
    ).replace(f" {IMAGE}", f" --nv {IMAGE}")


def test_all_gpus_are_those_that_the_caller_may_use(root: Path) -> None:
    environ = {**CALLER, "CUDA_VISIBLE_DEVICES": "3,5"}
    line = run_line(root, platform_with(resources=Resources(gpus="all")), environ=environ)
    assert f'{USER} APPTAINERENV_CUDA_VISIBLE_DEVICES="$CUDA_VISIBLE_DEVICES" apptainer' in line
    assert " --nv " in line


def test_the_platform_file_has_the_last_word_on_the_gpus(root: Path) -> None:
    variables = (EnvironmentVariable(name="CUDA_VISIBLE_DEVICES", value="6"),)
    line = run_line(root, platform_with(resources=Resources(gpus=1), environment=variables))
    assert f"{USER} APPTAINERENV_CUDA_VISIBLE_DEVICES=6 apptainer" in line


def test_variables_are_no_arguments_and_secrets_are_not_shown(root: Path) -> None:
    variables = (
        EnvironmentVariable(name="OMP_NUM_THREADS", value="2"),
        EnvironmentVariable(name="MESSAGE", value="it's $(touch x)"),
        EnvironmentVariable(name="MINE", value=None),
        EnvironmentVariable(name="NOT_SET", value=None),
        EnvironmentVariable(name="API_KEY", value="swordfish"),
    )
    line = run_line(root, platform_with(environment=variables), environ={**CALLER, "MINE": "of the caller"})
    words = (
        "APPTAINERENV_OMP_NUM_THREADS=2 APPTAINERENV_MESSAGE='it'\"'\"'s $(touch x)' "
        "APPTAINERENV_MINE=\"$MINE\" APPTAINERENV_API_KEY='***'"
    )
    assert line == APPTAINER.replace(USER, f"{USER} {words}")


def test_the_process_gets_the_values(root: Path) -> None:
    variables = (
        EnvironmentVariable(name="API_KEY", value="swordfish"),
        EnvironmentVariable(name="MINE", value=None),
    )
    platform = platform_with(environment=variables)
    environ = {**CALLER, "MINE": "x"}
    command = SingularityRunner(platform, environ, ADA).run_command(run_plan(root, platform))
    assert not any("swordfish" in word for word in command.argv)
    assert command.variables(environ) == {
        **environ,
        "APPTAINERENV_USER": "box",
        "APPTAINERENV_LOGNAME": "box",
        "APPTAINERENV_API_KEY": "swordfish",
        "APPTAINERENV_MINE": "x",
    }


def test_proxies_go_by_name_in_both_cases(root: Path) -> None:
    proxies = {"https_proxy": "http://ada:swordfish@proxy:1", "HTTPS_PROXY": "http://p:1", "no_proxy": ""}
    line = run_line(root, platform_with(), environ={**CALLER, **proxies})
    assert line == APPTAINER.replace(
        USER, f'{USER} APPTAINERENV_https_proxy="$https_proxy" APPTAINERENV_HTTPS_PROXY="$HTTPS_PROXY"'
    )


CERTIFICATES = (
    *("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT", "CONDA_SSL_VERIFY", "GIT_SSL_CAINFO"),
    "NODE_EXTRA_CA_CERTS",
)
CERTIFICATE_VARIABLES = " ".join(f"APPTAINERENV_{name}=/mlbox_site/ca.crt" for name in CERTIFICATES)


def test_a_site_with_its_own_certificates(root: Path) -> None:
    environ = {**CALLER, "PIP_INDEX_URL": "https://ada:swordfish@index/simple"}
    line = run_line(root, platform_with(), environ=environ, ca_bundle=Path("/etc/ca, mine.pem"))
    variables = f'{CERTIFICATE_VARIABLES} APPTAINERENV_PIP_INDEX_URL="$PIP_INDEX_URL"'
    mount = """--mount 'type=bind,"source=/etc/ca, mine.pem",destination=/mlbox_site/ca.crt,ro'"""
    assert line == APPTAINER.replace(USER, f"{USER} {variables}").replace(f" {IMAGE}", f" {mount} {IMAGE}")


def test_arguments_of_the_platform_file_stand_before_the_image(root: Path) -> None:
    line = run_line(root, platform_with(arguments=("--writable-tmpfs", "--docker-password", "swordfish")))
    assert line == APPTAINER.replace(f" {IMAGE}", f" --writable-tmpfs --docker-password '***' {IMAGE}")


def test_a_whole_platform_file(make_box: MakeBox) -> None:
    platform_file = """\
schema_version: 1.1.0
schema_type: mlbox_singularity
image: $WORKSPACE/images/$FLAVOUR.sif
environment: {SEED: 1}
resources: {cpus: 1.5, gpus: all}
network: none
user: root
arguments: [--writable-tmpfs]
"""
    root = make_box({"platforms/singularity.yaml": platform_file, "workspace/images/small.sif": ""})
    platform = load_platform(root / "platforms/singularity.yaml")
    assert run_line(root, platform, environ={**CALLER, "FLAVOUR": "small"}) == (
        f"env {USER} APPTAINERENV_SEED=1 apptainer {START} {MOUNTS} --net --network none --fakeroot --cpus 1.5 "
        f"--nv --writable-tmpfs BOX/workspace/images/small.sif {TASK}"
    )


ODD = [
    "a b",
    "a,b",
    "a:b",
    "a'b",
    'a"b',
    "a\nb",
    "$(touch x)",
    "$HOME",
    "a=b",
    "-rf",
    "données 数据 😀",
    " ",
    "#;&|",
]


@pytest.mark.parametrize("name", ODD)
def test_odd_paths_are_one_field_of_one_word(make_box: MakeBox, name: str) -> None:
    root = make_box({"workspace/box.sif": ""}, name=f"box {name}")
    platform = platform_with()
    plan = run_plan(root, platform)
    command = SingularityRunner(platform, CALLER, ADA).run_command(plan)
    words = shlex.split(command.shell(CALLER))
    assert tuple(words[3:]) == command.argv
    sources = [
        dict(field.partition("=")[::2] for field in next(csv.reader([words[place + 1]])))["source"]
        for place, word in enumerate(words)
        if word == "--mount"
    ]
    assert sources == [f"{root}/workspace/{each}" for each in ("in.txt", "out", "logs")]
    assert words[-5] == f"{root}/workspace/box.sif"


# ---- The image -----------------------------------------------------------------------------------

PARTIAL = "BOX/workspace/.box.sif.partial"


def preparation(
    root: Path, platform: Platform, environ: Mapping[str, str] = CALLER, ca_bundle: Path | None = None
) -> list[str]:
    plan = setup_plan(root, platform, ca_bundle)
    runner = SingularityRunner(platform, environ, ADA)
    return lines(runner.commands(plan), plan, environ, WORK=str(runner.image(plan).work_directory))


def test_a_recipe_is_built_as_the_caller_and_proxies_go_by_name(make_box: MakeBox) -> None:
    root = make_box({"build/Singularity.recipe": "Bootstrap: scratch\n"})
    build = f"apptainer build --force --fakeroot {PARTIAL} BOX/build/Singularity.recipe"
    assert preparation(root, platform_with()) == [f"(cd BOX/build && {build})"]
    environ = {**CALLER, "https_proxy": "http://ada:swordfish@proxy:1"}
    assert preparation(root, platform_with(), environ) == [
        f'(cd BOX/build && env APPTAINERENV_https_proxy="$https_proxy" {build})'
    ]


def test_a_recipe_is_built_with_the_settings_of_the_site(make_box: MakeBox, tmp_path: Path) -> None:
    root = make_box({"build/Singularity.recipe": "Bootstrap: scratch\n"})
    bundle = write_files(tmp_path / "site", {"ca.pem": "-----BEGIN CERTIFICATE-----\n"}) / "ca.pem"
    environ = {**CALLER, "PIP_INDEX_URL": "https://ada:swordfish@index/simple"}
    files = "APPTAINERENV_APT_CONFIG=/mlbox_site/apt.conf APPTAINERENV_PIP_CONFIG_FILE=/mlbox_site/pip.conf"
    assert preparation(root, platform_with(), environ, bundle) == [
        f"(cd BOX/build && env {CERTIFICATE_VARIABLES} {files} apptainer build --force --fakeroot "
        f"--bind WORK/settings:/mlbox_site:ro {PARTIAL} WORK/Singularity.recipe)"
    ]


def test_without_a_recipe_the_docker_image_of_the_box_is_converted(make_box: MakeBox) -> None:
    docker = "schema_version: 1.0.0\nschema_type: mlbox_docker\nimage: example/echo:1\ndocker_runtime: docker\n"
    root = make_box({"platforms/docker.yaml": docker})
    assert preparation(root, platform_with()) == [f"apptainer build --force {PARTIAL} docker://example/echo:1"]


def test_an_image_with_an_address_is_kept_in_the_cache_and_wins_over_the_recipe(make_box: MakeBox) -> None:
    root = make_box({"build/Singularity.recipe": "Bootstrap: scratch\n"})
    address = "docker://python@sha256:0123"
    platform = platform_with(address)
    path = SingularityRunner(platform, CALLER, ADA).image(setup_plan(root, platform)).path
    assert path.parent == Path("/cache/images")
    assert preparation(root, platform) == [f"apptainer build --force /cache/images/.{path.name}.partial {address}"]
    task = run_line(root, platform)
    assert task == APPTAINER.replace(IMAGE, str(path))


def test_an_address_may_hold_a_variable(make_box: MakeBox) -> None:
    (line,) = preparation(
        make_box(), platform_with("docker://$MIRROR/echo:1"), {**CALLER, "MIRROR": "registry:5000"}
    )
    assert line.endswith(" docker://registry:5000/echo:1")


def test_a_run_whose_image_is_not_there_shows_first_how_it_is_made(make_box: MakeBox) -> None:
    root = make_box({"build/Singularity.recipe": "Bootstrap: scratch\n"})
    printed_lines = printed(root, platform_with())
    assert printed_lines[0] == (
        f"(cd BOX/build && apptainer build --force --fakeroot {PARTIAL} BOX/build/Singularity.recipe)"
    )
    assert printed_lines[1:3] == [f"mkdir -p -m 700 {SCRATCH}/home {SCRATCH}/work", APPTAINER]


def test_an_image_that_cannot_be_made_says_what_to_add(make_box: MakeBox) -> None:
    with pytest.raises(PreparationError, match="nothing to make it from") as caught:
        preparation(make_box(), platform_with())
    assert "build/Singularity.recipe" in str(caught.value.hint)


# ---- What stands in the way ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "environ", "expected"),
    [
        ({"user": "www-data"}, {}, ("unsupported", "'user'")),
        ({"environment": (EnvironmentVariable(name="HOME", value="/x"),)}, {}, ("unsupported", "'HOME'")),
        ({}, {"TMPDIR": "/a:b"}, ("cannot-mount", "has a colon in its name")),
        ({"image": "$NOT_SET/${NOR_THIS}.sif"}, {}, ("undefined-variable", "NOT_SET, NOR_THIS")),
    ],
)
def test_what_it_cannot_do_is_refused_and_not_ignored(
    root: Path, settings: Mapping[str, object], environ: Mapping[str, str], expected: tuple[str, str]
) -> None:
    platform = platform_with(**settings)  # type: ignore[arg-type]
    *problems, engine = sorted(
        SingularityRunner(platform, {**CALLER, **environ}, ADA).check(run_plan(root, platform)),
        key=lambda problem: problem.code == "no-engine",
    )
    assert [(problem.code, problem.exit_status) for problem in problems] == [(expected[0], EX_CONFIGURATION)]
    assert expected[1] in problems[0].message
    assert (engine.code, engine.exit_status) == ("no-engine", EX_UNAVAILABLE)


@pytest.mark.parametrize("user", [None, "root"])
def test_an_ordinary_platform_only_needs_the_engine(root: Path, user: Literal["root"] | None) -> None:
    platform = platform_with(user=user)
    assert [
        problem.code for problem in SingularityRunner(platform, CALLER, ADA).check(run_plan(root, platform))
    ] == ["no-engine"]


def test_root_is_left_no_privilege(make_box: MakeBox) -> None:
    platform = platform_with()
    runner = SingularityRunner(platform, CALLER, Caller(uid=0, gid=0))
    words = runner.run_command(run_plan(make_box(), platform)).argv
    assert "--no-privs" in words
    assert (
        "--no-privs"
        not in SingularityRunner(platform, CALLER, ADA).run_command(run_plan(make_box(), platform)).argv
    )
