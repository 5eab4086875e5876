"""What can befall a job of Slurm, on a real cluster.

Two tests need more than a minute each, most of it Slurm's own: their runs begin with the first test of this module,
and are looked at by the last ones.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mlcommons_box.cache import CACHE_VARIABLE
from mlcommons_box.contract.scene import BOX, eventually
from mlcommons_box.errors import (
    EX_CONFIGURATION,
    EX_INTERRUPTED,
    EX_TEMPORARY,
    EX_TIMED_OUT,
    EX_UNAVAILABLE,
)
from mlcommons_box.host import SSH_CONFIG_VARIABLE
from mlcommons_box.value import as_data
from tests import engines
from tests.conftest import records_of, write_files
from tests.integration import mnist
from tests.integration.test_real_engines import DOCKERFILE

MLBOX = [sys.executable, "-m", "mlcommons_box"]
PATH = os.environ["PATH"]


def call(*argv: str) -> str:
    environment = {**os.environ, "PATH": PATH}
    return subprocess.run(argv, check=True, capture_output=True, text=True, env=environment).stdout


def queue(*words: str) -> list[str]:
    """The jobs that have not ended."""
    return call("squeue", "--noheader", "--format=%i %T %N %r", *words).splitlines()


def until(happened: Callable[[], object], seconds: float = 30) -> None:
    assert eventually(lambda: bool(happened()), seconds)


def image_of(name: str, made_from: bytes) -> Path:
    """Where an image is, which is made once, for as long as what it is made from stays the same."""
    image = engines.STATE / f"{name}-{hashlib.sha256(made_from).hexdigest()[:12]}.sif"
    for former in set(engines.STATE.glob(f"{name}-*.sif")) - {image}:
        former.unlink()
    return image


def check_that_nothing_is_left(place: Path) -> None:
    """No job of a box below a directory is in the queue, and there is none of a job's own files."""
    runs = [path for path in place.rglob(".mlbox/runs/*") if path.is_dir()]
    ours = {f"mlbox-{run.name}" for run in runs}
    until(lambda: not ours & set(call("squeue", "--noheader", "--format=%j").split()), 60)
    assert [path.name for run in runs for path in run.iterdir() if path.name in ("job", "array")] == []


# ---- What can befall a job -----------------------------------------------------------------------

CLUSTER = """\
schema_type: mlbox_slurm
schema_version: 1.1.0
platform: local
resources: {cpus: 1, memory: 200M}
"""
WAIT = """\
import os, time
print("ready", flush=True)
while not os.path.exists(out + "/gate"):
    time.sleep(0.05)
print("done")
"""


