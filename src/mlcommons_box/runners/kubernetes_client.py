"""Calls of ``kubectl``: how a platform names its cluster, and what its errors mean."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any, NoReturn

from mlcommons_box.command import Command
from mlcommons_box.errors import BoxError, ConfigurationError, Interrupted, UnavailableError
from mlcommons_box.model import KubernetesOptions
from mlcommons_box.process import Answer, ask
from mlcommons_box.runners.failures import Failure, explained, explanation
from mlcommons_box.runners.kubernetes_failures import CLIENT_FAILURES, OF_THE_PLATFORM_FILE, UNREACHABLE

PROGRAM = "kubectl"
PATIENCE = 60.0
"""Seconds for one answer of a cluster."""
_SOON = 0.5


class Client:
    """``kubectl`` for one cluster and namespace."""

    def __init__(self, options: KubernetesOptions) -> None:
        self.options = options

    def command(self, *words: str, request_timeout: int | None = 30, stdin: bytes | None = None) -> Command:
        """A call.  ``request_timeout`` is in seconds; None is for calls that last."""
        argv = [PROGRAM]
        if self.options.context is not None:
            argv.append(f"--context={self.options.context}")
        if self.options.namespace is not None:
            argv.append(f"--namespace={self.options.namespace}")
        if request_timeout is not None:
            argv.append(f"--request-timeout={request_timeout}s")
        return Command(argv=(*argv, *words), input=stdin)

    def ask(
        self,
        *words: str,
        stdin: bytes | None = None,
        timeout: float = PATIENCE,
        request_timeout: int | None = 30,
    ) -> Answer:
        """Call, and return what was said, whether it succeeded or not."""
        return ask(self.command(*words, stdin=stdin, request_timeout=request_timeout), timeout=timeout)

    def data(self, *words: str) -> Mapping[str, Any] | None:
        """What a ``get`` found; None when the cluster did not answer this time."""
        answer = self.ask("get", *words, "--output=json")
        if not answer.succeeded and not is_passing(answer):
            fail("look at the run", answer)
        return _object(answer)

    def data_if_shown(self, *words: str) -> Mapping[str, Any] | None:
        """What a ``get`` found; None also when the cluster does not show it to us."""
        return _object(self.ask("get", *words, "--output=json"))

    def events(self, name: str) -> Mapping[str, Any] | None:
        """The events of an object."""
        return self.data("events", f"--field-selector=involvedObject.name={name}")

    def remove(self, kinds: str, selector: str, *, wait: float) -> None:
        """Remove all objects of some kinds, and wait some seconds until they and their pods are gone."""
        words = ("delete", kinds, f"--selector={selector}", "--ignore-not-found", "--wait=false")
        for _ in range(3):  # a second signal must not keep us from it
            try:
                if self.ask(*words, "--cascade=foreground").succeeded:
                    break
            except Interrupted:
                continue
            except BoxError:
                break
        end = time.monotonic() + wait
        while time.monotonic() < end:
            try:
                found = self.data("job,pod", f"--selector={selector}")
            except BoxError:
                return
            if found is not None and not found.get("items"):
                return
            time.sleep(_SOON)


def _object(answer: Answer) -> Mapping[str, Any] | None:
    """What was answered as JSON; None when nothing was."""
    if not answer.succeeded:
        return None
    try:
        found = json.loads(answer.stdout)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def is_passing(answer: Answer) -> bool:
    """Whether a later call may succeed: the cluster, or the way to it, has a moment of weakness."""
    if answer.completed.timed_out:
        return True
    failure = explained(_said(answer), CLIENT_FAILURES)
    return failure is None or failure is UNREACHABLE


def fail(action: str, answer: Answer) -> NoReturn:
    """Raise what kubectl's words mean."""
    said = _said(answer)
    if answer.completed.timed_out:
        said += "\nit did not answer in time: i/o timeout"
    raise _error(f"kubectl cannot {action}", said, explained(said, CLIENT_FAILURES))


def fail_with(action: str, said: str, failures: tuple[Failure, ...]) -> NoReturn:
    """Raise what the cluster's words mean."""
    raise _error(action, said, explained(said, failures))


def _error(action: str, said: str, failure: Failure | None) -> UnavailableError | ConfigurationError:
    message, hint = explanation(action, said, failure)
    kind = ConfigurationError if failure in OF_THE_PLATFORM_FILE else UnavailableError
    return kind(message, hint=hint)


def _said(answer: Answer) -> str:
    return (answer.stderr or answer.stdout).decode("utf-8", "replace")
