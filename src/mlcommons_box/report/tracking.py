"""Hands runs to MLflow: parameters, metrics with their steps, tags and small files, every run once.

A run of MLflow carries the id of ours as a tag, and another one when all of it is there.  What was begun and never
finished, because a network went away, is removed and handed over again the next time.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

from mlcommons_box.command import redacted
from mlcommons_box.errors import BoxError, UnavailableError
from mlcommons_box.process import Stream
from mlcommons_box.record import RunRecord, moment
from mlcommons_box.report.crate_data import Held, held_by
from mlcommons_box.report.run_files import is_number, steps_of, tail_of
from mlcommons_box.run_store import RunStore
from mlcommons_box.value import as_data

RUN_TAG = "mlbox.run_id"
COMPLETE_TAG = "mlbox.complete"
_STATUSES = {"succeeded": "FINISHED", "failed": "FAILED", "cancelled": "KILLED", "lost": "KILLED"}
_LONGEST_PARAMETER, _LONGEST_TAG, _LONGEST_NAME = 500, 5000, 250
"""Characters that every server of the last years takes."""
_MOST_METRICS, _MOST_PARAMETERS, _MOST_TAGS = 1000, 100, 100
"""In one call."""
_MOST_STEPS = 100_000
_LOG_BYTES = 1 << 20


_QUIET = ("MLFLOW_DISABLE_TELEMETRY", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT")
"""The client tells nobody of its use, and leaves standard output alone, unless its user has said otherwise."""


class Tracking:
    """A tracking server, or a database or directory of MLflow's."""

    def __init__(self, uri: str, experiment: str | None, most: int) -> None:
        """``experiment`` is that of the box unless named; artifacts of more than ``most`` bytes stay here.

        Raises :class:`UnavailableError` when the server does not answer.
        """
        for name in _QUIET:
            os.environ.setdefault(name, "true")
        from mlflow import MlflowClient

        self.uri = uri
        self.experiment = experiment
        self.most = most
        with _explained(uri):
            self.client = MlflowClient(tracking_uri=uri)
        self.experiments: dict[str, str] = {}
        self.known: dict[str, set[str]] = {}

    def log(self, records: Sequence[RunRecord], store: RunStore, on_logged: Callable[[RunRecord], None]) -> None:
        """Hand over the runs that are not there yet.  Raises :class:`UnavailableError`."""
        for record in records:
            with _explained(self.uri):
                experiment = self._experiment(self.experiment or record.box)
                if record.id not in self.known[experiment]:
                    self._log(record, store, experiment)
                    self.known[experiment].add(record.id)
                    on_logged(record)

    def _experiment(self, name: str) -> str:
        """The id of an experiment, which is made if need be; its complete runs are known from then on."""
        if name not in self.experiments:
            found = self.client.get_experiment_by_name(name)
            identifier = found.experiment_id if found else self.client.create_experiment(name)
            self.experiments[name] = identifier
            self.known[identifier] = set(self._complete(identifier))
        return self.experiments[name]

    def _complete(self, experiment: str) -> Iterator[str]:
        """The ids of our runs that are there; what was never finished is removed."""
        token = None
        while True:
            page = self.client.search_runs(
                [experiment], f"tags.`{RUN_TAG}` != ''", max_results=1000, page_token=token
            )
            for run in page:
                if run.data.tags.get(COMPLETE_TAG) == "yes":
                    yield run.data.tags[RUN_TAG]
                else:
                    self.client.delete_run(run.info.run_id)
            token = page.token
            if not token:
                return

    def _log(self, record: RunRecord, store: RunStore, experiment: str) -> None:
        from mlflow.entities import Param, RunTag

        started_at = _milliseconds(record.started_at)
        run = self.client.create_run(
            experiment, start_time=started_at, tags={RUN_TAG: record.id}, run_name=_run_name(record)
        ).info.run_id
        tags = [RunTag(name, value[:_LONGEST_TAG]) for name, value in tags_of(record).items()]
        for some in _batches(tags, _MOST_TAGS):
            self.client.log_batch(run, tags=some)
        values = parameters_of(record).items()
        for some in _batches([Param(name, value[:_LONGEST_PARAMETER]) for name, value in values], _MOST_PARAMETERS):
            self.client.log_batch(run, params=some)
        for some in _batches(list(_metrics(record, store, started_at)), _MOST_METRICS):
            self.client.log_batch(run, metrics=some)
        self._log_files(run, record, store)
        ended_at = _milliseconds(record.ended_at or record.started_at)
        self.client.set_terminated(run, _STATUSES[record.status], end_time=ended_at)
        self.client.set_tag(run, COMPLETE_TAG, "yes")

    def _log_files(self, run: str, record: RunRecord, store: RunStore) -> None:
        """The record, the logs, and outputs that are small and still what they were."""
        with tempfile.TemporaryDirectory() as directory:
            Path(directory, "record.json").write_text(json.dumps(as_data(record), indent=2), "utf-8")
            for stream in get_args(Stream):
                tail = tail_of(store, record.id, stream, _LOG_BYTES)
                if tail is not None:
                    Path(directory, f"{stream}.log").write_text(tail.text, "utf-8")
            self.client.log_artifacts(run, directory, "mlbox")
        for held in held_by(record, self.most):
            if held.parameter.direction == "output" and 0 < sum(each.size for each in held.files) <= self.most:
                self._log_output(run, held)

    def _log_output(self, run: str, held: Held) -> None:
        for each in held.files:
            folder = f"outputs/{held.parameter.name}"
            if held.parameter.type == "directory":
                below = os.path.dirname(each.name.removeprefix(held.name))
                folder = f"{folder}/{below}" if below else folder
            self.client.log_artifact(run, str(each.path), folder)


