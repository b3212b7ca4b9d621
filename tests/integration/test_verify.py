"""`verify` proves an undisturbed journal, and finds whatever was changed, removed or reordered by hand."""

import os
import pty
import random
import re
import subprocess
import sys
import tracemalloc
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal

import psycopg2
import pytest
from msgspec.structs import replace

import live.writer
from core.fingerprint import fingerprint_of
from core.inputs import ClosePositions, Halt, MoveCapital, Resume, SignalInput
from core.journal import HASHED_COLUMNS, NO_HASH, content_hash
from core.postgres.journal_stream import ROWS_AT_ONCE, journal_stream
from live.deliveries import Delivery
from live.verify import Wrong, verify
from tests.builders import a_position, a_signal, minutes
from tests.database_file import pointed_to
from tests.engines import Clock, an_engine, status_of
from tests.live_process import ROOT
from tests.queries import rows
from tests.verified import statements_of_verify, verified
from tests.waiting import eventually

FORGED_SIGNAL = (
    "INSERT INTO signal_log (instrument, signal_type, position, signal_timestamp, fingerprint, received_at,"
    " processing_status, outcome) VALUES ('X', 'EXIT', 'ALL', now(), repeat('a', 64), now(), 'executed', '{}')"
)
UNLOCK = "ALTER TABLE decision_journal DISABLE TRIGGER ALL; "


@pytest.fixture
def book(dsn: str) -> str:
    """A database in which a bit of everything has happened: ten signals or so."""
    with an_engine(dsn, clock=Clock(minutes(3))) as engine:
        engine.process_signal(a_signal())
        engine.process_signal(a_signal(instrument="GOLD_MINI", price=72000, stop=71500, atr=500))
        engine.process_signal(a_signal("MARKET_DATA", price=53000, timestamp=minutes(1)))
        engine.process_signal(a_signal("PYRAMID", price=53000, stop=52900, atr=100, timestamp=minutes(1.1)))
        engine.process_signal(a_signal(timestamp=minutes(1.2)))
        engine.process_signal(a_signal("EXIT", layer="ALL", price=53100, timestamp=minutes(2)))
        engine.command(MoveCapital(request_id="r", amount=Decimal(1000), note="a deposit \u20b9"))
        engine.command(Halt(reason="lunch"))
        engine.command(Resume())
    return dsn


def test_an_undisturbed_journal_is_proved_and_says_what_was_checked(book):
    done = verified(book)
    assert (done.entries, done.redecided, done.reapplied, done.hashes) == (12, 12, 0, 12)
    assert (done.signals, done.positions) == (6, 3)
    assert rows(book, "SELECT content_hash FROM decision_journal ORDER BY seq DESC LIMIT 1") == [(done.last_hash,)]


def test_an_empty_portfolio_is_proved(dsn):
    assert verified(dsn).entries == 0


def test_restarts_changed_settings_and_saves_by_hand_are_proved(book, settings):
    fewer = settings.model_copy(update={"limits": settings.limits.model_copy(update={"risk_percent": Decimal(10)})})
    with an_engine(book, settings=fewer, clock=Clock(minutes(4))) as engine:
        engine.db_manager.save_position(a_position("by hand", layer="Long_2", instrument="COPPER", version=0))
        kept = engine.db_manager.get_position("by hand")
        engine.db_manager.save_position(replace(kept, current_stop=Decimal(71600)))
        engine.db_manager.save_pyramiding_state("COPPER", Decimal(72000), "by hand")
    with an_engine(book, settings=settings, clock=Clock(minutes(5))) as engine:
        engine.command(ClosePositions(position_id="ALL"))
    assert verified(book).entries > 12


def test_an_input_that_failed_is_proved(dsn, monkeypatch):
    with an_engine(dsn) as engine:
        monkeypatch.setattr(live.writer, "decide", lambda *_: 1 / 0)
        assert status_of(engine.process_signal(a_signal())).startswith("failed")
        monkeypatch.undo()
        engine.process_signal(a_signal(timestamp=minutes(0.5)))
    assert verified(dsn).entries == 5


