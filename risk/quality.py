"""What is wrong with bars: gaps, splits, bad ticks, stale series. Found and told with their places, never mended."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from itertools import groupby, pairwise
from statistics import median
from zoneinfo import ZoneInfo

from msgspec import Struct

from core.trading_calendar import TradingCalendar
from risk.as_of import Bar
from risk.market_data import TIMEFRAMES

_DAY = timedelta(days=1)
# Shares are split, and consolidated, at such ratios.
_RATIOS = tuple(sorted({Fraction(a, b) for a in range(1, 21) for b in (1, 2, 3, 4) if Fraction(a, b) > 1}))
# The median absolute deviation of a normal distribution is so many of its standard deviations.
_MAD_OF_SIGMA = 0.6745


class Finding(Struct, frozen=True, kw_only=True):
    """What was found: gap, outside, split, bad_tick, stale or unknown; from which bar's time to which (aware UTC), and why."""

    kind: str
    first: datetime
    last: datetime
    detail: str


class Limits(Struct, frozen=True, kw_only=True):
    """From when on something is found. A bad tick is `deviations` robust standard deviations (median absolute deviation / 0.6745)
    away from the median of the `window` bars around it; a split is a jump within `split_tolerance` of a simple ratio of at least
    `split_least`; `stale_bars` bars in a row that are the same are stale."""

    deviations: float = 8.0
    window: int = 21
    split_tolerance: float = 0.02
    split_least: float = 1.4
    stale_bars: int = 5


def findings(
    bars: Sequence[Bar],
    *,
    timeframe: str,
    calendar: TradingCalendar,
    exchange: str,
    as_of: datetime | None = None,
    limits: Limits | None = None,
) -> list[Finding]:
    """All that is found, by time. Where `as_of` is told, also whether bars that were over by then are missing at the end."""
    held = limits or Limits()
    found = [
        *_gaps(bars, timeframe, calendar, exchange, as_of),
        *splits(bars, held),
        *bad_ticks(bars, held),
        *standing_still(bars, held),
    ]
    return sorted(found, key=lambda each: (each.first, each.kind))


# --- gaps -------------------------------------------------------------------------------------------------------------


def _gaps(
    bars: Sequence[Bar], timeframe: str, calendar: TradingCalendar, exchange: str, as_of: datetime | None
) -> Iterator[Finding]:
    """Bars that should be there by the exchange's calendar, and bars that should not."""
    if not bars:
        return
    first, last = bars[0].timestamp, bars[-1].timestamp
    length = TIMEFRAMES[timeframe]
    until = last if as_of is None else max(last, as_of - length)
    expected: list[datetime] = []
    days = _days(calendar.day_of(exchange, first), calendar.day_of(exchange, until))
    for is_known, group in groupby(days, key=lambda day: _is_covered(calendar, exchange, day)):
        own = list(group)
        if is_known:
            for day in own:
                expected += _expected(calendar, exchange, day, length, first)
        else:
            begin, end = _midnight(calendar, exchange, own[0]), _midnight(calendar, exchange, own[-1])
            yield Finding(kind="unknown", first=begin, last=end, detail=f"the calendar of {exchange} does not cover it")
    wanted = sorted({time for time in expected if first <= time <= until})
    there = {bar.timestamp for bar in bars}
    yield from _missing(wanted, there, last)
    known = set(wanted)
    for bar in bars:
        covered = _is_covered(calendar, exchange, calendar.day_of(exchange, bar.timestamp))
        if covered and bar.timestamp not in known:
            yield Finding(
                kind="outside", first=bar.timestamp, last=bar.timestamp, detail="a bar while nothing was traded"
            )


def _missing(wanted: Sequence[datetime], there: set[datetime], last: datetime) -> Iterator[Finding]:
    for is_there, group in groupby(wanted, key=there.__contains__):
        own = list(group)
        if is_there:
            continue
        kind = "stale" if own[0] > last else "gap"
        detail = "nothing new since then" if kind == "stale" else "no bar"
        yield Finding(kind=kind, first=own[0], last=own[-1], detail=f"{detail}: {len(own)} missing")


def _days(first: date, last: date) -> Iterator[date]:
    while first <= last:
        yield first
        first += _DAY


