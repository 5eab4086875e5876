"""A run is up to date when nothing has changed that decides what it makes; every change has a name."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mlcommons_box.command import Command
from mlcommons_box.comparison import differences
from mlcommons_box.errors import Interrupted, UnavailableError
from mlcommons_box.model import (
    DockerOptions,
    EnvironmentVariable,
    KubernetesOptions,
    LocalOptions,
    Platform,
    SshOptions,
)
from mlcommons_box.planning import RunPlan, SetupPlan
from mlcommons_box.record import RunRecord, Supervisor, new_record, plan_data
from mlcommons_box.runners.identity import Identity
from mlcommons_box.runners.inner import inner_files
from mlcommons_box.runners.interface import Outcome
from mlcommons_box.tree_store import TreeStore
from mlcommons_box.up_to_date import Checker, LastRuns
from mlcommons_box.value import replace
from mlcommons_box.verification import changes, verify
from tests.conftest import write_files
from tests.unit.proof import PYTHON, Bench, Nameless, PlayingRunner

DOCKER = Platform(name="docker", runner="docker", options=DockerOptions(image="digits:1"))
CLUSTER = Platform(name="cluster", runner="kubernetes", options=KubernetesOptions(image="digits:1"))
IMAGE = {"id": f"sha256:{'a' * 64}"}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "box")


@pytest.fixture
def in_an_image(tmp_path: Path) -> Bench:
    """A box whose image is not made from ``build/``."""
    bench = Bench(tmp_path / "other")
    bench.platform = DOCKER
    bench.player.image = IMAGE
    return bench


def edited(name: str, old: str, new: str) -> Callable[[Bench], None]:
    def edit(bench: Bench) -> None:
        file = bench.root / name
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))

    return edit


def other_platform(**values: Any) -> Callable[[Bench], None]:
    def change(bench: Bench) -> None:
        bench.platform = replace(bench.platform, **values)

    return change


def other_image(image: Any) -> Callable[[Bench], None]:
    def change(bench: Bench) -> None:
        bench.player.image = image

    return change


CHANGES: dict[str, tuple[Callable[[Bench], object], set[tuple[str, str]]]] = {
    "a file of the code": (edited("build/lib/net.py", "2", "3"), {("code", "build/lib/net.py")}),
    "a new file of the code": (
        lambda bench: write_files(bench.root, {"build/new.py": ""}),
        {("code", "build/new.py")},
    ),
    "the definition of the task": (
        edited("tasks/train.yaml", "THREADS: 2", "THREADS: 3"),
        {("code", "tasks/train.yaml"), ("environment", "THREADS")},
    ),
    "a description": (
        edited("tasks/train.yaml", "type: file}\noutputs", "type: file, description: d}\noutputs"),
        set(),
    ),
    "a hyper-parameter": (edited("workspace/settings.yaml", "0.1", "0.2"), {("hyperparameter", "rate")}),
    "a new hyper-parameter": (
        edited("workspace/settings.yaml", "rate", "seed: 1\nrate"),
        {("hyperparameter", "seed")},
    ),
    "the kind of a hyper-parameter": (
        edited("workspace/settings.yaml", "rate: 0.1", "rate: '0.1'"),
        {("hyperparameter", "rate")},
    ),
    "a comment beside hyper-parameters": (
        edited("workspace/settings.yaml", "rate", "# a comment\nrate"),
        {("input", "settings")},
    ),
    "a file in an input": (edited("workspace/data/b/c.txt", "2", "3"), {("input", "data/b/c.txt")}),
    "a file that is gone from an input": (
        lambda bench: (bench.workspace / "data/a.txt").unlink(),
        {("input", "data/a.txt")},
    ),
    "a file with another name": (
        lambda bench: (bench.workspace / "data/a.txt").rename(bench.workspace / "data/z.txt"),
        {("input", "data/a.txt"), ("input", "data/z.txt")},
    ),
    "an empty directory": (lambda bench: (bench.workspace / "data/empty").mkdir(), {("input", "data")}),
    "a binding": (
        lambda bench: (
            edited("run/train.yaml", "$WORKSPACE/data", "$WORKSPACE/dates")(bench),
            (bench.workspace / "data").rename(bench.workspace / "dates"),
        ),
        {("binding", "data")},
    ),
    "the environment of the platform": (
        other_platform(environment=(EnvironmentVariable(name="SEED", value="1"),)),
        {("environment", "SEED")},
    ),
    "the entry point": (
        other_platform(options=LocalOptions(entrypoint=("other.py",))),
        {("platform", "entrypoint")},
    ),
    "the arguments of the engine": (other_platform(arguments=("--privileged",)), {("platform", "arguments")}),
    "the network": (other_platform(network="none"), {("platform", "network")}),
    "a package": (
        other_image({**PYTHON, "packages": {"numpy": "2.0.0", "new": "1"}}),
        {("image", "package numpy"), ("image", "package new")},
    ),
    "the Python": (other_image({**PYTHON, "python": "3.12.1"}), {("image", "python")}),
    "an output": (lambda bench: (bench.workspace / "model/weights").write_text("x"), {("output", "model/weights")}),
    "an output of which a part is gone": (
        lambda bench: (bench.workspace / "model/weights").unlink(),
        {("output", "model/weights")},
    ),
    "an output that is gone": (lambda bench: shutil.rmtree(bench.workspace / "model"), {("output", "model")}),
    "an output file that is gone": (lambda bench: (bench.workspace / "out/log.txt").unlink(), {("output", "log")}),
    "only times": (lambda bench: os.utime(bench.workspace / "data/a.txt", (1, 1)), set()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_has_a_name(bench: Bench, change: str) -> None:
    first = bench.run()
    assert bench.why().is_up_to_date
    do, expected = CHANGES[change]
    do(bench)
    verdict = bench.why()
    assert {(each.kind, each.name) for each in verdict.changes} == expected
    assert verdict.is_up_to_date is (not expected)
    assert verdict.record == first
    assert all(each.says for each in verdict.changes)


@pytest.mark.parametrize("change", [name for name in CHANGES if "output" not in name])
def test_two_runs_differ_by_what_has_changed_between_them(bench: Bench, change: str) -> None:
    """``diff`` says of two records what ``why`` says of one and of what is there."""
    first = bench.run()
    do, expected = CHANGES[change]
    do(bench)
    second = bench.run()
    found = {(each.kind, each.name) for each in differences(first, second, TreeStore(bench.workspace))}
    code = {("code", "tasks/") if each == ("code", "tasks/train.yaml") else each for each in expected}
    made = {each for each in found if each[0] in ("output", "metric", "run")}
    assert ("output", "log") in made
    inputs = {("input", "settings")} if {"hyperparameter"} & {kind for kind, _ in expected} else set()
    assert found - made == code | inputs


@pytest.mark.parametrize(
    "change",
    [name for name, (_, found) in CHANGES.items() if {"code", "input", "output"} & {kind for kind, _ in found}],
)
def test_what_has_changed_since_is_verified_file_by_file(bench: Bench, change: str) -> None:
    record = bench.run()
    trees = TreeStore(bench.workspace)
    assert {each.state for each in verify(record, trees)} == {"same"}
    do, expected = CHANGES[change]
    do(bench)
    checked = verify(record, trees)
    found = {(each.kind, each.name) for each in changes(checked)}
    assert found == {
        each for each in expected if each[0] in ("code", "input", "output") and each[1] != "tasks/train.yaml"
    }
    changed = {(each.kind, each.name.split("/")[0]) for each in checked if each.state == "changed"}
    assert changed == {(kind, name.split("/")[0]) for kind, name in found}


class TestImages:
    def test_the_same_image_by_its_id(self, in_an_image: Bench) -> None:
        in_an_image.run()
        in_an_image.platform = replace(DOCKER, options=DockerOptions(image="digits:latest"))
        assert in_an_image.why().is_up_to_date

    def test_another_image_by_the_same_name(self, in_an_image: Bench) -> None:
        in_an_image.run()
        in_an_image.player.image = {"id": f"sha256:{'b' * 64}"}
        assert [(kind, name) for kind, name, _ in in_an_image.reasons()] == [("image", "id")]

    @pytest.mark.parametrize("failure", [UnavailableError("no engine"), OSError("no environment"), None])
    def test_an_image_that_nobody_knows_counts_as_changed(
        self, in_an_image: Bench, failure: BaseException | None
    ) -> None:
        in_an_image.run()
        in_an_image.player.fails = failure
        in_an_image.player.image = {}
        ((kind, name, says),) = in_an_image.reasons()
        assert (kind, name) == ("image", "digits:1")
        assert says.startswith("nobody can know: ")

    def test_but_not_where_it_is_made_from_the_code_that_is_compared(self, in_an_image: Bench) -> None:
        write_files(in_an_image.root, {"build/Dockerfile": "FROM x\n"})
        in_an_image.run()
        in_an_image.player.image = {}
        assert in_an_image.why().is_up_to_date
        in_an_image.player = Nameless()
        assert in_an_image.why().is_up_to_date
        in_an_image.platform = replace(DOCKER, name="podman")
        assert in_an_image.why().is_up_to_date

    def test_an_image_that_is_always_pulled_is_not_made_from_the_code(self, in_an_image: Bench) -> None:
        """Neither for the run that is due, nor for one on another platform after it."""
        write_files(in_an_image.root, {"build/Dockerfile": "FROM x\n"})
        in_an_image.platform = CLUSTER
        in_an_image.player = Nameless()
        in_an_image.run()
        ((_, _, says),) = in_an_image.reasons()
        assert says.startswith("nobody can know: ")
        in_an_image.platform = DOCKER
        ((_, _, says),) = in_an_image.reasons()
        assert says.startswith("nobody can know: ")

    def test_an_engine_is_asked_once_for_many_runs(
        self, in_an_image: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from mlcommons_box.up_to_date import Checker, LastRuns

        in_an_image.run()
        asked = []
        identity = PlayingRunner.identity

        def count(self: PlayingRunner, plan: RunPlan) -> object:
            asked.append(plan)
            return identity(self, plan)

        monkeypatch.setattr(PlayingRunner, "identity", count)
        checker = Checker(in_an_image.runner, LastRuns(in_an_image.store))
        for _ in range(3):
            assert checker.check(in_an_image.plan()).is_up_to_date
        assert len(asked) == 1

    def test_an_interrupt_is_no_answer(self, in_an_image: Bench) -> None:
        in_an_image.run()
        in_an_image.player.fails = Interrupted(2)
        with pytest.raises(Interrupted):
            in_an_image.why()


def test_a_run_that_never_succeeded(bench: Bench) -> None:
    assert bench.reasons() == [("record", "train", "it has never succeeded here")]
    bench.player.does = lambda plan: Outcome(status="failed", exit_status=1)
    bench.run()
    assert bench.reasons() == [("record", "train", "it has never succeeded here")]


def later(bench: Bench, **changes: Any) -> RunRecord:
    """The record of a run that began after all others."""
    record = new_record(bench.plan(), [Command(argv=("play",))])
    record = replace(
        record, **{"id": "20990101T000000-99999999", "started_at": "2099-01-01T00:00:00.000Z", **changes}
    )
    bench.store.write(record)
    return record


class TestWhatHappenedSince:
    def test_a_run_that_goes_on_still_writes(self, bench: Bench) -> None:
        bench.run()
        later(bench)
        assert bench.reasons() == [("record", "train", "the run 20990101T000000-99999999 still writes its outputs")]

    @pytest.mark.parametrize("status", ["failed", "cancelled", "lost"])
    def test_a_run_that_has_not_succeeded_counts_by_what_it_left(self, bench: Bench, status: str) -> None:
        first = bench.run()
        later(bench, status=status)
        assert bench.why().is_up_to_date
        assert bench.why().record == first
        (bench.workspace / "model/weights").write_text("half of it")
        assert [(kind, name) for kind, name, _ in bench.reasons()] == [("output", "model/weights")]

    def test_a_run_whose_mlbox_was_killed_is_lost_and_does_not_write_for_ever(self, bench: Bench) -> None:
        bench.run()
        later(bench, supervisor=Supervisor(host=os.uname().nodename, pid=1, started_ticks=1))
        assert bench.why().is_up_to_date

    @pytest.mark.parametrize("group", [{"kind": "sweep", "name": "s", "trial": 1}, {"kind": "replay", "of": "x"}])
    def test_trials_and_replays_do_not_count(self, bench: Bench, group: dict[str, Any]) -> None:
        bench.run(replace(bench.plan(), group=group))
        assert bench.reasons() == [("record", "train", "it has never succeeded here")]
        first = bench.run()
        later(bench, group=group)
        assert bench.why().record == first
        assert bench.why().is_up_to_date

    def test_a_run_that_proves_nothing_is_never_up_to_date(self, bench: Bench) -> None:
        bench.rewrite(bench.run(), unproved="the input 'data' was changed while the run read it")
        assert bench.reasons() == [
            ("record", "train", "nobody can know: the input 'data' was changed while the run read it")
        ]

    def test_and_neither_is_one_with_an_input_elsewhere(self, bench: Bench) -> None:
        def there() -> RunPlan:
            plan = bench.plan()
            return replace(plan, parameters=tuple(replace(p, elsewhere=p.name == "data") for p in plan.parameters))

        bench.run(there())
        assert bench.reasons(there()) == [("record", "train", "nobody can know: 'data' is not on this machine")]

    def test_what_cannot_be_read_counts_as_changed(self, bench: Bench) -> None:
        bench.run()
        os.mkfifo(bench.workspace / "data/pipe")
        ((kind, name, says),) = bench.reasons()
        assert (kind, name) == ("record", "train")
        assert "neither a file nor a directory" in says


def test_a_workspace_that_was_moved_is_still_up_to_date(bench: Bench, tmp_path: Path) -> None:
    record = bench.run()
    bench.workspace = bench.workspace.rename(tmp_path / "elsewhere")
    assert bench.why().record == record
    assert bench.reasons() == []


def test_a_copy_of_a_box_is_up_to_date_as_well(bench: Bench, tmp_path: Path) -> None:
    bench.run()
    shutil.copytree(bench.root, tmp_path / "copy")
    copy = Bench(tmp_path / "copy")
    assert copy.why().is_up_to_date


ODD: list[Any] = [
    None,
    5,
    1.5,
    True,
    "",
    "text \x1b[2J‮",
    [],
    ["x", {"digest": 5}],
    {},
    {"digest": 5},
    {"digest": ["x"], "kind": ["directory"]},
    {"digest": None, "kind": "directory"},
    {"digest": "a" * 64, "kind": "directory", "size": "x"},
    {"a": {"b": {"c": [1, {"d": None}]}}},
    {"x\0y": "z", "": 1},
    10**400,
]
PLACES = [
    *((name,) for name in ("code", "image", "inputs", "outputs", "hyperparameters", "engine", "machine", "usage")),
    *((name,) for name in ("metrics", "group", "plan")),
    *(("code", name) for name in ("build", "definition", "git")),
    *(("image", name) for name in ("id", "packages", "python", "reference", "digests")),
    *((("inputs", "data"), ("inputs", "settings"), ("outputs", "model"), ("outputs", "log"))),
    *(("plan", name) for name in ("box", "workspace", "environment", "options", "arguments", "network", "timeout")),
    *((("hyperparameters", "settings"), ("engine", "name"), ("machine", "host"), ("machine", "gpus"))),
    *((("usage", "peak_memory"), ("usage", "cpu_time"), ("metrics", "accuracy"))),
    *((("group", "kind"), ("group", "name"))),
]  # fmt: skip


def odd_records(bench: Bench, record: RunRecord) -> list[RunRecord]:
    """The record with something odd in every place of it, as far as it can be read at all."""
    found = []
    for holder, *names in PLACES:
        for odd in ODD:
            value = {**getattr(record, holder), names[0]: odd} if names else odd
            if isinstance(value, dict):
                found.append(replace(record, **{holder: value}))
    return found


def test_whatever_a_record_holds_there_is_an_answer(bench: Bench) -> None:
    from mlcommons_box.up_to_date import Checker, LastRuns

    record = bench.run()
    trees = TreeStore(bench.workspace)
    last_runs = LastRuns(bench.store)
    plan = bench.plan()
    for odd in odd_records(bench, record):
        last_runs.succeeded["train"] = odd
        Checker(bench.runner, last_runs).check(plan)
        verify(odd, trees)
        differences(record, odd, trees)
        differences(odd, record, trees)


@pytest.mark.parametrize("path", ["/no\0where", "\ud800", "/dev/null", "x" * 5000, "", ".", "/proc/self/mem/x"])
def test_whatever_path_a_record_has(bench: Bench, path: str) -> None:
    record = bench.run()
    parameters = [{**each, "path": path} for each in record.plan["parameters"]]
    odd = replace(record, plan={**record.plan, "parameters": parameters, "box": path, "workspace": path})
    for each in verify(odd, TreeStore(bench.workspace)):
        assert each.state in ("changed", "unknown")
    assert differences(record, odd, TreeStore(bench.workspace))


@pytest.mark.parametrize("kind", ["pipe", "link", "directory", "garbage", "gone"])
def test_a_change_shows_without_the_names_of_files(bench: Bench, kind: str) -> None:
    record = bench.run()
    trees = TreeStore(bench.workspace)
    file = trees.journal.file
    file.unlink()
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "link":
        file.symlink_to("/etc/passwd")
    elif kind == "directory":
        file.mkdir()
    elif kind == "garbage":
        file.write_bytes(b'\xff\n{"digest": "' + b"a" * 64 + b'", "entries": 5}\n[')
    edited("workspace/data/a.txt", "1", "2")(bench)
    assert [(kind, name) for kind, name, _ in bench.reasons()] == [("input", "data")]
    assert [each.name for each in changes(verify(record, trees))] == ["data"]


def test_nothing_differs_between_a_run_and_itself(bench: Bench) -> None:
    record = bench.run()
    assert differences(record, record, TreeStore(bench.workspace)) == []
    bare = replace(record, inputs={"data": {}}, outputs={}, code={})
    assert differences(bare, bare, TreeStore(bench.workspace)) == []


def test_of_many_files_not_all_are_named(bench: Bench) -> None:
    record = bench.run()
    write_files(bench.workspace, {f"data/{number}": "" for number in range(30)})
    found = list(changes(verify(record, TreeStore(bench.workspace))))
    assert len(found) == 21
    assert (found[-1].name, found[-1].says) == ("data", "10 more files differ")


def test_several_threads_ask_for_the_image_once(in_an_image: Bench) -> None:
    """And none of them takes what another is just being told for the answer."""
    in_an_image.run()
    asked: list[SetupPlan] = []
    identity = in_an_image.player.identity

    def slowly(plan: SetupPlan) -> Identity:
        asked.append(plan)
        time.sleep(0.2)
        return identity(plan)

    in_an_image.player.identity = slowly  # type: ignore[method-assign]
    checker = Checker(in_an_image.runner, LastRuns(in_an_image.store))
    with ThreadPoolExecutor(4) as pool:
        verdicts = list(pool.map(checker.check, [in_an_image.plan()] * 4))
    assert all(verdict.is_up_to_date for verdict in verdicts), verdicts
    assert len(asked) == 1


def test_what_the_platform_inside_says_counts_as_well(bench: Bench) -> None:
    """A host or a queue only hands the task over."""
    bench.platform = Platform(name="host", runner="ssh", options=SshOptions(host="lab", platform="inner.yaml"))
    for before, after in (("A: 1", "A: 2"), ("A_TOKEN: geheim", "B: word")):
        found = []
        for variable in (before, after):
            inner = f"schema_version: 1.1.0\nschema_type: mlbox_local\nenvironment: {{{variable}}}\n"
            write_files(bench.root, {"platforms/inner.yaml": inner})
            found.append(plan_data(bench.plan())["inner"])
        assert found[0] != found[1]
        assert "geheim" not in str(found)


def test_the_files_of_the_platforms_inside_are_few_even_in_a_circle(bench: Bench) -> None:
    head = "schema_version: 1.1.0\nschema_type: "
    files = {
        "platforms/host.yaml": f"{head}mlbox_ssh\nhost: lab\nplatform: queue.yaml\n",
        "platforms/queue.yaml": f"{head}mlbox_slurm\nplatform: host\n",
    }
    write_files(bench.root, files)
    platform = Platform(name="host", runner="ssh", options=SshOptions(host="lab", platform="queue.yaml"))
    assert [file.name for file in inner_files(bench.root, platform)] == ["queue.yaml", "host.yaml"]
    write_files(bench.root, {"platforms/queue.yaml": f"{head}mlbox_slurm\nplatform: local\n"})
    assert [file.name for file in inner_files(bench.root, platform)] == ["queue.yaml"]
