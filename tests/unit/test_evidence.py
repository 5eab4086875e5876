"""What a record proves is what the run read and made, and where nobody can know, the record says so."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from mlcommons_box import fingerprint as fingerprints
from mlcommons_box import hashing
from mlcommons_box.errors import CannotCreateError, UnavailableError
from mlcommons_box.findings import evidence_at_end
from mlcommons_box.fingerprint import Memory, fingerprint
from mlcommons_box.journal import Journal
from mlcommons_box.machine import this_machine
from mlcommons_box.planning import RunPlan
from mlcommons_box.record import mapping_in
from mlcommons_box.runners import submitted_run
from mlcommons_box.runners.interface import Outcome
from mlcommons_box.runners.submitted_run import SubmittedRun
from mlcommons_box.tree_store import TreeStore
from mlcommons_box.value import replace
from tests.conftest import write_files
from tests.unit.proof import BOX, GOOD, PYTHON, Bench, Nameless, train

NOTHING = Memory(None)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "box")


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes everything too large to be hashed before a run starts; what is there is then older than the run."""

    def large() -> None:
        monkeypatch.setattr(hashing, "SMALL", -1)
        time.sleep(0.05)

    return large


def digest(path: Path) -> str:
    return fingerprint(path, NOTHING).digest


def test_a_record_has_all_that_a_run_used_and_made(bench: Bench) -> None:
    record = bench.run()
    workspace = bench.workspace
    assert record.unproved is None
    assert record.code["build"]["digest"] == digest(bench.root / "build")
    assert record.code["build"]["files"] == 2
    assert len(record.code["definition"]) == 64
    assert "git" not in record.code
    assert record.inputs["data"]["digest"] == digest(workspace / "data")
    content = BOX["workspace/settings.yaml"].encode()
    assert record.inputs["settings"] == {
        "kind": "file",
        "digest": hashlib.sha256(content).hexdigest(),
        "files": 1,
        "size": len(content),
    }
    assert {name: each["digest"] for name, each in record.outputs.items()} == {
        "model": digest(workspace / "model"),
        "log": digest(workspace / "out/log.txt"),
    }
    assert record.hyperparameters == {
        "settings": {"rate": 0.1, "optimizer.name": "adam", "optimizer.betas.0": 0.9, "optimizer.betas.1": 0.99}
    }
    assert record.image == PYTHON
    assert record.engine == {"name": "player", "version": "1"}
    assert record.machine == this_machine()
    assert record.metrics == {"accuracy": 0.9}
    trees = TreeStore(workspace)
    assert trees.entries(record.code["build"]["digest"]) == {
        name: hashlib.sha256(BOX[f"build/{name}"].encode()).hexdigest() for name in ("train.py", "lib/net.py")
    }
    assert set(trees.entries(record.outputs["model"]["digest"]) or ()) == {"weights", "metrics.json"}


def test_two_runs_of_the_same_write_its_trees_once(bench: Bench) -> None:
    bench.run()
    before = TreeStore(bench.workspace).journal.content()
    bench.run()
    assert TreeStore(bench.workspace).journal.content() == before


def test_what_is_large_is_hashed_while_the_run_goes_on(bench: Bench, large: Callable[[], None]) -> None:
    large()
    record = bench.run()
    assert record.unproved is None
    assert record.inputs["data"]["digest"] == digest(bench.workspace / "data")


def there_and_back(file: Path) -> None:
    """Change a file so that neither its content nor its time tells it afterwards."""
    before = file.read_bytes()
    file.write_text("3\n")
    file.write_bytes(before)
    os.utime(file, (1, 1))


