"""What runs in a Pod beside the task, in its own image: two scripts for the POSIX shell.

The first looks for inputs in volume claims, makes the directories of outputs, and unpacks what is sent.  The second
waits beside the task until the outputs have been fetched.  Both end by themselves when nobody comes.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from mlcommons_box.errors import EX_CANNOT_CREATE, EX_MISSING_INPUT, EX_TEMPORARY
from mlcommons_box.runners.kubernetes_volumes import CLAIMS, TRANSFER, TRANSFER_DATA, Layout

PATIENCE = 3600
"""Seconds without a word of ours after which a Pod gives up waiting for inputs, or to be asked for outputs."""
NO_TAR = 127
"""How the first script ends when the image has no ``tar``."""

_LOOK = f"""\
status=0
missing() {{ echo "mlbox: $1" >&2; status={EX_MISSING_INPUT}; }}
while [ $# -gt 0 ]; do
    case $1 in
    file) [ -f "$2" ] || missing "$3 is not there, or is not a file" ;;
    directory) [ -d "$2" ] || missing "$3 is not there, or is not a directory" ;;
    make) mkdir -p "$2" || status={EX_CANNOT_CREATE} ;;
    esac
    shift 3
done
[ "$status" = 0 ] || exit "$status"
"""
_UNPACK = f"""\
command -v tar >/dev/null || {{ echo "mlbox: the image has no program 'tar'" >&2; exit {NO_TAR}; }}
mkdir -p {TRANSFER}/inbox || exit {EX_CANNOT_CREATE}
cd {TRANSFER}/inbox || exit {EX_CANNOT_CREATE}
next=0
idle=0
while [ ! -e "end-$next" ]; do
    if [ -e "chunk-$next" ]; then
        cat "chunk-$next" && rm "chunk-$next"
        next=$((next + 1))
        idle=0
    elif [ "$idle" -ge {PATIENCE * 5} ]; then
        echo "mlbox: the inputs did not come" >&2
        exit {EX_TEMPORARY}
    else
        sleep 0.2 2>/dev/null || {{ sleep 1; idle=$((idle + 4)); }}
        idle=$((idle + 1))
    fi
done | tar -x -o -f - -C {TRANSFER}/{TRANSFER_DATA} || exit {EX_CANNOT_CREATE}
ls end-* >/dev/null 2>&1 || exit {EX_TEMPORARY}
"""
WAIT = f"""\
trap 'exit 0' TERM
idle=0
cd {TRANSFER}/inbox || exit 0
while [ ! -e fetched ] && [ "$idle" -lt {PATIENCE} ]; do
    [ ! -e alive ] || {{ rm -f alive; idle=0; }}
    sleep 1
    idle=$((idle + 1))
done
"""
"""Waits until the outputs were fetched, or nobody has given a sign of life for long."""

END = "kill -TERM 1"
"""Asks the task to end, from within its container, where it is the first process."""
PUT = 'cat >"$1.partial" && [ "$(wc -c <"$1.partial")" -eq "$2" ] && mv "$1.partial" "$1"'
"""Takes one piece of what is sent: its file, and its size."""
LIST = f"""\
cd {TRANSFER}/{TRANSFER_DATA} || exit
for name; do
    shift
    if [ -e "$name" ] || [ -h "$name" ]; then set -- "$@" "$name"; fi
done
[ $# -gt 0 ] || exit 0
"""
MEASURE = f'{LIST}tar -c -f - "$@" | wc -c'
"""How many bytes there are to fetch."""


def fetch_from(offset: int) -> str:
    """The script that writes what there is to fetch, but for the bytes that came already."""
    return LIST + (f'tar -c -f - "$@" | tail -c +{offset + 1}' if offset else 'tar -c -f - "$@"')


def first_script(plan: Layout) -> tuple[str, ...]:
    """The first script and its arguments, as a command; empty when there is nothing to do."""
    words: list[str] = []
    for place in plan.places:
        parameter = place.parameter
        root = TRANSFER / TRANSFER_DATA if place.claim is None else PurePosixPath(CLAIMS / place.claim)
        path = root / place.inside
        if place.claim is not None and parameter.direction == "input":
            what = f"the input '{parameter.name}' ('{place.inside}' in the volume claim '{place.claim}')"
            words += [parameter.type, str(path), what]
        else:
            words += ["make", str(path if parameter.type == "directory" else path.parent), ""]
    if not words:
        return ()
    script = _LOOK + (_UNPACK if plan.sent else "")
    return ("sh", "-c", script, "mlbox", *words)
