"""What can befall a run on another host, and what its user then finds: on a real second host."""

from __future__ import annotations

import ast
import os
import pwd
import re
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from mlcommons_box.contract.scene import BOX, eventually
from mlcommons_box.errors import EX_CANNOT_CREATE, EX_MISSING_INPUT, EX_UNAVAILABLE
from mlcommons_box.host import SSH_CONFIG_VARIABLE
from mlcommons_box.run_store import RunStore
from mlcommons_box.value import as_data
from tests import engines
from tests.conftest import records_of, write_files
from tests.integration import mnist
from tests.integration.test_ssh_contract import HOME, apptainer_platform, docker_platform, on_host

pytestmark = pytest.mark.engine("ssh")
AT_WORK = "import time; print('begun', flush=True); open(out + '/at work', 'w').close(); "
ONCE = "open(out + '/ends', 'a').write('once\\n'); print('done')"
TASK = """\
schema_version: 1.0.0
schema_type: mlbox_task
inputs: [{name: script, type: file}, {name: data, type: directory}]
outputs: [{name: out, type: directory}]
"""


class Desk:
    """Somebody with a box and a terminal; the box has a directory of its own there."""

    def __init__(self, root: Path, directory: str, prefix: Callable[..., list[str]] | None = None) -> None:
        self.root = root
        self.directory = directory
        self.there = HOME / directory
        self.prefix = prefix
        self.environment = {SSH_CONFIG_VARIABLE: str(engines.ssh_config())}
        self.started: list[subprocess.Popen[str]] = []
        run = BOX["run/act.yaml"].replace("{script: script.py}", "{script: script.py, data: data}")
        more = {"tasks/act.yaml": TASK, "run/act.yaml": run, "workspace/data/x": "x", "workspace/script.py": ""}
        write_files(root, {**BOX, **more})
        self.platform()

    def platform(self, *lines: str, inner: str = "local", directory: str | None = None) -> None:
        """Write the platform of the host anew."""
        text = f"schema_type: mlbox_ssh\nschema_version: 1.1.0\nhost: {engines.SSH_HOST}\nplatform: {inner}\n"
        text += f"directory: {directory or self.directory}\n"
        write_files(self.root, {"platforms/lab.yaml": "\n".join([text, *lines, ""])})

    def script(self, text: str) -> None:
        write_files(self.root, {"workspace/script.py": text})

    def start(self, *words: str) -> subprocess.Popen[str]:
        arguments = [words[0], "--mlbox", str(self.root), *words[1:]]
        command = [sys.executable, "-m", "mlcommons_box", *arguments]
        if self.prefix is not None:
            command = self.prefix(*arguments, **self.environment)
        environment = {**os.environ, **self.environment}
        started = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        self.started.append(started)
        return started

    def __call__(self, *words: str, status: int = 0) -> tuple[str, str]:
        """Type a command; what it writes."""
        started = self.start(*words)
        out, err = started.communicate(timeout=120)
        assert started.returncode == status, out + err
        return out, err

    def run(self, *words: str, status: int = 0) -> tuple[str, str]:
        return self("run", "--task=act", "--platform=lab", *words, status=status)

    def start_run(self, *words: str) -> subprocess.Popen[str]:
        """Start a run, and return when its task is at work and its record says so."""
        started = self.start("run", "--task=act", "--platform=lab", *words)
        at_work = self.there / "workspace/out/at work"
        assert eventually(lambda: at_work.exists() and any(map(self.is_noted, self.jobs())), 30)
        return started

    def is_noted(self, job: Path) -> bool:
        """Whether the record of a job's run says that it goes on by itself."""
        return RunStore(self.root / "workspace").read(job.parent.name).detached

    def jobs(self) -> list[Path]:
        return list((self.root / "workspace/.mlbox/runs").glob("*/job.json"))

    def record(self) -> dict[str, object]:
        (record,) = records_of(self.root / "workspace")
        content: dict[str, object] = as_data(record)
        return content

    def out(self, name: str) -> str:
        return (self.root / "workspace/out" / name).read_text()


@pytest.fixture
def directory() -> Iterator[str]:
    name = f"mlbox-test-{uuid.uuid4().hex[:8]}"
    yield name
    subprocess.run(["rm", "-rf", str(HOME / name)], check=True)


