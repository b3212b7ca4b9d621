"""TradingView's list of trades: what is read from it, and every way in which a file can be wrong."""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.alert import canonical_payload
from core.models import Signal, SignalType
from core.ordering import signal_in_order_key
from live.replay import lines, trade_rows
from live.replay.model import BadFile
from live.replay.trade_list import Mark, TradeList, read_trade_list

REAL = Path(__file__).resolve().parents[1] / "data" / "tradingview_banknifty_trades.csv"
KOLKATA = ZoneInfo("Asia/Kolkata")
HEADER = "Trade #,Type,Date/Time,Signal,Price INR,Position size (qty),Position size (value),Net P&L INR"
FIRST = datetime(2026, 1, 5, 9, 15)  # noqa: DTZ001 - the list's times have no zone


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One trade of a list; its times are hours after the list's first bar."""

    number: int = 1
    signal: str = "ENTRY-2L"
    entered: int = 0
    left: int = 5
    lots: int = 2
    side: str = "long"
    entry_price: str = "100"
    exit_price: str = "110.5"
    reason: str = "EXIT - Basso Stop"
    net: str = "12.34"

    def rows(self) -> list[str]:
        tail = f"{self.lots},200,{self.net}"
        return [
            f"{self.number},Exit {self.side},{at(self.left)},{self.reason},{self.exit_price},{tail}",
            f"{self.number},Entry {self.side},{at(self.entered)},{self.signal},{self.entry_price},{tail}",
        ]


def at(hours: int) -> str:
    return (FIRST + timedelta(hours=hours)).strftime("%Y-%m-%d %H:%M")


def utc(hours: int) -> datetime:
    return (FIRST + timedelta(hours=hours)).replace(tzinfo=KOLKATA).astimezone(UTC)


def text_of(*trades: Listed, header: str = HEADER) -> str:
    return "\n".join([header, *(row for trade in trades for row in trade.rows())]) + "\n"


def read(path: Path) -> TradeList:
    return read_trade_list(path, instrument="BANK_NIFTY", timezone=KOLKATA)


@pytest.fixture
def reading(tmp_path: Path) -> Callable[[str | bytes], TradeList]:
    def of(content: str | bytes) -> TradeList:
        path = tmp_path / "trades.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read(path)

    return of


def names(found: TradeList) -> list[tuple[str, str, int | None, int | None]]:
    return [(one.signal.type.value, one.signal.layer, one.signal.lots, one.signal.trade_number) for one in found.inputs]


# --- the real file ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real() -> TradeList:
    return read(REAL)


def test_the_real_file_holds_825_trades_of_700_entries_one_of_them_still_open(real: TradeList) -> None:
    kinds = Counter(one.signal.type for one in real.inputs)
    assert kinds == {SignalType.BASE_ENTRY: 327, SignalType.PYRAMID: 373, SignalType.EXIT: 824}
    assert list(real.listed) == list(range(1, 825))
    assert real.positions_open == 1


def test_the_real_files_own_figures_are_kept_exactly(real: TradeList) -> None:
    assert real.listed[1] == Decimal("-75718.86")
    assert sum(real.listed.values()) == Decimal("150839316.04")


def test_the_real_file_sells_every_lot_it_buys_but_the_open_ones(real: TradeList) -> None:
    left: Counter[str] = Counter()
    for one in real.inputs:
        sign = -1 if one.signal.type is SignalType.EXIT else 1
        left[one.signal.layer] += sign * (one.signal.lots or 0)
        assert left[one.signal.layer] >= 0
    assert +left == {"Long_1": 330}


def test_the_real_files_open_trade_is_a_mark_and_no_exit(real: TradeList) -> None:
    [mark] = real.marks
    assert mark == Mark(
        instrument="BANK_NIFTY",
        layer="Long_1",
        price=Decimal("58538.2"),
        time=datetime(2025, 11, 13, 9, 45, tzinfo=UTC),
        lots=330,
        trade_number=825,
    )


def test_41_exits_of_the_real_file_share_layer_and_bar_with_another(real: TradeList) -> None:
    exits = [one.signal for one in real.inputs if one.signal.type is SignalType.EXIT]
    shared = Counter((signal.layer, signal.bar_time) for signal in exits)
    assert sum(count - 1 for count in shared.values()) == 41
    assert len({signal.trade_number for signal in exits}) == 824


