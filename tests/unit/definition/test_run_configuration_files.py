from __future__ import annotations

from pathlib import Path

import pytest

from mlcommons_box.definition.problems import Problems
from mlcommons_box.definition.run_configurations import read_run_configuration
from mlcommons_box.errors import Problem
from mlcommons_box.model import Binding, Parameter, RunConfiguration, Task
from mlcommons_box.value import replace

DATA = Parameter(name="data_dir", type="directory")
PARAMETERS = Parameter(name="parameters_file", type="file")
MODEL = Parameter(name="model_dir", type="directory")
LOG = Parameter(name="log_dir", type="directory")
DOWNLOAD = Task(name="download", file=Path("tasks/download.yaml"), inputs=(), outputs=(DATA, LOG))
TRAIN = Task(name="train", file=Path("tasks/train.yaml"), inputs=(DATA, PARAMETERS), outputs=(MODEL, LOG))
TASKS: dict[str, Task | None] = {"download": DOWNLOAD, "train": TRAIN}
Bindings = dict[str, str]


def text(task: str, inputs: Bindings, outputs: Bindings) -> str:
    def side(bindings: Bindings) -> str:
        return "".join(f"\n  {name}: {path}" for name, path in bindings.items()) or " {}"

    return (
        f"schema_type: mlbox_invoke\nschema_version: 1.0.0\ntask_name: {task}\n"
        f"input_binding:{side(inputs)}\noutput_binding:{side(outputs)}\n"
    )


def read(
    root: Path, content: str, tasks: dict[str, Task | None] | None = TASKS, name: str = "run/one.yaml"
) -> tuple[RunConfiguration | None, list[Problem]]:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    problems = Problems()
    return read_run_configuration(file, root, tasks, problems), problems


def described(problems: list[Problem]) -> list[tuple[str, int, str | None]]:
    return [(each.code, each.location.line if each.location else 0, each.hint) for each in problems]


def test_bindings_keep_their_order_and_are_as_written(tmp_path: Path) -> None:
    run, problems = read(
        tmp_path,
        text(
            "train",
            {"parameters_file": "a b.yaml", "data_dir": "$WORKSPACE/data"},
            {"log_dir": "/logs", "model_dir": "m"},
        ),
    )

    assert problems == []
    assert run == RunConfiguration(
        name="one",
        file=tmp_path / "run" / "one.yaml",
        task="train",
        inputs=(
            Binding(parameter="parameters_file", path="a b.yaml"),
            Binding(parameter="data_dir", path="$WORKSPACE/data"),
        ),
        outputs=(Binding(parameter="log_dir", path="/logs"), Binding(parameter="model_dir", path="m")),
    )
    places = [(each.name_location, each.location) for each in run.inputs]
    assert [(a and a.column, b and b.column, b and b.line) for a, b in places] == [(3, 20, 5), (3, 13, 6)]


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("run/train.yaml", "train"),
        ("run/train.yml", "train"),
        ("run/alice/hello.yaml", "alice/hello"),
        ("run/a.b.yaml", "a.b"),
        ("elsewhere/train.yaml", "train"),
        ("run/train", "train"),
        ("run/train.txt", "train.txt"),
    ],
)
def test_the_name_is_the_path_below_run_without_its_suffix(tmp_path: Path, file: str, name: str) -> None:
    run, _ = read(tmp_path, text("download", {}, {"data_dir": "a", "log_dir": "b"}), name=file)

    assert run
    assert run.name == name


def test_an_unknown_task_is_suggested_the_nearest(tmp_path: Path) -> None:
    run, problems = read(tmp_path, text("trian", {}, {}))

    assert run is None
    assert described(problems) == [("unknown-task", 3, "did you mean 'train'?")]


def test_an_unknown_task_far_from_all_is_told_which_there_are(tmp_path: Path) -> None:
    _, problems = read(tmp_path, text("evaluate", {}, {}))

    assert described(problems) == [("unknown-task", 3, "tasks of this box: 'download' and 'train'")]


def test_a_list_of_many_tasks_is_cut_short(tmp_path: Path) -> None:
    tasks: dict[str, Task | None] = {f"t{number}": None for number in range(500)}
    _, problems = read(tmp_path, text("evaluate", {}, {}), tasks)

    assert problems[0].hint
    assert problems[0].hint.endswith("'t19' and 480 more")


def test_undeclared_bindings_are_suggested_the_parameters_that_are_not_bound(tmp_path: Path) -> None:
    run, problems = read(
        tmp_path,
        text("train", {"data_dri": "a", "parameter_file": "b"}, {"model": "c", "logs_dir": "d"}),
    )

    assert run is None
    assert described(problems) == [
        ("unknown-parameter", 5, "did you mean 'data_dir'?"),
        ("unknown-parameter", 6, "did you mean 'parameters_file'?"),
        ("unknown-parameter", 8, "did you mean 'model_dir'?"),
        ("unknown-parameter", 9, "did you mean 'log_dir'?"),
    ]


