"""GET /api/book/pnl/calendar and /attribution: what each day earned, and what made equity change between two days."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response
from msgspec.structs import asdict

from live.api.book_query import currency_of, day_in, node_number
from live.api.encoding import respond_with_etag
from live.api.errors import malformed
from live.api.queries import Query
from live.portfolios import Portfolios

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from book.attribution import Attribution, By

Sessions = Callable[[], AbstractContextManager["Session"]]
# Without a first day, as many as a year is at most.
DEFAULT_DAYS = timedelta(days=365)
_EARLIEST = date.min + DEFAULT_DAYS


def book_pnl_blueprint(portfolios: Portfolios, sessions: Sessions, today: Callable[[], date]) -> Blueprint:
    """The two views; `sessions` answers what the book refuses."""
    blueprint = Blueprint("book_pnl", __name__, url_prefix="/api/book/pnl")

    @blueprint.get("/calendar")
    def show_calendar() -> Response:
        query = Query(portfolios, "from", "to", "node", "currency")
        to_date = day_in(query.text("to"), "to") or today()
        from_date = day_in(query.text("from"), "from") or max(to_date, _EARLIEST) - DEFAULT_DAYS
        with sessions() as session:
            from book.pnl_calendar import calendar_of

            found = calendar_of(session, from_date, to_date, **_asked(query))
        return respond_with_etag({**asdict(found), "total": found.total})

    @blueprint.get("/attribution")
    def show_attribution() -> Response:
        query = Query(portfolios, "from", "to", "by", "node", "currency")
        given_from, given_to = (day_in(query.text(name), name) for name in ("from", "to"))
        now, asked = today(), _asked(query)
        with sessions() as session:
            from book.attribution import attribution_of, period_of

            from_date, to_date = period_of(session, given_from, given_to, now)
            found = attribution_of(session, _by(query), from_date, to_date, **asked)
        return respond_with_etag(attribution_told(found))

    return blueprint


def attribution_told(found: "Attribution") -> dict[str, Any]:
    """As it is answered."""
    equity = None if found.equity is None else asdict(found.equity)
    return {**asdict(found), "lines": [asdict(line) for line in found.lines], "equity": equity}


def _asked(query: Query) -> dict[str, Any]:
    node = query.text("node")
    number = None if node is None else node_number(node)
    portfolio = None if query.portfolio is None else query.portfolio.lower()
    return {"node": number, "portfolio": portfolio, "currency": currency_of(query)}


def _by(query: Query) -> "By":
    from book.attribution import By

    given = query.text("by") or By.INSTRUMENT
    if given not in tuple(By):
        raise malformed(f"`by` must be one of {', '.join(By)}", "by")
    return By(given)
