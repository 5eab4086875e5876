"""As much of a Kubernetes cluster as ``kubectl`` needs for one Job at a time, on the loopback interface.

It speaks HTTP with the real ``kubectl``: discovery, create, get, patch, delete, logs, and ``exec`` by WebSocket.
It either runs the containers of a Job's pod as plain processes of this machine (:class:`Cluster`; a mounted path is
replaced in their arguments), or replays the states that a test gives it (``replay``).  It isolates nothing,
schedules nothing and checks no manifest; what a real API server and a real kubelet do is not tried by it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from mlcommons_box.runners.kubernetes_scripts import END

Data = dict[str, Any]
MARK = "KUBERNETES_EMULATOR_POD"
KINDS = {
    "pods": ("", "Pod"),
    "secrets": ("", "Secret"),
    "events": ("", "Event"),
    "nodes": ("", "Node"),
    "jobs": ("batch", "Job"),
    "networkpolicies": ("networking.k8s.io", "NetworkPolicy"),
    "selfsubjectaccessreviews": ("authorization.k8s.io", "SelfSubjectAccessReview"),
}
"""Resource -> its group and its kind; every version is v1."""
NODE_NAME = "node-1"
NODE: Data = {
    "kind": "Node",
    "apiVersion": "v1",
    "metadata": {"name": NODE_NAME, "labels": {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB"}},
    "status": {
        "capacity": {"cpu": "64", "memory": "131072Mi", "nvidia.com/gpu": "2"},
        "nodeInfo": {
            "architecture": "amd64",
            "containerRuntimeVersion": "containerd://1.7.27",
            "kernelVersion": "6.1.0-18-amd64",
            "kubeletVersion": "v1.32.3",
            "operatingSystem": "linux",
        },
    },
}
"""The node of every pod, as a kubelet describes it."""


def now() -> str:
    """The time as the cluster writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason = code, reason


