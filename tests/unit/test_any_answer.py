"""Whatever an engine, a queue, a cluster, a host or a tool says: a value or an error of ours, and never success."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcommons_box.command import redacted, redacted_words
from mlcommons_box.definition import schema
from mlcommons_box.definition.built_in import built_in_platform
from mlcommons_box.definition.loader import load_box, load_run_configuration
from mlcommons_box.definition.rules import Text
from mlcommons_box.diagnosis import podman
from mlcommons_box.errors import BoxError, CannotCreateError
from mlcommons_box.host import Host
from mlcommons_box.machine import machine_of
from mlcommons_box.model import Platform, SshOptions
from mlcommons_box.planning import BoundParameter, SetupPlan, plan_run, plan_setup
from mlcommons_box.process import Answer, Completed, OnOutput
from mlcommons_box.runners.batch import JobState, Submitted, look, survey
from mlcommons_box.runners.engine_failures import SINGULARITY_FAILURES, failures_of
from mlcommons_box.runners.failures import explained, tail
from mlcommons_box.runners.follower import Follower
from mlcommons_box.runners.identity import identity_of
from mlcommons_box.runners.kubernetes_archive import unpack
from mlcommons_box.runners.kubernetes_evidence import identity_of_pod
from mlcommons_box.runners.kubernetes_failures import CLIENT_FAILURES, POD_FAILURES
from mlcommons_box.runners.kubernetes_state import events_of, refusal_of, state_of
from mlcommons_box.runners.kubernetes_transfer import TransferError, _size
from mlcommons_box.runners.kubernetes_volumes import Place
from mlcommons_box.runners.process_queue import ProcessBackend
from mlcommons_box.runners.sent_files import noted
from mlcommons_box.runners.slurm_failures import refusal, trouble
from mlcommons_box.runners.slurm_queue import SlurmBackend, job_state
from mlcommons_box.runners.there import find
from mlcommons_box.runners.transfer import Output, bring_back, missing_there
from tests.conftest import ECHO_BOX, MakeBox, write_files
from tests.unit.definition.hypothesis_settings import quick_or_thorough
from tests.unit.test_any_file import within_bounds

ENGINES = (SINGULARITY_FAILURES, failures_of("docker"), failures_of("podman"))
WORDS = st.sampled_from(
    [
        *("yes", "no", "gone", "unknown", "queued", "running", "task 0", "task 1", "cancelled 143", "task ²"),
        *("task -1", "9" * 5000, "17", "1000 27"),
        *("1|RUNNING|None", "1|COMPLETED|None", "1|FAILED|x", "1_2|PENDING|", "|", "1||", "1|", "1", "²"),
        *("image sha256:0", "digest a@b", "engine docker 1", "apptainer version 1.4", "version = 3.11"),
        *("a-1.dist-info", "\x1b[31m", "é", "\udcff"),
        *("\0", "\n", " ", "/home/me", "1000", "[::1]", "%2e%2e", ".."),
    ]
)  # fmt: skip
said = st.one_of(
    st.binary(max_size=60),
    st.lists(WORDS, max_size=30).map(lambda words: "".join(words).encode("utf-8", "surrogateescape")),
    st.lists(WORDS, max_size=30).map(lambda words: "\n".join(words).encode("utf-8", "surrogateescape")),
    st.lists(WORDS, max_size=30).map(lambda words: "\0".join(words).encode("utf-8", "surrogateescape")),
)
statuses = st.sampled_from([0, 0, 0, 1, 73, 127])


def answer(status: int, stdout: bytes, stderr: bytes = b"") -> Answer:
    return Answer(completed=Completed(exit_status=status), stdout=stdout, stderr=stderr)


class Says:
    """A host that says the same to everything."""

    name = "lab"

    def __init__(self, status: int, stdout: bytes) -> None:
        self.answer = answer(status, stdout, stdout)

    def shell(self, script: str, *, timeout: float | None = None) -> Answer:
        assert isinstance(script.encode("utf-8", "surrogateescape"), bytes)
        return self.answer

    def put(self, sources: Sequence[str], target: str, *options: str, on_output: OnOutput) -> None:
        """It takes all."""

    def get(self, source: str, target: Path, *options: str, on_output: OnOutput) -> None:
        """It has nothing."""

    def close(self) -> None:
        """Nothing to do."""


def host(status: int, stdout: bytes) -> Host:
    return Says(status, stdout)  # type: ignore[return-value]  # all of it that is asked


# ---- Hosts ---------------------------------------------------------------------------------------


ONE, TWO = Submitted(id="1", directory="/a"), Submitted(id="17_4;blue", directory="/b")


@quick_or_thorough(400)
@given(status=statuses, stdout=said)
def test_a_host(tmp_path_factory: pytest.TempPathFactory, status: int, stdout: bytes) -> None:
    there = host(status, stdout)
    with contextlib.suppress(BoxError):
        report = look(there, "/job", {"stdout": 5, "stderr": 0})
        assert set(report.new) == {"stdout", "stderr"}
    with contextlib.suppress(BoxError):
        assert len(survey(there, ProcessBackend(), [ONE, TWO])) == 2
    with contextlib.suppress(BoxError):
        states = survey(there, SlurmBackend(), [ONE, TWO])
        assert all(state.outcome is None or state.outcome.status != "succeeded" for state in states)
    output = Output(there="/box/out", here=str(BASE / "out"), type="directory")
    with contextlib.suppress(BoxError):
        assert len(bring_back(there, "/box", [output, output], lambda *_: None)) <= 2
    for backend in (ProcessBackend(), SlurmBackend()):
        with contextlib.suppress(ValueError):
            native_id = backend.native_id(stdout.decode("utf-8", "replace"))
            assert re.fullmatch(r"[0-9][\w.;-]*", native_id, re.ASCII)
    assert isinstance(tail(stdout), str)
    machine_of(stdout.decode("utf-8", "replace"))
    with contextlib.suppress(TransferError):
        assert _size(there.shell("")) >= 0


BASE = Path("/nonexistent/mlbox")


@quick_or_thorough(300)
@given(parts=st.lists(WORDS, min_size=4, max_size=24), status=statuses)
def test_who_we_are_on_a_host(plan: SetupPlan, parts: list[str], status: int) -> None:
    stdout = "\0".join(parts).encode("utf-8", "surrogateescape")
    with contextlib.suppress(BoxError):
        there = find(host(status, stdout), plan, None, None)
        assert there.box.is_absolute()
        assert "\n" not in str(there.box)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> SetupPlan:
    box = load_box(write_files(tmp_path_factory.mktemp("box"), ECHO_BOX))
    return plan_setup(box, built_in_platform("local"))


def test_a_shell_that_talks_is_named(plan: SetupPlan) -> None:
    with pytest.raises(BoxError, match="did not say who we are") as caught:
        find(host(0, b"Welcome!\n/home/me\0001000\0001000\0001000\0" + b"\0" * 12), plan, None, None)
    assert "silent" in str(caught.value.hint)


def test_what_a_shell_says_besides_is_no_missing_input(make_box: MakeBox) -> None:
    box = load_box(make_box())
    platform = Platform(name="lab", runner="ssh", options=SshOptions(host="lab", platform="local"))
    plan = plan_run(
        box, load_run_configuration(box.root / "run/copy.yaml", box), platform, rebind={"source": "/in"}
    )
    assert [each.elsewhere for each in plan.inputs] == [True]
    assert missing_there(host(0, b"Welcome! \xff 7 -1 99"), plan) == []
    assert len(missing_there(host(0, b"Welcome!\n0\n"), plan)) == 1


@quick_or_thorough(300)
@given(word=st.one_of(WORDS, st.text(max_size=12), st.integers().map(lambda number: f"task {number}")))
def test_a_status_file(word: str) -> None:
    class Silent:
        def __getattr__(self, name: str) -> Any:
            return lambda *_: None

    follower = Follower(host(0, b""), ProcessBackend(), Silent(), Silent())  # type: ignore[arg-type]
    with contextlib.suppress(BoxError):
        assert follower._outcome(word).status != "succeeded" or word == "task 0"


@quick_or_thorough(200)
@given(text=st.one_of(said.map(lambda each: each.decode("utf-8", "surrogateescape")), st.text(max_size=30)))
def test_words_of_tools(text: str) -> None:
    assert not any(name.startswith("/") or ".." in name.split("/") for name in noted(text))
    identity_of(text)
    for failures in (CLIENT_FAILURES, POD_FAILURES, *ENGINES):
        explained(text, failures)
    assert refusal(text).message
    assert trouble(text)[0]
    for word in text.split("|"):
        state = job_state(word, text)
        assert isinstance(state, JobState)
        assert state.outcome is None or state.outcome.status != "succeeded"


# ---- A cluster -----------------------------------------------------------------------------------

KEYS = st.sampled_from(
    [
        *(
            "kind",
            "metadata",
            "name",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "spec",
        ),
        *("nodeName", "status", "phase", "conditions", "type", "reason", "message", "containerStatuses", "state"),
        *(
            "initContainerStatuses",
            "terminated",
            "running",
            "waiting",
            "exitCode",
            "finishedAt",
            "imageID",
            "items",
        ),
        *("nodeInfo", "capacity", "cpu", "memory", "labels", "kubeletVersion", "nvidia.com/gpu"),
    ]
)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 300),
    st.sampled_from(
        [1 << 80, -1.5, 1e300, "9" * 5000, "²", "1Gi", "OOMKilled", "Evicted", "True", "False", "x\ny"]
    ),
    st.sampled_from(
        ["Job", "Pod", "task", "mlbox-first", "Complete", "Failed", "PodScheduled", "DisruptionTarget"]
    ),
    st.sampled_from(["2026-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "2026-01-01", "ContainerStatusUnknown"]),
)
OBJECTS = st.recursive(
    VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=15
)


@st.composite
def clusters(draw: st.DrawFn) -> dict[str, Any]:
    """A Job and a Pod as they are, but for some parts."""
    own = {
        "name": "task",
        "state": {draw(KEYS): draw(OBJECTS), "terminated": draw(OBJECTS)},
        "imageID": draw(VALUES),
    }
    status = {"phase": draw(VALUES), "containerStatuses": [own], draw(KEYS): draw(OBJECTS)}
    pod = {"kind": "Pod", "metadata": {draw(KEYS): draw(OBJECTS)}, "status": status, "spec": draw(OBJECTS)}
    job = {"kind": "Job", "metadata": draw(OBJECTS), "status": {"conditions": draw(OBJECTS)}}
    return {"items": draw(st.sampled_from([[job, pod], [job], [pod, 1], "items", 7])), draw(KEYS): draw(OBJECTS)}


@quick_or_thorough(300)
@given(found=clusters(), node=st.dictionaries(KEYS, OBJECTS, max_size=4))
def test_a_cluster(found: dict[str, Any], node: dict[str, Any]) -> None:
    state = state_of(found, 5.0)
    if "exitCode" not in str(found) and "Complete" not in str(found):
        assert state.outcome is None or state.outcome.status != "succeeded"
    events_of(found)
    refusal_of(found)
    json.dumps(identity_of_pod(state.image_id, state.node, node).machine)


@quick_or_thorough(100)
@given(found=OBJECTS)
def test_what_podman_says_of_itself(found: object) -> None:
    holder: Mapping[str, Any] = {"idMappings": {"uidmap": found}, "security": found}
    assert isinstance(podman._mapped(holder), int)
    podman._is_rootless(holder)


# ---- An archive of a pod -------------------------------------------------------------------------

KINDS = (tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)
PARTS = st.sampled_from(["a", "b", "..", ".", "", "x" * 260, "-rf", "a\nb", ".mlbox", "/", "\udcff", "io/out"])


@st.composite
def archives(draw: st.DrawFn) -> bytes:
    file = io.BytesIO()
    form = draw(st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
    with tarfile.open(fileobj=file, mode="w", format=form, errors="surrogateescape") as archive:
        for _ in range(draw(st.integers(0, 5))):
            info = tarfile.TarInfo("io/out/" + "/".join(draw(st.lists(PARTS, max_size=3))))
            info.type = draw(st.sampled_from(KINDS))
            info.mode = draw(st.sampled_from([0, 0o644, 0o755, 0o7777]))
            info.mtime = draw(st.sampled_from([0, 1, 1 << 33, 1 << 62] + ([-1, 1e18] if form else [])))
            info.linkname = "/".join(draw(st.lists(PARTS, max_size=3)))
            with contextlib.suppress(ValueError, UnicodeError):
                archive.addfile(info)
    content = bytearray(file.getvalue())
    for _ in range(draw(st.integers(0, 3))):
        content[draw(st.integers(0, min(len(content) - 1, 3000)))] = draw(st.integers(0, 255))
    return bytes(content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content)


def output_at(path: Path) -> Place:
    parameter = BoundParameter(name="out", type="directory", direction="output", path=path)
    return Place(parameter=parameter, claim=None, inside=PurePosixPath("io/out"))


@quick_or_thorough(250)
@given(content=archives())
def test_an_archive_of_a_pod(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    top = tmp_path_factory.mktemp("workspace")
    (top / "out").mkdir()
    (top / "beside").write_text("b")
    with contextlib.suppress(CannotCreateError, tarfile.TarError):
        unpack(io.BytesIO(content), (output_at(top / "out"),), top)
    assert sorted(os.listdir(top)) == ["beside", "out"]
    assert (top / "beside").read_text() == "b"


def test_no_mode_is_changed_through_a_link_that_comes_later(tmp_path: Path) -> None:
    """A directory that was made through a link gets its mode where it is, not where the link leads in the end."""
    (tmp_path / "home/.keys").mkdir(parents=True)
    (tmp_path / "home/.keys").chmod(0o700)
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, kind, target in (
            ("io/out/l", tarfile.SYMTYPE, "."),
            ("io/out/l/.keys", tarfile.DIRTYPE, ""),
            ("io/out/l", tarfile.SYMTYPE, str(tmp_path / "home")),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode = kind, target, 0o777
            archive.addfile(info)
    file.seek(0)
    (tmp_path / "w/out").mkdir(parents=True)
    unpack(file, (output_at(tmp_path / "w/out"),), tmp_path / "w")
    assert (tmp_path / "home/.keys").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "w/out/.keys").stat().st_mode & 0o777 == 0o777


# ---- Patterns ------------------------------------------------------------------------------------

PIECES = [
    "a",
    "a-",
    "0",
    "0.",
    "-",
    " ",
    "a.",
    "a/",
    "token",
    "context ",
    "exec: ",
    "://",
    "a://",
    "@",
    "=",
    "_",
    "1.2-",
]


def test_no_pattern_of_the_definition_files_takes_long() -> None:
    """In a text of a megabyte, which a definition file may hold."""
    patterns = {rule.pattern for rule in vars(schema).values() if isinstance(rule, Text)}
    assert len(patterns) > 5
    with within_bounds():
        for piece in PIECES:
            text = piece * (200_000 // len(piece))
            for pattern in patterns:
                for end in ("", "\0", "!"):
                    re.fullmatch(pattern, text + end)


def test_no_secret_takes_long_to_find() -> None:
    with within_bounds():
        for piece in PIECES:
            text = piece * (1_000_000 // len(piece))
            for each in (text, f"{text}://", f"{text}!=", f"x={text}://", f"--{text} =x"):
                redacted(each)
                redacted_words([each, "x"])


def test_no_failure_takes_long_to_explain() -> None:
    """Also after a line without an end, as a build of a stranger may print."""
    with within_bounds():
        for failures in (CLIENT_FAILURES, POD_FAILURES, *ENGINES):
            for piece in ("context ", "executable ", "manifest for ", "option ", "stat ", "a"):
                explained(piece * 100_000, failures)
