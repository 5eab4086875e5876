"""The command line as a user meets it: real processes, a real shell, a real terminal."""

from __future__ import annotations

import os
import pty
import select
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlcommons_box.errors import EX_TIMED_OUT
from tests.conftest import REPOSITORY, MakeBox, write_files

MLBOX = [sys.executable, "-m", "mlcommons_box"]


def mlbox(*words: object, **settings: object) -> subprocess.CompletedProcess[str]:
    command = [*MLBOX, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **settings)  # type: ignore[call-overload,no-any-return]


def test_a_run_makes_its_outputs_and_standard_output_is_the_task_s_alone(make_box: MakeBox) -> None:
    root = make_box()
    result = mlbox("run", root)
    assert result.returncode == 0
    workspace = root / "workspace"
    assert result.stdout.splitlines() == [
        "copied",
        f"--source={workspace}/in.txt",
        f"--target={workspace}/out/copy.txt",
        f"--logs={workspace}/logs",
    ]
    assert "==> copy: succeeded" in result.stderr
    assert (workspace / "out/copy.txt").read_text() == "hello\n"
    assert (workspace / "out/copy.txt").stat().st_uid == os.getuid()


def test_quiet_says_nothing_of_ours(make_box: MakeBox) -> None:
    root = make_box()
    mlbox("configure", root)
    assert mlbox("run", root, "-q").stderr == ""


def test_a_run_leaves_nothing_but_outputs_and_its_record_in_the_box(make_box: MakeBox) -> None:
    root = make_box({"build/echo.py": "import helper\n", "build/helper.py": ""})
    before = {path for path in root.rglob("*") if path.is_file()}
    assert mlbox("run", root).returncode == 0
    made = {path for path in root.rglob("*") if path.is_file()} - before
    assert made
    assert all(root / "workspace/.mlbox" in path.parents for path in made)


@pytest.mark.parametrize("status", [1, 64, 77, 255])
def test_the_task_s_exit_status_is_ours(make_box: MakeBox, status: int) -> None:
    result = mlbox("run", make_box({"build/echo.py": f"raise SystemExit({status})"}))
    assert result.returncode == status
    assert "the run 'copy' failed after" in result.stderr
    assert f"with exit status {status}" in result.stderr


def test_a_timeout_is_124(make_box: MakeBox) -> None:
    result = mlbox("run", make_box({"build/echo.py": "import time; time.sleep(600)"}), "--timeout=0.5")
    assert result.returncode == EX_TIMED_OUT
    assert "it ran longer than 0.5 s" in result.stderr


def test_all_runs_in_the_order_of_the_data_and_stops_at_the_first_failure(make_box: MakeBox) -> None:
    run = (make_box(name="template") / "run/copy.yaml").read_text()
    root = make_box(
        {
            "run/copy.yaml": None,
            "run/a-last.yaml": run.replace("in.txt", "two.txt")
            .replace("out/copy.txt", "three.txt")
            .replace("logs: logs", "logs: logs/a"),
            "run/b-second.yaml": run.replace("in.txt", "one.txt")
            .replace("out/copy.txt", "two.txt")
            .replace("logs: logs", "logs: logs/b"),
            "run/c-first.yaml": run.replace("out/copy.txt", "one.txt").replace("logs: logs", "logs: logs/c"),
        }
    )
    result = mlbox("run", root, "--all")
    assert result.returncode == 0, result.stderr
    assert (root / "workspace/three.txt").read_text() == "hello\n"
    (root / "build/echo.py").write_text("raise SystemExit(3)")
    result = mlbox("run", root, "--all")
    assert result.returncode == 3
    assert "the run 'c-first' failed" in result.stderr
    assert "note: not started: b-second, a-last\n" in result.stderr


def test_a_parameter_bound_on_the_command_line_and_another_workspace(make_box: MakeBox, tmp_path: Path) -> None:
    root = make_box()
    elsewhere = write_files(tmp_path / "else where", {"mine.txt": "mine"})
    result = mlbox("run", root, "--workspace", elsewhere, "-P", "source=mine.txt", "-P", "target=a=b.txt")
    assert result.returncode == 0
    assert (elsewhere / "a=b.txt").read_text() == "mine"
    assert not (root / "workspace/logs").exists()


def test_what_dry_run_prints_does_the_same_when_pasted_into_a_shell(make_box: MakeBox, tmp_path: Path) -> None:
    root = make_box(name="box with 'quotes' $(touch x)")
    printed = mlbox("run", root, "--dry-run")
    assert printed.returncode == 0
    assert not (root / "workspace/out").exists()
    assert len(printed.stdout.splitlines()) in (1, 2)
    mlbox("configure", root)
    printed = mlbox("run", root, "--dry-run")
    (root / "workspace/out").mkdir()
    (root / "workspace/logs").mkdir()
    subprocess.run(["sh", "-e"], input=printed.stdout, text=True, check=True, cwd=tmp_path, capture_output=True)
    assert (root / "workspace/out/copy.txt").read_text() == "hello\n"
    assert not list(tmp_path.rglob("x"))


def test_the_task_sees_little_of_the_caller_s_environment(make_box: MakeBox) -> None:
    root = make_box({"build/echo.py": "import os; print(sorted(os.environ))"})
    environment = {**os.environ, "AWS_SECRET_ACCESS_KEY": "hidden", "PYTHONPATH": "/x", "http_proxy": "p"}
    names = mlbox("run", root, env=environment).stdout
    assert "'http_proxy'" in names
    assert "'HOME'" in names
    assert "AWS" not in names
    assert "PYTHONPATH" not in names


