"""What is quoted for a shell arrives as it was, in every shell that is here."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlcommons_box.command import CallerVariable, Command
from mlcommons_box.shell_script import quoted, script_of

SHELLS = [name for name in ("sh", "dash", "bash") if shutil.which(name)]
SAYS = """\
import json, os, sys
print(json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]))
"""
LETTERS = list("'\"\\$`!#&|;<>()*?[]{}~%=-+ \n\t\r\x01\x7fe\u00fc\u6570\U0001f600")
TEXT = st.text(st.sampled_from(LETTERS), max_size=12) | st.sampled_from(["$(touch x)", "\\n", "-n", "\udcff"])
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True).filter(
    lambda name: (
        name not in ("PATH", "_", "PWD", "OLDPWD", "SHLVL", "UID", "EUID", "PPID", "IFS")
        and not name.startswith(("PS", "LC_", "LANG", "BASH", "ENV", "PYTHON", "LD_", "OPT"))
    )
)
QUICK = settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def said(
    shell: str, script: str, environment: dict[str, str], directory: Path
) -> tuple[list[str], dict[str, str], str]:
    """What the program that a script becomes was given."""
    result = subprocess.run(
        [shell],
        input=script.encode("utf-8", "surrogateescape"),
        capture_output=True,
        env=environment,
        cwd=directory,
    )
    assert result.returncode == 0, result.stderr
    arguments, variables, place = json.loads(result.stdout)
    for name in ("_", "PWD", "OLDPWD", "SHLVL", "LC_CTYPE"):  # a shell's own, or Python's
        variables.pop(name, None)
    return arguments, variables, place


@pytest.fixture
def base() -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "PYTHONUTF8": "1"}


@pytest.mark.parametrize("shell", SHELLS)
@given(words=st.lists(TEXT, max_size=4), values=st.dictionaries(NAMES, TEXT, max_size=3))
@QUICK
def test_arguments_and_variables_arrive_as_they_are(
    shell: str, words: list[str], values: dict[str, str], base: dict[str, str], tmp_path: Path
) -> None:
    command = Command(
        argv=(sys.executable, "-c", SAYS, *words),
        environment=(("PYTHONUTF8", "1"), *values.items()),
    )
    caller = {**base, "LEFT": "over"}
    arguments, variables, _ = said(shell, script_of(command, caller), caller, tmp_path)
    assert arguments == words
    assert variables == {"PYTHONUTF8": "1", **values}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shell", SHELLS)
@given(value=TEXT)
@QUICK
def test_variables_of_the_caller_are_handed_over_under_any_name(
    shell: str, value: str, base: dict[str, str], tmp_path: Path
) -> None:
    command = Command(
        argv=(sys.executable, "-c", SAYS),
        environment=(("PYTHONUTF8", None), ("KEPT", None), ("NOT_THERE", None)),
        added=(("OTHER", CallerVariable(name="SECRET")), ("NEITHER", CallerVariable(name="NOT_THERE"))),
    )
    caller = {**base, "KEPT": value, "SECRET": value, "mlbox_x": value, "name": value}
    script = script_of(command, caller)
    assert said(shell, script, caller, tmp_path)[1] == {"PYTHONUTF8": "1", "KEPT": value, "OTHER": value}
    assert "SECRET" in script


@pytest.mark.parametrize("shell", SHELLS)
def test_without_an_environment_of_its_own_it_has_all_but_what_is_removed(
    shell: str, base: dict[str, str], tmp_path: Path
) -> None:
    command = Command(
        argv=(sys.executable, "-c", SAYS), removed=("GONE", "not a name; touch x"), added=(("NEW", "a b"),)
    )
    caller = {**base, "GONE": "1", "LEFT": "two\nGONE=lines"}
    assert said(shell, script_of(command, caller), caller, tmp_path)[1] == {
        **base, "LEFT": "two\nGONE=lines", "NEW": "a b"
    }  # fmt: skip
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("name", ["it's", "$(touch x)", "new\nline", "-P", "ü\\n"])
def test_it_runs_in_its_directory(shell: str, name: str, base: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    command = Command(argv=(sys.executable, "-c", SAYS), directory=tmp_path / name)
    assert said(shell, script_of(command, base), base, tmp_path)[2] == str(tmp_path / name)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_directory_that_is_not_there_is_an_error(shell: str, base: dict[str, str], tmp_path: Path) -> None:
    script = script_of(Command(argv=("true",), directory=tmp_path / "no"), base)
    result = subprocess.run([shell], input=script.encode(), env=base, capture_output=True, check=False)
    assert result.returncode == 73


@pytest.mark.parametrize("shell", SHELLS)
@given(word=TEXT)
@QUICK
def test_a_quoted_word_is_one_word(shell: str, word: str, base: dict[str, str], tmp_path: Path) -> None:
    script = f"exec {quoted(sys.executable)} -c {quoted(SAYS)} {quoted(word)}"
    assert said(shell, script, base, tmp_path)[0] == [word]
