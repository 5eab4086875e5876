"""All that is wrong with the files of a box, in the order of their lines."""

from __future__ import annotations

from mlcommons_box.errors import EX_DEFINITION, Location, Problem

MAX_PROBLEMS = 100


class Problems(list[Problem]):
    """Collects problems; the first :data:`MAX_PROBLEMS` are enough to read."""

    @property
    def full(self) -> bool:
        """Whether further problems are not kept, so that looking for them is of no use."""
        return len(self) > MAX_PROBLEMS

    def report(
        self,
        code: str,
        message: str,
        location: Location | None,
        *,
        hint: str | None = None,
        exit_status: int = EX_DEFINITION,
    ) -> None:
        """Add one problem."""
        if len(self) < MAX_PROBLEMS:
            self.append(Problem(code=code, message=message, location=location, hint=hint, exit_status=exit_status))
        elif not self.full:
            file = location and Location(file=location.file)
            self.append(Problem(code="too-many", message="too many problems; the rest is not shown", location=file))
