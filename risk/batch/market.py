"""The first three steps: prices and values, squeezes, returns."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from book.reference_data import Instrument
from core.errors import Refused
from core.numbers import product
from risk.analytics.squeeze import squeeze_risks
from risk.analytics.valuation import SIGNS
from risk.batch.given import Given
from risk.batch.history import Closes, NoPrices, closes_of, returns_of
from risk.batch.holdings import Held, held_on, named
from risk.batch.keeping import keep, positions_of, say
from risk.daily import PositionRisk
from risk.importers.journal import bars_since
from risk.importing import Import, take
from risk.market_data import MarketData
from risk.series import FlowData
from risk.sources import DataSource

_ENGINE = "engine"
_DAILY = "1d"
_COMES_LATE = timedelta(days=7)
# Of `flow_data`: per cent a year, and days of average volume.
SQUEEZE_FLOWS = {"cost_to_borrow": "cost_to_borrow_percent", "days_to_cover": "days_to_cover"}


def market_data(session: Session, given: Given) -> int:
    """Each position of the day with its price and value.

    The price is the book's mark, or the close of a newer bar. Where no source has a bar of the day, bars are made of the
    closes that the portfolio's alerts told. Without a price, or with a stale one, a position has no value, and says why.
    """
    held = held_on(session, given.day)
    instruments = {each.instrument.instrument_id: each.instrument for each in held}
    closes = closes_of(session, instruments.values(), given)
    if _from_alerts(session, held, closes, given):
        closes = closes_of(session, instruments.values(), given)
    rows = [_row(each, closes.get(each.instrument.instrument_id), given) for each in held]
    return keep(session, PositionRisk, given.day, rows)


def _from_alerts(session: Session, held: Iterable[Held], closes: Mapping[int, Closes], given: Given) -> bool:
    """Bars of the closes that alerts told, of what the engine's portfolios hold and nobody has a bar of the day of."""
    wanted: dict[str, dict[str, Instrument]] = defaultdict(dict)
    for each in held:
        if each.portfolio is not None and not _is_of_the_day(closes.get(each.instrument.instrument_id), given.day):
            wanted[each.portfolio][each.instrument.symbol] = each.instrument
    known = _last_bars_of_alerts(session, [each.instrument_id for of in wanted.values() for each in of.values()])
    oldest = datetime(given.oldest.year, given.oldest.month, given.oldest.day, tzinfo=UTC)
    taken = 0
    for portfolio, instruments in sorted(wanted.items()):
        zones = {symbol: _zone(each, given) for symbol, each in instruments.items()}
        # The last days again: what was spooled may come late. Nothing of a day is left out, so that its first close opens it.
        since = {
            symbol: max(oldest, known.get(each.instrument_id, oldest) - _COMES_LATE)
            for symbol, each in instruments.items()
        }
        found = bars_since(session, portfolio, zones, _DAILY, since=since)
        for symbol, told in sorted(found.items()):
            if told.lines:
                asked = Import(
                    kind="bars", zone=zones[symbol], source=_ENGINE, source_kind=_ENGINE, partial=True, replace=True
                )
                done = take(session, asked, told)
                taken += done.inserted + done.changed
    return taken > 0


def _last_bars_of_alerts(session: Session, instruments: Iterable[int]) -> dict[int, datetime]:
    """When the last daily bar opened that was made of alerts, by instrument."""
    asked = (
        select(MarketData.instrument_id, func.max(MarketData.timestamp))
        .join(DataSource, DataSource.source_id == MarketData.source_id)
        .where(MarketData.instrument_id.in_(list(instruments)), MarketData.timeframe == _DAILY)
        .where(DataSource.name == _ENGINE, MarketData.expiry.is_(None))
        .group_by(MarketData.instrument_id)
    )
    return {row[0]: row[1] for row in session.execute(asked)}


def _is_of_the_day(closes: Closes | None, day: date) -> bool:
    return closes is not None and closes.values.index[-1] == day


def _zone(instrument: Instrument, given: Given) -> ZoneInfo:
    known = [table for table in given.calendar.tables if instrument.exchange in table.exchanges]
    return ZoneInfo(known[0].timezone if known else "UTC")


