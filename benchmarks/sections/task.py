"""What one run of a task that does nothing costs on top of the engine's own command with the very same words."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from tests import engines

from benchmarks import no_op
from benchmarks.bench import MLBOX, Bench
from benchmarks.engine_words import REFUSED, mend_mounts, refuses_privilege, without_privilege, words_to_engine
from benchmarks.timing import Case, Row, last_words
from mlcommons_box.host import SSH_CONFIG_VARIABLE

TITLE = "One task that does nothing"
MEANING = """\
One task that ends at once, with a file that it reads and a directory that it may write; what is left is what
the tool adds. In a container, the yardstick is the engine's own command with the very words that this tool says
to it, written down in the same run: some tools ask for more of the engine than others. Locally it is the task's
own process, in a queue a bare `srun`, on a host a bare `ssh HOST true`. The peak of memory is that of the
largest process, which may be the engine's own client."""


def measure(bench: Bench) -> list[Row]:
    """A group for each engine that is here."""
    rows: list[Row] = []
    places = no_op.write(bench.place / "no-op", engines)
    bench.environ["TMPDIR"] = str(bench.place / "tmp")
    Path(bench.environ["TMPDIR"]).mkdir()
    try:
        for group, name, cases in (
            ("Local", "", _local),
            ("Docker", "docker", _docker),
            ("Podman", "podman", _podman),
            ("Apptainer", "apptainer", _apptainer),
            ("Slurm", "slurm", _slurm),
            ("SSH", "ssh", _ssh),
        ):
            reason = engines.absent(name) if name else None
            if reason:
                bench.absent[name] = reason
            else:
                rows += _group(bench, group, cases(bench, places))
    finally:
        _tidy_up(bench)
    return rows


def _tidy_up(bench: Bench) -> None:
    commands = {engine: [engine, "rmi", "--force", no_op.IMAGE] for engine in ("docker", "podman")}
    commands["ssh"] = [*_login(), f"rm -rf {no_op.REMOTE}"]
    for name, command in commands.items():
        if name not in bench.absent:
            subprocess.run(command, capture_output=True, check=False)


def _group(bench: Bench, group: str, cases: Iterator[Case | Row]) -> list[Row]:
    found = list(cases)
    measured = bench.measure(group, [case for case in found if isinstance(case, Case)])
    return measured + [row for row in found if isinstance(row, Row)]


def _local(bench: Bench, places: no_op.Places) -> Iterator[Case]:
    bare = Case("bare", "the task's own process", [str(places.box / "build/go.sh")], environ=bench.environ)
    case = partial(Case, environ=bench.environ, bare=bare)
    yield case("mlbox", "mlbox run", [MLBOX, "run", "-q", "--platform=local"], directory=places.box)
    if bench.has("cwltool"):
        words = [bench.program("cwltool"), "--quiet", "go.cwl", "go.yaml"]
        yield case("cwltool", "cwltool", words, directory=places.local)
    if bench.has("snakemake"):
        words = [bench.program("snakemake"), "-c1", "--quiet", "all", "--", "go"]
        yield case("snakemake", "snakemake", words, directory=places.local)
    if bench.has("dvc"):
        yield case("dvc", "dvc repro", [bench.program("dvc"), "repro", "-q"], directory=places.local)
    if bench.has("mlflow"):
        words = [bench.program("mlflow"), "run", "--env-manager=local", "."]
        yield case("mlflow", "mlflow run", words, directory=places.local)


def _docker(bench: Bench, places: no_op.Places) -> Iterator[Case | Row]:
    yield _our_container(bench, places, "docker")
    old = "mlcommons-box 0.2.3"
    if bench.has(old):
        program = bench.program(old, "mlcommons_box_docker")
        words = [program, "run", "--mlbox=.", "--platform=platforms/docker.yaml", "--task=run/go.yaml"]
        environ = bench.environ
        if refuses_privilege(no_op.IMAGE, environ):
            environ = without_privilege(bench.place, environ)
            bench.note(REFUSED)
        yield _container(bench, "docker", old, "mlcommons_box_docker run", words, places.box_of_2020, environ)
    if bench.has("mlcube 0.0.9"):
        words = [bench.program("mlcube 0.0.9"), "run", "--task=go", "--platform=docker"]
        yield _container(bench, "docker", "mlcube 0.0.9", "mlcube run", words, places.cube)
    if bench.has("cwltool"):
        words = [bench.program("cwltool"), "--quiet", "go.cwl", "go.yaml"]
        yield _container(bench, "docker", "cwltool", "cwltool", words, places.container)
    if bench.has("mlflow"):
        words = [bench.program("mlflow"), "run", "."]
        yield _container(bench, "docker", "mlflow", "mlflow run", words, places.container)