def test_the_real_file_is_in_the_order_of_decisions_and_an_entry_never_shares_a_bar_with_an_exit(
    real: TradeList,
) -> None:
    keys = [signal_in_order_key(one.signal) for one in real.inputs]
    assert keys == sorted(keys)
    entries = {one.signal.bar for one in real.inputs if one.signal.type is not SignalType.EXIT}
    assert entries.isdisjoint({one.signal.bar for one in real.inputs if one.signal.type is SignalType.EXIT})


def test_the_real_file_gives_the_same_whatever_its_line_ends_and_its_mark(real: TradeList, reading: Any) -> None:
    content = REAL.read_bytes().removeprefix(b"\xef\xbb\xbf")
    plain = content.replace(b"\r\n", b"\n")
    assert reading(plain) == real
    assert reading(plain.replace(b"\n", b"\r\n")) == real


# --- what is read -------------------------------------------------------------------------------------------------


def test_a_trade_is_an_entry_and_an_exit_with_nothing_that_the_list_does_not_know(reading: Any) -> None:
    found = reading(text_of(Listed()))
    entry, exit_ = found.inputs
    assert entry.signal == Signal(
        type=SignalType.BASE_ENTRY,
        instrument="BANK_NIFTY",
        layer="Long_1",
        price=Decimal(100),
        lots=2,
        bar_time=utc(0),
    )
    assert exit_.signal == Signal(
        type=SignalType.EXIT,
        instrument="BANK_NIFTY",
        layer="Long_1",
        price=Decimal("110.5"),
        lots=2,
        reason="EXIT - Basso Stop",
        bar_time=utc(5),
        trade_number=1,
    )
    assert (entry.line, exit_.line) == (3, 2)
    assert [one.payload for one in found.inputs] == [canonical_payload(one.signal) for one in found.inputs]
    assert found.listed == {1: Decimal("12.34")}


def test_rows_of_one_entry_time_and_signal_are_one_entry_and_an_exit_each(reading: Any) -> None:
    found = reading(
        text_of(
            Listed(number=1, signal="ENTRY-6L", lots=1, left=3),
            Listed(number=2, signal="ENTRY-6L", lots=2, left=3),
            Listed(number=3, signal="ENTRY-6L", lots=3, left=4),
        )
    )
    assert names(found) == [
        ("BASE_ENTRY", "Long_1", 6, None),
        ("EXIT", "Long_1", 1, 1),
        ("EXIT", "Long_1", 2, 2),
        ("EXIT", "Long_1", 3, 3),
    ]


def test_a_pyramid_is_the_layer_above_its_number(reading: Any) -> None:
    found = reading(
        text_of(
            Listed(number=1, signal="EOD-ENTRY-2L", left=9),
            *(Listed(number=n + 1, signal=f"PYR{n}-2L", entered=n, left=9) for n in range(1, 6)),
        )
    )
    entered = [(kind, layer) for kind, layer, _, _ in names(found) if kind != "EXIT"]
    assert entered == [("BASE_ENTRY", "Long_1")] + [("PYRAMID", f"Long_{n}") for n in range(2, 7)]


def test_a_short_list_is_of_short_layers(reading: Any) -> None:
    found = reading(
        text_of(
            Listed(number=1, signal="ENTRY-2S", side="short"),
            Listed(number=2, signal="PYR1-1S", side="short", lots=1, entered=1),
        )
    )
    assert [layer for _, layer, _, _ in names(found)] == ["Short_1", "Short_2", "Short_1", "Short_2"]


def test_a_side_turned_on_one_bar_leaves_before_it_enters(reading: Any) -> None:
    found = reading(text_of(Listed(number=1), Listed(number=2, signal="ENTRY-2S", side="short", entered=5, left=9)))
    assert names(found)[1:3] == [("EXIT", "Long_1", 2, 1), ("BASE_ENTRY", "Short_1", 2, None)]


def test_a_position_partly_sold_and_partly_open_is_entered_whole_and_marked_with_the_rest(reading: Any) -> None:
    found = reading(
        text_of(
            Listed(number=1, signal="ENTRY-5L", lots=2),
            Listed(number=2, signal="ENTRY-5L", lots=3, left=8, reason="Open"),
            Listed(number=3, signal="PYR1-1L", lots=1, entered=6, left=8, reason="Open"),
        )
    )
    assert [name for name in names(found) if name[0] != "EXIT"] == [
        ("BASE_ENTRY", "Long_1", 5, None),
        ("PYRAMID", "Long_2", 1, None),
    ]
    assert [(mark.layer, mark.lots, mark.trade_number) for mark in found.marks] == [("Long_1", 3, 2), ("Long_2", 1, 3)]
    assert found.positions_open == 2
    assert list(found.listed) == [1]


