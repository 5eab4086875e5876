"""Brings a box and its inputs to another host, and outputs back, so that only what has changed is sent.

The box has a directory there that looks as it does here, its workspace included.  What was sent is noted there;
what is gone here is removed there if we have sent it, and nothing else ever is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from mlcommons_box.errors import (
    EX_MISSING_INPUT,
    Problem,
    UnavailableError,
)
from mlcommons_box.host import Host
from mlcommons_box.planning import BoundParameter, RunPlan, SetupPlan, holds
from mlcommons_box.process import Answer, OnOutput
from mlcommons_box.runners.sent_files import add_to_note, files_below, has_links, pattern, remove
from mlcommons_box.runners.there import There
from mlcommons_box.shell_script import quoted
from mlcommons_box.value import Value

_OURS = (".mlbox", ".mlbox-partial")
"""What is never data."""
_NOT_SENT = (".git", "__pycache__", *_OURS)
"""What does not belong to a box."""


class Output(Value):
    """An output to bring back: where it is there, where it belongs here, its type, and the inputs in it here."""

    there: str
    here: str
    type: str
    inputs: tuple[str, ...] = ()


def send(host: Host, plan: SetupPlan, there: There, on_output: OnOutput) -> None:
    """Bring the box there, and the inputs that lie in its workspace; outputs too, which a task may add to."""
    if "rsync" not in there.programs:
        raise UnavailableError(
            f"there is no rsync on {host.name}", hint="install it there: files are brought there by it"
        )
    box, workspaces = plan.box.root, {plan.workspace, plan.box.workspace}
    brought = _brought(plan)
    sent = set(files_below(box, _NOT_SENT, without=workspaces))
    for each in brought:
        place = there.path(plan, each.path).relative_to(there.box)
        sent |= {str(place / name) for name in _content(each)}
    with_the_box = [each.path for each in brought if _goes_with_the_box(plan, each)]
    directories = [each.path for each in brought if each.type == "directory" and each.path not in with_the_box]
    bound = [there.path(plan, each.path) for each in _parameters(plan) if holds(plan.workspace, each.path)]
    gone = _gone(there, sent, [PurePosixPath(each.relative_to(there.box)) for each in bound])
    if gone or directories:
        remove(host, there.box, gone, there.sent, make=[there.path(plan, each) for each in directories])
    host.put([f"{box}/"], f"{there.box}/", *_filters(plan, with_the_box), on_output=on_output)
    kept = [f"--exclude={name}" for name in _OURS]
    for path in directories:
        if any(path.iterdir()):
            host.put([f"{path}/"], f"{there.path(plan, path)}/", *kept, on_output=on_output)
    files = [
        f"{plan.workspace}/./{each.path.relative_to(plan.workspace)}"
        for each in brought
        if each.type == "file" and each.path not in with_the_box
    ]
    if files:
        host.put(files, f"{there.workspace}/", "--relative", "--copy-links", on_output=on_output)
    add_to_note(host, there.box, sorted(sent - there.sent))


def _filters(plan: SetupPlan, with_the_box: Sequence[Path]) -> list[str]:
    """What rsync takes of the box's directory: all but its workspaces, and these directories of one."""
    box = plan.box.root
    filters = [f"--exclude={name}" for name in _OURS]
    for path in with_the_box:
        inside = path.relative_to(box)
        filters += [f"--include=/{pattern(each)}/" for each in reversed(inside.parents) if each != Path()]
        with_all_of_it = f"{pattern(inside, always=True)}/***"
        filters.append(f"--include=/{with_all_of_it if path.is_dir() else pattern(inside)}")
    for workspace in {plan.workspace, plan.box.workspace}:
        if holds(box, workspace) and workspace != box:
            inside = workspace.relative_to(box)
            is_needed = any(holds(workspace, path) for path in with_the_box)
            filters.append(
                f"--exclude=/{pattern(inside, always=True)}/**" if is_needed else f"--exclude=/{pattern(inside)}"
            )
    return [*filters, *(f"--exclude={name}" for name in _NOT_SENT if name not in _OURS)]


