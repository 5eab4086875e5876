"""What goes wrong with an engine is told apart from the task, in one message with the way out; nothing is left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import engines
from tests.conftest import MakeBox

MLBOX = [sys.executable, "-m", "mlcommons_box"]
IMAGE = "mlbox-trouble-test"
DOCKERFILE = f"""\
FROM {engines.BASE_IMAGE}
COPY echo.py /echo.py
RUN chmod a+r /echo.py
ENTRYPOINT ["python3", "/echo.py"]
"""
RECIPE = f"""\
Bootstrap: docker
From: {engines.REGISTRY}/{engines.BASE_IMAGE}

%files
    echo.py /echo.py

%runscript
    exec python3 /echo.py "$@"
"""


def docker(image: str = IMAGE, executable: str = "docker", more: str = "") -> str:
    return f"schema_type: mlbox_docker\nschema_version: 1.1.0\nimage: {image}\ndocker_runtime: {executable}\n{more}"


def mlbox(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = os.environ | environment
    return subprocess.run([*MLBOX, *map(str, words)], env=variables, capture_output=True, text=True, check=False)


def call(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def box(make_box: MakeBox) -> Callable[..., Path]:
    def make(platform: str, **files: str | None) -> Path:
        named = {name.replace("__", "/").replace("_", "."): text for name, text in files.items()}
        return make_box({"platforms/p.yaml": platform, "build/Dockerfile": DOCKERFILE, **named})

    return make


@pytest.fixture
def executable(request: pytest.FixtureRequest) -> Iterator[str]:
    name = str(request.param)
    yield name
    subprocess.run([name, "rmi", "--force", IMAGE], check=False, capture_output=True)
    assert call(name, "ps", "--all", "--quiet", "--filter", "label=org.mlcommons.box.box=echo") == ""


both = pytest.mark.parametrize(
    "executable",
    [pytest.param(name, marks=pytest.mark.engine(name)) for name in ("docker", "podman")],
    indirect=True,
)


@pytest.mark.engine("docker")
def test_no_daemon(box: Callable[..., Path]) -> None:
    root = box(docker())
    for command in ("run", "configure"):
        result = mlbox(command, root, "--platform=p", DOCKER_HOST="unix:///nowhere.sock")
        assert result.returncode == 69
        assert "the Docker daemon does not answer" in result.stderr
        assert "systemctl start docker" in result.stderr


@both
def test_another_version_than_the_platform_wants(executable: str, box: Callable[..., Path]) -> None:
    platform = (
        "schema_type: mlcommons_box_platform\nschema_version: 1.0.0\nplatform: {name: docker, "
        "version: '>=1000.1'}\n"
        f"container: {{image: {IMAGE}, runtime: {executable}}}\n"
    )
    result = mlbox("configure", box(platform), "--platform=p")
    assert result.returncode == 78
    assert f"the platform 'p' wants {executable} >=1000.1, and here is " in result.stderr
    assert mlbox("configure", box(platform.replace("1000.1", "1.1")), "--platform=p").returncode == 0


@pytest.mark.engine("docker", "ordinary-user")
def test_no_right_to_use_the_daemon(box: Callable[..., Path], ordinary_bin: Path, ordinary_directory: Path) -> None:
    root = ordinary_directory / "no-right"
    shutil.copytree(box(docker()), root)
    call("chown", "-R", engines.ACCOUNT, str(root))
    command = [str(ordinary_bin / "mlbox"), "run", str(root), "--platform=p"]
    result = subprocess.run(engines.as_ordinary_user(*command), capture_output=True, text=True, check=False)
    assert result.returncode == 69
    assert "you may not use the Docker daemon" in result.stderr
    assert "usermod -aG docker" in result.stderr


def as_nobody(root: Path, ordinary_bin: Path, command: str) -> subprocess.CompletedProcess[str]:
    """A command of ours by an account that has no subordinate ids."""
    call("chown", "-R", "nobody", str(root))
    home = [f"HOME={root}", f"XDG_RUNTIME_DIR={root}", f"TMPDIR={root}", "PATH=/usr/local/bin:/usr/bin:/bin"]
    words = [str(ordinary_bin / "mlbox"), command, str(root), "--platform=p"]
    argv = ["runuser", "-u", "nobody", "--", "env", "-i", "-C", "/", *home, *words]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


@pytest.mark.engine("podman", "ordinary-user")
def test_podman_without_subordinate_ids(
    box: Callable[..., Path], ordinary_bin: Path, ordinary_directory: Path
) -> None:
    root = ordinary_directory / "no-ids-podman"
    shutil.copytree(box(docker(executable="podman")), root)
    result = as_nobody(root, ordinary_bin, "configure")
    assert result.returncode == 69
    assert "your account has no range of subordinate user ids" in result.stderr
    assert "usermod --add-subuids" in result.stderr


@both
def test_no_such_image_and_no_recipe(executable: str, box: Callable[..., Path]) -> None:
    root = box(docker("127.0.0.1:9/no/such:image", executable), build__Dockerfile=None)
    result = mlbox("run", root, "--platform=p")
    assert result.returncode == 69
    assert f"{executable} cannot pull the image '127.0.0.1:9/no/such:image'" in result.stderr


@both
def test_a_local_image_that_is_in_no_registry_is_used(executable: str, box: Callable[..., Path]) -> None:
    name = f"127.0.0.1:9/{IMAGE}"
    root = box(docker(name, executable), build__Dockerfile=None)
    (root / "Dockerfile").write_text(DOCKERFILE)
    call(executable, "build", "--tag", name, "--file", str(root / "Dockerfile"), str(root / "build"))
    for command in ("configure", "run"):
        result = mlbox(command, root, "--platform=p")
        assert result.returncode == 0, result.stderr
    call(executable, "rmi", "--force", name)


@pytest.fixture(scope="module")
def pushed() -> str:
    """An image that is in a registry, and not on this machine."""
    name = f"{engines.REGISTRY}/{IMAGE}"
    recipe = f'FROM {engines.BASE_IMAGE}\nENTRYPOINT ["echo", "from the registry"]\n'
    subprocess.run(
        ["docker", "build", "--tag", name, "-"], input=recipe, text=True, check=True, capture_output=True
    )
    call("docker", "push", "--quiet", name)
    call("docker", "rmi", "--force", name)
    return name


@both
@pytest.mark.engine("docker")
def test_an_image_is_pulled_from_its_registry(executable: str, pushed: str, box: Callable[..., Path]) -> None:
    root = box(docker(pushed, executable), build__Dockerfile=None)
    result = mlbox("run", root, "--platform=p")
    call(executable, "rmi", "--force", pushed)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("from the registry copy --source=/mlbox_io0/in.txt")
    assert f"pulling the image {pushed} with {executable}" in result.stderr


@both
def test_an_image_without_a_program(executable: str, box: Callable[..., Path]) -> None:
    dockerfile = DOCKERFILE.replace("python3", "no-such-program")
    result = mlbox("run", box(docker(executable=executable), build__Dockerfile=dockerfile), "--platform=p")
    assert result.returncode == 69
    assert "the image has no program that can be started" in result.stderr


@both
def test_a_build_that_fails_shows_the_end_of_what_was_said(executable: str, box: Callable[..., Path]) -> None:
    dockerfile = DOCKERFILE + "RUN echo this is why >&2; exit 7\n"
    result = mlbox("run", box(docker(executable=executable), build__Dockerfile=dockerfile), "--platform=p")
    assert result.returncode == 69
    assert f"{executable} cannot build the image '{IMAGE}'" in result.stderr
    assert "this is why" in result.stderr


@both
def test_an_image_that_insists_on_root_leaves_files_to_the_caller(
    executable: str, box: Callable[..., Path]
) -> None:
    program = """
