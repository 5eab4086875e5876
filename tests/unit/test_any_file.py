"""Whatever is in a file of a stranger: a value or an error of ours, in little time and memory."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from types import FrameType

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mlcommons_box import hyperparameters
from mlcommons_box.cache import keep, read_kept
from mlcommons_box.cli.main import main
from mlcommons_box.definition.remembered import RememberedDefinitions
from mlcommons_box.errors import BoxError, ConfigurationError
from mlcommons_box.fingerprint import Memory, fingerprint
from mlcommons_box.host import Login
from mlcommons_box.hyperparameters import read_file
from mlcommons_box.journal import Journal
from mlcommons_box.lock import drift, read_lock
from mlcommons_box.metrics import read_metrics, read_steps
from mlcommons_box.parameter_file import read_parameter_file, typed
from mlcommons_box.planning import BoundParameter, resolve_path
from mlcommons_box.runners import submitted_run
from mlcommons_box.runners.interface import Outcome
from mlcommons_box.runners.submitted_run import SubmittedRun
from mlcommons_box.runners.transfer import Output
from mlcommons_box.value import as_data
from tests.conftest import ECHO_BOX, write_files
from tests.unit.definition.hypothesis_settings import quick_or_thorough

MOST_MEMORY = 200 << 20
MOST_SECONDS = 60
"""What explodes takes hours; what does not takes a second, on a machine that has much else to do as well."""

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["succeeded", "slurm", "process", "1", "-x", "/a", "sha256:0", 1, 1e300, 1 << 70]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(max_size=6) | st.sampled_from(["id", "packages", "digests", "python", "host", "here", "a.b"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
YAML = st.lists(
    st.sampled_from(
        [
            *"\n :-?[]{},#&*!|>'\"%@`~<\\\t",
            *("\n  ", ": ", "- ", "---\n", "...\n", "a: ", "b: ", "&a ", "*a", "&b ", "*b", "<<: ", "<<: *a"),
            *("!!str ", "!!set ", "!!pairs ", "!!omap ", "!!binary ", "!!timestamp ", "!!float ", "!!int ", "!!x"),
            *(
                "1",
                "1.5",
                "1e9",
                ".inf",
                ".nan",
                "0x1f",
                "0o7",
                "1:30",
                "2001-12-14",
                "yes",
                "null",
                "~",
                "é",
                "🐍",
            ),
            *("\x85", "\u2028", "\ufeff", "\\x00", "\\ud800", "9" * 400),
        ]
    ),
    max_size=40,
).map("".join)
texts = st.one_of(st.binary(max_size=100), JSON.map(lambda value: json.dumps(value).encode()), YAML.map(str.encode))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for files that are written again and again."""
    return tmp_path_factory.mktemp("any")


# ---- Hyper-parameters, metrics, locks ------------------------------------------------------------


@quick_or_thorough(400)
@given(data=texts, suffix=st.sampled_from([".json", ".yaml"]))
def test_a_file_of_parameters(place: Path, data: bytes, suffix: str) -> None:
    file = place / f"parameters{suffix}"
    file.write_bytes(data)
    json.dumps(read_file(file), allow_nan=False)
    try:
        read = read_parameter_file(file)
    except BoxError:
        return
    for name, leaf in list(read.leaves.items())[:3]:
        with contextlib.suppress(BoxError):
            assert isinstance(read.with_values({name: leaf.value}), str)
        for text in ("1", "true", "x", "", "1e999", "9" * 400):
            with contextlib.suppress(ValueError):
                value = typed(text, leaf.value)
                assert not isinstance(value, float) or math.isfinite(value)


@quick_or_thorough(200)
@given(
    content=st.one_of(
        texts, st.lists(JSON, max_size=3).map(lambda lines: "\n".join(map(json.dumps, lines)).encode())
    )
)
def test_a_file_of_metrics(place: Path, content: bytes) -> None:
    output = BoundParameter(name="out", type="directory", direction="output", path=place)
    for name in ("metrics.json", "metrics.jsonl"):
        (place / name).write_bytes(content)
    found = read_metrics([output])
    assert all(isinstance(value, int | float) and math.isfinite(value) for value in found.values())
    for step in read_steps([output]):
        json.dumps(step, allow_nan=False)


