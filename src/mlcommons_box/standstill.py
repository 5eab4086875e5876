"""What was found up to date, and looks the same still, so that thousands of runs are checked in a moment.

When every run of a selection is up to date, the state of all files that decide it is kept in the user's cache:
the run configurations, ``build/``, every input and output, and the records themselves.  While each of them has the
same times, size and inode, nothing can have changed.  A file that changed a moment before could change once more
within one tick of the clock, and look the same: its digest is kept too, and compared.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from mlcommons_box.cache import file_name_of, keep, read_kept, state_of_our_modules
from mlcommons_box.definition.places import RUN_DIRECTORY
from mlcommons_box.errors import BoxError, Interrupted
from mlcommons_box.file_state import Entry, latest_settled
from mlcommons_box.fingerprint import digests_of, look
from mlcommons_box.planning import RunPlan, SetupPlan
from mlcommons_box.run_store import FILE
from mlcommons_box.runners.interface import Identifiable, Runner
from mlcommons_box.value import Value

DIRECTORY = "standstill"
"""Where in the user's cache the files are."""
_SOON = 128 << 20
"""Bytes; so much is hashed in a tenth of a second."""

Place = tuple[str, tuple[str, ...], list[Entry], dict[str, bytes]]
"""A path, what in it does not count, the state of all else, and the digests of what had changed a moment before."""


class Picture(Value):
    """How things stood at a moment."""

    places: tuple[Place, ...]
    image: str


class Standstill:
    """Whether a selection of runs, asked for by ``question``, stands as it stood.

    ``files`` decide it, too: run configurations elsewhere, and the platforms that another hands over to.
    """

    def __init__(
        self, cache: Path, setup: SetupPlan, runner: Runner, question: Sequence[object], files: Sequence[Path] = ()
    ) -> None:
        self.setup = setup
        self.runner = runner
        self.files = tuple(map(str, files))
        asked = repr(setup), repr((*question, self.files))
        self.header = (*state_of_our_modules("", "definition", "runners"), *asked)
        self.file = cache / DIRECTORY / file_name_of(*asked)

    def runs(self) -> list[tuple[str, str]] | None:
        """The runs of the selection and why each is up to date, if all are still; None when that is not known.

        The engine is asked for the image only when all else is the same.
        """
        try:
            runs, places, image = read_kept(self.file, self.header)
            now = time.time_ns()
            if all(_looks_the_same(place) for place in places) and self._image() == image:
                if any(digests for *_, digests in places):
                    self.keep(Picture(places=tuple(_settled(places, now)), image=image), runs)
                return list(runs)
        except Interrupted:
            raise
        except Exception:  # whatever may be in a file of the cache
            return None
        return None

    def picture(self, plans: Iterable[RunPlan]) -> Picture | None:
        """How things stand now; None when some of it is not there, or it would take long to see.

        Next to large files that were just made, to look at all of them again saves nothing.
        """
        from mlcommons_box.parameter_content import code_and_inputs, without

        wanted: dict[tuple[str, tuple[str, ...]], None] = {
            (str(self.setup.workspace / FILE), ()): None,
            (str(self.setup.box.root / RUN_DIRECTORY), ()): None,
            **dict.fromkeys((file, ()) for file in self.files),
        }
        for plan in plans:
            for parameter in (*code_and_inputs(plan), *plan.outputs):
                others = plan.outputs if parameter.direction == "input" else plan.inputs
                wanted[str(parameter.path), tuple(sorted(without(parameter, others)))] = None
        now = time.time_ns()
        places: list[Place] = []
        size = 0
        try:
            for path, left_out in wanted:
                entries = look(path, left_out)
                young = _young(entries, now)
                size += sum(state[2] for _, _, state in young)
                if not entries or size > _SOON:
                    return None
                places.append((path, left_out, entries, digests_of(Path(path), young) if young else {}))
            return Picture(places=tuple(places), image=self._image())
        except Interrupted:
            raise
        except (BoxError, OSError):
            return None

    def keep(self, picture: Picture, runs: Iterable[tuple[str, str]]) -> None:
        """Remember how things stood, because all runs have been seen to be up to date since, and why each is."""
        keep(self.file, self.header, (tuple(runs), picture.places, picture.image))

    def _image(self) -> str:
        return repr(self.runner.identity(self.setup).image) if isinstance(self.runner, Identifiable) else ""


def _looks_the_same(place: Place) -> bool:
    path, left_out, entries, digests = place
    if look(path, left_out) != entries:
        return False
    return not digests or digests_of(Path(path), [each for each in entries if each[0] in digests]) == digests


def _settled(places: Iterable[Place], now: int) -> Iterable[Place]:
    """The same without the digests of what can no longer change unseen."""
    for path, left_out, entries, digests in places:
        yield path, left_out, entries, {name: digests[name] for name, _, _ in _young(entries, now)}


def _young(entries: Iterable[Entry], now: int) -> list[Entry]:
    """The files and links that could change at the time ``now``, in nanoseconds, and look the same."""
    latest = latest_settled(now)
    return [each for each in entries if each[1] != "directory" and max(each[2][:2]) > latest]
