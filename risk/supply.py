"""What the tables tell of an instrument as of an instant to whoever asks: ATR, volatility, correlations, the last mark.

Nothing is written, and nothing that decides asks: what the engine decides on, alerts tell it. A figure that cannot be made is
missing with its reason, and never 0.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import combinations, pairwise

from msgspec import Struct
from sqlalchemy import select
from sqlalchemy.orm import Session

from book.reference_data import Instrument
from core.errors import Refused
from core.indicators import AverageTrueRange
from core.numbers import exactly
from risk.analytics.refusals import ConstantSeries, OutOfRange, TooFewObservations
from risk.as_of import Bar, BarsOf, NoSuchBars, bars_as_of
from risk.continuous import Adjustment, NoRoll, continuous, contracts_of
from risk.market_data import TIMEFRAMES, MarketData, day_of
from risk.sources import DataSource

# How much of Wilder's average is of bars before so many periods: (1 - 1/14)^(20 x 14), one part in a thousand million.
_PERIODS = 20
_DAILY = "1d"
_FEWEST = 2
# The exchange's day of a time. Raises BeyondHorizon where no calendar tells.
DayOf = Callable[[str, datetime], date]


class Stale(Refused):
    """the last bar is too old to tell anything of today"""


class Method(Struct, frozen=True, kw_only=True):
    """ATR of so many bars of a timeframe; volatility and correlations of so many daily returns, a year having `days_per_year`.

    What was over more than `stale_days` days before is stale. Contracts are left `roll_days` days before their expiry.
    """

    atr_period: int = 14
    atr_timeframe: str = _DAILY
    returns: int = 60
    days_per_year: float = 250.0
    stale_days: int = 10
    roll_days: int = 8

    def __post_init__(self) -> None:
        if self.atr_period < 1 or self.returns < _FEWEST or self.days_per_year <= 0 or self.stale_days < 0:
            raise OutOfRange("an ATR needs 1 bar, a volatility 2 returns, a year more than 0 days")


class Figure(Struct, frozen=True, kw_only=True):
    """A figure with how many bars or returns it is of, whose they are and when the last one was over; or why there is none."""

    value: Decimal | float | None = None
    observations: int = 0
    source: str | None = None
    time: datetime | None = None
    reason: str | None = None


class Mark(Struct, frozen=True, kw_only=True):
    """The close of the last bar that was over (points), when that was, who told it; of a contract where there is an expiry."""

    price: Decimal | None = None
    time: datetime | None = None
    source: str | None = None
    timeframe: str | None = None
    expiry: date | None = None
    reason: str | None = None


class Correlation(Struct, frozen=True, kw_only=True):
    """Of two instruments' daily returns on the days that both have."""

    instrument: str
    other: str
    value: float | None = None
    observations: int = 0
    reason: str | None = None


class Told(Struct, frozen=True, kw_only=True):
    """One instrument: ATR in points, volatility a year as a fraction (0.2 = 20 %), last mark."""

    instrument: str
    atr: Figure
    volatility: Figure
    mark: Mark


class Supplied(Struct, frozen=True, kw_only=True):
    """What was known at an aware instant; a correlation for each pair."""

    as_of: datetime
    instruments: tuple[Told, ...]
    correlations: tuple[Correlation, ...]


class _Bars(Struct, frozen=True, kw_only=True):
    """The last bars of an instrument, and who told them."""

    bars: list[Bar]
    source: str
    length: timedelta

    @property
    def over(self) -> datetime:
        """When the last one was."""
        return self.bars[-1].timestamp + self.length


def supply(session: Session, symbols: Sequence[str], at: datetime, method: Method, *, day_at: DayOf) -> Supplied:
    """ATR, volatility, last mark of each instrument, and correlations of each pair, of bars that were over at an aware instant.

    Of several sources the one with the most bars is taken, of equals the first by name. An instrument that has bars of
    contracts alone: these, rolled as positions are, joined by differences for the ATR (so it is of the last contract's points),
    by ratios for returns. Raises NoSuchBars where the master has no such instrument.
    """
    if at.utcoffset() is None:
        raise ValueError(f"{at} has no time zone")
    told: list[Told] = []
    returns: dict[str, dict[date, float] | Refused] = {}
    for symbol in symbols:
        instrument = session.scalar(select(Instrument).where(Instrument.symbol == symbol))
        if instrument is None:
            raise NoSuchBars(f"{symbol} is not in the master of instruments")
        reading = _Reading(session, instrument, at, method, day_at)
        volatility, returns[symbol] = reading.volatility()
        told.append(Told(instrument=symbol, atr=reading.atr(), volatility=volatility, mark=reading.mark()))
    pairs = tuple(_correlation(*pair, returns, method.returns) for pair in combinations(dict.fromkeys(symbols), 2))
    return Supplied(as_of=at, instruments=tuple(told), correlations=pairs)


