"""What Slurm says, and what it means: nothing that nobody knows is ever a success."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcommons_box.errors import (
    EX_CONFIGURATION,
    EX_TEMPORARY,
    EX_TIMED_OUT,
    EX_UNAVAILABLE,
    ConfigurationError,
    UnavailableError,
)
from mlcommons_box.host import ConnectionLost
from mlcommons_box.process import Answer, Completed
from mlcommons_box.runners.batch import JobState, Submitted
from mlcommons_box.runners.slurm_queue import ENDED, RUNNING, WAITING, SlurmBackend, element, job_state

SLURM = SlurmBackend()


def answer(said: str = "", errors: str = "", status: int = 0) -> Answer:
    return Answer(
        completed=Completed(exit_status=status),
        stdout=said.encode("utf-8", "surrogatepass"),
        stderr=errors.encode("utf-8", "surrogatepass"),
    )


# ---- States --------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", WAITING)
def test_what_waits(word: str) -> None:
    assert job_state(word, "Priority") == JobState(phase="waiting", reason="Priority")
    assert job_state(word, "None") == JobState(phase="waiting", reason=word.lower())


@pytest.mark.parametrize("word", RUNNING)
def test_what_runs(word: str) -> None:
    assert job_state(word, "None") == JobState(phase="running")


@pytest.mark.parametrize(
    ("word", "why", "status", "exit_status", "said"),
    [
        ("FAILED", "NonZeroExitCode", "failed", EX_UNAVAILABLE, "its job failed and could not say how"),
        ("FAILED", "JobLaunchFailure", "failed", EX_UNAVAILABLE, "its job failed and could not say how"),
        ("TIMEOUT", "TimeLimit", "failed", EX_TIMED_OUT, "it ran longer than its job may"),
        ("DEADLINE", "None", "failed", EX_TIMED_OUT, "its job's deadline had come"),
        ("OUT_OF_MEMORY", "OutOfMemory", "failed", 137, "it used more memory than its job may"),
        ("NODE_FAIL", "NodeDown", "failed", EX_TEMPORARY, "its node failed"),
        ("BOOT_FAIL", "None", "failed", EX_TEMPORARY, "its node did not start"),
        ("LAUNCH_FAILED", "None", "failed", EX_TEMPORARY, "its node could not start it"),
        ("RECONFIG_FAIL", "None", "failed", EX_TEMPORARY, "its node could not start it"),
        ("PREEMPTED", "None", "failed", EX_TEMPORARY, "a more urgent job took its place"),
        ("CANCELLED", "None", "cancelled", 143, "its job was cancelled"),
        ("CANCELLED by 1000", "JobHeldUser", "cancelled", 143, "its job was cancelled"),
        ("CANCELLED+", "(null)", "cancelled", 143, "its job was cancelled"),
    ],
)
def test_what_has_ended(word: str, why: str, status: str, exit_status: int, said: str) -> None:
    state = job_state(word, why)
    name = word.split()[0].rstrip("+")
    assert state.phase == "ended"
    assert state.outcome
    assert (state.outcome.status, state.outcome.exit_status) == (status, exit_status)
    assert state.outcome.reason
    assert state.outcome.reason.startswith(said)
    assert state.outcome.reason.endswith(f"; Slurm says {name}" + ("" if why in ("None", "(null)") else f", {why}"))


@pytest.mark.parametrize(
    ("word", "why", "by_itself"),
    [
        ("COMPLETED", "None", True),
        ("FAILED", "NonZeroExitCode", True),
        ("FAILED", "None", True),
        ("FAILED", "JobLaunchFailure", False),
        ("FAILED", "RaisedSignal:9(Killed)", False),
        ("OUT_OF_MEMORY", "OutOfMemory", False),
        ("TIMEOUT", "TimeLimit", False),
    ],
)
def test_who_ended_it(word: str, why: str, by_itself: bool) -> None:
    """What came to its own end has written how, though a slow file system may not show that yet."""
    assert job_state(word, why).by_itself == by_itself


@pytest.mark.parametrize("word", ["COMPLETED", "REVOKED"])
def test_an_end_of_which_nobody_knows_how(word: str) -> None:
    state = job_state(word, "None")
    assert (state.phase, state.outcome, state.reason) == ("ended", None, f"Slurm says {word}")


def test_a_word_that_nobody_knows() -> None:
    assert job_state("DREAMING", "None") == JobState(phase="unknown", reason="Slurm says DREAMING")


@given(st.text(), st.text())
def test_no_word_is_a_success(word: str, why: str) -> None:
    state = job_state(word, why)
    assert state.outcome is None or state.outcome.status != "succeeded"
    assert state.phase in ("waiting", "running", "ended", "unknown")


def test_every_state_means_one_thing() -> None:
    assert len({*WAITING, *RUNNING, *ENDED}) == len(WAITING) + len(RUNNING) + len(ENDED)


# ---- Answers -------------------------------------------------------------------------------------


def test_the_states_of_many_jobs() -> None:
    said = "93_2|PENDING|JobArrayTaskLimit\n93_1|RUNNING|None\n15|FAILED|NonZeroExitCode\n16|RUNNING|None\n"
    found = SLURM.states(["93_1", "93_2", "15", "99"], answer(said))
    assert {key: state.phase for key, state in found.items()} == {
        "93_1": "running",
        "93_2": "waiting",
        "15": "ended",
    }


def test_jobs_of_other_clusters_are_known_by_their_numbers() -> None:
    said = "CLUSTER: far\n93_1|RUNNING|None\n"
    assert SLURM.states(["93_1;far"], answer(said)) == {"93_1;far": JobState(phase="running")}


def test_what_only_the_accounting_remembers() -> None:
    """The words of sacct(1) come after those of squeue(1)."""
    said = "slurm_load_jobs error: Invalid job id specified\n15|CANCELLED by 1000|None\n"
    state = SLURM.states(["15", "16"], answer(said))["15"]
    assert state.outcome
    assert state.outcome.status == "cancelled"


def test_a_job_that_is_forgotten_is_in_no_state() -> None:
    assert SLURM.states(["15"], answer("slurm_load_jobs error: Invalid job id specified\n")) == {}


@pytest.mark.parametrize("line", ["15", "15|", "15| |", "|||", "15|\t|None", "", "x|RUNNING|None"])
def test_half_a_line_is_no_answer(line: str) -> None:
    assert SLURM.states(["15"], answer(line)) == {}


def test_a_controller_that_does_not_answer_is_asked_again() -> None:
    said = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n"
    with pytest.raises(ConnectionLost) as caught:
        SLURM.states(["15"], answer(said, status=1))
    assert caught.value.message.startswith(
        "Slurm does not say how the jobs are: Slurm's controller does not answer"
    )
    assert caught.value.hint
    assert "scontrol ping" in caught.value.hint


@given(st.text())
def test_no_answer_is_a_success(said: str) -> None:
    for state in SLURM.states(["1", "1_2"], answer(said)).values():
        assert state.outcome is None or state.outcome.status != "succeeded"
    with pytest.raises(ConnectionLost):
        SLURM.states(["1"], answer(said, status=1))


# ---- Ids -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "native_id"),
    [
        ("123\n", "123"),
        ("123;far\n", "123;far"),
        ("93_4", "93_4"),
        ("93_4;far-1.x\n", "93_4;far-1.x"),
        ("sbatch: some note of the site\n123\n", "123"),
    ],
)
def test_what_a_job_is_called(said: str, native_id: str) -> None:
    assert SLURM.native_id(said) == native_id


@pytest.mark.parametrize("said", ["", "\n", "Submitted batch job 5", "12;", "12;a;b", "-1", "1 2", "1;$(x)", "٣"])
def test_what_is_no_id(said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(said))):
        SLURM.native_id(said)


@given(st.text())
def test_any_text_is_an_id_or_none(said: str) -> None:
    with suppress(ValueError):
        assert re.fullmatch(r"[0-9]+(_[0-9]+)?(;[A-Za-z0-9_.-]+)?", SLURM.native_id(said))


def test_elements_of_an_array() -> None:
    assert element("93", 4) == "93_4"
    assert element("93;far", 4) == "93_4;far"


def test_one_question_for_each_cluster() -> None:
    lines = SLURM.question(["93_1", "93_2", "15", "7;far", "93_1"]).splitlines()
    squeue = [line for line in lines if "squeue" in line and "said=" in line]
    assert squeue == [
        "said=$(squeue --array --noheader --states=all --format='%i|%T|%r' --jobs=93,15 2>&1)",
        "said=$(squeue --clusters=far --array --noheader --states=all --format='%i|%T|%r' --jobs=7 2>&1)",
    ]
    assert "for id in 93_1 93_2 15; do" in lines


def test_cancelling() -> None:
    first, second, third = (Submitted(id=each, directory="/job") for each in ("93_1", "15", "7;far"))
    assert SLURM.cancellation([first, second, third], at_once=False).splitlines() == [
        "scancel --state=PENDING 93_1 15",
        "scancel --batch --signal=TERM 93_1 15 2>/dev/null",
        "scancel --clusters=far --state=PENDING 7",
        "scancel --clusters=far --batch --signal=TERM 7 2>/dev/null",
        ":",
    ]
    assert SLURM.cancellation([first, second], at_once=True).splitlines() == ["scancel 93_1 15", ":"]


# ---- Refusals ------------------------------------------------------------------------------------

FAILED = "sbatch: error: Batch job submission failed:"


@pytest.mark.parametrize(
    ("said", "meaning", "hint"),
    [
        (
            f"sbatch: error: invalid partition specified: nosuch\n{FAILED} Invalid partition name specified",
            "the cluster has no such partition",
            "'partition'",
        ),
        (
            f"{FAILED} Invalid account or account/partition combination specified",
            "you may not use that account",
            "'account'",
        ),
        (f"{FAILED} Invalid qos specification", "you may not use that account", "'qos'"),
        (f"{FAILED} User's group not permitted to use this partition", "you may not use that partition", "sinfo"),
        (
            "sbatch: error: Memory specification can not be satisfied\n"
            f"{FAILED} Requested node configuration is not available",
            "no node of the partition has what the run asks for",
            "'resources'",
        ),
        (
            "sbatch: error: Invalid generic resource (gres) specification",
            "no node of the partition has what the run asks for",
            "'resources'",
        ),
        (f"{FAILED} Node count specification invalid", "no node of the partition has what", "'nodes'"),
        (f"{FAILED} Invalid feature specification", "no node has what is asked for with --constraint", "sinfo"),
        (
            f"{FAILED} Requested time limit is invalid (missing or exceeds some limit)",
            "the partition does not allow so much time",
            "'time'",
        ),
        ("sbatch: error: Invalid --time specification", "the partition does not allow so much time", "'time'"),
        ("sbatch: unrecognized option '--nosuch'", "sbatch does not know an argument", "'arguments'"),
    ],
)
def test_a_mistake_of_the_user_is_one_in_the_platform_file(said: str, meaning: str, hint: str) -> None:
    error = SLURM.refused(answer(errors=f"{said}\n", status=1))
    assert isinstance(error, ConfigurationError)
    assert error.exit_status == EX_CONFIGURATION
    first, *rest = error.message.splitlines()
    assert first.startswith(f"Slurm does not take the job: {meaning}")
    assert rest == [f"  {line}" for line in said.splitlines()]
    assert error.hint
    assert hint in error.hint
    assert "platform file" in error.hint


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        (f"{FAILED} Unable to contact slurm controller (connect failure)", "Slurm's controller does not answer"),
        (f"{FAILED} Socket timed out on send/recv operation", "Slurm's controller does not answer"),
        (f"{FAILED} Invalid job array specification", "the cluster does not take so many jobs in one array"),
        (
            "sbatch: error: AssocMaxSubmitJobLimit\n"
            f"{FAILED} Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
            "the cluster does not take so many jobs, or so large ones, from you now",
        ),
        (f"{FAILED} Protocol authentication error", "this machine and Slurm's controller do not trust each other"),
        (
            "sbatch: error: 'far' can't be reached now, or it is an invalid entry for --cluster.",
            "there is no such cluster, or it does not answer",
        ),
        ("sh: 3: sbatch: not found", "there is no Slurm here"),
        ("bash: line 3: sbatch: command not found", "there is no Slurm here"),
    ],
)
def test_trouble_with_the_cluster_is_no_mistake(said: str, meaning: str) -> None:
    error = SLURM.refused(answer(errors=f"{said}\n", status=1))
    assert isinstance(error, UnavailableError)
    assert error.exit_status == EX_UNAVAILABLE
    assert error.message.splitlines()[0] == f"Slurm does not take the job: {meaning}"
    assert error.hint


@given(st.text())
def test_any_refusal_is_an_error_of_ours(said: str) -> None:
    error = SLURM.refused(answer(errors=said, status=1))
    assert isinstance(error, ConfigurationError | UnavailableError)
    assert error.message.startswith("Slurm does not take the job")
