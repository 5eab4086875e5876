"""One run as a Job of Kubernetes, from its making to its removal."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

from mlcommons_box import process
from mlcommons_box.errors import (
    EX_TEMPORARY,
    EX_TIMED_OUT,
    BoxError,
    Interrupted,
    UnavailableError,
)
from mlcommons_box.interruption import signals_noted
from mlcommons_box.planning import RunPlan
from mlcommons_box.process import Stream, stream
from mlcommons_box.runners.container_run import Caller
from mlcommons_box.runners.failures import tail
from mlcommons_box.runners.identity import Identity
from mlcommons_box.runners.interface import Observer, Outcome
from mlcommons_box.runners.kubernetes_client import Client, fail
from mlcommons_box.runners.kubernetes_evidence import identity_of_pod
from mlcommons_box.runners.kubernetes_logs import Log
from mlcommons_box.runners.kubernetes_manifest import TASK, as_text, job_name, manifest, options_of, selector
from mlcommons_box.runners.kubernetes_scripts import END
from mlcommons_box.runners.kubernetes_state import State, state_of
from mlcommons_box.runners.kubernetes_transfer import TransferError, fetch, say, send
from mlcommons_box.runners.kubernetes_trouble import explain, raise_refusal, without_outputs
from mlcommons_box.runners.kubernetes_volumes import layout
from mlcommons_box.value import replace

CREATE = ("create", "--filename=-", "--output=jsonpath={.kind} {.metadata.namespace} {.metadata.uid}{'\\n'}")
SOONEST, LATEST = 0.5, 10.0
"""Seconds between two looks at a run: at first, and after a while."""
WHILE_RUNNING = 15.0
"""Seconds between two looks while the task's output is followed."""
LINGERING = 10.0
"""Seconds for the rest of the output of a task that has ended."""
SETTLING = 2.0
"""Seconds in which a cluster writes into a Job what has become of its pod."""
SILENCE = 600.0
"""Seconds without an answer of the cluster after which the outcome of a run is lost."""
SIGN_OF_LIFE = 300.0
_REFUSED_AFTER = 3.0
"""Seconds without a pod after which we ask why."""
_GONE = 60.0
"""Seconds in which everything of a run is gone after its removal."""


class _TimedOut(Exception):
    pass


class _LogLingers(Exception):
    pass


