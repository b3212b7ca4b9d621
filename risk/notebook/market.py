"""Frames of market data: bars, series, contracts as one, and what is wrong with bars."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from sqlalchemy import Double, cast, select
from sqlalchemy.orm import Session

import core.config
from book.reference_data import Instrument
from core.config import read_json_object, validated
from core.trading_calendar import TradingCalendar
from risk.as_of import BarsOf, NoSuchBars, NoSuchSeries, bars_as_of, bars_of, observations_as_of, series_of
from risk.continuous import Adjustment, Continuous, continuous, contracts_of
from risk.market_data import TIMEFRAMES, MarketData
from risk.notebook.frames import Told, day_told, frame, instant_told
from risk.notebook.reader import Reader
from risk.quality import findings
from risk.register import kept_bars, kept_series
from risk.sources import DataSource, SeriesMetadata

_CALENDAR = Path(core.config.__file__).parent / "data" / "trading_calendar.json"
_A_DAY = timedelta(days=1)
_HALF_A_DAY = timedelta(hours=12)
_PRICES = ("open", "high", "low", "close", "settlement", "volume", "open_interest")
_NUMBERS = dict.fromkeys(_PRICES, "number")
_MOST = 10_000_000


class MarketFrames(Reader):
    """What the market was, as it was known at a time."""

    def bars(
        self,
        instrument: str,
        timeframe: str = "1d",
        begins: Told | None = None,
        ends: Told | None = None,
        *,
        as_of: Told | None = None,
        expiry: Told | None = None,
        source: str | None = None,
    ) -> pd.DataFrame:
        """Bars that were over at `as_of` (now; a day: at its end), by the times when they opened. Prices in points.

        `begins` and `ends`: days, both included, of bars of a day or a week those of the exchange, else of UTC; or aware
        instants, the second not included. Bars of a day or a week have their `day` besides. Raises NoSuchBars.
        """
        with self.reading() as session:
            of = bars_of(
                session, instrument, timeframe, source=source, expiry=None if expiry is None else day_told(expiry)
            )
            until = self._at(as_of) - TIMEFRAMES[timeframe]
            asked = select(MarketData.timestamp, *(cast(getattr(MarketData, name), Double) for name in _PRICES))
            asked = asked.where(*of.where(), MarketData.timestamp <= until).order_by(MarketData.timestamp)
            if begins is not None:
                asked = asked.where(MarketData.timestamp >= _time(begins, timeframe, at_its_end=False))
            if ends is not None:
                asked = asked.where(MarketData.timestamp < _time(ends, timeframe, at_its_end=True))
            found = frame(session.execute(asked).all(), {"time": "time", **_NUMBERS}, index="time")
        return _with_days(found, timeframe)

    def series(self, code: str, source: str | None = None, *, as_of: Told | None = None) -> pd.DataFrame:
        """A series by day, each value as the newest revision told it that was out at `as_of` (now; a day: at its end).

        Raises NoSuchSeries, also where several sources have one of that code and none is named.
        """
        with self.reading() as session:
            number = series_of(session, source or _source_of(session, code), code)
            told = observations_as_of(session, number, self._at(as_of))
        rows = [(each.observation_date, each.value, each.revision, each.release_time) for each in told]
        return frame(rows, {"day": "day", "value": "number", "revision": "whole", "released": "time"}, index="day")

    def continuous(
        self,
        instrument: str,
        timeframe: str = "1d",
        *,
        adjustment: str = "difference",
        roll_days: int = 8,
        source: str | None = None,
        as_of: Told | None = None,
    ) -> pd.DataFrame:
        """One series of all contracts, with the expiry of the one that each bar is of; what came before a roll is moved by its
        spread: `difference`, `ratio` or `none`. Raises NoSuchBars, NoRoll."""
        joined = self._joined(instrument, timeframe, adjustment, roll_days, source, as_of)
        rows = [
            (bar.timestamp, *(getattr(bar, name) for name in _PRICES), expiry)
            for bar, expiry in zip(joined.bars, joined.expiries, strict=True)
        ]
        return _with_days(frame(rows, {"time": "time", **_NUMBERS, "expiry": "day"}, index="time"), timeframe)

    def rolls(
        self,
        instrument: str,
        timeframe: str = "1d",
        *,
        roll_days: int = 8,
        source: str | None = None,
        as_of: Told | None = None,
    ) -> pd.DataFrame:
        """The rolls of such a series, the first one first: from which contract to which, at which closes."""
        joined = self._joined(instrument, timeframe, "none", roll_days, source, as_of)
        columns = {"time": "time", "near": "day", "far": "day"}
        numbers = ("near_close", "far_close", "spread", "ratio")
        rows = [
            (roll.timestamp, roll.near, roll.far, *(getattr(roll, name) for name in numbers)) for roll in joined.rolls
        ]
        return frame(rows, {**columns, **dict.fromkeys(numbers, "number")}, index="time")

    def quality(
        self,
        instrument: str,
        timeframe: str = "1d",
        *,
        since: Told | None = None,
        as_of: Told | None = None,
        expiry: Told | None = None,
        source: str | None = None,
    ) -> pd.DataFrame:
        """What is wrong with bars, by our trading calendar: gaps, splits, bad ticks, stale stretches. With `as_of`, also whether
        bars are missing at the end by then. Raises NoSuchBars."""
        with self.reading() as session:
            of = bars_of(
                session, instrument, timeframe, source=source, expiry=None if expiry is None else day_told(expiry)
            )
            bars = bars_as_of(session, of, self._at(as_of), last=_MOST)
            exchange = _exchange(session, instrument)
        if since is not None:
            bars = [bar for bar in bars if bar.timestamp >= _time(since, timeframe, at_its_end=False)]
        at = None if as_of is None else self._at(as_of)
        found = findings(bars, timeframe=timeframe, calendar=calendar(), exchange=exchange, as_of=at)
        rows = [(each.kind, each.first, each.last, each.detail) for each in found]
        return frame(rows, {"kind": "text", "first": "time", "last": "time", "detail": "text"})

    def kept(self) -> pd.DataFrame:
        """Which bars there are: how many of which instrument, contract, timeframe and source, from when to when."""
        kinds = {"instrument": "text", "timeframe": "text", "source": "text", "expiry": "day", "options": "yes"}
        with self.reading() as session:
            return _of_mappings(kept_bars(session), {**kinds, "bars": "whole", "first": "time", "last": "time"})

    def kept_series(self) -> pd.DataFrame:
        """Every series of every source."""
        names = ("source", "series_code", "name", "frequency", "unit", "instrument")
        with self.reading() as session:
            return _of_mappings(kept_series(session), dict.fromkeys(names, "text"))

    def _at(self, as_of: Told | None) -> datetime:
        return self._clock() if as_of is None else instant_told(as_of)

    def _joined(
        self,
        instrument: str,
        timeframe: str,
        adjustment: str,
        roll_days: int,
        source: str | None,
        as_of: Told | None,
    ) -> Continuous:
        with self.reading() as session:
            of = _of_contracts(session, instrument, timeframe, source)
            until = self._at(as_of) - TIMEFRAMES[timeframe]
            contracts = contracts_of(session, of.instrument_id, of.source_id, timeframe=timeframe, until=until)
            exchange = _exchange(session, instrument)
        trading = calendar()
        times = {bar.timestamp for own in contracts.values() for bar in own}
        days = {time: trading.day_of(exchange, time) for time in times}
        return continuous(contracts, roll_days=roll_days, days=days, adjustment=Adjustment(adjustment))


def _of_mappings(rows: Sequence[Any], columns: dict[str, str]) -> pd.DataFrame:
    return frame([[row[name] for name in columns] for row in rows], columns)


def _time(told: Told, timeframe: str, *, at_its_end: bool) -> datetime:
    """A bar of a day begins at midnight on the exchange's clock, at most half a day from UTC's."""
    found = instant_told(told, at_its_end=at_its_end)
    is_day = not isinstance(told, datetime) and len(str(told)) == len("2026-01-14")
    return found - _HALF_A_DAY if is_day and TIMEFRAMES[timeframe] >= _A_DAY else found


def _with_days(found: pd.DataFrame, timeframe: str) -> pd.DataFrame:
    if TIMEFRAMES[timeframe] >= _A_DAY:
        found.insert(0, "day", (found.index + _HALF_A_DAY).normalize())
    return found


def _source_of(session: Session, code: str) -> str:
    asked = select(DataSource.name).join(SeriesMetadata, SeriesMetadata.source_id == DataSource.source_id)
    names = list(session.scalars(asked.where(SeriesMetadata.series_code == code).order_by(DataSource.name)))
    if not names:
        raise NoSuchSeries(f"no source has a series {code}")
    if len(names) > 1:
        raise NoSuchSeries(f"{code}: name one of the sources {', '.join(names)}")
    return names[0]


def _of_contracts(session: Session, instrument: str, timeframe: str, source: str | None) -> BarsOf:
    """Which bars of contracts are meant: those of any expiry."""
    asked = (
        select(MarketData.expiry)
        .join(Instrument, Instrument.instrument_id == MarketData.instrument_id)
        .where(Instrument.symbol == instrument, MarketData.timeframe == timeframe)
        .where(MarketData.expiry.is_not(None), MarketData.strike.is_(None))
    )
    if source is not None:
        asked = asked.join(DataSource, DataSource.source_id == MarketData.source_id).where(DataSource.name == source)
    expiry = session.scalar(asked.order_by(MarketData.expiry).limit(1))
    if expiry is None:
        raise NoSuchBars(f"there are no bars of contracts of {instrument} {timeframe}")
    return bars_of(session, instrument, timeframe, source=source, expiry=expiry)


def _exchange(session: Session, instrument: str) -> str:
    return session.scalar(select(Instrument.exchange).where(Instrument.symbol == instrument)) or ""


def calendar() -> TradingCalendar:
    """The trading calendar that we come with."""
    return validated(TradingCalendar, read_json_object(_CALENDAR), str(_CALENDAR))
