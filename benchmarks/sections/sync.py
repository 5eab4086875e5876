"""What it costs to bring a box to another host when nothing has changed, next to rsync on its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests import engines

from benchmarks.bench import Bench, write_files
from benchmarks.timing import Case, Row
from mlcommons_box.definition.loader import load_box, load_run_configuration
from mlcommons_box.host import SSH_CONFIG_VARIABLE, Login, SshHost
from mlcommons_box.model import Platform, SshOptions
from mlcommons_box.planning import RunPlan, plan_run
from mlcommons_box.runners.there import find
from mlcommons_box.runners.transfer import send

TITLE = "Bringing a box to a host"
MEANING = """\
A box with a workspace of 1 GiB in 1000 files, all of which the host has already: what a run over SSH needs
before it starts. The yardstick is `rsync` of the same directory, which compares sizes and times as we do, in a
connection of its own."""
FILES = {
    "mlbox.yaml": "schema_version: 1.0.0\nschema_type: mlbox_root\nname: big\nauthor: a\nversion: 1.0.0\n"
    "mlbox_spec_version: 1.0.0\ntasks: [tasks/go.yaml]\n",
    "tasks/go.yaml": "schema_version: 1.0.0\nschema_type: mlbox_task\n"
    "inputs: [{name: data, type: directory}]\noutputs: [{name: out, type: directory}]\n",
    "run/go.yaml": "schema_version: 1.0.0\nschema_type: mlbox_invoke\ntask_name: go\n"
    "input_binding: {data: data}\noutput_binding: {out: out}\n",
}
PIECES, PIECE = 1000, 1 << 20
"""Files of the workspace, and bytes of each."""
OURS, BARE = "mlbox-benchmark-ours", "mlbox-benchmark"
"""Directories on the host, below the home directory."""


def measure(bench: Bench) -> list[Row]:
    """One row, where there is a second host."""
    reason = engines.absent("ssh") or engines.absent("rsync")
    if reason:
        bench.absent["ssh"] = reason
        return []
    root = write_files(bench.place / "big", FILES)
    piece = os.urandom(PIECE)
    (root / "workspace/data").mkdir(parents=True)
    for number in range(PIECES):
        (root / f"workspace/data/{number:04d}").write_bytes(piece)
    environ = {**bench.environ, SSH_CONFIG_VARIABLE: str(engines.ssh_config())}
    words = ["--archive", "--rsh", f"ssh -F {engines.ssh_config()}", f"{root}/", f"{engines.SSH_HOST}:{BARE}/"]
    bare = Case("bare", "rsync of the same directory", ["rsync", *words], environ=environ)
    plan = plan_of(root)
    ours = Case(
        "mlbox",
        "the box's code and inputs",
        [sys.executable, "-m", "benchmarks.sections.sync", str(root)],
        directory=Path(__file__).parents[2],
        call=lambda: bring(plan, environ),
        environ=environ,
        bare=bare,
    )
    try:
        return bench.measure("1 GiB that has not changed", [ours], rounds=min(bench.rounds, 11))
    finally:
        login = ["ssh", "-F", str(engines.ssh_config()), engines.SSH_HOST]
        subprocess.run([*login, f"rm -rf {OURS} {BARE}"], check=True)


def plan_of(root: Path) -> RunPlan:
    """The run that the box is brought for."""
    box = load_box(root)
    platform = Platform(name="lab", runner="ssh", options=SshOptions(host=engines.SSH_HOST, platform="local"))
    return plan_run(box, load_run_configuration(root / "run/go.yaml", box), platform)


def bring(plan: RunPlan, environ: dict[str, str]) -> None:
    """Connect, look, send what differs, and hang up."""
    host = SshHost(Login(host=engines.SSH_HOST), environ)
    try:
        send(host, plan, find(host, plan, OURS, None), lambda name, chunk: None)
    finally:
        host.close()


if __name__ == "__main__":
    bring(plan_of(Path(sys.argv[1])), dict(os.environ))
