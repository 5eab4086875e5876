"""Run a recorded run again, under what its record says, and compare the outputs.

The inputs, the code and the image have to be those of then; otherwise the run
cannot be replayed, and what stands in the way is named.  The outputs go to a
fresh workspace.  The exit status is 0 when every output is bit-exact or declared
'reproducible: false', and 1 when one has diverged."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from mlcommons_box import execution
from mlcommons_box.cache import cache_directory
from mlcommons_box.cli.arguments import (
    add_ca_bundle,
    add_platform,
    add_recorded_run,
    add_verbosity,
    ca_bundle,
    recorded_run,
    run_store,
    verbosity,
)
from mlcommons_box.cli.observer import TerminalObserver
from mlcommons_box.cli.terminal import Terminal
from mlcommons_box.definition.places import box_root
from mlcommons_box.definition.remembered import RememberedDefinitions
from mlcommons_box.errors import UsageError
from mlcommons_box.process import Stream
from mlcommons_box.record import RunRecord
from mlcommons_box.replaying import Replayed, compared, pinned, prepared_replay
from mlcommons_box.report.differences import replayed_text
from mlcommons_box.run_store import RunStore
from mlcommons_box.runners.registry import runner_for
from mlcommons_box.selection import select_platform
from mlcommons_box.tree_store import tree_store
from mlcommons_box.value import as_data

EXAMPLES = """\
examples:
  mlbox replay                        the latest run of the box in the current directory
  mlbox replay train --platform=singularity
                                      the same run on another engine: the same bytes?
  mlbox replay 3f9ac01b --into=/scratch/replay"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_recorded_run(parser)
    add_platform(parser)
    add_ca_bundle(parser)
    parser.add_argument(
        "--into", metavar="DIR", type=Path, help="the fresh workspace; it must not exist (default: a temporary one)"
    )
    parser.add_argument("--json", action="store_true", help="print what became of the outputs as JSON")
    add_verbosity(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Run it again, and compare."""
    terminal = Terminal(verbosity(arguments))
    store = run_store(arguments)
    record = recorded_run(arguments, store)
    trees = tree_store(store.workspace)
    if not any(isinstance(each, dict) and each.get("digest") for each in record.outputs.values()):
        raise UsageError(f"the run {record.id} has no hashes of outputs to compare with")
    definitions = RememberedDefinitions(box_root(_box(record)), cache_directory(os.environ))
    box = definitions.load_box()
    platform = pinned(select_platform(definitions, box, arguments.platform or record.platform), record)
    runner = runner_for(platform)
    plan = prepared_replay(
        record, box, platform, runner, trees, into=arguments.into, ca_bundle=ca_bundle(arguments)
    )
    workspace = plan.workspace
    terminal.step(f"{record.run}: replaying {record.id} with the {platform.runner} runner in {workspace}")
    outcome = execution.execute(plan, runner, _ReplayObserver(terminal))
    again = RunStore(workspace).read(plan.id)
    if outcome.status != "succeeded":
        terminal.error(f"the replay {outcome.status} with exit status {outcome.exit_status}, in {workspace}")
        return outcome.exit_status or 1
    results = compared(record, again, plan, trees, tree_store(workspace))
    return _show(results, terminal, workspace, as_json=arguments.json)


class _ReplayObserver(TerminalObserver):
    """Leaves standard output to what became of the outputs."""

    def output(self, stream: Stream, chunk: bytes) -> None:
        """What the task writes goes to standard error."""
        super().output("stderr", chunk)


def _box(record: RunRecord) -> str:
    return str(record.plan.get("box", ""))


def _show(results: list[Replayed], terminal: Terminal, workspace: Path, *, as_json: bool) -> int:
    if as_json:
        import json

        sys.stdout.write(json.dumps([as_data(each) for each in results], indent=2) + "\n")
    else:
        sys.stdout.write(replayed_text(results))
    sys.stdout.flush()
    diverged = [each.name for each in results if each.state in ("diverged", "unknown")]
    if diverged:
        terminal.error(f"not the same bytes: {', '.join(diverged)}; what came out is in {workspace}")
        return 1
    exact = sum(each.state == "bit-exact" for each in results)
    terminal.success(f"{exact} of {len(results)} outputs are bit-exact; they are in {workspace}")
    return 0
