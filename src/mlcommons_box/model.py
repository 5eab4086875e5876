"""The things that definition files describe, as immutable values.

A box has tasks; a task has typed parameters; a run configuration binds a task's parameters to paths; a
platform says how and where to run.  Values are made by :mod:`mlcommons_box.definition.loader` and never change
afterwards.  Those that come from a file remember their place in it (``location``), so that a mistake found
later can still be shown where it was made; places do not take part in comparisons.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from mlcommons_box.errors import Location
from mlcommons_box.value import Value, aside

ParameterType = Literal["file", "directory"]
Network = Literal["none", "default"]


class Parameter(Value):
    """An input or output of a task; its value is always the path of a file or of a directory.

    ``reproducible`` says of an output whether the same inputs give the same bytes.
    """

    name: str
    type: ParameterType
    description: str | None = None
    reproducible: bool = True
    location: Location | None = aside(default=None)


class EnvironmentVariable(Value):
    """A variable for a task's environment; a ``value`` of None is taken from the caller's own by name."""

    name: str
    value: str | None


class Task(Value):
    """What a box can do.  ``name`` is the stem of ``file``, the task's definition file."""

    name: str
    file: Path
    inputs: tuple[Parameter, ...]
    outputs: tuple[Parameter, ...]
    description: str | None = None
    network: Network = "default"
    environment: tuple[EnvironmentVariable, ...] = ()


class Box(Value):
    """A directory with ``mlbox.yaml``.  ``root`` is absolute; ``version`` and ``spec_version`` are semver."""

    root: Path
    name: str
    author: str
    version: str
    spec_version: str
    tasks: tuple[Task, ...]
    description: str | None = None

    @property
    def workspace(self) -> Path:
        """Where inputs and outputs live unless told otherwise."""
        return self.root / "workspace"

    @property
    def build(self) -> Path:
        """The build context: code, ``requirements.txt`` and recipes."""
        return self.root / "build"


class Binding(Value):
    """One parameter bound to one path, as written.

    ``claim`` names the Kubernetes persistent volume claim that holds the path (the 0.2.3 form); the path is
    then relative to the box and not to the workspace.
    """

    parameter: str
    path: str
    claim: str | None = None
    location: Location | None = aside(default=None)
    name_location: Location | None = aside(default=None)


class RunConfiguration(Value):
    """Binds a task's parameters to paths.

    ``name`` is the file's path below ``run/`` without its suffix (``train``, ``alice/hello``).
    """

    name: str
    file: Path
    task: str
    inputs: tuple[Binding, ...]
    outputs: tuple[Binding, ...]
    description: str | None = None
    task_location: Location | None = aside(default=None)

    @property
    def is_claimed(self) -> bool:
        """Whether a binding lies in a Kubernetes volume claim, which only that platform can reach."""
        return any(binding.claim for binding in (*self.inputs, *self.outputs))


class Resources(Value):
    """What a task may use: CPUs (may be a fraction), ``memory`` in bytes, GPUs, ``time`` in seconds."""

    cpus: float | None = None
    memory: int | None = None
    gpus: int | Literal["all"] | None = None
    time: int | None = None


class LocalOptions(Value):
    """No container engine: an environment made from ``build/requirements.txt``.

    ``entrypoint`` is an argument list, or empty to find the program by convention.  ``python`` is a version
    (``3.12``) or the path of an interpreter; None is the interpreter that runs this software.
    ``requirements`` is relative to ``build/``; None is ``requirements.txt`` if it exists.
    """

    entrypoint: tuple[str, ...] = ()
    python: str | None = None
    requirements: str | None = None


class DockerOptions(Value):
    """An image and the command-line client that runs it (``docker``, ``nvidia-docker`` or ``podman``)."""

    image: str
    executable: str = "docker"
    engine_version: str | None = None


class SingularityOptions(Value):
    """``image`` is a path as written: variables not expanded, relative to the workspace."""

    image: str
    engine_version: str | None = None


class SshOptions(Value):
    """A host reached by OpenSSH, and the platform file (in ``platforms/``) that says how to run there.

    ``directory`` is where the box goes on that host; None lets the host decide.  ``synchronize`` is whether
    the box is sent before a run.  ``python`` is the interpreter for the local runner over there.
    """

    host: str
    platform: str
    user: str | None = None
    port: int | None = None
    identity_file: str | None = None
    directory: str | None = None
    synchronize: bool = True
    python: str | None = None


class SlurmOptions(Value):
    """A Slurm cluster, and the platform file that says how to run inside the job."""

    platform: str
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    nodes: int | None = None
    requeue: bool = False


class Toleration(Value):
    """A Kubernetes toleration; fields as in the Pod specification."""

    key: str | None = None
    operator: str | None = None
    value: str | None = None
    effect: str | None = None


class KubernetesOptions(Value):
    """A Kubernetes cluster as ``kubectl`` reaches it; ``workspace_claim`` is a persistent volume claim."""

    image: str
    namespace: str | None = None
    context: str | None = None
    service_account: str | None = None
    workspace_claim: str | None = None
    node_selector: tuple[tuple[str, str], ...] = ()
    tolerations: tuple[Toleration, ...] = ()
    pull_secrets: tuple[str, ...] = ()


class OtherOptions(Value):
    """What the runner of another distribution is told: names and values that only that runner knows."""

    options: tuple[tuple[str, str], ...] = ()


PlatformOptions = (
    LocalOptions | DockerOptions | SingularityOptions | SshOptions | SlurmOptions | KubernetesOptions | OtherOptions
)


class Platform(Value):
    """How and where to run.  ``name`` is the stem of ``file``; ``runner`` is the kind of runner it needs.

    ``arguments`` go to the engine as they are: the explicit way to what this software has no word for.
    """

    name: str
    runner: str
    options: PlatformOptions
    file: Path | None = None
    description: str | None = None
    environment: tuple[EnvironmentVariable, ...] = ()
    resources: Resources = Resources()
    network: Network | None = None
    user: str | None = None
    arguments: tuple[str, ...] = ()
    location: Location | None = aside(default=None)

    @property
    def place(self) -> Location | None:
        """Where a message about it points; None for one that is built in."""
        return self.location or (Location(file=str(self.file)) if self.file else None)


SweepMethod = Literal["grid", "list", "random", "search"]
Direction = Literal["minimize", "maximize"]


class SweepRange(Value):
    """Bounds of a hyper-parameter to draw from, ``high`` included."""

    low: float
    high: float
    logarithmic: bool = False


class Sweep(Value):
    """One run configuration, many values of its hyper-parameters (as texts, or a range to draw from).

    ``name`` is the file's path below ``sweeps/`` without its suffix.  ``parameters_file`` names the input whose
    file holds the hyper-parameters; None means that they are bindings.  ``metric`` and ``direction`` say which
    trial is the best.  ``places`` are those of the names of ``parameters``.
    """

    name: str
    file: Path
    run: str
    method: SweepMethod
    parameters: tuple[tuple[str, tuple[str, ...] | SweepRange], ...]
    parameters_file: str | None = None
    trials: int | None = None
    seed: int | None = None
    metric: str | None = None
    direction: Direction | None = None
    description: str | None = None
    places: tuple[Location, ...] = aside(default=())
