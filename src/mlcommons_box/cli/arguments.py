"""Arguments that several commands share, and what they mean."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from mlcommons_box.errors import BoxError, UsageError

if TYPE_CHECKING:
    from mlcommons_box.record import RunRecord
    from mlcommons_box.run_store import RunStore


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the line breaks of our texts, and every command on one line."""

    def __init__(self, prog: str) -> None:
        # argparse makes a formatter for every argument that is declared, and loads shutil to find this out.
        super().__init__(prog, max_help_position=28, width=_columns() - 2)

    def add_argument(self, action: argparse.Action) -> None:
        """Leave room for the names of commands, which argparse indents but does not count."""
        super().add_argument(action)
        if isinstance(action, argparse._SubParsersAction):
            self._action_max_length += self._indent_increment


def _columns() -> int:
    """The width of the terminal, as ``shutil.get_terminal_size`` finds it."""
    try:
        return int(os.environ.get("COLUMNS", "0")) or os.get_terminal_size(1).columns or 80
    except (ValueError, OSError):
        return 80


class Parser(argparse.ArgumentParser):
    """A parser whose errors are ours: exit status 64, and a suggestion."""

    def __init__(self, **settings: object) -> None:
        super().__init__(allow_abbrev=False, formatter_class=HelpFormatter, **settings)  # type: ignore[arg-type]

    def error(self, message: str) -> None:  # type: ignore[override]
        """Raise :class:`UsageError`."""
        raise UsageError(message, hint=f"'{self.prog} --help' shows what there is")


def add_box(parser: argparse.ArgumentParser) -> None:
    """``--mlbox DIR``, or just ``DIR``."""
    parser.add_argument("box", nargs="?", metavar="BOX", help="the box, a directory or its mlbox.yaml (default: .)")
    parser.add_argument("--mlbox", metavar="BOX", help="the same, as an option")


