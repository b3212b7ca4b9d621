"""What of a row can only be said beside what is there already: unknown names, rows told twice, and what looks odd."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, cast

from sqlalchemy import Row as Found
from sqlalchemy import Text, func, select
from sqlalchemy import cast as cast_to
from sqlalchemy.dialects.postgresql import ARRAY, distinct_on
from sqlalchemy.orm import Session, aliased

from book.hierarchy import PortfolioNode
from book.market_data import InstrumentPrice, MarketDataFeed
from book.reference_data import FxSpot, Instrument, RatingHistory, ReferenceData
from book.uploads.kinds import FxRow, PositionRow, PriceRow, RatingRow, Row, ServicingRow

_Instrument = Found[str, int, str, str]
# Beyond these a human should look: per cent from one day to the next one that is known, and days.
ODD_PRICE_MOVE_PERCENT = Decimal(20)
ODD_FX_MOVE_PERCENT = Decimal(10)
ODD_DAYS_PAST_DUE = 30


@dataclass(slots=True)
class Checked:
    """A row with what was found: it is not taken where there is a fault; what is only odd is told."""

    line: int
    row: Row
    faults: list[str] = field(default_factory=list)
    oddities: list[str] = field(default_factory=list)
    # What the row's names stand for.
    ids: dict[str, int] = field(default_factory=dict)


def check(session: Session, kind: str, rows: Sequence[Checked], today: date) -> None:
    """Note what is wrong with each row and what is odd; `today` is the desk's."""
    _CHECKS[kind](session, rows, today)
    _refuse_twice(rows, _KEYS[kind])


def _refuse_twice(rows: Iterable[Checked], key_of: Callable[[Any], Hashable]) -> None:
    first: dict[Hashable, int] = {}
    for checked in rows:
        before = first.setdefault(key_of(checked.row), checked.line)
        if before != checked.line:
            checked.faults.append(f"row: says the same of the same as line {before}")


def _instruments(session: Session, rows: Sequence[Checked]) -> dict[str, "_Instrument"]:
    symbols = sorted({cast("Any", checked.row).instrument for checked in rows})
    # One array: each of a million parameters of its own, and each row as an object of the model's, take gigabytes.
    named = Instrument.symbol == func.any(cast_to(symbols, ARRAY(Text)))
    found = session.execute(
        select(Instrument.symbol, Instrument.instrument_id, Instrument.currency, Instrument.kind).where(named)
    )
    return {row.symbol: row for row in found}


def _look_up_instrument(checked: Checked, known: Mapping[str, "_Instrument"]) -> "_Instrument | None":
    symbol = cast("Any", checked.row).instrument
    instrument = known.get(symbol)
    if instrument is None:
        checked.faults.append(f"`instrument`: {symbol} is not in the master of instruments")
        return None
    checked.ids["instrument"] = instrument.instrument_id
    return instrument


def _not_in_the_future(checked: Checked, today: date) -> None:
    day = cast("Any", checked.row).as_of_date
    if day > today:
        checked.faults.append(f"`as_of_date`: {day} lies in the future")


def _other_currency(checked: Checked, instrument: "_Instrument | None") -> None:
    currency = cast("Any", checked.row).currency
    if instrument is not None and currency != instrument.currency:
        checked.oddities.append(f"`currency`: {currency}, the instrument is traded in {instrument.currency}")


def _moved(checked: Checked, column: str, now: Decimal, before: Decimal | None, odd: Decimal) -> None:
    if before is None:
        return
    percent = abs(now - before) * 100 / before
    if percent > odd:
        checked.oddities.append(f"`{column}`: moved by {percent:.1f} % from {before:f}")


def _check_positions(session: Session, rows: Sequence[Checked], _today: date) -> None:
    known = _instruments(session, rows)
    nodes = _nodes_by_path(session)
    for checked in rows:
        row = cast("PositionRow", checked.row)
        _other_currency(checked, _look_up_instrument(checked, known))
        node_id = nodes.get(row.node)
        if node_id is None:
            checked.faults.append(f"`node`: there is no node {row.node}")
        else:
            checked.ids["node"] = node_id


def _nodes_by_path(session: Session) -> dict[str, int]:
    """All nodes by their names from the root on, with slashes between."""
    above, node = aliased(PortfolioNode), PortfolioNode
    paths = (
        select(node.portfolio_node_id, cast_to(node.name, Text).label("path"))
        .where(node.parent_id.is_(None))
        .cte("paths", recursive=True)
    )
    below = select(above.portfolio_node_id, paths.c.path + "/" + above.name).join(
        paths, above.parent_id == paths.c.portfolio_node_id
    )
    paths = paths.union_all(below)
    found = session.execute(select(paths.c.path, paths.c.portfolio_node_id))
    return {row.path: row.portfolio_node_id for row in found}


