"""What a run used and made, so that its record can prove it: hashes, the commit, the image, the machine.

Small files are hashed before the run starts.  All else is found out while it runs, in a thread beside it, so that
nobody waits.  What was changed while the run read it is no evidence, and the record says so.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from typing import Any

from mlcommons_box.errors import BoxError
from mlcommons_box.file_state import Entry, State
from mlcommons_box.fingerprint import MISSING, Content, Fingerprint, Memory, content, look
from mlcommons_box.hashing import FEW
from mlcommons_box.parameter_content import CODE, code_and_inputs, memory_of_this_user, without
from mlcommons_box.planning import BoundParameter, RunPlan
from mlcommons_box.run_store import RunStore
from mlcommons_box.runners.interface import Runner
from mlcommons_box.value import as_data

_ANY: State = (0, 0, 0, 0, 0)


class Evidence:
    """Gathers what there is to know of one run."""

    def __init__(self, plan: RunPlan, runner: Runner, store: RunStore) -> None:
        self.plan = plan
        self.runner = runner
        self.store = store
        memory = memory_of_this_user()
        self.watched = {each.name: Watched(each, plan.outputs, memory) for each in code_and_inputs(plan)}
        self.found: dict[str, Any] = {}
        self.doubt: str | None = None
        self._thread: threading.Thread | None = None
        self._started_at: int | None = None

    def before(self) -> None:
        """Hash what is small."""
        for each in self.watched.values():
            each.before()

    def starts(self) -> None:
        """The record is written and the run is about to start: what changes from now on is not what it reads."""
        self._started_at = _clock(self.store)

    def begin(self) -> None:
        """The run has started: find out the rest beside it; once more when it had to be prepared first."""
        if self._thread is not None:
            self._thread.join()
            self.doubt = None
        self._thread = threading.Thread(target=self._look, args=(self._started_at or 0,), daemon=True)
        self._thread.start()

    def _look(self, started_at: int) -> None:
        for each in self.watched.values():
            each.during(started_at)
        try:
            from mlcommons_box.findings import surroundings

            surroundings(self.plan, self.runner, self.watched[CODE].fingerprint, self.found)
        except (BoxError, OSError, ValueError) as error:
            self.doubt = getattr(error, "message", str(error))

    def at_start(self) -> dict[str, Any]:
        """What is known of a run that has started."""
        from mlcommons_box.findings import definition_digest, first, image_reference
        from mlcommons_box.tree_store import tree_store

        if self._thread is not None:
            self._thread.join()
        trees, digests = tree_store(self.plan.workspace), {}
        for name, each in self.watched.items():
            if each.content is not None:
                trees.keep(each.content)
                digests[name] = as_data(each.fingerprint)
        doubts = [self.doubt, *(each.doubt for each in self.watched.values())]
        doubts += [f"{each.name!r} is not on this machine" for each in self.plan.parameters if each.elsewhere]
        code = {"definition": definition_digest(self.plan.task), "build": digests.pop(CODE, {})}
        if self.found.get("git"):
            code["git"] = self.found["git"]
        return {
            "code": code,
            "inputs": digests,
            "image": {**image_reference(self.plan), **self.found.get("image", {})},
            "engine": self.found.get("engine", {}),
            "machine": self.found.get("machine", {}),
            "hyperparameters": self.found.get("hyperparameters", {}),
            "unproved": first(doubts),
        }

    def at_end(self) -> dict[str, Any]:
        """All that is known of a run that has ended."""
        from mlcommons_box.findings import doubt_of_image, first, results
        from mlcommons_box.tree_store import tree_store

        known = self.at_start()
        for each in self.watched.values():
            each.after()
        since = time.time_ns() if self._started_at is None else self._started_at
        made = results(self.plan.parameters, tree_store(self.plan.workspace), self.store.path(self.plan.id), since)
        image = {**known["image"], **made.get("image", {})}
        doubts = [known["unproved"], *(each.doubt for each in self.watched.values()), made["unproved"]]
        doubts.append(doubt_of_image(image, known["code"]))
        return {**known, **made, "image": image, "unproved": first(doubts)}


class Watched:
    """A path that a run reads, and whether it has stayed the same meanwhile."""

    def __init__(self, parameter: BoundParameter, others: Sequence[BoundParameter], memory: Memory) -> None:
        self.path = parameter.path
        self.name = CODE if parameter.name == CODE else f"the input {parameter.name!r}"
        self.without = without(parameter, others)
        self.memory = memory
        self.content: Content | None = None
        self.fingerprint: Fingerprint = MISSING
        self.doubt: str | None = None

    def before(self) -> None:
        """Hash it if it is small; to look at more takes too long already."""
        try:
            if os.path.isdir(self.path) and len(os.listdir(self.path)) > FEW:
                return
            found = content(self.path, self.memory, self.without)
            if found.is_small:
                self._hash(found)
        except (BoxError, OSError) as error:
            self.doubt = getattr(error, "message", str(error))

    def during(self, started_at: int) -> None:
        """Hash it, if that is not done; what has changed since the start is not what the run has read."""
        if self.content is not None or self.doubt:
            return
        try:
            found = content(self.path, self.memory, self.without)
            if any(max(state[:2]) >= started_at for _, _, state in self._of_the_input(found.entries)):
                self.doubt = f"{self.name} was changed as the run started"
            self._hash(found)
        except BoxError as error:
            self.doubt = error.message

    def after(self) -> None:
        """See whether it is still the same."""
        try:
            if self.content is None:
                return
            now = self._of_the_input(look(self.path, self.without))
            if self._of_the_input(self.content.entries) != now:
                self.doubt = f"{self.name} was changed while the run read it"
        except BoxError as error:
            self.doubt = error.message

    def _of_the_input(self, entries: list[Entry]) -> list[Entry]:
        """What is there, but for the times of directories in which the run makes something of its own."""
        used = {name.rpartition("/")[0] for name in self.without if os.path.lexists(self.path / name)}
        return [
            (name, kind, _ANY if kind == "directory" and name in used else state) for name, kind, state in entries
        ]

    def _hash(self, found: Content) -> None:
        self.fingerprint = found.whole
        self.content = found


def _clock(store: RunStore) -> int:
    """The time of the workspace's file system when the record was written, in nanoseconds."""
    try:
        return store.journal.file.stat().st_mtime_ns
    except OSError:
        return 0
