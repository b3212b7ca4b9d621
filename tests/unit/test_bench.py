"""The bench's arithmetic. What it measures is never a test."""

import itertools
import json
import math
import socket
import threading
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET
from zoneinfo import ZoneInfo

import pytest
from flask import Flask, Response
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bench.__main__ import arguments
from bench.commit_each import CommitEach
from bench.document import BEGIN, DOCS, END, GUIDE, PICTURE, RESULTS, document, rows_of, together
from bench.echo import echo
from bench.history import STORY_SIGNALS, fill, tell_story
from bench.host import INSTRUMENT as CONTRACT
from bench.host import BareWriter, Document
from bench.load import burst, drive
from bench.machine import file_system_of, machine, processor_in
from bench.measure import Comparison, Comparisons, in_turns, quantile, spread_of, values_in_turns
from bench.openalgo import BenchBroker
from bench.plot import goodness, plot
from bench.report import as_json, busy, cells, number, show, target_of, write
from bench.scenarios import SCENARIOS
from bench.scenarios.market_data import a_bar
from bench.scenarios.memory import slope
from bench.scenarios.orders import INSTRUMENTS as TRADED
from bench.scenarios.orders import WAYS, Bare, bare_client, post
from bench.scenarios.reconcile import holding, markets
from bench.scenarios.recovery import INSTRUMENTS, add_round, history_signal, make_history
from bench.scenarios.replay import FILE, INSTRUMENT, documents_of, listed_settings
from bench.stories import INSTRUMENTS as STORY_INSTRUMENTS
from bench.stories import Recorder, Story
from bench.stories import settings as story_settings
from core.alert import parse_alert
from core.config import default_settings
from core.models import SignalType
from core.postgres.journal_stream import journal_stream
from core.settings import Settings
from live.brokers.openalgo import OpenAlgoBroker
from live.brokers.settings import OpenAlgoSettings
from live.deliveries import MOST_AT_ONCE
from live.reconcile import FindingKind, compare
from live.replay.trade_list import read_trade_list
from live.server import Server
from live.verify import verify
from tests.engines import an_engine
from tests.openalgo_server import API_KEY
from tests.queries import rows

STARTED = datetime(2026, 1, 14, tzinfo=UTC)
# Everything but rows: what a history was filled without has to be there again.
DEFINITIONS = """
SELECT conrelid::REGCLASS::TEXT, conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid <> 0
UNION ALL SELECT indrelid::REGCLASS::TEXT, indexrelid::REGCLASS::TEXT, pg_get_indexdef(indexrelid) FROM pg_index
UNION ALL SELECT tgrelid::REGCLASS::TEXT, tgname, tgenabled::TEXT FROM pg_trigger WHERE NOT tgisinternal
ORDER BY 1, 2, 3
"""
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


@pytest.mark.parametrize(
    "better, target, met, told",
    [
        ("lower", 2.0, True, "<= 2x met"),
        ("lower", 1.9, False, "<= 1.9x missed"),
        ("higher", 2.0, True, ">= 2x met"),
        ("higher", 2.1, False, ">= 2.1x missed"),
        ("lower", None, None, "<"),
    ],
)
def test_a_target_is_met_by_the_median_of_the_ratios(better, target, met, told):
    found = Comparisons("post")
    for ours in (1, 2, 9):
        found.add("p50", ours, 1, unit="ms", limit="bare", better=better, target=target)
    assert found.rows[0].met is met
    assert target_of(found.rows[0]) == told


def test_the_targets_of_latencies_are_those_of_p50_and_p99():
    found = Comparisons("post")
    found.add_latencies("1 client", [0.001], [0.001], limit="bare", targets=(2, None))
    assert [row.target for row in found.rows] == [2, None]


def test_the_table_and_the_json_hold_every_round(tmp_path):
    found = Comparisons("engine")
    found.add("32 threads", 50, 100, unit="/s", limit="bare", better="higher")
    found.notes["answers"] = {"executed": 3}
    console = Console(file=StringIO(), width=160)
    show(console, [found])
    assert "0.50x" in console.file.getvalue()
    assert "answers" in console.file.getvalue()
    write(tmp_path / "new" / "out.json", as_json([found], rounds=1, started=STARTED, machine={"cores": 2}))
    read = json.loads((tmp_path / "new" / "out.json").read_text())
    assert read["comparisons"][0]["ratio_spread"] == {"median": 0.5, "lowest": 0.5, "highest": 0.5}
    assert read["comparisons"][0]["met"] is None
    assert read["machine"] == {"cores": 2}
    assert read["notes"] == {"engine": {"answers": {"executed": 3}}}


def test_the_machine_is_told_by_properties_and_versions_and_never_by_name_or_path(dsn, tmp_path):
    told = machine(tmp_path, dsn)
    assert all(told.values()), told
    assert {"psycopg2", "flask", "waitress", "postgresql", "python", "processor", "memory_gib"} <= told.keys()
    text = json.dumps(told)
    assert not any(private in text for private in ("/", socket.gethostname()))