def _podman(bench: Bench, places: no_op.Places) -> Iterator[Case | Row]:
    yield _our_container(bench, places, "podman")
    if bench.has("mlcube 0.0.9"):
        words = [bench.program("mlcube 0.0.9"), "run", "--task=go", "--platform=docker", "-Pdocker.docker=podman"]
        yield _container(bench, "podman", "mlcube 0.0.9", "mlcube run", words, places.cube)
    if bench.has("cwltool"):
        words = [bench.program("cwltool"), "--quiet", "--podman", "go.cwl", "go.yaml"]
        yield _container(bench, "podman", "cwltool", "cwltool --podman", words, places.container)


def _apptainer(bench: Bench, places: no_op.Places) -> Iterator[Case | Row]:
    yield _our_container(bench, places, "apptainer")
    (places.container / no_op.SIF).symlink_to(places.box / "workspace" / no_op.SIF)
    if bench.has("cwltool"):
        words = [bench.program("cwltool"), "--quiet", "--singularity", "go-sif.cwl", "go.yaml"]
        yield _container(bench, "apptainer", "cwltool", "cwltool --singularity", words, places.container)
    if bench.has("snakemake"):
        words = [bench.program("snakemake"), "-c1", "--quiet", "all", "--sdm", "apptainer", "--", "go"]
        yield _container(bench, "apptainer", "snakemake", "snakemake --sdm apptainer", words, places.container)


def _slurm(bench: Bench, places: no_op.Places) -> Iterator[Case]:
    bare = Case("bare", "srun", ["srun", "-Q", str(places.box / "build/go.sh")], environ=bench.environ)
    words = [MLBOX, "run", "-q", "--platform=slurm"]
    yield Case("mlbox", "mlbox run", words, directory=places.box, environ=bench.environ, bare=bare)


def _ssh(bench: Bench, places: no_op.Places) -> Iterator[Case]:
    login = _login()
    environ = {**bench.environ, SSH_CONFIG_VARIABLE: str(engines.ssh_config())}
    bare = Case("bare", "ssh HOST true", [*login, "true"], environ=environ)
    words = [MLBOX, "run", "-q", "--platform=ssh"]
    yield Case("mlbox", "mlbox run", words, directory=places.box, environ=environ, bare=bare)


def _login() -> list[str]:
    return ["ssh", "-F", str(engines.ssh_config()), engines.SSH_HOST]


def _our_container(bench: Bench, places: no_op.Places, engine: str) -> Case | Row:
    bench.mlbox("configure", "-q", str(places.box), f"--platform={engine}")
    words = [MLBOX, "run", "-q", f"--platform={engine}"]
    return _container(bench, engine, "mlbox", "mlbox run", words, places.box)


def _container(
    bench: Bench,
    engine: str,
    tool: str,
    what: str,
    words: Sequence[str],
    directory: Path,
    environ: Mapping[str, str] | None = None,
) -> Case | Row:
    """A tool's case, with its own words to the engine as its yardstick; why not, when it cannot run at all."""
    environ = environ or bench.environ
    try:
        spoken = words_to_engine(bench.place, engine, words, directory, environ)
    except subprocess.CalledProcessError as error:
        return Row(engine.capitalize(), tool, what, absent=last_words((error.stderr or error.stdout).decode()))
    except LookupError as error:
        return Row(engine.capitalize(), tool, what, absent=str(error))
    mend: Callable[[], object] = partial(mend_mounts, spoken)
    bare = Case("bare", f"{engine}, the same words", spoken, environ=environ, prepare=mend, directory=directory)
    return Case(tool, what, words, directory=directory, environ=environ, bare=bare)
