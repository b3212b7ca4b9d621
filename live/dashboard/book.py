"""/dashboard/book: pages of the book of record, made whole by the server: its tree, P&L by day and by what made it, proposals
and briefings.

They go by the same transactions, deadlines and refusals as /api/book. SQLAlchemy is imported once one of them is asked for.
"""

import re
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response

from live.api.book import BookApi
from live.api.book_query import currency_of, day_in, node_number
from live.api.errors import malformed
from live.api.queries import INSTRUMENT, LARGEST_ID, Query
from live.dashboard.book_days import year_of
from live.dashboard.book_page import PagesOf, given_in, node_in, nodes_above, with_policy
from live.dashboard.book_waterfall import WIDTH, waterfall_of
from live.portfolios import Portfolios

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

ROWS = 50
MOST_POSITIONS = 100
PATH = "/dashboard/book"
# By the page's address: what it is called in the others.
PAGES = {
    "": "Tree",
    "/calendar": "P&L by day",
    "/attribution": "What made it",
    "/proposals": "Proposals",
    "/briefings": "Briefings",
}
DIMENSIONS = ("instrument", "sector", "currency")
_YEAR = re.compile(r"(?:19|20|21)[0-9]{2}", re.ASCII)
_ONE_DAY = timedelta(days=1)
_LONG_AGO = date(1900, 1, 1)
_NOT_MIGRATED = "There is no book of record here, or an older one: python portfolio_manager.py migrate --book makes it."


class BookPages:
    """The pages. `book` answers what is asked of it, and says which day it is."""

    def __init__(self, portfolios: Portfolios, book: BookApi) -> None:
        self._portfolios = portfolios
        self._book = book
        self._pages = PagesOf(
            portfolios, book, path=PATH, pages=PAGES, refused="book_refused.html", not_migrated=_NOT_MIGRATED
        )

    def blueprint(self) -> Blueprint:
        """The routes."""
        blueprint = Blueprint("book_pages", __name__, url_prefix=PATH, template_folder="templates")
        blueprint.after_request(with_policy)
        blueprint.get("")(self.tree)
        blueprint.get("/calendar")(self.calendar)
        blueprint.get("/attribution")(self.attribution)
        blueprint.get("/proposals")(self.proposals)
        blueprint.get("/briefings")(self.briefings)
        return blueprint

    # --- the pages

    def tree(self) -> Response:
        """Every node, or one with all below it: figures, what it holds by instrument, sector or currency, and its positions."""
        query = Query(self._portfolios, "node", "as_of", "currency", "by")
        given = given_in(query, "node", "as_of", "currency", "by")
        node, day, currency = node_in(given), day_in(given["as_of"] or None, "as_of"), _currency(query)
        by = given["by"] or DIMENSIONS[0]
        if by not in DIMENSIONS:
            raise malformed(f"`by` must be one of {', '.join(DIMENSIONS)}", "by")

        def read(session: "Session") -> dict[str, Any]:
            from book.held import largest_held
            from book.nodes import nodes_on
            from book.roll_up import Dimension, lines, tree

            found = tree(session, day or self._book.today(), currency=currency, node=node)
            keyed = lines(session, Dimension(by), found.as_of, currency=found.currency, node=node)
            held = [] if node is None else largest_held(session, node, found.as_of, found.currency, MOST_POSITIONS)
            known = {row["portfolio_node_id"]: row for row in nodes_on(session, found.as_of)}
            return {"found": found, "keyed": keyed, "held": held, "known": known, "above": nodes_above(known, node)}

        return self._pages.answer("book_tree.html", query, "", given | {"by": by}, read, dimensions=DIMENSIONS)

    def calendar(self) -> Response:
        """A year of trading days."""
        query = Query(self._portfolios, "of", "year", "currency")
        given = given_in(query, "of", "year", "currency")
        if given["year"] and not _YEAR.fullmatch(given["year"]):
            raise malformed("`year` must be like 2026", "year")
        of, currency = _of(given), _currency(query)

        def read(session: "Session") -> dict[str, Any]:
            from book.attribution import period_of
            from book.pnl_calendar import calendar_of

            today = self._book.today()
            year = int(given["year"] or today.year)
            first, last = date(year, 1, 1), date(year, 12, 31)
            found = calendar_of(session, first, last, currency=currency, **of)
            # For the link of the year's first day: since when it was what it earned.
            begin = found.days[0].date if found.days else first
            before, _ = period_of(session, None, begin, today)
            return {
                "found": found,
                "shown": year_of(year, found.days, before),
                "year": year,
                "choices": _choices(session, last),
            }

        return self._pages.answer("book_calendar.html", query, "/calendar", given, read)

    def attribution(self) -> Response:
        """What made equity change between two days."""
        query = Query(self._portfolios, "of", "from", "to", "by", "currency")
        given = given_in(query, "of", "from", "to", "by", "currency")
        of, currency = _of(given), _currency(query)
        from_date, to_date = (day_in(given[name] or None, name) for name in ("from", "to"))

        def read(session: "Session") -> dict[str, Any]:
            from book.attribution import By, attribution_of, period_of

            if given["by"] not in ("", *By):
                raise malformed(f"`by` must be one of {', '.join(By)}", "by")
            by = By(given["by"] or By.INSTRUMENT)
            first, last = period_of(session, from_date, to_date, self._book.today())
            if first == last and from_date is None and first > date.min:
                first -= _ONE_DAY
            found = attribution_of(session, by, first, last, currency=currency, **of)
            return {
                "found": found,
                "shown": waterfall_of(found),
                "periods": _periods(session, last),
                "choices": _choices(session, last),
                "dimensions": tuple(By),
            }

        return self._pages.answer("book_attribution.html", query, "/attribution", given, read, width=WIDTH)

    def proposals(self) -> Response:
        """What waited for a person, and what became of it."""
        query = Query(self._portfolios, "status", "instrument", "before")
        given = given_in(query, "status", "instrument", "before")
        before = None if not given["before"] else _whole(given["before"])
        if given["instrument"] and not INSTRUMENT.fullmatch(given["instrument"]):
            raise malformed("`instrument` must be 1 to 29 letters, digits or underscores", "instrument")

        def read(session: "Session") -> dict[str, Any]:
            from book.proposals import STATUSES, proposals_of

            if given["status"].upper() not in ("", *STATUSES):
                raise malformed(f"`status` must be one of {', '.join(STATUSES)}", "status")
            found = proposals_of(
                session,
                limit=ROWS + 1,
                portfolio=query.portfolio and query.portfolio.lower(),
                status=given["status"].upper() or None,
                instrument=given["instrument"].upper() or None,
                before=before,
            )
            rows = [{column.key: getattr(row, column.key) for column in row.__table__.columns} for row in found]
            return {
                "rows": rows[:ROWS],
                "older": rows[ROWS - 1]["id"] if len(rows) > ROWS else "",
                "statuses": STATUSES,
            }

        return self._pages.answer("book_proposals.html", query, "/proposals", given, read)

    def briefings(self) -> Response:
        """The archive of a portfolio's days."""
        query = Query(self._portfolios, "before")
        given = given_in(query, "before")
        before = day_in(given["before"] or None, "before")
        named = query.portfolio or next(iter(self._portfolios)).engine.portfolio_name

        def read(session: "Session") -> dict[str, Any]:
            from book.briefing import headline
            from book.briefings import briefings_of, kept_of

            found = [kept_of(row) for row in briefings_of(session, named.lower(), limit=ROWS + 1, before=before)]
            rows = [
                (kept, headline(kept.portfolio, kept.briefing_date, kept.parts).partition(": ")[2])
                for kept in found[:ROWS]
            ]
            return {
                "rows": rows,
                "older": found[ROWS - 1].briefing_date if len(found) > ROWS else "",
                "of": named.lower(),
            }

        return self._pages.answer("book_briefings.html", query, "/briefings", given, read)


