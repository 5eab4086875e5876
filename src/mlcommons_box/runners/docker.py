"""The Docker runner: ``docker``, ``nvidia-docker`` or ``podman``, by their command lines.

A task runs as the caller, without privilege, with its inputs read-only and its outputs writable, and in a
container that is gone when the task has ended.  A run of a box whose image is there is one call of the engine.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from mlcommons_box.command import Command
from mlcommons_box.errors import Interrupted, Problem, UnavailableError
from mlcommons_box.planning import RunPlan, SetupPlan
from mlcommons_box.process import ask, capture, stream
from mlcommons_box.process_tree import kill_started_with
from mlcommons_box.runners.container_run import not_owned
from mlcommons_box.runners.docker_command import DockerCommands, container_name
from mlcommons_box.runners.docker_image import DockerImage, cannot_start
from mlcommons_box.runners.failures import HeldBack
from mlcommons_box.runners.interface import NotPrepared, Observer, Outcome, outcome_of
from mlcommons_box.runners.made_from import asking, noting
from mlcommons_box.runners.mounts import mount_problems
from mlcommons_box.value import replace

if TYPE_CHECKING:
    from mlcommons_box.runners.identity import Identity
    from mlcommons_box.runners.job import Job

ENGINE_STATUSES = (125, 126, 127)
"""Docker and Podman end with these when they could not start the task; a task may end with them too."""
_CERTAINLY_NOT_THE_TASK = (b"[FATAL tini", b"ERROR (catatonit", b"Failed to initialize: ")
"""How an init program begins that cannot start the image's own, and a client that finds no engine."""
_ENGINE_SAYS = (
    *(b"docker: ", b"nvidia-docker: ", b"Error: ", b"Unable to find image", b'time="', *_CERTAINLY_NOT_THE_TASK),
    *(b"unknown flag: ", b"unknown shorthand flag: ", b"flag needs an argument: ", b"invalid argument "),
    *(b"WARNING: Your kernel", b"WARNING: The requested image", b"Resource limits are not supported"),
)
"""How an error of Docker's or Podman's own begins, or a warning before it."""
_SOCKET = Path("/var/run/docker.sock")
"""Made anew whenever the daemon starts."""
_COMES, _PAUSE = 5.0, 0.5
"""Seconds in which a container may be made whose client was killed, and between two looks."""
_PATIENCE = 30.0
"""Seconds in which an engine has to remove a container; a daemon that hangs never answers."""


