"""Whose words an error is, the engine's or the task's, and what the engine's own mean."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlcommons_box.command import Command
from mlcommons_box.contract.scene import Recorder
from mlcommons_box.definition.loader import load_box, load_run_configuration
from mlcommons_box.errors import PreparationError, UnavailableError
from mlcommons_box.model import DockerOptions, Platform, SingularityOptions
from mlcommons_box.planning import RunPlan, plan_run
from mlcommons_box.process import Completed, Stream
from mlcommons_box.runners import docker, failures, singularity
from mlcommons_box.runners.container_run import Caller
from mlcommons_box.runners.docker import DockerRunner
from mlcommons_box.runners.docker_image import DockerImage
from mlcommons_box.runners.engine_failures import SINGULARITY_FAILURES as FAILURES
from mlcommons_box.runners.engine_failures import failures_of
from mlcommons_box.runners.failures import HeldBack, explained, tail
from mlcommons_box.runners.interface import NotPrepared, Outcome
from mlcommons_box.runners.singularity import SingularityRunner
from tests.conftest import MakeBox

# ---- Output that waits ---------------------------------------------------------------------------


class Clock:
    """The time, as a test wants it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    stands = Clock()
    monkeypatch.setattr(failures, "time", stands)
    return stands


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def held(recorder: Recorder, clock: Clock) -> HeldBack:
    return HeldBack(recorder, (b"docker: ", b"Error: "))


def test_what_begins_like_an_error_of_the_engine_waits(held: HeldBack, recorder: Recorder) -> None:
    held.output("stderr", b"docker: no such image\n")
    held.output("stderr", b"see --help\n")
    assert (recorder.chunks, held.held) == ([], b"docker: no such image\nsee --help\n")
    held.release()
    assert recorder.chunks == [("stderr", b"docker: no such image\nsee --help\n")]
    assert held.held == b""


def test_a_beginning_may_come_in_pieces(held: HeldBack, recorder: Recorder) -> None:
    for piece in (b"d", b"ock", b"er", b": x"):
        held.output("stderr", piece)
    assert (recorder.chunks, held.held) == ([], b"docker: x")


def test_a_beginning_that_turns_out_to_be_another_word_is_released_whole_and_in_order(
    held: HeldBack, recorder: Recorder
) -> None:
    held.output("stderr", b"dock")
    held.output("stderr", b"ing station\n")
    held.output("stderr", b"docker: later\n")
    assert recorder.chunks == [("stderr", b"dock"), ("stderr", b"ing station\n"), ("stderr", b"docker: later\n")]


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_output_of_the_task_goes_on_at_once_and_so_does_all_after_it(
    held: HeldBack, recorder: Recorder, stream: Stream
) -> None:
    held.output(stream, b"epoch 1\n")
    held.output("stderr", b"Error: of the task\n")
    assert recorder.chunks == [(stream, b"epoch 1\n"), ("stderr", b"Error: of the task\n")]
    assert held.held == b""


def test_standard_output_never_waits_and_releases_what_does(held: HeldBack, recorder: Recorder) -> None:
    held.output("stderr", b"Error: retrying\n")
    held.output("stdout", b"Error: x\n")
    assert recorder.chunks == [("stderr", b"Error: retrying\n"), ("stdout", b"Error: x\n")]


def test_a_text_longer_than_an_error_is_released(held: HeldBack, recorder: Recorder) -> None:
    held.output("stderr", b"Error: ")
    held.output("stderr", b"x" * (1 << 14))
    assert recorder.text("stderr") == b"Error: " + b"x" * (1 << 14)
    assert [len(chunk) for _, chunk in recorder.chunks] == [7, 1 << 14]


def test_a_text_slower_than_an_error_is_released(held: HeldBack, recorder: Recorder, clock: Clock) -> None:
    held.output("stderr", b"Error: 1\n")
    clock.now += 0.9
    held.output("stderr", b"Error: 2\n")
    assert recorder.chunks == []
    clock.now += 0.2
    held.output("stderr", b"Error: 3\n")
    assert recorder.chunks == [("stderr", b"Error: 1\nError: 2\n"), ("stderr", b"Error: 3\n")]


def test_releasing_nothing_says_nothing(held: HeldBack, recorder: Recorder) -> None:
    held.release()
    held.release()
    assert recorder.chunks == []


