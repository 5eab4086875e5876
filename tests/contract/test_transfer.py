"""What is brought to another host and back, by rsync: only what has changed; and what is removed there."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from mlcommons_box.definition.loader import load_box, load_run_configuration
from mlcommons_box.errors import UnavailableError
from mlcommons_box.host import Login, SshHost
from mlcommons_box.model import Platform, SshOptions
from mlcommons_box.planning import RunPlan, plan_run
from mlcommons_box.runners.submitted_run import outputs_of
from mlcommons_box.runners.there import find
from mlcommons_box.runners.transfer import bring_back, missing_there, send
from mlcommons_box.value import replace
from tests.conftest import MakeBox, write_files

pytestmark = pytest.mark.engine("rsync")
PLATFORM = Platform(name="lab", runner="ssh", options=SshOptions(host="lab", platform="local"))
TASK = """\
schema_version: 1.0.0
schema_type: mlbox_task
inputs: [{name: source, type: file}, {name: data, type: directory}]
outputs: [{name: target, type: file}, {name: logs, type: directory}]
"""
RUN = """\
schema_version: 1.0.0
schema_type: mlbox_invoke
task_name: copy
input_binding: {source: in.txt, data: data}
output_binding: {target: out/copy.txt, logs: logs}
"""
ODD_NAMES = (
    "with space", "new\nline", "back\\slash", "100%d", "%s", "\\0", "0", "1 one", "-dash", "it's", '"quoted"',
    "$(touch x)", "[a]", "a", "*", "?", "ü数", os.fsdecode(b"\xff\xfe"), "MLBOX_END_OF_LIST",
)  # fmt: skip


class Desk:
    """A box here, and its place on the host."""

    def __init__(self, root: Path, host: SshHost) -> None:
        self.root = root
        self.host = host
        self.bindings: dict[str, str] = {}
        self.workspace: Path | None = None

    @property
    def plan(self) -> RunPlan:
        box = load_box(self.root)
        run = load_run_configuration(self.root / "run/copy.yaml", box)
        return plan_run(box, run, PLATFORM, rebind=self.bindings, workspace=self.workspace)

    def send(self) -> Path:
        """Send, and return the place of the box there."""
        plan = self.plan
        for output in plan.outputs:
            if not output.elsewhere:
                output.directory.mkdir(parents=True, exist_ok=True)
        there = find(self.host, plan, None, None)
        send(self.host, plan, there, lambda *_: None)
        return there.box

    def bring_back(self) -> list[str]:
        plan = self.plan
        there = find(self.host, plan, None, None)
        return bring_back(self.host, str(there.box), outputs_of(plan, there.plan(plan)), lambda *_: None)

    def write(self, files: Mapping[str, str]) -> None:
        write_files(self.root, files)


def tree(root: Path) -> dict[str, str]:
    """The files below a directory, but for what is ours, with their content or where they link to."""
    return {
        str(path.relative_to(root)): f"-> {os.readlink(path)}" if path.is_symlink() else path.read_text()
        for path in root.rglob("*")
        if (path.is_symlink() or path.is_file()) and ".mlbox" not in path.parts
    }


@pytest.fixture
def desk(make_box: MakeBox, lab: Path) -> Iterator[Desk]:
    root = make_box({"tasks/copy.yaml": TASK, "run/copy.yaml": RUN, "workspace/data/a.txt": "a"})
    host = SshHost(Login(host="lab"))
    yield Desk(root, host)
    host.close()


def test_the_box_and_its_inputs_are_there(desk: Desk) -> None:
    desk.write({"workspace/not an input": "", "build/__pycache__/x.pyc": "", ".git/x": "", ".mlbox/x": ""})
    place = desk.send()
    assert tree(place) == {
        name: text
        for name, text in tree(desk.root).items()
        if name != "workspace/not an input" and not name.startswith((".git", "build/__py"))
    }
    assert (place / "workspace/logs").is_dir()


def test_what_is_gone_here_is_removed_there_with_directories_that_become_empty(desk: Desk) -> None:
    desk.write({"build/old/deep/x": "", "workspace/data/class_1/x": "", "workspace/data/b.txt": "b"})
    place = desk.send()
    assert (place / "workspace/data/class_1/x").exists()
    for name in ("build/old/deep/x", "workspace/data/class_1/x", "workspace/data/b.txt"):
        (desk.root / name).unlink()
    (desk.root / "build/old/deep").rmdir()
    (desk.root / "build/old").rmdir()
    (desk.root / "workspace/data/class_1").rmdir()
    desk.send()
    assert tree(place) == tree(desk.root)
    assert not (place / "build/old").exists()
    assert not (place / "workspace/data/class_1").exists()


def test_what_was_not_sent_is_never_removed(desk: Desk) -> None:
    desk.write({"build/old": "", "workspace/data/old": ""})
    place = desk.send()
    theirs = {"theirs": "1", "build/theirs": "2", "workspace/data/theirs": "3", "workspace/x/y": "4"}
    write_files(place, theirs)
    for name in ("build/old", "workspace/data/old"):
        (desk.root / name).unlink()
    desk.send()
    assert {name: (place / name).read_text() for name in theirs} == theirs
    assert not (place / "build/old").exists()


def test_what_a_task_made_anew_is_not_removed(desk: Desk) -> None:
    """It was there because of us and went; what is there now under its name is somebody else's."""
    desk.write({"workspace/data/x": "ours"})
    place = desk.send()
    (desk.root / "workspace/data/x").unlink()
    desk.send()
    write_files(place, {"workspace/data/x": "theirs"})
    desk.send()
    assert (place / "workspace/data/x").read_text() == "theirs"


