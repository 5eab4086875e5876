"""What a network of its own needs reaches builds, in files that only those who build can read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from mlcommons_box.command import Command
from mlcommons_box.contract.scene import Recorder
from mlcommons_box.definition.loader import load_box
from mlcommons_box.errors import ConfigurationError, PreparationError
from mlcommons_box.process import Completed
from mlcommons_box.runners import preparation, site_settings
from mlcommons_box.runners.docker_image import DockerImage
from mlcommons_box.runners.dockerfile import SettingsBy
from mlcommons_box.runners.site_settings import (
    CERTIFICATE_VARIABLES,
    PROXY_VARIABLES,
    find_ca_bundle,
    holds_password,
    present,
    settings_files,
    settings_variables,
)
from tests.conftest import MakeBox

BUNDLE = "-----BEGIN CERTIFICATE-----\n"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    path.write_text(BUNDLE)
    return path


# ---- Which bundle --------------------------------------------------------------------------------


def test_without_a_word_there_is_no_bundle(bundle: Path) -> None:
    assert find_ca_bundle(None, {}) is None
    assert find_ca_bundle(None, {"SSL_CERT_FILE": str(bundle)}) is None
    assert find_ca_bundle("", {"MLCOMMONS_BOX_CA_BUNDLE": ""}) is None


def test_the_flag_has_the_last_word_on_the_variable(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.pem"
    other.touch()
    assert find_ca_bundle(None, {"MLCOMMONS_BOX_CA_BUNDLE": str(bundle)}) == bundle
    assert find_ca_bundle(str(other), {"MLCOMMONS_BOX_CA_BUNDLE": str(bundle)}) == other
    monkeypatch.chdir(tmp_path)
    assert find_ca_bundle("ca.pem", {}) == bundle


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for missing in (tmp_path / "nothing.pem", tmp_path):
        with pytest.raises(ConfigurationError, match=str(missing)):
            find_ca_bundle(str(missing), {})


def test_the_bundle_of_this_machine_is_the_one_that_programs_are_told_of_else_a_usual_place(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = tmp_path / "usual.pem"
    monkeypatch.setattr(site_settings, "_HOST_BUNDLES", (str(tmp_path / "nothing"), str(usual)))
    with pytest.raises(ConfigurationError, match="no bundle of certificates in a usual place"):
        find_ca_bundle("host", {"SSL_CERT_FILE": str(tmp_path / "nothing")})
    usual.touch()
    assert find_ca_bundle("host", {"SSL_CERT_FILE": "", "PIP_CERT": "/nothing"}) == usual
    assert find_ca_bundle("host", {"REQUESTS_CA_BUNDLE": str(bundle)}) == bundle
    assert find_ca_bundle(None, {"MLCOMMONS_BOX_CA_BUNDLE": "host"}) == usual


# ---- Files and variables -------------------------------------------------------------------------


def texts(bundle: Path, environ: Mapping[str, str]) -> dict[str, str]:
    return {name: content.decode() for name, content in settings_files(bundle, environ).items()}


def test_without_indexes_there_are_the_certificates_and_what_apt_needs(bundle: Path) -> None:
    assert texts(bundle, {"PIP_INDEX_URL": ""}) == {
        "ca.crt": BUNDLE,
        "apt.conf": 'Acquire::https::CAInfo "/mlbox_site/ca.crt";\n',
    }


def test_pip_reads_its_own_form(bundle: Path) -> None:
    environ = {
        "PIP_INDEX_URL": "https://a/simple",
        "PIP_EXTRA_INDEX_URL": "https://b https://c",
        "PIP_TRUSTED_HOST": "b",
    }
    assert texts(bundle, environ)["pip.conf"] == (
        "[global]\nindex-url = https://a/simple\nextra-index-url = https://b https://c\ntrusted-host = b\n"
    )


def test_uv_reads_its_own_form_without_the_names_of_indexes(bundle: Path) -> None:
    environ = {
        "UV_DEFAULT_INDEX": "mine=https://a/simple",
        "UV_INDEX_URL": "https://older",
        "UV_INDEX": "b=https://b/simple https://c/simple?key=d",
        "UV_INSECURE_HOST": "b c:8080",
    }
    assert texts(bundle, environ)["uv.toml"] == (
        'allow-insecure-host = ["b", "c:8080"]\n'
        '[[index]]\nurl = "https://b/simple"\n[[index]]\nurl = "https://c/simple?key=d"\n'
        '[[index]]\nurl = "https://a/simple"\ndefault = true\n'
    )
    older = {"UV_INDEX_URL": "https://older", "UV_EXTRA_INDEX_URL": "https://e"}
    assert texts(bundle, older)["uv.toml"] == (
        '[[index]]\nurl = "https://e"\n[[index]]\nurl = "https://older"\ndefault = true\n'
    )


def test_conda_reads_its_own_form(bundle: Path) -> None:
    assert texts(bundle, {"CONDA_CHANNEL_ALIAS": "https://a"})["condarc"] == (
        "channel_alias: https://a\nssl_verify: /mlbox_site/ca.crt\n"
    )


def test_variables_lead_to_the_files_that_are_there_and_hold_no_value_of_the_caller(bundle: Path) -> None:
    plain = settings_variables(settings_files(bundle, {}))
    assert plain == {
        **dict.fromkeys(CERTIFICATE_VARIABLES, "/mlbox_site/ca.crt"),
        "APT_CONFIG": "/mlbox_site/apt.conf",
    }
    every = settings_variables(
        settings_files(
            bundle, {"PIP_INDEX_URL": "https://a:swordfish@b", "UV_INDEX": "c", "CONDA_CHANNEL_ALIAS": "d"}
        )
    )
    assert {name: every[name] for name in every if name not in plain} == {
        "PIP_CONFIG_FILE": "/mlbox_site/pip.conf",
        "UV_CONFIG_FILE": "/mlbox_site/uv.toml",
        "CONDARC": "/mlbox_site/condarc",
    }


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"PIP_INDEX_URL": "https://ada:swordfish@a/simple"}, True),
        ({"UV_INDEX": "mine=https://token@a"}, True),
        ({"CONDA_CHANNEL_ALIAS": "https://a/t/x@y"}, True),  # rather too careful than not
        ({"PIP_INDEX_URL": "https://a/simple", "PIP_TRUSTED_HOST": "a"}, False),
        ({}, False),
    ],
)
def test_an_index_with_a_password_is_noticed(bundle: Path, environ: Mapping[str, str], expected: bool) -> None:
    bundle.write_text("# of https://ada:swordfish@example\n")
    assert holds_password(settings_files(bundle, environ)) is expected


def test_proxies_are_known_in_both_cases_and_only_those_with_a_value_are_present() -> None:
    assert {"http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"} <= set(
        PROXY_VARIABLES
    )
    assert present(PROXY_VARIABLES, {"no_proxy": "a", "HTTP_PROXY": "b", "https_proxy": "", "other": "c"}) == [
        "HTTP_PROXY",
        "no_proxy",
    ]


# ---- A build that gets them ----------------------------------------------------------------------


class Build:
    """Stands in for the client: keeps what lies beside the recipe while it is built."""

    def __init__(self, image: DockerImage) -> None:
        self.image = image
        self.files: dict[str, str] = {}
        self.modes: dict[str, int] = {}

    def __call__(self, command: Command, *, on_output: object, mark: str | None) -> Completed:
        work = self.image.work_directory
        for path in sorted(work.rglob("*")):
            name = str(path.relative_to(work))
            self.modes[name] = path.stat().st_mode & 0o777
            if path.is_file():
                self.files[name] = path.read_text()
        self.modes["."] = work.stat().st_mode & 0o777
        return Completed(exit_status=0)


@pytest.fixture
def build(
    make_box: MakeBox, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Build:
    """A build with settings, which are given by the way that the test names."""
    root = make_box(
        {
            "build/Dockerfile": "FROM a\nRUN b\n",
            "build/.dockerignore": "*\n!echo.py",
            "build/Dockerfile.dockerignore": "docs\n",
        }
    )
    image = DockerImage(
        name="example/echo:1",
        executable="docker",
        box=load_box(root),
        ca_bundle=bundle,
        environ={"MLCOMMONS_BOX_CACHE": str(tmp_path / "cache"), "PIP_INDEX_URL": "https://a"},
    )
    by: SettingsBy = request.param
    monkeypatch.setattr(DockerImage, "settings_by", lambda self: by)
    found = Build(image)
    monkeypatch.setattr(preparation, "stream", found)
    return found


@pytest.mark.parametrize("build", ["secret", "volume"], indirect=True)
def test_the_settings_lie_beside_the_recipe_and_are_gone_afterwards(build: Build) -> None:
    build.image.ensure(Recorder())
    assert {name for name in build.files if name.startswith("settings/")} == {
        "settings/ca.crt",
        "settings/apt.conf",
        "settings/pip.conf",
    }
    assert build.files["settings/ca.crt"] == BUNDLE
    assert build.files["Dockerfile"].startswith("FROM a\nARG SSL_CERT_FILE=/mlbox_site/ca.crt\n")
    assert build.files["Dockerfile.dockerignore"] == "docs\n"
    assert not build.image.work_directory.exists()


@pytest.mark.parametrize("build", ["copy"], indirect=True)
def test_a_builder_that_cannot_keep_them_out_gets_a_context_of_its_own_and_says_so(build: Build) -> None:
    recorder = Recorder()
    build.image.ensure(recorder)
    assert build.files["context/.mlbox_site/ca.crt"] == BUNDLE
    assert build.files["context/.dockerignore"] == "*\n!echo.py\n!.mlbox_site\n"
    assert "echo.py" in {Path(name).name for name in build.files}
    assert "this Docker has no BuildKit: the certificates will be part of the image" in recorder.steps
    assert not (build.image.box.build / ".mlbox_site").exists()


@pytest.mark.parametrize("build", ["copy"], indirect=True)
def test_a_password_is_never_left_in_an_image(build: Build) -> None:
    environ = {**build.image.environ, "PIP_INDEX_URL": "https://ada:swordfish@a"}
    image = DockerImage(
        name="x", executable="docker", box=build.image.box, ca_bundle=build.image.ca_bundle, environ=environ
    )
    with pytest.raises(PreparationError, match="password of your package index") as caught:
        image.ensure(Recorder())
    assert "buildx" in str(caught.value.hint)
    assert not image.work_directory.exists()
    assert build.files == {}


@pytest.mark.parametrize("build", ["secret", "volume", "copy"], indirect=True)
def test_others_of_this_machine_cannot_read_them_but_every_user_of_the_build_can(build: Build) -> None:
    import os

    before = os.umask(0o077)
    try:
        build.image.ensure(Recorder())
    finally:
        os.umask(before)
    assert build.modes["."] == 0o700
    settings = {name: mode for name, mode in build.modes.items() if "settings" in name or ".mlbox_site" in name}
    assert {mode for name, mode in settings.items() if name.endswith((".crt", ".conf"))} == {0o644}
    assert {mode for name, mode in settings.items() if not name.endswith((".crt", ".conf"))} == {0o755}


@pytest.mark.parametrize("build", ["secret"], indirect=True)
def test_a_recipe_that_begins_with_a_byte_order_mark_is_read_without_it(build: Build) -> None:
    build.image.dockerfile.write_bytes(b"\xef\xbb\xbfFROM a\r\nRUN b\r\n")
    build.image.ensure(Recorder())
    lines = build.files["Dockerfile"].splitlines()
    assert lines[:2] == ["FROM a", "ARG SSL_CERT_FILE=/mlbox_site/ca.crt"]
    assert lines[-1].startswith("RUN --mount=type=secret,id=mlbox_ca_crt,")
