"""Days are reckoned while an instance leads: once, whoever else does, whatever dies, and what fails is tried again and told."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine
from structlog.testing import capture_logs

from book.database import transaction
from book.fx import set_rate
from core.book_settings import BookSettings
from core.notifications import Level, NotificationSettings
from core.risk_settings import RiskSettings
from live.book_desk import BookDesk
from live.briefings.keeper import BookKeeper, KeptBook
from live.contracts_file import load_calendar
from live.engine import LiveTradingEngine
from live.reckoning import Reckoning, RiskKeeper
from risk.batch.run import STEPS
from tests.builders import NOON, a_signal
from tests.engines import Clock, an_engine, status_of
from tests.queries import rows
from tests.risk_world import AFTER, DAY, DAYS, USD, a_world
from tests.waiting import eventually
from tests.workers import workers_of

BEFORE = DAYS[-2]
QUICKLY = RiskSettings(enabled=True, every_seconds=Decimal(1), catch_up_days=2, retry_seconds=Decimal(1))
DONE = [(BEFORE, step, 1, "completed") for step in STEPS] + [(DAY, step, 1, "completed") for step in STEPS]


@pytest.fixture
def world(book_engine: Engine, book_dsn: str) -> str:
    with transaction(book_engine) as session:
        a_world(session)
        set_rate(session, "USD/INR", Decimal(str(USD)), BEFORE)
    return book_dsn


@contextmanager
def a_keeper(
    dsn: str,
    *,
    settings: RiskSettings = QUICKLY,
    at: Callable[[], datetime] = lambda: AFTER,
    leads: Callable[[], bool] = lambda: True,
    engines: Callable[[], Any] | None = None,
) -> Iterator[RiskKeeper]:
    desk = BookDesk(dsn, at, batch={"grace_seconds": 300})
    keeper = RiskKeeper(
        desk,
        settings,
        engines=engines or (lambda: [SimpleNamespace(serving=leads(), database_away=False)]),
        calendar=load_calendar,
        close_grace_seconds=300,
        clock=at,
    )
    keeper.start()
    try:
        yield keeper
    finally:
        keeper.stop()
        desk.close()


@contextmanager
def a_book(dsn: str, engine: LiveTradingEngine, at: Callable[[], datetime]) -> Iterator[BookKeeper]:
    """The book kept beside an engine."""
    kept = KeptBook(
        settings=BookSettings(enabled=True, every_seconds=Decimal(1)),
        notifications=NotificationSettings(),
        engine_now=lambda: engine,
        calendar=load_calendar,
    )
    keeper = BookKeeper(dsn, {"main": kept}, clock=at)
    keeper.start()
    try:
        yield keeper
    finally:
        keeper.stop()


@contextmanager
def held_up(dsn: str, engine: Engine, table: str = "risk.stress_results") -> Iterator[None]:
    """A step waits for a table that another transaction has."""
    with engine.connect() as other:
        other.exec_driver_sql(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield
        other.rollback()


def attempts(dsn: str) -> list[tuple[Any, ...]]:
    asked = "SELECT calculation_date, calculation_type, attempt, status FROM risk.calculation_audit_log ORDER BY id"
    return rows(dsn, asked)


def is_at(dsn: str, step: str) -> bool:
    return any(row[1:] == (step, 1, "running") for row in attempts(dsn))


def done(keeper: RiskKeeper, day: date = DAY) -> Callable[[], bool]:
    return lambda: (told := keeper.told()) is not None and told.last_day == day


def test_days_that_were_missed_are_reckoned_in_their_order_and_each_once(world: str) -> None:
    with capture_logs() as logs, a_keeper(world) as keeper:
        assert eventually(done(keeper))
        assert keeper.told() == Reckoning(last_day=DAY, failures=0)
        assert list(keeper.troubles()) == []
    assert [entry["day"] for entry in logs if entry["event"] == "day reckoned"] == [str(BEFORE), str(DAY)]
    assert attempts(world) == DONE
    with a_keeper(world) as again:
        assert eventually(done(again))
    assert attempts(world) == DONE


def test_a_day_is_begun_when_it_is_over_and_not_before(world: str) -> None:
    clock = SimpleNamespace(now=AFTER - timedelta(hours=6))
    one = QUICKLY.model_copy(update={"catch_up_days": 1})
    with a_keeper(world, settings=one, at=lambda: clock.now) as keeper:
        assert eventually(done(keeper, BEFORE))
        assert {day for day, *_ in attempts(world)} == {BEFORE}
        clock.now = AFTER
        assert eventually(done(keeper))
    assert attempts(world) == DONE


def test_a_calendar_that_has_ended_is_told_for_as_long_as_it_has(world: str) -> None:
    clock = SimpleNamespace(now=datetime(2027, 1, 15, tzinfo=UTC), asked=0)

    def at() -> datetime:
        clock.asked += 1
        return clock.now

    with capture_logs() as logs, a_keeper(world, at=at) as keeper:
        assert eventually(lambda: list(keeper.troubles()))
        assert {trouble.level for trouble in keeper.troubles()} == {Level.ERROR}
        assert eventually(lambda: clock.asked > 10)  # it has looked more than once
        clock.now = AFTER
        assert eventually(lambda: not list(keeper.troubles()))
    told = [entry["event"] for entry in logs if "has ended" in entry["event"]]
    assert sorted(told) == sorted(set(told))
    assert "the trading calendar of MCX has ended" in told


def test_who_does_not_lead_does_nothing_until_he_does(world: str) -> None:
    leads = SimpleNamespace(now=False, asked=0)

    def asked() -> bool:
        leads.asked += 1
        return bool(leads.now)

    with a_keeper(world, leads=asked) as keeper:
        assert eventually(lambda: leads.asked > 2)
        assert (keeper.told(), attempts(world)) == (None, [])
        leads.now = True
        assert eventually(done(keeper))
        leads.now = False
        assert eventually(lambda: keeper.told() is None)


def test_two_at_once_are_harmless(world: str, book_engine: Engine) -> None:
    with a_keeper(world) as first, a_keeper(world) as second:
        assert eventually(done(first))
        assert eventually(done(second))
        assert [told.failures for told in (first.told(), second.told()) if told is not None] == [0, 0]
    # Who came second found the day taken, or done.
    assert attempts(world) == DONE


def test_a_step_that_fails_is_told_once_and_done_later(world: str, book_engine: Engine) -> None:
    with book_engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE risk.stress_results ADD CONSTRAINT fire CHECK (left_out > 1000)")
    with capture_logs() as logs, a_keeper(world) as keeper:
        assert eventually(lambda: (keeper.told() or Reckoning(last_day=None, failures=0)).failures >= 2)
        (trouble,) = keeper.troubles()
        assert trouble.level is Level.ERROR
        assert f"{BEFORE}: stress_tests: " in trouble.told
        # The newer day waits for the older one, for a while.
        assert {day for day, *_ in attempts(world)} == {BEFORE}
        with book_engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE risk.stress_results DROP CONSTRAINT fire")
        assert eventually(done(keeper))
        assert eventually(lambda: not list(keeper.troubles()))
    told = [entry for entry in logs if entry["event"] == "a day was not reckoned"]
    assert {entry["day"] for entry in told} == {str(BEFORE)}
    assert [entry["log_level"] for entry in told] == ["error", *["info"] * (len(told) - 1)]
    of_it = [row[2:] for row in attempts(world) if row[:2] == (BEFORE, "stress_tests")]
    assert [status for _, status in of_it[:-1]] == ["failed"] * (len(of_it) - 1)
    assert of_it[-1][1] == "completed"
    # What was done before it was not done again.
    assert [row[2] for row in attempts(world) if row[:2] == (BEFORE, "greeks")] == [1]


def test_a_day_that_cannot_be_reckoned_does_not_hold_up_newer_ones_for_ever(world: str, book_engine: Engine) -> None:
    with book_engine.begin() as connection:
        connection.exec_driver_sql(
            f"ALTER TABLE risk.stress_results ADD CONSTRAINT fire CHECK (calculation_date <> '{BEFORE}')"
        )
    with a_keeper(world) as keeper:
        assert eventually(done(keeper))
        assert [str(BEFORE) in trouble.told for trouble in keeper.troubles()] == [True]
    assert len([row for row in attempts(world) if row[:2] == (BEFORE, "stress_tests")]) >= 3


def test_a_killed_worker_is_followed_by_another_that_goes_on_there(world: str, book_engine: Engine) -> None:
    one = QUICKLY.model_copy(update={"catch_up_days": 1})
    with a_keeper(world, settings=one) as keeper:
        with held_up(world, book_engine):
            assert eventually(lambda: is_at(world, "stress_tests"))
            (worker,) = workers_of(os.getpid())
            # It gives way to whoever decides.
            assert os.getpriority(os.PRIO_PROCESS, worker) >= 10
            os.kill(worker, signal.SIGKILL)
            assert eventually(lambda: not Path(f"/proc/{worker}").exists())
        assert eventually(done(keeper))
        told = keeper.told()
        assert told is not None
        assert told.failures >= 1
    of_it = [row[2:] for row in attempts(world) if row[1] == "stress_tests"]
    assert of_it == [(1, "failed"), (2, "completed")]
    assert [row[2] for row in attempts(world) if row[1] == "greeks"] == [1]


def test_an_end_in_the_middle_ends_the_worker_and_is_no_failure(world: str, book_engine: Engine) -> None:
    with capture_logs() as logs:
        with held_up(world, book_engine):
            with a_keeper(world):
                assert eventually(lambda: is_at(world, "stress_tests"))
                workers = workers_of(os.getpid())
            assert len(workers) == 1
            assert eventually(lambda: not Path(f"/proc/{workers[0]}").exists())
        assert [entry for entry in logs if entry["log_level"] == "error" and "reckoned" in entry["event"]] == []
    with a_keeper(world) as keeper:
        assert eventually(done(keeper))
    assert [row[2:] for row in attempts(world) if row[:2] == (BEFORE, "stress_tests")] == [
        (1, "failed"),
        (2, "completed"),
    ]


def test_tables_that_are_not_there_are_told_once_and_looked_for_again(dsn: str) -> None:
    with capture_logs() as logs, a_keeper(dsn) as keeper:
        assert eventually(lambda: any("migrate --book" in str(entry.get("reason")) for entry in logs))
        assert keeper.told() is None
        keeper._stopping.wait(2.5)  # two more looks
    told = [entry for entry in logs if entry["event"] == "days are not reckoned"]
    assert len(told) == 1


def test_what_is_not_installed_is_told_once(world: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("live.reckoning.said_missing", lambda: "not installed: numpy")
    with capture_logs() as logs, a_keeper(world) as keeper:
        assert eventually(lambda: logs)
        keeper._stopping.wait(2.5)  # two more looks
        assert attempts(world) == []
    assert [(entry["event"], entry["reason"]) for entry in logs] == [("days are not reckoned", "not installed: numpy")]


def test_a_day_of_the_engines_is_reckoned_once_the_book_has_kept_it(book_dsn: str) -> None:
    clock = SimpleNamespace(now=NOON)
    patient = QUICKLY.model_copy(update={"grace_seconds": 86_400})
    with an_engine(book_dsn, clock=Clock(NOON)) as engine:
        assert status_of(engine.process_signal(a_signal())) == "executed"
        with a_book(book_dsn, engine, lambda: clock.now) as book:
            assert eventually(lambda: book.lag("main") == 0)
        with a_keeper(book_dsn, settings=patient, at=lambda: clock.now, engines=lambda: [engine]) as keeper:
            assert eventually(lambda: keeper.told() is not None)
            clock.now = AFTER
            keeper._stopping.wait(2.5)  # two more looks
            assert attempts(book_dsn) == []
            with a_book(book_dsn, engine, lambda: clock.now):
                assert eventually(done(keeper))
    assert rows(book_dsn, "SELECT calculation_date, symbol FROM risk.position_risk") == [(DAY, "BANK_NIFTY")]
    assert {row[0] for row in attempts(book_dsn)} == {DAY}


def test_while_another_batch_has_the_place_a_day_waits(world: str) -> None:
    desk = BookDesk(world, lambda: AFTER)
    keeper = RiskKeeper(
        desk,
        QUICKLY,
        engines=lambda: [SimpleNamespace(serving=True, database_away=False)],  # type: ignore[list-item]
        calendar=load_calendar,
        close_grace_seconds=300,
        clock=lambda: AFTER,
    )
    with desk.work.reckoning():
        keeper.start()
        assert eventually(lambda: keeper.told() == Reckoning(last_day=None, failures=0))
        keeper._stopping.wait(1.5)
        assert attempts(world) == []
    assert eventually(done(keeper))
    keeper.stop()
    desk.close()
