"""The local runner: no container engine, an environment made from ``build/requirements.txt``.

It is **not a sandbox**: a task runs as the user, on the user's files, with the user's network.  What it shares
with the container runners is the way a task is started and what it can see of the caller's environment, so
that a box gives the same bytes here as there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mlcommons_box.command import Command
from mlcommons_box.errors import BoxError, ConfigurationError, Problem
from mlcommons_box.model import LocalOptions, Platform
from mlcommons_box.planning import RunPlan, SetupPlan
from mlcommons_box.process import stream
from mlcommons_box.runners.container_run import unsupported
from mlcommons_box.runners.devices import VARIABLE, first_devices
from mlcommons_box.runners.interface import NotPrepared, Observer, Outcome, outcome_of
from mlcommons_box.runners.python_environment import (
    PythonEnvironment,
    environment_elsewhere,
    python_environment,
)
from mlcommons_box.runners.site_settings import CERTIFICATE_VARIABLES, INDEX_VARIABLES, PROXY_VARIABLES
from mlcommons_box.value import replace

if TYPE_CHECKING:
    from mlcommons_box.runners.identity import Identity
    from mlcommons_box.runners.job import Elsewhere, Job

_PASSED = (
    "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR",
    *PROXY_VARIABLES, *CERTIFICATE_VARIABLES, "SSL_CERT_DIR", *INDEX_VARIABLES, "PIP_CONFIG_FILE", "PIP_FIND_LINKS",
    "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "LD_LIBRARY_PATH",
)  # fmt: skip
"""What a task sees of the caller's environment, next to PATH: who and where the caller is, the way to the
network, and the devices.  All else comes from the box and the platform, as it does in a container."""


class LocalRunner:
    """Runs tasks as processes of this machine."""

    def __init__(
        self,
        platform: Platform,
        environ: Mapping[str, str] = os.environ,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        if not isinstance(platform.options, LocalOptions):
            raise TypeError("the local runner takes a local platform")
        self.platform = platform
        self.options = platform.options
        self.environ = environ
        self.elsewhere = elsewhere

    def _build_here(self, plan: SetupPlan) -> Path:
        """The box's ``build/`` as this machine has it, to be read."""
        return plan.box.build if self.elsewhere is None else self.elsewhere.box / "build"

    def is_available(self, plan: SetupPlan) -> bool:
        return True

    def check(self, plan: SetupPlan) -> list[Problem]:
        resources = self.platform.resources
        asked = {
            "cpus": resources.cpus,
            "memory": resources.memory,
            "user": self.platform.user,
            "arguments": self.platform.arguments,
            "network: none": self.platform.network == "none",
        }
        unmet = [name for name, value in asked.items() if value]
        problems = unsupported(self.platform, "the local runner", unmet, "remove it, or use a container platform")
        try:
            self.entrypoint(plan, self.environment(plan))
        except BoxError as error:
            problems.append(
                Problem(
                    code="cannot-run",
                    message=error.message,
                    location=self.platform.place,
                    hint=error.hint,
                    exit_status=error.exit_status,
                )
            )
        return problems

    def notes(self, plan: SetupPlan) -> list[str]:
        if isinstance(plan, RunPlan) and plan.task.network == "none":
            return [f"the task {plan.task.name!r} needs no network, but the local runner cannot cut it off"]
        return []

    def commands(self, plan: SetupPlan) -> list[Command]:
        environment = self.environment(plan)
        preparation = [] if environment.is_ready() else environment.build_commands()
        return [*preparation, self.task_command(plan, environment)] if isinstance(plan, RunPlan) else preparation

    def prepare(self, plan: SetupPlan, observer: Observer) -> None:
        self.environment(plan).ensure(observer)

    def built(self, plan: SetupPlan) -> list[Path]:
        directory = self.environment(plan).directory
        return [directory] if directory.exists() else []

    def run(self, plan: RunPlan, observer: Observer) -> Outcome:
        environment = self.environment(plan)
        if not environment.is_ready():
            raise NotPrepared
        completed = stream(
            self.task_command(plan, environment),
            on_output=observer.output,
            on_start=lambda pid: observer.started(str(pid)),
            timeout=plan.timeout,
            mark=os.urandom(8).hex(),
        )
        return replace(outcome_of(completed, plan.timeout), usage=completed.usage)

    def environment(self, plan: SetupPlan) -> PythonEnvironment:
        """The Python environment that the box needs."""
        build = self._build_here(plan)
        named = self.options.requirements
        requirements = build / (named or "requirements.txt")
        if named and not requirements.is_file():
            raise ConfigurationError(f"there is no requirements file {str(requirements)!r}")
        found = requirements if requirements.is_file() else None
        if self.elsewhere is not None:
            return environment_elsewhere(
                self.elsewhere, plan.box.build, found, self.options.python, self.environ, plan.ca_bundle
            )
        return python_environment(
            build,
            requirements=found,
            python=self.options.python,
            environ=self.environ,
            ca_bundle=plan.ca_bundle,
        )

    def job(self, plan: SetupPlan) -> Job:
        from mlcommons_box.runners.job import Job

        environment = self.environment(plan)
        return Job(
            needs=((environment.python,),) if environment.installer is None else ((environment.installer,),),
            is_ready=(
                Command(argv=("test", "-f", str(environment.marker))),
                Command(argv=("test", "-x", str(environment.interpreter))),
            ),
            preparation=(
                Command(argv=("rm", "-rf", "--", str(environment.directory))),
                *environment.build_commands(),
                Command(argv=("touch", "--", str(environment.marker))),
            ),
            lock=environment.lock_file,
            task=self.task_command(plan, environment) if isinstance(plan, RunPlan) else None,
            asks="all",
            is_marked=True,
            identify=(
                Command(argv=("cat", "--", str(environment.directory / "pyvenv.cfg"))),
                Command(
                    argv=("find", str(environment.directory / "lib"), "-maxdepth", "3", "-name", "*.dist-info")
                ),
            ),
        )

    def identity(self, plan: SetupPlan) -> Identity:
        from mlcommons_box.runners.identity import identity_of

        directory = self.environment(plan).directory
        names = sorted(str(path) for path in directory.glob("lib/python*/site-packages/*.dist-info"))
        said = [(directory / "pyvenv.cfg").read_text("utf-8", "replace"), *names]
        return identity_of("\n".join(said))

    def task_command(self, plan: RunPlan, environment: PythonEnvironment) -> Command:
        """The command that runs the task in its environment: ``ENTRYPOINT TASK --name=path ...``."""
        arguments = tuple(f"--{parameter.name}={parameter.path}" for parameter in plan.parameters)
        return Command(
            argv=(*self.entrypoint(plan, environment), plan.task.name, *arguments),
            directory=plan.box.build,
            environment=self.variables(plan, environment),
        )

    def variables(self, plan: RunPlan, environment: PythonEnvironment) -> tuple[tuple[str, str | None], ...]:
        """All that the task sees in its environment; None is the caller's own value."""
        path = os.pathsep.join([str(environment.bin), self.environ.get("PATH", os.defpath)])
        variables: dict[str, str | None] = {name: None for name in _PASSED if name in self.environ}
        variables |= {
            "PATH": path,
            "VIRTUAL_ENV": str(environment.directory),
            "PYTHONUNBUFFERED": "1",
            # Compiled modules go beside the environment, so that a run leaves nothing in build/.
            "PYTHONPYCACHEPREFIX": str(environment.directory / "pycache"),
        }
        if plan.ca_bundle:
            variables |= dict.fromkeys(CERTIFICATE_VARIABLES, str(plan.ca_bundle))
        gpus = self.platform.resources.gpus
        if plan.devices:
            variables[VARIABLE] = ",".join(plan.devices)
        elif isinstance(gpus, int):
            variables[VARIABLE] = first_devices(gpus, self.environ)
        variables |= {variable.name: variable.value for variable in plan.environment}
        return tuple(variables.items())

    def entrypoint(self, plan: SetupPlan, environment: PythonEnvironment | None = None) -> tuple[str, ...]:
        """The arguments that start the box's program, before the task's name.

        Raises :class:`ConfigurationError` when the platform names none and convention finds none.
        """
        build, interpreter = plan.box.build, str((environment or self.environment(plan)).interpreter)
        here = self._build_here(plan)
        first, *rest = self.options.entrypoint or (self.conventional_program(plan.box.name, here),)
        program = build / first
        if not self.options.entrypoint or (here / first).is_file():
            prefix = (interpreter,) if program.suffix == ".py" else ()
            return (*prefix, str(program), *rest)
        if first in ("python", "python3"):
            return (interpreter, *rest)
        if "/" in first or first.endswith(".py") or not rest:
            raise ConfigurationError(f"there is no program {str(program)!r}", hint="mend 'entrypoint'")
        return (first, *rest)

    @staticmethod
    def conventional_program(name: str, build: Path) -> str:
        """``build/NAME.py`` by the box's name, else ``build/main.py``, else the only Python file there."""
        for candidate in (f"{name}.py", f"{name.replace('-', '_')}.py", "main.py"):
            if "/" not in candidate and (build / candidate).is_file():
                return candidate
        programs = sorted(path.name for path in build.glob("*.py"))
        if len(programs) == 1:
            return programs[0]
        found = f"found {', '.join(programs)}" if programs else "there is no Python file"
        raise ConfigurationError(
            f"no program to run in {str(build)!r}: {found}",
            hint=f"call it {name}.py or main.py, or name it as 'entrypoint' in platforms/local.yaml",
        )
