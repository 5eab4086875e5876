"""The image file of a Singularity platform: built from a recipe, converted from a Docker image, or as it is.

It is written beside its final name and renamed, so that a file of that name is always a whole image.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from mlcommons_box.cache import cache_directory, file_name_of
from mlcommons_box.command import CallerVariable, Command
from mlcommons_box.definition.places import PLATFORM_DIRECTORY, yaml_files
from mlcommons_box.errors import CannotCreateError, PreparationError
from mlcommons_box.model import Box, DockerOptions
from mlcommons_box.process import capture
from mlcommons_box.runners.engine_failures import SINGULARITY_FAILURES
from mlcommons_box.runners.failures import explained, explanation
from mlcommons_box.runners.interface import Observer
from mlcommons_box.runners.made_from import SUFFIX
from mlcommons_box.runners.once import check_mountable, once
from mlcommons_box.runners.preparation import run_step
from mlcommons_box.runners.programs import which
from mlcommons_box.runners.site_settings import (
    DIRECTORY,
    PROXY_VARIABLES,
    present,
    settings_files,
    settings_variables,
    write_settings,
)
from mlcommons_box.value import Value

_VARIABLE = r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))"
_SOURCE = r"(?:docker|docker-daemon|oras|library|shub|https?)://.+|docker-daemon:.+"


class SingularityImage(Value):
    """An image file, and the program that makes it; ``written`` is what the platform file says."""

    written: str
    executable: str
    box: Box
    workspace: Path
    ca_bundle: Path | None
    environ: Mapping[str, str]
    box_here: Path | None = None
    """Where this machine has the box's files, when the image is made on another."""

    @property
    def source(self) -> str | None:
        """The address of an image somewhere else, where the platform names one in place of a file."""
        expanded = self._expanded()
        return expanded if re.fullmatch(_SOURCE, expanded) else None

    @property
    def path(self) -> Path:
        """The image file: variables expanded, relative to the workspace."""
        if self.source:
            return cache_directory(self.environ) / "images" / f"{file_name_of(self.source)}.sif"
        return Path(os.path.normpath(self.workspace / self._expanded()))

    def _expanded(self) -> str:
        def value(matched: re.Match[str]) -> str:
            name = matched.group(1) or matched.group(2)
            return str(self.workspace) if name == "WORKSPACE" else self.environ.get(name, matched.group())

        return re.sub(_VARIABLE, value, self.written)

    def undefined_variables(self) -> list[str]:
        """The variables in the path that are not set."""
        names = [matched.group(1) or matched.group(2) for matched in re.finditer(_VARIABLE, self.written)]
        return [name for name in dict.fromkeys(names) if name != "WORKSPACE" and name not in self.environ]

    @property
    def recipe(self) -> Path:
        """The recipe, where the box has one."""
        return self.box.build / "Singularity.recipe"

    @property
    def partial(self) -> Path:
        """Where the image is written."""
        return self.path.with_name(f".{self.path.name}.partial")

    @property
    def note(self) -> Path:
        """Says from what we built the image: a file that is not there for an image that somebody else made."""
        return cache_directory(self.environ) / "images" / f"{file_name_of(str(self.path))}.built-from"

    @property
    def made_from(self) -> Path:
        """The same, of a job."""
        return self.note.with_suffix(SUFFIX)

    @property
    def work_directory(self) -> Path:
        """Where a changed recipe and the settings of this site lie while they are needed."""
        return cache_directory(self.environ) / "builds" / file_name_of(str(self.path), str(self.box.root))

    def is_ours(self) -> bool:
        """Whether we built the file that is there."""
        return self._noted() is not None

    def is_within_reach(self) -> bool:
        """Whether the file is there, or could be made."""
        if self.undefined_variables():
            return False
        if self.path.exists():
            return True
        there = next(parent for parent in self.path.parents if parent.exists())
        return os.access(there, os.W_OK | os.X_OK)

    def is_built(self) -> bool:
        """Whether it is made from the box's recipe."""
        recipe_here = self.recipe if self.box_here is None else self.box_here / "build/Singularity.recipe"
        return not self.source and recipe_here.is_file()

    def commands(self) -> list[Command]:
        """The command that makes the image."""
        return [self.build_command()]

    def build_command(self) -> Command:
        """Build from the recipe, or convert an image."""
        argv = [self.executable, "build", "--force"]
        if not self.is_built():
            return Command(argv=(*argv, str(self.partial), self.source or self.docker_source()))
        argv.append("--fakeroot")
        prefix = variable_prefix(self.executable)
        variables: dict[str, str | CallerVariable] = {
            f"{prefix}{name}": CallerVariable(name=name) for name in present(PROXY_VARIABLES, self.environ)
        }
        recipe = self.recipe
        if self.ca_bundle is not None:
            recipe = self.work_directory / "Singularity.recipe"
            argv += ["--bind", f"{self.work_directory / 'settings'}:{DIRECTORY}:ro"]
            files = settings_files(self.ca_bundle, self.environ)
            variables |= {f"{prefix}{name}": value for name, value in settings_variables(files).items()}
        argv += [str(self.partial), str(recipe)]
        return Command(argv=tuple(argv), directory=self.box.build, added=tuple(variables.items()))

    def docker_source(self) -> str:
        """The box's Docker image, from the daemon of this machine where it has it, else from its registry.

        Raises :class:`PreparationError` when the box has none.
        """
        from mlcommons_box.definition.platforms import read_platform
        from mlcommons_box.definition.problems import Problems

        for file in yaml_files((self.box_here or self.box.root) / PLATFORM_DIRECTORY):
            platform = read_platform(file, Problems())
            if platform and isinstance(platform.options, DockerOptions):
                return f"docker://{platform.options.image}"
        raise PreparationError(
            f"there is no image {str(self.path)!r}, and nothing to make it from",
            hint="add build/Singularity.recipe or a Docker platform to the box, or put the image there",
        )

    @property
    def lock(self) -> Path:
        """Locked while somebody makes this image."""
        return cache_directory(self.environ) / "locks" / f"image-{file_name_of(str(self.path))}"

    def ensure(self, observer: Observer) -> None:
        """Make the image, unless it is there and what it was made from has not changed."""
        if self.path.exists() and not self.is_stale():
            return
        try:
            with once(
                self.lock, lambda: observer.preparing(f"waiting: another run makes {self.path.name}")
            ) as held:
                if not (held.done_meanwhile and self.path.exists()):
                    self._make(observer)
                    held.done()
        finally:
            observer.prepared()

    def was_made_before_a_change(self) -> bool:
        """Whether ``build/`` has changed since we made the image; its contents are read only if a file is newer."""
        if self.source or not self.is_ours() or not self.recipe.is_file():
            return False
        made = self.path.stat().st_mtime_ns
        files = (Path(parent, name) for parent, _, names in os.walk(self.box.build) for name in names)
        return any(file.lstat().st_mtime_ns > made for file in files) and self.is_stale()

    def is_stale(self) -> bool:
        """Whether we built the image, from something else than is there now."""
        noted = self._noted()
        try:
            return noted is not None and noted != self.content_digest()
        except PreparationError:  # there is nothing any more to make it from
            return False

    def _noted(self) -> str | None:
        """The digest of what we built the image from; None for an image that somebody else put there."""
        try:
            digest, _, identity = self.note.read_text().partition("\n")
            return digest if identity == self._identity() else None
        except OSError:
            return None

    def _identity(self) -> str:
        """What tells the image that is there from one that takes its place."""
        state = self.path.stat()
        return f"{state.st_size} {state.st_mtime_ns}"

    def content_digest(self) -> str:
        """What the image is made from: the recipe and all of ``build/``, or the name of another image."""
        import hashlib

        digest = hashlib.sha256()
        for part in self._content():
            digest.update(part + b"\0")
        return digest.hexdigest()

    def _content(self) -> Iterator[bytes]:
        if self.source or not self.recipe.is_file():
            yield (self.source or self.docker_source()).encode()
            return
        for parent, folders, names in os.walk(self.box.build):
            folders.sort()
            for name in sorted(names):
                file = Path(parent, name)
                if file.is_file():
                    yield os.fsencode(file.relative_to(self.box.build))
                    yield file.read_bytes()

    def _make(self, observer: Observer) -> None:
        import shutil

        digest = self.content_digest()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.ca_bundle is not None and self.recipe.is_file():
                self._write_settings(self.ca_bundle)
            self._build(observer)
            self.partial.replace(self.path)
            self.note.parent.mkdir(parents=True, exist_ok=True)
            self.note.write_text(f"{digest}\n{self._identity()}")
        except OSError as error:
            raise CannotCreateError(
                f"cannot create the image {str(self.path)!r}: {error.strerror}",
                hint="name another 'image' in the platform file; a relative path is relative to the workspace",
            ) from error
        finally:
            with suppress(OSError):
                self.partial.unlink()
            shutil.rmtree(self.work_directory, ignore_errors=True)

    def _build(self, observer: Observer) -> None:
        command = self._from_daemon() or self.build_command()
        what = command.argv[-1] if "--fakeroot" not in command.argv else "build/Singularity.recipe"
        observer.preparing(f"making the image {self.path.name} with {self.executable} from {what}")
        status, said = run_step(command, observer, mark=os.urandom(8).hex())
        if status != 0:
            action = f"{self.executable} cannot make the image {str(self.path)!r}"
            message, hint = explanation(action, said, explained(said, SINGULARITY_FAILURES))
            raise PreparationError(message, hint=hint)

    def _from_daemon(self) -> Command | None:
        """Convert the Docker image that this machine's daemon has, which need not be in any registry."""
        command = self.build_command()
        address = command.argv[-1]
        if not address.startswith("docker://") or self.source or which("docker", self.environ) is None:
            return None
        name = address.removeprefix("docker://")
        completed, _ = capture(Command(argv=("docker", "image", "inspect", name)))
        if completed.exit_status != 0:
            return None
        return Command(argv=(*command.argv[:-1], f"docker-daemon:{name}"))

    def _write_settings(self, ca_bundle: Path) -> None:
        """Write the settings, and a recipe that makes the place where they are seen during the build."""
        import shutil

        work = self.work_directory
        check_mountable(work)
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        work.chmod(0o700)
        write_settings(work / "settings", settings_files(ca_bundle, self.environ))
        text = self.recipe.read_text("utf-8")
        place = f'\n\n%setup\n    mkdir -p "${{APPTAINER_ROOTFS:-$SINGULARITY_ROOTFS}}{DIRECTORY}"\n'
        (work / "Singularity.recipe").write_text(text.rstrip("\n") + place, "utf-8")


def variable_prefix(executable: str) -> str:
    """What a variable's name begins with for the engine to hand it to the task."""
    return "APPTAINERENV_" if executable == "apptainer" else "SINGULARITYENV_"
