"""What is handed on is what the record has the hash of, and nothing else of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlcommons_box.report.crate_data import Held, held_by
from mlcommons_box.run_store import RunStore
from tests.recorded_runs import held, parameter, recorded

MOST = 1000


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    (tmp_path / "workspace").mkdir()
    return RunStore(tmp_path / "workspace")


def one(store: RunStore, path: Path, kind: str = "file", direction: str = "output", **recorded_as: object) -> Held:
    plan = {"parameters": [parameter("it", direction, path, kind)]}
    known = {"it": recorded_as or dict(held(path))}
    record = recorded(1, store, plan=plan, **{f"{direction}s": known})
    (found,) = held_by(record, MOST)
    return found


def test_a_file_that_is_still_the_same_is_copied(store: RunStore) -> None:
    path = store.workspace / "model.bin"
    path.write_text("weights")
    found = one(store, path)
    assert found.reason is None
    assert [(each.path, each.size) for each in found.files] == [(path, 7)]
    assert found.name == found.files[0].name == f"data/{found.key[:12]}/model.bin"


def test_the_same_contents_at_the_same_place_have_one_key(store: RunStore) -> None:
    for name in ("a", "b"):
        (store.workspace / name).write_text("same")
    written = one(store, store.workspace / "a")
    assert one(store, store.workspace / "a", direction="input").key == written.key
    assert one(store, store.workspace / "b").key != written.key


def test_a_tree_is_copied_file_by_file_without_its_links(store: RunStore, tmp_path: Path) -> None:
    tree = store.workspace / "model"
    (tree / "deep").mkdir(parents=True)
    (tree / "deep/w").write_text("1")
    (tree / "index").write_text("2")
    (tmp_path / "secret").write_text("3")
    (tree / "link").symlink_to(tmp_path / "secret")
    found = one(store, tree, "directory")
    assert [each.name.removeprefix(found.name) for each in found.files] == ["deep/w", "index"]


def test_what_has_changed_is_not_copied(store: RunStore) -> None:
    path = store.workspace / "model.bin"
    path.write_text("weights")
    recorded_as = dict(held(path))
    path.write_text("others")
    found = one(store, path, **recorded_as)
    assert (found.files, found.reason) == ((), "it has changed since")


def test_a_stranger_s_record_takes_no_file_of_this_machine_along(store: RunStore, tmp_path: Path) -> None:
    secret = tmp_path / "id_rsa"
    secret.write_text("secret")
    for recorded_as in ({"digest": "0" * 64, "size": 6}, {"digest": 7}, {"digest": ""}):
        found = one(store, secret, **recorded_as)
        assert found.files == ()
        assert found.reason


@pytest.mark.parametrize(("direction", "is_copied"), [("input", False), ("output", True)])
def test_large_inputs_are_named_only(store: RunStore, direction: str, is_copied: bool) -> None:
    path = store.workspace / "large"
    path.write_bytes(bytes(MOST + 1))
    found = one(store, path, direction=direction)
    assert bool(found.files) is is_copied
    assert found.size == MOST + 1


def test_what_is_gone_is_named_only(store: RunStore) -> None:
    found = one(store, store.workspace / "gone", digest="0" * 64)
    assert found.reason == "it is not there any more"
