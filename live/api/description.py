"""GET /openapi.json, and /docs: the same to read."""

from functools import cache

from flask import Blueprint, Response, render_template

from live.api.access import PAGE_POLICY
from live.api.encoding import JSON, bytes_with_etag, encode


def description_blueprint() -> Blueprint:
    """What describes the API. What it is made of is imported with the first request: most processes are never asked."""
    blueprint = Blueprint(
        "description", __name__, template_folder="templates", static_folder="static", static_url_path="/docs/static"
    )

    @blueprint.get("/openapi.json")
    def show_document() -> Response:
        return bytes_with_etag(_document(), JSON)

    @blueprint.get("/docs")
    def show_page() -> Response:
        page = bytes_with_etag(_page(), "text/html")
        page.headers["Content-Security-Policy"] = PAGE_POLICY
        return page

    return blueprint


@cache
def _document() -> bytes:
    from live.api.schema.document import document

    return encode(document())


@cache
def _page() -> bytes:
    from live.api.schema.page import sections

    return render_template("description.html", **sections()).encode()