def add_verbosity(parser: argparse.ArgumentParser) -> None:
    """``-v`` and ``-q``."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("-v", "--verbose", action="store_true", help="show everything that happens")
    group.add_argument("-q", "--quiet", action="store_true", help="show errors and the task's own output only")


def add_workspace(parser: argparse.ArgumentParser) -> None:
    """``--workspace DIR``."""
    parser.add_argument("--workspace", metavar="DIR", type=Path, help="use DIR in place of the box's workspace")


def add_recorded_run(parser: argparse.ArgumentParser) -> None:
    """``RUN``, and where its record is: ``--mlbox BOX`` or ``--workspace DIR``."""
    run = parser.add_argument(
        "recorded_run",
        nargs="?",
        metavar="RUN",
        help="the run: the beginning or the end of its id, or a run configuration (default: the latest run)",
    )
    run.completer = complete_recorded_runs  # type: ignore[attr-defined]
    add_box_of_runs(parser)


def add_box_of_runs(parser: argparse.ArgumentParser) -> None:
    """Where records are: ``--mlbox BOX`` or ``--workspace DIR``."""
    parser.add_argument("--mlbox", metavar="BOX", help="the box, a directory or its mlbox.yaml (default: .)")
    add_workspace(parser)
    parser.set_defaults(box=None)


def add_runs(parser: argparse.ArgumentParser, meaning: str) -> None:
    """``--task FILE``, as often as one likes."""
    task = parser.add_argument("--task", dest="tasks", action="append", default=[], metavar="FILE", help=meaning)
    task.completer = complete_runs  # type: ignore[attr-defined]


def add_platform(parser: argparse.ArgumentParser) -> None:
    """``--platform FILE``."""
    argument = parser.add_argument(
        "--platform",
        metavar="FILE",
        help="platform file, or its short name: 'docker' is platforms/docker.yaml (default: the best available)",
    )
    argument.completer = complete_platforms  # type: ignore[attr-defined]


def add_ca_bundle(parser: argparse.ArgumentParser) -> None:
    """``--ca-bundle FILE``."""
    parser.add_argument(
        "--ca-bundle",
        metavar="FILE",
        help="hand these certificates, and the package indexes of pip, uv and conda, to builds and runs; "
        "'host' are this machine's own",
    )


def ca_bundle(arguments: argparse.Namespace) -> Path | None:
    """The bundle that the arguments or the environment name; raises when it is not there."""
    from mlcommons_box.runners.site_settings import find_ca_bundle

    return find_ca_bundle(arguments.ca_bundle, os.environ)


def box_path(arguments: argparse.Namespace) -> str:
    """The box that the arguments name."""
    if arguments.box is not None and arguments.mlbox is not None:
        raise UsageError(f"two boxes are named: {arguments.box!r} and {arguments.mlbox!r}", hint="name one")
    return str(arguments.mlbox or arguments.box or ".")


def jobs(word: str) -> int:
    """How many runs at a time a word means.  Raises :class:`UsageError`."""
    if word == "auto":
        from mlcommons_box.machine import processors

        return processors()
    import re

    if not re.fullmatch(r"[1-9][0-9]{0,5}", word):
        raise UsageError(f"--jobs takes a number from 1 on, or 'auto', not {word!r}")
    return int(word)


def run_store(arguments: argparse.Namespace) -> RunStore:
    """The records that the arguments mean.  The box need not be valid, and none is needed with ``--workspace``."""
    from mlcommons_box.definition.places import box_root
    from mlcommons_box.run_store import RunStore

    given: Path | None = arguments.workspace
    if given is not None and not given.is_dir():
        raise UsageError(
            f"there is no directory {str(given)!r}", hint="--workspace takes the directory of the runs"
        )
    if given is None or arguments.box or arguments.mlbox:
        root = box_root(box_path(arguments))
    return RunStore(root / "workspace" if given is None else Path(os.path.abspath(given)))


def recorded_run(arguments: argparse.Namespace, store: RunStore) -> RunRecord:
    """The run that the arguments name."""
    from mlcommons_box.definition.places import BOX_FILE

    given: str | None = arguments.recorded_run
    try:
        return store.find(given)
    except UsageError as error:
        if given and os.path.lexists(Path(given, BOX_FILE)):
            raise UsageError(error.message, hint=f"a box is named with --mlbox={given}") from None
        raise


def verbosity(arguments: argparse.Namespace) -> int:
    """-1, 0 or 1."""
    return int(getattr(arguments, "verbose", False)) - int(getattr(arguments, "quiet", False))


def complete_platforms(parsed_args: argparse.Namespace, **_: object) -> list[str]:
    """Short names of the box's platforms, for a shell's completion."""
    from mlcommons_box.definition.built_in import BUILT_IN_PLATFORMS
    from mlcommons_box.definition.places import PLATFORM_DIRECTORY

    return [*_names(parsed_args, PLATFORM_DIRECTORY), *BUILT_IN_PLATFORMS]


def complete_runs(parsed_args: argparse.Namespace, **_: object) -> list[str]:
    """Short names of the box's run configurations, for a shell's completion."""
    from mlcommons_box.definition.places import RUN_DIRECTORY

    return _names(parsed_args, RUN_DIRECTORY)


def complete_sweeps(parsed_args: argparse.Namespace, **_: object) -> list[str]:
    """Short names of the box's sweeps, for a shell's completion."""
    from mlcommons_box.definition.places import SWEEP_DIRECTORY

    return _names(parsed_args, SWEEP_DIRECTORY)


def complete_recorded_runs(parsed_args: argparse.Namespace, **_: object) -> list[str]:
    """Run configurations that ran, and the ids of their runs, for a shell's completion."""
    try:
        records, _unreadable = run_store(parsed_args).read_all()
    except BoxError:
        return []
    return [*sorted({record.run for record in records}), *(record.id for record in reversed(records))]


def _names(arguments: argparse.Namespace, directory: str) -> list[str]:
    from mlcommons_box.definition.places import box_root, name_below, yaml_files

    try:
        folder = box_root(box_path(arguments)) / directory
    except UsageError:
        return []
    return [name_below(file, folder) for file in yaml_files(folder)]
