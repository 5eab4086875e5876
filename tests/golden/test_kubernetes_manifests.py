"""Whole manifests of the Kubernetes runner, as --dry-run prints them: one file in ``kubernetes/`` for each.

Every one of them agrees with the official schemas of several versions of Kubernetes, in which no unknown field is
allowed.  ``python -m tests.golden.test_kubernetes_manifests`` writes the files anew.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest

from mlcommons_box.definition.loader import load_platform
from mlcommons_box.errors import EX_CONFIGURATION
from mlcommons_box.model import KubernetesOptions, Platform, Resources
from mlcommons_box.planning import RunPlan
from mlcommons_box.runners.container_run import Caller
from mlcommons_box.runners.kubernetes import KubernetesRunner
from mlcommons_box.runners.kubernetes_manifest import Data, job_name, manifest
from mlcommons_box.runners.kubernetes_volumes import layout
from mlcommons_box.value import replace
from tests.conftest import ECHO_BOX, MakeBox, write_files
from tests.golden.container_plans import CALLER, RUN_ID, run_plan, setup_plan

FILES = Path(__file__).parent / "kubernetes"
VERSIONS = ("1.28", "1.32", "1.37")
ADA = Caller(uid=1000, gid=100, groups=(27,))
ROOT = Caller(uid=0, gid=0)
CLAIMED = """\
schema_version: 1.0.0
schema_type: mlbox_invoke
task_name: copy
input_binding: {source: {path: workspace/in.txt, k8s: {pvc: data}}}
output_binding:
  target: {path: workspace/out/copy.txt, k8s: {pvc: results}}
  logs: {path: workspace/logs, k8s: {pvc: results}}
"""
PLAIN = "schema_type: mlbox_kubernetes\nschema_version: 1.1.0\nimage: registry.example.org/echo:1\n"
EVERY = """\
schema_version: 1.1.0
schema_type: mlbox_kubernetes
image: registry.example.org/echo:1
namespace: team-a
context: admin@cluster
service_account: runner
workspace_claim: mlbox.workspace
node_selector: {kubernetes.io/arch: amd64, gpu: true, generation: 4}
tolerations:
  - {key: nvidia.com/gpu, operator: Equal, value: 1, effect: NoSchedule}
  - operator: Exists