class JobRun:
    """A run of one plan."""

    def __init__(
        self, client: Client, plan: RunPlan, observer: Observer, environ: Mapping[str, str], caller: Caller
    ) -> None:
        self.client = client
        self.plan = plan
        self.observer = observer
        self.objects = manifest(plan, environ, caller)
        self.kinds = [item["kind"].lower() for item in self.objects]
        self.name = job_name(plan.id)
        self.image = options_of(plan).image
        self.native_id = self.name
        self.where = layout(plan)
        self.log = Log(lambda chunk: observer.output("stdout", chunk))
        self.deadline = float("inf")
        self.signals: list[int] = []
        self.answered = self.refused = self.alive = time.monotonic()
        self.identity: Identity | None = None
        self.said: str | None = None
        self.is_sent = False
        self.is_kept = False
        self.is_doubted = False

    def run(self) -> Outcome:
        """Run the task to its end; nothing of ours is left in the cluster, but what is needed to fetch outputs."""
        with signals_noted() as self.signals:
            try:
                self._create()
                outcome = self._to_its_end()
            except _TimedOut:
                reason = f"it ran longer than {self.plan.timeout or 0:g} s"
                outcome = self._rescued(Outcome(status="failed", exit_status=EX_TIMED_OUT, reason=reason))
            except Interrupted as error:
                cancelled = Outcome(status="cancelled", exit_status=error.exit_status, reason="interrupted")
                outcome = self._rescued(cancelled)
            except BaseException:
                if not self.is_kept:
                    self.remove(wait=False)
                raise
            finally:
                self._prepared()
            if not self.is_kept:
                self.remove(wait=outcome.status != "succeeded")
        return replace(outcome, identity=self.identity)

    def _create(self) -> None:
        if self.plan.timeout is not None:
            self.deadline = time.monotonic() + self.plan.timeout
        self._say("creating the job " + self.name)
        answer = self.client.ask(*CREATE, stdin=as_text(self.objects))
        if not answer.succeeded:
            fail("create the job", answer)
        made = [line.split() for line in answer.stdout.decode("utf-8", "replace").splitlines()]
        job = next((words for words in made if len(words) == 3 and words[0] == "Job"), None)
        if job is None:
            raise UnavailableError(f"kubectl does not say that it has created the job:\n{tail(answer.stdout)}")
        self.native_id = f"{job[1]}/{self.name}"
        self.observer.started(self.native_id)
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": self.name, "uid": job[2]}
        patch = json.dumps({"metadata": {"ownerReferences": [owner]}})
        for kind in self.kinds:  # so that the cluster removes them with the Job, should we not be there any more
            if kind != "job":
                self.client.ask("patch", kind, self.name, "--type=merge", f"--patch={patch}")

    def _to_its_end(self) -> Outcome:
        interval = SOONEST
        self.answered = self.refused = time.monotonic()
        while True:
            state = self._look()
            if state is None and time.monotonic() - self.answered > SILENCE:
                self.is_kept = True
                reason = f"the cluster has not answered for {SILENCE:g} s; the job {self.native_id} may still run"
                return Outcome(status="lost", exit_status=EX_TEMPORARY, reason=reason)
            phase = "waiting" if state is None else state.phase
            if state is not None and state.phase == "ended":
                if state.outcome is None or state.outcome.status != "lost" or self.is_doubted:
                    return self._ended(state)
                self.is_doubted = True  # the Job may know a moment later what its pod does not
                self._sleep(SETTLING)
                continue
            if state is not None and state.phase == "unusable":
                explain(self.client, state, self.name, self.image)
            if state is not None and state.pod and phase == "receiving" and self.where.sent and not self.is_sent:
                self._send(state.pod)
                interval = SOONEST
            elif state is not None and state.pod and phase == "running":
                self._prepared()
                self._identify(state)
                self._follow(state.pod)
                interval = SOONEST
            elif state is not None and state.reason:
                self._say("waiting: " + state.reason)
                if state.pod is None and time.monotonic() - self.refused > _REFUSED_AFTER:
                    self.refused = time.monotonic()
                    raise_refusal(self.client, self.name)
            self._sleep(interval)
            interval = min(interval * 1.5, LATEST)

    def _look(self) -> State | None:
        """Ask once; None when the cluster does not answer this time."""
        self._check()
        return self._found()

    def _found(self) -> State | None:
        found = self.client.data("job,pod", f"--selector={selector(self.plan)}")
        if found is None:
            return None
        self.answered = time.monotonic()
        return state_of(found, self.plan.timeout)

    def _follow(self, pod: str) -> None:
        """Pass the task's output on until it ends, or the connection does."""
        look_at = time.monotonic() + WHILE_RUNNING
        ended_at = float("inf")

        def output(kind: Stream, chunk: bytes) -> None:
            if kind == "stdout":  # kubectl's own words are of no use to anybody: we read the log again
                self.log.take(chunk)

        def on_wait() -> None:
            nonlocal look_at, ended_at
            now = time.monotonic()
            if now >= ended_at:
                raise _LogLingers
            if self.where.sent and now - self.alive > SIGN_OF_LIFE:
                self.alive = now
                say(self.client, pod, "alive")
            if now >= look_at:
                look_at = now + WHILE_RUNNING
                state = self._look()
                if (state is not None and state.phase == "ended") or now - self.answered > SILENCE:
                    ended_at = min(ended_at, now + LINGERING)

        command = self.client.command("logs", "--follow", pod, f"--container={TASK}", request_timeout=None)
        remaining = None if self.plan.timeout is None else max(0.0, self.deadline - time.monotonic())
        self.log.begin()
        try:
            completed = stream(command, on_output=output, on_wait=on_wait, timeout=remaining)
        except _LogLingers:
            completed = None
        self.log.end()
        if completed is not None and completed.interrupted_by is not None:
            raise Interrupted(completed.interrupted_by)
        self._check()

    def _rest_of_the_log(self, pod: str) -> None:
        """All of the task's output that has not been passed on."""
        answer = self.client.ask("logs", pod, f"--container={TASK}", request_timeout=None)
        self.log.begin()
        self.log.take(answer.stdout)
        self.log.end()

    def _ended(self, state: State) -> Outcome:
        outcome = state.outcome
        if outcome is None:
            raise ValueError("a run that has ended has an outcome")
        self._prepared()
        self._identify(state)
        if state.pod is not None:
            self.is_kept = (
                self._has_outputs() and state.is_open
            )  # if the log cannot be written, on a full disk here
            self._rest_of_the_log(state.pod)
            self.is_kept = False
        if not self._has_outputs() or outcome.status == "lost":
            return outcome
        if state.pod is None or not state.is_open:
            return without_outputs(outcome, "its pod has ended")
        self._say("fetching the outputs")
        try:
            left_out = fetch(self.client, state.pod, self.where, self.plan.workspace)
        except TransferError as error:
            said = tail(error.answer.stderr or error.answer.stdout, 3).strip()
            return self._kept(outcome, state.pod, said or "the connection breaks off")
        except Interrupted:
            raise
        except (BoxError, OSError) as error:  # such as a full disk here
            return self._kept(outcome, state.pod, getattr(error, "message", None) or str(error))
        say(self.client, state.pod, "fetched")
        if left_out and outcome.reason is None:
            reason = f"{len(left_out)} things in the outputs could not be fetched, such as {left_out[0]!r}"
            return replace(outcome, reason=reason)
        return outcome

    def _kept(self, outcome: Outcome, pod: str, reason: str) -> Outcome:
        """The pod has the only copy of the outputs, and stays for as long as it waits for us."""
        self.is_kept = True
        return without_outputs(outcome, f"{reason}; the pod {pod} keeps them for an hour")

    def _rescued(self, outcome: Outcome) -> Outcome:
        """Ask the task to end, and fetch what it has written until then; a second signal ends that, too."""
        if not self.is_sent or not self._has_outputs():
            return outcome
        try:
            found = self._found()
            until = time.monotonic() + process.GRACE
            if found is not None and found.phase == "running" and found.pod:
                words = ("exec", found.pod, f"--container={TASK}", "--", "sh", "-c", END)
                self.client.ask(*words, request_timeout=None, timeout=process.GRACE)
                while found is not None and found.phase == "running" and time.monotonic() < until:
                    time.sleep(SOONEST)
                    found = self._found()
            if found is None or found.pod is None or not found.is_open:
                return without_outputs(outcome, "its pod has ended")
            self._rest_of_the_log(found.pod)
            fetch(self.client, found.pod, self.where, self.plan.workspace)
        except TransferError:
            return without_outputs(outcome, "the connection breaks off, or the task still writes them")
        except BoxError as error:
            return without_outputs(outcome, error.message)
        return outcome

    def _identify(self, state: State) -> None:
        """Note which image and which node the task has, once both are known."""
        if self.identity is None and state.image_id and state.node:
            self.identity = identity_of_pod(
                state.image_id, state.node, self.client.data_if_shown("node", state.node)
            )

    def _has_outputs(self) -> bool:
        return any(place.parameter.direction == "output" for place in self.where.sent)

    def _send(self, pod: str) -> None:
        self._say("sending the inputs")
        try:
            send(self.client, pod, self.where, self.plan.workspace, self._check)
        except TransferError as error:
            state = self._look()
            if state is not None and state.phase == "unusable":
                explain(self.client, state, self.name, self.image)
            fail("send the inputs", error.answer)
        self.is_sent = True

    def remove(self, *, wait: bool) -> None:
        """Remove everything of the run, whatever it is doing."""
        self.client.remove(",".join(self.kinds), selector(self.plan), wait=_GONE if wait else 0.0)

    def _check(self) -> None:
        """Raise when somebody wants us to stop, or the time is over."""
        if self.signals:
            raise Interrupted(self.signals[0])
        if time.monotonic() >= self.deadline:
            raise _TimedOut

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._check()
            time.sleep(min(0.1, seconds))

    def _say(self, what: str) -> None:
        """A step before the task runs, or after; each is said once."""
        if what != self.said:
            self.said = what
            self.observer.preparing(what)

    def _prepared(self) -> None:
        if self.said is not None:
            self.said = None
            self.observer.prepared()
