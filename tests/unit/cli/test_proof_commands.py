"""What ``diff``, ``verify``, ``why``, ``replay``, ``lock``, ``rm`` and ``gc`` say, and their exit statuses."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlcommons_box.cli.main import main
from mlcommons_box.errors import EX_CANNOT_CREATE, EX_CONFIGURATION, EX_SOFTWARE, EX_USAGE
from mlcommons_box.lock import read_lock
from mlcommons_box.planning import RunPlan
from mlcommons_box.record import RunRecord
from mlcommons_box.runners.interface import Outcome
from mlcommons_box.tree_store import TreeStore
from mlcommons_box.value import replace
from tests.conftest import write_files
from tests.recorded_runs import hostile
from tests.unit.proof import PYTHON, Bench, Nameless, train
from tests.unit.test_up_to_date import edited, odd_records

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A box in the current directory, whose local runner plays its task."""
    bench = Bench(tmp_path / "box")
    monkeypatch.chdir(bench.root)
    for command in ("why", "replay", "lock"):
        monkeypatch.setattr(f"mlcommons_box.cli.{command}.runner_for", lambda platform: bench.runner)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    return bench


@pytest.fixture
def mlbox(capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls the command line in this process."""

    def call(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main([str(word) for word in words])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def end_of(record: RunRecord) -> str:
    return record.id.rpartition("-")[2]


class TestDiff:
    def test_nothing_differs(self, bench: Bench, mlbox: Call) -> None:
        record = bench.run()
        status, out, err = mlbox("diff", end_of(record), "train")
        assert (status, out) == (0, "")
        assert "nothing differs" in err
        assert mlbox("diff", record.id, record.id, "--json")[:2] == (0, "[]\n")

    def test_what_differs(self, bench: Bench, mlbox: Call) -> None:
        first = bench.run()
        edited("workspace/settings.yaml", "0.1", "0.2")(bench)
        edited("build/lib/net.py", "2", "3")(bench)
        second = bench.run()
        status, out, _ = mlbox("diff", end_of(first), end_of(second))
        assert status == 1
        assert re.search(r"^hyperparameter +rate +0\.1 became 0\.2$", out, re.MULTILINE)
        assert re.search(r"^code +build/lib/net\.py +its content changed", out, re.MULTILINE)
        status, out, _ = mlbox("diff", end_of(first), end_of(second), "--json")
        assert status == 1
        found = {(each["kind"], each["name"]): each for each in json.loads(out)}
        assert (found["hyperparameter", "rate"]["before"], found["hyperparameter", "rate"]["after"]) == (0.1, 0.2)

    def test_mistakes(self, bench: Bench, mlbox: Call) -> None:
        bench.run()
        assert mlbox("diff", "train")[0] == EX_USAGE
        assert mlbox("diff", "train", "nothing")[0] == EX_USAGE


class TestVerify:
    def test_all_is_the_same(self, bench: Bench, mlbox: Call) -> None:
        bench.run()
        status, out, err = mlbox("verify")
        assert (status, err) == (0, "")
        assert [line.split() for line in out.splitlines()] == [
            ["same", "output", "model"],
            ["same", "output", "log"],
            ["same", "input", "data"],
            ["same", "input", "settings"],
            ["same", "code", "build/"],
        ]

    def test_what_has_changed(self, bench: Bench, mlbox: Call) -> None:
        record = bench.run()
        (bench.workspace / "model/weights").write_text("other")
        status, out, err = mlbox("verify", "train")
        assert status == 1
        assert "changed  output  model" in out
        assert "model/weights  its content changed" in out
        assert f"1 of 5 differ from the record of the run {record.id}" in err
        status, out, err = mlbox("verify", "--json")
        assert (status, err) == (1, "")
        assert [each["name"] for each in json.loads(out) if each["state"] != "same"] == ["model"]

    def test_what_has_no_hash_is_unknown_and_no_failure(self, bench: Bench, mlbox: Call) -> None:
        bench.rewrite(bench.run(), outputs={})
        status, out, _ = mlbox("verify")
        assert status == 0
        assert out.count("unknown  output") == 2
        assert "(the record has no hash of it)" in out


class TestWhy:
    def test_up_to_date_or_not(self, bench: Bench, mlbox: Call) -> None:
        status, out, _ = mlbox("why")
        assert (status, out) == (1, "train: would run\n  record  train  it has never succeeded here\n")
        record = bench.run()
        assert mlbox("why", "--task=train")[:2] == (0, f"train: up to date (the run {record.id})\n")
        edited("workspace/data/a.txt", "1", "2")(bench)
        status, out, _ = mlbox("why")
        assert status == 1
        assert out.startswith(f"train: would run (the run {record.id})\n  input  data/a.txt  its content changed")

    def test_json(self, bench: Bench, mlbox: Call) -> None:
        record = bench.run()
        status, out, _ = mlbox("why", "--json")
        assert status == 0
        assert json.loads(out) == {"train": {"up_to_date": True, "record": record.id, "changes": []}}
        edited("workspace/settings.yaml", "0.1", "0.2")(bench)
        status, out, _ = mlbox("why", "--json")
        assert status == 1
        assert [each["name"] for each in json.loads(out)["train"]["changes"]] == ["rate"]

    def test_a_workspace_that_was_moved(self, bench: Bench, mlbox: Call, tmp_path: Path) -> None:
        bench.run()
        bench.workspace.rename(tmp_path / "moved")
        assert mlbox("why", f"--workspace={tmp_path / 'moved'}")[0] == 0


class TestReplay:
    def test_the_same_bytes(self, bench: Bench, mlbox: Call, tmp_path: Path) -> None:
        record = bench.run()
        status, out, err = mlbox("replay", f"--into={tmp_path / 'again'}")
        assert status == 0
        assert out.startswith("bit-exact          model\ndiffers by nature  log\n")
        assert f"replaying {record.id}" in err
        assert "1 of 2 outputs are bit-exact" in err
        assert (tmp_path / "again/model/model/weights").is_file()

    def test_other_bytes(self, bench: Bench, mlbox: Call) -> None:
        bench.run()

        def play(plan: RunPlan) -> Outcome:
            outcome = train(plan)
            (plan.outputs[0].path / "weights").write_text("other")
            return outcome

        bench.player.does = play
        status, out, err = mlbox("replay", "train", "--json")
        assert status == 1
        assert {each["name"]: each["state"] for each in json.loads(out)} == {
            "model": "diverged",
            "log": "differs by nature",
        }
        assert [each["name"] for each in json.loads(out)[0]["changes"]] == ["model/weights"]
        assert "not the same bytes: model" in err

    def test_what_stands_in_the_way(self, bench: Bench, mlbox: Call, tmp_path: Path) -> None:
        bench.run()
        edited("workspace/data/a.txt", "1", "2")(bench)
        bench.player.image = {**PYTHON, "python": "3.12"}
        status, _, err = mlbox("replay")
        assert status == EX_CONFIGURATION
        assert "cannot be replayed\n  input data/a.txt: its content changed" in err
        assert "\n  image python: '3.11.7' became '3.12'" in err
        assert len(bench.player.runs) == 1
        assert os.listdir(tmp_path / "temporary") == []

    def test_a_replay_that_fails(self, bench: Bench, mlbox: Call) -> None:
        bench.run()
        bench.player.does = lambda plan: Outcome(status="failed", exit_status=7)
        status, _, err = mlbox("replay")
        assert status == 7
        assert "the replay failed with exit status 7" in err

    def test_mistakes(self, bench: Bench, mlbox: Call, tmp_path: Path) -> None:
        assert mlbox("replay")[0] == EX_USAGE
        bench.run()
        assert mlbox("replay", f"--into={tmp_path}")[0] == EX_USAGE
        bench.rewrite(bench.store.find(None), outputs={"model": {}})
        assert "no hashes of outputs" in mlbox("replay")[2]

    def test_a_box_that_has_no_such_task_any_more(self, bench: Bench, mlbox: Call, tmp_path: Path) -> None:
        bench.rewrite(bench.run(), task="gone")
        status, _, err = mlbox("replay")
        assert status == EX_CONFIGURATION
        assert "the box has no task 'gone'" in err
        assert os.listdir(tmp_path / "temporary") == []


class TestLock:
    def test_it_is_written_checked_and_refuses_a_drift(self, bench: Bench, mlbox: Call) -> None:
        status, out, err = mlbox("lock")
        assert (status, out) == (0, "")
        assert "local is locked in mlbox.lock" in err
        assert read_lock(bench.root) == {"local": PYTHON}
        assert not bench.player.prepared, "what is there is locked as it is"
        assert mlbox("lock", "--check")[:2] == (0, "")
        bench.player.image = {**PYTHON, "packages": {"numpy": "2.0"}}
        status, out, _ = mlbox("lock", "--check")
        assert status == 1
        assert out == "image  package numpy  '1.26.0' became '2.0'\n"
        assert read_lock(bench.root) == {"local": PYTHON}
        assert mlbox("lock")[0] == 0
        assert mlbox("lock", "--check")[0] == 0

    def test_what_is_not_there_yet_is_prepared_but_not_to_compare_it(self, bench: Bench, mlbox: Call) -> None:
        bench.player.image = {}
        status, _, err = mlbox("lock", "--check")
        assert status == EX_CONFIGURATION
        assert "nothing to compare with the lock" in err
        assert not bench.player.prepared
        assert mlbox("lock")[0] == EX_CONFIGURATION
        assert len(bench.player.prepared) == 1

    def test_other_platforms_stay(self, bench: Bench, mlbox: Call) -> None:
        write_files(bench.root, {"mlbox.lock": '{"schema_version": 1, "platforms": {"docker": {"id": "x"}}}'})
        assert mlbox("lock")[0] == 0
        assert read_lock(bench.root) == {"docker": {"id": "x"}, "local": PYTHON}

    def test_who_cannot_say(self, bench: Bench, mlbox: Call) -> None:
        bench.player.image = {}
        assert mlbox("lock")[0] == EX_CONFIGURATION
        bench.player = Nameless()
        status, _, err = mlbox("lock")
        assert status == EX_USAGE
        assert "does not tell which image it uses" in err
        assert not (bench.root / "mlbox.lock").exists()

    def test_a_lock_that_is_damaged(self, bench: Bench, mlbox: Call) -> None:
        write_files(bench.root, {"mlbox.lock": "{"})
        assert mlbox("lock", "--check")[0] == EX_CONFIGURATION


class TestRemoving:
    def several(self, bench: Bench, count: int = 4, **changes: Any) -> list[RunRecord]:
        record = bench.run()
        bench.store.remove([record.id])
        made = []
        for number in range(count):
            day = f"2026-01-{number + 1:02}"
            made.append(
                replace(
                    record,
                    id=f"{day.replace('-', '')}T000000-{number:08}",
                    started_at=f"{day}T00:00:00.000Z",
                    **changes,
                )
            )
        bench.store.write(*made)
        for each in made:
            write_files(bench.store.path(each.id), {"stdout.log": "said"})
        return made

    def ids(self, bench: Bench) -> list[str]:
        assert sorted(os.listdir(bench.store.directory)) == bench.store.ids()
        return [run_id[-1] for run_id in bench.store.ids()]

    def test_rm(self, bench: Bench, mlbox: Call) -> None:
        self.several(bench)
        status, out, err = mlbox("rm", "00000001", "20260103")
        assert (status, out) == (0, "")
        assert "removed 2 runs" in err
        assert self.ids(bench) == ["0", "3"]
        assert "removed 1 run" in mlbox("rm", "00000000")[2]
        assert (bench.workspace / "model/weights").exists()

    def test_rm_removes_all_or_none(self, bench: Bench, mlbox: Call) -> None:
        running = self.several(bench)[2]
        bench.rewrite(running, status="running", supervisor={"host": "elsewhere", "pid": 1, "started_ticks": 1})
        for words in (("00000000", "nothing"), ("00000000", running.id), ()):
            assert mlbox("rm", *words)[0] == EX_USAGE
        assert f"'mlbox cancel {running.id}' ends it" in mlbox("rm", running.id)[2]
        assert self.ids(bench) == ["0", "1", "2", "3"]

    def test_rm_removes_what_is_damaged(self, bench: Bench, mlbox: Call) -> None:
        damaged = self.several(bench)[3]
        bench.store.journal.append([{"id": damaged.id, "status": "odd"}])
        status, _, err = mlbox("show", damaged.id)
        assert status == EX_CONFIGURATION
        assert f"'mlbox rm {damaged.id}' removes it" in err
        assert mlbox("rm", damaged.id)[0] == 0
        assert self.ids(bench) == ["0", "1", "2"]

    @pytest.mark.parametrize(
        ("words", "left"),
        [
            (["--keep=2"], ["2", "3"]),
            (["--keep=0"], ["3"]),
            (["--keep=9"], ["0", "1", "2", "3"]),
            (["--older-than=1h"], ["3"]),
            (["--older-than=9999w"], ["0", "1", "2", "3"]),
            (["--keep=2", "--older-than=1d"], ["2", "3"]),
        ],
        ids=str,
    )
    def test_gc(self, bench: Bench, mlbox: Call, words: list[str], left: list[str]) -> None:
        self.several(bench)
        would = mlbox("gc", *words, "--dry-run")[1]
        assert [line[23] for line in would.splitlines()] == [n for n in "3210" if n not in left]
        assert self.ids(bench) == ["0", "1", "2", "3"]
        status, out, err = mlbox("gc", *words)
        assert (status, out) == (0, "")
        assert f"removed {4 - len(left)} of 4 runs" in err
        assert self.ids(bench) == left

    def test_gc_keeps_the_last_that_succeeded_and_what_still_runs(self, bench: Bench, mlbox: Call) -> None:
        made = self.several(bench)
        bench.rewrite(made[1], status="running", supervisor={"host": "elsewhere", "pid": 1, "started_ticks": 1})
        for each in made[2:]:
            bench.rewrite(each, status="failed", exit_status=1)
        assert mlbox("gc", "--keep=0")[0] == 0
        assert self.ids(bench) == ["0", "1"]

    def test_gc_counts_groups_by_themselves(self, bench: Bench, mlbox: Call) -> None:
        made = self.several(bench, 6)
        for each in made[:3]:
            bench.rewrite(each, group={"kind": "sweep", "name": "s", "trial": 1})
        assert mlbox("gc", "--keep=1")[0] == 0
        assert self.ids(bench) == ["2", "5"]

    def test_gc_leaves_the_trees_that_records_need(self, bench: Bench, mlbox: Call) -> None:
        first = bench.run()
        edited("workspace/settings.yaml", "0.1", "0.2")(bench)
        second = bench.run()
        assert mlbox("gc", "--keep=1")[0] == 0
        trees = TreeStore(bench.workspace)
        assert trees.entries(first.outputs["model"]["digest"]) is None
        assert trees.entries(second.outputs["model"]["digest"])
        assert trees.entries(second.code["build"]["digest"])

    @pytest.mark.parametrize("changes", [{"schema_version": 99}, {"status": "odd"}], ids=str)
    def test_gc_leaves_what_an_unreadable_record_may_need(
        self, bench: Bench, mlbox: Call, changes: dict[str, object]
    ) -> None:
        first = bench.run()
        edited("workspace/settings.yaml", "0.1", "0.2")(bench)
        bench.run()
        bench.store.journal.append([{"id": first.id, **changes}])
        for words in (["--dry-run"], []):
            status, out, err = mlbox("gc", "--keep=1", *words)
            assert (status, out) == (EX_CONFIGURATION, "")
            assert "was written by a newer version" in err or "is damaged" in err
        assert TreeStore(bench.workspace).entries(first.outputs["model"]["digest"])
        assert first.id in bench.store.ids()

    @pytest.mark.parametrize(
        "words", [[], ["--keep=-1"], ["--keep=x"], ["--older-than=1y"], ["--older-than=5"]], ids=str
    )
    def test_mistakes(self, bench: Bench, mlbox: Call, words: list[str]) -> None:
        self.several(bench)
        assert mlbox("gc", *words)[0] == EX_USAGE
        assert self.ids(bench) == ["0", "1", "2", "3"]

    def test_gc_removes_nothing_through_a_stranger_s_link(self, bench: Bench, mlbox: Call, tmp_path: Path) -> None:
        record = bench.run()
        bench.store.write(replace(record, id="precious", started_at="2000-01-01T00:00:00.000Z"))
        write_files(tmp_path, {"home/precious/thesis": "x"})
        bench.store.directory.symlink_to(tmp_path / "home")
        assert mlbox("gc", "--keep=0")[0] == EX_CANNOT_CREATE
        assert (tmp_path / "home/precious/thesis").exists()


COMMANDS = [
    *(["show"], ["show", "--json"], ["runs"], ["runs", "--json"], ["logs"], ["status"], ["status", "--json"]),
    *(["verify"], ["verify", "--json"], ["diff", "train", "train"], ["why"], ["why", "--json"]),
    *(["replay"], ["gc", "--keep=0", "--dry-run"], ["gc", "--keep=5"]),
]


@pytest.mark.parametrize("number", range(8))
def test_no_record_of_a_stranger_makes_a_command_crash(bench: Bench, mlbox: Call, number: int) -> None:
    record = bench.run()
    for odd in odd_records(bench, record)[number::8]:
        bench.store.journal.file.unlink()
        bench.store.write(odd)
        for words in (["show"], ["show", "--json"], ["runs"], ["gc", "--keep=0", "--dry-run"], ["verify"]):
            status, _, err = mlbox(*words)
            assert status != EX_SOFTWARE, (words, err)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_workspace_of_a_stranger(bench: Bench, mlbox: Call, words: list[str]) -> None:
    record = bench.run()
    bench.store.write(replace(hostile(1, bench.store), run="train"))
    bench.store.journal.append([{"id": "20990101T000000-99999999", "status": ["odd"]}])
    with bench.store.journal.file.open("ab") as file:
        file.write(
            b'\xff\n{"id": "' + b"[" * 999 + b'\n{"id": "x", "plan": ' + b'{"a":' * 999 + b"1" + b"}" * 1000 + b"\n"
        )
    for name in ("trees.jsonl", "runs"):
        if (bench.workspace / ".mlbox" / name).exists():
            (bench.workspace / ".mlbox" / name).unlink()
        os.mkfifo(bench.workspace / ".mlbox" / name)
    status, out, err = mlbox(*words)
    assert status != EX_SOFTWARE, err
    assert "\x1b" not in out
    assert record
