"""Loads boxes, platforms, run configurations and sweeps.

``read_*`` collect every problem and return None (or less) for what is wrong, so that one command can show all
mistakes of a box at once; ``load_*`` raise :class:`~mlcommons_box.errors.DefinitionError` with all of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

from mlcommons_box.definition import schema
from mlcommons_box.definition.files import environment_of, read_fields
from mlcommons_box.definition.nodes import MappingNode
from mlcommons_box.definition.places import BOX_FILE, RUN_DIRECTORY, box_root, yaml_files
from mlcommons_box.definition.platforms import read_platform
from mlcommons_box.definition.problems import Problems
from mlcommons_box.definition.rules import Context, Invalid
from mlcommons_box.definition.run_configurations import read_run_configuration
from mlcommons_box.definition.source import read_source
from mlcommons_box.definition.structures import Fields, Located
from mlcommons_box.definition.sweeps import read_sweep
from mlcommons_box.errors import DefinitionError, Location
from mlcommons_box.model import Box, Network, Parameter, ParameterType, Platform, RunConfiguration, Sweep, Task
from mlcommons_box.suggestions import did_you_mean, nearest, quoted
from mlcommons_box.value import Value

T = TypeVar("T")


class BoxDraft(Value):
    """What could be read of a box: ``box`` is None when anything in it is wrong.

    ``tasks`` has every task that ``mlbox.yaml`` names, and is None when that cannot be told; a task is None when
    its own file is wrong or missing.
    """

    root: Path
    box: Box | None
    tasks: dict[str, Task | None] | None


def load_box(path: Path | str = ".") -> Box:
    """The box at ``path``, a directory or its ``mlbox.yaml``, with all its tasks.

    Raises :class:`UsageError` when there is no box, :class:`DefinitionError` with every problem found.
    """
    root = box_root(path)
    return _require(lambda problems: read_box(root, problems).box)


def load_run_configuration(path: Path, box: Box) -> RunConfiguration:
    """The run configuration in the file ``path``, checked against the tasks of ``box``."""
    tasks: dict[str, Task | None] = {task.name: task for task in box.tasks}
    return _require(lambda problems: read_run_configuration(path, box.root, tasks, problems))


def load_platform(path: Path) -> Platform:
    """The platform in the file ``path``."""
    return _require(lambda problems: read_platform(path, problems))


def load_sweep(path: Path, box: Box) -> tuple[Sweep, RunConfiguration]:
    """The sweep in the file ``path``, and the run configuration of ``box`` that it repeats.

    A run configuration that is wrong counts only when it may be the one that is meant.
    """
    tasks: dict[str, Task | None] = {task.name: task for task in box.tasks}
    wrong = Problems()
    found = (read_run_configuration(file, box.root, tasks, wrong) for file in yaml_files(box.root / RUN_DIRECTORY))
    runs = {run.name: run for run in found if run}

    def read(problems: Problems) -> Sweep | None:
        sweep = read_sweep(path, box.root, runs.values(), problems)
        if any(problem.code == "unknown-run" for problem in problems):
            problems += wrong
        return sweep

    sweep = _require(read)
    return sweep, runs[sweep.run]


def _require(read: Callable[[Problems], T | None]) -> T:
    problems = Problems()
    value = read(problems)
    if value is None or problems:
        raise DefinitionError(problems)
    return value


def read_box(root: Path, problems: Problems) -> BoxDraft:
    """Read ``mlbox.yaml`` and every task file that it names."""
    before = len(problems)
    fields = read_fields(root / BOX_FILE, ("mlbox_root",), problems)
    named = _named_tasks(root / BOX_FILE) if fields is None else fields[schema.Root.TASKS]
    if named is None:
        return BoxDraft(root=root, box=None, tasks=None)
    tasks: dict[str, Task | None] = {}
    for item in named:
        name = Path(item.value).stem
        if name in tasks:
            problems.report("duplicate-task", f"the task {quoted(name)} is there twice", item.location)
        elif name.startswith("-"):
            problems.report("bad-value", f"a task's name cannot begin with '-': {quoted(name)}", item.location)
        else:
            file = _inside(root, item, problems)
            tasks[name] = read_task(file, problems) if file else None
    if fields is None or len(problems) > before:
        return BoxDraft(root=root, box=None, tasks=tasks)
    box = Box(
        root=root,
        name=fields[schema.Root.NAME],
        author=fields[schema.Root.AUTHOR],
        version=fields[schema.Root.VERSION],
        spec_version=fields[schema.Root.SPEC_VERSION],
        tasks=tuple(task for task in tasks.values() if task),
        description=fields.get(schema.DESCRIPTION),
    )
    return BoxDraft(root=root, box=box, tasks=tasks)


def _named_tasks(file: Path) -> tuple[Located[str], ...] | None:
    """What a wrong ``mlbox.yaml`` still says about its tasks, so that their mistakes are shown with its own."""
    unheard = Problems()
    node = read_source(file, unheard)
    entries = node.entries if isinstance(node, MappingNode) else ()
    tasks = next((value for key, value in entries if key.value == schema.Root.TASKS.name), None)
    if tasks is None:
        return None
    try:
        return schema.Root.TASKS.rule.check(tasks, Context(problems=unheard, version=schema.V1_0))
    except Invalid:
        return None


def _inside(root: Path, item: Located[str], problems: Problems) -> Path | None:
    """The file that ``mlbox.yaml`` names, which has to exist inside the box."""
    relative = os.path.normpath(item.value)
    if os.path.isabs(relative) or relative.split(os.sep)[0] == os.pardir:
        problems.report("outside-box", f"{quoted(item.value)} is not inside the box", item.location)
        return None
    file = root / relative
    if not os.path.lexists(file):
        known = {path.stem: str(path.relative_to(root)) for path in yaml_files(file.parent)}
        near = nearest(file.stem, known)
        hint = did_you_mean(known[near]) if near else None
        problems.report("missing-file", f"there is no file {quoted(item.value)}", item.location, hint=hint)
        return None
    return file


def read_task(file: Path, problems: Problems) -> Task | None:
    """The task in one file; its name is the file's stem."""
    fields = read_fields(file, ("mlbox_task",), problems)
    if fields is None:
        return None
    seen: dict[str, Location] = {}
    inputs = _parameters(fields[schema.Task.INPUTS], seen, problems)
    outputs = _parameters(fields[schema.Task.OUTPUTS], seen, problems)
    if len(seen) < len(inputs) + len(outputs):
        return None
    return Task(
        name=file.stem,
        file=file,
        inputs=inputs,
        outputs=outputs,
        description=fields.get(schema.DESCRIPTION),
        network=cast("Network", fields.or_else(schema.NETWORK, "default")),
        environment=environment_of(fields.or_else(schema.ENVIRONMENT, ())),
    )


def _parameters(items: tuple[Fields, ...], seen: dict[str, Location], problems: Problems) -> tuple[Parameter, ...]:
    parameters = []
    for item in items:
        name = item[schema.Task.PARAMETER_NAME]
        if name.value in seen:
            first = seen[name.value].line
            message = f"the parameter {quoted(name.value)} is there twice; the first is in line {first}"
            problems.report("duplicate-parameter", message, name.location)
        seen.setdefault(name.value, name.location)
        kind = cast("ParameterType", item[schema.Task.PARAMETER_TYPE])
        parameters.append(
            Parameter(
                name=name.value,
                type=kind,
                description=item.get(schema.DESCRIPTION),
                reproducible=item.or_else(schema.Task.REPRODUCIBLE, True),
                location=name.location,
            )
        )
    return tuple(parameters)