def test_a_file_system_is_that_of_the_nearest_mount_and_of_several_on_it_the_last(tmp_path):
    mounts = tmp_path / "mounts"
    mounts.write_text("a / ext4 rw 0 0\nb /srv xfs rw 0 0\nc /srv/fast tmpfs rw 0 0\nd /srv btrfs rw 0 0\n")
    assert file_system_of(Path("/srv/data"), mounts) == "btrfs"
    assert file_system_of(Path("/srv/fast/data"), mounts) == "tmpfs"
    assert file_system_of(Path("/srvdata"), mounts) == "ext4"
    assert file_system_of(Path("/srv"), tmp_path / "none") == ""


def test_a_processor_is_named_by_its_model():
    assert (
        processor_in("processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\n\nmodel name\t: Another\n") == "Some CPU @ 3 GHz"
    )
    assert processor_in("CPU part: 0xd0c\n") == ""


@contextmanager
def answering(receive):
    app = Flask("bench", static_folder=None)
    app.add_url_rule("/webhook", "receive", receive, methods=["POST"])
    server = Server(app, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server.port
    finally:
        server.stop()
        thread.join()


def test_a_burst_is_answered_to_the_last_and_who_is_told_to_send_again_does():
    told = itertools.count()

    def receive():
        return Response(b"{}", status=503 if next(told) % 3 == 0 else 200)

    with answering(receive) as port:
        load = burst(port, [b"{}"] * 20)
    assert (load.statuses[200], len(load.latencies)) == (20, 20)
    assert load.statuses[503] >= 7
    assert load.latencies == sorted(load.latencies)
    with pytest.raises(RuntimeError, match="503"):
        load.require_all_good()
    load.require_all_good(or_shed=True)
    load.statuses[500] += 1
    with pytest.raises(RuntimeError, match="500"):
        load.require_all_good(or_shed=True)


def test_the_echo_checks_alerts_and_answers_as_much_as_ours():
    with answering(echo) as port:
        load = drive(port, 3, 0.0, Story().body)
        assert dict(load.statuses) == {200: 3}
        assert not drive(port, 1, 0.0, lambda _: b'{"type": "EXIT"}').statuses[200]


def test_the_straightforward_server_keeps_every_alert_by_a_commit_of_its_own(dsn):
    with closing(BareWriter(dsn)) as bare:
        with answering(CommitEach(bare).receive) as port:
            drive(port, 4, 0.0, Story().body).require_all_good()
        assert bare.journalled() == 1 + 4


def test_quick_has_three_rounds_otherwise_five_unless_told():
    assert arguments([]).rounds == 5
    assert arguments(["--quick"]).rounds == 3
    assert arguments(["--quick", "--rounds", "7", "--only", "engine"]).rounds == 7


def test_a_busy_machine_is_told():
    assert busy(0.4, 2) == ""
    assert "load average 3.0 on 2 processors" in busy(3.0, 2)


def test_the_bare_writers_documents_hold_every_input_of_the_list_once_a_batch_each():
    recorded = read_trade_list(FILE, instrument=INSTRUMENT, timezone=ZoneInfo("Asia/Kolkata")).inputs
    start, *batches = (json.loads(document.text) for document in documents_of(recorded, listed_settings()))
    assert [len(batch["signals"]) for batch in batches[:-1]] == [MOST_AT_ONCE] * (len(recorded) // MOST_AT_ONCE)
    assert len({signal["fingerprint"] for batch in batches for signal in batch["signals"]}) == len(recorded)
    assert [entry["seq"] for document in (start, *batches) for entry in document["journal"]] == list(
        range(1, len(recorded) + 2)
    )


def test_the_bare_writer_writes_what_it_is_given_and_says_where_it_does_not(dsn):
    recorder = Recorder()
    documents = [recorder.start(), recorder.batch(range(8)), recorder.batch(range(8))]
    with closing(BareWriter(dsn)) as bare:
        for document in documents:
            bare.write(document)
        assert bare.journalled() == 1 + 8 + 8
        with pytest.raises(RuntimeError, match="not written"):
            bare.write(documents[-1])


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

    def write(self, document: Document) -> None:
        self.kept.append(json.loads(document.text))


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


def test_a_sweep_of_bars_moves_every_stop_and_each_bar_is_newer():
    alerts = [parse_alert(a_bar(7, number), instruments=["R7"], naive_timezone=UTC).signal for number in (1, 2)]
    assert alerts[0].bar_time < alerts[1].bar_time
    assert alerts[0].price < alerts[1].price
    assert {alert.instrument for alert in alerts} == {"R7"}


def test_figures_are_told_in_the_order_of_their_parts_whoever_began():
    for turn in range(3):
        assert values_in_turns(turn, lambda: 1.0, lambda: 2.0, lambda: 3.0) == [1.0, 2.0, 3.0]


def test_a_generated_history_is_as_long_as_wanted_and_an_engine_goes_on_from_it(dsn):
    before = rows(dsn, DEFINITIONS)
    tell_story(dsn)
    fill(dsn, 10 * STORY_SIGNALS)
    assert rows(dsn, DEFINITIONS) == before
    signals, trades = 11 * STORY_SIGNALS, 11 * len(STORY_INSTRUMENTS)
    assert rows(dsn, "SELECT count(*), min(seq), max(seq) FROM decision_journal") == [(1 + signals, 1, 1 + signals)]
    assert rows(dsn, "SELECT count(*) FROM signal_log") == [(signals,)]
    assert rows(dsn, "SELECT count(*) FROM portfolio_positions WHERE status = 'closed'") == [(trades,)]
    assert rows(dsn, "SELECT count(*) FROM orders JOIN fills USING (client_order_id)") == [(2 * 10 * trades // 11,)]
    with an_engine(dsn, settings=story_settings(), clock=lambda: datetime.now(UTC)) as engine:
        assert engine.failed_invariants == ()
        assert engine.deliver(Story(1_000_000).signal(0)).outcome["status"] == "executed"


def test_a_history_is_made_of_whole_stories():
    with pytest.raises(ValueError, match="whole copies"):
        fill("", STORY_SIGNALS + 1)


def some_results() -> dict[str, Any]:
    found = Comparisons("post")
    for ours in (1.0, 2.0, 9.0):
        found.add("1 client p50", ours, 1, unit="ms", limit="bare & simple", target=2)
        found.add("rate", ours, 1, unit="/s", limit="echo", better="higher", target=4)
        found.add("other", ours, 1, unit="ms", limit="echo")
    on = dict.fromkeys(("processor", "kernel", "file_system", "postgresql", "python", "msgspec"), "1")
    on |= {"cores": 2, "memory_gib": 4, "psycopg2": "1", "flask": "1", "waitress": "1", "load_average_before": 0.1}
    return json.loads(json.dumps(as_json([found], rounds=3, started=STARTED, machine=on)))


def test_results_are_put_between_the_marks_of_the_guide_and_replace_what_was_there():
    once = document(f"before\n{BEGIN}\nold\n{END}\nafter\n", some_results())
    assert once.startswith("before\n")
    assert once.endswith("\nafter\n")
    assert "old" not in once
    assert "| 1 client p50 | 2.00 ms | 1.00 ms | bare & simple | 2.00x | 1.00 - 9.00 | <= 2x met |" in once
    assert document(once, some_results()) == once
    with pytest.raises(ValueError, match="no place"):
        document("a guide without marks", some_results())


def test_of_several_runs_each_scenario_is_the_last_ones_that_measured_it():
    first, again = some_results(), some_results()
    again["comparisons"] = [{**row, "scenario": "engine"} for row in again["comparisons"][:1]]
    newest = some_results()
    newest["comparisons"] = [{**row, "figure": "another"} for row in newest["comparisons"][:1]]
    results = together([first, again, newest])
    told = [(row.scenario, row.figure) for row in rows_of(results)]
    # Where it was before.
    assert told == [("post", "another"), ("engine", "1 client p50")]
    day = f"{STARTED:%Y-%m-%d}"
    told_apart = f"From runs of their own: `engine` ({day}, load average 0.1), `post` ({day}, load average 0.1)."
    assert told_apart in document(f"{BEGIN}{END}", results)
    assert "of their own" not in document(f"{BEGIN}{END}", together([first]))


def test_a_picture_shows_what_has_a_target_green_where_it_is_met():
    root = ET.fromstring(plot(rows_of(some_results())))
    dots = [dot.get("fill") for dot in root.iter() if dot.tag.endswith("circle")]
    texts = [text.text for text in root.iter() if text.tag.endswith("text")]
    assert len(dots) == 2
    assert len(set(dots)) == 2
    assert "post: 1 client p50" in texts
    assert "post: other" not in texts


@pytest.mark.parametrize(
    "better, target, ratio, good",
    [("lower", 2, 4, 0.5), ("lower", 2, 0, math.inf), ("higher", 0.5, 1, 2), ("higher", 0.5, 0, 0)],
)
def test_how_good_a_ratio_is_is_told_beside_its_target(better, target, ratio, good):
    row = Comparison(scenario="post", figure="", unit="", limit="", better=better, target=target)
    assert goodness(row, ratio) == good


def test_the_guide_shows_the_results_that_are_kept_beside_it():
    results = json.loads((DOCS / RESULTS).read_text(encoding="utf-8"))
    guide = (DOCS / GUIDE).read_text(encoding="utf-8")
    assert document(guide, results) == guide
    assert (DOCS / PICTURE).read_text(encoding="utf-8") == plot(rows_of(results))


def test_the_guide_explains_every_scenario():
    guide = (DOCS / GUIDE).read_text(encoding="utf-8")
    explained = [
        name for line in guide.splitlines() if line.startswith("| `") for name in line.split("|")[1].split(",")
    ]
    assert sorted(name.strip(" `") for name in explained) == sorted(SCENARIOS)


def test_growth_is_the_slope_of_the_line_through_all_samples() -> None:
    assert slope([(1000, 5_000_000), (2000, 5_003_000), (3000, 5_006_000)]) == pytest.approx(3)
    assert slope([(1000, 7), (2000, 9), (3000, 7)]) == pytest.approx(0)