@quick_or_thorough(200)
@given(content=st.one_of(st.binary(max_size=50), JSON.map(lambda value: json.dumps(value).encode())), image=JSON)
def test_a_lock(place: Path, content: bytes, image: object) -> None:
    whole = json.dumps({"schema_version": 1, "platforms": {"docker": image}}).encode()
    for each in (content, whole):
        (place / "mlbox.lock").write_bytes(each)
        try:
            locked = read_lock(place)
        except ConfigurationError:
            continue
        for platform in (locked or {}).values():
            drift(platform, {"id": "sha256:1", "digests": ["a"], "packages": {"a": "1"}})


# ---- Runs that go on without us ------------------------------------------------------------------

JOB = as_data(
    SubmittedRun(
        queue="slurm",
        id="17_4;blue",
        directory="/w/.mlbox/runs/x/job",
        login=Login(host="lab", port=22),
        box="/box",
        outputs=(Output(there="/box/out", here="/w/out", type="directory", inputs=("/w/in",)),),
        timeout=60.0,
        outcome=Outcome(status="succeeded", exit_status=0),
    )
)


@quick_or_thorough(300)
@given(changes=st.dictionaries(st.sampled_from(sorted(JOB)), JSON, max_size=2), other=texts, is_other=st.booleans())
def test_how_to_come_back_to_a_run(place: Path, changes: dict[str, object], other: bytes, is_other: bool) -> None:
    content = other if is_other else json.dumps({**JOB, **changes}).encode()
    (place / submitted_run.FILE).write_bytes(content)
    with contextlib.suppress(ConfigurationError):
        run = submitted_run.read(place)
        assert run is not None
        assert run.native_id
        assert run.backend().question([run.id]) is not None
        assert run.host().name
        submitted_run.write(run, place)
        assert submitted_run.read(place) == run


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "1; touch pwned"},
        {"id": "$(touch pwned)"},
        {"id": "1\ntouch pwned"},
        {"id": "1;blue;touch pwned"},
        {"id": "-1"},
        {"id": ["1"]},
        {"queue": "pbs"},
        {"login": {"host": "-oProxyCommand=touch pwned"}},
        {"login": {"host": "lab", "port": "22 touch"}},
        {"login": {"host": "lab", "shell": "touch"}},
        {"outputs": [{"there": "/a", "here": ["/b"], "type": "file", "inputs": []}]},
        {"directory": "a\0b"},
    ],
    ids=str,
)
def test_what_would_become_words_of_a_command_is_checked(tmp_path: Path, changes: dict[str, object]) -> None:
    (tmp_path / submitted_run.FILE).write_text(json.dumps({**JOB, **changes}))
    with pytest.raises(ConfigurationError):
        submitted_run.read(tmp_path)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / submitted_run.FILE)
    with pytest.raises(ConfigurationError, match="not a file"):
        submitted_run.read(tmp_path)


def test_what_is_asked_of_a_queue_has_no_words_of_a_stranger(tmp_path: Path) -> None:
    """The ids that may be there are safe in the scripts that are made of them."""
    (tmp_path / submitted_run.FILE).write_text(json.dumps({**JOB, "login": None}))
    run = submitted_run.read(tmp_path)
    assert run is not None
    backend = run.backend()
    script = backend.question([run.id]) + backend.cancellation([run.submitted], at_once=True)
    assert "--clusters=blue" in script
    assert "--jobs=17" in script


# ---- Boxes ---------------------------------------------------------------------------------------

