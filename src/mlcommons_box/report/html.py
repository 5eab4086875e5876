"""The report page: one HTML file with everything in it, which asks nobody for anything.

The page is made in the browser, by the scripts of ``page/``, from data that are packed into it.  Whatever a
stranger wrote is only ever put into text nodes, and the page's own policy (Content-Security-Policy) allows no other
script and no other style than ours, by their hashes, and no connection at all.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from html import escape
from pathlib import Path
from typing import Any

GENERATOR = "mlbox report"
"""What the page says of its maker; a file that says so may be overwritten."""
_PAGE = Path(__file__).parent / "page"
_SCRIPTS = (
    "elements", "formats", "runs", "charts", "table", "overview", "curves", "sweeps", "pipeline", "run", "main"
)  # fmt: skip
_LIBRARY = _PAGE / "echarts" / "echarts.min.js"
_PLACE = re.compile(r"\{\{(\w+)\}\}")


def report_html(data: dict[str, Any]) -> str:
    """The page that shows ``data``, as :func:`.html_data.page_data` makes it."""
    style = (_PAGE / "report.css").read_text("utf-8")
    script = "\n".join((_PAGE / f"{name}.js").read_text("utf-8") for name in _SCRIPTS)
    script = f'"use strict";\n(() => {{\n{script}\n}})();\n'
    library = _LIBRARY.read_text("utf-8")
    policy = (
        f"default-src 'none'; script-src {_hash(script)} {_hash(library)}; style-src {_hash(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    parts = {
        "policy": escape(policy),
        "generator": GENERATOR,
        "title": escape(data["title"]),
        "style": style,
        "script": script,
        "library": _packed(library),
        "data": _packed(json.dumps(data, separators=(",", ":"), allow_nan=False)),
    }
    return _PLACE.sub(lambda match: parts[match[1]], (_PAGE / "report.html").read_text("utf-8"))


def is_report(file: Path) -> bool:
    """Whether a file is a page that was made here; raises :class:`OSError`."""
    with file.open("rb") as stream:
        return f'<meta name="generator" content="{GENERATOR}'.encode() in stream.read(4096)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _packed(text: str) -> str:
    """Compressed, in letters that mean nothing to HTML."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()
