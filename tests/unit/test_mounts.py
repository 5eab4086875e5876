"""What of this machine a container sees, where, and whether it may write there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mlcommons_box.definition.loader import load_box, load_run_configuration
from mlcommons_box.errors import EX_CONFIGURATION, EX_DEFINITION, Location, ProblemsError
from mlcommons_box.model import Box, LocalOptions, Parameter, ParameterType, Platform, Task
from mlcommons_box.planning import BoundParameter, RunPlan, plan_run
from mlcommons_box.runners.mounts import Mount, Mounts, container_mounts, mount_problems
from tests.conftest import MakeBox
from tests.unit.definition.hypothesis_settings import quick_or_thorough

LOCAL = Platform(name="local", runner="local", options=LocalOptions())
Direction = Literal["input", "output"]
Binding = tuple[Direction, ParameterType, Path]


def plan_of(*bindings: Binding) -> RunPlan:
    """A plan with parameters ``p0``, ``p1`` ... bound to those paths."""
    parameters = tuple(
        BoundParameter(
            name=f"p{number}",
            type=kind,
            direction=direction,
            path=path,
            location=Location(file="r", line=number + 1),
        )
        for number, (direction, kind, path) in enumerate(bindings)
    )
    root = Path("/box")
    sides = {
        side: tuple(Parameter(name=each.name, type=each.type) for each in parameters if each.direction == side)
        for side in ("input", "output")
    }
    task = Task(name="t", file=root / "tasks/t.yaml", inputs=sides["input"], outputs=sides["output"])
    box = Box(root=root, name="b", author="a", version="1.0.0", spec_version="1.0.0", tasks=(task,))
    return RunPlan(
        box=box, platform=LOCAL, workspace=box.workspace, id="run-1", run="t", task=task, parameters=parameters
    )


def seen(root: Path, mounts: Mounts) -> list[str]:
    """``source -> target`` of every mount, sources relative to a directory, with ``rw`` where it is writable."""
    return [
        f"{mount.source.relative_to(root)} -> {mount.target}{' rw' if mount.writable else ''}"
        for mount in mounts.mounts
    ]


def check(
    root: Path, bindings: Sequence[tuple[Direction, ParameterType, str]], mounts: list[str], at: list[str]
) -> None:
    """The mounts and the container paths of bindings whose paths are relative to a directory, and no problem."""
    plan = plan_of(*((direction, kind, root / path) for direction, kind, path in bindings))
    found = container_mounts(plan)
    assert seen(root, found) == mounts
    assert list(found.arguments) == [f"--p{number}={path}" for number, path in enumerate(at)]
    assert mount_problems(plan) == []


def test_directories_and_input_files_mount_themselves_and_an_output_file_its_parent(tmp_path: Path) -> None:
    check(
        tmp_path,
        [
            ("input", "directory", "data"),
            ("input", "file", "in/a.txt"),
            ("output", "directory", "logs"),
            ("output", "file", "out/model.h5"),
        ],
        [
            "data -> /mlbox_io0/data",
            "logs -> /mlbox_io2/logs rw",
            "out -> /mlbox_io3 rw",
            "in/a.txt -> /mlbox_io1/a.txt",
        ],
        ["/mlbox_io0/data", "/mlbox_io1/a.txt", "/mlbox_io2/logs", "/mlbox_io3/model.h5"],
    )


def test_one_path_bound_twice_is_mounted_once_and_the_count_goes_on(tmp_path: Path) -> None:
    check(
        tmp_path,
        [
            ("input", "file", "a"),
            ("input", "file", "a"),
            ("output", "file", "out/x"),
            ("output", "file", "out/y"),
            ("output", "directory", "logs"),
        ],
        ["a -> /mlbox_io0/a", "out -> /mlbox_io1 rw", "logs -> /mlbox_io2/logs rw"],
        ["/mlbox_io0/a", "/mlbox_io0/a", "/mlbox_io1/x", "/mlbox_io1/y", "/mlbox_io2/logs"],
    )


@pytest.mark.parametrize("file_first", [True, False])
def test_a_directory_keeps_its_name_when_an_output_file_lies_in_it(tmp_path: Path, file_first: bool) -> None:
    bindings: list[tuple[Direction, ParameterType, str]] = [
        ("output", "file", "out/x"),
        ("output", "directory", "out"),
    ]
    paths = ["/mlbox_io0/out/x", "/mlbox_io0/out"]
    step = 1 if file_first else -1
    check(tmp_path, bindings[::step], ["out -> /mlbox_io0/out rw"], paths[::step])


def test_an_input_below_an_output_stays_read_only(tmp_path: Path) -> None:
    check(
        tmp_path,
        [("input", "directory", "all/data"), ("output", "directory", "all")],
        ["all -> /mlbox_io0/all rw", "all/data -> /mlbox_io0/all/data"],
        ["/mlbox_io0/all/data", "/mlbox_io0/all"],
    )


def test_an_output_below_an_input_is_writable(tmp_path: Path) -> None:
    check(
        tmp_path,
        [("input", "directory", "all"), ("output", "directory", "all/out"), ("output", "file", "all/models/m")],
        ["all -> /mlbox_io0/all", "all/out -> /mlbox_io0/all/out rw", "all/models -> /mlbox_io0/all/models rw"],
        ["/mlbox_io0/all", "/mlbox_io0/all/out", "/mlbox_io0/all/models/m"],
    )


def test_an_input_file_beside_an_output_file_stays_read_only(tmp_path: Path) -> None:
    check(
        tmp_path,
        [("input", "file", "w/in.txt"), ("output", "file", "w/out.txt")],
        ["w -> /mlbox_io0 rw", "w/in.txt -> /mlbox_io0/in.txt"],
        ["/mlbox_io0/in.txt", "/mlbox_io0/out.txt"],
    )


def test_three_levels_alternate_and_a_level_that_changes_nothing_is_no_mount(tmp_path: Path) -> None:
    check(
        tmp_path,
        [
            ("input", "directory", "a/b"),
            ("input", "directory", "a/b/same"),
            ("output", "directory", "a/b/c/d"),
            ("output", "directory", "a"),
            ("output", "directory", "a/too"),
        ],
        ["a -> /mlbox_io0/a rw", "a/b -> /mlbox_io0/a/b", "a/b/c/d -> /mlbox_io0/a/b/c/d rw"],
        ["/mlbox_io0/a/b", "/mlbox_io0/a/b/same", "/mlbox_io0/a/b/c/d", "/mlbox_io0/a", "/mlbox_io0/a/too"],
    )


def test_a_name_that_begins_like_another_is_not_below_it(tmp_path: Path) -> None:
    check(
        tmp_path,
        [("input", "directory", "data"), ("output", "directory", "data2")],
        ["data -> /mlbox_io0/data", "data2 -> /mlbox_io1/data2 rw"],
        ["/mlbox_io0/data", "/mlbox_io1/data2"],
    )


def test_links_are_followed_and_the_task_sees_the_name_of_the_binding(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    (store / "5d41402a").touch()
    (tmp_path / "mnist.npz").symlink_to(store / "5d41402a")
    (tmp_path / "logs").symlink_to(tmp_path / "logs-2024")  # is made by whoever runs the plan
    check(
        tmp_path,
        [("input", "file", "mnist.npz"), ("output", "directory", "logs")],
        ["logs-2024 -> /mlbox_io1/logs rw", "store/5d41402a -> /mlbox_io0/mnist.npz"],
        ["/mlbox_io0/mnist.npz", "/mlbox_io1/logs"],
    )


def test_an_output_file_that_is_a_link_is_written_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "model").symlink_to(tmp_path / "models/latest")
    check(tmp_path, [("output", "file", "model")], ["models -> /mlbox_io0 rw"], ["/mlbox_io0/latest"])


def refusals(*bindings: Binding) -> list[str]:
    plan = plan_of(*bindings)
    problems = mount_problems(plan)
    assert {problem.exit_status for problem in problems} <= {EX_CONFIGURATION}
    assert {problem.hint for problem in problems} <= {"bind it to another path"}
    places = {str(each.path): each.location for each in plan.parameters}
    assert all(problem.location in places.values() for problem in problems)
    return [problem.message.partition("cannot be used: ")[2] for problem in problems]


@pytest.mark.parametrize(
    "binding",
    [("input", "directory", Path("/")), ("output", "directory", Path("/")), ("output", "file", Path("/model.h5"))],
)
def test_the_root_directory_is_never_mounted(binding: Binding) -> None:
    assert refusals(binding) == ["the root directory cannot be mounted into a container"]


def test_an_output_file_directly_inside_an_input_directory_is_refused_at_its_own_place(tmp_path: Path) -> None:
    bindings: list[Binding] = [("input", "directory", tmp_path), ("output", "file", tmp_path / "out")]
    assert refusals(*bindings) == ["it is written into the input 'p0', which is read-only"]
    (problem,) = mount_problems(plan_of(*bindings))
    assert problem.location == Location(file="r", line=2)


def test_an_output_that_is_an_input_by_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "data")
    for kind in ("file", "directory"):
        assert refusals(("input", kind, tmp_path / "data"), ("output", kind, tmp_path / "link")) == [
            "by a link it is the input 'p0', which the task must not change"
        ]


def test_an_output_file_in_an_input_directory_by_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    assert refusals(("input", "directory", tmp_path / "data"), ("output", "file", tmp_path / "link/model")) == [
        "it is written into the input 'p0', which is read-only"
    ]


@pytest.mark.parametrize("name", ["a\r\nb", "\udcff"])
def test_a_name_that_an_engine_would_take_for_another_is_refused(tmp_path: Path, name: str) -> None:
    (reason,) = refusals(("input", "file", tmp_path / name))
    assert "cannot read its name" in reason


@pytest.mark.parametrize("name", ["a\rb", "a\nb", "a,b", 'a"b', "a:b", " a ", "-a", "数据"])
def test_other_odd_names_are_kept(tmp_path: Path, name: str) -> None:
    assert refusals(("input", "file", tmp_path / name)) == []
    assert container_mounts(plan_of(("input", "file", tmp_path / name))).arguments == (f"--p0=/mlbox_io0/{name}",)


def test_one_path_as_input_and_output_is_a_wrong_definition_at_the_output(make_box: MakeBox) -> None:
    run = """\
