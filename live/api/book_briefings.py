"""GET /api/book/briefings: the archive of a portfolio's days, as JSON, and each as a page."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import date
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response
from msgspec.structs import asdict

from live.api.encoding import bytes_with_etag, respond_with_etag
from live.api.errors import HttpRefused, malformed
from live.api.pages import cut
from live.api.queries import Query
from live.portfolios import Portfolios

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from book.briefings import Kept

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
Sessions = Callable[[], AbstractContextManager["Session"]]


def book_briefings_blueprint(portfolios: Portfolios, sessions: Sessions) -> Blueprint:
    """The views of briefings; `sessions` answers what the book refuses."""
    blueprint = Blueprint("book_briefings", __name__, url_prefix="/api/book")

    @blueprint.get("/briefings")
    def list_briefings() -> Response:
        query = Query(portfolios, "limit", "before")
        portfolio, limit, given = query.engine.portfolio_name, query.limit(), query.text("before")
        before = None if given is None else _day(given, "before")
        with sessions() as session:
            from book.briefings import briefings_of, kept_of

            rows = [_listed(kept_of(row)) for row in briefings_of(session, portfolio, limit=limit + 1, before=before)]
        return respond_with_etag(cut("briefings", "briefing_date", limit, rows))

    @blueprint.get("/briefings/<briefing_date>")
    def show_briefing(briefing_date: str) -> Response:
        kept = _one(Query(portfolios), briefing_date)
        told = asdict(kept)
        del told["parts"]
        return respond_with_etag({**told, **asdict(kept.parts)})

    @blueprint.get("/briefings/<briefing_date>/page")
    def show_page(briefing_date: str) -> Response:
        kept = _one(Query(portfolios), briefing_date)
        from live.briefings.page import page_of, policy_of

        response = bytes_with_etag(page_of(kept).encode(), "text/html")
        response.headers["Content-Security-Policy"] = policy_of()
        return response

    def _one(query: Query, given: str) -> "Kept":
        portfolio, day = query.engine.portfolio_name, _day(given, "briefing_date")
        with sessions() as session:
            from book.briefings import briefing_on

            found = briefing_on(session, portfolio, day)
        if found is None:
            raise HttpRefused(404, "not_found", f"there is no briefing of {day}")
        return found

    return blueprint


def _listed(kept: "Kept") -> dict[str, Any]:
    from book.briefing import headline

    return {
        "portfolio": kept.portfolio,
        "briefing_date": kept.briefing_date,
        "journal_seq": kept.journal_seq,
        "generated_at": kept.generated_at,
        "is_locked": kept.is_locked,
        "headline": headline(kept.portfolio, kept.briefing_date, kept.parts),
        "action_items": kept.parts.action_items,
    }


def _day(given: str, name: str) -> date:
    rule = malformed(f"`{name}` must be a day such as 2026-01-14", name)
    if not _DAY.fullmatch(given):
        raise rule
    try:
        return date.fromisoformat(given)
    except ValueError as error:
        raise rule from error
