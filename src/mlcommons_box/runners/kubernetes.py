"""The Kubernetes runner: every run is a Job, by the command line of ``kubectl``.

Nothing is built: the image comes from a registry that the cluster reaches.  Data lies in volume claims, or is sent
before the task and fetched after it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from mlcommons_box.command import Command
from mlcommons_box.errors import EX_UNAVAILABLE, Problem, UnavailableError
from mlcommons_box.model import KubernetesOptions, Platform
from mlcommons_box.planning import RunPlan, SetupPlan
from mlcommons_box.runners.container_run import Caller, unsupported
from mlcommons_box.runners.interface import Observer, Outcome
from mlcommons_box.runners.kubernetes_client import PROGRAM, Client, fail
from mlcommons_box.runners.kubernetes_identity import identity
from mlcommons_box.runners.kubernetes_manifest import as_text, manifest
from mlcommons_box.runners.kubernetes_run import CREATE, JobRun
from mlcommons_box.runners.kubernetes_volumes import volume_problems
from mlcommons_box.runners.programs import which

MAY_CREATE = ("auth", "can-i", "create", "jobs.batch")


class KubernetesRunner:
    """Runs tasks as Jobs of a Kubernetes cluster."""

    def __init__(
        self,
        platform: Platform,
        environ: Mapping[str, str] = os.environ,
        caller: Caller | None = None,
    ) -> None:
        if not isinstance(platform.options, KubernetesOptions):
            raise TypeError("the Kubernetes runner takes a Kubernetes platform")
        self.platform = platform
        self.options = platform.options
        self.environ = environ
        self.caller = caller or Caller.of_this_process()
        self.client = Client(platform.options)

    def is_available(self, plan: SetupPlan) -> bool:
        if which(PROGRAM, self.environ) is None:
            return False
        home = os.path.join(self.environ.get("HOME", "/"), ".kube", "config")
        return bool(self.environ.get("KUBECONFIG")) or os.path.isfile(home)

    def check(self, plan: SetupPlan) -> list[Problem]:
        problems = volume_problems(plan) if isinstance(plan, RunPlan) else []
        if self.platform.resources.gpus == "all":
            hint = "write how many; a cluster gives out GPUs by number"
            problems += unsupported(self.platform, "Kubernetes", ("resources.gpus",), hint)
        if identity(self.platform.user, self.caller) is None:
            hint = "write a number, or numbers of user and group ('1000:1000'); only 'root' has a name here"
            problems += unsupported(self.platform, "Kubernetes", ("user",), hint)
        if self.platform.arguments:
            problems += unsupported(self.platform, "Kubernetes", ("arguments",), "remove it")
        if which(PROGRAM, self.environ) is None:
            problems.append(
                Problem(
                    code="no-engine",
                    message=f"there is no program {PROGRAM!r} on this machine",
                    hint="install it (kubernetes.io/docs/tasks/tools), or use another platform",
                    exit_status=EX_UNAVAILABLE,
                )
            )
        return problems

    def notes(self, plan: SetupPlan) -> list[str]:
        notes = []
        if isinstance(plan, RunPlan) and plan.network == "none":
            notes.append(
                "'network: none' is a network policy, which holds where the cluster's network enforces them"
            )
        if plan.ca_bundle is not None:
            notes.append(
                "the certificates of this machine's network are not handed to the cluster, nor are proxies"
            )
        return notes

    def commands(self, plan: SetupPlan) -> list[Command]:
        if not isinstance(plan, RunPlan):
            return [self.client.command(*MAY_CREATE)]
        shown = manifest(plan, self.environ, self.caller, shown=True)
        return [self.client.command(*CREATE, stdin=as_text(shown))]

    def prepare(self, plan: SetupPlan, observer: Observer) -> None:
        observer.preparing("asking the cluster whether you may create jobs")
        answer = self.client.ask(*MAY_CREATE)
        if not answer.succeeded and answer.stdout.strip().startswith(b"no"):
            raise UnavailableError(
                "the cluster does not let you create jobs" + _in(self.options.namespace),
                hint="look at 'namespace' and 'context' in the platform file, or ask for the right",
            )
        if not answer.succeeded:
            fail("ask the cluster", answer)
        observer.prepared()

    def built(self, plan: SetupPlan) -> list[Path]:
        return []

    def run(self, plan: RunPlan, observer: Observer) -> Outcome:
        return JobRun(self.client, plan, observer, self.environ, self.caller).run()


def _in(namespace: str | None) -> str:
    return f" in the namespace {namespace!r}" if namespace else ""
