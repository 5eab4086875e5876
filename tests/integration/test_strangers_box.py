"""A stranger's box: to look at it starts and writes nothing, and to run it in a container reaches nothing else.

Names, paths and values full of metacharacters are text to us, from validation to the run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlcommons_box.run_store import RunStore
from mlcommons_box.value import replace
from tests import engines
from tests.conftest import ECHO_BOX, MakeBox, write_files
from tests.recorded_runs import recorded

MLBOX = [sys.executable, "-m", "mlcommons_box"]
EVIL = "; touch pwned; $(touch pwned) `touch pwned` | touch pwned && touch pwned > pwned 'x' #"
IMAGE = "mlbox-stranger-test"
PLATFORM = "schema_version: 1.1.0\nenvironment: {EVIL: __EVIL__}\nschema_type: "
PROGRAM = "import os, sys; print(sys.argv[1:], os.environ['EVIL'], sep='\\n')"


def quoted(text: str) -> str:
    """A text in YAML."""
    return "'" + text.replace("'", "''") + "'"


@pytest.fixture
def box(tmp_path: Path) -> Path:
    platform = PLATFORM.replace("__EVIL__", quoted(EVIL))
    task = "schema_version: 1.0.0\nschema_type: mlbox_task\ninputs: []\n"
    run = f"schema_version: 1.0.0\nschema_type: mlbox_invoke\ntask_name: {quoted(EVIL)}\ninput_binding: {{}}\n"
    return write_files(
        tmp_path / f"box {EVIL}",
        {
            "mlbox.yaml": f"schema_version: 1.0.0\nschema_type: mlbox_root\nname: {quoted(EVIL)}\n"
            f"author: {quoted(EVIL)}\nversion: 1.0.0\nmlbox_spec_version: 1.0.0\n"
            f"tasks: [{quoted('tasks/' + EVIL + '.yaml')}]\n",
            f"tasks/{EVIL}.yaml": task + "outputs: [{name: 'a;touch', type: directory}]\n",
            f"run/{EVIL}.yaml": run + f"output_binding: {{'a;touch': {quoted(EVIL)}}}\n",
            "build/main.py": PROGRAM,
            "build/Dockerfile": f"FROM {engines.BASE_IMAGE}\nCOPY main.py /main.py\nRUN chmod a+r /main.py\n"
            'ENTRYPOINT ["python3", "/main.py"]\n',
            "build/Singularity.recipe": f"Bootstrap: docker\nFrom: {engines.REGISTRY}/{engines.BASE_IMAGE}\n\n"
            '%files\n    main.py /main.py\n\n%runscript\n    exec python3 /main.py "$@"\n',
            "platforms/local.yaml": platform + "mlbox_local\n",
            "platforms/docker.yaml": platform + f"mlbox_docker\nimage: {IMAGE}\ndocker_runtime: docker\n",
            "platforms/podman.yaml": platform + f"mlbox_docker\nimage: {IMAGE}\ndocker_runtime: podman\n",
            "platforms/apptainer.yaml": platform
            + f"mlbox_singularity\nimage: {quoted(EVIL.replace('$', '') + '.sif')}\n",
        },
    )


@pytest.mark.parametrize(
    "platform",
    ["local", *(pytest.param(name, marks=pytest.mark.engine(name)) for name in ("docker", "podman", "apptainer"))],
)
def test_nothing_of_it_is_run(platform: str, box: Path, tmp_path: Path) -> None:
    run = ["run", f"--task={EVIL}", f"--platform={platform}"]
    for command in (["validate"], ["describe"], [*run, "--dry-run"], run, ["runs"], ["show"], ["logs"]):
        words = [*MLBOX, *command, "--mlbox", str(box)]
        result = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        if command == run:
            place = box / "workspace" if platform == "local" else Path("/mlbox_io0")
            assert result.stdout == f"{[EVIL, f'--a;touch={place}/{EVIL}']}\n{EVIL}\n"
    assert not list(tmp_path.rglob("pwned"))
    if platform in ("docker", "podman"):
        subprocess.run([platform, "rmi", "--force", IMAGE], check=True, capture_output=True)


# ---- To look is to do nothing --------------------------------------------------------------------

AUDITED = """\
import os, sys
seen, written = [], os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
doing = ("subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.system", "os.kill", "socket.",
    "pty.", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.chmod", "os.chown",
    "os.truncate", "os.utime", "os.setxattr", "shutil.", "ctypes.", "sqlite3.", "urllib.", "tempfile.")
