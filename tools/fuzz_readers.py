"""What tools/fuzz calls: one reader for any bytes, which may raise nothing but an error of ours."""

import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["mlcommons_box"]):
    from mlcommons_box.command import redacted
    from mlcommons_box.definition.file_kinds import PLATFORM_TYPES, check_file
    from mlcommons_box.definition.problems import Problems
    from mlcommons_box.definition.source import parse_source, read_source
    from mlcommons_box.errors import BoxError
    from mlcommons_box.hyperparameters import read_file
    from mlcommons_box.lock import drift, read_lock
    from mlcommons_box.machine import machine_of
    from mlcommons_box.metrics import read_metrics, read_steps
    from mlcommons_box.parameter_file import read_parameter_file
    from mlcommons_box.planning import BoundParameter
    from mlcommons_box.process import Answer, Completed
    from mlcommons_box.report.problems import problem_text
    from mlcommons_box.run_store import RunStore
    from mlcommons_box.runners import submitted_run
    from mlcommons_box.runners.identity import identity_of
    from mlcommons_box.runners.kubernetes_state import events_of, state_of
    from mlcommons_box.runners.slurm_failures import refusal
    from mlcommons_box.runners.slurm_queue import SlurmBackend

PLACE = Path(tempfile.mkdtemp(prefix="mlbox-fuzz-"))


def _definition(data: bytes) -> None:
    file = PLACE / "a.yaml"
    file.write_bytes(data)
    problems = Problems()
    read_source(file, problems)
    node = parse_source(data.decode("utf-8", "replace"), "a.yaml", Problems())
    for kinds in (("mlbox_root",), ("mlbox_task",), ("mlbox_invoke",), ("mlbox_sweep",), PLATFORM_TYPES):
        if node is not None:
            check_file(node, kinds, problems)
    for problem in problems:
        problem_text(problem)


def _parameters(data: bytes) -> None:
    for suffix in (".yaml", ".json"):
        file = PLACE / f"parameters{suffix}"
        file.write_bytes(data)
        read_file(file)
        with suppress(BoxError):
            read_parameter_file(file)


def _metrics(data: bytes) -> None:
    output = BoundParameter(name="out", type="directory", direction="output", path=PLACE)
    for name in ("metrics.json", "metrics.jsonl"):
        (PLACE / name).write_bytes(data)
    read_metrics([output])
    read_steps([output])


def _lock(data: bytes) -> None:
    (PLACE / "mlbox.lock").write_bytes(data)
    with suppress(BoxError):
        for image in (read_lock(PLACE) or {}).values():
            drift(image, {"id": "a", "packages": {"a": "1"}})


def _job(data: bytes) -> None:
    (PLACE / submitted_run.FILE).write_bytes(data)
    with suppress(BoxError):
        submitted_run.read(PLACE)


def _records(data: bytes) -> None:
    store = RunStore(PLACE)
    store.journal.file.parent.mkdir(exist_ok=True)
    store.journal.file.write_bytes(data)
    store.read_all()
    with suppress(BoxError):
        store.find("a")


def _answers(data: bytes) -> None:
    import json

    text = data.decode("utf-8", "surrogateescape")
    identity_of(text)
    machine_of(text)
    redacted(text)
    refusal(text)
    answer = Answer(completed=Completed(exit_status=0), stdout=data, stderr=b"")
    SlurmBackend().states(["1", "17_4"], answer)
    with suppress(ValueError, RecursionError):
        found = json.loads(data)
        if isinstance(found, dict):
            state_of(found, 1.0)
            events_of(found)


TARGETS = {
    each.__name__[1:]: each for each in (_definition, _parameters, _metrics, _lock, _job, _records, _answers)
}

if __name__ == "__main__":
    if sys.argv[1:] == ["--list"]:
        print(*TARGETS)
        sys.exit()
    atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGETS[sys.argv[1]])
    atheris.Fuzz()