class DockerRunner(DockerCommands):
    """Runs tasks in containers of Docker or Podman."""

    def image(self, plan: SetupPlan) -> DockerImage:
        """The image that the platform names."""
        return DockerImage(
            name=self.options.image,
            executable=self.executable,
            box=plan.box,
            ca_bundle=plan.ca_bundle,
            environ=self.environ,
            box_here=self.elsewhere.box if self.elsewhere else None,
        )

    def is_available(self, plan: SetupPlan) -> bool:
        if self._which(self.executable) is None:
            return False
        if self.is_podman or self.environ.get("DOCKER_HOST") or self.environ.get("DOCKER_CONTEXT"):
            return True
        return os.access(_SOCKET, os.R_OK | os.W_OK) or (not _SOCKET.exists() and self._has_context())

    def _has_context(self) -> bool:
        home = self.environ.get("DOCKER_CONFIG") or os.path.join(self.environ.get("HOME", "/"), ".docker")
        return os.path.isdir(os.path.join(home, "contexts", "meta"))

    def check(self, plan: SetupPlan) -> list[Problem]:
        problems = mount_problems(plan) if isinstance(plan, RunPlan) else []
        if self._which(self.executable) is None:
            problems.append(cannot_start(self.executable))
        return problems

    def notes(self, plan: SetupPlan) -> list[str]:
        notes = []
        if self.executable != self.options.executable:
            notes.append("there is no nvidia-docker here; 'docker run --gpus' does the same")
        if isinstance(plan, RunPlan) and self.image(plan).is_stale():
            notes.append(
                f"build/ has changed since {self.options.image} was built; 'mlbox configure' builds it anew"
            )
        return notes

    def commands(self, plan: SetupPlan) -> list[Command]:
        if isinstance(plan, RunPlan):
            return [self.run_command(plan)]
        return self.image(plan).commands()

    def prepare(self, plan: SetupPlan, observer: Observer) -> None:
        if self.options.engine_version is not None:
            from mlcommons_box.runners.engine_version import check_engine_version

            check_engine_version(self.platform, self.executable, self.options.engine_version)
        self.image(plan).ensure(observer)

    def built(self, plan: SetupPlan) -> list[Path]:
        return []

    def run(self, plan: RunPlan, observer: Observer) -> Outcome:
        name = container_name(plan)
        engine = HeldBack(observer, _ENGINE_SAYS)
        began = int(time.time())
        try:
            completed = stream(
                self.run_command(plan),
                on_output=engine.output,
                on_wait=engine.wait,
                on_start=lambda pid: observer.started(name),
                timeout=plan.timeout,
                client=True,
            )
        except BaseException:  # such as a full disk, or a reader of our output who has left
            self.remove(name)
            raise
        is_ended_by_us = completed.timed_out or completed.interrupted_by is not None
        engine_failed = not is_ended_by_us and (
            engine.held.startswith(_CERTAINLY_NOT_THE_TASK)
            or (completed.exit_status in ENGINE_STATUSES and engine.held and not self._has_started(name, began))
        )
        # The task may go on without its client, or without the monitor of Podman, which then ends with 127.
        may_be_left = completed.exit_status >= ENGINE_STATUSES[0] and (self.is_podman or not engine_failed)
        is_gone = True
        if is_ended_by_us or may_be_left:
            is_gone = self.remove(name, may_come=completed.ended_by is not None and not is_ended_by_us)
        if engine_failed:
            self._explain(plan, engine.held.decode("utf-8", "replace"))
        engine.release()
        outcome = outcome_of(completed, plan.timeout)
        if not is_gone:
            words = f"{self.executable} does not answer, and the container {name} may go on"
            return replace(outcome, reason=f"{outcome.reason}; {words}" if outcome.reason else words)
        return self._handed_over(plan, outcome)

    def job(self, plan: SetupPlan) -> Job:
        from mlcommons_box.runners.job import Job

        image = self.image(plan)
        prepared = Job(
            needs=((self.executable,),),
            is_ready=(Command(argv=(self.executable, "image", "inspect", image.name)),),
            preparation=self._preparation_of_job(image),
            lock=image.lock,
            engine=self.executable,
            identify=(*self.identify(), *([asking(image.made_from)] if image.is_built() else [])),
        )
        if not isinstance(plan, RunPlan):
            return prepared
        remove: list[tuple[str, ...]] = [("rm", "--force", container_name(plan))]
        if self.is_podman:  # for the same reasons as in remove()
            remove = [("kill", container_name(plan)), *remove, *remove]
        return replace(
            prepared,
            task=self.run_command(plan),
            after=() if self.platform.user is None else (self.hand_over_command(plan),),
            stop=tuple(Command(argv=(self.executable, *words)) for words in remove),
        )

    def _preparation_of_job(self, image: DockerImage) -> tuple[Command, ...]:
        if not image.is_built():
            return tuple(image.commands())
        return noting(image.made_from, (image.box_here or image.box.root) / "build", *image.commands())

    def identity(self, plan: SetupPlan) -> Identity:
        from mlcommons_box.runners.identity import TIMEOUT, identity_of, remembered_answer

        of_image, of_engine = self.identify()
        witnesses = [self._which(self.executable)]
        if not self.is_podman:
            is_local = not (self.environ.get("DOCKER_HOST") or self.environ.get("DOCKER_CONTEXT"))
            witnesses.append(str(_SOCKET) if is_local else None)
        said = ask(of_image, timeout=TIMEOUT).stdout.decode("utf-8", "replace")
        found = identity_of(f"{said}\n{remembered_answer(of_engine, witnesses, self.environ)}")
        if not self.image(plan).is_stale():
            return found
        return replace(found, doubt=f"build/ has changed since {self.options.image} was built")

    def _has_started(self, name: str, since: int) -> bool:
        """Whether the engine remembers that the container began: what was said is then the task's.

        Docker and Podman say with one exit status that they failed and that the task ended with it.
        """
        end = ("--stream=false",) if self.is_podman else ("--until", f"{time.time():.6f}")
        argv = (self.executable, "events", "--since", str(since), *end)
        filters = ("--filter", f"container={name}", "--filter", "event=start", "--format", "{{.Status}}")
        completed, said = capture(Command(argv=(*argv, *filters)), timeout=10)
        return completed.exit_status == 0 and b"start" in said

    def _explain(self, plan: RunPlan, said: str) -> NoReturn:
        """Raise what the engine's own words mean."""
        image = self.image(plan)
        if image.is_missing(said):
            raise NotPrepared
        image.fail("start a container of", said)

    def remove(self, name: str, *, may_come: bool = False) -> bool:
        """Remove the container, whatever it is doing; False when the engine does not answer in time.

        It ``may_come`` yet, when the client was killed: a daemon creates what it was asked for all the same.
        """
        until = time.monotonic() + (_COMES if may_come else 0.0)
        if self.is_podman:  # whose 'rm' waits first, and has had an option against that since version 4 only
            self._is_done("kill", name)
        is_done = self._is_done("rm", "--force", name)
        if is_done is False:
            is_done = self._is_done("rm", "--force", name)  # Podman's first one fails where its monitor was killed
        while is_done is False and time.monotonic() < until:
            time.sleep(_PAUSE)
            is_done = self._is_done("rm", "--force", name)
        if self.is_podman:  # which knows nothing of a monitor whose client was killed just after starting it
            kill_started_with("conmon", name)
        return is_done is not None

    def _is_done(self, *words: str) -> bool | None:
        """Whether the engine does it, None when it does not answer; a second signal must not keep us from it."""
        for _ in range(2):
            try:
                completed, _said = capture(Command(argv=(self.executable, *words)), timeout=_PATIENCE)
                return None if completed.timed_out else completed.exit_status == 0
            except Interrupted:
                continue
            except UnavailableError:
                break
        return False

    def _handed_over(self, plan: RunPlan, outcome: Outcome) -> Outcome:
        """Outputs of a task that ran as somebody else become the caller's."""
        if self.platform.user is None or not self._strangers(plan):
            return outcome
        capture(self.hand_over_command(plan))
        strangers = self._strangers(plan)
        if not strangers:
            return outcome
        reason = f"{len(strangers)} files still belong to somebody else, such as {str(strangers[0])!r}"
        return Outcome(status=outcome.status, exit_status=outcome.exit_status, reason=outcome.reason or reason)

    def _strangers(self, plan: RunPlan) -> list[Path]:
        """What of the outputs belongs to somebody else; an input that lies in one is nobody's business."""
        found = (path for output in plan.outputs for path in not_owned(output.path, self.caller.uid))
        return [path for path in found if not any(path.is_relative_to(given.path) for given in plan.inputs)]


def is_failure(exit_status: int, said: bytes) -> bool:
    """Whether a run that ended so, and said that first, is one that the engine could not start."""
    return said.startswith(_CERTAINLY_NOT_THE_TASK) or (
        exit_status in ENGINE_STATUSES and said.startswith(_ENGINE_SAYS)
    )
