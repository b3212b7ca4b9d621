"""`replay`: the real list of trades to the paisa, the same state twice, through HTTP, and nothing half-done left."""

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import psycopg2.extensions
import pytest
from msgspec.structs import replace

from core.config import default_settings
from core.db_state_manager import DatabaseStateManager
from core.postgres.embedded import EmbeddedServer
from core.postgres.scratch import scratch_portfolio
from live.replay.files import Files, read_files
from live.replay.run import replay
from live.replay.settings import Overrides, replay_settings
from tests.builders import CAPITAL
from tests.folders import passable_folder
from tests.live_process import ROOT, LiveProcess
from tests.queries import rows
from tests.states import state_of

LIST = ROOT / "tests" / "data" / "tradingview_banknifty_trades.csv"
OVERRIDES = Overrides(
    as_listed=True, instrument="BANK_NIFTY", point_value=Decimal(35), commission_percent=Decimal("0.05")
)
FILES = Files(paths=[("BANK_NIFTY", LIST)], bars={}, timezone=ZoneInfo("Asia/Kolkata"))


@pytest.fixture
def folder() -> Iterator[Path]:
    with passable_folder("replay") as made:
        yield made


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        str(ROOT / "portfolio_manager.py"),
        "replay",
        "--data-dir",
        str(folder / "data"),
        *arguments,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=folder)


def schemas(dsn: str) -> list[str]:
    found = rows(
        dsn, "SELECT nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%%' AND nspname <> 'information_schema'"
    )
    return sorted(name for (name,) in found)


def in_schema(dsn: str, schema: str) -> str:
    return psycopg2.extensions.make_dsn(dsn, options=f"-c search_path={schema}")


# --- truth


def test_every_closed_trade_of_the_real_list_earns_what_the_list_says(empty_dsn):
    from live.replay.trade_list import read_trade_list

    settings = replay_settings(default_settings(), OVERRIDES)
    inputs = read_files(FILES, settings)
    listed = read_trade_list(LIST, instrument="BANK_NIFTY", timezone=FILES.timezone).listed
    with scratch_portfolio(empty_dsn, None) as name, DatabaseStateManager(empty_dsn, portfolio=name) as manager:
        done = replay(manager, settings, CAPITAL, inputs.recorded, portfolio="main", marks=inputs.marks)
        ((closed, flows, realized),) = rows(
            in_schema(empty_dsn, name), "SELECT closed_equity, flows_total, realized_total FROM portfolio_state"
        )
    trades = {trade.number: trade for trade in done.result.trades}
    assert len(trades) == len(done.result.trades) == len(listed) == 824
    wrong = {
        number: (trades[number].net_pnl, net)
        for number, net in listed.items()
        if abs(trades[number].net_pnl - net) > max(Decimal("0.006"), abs(net) * Decimal("1e-6"))
    }
    assert wrong == {}
    total = sum(trade.net_pnl for trade in done.result.trades)
    assert (closed, flows, realized) == (CAPITAL + total, 0, total)
    assert abs(total - sum(listed.values())) < Decimal("0.5")
    ((open_trade),) = done.result.open_trades
    assert (open_trade.lots, open_trade.mark_price) == (330, Decimal("58538.2"))


