"""Rollover with a broker and the database: by command, by itself once a day, and what an EXIT meanwhile comes to."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any

from core.inputs import Roll
from core.models import RolloverStatus
from live.brokers.settings import BrokersSettings
from live.engine import LiveTradingEngine
from live.order_desk import order_desk
from live.rollover import DailyRoll, exchange_day, is_due
from tests.builders import a_portfolio, a_position, a_signal, holding, minutes
from tests.contracts import a_contracts_desk, in_contracts
from tests.engines import Clock, an_engine, status_of
from tests.integration.test_contracts import BY_BROKER, MARKETS, proved
from tests.queries import rows
from tests.waiting import eventually

JAN, FEB = "BANKNIFTY27JAN26FUT", "BANKNIFTY24FEB26FUT"
# 09:59:59 and 10:00 in Kolkata on the first day on which January is due.
BEFORE_TEN, TEN = datetime(2026, 1, 21, 4, 29, 59, tzinfo=UTC), datetime(2026, 1, 21, 4, 30, tzinfo=UTC)


@contextmanager
def a_desk(
    dsn: str, folder: Path, clock: Clock, *, roll_at: time | None = None, **paper: Any
) -> Iterator[LiveTradingEngine]:
    """BANK_NIFTY as a future of January, at the paper broker's book."""
    contracts = a_contracts_desk("BANK_NIFTY")
    brokers = BrokersSettings.model_validate({"markets": MARKETS, "paper": paper})
    with (
        an_engine(dsn, settings=BY_BROKER, clock=clock, contracts_on=contracts.document_on, roll_at=roll_at) as engine,
        order_desk(
            engine,
            BY_BROKER,
            brokers,
            folder / "broker" / "main",
            clock=clock,
            may_send=lambda: True,
            contracts=contracts,
        ) as start,
    ):
        start()
        yield engine


def quiet(engine: LiveTradingEngine) -> bool:
    return not engine.portfolio.orders


def entered(engine: LiveTradingEngine) -> None:
    engine.process_signal(a_signal(timestamp=minutes(2)))
    assert eventually(lambda: quiet(engine) and bool(engine.positions))


def a_roll(engine: LiveTradingEngine) -> Roll:
    return Roll(day=engine.exchange_day(), execute=True)


def test_a_position_is_rolled_by_command_and_held_in_the_far_contract(dsn, tmp_path):
    clock = Clock(minutes(3))
    with a_desk(dsn, tmp_path, clock) as engine:
        entered(engine)
        assert status_of(engine.command(a_roll(engine))) == "rejected: nothing is due"
        clock.now = TEN
        assert status_of(engine.command(a_roll(engine))) == "accepted"
        assert eventually(lambda: quiet(engine))
        (position,) = engine.positions.values()
        assert (position.futures_symbol, position.rollover_status, position.rollover_count) == (
            FEB,
            RolloverStatus.ROLLED,
            1,
        )
        findings = engine.reconcile()
        assert findings is not None
        assert {finding.symbol: finding.kind.value for finding in findings} == {FEB: "matched"}
        assert engine.process_signal(a_signal("EXIT", price=52500, timestamp=clock())).kind == "decided"
        assert eventually(lambda: quiet(engine) and not engine.positions)
        sold = rows(dsn, "SELECT purpose, symbol, filled_lots FROM orders ORDER BY journal_seq")
        assert sold == [("entry", JAN, 2), ("roll_out", JAN, 2), ("roll_in", FEB, 2), ("exit", FEB, 2)]
        proved(dsn, engine)


def test_at_its_time_it_rolls_by_itself_once_also_after_a_restart(dsn, tmp_path):
    clock = Clock(minutes(3))
    with a_desk(dsn, tmp_path, clock, roll_at=time(10)) as engine:
        entered(engine)
        engine.look_into_rolls()
        clock.now = BEFORE_TEN
        engine.look_into_rolls()
        assert quiet(engine)
        clock.now = TEN
        engine.look_into_rolls()
        assert eventually(lambda: quiet(engine))
        engine.look_into_rolls()
    with a_desk(dsn, tmp_path, clock, roll_at=time(10)) as engine:
        engine.look_into_rolls()
        assert [position.rollover_count for position in engine.positions.values()] == [1]
        assert rows(dsn, "SELECT request_id FROM decision_journal WHERE kind = 'roll'") == [("rollover-2026-01-21",)]
        proved(dsn, engine)


def test_an_exit_during_the_roll_waits_for_the_step_in_hand(dsn, tmp_path):
    clock = Clock(minutes(3))
    with a_desk(dsn, tmp_path, clock, latency_seconds="5") as engine:
        engine.process_signal(a_signal(timestamp=minutes(2)))

        def later() -> bool:
            clock.forward(seconds=3)
            return quiet(engine)

        assert eventually(later)
        clock.now = TEN
        engine.command(a_roll(engine))
        assert eventually(lambda: [order.state.value for order in engine.portfolio.orders.values()] == ["working"])
        assert status_of(engine.process_signal(a_signal("EXIT", price=52500, timestamp=clock()))) == "accepted"
        assert eventually(later)
        assert not engine.positions
        told = rows(dsn, "SELECT purpose, state, filled_lots FROM orders WHERE purpose <> 'entry' ORDER BY journal_seq")
        assert told == [("roll_out", "filled", 2), ("exit", "cancelled", 0)]
        proved(dsn, engine)


# --- when


def test_nothing_is_asked_for_without_a_time_a_contract_or_anything_due():
    portfolio = in_contracts(a_portfolio())
    held = holding(portfolio, a_position("BANK_NIFTY-Long_1-abc", instrument="BANK_NIFTY", contract_month="2026-01"))
    daily = DailyRoll(time(10))
    assert daily.wanted(portfolio, TEN) is None
    assert daily.wanted(held, BEFORE_TEN) is None
    assert DailyRoll(None).wanted(held, TEN) is None
    wanted = daily.wanted(held, TEN)
    assert wanted == Roll(request_id="rollover-2026-01-21", day=exchange_day(held, TEN), execute=True)
    daily.done(wanted)
    assert daily.wanted(held, TEN) is None
    assert not is_due(held, datetime(2026, 1, 20, tzinfo=UTC).date())
    assert exchange_day(a_portfolio(), TEN) == TEN.date()