def hook(event, words):
    if event == "open" and isinstance(words[2], int) and words[2] & written and words[0] != os.devnull:
        seen.append(f"{event} {words[0]!r}")
    elif event.startswith(doing):
        seen.append(f"{event} {words!r:.200}")
    elif event == "compile" and str(words[1]).startswith(sys.argv[1]):
        seen.append(f"{event} {words[1]!r}")
sys.addaudithook(hook)
from mlcommons_box.cli.main import main
status = main(sys.argv[2:])
sys.stdout.flush()
os.write(2, b"".join(b"DID " + each.encode("utf-8", "backslashreplace") + b"\\n" for each in seen))
os._exit(status)
"""
ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\r\n"


@pytest.fixture(scope="module")
def nasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A box in which nothing is what it should be, but for the run ``copy`` and the platform ``local``."""
    odd = {f"run/{name}.yaml": ECHO_BOX["run/copy.yaml"] for name in ("-rf", "--privileged", "a\x1b[2J")}
    root = write_files(tmp_path_factory.mktemp("nasty"), {**ECHO_BOX, **odd})
    for name in ("run/fifo.yaml", "platforms/docker.yaml", "mlbox.lock", "build/fifo", "build/requirements.txt"):
        (root / name).parent.mkdir(exist_ok=True)
        os.mkfifo(root / name)
    for name, target in {
        "run/zero.yaml": "/dev/zero",
        "platforms/random.yaml": "/dev/random",
        "run/here": ".",
        "run/top": "/",
        "run/self.yaml": "self.yaml",
        "build/out": "/etc",
        "build/self": "self",
        "sweeps": "run",
    }.items():
        (root / name).symlink_to(target)
    (root / f"run/{ESCAPES}.yaml").write_text(f'{{"{ESCAPES[0]}": 1}}')
    (root / ("run/" + "x" * 250 + ".yaml")).write_text("")
    (root / "run/unreadable.yaml").write_text(ECHO_BOX["run/copy.yaml"])
    (root / "run/unreadable.yaml").chmod(0)
    with (root / "platforms/huge.yaml").open("wb") as file:
        file.truncate(1 << 40)
    descend(root / "run", 2000)
    store = RunStore(root / "workspace")
    for number, native_id in enumerate(("$(touch pwned)", ESCAPES)):
        record = replace(recorded(number, store), box=ESCAPES, run="copy", native_id=native_id, commands=(ESCAPES,))
        store.write(record)
    (root / "workspace/.mlbox/trees.jsonl").symlink_to("/dev/zero")
    write_files(root, {".git/HEAD": "ref: refs/heads/x", ".git/config": "[core]\nfsmonitor = touch pwned\n"})
    yield root
    subprocess.run(["rm", "-rf", str(root / "run/d")], check=True)  # which Python's own is too deep for


def descend(directory: Path, levels: int) -> None:
    """Make directories in each other, deeper than a path can say."""
    here = os.open(directory, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)


LOOKING = (
    (["validate"], 65),
    (["describe"], 65),
    (["describe", "--json"], 65),
    (["run", "--task=copy", "--platform=local", "--dry-run"], 0),
    (["run", "--task=-rf", "--platform=local", "--dry-run"], 0),
    (["run", "--task=--privileged", "--platform=local", "--dry-run"], 0),
    (["run", "--task=copy", "--platform=docker", "--dry-run"], 65),
    (["run", "--task=copy", "--platform=huge", "--dry-run"], 65),
    (["run", "--task=fifo", "--platform=local", "--dry-run"], 65),
    (["run", "--task=zero", "--platform=local", "--dry-run"], 65),
    (["run", "--task=self", "--platform=local", "--dry-run"], 65),
    (["run", "--all", "--platform=local", "--dry-run"], 65),
    (["runs"], 0),
    (["runs", "--json"], 0),
    (["show"], 0),
    (["logs"], 0),
    (["status"], 0),
    (["why", "--task=copy", "--platform=local"], 1),
    (["clean"], 65),
    (["sweep"], 64),
)


