"""Commands on a box whose definition files have not changed since it last ran."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from mlcommons_box import file_state
from mlcommons_box.cache import CACHE_VARIABLE
from mlcommons_box.cli.main import main
from mlcommons_box.definition import remembered
from mlcommons_box.errors import EX_DEFINITION, EX_MISSING_INPUT
from tests.conftest import ECHO_BOX, MakeBox

PLATFORMS = {
    "platforms/docker.yaml": "schema_version: 1.0.0\nschema_type: mlbox_docker\nimage: example/echo:1\n"
    "docker_runtime: docker\n",
    "platforms/singularity.yaml": "schema_version: 1.0.0\nschema_type: mlbox_singularity\nimage: echo.sif\n",
}
HEAVY = (
    "yaml",
    *(
        f"mlcommons_box.definition.{name}"
        for name in ("files", "loader", "platforms", "rules", "run_configurations", "schema", "source")
    ),
)


@pytest.fixture
def user_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache, which is not there yet; every file has been as it is for long enough."""
    monkeypatch.setattr(file_state, "SETTLED", 0)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "user-cache"))
    return tmp_path / "user-cache"


@pytest.fixture
def root(make_box: MakeBox, user_cache: Path) -> Path:
    """A box that has run, but for the engines."""
    root = make_box(PLATFORMS)
    definitions = remembered.RememberedDefinitions(root, user_cache)
    box = definitions.load_box()
    definitions.load_run_configuration(root / "run/copy.yaml", box)
    for name in PLATFORMS:
        definitions.load_platform(root / name)
    definitions.save()
    return root


@pytest.fixture
def fresh_main() -> Iterator[ModuleType]:
    """The command line with all of its modules to be loaded again, in which the heavy ones cannot be."""

    def ours() -> dict[str, ModuleType]:
        names = ("yaml", "mlcommons_box")
        return {name: module for name, module in sys.modules.items() if name.partition(".")[0] in names}

    before = ours()
    for name in before:
        del sys.modules[name]
    sys.modules.update(dict.fromkeys(HEAVY))  # type: ignore[arg-type]  # what None means is in PEP 328
    yield importlib.import_module("mlcommons_box.cli.main")
    for name in ours():
        del sys.modules[name]
    sys.modules.update(before)


@pytest.mark.parametrize("words", [["--platform=docker"], ["--platform=singularity"], ["--platform=local"], []])
def test_a_run_of_what_has_not_changed_loads_neither_the_parser_nor_the_rules(
    root: Path, fresh_main: ModuleType, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    execution = importlib.import_module("mlcommons_box.execution")
    interface = importlib.import_module("mlcommons_box.runners.interface")
    ran = []

    def execute(plan: object, runner: object, observer: object) -> object:
        ran.append(plan)
        return interface.Outcome(status="succeeded", exit_status=0)

    monkeypatch.setattr(execution, "execute", execute)
    assert fresh_main.main(["run", str(root), "--task=copy", "--timeout=90", *words]) == 0
    assert len(ran) == 1
    assert {name for name in HEAVY if sys.modules.get(name)} == set()


def test_a_dry_run_recalls_too(root: Path, fresh_main: ModuleType) -> None:
    assert fresh_main.main(["run", str(root), "--dry-run"]) == 0


def test_a_heavy_module_would_have_been_noticed(root: Path, fresh_main: ModuleType, user_cache: Path) -> None:
    for file in (user_cache / "definitions").iterdir():
        file.unlink()
    assert fresh_main.main(["run", str(root), "--dry-run"]) != 0


@pytest.mark.parametrize(
    "words",
    [
        ["validate"],
        ["describe"],
        ["describe", "--json"],
        ["clean"],
        ["run", "--dry-run"],
        ["configure", "--dry-run"],
    ],
    ids=" ".join,
)
def test_commands_that_only_look_write_nothing(make_box: MakeBox, user_cache: Path, words: list[str]) -> None:
    root = make_box()
    assert main([*words, str(root)]) == 0
    assert not user_cache.exists()


def test_a_mistake_in_a_file_that_was_right_is_shown_at_its_place(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "mlbox.yaml").write_text(ECHO_BOX["mlbox.yaml"].replace("author: somebody", "authro: somebody"))
    assert main(["run", str(root)]) == EX_DEFINITION
    shown = capsys.readouterr().err
    assert "mlbox.yaml:4:1" in shown
    assert "authro: somebody" in shown


def test_a_mistake_found_later_is_shown_at_its_remembered_place(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "workspace/in.txt").unlink()
    monkeypatch.setitem(sys.modules, "mlcommons_box.definition.loader", None)
    assert main(["run", str(root)]) == EX_MISSING_INPUT
    shown = capsys.readouterr().err
    assert "run/copy.yaml:4:25" in shown
    assert "input_binding: {source: $WORKSPACE/in.txt}" in shown
