"""Which files of a box are on another host because of us, so that what is gone here can be removed there."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from mlcommons_box.errors import CannotCreateError
from mlcommons_box.host import Host
from mlcommons_box.runners.failures import tail
from mlcommons_box.shell_script import quoted

SENT_FILE = ".mlbox/sent"
"""Below the box's directory there: a path relative to that in every line, encoded as in URLs."""
_AT_ONCE = 500
"""Files that one command removes: its line must not become too long."""
_END = "MLBOX_END_OF_LIST"


def noted(text: str) -> frozenset[str]:
    """The paths in the text of a note, but for those that lead out of the directory: they would be removed."""
    if not text:
        return frozenset()
    from urllib.parse import unquote_to_bytes

    lines = (line.encode("utf-8", "surrogateescape") for line in text.splitlines())
    names = (os.fsdecode(unquote_to_bytes(line)) for line in lines if line)
    return frozenset(
        each for each in names if not (each.startswith("/") or "\0" in each or ".." in each.split("/"))
    )


def _as_text(names: Iterable[str]) -> str:
    from urllib.parse import quote

    return "".join(f"{quote(os.fsencode(name))}\n" for name in names)


def add_to_note(host: Host, box: Path, names: Collection[str]) -> None:
    """Note files that are there because of us, relative to the box's directory, each of them once."""
    if not names:
        return
    answer = host.shell(
        f"cd -- {quoted(box)} && mkdir -p .mlbox && : >>{SENT_FILE} || exit 73\n"
        f"grep -vxF -f {SENT_FILE} >>{SENT_FILE} <<'{_END}'\n{_as_text(names)}{_END}\n"
        '[ "$?" -le 1 ]\n'  # 1 says that all of them were there
    )
    if not answer.succeeded:
        raise CannotCreateError(f"cannot note on {host.name} what was sent\n{tail(answer.stderr)}")


def remove(host: Host, box: Path, gone: Sequence[str], sent: frozenset[str], *, make: Sequence[Path]) -> None:
    """Remove files that are noted, with the directories that become empty, and make others.

    An empty directory may mean something to a task.  What was removed is noted no longer: a task may make it anew.
    """
    lines = [f"cd -- {quoted(box)} || exit 73"]
    lines += [
        f"rm -f -- {' '.join(quoted(f'./{name}') for name in gone[first : first + _AT_ONCE])} 2>/dev/null"
        for first in range(0, len(gone), _AT_ONCE)
    ]
    left = {str(parent) for name in gone for parent in PurePosixPath(name).parents} - {"."}
    lines += [f"rmdir -- {quoted(f'./{name}')} 2>/dev/null" for name in sorted(left, key=len, reverse=True)]
    lines += [f"mkdir -p -- {quoted(each)} || exit 73" for each in make]
    if gone:
        text = _as_text(sorted(sent.difference(gone)))
        lines += [f"cat >{SENT_FILE}.partial <<'{_END}' || exit 73\n{text}{_END}"]
        lines += [f"mv -f {SENT_FILE}.partial {SENT_FILE}"]
    if len(lines) > 1:
        answer = host.shell("\n".join(lines) + "\n")
        if not answer.succeeded:
            raise CannotCreateError(f"cannot write in {str(box)!r} on {host.name}\n{tail(answer.stderr)}")


def files_below(root: Path, left_out: Iterable[str], without: Iterable[Path] = ()) -> Iterator[str]:
    """The files below a directory that are sent, relative to it.

    A link that leads out of it is what it refers to, as it is for rsync; any other is a file.
    """
    not_sent, without = set(left_out), set(without)
    waiting = [str(root)]
    while waiting:
        parent = waiting.pop()
        with suppress(OSError), os.scandir(parent) as entries:
            for entry in entries:
                if entry.name in not_sent or (without and Path(entry.path) in without):
                    continue
                name = os.path.relpath(entry.path, root)
                if entry.is_dir() and not (entry.is_symlink() and not _leads_out(name, entry.path)):
                    waiting.append(entry.path)
                else:
                    yield name


def _leads_out(name: str, link: str) -> bool:
    """Whether a link leads out of the directory that it lies in as ``name``; an absolute one always does."""
    target = os.path.normpath(os.path.join(os.path.dirname(name), os.readlink(link)))
    return target == ".." or target.startswith(("/", "../"))


def has_links(directory: Path) -> bool:
    """Whether there is a link below a directory."""
    waiting = [os.fspath(directory)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for each in entries:
                if each.is_symlink():
                    return True
                if each.is_dir(follow_symlinks=False):
                    waiting.append(each.path)
    return False


def pattern(path: Path, *, always: bool = False) -> str:
    """A path as rsync's patterns have it, where some characters stand for others; ``always`` if more follows."""
    if not always and not any(each in "*?[" for each in str(path)):
        return str(path)  # and then a backslash is one
    return "".join(f"\\{each}" if each in "*?[\\" else each for each in str(path))
