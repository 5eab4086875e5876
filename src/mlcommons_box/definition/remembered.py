"""What definition files held when they were read last, so that those that have not changed are not read again.

To load the modules that parse and check a box takes longer than all the rest that happens before an engine starts.
So what was read is kept in the user's cache, in one file a box.  It counts only while every file that it was made
from is the same to the system: its times, its size, its inode and its device.  A file that has changed within the
last two seconds is not remembered: it could change again within one tick of its file system's clock, and look the
same.  Whatever is wrong with the file in the cache means that nothing is remembered, and never an error.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from mlcommons_box import model
from mlcommons_box.cache import file_name_of, keep, read_kept, state_of_our_modules
from mlcommons_box.definition.places import BOX_FILE
from mlcommons_box.file_state import latest_settled, state_of
from mlcommons_box.model import Box, Platform, RunConfiguration
from mlcommons_box.value import Value

V = TypeVar("V", bound=Value)

DIRECTORY = "definitions"
"""Where in the user's cache the files are."""

FileStates = tuple[tuple[str, int, int, int, int, int], ...]
"""Files as the system sees them: path, time of change of content and of inode, size, inode, device."""
Entry = tuple[FileStates, object]
"""The files that something was made from, and what it is as plain data."""

_KINDS = {
    name: kind
    for name, kind in vars(model).items()
    if isinstance(kind, type) and issubclass(kind, Value) and kind is not Value
}


class RememberedDefinitions:
    """Loads a box and its files; what has not changed comes from ``directory``, the cache of the user.

    Only :meth:`save` writes.
    """

    def __init__(self, root: Path, directory: Path) -> None:
        self._root = root
        self._file = directory / DIRECTORY / file_name_of(str(root))
        self._header = (*state_of_our_modules("definition"), str(root))
        self._entries = _entries_of(self._file, self._header)
        self._changed = False
        self._box: Box | None = None
        self._box_files: FileStates | None = None

    def load_box(self) -> Box:
        """The box with all its tasks; raises what :func:`mlcommons_box.definition.loader.load_box` does."""
        paths = _paths(self._entries["box"][0]) if "box" in self._entries else []
        files = _states(paths)
        box = self._recall("box", files, Box)
        if box is None or paths != _paths_of(box):
            box, files = self._read_box()
        self._box, self._box_files = box, files
        return box

    def _read_box(self) -> tuple[Box, FileStates | None]:
        from mlcommons_box.definition.loader import load_box

        box = load_box(self._root)
        files = _settled(_paths_of(box))
        if files is not None:
            # Only now is it known which files a box has: once more, with their state before they are read.
            box = load_box(self._root)
            files = self._keep("box", files if _paths(files) == _paths_of(box) else None, box)
        return box, files

    def load_platform(self, file: Path) -> Platform:
        """The platform in one file."""
        key, paths = f"platform {file}", [str(file)]
        platform = self._recall(key, _states(paths), Platform)
        if platform is None:
            from mlcommons_box.definition.loader import load_platform

            files = _settled(paths)
            platform = load_platform(file)
            self._keep(key, files, platform)
        return platform

    def load_run_configuration(self, file: Path, box: Box) -> RunConfiguration:
        """The run configuration in one file, checked against the tasks of ``box``."""
        key, paths = f"run {file}", [str(file)]
        run = self._recall(key, self._with_box(_states(paths), box), RunConfiguration)
        if run is None:
            from mlcommons_box.definition.loader import load_run_configuration

            files = self._with_box(_settled(paths), box)
            run = load_run_configuration(file, box)
            self._keep(key, files, run)
        return run

    def save(self) -> None:
        """Write what is new to the user's cache; where that cannot be done, it is read again the next time."""
        if not self._changed:
            return
        self._changed = False
        current = {key: entry for key, entry in self._entries.items() if _states(_paths(entry[0])) == entry[0]}
        keep(self._file, self._header, current)

    def _with_box(self, files: FileStates | None, box: Box) -> FileStates | None:
        """The files of the box as well; None when they, or those of another box, cannot be vouched for."""
        if files is None or self._box_files is None or box is not self._box:
            return None
        return files + self._box_files

    def _recall(self, key: str, files: FileStates | None, kind: type[V]) -> V | None:
        entry = self._entries.get(key)
        if entry is None or entry[0] != files:
            return None
        with suppress(Exception):
            value = _from_data(entry[1])
            if isinstance(value, kind):
                return value
        return None

    def _keep(self, key: str, files: FileStates | None, value: Value) -> FileStates | None:
        """Remember what was read, if its files have been the same from before on; None if they have not."""
        if files is None or _states(_paths(files)) != files:
            return None
        self._entries[key] = files, _as_data(value)
        self._changed = True
        return files


def _paths_of(box: Box) -> list[str]:
    return [str(box.root / BOX_FILE), *(str(task.file) for task in box.tasks)]


def _paths(files: FileStates) -> list[str]:
    return [file[0] for file in files]


def _states(paths: Iterable[str]) -> FileStates | None:
    """What the system says of files; None when one of them is not there."""
    found = []
    try:
        for path in paths:
            found.append((path, *state_of(os.stat(path))))
    except (OSError, ValueError):
        return None
    return tuple(found)


def _settled(paths: Iterable[str]) -> FileStates | None:
    """The same for files that have not changed of late; None when one has, or will have in the future."""
    latest = latest_settled()
    files = _states(paths)
    return files if files is not None and all(max(file[1], file[2]) <= latest for file in files) else None


def _entries_of(file: Path, header: object) -> dict[str, Entry]:
    """What a file in the cache holds; nothing, if it is damaged or was not written by us, as we are now."""
    with suppress(Exception):
        entries = read_kept(file, header)
        return {key: (_checked(files), value) for key, (files, value) in entries.items()}
    return {}


def _checked(files: Any) -> FileStates:
    if not all(isinstance(file[0], str) for file in files):
        raise TypeError("a path is a text")
    return tuple(files)


def _as_data(value: Any) -> object:
    """A value of the model as plain data: values are dictionaries with the name of their class, paths are bytes."""
    if isinstance(value, Value):
        return {"class": type(value).__name__, **{name: _as_data(each) for name, each in vars(value).items()}}
    if isinstance(value, Path):
        return os.fsencode(value)
    if isinstance(value, tuple):
        return tuple(map(_as_data, value))
    return value


def _from_data(data: Any) -> Any:
    """The value that :func:`_as_data` was given; raises whatever it may for what that never made."""
    if isinstance(data, dict):
        fields = {name: _from_data(each) for name, each in data.items() if name != "class"}
        return _KINDS[data["class"]](**fields)
    if isinstance(data, bytes):
        return Path(os.fsdecode(data))
    if isinstance(data, tuple):
        return tuple(map(_from_data, data))
    if data is None or isinstance(data, str | int | float):
        return data
    raise TypeError(f"no part of a value: {type(data).__name__}")
