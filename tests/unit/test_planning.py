"""A plan resolves everything about a run before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlcommons_box.definition.loader import load_box, load_run_configuration
from mlcommons_box.errors import EX_USAGE, Problem, ProblemsError
from mlcommons_box.model import (
    Box,
    EnvironmentVariable,
    LocalOptions,
    Platform,
    Resources,
    RunConfiguration,
)
from mlcommons_box.planning import (
    RunPlan,
    on_platform,
    plan_run,
    plan_setup,
    resolve_path,
)
from mlcommons_box.presence import missing_inputs, unusable_outputs
from tests.conftest import ECHO_BOX, MakeBox

LOCAL = Platform(name="local", runner="local", options=LocalOptions())


def platform_with(limit: int | None, **variables: str) -> Platform:
    environment = tuple(EnvironmentVariable(name=name, value=value) for name, value in variables.items())
    resources = Resources(time=limit)
    return Platform(name="p", runner="local", options=LocalOptions(), environment=environment, resources=resources)


@pytest.fixture
def box(make_box: MakeBox) -> Box:
    return load_box(make_box())


def run_of(box: Box, name: str = "copy") -> RunConfiguration:
    return load_run_configuration(box.root / f"run/{name}.yaml", box)


def plan_of(box: Box, **settings: object) -> RunPlan:
    return plan_run(box, run_of(box), LOCAL, **settings)  # type: ignore[arg-type]


def test_parameters_are_absolute_and_in_the_order_of_the_bindings_inputs_first(box: Box) -> None:
    plan = plan_of(box)
    assert [(parameter.name, parameter.direction, parameter.path) for parameter in plan.parameters] == [
        ("source", "input", box.workspace / "in.txt"),
        ("target", "output", box.workspace / "out/copy.txt"),
        ("logs", "output", box.workspace / "logs"),
    ]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("$WORKSPACE/data", "/w/data"),
        ("${WORKSPACE}/data", "/w/data"),
        ("$WORKSPACE", "/w"),
        ("$WORKSPACE//data", "/w/data"),
        ("data", "/w/data"),
        ("./data/../other", "/w/other"),
        ("../elsewhere", "/elsewhere"),
        ("/data/mnist", "/data/mnist"),
        ("with space", "/w/with space"),
        ('it\'s "quoted"', '/w/it\'s "quoted"'),
        ("$(touch x)", "/w/$(touch x)"),
        ("`touch x`", "/w/`touch x`"),
        ("$HOME/data", "/w/$HOME/data"),
        ("$WORKSPACES/data", "/w/$WORKSPACES/data"),
        ("a:b,c=d", "/w/a:b,c=d"),
        ("line\nbreak", "/w/line\nbreak"),
        ("-rf", "/w/-rf"),
        ("données/数据/😀", "/w/données/数据/😀"),
        ("back\\slash", "/w/back\\slash"),
    ],
)
def test_paths_mean_what_they_say_and_nothing_is_expanded_but_the_workspace(written: str, meant: str) -> None:
    problems: list[Problem] = []
    assert resolve_path(written, Path("/w"), Path("/w"), None, problems) == Path(meant)
    assert problems == []


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("", "empty"),
        ("a\0b", "NUL"),
        ("~/data", "'~' is not expanded"),
        ("~", "'~' is not expanded"),
        ("data/$WORKSPACE", "first directory"),
        ("$WORKSPACE/$WORKSPACE", "first directory"),
        ("$WORKSPACE.old/data", "first directory"),
    ],
)
def test_paths_that_cannot_mean_anything_are_refused_by_name(written: str, reason: str) -> None:
    problems: list[Problem] = []
    assert resolve_path(written, Path("/w"), Path("/w"), None, problems) is None
    assert [reason in problem.message and problem.hint is not None for problem in problems] == [True]


def test_a_claimed_path_is_relative_to_the_box(make_box: MakeBox) -> None:
    claimed = {
        "run/copy.yaml": """\