class Desk:
    """Somebody with a box whose task is any script, and a cluster."""

    def __init__(self, place: Path, script: str = WAIT, more: str = "", cluster: str = CLUSTER) -> None:
        self.root = write_files(
            place, {**BOX, "platforms/cluster.yaml": cluster + more, "workspace/script.py": script}
        )

    def command(self, *words: str) -> list[str]:
        box = [str(self.root)] if words[0] == "run" else [f"--mlbox={self.root}"]
        return [*MLBOX, *words, *box]

    def __call__(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **variables}
        return subprocess.run(self.command(*words), capture_output=True, text=True, check=False, env=environment)

    def detach(self) -> str:
        """Start a run and leave it; its native id."""
        result = self("run", "--platform=cluster", "--detach")
        assert result.returncode == 0, result.stderr
        return str(self.record()["native_id"])

    @contextmanager
    def started(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """A run that somebody watches."""
        command = self.command("run", "--platform=cluster", *words)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        with process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.terminate()

    def record(self) -> dict[str, Any]:
        """The record of the latest run."""
        records = records_of(self.root / "workspace")
        data: dict[str, Any] = as_data(records[-1]) if records else {}
        return data

    def job(self) -> str:
        """The native id, once there is one."""
        until(lambda: self.record().get("native_id"))
        return str(self.record()["native_id"])

    def state(self) -> str:
        return " ".join(line.split(" ", 1)[1] for line in queue(f"--jobs={self.job()}"))

    def until_ready(self, seconds: float = 30) -> None:
        """The task has begun."""
        directory = self.root / "workspace/.mlbox/runs"
        until(lambda: any(path.read_bytes() for path in directory.glob("*/job/stdout.log")), seconds)

    def open_gate(self) -> None:
        (self.root / "workspace/out/gate").touch()

    def end(self) -> tuple[str, int, str]:
        """How the latest run ended."""
        record = self.record()
        return record["status"], record["exit_status"], record["reason"] or ""


class Slow:
    """What takes a minute by itself, and so begins before all else."""

    def __init__(self, place: Path) -> None:
        self.over_time = Desk(place / "over time", more="arguments: [--time=1]\n")
        self.job = self.over_time.detach()
        hidden = place / "hidden"
        box = write_files(place / "box", {**BOX, "platforms/cluster.yaml": CLUSTER, "workspace/script.py": WAIT})
        hidden.mkdir()
        words = [*MLBOX, "run", str(hidden / "box"), "--platform=cluster"]
        mounting = f'mount -t tmpfs tmpfs "{hidden}" && cp -r "{box}" "{hidden}" && exec "$@"'
        command = ["unshare", "--mount", "sh", "-c", mounting, "sh", *words]
        self.unseen = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def is_on_a_node(self) -> bool:
        return queue(f"--jobs={self.job}") != []

    def close(self) -> None:
        if self.unseen.poll() is None:
            self.unseen.terminate()
        self.unseen.communicate(timeout=60)
        call("scancel", self.job)


@pytest.fixture(scope="module", autouse=True)
def slow(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slow]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(request.getfixturevalue("cache")))
        begun = Slow(tmp_path_factory.mktemp("slow"))
    yield begun
    begun.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Where boxes are, of which nothing is left in the queue in the end."""
    yield tmp_path
    check_that_nothing_is_left(tmp_path)


@pytest.mark.engine("slurm")
@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("x = bytearray(600 * 2**20)", 137),
        ("import subprocess\nsubprocess.run([sys.executable, '-c', 'bytearray(600 * 2**20)'], check=True)", 1),
    ],
    ids=["itself", "a child"],
)
def test_more_memory_than_the_job_may(script: str, status: int, place: Path) -> None:
    desk = Desk(place, "import sys\n" + script)
    result = desk("run", "--platform=cluster")
    assert desk.end()[:2] == ("failed", status)
    assert "it used more memory than its job may; Slurm says OUT_OF_MEMORY, OutOfMemory" in result.stderr
    assert result.returncode == status


@pytest.mark.engine("slurm")
@pytest.mark.parametrize("hold", [False, True], ids=["running", "pending"])
def test_cancelled_from_outside(hold: bool, place: Path) -> None:
    desk = Desk(place, more="arguments: [--hold]\n" if hold else "")
    with desk.started() as process:
        job = desk.job()
        until(lambda: "JobHeldUser" in desk.state()) if hold else desk.until_ready()
        call("scancel", job)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert desk.end()[:2] == ("cancelled", 143)
    assert "its job was cancelled; Slurm says CANCELLED" in said


@pytest.mark.engine("slurm")
def test_an_interrupt_takes_a_run_out_of_the_queue(place: Path) -> None:
    desk = Desk(place, more="arguments: [--hold]\n")
    with desk.started() as process:
        job = desk.job()
        assert process.stderr
        until(lambda: "waiting in the queue (JobHeldUser)" in process.stderr.readline())  # type: ignore[union-attr]
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == EX_INTERRUPTED
    assert desk.end() == ("cancelled", EX_INTERRUPTED, "interrupted")
    assert queue(f"--jobs={job}") == []


@pytest.mark.engine("slurm")
@pytest.mark.parametrize("hold", [False, True], ids=["running", "pending"])
def test_cancel_ends_a_run_that_goes_on_by_itself(hold: bool, place: Path) -> None:
    script = """
