"""Python environments for the local runner: keyed by content, built once, shared between boxes.

An environment lives in a directory named by the hash of all that decides its content.  It counts as finished
only when its marker file is there, and that is written last; a build that was cut off is removed and begun
again.  A lock file next to the directory lets one build run at a time; the system releases it with the
process that holds it.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mlcommons_box.cache import CACHE_VARIABLE, cache_directory
from mlcommons_box.command import Command
from mlcommons_box.errors import CannotCreateError, PreparationError
from mlcommons_box.runners.engine_failures import CERTIFICATES
from mlcommons_box.runners.failures import Failure, explained, tail
from mlcommons_box.runners.once import once
from mlcommons_box.runners.preparation import PreparationObserver, run_step
from mlcommons_box.runners.programs import which
from mlcommons_box.runners.site_settings import CERTIFICATE_VARIABLES
from mlcommons_box.value import Value

if TYPE_CHECKING:
    from mlcommons_box.runners.job import Elsewhere

INSTALLER_VARIABLE = "MLCOMMONS_BOX_INSTALLER"
_LAYOUT = 1
"""Part of every key: raised when environments are built differently."""
_MARKER = "complete.json"
_INCLUDED = r"(?:-[rc][\s=]*|--(?:requirement|constraint)[\s=]+)(.+?)(?:\s+#.*)?"
"""A line of requirements that includes others (pip's reference, Requirements File Format)."""
_NO_CODE = ("__pycache__", ".git")
_MADE_BY_BUILDS = ("build", "dist")
"""Directories that builds of packages make beside a ``pyproject.toml``."""
NO_PIP = Failure(
    r"ensurepip",
    "this Python cannot make environments with pip",
    "install uv ('pip install uv'), or your system's package for venv (Debian: python3-venv)",
)
_WAITING = "waiting: another run builds the same Python environment"


class PythonEnvironment(Value):
    """An environment: where it is, and what it is made from.

    ``requirements`` is None when only the standard library is needed.  ``installer`` is the path of ``uv``,
    or None for ``venv`` and ``pip``.  ``ca_bundle`` is for the download alone.
    """

    directory: Path
    build: Path
    requirements: Path | None
    python: str
    installer: str | None
    ca_bundle: Path | None = None

    @property
    def bin(self) -> Path:
        """Where its programs are."""
        return self.directory / "bin"

    @property
    def interpreter(self) -> Path:
        """Its Python."""
        return self.bin / "python"

    @property
    def lock_file(self) -> Path:
        """Locked while somebody builds it."""
        return self.directory.with_suffix(".lock")

    @property
    def marker(self) -> Path:
        """There when it is finished."""
        return self.directory / _MARKER

    def is_ready(self) -> bool:
        """Whether it is finished, and its interpreter is still on this machine."""
        return self.marker.is_file() and self.interpreter.exists()

    def build_commands(self) -> list[Command]:
        """The commands that make it, in order."""
        target, interpreter = str(self.directory), str(self.interpreter)
        if self.installer:
            create = (self.installer, "venv", "--quiet", "--python", self.python, target)
            install = (self.installer, "pip", "install", "--python", interpreter, "-r")
        else:
            without_pip = () if self.requirements else ("--without-pip",)
            create = (self.python, "-m", "venv", *without_pip, target)
            install = (interpreter, "-m", "pip", "--disable-pip-version-check", "install", "-r")
        has_build = self.requirements is not None or self.build.is_dir()
        commands = [Command(argv=create, directory=self.build if has_build else None)]
        if self.requirements:
            certificates = dict.fromkeys(CERTIFICATE_VARIABLES if self.ca_bundle else (), str(self.ca_bundle))
            command = Command(
                argv=(*install, str(self.requirements)), directory=self.build, added=tuple(certificates.items())
            )
            commands.append(command)
        return commands

    def ensure(self, observer: PreparationObserver) -> None:
        """Build it unless it is ready; raises :class:`PreparationError` with the end of what the tool said."""
        if self.is_ready():
            return
        try:
            with once(self.lock_file, lambda: observer.preparing(_WAITING)):
                if not self.is_ready():
                    self._build(observer)
        except OSError as error:
            raise CannotCreateError(
                f"cannot create the environment {str(self.directory)!r}: {error.strerror or error}",
                hint=f"free some space, or set {CACHE_VARIABLE} to a directory that you can write to",
            ) from error
        finally:
            observer.prepared()

    def _build(self, observer: PreparationObserver) -> None:
        import shutil

        if self.directory.exists():
            shutil.rmtree(self.directory)
        tool = "uv" if self.installer else "venv and pip"
        source = self.requirements.name if self.requirements else "the standard library only"
        observer.preparing(f"building a Python environment with {tool} from {source}")
        try:
            for command in self.build_commands():
                self._run(command, observer)
            self._mark_complete()
        except BaseException:
            shutil.rmtree(self.directory, ignore_errors=True)
            raise

    def _run(self, command: Command, observer: PreparationObserver) -> None:
        status, said = run_step(command, observer)
        if status != 0:
            raise PreparationError(
                f"cannot build the Python environment: {Path(command.argv[0]).name} ended with status "
                f"{status}\n{tail(said)}",
                hint=self._remedy(said),
            )

    def _remedy(self, said: str) -> str | None:
        if explained(said, (CERTIFICATES,)):
            return CERTIFICATES.remedy
        text = said.lower()
        if "ensurepip" in text:
            return NO_PIP.remedy
        if self.installer and ("failed to fetch" in text or "connect" in text):
            return f"uv does not read pip's settings: set UV_DEFAULT_INDEX, or {INSTALLER_VARIABLE}=pip"
        return None

    def _mark_complete(self) -> None:
        import json

        content = {
            "python": self.python,
            "requirements": self.requirements.read_text("utf-8", "replace") if self.requirements else None,
        }
        partial = self.directory / f"{_MARKER}.partial"
        partial.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
        partial.replace(self.marker)


def python_environment(
    build: Path,
    *,
    requirements: Path | None,
    python: str | None,
    environ: Mapping[str, str],
    ca_bundle: Path | None = None,
) -> PythonEnvironment:
    """The environment for a requirements file (None: the standard library only) and a Python.

    ``python`` is a version or a path; None is the interpreter that runs this software.  Reads the
    requirements; starts nothing and writes nothing.
    """
    installer = find_uv(environ)
    interpreter = _interpreter(python, environ) or (python if python and installer else None)
    if interpreter is None:
        raise PreparationError(
            f"there is no Python {python!r} on this machine", hint="install it, or install uv, which can fetch it"
        )
    wanted = requirements if requirements and _effective_lines(requirements) else None
    return PythonEnvironment(
        directory=_directory(environ, _identity(interpreter), requirements, build),
        build=build,
        requirements=wanted,
        python=interpreter,
        installer=installer,
        ca_bundle=ca_bundle,
    )


def environment_elsewhere(
    elsewhere: Elsewhere,
    build: Path,
    requirements: Path | None,
    python: str | None,
    environ: Mapping[str, str],
    ca_bundle: Path | None,
) -> PythonEnvironment:
    """The same on another machine: ``build`` is there, and ``requirements`` are read here."""
    wanted = requirements if requirements and _effective_lines(requirements) else None
    identity = (python or "", elsewhere.python_identity)
    installer = None if environ.get(INSTALLER_VARIABLE) == "pip" else elsewhere.programs.get("uv")
    return PythonEnvironment(
        directory=_directory(environ, identity, requirements, elsewhere.box / "build"),
        build=build,
        requirements=wanted and build / wanted.relative_to(elsewhere.box / "build"),
        python=elsewhere.python if python is None else python if installer else _program_of(python),
        installer=installer,
        ca_bundle=ca_bundle,
    )


def _directory(
    environ: Mapping[str, str], identity: tuple[str, ...], requirements: Path | None, build: Path
) -> Path:
    """Where the environment is, by the hash of all that decides its content."""
    digest = hashlib.sha256()
    for part in (str(_LAYOUT), *identity, *_content(requirements, build)):
        digest.update(part.encode("utf-8", "surrogateescape") + b"\0")
    return cache_directory(environ) / "environments" / digest.hexdigest()[:24]


def find_uv(environ: Mapping[str, str]) -> str | None:
    """The program ``uv``; None where there is none, or where pip is wanted in its place."""
    if environ.get(INSTALLER_VARIABLE) == "pip":
        return None
    beside = Path(sys.executable).parent / "uv"
    return which("uv", environ) or (str(beside) if beside.is_file() else None)


def _interpreter(python: str | None, environ: Mapping[str, str]) -> str | None:
    if python is None:
        return sys.executable
    if "/" in python:
        return python if Path(python).is_file() else None
    return which(_program_of(python), environ)


def _program_of(python: str) -> str:
    """The program of a Python that is named by its version, or by itself."""
    return f"python{python}" if python[:1].isdigit() else python


def _identity(interpreter: str) -> tuple[str, ...]:
    """What tells one Python from another without starting it."""
    machine = os.uname()
    if interpreter == sys.executable:
        version = f"{sys.implementation.cache_tag} {sys.version_info} {os.path.realpath(sys.base_prefix)}"
        return (version, machine.sysname, machine.machine)
    return (os.path.realpath(interpreter), machine.sysname, machine.machine)


def _content(requirements: Path | None, build: Path) -> Iterator[str]:
    """The text of the requirements, of the files that they include, and of the code that they install."""
    waiting = [requirements] if requirements else []
    seen = set()
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        yield f"file {file.name}"
        for line in _effective_lines(file):
            yield line
            included = re.fullmatch(_INCLUDED, line)
            if included and "://" not in included[1]:
                waiting.append(file.parent / included[1])
            elif line.startswith(("-e", "--editable", ".", "/", "file:")) or "@ file:" in line:
                yield from _tree(build)


def _effective_lines(file: Path) -> list[str]:
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PreparationError(f"cannot read the requirements {str(file)!r}: {error}") from error
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _tree(directory: Path) -> Iterator[str]:
    """Names and contents below a directory, but for what installing a package leaves beside its code."""
    for parent, folders, names in os.walk(directory):
        made = _MADE_BY_BUILDS if {"setup.py", "pyproject.toml"} & {*names} else ()
        folders[:] = sorted(
            name for name in folders if name not in (*_NO_CODE, *made) and not name.endswith(".egg-info")
        )
        for name in sorted(names):
            path = Path(parent, name)
            if path.is_file():
                yield f"{path.relative_to(directory)} {hashlib.sha256(path.read_bytes()).hexdigest()}"