class Cluster:
    """The objects, and the pods that run.

    ``program`` is what the image starts.  ``replay`` makes, in place of running a pod, its status out of the number
    of times that somebody has looked.  ``refuse`` is asked before everything.
    """

    def __init__(self, state: Path, program: tuple[str, ...] = (sys.executable,)) -> None:
        self.state = state
        self.program = program
        self.objects: dict[tuple[str, str, str], Data] = {}
        self.requests: list[str] = []
        self.created: list[Data] = []
        self.events: list[Data] = []
        self.pods: dict[str, Pod] = {}
        self.replay: Callable[[int], Data | None] | None = None
        self.refuse: Callable[[str, str], None] = lambda method, path: None
        self.cut_log_after: int | None = None
        self.cut_output_after: int | None = None
        self.lose_pieces = 0
        self.is_allowed = True
        self.shows_nodes = True
        self.path = os.environ["PATH"]
        self.grace: float = 10
        self.looks = 0
        self.lock = threading.RLock()

    def create(self, resource: str, namespace: str, item: Data) -> Data:
        name = item["metadata"]["name"]
        key = (resource, namespace, name)
        if key in self.objects:
            raise Refused(409, "AlreadyExists", f'{resource} "{name}" already exists')
        uid = hashlib.md5(name.encode() + resource.encode()).hexdigest()
        item["metadata"] |= {"namespace": namespace, "uid": uid, "creationTimestamp": now(), "resourceVersion": "1"}
        self.created.append(json.loads(json.dumps(item)))
        self.objects[key] = item
        if resource == "jobs":
            item["status"] = {"startTime": now()}
            self._make_pod(namespace, item)
        return item

    def _make_pod(self, namespace: str, job: Data) -> None:
        template = job["spec"]["template"]
        name = job["metadata"]["name"] + "-abcde"
        pod = {"kind": "Pod", "apiVersion": "v1", "spec": template["spec"], "status": {"phase": "Pending"}}
        pod["metadata"] = {**template["metadata"], "name": name, "namespace": namespace, "creationTimestamp": now()}
        if self.replay is None:
            self.objects["pods", namespace, name] = pod
            self.pods[name] = Pod(self, job, pod)
        elif self.replay(0) is not None:
            self.objects["pods", namespace, name] = pod

    def find(self, resource: str, namespace: str) -> list[Data]:
        if resource == "events":
            return self.events
        if resource == "pods" and self.replay is not None:
            self._replayed(namespace)
        return [item for key, item in self.objects.items() if key[:2] == (resource, namespace)]

    def _replayed(self, namespace: str) -> None:
        assert self.replay is not None
        status = self.replay(self.looks)
        self.looks += 1
        for key, item in list(self.objects.items()):
            if key[0] == "jobs" and status is not None and "job" in status:
                item["status"] = status["job"]
            if key[0] == "pods" and status is None:
                del self.objects[key]
            elif key[0] == "pods" and status is not None:
                item["status"] = status
                item["metadata"] |= status.get("metadata", {})

    def delete(self, resource: str, namespace: str, name: str) -> Data:
        item = self.objects.get((resource, namespace, name))
        if item is None:
            raise Refused(404, "NotFound", f'{resource} "{name}" not found')
        if resource == "jobs":
            item["metadata"] |= {"deletionTimestamp": now()}
            threading.Thread(target=self._remove_job, args=(namespace, name), daemon=True).start()
        else:
            del self.objects[resource, namespace, name]
        return item

    def _remove_job(self, namespace: str, name: str) -> None:
        pod = self.pods.get(name + "-abcde")
        if pod is not None:
            pod.data["metadata"] |= {"deletionTimestamp": now()}
            pod.stop(self.grace)
        self.objects.pop(("pods", namespace, name + "-abcde"), None)
        self.objects.pop(("jobs", namespace, name), None)

    def remaining(self) -> list[str]:
        """What is still there."""
        return [f"{resource}/{name}" for resource, _, name in self.objects]

    def stop(self) -> None:
        """End all that runs."""
        for pod in list(self.pods.values()):
            pod.stop(0)


