"""/api/risk: what the daily batch kept of the book's days, the market data, and the batch itself.

Estimates are JSON numbers; prices and quantities, and P&L by the book, exact as everywhere.
"""

import re
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import structlog
from flask import Blueprint, Response

from live.api.bodies import CommandBody
from live.api.book import NAME_LENGTH, BookApi
from live.api.book_files import chosen, days, worked
from live.api.book_query import day_in
from live.api.encoding import respond, respond_with_etag
from live.api.errors import HttpRefused, malformed
from live.api.pages import cut
from live.api.queries import LARGEST_ID, Query
from live.book_work import RETRY_AFTER_SECONDS, Busy

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

# As the batch and the tables have them; tests compare.
METHODS = ("historical", "normal", "monte_carlo")
CONFIDENCES = {"0.95": "95%", "0.99": "99%"}
TIMEFRAMES = ("1m", "3m", "5m", "10m", "15m", "30m", "45m", "1h", "2h", "3h", "4h", "1d", "1w")
MOST_DAYS = 3_660
DEFAULT_DAYS = timedelta(days=365)
POSITION = r"(position|holding)/[0-9]{1,19}"
SOURCE = r"[a-z][a-z0-9._-]{0,49}"
TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z"
_POSITION, _SOURCE, _TIME = (re.compile(pattern, re.ASCII) for pattern in (POSITION, SOURCE, TIME))
_EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
_LATEST = datetime(9999, 1, 1, tzinfo=UTC)
LONGEST_SCENARIO = 100
log = structlog.get_logger("live.risk")


class RiskApi:
    """The views and the one command; `api` has the book's session, and what it refuses."""

    def __init__(self, api: BookApi) -> None:
        self._api = api

    def blueprint(self) -> Blueprint:
        """Its routes."""
        blueprint = Blueprint("risk", __name__, url_prefix="/api/risk")
        blueprint.get("/days")(self.list_days)
        blueprint.get("/nodes")(self.list_nodes)
        blueprint.get("/positions")(self.list_positions)
        blueprint.get("/exposures")(self.show_exposures)
        blueprint.get("/correlations")(self.show_correlations)
        blueprint.get("/stress")(self.show_stress)
        blueprint.get("/value_at_risk")(self.show_value_at_risk)
        blueprint.get("/scenarios")(self.list_scenarios)
        blueprint.get("/factors")(self.list_factors)
        blueprint.get("/steps")(self.list_steps)
        blueprint.get("/bars")(self.list_bars)
        blueprint.post("/batch")(self.run_batch)
        return blueprint

    # --- days that were reckoned

    def list_days(self) -> Response:
        """The days, the newest first."""
        query = self._api.query("limit", "before")
        limit, before = query.limit(), day_in(query.text("before"), "before")
        with self._session() as session:
            from risk import asked

            rows = asked.days(session, before=before, most=limit + 1)
        return respond_with_etag(cut("days", "date", limit, rows))

    def list_nodes(self) -> Response:
        """A day's nodes with their measures, or one of them."""
        query = self._api.query("date", "node", "limit", "after")
        given, node = _day(query), query.whole("node", LARGEST_ID)
        limit, after = query.limit(), query.whole("after", LARGEST_ID) or 0
        with self._session() as session:
            from risk import asked

            day = asked.day_of(session, given)
            rows = asked.nodes(session, day, node=node, after=after, most=limit + 1)
        return respond_with_etag({"date": day, **cut("nodes", "portfolio_node_id", limit, rows)})

    def list_positions(self) -> Response:
        """A day's positions; of a node with their values and contributions there."""
        query = self._api.query("date", "node", "limit", "after")
        given, node, limit, after = _day(query), query.whole("node", LARGEST_ID), query.limit(), _after(query)
        with self._session() as session:
            from risk import asked

            day = asked.day_of(session, given)
            rows, of = asked.positions(session, day, node=node, after=after, most=limit + 1)
        currency = None if of is None else of.currency
        return respond_with_etag({"date": day, "node_currency": currency, **cut("positions", "position", limit, rows)})

    def show_exposures(self) -> Response:
        """A node's factors."""
        query = self._api.query("date", "node")
        given, node = _day(query), _node(query)
        with self._session() as session:
            from risk import asked

            day = asked.day_of(session, given)
            found = asked.exposures(session, day, node)
        return respond_with_etag({"date": day, **found})

    def show_correlations(self) -> Response:
        """Of what a node held."""
        query = self._api.query("date", "node")
        given, node = _day(query), _node(query)
        with self._session() as session:
            from risk import asked, reckoned

            day = asked.day_of(session, given)
            asked.node_of(session, day, node).require_complete()
            found = reckoned.correlations(session, day, node)
        return respond_with_etag({"date": day, "portfolio_node_id": node, **found})

    def show_stress(self) -> Response:
        """What scenarios would have earned a node; of one of them also each of its positions."""
        query = self._api.query("date", "node", "scenario", "limit", "after")
        given, node, scenario = _day(query), _node(query), _scenario(query)
        limit, after = query.limit(), _after(query)
        with self._session() as session:
            from risk import asked

            day = asked.day_of(session, given)
            found = asked.stress(session, day, node, scenario=scenario)
            rows: list[dict[str, Any]] = []
            if scenario is not None:
                rows = asked.stressed_positions(session, day, node, scenario, after=after, most=limit + 1)
        return respond_with_etag({"date": day, **found, **cut("positions", "position", limit, rows)})

    def show_value_at_risk(self) -> Response:
        """What was foreseen day by day, and what came."""
        query = self._api.query("node", "from", "to", "method", "confidence")
        node, (begins, ends) = _node(query), self._period(query)
        method = chosen(query, "method", METHODS) or METHODS[0]
        confidence = chosen(query, "confidence", tuple(CONFIDENCES)) or next(iter(CONFIDENCES))
        with self._session() as session:
            from risk import asked

            found = asked.value_at_risk(session, node, begins, ends, method=method, confidence=CONFIDENCES[confidence])
        told = {"portfolio_node_id": node, "method": method, "confidence": float(confidence)}
        return respond_with_etag({**told, "from_date": begins, "to_date": ends, **found})

    def list_steps(self) -> Response:
        """The log of a day's batch."""
        given = _day(self._api.query("date"))
        with self._session() as session:
            from risk import asked

            day, found = asked.steps(session, given)
        return respond_with_etag({"date": day, "steps": found})

    # --- what it is reckoned with

    def list_scenarios(self) -> Response:
        """The scenarios and their shocks."""
        self._api.query()
        with self._session() as session:
            from risk import reading

            found = reading.scenarios(session)
        return respond_with_etag({"scenarios": found})

    def list_factors(self) -> Response:
        """The factors and what tells them."""
        self._api.query()
        with self._session() as session:
            from risk import reading

            found = reading.factors(session)
        return respond_with_etag({"factors": found})

    def list_bars(self) -> Response:
        """Bars, the newest first, as they were known at a time."""
        names = ("timeframe", "from", "to", "as_of", "source", "expiry", "limit", "before")
        query = self._api.query("instrument", *names)
        instrument = query.instrument()
        if instrument is None:
            raise malformed("`instrument` is required", "instrument")
        timeframe, limit = chosen(query, "timeframe", TIMEFRAMES) or "1d", query.limit()
        expiry, (begins, ends) = day_in(query.text("expiry"), "expiry"), days(query)
        source, before, at = source_in(query), _time(query), instant_in(query, self._api.now(), self._api.today())
        with self._session() as session:
            from risk.bars import page_of_bars

            told_by, found = page_of_bars(
                session,
                instrument,
                timeframe,
                at=at,
                most=limit + 1,
                source=source,
                expiry=expiry,
                begins=begins,
                ends=ends,
                before=before,
            )
        told = {"instrument": instrument, "timeframe": timeframe, "source": told_by, "expiry": expiry}
        bars, more = found[:limit], len(found) > limit
        return respond_with_etag({**told, "bars": bars, "next": bars[-1].timestamp if more else None})

    # --- the command

    def run_batch(self) -> Response:
        """Reckon a day, as `risk batch` does, in the book's worker process; one at a time."""
        operator = self._api.require_trader()
        body = CommandBody("date", "again")
        day = body.required("date", day_in(body.text("date", NAME_LENGTH), "date"))
        again = body.flag("again") or False
        with self._session() as session:
            from risk import asked

            asked.days(session, before=None, most=1)  # where there are no tables, that is told first
        desk = self._api.desk()
        try:
            with desk.work.reckoning() as file:
                given = {**desk.batch, "day": day, "again": again, "at": desk.now().isoformat()}
                told = worked(desk, "risk_batch", given, file)
        except Busy as error:
            raise HttpRefused(429, "busy", str(error), headers={"Retry-After": str(RETRY_AFTER_SECONDS)}) from error
        log.info("day reckoned", day=day.isoformat(), operator=operator.shown, changed=told["changed"])
        return respond({"date": day, **told})

    # --- what they share

    def _session(self) -> AbstractContextManager["Session"]:
        return self._api.session()

    def _period(self, query: Query) -> tuple[date, date]:
        begins, ends = days(query)
        ends = ends or max(self._api.today(), begins or date.min)
        begins = begins or max(ends, date.min + DEFAULT_DAYS) - DEFAULT_DAYS
        if (ends - begins).days >= MOST_DAYS:
            raise malformed(f"`from` must be less than {MOST_DAYS} days before `to`", "from")
        return begins, ends


