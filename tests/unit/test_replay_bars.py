"""Bars of a chart with ATR and ER, against the definitions in exact fractions."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import ROUND_DOWN, Decimal, localcontext
from fractions import Fraction
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.alert import canonical_payload
from core.models import Signal, SignalType
from live.replay import lines
from live.replay.bars import Bar, atr_at, er_at, market_data_of, read_bars
from live.replay.model import BadFile

KOLKATA = ZoneInfo("Asia/Kolkata")
HEADER = "time,open,high,low,close,Volume"
START = datetime(2026, 1, 5, 3, 45, tzinfo=UTC)
Reading = Callable[..., list[Bar]]


@pytest.fixture
def reading(tmp_path: Path) -> Reading:
    def of(content: str | bytes, **lengths: int) -> list[Bar]:
        path = tmp_path / "bars.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_bars(path, instrument="BANK_NIFTY", timezone=KOLKATA, **lengths)

    return of


def text_of(*bars: tuple[Any, Any, Any, Any]) -> str:
    """A chart's export of hourly bars: open, high, low, close."""
    rows = [f"{hour(n).timestamp():.0f},{','.join(map(str, bar))},7" for n, bar in enumerate(bars)]
    return "\n".join([HEADER, *rows]) + "\n"


def hour(count: int) -> datetime:
    return START + timedelta(hours=count)


def flat(close: Any) -> tuple[Any, Any, Any, Any]:
    return close, close, close, close


# --- what is read -------------------------------------------------------------------------------------------------


def test_a_bar_is_read_exactly_with_its_time_in_utc_and_its_line(reading: Reading) -> None:
    [bar] = reading(text_of(("100.05", "101", "99.95", "100.1")))
    assert bar == Bar(
        time=START,
        open=Decimal("100.05"),
        high=Decimal(101),
        low=Decimal("99.95"),
        close=Decimal("100.1"),
        atr=None,
        er=None,
        line=2,
    )


@pytest.mark.parametrize(
    "time",
    [
        f"{START.timestamp():.0f}",
        "2026-01-05T03:45:00Z",
        "2026-01-05T09:15:00+05:30",
        "2026-01-05t09:15+0530",
        "2026-01-04T22:45:00.000-05:00",
        "2026-01-05 09:15",
    ],
)
def test_a_time_is_unix_seconds_or_iso_8601_and_of_the_charts_zone_without_an_offset(
    reading: Reading, time: str
) -> None:
    assert reading(f"{HEADER}\n{time},1,1,1,1,7\n")[0].time == START


def test_a_days_bar_begins_at_midnight_of_the_charts_zone(reading: Reading) -> None:
    assert reading(f"{HEADER}\n2026-01-05,1,1,1,1,7\n")[0].time == datetime(2026, 1, 4, 18, 30, tzinfo=UTC)


def test_columns_go_by_name_whatever_their_order_case_and_company(reading: Reading) -> None:
    swapped = "Plot,Close,LOW,High,Open,Time\nNaN,3,1,4,2,2026-01-05T03:45:00Z\n"
    [bar] = reading(swapped)
    assert (bar.open, bar.high, bar.low, bar.close) == (2, 4, 1, 3)


# --- ATR and ER ---------------------------------------------------------------------------------------------------


def test_the_first_atr_is_the_mean_of_the_first_true_ranges_and_then_it_is_smoothed(reading: Reading) -> None:
    # True ranges: 2; 6 from the close before up to the high; 5 from it down to the low; 1.
    bars = reading(text_of((10, 11, 9, 10), (15, 16, 14, 15), (11, 12, 10, 11), (11, "11.5", "10.5", 11)), atr_length=3)
    assert [bar.atr for bar in bars] == [None, None, Decimal("4.33333333"), Decimal("3.22222222")]


def test_the_atr_is_half_even_to_8_decimals(reading: Reading) -> None:
    low, high = Decimal(1), Decimal("1.00000001")
    assert reading(text_of((1, high, low, 1), flat(1)), atr_length=2)[1].atr == 0
    assert reading(text_of((1, high, low, 1), (1, "1.00000002", 1, 1)), atr_length=2)[1].atr == Decimal("0.00000002")


def test_an_atr_of_one_bar_is_its_true_range(reading: Reading) -> None:
    bars = reading(text_of((10, 11, 9, 10), (15, 16, 14, 15)), atr_length=1)
    assert [bar.atr for bar in bars] == [2, 6]


