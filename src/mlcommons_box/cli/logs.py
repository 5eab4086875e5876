"""Show what a run's task wrote, unchanged.

What it wrote to its standard output goes to standard output, and what it wrote to
its standard error to standard error.  With --follow, more is shown as it comes,
until the run has ended; Ctrl-C ends the command, and not the run."""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import ExitStack
from typing import IO, get_args

from mlcommons_box.cli.arguments import add_recorded_run, recorded_run, run_store
from mlcommons_box.errors import ConfigurationError
from mlcommons_box.process import Stream
from mlcommons_box.record import RunRecord
from mlcommons_box.run_store import RunStore

EXAMPLES = """\
examples:
  mlbox logs                          the latest run of the box in the current directory
  mlbox logs --follow                 the same, while it runs
  mlbox logs train --stdout | tail    the latest run of run/train.yaml
  mlbox logs 3f9ac01b --stderr        the run of this id; 'mlbox runs' lists them
  mlbox logs --mlbox=boxes/mnist > train.log 2> errors.log"""

_CHUNK = 1 << 16
_POLL = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_recorded_run(parser)
    streams = parser.add_mutually_exclusive_group()
    for stream in get_args(Stream):
        streams.add_argument(
            f"--{stream}", dest="stream", action="store_const", const=stream, help=f"only what went to {stream}"
        )
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the run has ended")


def execute(arguments: argparse.Namespace) -> int:
    """Copy the logs; the exit status is 0 however the run ended."""
    store = run_store(arguments)
    record = recorded_run(arguments, store)
    if record.status == "running" and record.detached and not record.supervisor.is_alive():
        return _from_there(arguments, store, record)
    with _Logs(store, record.id, (arguments.stream,) if arguments.stream else get_args(Stream)) as logs:
        logs.copy()
        while arguments.follow and record.status == "running":
            time.sleep(_POLL)
            # The record first: once it says that the run has ended, the logs are complete.
            record = store.read(record.id)
            logs.copy()
    return 0


def _from_there(arguments: argparse.Namespace, store: RunStore, record: RunRecord) -> int:
    """Show the logs of a run that goes on elsewhere: what there is now, or until it has ended."""
    from mlcommons_box.reattaching import attach, peek

    observer = _Printer((arguments.stream,) if arguments.stream else get_args(Stream))
    if arguments.follow:
        attach(store, record, observer)
    else:
        peek(store, record, observer)
    return 0


class _Printer:
    """An observer that copies what the task writes, and says nothing of its own."""

    def __init__(self, streams: tuple[Stream, ...]) -> None:
        self.streams = streams

    def preparing(self, what: str) -> None:
        """Nothing to show."""

    def preparation_output(self, chunk: bytes) -> None:
        """Nothing to show."""

    def prepared(self) -> None:
        """Nothing to show."""

    def started(self, native_id: str) -> None:
        """Nothing to show."""

    def output(self, stream: Stream, chunk: bytes) -> None:
        """Copy it."""
        if stream in self.streams:
            target = (sys.stdout if stream == "stdout" else sys.stderr).buffer
            target.write(chunk)
            target.flush()


class _Logs(ExitStack):
    """The logs of a run, each with what was copied of it already."""

    def __init__(self, store: RunStore, run_id: str, streams: tuple[Stream, ...]) -> None:
        super().__init__()
        self.store = store
        self.run_id = run_id
        self.streams = streams
        self.files: dict[Stream, IO[bytes]] = {}

    def copy(self) -> None:
        """Copy what is new.  Raises :class:`ConfigurationError` when a log cannot be read."""
        for stream in self.streams:
            file = self._file(stream)
            target = (sys.stdout if stream == "stdout" else sys.stderr).buffer
            while file is not None and (chunk := file.read(_CHUNK)):
                target.write(chunk)
            target.flush()

    def _file(self, stream: Stream) -> IO[bytes] | None:
        """The open log; None for a stream to which the task has written nothing yet, or nothing at all."""
        if stream not in self.files:
            try:
                self.files[stream] = self.enter_context(self.store.open_log(self.run_id, stream))
            except FileNotFoundError:
                return None
            except OSError as error:
                path = self.store.log(self.run_id, stream)
                raise ConfigurationError(f"cannot read the log {str(path)!r}: {error.strerror}") from error
        return self.files[stream]
