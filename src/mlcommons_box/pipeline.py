"""Orders runs by the data that joins them: what one writes, another reads.

Runs are never compared with one another: every path is looked for by the directories on its way, and runs that read
the same path wait for it together.  So the time that it takes grows with the number of runs, not with its square.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from mlcommons_box.errors import EX_CONFIGURATION, Problem, ProblemsError
from mlcommons_box.planning import BoundParameter, RunPlan

_SHOWN = 12
"""Steps of a circle, and names of runs, that a message shows."""


Place: TypeAlias = str
"""Where data is: a path of this host, or, after its name and a NUL, of a volume claim; the root is empty."""


class PlaceIndex:
    """Finds those of some places that are, or hold, a place; each directory on its way is looked up once."""

    def __init__(self, places: Iterable[Place]) -> None:
        self._places = frozenset(places)
        self._found: dict[Place, tuple[Place, ...]] = {}

    def holding(self, place: Place) -> tuple[Place, ...]:
        """Those that are the place or hold it, the outermost first."""
        directory, slash, _ = place.rpartition("/")
        above = self._found.get(directory) if slash else ()
        if above is None:
            above = self._above(directory)
        return (*above, place) if place in self._places else above

    def _above(self, directory: Place) -> tuple[Place, ...]:
        """The same for a directory, and for all that are on the way to it."""
        way = []
        slash = "/"
        while slash and directory not in self._found:
            way.append(directory)
            directory, slash, _ = directory.rpartition("/")
        held = self._found[directory] if slash else ()
        for each in reversed(way):
            if each in self._places:
                held = (*held, each)
            self._found[each] = held
        return held


class Join(NamedTuple):
    """Why one run waits for another: what that one writes is, holds or lies in what it reads."""

    writer: int
    reader: int
    written: Place
    wanted: Place


class Pipeline:
    """Runs and the data that joins them.  A run is meant by its number, which is its place in ``plans``.

    ``order`` has every run after those whose outputs it reads; otherwise they are in the given order.
    Raises :class:`ProblemsError` when two runs write the same data, or when runs wait for each other in a circle.
    """

    def __init__(self, plans: Sequence[RunPlan]) -> None:
        self.plans = tuple(plans)
        self._writers: dict[Place, list[int]] = {}
        readers: dict[Place, list[int]] = {}
        for number, plan in enumerate(self.plans):
            for parameter in plan.parameters:
                side = self._writers if parameter.direction == "output" else readers
                runs = side.setdefault(place_of(parameter), [])
                if not runs or runs[-1] != number:
                    runs.append(number)
        self._written = PlaceIndex(self._writers)
        self._refuse_shared_outputs()
        self._sources = self._find_sources(readers)
        self._followers, self._needs = self._join(readers)
        self.order = self._ordered()

    @property
    def ordered(self) -> list[RunPlan]:
        """The plans in the order of the data."""
        return [self.plans[number] for number in self.order]

    def joins(self, reader: int) -> Iterator[Join]:
        """Why a run waits for others, each reason with the run that it waits for."""
        for wanted in dict.fromkeys(map(place_of, self.plans[reader].inputs)):
            for writer, written in self._sources.get(wanted, {}).items():
                if writer != reader:
                    yield Join(writer, reader, written, wanted)

    def is_made(self, reader: int, wanted: BoundParameter) -> bool:
        """Whether another of the runs makes an input of a run, or a part of it."""
        return any(writer != reader for writer in self._sources.get(place_of(wanted), {}))

    def frontier(self) -> Frontier:
        """Which runs can start, at first and as others end."""
        return Frontier(self._followers, self._needs, len(self.plans))

    def _refuse_shared_outputs(self) -> None:
        """Two runs that write the same data would each undo what the other has made."""
        problems = []
        for place, writers in self._writers.items():
            if len(writers) > 1:
                message = f"the runs {self._names(writers)} write {path_of(place)!r}"
                problems.append(self._refusal(writers[1], place, message))
            for outer in self._written.holding(place)[:-1]:
                other = next((each for each in self._writers[outer] if each not in writers), None)
                if other is not None:
                    message = f"the run {self._names(writers)} writes {path_of(place)!r}, which is inside "
                    message += f"{path_of(outer)!r}, and that is written by {self._names([other])}"
                    problems.append(self._refusal(writers[0], place, message))
        if problems:
            raise ProblemsError(problems)

    def _refusal(self, writer: int, place: Place, message: str) -> Problem:
        output = next(each for each in self.plans[writer].outputs if place_of(each) == place)
        return Problem(
            code="shared-output",
            message=message,
            location=output.location,
            hint="bind one of them to another path, or run them by one command each",
            exit_status=EX_CONFIGURATION,
        )

    def _find_sources(self, readers: Mapping[Place, Sequence[int]]) -> dict[Place, dict[int, Place]]:
        """For every place that is read, the runs that write it, around it or in it, each with what it writes."""
        wanted = PlaceIndex(readers)
        sources: dict[Place, dict[int, Place]] = {}
        for place in readers:
            for written in self._written.holding(place):
                sources.setdefault(place, {})[self._writers[written][0]] = written
        for written, writers in self._writers.items():
            for place in wanted.holding(written):
                sources.setdefault(place, {}).setdefault(writers[0], written)
        return sources

    def _join(self, readers: Mapping[Place, Sequence[int]]) -> tuple[list[list[int]], list[int]]:
        """Who follows whom, and how many each waits for; numbers after those of the runs are places that are read.

        A run may write what it reads itself, and does not wait for itself.  Two such runs of one place wait for
        each other, so that no more of them are needed to find the circle.
        """
        count = len(self.plans)
        followers: list[list[int]] = [[] for _ in range(count)]
        for place, sources in self._sources.items():
            own = [run for run in readers[place] if run in sources]
            for run in own[:2]:
                for writer in sources:
                    if writer != run:
                        followers[writer].append(run)
            others = [run for run in readers[place] if run not in sources]
            if others:
                for writer in sources:
                    followers[writer].append(len(followers))
                followers.append(others)
        needs = [0] * len(followers)
        for each in followers:
            for follower in each:
                needs[follower] += 1
        return followers, needs

    def _ordered(self) -> tuple[int, ...]:
        frontier = self.frontier()
        order = []
        while (number := frontier.take()) is not None:
            order.append(number)
            frontier.ended(number)
        if len(order) < len(self.plans):
            raise ProblemsError([self._circle(set(range(len(self.plans))) - set(order))])
        return tuple(order)

    def _circle(self, waiting: set[int]) -> Problem:
        """What is wrong with runs that wait for each other, or for such runs: the steps of one circle."""
        way: dict[int, Join] = {}
        at = min(waiting)
        while at not in way:
            way[at] = next(join for join in self.joins(at) if join.writer in waiting)
            at = way[at].writer
        steps = list(way.values())
        steps = steps[list(way).index(at) :][::-1]  # from each to the one that reads what it writes
        first = min(range(len(steps)), key=lambda number: steps[number].writer)
        steps = steps[first:] + steps[:first]
        lines = [f"these runs wait for each other's outputs: {self._names([step.writer for step in steps])}"]
        lines += [f"  {self._step(step)}" for step in steps[:_SHOWN]]
        if len(steps) > _SHOWN:
            lines.append(f"  and so on, {len(steps)} steps in all")
        return Problem(
            code="cycle",
            message="\n".join(lines),
            hint="name the runs in the order that you want, one command each",
            exit_status=EX_CONFIGURATION,
        )

    def _step(self, join: Join) -> str:
        written, wanted = path_of(join.written), path_of(join.wanted)
        writer, reader = self.plans[join.writer].run, self.plans[join.reader].run
        reads = f"which {reader!r} reads" if written == wanted else f"and {reader!r} reads {wanted!r}"
        return f"{writer!r} writes {written!r}, {reads}"

    def _names(self, numbers: Sequence[int]) -> str:
        names = [repr(self.plans[number].run) for number in numbers[:_SHOWN]]
        more = len(numbers) - len(names)
        if more:
            return f"{', '.join(names)} and {more} more"
        return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


class Frontier:
    """Which runs of a pipeline can start, while others go on, end and fail."""

    def __init__(self, followers: Sequence[Sequence[int]], needs: Sequence[int], count: int) -> None:
        self._followers = followers
        self._needs = list(needs)
        self._count = count
        self._ready = [number for number in range(count) if not needs[number]]

    def take(self) -> int | None:
        """The first run, in the given order, that waits for nothing; None when there is none now."""
        return heapq.heappop(self._ready) if self._ready else None

    def ended(self, number: int) -> None:
        """What a run makes is there."""
        for follower in self._followers[number]:
            self._needs[follower] -= 1
            if self._needs[follower] == 0:
                if follower < self._count:
                    heapq.heappush(self._ready, follower)
                else:
                    self.ended(follower)

    def failed(self, number: int) -> list[int]:
        """What a run makes will not be there; the runs that now can never start, each once, in the given order."""
        stopped = []
        waiting = [number]
        while waiting:
            for follower in self._followers[waiting.pop()]:
                if self._needs[follower] > 0:
                    self._needs[follower] = -1
                    waiting.append(follower)
                    if follower < self._count:
                        stopped.append(follower)
        return sorted(stopped)


def in_data_order(plans: Sequence[RunPlan]) -> list[RunPlan]:
    """The plans, every one after those whose outputs it reads; otherwise in the given order.

    Raises :class:`ProblemsError` when runs write the same data, or wait for each other in a circle.
    """
    return Pipeline(plans).ordered


def place_of(parameter: BoundParameter) -> Place:
    """Where the data of a parameter is."""
    path = str(parameter.path) if parameter.claim is None else f"{parameter.claim}\0{parameter.path}"
    return path.removesuffix("/")


def path_of(place: Place) -> str:
    """The path of a place, for people."""
    return place.rpartition("\0")[2] or "/"