def test_the_er_is_the_distance_by_the_way(reading: Reading) -> None:
    bars = reading(text_of(*map(flat, (10, 13, 12, 14, 15))), er_length=3)
    assert [bar.er for bar in bars] == [None, None, None, Decimal("0.66666667"), Decimal("0.5")]


def test_the_er_is_1_on_a_straight_way_and_0_where_nothing_moves(reading: Reading) -> None:
    assert [bar.er for bar in reading(text_of(*map(flat, (10, 11, 12))), er_length=2)][-1] == 1
    assert [bar.er for bar in reading(text_of(*map(flat, (10, 10, 10))), er_length=2)][-1] == 0
    assert [bar.er for bar in reading(text_of(*map(flat, (10, 11, 10))), er_length=2)][-1] == 0


def fractions_of(bars: list[Bar], length: int, er_length: int) -> list[tuple[Fraction | None, Fraction | None]]:
    """ATR and ER by their definitions, in fractions."""
    closes = [Fraction(bar.close) for bar in bars]
    ranges = [
        max(Fraction(bar.high), closes[n - 1] if n else Fraction(bar.high))
        - min(Fraction(bar.low), closes[n - 1] if n else Fraction(bar.low))
        for n, bar in enumerate(bars)
    ]
    found: list[tuple[Fraction | None, Fraction | None]] = []
    atr: Fraction | None = None
    for n in range(len(bars)):
        if n == length - 1:
            atr = sum(ranges[:length], Fraction(0)) / length
        elif atr is not None:
            atr = (atr * (length - 1) + ranges[n]) / length
        er: Fraction | None = None
        if n >= er_length:
            way = sum((abs(closes[k] - closes[k - 1]) for k in range(n - er_length + 1, n + 1)), Fraction(0))
            er = abs(closes[n] - closes[n - er_length]) / way if way else Fraction(0)
        found.append((atr, er))
    return found


def rounded(value: Fraction | None) -> Decimal | None:
    return None if value is None else Decimal(round(value * 10**8)).scaleb(-8)


def ohlc_of(drawn: list[int]) -> tuple[Decimal, ...]:
    low, first, last, high = (Decimal(value).scaleb(-8) for value in sorted(drawn))
    return first, high, low, last


ohlc = st.lists(st.integers(1, 10**15), min_size=4, max_size=4).map(ohlc_of)


@given(st.lists(ohlc, min_size=1, max_size=40), st.integers(1, 15), st.integers(1, 12))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_atr_and_er_are_those_of_exact_fractions_whatever_the_threads_context(
    reading: Reading, drawn: list[Any], length: int, er_length: int
) -> None:
    with localcontext(prec=5, rounding=ROUND_DOWN):
        bars = reading(
            text_of(*((f"{value:f}" for value in bar) for bar in drawn)), atr_length=length, er_length=er_length
        )
    expected = fractions_of(bars, length, er_length)
    assert [(bar.atr, bar.er) for bar in bars] == [(rounded(atr), rounded(er)) for atr, er in expected]


@pytest.mark.parametrize("lengths", [{"atr_length": 0}, {"er_length": 0}])
def test_a_length_below_1_is_refused(reading: Reading, lengths: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="a length must be at least 1 bar"):
        reading(text_of(flat(1)), **lengths)


# --- what they are for --------------------------------------------------------------------------------------------


def test_a_bar_with_an_atr_is_market_data_of_its_close(reading: Reading) -> None:
    bars = reading(text_of((10, 11, 9, 10), (10, 12, 10, 12)), atr_length=2, er_length=1)
    [found] = market_data_of(bars, "BANK_NIFTY")
    assert found.signal == Signal(
        type=SignalType.MARKET_DATA,
        instrument="BANK_NIFTY",
        price=Decimal(12),
        atr=Decimal(2),
        er=Decimal(1),
        bar_time=hour(1),
    )
    assert found.payload == canonical_payload(found.signal)
    assert found.line == 3


def test_bars_that_never_moved_give_no_market_data(reading: Reading) -> None:
    assert market_data_of(reading(text_of(flat(1), flat(1)), atr_length=1), "BANK_NIFTY") == []


def test_a_time_has_the_values_of_its_bar_or_of_the_last_before_it(reading: Reading) -> None:
    bars = reading(text_of(flat(10), (10, 12, 10, 12), (12, 16, 12, 12)), atr_length=2, er_length=1)
    half = timedelta(minutes=30)
    assert [atr_at(bars, at) for at in (hour(0) - half, hour(0), hour(1), hour(1) + half, hour(2), hour(9))] == [
        None,
        None,
        1,
        1,
        Decimal("2.5"),
        Decimal("2.5"),
    ]
    assert [er_at(bars, at) for at in (hour(0) - half, hour(0), hour(1), hour(2))] == [None, None, 1, 0]
    assert atr_at([], START) is None


