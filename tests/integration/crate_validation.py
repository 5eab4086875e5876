"""Validates an RO-Crate without a network; a program for the environment of the validator.

    python crate_validation.py CRATE

prints what the validator found, as JSON.  The validator wants the meanings of terms from two addresses.  The first
has its answer from the library that writes crates; the second one's are few, and stand here.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

TERMS = "https://w3id.org/ro/terms/workflow-run"
NAMES = (
    "ContainerImage",
    "DockerImage",
    "SIFImage",
    "containerImage",
    "environment",
    "registry",
    "resourceUsage",
    "sha256",
    "tag",
)


def answers() -> dict[str, Any]:
    """What the addresses answer."""
    import rocrate

    context = json.loads((Path(rocrate.__file__).parent / "data" / "ro-crate.jsonld").read_text("utf-8"))
    return {
        "https://w3id.org/ro/crate/1.1/context": {"@context": context["@context"]},
        f"{TERMS}/context": {"@context": {name: f"{TERMS}#{name}" for name in NAMES}},
    }


def without_a_network() -> None:
    """Answer what is known, and nothing else."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3 import HTTPResponse

    known = answers()

    def send(self: Any, request: Any, **_: Any) -> Any:
        if request.url not in known:
            raise requests.ConnectionError(f"there is no network for {request.url}")
        body = json.dumps(known[request.url]).encode()
        headers = {"Content-Type": "application/ld+json"}
        raw = HTTPResponse(body=io.BytesIO(body), status=200, headers=headers, preload_content=False)
        return self.build_response(request, raw)

    setattr(HTTPAdapter, "send", send)  # noqa: B010  # with it requests speaks to nobody


def main() -> None:
    """Print the findings."""
    without_a_network()
    from rocrate_validator import models, services

    settings = services.ValidationSettings(
        rocrate_uri=sys.argv[1],
        profile_identifier="process-run-crate",
        requirement_severity=models.Severity.RECOMMENDED,
        no_cache=True,
    )
    result = services.validate(settings)
    findings = [
        {"severity": each.severity.name, "check": each.check.identifier, "message": each.message}
        for each in result.get_issues()
    ]
    json.dump({"findings": findings, "checks": len(result.executed_checks)}, sys.stdout)


if __name__ == "__main__":
    main()
