"""Sends the data of a run into its Pod and fetches it again, by ``kubectl exec``, in pieces that can be repeated.

A connection through a cluster may end at any moment, and may end short without a word.  So every piece that is sent
is measured over there before it counts, and what is fetched begins again where it broke off, until all is here.
"""

from __future__ import annotations

import re
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from mlcommons_box.errors import Interrupted
from mlcommons_box.process import Answer, Stream, stream
from mlcommons_box.runners.kubernetes_archive import Pieces, pack, unpack
from mlcommons_box.runners.kubernetes_client import Client
from mlcommons_box.runners.kubernetes_manifest import FIRST, TRANSFER_CONTAINER
from mlcommons_box.runners.kubernetes_scripts import MEASURE, PUT, fetch_from
from mlcommons_box.runners.kubernetes_volumes import TRANSFER, Layout

PIECE = 32 << 20
"""Bytes that are sent at once."""
ATTEMPTS = 5
_LONGEST = 600.0
"""Seconds for one piece."""


class TransferError(Exception):
    """Data could not be sent or fetched; says what was said last."""

    def __init__(self, answer: Answer) -> None:
        super().__init__("the data could not be moved")
        self.answer = answer


def send(client: Client, pod: str, where: Layout, workspace: Path, check: Callable[[], None]) -> None:
    """Send what the run needs; ``check`` is called before every piece, and may raise."""
    count = 0

    def put(name: str, content: bytes) -> None:
        check()
        words = (f"{TRANSFER}/inbox/{name}", str(len(content)))
        command = ("exec", "--stdin", pod, f"--container={FIRST}", "--", "sh", "-c", PUT, "mlbox", *words)
        _repeated(lambda: client.ask(*command, stdin=content, timeout=_LONGEST, request_timeout=None))

    def take(piece: bytes) -> None:
        nonlocal count
        put(f"chunk-{count}", piece)
        count += 1

    pack(where.sent, workspace, Pieces(PIECE, take))
    put(f"end-{count}", b"")


def _size(answer: Answer) -> int:
    """How many bytes there are to fetch, as a container of a stranger's image has said; 0 for nothing at all."""
    if not re.fullmatch(rb"\s*[0-9]{0,18}\s*", answer.stdout):
        words = b"its shell does not say how large the outputs are: " + answer.stdout[:60]
        raise TransferError(Answer(completed=answer.completed, stdout=b"", stderr=words))
    return int(answer.stdout.strip() or 0)


def fetch(client: Client, pod: str, where: Layout, workspace: Path) -> list[str]:
    """Fetch the outputs; returns the names of what was left out."""
    names = [str(place.inside) for place in where.sent if place.parameter.direction == "output"]
    if not names:
        return []
    before = ("exec", pod, f"--container={TRANSFER_CONTAINER}", "--", "sh", "-c")
    answer = _repeated(
        lambda: client.ask(*before, MEASURE, "mlbox", *names, timeout=_LONGEST, request_timeout=None)
    )
    size = _size(answer)
    if size == 0:
        return []
    with tempfile.TemporaryFile(dir=workspace) as file:
        failures = 0
        while (here := file.tell()) < size:
            said = bytearray()

            def write(kind: Stream, chunk: bytes, said: bytearray = said) -> None:
                if kind == "stdout":
                    file.write(chunk)
                else:
                    said.extend(chunk)

            command = client.command(*before, fetch_from(here), "mlbox", *names, request_timeout=None)
            completed = stream(command, on_output=write)
            if completed.interrupted_by is not None:
                raise Interrupted(completed.interrupted_by)
            failures = 0 if file.tell() > here else failures + 1
            if failures == ATTEMPTS or file.tell() > size:
                raise TransferError(Answer(completed=completed, stdout=b"", stderr=bytes(said)))
            if file.tell() < size:
                time.sleep(2**failures / 2)
        file.seek(0)
        try:
            return unpack(file, where.sent, workspace)
        except tarfile.TarError as error:
            words = f"what came is no archive: {error}".encode()
            raise TransferError(Answer(completed=completed, stdout=b"", stderr=words)) from error


def say(client: Client, pod: str, word: str) -> bool:
    """Leave a word (``alive``, ``fetched``) for the container that waits beside the task."""
    script = f": >{TRANSFER}/inbox/{word}"
    words = ("exec", pod, f"--container={TRANSFER_CONTAINER}", "--", "sh", "-c", script)
    return client.ask(*words, request_timeout=None).succeeded


def _repeated(call: Callable[[], Answer]) -> Answer:
    """An answer that is a success, after some attempts at most."""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(2**attempt / 4)
        answer = call()
        if answer.succeeded:
            return answer
    raise TransferError(answer)
