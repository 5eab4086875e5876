"""Which real engines this machine has, and what to do about those that it has not.

A test that needs an engine is marked ``engine("docker")``.  Where it is absent the test is left out, and the
run says so at its end.  ``MLBOX_TEST_ENGINES`` names engines that have to be here (``all``: every one): a test that
needs one of them then fails when it is absent.
"""

from __future__ import annotations

import functools
import os
import pwd
import subprocess
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
