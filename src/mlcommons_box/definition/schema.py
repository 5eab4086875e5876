"""What each definition file may hold, key by key.

``schema_type`` and ``schema_version`` choose the rules.  Version 1.0.0 is the form of the published boxes; keys
that came later need 1.1.0 in the file that uses them.  Two forms of an SSH platform have no ``schema_type``:
the tutorial's, and that of release 0.2.3.
"""

from __future__ import annotations

from collections.abc import Container

from mlcommons_box.definition.rules import (
    Choice,
    Context,
    Either,
    Field,
    Fields,
    Flag,
    Invalid,
    JsonSchema,
    ListOf,
    MapOf,
    Nullable,
    Number,
    Placed,
    Positive,
    Record,
    Scalar,
    Text,
    Version,
    Whole,
    WholeOr,
    did_you_mean,
    listed,
    nearest,
    version_text,
)
from mlcommons_box.definition.source import MappingNode, Node, Problems, ScalarNode, kind_of, quoted, resolve
from mlcommons_box.value import Value

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


class Docker:
    """``mlbox_docker``."""

    IMAGE = Field("image", DOCKER_IMAGE, "Docker image.")
    RUNTIME = Field(
        "docker_runtime", Choice("docker", "nvidia-docker", "podman"), "Executable that runs the image."
    )
    RECORD = Record(IMAGE, RUNTIME, *PLATFORM_COMMON)


class Singularity:
    """``mlbox_singularity``."""

    IMAGE = Field("image", PATH, "Image file; relative to the workspace, environment variables are expanded.")
    RECORD = Record(IMAGE, *PLATFORM_COMMON)


class _EngineRecord(Record):
    """The keys of ``mlcommons_box_platform``, where ``platform.name`` says what ``container`` may hold."""

    def check(self, node: Node, context: Context) -> Fields:
        fields = super().check(node, context)
        container = fields[Generic.CONTAINER]
        image, runtime = container[Generic.IMAGE], container.locations.get(Generic.RUNTIME.name)
        if fields[Generic.PLATFORM][Generic.NAME] == "docker":
            DOCKER_IMAGE.check(ScalarNode(value=image.value, plain=False, location=image.location), context)
        elif runtime:
            raise context.reject(
                "unknown-key", "a Singularity platform has no 'runtime'", runtime, hint="remove it"
            )
        return fields

    def json_schema(self, version: Version) -> JsonSchema:
        def container(properties: JsonSchema) -> JsonSchema:
            return {"properties": {"container": {"properties": properties}}}

        return super().json_schema(version) | {
            "if": {"properties": {"platform": {"properties": {"name": {"const": "docker"}}}}},
            "then": container({Generic.IMAGE.name: DOCKER_IMAGE.json_schema(version)}),
            "else": container({Generic.RUNTIME.name: False}),
        }


class Generic:
    """``mlcommons_box_platform``, the form of release 0.2.3."""

    NAME = Field("name", Choice("docker", "singularity"), "Kind of platform.")
    VERSION = Field("version", VERSION_RANGE, "Versions of the engine that will do.")
    PLATFORM = Field("platform", Record(NAME, VERSION), "Engine that runs the box.")
    IMAGE = Field("image", Placed(PATH), "Image name (Docker) or image file (Singularity).")
    RUNTIME = Field("runtime", Docker.RUNTIME.rule, "Docker executable.", required=False)
    CONTAINER = Field("container", Record(IMAGE, RUNTIME), "What to run.")
    RECORD = _EngineRecord(PLATFORM, CONTAINER, *PLATFORM_COMMON)


class Local:
    """``mlbox_local``: no container engine."""

    ENTRYPOINT = Field(
        "entrypoint",
        Either(PATH, ListOf(ARGUMENT, minimum=1)),
        "Program in build/ that runs tasks, or a list of arguments.",
        required=False,
    )
    PYTHON = Field("python", Text("a Python version or path"), "Python version, or path of one.", required=False)
    REQUIREMENTS = Field("requirements", PATH, "Requirements file, relative to build/.", required=False)
    RECORD = Record(ENTRYPOINT, PYTHON, REQUIREMENTS, *PLATFORM_COMMON)