import signal, time
def end(*_):
    open(out + "/checkpoint", "w").write("saved")
    raise SystemExit(3)
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
time.sleep(600)
"""
    desk = Desk(place, "import sys" + script, more="arguments: [--hold]\n" if hold else "")
    desk.detach()
    if hold:
        said = desk("status").stdout
        assert re.search(r"waiting +JobHeldUser", said), said
    else:
        desk.until_ready()
        assert desk("logs").stdout == "ready\n"
        assert " running" in desk("status").stdout
    result = desk("cancel")
    assert result.returncode == 0, result.stderr
    assert desk.end() == ("cancelled", 143, "cancelled")
    assert (desk.root / "workspace/out/checkpoint").exists() != hold
    assert desk("cancel").returncode == 0


@pytest.mark.engine("slurm")
def test_cancel_ends_a_run_that_somebody_watches(place: Path) -> None:
    desk = Desk(place)
    with desk.started() as process:
        desk.until_ready()
        assert desk("cancel").returncode == 0
        process.communicate(timeout=60)
    assert desk.end()[0] == "cancelled"


@pytest.mark.engine("slurm")
@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("partition: nosuch\n", "mend 'partition' in the platform file"),
        ("arguments: [--mem=1T]\n", "no node of the partition has what the run asks for"),
        ("arguments: [--gres=gpu:1]\n", "no node of the partition has what the run asks for"),
        ("arguments: [--constraint=nosuch]\n", "no node has what is asked for with --constraint"),
        ("arguments: [--nosuch]\n", "mend 'arguments' in the platform file"),
        ("arguments: [--time=abc]\n", "mend 'time' in the platform file"),
    ],
    ids=["partition", "memory", "gpus", "feature", "argument", "value"],
)
@pytest.mark.parametrize("detach", [[], ["--detach"]], ids=["watched", "detached"])
def test_what_the_cluster_refuses_is_a_mistake_in_the_platform_file(
    more: str, said: str, detach: list[str], place: Path
) -> None:
    desk = Desk(place, more=more)
    result = desk("run", "--platform=cluster", *detach)
    assert result.returncode == EX_CONFIGURATION
    assert said in result.stderr
    assert desk.end()[:2] == ("failed", EX_CONFIGURATION)


@pytest.mark.engine("slurm")
def test_a_killed_mlbox_is_no_matter(place: Path) -> None:
    desk = Desk(place)
    with desk.started() as process:
        desk.until_ready()
        process.kill()
    assert desk.record()["status"] == "running"
    desk.open_gate()
    result = desk("wait")
    assert result.returncode == 0, result.stderr
    assert desk.end() == ("succeeded", 0, "")
    assert desk("logs").stdout == "ready\ndone\n"


@pytest.mark.engine("slurm")
def test_an_interrupt_ends_the_waiting_and_not_the_run(place: Path) -> None:
    desk = Desk(place)
    desk.detach()
    desk.until_ready()
    for words in (("wait",), ("wait", "act"), ("logs", "--follow")):
        with subprocess.Popen(
            desk.command(*words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as waiting:
            time.sleep(1)
            waiting.send_signal(signal.SIGINT)
            waiting.wait(timeout=30)
    assert desk.state().startswith("RUNNING")
    desk.open_gate()
    assert desk("wait", "act").returncode == 0


@pytest.mark.engine("slurm")
@pytest.mark.alone("slurm")
def test_a_controller_that_does_not_answer_is_waited_for(place: Path) -> None:
    desk = Desk(place, "print('ran')", more="arguments: [--hold]\n")
    with desk.started() as process:
        job = desk.job()
        engines.slurm_controller_stop()
        try:
            assert process.stderr
            lines: list[str] = []
            asking = subprocess.Popen(desk.command("status"), stdout=subprocess.PIPE, text=True)
            until(lambda: lines.append(process.stderr.readline()) or "we try again" in lines[-1])  # type: ignore
            shown, _ = asking.communicate(timeout=60)
            assert process.poll() is None
        finally:
            engines.slurm_controller_start()
        call("scontrol", "release", job)
        said, _ = process.communicate(timeout=60)
    assert "Slurm's controller does not answer" in "".join(lines)
    assert re.search(r"unreachable +Slurm does not say how the jobs are: Slurm's controller does not answer", shown)
    assert (process.returncode, said) == (0, "ran\n")
    assert desk.end() == ("succeeded", 0, "")


@pytest.mark.engine("slurm")
@pytest.mark.alone("slurm")
@pytest.mark.parametrize("requeue", [True, False])
def test_a_node_that_fails(requeue: bool, place: Path, slow: Slow) -> None:
    until(lambda: not slow.is_on_a_node(), 120)
    script = """
