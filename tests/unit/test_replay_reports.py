"""A replay's reports: JSON as DESIGN.md binds it, CSV that reads back, a page that needs nothing else, whole files."""

import base64
import csv
import hashlib
import io
import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from rich.console import Console

from core.models import Side
from live.replay import html, reports
from live.replay.model import OpenTrade, ReplayResult, Trade
from live.replay.reports import (
    CSV_COLUMNS,
    as_json,
    duration_text,
    money_text,
    price_text,
    tables,
    write_csv,
    write_whole,
)
from live.replay.summary import equity_curve, summarise

START = datetime(2009, 2, 13, 7, 45, tzinfo=UTC)
MOST_BYTES = 1_500_000
PINNED = {
    "uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    "uPlot.LICENSE": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
}


def a_trade(number: int = 1, **changes: Any) -> Trade:
    entered = START + timedelta(days=7 * (number - 1))
    trade = Trade(
        number=number,
        instrument="BANK_NIFTY",
        layer=f"Long_{(number - 1) % 4 + 1}",
        side=Side.LONG,
        lots=15,
        entry_time=entered,
        entry_price=Decimal("4596.250"),
        exit_time=entered + timedelta(days=2, hours=20),
        exit_price=Decimal("4456.55"),
        net_pnl=Decimal("-75718.8600"),
        initial_risk=Decimal(100_000),
        reason="EXIT - Basso Stop",
    )
    return replace(trade, **changes)


OPEN = OpenTrade(
    instrument="BANK_NIFTY",
    layer="Long_1",
    side=Side.LONG,
    lots=330,
    entry_time=START + timedelta(days=1),
    entry_price=Decimal("58540.25"),
    mark_price=Decimal("58538.2"),
    unrealized_pnl=Decimal("-699805.54875"),
)


def a_result(*trades: Trade, still_open: tuple[OpenTrade, ...] = (OPEN,)) -> ReplayResult:
    return ReplayResult(
        capital=Decimal(5_000_000),
        trades=trades,
        open_trades=still_open,
        started_at=START,
        ended_at=max((trade.exit_time for trade in trades), default=START) + timedelta(days=3),
        signals=3,
        outcomes={"executed": 3},
    )


def many_trades(count: int) -> ReplayResult:
    wins = (Decimal(7919 * number % 400_000 - 150_000) + Decimal("0.25") for number in range(1, count + 1))
    return a_result(*(a_trade(number, net_pnl=pnl) for number, pnl in enumerate(wins, 1)))


def page_of(result: ReplayResult) -> str:
    return html.page(result, summarise(result))


