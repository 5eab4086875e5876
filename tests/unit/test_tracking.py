"""What MLflow is told of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlcommons_box.report.tracking import parameters_of, tags_of
from mlcommons_box.run_store import RunStore
from tests.recorded_runs import HOSTILE, hostile, recorded, trial


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path)


def test_parameters_are_hyper_parameters_and_bindings(store: RunStore) -> None:
    assert parameters_of(recorded(1, store)) == {
        "rate": "0.05",
        "optimizer.name": "adam",
        "input.data": str(store.workspace / "data"),
        "input.settings": str(store.workspace / "settings.json"),
        "output.model": str(store.workspace / "models/1"),
    }


def test_what_a_sweep_chose_counts(store: RunStore) -> None:
    assert parameters_of(trial(8, store))["rate"] == "0.001"


def test_tags_prove_where_a_run_comes_from(store: RunStore) -> None:
    inputs = {"data": {"kind": "directory", "digest": "a" * 64}}
    tags = tags_of(trial(8, store, inputs=inputs))
    for name, value in {
        "mlbox.box": "digits",
        "mlbox.platform": "docker",
        "mlbox.code.git.commit": "c" * 40,
        "mlflow.source.git.commit": "c" * 40,
        "mlbox.code.build.digest": "b" * 64,
        "mlbox.image.digest": f"sha256:{'e' * 64}",
        "mlbox.input.data": "a" * 64,
        "mlbox.group.name": "search",
        "mlbox.group.trial": "8",
    }.items():
        assert tags[name] == value


def test_odd_names_become_such_as_mlflow_takes(store: RunStore) -> None:
    record = hostile(1, store)
    for name in (*parameters_of(record), *tags_of(record)):
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-. /"), name
        assert len(name) <= 250
        assert not any(part in ("", ".", "..") for part in name.split("/"))
    assert tags_of(record)["mlbox.reason"] == HOSTILE
