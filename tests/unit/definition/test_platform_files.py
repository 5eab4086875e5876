from __future__ import annotations

from pathlib import Path

import pytest

from mlcommons_box.definition.built_in import built_in_platform
from mlcommons_box.definition.loader import load_platform
from mlcommons_box.definition.platforms import (
    check_referenced_platform,
    memory_bytes,
    read_platform,
    seconds,
)
from mlcommons_box.definition.problems import Problems
from mlcommons_box.model import (
    DockerOptions,
    EnvironmentVariable,
    KubernetesOptions,
    LocalOptions,
    Platform,
    Resources,
    SingularityOptions,
    SlurmOptions,
    SshOptions,
    Toleration,
)
from tests.unit.definition.definition_corpus import VALID


def variables(**values: str | None) -> tuple[EnvironmentVariable, ...]:
    return tuple(EnvironmentVariable(name=name, value=value) for name, value in values.items())


PLATFORMS = [
    Platform(
        name="docker", runner="docker", options=DockerOptions(image="mlperf/mlbox:mnist", executable="docker")
    ),
    Platform(
        name="docker_nvidia",
        runner="docker",
        options=DockerOptions(image="mlperf/mlbox_mnist:0.0.2", executable="nvidia-docker"),
    ),
    Platform(
        name="docker_with_new_keys",
        runner="docker",
        options=DockerOptions(image="ubuntu"),
        description="Half of the machine.",
        environment=variables(http_proxy=None, TOKEN=None, LEVEL="3"),
        resources=Resources(cpus=2.5, memory=8 * 10**9, gpus="all", time=7200),
        network="none",
        user="root",
        arguments=("--shm-size=1g", "--ipc", "host"),
    ),
    Platform(name="docker_no_resources", runner="docker", options=DockerOptions(image="ubuntu:24.04")),
    Platform(
        name="generic_docker_0_1_0",
        runner="docker",
        options=DockerOptions(image="mlperf/mlbox_hello_world:0.0.1", engine_version=">=18.01"),
    ),
    Platform(
        name="generic_docker_1_0_0",
        runner="docker",
        options=DockerOptions(image="mlperf/mlbox_mnist", executable="nvidia-docker", engine_version="18.09"),
    ),
    Platform(
        name="generic_docker_1_1_0",
        runner="docker",
        options=DockerOptions(image="mlperf/mlbox_mnist:0.0.2", engine_version=">=18.01, <30, !=20.10.1"),
        description="The form of 2020, with new keys.",
        resources=Resources(memory=4 * 1024**3),
        network="none",
    ),
    Platform(
        name="generic_singularity",
        runner="singularity",
        options=SingularityOptions(
            image="${HOME}/mlcommons-box/containers/MNIST 0.0.2.simg", engine_version=">=3.5"
        ),
    ),
    Platform(
        name="singularity",
        runner="singularity",
        options=SingularityOptions(image="/opt/singularity/mlperf_mlbox_mnist-0.01.simg"),
    ),
    Platform(
        name="singularity_with_new_keys",
        runner="singularity",
        options=SingularityOptions(image="${HOME}/containers/$USER.sif"),
        description="On the cluster.",
        environment=variables(OMP_NUM_THREADS="8"),
        resources=Resources(gpus=1),
        network="default",
        user="someone",
        arguments=("--nvccli",),
    ),
    Platform(name="local", runner="local", options=LocalOptions()),
    Platform(
        name="local_every_key",
        runner="local",
        options=LocalOptions(entrypoint=("mnist.py",), python="3.12", requirements="requirements-gpu.txt"),
        description="No container engine.",
        environment=variables(KERAS_BACKEND="jax"),
        resources=Resources(cpus=1),
    ),
    Platform(
        name="local_argument_list",
        runner="local",
        options=LocalOptions(entrypoint=("python", "-m", "my package"), python="/usr/bin/python3"),
    ),
    Platform(name="ssh", runner="ssh", options=SshOptions(host="gpu-7.example.org", platform="docker.yaml")),
    Platform(
        name="ssh_every_key",
        runner="ssh",
        options=SshOptions(
            host="10.1.2.3",
            platform="docker.yaml",
            user="alice",
            port=2222,
            identity_file="~/.ssh/id_ed25519",
            directory="/scratch/boxes",
        ),
        description="A machine in the cellar.",
        environment=variables(HTTPS_PROXY="http://proxy:3128"),
    ),
    Platform(
        name="ssh_nothing_said", runner="ssh", options=SshOptions(host="cellar", platform="local", port=22)
    ),
    Platform(
        name="ssh_tutorial",
        runner="ssh",
        options=SshOptions(
            host="REMOTE_HOST", platform="docker.yaml", user="USER", synchronize=False, python="python3.6"
        ),
        environment=variables(http_proxy=None, LEVEL="2"),
    ),
    Platform(
        name="ssh_tutorial_minimal", runner="ssh", options=SshOptions(host="cellar", platform="docker.yaml")
    ),
    Platform(
        name="ssh_0_2_3",
        runner="ssh",
        options=SshOptions(
            host="REMOTE_HOST",
            platform="docker.yaml",
            user="USER",
            identity_file="/home/user/.ssh/gcp_rsa",
            python="python3.8",
        ),
    ),
    Platform(
        name="ssh_0_2_3_system",
        runner="ssh",
        options=SshOptions(
            host="REMOTE_HOST",
            platform="docker.yaml",
            user="USER",
            identity_file="~/.ssh/id_rsa",
            python="python3.6",
        ),
    ),
    Platform(name="slurm", runner="slurm", options=SlurmOptions(platform="singularity.yaml")),
    Platform(
        name="slurm_every_key",
        runner="slurm",
        options=SlurmOptions(
            platform="singularity.yaml", partition="gpu", account="proj-42", qos="normal", nodes=2, requeue=True
        ),
        description="The cluster.",
        environment=variables(NCCL_DEBUG="INFO"),
        resources=Resources(cpus=16, memory=64 * 10**9, gpus=4, time=12 * 3600),
        arguments=("--exclusive",),
    ),
    Platform(name="kubernetes", runner="kubernetes", options=KubernetesOptions(image="mlperf/mlbox_mnist:0.0.2")),
    Platform(
        name="kubernetes_every_key",
        runner="kubernetes",
        options=KubernetesOptions(
            image="registry.example.org/mlbox_mnist:0.0.2",
            namespace="team-a",
            context="admin@cluster",
            service_account="runner",
            workspace_claim="mlbox.workspace",
            node_selector=(("kubernetes.io/arch", "amd64"), ("gpu", "true"), ("generation", "4")),
            tolerations=(
                Toleration(key="nvidia.com/gpu", operator="Equal", value="1", effect="NoSchedule"),
                Toleration(operator="Exists"),
                Toleration(),
            ),
            pull_secrets=("registry-key",),
        ),
        description="The other cluster.",
        environment=variables(TOKEN=None),
        resources=Resources(cpus=4, memory=16 * 1024**3, gpus=1, time=86400),
        network="default",
        user="1000",
    ),
    Platform(
        name="resources_1", runner="local", options=LocalOptions(),
        resources=Resources(cpus=1, memory=512 * 10**6, gpus=0, time=90),
    ),
    Platform(
        name="resources_2", runner="local", options=LocalOptions(),
        resources=Resources(cpus=0.5, memory=8 * 1024**3, gpus=2, time=1800),
    ),
    Platform(
        name="resources_3", runner="local", options=LocalOptions(),
        resources=Resources(cpus=10, memory=1_500_000_000, gpus="all", time=5400),
    ),
    Platform(
        name="resources_4", runner="local", options=LocalOptions(),
        resources=Resources(cpus=16, memory=1 << 30, gpus=4, time=86400),
    ),
]  # fmt: skip