import os, time
if not os.path.exists(out + "/before"):
    open(out + "/before", "w")
    print("ready", flush=True)
    time.sleep(600)
print("again")
"""
    desk = Desk(place, script, more=f"requeue: {str(requeue).lower()}\n")
    with desk.started() as process:
        desk.until_ready()
        node = desk.state().split()[1]
        engines.slurm_node_kill(node)
        try:
            if requeue:
                until(lambda: "PENDING" in desk.state())
                call("scontrol", "update", f"jobid={desk.job()}", "starttime=now")
            said, errors = process.communicate(timeout=90)
        finally:
            engines.slurm_node_start(node)
    if requeue:
        assert (process.returncode, said) == (0, "ready\nagain\n"), errors
        assert desk.end() == ("succeeded", 0, "")
    else:
        assert (process.returncode, said) == (EX_TEMPORARY, "ready\n")
        assert desk.end() == ("failed", EX_TEMPORARY, "its node failed; Slurm says NODE_FAIL, NodeDown")


@pytest.mark.engine("slurm")
def test_a_run_that_is_put_into_the_queue_again_goes_on(place: Path) -> None:
    """As a more urgent job does it: the task is asked to end, and begins again later."""
    script = """
import os, time
if not os.path.exists(out + "/before"):
    open(out + "/before", "w")
    print("ready", flush=True)
    time.sleep(600)
print("again")
"""
    desk = Desk(place, script, more="requeue: true\n")
    job = desk.detach()
    desk.until_ready()
    call("scontrol", "requeue", job)
    until(lambda: "PENDING" in desk.state())
    shown = desk("status").stdout
    assert re.search(r" waiting +BeginTime", shown), shown
    with subprocess.Popen(desk.command("wait", "act"), stderr=subprocess.PIPE, text=True) as waiting:
        time.sleep(1)
        assert waiting.poll() is None
        call("scontrol", "update", f"jobid={job}", "starttime=now")
        assert waiting.wait(timeout=60) == 0
    assert desk("logs").stdout == "ready\nagain\n"


@pytest.mark.engine("slurm")
def test_an_input_that_the_node_does_not_see(place: Path) -> None:
    """Only this command sees what is mounted here."""
    desk = Desk(place)
    hidden = desk.root / "workspace/hidden"
    hidden.mkdir()
    words = desk.command("run", "--platform=cluster", "-P", "script=hidden/script.py")
    mounting = f'mount -t tmpfs tmpfs "{hidden}" && cp "{desk.root}/workspace/script.py" "{hidden}" && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", mounting, "sh", *words]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == EX_UNAVAILABLE
    assert f"the input script is not to be seen on node1: {hidden}/script.py" in result.stderr.replace(
        "node2", "node1"
    )
    assert desk.end()[:2] == ("failed", EX_UNAVAILABLE)
    shutil.rmtree(desk.root / "workspace/.mlbox")


@pytest.mark.parametrize(
    "engine", [pytest.param(name, marks=pytest.mark.engine("slurm", name)) for name in ("docker", "podman")]
)
def test_an_engine_that_is_the_nodes(engine: str, place: Path) -> None:
    """The job makes the image, and what it has started ends with it."""
    image = f"mlbox-slurm-test-{engine}"
    desk = Desk(place, cluster=CLUSTER.replace("local", "inside"))
    inside = f"schema_type: mlbox_docker\nschema_version: 1.0.0\nimage: {image}\ndocker_runtime: {engine}\n"
    write_files(desk.root, {"platforms/inside.yaml": inside, "build/Dockerfile": DOCKERFILE})

    def containers() -> list[str]:
        return call(engine, "ps", "--all", "--quiet", "--filter", f"name=mlbox-{desk.record()['id']}").split()

    try:
        with desk.started() as process:
            desk.until_ready(120)
            assert len(containers()) == 1
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
        assert desk.end() == ("cancelled", EX_INTERRUPTED, "interrupted")
        assert containers() == []
        desk.open_gate()
        result = desk("run", "--platform=cluster")
        assert (result.returncode, result.stdout) == (0, "ready\ndone\n"), result.stderr
        assert containers() == []
    finally:
        subprocess.run([engine, "rmi", "--force", image], check=False, capture_output=True)


# ---- Many runs -----------------------------------------------------------------------------------

MANY = 200
COUNTED = r"""\
#!/bin/sh
echo "$*" | tr '\n' ' ' >>{log}
echo >>{log}
exec {program} "$@"
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """The calls of Slurm's programs since the last time that they were asked for."""
    place = tmp_path / "bin"
    for name in ("sbatch", "squeue"):
        write_files(place, {name: COUNTED.format(log=place / f"{name}.log", program=shutil.which(name))})
        (place / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}{os.pathsep}{PATH}")

    def since(name: str) -> list[str]:
        log = place / f"{name}.log"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return lines

    return since