schema_version: 1.0.0
schema_type: mlbox_invoke
task_name: copy
input_binding: {source: $WORKSPACE/in.txt}
output_binding: {target: in.txt, logs: logs}
"""
    box = load_box(make_box({"run/copy.yaml": run}))
    configuration = load_run_configuration(box.root / "run/copy.yaml", box)
    with pytest.raises(ProblemsError) as caught:
        plan_run(box, configuration, LOCAL)
    assert caught.value.exit_status == EX_DEFINITION
    (problem,) = caught.value.problems
    assert problem.code == "read-and-written"
    assert problem.location is not None
    assert (problem.location.line, problem.location.column) == (5, 26)


# ---- Any bindings --------------------------------------------------------------------------------

NAMES = st.sampled_from("abc")
PATHS = st.lists(NAMES, min_size=0, max_size=4).map(lambda names: Path("/r", *names))
BINDINGS = st.lists(
    st.tuples(st.sampled_from(("input", "output")), st.sampled_from(("file", "directory")), PATHS),
    min_size=1,
    max_size=6,
)


def innermost(mounts: Mounts, path: PurePosixPath) -> Mount:
    """The mount that a container's path belongs to; a later one lies over an earlier one."""
    return [mount for mount in mounts.mounts if path.is_relative_to(mount.target)][-1]


@given(BINDINGS)
@quick_or_thorough(400)
def test_every_input_is_read_only_and_every_output_writable_or_a_problem_is_reported(
    bindings: list[Binding],
) -> None:
    plan = plan_of(*bindings)
    assume(not mount_problems(plan))
    found = container_mounts(plan)
    for parameter, argument in zip(plan.parameters, found.arguments, strict=True):
        name, _, text = argument.partition("=")
        path = PurePosixPath(text)
        mount = innermost(found, path)
        assert name == f"--{parameter.name}"
        assert mount.writable == (parameter.direction == "output")
        assert mount.source / path.relative_to(mount.target) == parameter.path  # it leads where the binding says
        assert path.name == parameter.path.name
    targets = [mount.target for mount in found.mounts]
    for place, target in enumerate(targets):
        assert all(not target.is_relative_to(later) for later in targets[place + 1 :]), "an inner mount comes first"
    assert len({mount.source for mount in found.mounts}) == len(found.mounts)