# ---- Messages of real engines --------------------------------------------------------------------

SOCKET = "unix:///var/run/docker.sock"
UNUSABLE = "dial unix /var/run/docker.sock: connect: permission denied"
SHIM = (
    "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process"
)
X509 = "x509: certificate signed by unknown authority"
DAEMON = "Error response from daemon"
GET = "FATAL:   While performing build: conveyor failed to get"
NO_HOST = 'Get "https://nosuch.invalid/v2/": dial tcp: lookup nosuch.invalid on 192.0.2.53:53: no such host'

DOCKER_SAYS = [
    # 20.10
    (
        f"docker: permission denied while trying to connect to the Docker daemon socket at {SOCKET}: Post "
        f'"http://%2Fvar%2Frun%2Fdocker.sock/v1.24/containers/create": {UNUSABLE}.',
        "usermod -aG docker",
    ),
    (
        "docker: Cannot connect to the Docker daemon at tcp://127.0.0.1:1. Is the docker daemon running?.",
        "systemctl start",
    ),
    (
        f'docker: {DAEMON}: {SHIM}: exec: "act": executable file not found in $PATH: unknown.\n'
        'time="2026-01-02T03:04:05Z" level=error msg="error waiting for container: context canceled"',
        "ENTRYPOINT",
    ),
    (f'docker: {DAEMON}: could not select device driver "" with capabilities: [[gpu]].', "NVIDIA"),
    (
        "failed to solve with frontend dockerfile.v0: failed to create LLB definition: failed to do request: Head "
        f'"https://192.0.2.2:5443/v2/x/manifests/1": {X509}',
        "certs.d",
    ),
    # 28
    (
        f"docker: permission denied while trying to connect to the Docker daemon socket at {SOCKET}: Head "
        f'"http://%2Fvar%2Frun%2Fdocker.sock/_ping": {UNUSABLE}',
        "usermod -aG docker",
    ),
    (
        f"docker: Cannot connect to the Docker daemon at {SOCKET}. Is the docker daemon running?\n\n"
        "Run 'docker run --help' for more information",
        "systemctl start",
    ),
    (f'docker: {DAEMON}: {SHIM}: exec: "/act": stat /act: no such file or directory: unknown', "ENTRYPOINT"),
    ("[FATAL tini (6)] exec /act failed: No such file or directory", "ENTRYPOINT"),
    (
        f'docker: {DAEMON}: invalid mount config for type "bind": bind source path does not exist: /data',
        "share the directory",
    ),
    (f"{DAEMON}: {NO_HOST}", "proxies"),
    (
        f"{DAEMON}: manifest for 127.0.0.1:5055/library/nosuch:1 not found: manifest unknown: manifest unknown",
        "the image's name",
    ),
    (f'{DAEMON}: Get "https://192.0.2.2:5443/v2/": {X509}', "certs.d"),
    (f'{DAEMON}: Get "https://registry-1.docker.io/v2/": tls: failed to verify certificate: {X509}', "certs.d"),
    ('invalid argument "x" for "--cpus" flag: failed to parse x as a rational number', "'arguments'"),
    ("unknown flag: --nosuchflag\n\nUsage:  docker run [OPTIONS] IMAGE [COMMAND] [ARG...]", "'arguments'"),
    ("unknown shorthand flag: 'Q' in -Q", "'arguments'"),
    ("write /var/lib/docker/tmp/x: no space left on device", "free some space"),
    (
        "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate in certificate chain",
        "--ca-bundle=host",
    ),
]