class Pod:
    """One pod as processes: its first containers one after another, then the others side by side."""

    def __init__(self, cluster: Cluster, job: Data, data: Data) -> None:
        self.cluster, self.job, self.data = cluster, job, data
        self.name: str = data["metadata"]["name"]
        self.directory: Path = cluster.state / self.name
        self.directory.mkdir(parents=True)
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.is_stopped = False
        threading.Thread(target=self._live, daemon=True).start()

    def log(self, container: str) -> Path:
        return self.directory / f"{container}.log"

    def places(self, container: Data) -> dict[str, str]:
        """Where in this machine the mounted paths are."""
        found = {}
        for mount in container.get("volumeMounts", ()):
            volume = next(each for each in self.data["spec"]["volumes"] if each["name"] == mount["name"])
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            root = self.cluster.state / "claims" / claim if claim else self.directory / "volume"
            place = root / mount.get("subPath", "")
            if not place.exists():
                place.mkdir(parents=True)  # as a kubelet does
            found[mount["mountPath"]] = str(place)
        return found

    def command(self, container: Data) -> list[str]:
        words = [*container["command"]] if "command" in container else [*self.cluster.program]
        words = [word.replace("$$", "$") for word in (*words, *container.get("args", ()))]
        return self.translated(container, words)

    def translated(self, container: Data, words: list[str]) -> list[str]:
        places = self.places(container)
        for path in sorted(places, key=len, reverse=True):
            words = [word.replace(path, places[path]) for word in words]
        return words

    def environment(self, container: Data) -> dict[str, str]:
        found = {"PATH": self.cluster.path, MARK: self.name}
        for each in container.get("env", ()):
            if "value" in each:
                found[each["name"]] = each["value"].replace("$$", "$")
            else:
                reference = each["valueFrom"]["secretKeyRef"]
                namespace = self.data["metadata"]["namespace"]
                secret = self.cluster.objects["secrets", namespace, reference["name"]]
                found[each["name"]] = secret["stringData"][reference["key"]]
        return found | {"HOME": str(self.directory)} if "HOME" in found else found

    def start(self, container: Data) -> subprocess.Popen[bytes]:
        with self.log(container["name"]).open("ab") as log:
            child = subprocess.Popen(
                self.command(container),
                env=self.environment(container),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.running[container["name"]] = child
        if self.is_stopped:  # while it was being started
            child.kill()
        return child

    def status(self, container: Data) -> Data:
        child = self.running.get(container["name"])
        if child is None:
            return {"name": container["name"], "state": {"waiting": {"reason": "PodInitializing"}}}
        known = {"name": container["name"], "imageID": f"registry.example/{container['name']}@sha256:{'ab' * 32}"}
        code = child.poll()
        if code is None:
            return {**known, "state": {"running": {"startedAt": now()}}}
        code = code if code >= 0 else 128 - code
        ended: Data = {"exitCode": code, "reason": "Error" if code else "Completed", "finishedAt": now()}
        if code and container.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            ended["message"] = self.log(container["name"]).read_text("utf-8", "replace")[-2048:]
        return {**known, "state": {"terminated": ended}}

    def _live(self) -> None:
        spec = self.data["spec"]
        time.sleep(0.1)
        spec["nodeName"] = NODE_NAME
        code = 0
        for container in spec.get("initContainers", ()):
            if not self.is_stopped:
                code = code or self._wait([self.start(container)])
        if code == 0 and not self.is_stopped:
            children = [self.start(container) for container in spec["containers"]]
            self._wait(children[:1])
            kill(MARK, self.name, keep=[each.pid for each in children[1:]])  # as the end of a container does
            self._wait(children)
            code = children[0].returncode
        self._report("Succeeded" if code == 0 else "Failed")
        kind = "Complete" if code == 0 else "Failed"
        self.job["status"].setdefault("conditions", []).append({"type": kind, "status": "True"})

    def _wait(self, children: list[subprocess.Popen[bytes]]) -> int:
        limit = self.job["spec"].get("activeDeadlineSeconds", 1e9)
        end = time.monotonic() + limit
        while any(child.poll() is None for child in children):
            self._report("Running")
            if time.monotonic() > end:
                condition = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}
                self.job["status"]["conditions"] = [condition]
                self.stop(1)
            time.sleep(0.05)
        self._report("Running")
        return next((child.returncode for child in children if child.returncode), 0)

    def _report(self, phase: str) -> None:
        spec = self.data["spec"]
        status: Data = {"phase": phase, "conditions": [{"type": "PodScheduled", "status": "True"}]}
        status["initContainerStatuses"] = [self.status(each) for each in spec.get("initContainers", ())]
        status["containerStatuses"] = [self.status(each) for each in spec["containers"]]
        self.data["status"] = status

    def stop(self, grace: float) -> None:
        self.is_stopped = True
        for child in self.running.values():
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
        end = time.monotonic() + grace
        while time.monotonic() < end and any(child.poll() is None for child in self.running.values()):
            time.sleep(0.05)
        kill(MARK, self.name, keep=[])
        for child in self.running.values():
            child.wait()


def kill(name: str, value: str, keep: list[int]) -> None:
    """End the processes with a mark in their environment, but for some and what those have started."""
    mark = f"{name}={value}".encode()
    kept = {os.getsid(pid) for pid in keep if Path(f"/proc/{pid}").exists()}
    for _ in range(3):
        for entry in Path("/proc").iterdir():
            try:
                is_marked = entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0")
                if is_marked and os.getsid(int(entry.name)) not in kept:
                    os.kill(int(entry.name), signal.SIGKILL)
            except OSError:
                continue
        time.sleep(0.01)