def test_what_was_entered_on_the_last_bar_is_marked_on_that_bar(reading: Any) -> None:
    assert reading(text_of(Listed(left=0, reason="Open"))).marks[0].time == utc(0)


@pytest.mark.parametrize(
    "header",
    [
        HEADER,
        HEADER.replace("INR", "USD"),
        HEADER.replace(" INR", ""),
        "Trade number,Type,Date and time,Signal,Price USDT,Size (qty),Size (value),Net PnL USDT",
        "Trade #,Type,Date/Time,Signal,Price INR,Contracts,Whatever,Profit INR",
    ],
)
def test_columns_go_by_name_whatever_the_currency_and_the_year_of_the_export(reading: Any, header: str) -> None:
    assert reading(text_of(Listed(), header=header)) == reading(text_of(Listed()))


def test_columns_may_stand_in_any_order_and_unknown_ones_are_ignored(reading: Any) -> None:
    rows = [line.split(",") for line in text_of(Listed()).splitlines()]
    turned = "\n".join(",".join([*reversed(row), f"extra {n}"]) for n, row in enumerate(rows))
    assert reading(turned) == reading(text_of(Listed()))


def test_blank_lines_seconds_quotes_and_an_entry_row_first_change_nothing(reading: Any) -> None:
    exit_, entry = Listed().rows()
    spelt = f"{HEADER}\n\n{entry}\n  \n{exit_}\n".replace(at(0), f"{at(0)}:00").replace("ENTRY-2L", '"ENTRY-2L"')
    assert names(reading(spelt)) == names(reading(text_of(Listed())))


def test_lines_are_counted_with_the_blank_ones(reading: Any) -> None:
    exit_, entry = Listed().rows()
    assert [one.line for one in reading(f"{HEADER}\n\n{exit_}\n\n{entry}\n").inputs] == [5, 3]


# --- bad files ----------------------------------------------------------------------------------------------------

