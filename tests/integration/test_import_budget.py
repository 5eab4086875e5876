"""Starting up stays cheap: what is imported, and what is not, by the commands that people wait for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mlcommons_box.runners.registry import BUILT_IN
from tests.conftest import MakeBox

HEAVY = {
    "asyncio",
    "argcomplete",
    "email",
    "http",
    "importlib.metadata",
    "jsonschema",
    "logging",
    "multiprocessing",
    "rich",
    "ssl",
    "unittest",
    "urllib.request",
    "uuid",
}


def imported_by(*words: str) -> set[str]:
    """The modules that are loaded at the end of a command, those of a bare interpreter left out."""
    code = f"""
import json, sys
before = set(sys.modules)
from mlcommons_box.cli.main import main
try:
    status = main({list(words)!r})
finally:
    print(json.dumps(sorted(set(sys.modules) - before)), file=sys.stderr)
sys.exit(status)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    loaded: set[str] = set(json.loads(result.stderr.splitlines()[-1]))
    return loaded


def test_version_imports_nothing_but_its_own_module() -> None:
    loaded = imported_by("--version")
    ours = {name for name in loaded if name.startswith("mlcommons_box")}
    assert ours == {"mlcommons_box", "mlcommons_box.cli", "mlcommons_box.cli.main"}
    assert not loaded & (HEAVY | {"argparse", "dataclasses", "pathlib", "re", "typing", "yaml"})


def test_validate_imports_no_runner_and_nothing_heavy(make_box: MakeBox) -> None:
    loaded = imported_by("validate", str(make_box()))
    assert not loaded & HEAVY
    assert not {name for name in loaded if name.startswith("mlcommons_box.runners")}
    assert not loaded & {"subprocess", "json", "shutil", "hashlib", "difflib", "tempfile"}


def test_a_dry_run_imports_the_chosen_runner_only_and_nothing_heavy(make_box: MakeBox) -> None:
    root: Path = make_box()
    loaded = imported_by("run", str(root), "--dry-run")
    assert not loaded & HEAVY
    backends = {name for name in loaded if name.startswith("mlcommons_box.runners.")}
    assert backends & {place.partition(":")[0] for place in BUILT_IN.values()} == {"mlcommons_box.runners.local"}
    assert not backends & {
        f"mlcommons_box.runners.{name}" for name in ("docker_image", "singularity_image", "mounts")
    }


def test_a_report_imports_no_runner_and_nothing_heavy(make_box: MakeBox, tmp_path: Path) -> None:
    root: Path = make_box()
    subprocess.run([sys.executable, "-m", "mlcommons_box", "run", str(root)], capture_output=True, check=True)
    loaded = imported_by("report", str(root), "-o", str(tmp_path / "report.html"))
    assert not loaded & HEAVY
    assert not {name for name in loaded if name.startswith("mlcommons_box.runners")}
    assert not loaded & {"mlcommons_box.report.crate", "mlcommons_box.report.tracking", "rocrate", "mlflow"}


@pytest.mark.parametrize("words", [["runs", "--json"], ["show"], ["show", "--json"], ["logs"]], ids=" ".join)
def test_looking_at_records_imports_no_runner_and_nothing_heavy(make_box: MakeBox, words: list[str]) -> None:
    root: Path = make_box()
    subprocess.run([sys.executable, "-m", "mlcommons_box", "run", str(root)], capture_output=True, check=True)
    loaded = imported_by(*words, "--mlbox", str(root))
    assert not loaded & HEAVY
    assert not {name for name in loaded if name.startswith("mlcommons_box.runners")}
    assert not loaded & {
        "mlcommons_box.definition.loader",
        "mlcommons_box.execution",
        "shutil",
        "hashlib",
        "tempfile",
    }


def test_the_package_loads_its_names_when_they_are_used() -> None:
    code = "import sys; before = set(sys.modules); import mlcommons_box; print(*set(sys.modules) - before)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(result.stdout.split()) <= {"mlcommons_box", "__future__"}
