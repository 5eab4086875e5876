"""How long it takes to check what has to be run, without running it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.bench import MLBOX, Bench, write_files
from benchmarks.timing import Case, CommandFailed, Row, figure_of, run

TITLE = "Validation"
MEANING = """\
Each tool checks the same small work: two tasks, each with a file that it reads and a file that it writes. What
is checked differs: `mlbox validate` looks at every file of the box and at the inputs; `mlcommons_box verify` of
2020 at the box and its tasks, but not at how they are run; `mlcube describe` and `dvc status` read and resolve
what they were given; `cwltool --validate` checks a document and its inputs; `snakemake --dry-run` parses the
workflow and works out what would run.

A thousand boxes are a thousand commands, one after the other. A tool that would take more than its share of time
checks fewer; the table says how many, and nothing is extrapolated. `mlbox validate` takes any number of boxes, too,
which is the second of its rows."""

TASKS = ("hello", "bye")
_HEAD = "schema_version: 1.0.0\nschema_type: "
_TASK = f"{_HEAD}mlbox_task\ninputs:\n  - {{name: name, type: file}}\noutputs:\n  - {{name: chat, type: file}}\n"


def box(root: Path) -> Path:
    """A box of two tasks, with what the release of 2020 wants to see beside it."""
    files = {
        "mlbox.yaml": f"{_HEAD}mlbox_root\nname: talk\nauthor: a\nversion: 0.1.0\nmlbox_spec_version: 0.1.0\n"
        "tasks: [tasks/hello.yaml, tasks/bye.yaml]\n",
        "mlbox_docker.yaml": f"{_HEAD}mlbox_docker\nimage: talk\ndocker_runtime: docker\n",
        "platforms/docker.yaml": f"{_HEAD}mlbox_docker\nimage: talk\ndocker_runtime: docker\n",
        "build/Dockerfile": "FROM scratch\n",
        "build/talk.py": "",
        "workspace/name.txt": "Alice\n",
    }
    for task in TASKS:
        files[f"tasks/{task}.yaml"] = _TASK
        files[f"run/{task}.yaml"] = (
            f"{_HEAD}mlbox_invoke\ntask_name: {task}\ninput_binding: {{name: $WORKSPACE/name.txt}}\n"
            f"output_binding: {{chat: $WORKSPACE/{task}.txt}}\n"
        )
    return write_files(root, files)


def cube(root: Path) -> Path:
    """The same for MLCube."""
    tasks = "".join(
        f"  {task}:\n    parameters:\n      inputs: {{name: {{type: file, default: name.txt}}}}\n"
        f"      outputs: {{chat: {{type: file, default: {task}.txt}}}}\n"
        for task in TASKS
    )
    text = f"name: talk\nplatform: {{accelerator_count: 0}}\ndocker: {{image: talk}}\ntasks:\n{tasks}"
    return write_files(root, {"mlcube.yaml": text, "workspace/name.txt": "Alice\n"})


def workflow(root: Path) -> Path:
    """The same for cwltool."""
    steps = "".join(
        f"  {task}:\n    in: {{name: name}}\n    out: [chat]\n    run:\n      class: CommandLineTool\n"
        f"      baseCommand: [talk, {task}]\n      inputs: {{name: {{type: File, inputBinding: {{}}}}}}\n"
        f"      outputs: {{chat: {{type: File, outputBinding: {{glob: {task}.txt}}}}}}\n"
        for task in TASKS
    )
    outputs = "".join(f"  {task}: {{type: File, outputSource: {task}/chat}}\n" for task in TASKS)
    text = f"cwlVersion: v1.2\nclass: Workflow\ninputs: {{name: File}}\noutputs:\n{outputs}steps:\n{steps}"
    job = "name: {class: File, path: name.txt}\n"
    return write_files(root, {"talk.cwl": text, "talk.yaml": job, "name.txt": "Alice\n"})


def rules(root: Path) -> Path:
    """The same for Snakemake."""
    text = "rule all:\n    input: " + ", ".join(f'"{task}.txt"' for task in TASKS) + "\n"
    for task in TASKS:
        text += f'rule {task}:\n    input: "name.txt"\n    output: "{task}.txt"\n'
        text += f'    shell: "talk {task} {{input}} {{output}}"\n'
    return write_files(root, {"Snakefile": text, "name.txt": "Alice\n"})


def stages(root: Path) -> Path:
    """The same for DVC."""
    text = "stages:\n" + "".join(
        f"  {task}:\n    cmd: talk {task}\n    deps: [name.txt]\n    outs: [{task}.txt]\n" for task in TASKS
    )
    files = {"dvc.yaml": text, "name.txt": "Alice\n", ".dvc/config": "[core]\n    no_scm = True\n"}
    return write_files(root, files)


def measure(bench: Bench) -> list[Row]:
    """One box, and as many as a thousand."""
    tools: list[tuple[str, str, Callable[[Path], Path], Sequence[str]]] = [
        ("mlbox", "mlbox validate", box, [MLBOX, "validate"])
    ]
    if bench.has("mlcommons-box 0.2.3"):
        words: Sequence[str] = [bench.program("mlcommons-box 0.2.3"), "--log-level=ERROR", "verify", "."]
        tools.append(("mlcommons-box 0.2.3", "mlcommons_box verify", box, words))
    if bench.has("mlcube 0.0.9"):
        tools.append(("mlcube 0.0.9", "mlcube describe", cube, [bench.program("mlcube 0.0.9"), "describe"]))
    if bench.has("cwltool"):
        words = [bench.program("cwltool"), "--validate", "talk.cwl", "talk.yaml"]
        tools.append(("cwltool", "cwltool --validate", workflow, words))
    if bench.has("snakemake"):
        words = [bench.program("snakemake"), "--dry-run", "--quiet", "all"]
        tools.append(("snakemake", "snakemake --dry-run", rules, words))
    if bench.has("dvc"):
        tools.append(("dvc", "dvc status", stages, [bench.program("dvc"), "status"]))
    cases = []
    for tool, what, make, words in tools:
        place = make(bench.place / "validate" / tool.replace(" ", "-"))
        cases.append(Case(tool, what, words, directory=place, environ=bench.environ, bare=bench.python))
    rows = bench.measure("One box", cases)
    bench.say(f"{bench.boxes} boxes")
    for tool, what, make, words in tools:
        rows.append(_many(bench, tool, what, make, words))
    rows.append(_at_once(bench))
    return rows


def _at_once(bench: Bench) -> Row:
    """All boxes in one command, which only ours can do."""
    names = [f"{number:04}" for number in range(bench.boxes)]
    took, peak = run([MLBOX, "validate", *names], bench.limit, bench.place / "boxes" / "mlbox", bench.environ)
    what = f"mlbox validate BOX..., {len(names)} boxes"
    return Row("Many boxes", "mlbox", what, figure_of([took], [peak]), count=len(names))


def _many(bench: Bench, tool: str, what: str, make: Callable[[Path], Path], words: Sequence[str]) -> Row:
    """As many boxes as fit into a tool's time; ours checks all."""
    places = [
        make(bench.place / "boxes" / tool.replace(" ", "-") / f"{number:04}") for number in range(bench.boxes)
    ]
    peaks = []
    began = time.perf_counter()
    checked = 0
    for place in places:
        if tool != "mlbox" and time.perf_counter() - began > bench.seconds:
            break
        try:
            peaks.append(run(words, bench.limit, place, bench.environ)[1])
        except CommandFailed as error:
            return Row("Many boxes", tool, what, absent=str(error))
        checked += 1
    took = time.perf_counter() - began
    return Row("Many boxes", tool, f"{what}, {checked} boxes", figure_of([took], peaks), count=checked)
