"""Cleaning removes outputs of runs, and never what somebody put there."""

from __future__ import annotations

from pathlib import Path

from mlcommons_box.cleaning import Leftover, find_leftovers
from mlcommons_box.definition.loader import load_box, load_run_configuration
from tests.conftest import MakeBox


def leftovers(root: Path) -> dict[str, str | None]:
    """Path in the box (or absolute) -> why it has to stay."""
    box = load_box(root)
    runs = [load_run_configuration(file, box) for file in sorted(root.glob("run/*.yaml"))]
    found = {}
    for leftover in find_leftovers(box, runs):
        inside = leftover.path.is_relative_to(root)
        found[str(leftover.path.relative_to(root) if inside else leftover.path)] = leftover.reason
    return found


def binding(source: str, target: str, logs: str) -> str:
    return f"""\
schema_version: 1.0.0
schema_type: mlbox_invoke
task_name: copy
input_binding: {{source: {source}}}
output_binding: {{target: {target}, logs: {logs}}}
"""


def test_outputs_that_exist_are_found_and_inputs_are_not(make_box: MakeBox) -> None:
    root = make_box({"workspace/out/copy.txt": "x", "workspace/logs/log.txt": "x"})
    assert leftovers(root) == {"workspace/logs": None, "workspace/out/copy.txt": None}


def test_nothing_is_found_before_the_first_run(make_box: MakeBox) -> None:
    assert leftovers(make_box()) == {}


def test_an_output_that_holds_an_input_stays(make_box: MakeBox) -> None:
    root = make_box({"run/copy.yaml": binding("all/in.txt", "out.txt", "all"), "workspace/all/in.txt": "mine"})
    assert leftovers(root) == {"workspace/all": "it holds the input 'source'"}


def test_an_input_that_another_run_makes_may_go_but_one_that_a_run_changes_in_place_stays(
    make_box: MakeBox,
) -> None:
    root = make_box(
        {
            "run/a.yaml": binding("in.txt", "made.txt", "logs"),
            "run/b.yaml": binding("made.txt", "last.txt", "logs"),
            "run/copy.yaml": binding("mine.txt", "mine.txt", "logs"),
            "workspace/made.txt": "x",
            "workspace/mine.txt": "x",
        }
    )
    assert leftovers(root) == {"workspace/made.txt": None, "workspace/mine.txt": "it holds the input 'source'"}


def test_outputs_outside_the_workspace_stay_links_followed(make_box: MakeBox, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "copy.txt").touch()
    root = make_box({"run/copy.yaml": binding("in.txt", "link/copy.txt", str(outside))})
    (root / "workspace/link").symlink_to(outside)
    reason = "it is not inside the workspace"
    assert leftovers(root) == {str(outside): reason, "workspace/link/copy.txt": reason}


def test_the_workspace_itself_stays(make_box: MakeBox) -> None:
    root = make_box({"run/copy.yaml": binding("/in.txt", "out.txt", "$WORKSPACE")})
    assert leftovers(root) == {"workspace": "it is not inside the workspace"}


def test_of_a_link_only_the_link_is_removed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "precious").touch()
    link = tmp_path / "link"
    link.symlink_to(target)
    Leftover(path=link, what="output").remove()
    assert not link.is_symlink()
    assert (target / "precious").exists()