def parameters_of(record: RunRecord) -> dict[str, str]:
    """Hyper-parameters by their own names, and the paths of inputs and outputs."""
    found: dict[str, str] = {}
    for held in (*record.hyperparameters.values(), record.group.get("values")):
        for name, value in held.items() if isinstance(held, Mapping) else ():
            if isinstance(value, str | bool) or is_number(value):
                found[_name(str(name))] = str(value)
    for each in record.parameters:
        found[_name(f"{each.direction}.{each.name}")] = str(each.path)
    return found


def tags_of(record: RunRecord) -> dict[str, str]:
    """What a run was made of, and where it ran."""
    tags: dict[str, Any] = {
        "box": record.box,
        "box_version": record.box_version,
        "task": record.task,
        "run": record.run,
        "platform": record.platform,
        "runner": record.runner,
        "host": record.supervisor.host,
        "status": record.status,
        "exit_status": record.exit_status,
        "reason": record.reason,
        "tool_version": record.tool_version,
        **_flat("code", record.code),
        **_flat("image", record.image),
        **_flat("engine", record.engine),
        **_flat("machine", record.machine),
        **{f"group.{name}": record.group.get(name) for name in ("kind", "name", "id", "trial")},
    }
    for direction, held in (("input", record.inputs), ("output", record.outputs)):
        tags |= {
            f"{direction}.{name}": each.get("digest") for name, each in held.items() if isinstance(each, Mapping)
        }
    said = {name: value for name, value in tags.items() if isinstance(value, str | bool) or is_number(value)}
    commit = tags.get("code.git.commit")
    source = {"mlflow.source.git.commit": commit} if isinstance(commit, str) else {}
    return {**{_name(f"mlbox.{name}"): str(value) for name, value in said.items()}, **source}


def _metrics(record: RunRecord, store: RunStore, started_at: int) -> Iterator[Any]:
    """The steps of every metric, and the results of those that have none.

    A task says nothing of when its steps were: they are spread over the time of the run, so that they are in order.
    """
    from mlflow.entities import Metric

    steps = steps_of(store, record.id)[:_MOST_STEPS]
    whole = round((record.duration or 0) * 1000)
    last: dict[str, float] = {}
    for index, values in enumerate(steps):
        number = values.get("step", values.get("epoch", index + 1))
        step = number if isinstance(number, int) and abs(number) < 2**62 else index + 1
        at = started_at + whole * (index + 1) // len(steps)
        for name, value in values.items():
            last[name] = float(value)
            yield Metric(_name(name), float(value), at, step)
    usage = {f"mlbox.{name}": value for name, value in record.usage.items()}
    for name, value in {**record.metrics, **usage, "mlbox.duration": record.duration}.items():
        if is_number(value) and last.get(name) != float(value):
            yield Metric(_name(name), float(value), started_at + whole, len(steps) + 1 if name in last else 0)


def _flat(prefix: str, value: Any, depth: int = 0) -> dict[str, Any]:
    if not isinstance(value, Mapping) or depth > 4:
        return {prefix: value}
    found: dict[str, Any] = {}
    for name, each in value.items():
        found |= _flat(f"{prefix}.{name}", each, depth + 1)
    return found


def _name(text: str) -> str:
    """The nearest name that MLflow takes: letters, digits, and some signs."""
    allowed = "".join(each if each.isascii() and (each.isalnum() or each in "_-. /") else "_" for each in text)
    parts = [part for part in allowed[:_LONGEST_NAME].split("/") if part.strip(". ")]
    return "/".join(parts) or "_"


def _run_name(record: RunRecord) -> str:
    return f"{record.run} {record.id.rpartition('-')[2]}"[:_LONGEST_NAME]


def _milliseconds(text: str) -> int:
    return round(moment(text).timestamp() * 1000)


def _batches(values: list[Any], most: int) -> Iterator[list[Any]]:
    for start in range(0, len(values), most):
        yield values[start : start + most]


@contextmanager
def _explained(uri: str) -> Iterator[None]:
    """Errors of the client as one of ours."""
    try:
        yield
    except BoxError:
        raise
    except Exception as error:  # the client lets those of many libraries through
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UnavailableError(
            f"MLflow at {redacted(uri)!r} cannot be used: {reason}",
            hint="start it ('mlflow server'), or name another one with --mlflow=URI",
        ) from error