def _of(given: dict[str, str]) -> dict[str, Any]:
    """A node's number, or the name of a portfolio."""
    of = given["of"]
    if not of:
        return {}
    return {"node": node_number(of)} if of[0].isdigit() else {"portfolio": of.lower()[:100]}


def _currency(query: Query) -> str | None:
    return currency_of(query) if query.text("currency") else None


def _whole(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:20]) <= LARGEST_ID:
        raise malformed("`before` must be a whole number", "before")
    return int(text)


def _choices(session: "Session", day: date) -> list[tuple[str, str]]:
    """Of what P&L can be asked for: nodes, each below its parent, and the portfolios that hang on them."""
    from book.nodes import nodes_on

    rows = nodes_on(session, day)
    below: dict[int | None, list[Any]] = {}
    for row in rows:
        below.setdefault(row["parent_id"], []).append(row)
    found: list[tuple[str, str]] = []

    def add(parent: int | None, depth: int) -> None:
        for row in sorted(below.get(parent, ()), key=lambda each: str(each["name"])):
            # Spaces at the beginning of an option are not shown.
            found.append((str(row["portfolio_node_id"]), f"{chr(0xA0) * 3 * depth}{row['name']}"))
            found.extend((name, f"{chr(0xA0) * 3 * (depth + 1)}portfolio {name}") for name in row["portfolios"])
            add(row["portfolio_node_id"], depth + 1)

    add(None, 0)
    return found


def _periods(session: "Session", last: date) -> list[tuple[str, date]]:
    """Days that are often begun with, of those before `last`."""
    from book.attribution import period_of

    if last < _LONG_AGO:
        return []
    before, _ = period_of(session, None, last, last)
    month, year = last.replace(day=1), last.replace(month=1, day=1)
    asked = [("the last day", before), ("seven days", last - 7 * _ONE_DAY)]
    asked += [(f"since {first:%-d %b}", first - _ONE_DAY) for first in (month, year)]
    return [(name, day) for name, day in dict(asked).items() if day < last]
