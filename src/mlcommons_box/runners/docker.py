"""The Docker runner: ``docker``, ``nvidia-docker`` or ``podman``, by their command lines.

A task runs as the caller, without privilege, with its inputs read-only and its outputs writable, and in a
container that is gone when the task has ended.  A run of a box whose image is there is one call of the engine.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NoReturn

from mlcommons_box.cache import cache_directory, file_name_of
from mlcommons_box.command import CallerVariable, Command
from mlcommons_box.errors import Interrupted, Problem, UnavailableError
from mlcommons_box.model import DockerOptions, Platform
from mlcommons_box.planning import RunPlan, SetupPlan
from mlcommons_box.process import ask, capture, stream
from mlcommons_box.process_tree import kill_started_with
from mlcommons_box.runners.container_run import Caller, fields, goes_by_name, limits, not_owned, task_environment
from mlcommons_box.runners.docker_image import DockerImage, cannot_start
from mlcommons_box.runners.failures import HeldBack
from mlcommons_box.runners.interface import NotPrepared, Observer, Outcome, outcome_of
from mlcommons_box.runners.made_from import asking, noting
from mlcommons_box.runners.mounts import Mount, container_mounts, mount_problems
from mlcommons_box.runners.programs import which
from mlcommons_box.runners.site_settings import CA_FILE
from mlcommons_box.value import replace

if TYPE_CHECKING:
    from mlcommons_box.runners.identity import Identity
    from mlcommons_box.runners.job import Elsewhere, Job

HOME = "/tmp"  # noqa: S108  # in the container, where any user may write
_CA_TARGET = PurePosixPath(CA_FILE)
ROOT_CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID")
"""What root keeps in an image that insists on it: enough to own files and to become somebody else."""
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
_PATIENCE = 30.0
"""Seconds in which an engine has to remove a container; a daemon that hangs never answers."""
SELINUX = Path("/sys/fs/selinux/enforce")


class DockerRunner:
    """Runs tasks in containers of Docker or Podman."""

    def __init__(
        self,
        platform: Platform,
        environ: Mapping[str, str] = os.environ,
        caller: Caller | None = None,
        selinux: bool | None = None,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        if not isinstance(platform.options, DockerOptions):
            raise TypeError("the Docker runner takes a Docker platform")
        self.platform = platform
        self.options = platform.options
        self.environ = environ
        self.caller = caller or Caller.of_this_process()
        self.elsewhere = elsewhere
        self.selinux = _selinux_enforces() if selinux is None else selinux
        self.is_podman = self.options.executable == "podman"
        self.rootless = self.is_podman and self.caller.uid != 0

    @property
    def executable(self) -> str:
        """The client to call; ``nvidia-docker`` is ``docker`` where there is no such wrapper any more."""
        named = self.options.executable
        if named == "nvidia-docker" and self._which(named) is None:
            return "docker"
        return named

    def _which(self, name: str) -> str | None:
        return self.elsewhere.programs.get(name) if self.elsewhere else which(name, self.environ)

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
        engine_failed = engine.held.startswith(_CERTAINLY_NOT_THE_TASK) or (
            completed.exit_status in ENGINE_STATUSES and engine.held and not self._has_started(name, began)
        )
        # The task may go on without its client, or without the monitor of Podman, which then ends with 127.
        may_be_left = completed.exit_status >= ENGINE_STATUSES[0] and (self.is_podman or not engine_failed)
        is_gone = True
        if completed.timed_out or completed.interrupted_by is not None or may_be_left:
            is_gone = self.remove(name)
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
            lock=cache_directory(self.environ) / "locks" / f"image-{file_name_of(self.executable, image.name)}",
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

    def identify(self) -> tuple[Command, ...]:
        """The commands that say which image and which engine it is."""
        image = "image {{.Id}}{{range .RepoDigests}}{{println}}digest {{.}}{{end}}"
        which_part = "Client" if self.is_podman else "Server"
        name = "podman" if self.is_podman else "docker"
        return (
            Command(argv=(self.executable, "image", "inspect", "--format", image, self.options.image)),
            Command(argv=(self.executable, "version", "--format", f"engine {name} {{{{.{which_part}.Version}}}}")),
        )

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

    def remove(self, name: str) -> bool:
        """Remove the container, whatever it is doing; False when the engine does not answer in time."""
        if self.is_podman:  # whose 'rm' waits first, and has had an option against that since version 4 only
            self._is_done("kill", name)
        is_done = self._is_done("rm", "--force", name)
        if is_done is False:
            self._is_done("rm", "--force", name)  # Podman's first one fails where its monitor was killed
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

    def run_command(self, plan: RunPlan) -> Command:
        """The one command that runs the task."""
        mounts = container_mounts(plan)
        added: list[tuple[str, str | CallerVariable]] = []
        argv = [self.executable, "run", "--rm", "--init", "--pull", "never", "--name", container_name(plan)]
        argv += self._security(plan)
        certificates = plan.ca_bundle and Mount(source=plan.ca_bundle, target=_CA_TARGET, writable=False)
        argv += self._mounts(plan, *mounts.mounts, *([certificates] if certificates else []))
        for name, value in task_environment(plan, self.environ, HOME).items():
            by_name = isinstance(value, CallerVariable) or goes_by_name(name, value)
            argv += ["--env", name if by_name else f"{name}={value}"]
            if by_name and isinstance(value, str):
                added.append((name, value))  # a secret is no argument, which every user of the machine could read
        for key, text in (("box", plan.box.name), ("task", plan.task.name), ("run", plan.id)):
            argv += ["--label", f"org.mlcommons.box.{key}={text}"]
        argv += [
            *self._resources(plan.devices),
            *self.platform.arguments,
            self.options.image,
            plan.task.name,
            *mounts.arguments,
        ]
        return Command(argv=tuple(argv), added=tuple(added))

    def _security(self, plan: RunPlan) -> list[str]:
        words = [*self._identity(), "--cap-drop", "ALL"]
        if self._is_root():
            words += [word for name in ROOT_CAPABILITIES for word in ("--cap-add", name)]
        words += ["--security-opt", "no-new-privileges"]
        if plan.network == "none":
            words += ["--network", "none"]
        return words

    def _is_root(self) -> bool:
        """Whether the platform file says that the task is root in its container."""
        return (self.platform.user or "").partition(":")[0] in ("root", "0")

    def _identity(self) -> list[str]:
        user = self.platform.user
        if self.rootless and user is None:
            return ["--userns", "keep-id", "--user", f"{self.caller.uid}:{self.caller.gid}"]
        if user is not None:
            return ["--user", user]
        groups = (
            [] if self.is_podman else [word for gid in self.caller.groups for word in ("--group-add", str(gid))]
        )
        return ["--user", f"{self.caller.uid}:{self.caller.gid}", *groups]

    def _mounts(self, plan: RunPlan, *mounts: Mount) -> list[str]:
        """The mounts, and what SELinux asks for: only what lies in the workspace is ours to give another label."""
        workspace = Path(os.path.realpath(plan.workspace))
        relabels = self.is_podman and all(mount.source.is_relative_to(workspace) for mount in mounts)
        words = ["--security-opt", "label=disable"] if self.selinux and not relabels else []
        for mount in mounts:
            flags = [] if mount.writable else ["ro=true" if self.is_podman else "readonly"]
            if self.selinux and relabels:
                flags.append("relabel=shared")
            words += ["--mount", fields(*flags, type="bind", source=mount.source, target=mount.target)]
        return words

    def _resources(self, devices: Sequence[str]) -> list[str]:
        words = limits(self.platform.resources)
        if devices and self.is_podman:
            return [*words, *(word for name in devices for word in ("--device", f"nvidia.com/gpu={name}"))]
        if devices:  # a record of CSV, in which the quotes keep the names together
            listed = ",".join(devices)
            return [*words, "--gpus", f'"device={listed}"' if len(devices) > 1 else f"device={listed}"]
        gpus = self.platform.resources.gpus
        if gpus is None and self.options.executable == "nvidia-docker" and self.executable == "docker":
            gpus = "all"
        if gpus and self.is_podman:
            names = ["all"] if gpus == "all" else [str(number) for number in range(gpus)]
            words += [word for name in names for word in ("--device", f"nvidia.com/gpu={name}")]
        elif gpus:
            words += ["--gpus", str(gpus)]
        return words

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

    def hand_over_command(self, plan: RunPlan) -> Command:
        """Makes the caller the owner of all outputs, by the image's own ``chown``."""
        mounts = container_mounts(plan).mounts
        owner = "0:0" if self.rootless else f"{self.caller.uid}:{self.caller.gid}"
        argv = [self.executable, "run", "--rm", "--pull", "never", "--network", "none", "--user", "0:0"]
        argv += ["--cap-drop", "ALL", "--cap-add", "CHOWN", "--cap-add", "DAC_OVERRIDE"]
        argv += ["--security-opt", "no-new-privileges"]
        argv += self._mounts(plan, *mounts)
        argv += ["--entrypoint", "chown", self.options.image, "-R", "-h", owner]
        return Command(argv=(*argv, *(str(mount.target) for mount in mounts if mount.writable)))


def is_failure(exit_status: int, said: bytes) -> bool:
    """Whether a run that ended so, and said that first, is one that the engine could not start."""
    return said.startswith(_CERTAINLY_NOT_THE_TASK) or (
        exit_status in ENGINE_STATUSES and said.startswith(_ENGINE_SAYS)
    )


def container_name(plan: RunPlan) -> str:
    """The name of a run's container, by which it can be found from anywhere."""
    return f"mlbox-{plan.id}"


def _selinux_enforces() -> bool:
    try:
        return SELINUX.read_text().strip() == "1"
    except OSError:
        return False
