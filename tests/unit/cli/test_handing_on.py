"""'mlbox report' and 'mlbox export': what they refuse, and what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlcommons_box.cli import export
from mlcommons_box.cli.main import main
from mlcommons_box.errors import EX_CANNOT_CREATE, EX_CONFIGURATION, EX_UNAVAILABLE, EX_USAGE
from mlcommons_box.report import crate
from mlcommons_box.report.crate_data import Held
from mlcommons_box.run_store import RunStore
from tests.conftest import write_files
from tests.recorded_runs import recorded

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    store = RunStore(tmp_path / "workspace")
    store.write(recorded(1, store), recorded(2, store))
    return store


@pytest.fixture
def without_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "find_spec", lambda name: None)


class TestReport:
    def test_it_is_written_and_written_again(self, store: RunStore, tmp_path: Path, capsys: Capture) -> None:
        words = ["report", f"--workspace={store.workspace}", "-o", str(tmp_path / "a.html")]
        assert main(words) == 0
        assert main(words) == 0
        assert "wrote" in capsys.readouterr().err
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "workspace"]

    def test_what_is_no_report_is_not_overwritten(self, store: RunStore, tmp_path: Path, capsys: Capture) -> None:
        thesis = tmp_path / "thesis.html"
        thesis.write_text("years of work")
        words = ["report", f"--workspace={store.workspace}", "-o", str(thesis)]
        assert main(words) == EX_CANNOT_CREATE
        assert "is no report" in capsys.readouterr().err
        assert thesis.read_text() == "years of work"
        assert main([*words, "--force"]) == 0
        assert "mlbox report" in thesis.read_text()

    @pytest.mark.parametrize("place", ["workspace", "missing/a.html"])
    def test_a_place_that_takes_no_file(self, store: RunStore, tmp_path: Path, place: str) -> None:
        assert main(["report", f"--workspace={store.workspace}", "-o", str(tmp_path / place)]) == EX_CANNOT_CREATE

    @pytest.mark.parametrize("place", [".", "..", "/", "./"])
    def test_a_directory_is_no_place_for_a_file(
        self, store: RunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, place: str
    ) -> None:
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        words = ["report", f"--workspace={store.workspace}", "-o", place, "--force"]
        assert main(words) == EX_CANNOT_CREATE
        assert f"cannot write {str(Path(place))!r}: " in capsys.readouterr().err
        assert list((tmp_path / "here").iterdir()) == []

    def test_a_damaged_record_hides_no_other(self, store: RunStore, tmp_path: Path, capsys: Capture) -> None:
        with store.journal.file.open("a") as file:
            file.write('{"id": "20260101T000000-00000000", "status": "odd"}\n')
        target = tmp_path / "a.html"
        assert main(["report", f"--workspace={store.workspace}", "-o", str(target)]) == EX_CONFIGURATION
        assert "is damaged" in capsys.readouterr().err
        assert target.exists()


class TestExport:
    def test_it_wants_to_know_where_to(self, store: RunStore, capsys: Capture) -> None:
        assert main(["export", f"--workspace={store.workspace}"]) == EX_USAGE
        assert "nothing says where to" in capsys.readouterr().err

    @pytest.mark.usefixtures("without_packages")
    @pytest.mark.parametrize(
        ("option", "extra"), [("-o=crate", "crate"), ("--mlflow=http://localhost:1", "mlflow")]
    )
    def test_a_missing_package_is_named_with_what_brings_it(
        self,
        store: RunStore,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: Capture,
        option: str,
        extra: str,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert main(["export", f"--workspace={store.workspace}", option]) == EX_UNAVAILABLE
        assert f"pip install 'mlcommons-box[{extra}]'" in capsys.readouterr().err

    def test_nothing_is_overwritten(self, store: RunStore, capsys: Capture) -> None:
        assert main(["export", f"--workspace={store.workspace}", "-o", str(store.workspace)]) == EX_CANNOT_CREATE
        assert "is not empty" in capsys.readouterr().err
        taken = store.workspace / "taken.zip"
        taken.write_text("taken")
        assert main(["export", f"--workspace={store.workspace}", "-o", str(taken)]) == EX_CANNOT_CREATE
        assert taken.read_text() == "taken"

    @pytest.mark.parametrize(("place", "status"), [(".", 0), ("/", EX_CANNOT_CREATE), ("..", EX_CANNOT_CREATE)])
    def test_the_directory_itself(
        self, store: RunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, status: int
    ) -> None:
        class Written:
            """An object that has a file, and no packages behind it."""

            def __init__(self, *_: object) -> None:
                self.crate = self
                self.directories: list[str] = []

            def describe(self, records: object) -> None:
                pass

            def add_run(self, record: object) -> list[Held]:
                return []

            def write(self, directory: Path) -> None:
                write_files(directory, {"ro-crate-metadata.json": "{}"})

        monkeypatch.setattr(crate, "_Crate", Written)
        monkeypatch.setattr(export, "find_spec", lambda name: name)
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        assert main(["export", f"--workspace={store.workspace}", "-o", place]) == status
        made = {path.name for path in (tmp_path / "here").iterdir()}
        assert made == (set() if status else {"ro-crate-metadata.json"})

    def test_a_run_that_goes_on_is_left_out(self, tmp_path: Path, capsys: Capture) -> None:
        store = RunStore(tmp_path)
        store.write(recorded(1, store, status="running", ended_at=None, exit_status=None, detached=True))
        assert main(["export", f"--workspace={tmp_path}", "-o", str(tmp_path / "c")]) == EX_USAGE
        assert "goes on, and is left out" in capsys.readouterr().err