def _check_prices(session: Session, rows: Sequence[Checked], today: date) -> None:
    known = _instruments(session, rows)
    for checked in rows:
        _other_currency(checked, _look_up_instrument(checked, known))
        _not_in_the_future(checked, today)
    ids = {checked.ids["instrument"] for checked in rows if "instrument" in checked.ids}
    last = {
        row.instrument_id: row
        for row in session.scalars(
            select(InstrumentPrice)
            .where(InstrumentPrice.instrument_id.in_(ids))
            .ext(distinct_on(InstrumentPrice.instrument_id))
            .order_by(InstrumentPrice.instrument_id, InstrumentPrice.as_of_date.desc(), InstrumentPrice.feed_id.desc())
        )
    }
    for checked in rows:
        row, before = cast("PriceRow", checked.row), last.get(checked.ids.get("instrument", 0))
        if before is not None and before.currency == row.currency:
            _moved(checked, "price", row.price, before.price, ODD_PRICE_MOVE_PERCENT)


def _check_fx(session: Session, rows: Sequence[Checked], today: date) -> None:
    pairs = {cast("FxRow", checked.row).pair for checked in rows}
    newest = (
        select(FxSpot.pair, FxSpot.rate)
        .join(MarketDataFeed, MarketDataFeed.feed_id == FxSpot.snapshot_id)
        .where(FxSpot.pair.in_(pairs))
        .ext(distinct_on(FxSpot.pair))
        .order_by(FxSpot.pair, MarketDataFeed.as_of_date.desc(), MarketDataFeed.feed_id.desc())
    )
    last = {row.pair: row.rate for row in session.execute(newest)}
    for checked in rows:
        row = cast("FxRow", checked.row)
        first, second = row.pair.split("/")
        if first == second:
            checked.faults.append("`pair`: is of one currency")
        _not_in_the_future(checked, today)
        _moved(checked, "rate", row.rate, last.get(row.pair), ODD_FX_MOVE_PERCENT)


def _check_ratings(session: Session, rows: Sequence[Checked], today: date) -> None:
    issuers = _issuers(session)
    for checked in rows:
        row = cast("RatingRow", checked.row)
        found = issuers.get(row.issuer, set())
        if len(found) == 1:
            checked.ids["entity"] = next(iter(found))
        else:
            problem = f"{len(found)} issuers are called {row.issuer}" if found else f"there is no issuer {row.issuer}"
            checked.faults.append(f"`issuer`: {problem}")
        _not_in_the_future(checked, today)
    _beside_known_ratings(session, rows)


def _issuers(session: Session) -> dict[str, set[int]]:
    """Issuers by all that they may be called."""
    called: dict[str, set[int]] = {}
    for issuer in session.scalars(select(ReferenceData).where(ReferenceData.entity_type == "ISSUER")):
        for name in (issuer.isin, issuer.cusip, issuer.ticker, issuer.name):
            if name is not None:
                called.setdefault(name, set()).add(issuer.entity_id)
    return called


def _beside_known_ratings(session: Session, rows: Sequence[Checked]) -> None:
    ids = {checked.ids["entity"] for checked in rows if "entity" in checked.ids}
    kept = {
        (rating.entity_id, rating.agency, rating.as_of_date): rating
        for rating in session.scalars(select(RatingHistory).where(RatingHistory.entity_id.in_(ids)))
    }
    for checked in rows:
        row = cast("RatingRow", checked.row)
        before = kept.get((checked.ids.get("entity", 0), row.agency, row.as_of_date))
        if before is None:
            continue
        checked.ids["known"] = before.rating_id
        if (before.rating, before.outlook) == (row.rating, row.outlook):
            checked.oddities.append("row: is known already")
        else:
            checked.faults.append(f"`rating`: of that day {before.rating} is known, told by another upload")


def _check_servicing(session: Session, rows: Sequence[Checked], today: date) -> None:
    known = _instruments(session, rows)
    for checked in rows:
        row = cast("ServicingRow", checked.row)
        instrument = _look_up_instrument(checked, known)
        if instrument is not None and instrument.kind != "loan":
            checked.faults.append(f"`instrument`: {row.instrument} is a {instrument.kind}, no loan")
        _not_in_the_future(checked, today)
        if row.days_past_due > ODD_DAYS_PAST_DUE:
            checked.oddities.append(f"`days_past_due`: {row.days_past_due}")


_CHECKS: dict[str, Callable[[Session, Sequence[Checked], date], None]] = {
    "positions": _check_positions,
    "prices": _check_prices,
    "fx": _check_fx,
    "ratings": _check_ratings,
    "servicing": _check_servicing,
}
_KEYS: dict[str, Callable[[Any], Hashable]] = {
    "positions": lambda row: (row.node, row.instrument),
    "prices": lambda row: (row.instrument, row.as_of_date),
    "fx": lambda row: (row.pair, row.as_of_date),
    "ratings": lambda row: (row.issuer, row.agency, row.as_of_date),
    "servicing": lambda row: (row.instrument, row.as_of_date),
}
