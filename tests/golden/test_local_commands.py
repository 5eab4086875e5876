"""Whole command lines of the local runner, as --dry-run prints them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlcommons_box.definition.loader import load_box, load_platform, load_run_configuration
from mlcommons_box.model import Box, LocalOptions, Platform
from mlcommons_box.planning import RunPlan, plan_run
from mlcommons_box.runners.local import LocalRunner
from tests.conftest import MakeBox

CALLER = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/home/ada",
    "LANG": "C.UTF-8",
    "https_proxy": "http://ada:secret@proxy:3128",
    "AWS_SECRET_ACCESS_KEY": "hidden",
    "PYTHONPATH": "/somewhere",
    "MLCOMMONS_BOX_CACHE": "/cache",
    "MLCOMMONS_BOX_INSTALLER": "pip",
}
LOCAL = Platform(name="local", runner="local", options=LocalOptions())


def lines(plan: RunPlan, platform: Platform, box: Box, caller: dict[str, str] = CALLER) -> list[str]:
    """The printed commands, with the paths that differ from run to run shortened."""
    runner = LocalRunner(platform, caller)
    environment = runner.environment(plan)
    shortened = []
    for command in runner.commands(plan):
        line = command.shell(caller).replace(str(environment.directory), "ENV").replace(str(box.root), "BOX")
        shortened.append(line.replace(environment.python, "PYTHON"))
    return shortened


def plan_for(root: Path, platform: Platform = LOCAL) -> tuple[Box, RunPlan]:
    box = load_box(root)
    return box, plan_run(box, load_run_configuration(root / "run/copy.yaml", box), platform)


def test_without_requirements(make_box: MakeBox) -> None:
    box, plan = plan_for(make_box())
    assert lines(plan, LOCAL, box) == [
        "(cd BOX/build && PYTHON -m venv --without-pip ENV)",
        '(cd BOX/build && env -i HOME="$HOME" LANG="$LANG" https_proxy="$https_proxy" PATH=ENV/bin:/usr/bin:/bin '
        "VIRTUAL_ENV=ENV PYTHONUNBUFFERED=1 PYTHONPYCACHEPREFIX=ENV/pycache ENV/bin/python BOX/build/echo.py copy "
        "--source=BOX/workspace/in.txt --target=BOX/workspace/out/copy.txt --logs=BOX/workspace/logs)",
    ]


def test_with_requirements_and_pip(make_box: MakeBox) -> None:
    box, plan = plan_for(make_box({"build/requirements.txt": "six==1.17.0\n"}))
    assert lines(plan, LOCAL, box)[:2] == [
        "(cd BOX/build && PYTHON -m venv ENV)",
        "(cd BOX/build && ENV/bin/python -m pip --disable-pip-version-check install -r BOX/build/requirements.txt)",
    ]


def test_with_requirements_and_uv(make_box: MakeBox, tmp_path: Path) -> None:
    uv = tmp_path / "bin/uv"
    uv.parent.mkdir()
    uv.touch(0o755)
    box, plan = plan_for(make_box({"build/requirements.txt": "six==1.17.0\n"}))
    caller = {**CALLER, "PATH": str(uv.parent), "MLCOMMONS_BOX_INSTALLER": ""}
    printed = [line.replace(str(uv), "UV") for line in lines(plan, LOCAL, box, caller)]
    assert printed[:2] == [
        "(cd BOX/build && UV venv --quiet --python PYTHON ENV)",
        "(cd BOX/build && UV pip install --python ENV/bin/python -r BOX/build/requirements.txt)",
    ]


def test_a_platform_file_names_the_program_and_the_variables(make_box: MakeBox) -> None:
    platform_file = """\
schema_version: 1.1.0
schema_type: mlbox_local
entrypoint: [python, -m, echo]
environment:
  OMP_NUM_THREADS: 2
  TOKEN:
  MESSAGE: it's $(touch x)
resources: {gpus: 1}
"""
    root = make_box({"platforms/local.yaml": platform_file})
    platform = load_platform(root / "platforms/local.yaml")
    box, plan = plan_for(root, platform)
    caller = {**CALLER, "TOKEN": "hidden", "CUDA_VISIBLE_DEVICES": "3,5"}
    task = lines(plan, platform, box, caller)[-1]
    assert task == (
        '(cd BOX/build && env -i HOME="$HOME" LANG="$LANG" https_proxy="$https_proxy" CUDA_VISIBLE_DEVICES=3 '
        "PATH=ENV/bin:/usr/bin:/bin VIRTUAL_ENV=ENV PYTHONUNBUFFERED=1 PYTHONPYCACHEPREFIX=ENV/pycache "
        "OMP_NUM_THREADS=2 TOKEN=\"$TOKEN\" MESSAGE='it'\"'\"'s $(touch x)' ENV/bin/python -m echo copy "
        "--source=BOX/workspace/in.txt --target=BOX/workspace/out/copy.txt --logs=BOX/workspace/logs)"
    )


@pytest.mark.parametrize("secret", ["secret", "hidden"])
def test_no_value_of_the_caller_is_printed(make_box: MakeBox, secret: str) -> None:
    box, plan = plan_for(make_box())
    assert not any(secret in line for line in lines(plan, LOCAL, box))


def test_odd_paths_are_quoted_whole(make_box: MakeBox) -> None:
    root = make_box(name="a box; 'quoted' $(touch x)\n#&|")
    box, plan = plan_for(root)
    import shlex

    words = shlex.split(LocalRunner(LOCAL, CALLER).commands(plan)[-1].shell(CALLER))
    assert f"--source={root}/workspace/in.txt" in words
    assert box.root == root