@pytest.fixture
def desk(tmp_path: Path, directory: str) -> Iterator[Desk]:
    """Whatever happens, nothing of a run is left there when it has ended, and no connection here."""
    desk = Desk(tmp_path / "box", directory)
    yield desk
    for started in desk.started:
        if started.poll() is None:
            started.kill()
        started.communicate()
    assert eventually(lambda: not _processes(directory))
    runs = (desk.root / "workspace/.mlbox/runs").glob("*")
    assert not [run for run in runs if Path("/tmp", f"mlbox-{run.name}").exists()]


def _processes(text: str) -> list[str]:
    """The command lines of the machine, which are those of that host as well, with some text in them."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes().decode(errors="replace") if entry.name.isdigit() else ""
        except OSError:
            continue
        if text in line and int(entry.name) != os.getpid():
            found.append(line)
    return found


# ---- The connection is lost ----------------------------------------------------------------------


@pytest.mark.alone("ssh")
def test_a_cable_that_is_cut_for_long_loses_nothing(desk: Desk) -> None:
    """For longer than a connection is believed to live, and than the task runs."""
    desk.script(AT_WORK + "[print(n, flush=True) or time.sleep(.5) for n in range(20)]; " + ONCE)
    watching = desk.start_run()
    engines.link_down()
    try:
        time.sleep(22)
        assert watching.poll() is None
    finally:
        engines.link_up()
    out, err = watching.communicate(timeout=60)
    assert watching.returncode == 0, err
    assert out == "begun\n" + "".join(f"{number}\n" for number in range(20)) + "done\n"
    assert "we try again" in err
    assert desk.out("ends") == "once\n"
    assert desk.record()["status"] == "succeeded"


@pytest.mark.alone("ssh")
def test_a_server_that_is_stopped_and_started_loses_nothing(desk: Desk) -> None:
    desk.script(AT_WORK + "time.sleep(3); " + ONCE)
    watching = desk.start_run()
    engines.sshd_stop()
    try:
        time.sleep(4)
    finally:
        engines.sshd_start()
    out, err = watching.communicate(timeout=60)
    assert (watching.returncode, out) == (0, "begun\ndone\n"), err
    assert desk.out("ends") == "once\n"


@pytest.mark.alone("ssh")
def test_connections_that_are_cut_again_and_again_lose_nothing(desk: Desk) -> None:
    desk.script(AT_WORK + "[print(n, flush=True) or time.sleep(.2) for n in range(20)]; " + ONCE)
    watching = desk.start_run()
    for _ in range(3):
        engines.ssh_cut()
        time.sleep(1)
    out, err = watching.communicate(timeout=60)
    assert watching.returncode == 0, err
    assert out == "begun\n" + "".join(f"{number}\n" for number in range(20)) + "done\n"
    assert desk.out("ends") == "once\n"


def test_a_run_whose_mlbox_was_killed_is_completed_later(desk: Desk) -> None:
    desk.script(AT_WORK + "time.sleep(5); " + ONCE)
    watching = desk.start_run()
    watching.kill()
    watching.communicate()
    assert desk.record()["status"] == "running"
    assert "running" in desk("status")[0]
    assert desk("wait")[0] == "begun\ndone\n"
    assert desk.out("ends") == "once\n"
    assert desk.record()["status"] == "succeeded"


def test_a_run_is_cancelled_from_another_terminal(desk: Desk) -> None:
    desk.script(AT_WORK + "time.sleep(600)")
    desk.run("--detach")
    assert eventually((desk.there / "workspace/out/at work").exists, 20)
    desk("cancel")
    assert (desk.record()["status"], desk.record()["exit_status"]) == ("cancelled", 143)
    assert desk.out("at work") == ""


# ---- Nothing is lost before it begins -----------------------------------------------------------


def ssh_config(directory: Path, **changes: str) -> str:
    """The configuration of OpenSSH with some lines changed."""
    lines = []
    for line in engines.ssh_config().read_text().splitlines():
        words = line.split()
        lines.append(f"    {words[0]} {changes[words[0]]}" if words and words[0] in changes else line)
    file = directory / "ssh_config"
    file.write_text("\n".join(lines) + "\n")
    return str(file)


def new_key(directory: Path) -> Path:
    key = directory / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    return key


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("wrong key", ["it does not accept the key", "Permission denied"]),
        ("unknown host", ["this machine does not know its key yet", "accept it once by hand"]),
        ("changed host", ["may be another machine", "ssh-keygen -R"]),
        ("nobody there", ["it does not answer", "see whether it is up"]),
        ("no such name", ["nobody knows a host of that name"]),
    ],
)
def test_a_host_that_does_not_let_us_in(desk: Desk, tmp_path: Path, case: str, words: list[str]) -> None:
    known = tmp_path / "known_hosts"
    known.touch()
    changes: Mapping[str, str] = {
        "wrong key": lambda: {"IdentityFile": str(new_key(tmp_path))},
        "unknown host": lambda: {"UserKnownHostsFile": str(known)},
        "changed host": lambda: {"UserKnownHostsFile": str(known)},
        "nobody there": lambda: {"HostName": "127.0.0.1 \n    Port 1"},
        "no such name": lambda: {"HostName": "no-such-host.invalid"},
    }[case]()
    if case == "changed host":
        text = (engines.ssh_config().parent / "known_hosts").read_text()
        other = new_key(tmp_path).with_suffix(".pub").read_text().split()[1]
        known.write_text(f"{text.split()[0]} ssh-ed25519 {other}\n")
    desk.environment[SSH_CONFIG_VARIABLE] = ssh_config(tmp_path, **changes)
    _, said = desk.run(status=EX_UNAVAILABLE)
    for each in words:
        assert each in said
    assert desk.record()["status"] == "failed"


def test_a_key_in_the_platform_file_is_used(desk: Desk, tmp_path: Path) -> None:
    desk.environment[SSH_CONFIG_VARIABLE] = ssh_config(tmp_path, IdentityFile="/nowhere", User="nobody")
    key = engines.ssh_config().parent / "id_ed25519"
    desk.platform(f"identity_file: {key}", f"user: {engines.SSH_ACCOUNT}", "port: 22")
    desk.script("print('hello')")
    assert desk.run()[0] == "hello\n"


def test_a_full_disk_there(desk: Desk) -> None:
    place = Path(f"/home/{engines.SSH_ACCOUNT}", desk.directory)
    place.mkdir()
    account = pwd.getpwnam(engines.SSH_ACCOUNT)
    options = f"size=64k,uid={account.pw_uid},gid={account.pw_gid}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=True)
    try:
        (desk.root / "workspace/data/big").write_bytes(os.urandom(1 << 20))
        _, said = desk.run(status=EX_CANNOT_CREATE)
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
    assert "no space left" in said
    assert "No space left on device" in said


@pytest.mark.engine("docker")
def test_an_image_that_cannot_be_made(desk: Desk) -> None:
    recipe = f"FROM {engines.REGISTRY}/no-such-image\n"
    write_files(
        desk.root,
        {"platforms/docker.yaml": docker_platform("docker", "mlbox-no-such:1"), "build/Dockerfile": recipe},
    )
    desk.platform(inner="docker")
    _, said = desk.run(status=EX_UNAVAILABLE)
    assert f"the preparation failed on {engines.SSH_HOST}" in said
    assert "no-such-image" in said
    assert desk.record()["status"] == "failed"


# ---- A host that lacks a program ----------------------------------------------------------------


class Poor:
    """The same account with another key, whose sessions find no other programs than those of a directory."""

    def __init__(self, place: Path, key: Path, *missing: str) -> None:
        self.programs = place / "programs"
        self.key = key
        self.programs.mkdir(parents=True)
        for folder in ("/usr/local/bin", "/usr/bin"):
            for program in Path(folder).iterdir():
                if program.name not in missing and not (self.programs / program.name).is_symlink():
                    (self.programs / program.name).symlink_to(program)
        subprocess.run(["chown", "-R", engines.SSH_ACCOUNT, str(place)], check=True)

    def authorize(self, file: Path) -> None:
        """Let the key in."""
        command = f'PATH={self.programs} exec /bin/sh -c \\"$SSH_ORIGINAL_COMMAND\\"'
        file.write_text(f'command="{command}" {self.key.with_suffix(".pub").read_text()}')
        shutil.chown(file, engines.SSH_ACCOUNT)

    def take(self, *names: str) -> None:
        for name in names:
            (self.programs / name).unlink()

    def give(self, *names: str) -> None:
        for name in names:
            (self.programs / name).symlink_to(Path("/usr/bin", name))


@pytest.fixture
def poor(desk: Desk, tmp_path: Path) -> Iterator[Callable[..., Poor]]:
    """Have the host lack some programs from now on; OpenSSH reads a second file with keys of an account."""
    keys = HOME / ".ssh/authorized_keys2"

    def make(*missing: str) -> Poor:
        made = Poor(HOME / desk.directory, new_key(tmp_path), *missing)
        made.authorize(keys)
        desk.environment[SSH_CONFIG_VARIABLE] = ssh_config(tmp_path, IdentityFile=str(made.key))
        return made

    yield make
    keys.unlink(missing_ok=True)


def content(root: Path) -> dict[str, bytes]:
    """All files below a directory but records of runs and what was noted of them."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".mlbox" not in path.parts and "programs" not in path.relative_to(root).parts[:1]
    }


