"""What the command line can do, a notebook can do in a few lines."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

import mlcommons_box as mlbox
from mlcommons_box.errors import MissingInputError, UsageError
from mlcommons_box.host import SSH_CONFIG_VARIABLE
from tests import engines
from tests.conftest import write_files
from tests.integration.test_sweeps import BOX

ROOT = Path(__file__).parents[2]
DOUBLE = """\
import sys
paths = dict(argument[2:].split("=", 1) for argument in sys.argv[2:])
print("größer", flush=True)
print("warning", file=sys.stderr)
with open(paths["number"]) as file:
    number = int(file.read())
with open(paths["double"], "w") as file:
    file.write(f"{2 * number}\\n")
sys.exit(number == 13)
"""
HEAD = "schema_version: 1.0.0\nschema_type: "
FILES = {
    "mlbox.yaml": f"{HEAD}mlbox_root\nname: double\nauthor: a\nversion: 1.0.0\nmlbox_spec_version: 1.0.0\n"
    "tasks: [tasks/double.yaml]\n",
    "tasks/double.yaml": f"{HEAD}mlbox_task\ninputs: [{{name: number, type: file}}]\n"
    "outputs: [{name: double, type: file}]\n",
    "run/first.yaml": f"{HEAD}mlbox_invoke\ntask_name: double\ninput_binding: {{number: one.txt}}\n"
    "output_binding: {double: two.txt}\n",
    "run/second.yaml": f"{HEAD}mlbox_invoke\ntask_name: double\ninput_binding: {{number: two.txt}}\n"
    "output_binding: {double: four.txt}\n",
    "build/double.py": DOUBLE,
    "workspace/one.txt": "1\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_files(tmp_path / "double", FILES)


@pytest.fixture
def box(root: Path) -> mlbox.Box:
    return mlbox.load_box(root)


def test_five_lines(root: Path) -> None:
    box = mlbox.load_box(root)
    plan = mlbox.plan(box, "first", platform="local")
    record = mlbox.run(plan, on_output=None)
    assert record.status == "succeeded"
    assert mlbox.log(record) == "größer\n"
    assert (root / "workspace/two.txt").read_text() == "2\n"


def test_a_plan_says_what_would_happen_and_does_nothing(box: mlbox.Box) -> None:
    plan = mlbox.plan(box, "first", platform="local", bindings={"double": "other.txt"}, timeout=5)
    (command,) = mlbox.commands(plan)[-1:]
    assert f"--double={box.workspace}/other.txt" in command
    assert plan.timeout == 5
    assert not (box.workspace / ".mlbox").exists()


def test_output_is_text_as_the_task_writes_it(box: mlbox.Box, capsys: pytest.CaptureFixture[str]) -> None:
    plan = mlbox.plan(box, "first", platform="local")
    mlbox.run(plan)
    assert capsys.readouterr() == ("größer\n", "warning\n")
    said: list[tuple[str, str]] = []
    record = mlbox.run(mlbox.plan(box, "first", platform="local"), on_output=lambda *words: said.append(words))
    texts = {name: "".join(text for stream, text in said if stream == name) for name, _ in said}  # in any pieces
    assert texts == {"stderr": "warning\n", "stdout": "größer\n"}
    assert mlbox.log(record, "stderr") == "warning\n"


def test_a_task_that_fails_is_a_record(box: mlbox.Box) -> None:
    write_files(box.workspace, {"one.txt": "13"})
    record = mlbox.run(mlbox.plan(box, "first", platform="local"), on_output=None)
    assert (record.status, record.exit_status) == ("failed", 1)


def test_what_cannot_be_started_raises(box: mlbox.Box, tmp_path: Path) -> None:
    (box.workspace / "one.txt").unlink()
    with pytest.raises(mlbox.BoxError, match=r"one\.txt"):
        mlbox.run(mlbox.plan(box, "first", platform="local"))
    with pytest.raises(mlbox.BoxError, match="several run configurations"):
        mlbox.plan(box, platform="local")
    with pytest.raises(mlbox.BoxError):
        mlbox.load_box(tmp_path / "nowhere")
    with pytest.raises(mlbox.BoxError, match="neither a box nor a workspace"):
        mlbox.runs()


def test_a_pipeline(box: mlbox.Box) -> None:
    plans = mlbox.plan_all(box, platform="local")
    records = mlbox.run_all(plans, jobs=2, skip_unchanged=True)
    assert [(each.run, each.status) for each in records] == [("first", "succeeded"), ("second", "succeeded")]
    assert (box.workspace / "four.txt").read_text() == "4\n"
    again = mlbox.run_all(mlbox.plan_all(box, platform="local"), skip_unchanged=True)
    assert [each.id for each in again] == [each.id for each in records]
    assert mlbox.run_all([]) == []


def test_what_keeps_one_of_many_from_being_started_is_told(root: Path) -> None:
    (root / "workspace/one.txt").unlink()
    write_files(root, {"run/other.yaml": FILES["run/first.yaml"].replace("one", "gone").replace("two", "else")})
    box = mlbox.load_box(root)
    with pytest.raises(MissingInputError):
        mlbox.run_all(mlbox.plan_all(box, platform="local"), keep_going=True)


def test_plans_of_several_workspaces_do_not_go_together(root: Path, tmp_path: Path) -> None:
    box = mlbox.load_box(root)
    plans = [mlbox.plan(box, "first", platform="local", workspace=tmp_path / name) for name in "ab"]
    with pytest.raises(UsageError, match="several platforms or workspaces"):
        mlbox.run_all(plans)


def test_after_a_failure_the_rest_is_not_started(box: mlbox.Box) -> None:
    write_files(box.workspace, {"one.txt": "13"})
    (record,) = mlbox.run_all(mlbox.plan_all(box, platform="local"), keep_going=True)
    assert (record.run, record.status) == ("first", "failed")


def test_records_explain_themselves(box: mlbox.Box, tmp_path: Path) -> None:
    plan = mlbox.plan(box, "first", platform="local")
    record = mlbox.run(plan, on_output=None)
    assert mlbox.why(plan).is_up_to_date
    assert {each.state for each in mlbox.verify(record)} == {"same"}
    assert [each.state for each in mlbox.replay(record)] == ["bit-exact"]
    assert mlbox.find_run("first", box) == record
    write_files(box.workspace, {"one.txt": "2\n"})
    assert [(each.kind, each.name) for each in mlbox.why(plan).changes] == [("input", "number")]
    assert {each.name for each in mlbox.verify(record) if each.state == "changed"} == {"number"}
    with pytest.raises(mlbox.BoxError, match="cannot be replayed"):
        mlbox.replay(record, into=tmp_path / "again")
    assert not (tmp_path / "again").exists()
    with pytest.raises(mlbox.BoxError, match="is there already"):
        mlbox.replay(record, into=tmp_path)
    other = mlbox.run(mlbox.plan(box, "first", platform="local"), on_output=None)
    assert [each.id for each in mlbox.runs(box)] == [record.id, other.id]
    assert {each.name for each in mlbox.compare(record, other)} == {"number", "double"}


def test_a_workspace_of_its_own(box: mlbox.Box, tmp_path: Path) -> None:
    workspace = write_files(tmp_path / "elsewhere", {"one.txt": "5"})
    record = mlbox.run(mlbox.plan(box, "first", platform="local", workspace=str(workspace)), on_output=None)
    assert mlbox.runs(workspace=workspace) == [record]
    assert mlbox.runs(box) == []


def test_every_mistake_is_data(root: Path) -> None:
    write_files(root, {"run/first.yaml": FILES["run/first.yaml"].replace("input_binding", "input_bindng")})
    report = mlbox.validate(root)
    assert [problem.location.line for problem in report.problems if problem.location] == [4, 4]
    assert mlbox.validate(root, inputs=False).problems


def test_an_error_says_all_of_it(root: Path) -> None:
    """A traceback is the only place where a notebook shows it."""
    write_files(root, {"tasks/double.yaml": FILES["tasks/double.yaml"].replace("inputs", "inptus")})
    with pytest.raises(mlbox.DefinitionError) as error:
        mlbox.load_box(root)
    assert str(error.value) == f"{root}/tasks/double.yaml:3:1: unknown key 'inptus'\n  help: did you mean 'inputs'?"
    with pytest.raises(mlbox.BoxError, match=r"there are no runs yet\n  help: "):
        mlbox.find_run("absent", workspace=root)


def test_a_record_is_one_line_in_a_notebook(box: mlbox.Box) -> None:
    record = mlbox.run(mlbox.plan(box, "first", platform="local"), on_output=None)
    said: list[str] = []
    record._repr_pretty_(SimpleNamespace(text=said.append), False)
    assert re.fullmatch(r"<run \S+ of 'first': succeeded in \d+\.\d s>", said[0])


def test_in_another_thread(box: mlbox.Box) -> None:
    """As a web server or a thread pool has it: signals are then for others."""
    records: list[mlbox.RunRecord] = []

    def work() -> None:
        records.append(mlbox.run(mlbox.plan(box, "first", platform="local"), on_output=None))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert [each.status for each in records] == ["succeeded"]


def test_a_sweep(tmp_path: Path) -> None:
    box = mlbox.load_box(write_files(tmp_path / "toy", BOX))
    results = mlbox.run_sweep(box, "grid", platform="local", jobs="auto")
    assert [each.status for each in results] == ["succeeded"] * 8 + ["failed"] * 4
    best = min((each for each in results if each.metrics), key=lambda each: each.metrics["loss"])
    assert dict(best.values) == {"rate": 0.3, "model.width": 1}


@pytest.mark.engine("ssh")
def test_a_run_that_goes_on_by_itself(box: mlbox.Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SSH_CONFIG_VARIABLE, str(engines.ssh_config()))
    platforms = {
        "platforms/far.yaml": f"host: {engines.SSH_HOST}\nplatform: local.yaml\n",
        "platforms/local.yaml": "schema_type: mlbox_local\nschema_version: 1.0.0\n",
    }
    write_files(box.root, platforms)
    started = mlbox.start(mlbox.plan(box, "first", platform="far"))
    assert started.detached
    ended = mlbox.wait(started, on_output=None)
    assert (ended.status, mlbox.log(ended)) == ("succeeded", "größer\n")
    assert mlbox.wait(ended) == mlbox.cancel(ended) == ended
    write_files(box.root, {"build/double.py": "import time\ntime.sleep(600)\n"})
    assert mlbox.cancel(mlbox.start(mlbox.plan(box, "first", platform="far"))).status == "cancelled"


def test_names_are_there_and_hide_no_module() -> None:
    """A module of the same name would take its place as soon as it is imported."""
    assert dir(mlbox) == sorted(mlbox.__all__)
    for name in mlbox.__all__:
        assert getattr(mlbox, name) is not None
        assert name == "__version__" or importlib.util.find_spec(f"mlcommons_box.{name}") is None
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        mlbox.absent  # noqa: B018


def test_data_is_plain(box: mlbox.Box) -> None:
    """What a notebook shows or stores needs no knowledge of ours."""
    record = mlbox.run(mlbox.plan(box, "first", platform="local"), on_output=None)
    assert json.loads(json.dumps(dict(record.outputs)))["double"]["files"] == 1


def test_the_example_of_the_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs/reference/python-api.md").read_text("utf-8")
    found = re.search(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert found
    example = "examples/hello_world"
    shutil.copytree(ROOT / example, tmp_path / example, ignore=shutil.ignore_patterns(".mlbox", "chats"))
    monkeypatch.chdir(tmp_path)
    exec(found[1], {})
    assert capsys.readouterr().out == found[2]