@pytest.mark.parametrize("expected", PLATFORMS, ids=lambda platform: platform.name)
def test_a_platform_has_every_value_of_its_file(expected: Platform) -> None:
    file = VALID / "platform" / f"{expected.name}.yaml"

    found = load_platform(file)

    assert found.file == file
    assert found == Platform(**{**vars(expected), "file": file})
    assert found.resources.gpus is None or isinstance(found.resources.gpus, int | str)


def test_the_published_ssh_platform_is_mapped() -> None:
    platform = load_platform(VALID / "published" / "mnist" / "platforms" / "ssh.yaml")

    assert platform.options == SshOptions(
        host="REMOTE_HOST", user="USER", platform="docker.yaml", synchronize=True, python="python3.6"
    )
    assert platform.environment == ()


def test_two_names_of_one_key_file_are_a_problem(tmp_path: Path) -> None:
    file = tmp_path / "ssh.yaml"
    file.write_text("host: a\nplatform: b\nauthentication: {user: c, identify_file: d, identity_file: e}\n")

    assert read_platform(file, problems := Problems()) is None
    assert [problem.code for problem in problems] == ["duplicate-key"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0), ("1024", 1024), ("1B", 1), ("1K", 1000), ("1KB", 1000), ("1Ki", 1024), ("1KiB", 1024),
        ("512M", 512_000_000), ("512MiB", 512 << 20), ("8G", 8 * 10**9), ("8 GB", 8 * 10**9), ("8GiB", 8 << 30),
        ("2T", 2 * 10**12), ("2TiB", 2 << 40), ("1.5G", 1_500_000_000), ("0.5Gi", 1 << 29), ("1.5", 2),
    ],
)  # fmt: skip
def test_memory_is_in_bytes(text: str, expected: int) -> None:
    assert memory_bytes(text) == expected


@pytest.mark.parametrize("text", ["", "G", "8g", "8Q", "-8G", "8  G", "8GiBB", "iB"])
def test_what_is_no_amount_of_memory_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an amount of memory"):
        memory_bytes(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0s", 0), ("90s", 90), ("30m", 1800), ("2h", 7200), ("1d", 86400), ("1 d", 86400), ("00:00:01", 1),
        ("01:30:00", 5400), ("1:30:00", 5400), ("100:00:00", 360_000),
    ],
)  # fmt: skip
def test_time_is_in_seconds(text: str, expected: int) -> None:
    assert seconds(text) == expected


def test_the_local_platform_needs_no_file() -> None:
    assert built_in_platform("local") == Platform(name="local", runner="local", options=LocalOptions())
    with pytest.raises(ValueError, match="no built-in platform 'docker'"):
        built_in_platform("docker")


HANDED_OVER = [("there.yaml", []), ("local", []), ("none.yaml", ["missing-file"]), ("there", [])]


@pytest.mark.parametrize(("target", "codes"), HANDED_OVER)
@pytest.mark.parametrize("kind", ["mlbox_ssh", "mlbox_slurm"])
def test_a_platform_that_is_handed_over_to_has_to_be_there(
    tmp_path: Path, kind: str, target: str, codes: list[str]
) -> None:
    (tmp_path / "platforms").mkdir()
    (tmp_path / "platforms" / "there.yaml").touch()
    file = tmp_path / "platforms" / "here.yaml"
    host = "host: a\n" if kind == "mlbox_ssh" else ""
    file.write_text(f"schema_version: 1.0.0\nschema_type: {kind}\n{host}platform: {target}\n")
    problems = Problems()

    check_referenced_platform(load_platform(file), tmp_path, problems)

    assert [problem.code for problem in problems] == codes
    assert all(problem.location and problem.location.text == f"platform: {target}" for problem in problems)
