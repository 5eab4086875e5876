"""The data of a run as a tar archive: made from inputs on this machine, and unpacked to outputs on it.

What comes from a Pod was written by a stranger's program.  It is unpacked only into the outputs, never through a
link, and nothing but files, directories and links is made of it.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from mlcommons_box.errors import CannotCreateError
from mlcommons_box.runners.kubernetes_volumes import Place

OURS = ".mlbox"
"""The directory in a workspace with the records of runs, which stays here."""


class Pieces:
    """A file to write to, which hands over what is written in pieces of one size."""

    def __init__(self, size: int, take: Callable[[bytes], None]) -> None:
        self.size = size
        self.take = take
        self.kept = bytearray()
        self.is_broken = False

    def write(self, content: bytes) -> int:
        """Keep some bytes, and hand over what is enough for a piece."""
        if self.is_broken:  # an archive is closed, and written to, when it could not be written to, too
            return len(content)
        self.kept += content
        while len(self.kept) >= self.size:
            self.is_broken = True
            self.take(bytes(self.kept[: self.size]))
            self.is_broken = False
            del self.kept[: self.size]
        return len(content)

    def finish(self) -> None:
        """Hand over the rest."""
        if self.kept:
            self.take(bytes(self.kept))
        self.kept.clear()


def pack(places: tuple[Place, ...], workspace: Path, target: Pieces) -> None:
    """Write what is on this machine at some places; what is an output and not there yet is left out."""
    written: set[PurePosixPath] = set()
    ours = Path(os.path.realpath(workspace), OURS)
    with tarfile.open(  # type: ignore[call-overload]  # it needs nothing but 'write'
        mode="w|", fileobj=target, format=tarfile.GNU_FORMAT, encoding="utf-8", errors="surrogateescape"
    ) as archive:
        for place in places:
            top = Path(os.path.realpath(place.parameter.path))
            for path, name in _walk(top, place.inside, ours):
                if name not in written:
                    written.add(name)
                    _add(archive, path, name)
    target.finish()


def _walk(path: Path, name: PurePosixPath, left_out: Path) -> Iterator[tuple[Path, PurePosixPath]]:
    """A path and all that is below it, with names in the archive, directories before what they hold."""
    if not os.path.lexists(path) or path == left_out:
        return
    yield path, name
    if path.is_dir() and not path.is_symlink():
        for each in sorted(os.listdir(path)):
            yield from _walk(path / each, name / each, left_out)


def _add(archive: tarfile.TarFile, path: Path, name: PurePosixPath) -> None:
    found = path.lstat()
    info = tarfile.TarInfo(str(name))
    info.mode = stat.S_IMODE(found.st_mode) & 0o777
    info.mtime = int(found.st_mtime)
    if stat.S_ISREG(found.st_mode):
        with path.open("rb") as file:
            info.size = os.fstat(file.fileno()).st_size
            archive.addfile(info, file)
    elif stat.S_ISDIR(found.st_mode):
        info.type = tarfile.DIRTYPE
        info.mode |= 0o700  # so that what it holds can be unpacked
        archive.addfile(info)
    elif stat.S_ISLNK(found.st_mode):
        info.type = tarfile.SYMTYPE
        info.linkname = os.readlink(path)
        archive.addfile(info)


def unpack(file: IO[bytes], places: tuple[Place, ...], workspace: Path) -> list[str]:
    """Put what was fetched where the outputs are; returns the names of what was left out.

    Raises :class:`CannotCreateError` when something cannot be written, and :class:`tarfile.TarError` for an archive
    that is damaged.
    """
    left_out: list[str] = []
    ours = Path(os.path.realpath(workspace), OURS)
    directories: list[tuple[Path, int]] = []
    with tarfile.open(fileobj=file, mode="r:", encoding="utf-8", errors="surrogateescape") as archive:
        for member in archive:
            name = PurePosixPath(member.name)
            place = _place_of(name, places)
            if place is None or ".." in name.parts:
                left_out.append(member.name)
            elif place.parameter.direction == "output":
                root = Path(os.path.realpath(place.parameter.path))
                target = root / name.relative_to(place.inside)
                if target == ours or ours in target.parents:
                    continue
                try:
                    done = _put(archive, member, target, root)
                except OSError as error:
                    raise CannotCreateError(
                        f"cannot write the output {str(target)!r}: {error.strerror}", hint="free some space"
                    ) from error
                if not done:
                    left_out.append(member.name)
                elif member.isdir():  # where it is now: a link on the way to it may lead elsewhere in the end
                    directories.append((Path(os.path.realpath(target)), member.mode & 0o777))
    for path, mode in reversed(directories):
        os.chmod(path, mode)
    return left_out


def _place_of(name: PurePosixPath, places: tuple[Place, ...]) -> Place | None:
    """The innermost place that holds a name."""
    around = [place for place in places if name.is_relative_to(place.inside)]
    return max(around, key=lambda place: len(place.inside.parts), default=None)


def _put(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path, root: Path) -> bool:
    """Make one thing; False when it is of no kind that we make, or a link leads out of the output."""
    parent = root.parent if target == root else target.parent
    if target != root and not Path(os.path.realpath(parent)).is_relative_to(root):
        return False
    parent.mkdir(parents=True, exist_ok=True)
    if member.isdir():
        if target.is_symlink() or (target.exists() and not target.is_dir()):
            target.unlink()
        target.mkdir(exist_ok=True)
        os.chmod(target, (member.mode & 0o777) | 0o700)
        return True
    if not (member.isreg() or member.issym() or member.islnk()) or (target.is_dir() and not target.is_symlink()):
        return False
    partial = target.with_name(f".{target.name[:200]}.mlbox-{os.getpid()}")
    partial.unlink(missing_ok=True)
    try:
        if member.issym():
            os.symlink(member.linkname, partial)
        else:
            try:
                content = archive.extractfile(member)
            except (KeyError, RecursionError):  # a hard link to what is not in the archive, or to itself
                content = None
            if content is None:
                return False
            with partial.open("xb") as file:
                while chunk := content.read(1 << 20):
                    file.write(chunk)
            os.chmod(partial, member.mode & 0o777)
            os.utime(partial, (member.mtime, member.mtime))
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return True