class Ssh:
    """``mlbox_ssh``, and the two forms without a ``schema_type``."""

    HOST = Field("host", Text("a host", _WORD), "Host, as ssh(1) knows it.")
    USER = Field("user", Text("a user", _WORD), "User there.", required=False)
    PLATFORM = Field("platform", Text("a platform file"), "File in platforms/: what to use over there.")
    PORT = Field("port", Whole(1, 65535), "Port of the SSH server.", required=False)
    IDENTITY = Field("identity_file", Nullable(PATH), "Private key.", required=False)
    DIRECTORY = Field("directory", Nullable(PATH), "Where the box goes on the host.", required=False)
    RECORD = Record(HOST, USER, PORT, IDENTITY, PLATFORM, DIRECTORY, DESCRIPTION, ENVIRONMENT)

    PYTHON = Field("python", Text("a Python"), "Python over there.", required=False)
    INTERPRETER_TYPE = Field("type", Choice("system", "virtualenv"), "Kind of interpreter.")
    SYNC = Field("sync", Flag(), "Whether to send it before a run.", required=False)
    ENV_PATH = Field("path", Nullable(PATH), "Where to keep it on the host.", required=False)
    ENV_INTERPRETER = Field("interpreter", Record(INTERPRETER_TYPE, PYTHON), "Interpreter there.", required=False)
    VARIABLES = Field("variables", ENVIRONMENT_MAP, "Environment variables.", required=False)
    ENV = Field(
        "env", Record(ENV_PATH, SYNC, ENV_INTERPRETER, VARIABLES), "The 2020 library there.", required=False
    )
    MLBOX = Field("mlbox", Record(ENV_PATH, SYNC), "Where the box goes on the host.", required=False)
    TUTORIAL_RECORD = Record(HOST, USER, PLATFORM, ENV, MLBOX)

    IDENTIFY = Field("identify_file", Nullable(PATH), "Private key (spelt as release 0.2.3 did).", required=False)
    AUTHENTICATION = Field("authentication", Record(USER, IDENTIFY, IDENTITY), "How to log in.", required=False)
    REQUIREMENTS = Field("requirements", ListOf(Text("a requirement")), "Packages.", required=False)
    LOCATION = Field("location", Nullable(PATH), "Directory of the environment.", required=False)
    NAME = Field("name", Nullable(Text("a name")), "Name of the environment.", required=False)
    INTERPRETER = Field(
        "interpreter",
        Record(INTERPRETER_TYPE, PYTHON, REQUIREMENTS, LOCATION, NAME),
        "Interpreter.",
        required=False,
    )
    RELEASE_RECORD = Record(HOST, PLATFORM, AUTHENTICATION, INTERPRETER)


class Slurm:
    """``mlbox_slurm``."""

    PLATFORM = Field("platform", Text("a platform file"), "File in platforms/: what to use inside the job.")
    PARTITION = Field("partition", Text("a partition"), "Partition.", required=False)
    ACCOUNT = Field("account", Text("an account"), "Account to charge.", required=False)
    QOS = Field("qos", Text("a quality of service"), "Quality of service.", required=False)
    NODES = Field("nodes", Whole(1), "Number of nodes.", required=False)
    REQUEUE = Field("requeue", Flag(), "Whether a job that lost its node is queued again.", required=False)
    RECORD = Record(
        PLATFORM, PARTITION, ACCOUNT, QOS, NODES, REQUEUE, DESCRIPTION, ENVIRONMENT, RESOURCES, ARGUMENTS
    )


