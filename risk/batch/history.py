"""Daily closes up to a day, and the returns of instruments and factors that are made of them."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy import Double, cast, select
from sqlalchemy.orm import Session

from book.reference_data import Instrument
from core.errors import Refused
from risk.as_of import Bar, observations_as_of
from risk.batch.given import Given
from risk.continuous import Adjustment, NoRoll, continuous, contracts_of
from risk.factors import FactorDefinition
from risk.market_data import MarketData, day_of
from risk.sources import DataSource, SeriesMetadata

_DAILY = "1d"
_POINT = 0.01


class NoPrices(Refused):
    """there are no daily prices of it"""


class NotAPrice(Refused):
    """a return needs prices above 0"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Closes:
    """Closes by the exchange's day, in order, and who told them."""

    values: pd.Series
    source: str


def closes_of(session: Session, instruments: Iterable[Instrument], given: Given) -> dict[int, Closes]:
    """Daily closes by instrument, of those that have any.

    Of several sources the one with the most bars, then the first by name. An instrument that has bars of contracts only: these,
    joined by their ratio, so that returns are those of who rolls; where they cannot be joined there are none.
    """
    named = {each.instrument_id: each for each in instruments}
    plain: dict[int, dict[str, dict[date, float]]] = defaultdict(lambda: defaultdict(dict))
    for timestamp, of_a_time in groupby(session.execute(_bars(named, given)), key=itemgetter(0)):
        day = day_of(timestamp)
        if given.oldest <= day <= given.day:
            for _, number, name, close in of_a_time:
                plain[number][name][day] = close
    found = {number: _longest(by_source) for number, by_source in plain.items()}
    for number in named.keys() - found.keys():
        joined = _longest(_of_contracts(session, number, given))
        if joined is not None:
            found[number] = joined
    return {number: closes for number, closes in found.items() if closes is not None}


def _bars(numbers: Mapping[int, Instrument], given: Given) -> Any:
    begin = datetime(given.oldest.year, given.oldest.month, given.oldest.day, tzinfo=UTC) - timedelta(days=1)
    end = datetime(given.day.year, given.day.month, given.day.day, tzinfo=UTC) + timedelta(days=1)
    return (
        select(MarketData.timestamp, MarketData.instrument_id, DataSource.name, cast(MarketData.close, Double))
        .join(DataSource, DataSource.source_id == MarketData.source_id)
        .where(MarketData.instrument_id.in_(list(numbers)), MarketData.timeframe == _DAILY)
        .where(MarketData.expiry.is_(None), MarketData.timestamp >= begin, MarketData.timestamp < end)
        .order_by(MarketData.timestamp)
    )


def _longest(by_source: Mapping[str, Mapping[date, float]]) -> Closes | None:
    told = sorted(by_source.items(), key=lambda item: (-len(item[1]), item[0]))
    if not told:
        return None
    source, values = told[0]
    return Closes(values=pd.Series(values, dtype=np.float64).sort_index(), source=source)


def _of_contracts(session: Session, instrument: int, given: Given) -> dict[str, dict[date, float]]:
    until = datetime(given.day.year, given.day.month, given.day.day, tzinfo=UTC) + timedelta(days=1)
    found: dict[str, dict[date, float]] = {}
    for number, name in session.execute(select(DataSource.source_id, DataSource.name).order_by(DataSource.name)).all():
        contracts = _near(contracts_of(session, instrument, number, timeframe=_DAILY, until=until), given)
        days = {bar.timestamp: day_of(bar.timestamp) for bars in contracts.values() for bar in bars}
        try:
            joined = continuous(contracts, roll_days=given.method.roll_days, days=days, adjustment=Adjustment.RATIO)
        except NoRoll:
            continue
        if joined.bars:
            found[name] = {days[bar.timestamp]: float(bar.close) for bar in joined.bars}
    return found


