"""The commands that start nothing, as a user calls them."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from mlcommons_box import __version__
from mlcommons_box.cli import parsing
from mlcommons_box.cli.drop_in import docker, singularity
from mlcommons_box.cli.main import main
from mlcommons_box.cli.parsing import COMMANDS
from mlcommons_box.errors import (
    EX_CANNOT_CREATE,
    EX_CONFIGURATION,
    EX_DEFINITION,
    EX_MISSING_INPUT,
    EX_SOFTWARE,
    EX_UNAVAILABLE,
    EX_USAGE,
)
from tests.conftest import REPOSITORY, MakeBox, write_files


class Result:
    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err


Call = Callable[..., Result]


@pytest.fixture
def mlbox(capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls the command line in this process."""

    def call(*words: object, entry: Callable[[list[str]], int] = main) -> Result:
        status = entry([str(word) for word in words])
        captured = capsys.readouterr()
        return Result(status, captured.out, captured.err)

    return call


def test_version(mlbox: Call) -> None:
    result = mlbox("--version")
    assert (result.status, result.out) == (0, f"mlcommons-box {__version__}\n")


@pytest.mark.parametrize("words", [["validate"], ["validate", "--no-such"], ["no-such-command"], ["--help"]])
def test_the_version_goes_before_all_that_follows(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version", *words])
    assert caught.value.code == 0
    assert capsys.readouterr() == (f"mlcommons-box {__version__}\n", "")


@pytest.mark.parametrize(("words", "same"), [(["help"], ["--help"]), (["help", "gc"], ["gc", "--help"])])
def test_help_is_a_word_too(words: list[str], same: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for each in (words, same):
        with pytest.raises(SystemExit) as caught:
            main(each)
        assert caught.value.code == 0
        said.append(capsys.readouterr())
    assert said[0] == said[1]
    assert said[0].out.startswith(f"usage: mlbox {'gc ' if 'gc' in words else '['}")


def test_help_builds_the_parser_of_the_named_command_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []

    def load(name: str) -> object:
        loaded.append(name)
        return import_module(f"mlcommons_box.cli.{name}")

    monkeypatch.setattr(parsing, "_command_module", load)
    for words in (["help", "gc"], ["--version", "gc"], ["gc", "--help"]):
        loaded.clear()
        with pytest.raises(SystemExit):
            main(words)
        assert loaded == ["gc"]


def test_without_arguments_the_help_is_shown(mlbox: Call) -> None:
    result = mlbox()
    assert result.status == 0
    for name, summary in COMMANDS.items():
        assert f"{name} " in result.out
        assert summary in result.out


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_shows_examples_that_begin_with_it(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert f"mlbox {command}" in out.partition("examples:")[2]
    assert max(map(len, out.splitlines())) <= 100


class TestUsage:
    """A wrong command line is 64, and says what was meant."""

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["rn"], "unknown command 'rn'; did you mean 'run'?"),
            (["run", "--plat=x"], "unknown argument '--plat=x'; did you mean '--platform'?"),
            (["run", "--all", "--task=copy"], "--all and --task exclude each other"),
            (["run", "-P", "source"], "-P takes NAME=PATH, not 'source'"),
            (["run", "-P", "source="], "-P takes NAME=PATH, not 'source='"),
            (["run", "-P", "source=a", "-P", "source=b"], "-P source=... is there twice"),
            (["run", "-P", "sorce=a"], "the run 'copy' has no parameter 'sorce'"),
            (["run", "--all", "-P", "sorce=a"], "the run 'copy' has no parameter 'sorce'"),
            (["run", "--timeout=soon"], "--timeout takes a time, not 'soon'"),
            (["run", "--timeout=0"], "--timeout takes a time, not '0'"),
            (["run", "--timeout=-5"], "--timeout takes a time, not '-5'"),
            (["run", "--jobs=0"], "--jobs takes a number from 1 on, or 'auto', not '0'"),
            (["run", "--jobs=many"], "--jobs takes a number from 1 on, or 'auto', not 'many'"),
            (["run", "--dry-run", "--json"], "--dry-run and --json exclude each other"),
            (["run", "--detach", "--jobs=2"], "--detach and --jobs exclude each other"),
            (["describe", "--graph=png"], "--graph draws mermaid, dot or svg, not 'png'"),
            (["describe", "--graph", "--json"], "not allowed with argument"),
            (["run", "--task=cpoy"], "there is no run configuration 'cpoy'; did you mean 'copy'?"),
            (["run", "--platform=dokcer"], "there is no platform 'dokcer'"),
            (["run", "-q", "-v"], "not allowed with argument"),
            (["completion", "tcsh"], "invalid choice: 'tcsh'"),
            (["schema", "mlbox_tusk"], "there is no schema 'mlbox_tusk'"),
        ],
    )
    def test_mistakes(
        self, make_box: MakeBox, mlbox: Call, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
    ) -> None:
        monkeypatch.chdir(make_box())
        result = mlbox(*words)
        assert result.status == EX_USAGE
        assert message in result.err
        assert result.out == ""

    def test_two_boxes(self, mlbox: Call) -> None:
        assert mlbox("run", "a", "--mlbox=b").status == EX_USAGE

    def test_no_box_here(self, mlbox: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        result = mlbox("run")
        assert result.status == EX_USAGE
        assert "mlbox init" in result.err

    def test_several_runs_are_listed_to_choose_from(self, make_box: MakeBox, mlbox: Call) -> None:
        root = make_box()
        write_files(root, {"run/again/copy.yaml": (root / "run/copy.yaml").read_text()})
        result = mlbox("run", root)
        assert result.status == EX_USAGE
        assert "    --task=again/copy\n    --task=copy\n    --all" in result.err


class TestValidate:
    def test_a_good_box_is_silent_on_standard_output(self, make_box: MakeBox, mlbox: Call) -> None:
        result = mlbox("validate", make_box())
        assert (result.status, result.out) == (0, "")
        assert "echo 0.1.0 is valid: 1 task, 1 run, 0 platforms" in result.err

    def test_several_boxes_are_checked_at_once(self, make_box: MakeBox, mlbox: Call, tmp_path: Path) -> None:
        good = make_box(name="good")
        bad = make_box({"workspace/in.txt": None}, name="bad")
        worse = make_box({"tasks/copy.yaml": "a: 1\n"}, name="worse")
        result = mlbox("validate", good, bad)
        assert result.status == EX_MISSING_INPUT
        assert result.out.count("error: ") == 1
        assert "echo 0.1.0 is valid" in result.err
        assert mlbox("validate", good, worse, bad).status == EX_DEFINITION
        reports = json.loads(mlbox("validate", "--json", good, bad).out)
        assert [(report["valid"], report["box"]) for report in reports] == [(True, str(good)), (False, str(bad))]
        assert json.loads(mlbox("validate", "--json", good).out)["valid"]
        for words in ((good, tmp_path / "none"), (good, bad, f"--workspace={tmp_path}"), (good, f"--mlbox={bad}")):
            result = mlbox("validate", *words)
            assert (result.status, result.out) == (EX_USAGE, "")

    def test_five_mistakes_are_reported_at_once_at_their_places(self, make_box: MakeBox, mlbox: Call) -> None:
        task, run = make_box_files(make_box)
        root = make_box(
            {
                "tasks/copy.yaml": task.replace("outputs:", "ouputs:"),
                "platforms/docker.yaml": "schema_version: 1.0.0\nschema_type: mlbox_docker\nimage: [x]\n"
                "docker_runtime: docker\n",
                "mlbox.yaml": (make_box(name="a") / "mlbox.yaml")
                .read_text()
                .replace("[tasks/copy.yaml]", "[tasks/copy.yaml, tasks/other.yaml, tasks/gone.yaml]"),
                "tasks/other.yaml": task,
                "run/other.yaml": run.replace("task_name: copy", "task_name: other").replace("{source:", "{sauce:"),
                "run/more.yaml": run.replace("task_name: copy", "task_name: other").replace("in.txt", "gone.txt"),
            }
        )
        result = mlbox("validate", root)
        assert result.status == EX_DEFINITION
        for message, place in [
            ("error: unknown key 'ouputs'; did you mean 'outputs'?", "tasks/copy.yaml:5:1"),
            ("error: expected a Docker image name like 'mlperf/mlbox:mnist', found a list", "docker.yaml:3:8"),
            ("error: there is no file 'tasks/gone.yaml'", "mlbox.yaml:7:44"),
            ("error: the task 'other' has no input 'sauce'; did you mean 'source'?", "run/other.yaml:4:17"),
            ("error: the input 'source' does not exist", "run/more.yaml:4:25"),
        ]:
            assert message in result.out
            assert place in result.out
        assert result.out.endswith("5 problems in 5 files\n")

    def test_json_has_the_same_for_machines(self, make_box: MakeBox, mlbox: Call) -> None:
        root = make_box({"tasks/copy.yaml": "schema_version: 1.0.0\n"})
        result = mlbox("validate", root, "--json")
        data = json.loads(result.out)
        assert result.status == EX_DEFINITION
        assert (data["valid"], data["box"]) == (False, str(root))
        (problem,) = data["problems"]
        assert (problem["code"], problem["file"]) == ("missing-key", str(root / "tasks/copy.yaml"))
        assert (problem["line"], problem["column"]) == (1, 1)

    def test_missing_inputs_alone_are_66_and_can_be_left_out(self, make_box: MakeBox, mlbox: Call) -> None:
        root = make_box({"workspace/in.txt": None})
        assert mlbox("validate", root).status == EX_MISSING_INPUT
        assert mlbox("validate", root, "--no-inputs").status == 0

    def test_the_box_can_be_named_in_every_way(
        self, make_box: MakeBox, mlbox: Call, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        root = make_box()
        monkeypatch.chdir(root)
        for words in ([], ["."], ["--mlbox=."], ["--mlbox", "."], [root], [root / "mlbox.yaml"]):
            assert mlbox("validate", *words).status == 0

    def test_it_writes_nothing(self, make_box: MakeBox, mlbox: Call) -> None:
        root = make_box()
        before = sorted(root.rglob("*"))
        mlbox("validate", root)
        mlbox("describe", root)
        assert sorted(root.rglob("*")) == before


def make_box_files(make_box: MakeBox) -> tuple[str, str]:
    root = make_box(name="template")
    return (root / "tasks/copy.yaml").read_text(), (root / "run/copy.yaml").read_text()


class TestDescribe:
    def test_tables_name_everything(self, mlbox: Call) -> None:
        result = mlbox("describe", REPOSITORY / "examples/mnist")
        assert result.status == 0
        for word in ("mnist 0.1.0", "download", "parameters_file", "$WORKSPACE/model", "singularity"):
            assert word in result.out
        assert "\x1b" not in result.out

    def test_json(self, make_box: MakeBox, mlbox: Call) -> None:
        data = json.loads(mlbox("describe", make_box(), "--json").out)
        (task,) = data["tasks"]
        assert task["inputs"] == [{"name": "source", "type": "file", "description": None}]
        assert data["runs"][0]["outputs"] == {"target": "$WORKSPACE/out/copy.txt", "logs": "logs"}

    @pytest.mark.parametrize(
        ("form", "line"),
        [
            ("mermaid", '    n1(["in.txt"])\n'),
            ("dot", '    n1 [label="in.txt", '),
            ("svg", "<title>in.txt</title>"),
        ],
    )
    def test_a_graph(self, make_box: MakeBox, mlbox: Call, form: str, line: str) -> None:
        result = mlbox("describe", make_box(), f"--graph={form}")
        assert result.status == 0
        assert line in result.out

    def test_a_graph_is_for_mermaid_unless_named(self, make_box: MakeBox, mlbox: Call) -> None:
        assert mlbox("describe", make_box(), "--graph").out.startswith("flowchart LR\n")
        assert mlbox("describe", "--graph", make_box()).out.startswith("flowchart LR\n")

    def test_a_wrong_box_is_an_error(self, make_box: MakeBox, mlbox: Call) -> None:
        assert mlbox("describe", make_box({"mlbox.yaml": "a: 1\n"})).status == EX_DEFINITION


class TestInit:
    def test_the_new_box_is_valid_and_complete(self, mlbox: Call, tmp_path: Path) -> None:
        directory = tmp_path / "My First Box!"
        assert mlbox("init", directory, "--author", 'Ada "the first" \\ Lovelace').status == 0
        assert mlbox("validate", directory).status == 0
        data = json.loads(mlbox("describe", directory, "--json").out)
        assert (data["name"], data["author"]) == ("my-first-box", 'Ada "the first" \\ Lovelace')
        assert {platform["name"] for platform in data["platforms"]} == {"docker", "singularity"}
        assert (directory / "build/Dockerfile").is_file()

    def test_what_is_there_is_never_overwritten(self, mlbox: Call, tmp_path: Path) -> None:
        write_files(tmp_path, {"mlbox.yaml": "mine"})
        assert mlbox("init", tmp_path).status == EX_CANNOT_CREATE
        assert [path.name for path in tmp_path.iterdir()] == ["mlbox.yaml"]
        assert mlbox("init", tmp_path / "mlbox.yaml").status == EX_CANNOT_CREATE

    def test_a_name_that_no_engine_takes_is_refused(self, mlbox: Call, tmp_path: Path) -> None:
        assert mlbox("init", tmp_path / "x", "--name", "Not A Name").status == EX_USAGE
        assert not (tmp_path / "x").exists()


class TestClean:
    def test_without_anybody_to_ask_it_lists_and_removes_nothing(
        self, make_box: MakeBox, mlbox: Call, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
        root = make_box({"workspace/logs/log.txt": "x" * 2000})
        result = mlbox("clean", root)
        assert result.status == EX_USAGE
        assert f"{root}/workspace/logs  (output, 2.0 kB)" in result.out
        assert (root / "workspace/logs/log.txt").exists()

    @pytest.mark.parametrize(("answer", "gone"), [("y\n", True), ("YES\n", True), ("n\n", False), ("\n", False)])
    def test_it_asks(
        self, make_box: MakeBox, mlbox: Call, monkeypatch: pytest.MonkeyPatch, answer: str, gone: bool
    ) -> None:
        import io

        stdin = io.StringIO(answer)
        monkeypatch.setattr(stdin, "isatty", lambda: True)
        monkeypatch.setattr("sys.stdin", stdin)
        root = make_box({"workspace/out/copy.txt": "x"})
        assert mlbox("clean", root).status == 0
        assert (root / "workspace/out/copy.txt").exists() is not gone

    def test_yes_removes_outputs_and_says_what_stays(self, make_box: MakeBox, mlbox: Call, tmp_path: Path) -> None:
        (tmp_path / "outside").mkdir()
        run = make_box_files(make_box)[1].replace("logs: logs", f"logs: {tmp_path / 'outside'}")
        root = make_box({"run/copy.yaml": run, "workspace/out/copy.txt": "x"})
        result = mlbox("clean", root, "--yes")
        assert result.status == 0
        assert "not inside the workspace" in result.err
        assert not (root / "workspace/out/copy.txt").exists()
        assert (root / "workspace/in.txt").exists()
        assert (tmp_path / "outside").exists()
        assert "nothing to remove" in mlbox("clean", root, "--yes").err


class TestSchema:
    def test_list_print_and_write(self, mlbox: Call, tmp_path: Path) -> None:
        listed = mlbox("schema").out.split()
        assert "mlbox_task" in listed
        assert json.loads(mlbox("schema", "mlbox_task").out)["title"].startswith("MLCommons-Box: a task")
        assert mlbox("schema", "--write", tmp_path / "schemas").status == 0
        assert sorted(path.stem for path in (tmp_path / "schemas").iterdir()) == listed


class TestRun:
    """What 'run' says before it starts anything."""

    def test_a_missing_input_stops_it(self, make_box: MakeBox, mlbox: Call) -> None:
        result = mlbox("run", make_box({"workspace/in.txt": None}))
        assert result.status == EX_MISSING_INPUT
        assert "run/copy.yaml:4:25" in result.err

    def test_all_inputs_that_are_missing_are_named_before_the_first_run(
        self, make_box: MakeBox, mlbox: Call
    ) -> None:
        run = make_box_files(make_box)[1].replace("in.txt", "gone.txt")
        run = run.replace("out/copy.txt", "other/copy.txt").replace("logs: logs", "logs: other_logs")
        files = {"run/z.yaml": run, "build/echo.py": "raise SystemExit('started')"}
        result = mlbox("run", make_box(files), "--all")
        assert result.status == EX_MISSING_INPUT
        assert "gone.txt" in result.err

    def test_a_platform_without_a_runner_is_unavailable(self, make_box: MakeBox, mlbox: Call) -> None:
        platform = "schema_type: mlbox_runner\nschema_version: 1.1.0\nrunner: moon\n"
        result = mlbox("run", make_box({"platforms/remote.yaml": platform}), "--platform=remote", "--dry-run")
        assert result.status == EX_UNAVAILABLE
        assert "moon runner, which this version does not have" in result.err

    def test_mistakes_in_other_runs_do_not_stop_a_run(self, make_box: MakeBox, mlbox: Call) -> None:
        root = make_box({"run/broken.yaml": "a: 1\n"})
        assert mlbox("run", root, "--task=copy", "--dry-run").status == 0
        assert mlbox("run", root, "--all", "--dry-run").status == EX_DEFINITION

    def test_a_run_whose_data_is_in_volume_claims_is_left_out_elsewhere(self, mlbox: Call) -> None:
        published = REPOSITORY / "tests/definitions/valid/published/mnist"
        result = mlbox("run", published, "--task=kubernetes", "--platform=local", "--dry-run")
        assert result.status == EX_CONFIGURATION


class TestDropIn:
    def test_a_platform_of_another_kind_is_refused(self, mlbox: Call) -> None:
        box = REPOSITORY / "examples/mnist"
        for entry, other in ((docker, "singularity"), (singularity, "docker")):
            words = [f"--mlbox={box}", f"--platform=platforms/{other}.yaml"]
            for command in (["configure"], ["run", "--task=run/train.yaml"]):
                result = mlbox(*command, *words, entry=entry)
                assert result.status == EX_CONFIGURATION
                assert f"is for the {other} runner" in result.err

    def test_they_offer_the_two_commands_of_the_tutorial(self, mlbox: Call) -> None:
        assert "unknown command 'validate'" in mlbox("validate", entry=docker).err
        for command in ("configure", "run"):
            with pytest.raises(SystemExit) as caught:
                singularity([command, "--help"])
            assert caught.value.code == 0


def test_our_own_defect_is_70_and_leaves_a_crash_file(
    make_box: MakeBox, mlbox: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import tempfile

    (tmp_path / "crashes").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "crashes"))
    monkeypatch.setattr("mlcommons_box.cli.validate.check_box", lambda *_, **__: 1 / 0)
    result = mlbox("validate", make_box())
    assert result.status == EX_SOFTWARE
    (crash,) = (tmp_path / "crashes").iterdir()
    assert str(crash) in result.err
    assert "ZeroDivisionError" in crash.read_text()
    assert "Traceback" not in result.err
