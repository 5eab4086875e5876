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
    _complete_streams()
    status = 0
    try:
        try:
            status = command()
        except SystemExit as error:  # argparse has shown the help
            status = error.code if isinstance(error.code, int) else 0
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        pass
    except OSError as error:
        from mlcommons_box.errors import EX_CANNOT_CREATE

        sys.stderr.write(f"error: cannot write: {error.strerror}\n")
        status = status or EX_CANNOT_CREATE
    os._exit(status)


def _complete_streams() -> None:
    """Give a program that was started without one of its three streams (``>&-``) one that leads nowhere.

    Otherwise the next file that is opened, such as one with records, would stand in its place.  What the encoding
    of a stream does not have is written by its number, as any name may be in a box.
    """
    import os

    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest that is free: this one
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, os.fdopen(descriptor, "w", encoding="utf-8", closefd=False))
        elif stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def guarded(command: Callable[[], int]) -> int:
    """Run a command; every error becomes a message on standard error and an exit status."""
    from mlcommons_box.cli.terminal import Terminal
    from mlcommons_box.errors import EX_CLOSED_OUTPUT, EX_INTERRUPTED, BoxError, Interrupted

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
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # what Rich makes of it
            return EX_CLOSED_OUTPUT
        raise
    except Exception as error:
        return _unexpected(error)


def _unexpected(error: Exception) -> int:
    """What the machine lacks is said; all else is our own defect: say so, and keep what is needed to mend it."""
    import errno

    from mlcommons_box.cli.terminal import Terminal
    from mlcommons_box.errors import EX_CANNOT_CREATE, EX_CONFIGURATION, EX_SOFTWARE

    if isinstance(error, RecursionError):  # such as directories of a stranger, a thousand in each other
        Terminal().error("directories or values are nested too deep")
        return EX_CONFIGURATION
    if isinstance(error, MemoryError):
        Terminal().error("the memory does not suffice")
        return EX_CANNOT_CREATE
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
        _forget_output()  # which may be what cannot be written
        where = f" {error.filename!r}" if error.filename else ""
        Terminal().error(f"cannot write{where}: {error.strerror}", "free some space where the output goes")
        return EX_CANNOT_CREATE
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