class _Reading:
    """One instrument's bars as of an instant."""

    def __init__(self, session: Session, instrument: Instrument, at: datetime, method: Method, day_at: DayOf) -> None:
        self._session, self._instrument, self._at, self._method, self._day_at = session, instrument, at, method, day_at

    def atr(self) -> Figure:
        """Wilder's, of as many bars as still count."""
        method = self._method
        try:
            found = self._bars(method.atr_timeframe, method.atr_period * _PERIODS, Adjustment.DIFFERENCE)
            self._require_fresh(found)
            value = average_true_range(found.bars, method.atr_period)
        except Refused as error:
            return Figure(reason=_named(error))
        return Figure(value=value, observations=len(found.bars), source=found.source, time=found.over)

    def volatility(self) -> tuple[Figure, dict[date, float] | Refused]:
        """A year's, and the returns by day that it is of."""
        try:
            found = self._bars(_DAILY, self._method.returns + 1, Adjustment.RATIO)
            self._require_fresh(found)
            returns = log_returns(found.bars)
            value = realised_volatility(list(returns.values()), self._method.returns, self._method.days_per_year)
        except Refused as error:
            return Figure(reason=_named(error)), error
        return Figure(value=value, observations=len(returns), source=found.source, time=found.over), returns

    def mark(self) -> Mark:
        """The newest close of any timeframe and source; of the nearest contract where there are bars of contracts alone."""
        found = self._newest(None)
        if found is None:
            found = next((mark for expiry in self._expiries() if (mark := self._newest(expiry)) is not None), None)
        if found is None:
            return Mark(reason=_named(NoSuchBars(f"no bar of {self._instrument.symbol} was over by then")))
        if found.time is not None and self._is_stale(found.time):
            return Mark(reason=_named(self._stale(found.time)))
        return found

    def _newest(self, expiry: date | None) -> Mark | None:
        found: list[Mark] = []
        for source, name in self._sources():
            for timeframe, length in TIMEFRAMES.items():
                for bar in bars_as_of(self._session, self._of(source, timeframe, expiry), self._at, last=1):
                    over = bar.timestamp + length
                    mark = Mark(price=bar.close, time=over, source=name, timeframe=timeframe, expiry=expiry)
                    found.append(mark)
        # Of equals the first by source's name, the shorter bar.
        return max(found, key=lambda mark: mark.time or self._at, default=None)

    def _bars(self, timeframe: str, last: int, adjustment: Adjustment) -> _Bars:
        length = TIMEFRAMES[timeframe]
        plain = [
            _Bars(bars=bars, source=name, length=length)
            for source, name in self._sources()
            if (bars := bars_as_of(self._session, self._of(source, timeframe, None), self._at, last=last))
        ]
        found = plain or self._of_contracts(timeframe, last, adjustment)
        if not found:
            raise NoSuchBars(f"no bar of {self._instrument.symbol} {timeframe} was over by then")
        return max(found, key=lambda each: len(each.bars))

    def _of_contracts(self, timeframe: str, last: int, adjustment: Adjustment) -> list[_Bars]:
        """Of the sources whose contracts can be joined. Raises NoRoll where none's can."""
        found: list[_Bars] = []
        problems: list[NoRoll] = []
        for source, name in self._sources():
            try:
                bars = self._joined(source, timeframe, adjustment)
            except NoRoll as error:
                problems.append(error)
                continue
            if bars:
                found.append(_Bars(bars=bars[-last:], source=name, length=TIMEFRAMES[timeframe]))
        if problems and not found:
            raise problems[0]
        return found

    def _joined(self, source: int, timeframe: str, adjustment: Adjustment) -> list[Bar]:
        until = self._at - TIMEFRAMES[timeframe]
        number, exchange = self._instrument.instrument_id, self._instrument.exchange or ""
        contracts = contracts_of(self._session, number, source, timeframe=timeframe, until=until)
        times = {bar.timestamp for own in contracts.values() for bar in own}
        days = {time: day_of(time) if timeframe == _DAILY else self._day_at(exchange, time) for time in times}
        joined = continuous(contracts, roll_days=self._method.roll_days, days=days, adjustment=adjustment)
        return list(joined.bars)

    def _of(self, source: int, timeframe: str, expiry: date | None) -> BarsOf:
        return BarsOf(
            instrument_id=self._instrument.instrument_id, source_id=source, timeframe=timeframe, expiry=expiry
        )

    def _sources(self) -> list[tuple[int, str]]:
        asked = select(DataSource.source_id, DataSource.name).order_by(DataSource.name)
        return [(row.source_id, row.name) for row in self._session.execute(asked)]

    def _expiries(self) -> list[date]:
        """Of futures that have not expired, the nearest first."""
        asked = (
            select(MarketData.expiry)
            .where(MarketData.instrument_id == self._instrument.instrument_id, MarketData.strike.is_(None))
            .where(MarketData.expiry >= self._at.astimezone(UTC).date(), MarketData.timestamp <= self._at)
            .distinct()
            .order_by(MarketData.expiry)
        )
        return [expiry for expiry in self._session.scalars(asked) if expiry is not None]

    def _require_fresh(self, found: _Bars) -> None:
        if self._is_stale(found.over):
            raise self._stale(found.over)

    def _is_stale(self, over: datetime) -> bool:
        return self._at - over > timedelta(days=self._method.stale_days)

    def _stale(self, over: datetime) -> Stale:
        return Stale(f"its last bar was over at {over:%Y-%m-%d %H:%M} UTC, {(self._at - over).days} days before")


