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

VARIABLE = "MLBOX_TEST_ENGINES"
ACCOUNT = "boxuser"
"""An ordinary user, who has Podman and Apptainer; ``tools/test-engines`` makes it."""
BASE_IMAGE = "python:3.11-slim-bookworm"
REGISTRY = "127.0.0.1:5055/library"
"""Where Apptainer finds the base image of the example boxes on a machine without a network."""

PROBES = {
    "docker": ["docker", "info"],
    "podman": ["podman", "info"],
    "apptainer": ["apptainer", "--version"],
    "ordinary-user": ["runuser", "-u", ACCOUNT, "--", "true"],
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
