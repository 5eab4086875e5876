"""Many small tasks: the first run, one with nothing to do, and one more of these."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.bench import MLBOX, Bench, write_files
from benchmarks.timing import Case, Row

TITLE = "Many small tasks"
MEANING = """\
Task number *i* reads one file and writes another, with a program that takes a millisecond; the tasks do not
depend on each other and run one after the other. The yardstick is those programs alone, started by a loop.
Every tool knows afterwards which outputs are up to date: `mlbox run --all --skip-unchanged` by hashes of code,
parameters, inputs and outputs, with a record and the log of each run; `snakemake -c1` by times and its own
records; `dvc repro` by hashes, keeping a copy of every output; `cwltool --cachedir` by a key of each job.
"Nothing to do" is the same command afterwards, and "once more" again: the first of them may still have to look
at what has just been written.

A tool is left out of a size where, by what the next smaller one took, it would need longer than a command may
take."""
PROGRAM = '#!/bin/sh\nread -r text <"${2#--data=}"\necho "$text" >"${3#--out=}"\n'
LOOP = """\
import subprocess, sys
for number in range(int(sys.argv[1])):
    subprocess.run(["./copy.sh", "copy", f"--data=data/{number}.txt", f"--out=out/{number}.txt"], check=True)
"""
FIRST, NOTHING, AGAIN = "first run", "nothing to do", "once more"
_SETTLING = 2.5
"""Seconds after which a file's times tell every later change."""


@dataclass(frozen=True)
class Tool:
    """How a tool is given the tasks, and told to run them."""

    name: str
    make: Callable[[Path, int], object]
    words: Sequence[str]


def group(count: int, which: str) -> str:
    """The name of a group."""
    return f"{count} task{'' if count == 1 else 's'}: {which}"


def measure(bench: Bench) -> list[Row]:
    """Three groups for each size."""
    rows: list[Row] = []
    former: dict[str, tuple[int, float]] = {}
    for count in bench.tasks:
        cases, left_out = [], []
        for tool in _tools(bench):
            reason = too_long(former.get(tool.name), count, bench.limit)
            if reason:
                left_out.append(Row(group(count, FIRST), tool.name, tool.name, absent=reason, count=count))
            else:
                cases.append(_first(bench, tool, count))
        # A tool that takes long is run once, as nobody waits for it again.
        first = bench.measure(group(count, FIRST), cases, rounds=3, fewest=1, warm=count == min(bench.tasks))
        for row in first:
            if row.figure:
                former[row.tool] = (count, row.figure.median)
            else:
                former[row.tool] = (count, bench.limit)
        rows += [*first, *left_out]
        time.sleep(_SETTLING)
        later = [_later(case) for case, row in zip(cases, first, strict=True) if row.figure]
        nothing = bench.measure(group(count, NOTHING), later, rounds=1, fewest=1, warm=False)
        # What takes long even with nothing to do is not waited for again.
        quick = [c for c, r in zip(later, nothing, strict=True) if r.figure and r.figure.median < bench.seconds]
        rows += [*nothing, *bench.measure(group(count, AGAIN), quick, rounds=5, fewest=1, warm=False)]
        shutil.rmtree(bench.place / "pipelines")
    return rows


def too_long(former: tuple[int, float] | None, count: int, limit: float) -> str:
    """Why a size is left out, by what a smaller one took; as if time grew no faster, which favours the tool."""
    if former is None:
        return ""
    smaller, took = former
    expected = took * count / smaller
    if expected <= limit or count <= smaller:
        return ""
    if took >= limit:
        return f"left out: {smaller} were not done in {limit:.0f} s"
    return (
        f"left out: {smaller} took {took:.1f} s, so it would be some {expected:.0f} s; the limit is {limit:.0f} s"
    )