def _near(contracts: Mapping[date, Sequence[Bar]], given: Given) -> dict[date, list[Bar]]:
    within = {
        expiry: [bar for bar in bars if given.oldest <= day_of(bar.timestamp) <= given.day]
        for expiry, bars in contracts.items()
    }
    return {expiry: bars for expiry, bars in within.items() if bars}


def returns_of(closes: Closes, window: int) -> pd.Series:
    """A day's close by the one before - 1, of the last `window` days. Raises NotAPrice, NoPrices where there are not two."""
    values = closes.values
    if len(values) < 2:
        raise NoPrices("one close makes no return")
    if (values <= 0).any():
        raise NotAPrice(f"a close of {closes.source} is {values.min():g}")
    return (values / values.shift(1) - 1).iloc[1:].tail(window)


def factor_moves(
    session: Session, factors: Sequence[FactorDefinition], given: Given
) -> tuple[dict[int, pd.Series], dict[int, str]]:
    """Each factor's moves by day, and of those that have none why."""
    of_bars = list(session.scalars(select(Instrument).where(Instrument.instrument_id.in_(_instruments(factors)))))
    closes = closes_of(session, of_bars, given)
    moves: dict[int, pd.Series] = {}
    reasons: dict[int, str] = {}
    for factor in factors:
        try:
            told = _levels(session, factor, closes, given)
            moves[factor.factor_id] = _moves(factor, told, given.method.window)
        except Refused as error:
            reasons[factor.factor_id] = f"{type(error).__name__}: {error}"
    return moves, reasons


def _instruments(factors: Iterable[FactorDefinition]) -> list[int]:
    return [each.instrument_id for each in factors if each.instrument_id is not None]


def _levels(session: Session, factor: FactorDefinition, closes: Mapping[int, Closes], given: Given) -> Closes:
    if factor.instrument_id is not None:
        if factor.instrument_id not in closes:
            raise NoPrices(f"{factor.name}: there are no daily bars of its instrument")
        return closes[factor.instrument_id]
    numbers = [factor.series_id] if factor.series_id is not None else _of_its_name(session, factor.name)
    if len(numbers) != 1:
        told = "several sources have" if numbers else "nothing tells it: no"
        raise NoPrices(f"{factor.name}: {told} series `{factor.name}`; `risk factors --set` says which one it is")
    at = datetime(given.day.year, given.day.month, given.day.day, tzinfo=UTC) + timedelta(days=1)
    values = {
        each.observation_date: float(each.value)
        for each in observations_as_of(session, numbers[0], at)
        if given.oldest <= each.observation_date <= given.day
    }
    return Closes(values=pd.Series(values, dtype=np.float64).sort_index(), source="series")


def _of_its_name(session: Session, name: str) -> list[int]:
    return list(session.scalars(select(SeriesMetadata.series_id).where(SeriesMetadata.series_code == name)))


def _moves(factor: FactorDefinition, levels: Closes, window: int) -> pd.Series:
    if factor.unit == "return":
        return returns_of(levels, window)
    if len(levels.values) < 2:
        raise NoPrices(f"{factor.name}: one value makes no change")
    return (levels.values.diff() * _POINT).iloc[1:].tail(window)


def together(series: Mapping[int, pd.Series], minimum: int) -> tuple[pd.DataFrame, dict[int, str]]:
    """Series on the days that all have, a column each; and those that were left aside, the shortest first, for fewer than
    `minimum` such days were left with them."""
    kept = {number: values for number, values in series.items() if len(values) >= minimum}
    reasons = {number: _too_few(len(values), minimum) for number, values in series.items() if number not in kept}
    while kept:
        frame = pd.concat(kept, axis=1, join="inner").sort_index()
        if len(frame) >= minimum:
            return frame, reasons
        # Ties by number, so that it is always the same one.
        shortest = min(kept, key=lambda number: (len(kept[number]), number))
        reasons[shortest] = _too_few(len(frame), minimum, "days in common with the others")
        del kept[shortest]
    return pd.DataFrame(), reasons


def _too_few(found: int, needed: int, what: str = "returns") -> str:
    return f"TooFewObservations: {found} {what}; {needed} are needed"
