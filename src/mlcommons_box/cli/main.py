"""The entry point: turns what happens into a message and an exit status.

Nothing is imported here at the top, so that ``--version`` costs little more than Python itself.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

    from mlcommons_box.cli.parsing import Program


def main(argv: Sequence[str] | None = None, *, program: Callable[[], Program] | None = None) -> int:
    """Run the command line ``argv`` (default: the process's own) and return the exit status.

    ``program`` makes the program; it is ``mlbox`` unless given.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words == ["--version"]:
        from mlcommons_box import __version__

        sys.stdout.write(f"mlcommons-box {__version__}\n")
        return 0

    def command() -> int:
        from mlcommons_box.cli.parsing import dispatch, mlbox

        return dispatch(words, (program or mlbox)())

    return guarded(command)


def console(command: Callable[[], int] = main) -> NoReturn:
    """Run a command line as a process of its own, and end the process.

    A process that is about to end need not take itself apart, nor look for cycles among what it has loaded:
    together that takes as long as checking a box.
    """
    import gc
    import os

    gc.set_threshold(100_000)
    try:
        status = command()
    except SystemExit as error:  # argparse has shown the help
        status = error.code if isinstance(error.code, int) else 0
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        pass
    os._exit(status)


def guarded(command: Callable[[], int]) -> int:
    """Run a command; every error becomes a message on standard error and an exit status."""
    from mlcommons_box.cli.terminal import Terminal
    from mlcommons_box.errors import EX_CLOSED_OUTPUT, EX_INTERRUPTED, EX_SOFTWARE, BoxError, Interrupted

    try:
        status = command()
        sys.stdout.flush()
        return status
    except Interrupted as error:
        Terminal().error("interrupted")
        return error.exit_status
    except BoxError as error:
        Terminal().failure(error)
        return error.exit_status
    except KeyboardInterrupt:
        Terminal().error("interrupted")
        return EX_INTERRUPTED
    except BrokenPipeError:
        _forget_output()
        return EX_CLOSED_OUTPUT
    except Exception as error:  # our own defect: say so, and keep what is needed to mend it
        Terminal().error(f"this is a defect of mlbox: {type(error).__name__}: {error}", crash_hint())
        return EX_SOFTWARE


def _forget_output() -> None:
    """Whoever read our output has left, as ``head`` does; what Python still holds back has nowhere to go."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def crash_hint() -> str:
    """Write the traceback of the current exception to a file and say where it is."""
    import tempfile
    import traceback

    from mlcommons_box import __version__

    try:
        with tempfile.NamedTemporaryFile("w", prefix="mlbox-crash-", suffix=".txt", delete=False) as file:
            file.write(f"mlcommons-box {__version__}, Python {sys.version}\n{traceback.format_exc()}")
    except OSError:
        return f"please report it with this:\n{traceback.format_exc()}"
    return f"please report it with the file {file.name}"
