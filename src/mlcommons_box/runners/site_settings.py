"""What a site's network needs: proxies, its own certificate authority, its package indexes.

Proxies are always handed to builds and runs, by name.  The certificate authorities and the package indexes are
handed over when the user names a bundle (``--ca-bundle``, or the variable below), without any change to the box.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from mlcommons_box.errors import ConfigurationError

CA_BUNDLE_VARIABLE = "MLCOMMONS_BOX_CA_BUNDLE"
"""A file in PEM form, or ``host`` for the bundle that this machine uses itself."""

PROXY_VARIABLES = tuple(
    case(f"{kind}_proxy") for kind in ("http", "https", "ftp", "no", "all") for case in (str.lower, str.upper)
)  # fmt: skip

DIRECTORY = "/mlbox_site"
"""Where the settings are in a container."""
CA_FILE = f"{DIRECTORY}/ca.crt"

CERTIFICATE_VARIABLES = (
    "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT", "CONDA_SSL_VERIFY", "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
)  # fmt: skip
"""Where OpenSSL, requests, curl, pip, conda, git and node look for a bundle; uv reads the first."""

INDEX_VARIABLES = (
    "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL", "UV_INSECURE_HOST", "CONDA_CHANNEL_ALIAS",
)  # fmt: skip
"""Where pip, uv and conda are told of other indexes than the public ones."""

_HOST_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # BSD, macOS
)


def find_ca_bundle(given: str | None, environ: Mapping[str, str]) -> Path | None:
    """The bundle that the flag (``given``) or the variable names; None when neither does.

    Raises :class:`ConfigurationError` when there is no such file.
    """
    word = given or environ.get(CA_BUNDLE_VARIABLE)
    if not word:
        return None
    if word != "host":
        if not os.path.isfile(word):
            raise ConfigurationError(f"there is no file {word!r} with certificates", hint="name a file in PEM form")
        return Path(os.path.abspath(word))
    named = (environ.get(name) for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT"))
    for candidate in (*named, *_HOST_BUNDLES):
        if candidate and os.path.isfile(candidate):
            return Path(os.path.abspath(candidate))
    raise ConfigurationError("this machine has no bundle of certificates in a usual place", hint="name the file")


def present(names: tuple[str, ...], environ: Mapping[str, str]) -> list[str]:
    """Those of the variables that the caller has set."""
    return [name for name in names if environ.get(name)]


def settings_files(ca_bundle: Path, environ: Mapping[str, str]) -> dict[str, bytes]:
    """Files for a build, below :data:`DIRECTORY`: the bundle, and settings that may hold passwords."""
    files = {"ca.crt": ca_bundle.read_bytes(), "apt.conf": f'Acquire::https::CAInfo "{CA_FILE}";\n'.encode()}
    for name, lines in (("pip.conf", _pip(environ)), ("uv.toml", _uv(environ)), ("condarc", _conda(environ))):
        if lines:
            files[name] = ("\n".join(lines) + "\n").encode()
    return files


def write_settings(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write the files so that whoever a step of a build runs as can read them, whatever our umask is."""
    directory.mkdir(parents=True)
    directory.chmod(0o755)
    for name, content in files.items():
        (directory / name).write_bytes(content)
        (directory / name).chmod(0o644)


def settings_variables(files: Mapping[str, bytes]) -> dict[str, str]:
    """The variables that lead programs to those files."""
    variables = dict.fromkeys(CERTIFICATE_VARIABLES, CA_FILE)
    for name, file in (
        ("APT_CONFIG", "apt.conf"),
        ("PIP_CONFIG_FILE", "pip.conf"),
        ("UV_CONFIG_FILE", "uv.toml"),
        ("CONDARC", "condarc"),
    ):
        if file in files:
            variables[name] = f"{DIRECTORY}/{file}"
    return variables


def holds_password(files: Mapping[str, bytes]) -> bool:
    """Whether an index is named with a password in its address."""
    return any(
        b"://" in line and b"@" in line for name in files if name != "ca.crt" for line in files[name].split()
    )


def _pip(environ: Mapping[str, str]) -> list[str]:
    keys = {
        "index-url": "PIP_INDEX_URL",
        "extra-index-url": "PIP_EXTRA_INDEX_URL",
        "trusted-host": "PIP_TRUSTED_HOST",
    }
    lines = [f"{key} = {environ[name]}" for key, name in keys.items() if environ.get(name)]
    return ["[global]", *lines] if lines else []


def _uv(environ: Mapping[str, str]) -> list[str]:
    insecure = environ.get("UV_INSECURE_HOST", "").split()
    lines = [f"allow-insecure-host = [{', '.join(map(_quoted, insecure))}]"] if insecure else []
    default = environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL")
    extra = environ.get("UV_INDEX") or environ.get("UV_EXTRA_INDEX_URL")
    for address in (extra or "").split():
        lines += ["[[index]]", f"url = {_quoted(_without_name(address))}"]
    if default:
        lines += ["[[index]]", f"url = {_quoted(_without_name(default))}", "default = true"]
    return lines


def _quoted(text: str) -> str:
    """A string of TOML."""
    return f'"{text}"'


def _without_name(index: str) -> str:
    """The address of ``name=address``, as uv has it; an address may hold the sign itself."""
    name, _, address = index.partition("=")
    return index if "://" in name else address


def _conda(environ: Mapping[str, str]) -> list[str]:
    alias = environ.get("CONDA_CHANNEL_ALIAS")
    return [f"channel_alias: {alias}", f"ssl_verify: {CA_FILE}"] if alias else []
