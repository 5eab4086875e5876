"""What tools say, and what it means: every case by the text of a tool, and no tool is started."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import pytest

from mlcommons_box.cli.doctor import _CHOICES
from mlcommons_box.diagnosis import docker, local, machine, podman, singularity
from mlcommons_box.diagnosis.asking import Answer
from mlcommons_box.diagnosis.docker import DockerEvidence
from mlcommons_box.diagnosis.findings import ENGINES, Diagnosis, Finding, known, version_in, version_numbers
from mlcommons_box.diagnosis.local import LocalEvidence
from mlcommons_box.diagnosis.machine import Disk, Gpus
from mlcommons_box.diagnosis.podman import PodmanEvidence
from mlcommons_box.diagnosis.singularity import Kernel, SingularityEvidence
from mlcommons_box.selection import _BEST_FIRST
from mlcommons_box.value import replace

NO_GPUS = Gpus()
GPUS = Gpus(names=("NVIDIA A100-SXM4-40GB", "NVIDIA A100-SXM4-40GB"))
HANGS = Answer(status=143, timed_out=True, patience=10.0)


def messages(findings: tuple[Finding, ...] | list[Finding]) -> list[tuple[str, str]]:
    assert all(finding.hint.strip() and finding.message.strip() for finding in findings)
    return [(finding.severity, finding.message) for finding in findings]


def said(value: object, err: str = "", status: int = 0) -> Answer:
    return Answer(status=status, out=json.dumps(value) + "\n", err=err)


def detail(diagnosis: Diagnosis, name: str) -> str | None:
    return dict(diagnosis.details).get(name)


def test_the_engines_are_in_the_order_in_which_a_box_chooses() -> None:
    assert [engine for engine in ENGINES if engine in _BEST_FIRST] == list(_BEST_FIRST)
    assert ENGINES == _CHOICES


@pytest.mark.parametrize(
    ("text", "version", "numbers"),
    [
        ("Docker version 28.2.2, build e6534b4", "28.2.2", (28, 2)),
        ("Docker version 20.10.24+dfsg1, build 297e128", "20.10.24+dfsg1", (20, 10)),
        ("podman version 5.0.0-rc2", "5.0.0-rc2", (5, 0)),
        ("apptainer version 1.4.5", "1.4.5", (1, 4)),
        ("singularity-ce version 3.11.4-jammy", "3.11.4-jammy", (3, 11)),
        ("2.6.1-dist", "2.6.1-dist", (2, 6)),
        ("no number here", None, None),
    ],
)
def test_versions(text: str, version: str | None, numbers: tuple[int, int] | None) -> None:
    assert (version_in(text), version_numbers(text)) == (version, numbers)


def test_a_failure_that_no_runner_knows_is_our_mistake() -> None:
    with pytest.raises(ValueError, match="no failure is known"):
        known("all is well", docker.FAILURES)


class TestDocker:
    CLIENT: ClassVar = {
        "Version": "28.2.2",
        "Context": "default",
        "Plugins": [{"Name": "buildx", "Version": "v0.24.0"}],
    }
    INFO: ClassVar = {
        "ServerVersion": "28.2.2",
        "SecurityOptions": ["name=seccomp,profile=builtin"],
        "Runtimes": {"runc": {}},
    }
    GOOD = DockerEvidence(
        executable=Path("/usr/bin/docker"),
        version=Answer(out="Docker version 28.2.2, build e6534b4\n"),
        info=said({**INFO, "ClientInfo": CLIENT}),
    )

    def with_info(self, client: dict[str, object] | None = None, **changes: object) -> DockerEvidence:
        return replace(
            self.GOOD, info=said({**self.INFO, "ClientInfo": {**self.CLIENT, **(client or {})}, **changes})
        )

    def test_all_is_well(self) -> None:
        found = docker.diagnosis(self.GOOD, NO_GPUS)
        assert (found.status, found.usable, found.version, found.findings) == ("ok", True, "28.2.2", ())
        assert found.details == (
            ("daemon", "28.2.2"),
            ("context", "default"),
            ("builder", "BuildKit (buildx v0.24.0)"),
        )

    @pytest.mark.parametrize(
        ("info", "message"),
        [
            # 28 says it on standard error, and 20.10 in the JSON, with status 0.
            (
                said(
                    {"ServerVersion": "", "ClientInfo": CLIENT},
                    "Cannot connect to the Docker daemon at unix:///docker.sock. Is the docker daemon running?",
                    1,
                ),
                "the Docker daemon does not answer",
            ),
            (
                said({"ServerErrors": ["Cannot connect to the Docker daemon at unix:///x."], "ClientInfo": CLIENT}),
                "the Docker daemon does not answer",
            ),
            (
                said(
                    {"ServerVersion": "", "ClientInfo": CLIENT},
                    "permission denied while trying to connect to the Docker daemon socket at "
                    "unix:///var/run/docker.sock: dial unix /var/run/docker.sock: connect: permission denied",
                    1,
                ),
                "you may not use the Docker daemon",
            ),
            (HANGS, "the Docker daemon gave no answer within 10 s"),
            (Answer(status=1, err="all is odd\n"), "the Docker daemon ended with status 1\n  all is odd"),
            (Answer(status=0, out="{broken"), "the Docker daemon ended with status 0\n  {broken"),
            (Answer(status=0, out="[]"), "the Docker daemon ended with status 0\n  []"),
        ],
    )
    def test_the_daemon_cannot_be_used(self, info: Answer, message: str) -> None:
        found = docker.diagnosis(replace(self.GOOD, info=info), GPUS)
        assert (found.status, found.usable) == ("problem", False)
        assert messages(found.findings) == [("error", message)]

    def test_the_client_cannot_be_started(self) -> None:
        broken = Answer(status=None, err="cannot start '/usr/bin/docker': Exec format error")
        found = docker.diagnosis(replace(self.GOOD, version=broken, info=None), NO_GPUS)
        assert messages(found.findings) == [("error", "cannot start '/usr/bin/docker': Exec format error")]

    @pytest.mark.parametrize(
        ("version", "builder", "wanting"),
        [
            ("Docker version 28.2.2, build x", "without BuildKit", True),
            ("Docker version 23.0.0, build x", "without BuildKit", True),
            ("Docker version 20.10.24+dfsg1, build x", "BuildKit", False),
        ],
    )
    def test_buildkit_is_in_the_client_or_in_a_plugin(self, version: str, builder: str, wanting: bool) -> None:
        evidence = replace(self.with_info({"Plugins": []}), version=Answer(out=version))
        found = docker.diagnosis(evidence, NO_GPUS)
        assert detail(found, "builder") == builder
        assert found.usable
        assert [finding.hint for finding in found.findings] == ["install Docker's plugin 'buildx'"] * wanting

    def test_a_client_without_pull_is_too_old(self) -> None:
        found = docker.diagnosis(replace(self.GOOD, version=Answer(out="Docker version 19.03.8, build x")), NO_GPUS)
        assert messages(found.findings) == [("error", "this client is too old: docker 19.03.8")]

    def test_podman_under_the_name_of_docker(self) -> None:
        evidence = replace(
            self.GOOD,
            version=Answer(out="podman version 4.3.1\n"),
            info=Answer(out='{"host": {}}', err="Emulate Docker CLI using podman."),
        )
        found = docker.diagnosis(evidence, NO_GPUS)
        assert found.usable
        (finding,) = found.findings
        assert (finding.severity, "docker_runtime: podman" in finding.hint) == ("warning", True)

    def test_rootless_selinux_and_a_daemon_elsewhere(self) -> None:
        evidence = self.with_info(SecurityOptions=["name=seccomp,profile=builtin", "name=rootless", "name=selinux"])
        found = docker.diagnosis(replace(evidence, endpoint="ssh://ada:secret@far"), NO_GPUS)
        assert (detail(found, "rootless"), detail(found, "SELinux")) == ("yes", "enforcing")
        assert detail(found, "endpoint") == "ssh://***@far"
        assert [severity for severity, _ in messages(found.findings)] == ["warning", "warning"]
        assert "does not see a path of this machine" in found.findings[1].message

    def test_gpus_that_docker_reaches(self) -> None:
        for evidence in (
            self.with_info(Runtimes={"runc": {}, "nvidia": {}}),
            self.with_info(DiscoveredDevices=[{"Source": "cdi", "ID": "nvidia.com/gpu=all"}]),
        ):
            found = docker.diagnosis(evidence, GPUS)
            assert (detail(found, "GPUs"), found.findings) == ("NVIDIA Container Toolkit", ())

    def test_gpus_that_docker_does_not_reach(self) -> None:
        assert messages(docker.diagnosis(self.GOOD, GPUS).findings) == [
            ("warning", "Docker has no access to GPUs here")
        ]
        assert docker.diagnosis(replace(self.GOOD, has_gpu_hook=True), GPUS).findings == ()

    def test_words_around_the_json_do_no_harm(self) -> None:
        assert docker.facts(Answer(out='WARNING: odd\n{"a": 1}\nWARNING: more\n')) == {"a": 1}


class TestPodman:
    HOST: ClassVar = {
        "cgroupVersion": "v2",
        "cgroupControllers": ["cpu", "io", "memory", "pids"],
        "security": {"rootless": True, "selinuxEnabled": False},
        "idMappings": {"uidmap": [{"size": 1}, {"size": 65536}]},
        "slirp4netns": {"executable": "/usr/bin/slirp4netns"},
        "pasta": {"executable": "/usr/bin/pasta"},
    }
    STORE: ClassVar = {
        "graphDriverName": "overlay",
        "graphOptions": {"overlay.mount_program": {"Executable": "/usr/bin/fuse-overlayfs"}},
    }
    GOOD = PodmanEvidence(
        executable=Path("/usr/bin/podman"),
        version=Answer(out="podman version 4.3.1\n"),
        info=said({"host": HOST, "store": STORE}),
    )

    def with_host(self, **changes: object) -> PodmanEvidence:
        return replace(self.GOOD, info=said({"host": {**self.HOST, **changes}, "store": self.STORE}))

    def test_all_is_well_without_root(self) -> None:
        found = podman.diagnosis(self.GOOD, NO_GPUS)
        assert (found.status, found.version, found.findings) == ("ok", "4.3.1", ())
        assert found.details == (
            ("rootless", "yes"),
            ("user ids", "65537"),
            ("network", "pasta or slirp4netns"),
            ("storage", "overlay (fuse-overlayfs)"),
        )

    def test_root_needs_less(self) -> None:
        evidence = self.with_host(security={"rootless": False}, idMappings={"uidmap": None}, cgroupControllers=None)
        found = podman.diagnosis(replace(evidence, has_tun=False), NO_GPUS)
        assert (found.details, found.findings) == (
            (("rootless", "no"), ("storage", "overlay (fuse-overlayfs)")),
            (),
        )

    def test_no_subordinate_ids(self) -> None:
        found = podman.diagnosis(self.with_host(idMappings={"uidmap": [{"size": 1}]}), NO_GPUS)
        assert not found.usable
        assert messages(found.findings) == [("error", "your account has no range of subordinate user ids")]
        assert "usermod --add-subuids" in found.findings[0].hint

    def test_no_init_program(self) -> None:
        found = podman.diagnosis(replace(self.GOOD, has_init=False), NO_GPUS)
        assert messages(found.findings) == [("error", "Podman has no init program")]

    @pytest.mark.parametrize("wanting", ["tun", "programs"])
    def test_no_network(self, wanting: str) -> None:
        evidence = (
            replace(self.GOOD, has_tun=False) if wanting == "tun" else self.with_host(slirp4netns={}, pasta={})
        )
        found = podman.diagnosis(evidence, NO_GPUS)
        assert found.usable
        assert messages(found.findings) == [("warning", "Podman cannot make a network for you")]

    def test_no_limits(self) -> None:
        found = podman.diagnosis(self.with_host(cgroupVersion="v1", cgroupControllers=[]), NO_GPUS)
        assert messages(found.findings) == [
            ("warning", "Podman cannot limit CPUs and memory for you here (control groups v1)")
        ]

    def test_storage_that_copies(self) -> None:
        info = said({"host": self.HOST, "store": {"graphDriverName": "vfs", "graphOptions": {}}})
        found = podman.diagnosis(replace(self.GOOD, info=info), NO_GPUS)
        assert detail(found, "storage") == "vfs"
        assert "removes all images" in found.findings[0].hint

    def test_an_old_one(self) -> None:
        found = podman.diagnosis(replace(self.GOOD, version=Answer(out="podman version 3.4.4")), NO_GPUS)
        assert found.usable
        assert found.findings[0].hint == "install Podman 4.0 or newer"

    def test_gpus(self) -> None:
        found = podman.diagnosis(self.GOOD, GPUS)
        assert messages(found.findings) == [("warning", "Podman has no access to GPUs here")]
        assert podman.diagnosis(replace(self.GOOD, has_gpu_devices=True), GPUS).findings == ()

    @pytest.mark.parametrize(
        ("info", "message"),
        [
            (HANGS, "podman gave no answer within 10 s"),
            (
                Answer(status=125, err='Error: cannot setup namespace using "/usr/bin/newuidmap": exit status 1'),
                "your account has no range of subordinate user ids",
            ),
            (Answer(status=1, err="it is odd"), "podman ended with status 1\n  it is odd"),
            (Answer(status=0, out="not json"), "podman ended with status 0\n  not json"),
        ],
    )
    def test_it_does_not_work_at_all(self, info: Answer, message: str) -> None:
        found = podman.diagnosis(replace(self.GOOD, info=info), NO_GPUS)
        assert (found.status, found.version) == ("problem", "4.3.1")
        assert messages(found.findings) == [("error", message)]

    def test_what_a_newer_one_may_say_is_no_defect(self) -> None:
        odd = said({"host": {"idMappings": "none", "security": [], "cgroupControllers": None}, "store": None})
        assert podman.diagnosis(replace(self.GOOD, info=odd), NO_GPUS).usable


class TestSingularity:
    GOOD = SingularityEvidence(
        executable=Path("/usr/bin/apptainer"),
        version=Answer(out="apptainer version 1.4.5\n"),
        settings=Answer(out="PACKAGE_NAME=apptainer\nLIBEXECDIR=/usr/libexec\nAPPTAINER_SUID_INSTALL=0\n"),
        is_root=False,
        kernel=Kernel(max_user_namespaces=1000),
    )

    def test_all_is_well(self) -> None:
        found = singularity.diagnosis(self.GOOD)
        assert (found.status, found.version, found.findings) == ("ok", "1.4.5", ())
        assert found.details == (
            ("program", "Apptainer"),
            ("installation", "without setuid"),
            ("/dev/fuse", "usable"),
            ("namespaces", "allowed"),
        )

    @pytest.mark.parametrize(
        ("version", "product", "too_old"),
        [
            ("apptainer version 1.1.0", "Apptainer", False),
            ("apptainer version 1.0.3", "Apptainer", True),
            ("singularity-ce version 3.10.0", "SingularityCE", False),
            ("singularity-ce version 3.9.9", "SingularityCE", True),
            ("singularity version 3.8.6", "Singularity", True),
            ("2.6.1-dist", "Singularity", True),
            ("something else", "Singularity", False),
        ],
    )
    def test_old_ones(self, version: str, product: str, too_old: bool) -> None:
        found = singularity.diagnosis(replace(self.GOOD, version=Answer(out=version)))
        assert detail(found, "program") == product
        assert messages(found.findings) == [("error", "this Singularity is too old")] * too_old

    @pytest.mark.parametrize("kernel", [Kernel(max_user_namespaces=0), Kernel(userns_clone=0)])
    def test_no_user_namespaces(self, kernel: Kernel) -> None:
        without = replace(self.GOOD, kernel=kernel)
        found = singularity.diagnosis(without)
        assert messages(found.findings) == [("error", "this machine does not let you make user namespaces")]
        setuid = Answer(out="SINGULARITY_SUID_INSTALL=1\n")
        assert singularity.diagnosis(replace(without, settings=setuid)).findings == ()
        assert singularity.diagnosis(replace(without, is_root=True)).findings == ()

    def test_apparmor(self) -> None:
        kernel = Kernel(max_user_namespaces=1000, apparmor_restricts=1)
        (finding,) = singularity.diagnosis(replace(self.GOOD, kernel=kernel)).findings
        assert finding.message.startswith("AppArmor restricts user namespaces")
        assert singularity.diagnosis(replace(self.GOOD, kernel=replace(kernel, has_profile=True))).findings == ()

    @pytest.mark.parametrize(
        ("evidence", "message"),
        [
            (replace(GOOD, has_fuse=False), "image files cannot be mounted here"),
            (replace(GOOD, has_squashfuse=False), "image files cannot be mounted here"),
            (replace(GOOD, has_mksquashfs=False), "the tools for image files are missing"),
            (
                replace(GOOD, has_subordinates=False),
                "your account has no range of subordinate user ids, which building needs",
            ),
        ],
    )
    def test_what_is_missing(self, evidence: SingularityEvidence, message: str) -> None:
        found = singularity.diagnosis(evidence)
        assert found.usable
        assert messages(found.findings) == [("warning", message)]

    def test_it_hangs(self) -> None:
        found = singularity.diagnosis(replace(self.GOOD, version=HANGS, settings=None))
        assert messages(found.findings) == [("error", "apptainer gave no answer within 10 s")]

    @pytest.mark.parametrize(
        ("text", "there"),
        [
            ("ada:100000:65536\n", True),
            ("1001:100000:65536\n", True),
            ("adam:100000:65536\n# ada\n", False),
            ("ada:100000:0\n", False),
            ("ada\n", False),
            ("", False),
        ],
    )
    def test_ranges_of_subordinate_ids(self, text: str, there: bool) -> None:
        assert singularity.has_subordinates(text, "ada", 1001) is there
        assert not singularity.has_subordinates(":1:1\n", "", 1001)


class TestLocal:
    GOOD = LocalEvidence(
        executable=Path("/usr/bin/python3"),
        python="3.11.7",
        uv_path="/usr/bin/uv",
        uv=Answer(out="uv 0.9.1 (abc 2026-01-01)\n"),
        has_venv=True,
        has_pip=True,
        cache=Path("/home/ada/.cache/mlcommons-box"),
        cache_writable=True,
    )

    def test_all_is_well(self) -> None:
        found = local.diagnosis(self.GOOD)
        assert (found.status, found.version, found.findings) == ("ok", "Python 3.11.7", ())
        assert detail(found, "installer") == "uv 0.9.1, /usr/bin/uv"
        assert detail(found, "cache") == "/home/ada/.cache/mlcommons-box"

    def test_without_uv(self) -> None:
        found = local.diagnosis(replace(self.GOOD, uv=None, uv_path=None))
        assert (detail(found, "installer"), found.findings) == ("venv and pip (uv is faster)", ())

    @pytest.mark.parametrize(
        ("evidence", "message"),
        [
            (replace(GOOD, uv=None, has_pip=False), "this Python cannot make environments with pip"),
            (replace(GOOD, uv=None, has_venv=False), "this Python cannot make environments with pip"),
            (
                replace(GOOD, cache_writable=False),
                "the cache '/home/ada/.cache/mlcommons-box' cannot be written to",
            ),
            (replace(GOOD, uv=HANGS), "/usr/bin/uv gave no answer within 10 s"),
        ],
    )
    def test_what_is_missing(self, evidence: LocalEvidence, message: str) -> None:
        found = local.diagnosis(evidence)
        assert not found.usable
        assert messages(found.findings) == [("error", message)]


class TestMachine:
    ROOM = Disk(what="cache", path=Path("/home/ada/.cache"), free=80_000_000_000, variable="MLCOMMONS_BOX_CACHE")

    def test_gpus_are_listed_without_their_numbers(self) -> None:
        text = (
            "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-1)\n"
            "  MIG 1g.5gb Device 0: (UUID: MIG-1)\n"
            "GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-2)\n"
        )
        gpus = machine.gpus_in(Answer(out=text))
        assert gpus == GPUS
        assert machine.machine((), gpus, {}, []).details == (("GPUs", "2 x NVIDIA A100-SXM4-40GB"),)

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            (Answer(status=9, out="NVIDIA-SMI has failed\n"), "NVIDIA-SMI has failed"),
            (Answer(status=1), "it fails"),
            (HANGS, "it gave no answer within 10 s"),
        ],
    )
    def test_a_driver_that_does_not_work(self, answer: Answer, reason: str) -> None:
        gpus = machine.gpus_in(answer)
        assert gpus.names == ()
        assert messages(gpus.findings) == [("warning", f"nvidia-smi does not list the GPUs: {reason}")]

    def test_little_space(self) -> None:
        little = replace(self.ROOM, free=machine.LITTLE_SPACE - 1)
        found = machine.machine((self.ROOM, little, replace(self.ROOM, free=None)), NO_GPUS, {}, [])
        assert [value for name, value in found.details if name == "cache"] == [
            "/home/ada/.cache, 80.0 GB free",
            "/home/ada/.cache, 5.0 GB free",
            "/home/ada/.cache, free space unknown",
        ]
        assert messages(found.findings) == [
            ("warning", "5.0 GB are free for '/home/ada/.cache': too little for most images")
        ]

    def test_a_directory_for_temporary_files_that_is_not_there(self) -> None:
        disk = Disk(what="temporary", path=Path("/gone"), free=None, variable="TMPDIR", exists=False)
        found = machine.machine((disk,), NO_GPUS, {}, [])
        assert messages(found.findings) == [("warning", "there is no directory '/gone', which TMPDIR names")]

    def test_proxies_by_name_alone(self) -> None:
        found = machine.machine((), NO_GPUS, {"https_proxy": "http://ada:secret@proxy:3128"}, [])
        assert dict(found.details)["proxies"] == "https_proxy"
        assert "secret" not in str(found)

    def test_certificates_lead_to_the_option(self) -> None:
        environ = {"PIP_CERT": "/etc/ssl/company.pem"}
        (finding,) = machine.machine((), NO_GPUS, environ, []).findings
        assert "PIP_CERT is set" in finding.message
        assert "--ca-bundle=host" in finding.hint
        settled = {**environ, "MLCOMMONS_BOX_CA_BUNDLE": "host"}
        assert machine.machine((), NO_GPUS, settled, []).findings == ()

    def test_certificates_that_are_not_there(self, tmp_path: Path) -> None:
        environ = {"SSL_CERT_FILE": str(tmp_path / "gone.pem"), "MLCOMMONS_BOX_CACHE": str(tmp_path / "a/b")}
        found = machine.examine(environ, NO_GPUS)
        assert ("warning", "SSL_CERT_FILE names a file that is not there") in messages(found.findings)
        assert dict(found.details)["cache"].startswith(f"{tmp_path}/a/b, ")
        assert not (tmp_path / "a").exists()
