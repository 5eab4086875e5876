"""Reads run configurations and checks their bindings against the tasks of the box."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from mlcommons_box.definition import schema
from mlcommons_box.definition.files import read_fields
from mlcommons_box.definition.places import RUN_DIRECTORY, name_below
from mlcommons_box.definition.problems import Problems
from mlcommons_box.definition.structures import Entry, Fields
from mlcommons_box.model import Binding, RunConfiguration, Task
from mlcommons_box.suggestions import did_you_mean, listed, nearest, quoted, shortened
from mlcommons_box.value import replace

RELEASE_KUBERNETES_TASK = "kubernetes"
"""In release 0.2.3 a run configuration for Kubernetes said this in the place of its task's name."""


def read_run_configuration(
    file: Path, root: Path, tasks: Mapping[str, Task | None] | None, problems: Problems
) -> RunConfiguration | None:
    """The run configuration in one file, checked against ``tasks``.

    A task that is None is wrong itself; without ``tasks`` only the file's own form is checked.
    """
    fields = read_fields(file, ("mlbox_invoke",), problems)
    if fields is None:
        return None
    task_name = fields[schema.Invoke.TASK_NAME]
    run = RunConfiguration(
        name=name_below(file, root / RUN_DIRECTORY),
        file=file,
        task=task_name.value,
        inputs=_bindings(fields[schema.Invoke.INPUTS]),
        outputs=_bindings(fields[schema.Invoke.OUTPUTS]),
        description=fields.get(schema.DESCRIPTION),
        task_location=task_name.location,
    )
    return None if tasks is None else _for_task(run, tasks, problems)


def _bindings(entries: tuple[Entry[str | Fields], ...]) -> tuple[Binding, ...]:
    return tuple(_binding(entry) for entry in entries)


def _binding(entry: Entry[str | Fields]) -> Binding:
    value = entry.value
    path = value if isinstance(value, str) else value[schema.Invoke.PATH]
    claim = None if isinstance(value, str) else value[schema.Invoke.K8S][schema.Invoke.PVC]
    return Binding(
        parameter=entry.name, path=path, claim=claim, location=entry.location, name_location=entry.name_location
    )


def _for_task(
    run: RunConfiguration, tasks: Mapping[str, Task | None], problems: Problems
) -> RunConfiguration | None:
    if run.task == RELEASE_KUBERNETES_TASK and run.is_claimed and run.task not in tasks:
        return _for_matching_task(run, tasks, problems)
    if run.task not in tasks:
        meant = did_you_mean(nearest(run.task, tasks)) or f"tasks of this box: {listed(tasks)}"
        problems.report("unknown-task", f"the box has no task {quoted(run.task)}", run.task_location, hint=meant)
        return None
    task = tasks[run.task]
    if task is None:
        return None
    before = len(problems)
    sides = (
        (run.inputs, task.inputs, "input", "input_binding", task.outputs, "an output", "output_binding"),
        (run.outputs, task.outputs, "output", "output_binding", task.inputs, "an input", "input_binding"),
    )
    for bindings, parameters, what, key, others, other, other_key in sides:
        declared = dict.fromkeys(parameter.name for parameter in parameters)
        elsewhere = {parameter.name for parameter in others}
        bound = {binding.parameter for binding in bindings}
        missing = [name for name in declared if name not in bound]
        for binding in bindings:
            if binding.parameter in declared or problems.full:
                continue
            message = f"the task {task.name!r} has no {what} {quoted(binding.parameter)}"
            hint: str | None
            if binding.parameter in elsewhere:
                hint = f"it is {other} of that task; bind it under {other_key!r}"
            else:
                near = nearest(binding.parameter, missing[:100])
                missing = [name for name in missing if name != near]
                hint = did_you_mean(near) or _declared(declared, what)
            problems.report("unknown-parameter", message, binding.name_location, hint=hint)
        for name in missing:
            message = f"the {what} {quoted(name)} of the task {task.name!r} is not bound"
            remedy = f"write '{shortened(name)}: PATH' under {key!r}"
            problems.report("unbound-parameter", message, run.task_location, hint=remedy)
    return run if len(problems) == before else None


def _declared(names: Collection[str], what: str) -> str:
    return f"its {what}s: {listed(names)}" if names else f"it has no {what}s"


def _for_matching_task(
    run: RunConfiguration, tasks: Mapping[str, Task | None], problems: Problems
) -> RunConfiguration | None:
    """Release 0.2.3 did not say which task: it is the one that has exactly the bound parameters."""
    inputs = {binding.parameter for binding in run.inputs}
    outputs = {binding.parameter for binding in run.outputs}
    matching = [
        task.name
        for task in tasks.values()
        if task and {p.name for p in task.inputs} == inputs and {p.name for p in task.outputs} == outputs
    ]
    if len(matching) == 1:
        return replace(run, task=matching[0])
    if all(tasks.values()):
        found = f"these do: {listed(matching)}" if matching else "no task has exactly the parameters that it binds"
        problems.report(
            "unknown-task",
            f"the box has no task {run.task!r}",
            run.task_location,
            hint=f"write the name of a task of this box; {found}",
        )
    return None
