"""Box, run configuration, platform and command-line bindings become a plan.

A plan is everything about one run, resolved and immutable, before anything starts.  Making one starts no
process and touches no file.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from mlcommons_box.errors import (
    EX_USAGE,
    ConfigurationError,
    Location,
    Problem,
    ProblemsError,
)
from mlcommons_box.model import (
    Binding,
    Box,
    EnvironmentVariable,
    KubernetesOptions,
    Network,
    ParameterType,
    Platform,
    RunConfiguration,
    SshOptions,
    Task,
)
from mlcommons_box.value import Value, aside, replace

_WORKSPACE = re.compile(r"\$WORKSPACE(?![A-Za-z0-9_])|\$\{WORKSPACE\}")


class BoundParameter(Value):
    """A parameter and the absolute path that it is bound to.

    ``claim`` names the Kubernetes volume claim that holds the path.  ``elsewhere`` says that the path is not on
    this host, where nobody needs to look for it or to make it.
    """

    name: str
    type: ParameterType
    direction: Literal["input", "output"]
    path: Path
    claim: str | None = None
    elsewhere: bool = False
    location: Location | None = aside(default=None)

    @property
    def directory(self) -> Path:
        """The directory that holds the output: itself, or the parent of a file."""
        return self.path if self.type == "directory" else self.path.parent


class SetupPlan(Value):
    """What has to be ready before any task of the box can run on the platform.

    ``ca_bundle`` is a file with the certificate authorities of this network, for builds and for runs.
    """

    box: Box
    platform: Platform
    workspace: Path
    ca_bundle: Path | None = None


class RunPlan(SetupPlan):
    """One run of one task.

    ``id`` names this one run, everywhere and for good.  ``parameters`` are in the order of the run
    configuration's bindings, inputs first.  ``timeout`` is in seconds.  In ``environment`` a value of None is
    taken from the caller by name.  ``devices`` are the GPUs of this machine that the run alone may use, as
    ``CUDA_VISIBLE_DEVICES`` names them; none are those that the platform says.  ``group`` says what the run is a
    part of, such as a sweep; it is for the record.
    """

    id: str
    run: str
    task: Task
    parameters: tuple[BoundParameter, ...]
    environment: tuple[EnvironmentVariable, ...] = ()
    network: Network = "default"
    timeout: float | None = None
    devices: tuple[str, ...] = ()
    group: Mapping[str, Any] = aside(default=MappingProxyType({}))

    @property
    def inputs(self) -> tuple[BoundParameter, ...]:
        """The parameters that the task reads."""
        return tuple(parameter for parameter in self.parameters if parameter.direction == "input")

    @property
    def outputs(self) -> tuple[BoundParameter, ...]:
        """The parameters that the task writes."""
        return tuple(parameter for parameter in self.parameters if parameter.direction == "output")


P = TypeVar("P", bound=SetupPlan)


def new_run_id() -> str:
    """A name for one run: the time (UTC), so that names sort by it, and 32 random bits."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.urandom(4).hex()}"


def plan_setup(
    box: Box, platform: Platform, workspace: Path | None = None, ca_bundle: Path | None = None
) -> SetupPlan:
    """The plan for ``configure``; ``workspace`` is the box's own unless given."""
    return SetupPlan(box=box, platform=platform, workspace=_absolute_workspace(box, workspace), ca_bundle=ca_bundle)


def check_directory_names(parameters: Iterable[BoundParameter]) -> None:
    """Raise :class:`ConfigurationError` for a parameter that no directory can be named after.

    A stranger's box may call one ``../..``.
    """
    for each in parameters:
        if "/" in each.name or each.name in (".", ".."):
            raise ConfigurationError(f"the {each.direction} {each.name!r} cannot have a directory of its name")


def plan_run(
    box: Box,
    run: RunConfiguration,
    platform: Platform,
    *,
    workspace: Path | None = None,
    rebind: Mapping[str, str] | None = None,
    timeout: float | None = None,
    ca_bundle: Path | None = None,
    run_id: str | None = None,
) -> RunPlan:
    """The plan for one run.

    ``run_id`` is a new one unless given.  ``rebind`` gives parameters of the run other paths than the run
    configuration does, by the same rules.  The shorter of ``timeout`` and the platform's own limit holds.
    Raises :class:`ProblemsError` when a path cannot be used as written.
    """
    workspace = _absolute_workspace(box, workspace)
    task = next(task for task in box.tasks if task.name == run.task)
    problems: list[Problem] = []
    parameters = bind(box.root, task, _rebound(run, rebind or {}), workspace, problems)
    problems += _read_and_written(parameters)
    if problems:
        raise ProblemsError(problems)
    if isinstance(platform.options, SshOptions):
        parameters = tuple(
            replace(each, elsewhere=not (holds(workspace, each.path) or holds(box.root, each.path)))
            for each in parameters
        )
    if isinstance(platform.options, KubernetesOptions) and platform.options.workspace_claim:
        parameters = tuple(replace(parameter, elsewhere=True) for parameter in parameters)
    limits = [limit for limit in (timeout, platform.resources.time) if limit is not None]
    return RunPlan(
        box=box,
        platform=platform,
        workspace=workspace,
        ca_bundle=ca_bundle,
        id=run_id or new_run_id(),
        run=run.name,
        task=task,
        parameters=parameters,
        environment=_merged(task.environment, platform.environment),
        network=platform.network if task.network == "default" and platform.network else task.network,
        timeout=min(limits) if limits else None,
    )