WRITES = "open(out + '/lines', 'a').write('once\\n'); print('ran')"


def test_a_host_without_rsync_loses_nothing(desk: Desk, poor: Callable[..., Poor]) -> None:
    desk.script(WRITES)
    desk.platform(directory=f"{desk.directory}/box")
    desk.there = HOME / desk.directory / "box"
    desk.run()
    here, there = content(desk.root), content(desk.there)
    shutil.rmtree(desk.root / "workspace/.mlbox")
    host = poor("rsync")
    (desk.root / "workspace/data/new").write_text("new")
    for words in (("run", "--task=act"), ("run", "--task=act", "--detach"), ("configure",)):
        _, said = desk(*words, "--platform=lab", status=EX_UNAVAILABLE)
        assert f"there is no rsync on {engines.SSH_HOST}" in said
        assert "install it there" in said
        assert content(desk.root) == {**here, "workspace/data/new": b"new"}
        assert content(desk.there) == there
    assert {record.status for record in records_of(desk.root / "workspace")} == {"failed"}
    assert not list(desk.there.glob("workspace/.mlbox/runs/*"))
    host.give("rsync")
    assert desk.run()[0] == "ran\n"
    assert desk.out("lines") == "once\nonce\n"


def test_an_rsync_that_is_removed_while_a_run_goes_on_loses_nothing(desk: Desk, poor: Callable[..., Poor]) -> None:
    """What the run made waits there until it can be brought back."""
    host = poor()
    desk.platform(directory=f"{desk.directory}/box")
    desk.there = HOME / desk.directory / "box"
    desk.script(AT_WORK + "time.sleep(2); " + ONCE)
    desk.run("--detach")
    host.take("rsync")
    _, said = desk("wait", status=EX_UNAVAILABLE)
    assert f"there is no rsync on '{engines.SSH_HOST}'" in said
    assert "install it there" in said
    assert (desk.there / "workspace/out/ends").read_text() == "once\n"
    assert desk.record()["status"] == "running"
    host.give("rsync")
    desk("wait")
    assert desk.out("ends") == "once\n"
    assert (desk.record()["status"], desk.record()["exit_status"]) == ("succeeded", 0)


