"""Gaps, splits, bad ticks and stale stretches: found where they are, and nowhere else."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import pytest
from msgspec.structs import replace

from core.trading_calendar import DatedHours, ExceptionalDay, ExchangeTable, TradingCalendar
from risk.as_of import Bar
from risk.quality import Finding, Limits, counted, findings

OPENING = DatedHours(from_day=date(2026, 1, 1), opens=time(9, 15), closes=time(15, 30))
CALENDAR = TradingCalendar(
    tables=(
        ExchangeTable(
            exchanges=("NSE",),
            timezone="Asia/Kolkata",
            first_day=date(2026, 1, 1),
            last_day=date(2026, 3, 31),
            hours=(OPENING,),
            days={date(2026, 1, 26): ExceptionalDay(name="Republic Day")},
        ),
    )
)
MIDNIGHT = timedelta(hours=-5, minutes=-30)
TRADED = [
    day
    for day in (date(2026, 1, 5) + timedelta(days=n) for n in range(40))
    if day.weekday() < 5 and day != date(2026, 1, 26)
]


def a_bar(at: datetime, close: float, **others: object) -> Bar:
    price = Decimal(str(close))
    given = {"open": price, "high": price + 1, "low": price - 1, "close": price, **others}
    return Bar(timestamp=at, **given)  # type: ignore[arg-type]


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + MIDNIGHT


def a_month() -> list[Bar]:
    return [a_bar(midnight(day), 1000 + 3 * (number % 5)) for number, day in enumerate(TRADED)]


def found(bars: Sequence[Bar], timeframe: str = "1d", as_of: datetime | None = None) -> list[Finding]:
    return findings(bars, timeframe=timeframe, calendar=CALENDAR, exchange="NSE", as_of=as_of)


def test_nothing_is_wrong_with_good_bars() -> None:
    assert found(a_month()) == []
    assert found([]) == []


def test_missing_days_are_told_by_the_calendar() -> None:
    """A holiday and weekends are no gaps; what lies on both sides of one is one gap."""
    gone = {date(2026, 1, 8), date(2026, 1, 23), date(2026, 1, 27)}
    bars = [bar for day, bar in zip(TRADED, a_month(), strict=True) if day not in gone]
    assert [(each.kind, each.first, each.last, each.detail) for each in found(bars)] == [
        ("gap", midnight(date(2026, 1, 8)), midnight(date(2026, 1, 8)), "no bar: 1 missing"),
        ("gap", midnight(date(2026, 1, 23)), midnight(date(2026, 1, 27)), "no bar: 2 missing"),
    ]


def test_a_bar_on_a_holiday_is_outside() -> None:
    holiday = a_bar(midnight(date(2026, 1, 26)), 1003)
    (told,) = found(sorted([*a_month(), holiday], key=lambda bar: bar.timestamp))
    assert (told.kind, told.first) == ("outside", holiday.timestamp)


def test_bars_missing_within_a_session_are_told() -> None:
    opens = datetime(2026, 1, 14, 3, 45, tzinfo=UTC)
    bars = [a_bar(opens + timedelta(hours=hour), 1000 + hour % 2) for hour in range(7)]
    assert found(bars, "1h") == []
    assert [(each.kind, each.first) for each in found(bars[:3] + bars[4:], "1h")] == [("gap", bars[3].timestamp)]
    late = a_bar(opens + timedelta(hours=7), 1000)
    assert [(each.kind, each.first) for each in found([*bars, late], "1h")] == [("outside", late.timestamp)]


def test_weeks_are_looked_at_too() -> None:
    mondays = [midnight(date(2026, 1, 5) + timedelta(weeks=week)) for week in range(5)]
    bars = [a_bar(monday, 1000 + number % 3) for number, monday in enumerate(mondays)]
    assert found(bars, "1w") == []
    assert [(each.kind, each.first) for each in found(bars[:2] + bars[3:], "1w")] == [("gap", mondays[2])]


def test_what_the_calendar_does_not_know_is_told_as_unknown() -> None:
    before = [a_bar(midnight(date(2025, 12, 30)), 1000), a_bar(midnight(date(2025, 12, 31)), 1003)]
    (told,) = found([*before, *[a_bar(midnight(day), 1000) for day in (date(2026, 1, 1), date(2026, 1, 2))]])
    assert (told.kind, told.first, told.last) == ("unknown", before[0].timestamp, before[1].timestamp)


def test_a_series_that_ended_is_stale() -> None:
    bars = a_month()
    last = TRADED[-1]
    assert found(bars, as_of=midnight(last) + timedelta(days=1)) == []
    (told,) = found(bars, as_of=midnight(last) + timedelta(days=7))
    assert (told.kind, told.detail) == (
        "stale",
        "nothing new since then: 4 missing" if last.weekday() == 4 else told.detail,
    )
    assert told.first > bars[-1].timestamp


@pytest.mark.parametrize(
    "factor, told",
    [("0.5", "2 for 1"), ("0.2", "5 for 1"), ("10", "1 for 10"), ("0.6667", "3 for 2"), ("0.1", "10 for 1")],
)
def test_a_split_is_told_with_its_ratio(factor: str, told: str) -> None:
    bars = a_month()
    by = Decimal(factor)
    cut = [
        replace(bar, open=bar.open * by, high=bar.high * by, low=bar.low * by, close=bar.close * by)
        for bar in bars[12:]
    ]
    kinds = [(each.kind, each.first, each.detail.endswith(told)) for each in found(bars[:12] + cut)]
    assert kinds == [("split", bars[12].timestamp, True)]


def test_a_fall_that_is_no_ratio_is_no_split() -> None:
    bars = a_month()
    cut = [
        replace(
            bar,
            open=bar.open * Decimal("0.72"),
            high=bar.high,
            low=bar.low * Decimal("0.71"),
            close=bar.close * Decimal("0.72"),
        )
        for bar in bars[12:]
    ]
    assert "split" not in counted(found(bars[:12] + cut))


@pytest.mark.parametrize("name, value", [("high", 1300), ("low", 700), ("close", 1200)])
def test_a_price_far_off_is_a_bad_tick(name: str, value: int) -> None:
    bars = a_month()
    wrong = {"high": Decimal(1300) if value > 1000 else bars[10].high, name: Decimal(value)}
    bars[10] = replace(bars[10], **wrong)
    told = [each for each in found(bars) if each.detail.startswith(f"{name} ")]
    assert [(each.kind, each.first) for each in told] == [("bad_tick", bars[10].timestamp)]


def test_a_move_that_stays_is_no_bad_tick() -> None:
    bars = a_month()
    moved = [
        replace(bar, open=bar.open + 99, high=bar.high + 99, low=bar.low + 99, close=bar.close + 99)
        for bar in bars[12:]
    ]
    assert found(bars[:12] + moved) == []


@pytest.mark.parametrize(
    "others, told",
    [
        ({"high": Decimal(990), "low": Decimal(995)}, "high 990 is below low 995"),
        ({"open": Decimal(2000)}, "open or close lies beyond high and low"),
        ({"low": Decimal(0)}, "low 0 is not above 0"),
    ],
)
def test_a_bar_that_cannot_be_is_a_bad_tick(others: dict[str, Decimal], told: str) -> None:
    bars = a_month()
    bars[3] = replace(bars[3], **others)
    assert ("bad_tick", told) in [(each.kind, each.detail) for each in found(bars) if each.first == bars[3].timestamp]


def test_prices_that_stand_still_are_stale() -> None:
    bars = a_month()
    for place in range(5, 10):
        bars[place] = a_bar(bars[place].timestamp, 1000, high=Decimal(1000), low=Decimal(1000))
    (told,) = found(bars)
    assert (told.kind, told.first, told.last, told.detail) == (
        "stale",
        bars[5].timestamp,
        bars[9].timestamp,
        "5 bars at 1000",
    )
    few = findings(bars, timeframe="1d", calendar=CALENDAR, exchange="NSE", limits=Limits(stale_bars=6))
    assert few == []