def _first(bench: Bench, tool: Tool, count: int) -> Case:
    place = bench.place / "pipelines" / tool.name
    bare_place = bench.place / "pipelines/bare"

    def fresh(make: Callable[[Path, int], object], place: Path) -> None:
        shutil.rmtree(place, ignore_errors=True)
        make(place, count)

    bare = Case(
        "bare",
        "the programs alone",
        [sys.executable, "-c", LOOP, str(count)],
        directory=bare_place,
        environ=bench.environ,
        prepare=partial(fresh, _bare, bare_place),
    )
    # One yardstick for all tools of a size.
    bare = _YARDSTICKS.setdefault((str(bench.place), count), bare)
    environ = {**bench.environ, "MLCOMMONS_BOX_CACHE": str(place / "cache")}
    return Case(
        tool.name,
        " ".join(tool.words[1:]) if tool.name != "mlbox" else "run --all --skip-unchanged",
        tool.words,
        directory=place,
        environ=environ,
        prepare=partial(fresh, tool.make, place),
        bare=bare,
        count=count,
    )


_YARDSTICKS: dict[tuple[str, int], Case] = {}


def _later(case: Case) -> Case:
    return Case(
        case.tool, case.what, case.command, directory=case.directory, environ=case.environ, count=case.count
    )


# ---- The tasks, for each tool ----------------------------------------------------------------------


def _tools(bench: Bench) -> list[Tool]:
    tools = [Tool("mlbox", _box, [MLBOX, "run", "--all", "--skip-unchanged", "--platform=local", "-q"])]
    if bench.has("cwltool"):
        words = ["--quiet", "--cachedir", "cache", "--outdir", "out", "all.cwl", "all.yaml"]
        tools.append(Tool("cwltool", _workflow, [bench.program("cwltool"), *words]))
    if bench.has("snakemake"):
        tools.append(Tool("snakemake", _rules, [bench.program("snakemake"), "-c1", "--quiet", "all"]))
    if bench.has("dvc"):
        tools.append(Tool("dvc", _stages, [bench.program("dvc"), "repro", "-q"]))
    return tools


def _work(directory: Path, count: int, files: dict[str, str], data: str = "data", program: str = "copy.sh") -> None:
    inputs = {f"{data}/{number}.txt": f"{number}\n" for number in range(count)}
    write_files(directory, {program: PROGRAM, **inputs, **files})


def _bare(directory: Path, count: int) -> None:
    _work(directory, count, {})
    (directory / "out").mkdir()


def _box(directory: Path, count: int) -> None:
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
    _work(directory, count, files, "workspace/data", "build/copy.sh")


def _rules(directory: Path, count: int) -> None:
    text = (
        f'rule all:\n    input: expand("out/{{i}}.txt", i=range({count}))\n'
        'rule copy:\n    input: "data/{i}.txt"\n    output: "out/{i}.txt"\n'
        '    shell: "./copy.sh copy --data={input} --out={output}"\n'
    )
    _work(directory, count, {"Snakefile": text})


def _stages(directory: Path, count: int) -> None:
    stages = "".join(
        f"  s{number}:\n    cmd: ./copy.sh copy --data=data/{number}.txt --out=out/{number}.txt\n"
        f"    deps: [data/{number}.txt]\n    outs: [out/{number}.txt]\n"
        for number in range(count)
    )
    _work(directory, count, {"dvc.yaml": f"stages:\n{stages}", ".dvc/config": "[core]\n    no_scm = True\n"})
    (directory / "out").mkdir()


def _workflow(directory: Path, count: int) -> None:
    files = {
        "copy.cwl": "cwlVersion: v1.2\nclass: CommandLineTool\n"
        f"baseCommand: [{directory}/copy.sh, copy]\n"
        "inputs: {data: {type: File, inputBinding: {position: 1, prefix: --data=, separate: false}}}\n"
        "arguments: [{position: 2, valueFrom: --out=out.txt}]\n"
        "outputs: {out: {type: File, outputBinding: {glob: out.txt}}}\n",
        "all.cwl": "cwlVersion: v1.2\nclass: Workflow\nrequirements: {ScatterFeatureRequirement: {}}\n"
        'inputs: {data: "File[]"}\noutputs: {out: {type: "File[]", outputSource: copy/out}}\n'
        "steps: {copy: {run: copy.cwl, scatter: data, in: {data: data}, out: [out]}}\n",
        "all.yaml": "data:\n"
        + "".join(f"  - {{class: File, path: data/{number}.txt}}\n" for number in range(count)),
    }
    _work(directory, count, files)
