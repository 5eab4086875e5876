"""Write down the images and packages that a box uses, so that a drift is refused.

mlbox.lock, beside mlbox.yaml, has the digests of the image of each platform, or
the Python and the packages of a local environment.  From then on a run that
would use anything else is refused, with what differs.  Remove the file to go
without."""

from __future__ import annotations

import argparse
import os
import sys

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
from mlcommons_box.errors import ConfigurationError, UsageError
from mlcommons_box.lock import drift, image_in_use, locked_image, read_lock, write_lock
from mlcommons_box.planning import plan_setup
from mlcommons_box.report.differences import differences_text
from mlcommons_box.runners.interface import Identifiable
from mlcommons_box.runners.registry import runner_for
from mlcommons_box.selection import select_platform

EXAMPLES = """\
examples:
  mlbox lock --platform=docker        lock the image of platforms/docker.yaml, as it is here
  mlbox lock --platform=local         lock the packages of the local environment
  mlbox lock --platform=docker --check
                                      is it still what is locked?  The exit status is 1 if not"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_box(parser)
    add_platform(parser)
    add_workspace(parser)
    add_ca_bundle(parser)
    parser.add_argument("--check", action="store_true", help="compare with the lock; prepare and write nothing")
    add_verbosity(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Ask what the platform uses, and write it down; what is not there yet is prepared first."""
    terminal = Terminal(verbosity(arguments))
    definitions = RememberedDefinitions(box_root(box_path(arguments)), cache_directory(os.environ))
    box = definitions.load_box()
    platform = select_platform(definitions, box, arguments.platform, arguments.runner)
    runner = runner_for(platform)
    if not isinstance(runner, Identifiable):
        raise UsageError(
            f"the {platform.runner} runner does not tell which image it uses",
            hint="lock the platform that it hands over to, where that runs on this machine",
        )
    plan = plan_setup(box, platform, arguments.workspace, ca_bundle(arguments))
    execution.check_platform(plan, runner)

    def prepare() -> None:
        if arguments.check:
            raise ConfigurationError(
                f"there is nothing to compare with the lock: {platform.name!r} is not prepared",
                hint="'mlbox configure' prepares it",
            )
        runner.prepare(plan, TerminalObserver(terminal))

    image = locked_image(image_in_use(plan, runner, prepare))
    if not image:
        raise ConfigurationError(f"the engine does not say what the platform {platform.name!r} uses")
    locked = read_lock(box.root) or {}
    changes = drift(locked.get(platform.name, {}), image)
    if arguments.check:
        sys.stdout.write(differences_text(changes))
        return 1 if changes else 0
    file = write_lock(box.root, {**locked, platform.name: image})
    terminal.success(f"{platform.name} is locked in {file.name}")
    return 0