class Handler(BaseHTTPRequestHandler):
    """One connection of ``kubectl``."""

    cluster: Cluster
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query, keep_blank_values=True)
        size = int(self.headers.get("Content-Length") or 0)
        sent = self.rfile.read(size)
        body = json.loads(sent) if sent.startswith(b"{") else {}  # kubectl asks about rights in another form
        self.cluster.requests.append(f"{self.command} {self.path}")
        try:
            self.cluster.refuse(self.command, parts.path)
            if parts.path.endswith("/exec"):
                self._exec(parts.path, query)
            elif parts.path.endswith("/log"):
                self._log(parts.path, query)
            else:
                with self.cluster.lock:
                    found = self._data(parts.path, query, body)
                self._send(201 if self.command == "POST" else 200, found)
        except Refused as refused:
            status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
            self._send(
                refused.code,
                {**status, "message": str(refused), "reason": refused.reason, "code": refused.code},
            )
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _send(self, code: int, content: Data) -> None:
        text = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _data(self, path: str, query: dict[str, list[str]], body: Data) -> Data:
        words = path.strip("/").split("/")
        if words[0] == "openapi" or words[0] == "version" or len(words) <= 1:
            return discovery(words)
        group, rest = ("", words[2:]) if words[0] == "api" else (words[1], words[3:])
        if not rest:
            return discovery(words)
        if rest == ["selfsubjectaccessreviews"]:
            what = {"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1"}
            return {**what, "spec": {}, "status": {"allowed": self.cluster.is_allowed}}
        if rest[0] == "nodes":
            if not self.cluster.shows_nodes:
                raise Refused(403, "Forbidden", 'nodes is forbidden: User "me" cannot get resource "nodes"')
            return NODE
        if rest[0] != "namespaces" or len(rest) < 3:
            raise Refused(404, "NotFound", f"the server could not find the requested resource {group} {path}")
        namespace, resource, *name = rest[1:]
        if namespace == "absent":
            raise Refused(404, "NotFound", 'namespaces "absent" not found')
        if self.command == "POST":
            return self.cluster.create(resource, namespace, body)
        if not name:
            return self._list(resource, namespace, query)
        if self.command == "DELETE":
            return self.cluster.delete(resource, namespace, name[0])
        item = self.cluster.objects.get((resource, namespace, name[0]))
        if item is None:
            raise Refused(404, "NotFound", f'{resource} "{name[0]}" not found')
        if self.command == "PATCH":
            item["metadata"] |= body["metadata"]
        return item

    def _list(self, resource: str, namespace: str, query: dict[str, list[str]]) -> Data:
        items = self.cluster.find(resource, namespace)
        for text in query.get("labelSelector", ()):
            key, _, value = text.partition("=")
            items = [item for item in items if item["metadata"].get("labels", {}).get(key) == value]
        for text in query.get("fieldSelector", ()):
            value = text.partition("=")[2]
            items = [item for item in items if item["involvedObject"]["name"] == value]
        group, kind = KINDS[resource]
        version = f"{group}/v1".lstrip("/")
        items = [{**item, "kind": kind, "apiVersion": version} for item in items]
        metadata = {"resourceVersion": "1"}
        return {"kind": f"{kind}List", "apiVersion": version, "metadata": metadata, "items": items}

    def _pod(self, path: str, query: dict[str, list[str]]) -> tuple[Pod, Data]:
        words = path.split("/")
        pod = self.cluster.pods.get(words[words.index("pods") + 1])
        if pod is None:
            raise Refused(404, "NotFound", "pods not found")
        spec = pod.data["spec"]
        containers = [*spec.get("initContainers", ()), *spec["containers"]]
        return pod, next(each for each in containers if each["name"] == query["container"][0])

    def _log(self, path: str, query: dict[str, list[str]]) -> None:
        pod, container = self._pod(path, query)
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for chunk in self._tail(pod, container["name"], follow="follow" in query):
            self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def _tail(self, pod: Pod, name: str, *, follow: bool) -> Iterator[bytes]:
        cut, sent = self.cluster.cut_log_after, 0
        while not pod.log(name).exists() and not pod.is_stopped:
            time.sleep(0.01)
        with pod.log(name).open("rb") as log:
            while True:
                over = not follow or pod.is_stopped or pod.running[name].poll() is not None
                chunk = log.read(1 << 16)
                if chunk:
                    sent += len(chunk)
                    yield chunk
                    if follow and cut is not None and sent >= cut:
                        self.cluster.cut_log_after = None
                        return
                elif over:
                    return
                else:
                    time.sleep(0.02)

    def _exec(self, path: str, query: dict[str, list[str]]) -> None:
        pod, container = self._pod(path, query)
        self.close_connection = True
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.send_header("Sec-WebSocket-Protocol", "v5.channel.k8s.io")
        self.end_headers()
        self.wfile.flush()
        words = pod.translated(container, query["command"])
        if END in words:  # the first process of this machine is not that of a container
            words[words.index(END)] = f"kill -TERM {pod.running[container['name']].pid}"
        assert not any("kill -TERM 1" in word.split(";") for word in words)
        Exec(self.cluster, self.connection, "stdin" in query).run(words, pod)


