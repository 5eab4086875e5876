"""A network with its own certificate authority: builds and runs fail with the remedy, and work with it.

The network is a web server of the test, whose certificate nobody outside the test knows.
"""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests import engines
from tests.conftest import MakeBox

MLBOX = [sys.executable, "-m", "mlcommons_box"]
FETCH = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())"
VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "MLCOMMONS_BOX_CA_BUNDLE")


class Site:
    """The address of the server, and the certificate that it can be checked with."""

    def __init__(self, address: str, certificate: Path) -> None:
        self.address = address
        self.certificate = certificate

    def box(self, make_box: MakeBox, executable: str) -> Path:
        """A box whose build and whose task both fetch something from the site."""
        return make_box(
            {
                "build/Dockerfile": f"FROM {engines.BASE_IMAGE}\nCOPY fetch.py /fetch.py\nRUN chmod a+r /fetch.py\n"
                f'RUN python3 /fetch.py {self.address}\nENTRYPOINT ["python3", "/fetch.py", "{self.address}"]\n',
                "build/Singularity.recipe": f"Bootstrap: docker\nFrom: {engines.REGISTRY}/{engines.BASE_IMAGE}\n\n"
                f"%files\n    fetch.py /fetch.py\n\n%post\n    python3 /fetch.py {self.address}\n\n"
                f"%runscript\n    exec python3 /fetch.py {self.address}",
                "build/fetch.py": FETCH,
                "platforms/docker.yaml": "schema_type: mlbox_docker\nschema_version: 1.0.0\n"
                f"image: mlbox-site-test\ndocker_runtime: {executable}\n",
                "platforms/singularity.yaml": "schema_type: mlbox_singularity\nschema_version: 1.0.0\n"
                "image: a.sif\n",
            }
        )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:  # sends nothing; tells our own address
        probe.connect(("192.0.2.1", 9))
        host = probe.getsockname()[0]
    certificate, key = directory / "ca.crt", directory / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=site of a test",
         "-addext", f"subjectAltName=IP:{host}", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"from the site")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((host, 0), Answer)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Site(f"https://{host}:{server.server_port}/", certificate)
    server.shutdown()
    server.server_close()


def mlbox(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if name not in VARIABLES} | environment
    return subprocess.run([*MLBOX, *map(str, words)], env=variables, capture_output=True, text=True, check=False)


def clients() -> list[str]:
    """Every Docker client on this machine: one with BuildKit keeps the certificates out of the image."""
    found = [
        Path(place, "docker") for place in os.environ["PATH"].split(os.pathsep) if Path(place, "docker").exists()
    ]
    return sorted({str(path.resolve()) for path in found})


def check(root: Path, site: Site, platform: str, **environment: str) -> str:
    """Configure fails with the remedy, works with the bundle, and so does the run; what was said meanwhile."""
    failed = mlbox("configure", root, f"--platform={platform}", **environment)
    assert failed.returncode == 69, failed.stderr
    assert "the network has a certificate authority of its own" in failed.stderr
    assert "--ca-bundle=host" in failed.stderr
    done = mlbox("configure", root, f"--platform={platform}", f"--ca-bundle={site.certificate}", **environment)
    assert done.returncode == 0, done.stderr
    assert mlbox("run", root, f"--platform={platform}", **environment).returncode == 1
    ran = mlbox("run", root, f"--platform={platform}", f"--ca-bundle={site.certificate}", **environment)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "from the site\n"
    return done.stderr


def in_image(*command: str) -> str:
    listing = subprocess.run([*command, "ls", "-A", "/mlbox_site"], check=True, capture_output=True, text=True)
    return listing.stdout


@pytest.mark.engine("docker")
@pytest.mark.parametrize("number", range(2))
def test_docker_with_and_without_buildkit(number: int, site: Site, make_box: MakeBox, tmp_path: Path) -> None:
    if number >= len(clients()):
        number = 0  # one client only
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/docker").symlink_to(clients()[number])
    root = site.box(make_box, "docker")
    said = check(root, site, "docker", PATH=f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    left = in_image("docker", "run", "--rm", "--entrypoint=", "mlbox-site-test")
    subprocess.run(["docker", "rmi", "--force", "mlbox-site-test"], check=True, capture_output=True)
    assert ("ca.crt" in left) == ("the certificates will be part of the image" in said)


@pytest.mark.engine("podman")
def test_podman(site: Site, make_box: MakeBox) -> None:
    check(site.box(make_box, "podman"), site, "docker")
    assert in_image("podman", "run", "--rm", "--entrypoint=", "mlbox-site-test") == ""
    subprocess.run(["podman", "rmi", "--force", "mlbox-site-test"], check=True, capture_output=True)


@pytest.mark.engine("apptainer")
def test_singularity(site: Site, make_box: MakeBox) -> None:
    root = site.box(make_box, "docker")
    check(root, site, "singularity")
    assert in_image("apptainer", "exec", "--containall", str(root / "workspace/a.sif")) == ""


def test_the_local_runner_hands_them_to_the_task(site: Site, make_box: MakeBox) -> None:
    root = make_box({"build/echo.py": f"import sys\nsys.argv[1:] = [{site.address!r}]\n{FETCH}"})
    assert mlbox("run", root, "--platform=local").returncode == 1
    ran = mlbox("run", root, "--platform=local", f"--ca-bundle={site.certificate}")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "from the site\n"