NAMES = sorted(name for name in ECHO_BOX if name.endswith(".yaml"))
values = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        [
            *(
                "$WORKSPACE",
                "${WORKSPACE}/a",
                "$WORKSPACEx",
                "..",
                "/",
                "//",
                "~",
                "~/a",
                "-rf",
                "a/../../..",
                "/etc",
            ),
            *("a\nb", "\x1b[2J", "--privileged", "a" * 300, "/dev/zero", "copy", "source", "target", "logs", ""),
        ]
    ),
)


@st.composite
def boxes(draw: st.DrawFn) -> dict[str, str]:
    """The echo box with other bindings, names and values, or with a slice of a file exchanged."""
    files = {name: ECHO_BOX[name] for name in NAMES}
    name = draw(st.sampled_from(NAMES))
    if draw(st.booleans()):
        text, start = files[name], draw(st.integers(0, len(files[name])))
        files[name] = text[:start] + draw(YAML) + text[start + draw(st.integers(0, 20)) :]
    else:
        content = yaml.safe_load(files[name])
        key = draw(st.sampled_from(sorted(content)))
        if isinstance(content[key], dict):
            content[key] = {each: draw(values) for each in content[key]}
        else:
            content[key] = draw(st.one_of(values, JSON))
        files[name] = yaml.safe_dump(content, allow_unicode=True)
    files["sweeps/s.yaml"] = yaml.safe_dump(
        {
            "schema_version": "1.1.0",
            "schema_type": "mlbox_sweep",
            "run": draw(st.sampled_from(["copy", "x"])),
            "method": draw(st.sampled_from(["grid", "random", "list", "search"])),
            "parameters": draw(st.dictionaries(st.sampled_from(["source", "a.b"]), JSON, max_size=2)),
        }
    )
    return files


def call(*words: str) -> int:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
        status = main(list(words))
    assert status != 70, said.getvalue()[:300]
    return status


