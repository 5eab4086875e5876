"""Where commands and files go: this machine, or one that OpenSSH reaches.

A host is given scripts for the POSIX shell, by the standard input of ``sh``: nothing of ours has to be there, and
whatever shell the user logs in with, it reads one word.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from mlcommons_box.command import Command
from mlcommons_box.errors import BoxError, CannotCreateError, UnavailableError
from mlcommons_box.process import Answer, OnOutput, ask, stream
from mlcommons_box.shell_script import quoted
from mlcommons_box.value import Value

SSH_CONFIG_VARIABLE = "MLCOMMONS_BOX_SSH_CONFIG"
"""An OpenSSH configuration file to use in place of the user's own (``ssh -F``)."""
CONNECT_TIMEOUT = 15
"""Seconds in which a host has to answer."""
_ALIVE = ("-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3")
"""A connection that has been silent for 15 seconds is cut."""
_SSH_FAILED = 255
_VANISHED = 24
"""What rsync ends with when a file was removed while it copied."""
_IDLE = 60
"""Seconds after which an unused connection is closed, should this process have been killed."""


class ConnectionLost(UnavailableError):
    """The host does not answer, or no longer."""


class Host(Protocol):
    """A machine."""

    @property
    def name(self) -> str:
        """What people call it."""

    def shell_command(self, script: str) -> Command:
        """The command of this machine that runs a script there."""

    def shell(self, script: str, *, timeout: float | None = None) -> Answer:
        """Run a script to its end.  Raises :class:`ConnectionLost`."""

    def put(self, sources: Sequence[str], target: str, *options: str, on_output: OnOutput) -> None:
        """Copy into a directory there, as rsync(1) names sources; what is there already is not sent again."""

    def get(self, source: str, target: Path, *options: str, on_output: OnOutput) -> None:
        """Copy what is in a directory there into one of this machine."""

    def close(self) -> None:
        """End the connection, where there is one."""


class LocalHost:
    """This machine."""

    name = "this machine"

    def shell_command(self, script: str) -> Command:
        return Command(argv=("sh",), input=script.encode("utf-8", "surrogateescape"))

    def shell(self, script: str, *, timeout: float | None = None) -> Answer:
        return ask(self.shell_command(script), timeout=timeout)

    def put(self, sources: Sequence[str], target: str, *options: str, on_output: OnOutput) -> None:
        """Nothing to do: it is here."""

    def get(self, source: str, target: Path, *options: str, on_output: OnOutput) -> None:
        """Nothing to do: it is here."""

    def close(self) -> None:
        """There is no connection."""


class Login(Value):
    """How to reach a host: what the user's own ``~/.ssh/config`` does not say already."""

    host: str
    user: str | None = None
    port: int | None = None
    identity_file: str | None = None


