"""Runners are found by name, and imported when they are chosen."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mlcommons_box.errors import UnavailableError
from mlcommons_box.model import (
    DockerOptions,
    KubernetesOptions,
    LocalOptions,
    Platform,
    PlatformOptions,
    SingularityOptions,
    SlurmOptions,
    SshOptions,
)
from mlcommons_box.runners.registry import BUILT_IN, GROUP, has_runner, runner_for
from tests.conftest import write_files


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (LocalOptions(), "local"),
        (DockerOptions(image="a"), "docker"),
        (SingularityOptions(image="a"), "singularity"),
        (SshOptions(host="a", platform="local"), "ssh"),
        (SlurmOptions(platform="local"), "slurm"),
        (KubernetesOptions(image="a"), "kubernetes"),
    ],
)
def test_a_runner_of_ours_is_found_by_the_platform(options: PlatformOptions, name: str) -> None:
    platform = Platform(name="p", runner=name, options=options)
    assert has_runner(platform)
    assert type(runner_for(platform)).__module__ == BUILT_IN[name].partition(":")[0]


def test_a_runner_of_another_distribution_is_found_by_its_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(
        tmp_path,
        {
            "their_runner.py": "class Theirs:\n    def __init__(self, platform): pass\n",
            "their_runner-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: their-runner\nVersion: 1.0\n",
            "their_runner-1.0.dist-info/entry_points.txt": f"[{GROUP}]\ntheirs = their_runner:Theirs\n",
        },
    )
    monkeypatch.syspath_prepend(tmp_path)
    platform = Platform(name="p", runner="theirs", options=LocalOptions())
    assert has_runner(platform)
    assert "their_runner" not in sys.modules
    assert type(runner_for(platform)).__name__ == "Theirs"


def test_a_runner_that_nobody_has_is_said_to_be_missing() -> None:
    platform = Platform(name="far", runner="moon", options=LocalOptions())
    assert not has_runner(platform)
    with pytest.raises(UnavailableError, match="needs the moon runner") as caught:
        runner_for(platform)
    assert "docker, kubernetes, local, singularity, slurm, ssh" in str(caught.value.hint)