def test_a_reader_that_leaves_ends_the_run(make_box: MakeBox) -> None:
    root = make_box({"build/echo.py": "while True: print('y')"})
    mlbox("configure", root)
    command = [*MLBOX, "run", "-q", str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == b"y\n"
        process.stdout.close()
        assert process.wait(30) == 128 + signal.SIGPIPE
        assert b"Traceback" not in process.stderr.read()


class Terminal:
    """A command in a real terminal of 100 columns."""

    def __init__(self, *words: str, **environment: str) -> None:
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.environ.update({"TERM": "xterm", "COLUMNS": "100", "LINES": "30", **environment})
            os.execv(sys.executable, [*MLBOX, *words])
        self.said = b""

    def read_until(self, text: bytes, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.said:
            assert time.monotonic() < deadline, self.said
            self.read(0.1)

    def read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self.descriptor], [], [], seconds)
        try:
            chunk = os.read(self.descriptor, 4096) if ready else b""
        except OSError:
            return False
        self.said += chunk
        return bool(chunk) or not ready

    def type(self, keys: bytes) -> None:
        os.write(self.descriptor, keys)

    def end(self) -> int:
        while self.read(30):
            pass
        _, status = os.waitpid(self.pid, 0)
        os.close(self.descriptor)
        return os.waitstatus_to_exitcode(status)


def test_ctrl_c_in_a_terminal_ends_the_task_and_is_130(make_box: MakeBox) -> None:
    root = make_box({"build/echo.py": "import os, time; print('pid', os.getpid(), flush=True); time.sleep(600)"})
    terminal = Terminal("run", str(root))
    terminal.read_until(b"pid ")
    terminal.read_until(b"\n")
    time.sleep(0.2)
    terminal.type(b"\x03")
    assert terminal.end() == 130
    assert b"was interrupted after" in terminal.said
    pid = int(terminal.said.split(b"pid ")[1].split()[0])
    assert not Path(f"/proc/{pid}").exists()


def test_colour_and_a_progress_display_on_a_terminal_only(make_box: MakeBox, tmp_path: Path) -> None:
    root = make_box({"build/requirements.txt": "six==1.17.0\n"})
    coloured = Terminal("run", str(root), MLCOMMONS_BOX_CACHE=str(tmp_path / "one"))
    assert coloured.end() == 0
    assert b"\x1b[32;1m==>" in coloured.said
    assert "⠋ building".encode() in coloured.said.replace(b"\x1b[32m", b"").replace(b"\x1b[0m", b"")
    plain = Terminal("run", str(root), MLCOMMONS_BOX_CACHE=str(tmp_path / "two"), NO_COLOR="1")
    assert plain.end() == 0
    assert b"\x1b[3" not in plain.said
    piped = mlbox("run", root)
    assert "\x1b" not in piped.stderr


def complete(line: str, cwd: Path) -> list[str]:
    """What a shell that speaks argcomplete's protocol is offered for a command line."""
    script = f"{sys.executable} -m mlcommons_box 8>&1 9>/dev/null >/dev/null 2>&1"
    environment = {
        **os.environ,
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9",
        "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
    }
    return subprocess.check_output(["bash", "-c", script], cwd=cwd, env=environment, text=True).split("\n")


def test_completion_knows_commands_options_runs_and_platforms(make_box: MakeBox) -> None:
    hello = REPOSITORY / "examples/hello_world"
    assert complete("mlbox val", hello) == ["validate"]
    assert complete("mlbox run --time", hello) == ["--timeout"]
    assert complete("mlbox run --task ", hello) == ["alice/bye", "alice/hello", "bob/bye", "bob/hello"]
    assert complete("mlbox run --platform ", hello) == ["docker", "singularity", "local"]
    assert complete(f"mlbox run --mlbox {hello} --task bob", Path("/")) == ["bob/bye", "bob/hello"]


def test_bash_completes_a_real_command_line(tmp_path: Path) -> None:
    script = write_files(
        tmp_path,
        {
            "complete.sh": f"""
PATH={tmp_path}:$PATH
eval "$(mlbox completion bash)"
COMP_WORDS=(mlbox run --task al); COMP_CWORD=3; COMP_LINE="mlbox run --task al"; COMP_POINT=${{#COMP_LINE}}
COMP_TYPE=9
_python_argcomplete mlbox
printf '%s\\n' "${{COMPREPLY[@]}}"
""",
            "mlbox": f'#!/bin/sh\nexec {sys.executable} -m mlcommons_box "$@"\n',
        },
    )
    (tmp_path / "mlbox").chmod(stat.S_IRWXU)
    out = subprocess.check_output(
        ["bash", str(script / "complete.sh")], cwd=REPOSITORY / "examples/hello_world", text=True
    )
    assert out.split() == ["alice/bye", "alice/hello"]


@pytest.mark.parametrize(
    "module",
    ["mlcommons_box", *(f"mlcommons_box_{kind}" for kind in ("docker", "singularity", "ssh", "k8s", "slurm"))],
)
def test_every_command_is_also_a_module(module: str) -> None:
    result = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=False)
    assert result.returncode == 0
    assert "configure" in result.stdout
