"""What a run used: the image or environment that its task was in, and the engine.

Where this software is not, the script of a job asks (:class:`.job.Job`), and what was said is read here: the
words of the tools themselves, and lines of ``KEY VALUE`` where their output can be given a form.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mlcommons_box.cache import cache_directory, file_name_of, keep, read_kept
from mlcommons_box.command import Command
from mlcommons_box.file_state import latest_settled, state_of
from mlcommons_box.process import ask
from mlcommons_box.runners.made_from import SUFFIX
from mlcommons_box.value import Value

TIMEOUT = 30.0
"""Seconds in which an engine has to say what it is."""

_DIGEST = r"[0-9a-f]{64}"
_CHECKSUM = r"\\?([0-9a-f]{64}) [ *]/.*"
_VERSION = r"(?i)(apptainer|singularity(?:-ce)?) version (\S+)"
_PYTHON = r"version(?:_info)? = (\S+)"
_PACKAGE = r"(?:.*/)?([^/]+)-([^/-]+)\.dist-info"
_MADE_FROM = rf".+{re.escape(SUFFIX)}/([0-9a-f]{{64}})"
_IMAGE_LINE = r"(image|digest|engine) (\S.*)"


class Identity(Value):
    """``image`` has ``id`` and ``digests``, or ``python`` and ``packages``; ``engine`` ``name`` and ``version``.

    ``build`` of an image is the digest of what a job has made it from.  ``doubt`` says why the image of a run may
    be made from other code than is there.
    ``machine`` is empty where the record tells it in another way; its keys are those of :mod:`.machine`.
    """

    image: Mapping[str, Any]
    engine: Mapping[str, Any]
    machine: Mapping[str, Any] = MappingProxyType({})
    doubt: str | None = None


def remembered_answer(command: Command, witnesses: Sequence[str | None], environ: Mapping[str, str]) -> str:
    """What a command says, which stays the same while the files that are its ``witnesses`` do.

    To ask an engine for its version takes as long as to start a container.  Raises as
    :func:`~mlcommons_box.process.ask` does.
    """
    file = cache_directory(environ) / "engines" / file_name_of(*command.argv)
    header = None
    with suppress(OSError, TypeError):
        states = [state_of(os.stat(os.path.realpath(witness or ""))) for witness in witnesses]
        header = (command.argv, tuple(states))
        with suppress(Exception):
            return str(read_kept(file, header))
    answer = ask(command, timeout=TIMEOUT)
    said = answer.stdout.decode("utf-8", "replace")
    if header is not None and answer.succeeded:
        keep(file, header, said)
    return said


def remembered_digest(path: Path, environ: Mapping[str, str]) -> str:
    """The SHA-256 of a large file, which is read again only when it has changed; empty when it is not there.

    Raises as :func:`~mlcommons_box.fingerprint.fingerprint` does.
    """
    from mlcommons_box.fingerprint import Memory, fingerprint

    file = cache_directory(environ) / "engines" / file_name_of(str(path))
    header = None
    with suppress(OSError):
        state = state_of(os.stat(path))
        if max(state[:2]) <= latest_settled():
            header = (str(path), *state)
    with suppress(Exception):
        if header is not None:
            return str(read_kept(file, header))
    digest = fingerprint(path, Memory(None)).digest
    if header is not None and digest:
        keep(file, header, digest)
    return digest


def identity_of(text: str) -> Identity:
    """What tools have said."""
    image: dict[str, Any] = {}
    engine: dict[str, Any] = {}
    packages = {}
    for line in text.splitlines():
        if found := re.fullmatch(_IMAGE_LINE, line):
            key, value = found.groups()
            if key == "image":
                image["id"] = f"sha256:{value}" if re.fullmatch(_DIGEST, value) else value
            elif key == "digest":
                image.setdefault("digests", []).append(value)
            else:
                name, _, version = value.partition(" ")
                engine = {"name": name, "version": version}
        elif found := re.fullmatch(_CHECKSUM, line):
            image["id"] = f"sha256:{found[1]}"
        elif found := re.fullmatch(_MADE_FROM, line):
            image["build"] = found[1]
        elif found := re.match(_VERSION, line):
            engine = {"name": found[1].lower(), "version": found[2]}
        elif found := re.fullmatch(_PYTHON, line):
            image["python"] = found[1]
        elif found := re.fullmatch(_PACKAGE, line):
            packages[found[1]] = found[2]
    if "python" in image:
        image["packages"] = dict(sorted(packages.items()))
    return Identity(image=image, engine=engine)
