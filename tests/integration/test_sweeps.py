"""Sweeps on real engines: side by side on this machine, and as a job array of Slurm."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mlcommons_box.contract.scene import eventually
from mlcommons_box.errors import EX_CONFIGURATION, EX_INTERRUPTED, EX_USAGE
from mlcommons_box.host import SSH_CONFIG_VARIABLE
from tests import engines
from tests.conftest import write_files
from tests.integration import mnist
from tests.integration.kubernetes_emulator import Server

MLBOX = [sys.executable, "-m", "mlcommons_box"]
BOX = {
    "mlbox.yaml": """\
schema_version: 1.0.0
schema_type: mlbox_root
name: toy
author: somebody
version: 0.1.0
mlbox_spec_version: 0.1.0
tasks: [tasks/train.yaml]
""",
    "tasks/train.yaml": """\
schema_version: 1.0.0
schema_type: mlbox_task
inputs: [{name: parameters_file, type: file}]
outputs: [{name: model_dir, type: directory}]
""",
    "run/train.yaml": """\
schema_version: 1.0.0
schema_type: mlbox_invoke
task_name: train
input_binding: {parameters_file: parameters.json}
output_binding: {model_dir: model}
""",
    "build/toy.py": """\
import json, os, sys, time
paths = dict(argument[2:].split("=", 1) for argument in sys.argv[2:])
given = json.load(open(paths["parameters_file"]))
began = time.time()
time.sleep(given["seconds"] * given["model"]["width"])
if given["rate"] > 0.9:
    sys.exit("it diverged")
loss = (given["rate"] - 0.3) ** 2 + given["model"]["width"] / 100
seen = os.environ.get("CUDA_VISIBLE_DEVICES")
with open(paths["model_dir"] + "/metrics.json", "w") as file:
    json.dump({"loss": loss}, file)
with open(paths["model_dir"] + "/used.json", "w") as file:
    json.dump({"gpus": seen, "from": began, "to": time.time()}, file)
""",
    "workspace/parameters.json": '{"rate": 0.5, "seconds": 0, "model": {"width": 1}}',
    "sweeps/grid.yaml": """\
schema_type: mlbox_sweep
schema_version: 1.0.0
run: train
method: grid
parameters_file: parameters_file
parameters: {rate: [0.1, 0.3, 1], model.width: [1, 2, 3, 4]}
metric: loss
direction: minimize
""",
    "sweeps/search.yaml": """\
schema_type: mlbox_sweep
schema_version: 1.0.0
run: train
method: search
parameters_file: parameters_file
parameters: {rate: {low: 0.01, high: 0.8, log: true}, model.width: {low: 1, high: 8}}
trials: 8
seed: 3
metric: loss
direction: minimize
""",
    "platforms/cluster.yaml": """\
