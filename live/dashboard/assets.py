"""Scripts and styles under a path with the hash of what they hold: kept by a browser for a year, never stale."""

import hashlib
from functools import cache
from pathlib import Path

from msgspec import Struct

_HERE = Path(__file__).parent
_SCRIPT, _STYLE = "text/javascript", "text/css"
_FILES = {
    "dashboard.css": (_HERE / "static" / "dashboard.css", _STYLE),
    "dashboard.js": (_HERE / "static" / "dashboard.js", _SCRIPT),
    "charts.js": (_HERE / "static" / "charts.js", _SCRIPT),
    "controls.js": (_HERE / "static" / "controls.js", _SCRIPT),
    "waiting.js": (_HERE / "static" / "waiting.js", _SCRIPT),
    "book.css": (_HERE / "static" / "book.css", _STYLE),
    "risk.css": (_HERE / "static" / "risk.css", _STYLE),
    "link.css": (_HERE / "static" / "link.css", _STYLE),
    "icon.svg": (_HERE / "static" / "icon.svg", "image/svg+xml"),
    "uPlot.min.css": (_HERE.parent / "vendor" / "uPlot.min.css", _STYLE),
    "uPlot.iife.min.js": (_HERE.parent / "vendor" / "uPlot.iife.min.js", _SCRIPT),
}


class Asset(Struct, frozen=True):
    """A file as it is served."""

    body: bytes
    mimetype: str
    digest: str


@cache
def asset(name: str) -> Asset | None:
    """A file of ours by its name; None where there is none."""
    if name not in _FILES:
        return None
    path, mimetype = _FILES[name]
    body = path.read_bytes()
    return Asset(body, mimetype, hashlib.sha256(body).hexdigest()[:16])


def address(name: str) -> str:
    """Where a page finds a file."""
    found = asset(name)
    if found is None:
        raise KeyError(name)
    return f"/dashboard/static/{found.digest}/{name}"