# --- bad files ----------------------------------------------------------------------------------------------------

ONE = text_of((10, 12, 9, 11))
BAD: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "line 1: the file is empty"),
    "header only": (HEADER, "line 1: no bars of BANK_NIFTY below the header"),
    "a missing column": (ONE.replace("low", "lo"), "line 1: no column `low` in the header"),
    "JSON": ("{}", "line 1: .*this is JSON, not CSV"),
    "a trade list": ("Trade #,Type\n1,2\n", "line 1: no column `time`, `open`, `high`, `low`, `close`"),
    "not UTF-8": (ONE.encode() + b"\xff,1,1,1,1,1\n", "line 3: not UTF-8"),
    "a cell too few": (ONE.replace(",7", ""), "line 2: 5 cells under 6 columns"),
    "a NaN": (ONE.replace(",12,", ",NaN,"), "line 2: `high` must be a number, not 'NaN'"),
    "another locale": (ONE.replace(",12,", ',"12,0",'), "line 2: `high` .* another locale's number"),
    "a price of zero": (ONE.replace(",9,", ",0,"), "line 2: `low` must be above 0"),
    "a low above the open": (ONE.replace(",9,", ",10.5,"), "line 2: open 10.* must lie from low 10.5"),
    "a low above the close": (text_of((11, 12, "10.5", 10)), "line 2: .*close 10.* must lie from low 10.5"),
    "a high below the close": (text_of((10, "10.5", 9, 11)), "line 2: .*close 11.* must lie .* to high 10.5"),
    "a high below the open": (text_of((11, "10.5", 9, 10)), "line 2: open 11.* must lie .* to high 10.5"),
    "a bar twice": (ONE + ONE.splitlines()[1], "line 3: unsorted: the bar of 2026-01-05T03:45:00"),
    "newest first": ("\n".join([HEADER, *text_of(flat(1), flat(2)).splitlines()[:0:-1]]), "line 3: unsorted"),
    "milliseconds": (ONE.replace("00,10", "00000,10"), "line 2: `time` must be Unix seconds.*milliseconds"),
    "no time": (ONE.replace(f"{START.timestamp():.0f}", "noon"), "line 2: `time` must be Unix seconds or ISO 8601"),
    "a day that is none": (f"{HEADER}\n2026-02-30,1,1,1,1,7", "line 2: `time` '2026-02-30' is no time that exists"),
    "an offset that is none": (
        f"{HEADER}\n2026-02-03T10:00+99:00,1,1,1,1,7",
        "line 2: `time` .* is no time that exists",
    ),
    "the year 1": (f"{HEADER}\n0001-01-01,1,1,1,1,7", "line 2: `time` .* is no"),
    "the year 2200": (f"{HEADER}\n2200-01-01,1,1,1,1,7", "line 2: `time` .* is not of the years 1970 to 2100"),
    "a distant second": (f"{HEADER}\n9999999999,1,1,1,1,7", "line 2: `time` .* is not of the years 1970 to 2100"),
}


@pytest.mark.parametrize("content, message", BAD.values(), ids=BAD.keys())
def test_a_bad_file_is_refused_with_its_name_the_line_and_the_rule(
    reading: Reading, content: str | bytes, message: str
) -> None:
    with pytest.raises(BadFile, match=r"bars\.csv: " + message):
        reading(content)


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="cannot be read: Is a directory"):
        read_bars(tmp_path, instrument="BANK_NIFTY", timezone=KOLKATA)


def test_more_lines_than_the_bound_are_refused(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINES", 2)
    with pytest.raises(BadFile, match="line 3: more than 2 lines"):
        reading(text_of(flat(1), flat(2)))


@given(
    st.one_of(
        st.binary(max_size=200),
        st.builds(
            lambda cut, put, size: ONE.encode()[:cut] + put + ONE.encode()[cut + size :],
            st.integers(0, len(ONE)),
            st.binary(max_size=12),
            st.integers(0, 20),
        ),
    )
)
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_bytes_are_bars_or_a_bad_file(reading: Reading, content: bytes) -> None:
    with suppress(BadFile):
        assert reading(content)
