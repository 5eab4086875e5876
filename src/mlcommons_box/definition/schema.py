"""What each definition file may hold, key by key.

``schema_type`` and ``schema_version`` choose the rules.  Version 1.0.0 is the form of the published boxes; keys
that came later need 1.1.0 in the file that uses them.  Two forms of an SSH platform have no ``schema_type``:
the tutorial's, and that of release 0.2.3.
"""

from __future__ import annotations

from mlcommons_box.definition.rules import (
    Choice,
    Flag,
    Nullable,
    Number,
    Positive,
    Scalar,
    Text,
    Version,
    Whole,
    WholeOr,
)
from mlcommons_box.definition.structures import Either, Field, ListOf, MapOf, Placed, Record

V0_1: Version = (0, 1, 0)
V1_0: Version = (1, 0, 0)
V1_1: Version = (1, 1, 0)

_NUMBER = r"(?:0|[1-9][0-9]*)"
_LABEL = r"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
SEMVER = Text(
    "a version like 1.0.0",
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-{_LABEL}(?:\.{_LABEL})*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?",
    "write three numbers, MAJOR.MINOR.PATCH (https://semver.org)",
)
_BOUND = r"(?: *(?:>=|<=|==|!=|~=|>|<))? *[0-9]{1,18}(?:\.[0-9]{1,18})* *"
VERSION_RANGE = Text("a version range like '>=18.01'", rf"{_BOUND}(?:,{_BOUND})*")
PATH = Text("a path", r"[^\x00]+")
PARAMETER_NAME = Text(
    "a parameter name",
    r"[^\s=\x00-\x1f\x7f-\x9f\ufeff-][^\s=\x00-\x1f\x7f-\x9f\ufeff]*",
    "a name has no spaces, no '=' and no leading '-'",
)
_WORD = r"[^\s\x00-\x1f\x7f-\x9f\ufeff-][^\s\x00-\x1f\x7f-\x9f\ufeff]*"
VARIABLE_NAME = Text("the name of an environment variable", r"[A-Za-z_][A-Za-z0-9_]*")
PROSE = Text("a text", r"[^\x00-\x08\x0b-\x1f\x7f]+")
DOCKER_IMAGE = Text(
    "a Docker image name like 'mlperf/mlbox:mnist'",
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]+)?/)?"
    r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?",
    "lower case; NAME, NAME:TAG or REGISTRY/NAME:TAG",
)
MEMORY = Text(
    "an amount of memory like 8G",
    r"(?=.*[1-9])[0-9]{1,15}(?:\.[0-9]{1,15})? ?(?:[KMGT]i?)?B?",
    "write 512M, 8G or 8GiB",
)
TIME = Text(
    "a time like 30m",
    r"(?=.*[1-9])(?:[0-9]{1,9} ?[smhd]|[0-9]{1,9}:[0-5][0-9]:[0-5][0-9])",
    "write 90s, 30m, 2h, 1d or 01:30:00",
)
ENVIRONMENT_MAP = MapOf(VARIABLE_NAME, Nullable(Scalar()))

DESCRIPTION = Field("description", PROSE, "What this is, for people.", since=V1_1)
ENVIRONMENT = Field(
    "environment",
    ENVIRONMENT_MAP,
    "Environment variables; one without a value is taken from the caller.",
    since=V1_1,
)
NETWORK = Field("network", Choice("none", "default"), "'none' cuts the task off from the network.", since=V1_1)

CPUS = Field("cpus", Positive(), "Number of CPUs; fractions are allowed.", required=False)
MEMORY_FIELD = Field("memory", MEMORY, "Memory, such as 8G.", required=False)
GPUS = Field("gpus", WholeOr(0, "all"), "Number of GPUs, or 'all'.", required=False)
TIME_FIELD = Field("time", TIME, "Longest run, such as 2h or 01:30:00.", required=False)
RESOURCES = Field("resources", Record(CPUS, MEMORY_FIELD, GPUS, TIME_FIELD), "What a task may use.", since=V1_1)
USER = Field("user", Text("a user"), "User inside the container; the caller unless given.", since=V1_1)
ARGUMENT = Text("an argument", PATH.pattern)
ARGUMENTS = Field("arguments", ListOf(ARGUMENT), "Extra arguments for the engine, passed as they are.", since=V1_1)
PLATFORM_COMMON = (DESCRIPTION, ENVIRONMENT, RESOURCES, NETWORK, USER, ARGUMENTS)


