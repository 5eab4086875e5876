"""Plans with a fixed run id, and command lines without what differs from run to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mlcommons_box.command import Command
from mlcommons_box.definition.loader import load_box, load_run_configuration
from mlcommons_box.model import Platform
from mlcommons_box.planning import RunPlan, SetupPlan, plan_run, plan_setup

RUN_ID = "20200102T030405-0a1b2c3d"
CALLER = {
    "PATH": "/nowhere",
    "HOME": "/home/ada",
    "MLCOMMONS_BOX_CACHE": "/cache",
    "AWS_SECRET_ACCESS_KEY": "hidden",
}


def run_plan(root: Path, platform: Platform, ca_bundle: Path | None = None) -> RunPlan:
    """The plan of ``run/copy.yaml``."""
    box = load_box(root)
    configuration = load_run_configuration(root / "run/copy.yaml", box)
    return plan_run(box, configuration, platform, run_id=RUN_ID, ca_bundle=ca_bundle)


def setup_plan(root: Path, platform: Platform, ca_bundle: Path | None = None) -> SetupPlan:
    """The plan of ``configure``."""
    return plan_setup(load_box(root), platform, ca_bundle=ca_bundle)


def lines(commands: Sequence[Command], plan: SetupPlan, caller: Mapping[str, str], **shorter: str) -> list[str]:
    """The commands as they are printed: the box's directory is BOX, and each value of ``shorter`` is its name."""
    printed = []
    for command in commands:
        line = command.shell(caller)
        for name, text in shorter.items():
            line = line.replace(text, name)
        printed.append(line.replace(str(plan.box.root), "BOX"))
    return printed
