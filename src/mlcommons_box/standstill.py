"""What was found up to date, and looks the same still, so that thousands of runs are checked in a moment.

When every run of a selection was up to date, the state of all files that decided it is kept in the user's cache:
the run configurations, ``build/``, every input and output, and the records themselves.  While each of them has the
same times, size and inode, nothing can have changed.  Files that changed a moment ago are not kept: they could
change once more within one tick of the clock, and look the same.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from mlcommons_box.cache import file_name_of, keep, read_kept
from mlcommons_box.definition.places import RUN_DIRECTORY
from mlcommons_box.definition.remembered import SETTLED
from mlcommons_box.errors import BoxError
from mlcommons_box.fingerprint import Entry, look
from mlcommons_box.planning import RunPlan, SetupPlan
from mlcommons_box.run_store import FILE
from mlcommons_box.runners.interface import Identifiable, Runner

DIRECTORY = "standstill"
"""Where in the user's cache the files are."""


class Standstill:
    """Whether a selection of runs, asked for by ``question``, stands as it stood."""

    def __init__(self, cache: Path, setup: SetupPlan, runner: Runner, question: Sequence[object]) -> None:
        self.setup = setup
        self.runner = runner
        self.header = (_own_state(), repr(setup), repr(question))
        self.file = cache / DIRECTORY / file_name_of(*self.header[1:])

    def runs(self) -> list[str] | None:
        """The runs of the selection, if all are up to date still; None when that is not known.

        The engine is asked for the image only when all else is the same.
        """
        with suppress(Exception):
            names, states, image = read_kept(self.file, self.header)
            if all(_state(path, left_out) == state for path, left_out, state in states) and self._image() == image:
                return list(names)
        return None

    def keep(self, plans: Iterable[RunPlan]) -> None:
        """Remember that all of them are up to date."""
        from mlcommons_box.parameter_content import code_and_inputs, without

        names = []
        places: dict[tuple[str, tuple[str, ...]], None] = {
            (str(self.setup.box.root / RUN_DIRECTORY), ()): None,
            (str(self.setup.workspace / FILE), ()): None,
        }
        for plan in plans:
            names.append(plan.run)
            for parameter in (*code_and_inputs(plan), *plan.outputs):
                others = plan.outputs if parameter.direction == "input" else plan.inputs
                places[str(parameter.path), tuple(sorted(without(parameter, others)))] = None
        settled = time.time_ns() - SETTLED
        states = []
        for path, left_out in places:
            try:
                state = _state(path, left_out)
            except (BoxError, OSError):
                return
            if not state or any(max(each[2][:2]) > settled for each in state):
                return
            states.append((path, left_out, state))
        with suppress(BoxError, OSError):
            keep(self.file, self.header, (names, states, self._image()))

    def _image(self) -> str:
        return repr(self.runner.identity(self.setup).image) if isinstance(self.runner, Identifiable) else ""


def _state(path: str, left_out: Sequence[str]) -> list[Entry]:
    return look(path, left_out)


def _own_state() -> tuple[object, ...]:
    """The state of our own modules: those of a checkout change, and its version does not."""
    here = os.path.dirname(__file__)
    return tuple(
        (name, os.stat(os.path.join(here, name)).st_mtime_ns)
        for name in sorted(os.listdir(here))
        if name.endswith(".py")
    )