def test_hundreds_of_random_signals_are_proved(dsn):
    from tests.integration.test_persistence import _random_signal

    dice, clock = random.Random(5), Clock(minutes(1))
    prices = {"BANK_NIFTY": 52000.0, "GOLD_MINI": 72000.0, "SILVER_MINI": 90000.0, "COPPER": 800.0}
    with an_engine(dsn, clock=clock) as engine:
        for _ in range(700):
            clock.now += timedelta(seconds=30)
            engine.process_signal(_random_signal(dice, prices, clock))
    assert verified(dsn).signals == 700


@pytest.mark.parametrize(
    "damage, named",
    [
        (
            UNLOCK
            + "UPDATE decision_journal SET input = jsonb_set(input, '{signal,price}', '\"52001\"') WHERE seq = 4",
            "entry 4",
        ),
        (UNLOCK + 'UPDATE decision_journal SET figures = figures || \'{"risk": "9"}\' WHERE seq = 4', "entry 4"),
        (
            UNLOCK + "UPDATE decision_journal SET decided_at = decided_at + interval '1 microsecond' WHERE seq = 6",
            "entry 6",
        ),
        (UNLOCK + "UPDATE decision_journal SET term = 2 WHERE seq = 12", "entry 12"),
        (UNLOCK + "DELETE FROM capital_flows; DELETE FROM decision_journal WHERE seq = 7", "entry 7 is missing"),
        (UNLOCK + "DELETE FROM decision_journal WHERE seq = 12", "portfolio_state"),
        (
            UNLOCK + "UPDATE decision_journal SET seq = seq + 100 WHERE seq IN (11, 12);"
            " UPDATE decision_journal SET seq = 123 - seq WHERE seq > 100",
            "entry 11",
        ),
        ("UPDATE portfolio_positions SET exit_price = exit_price + 1 WHERE layer = 'Long_2'", "BANK_NIFTY-Long_2"),
        ("UPDATE portfolio_positions SET current_stop = 1 WHERE instrument = 'GOLD_MINI'", "GOLD_MINI-Long_1"),
        ("UPDATE portfolio_state SET closed_equity = closed_equity + 0.0001", "portfolio_state"),
        ("UPDATE pyramiding_state SET last_pyramid_price = 1 WHERE instrument = 'GOLD_MINI'", "pyramiding_state"),
        ("UPDATE signal_log SET outcome = outcome || '{\"lots\": 3}' WHERE instrument = 'GOLD_MINI'", "signal_log"),
        ("DELETE FROM signal_log WHERE instrument = 'GOLD_MINI'", "signal_log"),
        (FORGED_SIGNAL, "signal_log"),
        ("UPDATE capital_flows SET amount = 999", "capital_flows"),
        (
            "DELETE FROM pyramiding_state; DELETE FROM portfolio_positions WHERE status = 'closed'",
            "portfolio_positions",
        ),
    ],
)
def test_what_was_changed_by_hand_is_found_and_named(book, damage, named):
    rows(book, damage)
    with pytest.raises(Wrong, match=named):
        verified(book)


def chain_anew(book: str) -> None:
    """Whoever can write the table can also give each entry the hash of what is in it now."""
    columns, previous = ", ".join(HASHED_COLUMNS), NO_HASH
    for values in rows(book, f"SELECT {columns} FROM decision_journal ORDER BY seq"):
        record = dict(zip(HASHED_COLUMNS, values, strict=True))
        previous = content_hash(record, previous)
        rows(book, UNLOCK + "UPDATE decision_journal SET content_hash = %s WHERE seq = %s", (previous, record["seq"]))


@pytest.mark.parametrize(
    "forged, named",
    [
        ("outcome = outcome || '{\"lots\": 99}'", "entry 4 is decided otherwise now: executed, kept: executed"),
        ('figures = figures || \'{"risk": "9"}\'', "entry 4 is decided otherwise"),
        ("events = events - 1", "entry 4: other events follow from its input than were kept"),
        ("events = jsonb_set(events, '{0,position,entry_price}', '\"52000.5\"')", "entry 4: other events follow"),
        ('events = events || \'{"event": "nonsense"}\'', "entry 4: its events cannot be read"),
        ("input = jsonb_set(input, '{kind}', '\"nonsense\"')", "entry 4: its input cannot be read"),
        ("input = jsonb_set(input, '{signal,price}', '\"-1\"')", "entry 4: its input cannot be read"),
    ],
)
def test_a_forged_entry_with_a_right_hash_is_found_by_deciding_it_again(book, forged, named):
    """Not even then does a false decision pass."""
    rows(book, f"{UNLOCK}UPDATE decision_journal SET {forged} WHERE seq = 4")
    chain_anew(book)
    with pytest.raises(Wrong, match=named):
        verified(book)