@pytest.mark.parametrize("engine", ["docker", "podman", "apptainer"])
def test_a_host_without_the_engine_loses_nothing(desk: Desk, poor: Callable[..., Poor], engine: str) -> None:
    """With an image that was named, and a recipe that is never looked at."""
    inner = (
        docker_platform(engine, "mlbox-no-such:1") if engine != "apptainer" else apptainer_platform(Path("a.sif"))
    )
    write_files(desk.root, {"platforms/engine.yaml": inner, "build/Dockerfile": "", "build/Singularity.recipe": ""})
    desk.script(WRITES)
    desk.platform(inner="local", directory=f"{desk.directory}/box")
    desk.there = HOME / desk.directory / "box"
    desk.run()
    desk.platform(inner="engine", directory=f"{desk.directory}/box")
    here, there = content(desk.root), content(desk.there / "workspace")
    shutil.rmtree(desk.root / "workspace/.mlbox")
    poor("docker", "podman", "apptainer", "singularity")
    for words in (("run", "--task=act"), ("run", "--task=act", "--detach"), ("configure",)):
        _, said = desk(*words, "--platform=lab", status=EX_UNAVAILABLE)
        assert re.search(rf"error: there is .*'{engine}'.* on {engines.SSH_HOST}\n", said), said
        assert "install it there, or use another platform there" in said
        assert content(desk.root) == here
        assert content(desk.there / "workspace") == there
    assert {record.status for record in records_of(desk.root / "workspace")} == {"failed"}
    assert not list(desk.there.glob("workspace/.mlbox/runs/*"))