import os, sys
print(os.getuid())
target, logs = (word.split("=", 1)[1] for word in sys.argv[3:])
os.mkdir(logs + "/d")
open(logs + "/d/f", "w"), open(target, "w")
os.chown(logs + "/d/f", 7, 7)
"""
    root = box(docker(executable=executable, more="user: root\n"), build__echo_py=program)
    result = mlbox("run", root, "--platform=p")
    assert (result.returncode, result.stdout) == (0, "0\n"), result.stderr
    assert {path.lstat().st_uid for path in (root / "workspace").rglob("*")} == {os.geteuid()}


@pytest.mark.engine("podman", "ordinary-user")
def test_an_ordinary_user_s_image_may_insist_on_root(
    box: Callable[..., Path], ordinary_bin: Path, ordinary_directory: Path
) -> None:
    program = "import os, sys; print(os.getuid()); open(sys.argv[3].split('=', 1)[1], 'w')\n"
    root = ordinary_directory / "root-wanted"
    shutil.copytree(box(docker(executable="podman", more="user: root\n"), build__echo_py=program), root)
    call("chown", "-R", engines.ACCOUNT, str(root))
    command = [str(ordinary_bin / "mlbox"), "run", str(root), "--platform=p"]
    result = subprocess.run(engines.as_ordinary_user(*command), capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "0\n"), result.stderr
    assert (root / "workspace/out/copy.txt").stat().st_uid == (root / "mlbox.yaml").stat().st_uid
    call(*engines.as_ordinary_user("podman", "rmi", "--force", IMAGE))


@both
def test_limits_are_those_of_the_platform_file(executable: str, box: Callable[..., Path]) -> None:
    program = """
