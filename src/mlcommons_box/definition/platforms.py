"""Reads platform files of every kind."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import cast

from mlcommons_box.definition import file_kinds, platform_schema, schema
from mlcommons_box.definition.built_in import BUILT_IN_PLATFORMS
from mlcommons_box.definition.files import environment_of, read_kind
from mlcommons_box.definition.places import PLATFORM_DIRECTORY, handed_over_file, name_below
from mlcommons_box.definition.problems import Problems
from mlcommons_box.definition.structures import Fields
from mlcommons_box.errors import Location
from mlcommons_box.model import (
    DockerOptions,
    KubernetesOptions,
    LocalOptions,
    Network,
    OtherOptions,
    Platform,
    PlatformOptions,
    Resources,
    SingularityOptions,
    SlurmOptions,
    SshOptions,
    Toleration,
)
from mlcommons_box.suggestions import quoted


def read_platform(file: Path, problems: Problems) -> Platform | None:
    """The platform in one file."""
    checked = read_kind(file, file_kinds.PLATFORM_TYPES, problems)
    if checked is None:
        return None
    kind, fields = checked
    before = len(problems)
    options = _OPTIONS[kind](fields, problems)
    runner = fields[platform_schema.Other.RUNNER] if isinstance(options, OtherOptions) else _RUNNERS[type(options)]
    if len(problems) > before:
        return None
    variables = fields.get(schema.ENVIRONMENT)
    if kind == file_kinds.SSH_TUTORIAL and platform_schema.Ssh.ENV.name in fields.locations:
        variables = fields[platform_schema.Ssh.ENV].get(platform_schema.Ssh.VARIABLES)
    return Platform(
        name=name_below(file, file.parent),
        runner=runner,
        options=options,
        file=file,
        description=fields.get(schema.DESCRIPTION),
        environment=environment_of(variables or ()),
        resources=_resources(fields.get(schema.RESOURCES)),
        network=cast("Network | None", fields.get(schema.NETWORK)),
        user=None if isinstance(options, SshOptions) else fields.get(schema.USER),
        arguments=fields.or_else(schema.ARGUMENTS, ()),
        location=fields.locations.get("platform", Location(file=str(file))),
    )


def check_referenced_platform(platform: Platform, root: Path, problems: Problems) -> None:
    """Report a platform that an SSH or Slurm platform hands over to and that is not in ``platforms/``."""
    if not isinstance(platform.options, SshOptions | SlurmOptions):
        return
    target = platform.options.platform
    if handed_over_file(root, target) is None and target not in BUILT_IN_PLATFORMS:
        name = quoted(target)
        message = f"{platform.name!r} hands over to the platform {name}, which is not in {PLATFORM_DIRECTORY}/"
        problems.report("missing-file", message, platform.location)


def _docker(fields: Fields, problems: Problems) -> DockerOptions:
    return DockerOptions(
        image=fields[platform_schema.Docker.IMAGE], executable=fields[platform_schema.Docker.RUNTIME]
    )


def _singularity(fields: Fields, problems: Problems) -> SingularityOptions:
    return SingularityOptions(image=fields[platform_schema.Singularity.IMAGE])


def _generic(fields: Fields, problems: Problems) -> PlatformOptions:
    platform, container = fields[platform_schema.Generic.PLATFORM], fields[platform_schema.Generic.CONTAINER]
    version = platform[platform_schema.Generic.VERSION]
    image = container[platform_schema.Generic.IMAGE]
    runtime = container.get(platform_schema.Generic.RUNTIME)
    if platform[platform_schema.Generic.NAME] == "singularity":
        return SingularityOptions(image=image.value, engine_version=version)
    return DockerOptions(image=image.value, executable=runtime or "docker", engine_version=version)


def _local(fields: Fields, problems: Problems) -> LocalOptions:
    entrypoint = fields.or_else(platform_schema.Local.ENTRYPOINT, ())
    return LocalOptions(
        entrypoint=(entrypoint,) if isinstance(entrypoint, str) else entrypoint,
        python=fields.get(platform_schema.Local.PYTHON),
        requirements=fields.get(platform_schema.Local.REQUIREMENTS),
    )


def _ssh(fields: Fields, problems: Problems) -> SshOptions:
    return SshOptions(
        host=fields[platform_schema.Ssh.HOST],
        platform=fields[platform_schema.Ssh.PLATFORM],
        user=fields.get(platform_schema.Ssh.USER),
        port=fields.get(platform_schema.Ssh.PORT),
        identity_file=fields.get(platform_schema.Ssh.IDENTITY),
        directory=fields.get(platform_schema.Ssh.DIRECTORY),
    )


def _ssh_tutorial(fields: Fields, problems: Problems) -> SshOptions:
    box, environment = fields.get(platform_schema.Ssh.MLBOX), fields.get(platform_schema.Ssh.ENV)
    interpreter = environment.get(platform_schema.Ssh.ENV_INTERPRETER) if environment else None
    return SshOptions(
        host=fields[platform_schema.Ssh.HOST],
        platform=fields[platform_schema.Ssh.PLATFORM],
        user=fields.get(platform_schema.Ssh.USER),
        directory=box.get(platform_schema.Ssh.ENV_PATH) if box else None,
        synchronize=box.or_else(platform_schema.Ssh.SYNC, True) if box else True,
        python=interpreter.get(platform_schema.Ssh.PYTHON) if interpreter else None,
    )


def _ssh_release(fields: Fields, problems: Problems) -> SshOptions:
    login, interpreter = fields.get(platform_schema.Ssh.AUTHENTICATION), fields.get(platform_schema.Ssh.INTERPRETER)
    identity = None
    if login:
        identity = login.get(platform_schema.Ssh.IDENTITY) or login.get(platform_schema.Ssh.IDENTIFY)
        if login.get(platform_schema.Ssh.IDENTITY) and login.get(platform_schema.Ssh.IDENTIFY):
            place = login.locations[platform_schema.Ssh.IDENTIFY.name]
            problems.report("duplicate-key", "the key is named twice", place, hint="keep 'identity_file'")
    return SshOptions(
        host=fields[platform_schema.Ssh.HOST],
        platform=fields[platform_schema.Ssh.PLATFORM],
        user=login.get(platform_schema.Ssh.USER) if login else None,
        identity_file=identity,
        python=interpreter.get(platform_schema.Ssh.PYTHON) if interpreter else None,
    )


def _slurm(fields: Fields, problems: Problems) -> SlurmOptions:
    return SlurmOptions(
        platform=fields[platform_schema.Slurm.PLATFORM],
        partition=fields.get(platform_schema.Slurm.PARTITION),
        account=fields.get(platform_schema.Slurm.ACCOUNT),
        qos=fields.get(platform_schema.Slurm.QOS),
        nodes=fields.get(platform_schema.Slurm.NODES),
        requeue=fields.or_else(platform_schema.Slurm.REQUEUE, False),
    )


def _kubernetes(fields: Fields, problems: Problems) -> KubernetesOptions:
    keys = platform_schema.Kubernetes
    return KubernetesOptions(
        image=fields[keys.IMAGE],
        namespace=fields.get(keys.NAMESPACE),
        context=fields.get(keys.CONTEXT),
        service_account=fields.get(keys.SERVICE_ACCOUNT),
        workspace_claim=fields.get(keys.WORKSPACE_CLAIM),
        node_selector=tuple((entry.name, entry.value) for entry in fields.or_else(keys.NODE_SELECTOR, ())),
        tolerations=tuple(
            Toleration(
                key=item.get(keys.KEY),
                operator=item.get(keys.OPERATOR),
                value=item.get(keys.VALUE),
                effect=item.get(keys.EFFECT),
            )
            for item in fields.or_else(keys.TOLERATIONS, ())
        ),
        pull_secrets=fields.or_else(keys.PULL_SECRETS, ()),
    )


def _other(fields: Fields, problems: Problems) -> OtherOptions:
    entries = fields.or_else(platform_schema.Other.OPTIONS, ())
    return OtherOptions(options=tuple((entry.name, entry.value) for entry in entries))


_OPTIONS: dict[str, Callable[[Fields, Problems], PlatformOptions]] = {
    "mlbox_docker": _docker,
    "mlbox_singularity": _singularity,
    "mlcommons_box_platform": _generic,
    "mlbox_local": _local,
    "mlbox_ssh": _ssh,
    file_kinds.SSH_TUTORIAL: _ssh_tutorial,
    file_kinds.SSH_RELEASE: _ssh_release,
    "mlbox_slurm": _slurm,
    "mlbox_kubernetes": _kubernetes,
    "mlbox_runner": _other,
}
_RUNNERS: dict[type[PlatformOptions], str] = {
    DockerOptions: "docker",
    SingularityOptions: "singularity",
    LocalOptions: "local",
    SshOptions: "ssh",
    SlurmOptions: "slurm",
    KubernetesOptions: "kubernetes",
}

_MEMORY_UNITS = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4}
_TIME_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _resources(fields: Fields | None) -> Resources:
    if fields is None:
        return Resources()
    memory, time = fields.get(schema.MEMORY_FIELD), fields.get(schema.TIME_FIELD)
    gpus = fields.get(schema.GPUS)
    return Resources(
        cpus=fields.get(schema.CPUS),
        memory=None if memory is None else memory_bytes(memory),
        gpus=gpus if gpus is None or isinstance(gpus, int) else "all",
        time=None if time is None else seconds(time),
    )


def memory_bytes(text: str) -> int:
    """``8G`` is 8 * 1000**3 bytes and ``8GiB`` (or ``8Gi``) 8 * 1024**3; the text satisfies ``schema.MEMORY``."""
    matched = re.fullmatch(r"([0-9.]+) ?([KMGT]?)(i?)B?", text)
    if not matched:
        raise ValueError(f"not an amount of memory: {text!r}")
    number, unit, binary = matched.groups()
    factor = _MEMORY_UNITS[unit] if not binary else 1 << (10 * "KMGT".index(unit) + 10)
    return round(float(number) * factor)


def seconds(text: str) -> int:
    """``90s``, ``30m``, ``2h``, ``1d`` or ``HH:MM:SS`` in seconds; the text satisfies ``schema.TIME``."""
    if ":" in text:
        hours, minutes, rest = map(int, text.split(":"))
        return hours * 3600 + minutes * 60 + rest
    return int(text[:-1]) * _TIME_UNITS[text[-1]]