PODMAN_SAYS = [
    # 4.3
    (
        'Error: runc: runc create failed: unable to start container process: exec: "act": executable file not '
        "found in $PATH: OCI runtime attempted to invoke a command that was not found",
        "ENTRYPOINT",
    ),
    ("Error: setting up CDI devices: unresolvable CDI devices nvidia.com/gpu=all", "nvidia-ctk"),
    (
        "Error: initializing source docker://127.0.0.1:5055/library/nosuch:1: reading manifest 1 in "
        "127.0.0.1:5055/library/nosuch: manifest unknown: manifest unknown",
        "the image's name",
    ),
    (
        f"Error: initializing source docker://nosuch.invalid/x:1: pinging container registry nosuch.invalid: "
        f"{NO_HOST}",
        "proxies",
    ),
    (
        "Error: initializing source docker://192.0.2.2:5443/x:1: pinging container registry 192.0.2.2:5443: Get "
        f'"https://192.0.2.2:5443/v2/": {X509}',
        "certs.d",
    ),
    (
        'Error: writing blob: adding layer with blob "sha256:67": ApplyLayer stdout:  stderr: potentially '
        "insufficient UIDs or GIDs available in user namespace (requested 0:42 for /etc/gshadow): Check "
        "/etc/subuid and /etc/subgid if configured locally and run podman-system-migrate: lchown /etc/gshadow: "
        "invalid argument exit status 1",
        "--add-subuids",
    ),
    ("Error: unknown flag: --nosuchflag\nSee 'podman run --help'", "'arguments'"),
    (
        'Error: invalid argument "x" for "--cpus" flag: strconv.ParseFloat: parsing "x": invalid syntax',
        "'arguments'",
    ),
]

APPTAINER_SAYS = [
    # 1.4
    (
        "FATAL:   While checking container encryption: could not open image /box.sif: image format not recognized",
        "configure again",
    ),
    (
        "\x1b[91mERROR  : Failed to create user namespace: not allowed to create user namespace\n\x1b[0m",
        "unprivileged user namespaces",
    ),
    (
        "FATAL:   container creation failed: while applying cgroups config: cannot use cgroups - cannot use "
        "systemd cgroups manager, systemd not running as init on this host",
        "remove 'resources'",
    ),
    (
        f"{GET}: GET http://127.0.0.1:5055/v2/library/nosuch/manifests/1: "
        "MANIFEST_UNKNOWN: manifest unknown; map[Tag:1]",
        "log in to the registry",
    ),
    (f"{GET}: {NO_HOST}", "no registry is needed"),
    (
        f'{GET}: Get "https://127.0.0.1:1/v2/": dial tcp 127.0.0.1:1: connect: connection refused',
        "no registry is needed",
    ),
    (f'{GET}: Get "https://192.0.2.2:5443/v2/": tls: failed to verify certificate: {X509}', "SSL_CERT_FILE"),
    (
        "FATAL:   While performing build: while creating SIF: while creating container: write /box.sif: no space "
        "left on device",
        "free some space",
    ),
    ('Error for command "run": unknown flag: --no-eval', "newer version"),
]


@pytest.mark.parametrize(("said", "remedy"), DOCKER_SAYS)
def test_messages_of_docker_lead_to_a_remedy(said: str, remedy: str) -> None:
    failure = explained(said, failures_of("docker"))
    assert failure is not None
    assert remedy in failure.remedy


@pytest.mark.parametrize(("said", "remedy"), PODMAN_SAYS)
def test_messages_of_podman_lead_to_a_remedy(said: str, remedy: str) -> None:
    failure = explained(said, failures_of("podman"))
    assert failure is not None
    assert remedy in failure.remedy


@pytest.mark.parametrize(("said", "remedy"), APPTAINER_SAYS)
def test_messages_of_apptainer_lead_to_a_remedy(said: str, remedy: str) -> None:
    failure = explained(said, FAILURES)
    assert failure is not None
    assert remedy in failure.remedy


@pytest.mark.parametrize(
    "said",
    [
        "docker: Error response from daemon: Minimum memory limit allowed is 6MB",
        "Error: statfs /data: permission denied",
        "",
    ],
)
def test_what_nobody_knows_is_not_explained(said: str) -> None:
    for known in (failures_of("docker"), failures_of("podman"), FAILURES):
        assert explained(said, known) is None


@pytest.mark.parametrize(
    ("executable", "said", "missing"),
    [
        (
            "docker",
            "docker: Error response from daemon: No such image: example/echo:1.\nSee 'docker run --help'.",
            True,
        ),
        (
            "docker",
            "docker: Error response from daemon: No such image: example/echo:1\n\nRun 'docker run --help'",
            True,
        ),
        ("podman", "Error: example/echo:1: image not known", True),
        ("docker", "docker: Error response from daemon: no such container", False),
    ],
)
def test_an_image_that_is_missing_is_told_from_the_rest(
    make_box: MakeBox, executable: str, said: str, missing: bool
) -> None:
    image = DockerImage(
        name="example/echo:1", executable=executable, box=load_box(make_box()), ca_bundle=None, environ={}
    )
    assert image.is_missing(said) is missing