def test_the_command_says_what_the_design_says(folder):
    done = run(folder, str(LIST), "--point-value", "35", "--commission-percent", "0.05", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert set(said["trades"][0]) == {
        *("number", "instrument", "layer", "lots", "entry_time", "entry_price", "exit_time", "exit_price", "net_pnl")
    }
    net = sum(Decimal(trade["net_pnl"]) for trade in said["trades"])
    assert Decimal(said["net_pnl"]) == net
    assert Decimal(said["final_equity"]) == CAPITAL + net
    equity, high, deepest = CAPITAL, CAPITAL, Decimal(0)
    for trade in said["trades"]:
        equity += Decimal(trade["net_pnl"])
        high = max(high, equity)
        deepest = max(deepest, high - equity)
    assert Decimal(said["max_drawdown"]) == deepest
    assert [trade["lots"] for trade in said["open"]] == [330]
    # The server that was started for it is stopped, and its scratch portfolio is gone.
    assert EmbeddedServer(folder / "data").postmaster_pid is None
    with EmbeddedServer(folder / "data") as server:
        assert schemas(server.dsn) == ["public"]


# --- the same state


def test_replaying_twice_gives_the_same_state_to_the_last_digit(empty_dsn):
    settings = replay_settings(default_settings(), OVERRIDES)
    inputs = read_files(FILES, settings)
    states = []
    for name in ("first", "second"):
        with scratch_portfolio(empty_dsn, name), DatabaseStateManager(empty_dsn, portfolio=name) as manager:
            replay(manager, settings, CAPITAL, inputs.recorded, portfolio="main")
        states.append(state_of(in_schema(empty_dsn, name)))
    assert states[0] == states[1]
    assert len(states[0][3]) == 1524


def test_replaying_through_http_gives_the_same_state_as_in_process(folder):
    settings = replay_settings(default_settings(), OVERRIDES)
    inputs = read_files(FILES, settings)
    some = inputs.recorded[:300]
    alerts = folder / "alerts.jsonl"
    alerts.write_text("".join(json.dumps(one.payload) + "\n" for one in some))
    config = folder / "config.json"
    config.write_text(json.dumps(settings.model_dump(mode="json")))
    with LiveProcess(folder / "data", "--config", str(config)) as live:
        sent = subprocess.run(
            [
                *(sys.executable, str(ROOT / "portfolio_manager.py"), "send", str(alerts)),
                *("--url", live.url, "--config", str(config), "--json"),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert sent.returncode == 0, sent.stderr[-2000:]
        dsn = EmbeddedServer.dsn_of(folder / "data")
        with scratch_portfolio(dsn, "replayed"), DatabaseStateManager(dsn, portfolio="replayed") as manager:
            replay(manager, settings, CAPITAL, some, portfolio="main")
        assert state_of(in_schema(dsn, "replayed")) == state_of(dsn)


# --- nothing half-done stays


def test_a_bad_file_is_named_with_its_line_and_touches_no_database(folder):
    lines = LIST.read_text(encoding="utf-8").splitlines(keepends=True)
    bad = folder / "bad.csv"
    bad.write_text("".join([*lines[:42], lines[42].replace("ENTRY-", "INTRY-"), *lines[43:]]))
    done = run(folder, str(bad))
    assert done.returncode == 1
    assert "bad.csv" in done.stderr
    assert "line 43" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "data").exists()


def test_a_kept_portfolio_stays_and_its_name_is_taken(folder):
    with EmbeddedServer(folder / "data") as server:
        assert run(folder, str(LIST), "--keep", "history", "--to", "2009-06-01").returncode == 0
        assert schemas(server.dsn) == ["history", "public"]
        again = run(folder, str(LIST), "--keep", "history")
        assert again.returncode == 1
        assert "history" in again.stderr
        assert rows(server.dsn, "SELECT count(*) FROM history.portfolio_positions")[0][0] > 0


def test_a_replay_that_is_killed_leaves_a_scratch_portfolio_to_the_next_one_which_drops_it(folder):
    with EmbeddedServer(folder / "data") as server:
        killed = subprocess.Popen(
            [
                sys.executable,
                str(ROOT / "portfolio_manager.py"),
                "replay",
                "--data-dir",
                str(folder / "data"),
                str(LIST),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while not any(name.startswith("scratch_") for name in schemas(server.dsn)) and time.monotonic() < deadline:
            time.sleep(0.005)
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
        assert [name[:8] for name in schemas(server.dsn)] == ["public", "scratch_"]
        assert run(folder, str(LIST), "--to", "2009-06-01").returncode == 0
        assert schemas(server.dsn) == ["public"]


def test_a_replay_that_fails_half_way_leaves_nothing(empty_dsn):
    settings = replay_settings(default_settings(), OVERRIDES)
    inputs = read_files(FILES, settings)

    def fail(_: int) -> None:
        raise RuntimeError("the disk is full, say")

    def replaying() -> None:
        with scratch_portfolio(empty_dsn, "kept"), DatabaseStateManager(empty_dsn, portfolio="kept") as manager:
            replay(manager, settings, CAPITAL, inputs.recorded, portfolio="main", progress=fail)

    with pytest.raises(RuntimeError, match="disk"):
        replaying()
    assert schemas(empty_dsn) == ["public"]


def test_the_collector_leaves_alone_what_was_there_before_a_replay(empty_dsn):
    gc.unfreeze()
    settings, seen = replay_settings(default_settings(), OVERRIDES), []
    inputs = read_files(FILES, settings)
    with scratch_portfolio(empty_dsn, None) as name, DatabaseStateManager(empty_dsn, portfolio=name) as manager:
        replay(
            manager,
            settings,
            CAPITAL,
            inputs.recorded,
            portfolio="main",
            progress=lambda _: seen.append(gc.get_freeze_count() > 10_000),
        )
    left = gc.get_freeze_count()
    gc.freeze()  # as conftest.py has it
    assert (set(seen), left) == ({True}, 0)


# --- another instrument


def test_another_instruments_list_works_with_its_own_point_value(folder):
    done = run(folder, str(LIST), "--instrument", "NIFTY", "--point-value", "75", "--to", "2010-01-01", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    first = said["trades"][0]
    points = Decimal(first["exit_price"]) - Decimal(first["entry_price"])
    assert (first["instrument"], Decimal(first["net_pnl"])) == ("NIFTY", points * first["lots"] * 75)


def test_an_instrument_of_which_nothing_is_known_is_refused(folder):
    done = run(folder, str(LIST), "--instrument", "NIFTY")
    assert done.returncode == 1
    assert "--point-value" in done.stderr


def test_rules_need_what_they_need(folder):
    done = run(folder, str(LIST), "--sizing", "rules")
    assert done.returncode == 1
    assert "--sizing rules" in done.stderr
    assert "--bars" in done.stderr


def test_trade_numbers_tell_the_partial_exits_of_one_bar_apart():
    settings = replay_settings(default_settings(), OVERRIDES)
    exits = [one.signal for one in read_files(FILES, settings).recorded if one.signal.trade_number is not None]
    without = [replace(signal, trade_number=None) for signal in exits]
    assert len(exits) - len({(signal.layer, signal.bar) for signal in without}) == 41


def test_lists_of_several_instruments_are_merged_in_time_order(folder):
    until = ("--to", "2010-01-01", "--json")
    other = folder / "other.csv"
    shutil.copy(LIST, other)
    both = run(folder, f"BANK_NIFTY={LIST}", f"COPPER={other}", *until)
    assert both.returncode == 0, both.stderr
    said = json.loads(both.stdout)
    assert {trade["instrument"] for trade in said["trades"]} == {"BANK_NIFTY", "COPPER"}
    assert [trade["exit_time"] for trade in said["trades"]] == sorted(trade["exit_time"] for trade in said["trades"])
    alone = json.loads(run(folder, str(LIST), *until).stdout)
    assert len(said["trades"]) == 2 * len(alone["trades"])


def test_the_capital_is_the_configurations_unless_it_is_given(folder):
    config = folder / "config.json"
    config.write_text('{"initial_capital": 750000}')
    until = ("--to", "2009-06-01", "--json", "--config", str(config))
    assert json.loads(run(folder, str(LIST), *until).stdout)["capital"] == "750000"
    assert json.loads(run(folder, str(LIST), *until, "--capital", "1000").stdout)["capital"] == "1000"


def test_a_page_that_cannot_be_written_is_refused_before_anything_is_replayed(folder):
    done = run(folder, str(LIST), "--html", str(folder / "absent" / "page.html"))
    assert done.returncode == 2
    assert "absent does not exist" in done.stderr
    assert not (folder / "data").exists()


def test_a_replay_that_earns_something_else_than_its_list_says_so(folder):
    costless = run(folder, str(LIST), "--point-value", "35", "--json")
    assert costless.returncode == 0
    assert "the list says its closed trades earned 150,839,316" in costless.stderr
    assert json.loads(costless.stdout)["net_pnl"]
    fitting = run(folder, str(LIST), "--point-value", "35", "--commission-percent", "0.05", "--json")
    assert fitting.stderr == ""