def test_inputs_of_other_runs_stay(desk: Desk) -> None:
    desk.write({"workspace/other/x": "", "workspace/data/b": ""})
    place = desk.send()
    desk.bindings = {"data": "other"}
    (desk.root / "workspace/data/b").unlink()
    desk.send()
    assert (place / "workspace/data/b").exists()
    desk.bindings = {}
    desk.send()
    assert not (place / "workspace/data/b").exists()


def test_outputs_that_are_removed_here_do_not_come_back(desk: Desk) -> None:
    place = desk.send()
    write_files(place, {"workspace/logs/log.txt": "1", "workspace/out/copy.txt": "1"})
    assert desk.bring_back() == []
    assert (desk.root / "workspace/logs/log.txt").read_text() == "1"
    (desk.root / "workspace/logs/log.txt").unlink()
    (desk.root / "workspace/out/copy.txt").unlink()
    desk.send()
    assert not (place / "workspace/logs/log.txt").exists()
    assert not (place / "workspace/out/copy.txt").exists()


def test_outputs_that_were_not_brought_back_yet_stay(desk: Desk) -> None:
    place = desk.send()
    write_files(place, {"workspace/logs/log.txt": "1"})
    desk.send()
    assert (place / "workspace/logs/log.txt").exists()


def test_outputs_are_there_to_be_added_to(desk: Desk) -> None:
    desk.write({"workspace/logs/before": "1"})
    place = desk.send()
    assert (place / "workspace/logs/before").read_text() == "1"


@pytest.mark.parametrize("direction", ["there", "back"])
def test_odd_names_arrive_and_are_removed_like_others(desk: Desk, direction: str) -> None:
    place = desk.send()
    source = desk.root if direction == "there" else place
    folder = "data" if direction == "there" else "logs"
    for name in ODD_NAMES:
        (source / "workspace" / folder / name).write_text(f"of {name!r}")
    if direction == "there":
        desk.send()
    else:
        desk.bring_back()
    assert tree(place / "workspace" / folder) == tree(desk.root / "workspace" / folder)
    for name in ODD_NAMES:
        (desk.root / "workspace" / folder / name).unlink()
    desk.send()
    assert tree(place / "workspace" / folder) == tree(desk.root / "workspace" / folder)


@pytest.mark.parametrize("name", ODD_NAMES[:-2])
def test_odd_names_of_outputs_mean_no_other_file(desk: Desk, name: str) -> None:
    desk.bindings = {"target": f"o{name}/{name}", "logs": f"l{name}"}
    place = desk.send() / "workspace"
    for other in ("a", "1", name):
        write_files(place, {f"o{name}/{other}": f"of {other}", f"l{other}/x": f"of {other}"})
    assert desk.bring_back() == []
    here = desk.root / "workspace"
    assert [path.name for path in (here / f"o{name}").iterdir()] == [name]
    assert (here / f"o{name}" / name).read_text() == f"of {name}"
    assert (here / f"l{name}/x").read_text() == f"of {name}"


def test_many_files_that_are_gone(desk: Desk) -> None:
    """More than one command line holds."""
    folder = desk.root / "workspace/data/many"
    folder.mkdir()
    for number in range(1300):
        (folder / f"{number:0200}").touch()
    place = desk.send()
    assert len(list((place / "workspace/data/many").iterdir())) == 1300
    subprocess.run(["rm", "-r", str(folder)], check=True)
    desk.send()
    assert not (place / "workspace/data/many").exists()


def test_links_that_lead_out_are_what_they_refer_to(desk: Desk, tmp_path: Path) -> None:
    outside = write_files(tmp_path / "outside", {"x": "1", "deep/y": "2"})
    data = desk.root / "workspace/data"
    (data / "file").symlink_to(outside / "x")
    (data / "folder").symlink_to(outside)
    (data / "inside").symlink_to("a.txt")
    desk.write({"workspace/shared/z": "3"})
    (data / "beside").symlink_to("../shared/z")
    place = desk.send() / "workspace/data"
    assert tree(place) == {
        "a.txt": "a", "file": "1", "folder/x": "1", "folder/deep/y": "2", "inside": "-> a.txt", "beside": "3",
    }  # fmt: skip
    for name in ("file", "folder", "inside", "beside"):
        (data / name).unlink()
    desk.send()
    assert tree(place) == {"a.txt": "a"}
    assert not (place / "folder").exists()


