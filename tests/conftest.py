"""What every test needs: boxes as dictionaries of files, and a cache of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from mlcommons_box.cache import CACHE_VARIABLE
from mlcommons_box.record import RunRecord
from mlcommons_box.run_store import RunStore
from mlcommons_box.selection import PLATFORM_VARIABLE
from tests import engines

pytest.register_assert_rewrite("mlcommons_box.contract")

REPOSITORY = Path(__file__).parent.parent

ECHO_BOX: dict[str, str] = {
    "mlbox.yaml": """\
schema_version: 1.0.0
schema_type: mlbox_root
name: echo
author: somebody
version: 0.1.0
mlbox_spec_version: 0.1.0
tasks: [tasks/copy.yaml]
""",
    "tasks/copy.yaml": """\
schema_version: 1.0.0
schema_type: mlbox_task
inputs:
  - {name: source, type: file}
outputs:
  - {name: target, type: file}
  - {name: logs, type: directory}
""",
    "run/copy.yaml": """\
schema_version: 1.0.0
schema_type: mlbox_invoke
task_name: copy
input_binding: {source: $WORKSPACE/in.txt}
output_binding: {target: $WORKSPACE/out/copy.txt, logs: logs}
""",
    "workspace/in.txt": "hello\n",
    "build/echo.py": """\
import shutil, sys
task, *arguments = sys.argv[1:]
paths = dict(argument[2:].split("=", 1) for argument in arguments)
shutil.copy(paths["source"], paths["target"])
open(paths["logs"] + "/log.txt", "w").write(task + "\\n")
print("copied", *arguments, sep="\\n")
""",
}
"""A box whose only task copies a file and prints its arguments."""


def write_files(directory: Path, files: Mapping[str, str]) -> Path:
    """Write files below a directory and return it."""
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return directory


def records_of(workspace: Path) -> list[RunRecord]:
    """All records of a workspace, none of which is damaged, in the order in which the runs started."""
    records, unreadable = RunStore(workspace).read_all()
    assert not unreadable
    return records


LEFT_OUT = pytest.StashKey[dict[str, int]]()

MakeBox = Callable[..., Path]


@pytest.fixture
def make_box(tmp_path: Path) -> MakeBox:
    """Makes the echo box with some files added or replaced; a content of None leaves a file out."""

    def make(files: Mapping[str, str | None] | None = None, *, name: str = "box") -> Path:
        merged: dict[str, str | None] = {**ECHO_BOX, **(files or {})}
        return write_files(tmp_path / name, {path: text for path, text in merged.items() if text is not None})

    return make


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache directory for the whole session, so that an environment is built once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches the cache of whoever runs it."""
    monkeypatch.setenv(CACHE_VARIABLE, str(cache))


@pytest.fixture(autouse=True)
def _local_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which engines a machine has is no matter for a test that names none."""
    monkeypatch.setenv(PLATFORM_VARIABLE, "local")


def _named_by(item: pytest.Item, marker: str) -> list[str]:
    return [name for mark in item.iter_markers(marker) for name in mark.args]


def _engines_of(item: pytest.Item) -> list[str]:
    return _named_by(item, "engine")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "alone(name): no other test of that engine may run at the same time")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests of engines that are neither here nor required, and remember which."""
    left_out: dict[str, int] = {}
    kept = []
    for item in items:
        missing = [name for name in _engines_of(item) if name not in engines.required() and engines.absent(name)]
        for name in missing:
            left_out[name] = left_out.get(name, 0) + 1
        if not missing:
            kept.append(item)
    if left_out:
        config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
        items[:] = kept
    config.stash[LEFT_OUT] = left_out


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Hold a test's engines, also while what it shares with other tests is made and removed."""
    with engines.in_use(_engines_of(item), _named_by(item, "alone")):
        return (yield)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """An engine that is required and absent is a failure."""
    for name in _engines_of(item):
        reason = engines.absent(name)
        if reason:
            pytest.fail(f"the engine {name!r} is required and cannot be used: {reason}; {engines.REMEDY}")


ONE_AFTER_ANOTHER = {
    "containers": (
        "test_documentation.py::test_what_a_document_shows_happens_on_an_engine", "test_engine_trouble.py",
        "test_kubernetes_pod.py", "test_mnist.py", "test_proof.py", "test_real_engines.py", "test_site_network.py",
        "test_strangers_box.py", "test_tutorial_on_engines.py",
    ),
    "slurm": ("test_slurm.py", "test_slurm_contract.py", "test_sweeps.py"),
    "ssh": ("test_ssh.py", "test_ssh_contract.py"),
}  # fmt: skip
"""Tests that share what takes long to make, or names of images.

Any other file of integration tests is run by one worker, too, and any other test by whichever is free.
"""


def together(nodeid: str) -> str:
    """What names the tests that one worker runs one after another."""
    folder, _, name = nodeid.partition("integration/")
    if not name:
        return nodeid
    for group, tests in ONE_AFTER_ANOTHER.items():
        if name.startswith(tests):
            return group
    return folder + name.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """The workers share the tests by these groups, those with the most tests first."""
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-not-found,import-untyped,unused-ignore]

    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = together
    return scheduler


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker tells the one who has the terminal."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = session.config.stash.get(LEFT_OUT, {})


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Every worker has looked at every test, and so they all say the same."""
    node.config.stash[LEFT_OUT] = getattr(node, "workeroutput", {}).get("left_out", {})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which engines are absent, so that nobody takes their tests for passed."""
    left_out = config.stash.get(LEFT_OUT, {})
    if left_out:
        terminalreporter.section("absent engines", sep="-", yellow=True)
    for name, count in left_out.items():
        terminalreporter.line(f"{name}: tests left out: {count} ({engines.absent(name)}); {engines.REMEDY}")
