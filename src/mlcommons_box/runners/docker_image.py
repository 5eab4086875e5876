"""The image of a Docker platform: built from ``build/Dockerfile`` where there is one, else pulled."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from mlcommons_box.cache import cache_directory, file_name_of
from mlcommons_box.command import CallerVariable, Command
from mlcommons_box.errors import (
    EX_UNAVAILABLE,
    CannotCreateError,
    PreparationError,
    Problem,
    UnavailableError,
)
from mlcommons_box.model import Box
from mlcommons_box.process import capture
from mlcommons_box.runners.container_run import fields
from mlcommons_box.runners.dockerfile import SETTINGS_CONTEXT, SettingsBy, secret_id, with_settings
from mlcommons_box.runners.engine_failures import CERTIFICATES, failures_of
from mlcommons_box.runners.failures import Failure, explained, explanation
from mlcommons_box.runners.interface import Observer
from mlcommons_box.runners.made_from import SUFFIX
from mlcommons_box.runners.once import check_mountable, once
from mlcommons_box.runners.preparation import run_step
from mlcommons_box.runners.site_settings import (
    DIRECTORY,
    PROXY_VARIABLES,
    holds_password,
    present,
    settings_files,
    settings_variables,
    write_settings,
)
from mlcommons_box.value import Value

_MISSING = r"(?i)no such image|image not known|unable to find image"
_PLUGIN_DIRECTORIES = (
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
)


class DockerImage(Value):
    """An image, and the client that makes it."""

    name: str
    executable: str
    box: Box
    ca_bundle: Path | None
    environ: Mapping[str, str]
    box_here: Path | None = None
    """Where this machine has the box's files, when the image is made on another."""

    @property
    def is_podman(self) -> bool:
        """Whether the client is Podman."""
        return self.executable == "podman"

    @property
    def dockerfile(self) -> Path:
        """The recipe, where the box has one."""
        return self.box.build / "Dockerfile"

    @property
    def work_directory(self) -> Path:
        """Where a changed recipe and the settings of this site lie while they are needed."""
        name = file_name_of(str(self.box.root), self.executable, self.name)
        return cache_directory(self.environ) / "builds" / name

    @property
    def stamp(self) -> Path:
        """Says from what state of ``build/`` the image was built last."""
        return self.work_directory.with_suffix(".built-from")

    @property
    def made_from(self) -> Path:
        """The same, of a job."""
        return self.work_directory.with_suffix(SUFFIX)

    def signature(self) -> str:
        """The state of ``build/``: names, sizes and times of change, which are quick to learn."""
        states = []
        for parent, folders, names in os.walk(self.box.build):
            folders.sort()
            for name in sorted(names):
                state = os.lstat(os.path.join(parent, name))
                states.append(ascii((parent, name, state.st_size, state.st_mtime_ns)))
        return "\n".join(states)

    def is_stale(self) -> bool:
        """Whether ``build/`` has changed since we built the image from it."""
        try:
            return self.stamp.read_text() != self.signature()
        except OSError:
            return False

    def commands(self) -> list[Command]:
        """The commands that make the image."""
        if self.is_built():
            return [self.build_command()]
        return [Command(argv=(self.executable, "pull", self.name))]

    def is_built(self) -> bool:
        """Whether the box has a recipe; else the image is pulled."""
        return os.path.isfile(self.dockerfile if self.box_here is None else self.box_here / "build/Dockerfile")

    def build_command(self) -> Command:
        """Build from the recipe; proxies are handed over by name, and never part of the image."""
        argv = [self.executable, "build", "--force-rm", "--tag", self.name]
        if self.is_podman:
            argv += ["--format", "docker"]  # its own has no SHELL, HEALTHCHECK and ONBUILD, and leaves them out
        argv += [word for name in present(PROXY_VARIABLES, self.environ) for word in ("--build-arg", name)]
        if self.ca_bundle is None:
            argv += ["--file", self._one_file(self.dockerfile), str(self.box.build)]
            return Command(argv=tuple(argv))
        work, by = self.work_directory, self.settings_by()
        context = work / "context" if by == "copy" else self.box.build
        if by == "volume":
            argv += ["--volume", f"{work / 'settings'}:{DIRECTORY}:ro"]
        elif by == "secret":
            for name in settings_files(self.ca_bundle, self.environ):
                argv += ["--secret", fields(id=secret_id(name), src=work / "settings" / name)]
        argv += ["--file", self._one_file(work / "Dockerfile"), str(context)]
        added: tuple[tuple[str, str | CallerVariable], ...] = (("DOCKER_BUILDKIT", "1"),) if by == "secret" else ()
        return Command(argv=tuple(argv), added=added)

    def _one_file(self, path: Path) -> str:
        """A path as ``--file`` takes it, which is a list of files for Podman, as a record of CSV."""
        return fields(str(path)) if self.is_podman else str(path)

    def settings_by(self) -> SettingsBy:
        """How this client's builder can be given files that stay out of the image."""
        if self.is_podman:
            return "volume"
        own = Path(self.environ.get("DOCKER_CONFIG") or os.path.join(self.environ.get("HOME", "/"), ".docker"))
        places = (own / "cli-plugins", *map(Path, _PLUGIN_DIRECTORIES))
        if any((place / "docker-buildx").exists() for place in places):
            return "secret"
        _, said = capture(Command(argv=(self.executable, "--version")))
        found = re.search(rb"version (\d+)\.", said)
        # Until version 22 the client has BuildKit built in; from 23 on it needs the plugin.
        return "secret" if found and 18 < int(found.group(1)) < 23 else "copy"

    @property
    def lock(self) -> Path:
        """Locked while somebody makes this image, for whatever box."""
        key = file_name_of(self.executable, self.name, self.environ.get("DOCKER_HOST", ""))
        return cache_directory(self.environ) / "locks" / f"image-{key}"

    def ensure(self, observer: Observer) -> None:
        """Build or pull; raises :class:`PreparationError` or :class:`UnavailableError`."""
        try:
            with once(
                self.lock, lambda: observer.preparing(f"waiting: another run prepares the image {self.name}")
            ) as held:
                if not held.done_meanwhile:
                    if self.is_built():
                        self._build(observer)
                    else:
                        self._pull(observer)
                    held.done()
        finally:
            observer.prepared()

    def _build(self, observer: Observer) -> None:
        import shutil

        built_from = self.signature()  # before: what changes meanwhile is not part of the image
        try:
            if self.ca_bundle is not None:
                self._write_settings(self.ca_bundle, observer)
            observer.preparing(f"building the image {self.name} with {self.executable} from build/Dockerfile")
            status, said = run_step(self.build_command(), observer)
            if status == 0:
                self.stamp.parent.mkdir(parents=True, exist_ok=True)
                self.stamp.write_text(built_from)
        except OSError as error:
            raise CannotCreateError(f"cannot write to {str(self.work_directory)!r}: {error.strerror}") from error
        finally:
            shutil.rmtree(self.work_directory, ignore_errors=True)
        if status != 0:
            self.fail("build", said)

    def _write_settings(self, ca_bundle: Path, observer: Observer) -> None:
        """Write what the changed build needs, readable by us alone."""
        import shutil

        work, by = self.work_directory, self.settings_by()
        files = settings_files(ca_bundle, self.environ)
        check_mountable(work)
        shutil.rmtree(work, ignore_errors=True)
        settings = work / "settings"
        if by == "copy":
            if holds_password(files):
                raise PreparationError(
                    "this Docker would leave the password of your package index in the image",
                    hint="install its plugin 'buildx', which keeps secrets out of images",
                )
            observer.preparing("this Docker has no BuildKit: the certificates will be part of the image")
            shutil.copytree(self.box.build, work / "context", symlinks=True)
            ignored = work / "context" / ".dockerignore"
            if ignored.is_file():
                ignored.write_text(f"{ignored.read_text()}\n!{SETTINGS_CONTEXT}\n")
            settings = work / "context" / SETTINGS_CONTEXT
        work.mkdir(parents=True, exist_ok=True)
        work.chmod(0o700)
        write_settings(settings, files)
        ignored = self.box.build / "Dockerfile.dockerignore"
        if ignored.is_file():
            shutil.copyfile(ignored, work / ignored.name)
        text = self.dockerfile.read_text("utf-8-sig")
        (work / "Dockerfile").write_text(with_settings(text, by, settings_variables(files), files), "utf-8")

    def _pull(self, observer: Observer) -> None:
        observer.preparing(f"pulling the image {self.name} with {self.executable}")
        (command,) = self.commands()
        status, said = run_step(command, observer)
        if status == 0:
            return
        completed, _ = capture(Command(argv=(self.executable, "image", "inspect", self.name)))
        if completed.exit_status == 0:
            observer.preparing(f"the image {self.name} cannot be pulled; the one that is here is used")
            return
        self.fail("pull", said)

    def is_missing(self, said: str) -> bool:
        """Whether the engine says that it does not have the image."""
        return bool(re.search(_MISSING, said))

    def fail(self, action: str, said: str) -> NoReturn:
        """Raise with what the engine said and what it means."""
        failure = explained(said, self.failures())
        error = PreparationError if failure in (None, CERTIFICATES) else UnavailableError
        message, hint = explanation(f"{self.executable} cannot {action} the image {self.name!r}", said, failure)
        raise error(message, hint=hint)

    def failures(self) -> tuple[Failure, ...]:
        """What this engine may say, and what it means."""
        return failures_of(self.executable)


def cannot_start(executable: str) -> Problem:
    """The client is not on this machine."""
    package = "Podman (podman.io)" if executable == "podman" else "Docker (docs.docker.com/engine/install)"
    return Problem(
        code="no-engine",
        message=f"there is no program {executable!r} on this machine",
        hint=f"install {package}, or use another platform; 'mlbox doctor' shows what is here",
        exit_status=EX_UNAVAILABLE,
    )
