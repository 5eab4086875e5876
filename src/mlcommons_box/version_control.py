"""Which commit of git a box is at, and whether it has changed since.

A box may come from a stranger, and a repository's own configuration can name programs that ``git status`` starts.
So nothing of git is started in a repository whose configuration holds more than what is known to start nothing.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mlcommons_box.command import Command
from mlcommons_box.errors import BoxError
from mlcommons_box.process import ask

_SUBMODULE = "160000 "
_TIMEOUT = 20.0
"""Seconds; in a very large repository, nobody waits for longer."""
_HARMLESS = (
    r"core\.(repositoryformatversion|filemode|bare|logallrefupdates|ignorecase|precomposeunicode|symlinks|autocrlf)"
    r"|extensions\.objectformat|(branch|user|pull|push|init|gc|color)\..*"
    r"|remote\..*\.(url|pushurl|fetch|push|tagopt|prune|mirror)"  # a promisor's uploadpack is a program
    r"|lfs\.(url|repositoryformatversion|.*\.(access|locksverify))"  # and so is an extension of LFS
    r"|submodule\..*\.(url|active|branch|path|ignore)"
)
_ABOUT_ANOTHER = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_COMMON_DIR",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
)
"""Variables that a caller has who is called by git itself."""


def commit_of(directory: Path) -> dict[str, Any]:
    """``commit``, and ``dirty``: whether the box at ``directory``, but for its workspace, differs from it.

    ``dirty`` is None where nobody can tell safely.
    Empty outside of a repository, and where there is no git.
    """
    if not any((parent / ".git").exists() for parent in (directory, *directory.parents)):
        return {}
    try:
        answer = _git(directory, "rev-parse", "HEAD", "--path-format=absolute", "--git-common-dir")
        commit, common = ([*answer.splitlines(), "", ""])[:2]
        if not re.fullmatch(r"[0-9a-f]{40,64}", commit):
            return {}
        return {"commit": commit, "dirty": _is_dirty(directory, common)}
    except (BoxError, ValueError):
        return {}


def _is_dirty(directory: Path, common: str) -> bool | None:
    keys = _git(directory, "config", "--file", f"{common}/config", "--name-only", "--list").splitlines()
    if not all(re.fullmatch(_HARMLESS, key.lower()) for key in keys) or Path(common, "info/attributes").exists():
        return None
    options = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "--no-optional-locks")
    words = ("--porcelain", "--untracked-files=normal", "--ignore-submodules=dirty")
    if _git(directory, *options, "status", *words, "--", ".", ":(exclude)workspace").strip():
        return True
    # A submodule has a configuration of its own, so nobody has looked into it.
    entries = _git(directory, *options, "ls-files", "--stage", "--", ".").splitlines()
    return None if any(entry.startswith(_SUBMODULE) for entry in entries) else False


def _git(directory: Path, *words: str) -> str:
    command = Command(
        argv=("git", "-C", str(directory), *words), added=(("GIT_NO_LAZY_FETCH", "1"),), removed=_ABOUT_ANOTHER
    )
    answer = ask(command, timeout=_TIMEOUT)
    if not answer.succeeded:
        raise ValueError(answer.stderr.decode("utf-8", "replace"))
    return answer.stdout.decode("utf-8", "replace")