@exactly
def average_true_range(bars: Sequence[Bar], period: int) -> Decimal:
    """Wilder's average true range of the last bar, in points: New Concepts in Technical Trading Systems (1978).

    The mean of the first `period` true ranges, then (before x (period - 1) + true range) / period. Raises TooFewObservations.
    """
    average, value = AverageTrueRange(period), None
    for bar in bars:
        value = average.after(bar.high, bar.low, bar.close)
    if value is None:
        raise TooFewObservations(f"{len(bars)} bars; {period} are needed")
    return value


def log_returns(bars: Sequence[Bar]) -> dict[date, float]:
    """ln(close / close before) by day, of daily bars in order. Raises OutOfRange where a close is not above 0."""
    if low := next((bar for bar in bars if bar.close <= 0), None):
        raise OutOfRange(f"a return needs prices above 0, and the close of {day_of(low.timestamp)} is {low.close:f}")
    return {day_of(bar.timestamp): math.log(bar.close / before.close) for before, bar in pairwise(bars)}


def realised_volatility(returns: Sequence[float], needed: int, days_per_year: float) -> float:
    """The sample deviation (n - 1) of the last `needed` daily log returns x sqrt(days_per_year): close to close.

    Hull, Options, Futures and Other Derivatives, chapter 15, "Estimating volatility from historical data".
    Raises TooFewObservations.
    """
    if len(returns) < needed:
        raise TooFewObservations(f"{len(returns)} returns; {needed} are needed")
    return statistics.stdev(returns[-needed:]) * math.sqrt(days_per_year)


def correlation(first: Mapping[date, float], second: Mapping[date, float], needed: int) -> float:
    """Pearson's, of the last `needed` days that both have. Raises TooFewObservations, ConstantSeries."""
    days = sorted(first.keys() & second.keys())[-needed:]
    if len(days) < needed:
        raise TooFewObservations(f"{len(days)} days in common; {needed} are needed")
    pair = [first[day] for day in days], [second[day] for day in days]
    try:
        return statistics.correlation(*pair)
    except statistics.StatisticsError as error:
        raise ConstantSeries("one of them does not move") from error


def _correlation(
    instrument: str, other: str, returns: Mapping[str, dict[date, float] | Refused], needed: int
) -> Correlation:
    one, two = returns[instrument], returns[other]
    for symbol, told in ((instrument, one), (other, two)):
        if isinstance(told, Refused):
            return Correlation(instrument=instrument, other=other, reason=f"{symbol}: {_named(told)}")
    assert isinstance(one, dict)  # noqa: S101 - just seen
    assert isinstance(two, dict)  # noqa: S101
    try:
        value = correlation(one, two, needed)
    except Refused as error:
        return Correlation(instrument=instrument, other=other, reason=_named(error))
    return Correlation(instrument=instrument, other=other, value=value, observations=needed)


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
