"""What it costs to bring a box to another host when nothing has changed, next to rsync on its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests import engines

from benchmarks.timing import Measurement, measure_calls
from mlcommons_box.definition.loader import load_box, load_run_configuration
from mlcommons_box.host import SSH_CONFIG_VARIABLE, Login, SshHost
from mlcommons_box.model import Platform, SshOptions
from mlcommons_box.planning import plan_run
from mlcommons_box.runners.transfer import find, send

BIN = Path(sys.executable).parent
FILES = {
    "mlbox.yaml": "schema_version: 1.0.0\nschema_type: mlbox_root\nname: big\nauthor: a\nversion: 1.0.0\n"
    "mlbox_spec_version: 1.0.0\ntasks: [tasks/go.yaml]\n",
    "tasks/go.yaml": "schema_version: 1.0.0\nschema_type: mlbox_task\n"
    "inputs: [{name: data, type: directory}]\noutputs: [{name: out, type: directory}]\n",
    "run/go.yaml": "schema_version: 1.0.0\nschema_type: mlbox_invoke\ntask_name: go\n"
    "input_binding: {data: data}\noutput_binding: {out: out}\n",
}
PIECES, PIECE = 1000, 1 << 20
"""A workspace of 1 GiB: files, and bytes of each."""


def host_measurements(directory: Path, rounds: int) -> tuple[list[Measurement], dict[str, str]]:
    """The measurement on the second host, and why there is none."""
    reason = engines.absent("ssh")
    if reason:
        return [], {"ssh": reason}
    root = directory / "big"
    for name, content in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    piece = os.urandom(PIECE)
    (root / "workspace/data").mkdir(parents=True)
    for number in range(PIECES):
        (root / f"workspace/data/{number:04d}").write_bytes(piece)
    box = load_box(root)
    platform = Platform(name="lab", runner="ssh", options=SshOptions(host=engines.SSH_HOST, platform="local"))
    plan = plan_run(box, load_run_configuration(root / "run/go.yaml", box), platform)
    environ = {**os.environ, SSH_CONFIG_VARIABLE: str(engines.ssh_config())}
    remote_shell = f"ssh -F {engines.ssh_config()}"
    bare = ["rsync", "--archive", "--rsh", remote_shell, f"{root}/", f"{engines.SSH_HOST}:mlbox-benchmark/"]

    def bring() -> None:
        host = SshHost(Login(host=engines.SSH_HOST), environ)
        try:
            send(host, plan, find(host, plan, "mlbox-benchmark-ours", None), lambda name, chunk: None)
        finally:
            host.close()

    try:
        result = measure_calls(
            "bring an unchanged box of 1 GiB to a host",
            bring,
            ("rsync of the same directory", lambda: subprocess.run(bare, check=True)),
            min(rounds, 11),
        )
    finally:
        forget = ["ssh", "-F", str(engines.ssh_config()), engines.SSH_HOST]
        subprocess.run([*forget, "rm -rf mlbox-benchmark mlbox-benchmark-ours"], check=True)
    return [result], {}
