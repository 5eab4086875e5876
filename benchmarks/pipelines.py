"""``python -m benchmarks.pipelines``: many small tasks, first and when nothing is to do, beside other tools.

The work is the same for all: task number i reads one file and writes another, with a program that takes a
millisecond.  The yardstick is those programs alone, started one after the other.  The other tools are installed
into environments of their own, below ``--peers``, when that is given.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

BIN = Path(sys.executable).parent
PROGRAM = '#!/bin/sh\nread -r text <"${2#--data=}"\necho "$text" >"${3#--out=}"\n'
PEERS = {"snakemake": "snakemake", "dvc": "dvc", "cwltool": "cwltool"}
_SETTLING = 2.5
"""Seconds after which a file's times tell every later change."""


def seconds(command: Sequence[str], directory: Path, environ: dict[str, str] | None = None) -> float:
    """How long a command takes; raises when it fails."""
    began = time.perf_counter()
    done = subprocess.run(command, cwd=directory, env=environ, capture_output=True, check=False)
    took = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stderr.decode()[-2000:]}")
    return took


def inputs(directory: Path, count: int) -> None:
    """One file for each task."""
    directory.mkdir(parents=True)
    for number in range(count):
        (directory / f"{number}.txt").write_text(f"{number}\n")


def program(file: Path) -> None:
    """The program that all tools start."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(PROGRAM)
    file.chmod(0o755)


def bare(directory: Path, count: int) -> list[float]:
    """The programs alone."""
    inputs(directory / "data", count)
    program(directory / "copy.sh")
    (directory / "out").mkdir()
    began = time.perf_counter()
    for number in range(count):
        words = ["./copy.sh", "copy", f"--data=data/{number}.txt", f"--out=out/{number}.txt"]
        subprocess.run(words, cwd=directory, check=True)
    return [time.perf_counter() - began]


def ours(directory: Path, count: int) -> list[float]:
    """``mlbox run --all --skip-unchanged``: first, with nothing to do, and once more."""
    head = "schema_version: 1.0.0\nschema_type: "
    files = {
        "mlbox.yaml": f"{head}mlbox_root\nname: copies\nauthor: a\nversion: 1.0.0\nmlbox_spec_version: 1.0.0\n"
        "tasks: [tasks/copy.yaml]\n",
        "tasks/copy.yaml": f"{head}mlbox_task\ninputs: [{{name: data, type: file}}]\n"
        "outputs: [{name: out, type: file}]\n",
        "platforms/local.yaml": "schema_version: 1.1.0\nschema_type: mlbox_local\nentrypoint: copy.sh\n",
    }
    files |= {
        f"run/{number}.yaml": f"{head}mlbox_invoke\ntask_name: copy\ninput_binding: {{data: data/{number}.txt}}\n"
        f"output_binding: {{out: out/{number}.txt}}\n"
        for number in range(count)
    }
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(content)
    program(directory / "build/copy.sh")
    inputs(directory / "workspace/data", count)
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environ["MLCOMMONS_BOX_CACHE"] = str(directory / "cache")
    command = [str(BIN / "mlbox"), "run", "--all", "--skip-unchanged", "--platform=local", "-q"]
    subprocess.run(
        [str(BIN / "mlbox"), "configure", "--platform=local", "-q"], cwd=directory, env=environ, check=True
    )
    first = seconds(command, directory, environ)
    time.sleep(_SETTLING)
    checked = seconds(command, directory, environ)
    again = min(seconds(command, directory, environ) for _ in range(5))
    return [first, checked, again]


def snakemake(directory: Path, count: int, tool: Path) -> list[float]:
    """One rule, a target for each task."""
    inputs(directory / "data", count)
    program(directory / "copy.sh")
    (directory / "Snakefile").write_text(
        f'rule all:\n    input: expand("out/{{i}}.txt", i=range({count}))\n'
        'rule copy:\n    input: "data/{i}.txt"\n    output: "out/{i}.txt"\n'
        '    shell: "./copy.sh copy --data={input} --out={output}"\n'
    )
    command = [str(tool / "snakemake"), "-c1", "--quiet", "all"]
    return [seconds(command, directory), seconds(command, directory)]


def dvc(directory: Path, count: int, tool: Path) -> list[float]:
    """A stage for each task."""
    inputs(directory / "data", count)
    program(directory / "copy.sh")
    stages = "".join(
        f"  s{number}:\n    cmd: mkdir -p out && ./copy.sh copy --data=data/{number}.txt --out=out/{number}.txt\n"
        f"    deps: [data/{number}.txt]\n    outs: [out/{number}.txt]\n"
        for number in range(count)
    )
    (directory / "dvc.yaml").write_text(f"stages:\n{stages}")
    environ = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    seconds([str(tool / "dvc"), "init", "--no-scm", "-q"], directory, environ)
    command = [str(tool / "dvc"), "repro", "-q"]
    return [seconds(command, directory, environ), seconds(command, directory, environ)]


def cwltool(directory: Path, count: int, tool: Path) -> list[float]:
    """A scatter over all inputs; the second time with its cache."""
    inputs(directory / "data", count)
    program(directory / "copy.sh")
    (directory / "copy.cwl").write_text(
        "cwlVersion: v1.2\nclass: CommandLineTool\n"
        f"baseCommand: [{directory}/copy.sh, copy]\n"
        "inputs: {data: {type: File, inputBinding: {position: 1, prefix: --data=, separate: false}}}\n"
        "arguments: [{position: 2, valueFrom: --out=out.txt}]\n"
        "outputs: {out: {type: File, outputBinding: {glob: out.txt}}}\n"
    )
    (directory / "all.cwl").write_text(
        "cwlVersion: v1.2\nclass: Workflow\nrequirements: {ScatterFeatureRequirement: {}}\n"
        'inputs: {data: "File[]"}\noutputs: {out: {type: "File[]", outputSource: copy/out}}\n'
        "steps: {copy: {run: copy.cwl, scatter: data, in: {data: data}, out: [out]}}\n"
    )
    files = "".join(f"  - {{class: File, path: data/{number}.txt}}\n" for number in range(count))
    (directory / "all.yaml").write_text(f"data:\n{files}")
    cache = ["--cachedir", str(directory / "cache"), "--outdir", str(directory / "out")]
    command = [str(tool / "cwltool"), "--quiet", *cache, "all.cwl", "all.yaml"]
    return [seconds(command, directory), seconds(command, directory)]


def peer(place: Path, name: str) -> Path:
    """The programs of another tool, installed when they are not there."""
    environment = place / name
    if not (environment / "bin" / name).exists():
        subprocess.run([str(BIN / "uv"), "venv", "-q", "--clear", str(environment)], check=True)
        python = str(environment / "bin/python")
        subprocess.run([str(BIN / "uv"), "pip", "install", "-q", "--python", python, PEERS[name]], check=True)
    return environment / "bin"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pipelines", description=__doc__)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--peers", type=Path, metavar="DIR", help="measure other tools too, and install them here")
    parser.add_argument("--only", action="append", choices=[*PEERS], help="only these other tools")
    arguments = parser.parse_args()
    count = arguments.tasks
    rows = []
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (alone,) = bare(place / "bare", count)
        rows.append(("the programs alone", [alone]))
        rows.append(("mlbox", ours(place / "ours", count)))
        if arguments.peers:
            for tool in arguments.only or PEERS:
                measured = globals()[tool](place / tool, count, peer(arguments.peers.absolute(), tool))
                rows.append((tool, measured))
                shutil.rmtree(place / tool)
    print(f"{count} tasks\n")
    print("| tool | first run (s) | added a task (ms) | nothing to do (s) | once more (s) |\n|---|---|---|---|---|")
    for tool, times in rows:
        added = f"{(times[0] - alone) / count * 1000:.2f}" if len(times) > 1 else ""
        later = [f"{each:.3f}" for each in times[1:]] + [""] * (3 - len(times))
        print(f"| {tool} | {times[0]:.2f} | {added} | {' | '.join(later)} |")


if __name__ == "__main__":
    main()
