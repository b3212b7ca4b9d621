"""A page that needs nothing else: its script and style are inside it, admitted by their hashes, and it asks no host at all."""

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

VENDOR = Path(__file__).parent / "vendor"


def environment_of(templates: Path) -> Environment:
    """Templates that escape what they are given, and refuse what they are not given."""
    return Environment(
        loader=FileSystemLoader(templates),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def script_and_style(*own: Path) -> tuple[str, str]:
    """uPlot's with one's own script and style, in this order."""
    own_script, own_style = (path.read_text(encoding="utf-8") for path in own)
    licence, drawing, drawn = (
        (VENDOR / name).read_text(encoding="utf-8") for name in ("uPlot.LICENSE", "uPlot.iife.min.js", "uPlot.min.css")
    )
    return _joined(f"/*\n{licence}\n*/", drawing, own_script), _joined(drawn, own_style)


def trusted(text: str) -> Markup:
    """A script or style of ours, as it is."""
    return Markup(text)  # noqa: S704 - our own files only; nothing that others wrote is in them


def policy(script: str, style: str) -> str:
    """The Content-Security-Policy that admits these."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hash_source(script)}",
            f"style-src {_hash_source(style)}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _joined(*parts: str) -> str:
    return "\n" + "\n".join(part.strip() for part in parts) + "\n"


def _hash_source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
