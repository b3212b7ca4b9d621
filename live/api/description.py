"""GET /openapi.json, and /docs: the same to read."""

from functools import cache
from pathlib import Path

from flask import Blueprint, Response, render_template

from live.api.encoding import JSON, bytes_with_etag, encode

_FILES = Path(__file__).parent / "templates"


def description_blueprint() -> Blueprint:
    """What describes the API. What it is made of is imported with the first request: most processes are never asked."""
    blueprint = Blueprint("description", __name__, template_folder=str(_FILES))

    @blueprint.get("/openapi.json")
    def show_document() -> Response:
        return bytes_with_etag(_document(), JSON)

    @blueprint.get("/docs")
    def show_page() -> Response:
        return bytes_with_etag(_page(), "text/html")

    @blueprint.get("/docs/style.css")
    def show_style() -> Response:
        return bytes_with_etag((_FILES / "description.css").read_bytes(), "text/css")

    return blueprint


@cache
def _document() -> bytes:
    from live.api.schema.document import document

    return encode(document())


@cache
def _page() -> bytes:
    from live.api.schema.page import sections

    return render_template("description.html", **sections()).encode()