class Page(HTMLParser):
    """The tags of a page, and the text of each row of its table of trades."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self._in_trades = self._in_cell = False
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in_trades |= ("id", "trade-table") in attrs
        self._in_cell = self._in_trades and tag == "td"
        if self._in_trades and tag == "tr":
            self.rows.append([])
        if self._in_cell:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_cell &= tag != "td"
        self._in_trades &= tag != "table"

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.rows[-1][-1] += data


def block(source: str, opening: str, closing: str) -> str:
    return source.split(opening, 1)[1].split(closing, 1)[0]


# --- JSON


def test_json_has_the_keys_that_the_design_binds() -> None:
    result = a_result(a_trade())
    document = as_json(result, summarise(result))
    assert document["trades"] == [
        {
            "number": 1,
            "instrument": "BANK_NIFTY",
            "layer": "Long_1",
            "lots": 15,
            "entry_time": "2009-02-13T07:45:00Z",
            "entry_price": "4596.25",
            "exit_time": "2009-02-16T03:45:00Z",
            "exit_price": "4456.55",
            "net_pnl": "-75718.86",
        }
    ]
    assert (document["capital"], document["net_pnl"]) == ("5000000", "-75718.86")
    assert (document["max_drawdown"], document["final_equity"]) == ("75718.86", "4924281.14")


def test_json_marks_open_trades_apart() -> None:
    result = a_result(a_trade())
    assert as_json(result, summarise(result))["open"] == [
        {
            "instrument": "BANK_NIFTY",
            "layer": "Long_1",
            "lots": 330,
            "entry_time": "2009-02-14T07:45:00Z",
            "entry_price": "58540.25",
            "mark_price": "58538.2",
            "unrealized_pnl": "-699805.54875",
        }
    ]


def test_json_tells_the_whole_summary_in_jsons_own_kinds() -> None:
    result = a_result(a_trade(1), a_trade(2, net_pnl=Decimal(100)), still_open=())
    document = as_json(result, summarise(result))
    assert json.loads(json.dumps(document)) == document
    summary = document["summary"]
    assert (summary["trades"], summary["win_rate"], summary["longest_flat_seconds"]) == (2, "50", "360000")
    assert (summary["best"]["number"], summary["worst"]["number"]) == (2, 1)
    assert [group["name"] for group in summary["by_year"] + summary["by_instrument"]] == ["2009", "BANK_NIFTY"]


def test_json_of_no_trades_has_nulls_where_nothing_is_defined() -> None:
    result = a_result(still_open=())
    document = as_json(result, summarise(result))
    assert (document["trades"], document["open"], document["net_pnl"], document["max_drawdown"]) == ([], [], "0", "0")
    assert document["summary"]["best"] is document["summary"]["profit_factor"] is None


# --- CSV


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_csv_reads_back_as_the_same_trades(tmp_path: Path) -> None:
    trades = (a_trade(1), a_trade(2, reason='half, "first"\nthen ₹', net_pnl=Decimal("0.0001"), initial_risk=None))
    write_csv(a_result(*trades), tmp_path / "trades.csv")
    read = [
        Trade(
            number=int(row["number"]),
            instrument=row["instrument"],
            layer=row["layer"],
            side=Side(row["side"]),
            lots=int(row["lots"]),
            entry_time=datetime.fromisoformat(row["entry_time"]),
            entry_price=Decimal(row["entry_price"]),
            exit_time=datetime.fromisoformat(row["exit_time"]),
            exit_price=Decimal(row["exit_price"]),
            net_pnl=Decimal(row["net_pnl"]),
            initial_risk=Decimal(row["initial_risk"]) if row["initial_risk"] else None,
            reason=row["reason"],
        )
        for row in rows_of(tmp_path / "trades.csv")
        if row["state"] == "closed"
    ]
    assert tuple(read) == trades


def test_csv_ends_with_the_open_trades_which_have_no_exit(tmp_path: Path) -> None:
    write_csv(a_result(a_trade()), tmp_path / "trades.csv")
    closed, still_open = rows_of(tmp_path / "trades.csv")
    assert tuple(closed) == CSV_COLUMNS
    assert (closed["state"], closed["mark_price"]) == ("closed", "")
    assert (still_open["state"], still_open["exit_time"], still_open["net_pnl"]) == ("open", "", "")
    assert (still_open["mark_price"], still_open["unrealized_pnl"]) == ("58538.2", "-699805.54875")


def test_a_reason_that_a_spreadsheet_would_run_is_text_and_a_negative_number_stays_one(tmp_path: Path) -> None:
    write_csv(a_result(a_trade(reason='=HYPERLINK("x")')), tmp_path / "trades.csv")
    row = rows_of(tmp_path / "trades.csv")[0]
    assert (row["reason"], row["net_pnl"]) == ('\'=HYPERLINK("x")', "-75718.86")


# --- files


def test_a_file_is_replaced_at_once_and_nothing_else_stays(tmp_path: Path) -> None:
    path = tmp_path / "report"
    path.write_text("old")
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_what_was_there_and_nothing_half_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "report"
    path.write_text("old")
    monkeypatch.setattr(reports.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, b"new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "report")
    write_whole(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "report").read_bytes() == b"new"


def test_a_device_is_written_to_and_not_replaced() -> None:
    write_whole(Path("/dev/null"), b"new")
    assert Path("/dev/null").is_char_device()


# --- tables for the terminal


def printed(result: ReplayResult) -> str:
    text = io.StringIO()
    console = Console(width=200, file=text, color_system=None)
    for table in tables(summarise(result), result):
        console.print(table)
    return text.getvalue()


def test_the_terminal_shows_the_summary_years_instruments_and_what_is_open() -> None:
    text = printed(a_result(a_trade()))
    for expected in ("Net P&L", "-75,718.86 (#1)", "By year", "2009", "By instrument", "-1.51 %", "Open at the end"):
        assert expected in text
    assert re.search(r"Expectancy in R +-0\.757", text)
    assert re.search(r"Still open, not counted +1 at -699,805\.55", text)


def test_a_gain_is_green_and_a_loss_is_red() -> None:
    result = a_result(a_trade(net_pnl=Decimal(1)), still_open=())
    styles = {cell.plain: cell.style for cell in tables(summarise(result), result)[0].columns[1].cells}
    assert (styles["+1.00"], styles["5,000,000.00"], styles["-"]) == ("green", "", "")
    result = a_result(a_trade(), still_open=())
    assert "red" in {cell.style for cell in tables(summarise(result), result)[0].columns[1].cells}


def test_the_terminal_leaves_out_tables_without_a_row() -> None:
    text = printed(a_result(still_open=()))
    assert "Profit factor" in text
    assert "By year" not in text
    assert "Open at the end" not in text


def test_the_terminal_shows_names_as_they_are_without_what_moves_a_cursor() -> None:
    text = printed(a_result(a_trade(instrument="[red]GOLD\x1b[2J")))
    assert "[red]GOLD\\x1b[2J" in text


@pytest.mark.parametrize(
    "value, text",
    [("1234567.891", "+1,234,567.89"), ("-0.001", "0.00"), ("0", "0.00"), ("-1000", "-1,000.00")],
)
def test_money_is_shown_with_separators_and_a_sign(value: str, text: str) -> None:
    assert money_text(Decimal(value), signed=True) == text


@pytest.mark.parametrize(
    "value, text", [("4596.250", "4,596.25"), ("830", "830.00"), ("0.12345678", "0.12345678"), ("1E+3", "1,000.00")]
)
def test_a_price_shows_all_that_it_has(value: str, text: str) -> None:
    assert price_text(Decimal(value)) == text


@pytest.mark.parametrize(
    "span, text",
    [
        (timedelta(days=1234, hours=5, minutes=59), "1,234 d 5 h"),
        (timedelta(hours=23, minutes=59), "23 h 59 min"),
        (timedelta(), "0 h 0 min"),
    ],
)
def test_a_time_is_shown_in_days_and_hours_or_hours_and_minutes(span: timedelta, text: str) -> None:
    assert duration_text(span) == text


# --- the page


def test_the_page_asks_no_host_for_anything() -> None:
    page = Page(page_of(many_trades(5)))
    assert not [attrs for _, attrs in page.tags if attrs.keys() & {"src", "srcset", "action", "style", "onclick"}]
    assert {attrs["href"] for _, attrs in page.tags if "href" in attrs} == {"#trades", "data:,"}
    source = page_of(many_trades(5))
    assert not re.search(r"@import|url\(|\bfetch\(|XMLHttpRequest|WebSocket|EventSource|sendBeacon", source)


def test_the_policy_admits_the_pages_own_script_and_style_and_nothing_else() -> None:
    source = page_of(many_trades(5))
    policy = next(attrs["content"] for tag, attrs in Page(source).tags if tag == "meta" and "http-equiv" in attrs)
    parts = [block(source, "<script>", "</script>"), block(source, "<style>", "</style>")]
    script, style = (base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() for part in parts)
    assert policy == (
        f"default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; img-src data:;"
        " base-uri 'none'; form-action 'none'"
    )
    assert source.count("<script") == 2
    assert source.count("</script") == 2
    assert "https:" not in policy


HOSTILE = "<script>alert('x')</script>&\"\u2028"


@pytest.mark.parametrize("where", ["reason", "instrument", "layer"])
def test_what_others_wrote_is_text_on_the_page(where: str) -> None:
    source = page_of(a_result(a_trade(**{where: HOSTILE})))
    assert "<script>alert" not in source
    assert source.count("</script") == 2
    position = {"instrument": 1, "layer": 2, "reason": 10}[where]
    assert Page(source).rows[1][position] == HOSTILE


@given(st.text(max_size=30))
def test_any_reason_is_on_the_page_as_it_is(reason: str) -> None:
    text = reason.replace("\r", "").replace("\0", "")
    assert Page(page_of(a_result(a_trade(reason=text)))).rows[1][10] == text


def test_the_page_has_every_trade_with_its_figures() -> None:
    result = many_trades(825)
    heading, *rows = Page(page_of(result)).rows
    assert heading == []
    assert [int(row[0]) for row in rows] == [trade.number for trade in result.trades]
    assert [Decimal(row[8].replace(",", "")) for row in rows] == [trade.net_pnl for trade in result.trades]
    assert rows[0][:8] == [
        "1",
        "BANK_NIFTY",
        "Long_1",
        "15",
        "2009-02-13 07:45",
        "4,596.25",
        "2009-02-16 03:45",
        "4,456.55",
    ]


def test_the_charts_have_every_trade_and_every_point_of_equity() -> None:
    result = many_trades(50)
    data = json.loads(block(page_of(result), '<script type="application/json" id="data">', "</script>"))
    assert [trade[0] for trade in data["trades"]] == list(range(1, 51))
    assert [trade[0] for trade in data["open"]] == [None]
    curve = [float(point.equity) for point in equity_curve(result)]
    assert data["equity"]["equity"] == [*curve, curve[-1]]
    assert len(data["equity"]["time"]) == len(data["equity"]["drawdown"]) == len(data["equity"]["percent"]) == 52


def test_825_trades_are_a_page_below_a_megabyte_and_a_half(tmp_path: Path) -> None:
    result = many_trades(825)
    html.write_html(result, summarise(result), tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < MOST_BYTES
    assert list(tmp_path.iterdir()) == [tmp_path / "report.html"]


def test_the_same_replay_gives_the_same_page() -> None:
    assert page_of(many_trades(20)) == page_of(many_trades(20))


def test_the_page_tells_equity_in_words() -> None:
    words = "Closed equity began at 5,000,000.00 on 13 Feb 2009 and ended at 4,924,281.14 on 16 Feb 2009"
    assert words in page_of(a_result(a_trade()))
    assert "It never fell below an earlier high." in page_of(a_result(a_trade(net_pnl=Decimal(1))))
    assert "no trade was closed" in page_of(a_result())


def test_a_page_without_any_trade_is_a_page() -> None:
    source = page_of(a_result(still_open=()))
    assert "<title>Replay: No trades, 13 Feb 2009 to 16 Feb 2009</title>" in source
    assert "Open at the end" not in source


def test_each_month_shows_its_return_and_the_stronger_shade_is_the_larger_move() -> None:
    gains = [10_000, 50_000, -100_000, 500_000]
    trades = (
        a_trade(number, net_pnl=Decimal(gain), entry_time=START, exit_time=START + timedelta(days=30 * number))
        for number, gain in enumerate(gains)
    )
    source = page_of(a_result(*trades))
    cells = re.findall(r'<td class="((?:up|down)\d)">([^<]+)</td>', source)
    assert cells == [("up1", "+0.20"), ("up2", "+1.00"), ("down3", "-1.98"), ("up4", "+10.08")]


def test_every_field_that_is_searched_or_sorted_has_a_name() -> None:
    page = Page(page_of(many_trades(3)))
    regions = [attrs for _, attrs in page.tags if attrs.get("role") in ("region", "group")]
    assert len(regions) == 9
    assert all(attrs.get("aria-label") and attrs.get("tabindex") == "0" for attrs in regions)
    assert [tag for tag, _ in page.tags].count("h1") == 1


def test_the_vendored_files_are_those_of_the_pinned_release() -> None:
    vendor = Path(html.__file__).parents[1] / "vendor"
    assert {name: hashlib.sha256((vendor / name).read_bytes()).hexdigest() for name in PINNED} == PINNED
    assert "The MIT License" in page_of(a_result(a_trade()))