@pytest.mark.engine("slurm")
@pytest.mark.alone("slurm")
def test_many_runs_are_one_submission_and_one_question(place: Path, calls: Callable[[str], list[str]]) -> None:
    script = "open(out + '/answer', 'w').write(out.rpartition('/')[2]); print(out)"
    desk = Desk(place / "box", script, cluster=CLUSTER.replace("200M", "50M"))
    run = (desk.root / "run/act.yaml").read_text()
    (desk.root / "run/act.yaml").unlink()
    numbers = [str(number) for number in range(MANY)]
    write_files(
        desk.root, {f"run/{each}.yaml": run.replace("{out: out}", f"{{out: out/{each}}}") for each in numbers}
    )
    started = desk("run", "--all", "--platform=cluster", "--detach")
    assert started.returncode == 0, started.stderr
    assert len(started.stdout.split()) == MANY
    assert len(calls("sbatch")) == 1
    calls("squeue")
    shown = json.loads(desk("status", "--json").stdout)
    assert {each["state"] for each in shown} <= {"waiting", "running", "over"}
    assert len(shown) == MANY
    assert len(calls("squeue")) == 1
    began = time.monotonic()
    waited = desk("wait")
    assert waited.returncode == 0, waited.stderr
    asked = calls("squeue")
    assert len(asked) <= time.monotonic() - began + 1, "there is a second between two questions"
    assert all("--jobs=" in each and "_" not in each.partition("--jobs=")[2] for each in asked)
    records = [as_data(record) for record in records_of(desk.root / "workspace")]
    assert {(each["status"], each["exit_status"]) for each in records} == {("succeeded", 0)}
    assert len({each["native_id"] for each in records}) == MANY
    assert [(desk.root / "workspace/out" / each / "answer").read_text() for each in numbers] == numbers
    for each in records[:3]:
        assert desk("logs", each["id"]).stdout == f"{desk.root}/workspace/out/{each['run']}\n"


# ---- The example that everything runs ------------------------------------------------------------

SHA256 = "f027c0cefb8a3e41b6ad0e39cae955e08fa90ee640b6445699197894321cf136"
BIG = """\
schema_type: mlbox_slurm
schema_version: 1.1.0
platform: inside
resources: {cpus: 2, memory: 4G}
"""


def train(root: Path, platform: str, **variables: str) -> None:
    for task in ("download", "train"):
        command = [*MLBOX, "run", str(root), f"--platform={platform}", f"--task={task}"]
        environment = {**os.environ, **variables}
        result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert result.returncode == 0, result.stdout + result.stderr
    assert mnist.metrics(root)["model_sha256"] == SHA256