def test_a_parameter_that_is_bound_is_not_suggested(tmp_path: Path) -> None:
    _, problems = read(
        tmp_path,
        text(
            "train",
            {"data_dir": "a", "data_dirs": "a", "parameters_file": "b"},
            {"model_dir": "c", "log_dir": "d"},
        ),
    )

    assert described(problems) == [("unknown-parameter", 6, "its inputs: 'data_dir' and 'parameters_file'")]


def test_each_parameter_is_suggested_once(tmp_path: Path) -> None:
    _, problems = read(tmp_path, text("download", {}, {"data_di": "a", "data_dr": "b", "log_dir": "c"}))

    assert [hint for _, _, hint in described(problems)] == [
        "did you mean 'data_dir'?",
        "its outputs: 'data_dir' and 'log_dir'",
    ]


def test_every_unbound_parameter_is_named_with_the_remedy(tmp_path: Path) -> None:
    _, problems = read(tmp_path, text("train", {"data_dir": "a"}, {}))

    assert described(problems) == [
        ("unbound-parameter", 3, "write 'parameters_file: PATH' under 'input_binding'"),
        ("unbound-parameter", 3, "write 'model_dir: PATH' under 'output_binding'"),
        ("unbound-parameter", 3, "write 'log_dir: PATH' under 'output_binding'"),
    ]


def test_an_input_bound_as_an_output_is_told_where_it_belongs(tmp_path: Path) -> None:
    _, problems = read(
        tmp_path,
        text(
            "train",
            {"data_dir": "a", "model_dir": "b", "parameters_file": "c"},
            {"log_dir": "d", "data_dir": "a"},
        ),
    )

    assert described(problems) == [
        ("unknown-parameter", 6, "it is an output of that task; bind it under 'output_binding'"),
        ("unknown-parameter", 10, "it is an input of that task; bind it under 'input_binding'"),
        ("unbound-parameter", 3, "write 'model_dir: PATH' under 'output_binding'"),
    ]


def test_bindings_of_a_task_that_is_wrong_itself_are_not_judged(tmp_path: Path) -> None:
    run, problems = read(tmp_path, text("train", {"anything": "a"}, {}), {"train": None})

    assert (run, problems) == (None, [])


def test_without_known_tasks_only_the_form_is_checked(tmp_path: Path) -> None:
    assert read(tmp_path, text("anything", {"at": "all"}, {}), None) == (None, [])

    _, problems = read(tmp_path, text("[a]", {"at": ""}, {}), None)
    assert [problem.code for problem in problems] == ["wrong-type", "wrong-type"]


# The form of release 0.2.3 for Kubernetes

CLAIMED = text(
    "kubernetes",
    {"data_dir": "{path: workspace/data, k8s: {pvc: in}}", "parameters_file": "{path: p.yaml, k8s: {pvc: in}}"},
    {"model_dir": "{path: workspace/model, k8s: {pvc: out}}", "log_dir": "$WORKSPACE/log"},
)


def test_a_kubernetes_run_of_0_2_3_is_of_the_task_with_exactly_its_parameters(tmp_path: Path) -> None:
    run, problems = read(tmp_path, CLAIMED)

    assert problems == []
    assert run
    assert run.task == "train"
    assert run.is_claimed
    assert [(each.path, each.claim) for each in (*run.inputs, *run.outputs)] == [
        ("workspace/data", "in"),
        ("p.yaml", "in"),
        ("workspace/model", "out"),
        ("$WORKSPACE/log", None),
    ]


def test_a_kubernetes_run_may_name_its_task(tmp_path: Path) -> None:
    run, problems = read(tmp_path, CLAIMED.replace("task_name: kubernetes", "task_name: train"))

    assert problems == []
    assert run
    assert run.task == "train"


def test_a_task_that_is_really_called_kubernetes_is_meant(tmp_path: Path) -> None:
    run, problems = read(tmp_path, CLAIMED, {**TASKS, "kubernetes": replace(DOWNLOAD, name="kubernetes")})

    assert run is None
    assert "the task 'kubernetes' has no input 'data_dir'" in [problem.message for problem in problems]


def test_without_a_claim_kubernetes_is_a_task_like_any_other(tmp_path: Path) -> None:
    _, problems = read(tmp_path, text("kubernetes", {}, {"data_dir": "a", "log_dir": "b"}))

    assert [problem.code for problem in problems] == ["unknown-task"]


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        ({"download": DOWNLOAD}, "no task has exactly the parameters that it binds"),
        (
            {
                "train": TRAIN,
                "tune": Task(name="tune", file=Path("tune.yaml"), inputs=TRAIN.inputs, outputs=TRAIN.outputs),
            },
            "'train' and 'tune'",
        ),
    ],
)
def test_a_kubernetes_run_of_no_task_or_of_several_has_to_name_it(
    tmp_path: Path, tasks: dict[str, Task | None], words: str
) -> None:
    run, problems = read(tmp_path, CLAIMED, tasks)

    assert run is None
    assert [problem.code for problem in problems] == ["unknown-task"]
    assert problems[0].hint
    assert words in problems[0].hint


def test_a_kubernetes_run_that_may_be_of_a_wrong_task_is_not_judged(tmp_path: Path) -> None:
    assert read(tmp_path, CLAIMED, {"download": DOWNLOAD, "train": None}) == (None, [])
