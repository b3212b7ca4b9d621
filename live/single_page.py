"""A page that needs nothing else: its script and style are inside it, admitted by their hashes, and it asks no host at all."""

import base64
import hashlib
from bisect import bisect_left
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from msgspec import Struct

VENDOR = Path(__file__).parent / "vendor"
# What such pages share: page.html is what each extends, parts.html what it is made of, charts.js draws days.
SHARED = Path(__file__).parent / "page_templates"


_HEAT_LEVELS = 4


def environment_of(templates: Path) -> Environment:
    """Templates that escape what they are given, and refuse what they are not given."""
    return Environment(
        loader=FileSystemLoader([templates, SHARED]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


class Cell(Struct, frozen=True):
    """A table cell and its class: `gain`, `loss`, a heat level, or none."""

    text: str
    kind: str = ""


def heat(value: Decimal | None, sizes: Sequence[Decimal]) -> str:
    """`up1` to `up4`, `down1` to `down4`: the quarter of all values, by their sizes in order, that this one is in."""
    if not value:
        return ""
    level = 1 + bisect_left(sizes, abs(value)) * _HEAT_LEVELS // len(sizes)
    return f"{'up' if value > 0 else 'down'}{level}"


def script_and_style(script: Path, style: Path, *, draws_days: bool = False) -> tuple[str, str]:
    """uPlot's and what pages share, with one's own script and style, in this order."""
    shared = (SHARED / "charts.js").read_text(encoding="utf-8") if draws_days else ""
    own_script, own_style = (path.read_text(encoding="utf-8") for path in (script, style))
    page_style = (SHARED / "page.css").read_text(encoding="utf-8")
    licence, drawing, drawn = (
        (VENDOR / name).read_text(encoding="utf-8") for name in ("uPlot.LICENSE", "uPlot.iife.min.js", "uPlot.min.css")
    )
    return _joined(f"/*\n{licence}\n*/", drawing, shared, own_script), _joined(drawn, page_style, own_style)


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
    return "\n" + "\n".join(part.strip() for part in parts if part) + "\n"


def _hash_source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