ONE = text_of(Listed())
BAD: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "line 1: the file is empty"),
    "blank": ("\n \n", "line 1: the file is empty"),
    "header only": (HEADER + "\n", "line 1: no trades below the header"),
    "a missing column": (ONE.replace("Signal", "Comment"), "line 1: no column `Signal` in the header"),
    "several missing columns": ("a,b\n1,2\n", "line 1: no column `Trade #`, `Type`, `Date/Time`, `Signal`, `Price`"),
    "a column twice": (ONE.replace("Position size (value)", "Contracts"), "line 1: 2 columns are headed as `Position"),
    "semicolons": (ONE.replace(",", ";"), "line 1: .*divided by commas"),
    "JSON": ('{"type": "EXIT", "price": 1}\n', "line 1: .*this is JSON, not CSV"),
    "a JSON list": ("[\n{}\n]\n", "line 1: .*this is JSON, not CSV"),
    "not UTF-8": (ONE.replace("Basso", "Bassó").encode("latin-1"), r"line 2: not UTF-8 \(byte 41 of the line\)"),
    "UTF-16": (ONE.encode("utf-16"), "line 1: not UTF-8 but UTF-16"),
    "a NUL": (ONE.replace("Basso", "Bas\0so"), "line 2: a NUL byte"),
    "an open quote": (ONE.replace("EXIT - Basso", '"EXIT - Basso'), "line 2: not CSV: unexpected end"),
    "a quote in a quote": (ONE.replace("EXIT - Basso", '"EXIT" - Basso'), "line 2: not CSV"),
    "a cell too many": (ONE.replace("110.5,", "110,5,"), "line 2: 9 cells under 8 columns.*part of a number"),
    "cut off": (ONE[:-12], "line 3: 6 cells under 8 columns"),
    "no twin at the end": (ONE.rsplit("\n", 2)[0] + "\n", "line 2: trade 1 has no Entry row"),
    "no twin within": (
        "\n".join([HEADER, *Listed().rows()[1:], *Listed(number=2, entered=6, left=7).rows()]),
        "line 2: trade 1 has no Exit row",
    ),
    "two exits": ("\n".join([HEADER, Listed().rows()[0], Listed().rows()[0]]), "line 3: trade 1 has two Exit rows"),
    "two entries": ("\n".join([HEADER, Listed().rows()[1], Listed().rows()[1]]), "line 3: trade 1 has two Entry rows"),
    "a third row": ("\n".join([ONE.strip(), Listed().rows()[0]]), "line 4: trade 1 has a third row"),
    "twins of two sizes": (ONE.replace("100,2,", "100,3,"), "line 3: trade 1 is of 2 lots on line 2, of 3 here"),
    "twins of two sides": (ONE.replace("Entry long", "Entry short"), "line 3: trade 1 is long on line 2, short here"),
    "numbers falling": (
        text_of(Listed(number=2), Listed(number=1, entered=6, left=7)),
        "line 4: unsorted: trade 1 after trade 2; sort the list by `Trade #`",
    ),
    "times falling": (
        text_of(Listed(number=1, entered=6, left=9), Listed(number=2)),
        "line 5: unsorted: trade 2 is entered before trade 1",
    ),
    "an unknown type": (ONE.replace("Exit long", "Sell long"), "line 2: `Type` must be Entry long.* not 'Sell long'"),
    "an unknown signal": (
        ONE.replace("ENTRY-2L", "GO-2L"),
        "line 3: unknown entry signal 'GO-2L': known are ENTRY-15L",
    ),
    "no signal": (ONE.replace("ENTRY-2L", ""), "line 3: unknown entry signal ''"),
    "pyramid 6": (ONE.replace("ENTRY-2L", "PYR6-2L"), "line 3: unknown entry signal 'PYR6-2L'"),
    "pyramid 0": (ONE.replace("ENTRY-2L", "PYR0-2L"), "line 3: unknown entry signal 'PYR0-2L'"),
    "a label in small letters": (ONE.replace("ENTRY-2L", "entry-2l"), "line 3: unknown entry signal"),
    "a short label on a long": (ONE.replace("ENTRY-2L", "ENTRY-2S"), "line 3: the signal ENTRY-2S says short"),
    "sizes short of the label": (
        ONE.replace("ENTRY-2L", "ENTRY-3L"),
        "line 3: ENTRY-3L stands for 3 lots, but .* to 2",
    ),
    "sizes beyond the label": (
        text_of(Listed(number=1), Listed(number=2, left=6)),
        "line 5: ENTRY-2L stands for 2 lots, but the sizes of its 2 trades sum to 4",
    ),
    "one entry at two prices": (
        text_of(
            Listed(number=1, signal="ENTRY-4L"),
            Listed(number=2, signal="ENTRY-4L", entry_price="101"),
        ),
        "line 5: ENTRY-4L is one entry with trade 1, but at another price: 101",
    ),
    "half a lot": (ONE.replace(",2,200", ",2.5,200"), r"line 2: `Position size \(qty\)` must be a whole number"),
    "no lot": (ONE.replace(",2,200", ",0,200"), r"line 2: `Position size \(qty\)` must be a whole number"),
    "fewer than no lots": (ONE.replace(",2,200", ",-2,200"), r"line 2: `Position size \(qty\)` must be a whole number"),
    "too many lots": (ONE.replace(",2,200", ",1e99,200"), r"line 2: `Position size \(qty\)` must be a whole number"),
    "a price of zero": (ONE.replace("110.5", "0"), "line 2: `Price` must be above 0"),
    "a price that rounds to zero": (ONE.replace("110.5", "0.000000001"), "line 2: `Price` must be above 0"),
    "a price below zero": (ONE.replace("110.5", "-110.5"), "line 2: `Price` must be above 0"),
    "a price that does not fit": (
        ONE.replace("110.5", "1e10"),
        "line 2: `Price` must be above 0 and below 10000000000",
    ),
    "a price that rounds beyond": (ONE.replace("110.5", "9999999999.9999999999"), "line 2: `Price` must be .* below"),
    "a price that is none": (ONE.replace("110.5", "NaN"), "line 2: `Price` must be a number, not 'NaN'$"),
    "no price": (ONE.replace("110.5", ""), "line 2: `Price` must be a number, not ''$"),
    "German numbers": (ONE.replace("110.5", '"1.234,56"'), "line 2: `Price` .* '1.234,56': another locale's number"),
    "thousands separators": (ONE.replace("110.5", '"1,234.56"'), "line 2: `Price` .* '1,234.56': another locale's"),
    "French numbers": (ONE.replace("110.5", '"1\u202f234,56"'), "line 2: `Price` .* another locale's number"),
    "two points": (ONE.replace("110.5", "1.234.567"), "line 2: `Price` .* another locale's number"),
    "other digits": (ONE.replace("110.5", "\u0661\u0662"), "line 2: `Price` must be a number"),
    "a net that is none": (ONE.replace("12.34", "n/a"), "line 2: `Net P&L` must be a number, not 'n/a'"),
    "a trade number that is none": (ONE.replace("\n1,", "\none,"), "line 2: `Trade #` must be a whole number above 0"),
    "trade 0": (ONE.replace("\n1,", "\n0,"), "line 2: `Trade #` must be a whole number above 0"),
    "German times": (ONE.replace(at(5), "05.01.2026 14:15"), "line 2: `Date/Time` must be written YYYY-MM-DD HH:MM"),
    "American times": (ONE.replace(at(5), "1/5/2026 2:15 PM"), "line 2: `Date/Time` must be written YYYY-MM-DD HH:MM"),
    "a time with an offset": (ONE.replace(at(5), f"{at(5)}Z"), "line 2: `Date/Time` must be written YYYY-MM-DD HH:MM"),
    "a date": (ONE.replace(at(5), at(5)[:10]), "line 2: `Date/Time` must be written YYYY-MM-DD HH:MM"),
    "a day that is none": (ONE.replace(at(5), "2026-02-30 09:15"), "line 2: `Date/Time` .* is no time"),
    "the year 9999": (ONE.replace(at(5), "9999-12-31 23:59"), "line 2: `Date/Time` .* is no time of the years 1970"),
    "left before it was entered": (
        text_of(Listed(entered=6)),
        r"line 2: trade 1 leaves at or before its entry \(line 3",
    ),
    "left on the bar of its entry": (
        text_of(Listed(left=0)),
        r"line 2: trade 1 leaves at or before its entry \(line 3",
    ),
    "a mark before the entry": (text_of(Listed(entered=6, reason="Open")), "line 2: trade 1 leaves at or before"),
    "bases overlapping": (
        text_of(Listed(number=1), Listed(number=2, entered=4, left=6)),
        "line 5: ENTRY-2L is a base entry, but Long_1 is still open",
    ),
    "a base while a pyramid is open": (
        text_of(
            Listed(number=1),
            Listed(number=2, signal="PYR1-2L", entered=1, left=9),
            Listed(number=3, entered=6, left=9),
        ),
        "line 7: ENTRY-2L is a base entry, but Long_2 is still open",
    ),
    "a pyramid without a base": (text_of(Listed(signal="PYR1-2L")), "line 3: PYR1-2L is a pyramid, but no long base"),
    "a pyramid on the bar of the base's exit": (
        text_of(Listed(number=1), Listed(number=2, signal="PYR1-2L", entered=5, left=9)),
        "line 5: PYR1-2L is a pyramid, but no long base",
    ),
    "a pyramid of the other side": (
        text_of(Listed(number=1), Listed(number=2, signal="PYR1-2S", side="short", entered=1, left=9)),
        "line 5: PYR1-2S is a pyramid, but no short base",
    ),
    "a layer that is not free": (
        text_of(
            Listed(number=1, left=9),
            Listed(number=2, signal="PYR1-2L", entered=1, left=9),
            Listed(number=3, signal="PYR1-2L", entered=2, left=9),
        ),
        "line 7: PYR1-2L is layer 2, which is still open",
    ),
    "last in, first out": (
        text_of(Listed(number=1, left=9), Listed(number=2, signal="PYR1-2L", entered=1, left=8)),
        "line 4: not first in, first out: trade 2 leaves before trade 1",
    ),
    "closed behind an open one": (
        text_of(Listed(number=1, left=9, reason="Open"), Listed(number=2, signal="PYR1-2L", entered=1, left=9)),
        "line 4: not first in, first out: trade 2 is closed, trade 1 before it still open",
    ),
    "a reason without end": (ONE.replace("EXIT - Basso", "x" * 1001), "line 2: `Signal` is longer than 1000"),
}


