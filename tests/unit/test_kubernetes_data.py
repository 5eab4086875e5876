"""The data of a Kubernetes run: where it is, how it is packed and unpacked, and what of a log is new."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path, PurePosixPath
from typing import Literal

import pytest

from mlcommons_box.definition.loader import load_box, load_run_configuration
from mlcommons_box.errors import EX_CONFIGURATION
from mlcommons_box.model import KubernetesOptions, Platform
from mlcommons_box.planning import BoundParameter, RunPlan, plan_run
from mlcommons_box.presence import create_output_directories, missing_inputs, unusable_outputs
from mlcommons_box.runners.kubernetes_archive import Pieces, pack, unpack
from mlcommons_box.runners.kubernetes_logs import Log
from mlcommons_box.runners.kubernetes_volumes import Place, layout, volume_problems
from tests.conftest import MakeBox, write_files

CLAIMED = """\
schema_version: 1.0.0
schema_type: mlbox_invoke
task_name: copy
input_binding: {source: {path: workspace/in.txt, k8s: {pvc: data}}}
output_binding:
  target: {path: workspace/out/copy.txt, k8s: {pvc: results}}
  logs: {path: logs, k8s: {pvc: results}}
"""


def plan_for(root: Path, claim: str | None = None, rebind: dict[str, str] | None = None) -> RunPlan:
    box = load_box(root)
    platform = Platform(name="k", runner="kubernetes", options=KubernetesOptions(image="a", workspace_claim=claim))
    return plan_run(box, load_run_configuration(root / "run/copy.yaml", box), platform, rebind=rebind)


def mounts_of(plan: RunPlan) -> list[tuple[str | None, str, str, bool]]:
    return [(each.claim, each.sub_path, str(each.target), each.writable) for each in layout(plan).mounts]


def test_what_lies_in_claims_is_not_looked_for_here(make_box: MakeBox) -> None:
    root = make_box({"run/copy.yaml": CLAIMED, "workspace/in.txt": None})
    plan = plan_for(root)
    assert missing_inputs(plan.parameters) == []
    assert unusable_outputs(plan.parameters) == []
    create_output_directories(plan)
    assert not (root / "workspace").exists()
    assert not (root / "logs").exists()


def test_claims_of_bindings(make_box: MakeBox) -> None:
    plan = plan_for(make_box({"run/copy.yaml": CLAIMED}))
    assert mounts_of(plan) == [
        ("results", "logs", "/mlbox_io2/logs", True),
        ("data", "workspace/in.txt", "/mlbox_io0/in.txt", False),
        ("results", "workspace/out", "/mlbox_io1", True),
    ]
    assert layout(plan).claims == ("data", "results")
    assert layout(plan).sent == ()


def test_a_claim_for_the_workspace(make_box: MakeBox) -> None:
    plan = plan_for(make_box(), "ws")
    assert all(each.elsewhere for each in plan.parameters)
    assert sorted(mounts_of(plan), key=str) == [
        ("ws", "in.txt", "/mlbox_io0/in.txt", False),
        ("ws", "logs", "/mlbox_io2/logs", True),
        ("ws", "out", "/mlbox_io1", True),
    ]


def test_the_whole_workspace_and_an_input_in_it(make_box: MakeBox) -> None:
    plan = plan_for(make_box(), "ws", rebind={"logs": "$WORKSPACE"})
    assert mounts_of(plan) == [
        ("ws", "", "/mlbox_io0/ws", True),
        ("ws", "in.txt", "/mlbox_io0/ws/in.txt", False),
    ]


def test_what_is_sent(make_box: MakeBox) -> None:
    plan = plan_for(make_box())
    assert sorted(mounts_of(plan), key=str) == [
        (None, "io/mlbox_io0/in.txt", "/mlbox_io0/in.txt", False),
        (None, "io/mlbox_io1", "/mlbox_io1", True),
        (None, "io/mlbox_io2/logs", "/mlbox_io2/logs", True),
    ]
    assert [str(place.inside) for place in layout(plan).sent] == [
        *("mlbox_io0/in.txt", "mlbox_io1/copy.txt", "mlbox_io2/logs"),
    ]


def test_some_of_both(make_box: MakeBox) -> None:
    mixed = CLAIMED.replace("{path: logs, k8s: {pvc: results}}", "$WORKSPACE/logs")
    plan = plan_for(make_box({"run/copy.yaml": mixed}))
    assert [each.claim for each in layout(plan).places] == ["data", "results", None]


@pytest.mark.parametrize(("path", "claim"), [("/etc", "ws"), ("../elsewhere", "ws")])
def test_a_path_outside_of_its_claim(make_box: MakeBox, path: str, claim: str) -> None:
    (problem,) = volume_problems(plan_for(make_box(), claim, rebind={"logs": path}))
    assert "which holds only what is below" in problem.message
    assert problem.exit_status == EX_CONFIGURATION


def test_a_colon_is_refused(make_box: MakeBox) -> None:
    (problem,) = volume_problems(plan_for(make_box(), rebind={"logs": "a:b"}))
    assert "no colon" in problem.message


# ---- Archives -----------------------------------------------------------------------------------


def place(path: Path, direction: Literal["input", "output"] = "output", inside: str = "mlbox_io0/out") -> Place:
    kind: Literal["directory", "file"] = "file" if path.suffix else "directory"
    parameter = BoundParameter(name="x", type=kind, direction=direction, path=path)
    return Place(parameter=parameter, claim=None, inside=PurePosixPath(inside))


def packed(places: tuple[Place, ...], workspace: Path, size: int = 1000) -> bytes:
    pieces: list[bytes] = []
    pack(places, workspace, Pieces(size, pieces.append))
    assert all(len(piece) == size for piece in pieces[:-1])
    return b"".join(pieces)


def test_there_and_back(tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {"a b/c.txt": "c", "d": "d" * 5000, "e/\udcff": "bytes"})
    (source / "link").symlink_to("d")
    (source / "empty").mkdir()
    (source / "d").chmod(0o750)
    os.mkfifo(source / "fifo")
    content = packed((place(source),), tmp_path)
    target = tmp_path / "target"
    assert unpack(io.BytesIO(content), (place(target),), tmp_path) == []
    assert (target / "a b/c.txt").read_text() == "c"
    assert (target / "e/\udcff").read_text() == "bytes"
    assert (target / "link").readlink() == Path("d")
    assert (target / "d").stat().st_mode & 0o777 == 0o750
    assert (target / "empty").is_dir()
    assert not (target / "fifo").exists()


def test_records_stay_here(tmp_path: Path) -> None:
    write_files(tmp_path, {".mlbox/runs/1/stdout.log": "x", "a": "a"})
    with tarfile.open(fileobj=io.BytesIO(packed((place(tmp_path),), tmp_path))) as archive:
        assert archive.getnames() == ["mlbox_io0/out", "mlbox_io0/out/a"]


def archive_of(*members: tuple[str, str, bytes | str]) -> io.BytesIO:
    kinds = {"dir": tarfile.DIRTYPE, "link": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "device": tarfile.CHRTYPE}
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.mode = 0o755
            if isinstance(content, bytes):
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            else:
                info.type, info.linkname = kinds[kind], content
                archive.addfile(info)
    file.seek(0)
    return file


@pytest.mark.parametrize(
    "members",
    [
        [("mlbox_io0/out/../../x", "", b"x")],
        [("../x", "", b"x")],
        [("/x", "", b"x")],
        [("mlbox_io0/other/x", "", b"x")],
        [("mlbox_io0/out/d", "link", ".."), ("mlbox_io0/out/d/x", "", b"x")],
        [("mlbox_io0/out/d", "link", "/tmp"), ("mlbox_io0/out/d/x", "", b"x")],
        [("mlbox_io0/out/x", "device", "")],
        [("mlbox_io0/out/x", "hard", "/etc/passwd")],
    ],
)
def test_nothing_gets_out_of_an_output(tmp_path: Path, members: list[tuple[str, str, bytes | str]]) -> None:
    out = tmp_path / "workspace/out"
    out.mkdir(parents=True)
    assert unpack(archive_of(*members), (place(out),), tmp_path / "workspace") == [members[-1][0]]
    assert not (tmp_path / "workspace/x").exists()
    assert not Path("/tmp/x").exists()
    assert not (out / "x").exists()


def test_a_link_that_is_here_is_replaced_and_not_followed(tmp_path: Path) -> None:
    out = write_files(tmp_path, {"precious": "p", "out/y": ""}) / "out"
    (out / "x").symlink_to(tmp_path / "precious")
    (out / "dir").symlink_to(tmp_path)
    members = archive_of(("mlbox_io0/out/x", "", b"new"), ("mlbox_io0/out/dir", "dir", ""))
    assert unpack(members, (place(out),), tmp_path) == []
    assert (tmp_path / "precious").read_text() == "p"
    assert (out / "x").read_text() == "new"
    assert (out / "dir").is_dir()
    assert not (out / "dir").is_symlink()


def test_an_input_in_an_output_stays_as_it_is(tmp_path: Path) -> None:
    out = write_files(tmp_path / "out", {"in.txt": "mine"})
    places = (place(out), place(out / "in.txt", "input", "mlbox_io0/out/in.txt"))
    members = archive_of(("mlbox_io0/out/in.txt", "", b"theirs"), ("mlbox_io0/out/new", "", b"new"))
    assert unpack(members, places, tmp_path) == []
    assert (out / "in.txt").read_text() == "mine"
    assert (out / "new").read_text() == "new"


# ---- Logs ---------------------------------------------------------------------------------------


def test_a_log_that_is_read_again_shows_what_is_new() -> None:
    shown: list[bytes] = []
    log = Log(shown.append)
    text = bytes(range(256)) * 3
    for length, step in ((0, 1), (10, 3), (10, 7), (400, 100), (400, 1), (768, 256)):
        log.begin()
        for start in range(0, length, step):
            log.take(text[start : min(length, start + step)])
        log.end()
        assert b"".join(shown) == text[:length]


def test_a_log_whose_beginning_is_gone_is_shown_all() -> None:
    shown: list[bytes] = []
    log = Log(shown.append)
    log.begin()
    log.take(b"first\n" * 100)
    log.end()
    log.begin()
    log.take(b"later\n")
    log.end()
    assert b"".join(shown) == b"first\n" * 100 + b"later\n"