def on_platform(plan: P, platform: Platform) -> P:
    """The same plan on the platform that the plan's own hands over to: a host's, or a queue's.

    The own platform has the last word on the environment, and those that handed over to it before; the shorter
    limit of time holds.
    """
    if not isinstance(plan, RunPlan):
        return replace(plan, platform=platform)
    own = tuple(each for each in plan.environment if each not in plan.task.environment)
    limits = [limit for limit in (plan.timeout, platform.resources.time) if limit is not None]
    asked = platform.network if plan.task.network == "default" and platform.network else plan.network
    return replace(
        plan,
        platform=platform,
        environment=_merged(_merged(plan.task.environment, platform.environment), own),
        network=asked,
        timeout=min(limits) if limits else None,
    )


def bind(
    root: Path, task: Task, run: RunConfiguration, workspace: Path, problems: list[Problem]
) -> tuple[BoundParameter, ...]:
    """The parameters of a run with their absolute paths; what cannot be used is left out and reported."""
    types = {parameter.name: parameter.type for parameter in (*task.inputs, *task.outputs)}
    bound = []
    sides: tuple[tuple[Literal["input", "output"], tuple[Binding, ...]], ...] = (
        ("input", run.inputs),
        ("output", run.outputs),
    )
    for direction, bindings in sides:
        for binding in bindings:
            base = root if binding.claim else workspace
            path = resolve_path(binding.path, base, workspace, binding.location, problems)
            if path:
                bound.append(
                    BoundParameter(
                        name=binding.parameter,
                        type=types[binding.parameter],
                        direction=direction,
                        path=path,
                        claim=binding.claim,
                        elsewhere=binding.claim is not None,
                        location=binding.location,
                    )
                )
    return tuple(bound)


def resolve_path(
    written: str, base: Path, workspace: Path, location: Location | None, problems: list[Problem]
) -> Path | None:
    """The absolute path that a binding means.

    ``$WORKSPACE`` and ``${WORKSPACE}`` stand for the workspace at the beginning of a path; a relative path is
    relative to ``base``; an absolute one stays.  Nothing else is special: ``$HOME``, spaces and quotes are
    part of a name.
    """
    matched = _WORKSPACE.match(written)
    rest = written[matched.end() :] if matched else written
    reason = None
    if "\0" in written or not written:
        reason = "it is empty, or holds a NUL character", "write a path"
    elif _WORKSPACE.search(rest) or (matched and rest and not rest.startswith("/")):
        reason = "$WORKSPACE can only be the first directory of a path", "write $WORKSPACE/..."
    elif written == "~" or written.startswith("~/"):
        reason = "'~' is not expanded", "write the absolute path of your home directory"
    if reason:
        message = f"the path {written!r} cannot be used: {reason[0]}"
        problems.append(Problem(code="bad-path", message=message, location=location, hint=reason[1]))
        return None
    path = workspace / rest.lstrip("/") if matched else base / written
    return Path(os.path.normpath(path))


def _read_and_written(parameters: tuple[BoundParameter, ...]) -> list[Problem]:
    """A path that is both an input and an output could not be kept from the task and given to it."""
    inputs = {parameter.path: parameter for parameter in parameters if parameter.direction == "input"}
    return [
        Problem(
            code="read-and-written",
            message=f"the output {output.name!r} is bound to the path of the input {inputs[output.path].name!r}, "
            "which the task must not change",
            location=output.location,
            hint="bind the output to another path",
        )
        for output in parameters
        if output.direction == "output" and output.path in inputs
    ]


def _rebound(run: RunConfiguration, rebind: Mapping[str, str]) -> RunConfiguration:
    known = [binding.parameter for binding in (*run.inputs, *run.outputs)]
    unknown = [name for name in rebind if name not in known]
    if unknown:
        names = ", ".join(known) or "none"
        raise ProblemsError(
            [
                Problem(
                    code="unknown-parameter",
                    message=f"the run {run.name!r} has no parameter {name!r}",
                    hint=f"its parameters: {names}",
                    exit_status=EX_USAGE,
                )
                for name in unknown
            ]
        )

    def rebound(bindings: tuple[Binding, ...]) -> tuple[Binding, ...]:
        return tuple(
            Binding(parameter=binding.parameter, path=rebind[binding.parameter])
            if binding.parameter in rebind
            else binding
            for binding in bindings
        )

    return replace(run, inputs=rebound(run.inputs), outputs=rebound(run.outputs))


def _merged(
    first: tuple[EnvironmentVariable, ...], second: tuple[EnvironmentVariable, ...]
) -> tuple[EnvironmentVariable, ...]:
    """Both, where the second has the last word on a name."""
    variables = {variable.name: variable for variable in first}
    variables.update({variable.name: variable for variable in second})
    return tuple(variables.values())


def _absolute_workspace(box: Box, workspace: Path | None) -> Path:
    return box.workspace if workspace is None else Path(os.path.abspath(workspace))


def holds(outer: Path, inner: Path) -> bool:
    """Whether one path is the other or lies below it, by their names alone."""
    return inner.parts[: len(outer.parts)] == outer.parts
