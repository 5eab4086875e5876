"""What is remembered of definition files is what they hold, and is forgotten when it may not be."""

from __future__ import annotations

import errno
import marshal
import os
import sys
from binascii import crc32
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcommons_box import cache, file_state
from mlcommons_box.definition import loader, remembered
from mlcommons_box.definition.places import yaml_files
from mlcommons_box.definition.remembered import RememberedDefinitions
from mlcommons_box.errors import DefinitionError, UsageError
from mlcommons_box.model import Box, Platform, RunConfiguration
from mlcommons_box.value import Value
from tests.conftest import ECHO_BOX, REPOSITORY, MakeBox, write_files
from tests.unit.definition.definition_corpus import VALID, boxes
from tests.unit.definition.hypothesis_settings import quick_or_thorough

PLATFORM = "schema_version: 1.0.0\nschema_type: mlbox_docker\nimage: example/echo:1\ndocker_runtime: docker\n"
FILES = ("mlbox.yaml", "tasks/copy.yaml", "run/copy.yaml", "platforms/docker.yaml")
Everything = tuple[Box, tuple[RunConfiguration, ...], tuple[Platform, ...]]


@pytest.fixture(autouse=True)
def _settled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_state, "SETTLED", 0)


@pytest.fixture
def root(make_box: MakeBox) -> Path:
    """A box of which everything is remembered."""
    files = {**ECHO_BOX, "platforms/docker.yaml": PLATFORM}
    root = make_box({name: text + "# a\n" for name, text in files.items() if name in FILES})
    remember(root)
    return root


def cache_of(root: Path) -> Path:
    return root.parent / "cache"


def definitions_of(root: Path) -> RememberedDefinitions:
    return RememberedDefinitions(root, cache_of(root))


def file_of(root: Path) -> Path:
    """The only file in the cache."""
    (file,) = (cache_of(root) / "definitions").iterdir()
    return file


def load(definitions: RememberedDefinitions, root: Path) -> Everything:
    box = definitions.load_box()
    runs = tuple(definitions.load_run_configuration(file, box) for file in yaml_files(root / "run"))
    return box, runs, tuple(map(definitions.load_platform, yaml_files(root / "platforms")))


def remember(root: Path) -> Everything:
    definitions = definitions_of(root)
    found = load(definitions, root)
    definitions.save()
    return found