schema_version: 1.0.0
schema_type: mlbox_invoke
task_name: copy
input_binding: {source: {path: workspace/in.txt, k8s: {pvc: claim}}}
output_binding: {target: {path: workspace/out.txt, k8s: {pvc: claim}}, logs: {path: l, k8s: {pvc: claim}}}
""",
    }
    box = load_box(make_box(claimed))
    assert plan_of(box).parameters[0].path == box.root / "workspace/in.txt"


def test_the_workspace_can_be_moved(box: Box, tmp_path: Path) -> None:
    plan = plan_of(box, workspace=tmp_path / "elsewhere")
    assert plan.workspace == tmp_path / "elsewhere"
    assert plan.parameters[0].path == tmp_path / "elsewhere/in.txt"
    assert plan_setup(box, LOCAL).workspace == box.workspace


def test_a_parameter_can_be_bound_again_and_the_others_stay(box: Box) -> None:
    plan = plan_of(box, rebind={"source": "/data/x=y", "logs": "$WORKSPACE/l2"})
    assert [str(parameter.path) for parameter in plan.parameters] == [
        "/data/x=y",
        str(box.workspace / "out/copy.txt"),
        str(box.workspace / "l2"),
    ]


def test_binding_an_unknown_parameter_again_is_a_usage_error_that_lists_the_known(box: Box) -> None:
    with pytest.raises(ProblemsError) as caught:
        plan_of(box, rebind={"sorce": "/x"})
    assert caught.value.exit_status == EX_USAGE
    assert caught.value.problems[0].hint == "its parameters: source, target, logs"


def test_the_shorter_time_limit_holds(box: Box) -> None:
    limited = Platform(name="local", runner="local", options=LocalOptions(), resources=Resources(time=60))
    run = run_of(box)
    assert plan_run(box, run, limited, timeout=90.0).timeout == 60
    assert plan_run(box, run, limited, timeout=5.0).timeout == 5
    assert plan_run(box, run, LOCAL).timeout is None


def test_the_platform_has_the_last_word_on_a_variable_and_a_task_without_network_stays_so(
    make_box: MakeBox,
) -> None:
    task = """\
schema_version: 1.1.0
schema_type: mlbox_task
network: none
environment: {A: task, B: task}
inputs: []
outputs: []
"""
    run = """\
schema_version: 1.0.0
schema_type: mlbox_invoke
task_name: copy
input_binding: {}
output_binding: {}
"""
    box = load_box(make_box({"tasks/copy.yaml": task, "run/copy.yaml": run}))
    platform = Platform(
        name="local",
        runner="local",
        options=LocalOptions(),
        environment=(EnvironmentVariable(name="B", value="platform"), EnvironmentVariable(name="C", value=None)),
        network="default",
    )
    plan = plan_run(box, run_of(box), platform)
    assert plan.environment == (
        EnvironmentVariable(name="A", value="task"),
        EnvironmentVariable(name="B", value="platform"),
        EnvironmentVariable(name="C", value=None),
    )
    assert plan.network == "none"


def test_missing_inputs_are_named_at_the_place_of_their_binding(box: Box) -> None:
    (box.workspace / "in.txt").unlink()
    problems = missing_inputs(plan_of(box).parameters)
    assert [problem.message for problem in problems] == [
        f"the input 'source' does not exist: {str(box.workspace / 'in.txt')!r}"
    ]
    place = problems[0].location
    assert place is not None
    assert (Path(place.file).name, place.line, place.column) == ("copy.yaml", 4, 25)


def test_an_input_of_the_wrong_type_and_a_dangling_link_are_missing_inputs(box: Box, tmp_path: Path) -> None:
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "nowhere")
    for path, reason in ((tmp_path, "is not a file"), (dangling, "is a link to something that does not exist")):
        problems = missing_inputs(plan_of(box, rebind={"source": str(path)}).parameters)
        assert [reason in problem.message for problem in problems] == [True]


def test_a_path_given_relative_to_the_current_directory_is_explained(
    box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.txt").touch()
    monkeypatch.chdir(tmp_path)
    (problem,) = missing_inputs(plan_of(box, rebind={"source": "mine.txt"}).parameters)
    assert problem.hint == (
        f"relative paths are relative to the workspace; did you mean {str(tmp_path / 'mine.txt')!r}?"
    )


def test_an_output_whose_place_is_taken_by_the_other_type_is_a_problem(box: Box) -> None:
    (box.workspace / "out/copy.txt").mkdir(parents=True)
    (box.workspace / "logs").touch()
    problems = unusable_outputs(plan_of(box).parameters)
    assert ["target" in problems[0].message, "logs" in problems[1].message] == [True, True]


def test_what_hands_over_has_the_last_word_through_all_that_it_hands_over_to(make_box: MakeBox) -> None:
    """A host hands over to a queue, and that to an engine."""
    task = "\nenvironment: {A: task, B: task, C: task, D: task}\n"
    box = load_box(make_box({"tasks/copy.yaml": ECHO_BOX["tasks/copy.yaml"].replace("1.0.0", "1.1.0") + task}))
    plan = plan_run(box, run_of(box), platform_with(None, A="host", B="host", E="host"))
    plan = on_platform(plan, platform_with(50, B="queue", C="queue", F="queue"))
    plan = on_platform(plan, platform_with(70, A="engine", C="engine", D="engine", G="engine"))
    assert {each.name: each.value for each in plan.environment} == {
        "A": "host",
        "B": "host",
        "C": "queue",
        "D": "engine",
        "E": "host",
        "F": "queue",
        "G": "engine",
    }
    assert plan.timeout == 50


def test_making_a_plan_touches_nothing(box: Box) -> None:
    before = sorted(box.root.rglob("*"))
    plan_of(box)
    assert sorted(box.root.rglob("*")) == before
