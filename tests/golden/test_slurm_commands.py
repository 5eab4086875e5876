"""Whole command lines and scripts for Slurm, as --dry-run prints them and as sbatch gets them."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from mlcommons_box.definition.loader import load_platform
from mlcommons_box.errors import EX_CONFIGURATION, EX_UNAVAILABLE
from mlcommons_box.model import Platform, Resources, SlurmOptions
from mlcommons_box.runners.slurm import SlurmRunner
from mlcommons_box.runners.slurm_queue import SlurmBackend, submit_options
from tests.conftest import MakeBox
from tests.golden.container_plans import CALLER, RUN_ID, lines, run_plan, setup_plan

ALWAYS = f"--parsable --job-name=mlbox-{RUN_ID} --output=/dev/null --no-requeue"
JOB = f"BOX/workspace/.mlbox/runs/{RUN_ID}/job"


def platform_with(text: str, make_box: MakeBox, **files: str | None) -> Platform:
    head = "schema_type: mlbox_slurm\nschema_version: 1.1.0\n"
    return load_platform(make_box({"platforms/cluster.yaml": head + text, **files}) / "platforms/cluster.yaml")


# ---- Options -------------------------------------------------------------------------------------


def test_the_fewest_options() -> None:
    platform = Platform(name="p", runner="slurm", options=SlurmOptions(platform="local"))
    assert " ".join(submit_options(platform, RUN_ID, None)) == ALWAYS


def test_all_options(make_box: MakeBox) -> None:
    platform = platform_with(
        "platform: local\npartition: long\naccount: physics\nqos: high\nnodes: 2\nrequeue: true\n"
        "resources: {cpus: 2.5, memory: 1500K, gpus: 2, time: 90s}\narguments: [--constraint=a100, --time=5]\n",
        make_box,
    )
    assert submit_options(platform, RUN_ID, platform.resources.time) == [
        "--parsable",
        f"--job-name=mlbox-{RUN_ID}",
        "--output=/dev/null",
        "--requeue",
        "--partition=long",
        "--account=physics",
        "--qos=high",
        "--nodes=2",
        "--ntasks=1",
        "--cpus-per-task=3",
        "--mem=2M",
        "--gres=gpu:2",
        "--time=3",
        "--constraint=a100",
        "--time=5",
    ]


@pytest.mark.parametrize(("seconds", "minutes"), [(0.5, 2), (60, 2), (61, 3), (300, 6), (86400, 1441)])
def test_the_job_may_run_a_little_longer_than_its_task(seconds: float, minutes: int) -> None:
    platform = Platform(name="p", runner="slurm", options=SlurmOptions(platform="local"))
    assert submit_options(platform, RUN_ID, seconds)[-1] == f"--time={minutes}"


def test_no_gpu_is_no_request() -> None:
    options = SlurmOptions(platform="local")
    platform = Platform(name="p", runner="slurm", options=options, resources=Resources(gpus=0))
    assert " ".join(submit_options(platform, RUN_ID, None)) == ALWAYS


# ---- What is shown -------------------------------------------------------------------------------


def test_a_run_is_a_script_and_its_submission(make_box: MakeBox) -> None:
    platform = platform_with("platform: local\nresources: {memory: 1G, time: 5m}\n", make_box)
    root = platform.file.parents[1] if platform.file else Path()
    plan = run_plan(root, platform)
    make, write, submit = lines(SlurmRunner(platform, CALLER).commands(plan), plan, CALLER)
    assert make == f"mkdir -p {JOB}"
    first, *script = write.splitlines()
    assert first == f"tee {JOB}/job.sh <<'MLBOX'"
    assert script[0] == "#!/bin/sh"
    assert script[1] == f"# The run {RUN_ID} of the task copy of the box echo."
    assert script[-1] == "MLBOX"
    assert "see -f BOX/workspace/in.txt source" in script
    assert submit == f"(cd {JOB} && sbatch {ALWAYS} --mem=954M --time=6 job.sh)"


def test_secrets_are_not_shown(make_box: MakeBox) -> None:
    text = "platform: local\nenvironment: {MY_TOKEN: geheim, NAME: word}\n"
    platform = platform_with(text, make_box)
    plan = run_plan(platform.file.parents[1] if platform.file else Path(), platform)
    shown = "".join(lines(SlurmRunner(platform, CALLER).commands(plan), plan, CALLER))
    assert "geheim" not in shown
    assert "word" in shown


def test_the_box_is_made_ready_as_its_inner_platform_is(make_box: MakeBox) -> None:
    inside = "schema_type: mlbox_singularity\nschema_version: 1.0.0\nimage: box.sif\n"
    platform = platform_with("platform: inside\n", make_box, **{
        "platforms/inside.yaml": inside, "build/Singularity.recipe": "Bootstrap: docker\nFrom: python\n",
    })  # fmt: skip
    plan = setup_plan(platform.file.parents[1] if platform.file else Path(), platform)
    assert "apptainer build" in lines(SlurmRunner(platform, CALLER).commands(plan), plan, CALLER)[0]


# ---- An array ------------------------------------------------------------------------------------


def test_an_array_is_one_submission_with_its_list_in_the_script() -> None:
    backend = SlurmBackend(["--parsable", "--comment=two words"])
    places = ["/data/runs/a/job", "/data/it's $(two)/job", "/data/100%/job"]
    assert backend.array_submission(RUN_ID, places) == (
        f"submitted() {{ squeue --noheader --format=%A --name=mlbox-{RUN_ID} 2>/dev/null | head -n 1; }}\n"
        "send() {\n"
        "sbatch --parsable '--comment=two words' --chdir=/ --array=0-2 <<'MLBOX_END_OF_SCRIPT'\n"
        "#!/bin/sh\n"
        "run=$(sed -n \"$((SLURM_ARRAY_TASK_ID + 1))p\" <<'END'\n"
        "/data/runs/a/job\n"
        "/data/it's $(two)/job\n"
        "/data/100%/job\n"
        "END\n"
        ")\n"
        'exec sh "$run/job.sh"\n'
        "MLBOX_END_OF_SCRIPT\n"
        "}\n"
        "for name in $(env | sed -n 's/^\\(SQUEUE_[A-Z0-9_]*\\)=.*/\\1/p;s/^\\(SACCT_[A-Z0-9_]*\\)=.*/\\1/p'); do\n"
        '  unset "$name"\n'
        "done\n"
        'found=$(send) || { refused=$?; found=$(submitted); [ -n "$found" ] || return "$refused"; }\n'
        'printf "%s\\n" "$found"'
    )


# ---- What stands in the way ----------------------------------------------------------------------


def problems(platform: Platform, environ: dict[str, str]) -> list[tuple[str, int]]:
    plan = run_plan(platform.file.parents[1] if platform.file else Path(), platform)
    return [(each.message, each.exit_status) for each in SlurmRunner(platform, environ).check(plan)]


@pytest.fixture
def programs(tmp_path: Path) -> dict[str, str]:
    """An environment with Slurm and Python, and nothing else."""
    for name in ("sbatch", "python3"):
        (tmp_path / "bin" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "bin" / name).touch(0o755)
    return {**CALLER, "PATH": str(tmp_path / "bin")}


def test_nothing_stands_in_the_way(make_box: MakeBox, programs: dict[str, str]) -> None:
    assert problems(platform_with("platform: local\n", make_box), programs) == []


def test_there_has_to_be_slurm(make_box: MakeBox, programs: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "bin/sbatch").unlink()
    found = problems(platform_with("platform: local\n", make_box), programs)
    assert found == [("there is no program 'sbatch' on this machine", EX_UNAVAILABLE)]


def test_a_number_of_gpus_is_needed(make_box: MakeBox, programs: dict[str, str]) -> None:
    found = problems(platform_with("platform: local\nresources: {gpus: all}\n", make_box), programs)
    assert found == [("Slurm has to be told how many GPUs a job gets: 'gpus: all' is no number", EX_CONFIGURATION)]


def test_a_job_cannot_hand_over_to_another_queue(make_box: MakeBox, programs: dict[str, str]) -> None:
    inside = "schema_type: mlbox_slurm\nschema_version: 1.1.0\nplatform: local\n"
    platform = platform_with("platform: inside\n", make_box, **{"platforms/inside.yaml": inside})
    message, status = problems(platform, programs)[0]
    assert message == "the platform 'cluster' cannot hand over to 'inside', which needs the slurm runner"
    assert status == EX_CONFIGURATION


def test_an_inner_platform_that_is_not_there(make_box: MakeBox, programs: dict[str, str]) -> None:
    platform = platform_with("platform: local\n", make_box)
    options = SlurmOptions(platform="nosuch")
    platform = Platform(name="cluster", runner="slurm", options=options, file=platform.file)
    (message, status), *_ = problems(platform, programs)
    assert message.startswith("there is no platform 'nosuch' in ")
    assert status == EX_CONFIGURATION


def test_the_engine_of_the_nodes_need_not_be_here(make_box: MakeBox, programs: dict[str, str]) -> None:
    """Images of Docker and Podman are made by every node; an image file is made here."""
    inside = "schema_type: mlbox_docker\nschema_version: 1.0.0\nimage: box\ndocker_runtime: podman\n"
    platform = platform_with("platform: inside\n", make_box, **{"platforms/inside.yaml": inside})
    assert problems(platform, programs) == []
    inside = "schema_type: mlbox_singularity\nschema_version: 1.0.0\nimage: box.sif\n"
    platform = platform_with("platform: inside\n", make_box, **{"platforms/inside.yaml": inside})
    assert [status for _, status in problems(platform, programs)] == [EX_UNAVAILABLE]


def test_options_are_words(make_box: MakeBox) -> None:
    """What the user writes is never more than one argument."""
    platform = platform_with(
        'platform: local\npartition: "a; touch x"\narguments: ["--comment=$(touch y)"]\n', make_box
    )
    submission = SlurmBackend(submit_options(platform, RUN_ID, None)).submission("/d", RUN_ID)
    line = next(line for line in submission.splitlines() if line.startswith("sbatch"))
    assert shlex.split(line)[-3:] == ["--partition=a; touch x", "--comment=$(touch y)", "job.sh"]