@contextmanager
def nothing_read() -> Iterator[None]:
    """Whoever reads a definition file meets an ImportError."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "mlcommons_box.definition.loader", None)
        yield


def is_remembered(root: Path) -> bool:
    try:
        with nothing_read():
            load(definitions_of(root), root)
    except ImportError:
        return False
    return True


def next_tick(file: Path) -> None:
    """Wait until a change shows in the times of a file."""
    clock = file.parent / "clock"
    clock.touch()
    while clock.stat().st_ctime_ns <= file.stat().st_ctime_ns:
        clock.touch()
    clock.unlink()


def in_full(value: Any) -> Any:
    """A value with the places that take no part in comparisons."""
    if isinstance(value, Value):
        return type(value), {name: in_full(getattr(value, name)) for name in type(value)._fields}
    return tuple(map(in_full, value)) if isinstance(value, tuple) else (type(value), value)


@pytest.mark.parametrize("box", [*boxes(VALID), *boxes(REPOSITORY / "examples")], ids=lambda box: str(box.name))
def test_a_box_is_remembered_as_it_was_read(box: Path, tmp_path: Path) -> None:
    first = RememberedDefinitions(box, tmp_path)
    read = load(first, box)
    first.save()
    with nothing_read():
        again = load(RememberedDefinitions(box, tmp_path), box)
    assert in_full(again) == in_full(read)
    assert again[0].tasks[0].file.is_file()


@pytest.mark.parametrize("file", sorted((VALID / "platform").rglob("*.yaml")), ids=lambda file: str(file.name))
def test_every_kind_of_platform_is_remembered_as_it_was_read(file: Path, tmp_path: Path) -> None:
    first = RememberedDefinitions(VALID, tmp_path)
    read = first.load_platform(file)
    first.save()
    with nothing_read():
        again = RememberedDefinitions(VALID, tmp_path).load_platform(file)
    assert in_full(again) == in_full(read)
    assert read.location is not None


def in_place(file: Path, content: bytes) -> None:
    file.write_bytes(content)


def with_its_old_times(file: Path, content: bytes) -> None:
    before = file.stat()
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def by_another_file(file: Path, content: bytes) -> None:
    other = file.with_name("other")
    other.write_bytes(content)
    before = file.stat()
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(other, file)


def by_a_link_to_another_file(file: Path, content: bytes) -> None:
    file.with_name("other").write_bytes(content)
    file.unlink()
    file.symlink_to("other")


@pytest.mark.parametrize("change", [in_place, with_its_old_times, by_another_file, by_a_link_to_another_file])
@pytest.mark.parametrize("name", FILES)
def test_a_change_of_one_byte_is_seen(root: Path, name: str, change: Any) -> None:
    assert is_remembered(root)
    file = root / name
    next_tick(file)
    change(file, file.read_bytes().replace(b"# a", b"# b"))
    assert not is_remembered(root)
    remember(root)
    assert is_remembered(root)


def test_what_changed_is_what_is_loaded(root: Path) -> None:
    next_tick(root / "mlbox.yaml")
    (root / "mlbox.yaml").write_text(ECHO_BOX["mlbox.yaml"].replace("somebody", "someone "))
    assert definitions_of(root).load_box().author == "someone"


def test_a_run_is_checked_again_when_a_task_has_changed(root: Path) -> None:
    task = root / "tasks/copy.yaml"
    next_tick(task)
    task.write_text(ECHO_BOX["tasks/copy.yaml"].replace("source", "sauce"))
    definitions = definitions_of(root)
    box = definitions.load_box()
    with pytest.raises(DefinitionError, match="has no input 'source'"):
        definitions.load_run_configuration(root / "run/copy.yaml", box)


def test_a_run_is_not_recalled_for_a_box_from_elsewhere(root: Path) -> None:
    box = loader.load_box(root)
    with nothing_read(), pytest.raises(ImportError):
        definitions_of(root).load_run_configuration(root / "run/copy.yaml", box)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_gone_is_not_remembered(root: Path, name: str) -> None:
    definitions = definitions_of(root)
    box = definitions.load_box()
    (root / name).unlink()
    load_again = {
        "run/copy.yaml": lambda file: definitions.load_run_configuration(file, box),
        "platforms/docker.yaml": definitions.load_platform,
    }.get(name, lambda _: definitions_of(root).load_box())
    with pytest.raises((DefinitionError, UsageError)):
        load_again(root / name)


@pytest.mark.parametrize("name", FILES)
def test_what_changed_a_moment_ago_or_will_change_is_not_kept(
    make_box: MakeBox, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    root = make_box({"platforms/docker.yaml": PLATFORM})
    hour = 3600 * 10**9
    state = (root / name).stat()
    os.utime(root / name, ns=(state.st_atime_ns, state.st_mtime_ns + hour))
    remember(root)
    assert not is_remembered(root)
    os.utime(root / name, ns=(state.st_atime_ns, state.st_mtime_ns - hour))
    with monkeypatch.context() as patch:
        patch.setattr(file_state, "SETTLED", hour)
        remember(root)
    assert not is_remembered(root)
    remember(root)
    assert is_remembered(root)


@pytest.mark.parametrize("name", FILES)
def test_what_changes_while_it_is_read_is_not_kept(
    make_box: MakeBox, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    root = make_box({"platforms/docker.yaml": PLATFORM})

    def then_changed(read: Any) -> Any:
        def wrapped(*arguments: Any) -> Any:
            value = read(*arguments)
            next_tick(root / name)
            os.utime(root / name)
            return value

        return wrapped

    with monkeypatch.context() as patch:
        for function in ("load_box", "load_run_configuration", "load_platform"):
            patch.setattr(loader, function, then_changed(getattr(loader, function)))
        remember(root)
    assert not is_remembered(root)


def test_wrong_definitions_are_never_kept(make_box: MakeBox) -> None:
    root = make_box({"tasks/copy.yaml": "nothing\n"})
    definitions = definitions_of(root)
    for _ in range(2):
        with pytest.raises(DefinitionError):
            definitions.load_box()
    definitions.save()
    assert not cache_of(root).exists()


def test_the_file_is_for_its_owner_alone_and_written_only_when_there_is_news(root: Path) -> None:
    file = file_of(root)
    assert (file.parent.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)
    before = file.stat()
    remember(root)
    assert file_of(root).stat() == before
    (root / "platforms/docker.yaml").rename(root / "platforms/podman.yaml")
    remember(root)
    assert file_of(root).stat().st_ino != before.st_ino
    assert b"docker.yaml" not in file_of(root).read_bytes()


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_can_write_to_is_ignored(root: Path, mode: int) -> None:
    file_of(root).chmod(mode)
    assert not is_remembered(root)
    (root / "platforms/docker.yaml").touch()
    remember(root)
    assert is_remembered(root)


def test_a_file_of_somebody_else_or_somewhere_else_is_ignored(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        user = os.geteuid()
        patch.setattr(os, "geteuid", lambda: user + 1)
        assert not is_remembered(root)
    assert is_remembered(root)
    file = file_of(root)
    file.rename(root / "mine")
    file.symlink_to(root / "mine")
    assert not is_remembered(root)
    file.unlink()
    os.mkfifo(file)
    assert not is_remembered(root)


def test_what_other_modules_of_a_checkout_wrote_is_ignored(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        now = cache.state_of_our_modules("definition")
        patch.setattr(remembered, "state_of_our_modules", lambda *packages: (*now, *packages))
        assert not is_remembered(root)
    assert is_remembered(root)


def test_what_another_version_wrote_is_ignored(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(cache, "__version__", "0.0.1")
        assert not is_remembered(root)
    assert is_remembered(root)


def test_the_memory_of_another_box_is_ignored(root: Path) -> None:
    other = root.with_name("other")
    root.rename(other)
    assert not is_remembered(other)
    file = file_of(root)
    definitions = definitions_of(other)
    file.rename(definitions._file)
    assert not is_remembered(other)


def test_a_cache_that_cannot_be_written_is_none(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    definitions = RememberedDefinitions(root, Path(os.devnull, "cache"))
    load(definitions, root)
    definitions.save()

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    (root / "platforms/docker.yaml").rename(root / "platforms/podman.yaml")
    monkeypatch.setattr(os, "replace", full)
    before = file_of(root).read_bytes()
    remember(root)
    assert file_of(root).read_bytes() == before


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inside: (
        st.lists(inside, max_size=4).map(tuple)
        | st.lists(inside, max_size=4)
        | st.dictionaries(
            st.sampled_from(["class", "box", "name", "tasks", "root"]), inside | st.just("Box"), max_size=4
        )
    ),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def lasting_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A box for many examples; what is remembered of it is overwritten."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file_state, "SETTLED", 0)
        root = write_files(tmp_path_factory.mktemp("lasting") / "box", ECHO_BOX)
        remember(root)
        (root / "remembered").write_bytes(file_of(root).read_bytes())
    return root


def loads_what_the_files_say(root: Path, content: bytes) -> bool:
    file_of(root).write_bytes(content)
    return load(definitions_of(root), root)[0] == loader.load_box(root)


@quick_or_thorough(100)
@given(content=st.binary(max_size=200))
def test_any_bytes_in_the_cache_are_harmless(lasting_root: Path, content: bytes) -> None:
    assert loads_what_the_files_say(lasting_root, content)


@quick_or_thorough(100)
@given(at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
def test_a_damaged_file_in_the_cache_is_harmless(lasting_root: Path, at: float, bit: int, cut: bool) -> None:
    content = bytearray((lasting_root / "remembered").read_bytes())
    place = int(at * len(content))
    content[place] ^= 1 << bit
    assert loads_what_the_files_say(lasting_root, bytes(content[:place] if cut else content))
    assert not definitions_of(lasting_root)._entries


@quick_or_thorough(200)
@given(data=PLAIN, depth=st.integers(0, 3))
def test_any_data_in_the_cache_is_harmless(lasting_root: Path, data: object, depth: int) -> None:
    definitions = definitions_of(lasting_root)
    files = remembered._states([str(lasting_root / "mlbox.yaml"), str(lasting_root / "tasks/copy.yaml")])
    content: list[Any] = [data, (definitions._header, data), (definitions._header, {"box": data})]
    plain = marshal.dumps([*content, (definitions._header, {"box": (files, data)})][depth])
    assert loads_what_the_files_say(lasting_root, crc32(plain).to_bytes(4, "big") + plain)
