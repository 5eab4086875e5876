"""What is locked is used, or nothing is."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from mlcommons_box.errors import CannotCreateError, ConfigurationError
from mlcommons_box.lock import FILE, drift, locked_image, read_lock, refuse_drift, write_lock
from tests.unit.proof import PYTHON, Bench, Nameless

ONE, TWO = (f"sha256:{letter * 64}" for letter in "ab")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "box")


def test_a_box_without_a_lock_may_use_anything(bench: Bench) -> None:
    assert read_lock(bench.root) is None
    assert bench.run().status == "succeeded"


def test_what_is_written_is_read(bench: Bench) -> None:
    file = write_lock(bench.root, {"local": PYTHON, "docker": {"id": ONE}})
    assert file == bench.root / FILE
    assert read_lock(bench.root) == {"docker": {"id": ONE}, "local": PYTHON}
    assert list(json.loads(file.read_text())["platforms"]) == ["docker", "local"]
    assert sorted(os.listdir(bench.root)) == ["build", "mlbox.lock", "mlbox.yaml", "run", "tasks", "workspace"]


def test_what_of_an_image_is_locked() -> None:
    image = {"reference": "x:1", "id": ONE, "digests": [f"x@{ONE}"], "created": "today"}
    assert locked_image(image) == {"id": ONE, "digests": [f"x@{ONE}"]}


@pytest.mark.parametrize(
    ("locked", "image", "names"),
    [
        ({"id": ONE}, {"id": ONE}, []),
        ({"id": ONE}, {"id": TWO}, ["id"]),
        ({"id": ONE}, {}, ["id"]),
        ({"id": ONE, "digests": ["x@1", "x@2"]}, {"id": TWO, "digests": ["x@2"]}, []),
        ({"id": ONE, "digests": ["x@1"]}, {"id": TWO, "digests": ["x@2"]}, ["id"]),
        (PYTHON, PYTHON, []),
        (PYTHON, {**PYTHON, "python": "3.12"}, ["python"]),
        (PYTHON, {**PYTHON, "packages": {"numpy": "2", "new": "1"}}, ["package numpy", "package new"]),
        (PYTHON, {}, ["python", "package numpy"]),
    ],
    ids=str,
)
def test_drift(locked: dict[str, Any], image: dict[str, Any], names: list[str]) -> None:
    assert [each.name for each in drift(locked, image)] == names


def test_a_run_that_would_use_something_else_is_refused_and_recorded(bench: Bench) -> None:
    write_lock(bench.root, {"local": {**PYTHON, "packages": {f"package{n}": "1" for n in range(9)}}})
    plan = bench.plan()
    with pytest.raises(ConfigurationError, match=r"'local' is not what mlbox\.lock says") as caught:
        bench.run(plan)
    assert "package package0: 1 is gone" in caught.value.message
    assert "and 5 more" in caught.value.message
    assert "'mlbox lock'" in str(caught.value.hint)
    assert bench.player.runs == []
    record = bench.store.read(plan.id)
    assert (record.status, record.exit_status) == ("failed", 78)


def test_a_run_with_what_is_locked_goes_on(bench: Bench) -> None:
    write_lock(bench.root, {"local": PYTHON, "docker": {"id": TWO}})
    assert bench.run().status == "succeeded"
    assert bench.player.prepared == []


@pytest.mark.parametrize("failure", [None, OSError(2, "no environment yet")])
def test_what_is_not_there_yet_is_prepared_first(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, failure: OSError | None
) -> None:
    write_lock(bench.root, {"local": PYTHON})
    bench.player.image, bench.player.fails = {}, failure

    def prepare(*_: object) -> None:
        bench.player.image, bench.player.fails = PYTHON, None

    refuse_drift(bench.plan(), bench.runner, prepare)
    bench.player.image = {}
    with pytest.raises(ConfigurationError, match="python"):
        refuse_drift(bench.plan(), bench.runner, lambda: None)


def test_a_platform_that_is_not_locked_and_a_runner_that_cannot_say_are_left_alone(bench: Bench) -> None:
    write_lock(bench.root, {"docker": {"id": TWO}})
    assert bench.run().status == "succeeded"
    write_lock(bench.root, {"local": {"id": TWO}})
    bench.player = Nameless()
    assert bench.run().status == "succeeded"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"schema_version": 2, "platforms": {}}',
        '{"schema_version": 1}',
        '{"schema_version": 1, "platforms": []}',
        '{"schema_version": 1, "platforms": {"local": 5}}',
        *(
            f'{{"schema_version": 1, "platforms": {{"local": {json.dumps({key: odd})}}}}}'
            for key in ("id", "digests", "python", "packages")
            for odd in (5, None, [5], [["x"]])
            if not (key == "digests" and odd == [])
        ),
        "[" * 100_000,
        "\ud800",
    ],
    ids=lambda text: text[:60],
)
def test_what_is_no_lock_stops_a_run(bench: Bench, text: str) -> None:
    (bench.root / FILE).write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ConfigurationError, match="cannot read the lock"):
        bench.run()
    assert bench.player.runs == []


@pytest.mark.parametrize("kind", ["link", "pipe", "directory"])
def test_a_lock_that_is_no_file(bench: Bench, kind: str) -> None:
    file = bench.root / FILE
    if kind == "link":
        file.symlink_to("elsewhere")
    elif kind == "pipe":
        os.mkfifo(file)
    else:
        file.mkdir()
    with pytest.raises(ConfigurationError, match="cannot read the lock"):
        read_lock(bench.root)
    if kind == "directory":
        with pytest.raises(CannotCreateError):
            write_lock(bench.root, {})
        assert not list(bench.root.glob(".mlbox.lock*"))