pull_secrets: [registry-key]
environment: {TOKEN: , API_KEY: swordfish, MESSAGE: "$(HOME) costs $$5", OMP_NUM_THREADS: 2}
resources: {cpus: 0.5, memory: 16GiB, gpus: 1, time: 1d}
network: none
user: "1234:5678"
"""
CASES: Mapping[str, tuple[str, Mapping[str, str], Caller]] = {
    "sent": (PLAIN, {}, ADA),
    "sent_with_limits": (PLAIN + "resources: {cpus: 2, memory: 1GiB, time: 10m}\n", {}, ADA),
    "claims_of_bindings": (PLAIN, {"run/copy.yaml": CLAIMED}, ADA),
    "claim_of_the_workspace": (PLAIN + "workspace_claim: ws\n", {}, ADA),
    "claims_and_sent": (
        PLAIN,
        {"run/copy.yaml": CLAIMED.replace("{path: workspace/logs, k8s: {pvc: results}}", "logs")},
        ADA,
    ),
    "every_key": (EVERY, {}, ADA),
    "caller_is_root": (PLAIN + "workspace_claim: ws\n", {}, ROOT),
    "user_is_root": (PLAIN + "workspace_claim: ws\nuser: root\n", {}, ADA),
    "odd_names": (
        PLAIN + "workspace_claim: ws\n",
        {"mlbox.yaml": ECHO_BOX["mlbox.yaml"].replace("name: echo", "name: an echo (of $HOME)")},
        ADA,
    ),
}
ENVIRON = {**CALLER, "TOKEN": "of the caller"}


def plan_and_runner(root: Path, case: str) -> tuple[RunPlan, KubernetesRunner]:
    platform_file, files, caller = CASES[case]
    write_files(root, {**ECHO_BOX, **files, "platforms/k8s.yaml": platform_file})
    platform = load_platform(root / "platforms/k8s.yaml")
    return run_plan(root, platform), KubernetesRunner(platform, ENVIRON, caller)


def printed(root: Path, case: str) -> str:
    """What --dry-run shows, without the here-document around it."""
    plan, runner = plan_and_runner(root, case)
    (command,) = runner.commands(plan)
    assert command.input is not None
    return command.input.decode()


def documents(text: str) -> list[Data]:
    found, decoder = [], json.JSONDecoder()
    while text := text.lstrip():
        item, end = decoder.raw_decode(text)
        found.append(item)
        text = text[end:]
    return found


@pytest.mark.parametrize("case", CASES)
def test_a_manifest(tmp_path: Path, case: str) -> None:
    assert printed(tmp_path, case) == (FILES / f"{case}.json").read_text()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", CASES)
def test_a_manifest_agrees_with_the_official_schema(case: str, version: str) -> None:
    for item in documents((FILES / f"{case}.json").read_text()):
        kubernetes_validate.validate(item, version, strict=True)


def test_a_manifest_that_is_wrong_does_not_agree() -> None:
    *_, job = documents((FILES / "sent.json").read_text())
    job["spec"]["template"]["spec"]["noSuchField"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, VERSIONS[0], strict=True)


def test_every_case_has_its_file_and_no_file_is_left_over() -> None:
    assert {path.stem for path in FILES.iterdir()} == set(CASES)


def test_the_command_line(tmp_path: Path) -> None:
    plan, runner = plan_and_runner(tmp_path, "every_key")
    (command,) = runner.commands(plan)
    assert command.shell().splitlines()[0] == (
        "kubectl --context=admin@cluster --namespace=team-a --request-timeout=30s create --filename=- "
        "'--output=jsonpath={.kind} {.metadata.namespace} {.metadata.uid}{'\"'\"'\\n'\"'\"'}' <<'MLBOX'"
    )
    assert command.shell().splitlines()[-1] == "MLBOX"


def test_what_configure_would_do(make_box: MakeBox) -> None:
    platform = Platform(name="k", runner="kubernetes", options=KubernetesOptions(image="a"))
    (command,) = KubernetesRunner(platform).commands(setup_plan(make_box(), platform))
    assert command.shell() == "kubectl --request-timeout=30s auth can-i create jobs.batch"


def test_secrets_are_in_the_secret_and_are_not_shown(tmp_path: Path) -> None:
    plan, runner = plan_and_runner(tmp_path, "every_key")
    secret, policy, job = manifest(plan, ENVIRON, ADA)
    assert secret["stringData"] == {"variable-0": "of the caller", "variable-1": "swordfish"}
    (command,) = runner.commands(plan)
    for text in (str(job), str(policy), command.shell()):
        assert "swordfish" not in text
        assert "of the caller" not in text


@pytest.mark.parametrize(
    ("run_id", "beginning"),
    [
        (RUN_ID, "mlbox-20200102t030405-0a1b2c3d"),
        ("Nightly_Build #7", "mlbox-nightly-build-7-"),
        ("é", "mlbox-"),
        ("x" * 100, f"mlbox-{'x' * 40}-"),
    ],
)
def test_names_are_those_of_domains(run_id: str, beginning: str) -> None:
    found = job_name(run_id)
    assert found.startswith(beginning)
    assert len(found) <= 63
    assert found.strip("-") == found
    assert set(found) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert job_name(run_id + "!") != found


def test_a_run_id_that_is_no_label_is_an_annotation(tmp_path: Path) -> None:
    plan, runner = plan_and_runner(tmp_path, "sent")
    plan = replace(plan, id="Nightly Build #7")
    (job,) = manifest(plan, ENVIRON, runner.caller)
    assert job["metadata"]["annotations"] == {"org.mlcommons.box/run": "Nightly Build #7"}
    assert job["metadata"]["labels"]["org.mlcommons.box/run"] == job_name("Nightly Build #7")


def test_nothing_of_this_machine_is_in_a_manifest(tmp_path: Path) -> None:
    plan, _ = plan_and_runner(tmp_path, "sent")
    assert str(tmp_path) not in str(manifest(plan, ENVIRON, ADA))
    assert len(layout(plan).sent) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"resources": Resources(gpus="all")}, "Kubernetes cannot give what 'resources.gpus' asks for"),
        ({"user": "ada"}, "Kubernetes cannot give what 'user' asks for"),
        ({"arguments": ("--x",)}, "Kubernetes cannot give what 'arguments' asks for"),
    ],
)
def test_what_cannot_be_had(make_box: MakeBox, settings: dict[str, Any], message: str) -> None:
    platform = Platform(name="k", runner="kubernetes", options=KubernetesOptions(image="a"), **settings)
    problems = KubernetesRunner(platform, CALLER, ADA).check(run_plan(make_box(), platform))
    assert message in [problem.message for problem in problems]
    assert EX_CONFIGURATION in [problem.exit_status for problem in problems]
    assert "there is no program 'kubectl' on this machine" in [problem.message for problem in problems]


def test_notes(make_box: MakeBox) -> None:
    platform = Platform(name="k", runner="kubernetes", options=KubernetesOptions(image="a"), network="none")
    runner = KubernetesRunner(platform, CALLER, ADA)
    root = make_box()
    (note,) = runner.notes(run_plan(root, platform))
    assert "network policy" in note
    (note,) = runner.notes(setup_plan(root, platform, ca_bundle=Path("/x")))
    assert "certificates" in note


def write() -> None:
    """Write every file anew."""
    FILES.mkdir(exist_ok=True)
    for case in CASES:
        with tempfile.TemporaryDirectory() as directory:
            (FILES / f"{case}.json").write_text(printed(Path(directory), case))


if __name__ == "__main__":
    write()