def _row(held: Held, closes: Closes | None, given: Given) -> dict[str, Any]:
    row: dict[str, Any] = {
        "position": held.position,
        "portfolio_node_id": held.portfolio_node_id,
        "instrument_id": held.instrument.instrument_id,
        "symbol": held.instrument.symbol,
        "direction": held.direction,
        "quantity": held.quantity,
        "currency": held.currency,
        "price": None,
        "price_date": None,
        "price_source": None,
        "value": None,
        "reasons": {},
    }
    try:
        price, day, source, currency = _price(held, closes)
        told = {"price": price, "price_date": day, "price_source": source, "currency": currency}
        if day < given.day - timedelta(days=given.method.stale_days):
            reason = f"StalePrice: the last price is of {day}, more than {given.method.stale_days} days before"
            return {**row, **told, "reasons": {"value": reason}}
        return {**row, **told, "value": _value(held, price)}
    except NoPrices as error:
        return {**row, "reasons": {"value": named(error)}}


def _price(held: Held, closes: Closes | None) -> tuple[Decimal, date, str, str]:
    """The price, of which day, by whom, in which currency: the newer of mark and close, and of one day the mark."""
    last = None if closes is None else closes.values.index[-1]
    if held.mark is not None and held.marked_on is not None and (last is None or held.marked_on >= last):
        return held.mark, held.marked_on, "book", held.currency
    if closes is None or last is None:
        raise NoPrices(f"{held.instrument.symbol}: neither a mark of the book nor a daily bar")
    return Decimal(repr(float(closes.values.iloc[-1]))), last, closes.source, held.instrument.currency


def _value(held: Held, price: Decimal) -> float:
    """Signed money: a point is worth `point_value` a lot, as the book reckons it."""
    points = product(held.quantity, price, held.instrument.point_value or 1)
    return SIGNS[held.direction] * float(points) / float(held.instrument.lot_size or 1)


def short_metrics(session: Session, given: Given) -> int:
    """How exposed each short is to a squeeze, by the newest figures of `flow_data` that were out; missing ones are never LOW."""
    positions = positions_of(session, given.day)
    shorts = [each for each in positions if each.direction == "SHORT"]
    for position in positions:
        position.squeeze_level = None
    if shorts:
        table = pd.DataFrame(
            {"instrument": [each.instrument_id for each in shorts], "side": [each.direction for each in shorts]},
            index=[each.position for each in shorts],
        )
        levels = squeeze_risks(table, _figures(session, {each.instrument_id for each in shorts}, given.day))["level"]
        for position in shorts:
            position.squeeze_level = str(levels[position.position])
    session.flush()
    return len(shorts)


def _figures(session: Session, instruments: set[int], day: date) -> pd.DataFrame:
    at = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
    asked = (
        select(FlowData.instrument_id, FlowData.flow_type, FlowData.value)
        .where(FlowData.instrument_id.in_(instruments), FlowData.flow_type.in_(SQUEEZE_FLOWS))
        .where(FlowData.observation_date <= day, FlowData.release_time <= at)
        .ext(distinct_on(FlowData.instrument_id, FlowData.flow_type))
        .order_by(
            FlowData.instrument_id,
            FlowData.flow_type,
            FlowData.observation_date.desc(),
            FlowData.revision.desc(),
            FlowData.series_id,
        )
    )
    found = pd.DataFrame(index=sorted(instruments), columns=[*SQUEEZE_FLOWS.values()], dtype=float)
    for row in session.execute(asked):
        found.loc[row.instrument_id, SQUEEZE_FLOWS[row.flow_type]] = float(row.value)
    return found


def returns(session: Session, given: Given) -> int:
    """Each position's last move, how many returns there are of what it is of, and their standard deviation, a day."""
    positions = positions_of(session, given.day)
    closes = closes_of(session, instruments_of(session, positions), given)
    for position in positions:
        position.day_return = position.volatility = None
        position.observations = 0
        try:
            values = returns_of(_known(closes, position), given.method.window)
        except Refused as error:
            say(position, "returns", named(error))
            continue
        position.observations = len(values)
        enough = len(values) >= given.method.minimum
        position.day_return = float(values.iloc[-1]) if values.index[-1] == given.day else None
        position.volatility = float(values.std(ddof=1)) if enough else None
        too_few = f"TooFewObservations: {len(values)} returns; {given.method.minimum} are needed"
        say(position, "returns", None if enough else too_few)
    session.flush()
    return len(positions)


def _known(closes: Mapping[int, Closes], position: PositionRisk) -> Closes:
    if position.instrument_id not in closes:
        raise NoPrices(f"{position.symbol}: there are no daily bars")
    return closes[position.instrument_id]


def instruments_of(session: Session, positions: Iterable[PositionRisk]) -> list[Instrument]:
    """What positions are of."""
    numbers = {each.instrument_id for each in positions}
    return list(session.scalars(select(Instrument).where(Instrument.instrument_id.in_(numbers))))