schema_type: mlbox_slurm
schema_version: 1.1.0
platform: local
resources: {cpus: 1, memory: 200M}
""",
}
BEST = "the best trial is 5: loss 0.01 (rate 0.3, model.width 1)"


class Desk:
    """Somebody with the box."""

    def __init__(self, root: Path) -> None:
        self.root = write_files(root, BOX)

    def __call__(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words), capture_output=True, text=True, check=False, env={**os.environ, **variables}
        )

    def command(self, *words: str) -> list[str]:
        return [*MLBOX, *words, f"--mlbox={self.root}"]

    def results(self, sweep: str) -> dict[int, dict[str, Any]]:
        shown = self("sweep", sweep, "--results", "--json")
        assert shown.returncode == 0, shown.stderr
        return {each["trial"]: each for each in json.loads(shown.stdout)["trials"]}

    def used(self, sweep: str) -> list[dict[str, Any]]:
        files = self.root.glob(f"workspace/sweeps/{sweep}/*/model_dir/used.json")
        return [json.loads(file.read_text()) for file in sorted(files, key=lambda file: int(file.parts[-3]))]

    def slow_down(self, seconds: float) -> None:
        file = self.root / "workspace/parameters.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "seconds": seconds}))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "toy")


def check_grid(desk: Desk, status: int) -> None:
    """All twelve trials ended as they have to, each with its own values."""
    results = desk.results("grid")
    assert status == 1
    assert [each["status"] for each in results.values()] == ["succeeded"] * 8 + ["failed"] * 4
    for number, each in results.items():
        values = each["values"]
        own = json.loads(
            (desk.root / f"workspace/sweeps/grid/{number}/parameters_file/parameters.json").read_text()
        )
        assert (own["rate"], own["model"]["width"]) == (values["rate"], values["model.width"])
        if each["status"] == "succeeded":
            expected = (values["rate"] - 0.3) ** 2 + values["model.width"] / 100
            assert each["metrics"]["loss"] == pytest.approx(expected)


def test_twelve_trials_two_at_a_time(desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "trials.csv"
    result = desk("sweep", "grid", "--jobs=2", f"--csv={file}")
    check_grid(desk, result.returncode)
    assert BEST in result.stderr
    assert "  | it diverged\n" in result.stderr
    assert "  * 5   0.3    1             succeeded" in result.stdout
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert [row["metrics.loss"] != "" for row in rows] == [True] * 8 + [False] * 4
    assert [row["values.rate"] for row in rows[::4]] == ["0.1", "0.3", "1"]

    before = desk.results("grid")
    again = desk("sweep", "grid")
    after = desk.results("grid")
    assert "8 of 12 trials have succeeded before" in again.stderr
    assert [number for number in after if after[number]["run_id"] != before[number]["run_id"]] == [9, 10, 11, 12]
    assert desk("sweep", "grid", "--again", "-j", "auto", "--json").returncode == 1
    assert all(each["run_id"] != before[number]["run_id"] for number, each in desk.results("grid").items())


def test_a_sweep_that_is_interrupted_goes_on_where_it_was(desk: Desk) -> None:
    desk.slow_down(0.4)
    with subprocess.Popen(
        desk.command("sweep", "grid"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr
        assert eventually(lambda: b"trial 2: succeeded" in process.stderr.readline(), 60)  # type: ignore[union-attr]
        busy = desk("sweep", "grid")
        process.send_signal(signal.SIGINT)
        process.stderr.read()
    assert process.returncode == EX_INTERRUPTED
    assert (busy.returncode, "another command runs the sweep" in busy.stderr) == (EX_USAGE, True)
    before = desk.results("grid")
    done = [number for number, each in before.items() if each["status"] == "succeeded"]
    assert done[:2] == [1, 2]
    assert len(done) < 8
    check_grid(desk, desk("sweep", "grid", "-j", "4").returncode)
    after = desk.results("grid")
    assert [after[number]["run_id"] for number in done] == [before[number]["run_id"] for number in done]


def test_trials_have_gpus_of_their_own(desk: Desk) -> None:
    desk.slow_down(0.1)
    (desk.root / "sweeps/grid.yaml").write_text(BOX["sweeps/grid.yaml"].replace(", 1]", "]"))
    visible = {"CUDA_VISIBLE_DEVICES": "5,7"}
    command = desk.command("sweep", "grid", "--jobs=3")
    other = Desk(desk.root.parent / "other")
    other.slow_down(0.1)
    (other.root / "sweeps/grid.yaml").write_text((desk.root / "sweeps/grid.yaml").read_text())
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, **visible}) as process:
        assert other("sweep", "grid", "--jobs=2", **visible).returncode == 0
    assert process.returncode == 0
    used = [*desk.used("grid"), *other.used("grid")]
    assert len(used) == 16
    assert {each["gpus"] for each in used} == {"5", "7"}
    for gpu in ("5", "7"):
        spans = sorted((each["from"], each["to"]) for each in used if each["gpus"] == gpu)
        assert all(earlier[1] <= later[0] for earlier, later in pairwise(spans))
    assert desk("sweep", "grid", "--again", "--jobs=3", "--share-gpus", **visible).returncode == 0
    assert {each["gpus"] for each in desk.used("grid")} == {"5,7"}


def test_more_gpus_than_there_are_is_a_mistake_in_the_platform_file(desk: Desk) -> None:
    write_files(
        desk.root,
        {"platforms/big.yaml": "schema_type: mlbox_local\nschema_version: 1.1.0\nresources: {gpus: 3}\n"},
    )
    result = desk("sweep", "grid", "--platform=big", CUDA_VISIBLE_DEVICES="0,1")
    assert result.returncode == EX_CONFIGURATION
    assert "a trial needs 3 GPUs, and there are 2" in result.stderr


def test_a_search_finds_the_same_however_often_it_is_interrupted(desk: Desk) -> None:
    whole = desk("sweep", "search", "--json")
    assert whole.returncode == 0, whole.stderr
    expected = [each["values"] for each in json.loads(whole.stdout)["trials"]]
    assert len(expected) == 8
    other = Desk(desk.root.parent / "other")
    file = other.root / "sweeps/search.yaml"
    for trials in (3, 5, 8):
        file.write_text(BOX["sweeps/search.yaml"].replace("trials: 8", f"trials: {trials}"))
        assert other("sweep", "search").returncode == 0
    assert [each["values"] for each in other.results("search").values()] == expected


def test_what_is_printed_can_be_pasted_into_a_shell(desk: Desk) -> None:
    (desk.root / "sweeps/grid.yaml").write_text(BOX["sweeps/grid.yaml"].replace("[0.1, 0.3, 1]", "[0.1]"))
    shown = desk("sweep", "grid", "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert not (desk.root / "workspace/sweeps").exists()
    script = shown.stdout.partition("\n# trial 1\n")[2]
    subprocess.run(["sh", "-ec", script], check=True, capture_output=True)
    assert len(desk.used("grid")) == 4
    planned = json.loads(desk("sweep", "grid", "--dry-run", "--json").stdout)
    assert [each["values"]["model.width"] for each in planned] == [1, 2, 3, 4]
    space = json.loads(desk("sweep", "search", "--dry-run", "--json").stdout)["space"]
    assert space["model.width"] == {"low": 1, "high": 8, "logarithmic": False, "whole": True}


# ---- On a cluster --------------------------------------------------------------------------------


@pytest.mark.engine("slurm")
def test_all_trials_are_one_array(desk: Desk) -> None:
    result = desk("sweep", "grid", "--platform=cluster")
    check_grid(desk, result.returncode)
    assert BEST in result.stderr
    records = json.loads(subprocess.run(desk.command("runs", "--json"), capture_output=True, check=True).stdout)
    arrays = {record["native_id"].partition("_")[0] for record in records}
    assert (len(records), len(arrays)) == (12, 1)


@pytest.mark.engine("slurm")
def test_whoever_comes_back_waits_for_what_goes_on(desk: Desk) -> None:
    started = desk("sweep", "grid", "--platform=cluster", "--detach")
    assert started.returncode == 0, started.stderr
    assert len(started.stdout.split()) == 12
    result = desk("sweep", "grid", "--platform=cluster")
    check_grid(desk, result.returncode)
    assert [each["run_id"] for each in desk.results("grid").values()] == started.stdout.split()


@pytest.mark.engine("slurm")
def test_a_killed_command_loses_nothing(desk: Desk) -> None:
    desk.slow_down(2)
    command = desk.command("sweep", "grid", "--platform=cluster")
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        assert eventually(
            lambda: [each["status"] for each in desk.results("grid").values()].count("running") == 12, 30
        )
        time.sleep(0.5)
        process.kill()
    result = desk("sweep", "grid", "--platform=cluster")
    assert "waiting for 12 trials that went on without us" in result.stderr
    check_grid(desk, result.returncode)


@pytest.mark.engine("slurm")
def test_an_interrupt_ends_the_waiting_and_not_the_trials(desk: Desk) -> None:
    desk.slow_down(3)
    command = desk.command("sweep", "grid", "--platform=cluster")
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        assert eventually(lambda: "trial 1: succeeded" in process.stderr.readline(), 60)  # type: ignore[union-attr]
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert process.returncode == EX_INTERRUPTED
    assert "the trials go on without us" in said
    check_grid(desk, desk("sweep", "grid", "--platform=cluster").returncode)


@pytest.mark.engine("ssh")
def test_trials_on_another_host(desk: Desk) -> None:
    (desk.root / "sweeps/grid.yaml").write_text(BOX["sweeps/grid.yaml"].replace("[0.1, 0.3, 1]", "[0.1]"))
    write_files(desk.root, {"platforms/far.yaml": f"host: {engines.SSH_HOST}\nplatform: local.yaml\n"})
    write_files(desk.root, {"platforms/local.yaml": "schema_type: mlbox_local\nschema_version: 1.0.0\n"})
    result = desk("sweep", "grid", "--platform=far", "--jobs=2", **{SSH_CONFIG_VARIABLE: str(engines.ssh_config())})
    assert result.returncode == 0, result.stderr
    assert len(desk.used("grid")) == 4


@pytest.mark.engine("kubectl")
def test_trials_on_kubernetes(desk: Desk, tmp_path: Path) -> None:
    """By a real ``kubectl``, on a cluster that is an emulator."""
    write_files(
        desk.root, {"platforms/pods.yaml": "schema_type: mlbox_kubernetes\nschema_version: 1.1.0\nimage: toy:1\n"}
    )
    server = Server(tmp_path, program=("/usr/bin/env", "python3", str(desk.root / "build/toy.py")))
    try:
        result = desk("sweep", "grid", "--platform=pods", "--jobs=4", KUBECONFIG=str(server.kubeconfig))
        assert eventually(lambda: not server.cluster.remaining()), server.cluster.remaining()
    finally:
        server.close()
    check_grid(desk, result.returncode)
    assert BEST in result.stderr
    assert [each["kind"] for each in server.cluster.created].count("Job") == 12


@pytest.mark.engine("podman")
def test_trials_in_podman(desk: Desk) -> None:
    image = f"mlbox-sweep-{os.getpid()}"
    dockerfile = f'FROM {engines.BASE_IMAGE}\nCOPY toy.py /toy.py\nENTRYPOINT ["python3", "/toy.py"]\n'
    head = "schema_type: mlbox_docker\nschema_version: 1.1.0\n"
    platform = f"{head}image: {image}\ndocker_runtime: podman\n"
    write_files(desk.root, {"build/Dockerfile": dockerfile, "platforms/podman.yaml": platform})
    try:
        result = desk("sweep", "grid", "--platform=podman", "--jobs=2")
    finally:
        subprocess.run(["podman", "rmi", "--force", image], check=True, capture_output=True)
    check_grid(desk, result.returncode)
    assert BEST in result.stderr


# ---- The MNIST box -------------------------------------------------------------------------------

SMALL = """\
schema_type: mlbox_sweep
schema_version: 1.0.0
run: train
method: list
parameters_file: parameters_file
parameters: {optimizer: [adam, sgd], batch_size: [2000, 2000], train_epochs: [1, 1]}
metric: test_accuracy
direction: maximize
"""


def test_a_sweep_of_the_mnist_box(trained: Path, tmp_path: Path) -> None:
    root = mnist.copy_of_the_box(tmp_path)
    (root / "workspace/data").symlink_to(trained / "workspace/data")
    write_files(root, {"sweeps/small.yaml": SMALL})
    result = subprocess.run(
        [*MLBOX, "sweep", "small", f"--mlbox={root}", "--platform=local", "--jobs=2", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    data = json.loads(result.stdout)
    accuracy = [trial["metrics"]["test_accuracy"] for trial in data["trials"]]
    assert data["best"] == 1
    assert accuracy[0] > 0.8 > accuracy[1]
