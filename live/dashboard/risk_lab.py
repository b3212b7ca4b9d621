"""/dashboard/risk: the pages that are of no reckoned day: an instrument's contracts, and what-if sessions."""

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response

from live.api.book import BookApi
from live.api.book_query import day_in
from live.api.errors import malformed
from live.api.queries import INSTRUMENT, LARGEST_ID, Query
from live.api.risk_sessions import ROLL_DAYS, day_on
from live.dashboard.book_page import PagesOf, given_in
from live.dashboard.risk_contracts import HEIGHT, curve_of, words_of
from live.dashboard.risk_what_if import change_in_words, exposures_of, measures_of, scenarios_of, side_by_side
from live.portfolios import Portfolios

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

ROWS = 50
_LONGEST_SOURCE = 50


class LabPages:
    """The pages. `book` says in which transactions, and what time it is."""

    def __init__(self, portfolios: Portfolios, book: BookApi, pages: PagesOf) -> None:
        self._portfolios = portfolios
        self._book = book
        self._pages = pages

    def add_to(self, blueprint: Blueprint) -> None:
        """Their routes."""
        blueprint.get("/term-structure")(self.term_structure)
        blueprint.get("/what-if")(self.what_if)

    def term_structure(self) -> Response:
        """What an instrument's contracts cost beside each other."""
        names = ("instrument", "as_of", "source")
        query = Query(self._portfolios, *names)
        given = given_in(query, *names)
        day = day_in(given["as_of"] or None, "as_of")
        end = None if day is None else _end_of(day)
        if given["instrument"] and not INSTRUMENT.fullmatch(given["instrument"]):
            raise malformed("`instrument` must be 1 to 29 letters, digits or underscores", "instrument")
        if len(given["source"]) > _LONGEST_SOURCE:
            raise malformed(f"`source` must be {_LONGEST_SOURCE} characters at most", "source")

        def read(session: "Session") -> dict[str, Any]:
            from risk.shown_contracts import who_tells, with_contracts
            from risk.term_structure import contracts_told, term_structure_as_of

            known = with_contracts(session)
            chosen = given["instrument"].upper() or next(iter(known), "")
            told: dict[str, Any] = {"known": known, "chosen": chosen, "found": None}
            if chosen not in known:
                return told
            sources = who_tells(session, chosen)
            source = given["source"] or sources[0]
            told |= {"sources": sources, "source": source}
            if source not in sources:
                return told
            at = end or self._book.now()
            of = contracts_told(session, chosen, source=source)
            found = term_structure_as_of(session, of, at, day or day_on(of.exchange, at), roll_days=ROLL_DAYS)
            return told | {"found": found, "curve": curve_of(found.contracts), "told": words_of(found)}

        return self._pages.answer(
            "risk_term_structure.html", query, "/term-structure", given, read, height=HEIGHT, roll_days=ROLL_DAYS
        )

    def what_if(self) -> Response:
        """The sessions; one of them before and after; two of them beside each other."""
        names = ("session", "other", "before")
        query = Query(self._portfolios, *names)
        given = given_in(query, *names)
        asked, other, before = (_number(name, given[name]) for name in names)
        if asked is None:
            asked, other = other, None

        def read(session: "Session") -> dict[str, Any]:
            from risk.modelling.listing import sessions

            listed = sessions(session, limit=ROWS + 1, before=before)
            told: dict[str, Any] = {
                "listed": listed[:ROWS],
                "older": listed[ROWS - 1]["session_id"] if len(listed) > ROWS else "",
                "asked_for": asked,
                "other": other,
                "one": None,
            }
            if asked is None:
                return told
            one = _session(session, asked)
            told["one"] = one
            return told if one is None or other is None else told | _beside(one, _session(session, other))

        return self._pages.answer("risk_what_if.html", query, "/what-if", given, read)


def _end_of(day: date) -> datetime:
    if day == date.max:
        raise malformed("`as_of` must be an earlier day", "as_of")
    return datetime.combine(day + timedelta(days=1), time(), UTC)


def _number(name: str, given: str) -> int | None:
    if not given:
        return None
    if not given.isascii() or not given.isdigit() or not 0 < int(given[:20]) <= LARGEST_ID:
        raise malformed(f"`{name}` must be a whole number", name)
    return int(given)


def _session(session: "Session", number: int) -> dict[str, Any] | None:
    """A session with its changes in words, and what its newest snapshot has kept."""
    from book.nodes import node_of
    from risk.shown_sessions import newest_snapshot, session_told

    found = session_told(session, number)
    if found is None:
        return None
    snapshot = newest_snapshot(session, number)
    told = {
        **found,
        "node": node_of(session, found["portfolio_node_id"]).name,
        "changes": [{**each, "words": change_in_words(each)} for each in found["changes"]],
    }
    if snapshot is None:
        return {**told, "snapshot": None}
    tables = {"Measures": measures_of(snapshot), "Scenarios": scenarios_of(snapshot)}
    return {**told, "snapshot": snapshot, "tables": {**tables, "Exposure to factors": exposures_of(snapshot)}}


def _beside(one: dict[str, Any], second: dict[str, Any] | None) -> dict[str, Any]:
    """Two sessions beside each other, or why they cannot be."""
    if second is None:
        return {"second": None, "apart": "not there"}
    missing = [each["session_id"] for each in (one, second) if each["snapshot"] is None]
    if missing:
        told = ", ".join(str(number) for number in missing)
        return {"second": second, "apart": f"without a snapshot: {told}"}
    if one["snapshot"]["currency"] != second["snapshot"]["currency"]:
        currencies = " and ".join(each["snapshot"]["currency"] for each in (one, second))
        return {"second": second, "apart": f"in different currencies: {currencies}"}
    tables = {name: side_by_side(rows, second["tables"][name]) for name, rows in one["tables"].items()}
    return {"second": second, "apart": "", "tables": tables}
