"""What real git says of a box, and what a stranger's repository cannot make it start."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mlcommons_box.version_control import commit_of
from tests.conftest import MakeBox, records_of, write_files
from tests.integration.test_command_line import mlbox


def git(directory: Path, *words: str) -> str:
    settings = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "protocol.file.allow=always")
    return subprocess.run(
        ["git", *settings, *words], cwd=directory, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture(autouse=True)
def _no_settings_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a box in it that is as it was committed."""
    root = write_files(
        tmp_path / "repository", {"box/build/a.py": "1\n", "box/workspace/in.txt": "1\n", "README": "x\n"}
    )
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message=first")
    return root


def dirty(repository: Path) -> object:
    found = commit_of(repository / "box")
    assert found["commit"] == git(repository, "rev-parse", "HEAD")
    return found["dirty"]


def test_as_it_was_committed(repository: Path) -> None:
    assert dirty(repository) is False


@pytest.mark.parametrize(
    ("change", "is_dirty"),
    [
        (lambda root: (root / "box/build/a.py").write_text("2\n"), True),
        (lambda root: (root / "box/build/new.py").touch(), True),
        (lambda root: (root / "box/build/a.py").unlink(), True),
        (lambda root: (root / "box/workspace/in.txt").write_text("2\n"), False),
        (lambda root: (root / "box/workspace/out.txt").touch(), False),
        (lambda root: (root / "README").write_text("y\n"), False),
        (lambda root: os.utime(root / "box/build/a.py", (1, 1)), False),
    ],
    ids=["changed", "new", "gone", "workspace", "new in workspace", "beside the box", "only a time"],
)
def test_what_of_the_box_has_changed(repository: Path, change: Callable[[Path], object], is_dirty: bool) -> None:
    index = (repository / ".git/index").read_bytes()
    change(repository)
    assert dirty(repository) is is_dirty
    assert (repository / ".git/index").read_bytes() == index


def test_what_a_clone_and_its_user_have_in_their_configuration_is_harmless(
    repository: Path, tmp_path: Path
) -> None:
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(repository), str(clone))
    git(clone, "config", "user.name", "Ada")
    git(clone, "config", "lfs.https://example.org/info/lfs.access", "basic")
    git(clone, "config", "branch.main.rebase", "true")
    assert dirty(clone) is False


def test_a_work_tree_of_a_repository(repository: Path, tmp_path: Path) -> None:
    git(repository, "worktree", "add", "--quiet", str(tmp_path / "tree"), "-b", "other")
    assert dirty(tmp_path / "tree") is False
    (tmp_path / "tree/box/build/a.py").write_text("2\n")
    assert dirty(tmp_path / "tree") is True


def test_where_there_is_no_repository_or_none_with_a_commit(tmp_path: Path) -> None:
    box = write_files(tmp_path / "box", {"build/a.py": ""})
    assert commit_of(box) == {}
    (box / ".git").write_text("gitdir: nowhere")
    assert commit_of(box) == {}
    (box / ".git").unlink()
    git(box, "init", "--quiet")
    assert commit_of(box) == {}