class Exec:
    """A program in a container, its streams by WebSocket: the protocol ``v5.channel.k8s.io``."""

    def __init__(self, cluster: Cluster, connection: socket.socket, has_input: bool) -> None:
        self.cluster, self.connection, self.has_input = cluster, connection, has_input
        self.lock = threading.Lock()

    def run(self, words: list[str], pod: Pod) -> None:
        child = subprocess.Popen(
            words,
            env={"PATH": os.environ["PATH"], MARK: pod.name},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert child.stdin
        if not self.has_input:
            child.stdin.close()
        threading.Thread(target=self._receive, args=(child,), daemon=True).start()
        pumps = [
            threading.Thread(target=self._pump, args=(number, pipe))
            for number, pipe in ((1, child.stdout), (2, child.stderr))
        ]
        for pump in pumps:
            pump.start()
        for pump in pumps:
            pump.join()
        code = child.wait()
        for pipe in (child.stdin, child.stdout, child.stderr):
            if pipe:
                with suppress(OSError):
                    pipe.close()
        status: Data = {"metadata": {}, "status": "Success"}
        if code:
            message = f"command terminated with non-zero exit code: exit status {code}"
            cause = {"reason": "ExitCode", "message": str(code)}
            status = {**status, "status": "Failure", "reason": "NonZeroExitCode", "message": message}
            status["details"] = {"causes": [cause]}
        self._send(3, json.dumps(status).encode())
        self._frame(8, struct.pack(">H", 1000))

    def _pump(self, channel: int, pipe: Any) -> None:
        sent = 0
        while chunk := os.read(pipe.fileno(), 1 << 15):
            cut = self.cluster.cut_output_after
            if channel == 1 and cut is not None and sent + len(chunk) > cut:
                self.cluster.cut_output_after = None
                self._send(channel, chunk[: cut - sent])
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            sent += len(chunk)
            self._send(channel, chunk)

    def _receive(self, child: subprocess.Popen[bytes]) -> None:
        assert child.stdin
        message = b""
        try:
            while True:
                first, second = self._read(2)
                size = second & 127
                if size == 126:
                    (size,) = struct.unpack(">H", self._read(2))
                elif size == 127:
                    (size,) = struct.unpack(">Q", self._read(8))
                mask = self._read(4)
                content = self._read(size)
                pattern = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
                content = (int.from_bytes(content, "big") ^ pattern).to_bytes(size, "big") if size else b""
                if first & 15 == 8:
                    break
                if first & 15 == 9:
                    self._frame(10, content)
                    continue
                message += content
                if first & 128:
                    if message[:1] == b"\0" and self.cluster.lose_pieces and len(message) > 1:
                        self.cluster.lose_pieces -= 1  # a part of the input never arrives
                        message = b"\0" + message[2:]
                    if message[:1] == b"\0":
                        child.stdin.write(message[1:])
                        child.stdin.flush()
                    elif message == b"\xff\0":
                        child.stdin.close()
                    message = b""
        except (OSError, ValueError, EOFError):
            pass

    def _read(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            chunk = self.connection.recv(size - len(found))
            if not chunk:
                raise EOFError
            found += chunk
        return found

    def _send(self, channel: int, content: bytes) -> None:
        self._frame(2, bytes([channel]) + content)

    def _frame(self, code: int, content: bytes) -> None:
        size = len(content)
        header = bytes([0x80 | code]) + (
            bytes([size]) if size < 126 else b"\x7e" + struct.pack(">H", size) if size < 1 << 16
            else b"\x7f" + struct.pack(">Q", size)
        )  # fmt: skip
        with self.lock, suppress(OSError):
            self.connection.sendall(header + content)


def discovery(words: list[str]) -> Data:
    """What ``kubectl`` asks first: which kinds there are, and whether the server checks fields itself."""
    groups = sorted({group for group, _ in KINDS.values() if group})
    if words == ["api"]:
        return {"kind": "APIVersions", "versions": ["v1"]}
    if words == ["apis"]:
        items = []
        for group in groups:
            version = {"groupVersion": f"{group}/v1", "version": "v1"}
            items.append({"name": group, "versions": [version], "preferredVersion": version})
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": items}
    if words == ["version"]:
        return {"major": "1", "minor": "32", "gitVersion": "v1.32.0"}
    if words == ["openapi", "v3"]:
        names = ["api/v1", *(f"apis/{group}/v1" for group in groups)]
        return {"paths": {name: {"serverRelativeURL": f"/openapi/v3/{name}"} for name in names}}
    if words[:2] == ["openapi", "v3"]:
        group = words[3] if words[2] == "apis" else ""
        paths = {}
        for resource, (own, kind) in KINDS.items():
            if own == group:
                parameters = [{"name": "fieldValidation", "in": "query"}]
                what = {"group": own, "version": "v1", "kind": kind}
                patch = {"parameters": parameters, "x-kubernetes-group-version-kind": what, "responses": {}}
                paths[f"/{resource}"] = {"patch": patch}
        return {"openapi": "3.0.0", "info": {"title": "emulator", "version": "1"}, "paths": paths}
    if words in (["api", "v1"], *(["apis", group, "v1"] for group in groups)):
        group = "" if words[0] == "api" else words[1]
        resources = [
            {
                "name": resource,
                "singularName": kind.lower(),
                "namespaced": kind not in ("Node", "SelfSubjectAccessReview"),
                "kind": kind,
                "verbs": ["create", "get", "list", "delete", "patch"],
            }
            for resource, (own, kind) in KINDS.items()
            if own == group
        ]
        name = "v1" if not group else f"{group}/v1"
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": resources}
    raise Refused(404, "NotFound", "the server could not find the requested resource")


class Server:
    """A cluster that listens, and the kubeconfig for it."""

    def __init__(self, directory: Path, program: tuple[str, ...] = (sys.executable,)) -> None:
        self.cluster = Cluster(directory / "cluster", program)
        handler = type("BoundHandler", (Handler,), {"cluster": self.cluster})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()
        self.kubeconfig = directory / "kubeconfig"
        place: Data = {"cluster": {"server": f"http://127.0.0.1:{self.server.server_port}"}, "name": "emulator"}
        context = {"context": {"cluster": "emulator", "user": "me", "namespace": "lab"}, "name": "emulator"}
        config: Data = {"apiVersion": "v1", "kind": "Config", "clusters": [place], "contexts": [context]}
        config |= {"current-context": "emulator", "users": [{"name": "me", "user": {}}]}
        self.kubeconfig.write_text(json.dumps(config))

    def close(self) -> None:
        """End it, and all that runs in it."""
        self.cluster.stop()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
