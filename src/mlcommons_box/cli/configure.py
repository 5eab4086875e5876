"""Prepare what a box needs on a platform: a Python environment, an image.

'mlbox run' does the same when it finds it missing; this command does it ahead
of time, for example where the network is only there now."""

from __future__ import annotations

import argparse
import os

from mlcommons_box import execution
from mlcommons_box.cache import cache_directory
from mlcommons_box.cli.arguments import (
    add_box,
    add_ca_bundle,
    add_platform,
    add_verbosity,
    add_workspace,
    box_path,
    ca_bundle,
    verbosity,
)
from mlcommons_box.cli.observer import TerminalObserver
from mlcommons_box.cli.terminal import Terminal
from mlcommons_box.definition.places import box_root
from mlcommons_box.definition.remembered import RememberedDefinitions
from mlcommons_box.planning import plan_setup
from mlcommons_box.runners.registry import runner_for
from mlcommons_box.selection import select_platform

EXAMPLES = """\
examples:
  mlbox configure                     the box in the current directory, on the best platform
  mlbox configure boxes/mnist --platform=docker
  mlbox configure --dry-run           print the commands and run nothing"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_box(parser)
    add_platform(parser)
    add_workspace(parser)
    add_ca_bundle(parser)
    parser.add_argument("--dry-run", action="store_true", help="print the commands and run nothing")
    add_verbosity(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Prepare the platform."""
    terminal = Terminal(verbosity(arguments))
    definitions = RememberedDefinitions(box_root(box_path(arguments)), cache_directory(os.environ))
    box = definitions.load_box()
    platform = select_platform(definitions, box, arguments.platform, arguments.runner)
    runner = runner_for(platform)
    plan = plan_setup(box, platform, arguments.workspace, ca_bundle(arguments))
    if arguments.dry_run:
        execution.check_platform(plan, runner)
        for command in runner.commands(plan):
            print(command.shell())  # noqa: T201  # the result of --dry-run
        return 0
    definitions.save()
    execution.configure(plan, runner, TerminalObserver(terminal))
    terminal.success(f"{box.name} is ready on {platform.name}")
    return 0
