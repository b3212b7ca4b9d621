"""Alerts that never came, through the engine and PostgreSQL: told, shown, kept over a restart, lifted, proved."""

import threading

from structlog.testing import capture_logs

from core.config import default_settings
from core.fingerprint import fingerprint_of
from core.inputs import Resume
from core.models import MarketPosition
from core.postgres.journal_stream import journal_stream
from live.verify import verify
from tests.builders import a_signal, minutes
from tests.engines import Clock, an_engine, rows_as_portfolio, status_of
from tests.queries import rows
from tests.waiting import eventually


def a_bar(minute, **fields):
    return a_signal("MARKET_DATA", timestamp=minutes(minute), **fields)


def proved(dsn, engine):
    assert rows_as_portfolio(dsn, engine.portfolio) == engine.portfolio
    with journal_stream(dsn, "main") as stream:
        verify(stream, "main")


def test_a_gap_is_told_shown_kept_over_a_restart_and_lifted_by_a_resume(dsn):
    reason = "missed alerts: seq 7 after 4"
    with an_engine(dsn, clock=Clock(minutes(3))) as engine, capture_logs() as logs:
        engine.process_signal(a_bar(1, seq=4))
        assert status_of(engine.process_signal(a_signal(seq=7, timestamp=minutes(2)))) == "blocked: frozen"
        # Told again it is a duplicate, and nothing that would be late.
        assert status_of(engine.process_signal(a_signal(seq=7, timestamp=minutes(2)))) == "duplicate"
        told = [entry for entry in logs if entry["log_level"] == "error"]
        assert [(entry["instrument"], entry["reason"]) for entry in told] == [("BANK_NIFTY", reason)]
        proved(dsn, engine)
    with an_engine(dsn, clock=Clock(minutes(6))) as engine:
        assert engine.status()["frozen"] == {"BANK_NIFTY": reason}
        assert status_of(engine.command(Resume(instrument="BANK_NIFTY"))) == "executed"
        assert status_of(engine.process_signal(a_signal(seq=8, timestamp=minutes(5)))) == "executed"
        assert rows(dsn, "SELECT last_alert_seq, frozen_reason FROM pyramiding_state") == [(8, None)]
        proved(dsn, engine)


def test_a_strategy_that_left_without_us_is_told_and_freezes(dsn):
    with an_engine(dsn, clock=Clock(minutes(9))) as engine, capture_logs() as logs:
        entry = a_signal(timestamp=minutes(5), market_position=MarketPosition.LONG)
        assert status_of(engine.process_signal(entry)) == "executed"
        assert status_of(engine.process_signal(a_bar(6, market_position=MarketPosition.FLAT))) == "executed"
        assert engine.status()["frozen"] == {"BANK_NIFTY": "the strategy is flat, we hold Long_1"}
        assert [entry["reason"] for entry in logs if entry["log_level"] == "error"] == [
            "the strategy is flat, we hold Long_1"
        ]
        leaving = a_signal("EXIT", timestamp=minutes(8), market_position=MarketPosition.FLAT)
        assert status_of(engine.process_signal(leaving)) == "executed"
        proved(dsn, engine)


def test_an_entry_that_overtook_the_exit_of_its_bar_waits_for_it_whatever_their_numbers(dsn):
    clock = Clock(minutes(16))
    with an_engine(dsn, settings=default_settings(), clock=clock) as engine:
        engine.process_signal(a_signal(seq=4, timestamp=minutes(12)))
        answers = []
        entry = a_signal(seq=6, timestamp=minutes(15))
        waiting = threading.Thread(target=lambda: answers.append(engine.process_signal(entry)))
        waiting.start()
        assert eventually(lambda: engine.backlog()["backlog"] == 1)
        assert status_of(engine.process_signal(a_signal("EXIT", seq=5, timestamp=minutes(15)))) == "executed"
        waiting.join()
        assert [status_of(answer) for answer in answers] == ["executed"]
        assert engine.status()["frozen"] == {}
        proved(dsn, engine)


def test_what_waited_in_the_inbox_counts_with_its_number_and_its_position(dsn):
    with an_engine(dsn, clock=Clock(minutes(3))) as engine:
        engine.process_signal(a_signal(seq=4, timestamp=minutes(1)))
    with an_engine(dsn, clock=Clock(minutes(6))) as engine:
        signal = a_bar(5, seq=5, market_position=MarketPosition.SHORT)
        engine.db_manager.log_signal(signal, fingerprint_of("main", signal), received_at=minutes(5))
        engine.look_into_inbox()
        assert eventually(lambda: engine.status()["frozen"] == {"BANK_NIFTY": "the strategy is short, we hold Long_1"})
        assert rows(dsn, "SELECT last_alert_seq FROM pyramiding_state") == [(5,)]
        proved(dsn, engine)