def test_inputs_that_are_links_are_what_they_refer_to(desk: Desk) -> None:
    desk.write({"workspace/v2.txt": "new", "workspace/data-v2/b.txt": "b"})
    workspace = desk.root / "workspace"
    (workspace / "in.txt").unlink()
    (workspace / "in.txt").symlink_to("v2.txt")
    (workspace / "data/a.txt").unlink()
    (workspace / "data").rmdir()
    (workspace / "data").symlink_to("data-v2")
    place = desk.send() / "workspace"
    assert tree(place) == {"in.txt": "new", "data/b.txt": "b"}


def test_a_file_takes_the_place_of_a_directory_and_the_other_way_round(desk: Desk) -> None:
    desk.write({"build/one/x": "1", "build/two": "2"})
    place = desk.send()
    (desk.root / "build/one/x").unlink()
    (desk.root / "build/one").rmdir()
    (desk.root / "build/two").unlink()
    desk.write({"build/one": "file", "build/two/y": "folder"})
    desk.send()
    assert tree(place / "build") == tree(desk.root / "build")


def test_an_output_inside_an_input(desk: Desk) -> None:
    desk.bindings = {"logs": "data/logs"}
    desk.write({"workspace/data/logs/before": "1"})
    place = desk.send() / "workspace"
    assert tree(place / "data") == {"a.txt": "a", "logs/before": "1"}
    write_files(place, {"data/logs/after": "2", "data/a.txt": "changed by the task"})
    desk.bring_back()
    assert tree(desk.root / "workspace/data") == {"a.txt": "a", "logs/before": "1", "logs/after": "2"}


def test_an_input_inside_an_output_stays_as_it_is_here(desk: Desk) -> None:
    desk.bindings = {"logs": "."}
    place = desk.send() / "workspace"
    desk.write({"workspace/in.txt": "edited while it ran", "workspace/data/a.txt": "this as well"})
    write_files(place, {"new": "made", ".mlbox/runs/1/job/job.sh": "secret"})
    desk.bring_back()
    assert tree(desk.root / "workspace") == {
        "in.txt": "edited while it ran", "data/a.txt": "this as well", "new": "made",
    }  # fmt: skip
    assert not (desk.root / "workspace/.mlbox").exists()


def test_a_workspace_elsewhere_has_a_place_of_its_own(desk: Desk, tmp_path: Path) -> None:
    desk.workspace = write_files(tmp_path / "elsewhere", {"in.txt": "other", "data/b": "b"})
    place = desk.send()
    assert not (place / "workspace").exists()
    (folder,) = (place / "workspaces").iterdir()
    assert tree(folder) == {"in.txt": "other", "data/b": "b"}
    write_files(folder, {"logs/x": "1"})
    assert desk.bring_back() == [str(folder / "out/copy.txt")]
    assert (desk.workspace / "logs/x").read_text() == "1"


@pytest.mark.parametrize("where", [".", "other [x]\\y"])
def test_a_workspace_in_the_box_is_sent_once(desk: Desk, where: str) -> None:
    desk.workspace = desk.root / where
    desk.write({f"{where}/in.txt": "other", f"{where}/data/b": "b", f"{where}/junk": "j"})
    place = desk.send()
    assert (place / "build/echo.py").exists()
    (folder,) = (place / "workspaces").iterdir()
    assert tree(folder) == {"in.txt": "other", "data/b": "b"}
    if where != ".":
        assert not (place / where).exists()


def test_data_that_lives_there_is_neither_sent_nor_removed(desk: Desk, lab: Path) -> None:
    big = write_files(lab / "big", {"x": "1"})
    desk.bindings = {"data": str(big), "logs": str(lab / "results")}
    place = desk.send()
    assert not list(place.rglob("x"))
    assert missing_there(desk.host, desk.plan) == []
    desk.bindings["data"] = str(lab / "no such data")
    (problem,) = missing_there(desk.host, desk.plan)
    assert problem.exit_status == 66
    assert "no such data" in problem.message
    assert "'data' is no directory on lab" in problem.message


def test_a_host_without_rsync_is_told_before_anything_is_sent(desk: Desk, lab: Path) -> None:
    plan = desk.plan
    there = find(desk.host, plan, None, None)
    programs = {name: path for name, path in there.programs.items() if name != "rsync"}
    with pytest.raises(UnavailableError, match="there is no rsync on lab"):
        send(desk.host, plan, replace(there, programs=programs), lambda *_: None)
    assert list(there.box.iterdir()) == []


def test_what_is_there_already_is_not_sent_again(desk: Desk) -> None:
    place = desk.send()
    before = {
        path: path.stat().st_ino for path in place.rglob("*") if path.is_file() and ".mlbox" not in path.parts
    }
    desk.send()
    assert all(path.stat().st_ino == inode for path, inode in before.items())
    noted = (place / ".mlbox/sent").read_text().splitlines()
    assert len(noted) == len(set(noted))
