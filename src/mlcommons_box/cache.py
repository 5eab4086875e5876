"""Where this software keeps what it can make again, and how: plain data in files that are the user's alone."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mlcommons_box import __version__

CACHE_VARIABLE = "MLCOMMONS_BOX_CACHE"
_CHECKSUM_BYTES = 4


def cache_directory(environ: Mapping[str, str]) -> Path:
    """Where this software keeps what it can make again: ``$MLCOMMONS_BOX_CACHE``, else the user's cache."""
    if environ.get(CACHE_VARIABLE):
        return Path(os.path.abspath(environ[CACHE_VARIABLE]))
    base = environ.get("XDG_CACHE_HOME", "")
    home = environ.get("HOME") or os.path.expanduser("~")
    return Path(base if base.startswith("/") else os.path.join(home, ".cache"), "mlcommons-box")


def file_name_of(*parts: str) -> str:
    """A short name for a file of ours that belongs to some paths or names; hashlib takes longer to load."""
    from binascii import crc32

    text = "\0".join(parts).encode("utf-8", "surrogateescape")
    return f"{crc32(text):08x}{crc32(text[::-1]):08x}"


def state_of_our_modules(*packages: str) -> tuple[Any, ...]:
    """Which software this is: its version, the Python, and the state of the modules of some packages of ours.

    What was kept by another is not taken for our own: the modules of a checkout change, and its version does not.
    """
    here = os.path.dirname(__file__)
    found = []
    for package in packages:
        with suppress(OSError), os.scandir(os.path.join(here, package)) as entries:
            for entry in entries:
                if entry.name.endswith(".py"):
                    state = entry.stat()
                    found.append((package, entry.name, state.st_mtime_ns, state.st_size))
    return (__version__, sys.version, sys.implementation.cache_tag, tuple(sorted(found)))


def read_kept(file: Path, header: object) -> Any:
    """What :func:`keep` was given with that header.

    Raises any exception when the file is damaged, not ours alone, or was kept with another header.
    """
    import marshal
    from binascii import crc32

    content = _own_content(file)
    data = content[_CHECKSUM_BYTES:]
    if crc32(data).to_bytes(_CHECKSUM_BYTES, "big") != content[:_CHECKSUM_BYTES]:
        raise ValueError(f"{file} is damaged")
    kept_with, value = marshal.loads(data)  # noqa: S302  # our own file, which nobody else can write to
    if kept_with != header:
        raise ValueError(f"{file} belongs to something else")
    return value


def keep(file: Path, header: Any, value: Any) -> None:
    """Keep plain data; where that cannot be done, it is made again the next time."""
    import marshal
    from binascii import crc32

    with suppress(OSError, ValueError):
        data = marshal.dumps((header, value))
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(file, crc32(data).to_bytes(_CHECKSUM_BYTES, "big") + data)


def _own_content(file: Path) -> bytes:
    """The content of a file that is ours alone; raises :class:`OSError` when it is not."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        state = os.fstat(descriptor)
        others_write = state.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if not stat.S_ISREG(state.st_mode) or state.st_uid != os.geteuid() or others_write:
            raise PermissionError(f"not ours alone: {file}")
        return stream.read()


def _write(file: Path, content: bytes) -> None:
    """Put a file in its place as a whole, readable for us alone."""
    beside = file.with_name(f".{file.name}.{os.urandom(6).hex()}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        os.replace(beside, file)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside)
        raise