CHANGES: Mapping[str, Callable[[Path], object]] = {
    "content": lambda root: (root / "workspace/data/a.txt").write_text("3\n"),
    "new file": lambda root: (root / "workspace/data/new").touch(),
    "removed": lambda root: (root / "workspace/data/b/c.txt").unlink(),
    "renamed": lambda root: (root / "workspace/data/a.txt").rename(root / "workspace/data/z.txt"),
    "there and back": lambda root: there_and_back(root / "workspace/data/a.txt"),
    "mode": lambda root: (root / "workspace/data/a.txt").chmod(0o600),
    "file input": lambda root: (root / "workspace/settings.yaml").write_text("rate: 7\n"),
    "code": lambda root: (root / "build/lib/net.py").write_text("layers = 3\n"),
    "gone": lambda root: (root / "workspace/settings.yaml").unlink(),
    "pipe": lambda root: os.mkfifo(root / "workspace/data/pipe"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_while_the_run_reads_it_proves_nothing(bench: Bench, change: str) -> None:
    def play(plan: RunPlan) -> Outcome:
        outcome = train(plan)
        time.sleep(0.02)
        CHANGES[change](bench.root)
        return outcome

    bench.player.does = play
    record = bench.run()
    assert record.status == "succeeded"
    assert record.unproved
    names = {"code": "build/", "file input": "settings", "gone": "settings", "pipe": "pipe"}
    assert names.get(change, "data") in record.unproved


def test_what_is_large_and_changed_as_the_run_started_proves_nothing(
    bench: Bench, large: Callable[[], None]
) -> None:
    large()

    def just_before(plan: RunPlan) -> Outcome:
        (bench.workspace / "data/a.txt").write_text("3\n")
        time.sleep(0.02)
        return train(plan)

    bench.player.does = just_before
    record = bench.run()
    assert "the input 'data' was changed" in str(record.unproved)


def test_an_output_inside_of_an_input_is_no_part_of_it(bench: Bench) -> None:
    plan = bench.plan({"model": "$WORKSPACE/data/model", "log": "$WORKSPACE/data/b/log.txt"})
    before = digest(bench.workspace / "data")
    record = bench.run(plan)
    assert record.unproved is None
    assert record.inputs["data"]["digest"] == before
    assert bench.why(
        bench.plan({"model": "$WORKSPACE/data/model", "log": "$WORKSPACE/data/b/log.txt"})
    ).is_up_to_date


def test_what_comes_and_goes_in_an_input_is_seen(bench: Bench) -> None:
    def play(plan: RunPlan) -> Outcome:
        time.sleep(0.02)
        (bench.workspace / "data/b/x").touch()
        (bench.workspace / "data/b/x").unlink()
        return train(plan)

    bench.player.does = play
    assert "the input 'data' was changed" in str(bench.run().unproved)


def test_an_input_inside_of_an_output_is_no_part_of_it(bench: Bench) -> None:
    write_files(bench.workspace, {"model/settings.yaml": "rate: 1\n"})
    rebind = {"settings": "$WORKSPACE/model/settings.yaml"}
    record = bench.run(bench.plan(rebind))
    made = TreeStore(bench.workspace).entries(record.outputs["model"]["digest"])
    assert set(made or ()) == {"weights", "metrics.json"}
    assert record.unproved is None
    assert bench.why(bench.plan(rebind)).is_up_to_date


def test_the_workspace_itself_can_be_an_input(bench: Bench) -> None:
    """Our own files in it are none of the input."""
    rebind = {"data": "$WORKSPACE"}
    assert bench.run(bench.plan(rebind)).unproved is None
    assert bench.why(bench.plan(rebind)).is_up_to_date


def test_what_was_not_made_or_cannot_be_read_proves_nothing(bench: Bench) -> None:
    def nothing(plan: RunPlan) -> Outcome:
        return GOOD

    bench.player.does = nothing
    assert bench.run().unproved == "the output 'log' was not made"

    def odd(plan: RunPlan) -> Outcome:
        train(plan)
        os.mkfifo(bench.workspace / "model/pipe")
        return GOOD

    bench.player.does = odd
    assert "it is neither a file nor a directory" in str(bench.run().unproved)


def test_what_is_elsewhere_proves_nothing(bench: Bench) -> None:
    plan = bench.plan()
    parameters = tuple(replace(each, elsewhere=each.name == "data") for each in plan.parameters)
    record = bench.run(replace(plan, parameters=parameters))
    assert record.unproved == "'data' is not on this machine"
    assert "data" not in record.inputs


@pytest.mark.parametrize(
    "error", [UnavailableError("the engine is asleep"), OSError(2, "no environment"), ValueError("odd answer")]
)
def test_an_engine_that_does_not_answer_is_no_matter_for_the_run(bench: Bench, error: BaseException) -> None:
    bench.player.fails = error
    record = bench.run()
    assert record.status == "succeeded"
    assert record.image == {}
    assert str(getattr(error, "message", error)) in str(record.unproved)


def test_a_runner_that_cannot_say_is_no_doubt(bench: Bench) -> None:
    bench.player = Nameless()
    record = bench.run()
    assert (record.unproved, record.image, record.machine) == (None, {}, {})


def test_a_run_that_fails_is_recorded_as_well(bench: Bench) -> None:
    bench.player.does = lambda plan: Outcome(status="failed", exit_status=3)
    record = bench.run()
    assert (record.status, record.exit_status) == ("failed", 3)
    assert record.inputs["data"]["digest"]


def test_a_disk_that_is_full_of_trees_loses_no_record(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    append = Journal.append

    def full(self: Journal, entries: list[Mapping[str, object]]) -> None:
        if self.file.name == "trees.jsonl":
            raise OSError(errno.ENOSPC, "No space left on device")
        append(self, entries)

    monkeypatch.setattr(Journal, "append", full)
    record = bench.run()
    assert record.status == "succeeded"
    assert "No space left" in str(record.unproved)
    assert not bench.why().is_up_to_date


def test_whoever_does_not_want_to_wait_interrupts_once_more(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mlcommons_box.evidence.Evidence.at_end", interrupted)
    record = bench.run()
    assert (record.status, record.unproved) == ("succeeded", "interrupted while its files were hashed")


class TestSteps:
    """The learning curve of a run stays with it."""

    STEPS = '{"loss": 2, "epoch": 1}\n{"loss": 1, "epoch": 2}\nnone of these\n{"text": "x"}\n'

    def play(self, plan: RunPlan) -> Outcome:
        train(plan)
        (plan.outputs[0].path / "metrics.jsonl").write_text(self.STEPS)
        return GOOD

    def test_they_are_kept(self, bench: Bench) -> None:
        bench.player.does = self.play
        record = bench.run()
        assert record.metrics == {"loss": 1, "epoch": 2, "accuracy": 0.9}
        kept = bench.store.path(record.id, "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in kept] == [{"loss": 2, "epoch": 1}, {"loss": 1, "epoch": 2}]

    def test_a_link_in_their_place_is_not_followed(self, bench: Bench, tmp_path: Path) -> None:
        plan = bench.plan()
        bench.store.path(plan.id).mkdir(parents=True)
        bench.store.path(plan.id, "metrics.jsonl").symlink_to(tmp_path / "precious")
        bench.player.does = self.play
        assert "cannot write" in str(bench.run(plan).unproved)
        assert not (tmp_path / "precious").exists()


IDENTITY = """\
node7
Linux
6.1.0
x86_64

8
16384000
NVIDIA H100
mlbox:uses
engine docker 28.2.0
image sha256:{id}
digest repo@sha256:{id}
""".replace("{id}", "a" * 64)


class TestRunsThatGoOnWithoutUs:
    @pytest.fixture(autouse=True)
    def _nobody_here_knows(self, bench: Bench) -> None:
        bench.player = Nameless()

    def submitted(self, bench: Bench, identity: str = IDENTITY) -> RunPlan:
        plan = bench.plan()
        run = SubmittedRun(
            queue="process", id="1", directory=f"/there/.mlbox/runs/{plan.id}/job", identity=identity
        )
        submitted_run.write(run, bench.store.path(plan.id))
        return plan

    def test_what_the_job_said_is_in_the_record(self, bench: Bench) -> None:
        record = bench.run(self.submitted(bench))
        assert record.image == {"id": f"sha256:{'a' * 64}", "digests": [f"repo@sha256:{'a' * 64}"]}
        assert record.engine == {"name": "docker", "version": "28.2.0"}
        assert record.machine == {
            "host": "node7",
            "system": "Linux",
            "release": "6.1.0",
            "architecture": "x86_64",
            "processor": None,
            "processors": 8,
            "memory": 16384000 * 1024,
            "gpus": ["NVIDIA H100"],
        }

    @pytest.mark.parametrize("said", ["", "node7\nLinux\n", "mlbox:uses\n"])
    def test_a_job_that_was_cut_off_has_said_nothing(self, bench: Bench, said: str) -> None:
        record = bench.run(self.submitted(bench, said))
        assert (record.image, record.engine, record.machine) == ({}, {}, {})

    def test_the_rest_is_found_out_when_it_has_ended(self, bench: Bench) -> None:
        record = bench.run(self.submitted(bench))
        left = replace(record, outputs={}, metrics={}, image={})
        assert evidence_at_end(left, bench.store)["outputs"] == record.outputs
        assert evidence_at_end(left, bench.store)["unproved"] is None
        (bench.workspace / "data/a.txt").write_text("3\n")
        assert "'data' was changed" in evidence_at_end(left, bench.store)["unproved"]

    def test_a_record_with_something_odd_in_it(self, bench: Bench) -> None:
        record = bench.run(self.submitted(bench))
        odds: list[dict[str, object]] = [{"data": 5, "settings": None}, {"data": ["x"]}, {}]
        for odd in odds:
            assert "was changed" in evidence_at_end(replace(record, inputs=odd), bench.store)["unproved"]
        os.mkfifo(bench.workspace / "data/pipe")
        assert "neither a file" in evidence_at_end(record, bench.store)["unproved"]


def test_what_a_record_has_under_a_name() -> None:
    assert mapping_in({"a": {"b": 1}}, "a") == {"b": 1}
    holders: list[object] = [{}, {"a": None}, {"a": [1]}, {"a": "b"}, None, [], 5]
    for holder in holders:
        assert mapping_in(holder, "a") == {}


def test_a_tree_store_that_cannot_be_written(bench: Bench, tmp_path: Path) -> None:
    trees = TreeStore(tmp_path / "other")
    trees.journal.file.parent.mkdir(parents=True)
    trees.journal.file.symlink_to("nowhere")
    with pytest.raises(CannotCreateError, match=r"trees\.jsonl"):
        trees.keep(fingerprints.content(bench.root / "build", NOTHING))
    with pytest.raises(CannotCreateError, match=r"trees\.jsonl"):
        trees_of_a_directory(tmp_path).keep_only(())
    assert trees.entries("a" * 64) is None


def trees_of_a_directory(tmp_path: Path) -> TreeStore:
    trees = TreeStore(tmp_path / "third")
    trees.journal.file.mkdir(parents=True)
    return trees


def test_trees_that_nobody_needs_go(bench: Bench) -> None:
    record = bench.run()
    trees = TreeStore(bench.workspace)
    trees.keep_only([record.outputs["model"]["digest"]])
    assert trees.entries(record.outputs["model"]["digest"])
    assert trees.entries(record.code["build"]["digest"]) is None