def test_the_end_of_what_a_tool_said_is_shown_without_colours_and_overwritten_lines() -> None:
    said = b"".join(b"line %d\n" % number for number in range(20)) + b"10%\r\x1b[31m20%\x1b[0m \n\n  \xff\n"
    assert tail(said, 4) == "  line 19\n  10%\n  20%\n    \N{REPLACEMENT CHARACTER}"
    assert tail("") == ""


# ---- What a run makes of them --------------------------------------------------------------------

Say = Callable[[Stream, bytes], None]


def engine_says(
    monkeypatch: pytest.MonkeyPatch,
    module: object,
    status: int,
    *chunks: tuple[Stream, bytes],
    events: bytes = b"",
    **how: Any,
) -> None:
    """The engine's client says that and ends with that status; ``events`` is what it remembers of the container."""

    def stream(
        command: Command, *, on_output: Say, on_start: Callable[[int], None], **settings: object
    ) -> Completed:
        on_start(4711)
        for name, chunk in chunks:
            on_output(name, chunk)
        return Completed(exit_status=status, **how)

    def capture(command: Command, *, timeout: float | None = None) -> tuple[Completed, bytes]:
        assert command.argv[1] in ("events", "rm", "kill")
        return Completed(exit_status=0), events

    monkeypatch.setattr(module, "stream", stream)
    if module is docker:
        monkeypatch.setattr(module, "capture", capture)


def plan_for(root: Path, platform: Platform) -> RunPlan:
    box = load_box(root)
    return plan_run(box, load_run_configuration(root / "run/copy.yaml", box), platform, run_id="run-1")


def run_docker(root: Path, recorder: Recorder, executable: str = "docker") -> Outcome:
    options = DockerOptions(image="example/echo:1", executable=executable)
    platform = Platform(name="docker", runner="docker", options=options)
    runner = DockerRunner(platform, {"PATH": "/nowhere"}, Caller(uid=1, gid=1), selinux=False)
    return runner.run(plan_for(root, platform), recorder)


def run_singularity(root: Path, recorder: Recorder, scratch: Path) -> Outcome:
    platform = Platform(name="singularity", runner="singularity", options=SingularityOptions(image="box.sif"))
    runner = SingularityRunner(platform, {"PATH": "/nowhere", "TMPDIR": str(scratch)})
    return runner.run(plan_for(root, platform), recorder)


@pytest.mark.parametrize("status", [125, 126, 127])
@pytest.mark.parametrize("executable", ["docker", "podman"])
def test_an_engine_that_never_began_is_unavailable_and_its_words_are_no_output(
    make_box: MakeBox, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, status: int, executable: str
) -> None:
    said = b"docker: " if executable == "docker" else b"Error: "
    engine_says(monkeypatch, docker, status, ("stderr", said + b"something new\n"))
    with pytest.raises(UnavailableError, match="something new"):
        run_docker(make_box(), recorder, executable)
    assert recorder.chunks == []


@pytest.mark.parametrize(
    "before", [b"WARNING: Your kernel does not support swap limit capabilities\n", b'time="x"\n']
)
def test_a_warning_of_the_engine_before_its_error_belongs_to_it(
    make_box: MakeBox, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, before: bytes
) -> None:
    error = b"docker: Error response from daemon: could not select device driver: [[gpu]]\n"
    engine_says(monkeypatch, docker, 125, ("stderr", before), ("stderr", error))
    with pytest.raises(UnavailableError, match="no access to GPUs") as caught:
        run_docker(make_box(), recorder)
    assert "NVIDIA" in str(caught.value.hint)