# ---- Data, secrets, owners -----------------------------------------------------------------------


def test_data_that_lives_there_is_used_in_place(desk: Desk) -> None:
    big = HOME / f"{desk.directory}/elsewhere"
    assert on_host(f"mkdir -p {big}; echo in place >{big}/x; mkdir {big}/results").returncode == 0
    desk.platform(directory=f"{desk.directory}/box")
    desk.script("data = argv[3].split('=', 1)[1]; open(out + '/x', 'w').write(open(data + '/x').read())")
    desk.run("-P", f"data={big}", "-P", f"out={big}/results")
    assert (big / "results/x").read_text() == "in place\n"
    assert not (desk.root / "workspace/out").exists()
    assert not list((HOME / desk.directory / "box").rglob("data"))
    _, said = desk.run("-P", f"data={big}/no", status=EX_MISSING_INPUT)
    assert f"the input 'data' is no directory on {engines.SSH_HOST}" in said


def test_a_secret_is_in_no_process_list_and_in_no_record(desk: Desk) -> None:
    secret = f"geheim-{uuid.uuid4().hex}"
    desk.environment["KEY_OF_MINE"] = secret
    desk.platform("environment: {KEY_OF_MINE: }")
    desk.script(AT_WORK + f"import os; time.sleep(2); print(len(os.environ['KEY_OF_MINE']) == {len(secret)})")
    watching = desk.start_run("-v")
    shown = []
    while watching.poll() is None:
        shown += _processes(secret)
        time.sleep(0.1)
    out, err = watching.communicate()
    assert out == "begun\nTrue\n", err
    assert shown == []
    assert secret not in err
    for root in (desk.root, desk.there):
        assert all(secret not in file.read_text(errors="replace") for file in root.rglob("*") if file.is_file())


@pytest.mark.parametrize("user", ["root", pytest.param("ordinary", marks=pytest.mark.engine("ordinary-user"))])
def test_outputs_belong_to_whoever_asked(
    request: pytest.FixtureRequest, tmp_path: Path, directory: str, user: str
) -> None:
    uid, desk = os.geteuid(), Desk(tmp_path / "box", directory)
    if user == "ordinary":
        uid = pwd.getpwnam(engines.ACCOUNT).pw_uid
        program: Path = request.getfixturevalue("ordinary_bin") / "mlbox"
        root: Path = request.getfixturevalue("ordinary_directory") / "ssh"
        desk = Desk(
            root / "box", directory, lambda *words, **more: engines.as_ordinary_user(str(program), *words, **more)
        )
    desk.script(
        "import os; print(os.uname().nodename, os.geteuid());os.makedirs(out + '/d'); open(out + '/d/x', 'w')"
    )
    subprocess.run(["chown", "-R", str(uid), str(desk.root.parent)], check=True)
    there = pwd.getpwnam(engines.SSH_ACCOUNT).pw_uid
    assert desk.run()[0] == f"{engines.SSH_HOST} {there}\n"
    assert {path.stat().st_uid for path in desk.root.rglob("*")} == {uid}
    assert (desk.root / "workspace/out/d/x").exists()
    assert {path.stat().st_uid for path in (HOME / directory).rglob("*")} == {there}
    shutil.rmtree(desk.root)


# ---- The example box -----------------------------------------------------------------------------

SHA256 = "f027c0cefb8a3e41b6ad0e39cae955e08fa90ee640b6445699197894321cf136"
CERTIFICATES = Path("/etc/ssl/certs")
"""What an administrator gives containers where a network has its own authorities."""
DOCKER = f"""\
schema_type: mlbox_docker
schema_version: 1.1.0
image: mlbox-test-mnist:1
docker_runtime: docker
arguments: [--volume, '{CERTIFICATES}:{CERTIFICATES}:ro']
environment: {{SSL_CERT_FILE: {CERTIFICATES}/ca-certificates.crt, PIP_CERT: {CERTIFICATES}/ca-certificates.crt}}
"""
APPTAINER = """\
schema_type: mlbox_singularity
schema_version: 1.1.0
image: {image}
arguments: [--bind, '/etc/ssl/certs:/etc/ssl/certs:ro']
environment: {{SSL_CERT_FILE: /etc/ssl/certs/ca-certificates.crt, PIP_CERT: /etc/ssl/certs/ca-certificates.crt}}
"""
LOCAL = "schema_type: mlbox_local\nschema_version: 1.1.0\npython: /usr/bin/python3\n"


