"""How another host is reached, and what is said when it cannot be."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from mlcommons_box import host as module
from mlcommons_box.command import Command
from mlcommons_box.errors import BoxError, CannotCreateError, Interrupted, UnavailableError
from mlcommons_box.host import ConnectionLost, LocalHost, Login, SshHost
from mlcommons_box.process import Answer, Completed, OnOutput
from mlcommons_box.shell_script import quoted

Said = tuple[int, str]


class Programs:
    """Stands in for ssh and rsync: what they say, one after the other, and what they were told."""

    def __init__(self) -> None:
        self.answers: list[Said] = []
        self.commands: list[Command] = []
        self.is_slow = False
        self.interrupted_by: int | None = None

    def ask(self, command: Command, *, timeout: float | None = None, client: bool = False) -> Answer:
        self.commands.append(command)
        status, said = self.answers.pop(0) if self.answers else (0, "")
        if "-M" in command.argv and status == 0:
            Path(command.argv[command.argv.index("-S") + 1]).touch()
        completed = Completed(exit_status=status, timed_out=self.is_slow)
        return Answer(completed=completed, stdout=b"", stderr=said.encode())

    def stream(self, command: Command, *, on_output: OnOutput, **_: object) -> Completed:
        answer = self.ask(command)
        on_output("stderr", answer.stderr)
        return Completed(exit_status=answer.completed.exit_status, interrupted_by=self.interrupted_by)


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Programs:
    programs = Programs()
    monkeypatch.setattr(module, "ask", programs.ask)
    monkeypatch.setattr(module, "stream", programs.stream)
    return programs


Reach = Callable[..., SshHost]


@pytest.fixture
def reach(request: pytest.FixtureRequest) -> Reach:
    def make(environ: Mapping[str, str] | None = None, **login: object) -> SshHost:
        host = SshHost(Login(**{"host": "lab", **login}), environ or {})  # type: ignore[arg-type]
        request.addfinalizer(host.close)
        return host

    return make


# ---- What is said ---------------------------------------------------------------------------------

CHANGED = """\
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!
Host key for lab has changed and you have requested strict checking.
Host key verification failed.
"""
UNKNOWN = "No ED25519 host key is known for lab and you have requested strict checking.\r\n"
UNKNOWN += "Host key verification failed.\r\n"
WRONG_KEY = "ada@lab: Permission denied (publickey).\r\n"
UNRESOLVED = "ssh: Could not resolve hostname lab: Name or service not known\r\n"
OPEN_KEY = "@@@\n@  WARNING: UNPROTECTED PRIVATE KEY FILE!  @\n@@@\nPermissions 0644 for 'k' are too open.\n"
OPEN_KEY += "ada@lab: Permission denied (publickey).\n"


@pytest.mark.parametrize(
    ("said", "meaning", "remedy"),
    [
        (CHANGED, "may be another machine", "ssh-keygen -R lab"),
        (UNKNOWN, "this machine does not know its key yet", "accept it once by hand: ssh lab"),
        (WRONG_KEY, "it does not accept the key", "'ssh lab true' has to work without a question"),
        (UNRESOLVED, "nobody knows a host of that name", "mend 'host' in the platform file"),
        (OPEN_KEY, "others could read its key", "chmod 600"),
        ("Bad owner or permissions on /root/.ssh/config\r\n", "others could read its key", "chmod 600"),
        ("ssh: connect to host lab port 22: Connection refused\r\n", "it does not answer", "ssh lab true"),
        ("ssh: connect to host lab port 22: Connection timed out\r\n", "it does not answer", "VPN"),
        ("ssh: connect to host lab port 22: No route to host\r\n", "it does not answer", "VPN"),
        ("kex_exchange_identification: Connection closed by remote host\r\n", "it does not answer", "VPN"),
        ("Timeout, server lab not responding.\r\n", "it does not answer", "VPN"),
        ("ssh: something new\n", "cannot reach the host 'lab'", "'ssh -v' shows more"),
    ],
)
def test_a_host_that_cannot_be_reached(
    programs: Programs, reach: Reach, said: str, meaning: str, remedy: str
) -> None:
    programs.answers = [(255, said)]
    with pytest.raises(ConnectionLost) as caught:
        reach().shell("true")
    assert meaning in caught.value.message
    assert remedy in str(caught.value.hint)
    assert said.strip().splitlines()[-1].strip() in caught.value.message
    assert "@@@" not in caught.value.message
    assert caught.value.exit_status == UnavailableError.exit_status


def test_the_remedy_names_the_user(programs: Programs, reach: Reach) -> None:
    programs.answers = [(255, WRONG_KEY)]
    with pytest.raises(ConnectionLost) as caught:
        reach(user="ada").connect()
    assert "'ssh ada@lab true'" in str(caught.value.hint)


def test_a_host_that_says_nothing(programs: Programs, reach: Reach) -> None:
    programs.is_slow = True
    with pytest.raises(ConnectionLost, match="it does not answer\n  it did not answer in time"):
        reach().connect()


def test_a_connection_that_is_lost_is_opened_again_by_the_next_question(programs: Programs, reach: Reach) -> None:
    host = reach()
    programs.answers = [(0, ""), (255, "Connection to lab closed by remote host.\r\n")]
    with pytest.raises(ConnectionLost, match="the connection was lost to the host 'lab'"):
        host.shell("true")
    assert not host.is_connected()
    assert host.shell("true").succeeded


def test_a_script_s_own_failure_is_an_answer(programs: Programs, reach: Reach) -> None:
    programs.answers = [(0, ""), (73, "no\n")]
    answer = reach().shell("exit 73")
    assert (answer.completed.exit_status, answer.stderr) == (73, b"no\n")


@pytest.mark.parametrize(
    ("status", "said", "kind", "words"),
    [
        (11, "rsync: write failed: No space left on device (28)\n", CannotCreateError, "no space left on 'lab'"),
        (11, "rsync: mkstemp failed: Disk quota exceeded (122)\n", CannotCreateError, "no space left"),
        (127, "bash: line 1: rsync: command not found\n", UnavailableError, "there is no rsync on 'lab'"),
        (12, "sh: 1: rsync: not found\nrsync: connection unexpectedly closed\n", UnavailableError, "no rsync"),
        (12, "rsync: connection unexpectedly closed (0 bytes)\n", ConnectionLost, "the connection was lost"),
        (255, "Connection to lab closed by remote host.\n", ConnectionLost, "the connection was lost"),
        (30, "rsync error: timeout in data send/receive\n", ConnectionLost, "the connection was lost"),
        (23, 'rsync: send_files failed to open "/x": Permission denied (13)\n', CannotCreateError, "status 23"),
        (2, "protocol version mismatch -- is your shell clean?\n", CannotCreateError, "is your shell clean"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("way", ["put", "get"])
def test_a_copy_that_fails(
    programs: Programs, reach: Reach, status: int, said: str, kind: type[BoxError], words: str, way: str
) -> None:
    host = reach()
    programs.answers = [(0, ""), (status, said)]
    with pytest.raises(kind) as caught:
        copy(host, way)
    assert words in caught.value.message
    assert type(caught.value) is kind


def copy(host: SshHost, way: str, path: str = "/box") -> None:
    if way == "put":
        host.put(["/here/"], path, on_output=lambda *_: None)
    else:
        host.get(path, Path("/here"), on_output=lambda *_: None)


def test_a_file_that_vanishes_during_a_copy_is_no_failure(programs: Programs, reach: Reach) -> None:
    programs.answers = [(0, ""), (24, "rsync warning: some files vanished before they could be transferred\n")]
    copy(reach(), "put")


def test_an_interrupted_copy_says_so(programs: Programs, reach: Reach) -> None:
    programs.interrupted_by = 15
    with pytest.raises(Interrupted):
        copy(reach(), "get")


# ---- Command lines --------------------------------------------------------------------------------


def test_the_user_s_own_configuration_decides_about_host_keys(programs: Programs, reach: Reach) -> None:
    reach().shell("true")
    for command in programs.commands:
        assert command.argv[0] == "ssh"
        assert "BatchMode=yes" in command.argv
        assert not any("HostKey" in word or "KnownHosts" in word for word in command.argv)


def test_how_to_log_in(reach: Reach) -> None:
    host = reach(
        {"MLCOMMONS_BOX_SSH_CONFIG": "/my config"}, user="ada", port=2222, identity_file="~/.ssh/id with space"
    )
    words = ("ssh", "-F", "/my config", "-p", "2222", "-i", os.path.expanduser("~/.ssh/id with space"))
    assert host.ssh()[: len(words)] == words
    assert host.ssh()[len(words) :][:4] == ("-o", "IdentitiesOnly=yes", "-l", "ada")


def test_a_script_is_no_argument_of_a_process(programs: Programs, reach: Reach) -> None:
    reach().shell("echo geheim ü\udcff")
    command = programs.commands[-1]
    assert command.input == b"echo geheim \xc3\xbc\xff"
    assert command.argv[-4:] == ("-T", "--", "lab", "sh")
    assert not any("geheim" in word for word in command.argv)


def test_one_connection_is_shared_and_closed(programs: Programs, reach: Reach) -> None:
    host = reach()
    for _ in range(3):
        host.shell("true")
    copy(host, "put")
    socket = Path(host.socket)
    assert sum("-M" in command.argv for command in programs.commands) == 1
    assert len(str(socket)) < 90
    host.close()
    assert "exit" in programs.commands[-1].argv
    assert not socket.parent.exists()


def test_a_connection_ends_by_itself_should_nobody_close_it(programs: Programs, reach: Reach) -> None:
    reach().connect()
    assert "ControlPersist=60" in programs.commands[0].argv


@pytest.mark.parametrize(
    ("name", "path", "words"),
    [
        ("lab", "/a b", ("--", "/here/", "lab:/a b/")),
        ("lab", "/a/", ("--", "/here/", "lab:/a/")),
        ("::1", "/a", ("--", "/here/", "[::1]:/a/")),
        ("lab", "/a*[b]", ("--rsync-path=cd -- '/a*[b]' && rsync", "--", "/here/", "lab:./")),
        ("lab", "/it's\\x", ("--rsync-path=cd -- '/it'\"'\"'s\\x' && rsync", "--", "/here/", "lab:./")),
    ],
)
def test_a_directory_there_as_rsync_has_to_be_told(
    programs: Programs, reach: Reach, name: str, path: str, words: tuple[str, ...]
) -> None:
    copy(reach(host=name), "put", path)
    assert programs.commands[-1].argv[-len(words) :] == words
    copy(reach(host=name), "get", path)
    assert programs.commands[-1].argv[-2:] == (words[-1], "/here/")


def test_this_machine_takes_the_same_scripts() -> None:
    command = LocalHost().shell_command("echo ü")
    assert (command.argv, command.input) == (("sh",), b"echo \xc3\xbc")


@pytest.mark.parametrize("word", ["", "a b", "it's", "-x", "$(x)", "a\nb", "~", "ü"])
def test_a_quoted_word_has_nothing_left_to_mean(word: str) -> None:
    import shlex

    assert shlex.split(quoted(word)) == [word]