def test_a_wrong_argument_of_the_platform_file_is_no_failure_of_the_task(
    make_box: MakeBox, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine_says(monkeypatch, docker, 125, ("stderr", b"unknown flag: --nosuch\n\nUsage:  docker run\n"))
    with pytest.raises(UnavailableError) as caught:
        run_docker(make_box(), recorder)
    assert "'arguments' in the platform file" in str(caught.value.hint)


def test_an_image_that_is_missing_asks_for_a_preparation(
    make_box: MakeBox, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine_says(monkeypatch, docker, 125, ("stderr", b"docker: Error response from daemon: No such image: x.\n"))
    with pytest.raises(NotPrepared):
        run_docker(make_box(), recorder)


def test_an_engine_that_we_ended_has_not_failed(
    make_box: MakeBox, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing is built, and nothing is unavailable, for somebody who has asked to stop."""
    missing = b"docker: Error response from daemon: No such image: x.\n"
    engine_says(monkeypatch, docker, 125, ("stderr", missing), interrupted_by=2)
    assert run_docker(make_box(), recorder).status == "cancelled"
    engine_says(monkeypatch, singularity, 255, ("stderr", b"FATAL:   While\n"), timed_out=True)
    assert run_singularity(make_box({"workspace/box.sif": ""}), recorder, tmp_path).exit_status == 124


@pytest.mark.parametrize(("ended_by", "tries"), [(9, 4), (None, 2)])
def test_a_container_may_come_after_its_client_was_killed(
    make_box: MakeBox, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, ended_by: int | None, tries: int
) -> None:
    """The daemon makes what it was asked for, though nobody waits for it."""
    engine_says(monkeypatch, docker, 137, ended_by=ended_by)
    removals: list[Command] = []

    def capture(command: Command, *, timeout: float | None = None) -> tuple[Completed, bytes]:
        removals.append(command)
        return Completed(exit_status=int(len(removals) < 4)), b""

    monkeypatch.setattr(docker, "capture", capture)
    monkeypatch.setattr(docker, "_PAUSE", 0.01)
    assert run_docker(make_box(), recorder).exit_status == 137
    assert len(removals) == tries
    assert {command.argv[1:3] for command in removals} == {("rm", "--force")}


def test_the_same_words_and_status_of_a_task_that_began_are_its_own(
    make_box: MakeBox, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine_says(monkeypatch, docker, 125, ("stderr", b"docker: not here\n"), events=b"start\n")
    outcome = run_docker(make_box(), recorder)
    assert (outcome.status, outcome.exit_status) == ("failed", 125)
    assert recorder.chunks == [("stderr", b"docker: not here\n")]


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (255, b"FATAL:   While checking container encryption: image format not recognized\n"),
        (1, b"\x1b[91mERROR  : Failed to create user namespace: not allowed\n\x1b[0m"),
        (1, b'Error for command "run": unknown flag: --nosuch\n'),
        (255, b"WARNING: skipping mount of /x: stat /x\nFATAL:   container creation failed\n"),
    ],
)
def test_apptainer_that_could_not_start_the_task_is_unavailable(
    make_box: MakeBox,
    recorder: Recorder,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    status: int,
    said: bytes,
) -> None:
    engine_says(monkeypatch, singularity, status, ("stderr", said))
    with pytest.raises(UnavailableError, match="cannot start the task"):
        run_singularity(make_box({"workspace/box.sif": ""}), recorder, tmp_path / "scratch")
    assert recorder.chunks == []
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (255, b"FATAL: the task's own\n"),
        (1, b"FATAL:   the task's own, as the engine would say it\n"),
        (3, b"FATAL:   the task's own\n"),
        (1, b"WARNING: skipping mount\n"),
        (0, b"ERROR  : the task's own\n"),
    ],
)
def test_words_of_a_task_that_apptainer_would_not_say_so_are_its_own(
    make_box: MakeBox,
    recorder: Recorder,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    status: int,
    said: bytes,
) -> None:
    engine_says(monkeypatch, singularity, status, ("stderr", said))
    outcome = run_singularity(make_box({"workspace/box.sif": ""}), recorder, tmp_path / "scratch")
    assert outcome.exit_status == status
    assert recorder.chunks == [("stderr", said)]


def test_a_build_that_does_not_know_the_network_is_told_from_a_registry_that_the_engine_does_not_know(
    make_box: MakeBox,
) -> None:
    image = DockerImage(name="x", executable="docker", box=load_box(make_box()), ca_bundle=None, environ={})
    with pytest.raises(PreparationError, match="which the build does not know"):
        image.fail("build the image", "pip: SSLError(SSLCertVerificationError: certificate verify failed)")
    with pytest.raises(UnavailableError, match="that the engine does not know"):
        image.fail("pull the image", f'Get "https://registry-1.docker.io/v2/": {X509}')
