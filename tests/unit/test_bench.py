"""The bench's arithmetic. What it measures is never a test."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from io import StringIO
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bench.__main__ import arguments
from bench.host import INSTRUMENT as CONTRACT
from bench.measure import Comparisons, in_turns, quantile, spread_of
from bench.openalgo import BenchBroker
from bench.report import as_json, busy, cells, number, show, write
from bench.scenarios.memory import slope
from bench.scenarios.orders import INSTRUMENTS as TRADED
from bench.scenarios.orders import WAYS, Bare, bare_client, post
from bench.scenarios.reconcile import holding, markets
from bench.scenarios.recovery import INSTRUMENTS, add_round, history_signal, make_history
from bench.scenarios.replay import FILE, INSTRUMENT, documents_of, listed_settings
from core.config import default_settings
from core.models import SignalType
from core.postgres.journal_stream import journal_stream
from core.settings import Settings
from live.brokers.openalgo import OpenAlgoBroker
from live.brokers.settings import OpenAlgoSettings
from live.deliveries import MOST_AT_ONCE
from live.reconcile import FindingKind, compare
from live.replay.trade_list import read_trade_list
from live.verify import verify
from tests.openalgo_server import API_KEY

FLOATS = st.lists(st.floats(min_value=0, max_value=1e9), min_size=1)


@pytest.mark.parametrize(
    "share, expected", [(0, 1), (0.01, 1), (0.5, 50), (0.501, 51), (0.99, 99), (0.991, 100), (1, 100)]
)
def test_a_quantile_is_the_smallest_value_that_so_many_do_not_exceed(share, expected):
    assert quantile(list(range(100, 0, -1)), share) == expected


@given(FLOATS, st.floats(min_value=0, max_value=1))
def test_a_quantile_was_measured_and_enough_values_do_not_exceed_it(values, share):
    found = quantile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) * (1 - 1e-9)


@pytest.mark.parametrize("values, share", [([], 0.5), ([1.0], 1.1), ([1.0], -0.1)])
def test_a_quantile_of_nothing_or_beyond_all_is_refused(values, share):
    with pytest.raises(ValueError, match=r"nothing|share"):
        quantile(values, share)


def test_a_spread_is_median_lowest_and_highest():
    found = spread_of([3.0, 1.0, 2.0, 10.0])
    assert (found.median, found.lowest, found.highest) == (2.5, 1.0, 10.0)
    with pytest.raises(ValueError, match="nothing"):
        spread_of([])


def test_a_ratio_is_made_round_by_round_so_that_a_slow_round_cancels():
    found = Comparisons("post")
    found.add("rate", 100, 200, unit="/s", limit="echo")
    found.add("rate", 10, 20, unit="/s", limit="echo")
    (row,) = found.rows
    assert row.ratios == [0.5, 0.5]
    assert spread_of(row.ours).median == 55


def test_a_limit_of_zero_makes_an_infinite_ratio():
    found = Comparisons("post")
    found.add("rate", 100, 0, unit="/s", limit="echo")
    assert found.rows[0].ratios == [float("inf")]


def test_one_figure_beside_two_limits_is_two_rows_in_the_order_of_their_first_round():
    found = Comparisons("post")
    for _ in range(3):
        found.add("rate", 1, 2, unit="/s", limit="echo", better="higher")
        found.add("rate", 1, 4, unit="/s", limit="commit", better="higher")
    assert [(row.limit, row.ratios) for row in found.rows] == [("echo", [0.5] * 3), ("commit", [0.25] * 3)]


def test_latencies_become_p50_and_p99_in_milliseconds():
    found = Comparisons("save")
    found.add_latencies("1 client", [n / 1000 for n in range(1, 101)], [0.001] * 100, limit="bare")
    assert [(row.figure, row.unit) for row in found.rows] == [("1 client p50", "ms"), ("1 client p99", "ms")]
    assert [row.ratios[0] for row in found.rows] == pytest.approx([50, 99])


def test_each_round_begins_with_another_part_and_runs_all_of_them():
    done = []
    parts = [lambda part=part: done.append(part) for part in "abc"]
    for round_number in range(-1, 3):
        in_turns(round_number, *parts)
    assert "".join(done) == "cab" + "abc" + "bca" + "cab"


@pytest.mark.parametrize(
    "value, shown", [(12345.6, "12,346"), (123.4, "123"), (12.34, "12.3"), (1.234, "1.23"), (0.1234, "0.123")]
)
def test_a_number_is_shown_with_the_digits_that_count(value, shown):
    assert number(value) == shown


def test_a_row_tells_medians_ratio_and_spread():
    found = Comparisons("engine")
    for ours, raw in ((50, 100), (60, 100), (90, 100)):
        found.add("32 threads", ours, raw, unit="/s", limit="bare", better="higher")
    assert cells(found.rows[0]) == ("engine", "32 threads", "60.0 /s", "100 /s", "bare", "0.60x", "0.50 - 0.90", ">")


def test_the_table_and_the_json_hold_every_round(tmp_path):
    found = Comparisons("engine")
    found.add("32 threads", 50, 100, unit="/s", limit="bare", better="higher")
    found.notes["answers"] = {"executed": 3}
    console = Console(file=StringIO(), width=160)
    show(console, [found])
    assert "0.50x" in console.file.getvalue()
    assert "answers" in console.file.getvalue()
    write(tmp_path / "new" / "out.json", as_json([found], rounds=1, started=datetime(2026, 1, 14, tzinfo=UTC)))
    read = json.loads((tmp_path / "new" / "out.json").read_text())
    assert read["comparisons"][0]["ratio_spread"] == {"median": 0.5, "lowest": 0.5, "highest": 0.5}
    assert read["notes"] == {"engine": {"answers": {"executed": 3}}}


def test_quick_has_three_rounds_otherwise_five_unless_told():
    assert arguments([]).rounds == 5
    assert arguments(["--quick"]).rounds == 3
    assert arguments(["--quick", "--rounds", "7", "--only", "engine"]).rounds == 7


def test_a_busy_machine_is_told():
    assert busy(0.4, 2) == ""
    assert "load average 3.0 on 2 processors" in busy(3.0, 2)


def test_the_bare_writers_documents_hold_every_input_of_the_list_once_a_batch_each():
    recorded = read_trade_list(FILE, instrument=INSTRUMENT, timezone=ZoneInfo("Asia/Kolkata")).inputs
    start, *batches = map(json.loads, documents_of(recorded, listed_settings()))
    assert [len(batch["signals"]) for batch in batches[:-1]] == [MOST_AT_ONCE] * (len(recorded) // MOST_AT_ONCE)
    assert len({signal["fingerprint"] for batch in batches for signal in batch["signals"]}) == len(recorded)
    assert [entry["seq"] for document in (start, *batches) for entry in document["journal"]] == list(
        range(1, len(recorded) + 2)
    )


def test_a_history_trades_each_instrument_in_turn_and_ends_with_all_of_them_open():
    signals = [history_signal(number) for number in range(100 + len(INSTRUMENTS))]
    steps = [signal.type for signal in signals if signal.instrument == INSTRUMENTS[3]]
    bars = [SignalType.MARKET_DATA] * 8
    assert steps == [SignalType.BASE_ENTRY, *bars, SignalType.EXIT, SignalType.BASE_ENTRY]
    assert len({signal.bar_time for signal in signals}) == len(signals)


def test_a_made_journal_is_one_that_verify_proves(dsn, capsys):
    instruments = dict.fromkeys(INSTRUMENTS, CONTRACT)
    make_history(dsn, Settings(instruments=default_settings().instruments | instruments), 200)
    with journal_stream(dsn, "main") as stream:
        found, still_open = verify(stream, "main"), stream.open_positions()
    assert (found.entries, found.signals, found.positions) == (3 + 210, 210, 30)
    assert sorted(position.instrument for position in still_open.values()) == sorted(INSTRUMENTS)
    assert "200 signals" in capsys.readouterr().err


def test_a_history_does_not_end_in_the_middle_of_a_trade():
    with pytest.raises(ValueError, match="middle of a trade"):
        make_history("", default_settings(), 150)


def test_a_recovery_is_told_whole_net_of_imports_and_beside_that_of_a_short_journal():
    found = Comparisons("recovery")
    seconds = {"imports": 0.4, "few": 0.5, "many": 0.55, "few_server": 0.9, "many_server": 1.8}
    add_round(found, seconds, "1,000 rows")
    told = {(row.figure, row.limit): (row.ours[0], row.raw[0]) for row in found.rows}
    imports, short = "the interpreter and the same imports", "the same with few rows"
    assert told["few rows, whole", imports] == pytest.approx((500, 400))
    assert told["1,000 rows, net", "the target"] == pytest.approx((150, 1500))
    assert told["1,000 rows, server too, net", "the target"] == pytest.approx((1400, 5000))
    assert told["1,000 rows, server too, whole", short] == pytest.approx((1800, 900))


class _Documents:
    """A bare writer that keeps what it is given."""

    def __init__(self) -> None:
        self.kept: list[dict[str, Any]] = []

    def write(self, document: str) -> None:
        self.kept.append(json.loads(document))


def test_the_limit_of_an_order_names_its_commits_and_posts():
    told = {figure.name: figure.limit for way in WAYS for figure in (way.entry, way.exit) if figure is not None}
    assert told == {
        "entry": "1 bare commit + 2 POSTs",
        "exit": "1 bare commit + 1 POST",
        "entry, mode asked": "1 bare commit + 3 POSTs",
        "exit past its stop": "2 bare commits + 4 POSTs",
    }


def test_the_limit_of_an_order_is_noted_by_the_brokers_server_and_leaves_the_rows_of_a_whole_trade():
    writer, entry, leave = _Documents(), WAYS[0].entry, WAYS[2].exit
    with BenchBroker() as server, bare_client(server.url) as http:
        server.exchange.set_quote(TRADED[0], Decimal(1000))
        bare = Bare(http, writer)
        bare.order("entry", TRADED[0], entry)
        bare.order("exit", TRADED[0], leave)
        noted = post(http, "noted").json()["data"]
        assert (set(bare.begun) - set(noted), post(http, "noted").json()["data"]) == (set(), {})
        assert all(begun < noted[name] for name, begun in bare.begun.items())
        assert server.exchange.accepted() == []
    kinds = [entry["kind"] for document in writer.kept for entry in document["journal"]]
    assert kinds[1:] == ["signal", "send", "report", "report", "report"] * 2
    last = [order for document in writer.kept for order in document.get("orders_changed", ())][-1]
    assert (last["purpose"], last["state"], last["settled"]) == ("exit", "filled", True)


def test_the_positions_that_are_reconciled_are_those_that_the_brokers_server_holds():
    with BenchBroker() as server:
        server.hold(3)
        settings = OpenAlgoSettings.model_validate({"url": server.url, "api_key": API_KEY})
        with OpenAlgoBroker(settings, lambda: datetime.now(UTC)) as broker:
            findings = compare(holding(3), broker.positions(), markets(3))
    assert [finding.kind for finding in findings] == [FindingKind.MATCHED] * 3


def test_growth_is_the_slope_of_the_line_through_all_samples() -> None:
    assert slope([(1000, 5_000_000), (2000, 5_003_000), (3000, 5_006_000)]) == pytest.approx(3)
    assert slope([(1000, 7), (2000, 9), (3000, 7)]) == pytest.approx(0)
