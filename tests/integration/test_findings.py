"""What an operator makes of a difference with the broker: journalled, kept, proved, and the comparison matches again."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from core.inputs import AdoptPosition, IgnoreFinding, Resume, WriteOff
from live.brokers.port import Action
from live.engine import LiveTradingEngine
from live.reconcile import FindingKind, Reconciler
from tests.builders import a_signal, minutes
from tests.engines import Clock, an_engine, status_of
from tests.integration.test_orders import GOLD, NOW, SETTINGS, a_desk, an_order_by_hand, market_of, proved, quiet
from tests.queries import rows
from tests.waiting import eventually


def by_hand(broker: Any, symbol: str, action: Action, quantity: int, name: str) -> None:
    broker.quote_seen(symbol, "PAPER", Decimal(72000), NOW)
    broker.place(an_order_by_hand(symbol, action, quantity, name))


def comparing(engine: LiveTradingEngine, broker: Any) -> Callable[[], dict[str, FindingKind]]:
    markets = {name: market_of(name) for name in SETTINGS.instruments}
    reconciler = Reconciler(broker, markets, portfolio=lambda: engine.portfolio, command=engine.command)
    return lambda: {finding.symbol: finding.kind for finding in reconciler.run()}


def test_what_was_bought_by_hand_is_adopted_once_and_sold_by_an_exit(dsn, tmp_path):
    with a_desk(dsn, tmp_path) as (engine, broker, _):
        compare = comparing(engine, broker)
        by_hand(broker, "GOLD_MINI", Action.BUY, 200, "bought")
        assert compare() == compare() == {"GOLD_MINI": FindingKind.UNKNOWN}
        given = AdoptPosition(
            request_id="a1", instrument="GOLD_MINI", layer="Long_1", lots=2, price=Decimal(72000), stop=Decimal(71500)
        )
        answers = [engine.command(given), engine.command(given)]
        assert [status_of(answer) for answer in answers] == ["executed", "duplicate"]
        assert answers[0].outcome["sizing"]["frozen_reason"].startswith("unknown at broker")
        assert compare() == {"GOLD_MINI": FindingKind.MATCHED}
        # It stays frozen until somebody has looked; what is open leaves all the same.
        assert set(engine.status()["frozen"]) == {"GOLD_MINI"}
        assert status_of(engine.command(Resume(instrument="GOLD_MINI"))) == "executed"
        (row,) = rows(
            dsn, "SELECT layer, lots, entry_price, current_stop, limiter, is_base_position FROM portfolio_positions"
        )
        assert row == ("Long_1", 2, Decimal(72000), Decimal(71500), "adopted", True)
        leaving = a_signal("EXIT", instrument="GOLD_MINI", price=72500, timestamp=minutes(21))
        assert status_of(engine.process_signal(leaving)) == "accepted"
        assert eventually(lambda: quiet(engine) and not engine.positions)
        assert broker.positions() == []
        proved(dsn, engine)


def test_what_was_sold_by_hand_is_written_off_and_nothing_is_sent(dsn, tmp_path):
    with a_desk(dsn, tmp_path) as (engine, broker, _):
        compare = comparing(engine, broker)
        engine.process_signal(a_signal(**GOLD, timestamp=minutes(16)))
        assert eventually(lambda: quiet(engine))
        (position,) = engine.positions.values()
        sent = len(broker.placed)
        by_hand(broker, "GOLD_MINI", Action.SELL, 100, "half")
        by_hand(broker, "GOLD_MINI", Action.SELL, int(position.quantity) - 100, "rest")
        assert compare() == compare() == {"GOLD_MINI": FindingKind.MISSING}
        half = WriteOff(position_id=position.position_id, lots=1, price=Decimal(71900), reason="margin call")
        assert status_of(engine.command(half)) == "executed"
        assert status_of(engine.command(WriteOff(position_id=position.position_id, price=Decimal(71800)))) == "executed"
        assert not engine.positions
        assert compare() == {}
        assert len(broker.placed) == sent + 2
        ((reason, pnl, status),) = rows(dsn, "SELECT exit_reason, realized_pnl, status FROM portfolio_positions")
        assert (reason, status) == ("WRITTEN_OFF", "closed")
        assert pnl == -100 * 10 - 200 * 10 * (position.lots - 1)
        assert rows(dsn, "SELECT kind FROM decision_journal WHERE kind = 'write_off'") == [("write_off",)] * 2
        proved(dsn, engine)


def test_what_is_ignored_stays_ignored_across_a_restart_and_the_freeze_ends(dsn, tmp_path):
    with a_desk(dsn, tmp_path) as (engine, broker, _):
        compare = comparing(engine, broker)
        by_hand(broker, "GOLD_MINI", Action.BUY, 200, "somebody else's")
        assert compare() == compare() == {"GOLD_MINI": FindingKind.UNKNOWN}
        assert "GOLD_MINI" in engine.status()["frozen"]
        given = IgnoreFinding(instrument="GOLD_MINI", difference=Decimal(200))
        assert status_of(engine.command(given)) == "executed"
        assert engine.status()["frozen"] == {}
        proved(dsn, engine)
    with a_desk(dsn, tmp_path) as (engine, broker, _):
        compare = comparing(engine, broker)
        assert compare() == {"GOLD_MINI": FindingKind.MATCHED}
        engine.process_signal(a_signal(**GOLD, timestamp=minutes(16)))
        assert eventually(lambda: quiet(engine) and bool(engine.positions))
        assert compare() == {"GOLD_MINI": FindingKind.MATCHED}
        by_hand(broker, "GOLD_MINI", Action.SELL, 200, "somebody else's, sold")
        assert compare() == {"GOLD_MINI": FindingKind.DIFFERS}
        assert status_of(engine.command(IgnoreFinding(instrument="GOLD_MINI", difference=Decimal(0)))) == "executed"
        assert compare() == {"GOLD_MINI": FindingKind.MATCHED}
        assert rows(dsn, "SELECT accepted_difference FROM pyramiding_state") == [(None,)]
        proved(dsn, engine)


def test_on_paper_nothing_is_settled_and_the_refusal_is_kept(dsn):
    with an_engine(dsn, clock=Clock(NOW)) as engine:
        engine.process_signal(a_signal(**GOLD, timestamp=minutes(16)))
        (position_id,) = engine.positions
        answer = engine.command(WriteOff(position_id=position_id, price=Decimal(1)))
        assert status_of(answer).startswith("rejected: fills are not by a broker")
        assert list(engine.positions) == [position_id]
        proved(dsn, engine)
