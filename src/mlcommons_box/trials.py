"""The plans of a sweep's trials: what each reads and writes, before anything starts.

All that belongs to a trial is below ``sweeps/NAME/NUMBER`` of the workspace: a directory for every output, by its
name, and one for its own copy of the file of hyper-parameters.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlcommons_box.definition.places import SWEEP_DIRECTORY
from mlcommons_box.errors import CannotCreateError, ConfigurationError, MissingInputError
from mlcommons_box.model import Box, Platform, RunConfiguration, Sweep
from mlcommons_box.parameter_file import ParameterFile, read_parameter_file
from mlcommons_box.planning import BoundParameter, RunPlan, check_directory_names, new_run_id, plan_run
from mlcommons_box.presence import missing_inputs
from mlcommons_box.sweep import Space, Values, space_of, values_key
from mlcommons_box.value import Value, replace

KIND = "sweep"
"""What the ``group`` of a trial's record says that it is a part of."""


class Trial(Value):
    """One run of a sweep; ``file`` is its own file of hyper-parameters, and ``content`` what belongs in there."""

    number: int
    values: Values
    plan: RunPlan
    file: Path | None = None
    content: str = ""

    def make_ready(self) -> None:
        """Write the file of hyper-parameters, and remove what an earlier run of the trial has left.

        Otherwise its metrics could be taken for those of this one.  Raises :class:`CannotCreateError`.
        """
        try:
            for output in self.plan.outputs:
                if not output.elsewhere and os.path.lexists(output.path):
                    if output.path.is_dir() and not output.path.is_symlink():
                        shutil.rmtree(output.path)
                    else:
                        output.path.unlink()
            if self.file is not None:
                self.file.parent.mkdir(parents=True, exist_ok=True)
                self.file.write_bytes(self.content.encode("utf-8"))
        except OSError as error:
            place = str(error.filename or self.file)
            raise CannotCreateError(f"cannot make trial {self.number} ready: {place}: {error.strerror}") from error


class TrialPlanner(Value):
    """Makes the plans of trials from one that is like any run of the run configuration."""

    sweep: Sweep
    box: Box
    run: RunConfiguration
    platform: Platform
    template: RunPlan
    space: Space
    file: ParameterFile | None
    id: str
    """Names this call of the command in the records of all its trials."""

    def trial(self, number: int, values: Values) -> Trial:
        """The trial of a number.  Raises :class:`ConfigurationError` when its file cannot be made."""
        rebind = {each.name: self._place(number, each) for each in self.template.outputs}
        content, holder = "", self.sweep.parameters_file
        if self.file is None or holder is None:
            rebind |= {name: str(value) for name, value in values}
        else:
            content = self.file.with_values(dict(values))
            rebind[holder] = self._place(number, self._bound(holder))
        plan = plan_run(
            self.box,
            self.run,
            self.platform,
            workspace=self.template.workspace,
            rebind=rebind,
            timeout=self.template.timeout,
            ca_bundle=self.template.ca_bundle,
        )
        own = next((each.path for each in plan.inputs if each.name == holder), None)
        return Trial(
            number=number,
            values=values,
            plan=replace(plan, group=self._group(number, values)),
            file=own,
            content=content,
        )

    def _group(self, number: int, values: Values) -> Mapping[str, Any]:
        sweep = self.sweep
        group = {"kind": KIND, "name": sweep.name, "id": self.id, "trial": number, "values": dict(values)}
        return {**group, **({"metric": sweep.metric, "direction": sweep.direction} if sweep.metric else {})}

    def _bound(self, name: str) -> BoundParameter:
        return next(each for each in self.template.parameters if each.name == name)

    def _place(self, number: int, parameter: BoundParameter) -> str:
        """Where a parameter of a trial is; each has a directory of its own, as the mounts of containers want it."""
        place = f"$WORKSPACE/{SWEEP_DIRECTORY}/{self.sweep.name}/{number}/{parameter.name}"
        return f"{place}/{parameter.path.name}" if parameter.type == "file" else place


def trial_planner(
    sweep: Sweep,
    box: Box,
    run: RunConfiguration,
    platform: Platform,
    *,
    workspace: Path | None = None,
    timeout: float | None = None,
    ca_bundle: Path | None = None,
) -> TrialPlanner:
    """Who plans the trials of a sweep.

    Raises :class:`ProblemsError` for values that do not go with the file of hyper-parameters, and for paths that
    cannot be used, and :class:`ConfigurationError` when no trial can have a file of its own.
    """
    template = plan_run(box, run, platform, workspace=workspace, timeout=timeout, ca_bundle=ca_bundle)
    check_directory_names(template.outputs)
    file = None
    if sweep.parameters_file is not None:
        holder = next(each for each in template.inputs if each.name == sweep.parameters_file)
        check_directory_names((holder,))
        if holder.elsewhere or holder.claim:
            raise ConfigurationError(
                f"the trials cannot have files of their own: the input {holder.name!r} is not on this machine",
                hint="bind it to a path in the workspace",
            )
        if holder.type != "file":
            raise ConfigurationError(
                f"the input {holder.name!r} is a directory, and not a file of hyper-parameters"
            )
        missing = missing_inputs((holder,))
        if missing:
            raise MissingInputError(missing)
        file = read_parameter_file(holder.path)
    return TrialPlanner(
        sweep=sweep,
        box=box,
        run=run,
        platform=platform,
        template=template,
        space=space_of(sweep, file),
        file=file,
        id=new_run_id(),
    )


def numbered(value_sets: Sequence[Values], known: Mapping[object, int]) -> list[tuple[int, Values]]:
    """Values with the numbers of their trials: those that are ``known`` keep theirs, others get new ones.

    So the outputs of a trial are never taken by one with other values, when values are added to a sweep.
    """
    taken = set(known.values())
    free = (number for number in range(1, len(value_sets) + len(taken) + 1) if number not in taken)
    return sorted(
        ((known[key] if (key := values_key(values)) in known else next(free), values) for values in value_sets),
        key=lambda each: each[0],
    )