def limit(*names):
    for name in names:
        try: return open("/sys/fs/cgroup/" + name).read().split()
        except OSError: pass
print(limit("memory/memory.limit_in_bytes", "memory.max"), limit("cpu/cpu.cfs_quota_us", "cpu.max")[0])
"""
    more = "resources: {cpus: 0.5, memory: 200M, time: 1h}\n"
    result = mlbox("run", box(docker(executable=executable, more=more), build__echo_py=program), "--platform=p")
    assert result.returncode == 0, result.stderr
    memory, quota = result.stdout.strip().split("] ")
    assert abs(int(memory.strip("['")) - 200_000_000) < 4096
    assert int(quota) == 50_000


@both
def test_two_at_once_build_once(executable: str, box: Callable[..., Path], tmp_path: Path) -> None:
    root = box(docker(executable=executable), build__Dockerfile=DOCKERFILE + f"RUN sleep 2 # {time.time()}\n")
    command = [*MLBOX, "configure", str(root), "--platform=p"]
    environment = {**os.environ, "MLCOMMONS_BOX_CACHE": str(tmp_path / "cache")}
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) for _ in range(3)]
    said = [process.communicate()[1] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], said
    assert sum(text.count("==> building the image") for text in said) == 2  # its begin and its end, by one of them


@both
@pytest.mark.alone("docker", "podman")
def test_an_interrupted_build_leaves_nothing(executable: str, box: Callable[..., Path]) -> None:
    before = set(call(executable, "ps", "--all", "--quiet").split())
    root = box(docker(executable=executable), build__Dockerfile=DOCKERFILE + "RUN echo reached; sleep 601\n")
    process = subprocess.Popen(
        [*MLBOX, "configure", str(root), "--platform=p", "-v"], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr
    for line in process.stderr:
        if line.strip() == "reached":
            break
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    deadline = time.monotonic() + 30
    while set(call(executable, "ps", "--all", "--quiet").split()) != before and time.monotonic() < deadline:
        time.sleep(0.2)
    assert set(call(executable, "ps", "--all", "--quiet").split()) == before
    assert subprocess.run([executable, "image", "inspect", IMAGE], check=False, capture_output=True).returncode != 0
    assert not subprocess.run(["pgrep", "-f", "sleep 601"], check=False, capture_output=True).stdout


@both
def test_a_reader_that_leaves_ends_the_container(executable: str, box: Callable[..., Path]) -> None:
    program = "import time\nwhile True:\n    print('line', flush=True); time.sleep(0.01)\n"
    root = box(docker(executable=executable), build__echo_py=program)
    mlbox("configure", root, "--platform=p")
    process = subprocess.Popen([*MLBOX, "run", str(root), "--platform=p"], stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=60) == 141


class TestSingularity:
    pytestmark = pytest.mark.engine("apptainer")
    platform = "schema_type: mlbox_singularity\nschema_version: 1.1.0\nimage: images/a.sif\n"

    def test_nothing_to_make_the_image_from(self, box: Callable[..., Path]) -> None:
        result = mlbox("run", box(self.platform, build__Dockerfile=None), "--platform=p")
        assert result.returncode == 69
        assert "nothing to make it from" in result.stderr
        assert "add build/Singularity.recipe" in result.stderr

    def test_a_file_that_is_no_image(self, box: Callable[..., Path]) -> None:
        root = box(self.platform)
        (root / "workspace/images").mkdir()
        (root / "workspace/images/a.sif").write_text("no image")
        result = mlbox("run", root, "--platform=p")
        assert result.returncode == 69
        assert "apptainer cannot start the task: the image file is damaged, or no image" in result.stderr

    def test_an_image_that_is_there_is_used_and_left_alone(self, box: Callable[..., Path], sif: Path) -> None:
        root = box(self.platform, build__Singularity_recipe="this would fail")
        (root / "workspace/images").mkdir()
        shutil.copy(sif, root / "workspace/images/a.sif")
        for command in ("configure", "run"):
            result = mlbox(command, root, "--platform=p")
            assert result.returncode == 0, result.stderr

    def test_an_absolute_path_with_a_variable(self, box: Callable[..., Path], sif: Path) -> None:
        root = box(self.platform.replace("images/a.sif", "'${SIF_PLACE}/act.sif'"))
        assert mlbox("run", root, "--platform=p", SIF_PLACE=str(sif.parent)).returncode == 0
        result = mlbox("run", root, "--platform=p")
        assert result.returncode == 78
        assert "names variables that are not set: SIF_PLACE" in result.stderr

    @pytest.mark.engine("docker")
    def test_without_a_recipe_the_box_s_docker_image_is_converted(self, box: Callable[..., Path]) -> None:
        root = box(self.platform)
        (root / "platforms/docker.yaml").write_text(docker())
        assert mlbox("configure", root, "--platform=docker").returncode == 0
        result = mlbox("run", root, "--platform=p")
        call("docker", "rmi", "--force", IMAGE)
        assert result.returncode == 0, result.stderr
        assert (root / "workspace/out/copy.txt").read_text() == "hello\n"

    @pytest.mark.engine("docker")
    def test_an_image_in_a_registry_is_converted_once(self, box: Callable[..., Path], pushed: str) -> None:
        root = box(self.platform.replace("images/a.sif", f"docker://{pushed}"))
        for steps in (1, 0):
            result = mlbox("run", root, "--platform=p")
            assert result.returncode == 0, result.stderr
            assert result.stdout.startswith("from the registry copy --source=/mlbox_io0/in.txt")
            assert result.stderr.count(f"from docker://{pushed}\n") == steps

    def test_gpus_may_be_asked_for_where_there_are_none(self, box: Callable[..., Path], sif: Path) -> None:
        more = "resources: {gpus: 1}\n"
        root = box(self.platform.replace("images/a.sif", str(sif)) + more)
        result = mlbox("run", root, "--platform=p")
        assert (result.returncode, result.stdout) == (0, "from the image that was there\n"), result.stderr
        assert "--nv" in mlbox("show", "--mlbox", root).stdout

    def test_an_interrupted_build_leaves_nothing(self, box: Callable[..., Path], tmp_path: Path) -> None:
        recipe = RECIPE + "\n%post\n    echo reached; sleep 601\n"
        root = box(self.platform, build__Singularity_recipe=recipe)
        command = [*MLBOX, "configure", str(root), "--platform=p", "-v"]
        environment = {**os.environ, "TMPDIR": str(tmp_path)}
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        assert process.stderr
        for line in process.stderr:
            if line.strip() == "reached":
                break
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        assert process.returncode == 128 + signal.SIGTERM
        assert list((root / "workspace/images").iterdir()) == []
        assert not subprocess.run(["pgrep", "-f", "sleep 601"], check=False, capture_output=True).stdout

    def test_a_full_disk(self, box: Callable[..., Path]) -> None:
        root = box(self.platform, build__Singularity_recipe=RECIPE)
        (root / "workspace/images").mkdir()
        call("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(root / "workspace/images"))
        try:
            result = mlbox("configure", root, "--platform=p")
            left = list((root / "workspace/images").iterdir())
        finally:
            call("umount", str(root / "workspace/images"))
        assert result.returncode == 69
        assert "the disk is full" in result.stderr
        assert left == []

    @pytest.mark.engine("ordinary-user")
    def test_without_subordinate_ids_the_program_fakeroot_does(
        self, box: Callable[..., Path], ordinary_bin: Path, ordinary_directory: Path
    ) -> None:
        root = ordinary_directory / "no-ids-apptainer"
        shutil.copytree(box(self.platform, build__Singularity_recipe=RECIPE), root)
        result = as_nobody(root, ordinary_bin, "configure")
        assert result.returncode == 0, result.stderr
        assert (root / "workspace/images/a.sif").is_file()

    @pytest.mark.engine("ordinary-user")
    @pytest.mark.alone("apptainer", "podman")
    def test_without_fuse_no_image_can_be_mounted(
        self, box: Callable[..., Path], sif: Path, ordinary_bin: Path, ordinary_directory: Path
    ) -> None:
        root = ordinary_directory / "no-fuse"
        shutil.copytree(box(self.platform), root)
        (root / "workspace/images").mkdir()
        shutil.copy(sif, root / "workspace/images/a.sif")
        mode = os.stat("/dev/fuse").st_mode & 0o777
        os.chmod("/dev/fuse", 0o600)
        try:
            result = as_nobody(root, ordinary_bin, "run")
        finally:
            os.chmod("/dev/fuse", mode)
        assert result.returncode == 69
        assert "apptainer cannot start the task: image files cannot be mounted here" in result.stderr
        assert "make /dev/fuse usable" in result.stderr

    @pytest.fixture(scope="class")
    @classmethod
    def sif(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        build = tmp_path_factory.mktemp("sif")
        (build / "echo.py").write_text("print('from the image that was there')\n")
        (build / "recipe").write_text(RECIPE)
        subprocess.run(
            ["apptainer", "build", "--fakeroot", "act.sif", "recipe"], cwd=build, check=True, capture_output=True
        )
        return build / "act.sif"