@pytest.mark.engine("slurm", "apptainer")
def test_mnist_in_a_container(place: Path) -> None:
    root = mnist.copy_of_the_box(place)
    recipe = root / "build/Singularity.recipe"
    recipe.write_text(recipe.read_text().replace("From: python", f"From: {engines.REGISTRY}/python"))
    made_from = b"".join(path.read_bytes() for path in sorted((root / "build").iterdir()))
    image = image_of("mnist", made_from)
    inside = f"schema_type: mlbox_singularity\nschema_version: 1.1.0\nimage: {image}\n"
    write_files(root, {"platforms/inside.yaml": inside, "platforms/cluster.yaml": BIG})
    train(root, "cluster", MLCOMMONS_BOX_CA_BUNDLE="host")


@pytest.mark.engine("slurm", "ssh")
def test_mnist_through_ssh(place: Path) -> None:
    root = mnist.copy_of_the_box(place)
    directory = f"mlbox-slurm-{uuid.uuid4().hex[:8]}"
    far = f"schema_type: mlbox_ssh\nschema_version: 1.1.0\nhost: {engines.SSH_HOST}\nplatform: cluster\n"
    write_files(
        root,
        {
            "platforms/far.yaml": f"{far}directory: {directory}\n",
            "platforms/cluster.yaml": BIG.replace("inside", "local"),
        },
    )
    try:
        train(root, "far", **{SSH_CONFIG_VARIABLE: str(engines.ssh_config())})
    finally:
        shutil.rmtree(Path("/home", engines.SSH_ACCOUNT, directory), ignore_errors=True)


# ---- What takes a minute by itself ---------------------------------------------------------------


@pytest.mark.engine("slurm")
def test_more_time_than_the_job_may(slow: Slow) -> None:
    """Slurm's own limit, which is one of whole minutes."""
    result = slow.over_time("wait", "act")
    assert result.returncode == EX_TIMED_OUT
    reason = "it ran longer than its job may; Slurm says TIMEOUT, TimeLimit"
    assert slow.over_time.end() == ("failed", EX_TIMED_OUT, reason)
    assert slow.over_time("logs").stdout == "ready\n"


@pytest.mark.engine("slurm")
def test_a_box_that_the_node_does_not_see(slow: Slow) -> None:
    _, said = slow.unseen.communicate(timeout=120)
    assert slow.unseen.returncode == EX_UNAVAILABLE
    assert "as when its node does not see the box and the workspace; Slurm says FAILED, NonZeroExitCode" in said


@pytest.mark.parametrize("gpus", ["", "resources: {gpus: 2}\n", "resources: {gpus: all}\n"])
def test_a_task_sees_the_gpus_that_its_job_has(gpus: str, place: Path) -> None:
    """Here the job is told of them by an option, as Slurm tells it where there are some."""
    show = "print('GPUs:', os.environ.get('CUDA_VISIBLE_DEVICES'))"
    inside = f"schema_type: mlbox_local\nschema_version: 1.1.0\n{gpus}"
    cluster = CLUSTER.replace("platform: local", "platform: inside.yaml")
    desk = Desk(place, f"import os\n{show}\n", "arguments: ['--export=ALL,CUDA_VISIBLE_DEVICES=5']\n", cluster)
    write_files(desk.root, {"platforms/inside.yaml": inside})
    result = desk("run", "--platform=cluster")
    assert (result.returncode, result.stdout) == (0, "GPUs: 5\n"), result.stderr


def test_without_gpus_a_task_sees_no_variable_of_them(place: Path) -> None:
    desk = Desk(place, "import os\nprint('CUDA_VISIBLE_DEVICES' in os.environ)\n")
    assert desk("run", "--platform=cluster").stdout == "False\n"


@pytest.mark.engine("slurm")
@pytest.mark.parametrize("detached", [False, True], ids=["watched", "detached"])
def test_a_record_says_on_which_node_and_in_what_it_ran(detached: bool, place: Path) -> None:
    desk = Desk(place, "open(out + '/made', 'w').write('it')")
    if detached:
        desk.detach()
        assert desk("wait").returncode == 0
    else:
        assert desk("run", "--platform=cluster").returncode == 0
    record = desk.record()
    assert record["machine"]["host"] in engines.SLURM_NODES
    assert record["image"]["python"]
    assert record["outputs"]["out"]["files"] >= 1
    assert record["inputs"]["script"]["digest"]
    assert record["unproved"] is None