def _is_covered(calendar: TradingCalendar, exchange: str, day: date) -> bool:
    table = calendar.table(exchange)
    return table.first_day <= day <= table.last_day


def _expected(
    calendar: TradingCalendar, exchange: str, day: date, length: timedelta, first: datetime
) -> Iterator[datetime]:
    """The times of the bars that begin on a day."""
    sessions = calendar.sessions(exchange, day)
    if not sessions:
        return
    if length > _DAY:
        # A week's bar begins on the weekday of the first one.
        weekday = calendar.day_of(exchange, first).weekday()
        yield _midnight(calendar, exchange, day - timedelta(days=(day.weekday() - weekday) % 7))
        return
    if length == _DAY:
        yield _midnight(calendar, exchange, day)
        return
    for session in sessions:
        time = session.opens_at
        while time < session.closes_at:
            yield time
            time += length


def _midnight(calendar: TradingCalendar, exchange: str, day: date) -> datetime:
    zone = ZoneInfo(calendar.table(exchange).timezone)
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


# --- prices -----------------------------------------------------------------------------------------------------------


def splits(bars: Sequence[Bar], limits: Limits) -> Iterator[Finding]:
    """Jumps from a close to the next open by a simple ratio: a split, a consolidation, or two contracts in one series."""
    for before, bar in pairwise(bars):
        if before.close <= 0 or bar.open <= 0:
            continue
        jump = float(before.close / bar.open)
        size = max(jump, 1 / jump)
        if size < limits.split_least:
            continue
        ratio = min(_RATIOS, key=lambda each: abs(float(each) / size - 1))
        if abs(float(ratio) / size - 1) <= limits.split_tolerance:
            new, old = (ratio.numerator, ratio.denominator) if jump > 1 else (ratio.denominator, ratio.numerator)
            detail = f"{before.close:f} -> {bar.open:f}: {new} for {old}"
            yield Finding(kind="split", first=bar.timestamp, last=bar.timestamp, detail=detail)


def bad_ticks(bars: Sequence[Bar], limits: Limits) -> Iterator[Finding]:
    """Bars that cannot be (high below low, a price of nothing), and such as are far away from those on both sides of them."""
    for bar in bars:
        if why := _impossible(bar):
            yield Finding(kind="bad_tick", first=bar.timestamp, last=bar.timestamp, detail=why)
    half = limits.window // 2
    for name in ("high", "low", "close"):
        prices = [float(getattr(bar, name)) for bar in bars]
        for place, price in enumerate(prices):
            around = prices[max(0, place - half) : place] + prices[place + 1 : place + 1 + half]
            if min(place, len(prices) - 1 - place) >= 1 and len(around) >= half:
                middle = median(around)
                spread = median(abs(each - middle) for each in around) / _MAD_OF_SIGMA
                away = abs(price - middle)
                # What stays where it jumped to is no bad tick: a bad one is left again at once.
                returns = abs(price - prices[place - 1]) > away / 2 < abs(price - prices[place + 1])
                if spread > 0 and away > limits.deviations * spread and returns:
                    detail = f"{name} {getattr(bars[place], name):f} is {away / spread:.1f} deviations from {middle:g}"
                    time = bars[place].timestamp
                    yield Finding(kind="bad_tick", first=time, last=time, detail=detail)


def _impossible(bar: Bar) -> str | None:
    if bar.high < bar.low:
        return f"high {bar.high:f} is below low {bar.low:f}"
    if not (bar.low <= bar.open <= bar.high and bar.low <= bar.close <= bar.high):
        return "open or close lies beyond high and low"
    return f"low {bar.low:f} is not above 0" if bar.low <= 0 else None


def standing_still(bars: Sequence[Bar], limits: Limits) -> Iterator[Finding]:
    """Bars in a row that all have one and the same price: nothing was traded, or nothing was told."""

    def price(bar: Bar) -> object:
        return bar.close if bar.high == bar.low else bar.timestamp

    for _, group in groupby(bars, key=price):
        own = list(group)
        if len(own) >= limits.stale_bars:
            detail = f"{len(own)} bars at {own[0].close:f}"
            yield Finding(kind="stale", first=own[0].timestamp, last=own[-1].timestamp, detail=detail)


def counted(found: Sequence[Finding]) -> dict[str, int]:
    """How many of each kind."""
    return dict(sorted(Counter(each.kind for each in found).items()))
