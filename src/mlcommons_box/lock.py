"""``mlbox.lock``: the images and packages that a box is to run with, and nothing else.

It is written by ``mlbox lock``, lies beside ``mlbox.yaml``, and is meant to be committed.  It has, for each
platform by its name, the image with its id and digests, or the Python and the packages of an environment.  A run
that would use anything else is refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mlcommons_box.differences import Difference, changes_of_values
from mlcommons_box.errors import CannotCreateError, ConfigurationError
from mlcommons_box.journal import open_regular
from mlcommons_box.planning import RunPlan, SetupPlan
from mlcommons_box.runners.interface import Identifiable, Runner

FILE = "mlbox.lock"
SCHEMA_VERSION = 1
_LARGEST = 1 << 24
_SHOWN = 5


def read_lock(root: Path) -> dict[str, Any] | None:
    """What is locked, by the names of platforms; None for a box without a lock.

    Raises :class:`ConfigurationError` for a file that is none.
    """
    file = root / FILE
    try:
        with os.fdopen(open_regular(file, os.O_RDONLY), "rb") as stream:
            content = json.loads(stream.read(_LARGEST))
        if content["schema_version"] != SCHEMA_VERSION:
            raise ValueError(f"its schema_version is {content['schema_version']!r}, not {SCHEMA_VERSION}")
        for name, each in content["platforms"].items():
            _check(name, each)
        return dict(content["platforms"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ConfigurationError(
            f"cannot read the lock {str(file)!r}: {error}", hint="'mlbox lock' writes it anew"
        ) from error


def _check(name: str, image: Any) -> None:
    """Raise :class:`ValueError` for what cannot be a locked image: anybody may edit the file."""
    if not isinstance(image, dict):
        raise ValueError(f"its platform {name!r} is no object")
    kinds = {"id": str, "python": str, "packages": dict, "digests": list}
    wrong = [key for key, kind in kinds.items() if key in image and not isinstance(image[key], kind)]
    if wrong or not all(isinstance(digest, str) for digest in image.get("digests", ())):
        raise ValueError(f"its platform {name!r} has something odd as {(wrong or ['digests'])[0]!r}")


def write_lock(root: Path, platforms: Mapping[str, Any]) -> Path:
    """Write what is locked, in one step.  Raises :class:`CannotCreateError`."""
    file = root / FILE
    partial = file.with_name(f".{FILE}.{os.getpid()}")
    content = {"schema_version": SCHEMA_VERSION, "platforms": dict(sorted(platforms.items()))}
    try:
        partial.write_text(json.dumps(content, indent=2) + "\n", "ascii")
        partial.replace(file)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise CannotCreateError(f"cannot write {str(file)!r}: {error.strerror}") from error
    return file


def locked_image(image: Mapping[str, Any]) -> dict[str, Any]:
    """What of an image is locked."""
    return {key: image[key] for key in ("id", "digests", "python", "packages") if key in image}


def drift(locked: Mapping[str, Any], image: Mapping[str, Any]) -> list[Difference]:
    """What differs between a locked image and another; nothing when one of the locked digests is its own."""
    digests = set(locked.get("digests") or ())
    if digests & set(image.get("digests") or ()) or (locked.get("id") and locked.get("id") == image.get("id")):
        return []
    return list(changes_of_values("image", _flat(locked), _flat(image)))


def refuse_drift(plan: RunPlan, runner: Runner, prepare: Callable[[], None]) -> None:
    """Raise :class:`ConfigurationError` if the run would use anything but what is locked.

    ``prepare`` is called when what it would use is not there yet.
    """
    platforms = read_lock(plan.box.root)
    locked = None if platforms is None else platforms.get(plan.platform.name)
    if locked is None or not isinstance(runner, Identifiable):
        return
    changes = drift(locked, image_in_use(plan, runner, prepare))
    if changes:
        shown = "\n".join(f"  {each.name}: {each.says}" for each in changes[:_SHOWN])
        more = f"\n  and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else ""
        raise ConfigurationError(
            f"the platform {plan.platform.name!r} is not what {FILE} says\n{shown}{more}",
            hint="bring back what is locked, or accept what is here with 'mlbox lock'",
        )


def image_in_use(plan: SetupPlan, runner: Identifiable, prepare: Callable[[], None]) -> Mapping[str, Any]:
    """What a platform would run a task in now; ``prepare`` is called when that is not there yet."""
    image = _image(plan, runner)
    if not image:
        prepare()
        image = _image(plan, runner)
    return image


def _image(plan: SetupPlan, runner: Identifiable) -> Mapping[str, Any]:
    try:
        return runner.identity(plan).image
    except OSError:  # an environment that is not there yet
        return {}


def _flat(image: Mapping[str, Any]) -> dict[str, Any]:
    packages = image.get("packages")
    named = {f"package {name}": version for name, version in packages.items()} if isinstance(packages, dict) else {}
    return {**{key: image[key] for key in ("id", "python") if key in image}, **named}