def test_where_there_is_no_git(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert commit_of(repository / "box") == {}


def test_called_by_git_itself(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a hook, variables lead git to the repository of the hook."""
    other = write_files(tmp_path / "other", {"a": ""})
    git(other, "init", "--quiet")
    git(other, "add", ".")
    git(other, "commit", "--quiet", "--message=other")
    expected = git(repository, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git/index"))
    assert commit_of(repository / "box") == {"commit": expected, "dirty": False}


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A program of a stranger; that it was started shows in the file beside it."""
    program = tmp_path / "trap"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\ncat\n")
    program.chmod(0o755)
    return program


def is_sprung(trap: Path) -> bool:
    return trap.with_name("sprung").exists()


HARMFUL = {
    "fsmonitor": "[core]\n fsmonitor = {trap}\n",
    "filter": '[filter "x"]\n clean = {trap}\n smudge = {trap}\n required = true\n',
    "process": '[filter "x"]\n process = {trap}\n',
    "include": "[include]\n path = {more}\n",
    "conditional include": '[includeIf "gitdir:**"]\n path = {more}\n',
    "work tree": "[core]\n worktree = /\n fsmonitor = {trap}\n",
    "hooks": "[core]\n hooksPath = {hooks}\n",
    "pager": "[core]\n pager = {trap}\n[pager]\n status = {trap}\n",
    "editor": "[core]\n editor = {trap}\n sshCommand = {trap}\n askPass = {trap}\n",
    "alias": "[alias]\n status = !{trap}\n rev-parse = !{trap}\n config = !{trap}\n",
    "diff": '[diff]\n external = {trap}\n[diff "x"]\n textconv = {trap}\n',
    "extension": "[core]\n repositoryformatversion = 1\n[extensions]\n worktreeConfig = true\n",
    "lfs": '[lfs "extension.x"]\n clean = {trap}\n smudge = {trap}\n',
    "promisor": '[remote "origin"]\n url = .\n promisor = true\n uploadpack = {trap}\n',
    "trace": "[trace2]\n eventTarget = {trap}\n",
}


@pytest.mark.parametrize("harm", HARMFUL)
def test_a_harmful_configuration_starts_nothing(repository: Path, trap: Path, tmp_path: Path, harm: str) -> None:
    write_files(repository, {"box/.gitattributes": "*.py filter=x diff=x\n"})
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "--message=second")
    (repository / "box/build/a.py").write_text("2\n")  # of the same size: git has to look into it
    os.utime(repository / "box/build/a.py", (1, 1))
    more = tmp_path / "more"
    more.write_text(f'[core]\n fsmonitor = {trap}\n[filter "x"]\n clean = {trap}\n')
    hooks = write_files(tmp_path / "hooks", {})
    hooks.mkdir(exist_ok=True)
    for name in ("post-index-change", "fsmonitor-watchman", "reference-transaction"):
        (hooks / name).symlink_to(trap)
    commit = git(repository, "rev-parse", "HEAD")
    with (repository / ".git/config").open("a") as file:
        file.write(HARMFUL[harm].format(trap=trap, more=more, hooks=hooks))
    if harm == "extension":
        (repository / ".git/config.worktree").write_text(
            f'[core]\n fsmonitor = {trap}\n[filter "x"]\n clean = {trap}\n'
        )
    if harm == "promisor":
        tree = git(repository, "rev-parse", "HEAD^{tree}")
        (repository / ".git/objects" / tree[:2] / tree[2:]).unlink()
    found = commit_of(repository / "box")
    assert not is_sprung(trap)
    assert found in ({"commit": commit, "dirty": None}, {})


def test_the_traps_are_traps(repository: Path, trap: Path) -> None:
    """What is left alone above would have been started: else these tests prove nothing."""
    git(repository, "config", "core.fsmonitor", str(trap))
    subprocess.run(["git", "status"], cwd=repository, check=False, capture_output=True)
    assert is_sprung(trap)


def test_a_submodule_is_a_trap(repository: Path, trap: Path, tmp_path: Path) -> None:
    module = with_submodule(repository, tmp_path)
    git(module, "config", "filter.x.clean", str(trap))
    (module / "a.py").write_text("2\n")
    os.utime(module / "a.py", (1, 1))
    subprocess.run(["git", "status"], cwd=repository, check=False, capture_output=True, timeout=60)
    assert is_sprung(trap)


def with_submodule(repository: Path, tmp_path: Path) -> Path:
    other = write_files(tmp_path / "other", {"a.py": "1\n", ".gitattributes": "*.py filter=x\n"})
    git(other, "init", "--quiet")
    git(other, "add", ".")
    git(other, "commit", "--quiet", "--message=other")
    git(repository, "submodule", "--quiet", "add", str(other), "box/build/other")
    git(repository, "commit", "--quiet", "--message=with it")
    return repository / "box/build/other"


def test_nobody_looks_into_a_submodule(repository: Path, trap: Path, tmp_path: Path) -> None:
    """It has a configuration of its own, which git status would follow."""
    module = with_submodule(repository, tmp_path)
    git(module, "config", "filter.x.clean", str(trap))
    git(module, "config", "core.fsmonitor", str(trap))
    (module / "a.py").write_text("2\n")
    os.utime(module / "a.py", (1, 1))
    assert dirty(repository) is None
    assert not is_sprung(trap)


def test_another_commit_of_a_submodule_is_a_change(repository: Path, tmp_path: Path) -> None:
    module = with_submodule(repository, tmp_path)
    git(module, "commit", "--quiet", "--allow-empty", "--message=next")
    assert dirty(repository) is True


def test_a_run_has_the_commit_of_its_box(make_box: MakeBox) -> None:
    root = make_box()
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message=first")
    commit = git(root, "rev-parse", "HEAD")
    assert mlbox("run", "--platform=local", root).returncode == 0
    (record,) = records_of(root / "workspace")
    assert record.code["git"] == {"commit": commit, "dirty": False}
    assert record.unproved is None
    assert f"commit {commit[:12]}" in mlbox("show", f"--mlbox={root}").stdout
    assert mlbox("why", "--platform=local", root).returncode == 0


def test_a_run_is_proved_replayed_and_locked_from_the_command_line(make_box: MakeBox) -> None:
    root = make_box()
    where = f"--mlbox={root}"
    assert mlbox("lock", "--platform=local", root).returncode == 0
    assert mlbox("run", "--platform=local", root).returncode == 0
    assert mlbox("verify", where).returncode == 0
    assert mlbox("why", "--platform=local", root).returncode == 0
    replayed = mlbox("replay", where, "--json")
    assert replayed.returncode == 0, replayed.stderr
    assert {each["state"] for each in json.loads(replayed.stdout)} == {"bit-exact"}
    (root / "workspace/in.txt").write_text("other\n")
    assert mlbox("verify", where).returncode == 1
    why = mlbox("why", "--platform=local", root)
    assert (why.returncode, "input  source  its content changed" in why.stdout) == (1, True)
    refused = mlbox("replay", where)
    assert refused.returncode == 78
    assert "input source: its content changed" in refused.stderr
    assert mlbox("run", "--platform=local", root).returncode == 0
    first, second = (record.id for record in records_of(root / "workspace"))
    assert mlbox("diff", first, second, where).returncode == 1
    lock = json.loads((root / "mlbox.lock").read_text())
    lock["platforms"]["local"]["packages"]["not-there"] = "1.0"
    (root / "mlbox.lock").write_text(json.dumps(lock))
    refused = mlbox("run", "--platform=local", root)
    assert refused.returncode == 78
    assert "package not-there: 1.0 is gone" in refused.stderr