@pytest.mark.parametrize(
    ("words", "status"), LOOKING, ids=lambda value: value if isinstance(value, int) else " ".join(value)
)
def test_to_look_starts_nothing_and_writes_nothing(
    nasty: Path, words: list[str], status: int, tmp_path: Path
) -> None:
    command = [sys.executable, "-B", "-c", AUDITED, str(nasty), *words, "--mlbox", str(nasty)]
    done = subprocess.run(
        command, capture_output=True, check=False, cwd=tmp_path, timeout=60, stdin=subprocess.DEVNULL
    )
    assert b"DID " not in done.stderr, done.stderr[-500:]
    assert done.returncode == status, done.stderr[:500]
    said = (done.stdout + done.stderr).decode()
    assert all(character.isprintable() or character == "\n" for character in said)


def test_what_is_audited_is_noticed(make_box: MakeBox) -> None:
    """A run starts a process, and writes."""
    root = make_box()
    command = [sys.executable, "-B", "-c", AUDITED, str(root), "run", "--platform=local", "--mlbox", str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "DID subprocess.Popen" in done.stderr
    assert "DID os.mkdir" in done.stderr
    assert "DID open" in done.stderr


@pytest.mark.parametrize("words", [["report", "--output=out.html"], ["gc", "--keep=1"], ["rm", "00000000"]])
def test_a_report_is_the_only_thing_that_is_written(nasty: Path, words: list[str], tmp_path: Path) -> None:
    before = names(tmp_path, nasty, nasty / "workspace")
    done = subprocess.run(
        [*MLBOX, *words, "--mlbox", str(nasty)], capture_output=True, check=False, cwd=tmp_path, timeout=60
    )
    assert done.returncode in (0, 64, 73), done.stderr[:500]
    assert names(tmp_path, nasty, nasty / "workspace") - before <= {str(tmp_path / "out.html")}


def names(*directories: Path) -> set[str]:
    return {entry.path for directory in directories for entry in os.scandir(directory)}


@pytest.mark.parametrize("command", ["status", "wait", "cancel", "logs", "show", "report"])
def test_a_run_that_is_said_to_go_on_gives_no_words_to_a_shell(
    make_box: MakeBox, command: str, tmp_path: Path
) -> None:
    """Its queue's question and its end are scripts, and ids in a stranger's workspace would be parts of them."""
    root = make_box()
    store = RunStore(root / "workspace")
    record = replace(recorded(1, store), status="running", exit_status=None, ended_at=None, detached=True)
    store.write(record)
    evil: dict[str, object] = {
        "queue": "slurm",
        "id": "1; touch pwned; #",
        "login": None,
        "engine": None,
        "outputs": [],
    }
    (store.path(record.id) / "job").mkdir(parents=True)
    directory = store.path(record.id, "job")
    (store.path(record.id) / "job.json").write_text(json.dumps({**evil, "directory": str(directory)}))
    words = [*MLBOX, command, *([record.id] if command != "report" else []), "--mlbox", str(root)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60)
    assert not list(tmp_path.rglob("pwned"))
    if command in ("status", "wait", "cancel"):
        assert done.returncode == 78
        assert "no job" in done.stderr


def test_nothing_is_fetched_to_where_neither_box_nor_workspace_is(make_box: MakeBox, tmp_path: Path) -> None:
    root = make_box()
    store = RunStore(root / "workspace")
    record = replace(recorded(1, store), status="running", exit_status=None, ended_at=None, detached=True)
    store.write(record)
    output = {"there": "/evil", "here": str(tmp_path / "home/.profile"), "type": "file", "inputs": []}
    job = {"queue": "process", "id": "1", "login": {"host": "127.0.0.1"}, "engine": None, "outputs": [output]}
    store.path(record.id).mkdir(parents=True)
    directory = str(store.path(record.id, "job"))
    (store.path(record.id) / "job.json").write_text(json.dumps({**job, "directory": directory}))
    for command in ("wait", "cancel", "status"):
        words = [*MLBOX, command, record.id, "--mlbox", str(root)]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 78
        assert "neither in the workspace nor in the box" in done.stderr


# ---- In a container ------------------------------------------------------------------------------

PROBE = """\
import os, sys
paths = dict(word[2:].split("=", 1) for word in sys.argv[2:])
source, out, outside = paths["source"], paths["out"], os.environ["OUTSIDE"]
found = []
def read(path):
    try: found.append((path, open(path).read(20)))
    except OSError: pass
def write(path):
    try: open(path, "a").write("reached"); found.append((path, "written"))
    except OSError: pass
for path in (outside + "/secret", source + "/link", source + "/up/secret", source + "/../../secret",
             "/proc/1/root" + outside + "/secret", "/proc/self/cwd/../secret", out + "/there/secret"):
    read(path)
for path in (outside + "/new", source + "/new", source + "/file", source + "/up/new", out + "/there/new"):
    if os.path.exists(os.path.dirname(path)): write(path)
found += [(path, "there") for path in ("/var/run/docker.sock", "/run/podman/podman.sock", "/dev/mem", "/dev/sda")
          if os.path.exists(path)]
# Nothing of it is written: it would change this machine.
found += [(place, "could be written") for top in ("/proc/sys", "/proc/irq", "/proc/sysrq-trigger", "/sys")
          for place in [top, *(os.path.join(parent, name) for parent, _, names in os.walk(top) for name in names)]
          if os.access(place, os.W_OK)]
os.symlink(outside + "/secret", out + "/secret")
os.symlink(outside + "/metrics.json", out + "/metrics.json")
os.symlink(outside, out + "/directory")
os.mkfifo(out + "/metrics.jsonl")
print(found[:5])
"""


@pytest.fixture
def image(request: pytest.FixtureRequest) -> Iterator[str]:
    yield f"{IMAGE}-{request.param}"
    if request.param != "apptainer":
        subprocess.run(
            [request.param, "rmi", "--force", f"{IMAGE}-{request.param}"], check=False, capture_output=True
        )


CONTAINERS = [pytest.param(name, marks=pytest.mark.engine(name)) for name in ("docker", "podman", "apptainer")]


@pytest.mark.parametrize("image", CONTAINERS, indirect=True)
def test_a_task_reaches_nothing_by_links(image: str, make_box: MakeBox, tmp_path: Path) -> None:
    engine = image.rpartition("-")[2]
    outside = write_files(tmp_path / "outside", {"secret": "geheim", "metrics.json": '{"stolen": 1}'})
    head = f"schema_version: 1.1.0\nenvironment: {{OUTSIDE: {outside}}}\nschema_type: "
    kind = "mlbox_singularity\nimage: a.sif\n" if engine == "apptainer" else f"mlbox_docker\nimage: {image}\n"
    runtime = "" if engine == "apptainer" else f"docker_runtime: {engine}\n"
    root = make_box(
        {
            "platforms/p.yaml": head + kind + runtime,
            "tasks/copy.yaml": "schema_version: 1.0.0\nschema_type: mlbox_task\n"
            "inputs: [{name: source, type: directory}]\noutputs: [{name: out, type: directory}]\n",
            "run/copy.yaml": "schema_version: 1.0.0\nschema_type: mlbox_invoke\ntask_name: copy\n"
            "input_binding: {source: in}\noutput_binding: {out: out}\n",
            "build/probe.py": PROBE,
            "build/Dockerfile": f"FROM {engines.BASE_IMAGE}\nCOPY probe.py /\nRUN chmod a+r /probe.py\n"
            'ENTRYPOINT ["python3", "/probe.py"]\n',
            "recipe": f"Bootstrap: docker\nFrom: {engines.REGISTRY}/{engines.BASE_IMAGE}\n\n"
            '%files\n    probe.py /probe.py\n\n%runscript\n    exec python3 /probe.py "$@"\n',
            "workspace/in/file": "f",
        }
    )
    if engine == "apptainer":  # an image that is not compressed is made in a moment
        shutil.copy(root / "build/probe.py", root)
        words = [
            "build",
            "--fakeroot",
            "--mksquashfs-args=-noI -noD -noF -no-fragments",
            "workspace/a.sif",
            "recipe",
        ]
        subprocess.run(["apptainer", *words], cwd=root, check=True, capture_output=True)
    (root / "workspace/in/link").symlink_to(outside / "secret")
    (root / "workspace/in/up").symlink_to(outside)
    (root / "workspace/out").mkdir()
    (root / "workspace/out/there").symlink_to(outside)
    (root / "secret").write_text("geheim")
    done = subprocess.run([*MLBOX, "run", str(root), "--platform=p"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
    shown = subprocess.run(
        [*MLBOX, "show", "--json", "--mlbox", str(root)], capture_output=True, text=True, check=True
    )
    assert "stolen" not in shown.stdout
    assert sorted(path.name for path in outside.iterdir()) == ["metrics.json", "secret"]
    assert (outside / "secret").read_text() == "geheim"
    for words in (["verify"], ["clean", "--yes"]):
        subprocess.run([*MLBOX, *words, "--mlbox", str(root)], capture_output=True, check=False, timeout=60)
    assert (outside / "secret").read_text() == "geheim"


@pytest.mark.engine("docker")
@pytest.mark.parametrize("name", ["PATH", "LD_PRELOAD", "DOCKER_HOST", "DOCKER_CONFIG", "HOME", "TMPDIR"])
def test_no_variable_of_a_task_steers_the_engine(name: str, make_box: MakeBox, tmp_path: Path) -> None:
    """Also when it looks like a secret, which engines are given by their own environment."""
    evil = write_files(tmp_path, {"evil/docker": "#!/bin/sh\n/usr/bin/touch {tmp_path}/pwned\n"}) / "evil"
    (evil / "docker").write_text(f"#!/bin/sh\n/usr/bin/touch {tmp_path}/pwned\n")
    (evil / "docker").chmod(0o755)
    task = ECHO_BOX["tasks/copy.yaml"].replace("1.0.0", "1.1.0") + f"environment: {{{name}: 'x://u:p@h:{evil}'}}\n"
    root = make_box(
        {
            "tasks/copy.yaml": task,
            "platforms/p.yaml": "schema_type: mlbox_docker\nschema_version: 1.1.0\ndocker_runtime: docker\n"
            f"image: {engines.BASE_IMAGE}\n",
        }
    )
    done = subprocess.run([*MLBOX, "run", str(root), "--platform=p"], capture_output=True, text=True, check=False)
    assert not (tmp_path / "pwned").exists()
    assert "cannot connect" not in done.stderr.lower()
    assert done.returncode in (1, 2, 69, 126, 127)  # a task of Python has no such option, or no such program


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("image", "--privileged"),
        ("image", "-v/:/host"),
        ("image", "a b"),
        ("image", "$(touch pwned)"),
        ("image", "a\\n--privileged"),
        ("docker_runtime", "/bin/sh"),
        ("docker_runtime", "docker; touch pwned"),
    ],
)
def test_words_that_an_engine_would_take_for_options_are_refused(make_box: MakeBox, key: str, value: str) -> None:
    keys = {"image": "a", "docker_runtime": "docker", key: value}
    body = "".join(f'{name}: "{each}"\n' for name, each in keys.items())
    root = make_box({"platforms/p.yaml": f"schema_type: mlbox_docker\nschema_version: 1.0.0\n{body}"})
    assert subprocess.run([*MLBOX, "validate", str(root)], capture_output=True, check=False).returncode == 65


def test_a_dry_run_shows_where_a_link_leads(make_box: MakeBox, tmp_path: Path) -> None:
    """A binding may lead anywhere: this is how its owner sees it before the run."""
    platform = "schema_type: mlbox_docker\nschema_version: 1.0.0\nimage: a\ndocker_runtime: docker\n"
    root = make_box({"platforms/p.yaml": platform})
    (tmp_path / "home").mkdir()
    (root / "workspace/logs").symlink_to(tmp_path / "home")
    words = [*MLBOX, "run", str(root), "--platform=p", "--dry-run"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert f"source={tmp_path / 'home'}," in done.stdout