@quick_or_thorough(60)
@given(files=boxes())
def test_a_box(place: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = place / "box" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
    box = str(place / "box")
    call("validate", box)
    call("describe", "--json", box)
    call("run", "--task=copy", "--dry-run", "--platform=local", box)
    call("sweep", "s", "--plan", "--platform=local", "--mlbox", box)


@quick_or_thorough(300)
@given(written=st.one_of(values, st.lists(values, max_size=4).map("/".join), st.text(max_size=30)))
def test_a_binding(written: str) -> None:
    problems: list[object] = []
    path = resolve_path(written, Path("/box"), Path("/w"), None, problems)  # type: ignore[arg-type]
    assert (path is None) == bool(problems)
    if path is not None:
        assert path.is_absolute()
        assert ".." not in path.parts
        assert "\0" not in str(path)


# ---- What is remembered --------------------------------------------------------------------------


@quick_or_thorough(200)
@given(data=st.binary(max_size=40), at=st.integers(0, 400), length=st.integers(0, 9))
def test_a_cache(place: Path, data: bytes, at: int, length: int) -> None:
    """What is damaged in it is as if it were not there."""
    box, cache = place / "remembered", place / "cache"
    if not box.exists():
        write_files(box, ECHO_BOX)
        definitions = RememberedDefinitions(box, cache)
        definitions.load_box()
        for each in box.rglob("*.yaml"):
            os.utime(each, (1, 1))
        definitions = RememberedDefinitions(box, cache)
        definitions.load_box()
        definitions.save()
        keep(cache / "kept", "header", ["value"] * 50)
    kept = cache / "kept"
    keep(kept, "header", ["value"] * 50)
    content = kept.read_bytes()
    changed = content[:at] + data + content[at + length :]
    kept.write_bytes(changed)
    if changed != content:
        with pytest.raises(Exception):  # noqa: B017, PT011  # any, and whoever reads it expects any
            read_kept(kept, "header")
    for file in (cache / "definitions").glob("*"):
        file.write_bytes(changed)
    assert RememberedDefinitions(box, cache).load_box().name == "echo"
    (cache / "fingerprints.sqlite3").write_bytes(changed)
    assert fingerprint(box / "mlbox.yaml", Memory(cache)).digest


# ---- What is small and means much ----------------------------------------------------------------


@contextlib.contextmanager
def within_bounds() -> Iterator[None]:
    """Neither the time nor the memory explodes."""

    def give_up(signal_number: int, frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(MOST_SECONDS)
    peak = getrusage(RUSAGE_SELF).ru_maxrss
    try:
        yield
        assert (getrusage(RUSAGE_SELF).ru_maxrss - peak) << 10 < MOST_MEMORY
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def doublings(levels: int, form: str, start: str = "[x, x]") -> str:
    """Each level has nine times the level before it."""
    lines = [f"a0: &a0 {start}"]
    lines += [f"a{n}: &a{n} {form.format(','.join([f'*a{n - 1}'] * 9))}" for n in range(1, levels)]
    return "\n".join(lines) + "\n"


LONG = "K" * 500
MANY = ", ".join(f"m{n}: *l" for n in range(2500))
BOMBS = {
    "aliases": doublings(12, "[{}]"),
    "merged keys": doublings(12, "{{<<: [{}]}}", "{x: 1, y: 2}"),
    "pairs": "z: !!pairs [k: {" + doublings(12, "[{}]").replace("\n", ", ") + "}]",
    "sets": "z: !!set {" + ", ".join(f"k{n}" for n in range(9000)) + "}",
    "it holds itself, below long keys": "&a {" + LONG + ": *a, " + ", ".join(f"k{n}" for n in range(9000)) + "}",
    "a long key of many": "? " + "K" * 30_000 + "\n: {" + ",".join(f"{n}: 1" for n in range(3000)) + "}\n",
    "many that hold themselves": "&r {l: &l [" + "*r," * 8000 + "], " + MANY + "}",
    "keys that are lists": "&r {l: &l {" + "? [a]\n: x\n," * 2000 + "}, " + MANY + "}",
    "brackets": "[" * 60_000,
    "braces": "{a: " * 15_000,
    "a number": "a: " + "9" * 60_000,
    "dashes": "- " * 30_000,
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_that_means_much(tmp_path: Path, name: str) -> None:
    for suffix in (".yaml", ".json"):
        file = tmp_path / f"parameters{suffix}"
        file.write_text(BOMBS[name])
        with within_bounds():
            assert len(read_file(file)) <= hyperparameters._MOST
            with contextlib.suppress(BoxError):
                read_parameter_file(file)


def test_a_small_box_that_means_much(tmp_path: Path) -> None:
    for bomb in BOMBS.values():
        box = write_files(tmp_path / "box", {**ECHO_BOX, "run/copy.yaml": ECHO_BOX["run/copy.yaml"] + bomb})
        with within_bounds():
            assert call("validate", str(box)) == 65


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"K" * 100_000: {str(n): 1 for n in range(50_000)}}),
        '{"a":' * 100_000,
        '{"' + "a" * 400 + '":' + '{"b":' * 900 + "1" + "}" * 901,
        "[" * 1_000_000,
        "9" * 1_000_000,
    ],
    ids=["a long name", "unclosed", "deep", "brackets", "a number"],
)
def test_metrics_that_mean_much(tmp_path: Path, text: str) -> None:
    output = BoundParameter(name="out", type="directory", direction="output", path=tmp_path)
    for name in ("metrics.json", "metrics.jsonl"):
        (tmp_path / name).write_text(text)
    with within_bounds():
        assert len(read_metrics([output])) <= 1000


def test_records_that_no_memory_holds_are_not_read(tmp_path: Path) -> None:
    file = tmp_path / ".mlbox/runs.jsonl"
    file.parent.mkdir()
    with file.open("wb") as stream:
        stream.truncate(1 << 40)
    with within_bounds():
        with pytest.raises(OSError, match="larger than 1 GiB"):
            Journal(file).content()
        for command in ("runs", "show", "status", "gc --keep=1"):
            assert call(*command.split(), "--workspace", str(tmp_path)) == 78
