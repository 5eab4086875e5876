"""The MNIST box from nothing: libraries, data set, training."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

from tests import engines

from benchmarks.bench import MLBOX, Bench, write_files
from benchmarks.engine_words import REFUSED, refuses_privilege, without_privilege
from benchmarks.timing import Case, Row

TITLE = "MNIST, end to end"
MEANING = """\
The box of `examples/mnist`. From an empty cache: its libraries are installed (locally into an environment, for
Docker into an image), the data set is downloaded, and the network is trained for five epochs. Most of it is the
network's time and the training's, not that of any tool, and so is the peak of memory. Training alone then uses
image and data of the first run of ours, so that a tool that cannot build the image here can still train in it."""
EXAMPLE = Path(__file__).parents[2] / "examples/mnist"
EMPTY, TRAINING = "From an empty cache", "Training alone"
OLD, CUBE = "mlcommons-box 0.2.3", "mlcube 0.0.9"
_CERTIFICATES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def measure(bench: Bench) -> list[Row]:
    """Two groups."""
    image = f"mlbox-benchmark-mnist:{uuid.uuid4().hex[:8]}"
    docker = engines.absent("docker")
    if docker:
        bench.absent["docker"] = docker
    try:
        rows = bench.measure(EMPTY, _from_nothing(bench, image, docker), rounds=1, fewest=1, warm=False)
        if docker is None:
            rows += bench.measure(TRAINING, _training(bench, image), rounds=2, fewest=2, warm=False)
        return rows
    finally:
        if docker is None:
            for tool in ("mlbox", OLD, CUBE):
                subprocess.run(["docker", "rmi", "--force", _image(image, tool)], capture_output=True, check=False)


def _from_nothing(bench: Bench, image: str, docker: str | None) -> Iterator[Case]:
    yield _case(bench, "mlbox, local", "mlbox run --all --platform=local", image)
    if docker is None:
        yield _case(bench, "mlbox, Docker", "mlbox run --all --platform=docker", image)
        for tool in (OLD, CUBE):
            if bench.has(tool):
                yield _case(bench, tool, _NAMES[tool], image)


def _training(bench: Bench, image: str) -> Iterator[Case]:
    """All of them in the workspace of our run, and in its image."""
    root = _place(bench, "mlbox, Docker")
    words = [MLBOX, "run", "-q", "--task=train", "--platform=docker"]
    yield Case("mlbox, Docker", "mlbox run --task=train", words, directory=root, environ=bench.environ)
    for tool in (OLD, CUBE):
        if bench.has(tool):
            place = _place(bench, f"{tool} training")
            _write(place, tool, image)
            shutil.copytree(root / "workspace/data", place / "workspace/data")
            yield Case(
                tool,
                _NAMES[tool],
                _words(bench, tool, ("train",)),
                directory=place,
                environ=_environ(bench, tool),
            )


_NAMES = {OLD: "mlcommons_box_docker run", CUBE: "mlcube run"}


def _place(bench: Bench, name: str) -> Path:
    """A directory without blanks: older tools take them for the end of a word."""
    return bench.place / name.replace(",", "").replace(" ", "-")


def _image(image: str, tool: str) -> str:
    return image if tool == "mlbox" else f"{image}-{tool.partition(' ')[0].rpartition('-')[2]}"


def _case(bench: Bench, tool: str, what: str, image: str) -> Case:
    place = _place(bench, tool)
    cache = _place(bench, f"{tool} cache")

    def fresh() -> None:
        for each in (place, cache):
            shutil.rmtree(each, ignore_errors=True)
        _write(place, tool, _image(image, tool) if tool in _NAMES else image)

    environ = _environ(bench, tool)
    if tool not in _NAMES:
        environ |= {"UV_CACHE_DIR": str(cache), "PIP_CACHE_DIR": str(cache)}
    words = {
        "mlbox, local": [MLBOX, "run", "-q", "--all", "--platform=local"],
        # The certificates of this machine: without them nothing can be downloaded behind a company's proxy.
        "mlbox, Docker": [MLBOX, "run", "-q", "--all", "--platform=docker", "--ca-bundle=host"],
    }.get(tool) or _words(bench, tool, ("download", "train"))
    return Case(tool, what, words, directory=place, environ=environ, prepare=fresh)


def _environ(bench: Bench, tool: str) -> dict[str, str]:
    environ = dict(bench.environ)
    if tool == OLD and refuses_privilege(engines.BASE_IMAGE, environ):
        environ = without_privilege(bench.place, environ)
        bench.note(REFUSED)
    return environ


def _words(bench: Bench, tool: str, tasks: tuple[str, ...]) -> list[str]:
    if tool == CUBE:
        return [bench.program(CUBE), "run", f"--task={','.join(tasks)}", "--platform=docker"]
    program = shlex.quote(bench.program(OLD, "mlcommons_box_docker"))
    lines = [f"{program} run --mlbox=. --platform=platforms/docker.yaml --task=run/{task}.yaml" for task in tasks]
    return ["sh", "-c", " && ".join(lines)]


def _write(root: Path, tool: str, image: str) -> None:
    """The box, with an image of its own that shares no layer with another tool's."""
    shutil.copytree(EXAMPLE, root, ignore=shutil.ignore_patterns("data", "model", "*_logs", ".mlbox"))
    recipe = root / "build/Dockerfile"
    first, *others = recipe.read_text().splitlines(keepends=True)
    recipe.write_text("".join([first, f'LABEL org.mlcommons.box.benchmark="{image}"\n', *others]))
    files = {
        "platforms/docker.yaml": "schema_version: 1.0.0\nschema_type: mlbox_docker\n"
        f"image: {image}\ndocker_runtime: docker\n"
    }
    if tool == OLD:
        files["platforms/docker.yaml"] = (
            "schema_version: 0.1.0\nschema_type: mlcommons_box_platform\n"
            f'platform: {{name: docker, version: ">=18.01"}}\ncontainer: {{image: "{image}"}}\n'
        )
    if tool == CUBE:
        files["mlcube.yaml"] = (
            "name: mnist\nplatform: {accelerator_count: 0}\n"
            f"docker: {{image: '{image}', build_context: build, build_strategy: auto,\n"
            f"         cpu_args: '{_certificates()}'}}\n"
            "tasks:\n"
            "  download:\n    parameters:\n      outputs:\n"
            "        data_dir: {type: directory, default: data}\n"
            "        log_dir: {type: directory, default: download_logs}\n"
            "  train:\n    parameters:\n      inputs:\n"
            "        data_dir: {type: directory, default: data}\n"
            "        parameters_file: {type: file, default: parameters/default.parameters.yaml}\n"
            "      outputs:\n"
            "        log_dir: {type: directory, default: train_logs}\n"
            "        model_dir: {type: directory, default: model}\n"
        )
    write_files(root, files)


def _certificates() -> str:
    """Docker's arguments that hand a task this machine's certificates, for a tool that cannot do so by itself."""
    for name in _CERTIFICATES:
        file = os.environ.get(name)
        if file and Path(file).is_file():
            inside = "/etc/ssl/benchmark.crt"
            return f"--volume={file}:{inside}:ro --env=PIP_CERT={inside} --env=SSL_CERT_FILE={inside}"
    return ""