def test_an_entry_that_is_the_same_but_written_otherwise_is_proved(book):
    """As another version might write it: the zeros that end a number say nothing."""
    written_otherwise = "jsonb_set(events, '{0,position,entry_price}', '\"52000.0\"')"
    rows(book, f"{UNLOCK}UPDATE decision_journal SET events = {written_otherwise} WHERE seq = 4")
    chain_anew(book)
    assert verified(book).redecided == 12


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE decision_journal SET kind = kind",
        "DELETE FROM decision_journal",
        "TRUNCATE decision_journal CASCADE",
        "SET session_replication_role = replica; DELETE FROM decision_journal",
    ],
)
def test_the_database_itself_refuses_to_change_the_journal(book, change):
    """Also to its owner, who is asking here."""
    with pytest.raises(psycopg2.errors.RestrictViolation, match="append-only"):
        rows(book, change)
    assert verified(book).entries == 12


def test_entries_of_older_rules_are_applied_again_and_counted_apart(book, monkeypatch):
    import live.verify
    from core.journal import RULES_VERSION

    monkeypatch.setattr(live.verify, "RULES_VERSION", RULES_VERSION + 1)
    done = verified(book)
    assert (done.redecided, done.reapplied) == (0, 12)


def test_an_entry_of_a_newer_format_is_not_guessed_at(book):
    rows(book, UNLOCK + "UPDATE decision_journal SET format = 9 WHERE seq = 5")
    with pytest.raises(Wrong, match="entry 5 is of format 9"):
        verified(book)


# --- long journals


def bars(dsn: str, count: int) -> None:
    """So many more entries: one bar a second, which touch nothing."""
    with an_engine(dsn, clock=Clock(minutes(24 * 60))) as engine:
        for number in range(count):
            signal = a_signal("MARKET_DATA", instrument="COPPER", price=800, timestamp=minutes(number / 60))
            given = SignalInput(signal=signal, fingerprint=fingerprint_of("main", signal), received_at=minutes(0))
            engine._waiting.put(Delivery(given, kept=True))
        assert eventually(lambda: engine.backlog()["backlog"] == 0, 60)


def test_its_memory_does_not_grow_with_the_journal_and_it_tells_how_far_it_is(dsn):
    peaks = []
    for count in (1200, 4800):
        bars(dsn, count)
        told: list[int] = []
        with journal_stream(dsn, "main") as stream:
            tracemalloc.start()
            done = verify(stream, "main", told.append)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert sum(told) == done.entries
        assert len(told) > count // ROWS_AT_ONCE
    assert peaks[1] < 1.3 * peaks[0]


def test_it_asks_as_often_whether_one_position_was_closed_or_a_hundred(dsn):
    """A chunk of the journal costs the same statements, however much happened in it."""
    clock, asked = Clock(minutes(0)), []
    with an_engine(dsn, clock=clock) as engine:
        for number in range(100):
            clock.now = minutes(number + 0.5)
            engine.process_signal(a_signal(timestamp=minutes(number)))
            engine.process_signal(a_signal("EXIT", layer="ALL", price=52000, timestamp=clock.now))
            if number in (0, 99):
                asked.append(statements_of_verify(dsn))
    assert rows(dsn, "SELECT count(*) FROM portfolio_positions WHERE status = 'closed'") == [(100,)]
    assert asked[0] == asked[1]
    assert len(asked[0]) == len(set(asked[0]))


def test_on_a_terminal_it_shows_its_progress(dsn, tmp_path):
    bars(dsn, 1500)
    here, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, str(ROOT / "portfolio_manager.py"), "verify", *pointed_to(dsn, tmp_path / "database.json")],
        stdout=subprocess.PIPE,
        stderr=terminal,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    ) as process:
        os.close(terminal)
        shown = b""
        with suppress(OSError):  # the end of a terminal is an error
            while piece := os.read(here, 65536):
                shown += piece
        assert process.wait(30) == 0
    os.close(here)
    assert re.search(rb"1,?50\d/1,?50\d|1000/150\d|500/150\d", shown), shown[-500:]