def _day(query: Query) -> date | None:
    return day_in(query.text("date"), "date")


def _node(query: Query) -> int:
    node = query.whole("node", LARGEST_ID)
    if node is None:
        raise malformed("`node` is required: a node's number", "node")
    return node


def _after(query: Query) -> str | None:
    return _matching(query, "after", _POSITION, "a position such as position/12")


def instant_in(query: Query, now: datetime, today: date) -> datetime:
    """When something was known: at a time, at the end of a day, or now."""
    given = query.text("as_of")
    if given is None:
        return now
    if _TIME.fullmatch(given):
        at = _instant(given, "as_of")
    else:
        day = day_in(given, "as_of") or today
        at = min(datetime(day.year, day.month, day.day, tzinfo=UTC), _LATEST) + timedelta(days=1)
    return min(max(at, _EARLIEST), _LATEST)


def source_in(query: Query) -> str | None:
    """The source that is named."""
    return _matching(query, "source", _SOURCE, "a source's name: a letter, then a-z, 0-9 and . _ -")


def _scenario(query: Query) -> str | None:
    given = query.text("scenario")
    if given is not None and not 0 < len(given) <= LONGEST_SCENARIO:
        raise malformed(f"`scenario` must be 1 to {LONGEST_SCENARIO} characters", "scenario")
    return given


def _time(query: Query) -> datetime | None:
    given = _matching(query, "before", _TIME, "a time such as 2026-01-14T06:15:00Z")
    return None if given is None else _instant(given, "before")


def _instant(given: str, name: str) -> datetime:
    try:
        return datetime.fromisoformat(given)
    except ValueError as error:
        raise malformed(f"`{name}` must be a time such as 2026-01-14T06:15:00Z", name) from error


def _matching(query: Query, name: str, pattern: "re.Pattern[str]", rule: str) -> str | None:
    given = query.text(name)
    if given is not None and not pattern.fullmatch(given):
        raise malformed(f"`{name}` must be {rule}", name)
    return given