class SshHost:
    """A machine that OpenSSH reaches, by one connection that is closed at the end.

    Host keys are checked as the user's own configuration says, and nobody is asked for anything: keys come from
    files or from an agent.
    """

    def __init__(self, login: Login, environ: Mapping[str, str] = os.environ) -> None:
        self.login = login
        self.environ = environ
        self._directory: str | None = None

    @property
    def name(self) -> str:
        return self.login.host

    @property
    def socket(self) -> str:
        """Where the connection is shared; the name of a socket has to be short."""
        if self._directory is None:
            import tempfile

            self._directory = tempfile.mkdtemp(prefix="mlbox-ssh-", dir="/tmp")
        return os.path.join(self._directory, "connection")

    def ssh(self) -> tuple[str, ...]:
        """The beginning of every command: the program and how to log in."""
        words = ["ssh"]
        if self.environ.get(SSH_CONFIG_VARIABLE):
            words += ["-F", self.environ[SSH_CONFIG_VARIABLE]]
        if self.login.port is not None:
            words += ["-p", str(self.login.port)]
        if self.login.identity_file is not None:
            words += ["-i", os.path.expanduser(self.login.identity_file), "-o", "IdentitiesOnly=yes"]
        if self.login.user is not None:
            words += ["-l", self.login.user]
        return (*words, "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_TIMEOUT}", *_ALIVE)

    def shell_command(self, script: str) -> Command:
        return Command(
            argv=(*self.ssh(), "-T", "--", self.login.host, "sh"), input=script.encode("utf-8", "surrogateescape")
        )

    def connect(self) -> None:
        """Open the connection.  Raises :class:`ConnectionLost` with what stands in the way, and the remedy."""
        words = ("-f", "-N", "-M", "-S", self.socket, "-o", f"ControlPersist={_IDLE}", "--", self.login.host)
        # What it leaves in the background is the connection.
        answer = ask(Command(argv=(*self.ssh(), *words)), timeout=CONNECT_TIMEOUT * 3, client=True)
        if not answer.succeeded:
            raise self._lost("cannot reach the host", answer)

    def is_connected(self) -> bool:
        """Whether the connection is there; it is not asked whether anybody still answers at its other end."""
        return self._directory is not None and os.path.exists(self.socket)

    def shell(self, script: str, *, timeout: float | None = None) -> Answer:
        if not self.is_connected():
            self.connect()
        argv = (*self.ssh(), "-S", self.socket, "-o", "ControlMaster=no", "-T", "--", self.login.host, "sh")
        answer = ask(Command(argv=argv, input=script.encode("utf-8", "surrogateescape")), timeout=timeout)
        if answer.completed.exit_status == _SSH_FAILED or answer.completed.timed_out:
            self.close()
            raise self._lost("the connection was lost to the host", answer)
        return answer

    def put(self, sources: Sequence[str], target: str, *options: str, on_output: OnOutput) -> None:
        words, place = self._place(target)
        self._copy([*options, *words, "--", *sources, place], on_output)

    def get(self, source: str, target: Path, *options: str, on_output: OnOutput) -> None:
        words, place = self._place(source)
        self._copy([*options, *words, "--", place, f"{target}/"], on_output)

    def _place(self, directory: str) -> tuple[list[str], str]:
        """Options and a name for a directory there, as rsync takes it.

        It sees a host in ``[::1]:`` and in what has a colon, and it takes what has ``*`` in it for a pattern.
        """
        host = f"[{self.login.host}]" if ":" in self.login.host else self.login.host
        if not set(directory) & set("*?[\\"):
            return [], f"{host}:{directory.rstrip('/')}/"
        return [f"--rsync-path=cd -- {quoted(directory)} && rsync"], f"{host}:./"

    def _copy(self, words: list[str], on_output: OnOutput) -> None:
        if not self.is_connected():
            self.connect()
        remote_shell = shlex.join((*self.ssh(), "-S", self.socket, "-o", "ControlMaster=no"))
        argv: tuple[str, ...] = (
            "rsync",
            "--archive",
            "--protect-args",
            "--partial-dir=.mlbox-partial",
            "--copy-unsafe-links",
        )
        # Owners and groups are those of the account there, and here those of the caller.
        argv += ("--no-owner", "--no-group", "--rsh", remote_shell, *words)
        said = bytearray()

        def heard(name: str, chunk: bytes) -> None:
            if name == "stderr":
                said.extend(chunk)
            else:
                on_output("stdout", chunk)

        completed = stream(Command(argv=argv), on_output=heard)
        if completed.interrupted_by is not None:
            from mlcommons_box.errors import Interrupted

            raise Interrupted(completed.interrupted_by)
        if completed.exit_status not in (0, _VANISHED):
            raise self._copy_failed(completed.exit_status, said.decode("utf-8", "replace"))

    def _copy_failed(self, status: int, said: str) -> BoxError:
        shown = _tail(said)
        if re.search(r"No space left on device|Disk quota exceeded", said):
            return CannotCreateError(
                f"there is no space left on {self.name!r}, or here\n{shown}", hint="free some, and run it again"
            )
        if re.search(r": not found|command not found", said):
            return UnavailableError(f"there is no rsync on {self.name!r}\n{shown}", hint="install it there")
        if status in (_SSH_FAILED, 10, 12, 30, 35) or "connection unexpectedly closed" in said:
            self.close()
            return ConnectionLost(f"the connection was lost to the host {self.name!r}\n{shown}")
        return CannotCreateError(f"rsync failed with status {status} between here and {self.name!r}\n{shown}")

    def _lost(self, what: str, answer: Answer) -> ConnectionLost:
        said = answer.stderr.decode("utf-8", "replace")
        if answer.completed.timed_out and not said:
            said = "it did not answer in time"
        meaning, hint = _explained(said, self.login)
        return ConnectionLost(f"{what} {self.name!r}{meaning}\n{_tail(said)}", hint=hint)

    def close(self) -> None:
        if self._directory is None:
            return
        import shutil

        if os.path.exists(self.socket):
            with suppress(BoxError):
                ask(Command(argv=(*self.ssh(), "-S", self.socket, "-O", "exit", "--", self.login.host)), timeout=5)
        shutil.rmtree(self._directory, ignore_errors=True)
        self._directory = None


_FAILURES = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED|Host key for .* has changed",
        ": its key is not the one that this machine knows, so it may be another machine",
        "ask whoever runs it; if the change is right: ssh-keygen -R {host}, then log in once by hand",
    ),
    (
        r"Host key verification failed|No .* host key is known",
        ": this machine does not know its key yet",
        "compare its fingerprint with what its owner says, and accept it once by hand: ssh {host}",
    ),
    (r"Bad owner or permissions|UNPROTECTED PRIVATE KEY", ": others could read its key", "chmod 600 the file"),
    (
        r"Permission denied",
        ": it does not accept the key",
        "'ssh {host} true' has to work without a question: look at the user, the key and the agent (ssh-add -l)",
    ),
    (
        r"Could not resolve hostname",
        ": nobody knows a host of that name",
        "mend 'host' in the platform file, or add it to ~/.ssh/config",
    ),
    (
        r"Connection refused|timed out|No route to host|Network is unreachable|did not answer|Connection closed"
        r"|Connection reset|Broken pipe|not responding",
        ": it does not answer",
        "see whether it is up, and whether a VPN or a jump host is needed: ssh {host} true",
    ),
)


def _explained(said: str, login: Login) -> tuple[str, str | None]:
    for pattern, meaning, remedy in _FAILURES:
        if re.search(pattern, said):
            return meaning, remedy.format(host=login.host if login.user is None else f"{login.user}@{login.host}")
    return "", "'ssh -v' shows more"


def _tail(said: str) -> str:
    lines = [line.rstrip() for line in said.splitlines() if line.strip() and not set(line) <= {"@", " "}]
    return "\n".join(f"  {line}" for line in lines[-8:])


# ---- Quoting for the POSIX shell -----------------------------------------------------------------