@pytest.fixture(scope="module")
def mnist_image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The image of the box, made beforehand by somebody who knows this network's certificates."""
    root = mnist.copy_of_the_box(tmp_path_factory.mktemp("mnist"))
    write_files(root, {"platforms/docker.yaml": DOCKER})
    command = [*mnist.MLBOX, "configure", str(root), "--platform=docker", "--ca-bundle=host"]
    subprocess.run(command, check=True, capture_output=True)
    yield "mlbox-test-mnist:1"
    subprocess.run(["docker", "rmi", "--force", "mlbox-test-mnist:1"], check=True, capture_output=True)


@pytest.fixture(scope="module")
def mnist_file(mnist_image: str) -> Iterator[Path]:
    """The same for Apptainer, copied to where the account over there finds it."""
    file = HOME / f"mlbox-test-{uuid.uuid4().hex[:8]}.sif"
    subprocess.run(
        ["apptainer", "build", str(file), f"docker-daemon:{mnist_image}"], check=True, capture_output=True
    )
    file.chmod(0o755)
    yield file
    file.unlink()


@pytest.fixture
def pip_settings() -> Iterator[None]:
    """What pip needs to know there, as this machine's own pip has it."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True
    )
    pairs = (line.partition("=") for line in listed.stdout.splitlines())
    settings = {name.rpartition(".")[2]: ast.literal_eval(value) for name, _, value in pairs}
    file = HOME / ".config/pip/pip.conf"
    file.parent.mkdir(exist_ok=True)
    file.write_text("[global]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items()))
    yield
    shutil.rmtree(file.parent)


@pytest.mark.parametrize(
    "engine",
    ["local", *(pytest.param(name, marks=pytest.mark.engine(name)) for name in ("docker", "apptainer"))],
)
def test_the_example_box_gives_the_same_bytes_there(
    request: pytest.FixtureRequest, tmp_path: Path, directory: str, engine: str
) -> None:
    if engine == "local":
        request.getfixturevalue("pip_settings")
        inner = LOCAL
    elif engine == "docker":
        request.getfixturevalue("mnist_image")
        inner = DOCKER
    else:
        inner = APPTAINER.format(image=request.getfixturevalue("mnist_file"))
    root = mnist.copy_of_the_box(tmp_path)
    lab = f"schema_type: mlbox_ssh\nschema_version: 1.1.0\nhost: {engines.SSH_HOST}\nplatform: inner\n"
    lab += f"directory: {directory}/box\nenvironment: {{MLCOMMONS_BOX_CACHE: {HOME / directory}/cache}}\n"
    write_files(root, {"platforms/lab.yaml": lab, "platforms/inner.yaml": inner})
    command = [*mnist.MLBOX, "run", str(root), "--all", "--platform=lab"]
    environment = {**os.environ, SSH_CONFIG_VARIABLE: str(engines.ssh_config())}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert mnist.metrics(root)["model_sha256"] == SHA256
    assert mnist.sha256(root / "workspace/model/model.keras") == SHA256
    assert (root / "workspace/model/learning_curve.png").read_bytes().startswith(b"\x89PNG")
    assert {path.stat().st_uid for path in root.rglob("*")} == {os.geteuid()}


# ---- What the record proves ----------------------------------------------------------------------


@pytest.mark.engine("ssh")
@pytest.mark.parametrize("detached", [False, True], ids=["watched", "detached"])
def test_a_record_says_where_and_in_what_it_ran(desk: Desk, detached: bool) -> None:
    desk.script("open(out + '/made', 'w').write('it')")
    if detached:
        desk.run("--detach")
        desk("wait")
    else:
        desk.run()
    record = desk.record()
    assert record["machine"]["host"] == engines.SSH_HOST  # type: ignore[index]
    assert record["image"]["python"]  # type: ignore[index]
    assert record["outputs"]["out"]["files"] == 1  # type: ignore[index]
    assert record["unproved"] is None
    shown, _ = desk("why", "--task=act", "--platform=lab")
    assert shown.startswith("act: up to date")