@pytest.mark.parametrize("content, message", BAD.values(), ids=BAD.keys())
def test_a_bad_file_is_refused_with_its_name_the_line_and_the_rule(reading: Any, content: Any, message: str) -> None:
    with pytest.raises(BadFile, match=r"trades\.csv: " + message):
        reading(content)


def test_a_directory_a_missing_file_and_an_impossible_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="cannot be read: Is a directory"):
        read(tmp_path)
    with pytest.raises(BadFile, match=r"none\.csv: cannot be read: No such file"):
        read(tmp_path / "none.csv")
    with pytest.raises(BadFile, match=r"a\\x00b: cannot be read"):
        read(tmp_path / "a\0b")


def test_a_file_beyond_the_bound_is_refused_before_it_is_read(reading: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_BYTES", len(ONE))
    assert reading(ONE).listed
    with pytest.raises(BadFile, match=rf"line 1: the file is larger than {len(ONE)} bytes"):
        reading(ONE + "\n")


def test_a_file_that_grows_beyond_the_bound_is_refused_on_that_line(
    reading: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "MAX_BYTES", len(ONE) - 1)
    monkeypatch.setattr(lines, "_refuse_large", lambda *_: None)  # as of a pipe, whose size is not known
    with pytest.raises(BadFile, match="line 3: the file is larger"):
        reading(ONE)


def test_more_rows_or_lines_than_the_bound_are_refused(reading: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    two = text_of(Listed(number=1), Listed(number=2, entered=6, left=7))
    monkeypatch.setattr(trade_rows, "MAX_ROWS", 2)
    with pytest.raises(BadFile, match="line 4: more than 2 rows"):
        reading(two)
    monkeypatch.setattr(lines, "MAX_LINES", 2)
    with pytest.raises(BadFile, match="line 3: more than 2 lines"):
        reading(two)


def test_one_line_without_end_is_refused_at_its_bound(reading: Any) -> None:
    with pytest.raises(BadFile, match="line 2: the line is longer than 16384 bytes"):
        reading(HEADER + "\n" + "x" * 100_000)


# --- any list -----------------------------------------------------------------------------------------------------


@st.composite
def lists(draw: st.DrawFn) -> tuple[list[Listed], list[tuple[str, str, int]]]:
    """A list as a first-in-first-out book writes it, and the entries and exits that it was written from."""
    trades: list[Listed] = []
    done: list[tuple[str, str, int]] = []
    hour = 0
    for _ in range(draw(st.integers(1, 4))):
        side, letter = draw(st.sampled_from([("long", "L"), ("short", "S")]))
        queue: list[list[Any]] = []  # [layer, Signal, hour of entry, lots left]
        for layer in range(1, draw(st.integers(1, 6)) + 1):
            lots = draw(st.integers(1, 50))
            name = draw(st.sampled_from(["ENTRY", "EOD-ENTRY"])) if layer == 1 else f"PYR{layer - 1}"
            queue.append([layer, f"{name}-{lots}{letter}", hour, lots])
            done.append(("entry", f"{side.capitalize()}_{layer}", lots))
            hour += 1
        while queue:
            layer, signal, entered, left = queue[0]
            lots = draw(st.integers(1, left))
            trades.append(
                Listed(
                    number=len(trades) + 1, signal=signal, entered=entered, left=hour, lots=lots, side=side, reason=""
                )
            )
            done.append(("exit", f"{side.capitalize()}_{layer}", lots))
            queue[0][3] -= lots
            queue = [one for one in queue if one[3]]
            hour += draw(st.integers(0, 1))
        hour += 1
    return trades, done


@given(lists())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_first_in_first_out_list_gives_back_what_it_was_written_from(reading: Any, listed: Any) -> None:
    trades, done = listed
    found = reading(text_of(*trades))
    told = [("exit" if kind == "EXIT" else "entry", layer, lots) for kind, layer, lots, _ in names(found)]
    assert told == done
    exits = [number for kind, _, _, number in names(found) if kind == "EXIT"]
    assert exits == list(found.listed) == [trade.number for trade in trades]


@given(
    st.one_of(
        st.binary(max_size=400),
        st.builds(lambda rest: HEADER.encode() + b"\n" + rest, st.binary(max_size=200)),
        st.builds(
            lambda cut, put, size: ONE.encode()[:cut] + put + ONE.encode()[cut + size :],
            st.integers(0, len(ONE)),
            st.binary(max_size=12),
            st.integers(0, 40),
        ),
    )
)
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_bytes_are_a_list_or_a_bad_file(reading: Any, content: bytes) -> None:
    with suppress(BadFile):
        assert reading(content).inputs


def test_the_l_of_a_label_is_lots_too_and_may_stand_on_a_short(tmp_path: Path) -> None:
    said_s = ONE.replace("long", "short").replace("ENTRY-2L", "ENTRY-2S")
    said_l = ONE.replace("long", "short")
    signals = []
    for number, text in enumerate((said_s, said_l)):
        path = tmp_path / f"{number}.csv"
        path.write_text(text, encoding="utf-8")
        signals.append([one.signal for one in read_trade_list(path, instrument="X", timezone=UTC).inputs])
    assert signals[0] == signals[1]
    assert {signal.layer for signal in signals[0]} == {"Short_1"}