class Kubernetes:
    """``mlbox_kubernetes``."""

    _NAME = Text("a name", r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
    IMAGE = Field("image", DOCKER_IMAGE, "Container image.")
    NAMESPACE = Field("namespace", _NAME, "Namespace.", required=False)
    CONTEXT = Field("context", Text("a context"), "Context of kubectl.", required=False)
    SERVICE_ACCOUNT = Field("service_account", _NAME, "Service account.", required=False)
    WORKSPACE_CLAIM = Field("workspace_claim", _NAME, "Volume claim that holds the workspace.", required=False)
    NODE_SELECTOR = Field("node_selector", MapOf(Text("a label"), Scalar()), "Labels of nodes.", required=False)
    KEY = Field("key", Text("a key"), "Taint's key.", required=False)
    OPERATOR = Field("operator", Choice("Exists", "Equal"), "How to compare.", required=False)
    VALUE = Field("value", Scalar(), "Taint's value.", required=False)
    EFFECT = Field("effect", Choice("NoSchedule", "PreferNoSchedule", "NoExecute"), "Effect.", required=False)
    TOLERATIONS = Field(
        "tolerations", ListOf(Record(KEY, OPERATOR, VALUE, EFFECT)), "Tolerated taints.", required=False
    )
    PULL_SECRETS = Field("pull_secrets", ListOf(_NAME), "Secrets for pulling the image.", required=False)
    RECORD = Record(
        IMAGE, NAMESPACE, CONTEXT, SERVICE_ACCOUNT, WORKSPACE_CLAIM, NODE_SELECTOR, TOLERATIONS, PULL_SECRETS,
        DESCRIPTION, ENVIRONMENT, RESOURCES, NETWORK, USER,
    )  # fmt: skip


class Other:
    """``mlbox_runner``: the runner of another distribution."""

    RUNNER = Field("runner", Text("a runner", r"[A-Za-z0-9][A-Za-z0-9_.-]*"), "Name of the runner's entry point.")
    OPTIONS = Field("options", MapOf(Text("an option"), Scalar()), "What the runner is told.", required=False)
    RECORD = Record(RUNNER, OPTIONS, *PLATFORM_COMMON)


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


class FileSchema(Value):
    """The rules of one ``schema_type`` and the versions in which they are published."""

    type: str
    what: str
    record: Record
    versions: tuple[Version, ...] = (V1_0, V1_1)


SCHEMAS: dict[str, FileSchema] = {
    schema.type: schema
    for schema in (
        FileSchema(type="mlbox_root", what="a box", record=Root.RECORD),
        FileSchema(type="mlbox_task", what="a task", record=Task.RECORD),
        FileSchema(type="mlbox_invoke", what="a run configuration", record=Invoke.RECORD),
        FileSchema(type="mlbox_docker", what="a Docker platform", record=Docker.RECORD),
        FileSchema(type="mlbox_singularity", what="a Singularity platform", record=Singularity.RECORD),
        FileSchema(
            type="mlcommons_box_platform", what="a platform", record=Generic.RECORD, versions=(V0_1, V1_0, V1_1)
        ),
        FileSchema(type="mlbox_local", what="a local platform", record=Local.RECORD),
        FileSchema(type="mlbox_ssh", what="an SSH platform", record=Ssh.RECORD),
        FileSchema(type="mlbox_slurm", what="a Slurm platform", record=Slurm.RECORD),
        FileSchema(type="mlbox_kubernetes", what="a Kubernetes platform", record=Kubernetes.RECORD),
        FileSchema(type="mlbox_runner", what="a platform of another distribution's runner", record=Other.RECORD),
        FileSchema(type="mlbox_sweep", what="a sweep", record=Sweep.RECORD),
    )
}
_NOT_PLATFORMS = ("mlbox_root", "mlbox_task", "mlbox_invoke", "mlbox_sweep")
PLATFORM_TYPES = tuple(name for name in SCHEMAS if name not in _NOT_PLATFORMS)

SCHEMA_TYPE = "schema_type"
SCHEMA_VERSION = "schema_version"
SSH_TUTORIAL = "ssh (tutorial)"
SSH_RELEASE = "ssh (0.2.3)"


def check_file(node: Node, allowed: tuple[str, ...], problems: Problems) -> tuple[str, Fields] | None:
    """The kind and the values of a definition file's root node, which has to be of an ``allowed`` kind.

    Returns None when anything is wrong; every problem found is in ``problems``.
    """
    if not isinstance(node, MappingNode):
        problems.report(
            "wrong-type", f"expected keys like 'schema_type: ...', found {kind_of(node)}", node.location
        )
        return None
    keys = {key.value for key, _ in node.entries}
    if not keys & {SCHEMA_TYPE, SCHEMA_VERSION} and Ssh.HOST.name in keys and "mlbox_ssh" in allowed:
        return _check_untyped_ssh(node, problems)
    kind = _schema_type(node, allowed, problems)
    if kind is None:
        return None
    schema = SCHEMAS[kind]
    slip = _slip(node, SCHEMA_VERSION, schema.record.fields)
    version = _schema_version(node, schema, slip, problems)
    if version is None:
        return None
    header = (SCHEMA_TYPE, SCHEMA_VERSION, slip and slip.value)
    body = tuple(entry for entry in node.entries if entry[0].value not in header)
    fields = _check_record(schema.record, MappingNode(entries=body, location=node.location), version, problems)
    return None if fields is None or SCHEMA_VERSION not in keys else (kind, fields)


def _check_record(record: Record, node: Node, version: Version, problems: Problems) -> Fields | None:
    try:
        return record.check(node, Context(problems=problems, version=version))
    except Invalid:
        return None


def _check_untyped_ssh(node: MappingNode, problems: Problems) -> tuple[str, Fields] | None:
    keys = {key.value for key, _ in node.entries}
    release = bool(keys & {"authentication", "interpreter"})
    fields = _check_record(Ssh.RELEASE_RECORD if release else Ssh.TUTORIAL_RECORD, node, V1_0, problems)
    return None if fields is None else (SSH_RELEASE if release else SSH_TUTORIAL, fields)


def _schema_type(node: MappingNode, allowed: tuple[str, ...], problems: Problems) -> str | None:
    wanted = listed(allowed, "or")
    value = _header(node, SCHEMA_TYPE)
    if value is None:
        hint = f"write 'schema_type: {allowed[0]}'" if len(allowed) == 1 else f"its value is {wanted}"
        _missing(SCHEMA_TYPE, node, _slip(node, SCHEMA_TYPE, ()), hint, problems)
        return None
    if not isinstance(value, ScalarNode):
        problems.report("wrong-type", f"expected {wanted}, found {kind_of(value)}", value.location)
        return None
    kind = value.value
    if kind not in SCHEMAS:
        hint = did_you_mean(nearest(kind, allowed)) or f"expected {wanted}"
        problems.report("schema-type", f"unknown schema_type {quoted(kind)}", value.location, hint=hint)
        return None
    if kind not in allowed:
        message = f"expected {wanted}, found {kind!r}, which is {SCHEMAS[kind].what}"
        problems.report("schema-type", message, value.location)
        return None
    return kind


def _schema_version(
    node: MappingNode, schema: FileSchema, slip: ScalarNode | None, problems: Problems
) -> Version | None:
    """The declared version; the first one when the key is missing, so that the rest can still be checked."""
    known = [version_text(version) for version in schema.versions]
    value = _header(node, SCHEMA_VERSION)
    if value is None:
        _missing(SCHEMA_VERSION, node, slip, f"write 'schema_version: {version_text(V1_0)}'", problems)
        return schema.versions[0]
    text = resolve(value) if isinstance(value, ScalarNode) else None
    if isinstance(text, str) and text in known:
        return schema.versions[known.index(text)]
    hint = f"known versions: {listed(known)}"
    if isinstance(text, str):
        problems.report("schema-version", f"unsupported schema_version {quoted(text)}", value.location, hint=hint)
    else:
        found = kind_of(value)
        problems.report("wrong-type", f"expected a version like 1.0.0, found {found}", value.location, hint=hint)
    return None


def _slip(node: MappingNode, name: str, known: Container[str]) -> ScalarNode | None:
    """The key that may be a slip of ``name``, when that is not there itself."""
    keys = [key for key, _ in node.entries]
    if any(key.value == name for key in keys):
        return None
    strange = (key for key in keys if key.value not in (SCHEMA_TYPE, SCHEMA_VERSION) and key.value not in known)
    return next((key for key in strange if nearest(key.value, [name])), None)


def _missing(name: str, node: MappingNode, slip: ScalarNode | None, hint: str, problems: Problems) -> None:
    if slip:
        message = f"unknown key {quoted(slip.value)}"
        problems.report("unknown-key", message, slip.location, hint=did_you_mean(name))
    else:
        problems.report("missing-key", f"the key {name!r} is missing", node.location, hint=hint)


def _header(node: MappingNode, name: str) -> Node | None:
    return next((value for key, value in node.entries if key.value == name), None)