def _goes_with_the_box(plan: SetupPlan, parameter: BoundParameter) -> bool:
    """Whether one look of rsync at the box's directory can bring a parameter, too.

    Links may lead to what is not brought, and only of the whole that it brings does rsync know that.
    """
    box, path = plan.box.root, parameter.path
    if plan.workspace != plan.box.workspace or path == plan.workspace:
        return False
    is_here = os.path.realpath(path) == os.path.join(os.path.realpath(box), path.relative_to(box))
    return is_here and not (parameter.type == "directory" and has_links(path))


def _gone(there: There, sent: set[str], bound: Sequence[PurePosixPath]) -> list[str]:
    """What was there because of us and is here no longer, in the box and where the parameters are bound to."""
    workspaces = PurePosixPath("workspace"), PurePosixPath("workspaces")

    def looked_at(name: str) -> bool:
        path = PurePosixPath(name)
        return not any(map(path.is_relative_to, workspaces)) or any(map(path.is_relative_to, bound))

    return sorted(name for name in there.sent - sent if looked_at(name))


def _parameters(plan: SetupPlan) -> tuple[BoundParameter, ...]:
    return plan.parameters if isinstance(plan, RunPlan) else ()


def _brought(plan: SetupPlan) -> list[BoundParameter]:
    """The parameters in the workspace that are there to be sent; none that lies inside another."""
    found = [
        each
        for each in _parameters(plan)
        if holds(plan.workspace, each.path) and not each.elsewhere and each.path.exists()
    ]
    return [
        each
        for number, each in enumerate(found)
        if not any(
            holds(other.path, each.path) and (other.path != each.path or index < number)
            for index, other in enumerate(found)
            if index != number
        )
    ]


def _content(parameter: BoundParameter) -> Iterator[str]:
    """The files of a parameter, relative to it; of a file, that one."""
    if parameter.type == "file":
        yield "."
    else:
        yield from files_below(parameter.path, _OURS)


def missing_there(host: Host, plan: RunPlan) -> list[Problem]:
    """A problem for every input on the host itself that is not there."""
    inputs = [each for each in plan.inputs if each.elsewhere]
    if not inputs:
        return []
    tests = [
        f"[ -{'d' if each.type == 'directory' else 'f'} {quoted(each.path)} ] || echo {number}"
        for number, each in enumerate(inputs)
    ]
    answer = host.shell("\n".join(tests) + "\n", timeout=60)
    return [
        Problem(
            code="missing-input",
            message=f"the input {inputs[number].name!r} is no {inputs[number].type} on {host.name}: "
            f"{str(inputs[number].path)!r}",
            location=inputs[number].location,
            hint="a path outside the workspace and the box is one of that host",
            exit_status=EX_MISSING_INPUT,
        )
        for number in _listed(answer, len(inputs))
    ]


def _listed(answer: Answer, count: int) -> list[int]:
    """The numbers below ``count`` that a script has printed; of what else the shell there says, nothing."""
    words = {str(number): number for number in range(count)}
    return [words[word] for word in answer.stdout.decode("utf-8", "replace").split() if word in words]


def bring_back(host: Host, box: str, outputs: Sequence[Output], on_output: OnOutput) -> list[str]:
    """Bring the outputs of the box over there back; returns those that are not there.

    They are noted as what is there because of us: what is removed here shall not come back.
    """
    tests = [f"[ -e {quoted(each.there)} ] && echo {number}" for number, each in enumerate(outputs)]
    answer = host.shell("\n".join([*tests, ":"]) + "\n", timeout=60)
    present = set(_listed(answer, len(outputs)))
    names = []
    for number in sorted(present):
        each, here = outputs[number], Path(outputs[number].here)
        here.parent.mkdir(parents=True, exist_ok=True)
        place = PurePosixPath(os.path.relpath(each.there, box))
        if each.type == "directory":
            # A task does not change its inputs; whoever sits here may have done so meanwhile.
            options = [f"--exclude={name}" for name in _OURS]
            options += [f"--exclude=/{pattern(Path(os.path.relpath(path, here)))}" for path in each.inputs]
            host.get(each.there, here, *options, on_output=on_output)
            names += [str(place / name) for name in files_below(here, _OURS)]
        else:
            options = [f"--include=/{pattern(Path(here.name))}", "--exclude=*", "--copy-links"]
            host.get(os.path.dirname(each.there), here.parent, *options, on_output=on_output)
            names.append(str(place))
    add_to_note(host, Path(box), names)
    return [each.there for number, each in enumerate(outputs) if number not in present]
