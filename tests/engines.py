"""Which real engines this machine has, and what to do about those that it has not.

A test that needs an engine is marked ``engine("docker")``.  Where it is absent the test is left out, and the
run says so at its end.  ``MLBOX_TEST_ENGINES`` names engines that have to be here (``all``: every one): a test that
needs one of them then fails when it is absent.

One that no other test of an engine may run beside, as when it stops a server, is marked ``alone("ssh")`` as well.
"""

from __future__ import annotations

import fcntl
import functools
import os
import pwd
import subprocess
import tempfile
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

VARIABLE = "MLBOX_TEST_ENGINES"
ACCOUNT = "boxuser"
"""An ordinary user, who has Podman and Apptainer; ``tools/test-engines`` makes it."""
BASE_IMAGE = "python:3.11-slim-bookworm"
REGISTRY = "127.0.0.1:5055/library"
"""Where Apptainer finds the base image of the example boxes on a machine without a network."""

SSH_HOST = "mlbox-host"
"""The second host, for OpenSSH with ``-F ssh_config()``: the same files and Docker daemon, another network."""
SSH_ACCOUNT = "boxhost"
"""Who logs in there; the home directory is ``/home/boxhost`` on both hosts."""
SLURM_NODES = ("node1", "node2")
"""The nodes of the cluster, with two processors and 8000 MB each, in the partition ``main``."""

TOOL = Path(__file__).parent.parent / "tools" / "test-engines"
STATE = Path("/var/lib/mlcommons-box-test-engines")


def ssh_config() -> Path:
    """The file that tells OpenSSH all about the second host; its key may be used by root and the ordinary user."""
    return STATE / "ssh" / "ssh_config"


PROBES = {
    "docker": ["docker", "info"],
    "podman": ["podman", "info"],
    "apptainer": ["apptainer", "--version"],
    "kubectl": ["kubectl", "version", "--client"],
    "ordinary-user": ["runuser", "-u", ACCOUNT, "--", "true"],
    "rsync": ["rsync", "--version"],
    "ssh": ["ssh", "-F", str(ssh_config()), "-o", "ConnectTimeout=5", SSH_HOST, "true"],
    "slurm": ["sinfo", "--noheader"],
    "chromium": ["chromium", "--version"],
    "mlflow": ["test", "-f", str(STATE / "mlflow" / "complete")],
    "ro-crate": ["test", "-f", str(STATE / "ro-crate" / "complete")],
}
REMEDY = "tools/test-engines installs and starts them on Debian 12"


@functools.cache
def absent(engine: str) -> str | None:
    """Why an engine cannot be used here; None when it can."""
    try:
        result = subprocess.run(PROBES[engine], capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None if result.returncode == 0 else (result.stderr.strip().splitlines() or ["it fails"])[-1]


def required() -> set[str]:
    """The engines that have to be here."""
    words = set(os.environ.get(VARIABLE, "").replace(",", " ").split())
    return set(PROBES) if "all" in words else words


@contextmanager
def in_use(names: Collection[str], alone: Collection[str]) -> Iterator[None]:
    """Use engines, some of them alone: tests that run at the same time wait for each other."""
    with ExitStack() as stack:
        for name in sorted({*names, *alone}):
            stack.enter_context(_held(name, fcntl.LOCK_EX if name in alone else fcntl.LOCK_SH))
        yield


@contextmanager
def _held(name: str, how: int) -> Iterator[None]:
    """Hold a lock of this user's.  Whoever waits to be alone lets nobody else in, or it might wait for ever."""
    place = Path(tempfile.gettempdir(), f"mlbox-tests-{os.getuid()}-{name}")
    with place.with_suffix(".door").open("w") as door, place.with_suffix(".room").open("w") as room:
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(room, how)
        fcntl.flock(door, fcntl.LOCK_UN)
        yield


def as_ordinary_user(*argv: str, **variables: str) -> list[str]:
    """The command line that runs a command as the ordinary user, in a session as a login makes it."""
    account = pwd.getpwnam(ACCOUNT)
    environment = {
        "HOME": account.pw_dir,
        "USER": ACCOUNT,
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "XDG_RUNTIME_DIR": f"/run/user/{account.pw_uid}",
        **variables,
    }
    pairs = [f"{name}={value}" for name, value in environment.items()]
    return ["runuser", "-u", ACCOUNT, "--", "env", "-i", "-C", "/tmp", *pairs, *argv]


def _act(*words: str) -> list[str]:
    """Have something befall an engine; the words that it says."""
    result = subprocess.run([TOOL, *words], capture_output=True, text=True, check=False, timeout=120)
    if result.returncode != 0:
        raise RuntimeError(f"tools/test-engines {' '.join(words)}: {result.stderr.strip()}")
    return result.stdout.split()


def link_down() -> None:
    """Unplug the second host: connections wait, and new ones get no route after some seconds."""
    _act("ssh", "link-down")


def link_up() -> None:
    """Plug the second host in again."""
    _act("ssh", "link-up")


def sshd_stop() -> None:
    """End the SSH server with its connections; new ones are refused. What they had started goes on."""
    _act("ssh", "sshd-stop")


def sshd_start() -> None:
    """Start the SSH server, and return when it lets in."""
    _act("ssh", "sshd-start")


def ssh_cut() -> None:
    """End the connections, and let new ones in. What they had started goes on."""
    _act("ssh", "cut")


def ssh_pids() -> list[int]:
    """The processes of the second host: its SSH server, its registry, and what was started through SSH."""
    return [int(word) for word in _act("ssh", "pids")]


def slurm_node_kill(name: str, *, noticed: bool = True) -> None:
    """Kill a node with all its processes, as a power cut does; containers of the Docker daemon are not its own.

    The controller is told of it, or else notices by itself after half a minute. A job that it queues again begins
    after two minutes, or with ``scontrol update jobid=ID starttime=now``; not on the same node within seconds.
    """
    _act("slurm", "node-fail" if noticed else "node-kill", name)


def slurm_node_start(name: str) -> None:
    """Start a node, and return when it takes jobs."""
    _act("slurm", "node-start", name)


def slurm_node_pids(name: str) -> list[int]:
    """The processes of a node: the daemon first, then those of jobs."""
    return [int(word) for word in _act("slurm", "node-pids", name)]


def slurm_controller_stop() -> None:
    """Stop the controller: Slurm's commands fail after some seconds, while jobs go on."""
    _act("slurm", "controller-stop")


def slurm_controller_start() -> None:
    """Start the controller, which knows the jobs of before, and return when its nodes take jobs."""
    _act("slurm", "controller-start")