class Root:
    """``mlbox.yaml``."""

    NAME = Field("name", Text("a name"), "Name of the box.")
    AUTHOR = Field("author", Text("the author"), "Who developed the box.")
    VERSION = Field("version", SEMVER, "Version of the box.")
    SPEC_VERSION = Field("mlbox_spec_version", SEMVER, "Version of the box specification.")
    TASKS = Field("tasks", ListOf(Placed(PATH), minimum=1), "Task files, relative to the box.")
    RECORD = Record(NAME, AUTHOR, VERSION, SPEC_VERSION, TASKS, DESCRIPTION)


class Task:
    """``tasks/*.yaml``."""

    PARAMETER_NAME = Field("name", Placed(PARAMETER_NAME), "Name of the parameter.")
    PARAMETER_TYPE = Field("type", Choice("file", "directory"), "What the parameter's path is.")
    REPRODUCIBLE = Field(
        "reproducible",
        Flag(),
        "Whether the same inputs give the same bytes; a log or a time in it does not.",
        since=V1_1,
    )
    _INPUTS = ListOf(Record(PARAMETER_NAME, PARAMETER_TYPE, DESCRIPTION))
    _OUTPUTS = ListOf(Record(PARAMETER_NAME, PARAMETER_TYPE, DESCRIPTION, REPRODUCIBLE))
    INPUTS = Field("inputs", _INPUTS, "What the task reads.")
    OUTPUTS = Field("outputs", _OUTPUTS, "What the task writes.")
    RECORD = Record(INPUTS, OUTPUTS, DESCRIPTION, NETWORK, ENVIRONMENT)


class Invoke:
    """``run/**/*.yaml``; a binding is a path, or the 0.2.3 form with a Kubernetes volume claim."""

    PVC = Field("pvc", Text("a volume claim"), "Persistent volume claim that holds the path.")
    K8S = Field("k8s", Record(PVC), "Where the path lives on Kubernetes.")
    PATH = Field("path", PATH, "Path, relative to the box.")
    TASK_NAME = Field("task_name", Placed(Text("a task's name")), "Task to run.")
    _BINDINGS = MapOf(PARAMETER_NAME, Either(PATH.rule, Record(PATH, K8S)))
    INPUTS = Field("input_binding", _BINDINGS, "Path of each input.")
    OUTPUTS = Field("output_binding", _BINDINGS, "Path of each output.")
    RECORD = Record(TASK_NAME, INPUTS, OUTPUTS, DESCRIPTION)


class Sweep:
    """``sweeps/*.yaml``: one run configuration, many values of its hyper-parameters."""

    RUN = Field("run", Placed(Text("a run configuration")), "Run configuration to repeat.")
    METHOD = Field("method", Choice("grid", "list", "random", "search"), "How the trials are chosen.")
    PARAMETERS_FILE = Field(
        "parameters_file", Placed(PARAMETER_NAME), "Input whose file holds the hyper-parameters.", required=False
    )
    LOW = Field("low", Number(), "Lower bound.")
    HIGH = Field("high", Number(), "Upper bound.")
    LOGARITHMIC = Field("log", Flag(), "Whether to draw on a logarithmic scale.", required=False)
    PARAMETERS = Field(
        "parameters",
        MapOf(Text("a hyper-parameter"), Either(ListOf(Scalar(), minimum=1), Record(LOW, HIGH, LOGARITHMIC))),
        "Values of each hyper-parameter: a list, or bounds to draw from.",
    )
    TRIALS = Field("trials", Whole(1), "Number of trials.", required=False)
    SEED = Field("seed", Whole(0), "Seed of random choices.", required=False)
    METRIC = Field("metric", Text("the name of a metric"), "Metric that says which trial is best.", required=False)
    DIRECTION = Field(
        "direction", Choice("minimize", "maximize"), "Whether a low or a high metric is good.", required=False
    )
    RECORD = Record(RUN, METHOD, PARAMETERS_FILE, PARAMETERS, TRIALS, SEED, METRIC, DIRECTION, DESCRIPTION)
