"""The fields of platform configurations, kind by kind."""

from __future__ import annotations

from mlcommons_box.definition.nodes import Node, ScalarNode
from mlcommons_box.definition.rules import (
    Choice,
    Context,
    Flag,
    JsonSchema,
    Nullable,
    Scalar,
    Text,
    Version,
    Whole,
)
from mlcommons_box.definition.schema import (
    _WORD,
    ARGUMENT,
    ARGUMENTS,
    DESCRIPTION,
    DOCKER_IMAGE,
    ENVIRONMENT,
    ENVIRONMENT_MAP,
    NETWORK,
    PATH,
    PLATFORM_COMMON,
    RESOURCES,
    USER,
    VERSION_RANGE,
)
from mlcommons_box.definition.structures import Either, Field, Fields, ListOf, MapOf, Placed, Record


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
