"""Orders on their way: engine, PostgreSQL, dispatcher and a broker, with what goes wrong between them."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from msgspec.structs import replace

from core.errors import ConfigurationError
from core.inputs import Resume, SendOrder
from core.journal import Batch
from core.orders import OrderState
from core.postgres.journal_stream import journal_stream
from core.settings import Settings
from live.answers import Answer
from live.books import Market
from live.brokers.paper import PaperBroker
from live.brokers.port import (
    Action,
    BrokerAway,
    BrokerOrder,
    BrokerPosition,
    BrokerRefused,
    OrderRequest,
    OrderType,
    OutcomeUnknown,
    Quote,
)
from live.brokers.settings import PaperSettings
from live.dispatcher import Dispatcher
from live.engine import LiveTradingEngine
from live.order_limits import Gate
from live.outbox import Outbox
from live.paper_quotes import PaperQuotes
from live.reconcile import FindingKind, Reconciler, compare
from live.verify import Wrong, verify
from tests.builders import a_portfolio, a_position, a_signal, holding, minutes, settings_with
from tests.engines import Clock, an_engine, rows_as_portfolio, status_of, without_waiting
from tests.queries import rows
from tests.verified import statements_of_verify
from tests.waiting import eventually

NOW = minutes(20)
FORGED_ORDER = (
    "INSERT INTO orders (client_order_id, journal_seq, position_id, instrument, layer, side, purpose, attempt, lots,"
    " lot_size, point_value, reference_price, state, settled) SELECT 'forged', journal_seq, position_id, instrument,"
    " layer, side, purpose, attempt, lots, lot_size, point_value, reference_price, 'cancelled', TRUE FROM orders"
    " WHERE purpose = 'exit'"
)
GOLD = {"instrument": "GOLD_MINI", "price": 72000, "stop": 71500, "atr": 500}
# Without stops at the broker: what is not about them ends with no order left.
EXECUTION: dict[str, Any] = {"fills": "broker", "stop_atr": None}
SETTINGS = without_waiting(settings_with(execution=EXECUTION))


def an_order_by_hand(symbol: str, action: Action, quantity: int, name: str = "by-hand") -> OrderRequest:
    """What somebody trades at the broker beside us."""
    return OrderRequest(
        client_order_id=name,
        tag="hand",
        symbol=symbol,
        exchange="PAPER",
        action=action,
        order_type=OrderType.MARKET,
        quantity=Decimal(quantity),
    )


def market_of(instrument: str) -> Market:
    lots = SETTINGS.instruments[instrument].lot_size
    return Market(symbol=instrument, exchange="PAPER", units_per_lot=lots)


class Misbehaving:
    """The paper broker, whose answers can get lost, and which counts what it was asked."""

    places_once = False

    def __init__(self, broker: PaperBroker) -> None:
        self._broker = broker
        self.placed: list[str] = []
        self.next_place: Exception | None = None
        self.lose_answer = False
        self.blind = False
        self.names_orders = True
        self.quote_when_asked: Decimal | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)

    def place(self, request: OrderRequest) -> str:
        failure, self.next_place = self.next_place, None
        if failure is not None:
            raise failure
        self.placed.append(request.client_order_id)
        answer = self._broker.place(request)
        if self.lose_answer:
            self.lose_answer = False
            raise OutcomeUnknown("the answer was lost")
        return answer

    def quote(self, symbol: str, exchange: str) -> Quote:
        if self.quote_when_asked is not None:
            return Quote(last=self.quote_when_asked, bid=None, ask=None)
        return self._broker.quote(symbol, exchange)

    def orders(self) -> list[BrokerOrder]:
        if self.blind:
            raise BrokerAway("no book")
        orders = self._broker.orders()
        return orders if self.names_orders else [replace(order, client_order_id=None, tag=None) for order in orders]


@contextmanager
def a_desk(
    dsn: str,
    folder: Path,
    paper: dict[str, Any] | None = None,
    *,
    clock: Clock | None = None,
    start: bool = True,
    settings: Settings = SETTINGS,
    gate: Gate | None = None,
    may_send: Callable[[], bool] = lambda: True,
) -> Iterator[tuple[LiveTradingEngine, Misbehaving, Dispatcher]]:
    """An engine whose fills come from the paper broker of `folder`."""
    clock = clock or Clock(NOW)
    with ExitStack() as stack:
        given = PaperSettings(**(paper or {}))
        whole_lots = PaperBroker(
            folder / "paper.sqlite", given, clock, lambda symbol, _: market_of(symbol).units_per_lot
        )
        paper_broker = stack.enter_context(whole_lots)
        broker = Misbehaving(paper_broker)
        engine = stack.enter_context(an_engine(dsn, settings=without_waiting(settings), clock=clock))
        quotes = PaperQuotes(paper_broker, market_of, portfolio=lambda: engine.portfolio)
        outbox = Outbox(
            engine,
            broker,
            market_of=lambda order: market_of(order.instrument),
            clock=clock,
            may_send=may_send,
            gate=gate,
        )
        dispatcher = Dispatcher(outbox, prepare=quotes.show, shows_within=0.3, read_every=0.05)

        def committed(batch: Batch) -> None:
            quotes.take(batch)
            dispatcher.wake()

        engine.on_commit = committed
        stack.callback(dispatcher.stop)
        if start:
            dispatcher.start()
        yield engine, broker, dispatcher


def quiet(engine: LiveTradingEngine) -> bool:
    return not engine.portfolio.orders


def states(dsn: str) -> list[tuple[str, str, int, bool]]:
    return rows(dsn, "SELECT purpose, state, filled_lots, settled FROM orders ORDER BY journal_seq, client_order_id")


def proved(dsn: str, engine: LiveTradingEngine) -> None:
    assert rows_as_portfolio(dsn, engine.portfolio) == engine.portfolio
    with journal_stream(dsn, "main") as stream:
        verify(stream, "main")


def test_an_alert_is_accepted_sent_filled_and_sold_again(dsn, tmp_path):
    with a_desk(dsn, tmp_path) as (engine, broker, _):
        answer = engine.process_signal(a_signal(timestamp=minutes(16)))
        assert (status_of(answer), answer.outcome["lots"]) == ("accepted", 2)
        assert eventually(lambda: quiet(engine))
        (position,) = engine.positions.values()
        assert (position.lots, position.entry_price) == (2, 52000)
        assert status_of(engine.process_signal(a_signal("EXIT", price=52500, timestamp=minutes(17)))) == "accepted"
        assert eventually(lambda: quiet(engine) and not engine.positions)
        assert rows(dsn, "SELECT exit_price, realized_pnl FROM portfolio_positions") == [
            (Decimal(52500), Decimal(500 * 30 * 2))
        ]
        assert states(dsn) == [("entry", "filled", 2, True), ("exit", "filled", 2, True)]
        assert rows(dsn, "SELECT count(*) FROM fills") == [(2,)]
        assert len(broker.placed) == 2
        assert broker.positions() == []
        assert status_of(engine.process_signal(a_signal(timestamp=minutes(16)))) == "duplicate"
        proved(dsn, engine)


def test_what_reduces_a_risk_does_not_wait_for_the_entries_that_were_decided_before_it(dsn, tmp_path):
    with a_desk(dsn, tmp_path, start=False) as (engine, broker, dispatcher):
        engine.process_signal(a_signal(timestamp=minutes(16)))
        dispatcher.turn()
        assert engine.positions
        silver = {"instrument": "SILVER_MINI", "price": 90000, "stop": 89000, "atr": 600}
        for entry in (GOLD, silver):
            assert status_of(engine.process_signal(a_signal(**entry, timestamp=minutes(16)))) == "accepted"
        alerts = [a_signal("EXIT", price=52500, timestamp=minutes(17))]
        place = broker.place

        def placed(request: OrderRequest) -> str:
            answer = place(request)
            if alerts:
                assert status_of(engine.process_signal(alerts.pop())) == "accepted"
            return answer

        broker.place = placed
        dispatcher.turn()
        dispatcher.turn()
        purposes = dict(rows(dsn, "SELECT client_order_id, purpose FROM orders"))
        assert [purposes[order_id] for order_id in broker.placed] == ["entry", "entry", "exit", "entry"]
        assert quiet(engine)
        proved(dsn, engine)


def test_the_books_are_read_before_the_first_order_of_a_process_is_decided(dsn, tmp_path):
    with a_desk(dsn, tmp_path, start=False) as (engine, broker, dispatcher):
        dispatcher.turn()
        engine.process_signal(a_signal(timestamp=minutes(16)))
        broker.blind = True  # and not again before it is sent
        dispatcher.turn()
        assert len(broker.placed) == 1


def test_partial_fills_are_booked_as_they_come(dsn, tmp_path):
    clock = Clock(NOW)
    parts = {"fill_fractions": ("0.5", "0.5"), "seconds_between_fills": "10"}
    with a_desk(dsn, tmp_path, parts, clock=clock) as (engine, _, _):
        engine.process_signal(a_signal(timestamp=minutes(16)))
        assert eventually(lambda: [position.lots for position in engine.positions.values()] == [1])
        assert [order.state for order in engine.portfolio.orders.values()] == ["partial"]
        clock.forward(seconds=11)
        assert eventually(lambda: quiet(engine))
        assert [position.lots for position in engine.positions.values()] == [2]
        proved(dsn, engine)


def test_without_the_portfolio_in_hand_nothing_is_sent_or_cancelled(dsn, tmp_path):
    held = True
    with a_desk(dsn, tmp_path, {"latency_seconds": "30"}, start=False, may_send=lambda: held) as (
        engine,
        broker,
        dispatcher,
    ):
        engine.process_signal(a_signal(timestamp=minutes(16)))
        dispatcher.turn()
        (working,) = broker.orders()
        cancelled: list[str] = []
        broker.cancel = cancelled.append
        held = False
        engine.process_signal(a_signal("EXIT", price=52500, timestamp=minutes(17)))
        engine.process_signal(a_signal(**GOLD, timestamp=minutes(17)))
        for _ in range(3):
            dispatcher.turn()
        assert (len(broker.placed), cancelled) == (1, [])
        held = True
        dispatcher.turn()
        assert (len(broker.placed), cancelled) == (2, [working.broker_order_id])


def test_who_was_replaced_sends_nothing_although_it_does_not_know_it_yet(dsn, tmp_path):
    with a_desk(dsn, tmp_path, start=False) as (engine, broker, dispatcher):
        assert status_of(engine.process_signal(a_signal(timestamp=minutes(16)))) == "accepted"
        with a_desk(dsn, tmp_path, start=False) as (_, another, next_dispatcher):
            dispatcher.turn()
            assert broker.placed == []
            assert engine.replaced
            next_dispatcher.turn()
            assert len(another.placed) == 1


def test_an_order_whose_answer_is_lost_is_found_in_the_book_and_not_sent_again(dsn, tmp_path):
    with a_desk(dsn, tmp_path) as (engine, broker, _):
        broker.lose_answer = True
        engine.process_signal(a_signal(timestamp=minutes(16)))
        assert eventually(lambda: quiet(engine))
        assert len(broker.placed) == 1
        assert [position.lots for position in engine.positions.values()] == [2]
        assert engine.portfolio.pyramiding_of("BANK_NIFTY").frozen_reason is None
        kinds = rows(dsn, "SELECT input ->> 'state' FROM decision_journal WHERE kind = 'report' ORDER BY seq")
        assert kinds[0] == ("in_doubt",)
        proved(dsn, engine)


def test_two_orders_alike_whose_answers_are_lost_are_never_the_same_one_in_the_book(dsn, tmp_path):
    """The first is found in the book and settled by one reading of it; the second never came, and its book is the same."""
    # The database would refuse it, too: here it is not to be asked.
    rows(dsn, "ALTER TABLE orders DISABLE TRIGGER broker_order_is_of_one_order")
    with a_desk(dsn, tmp_path, start=False) as (engine, broker, dispatcher):
        broker.names_orders = False
        dispatcher.turn()
        broker.lose_answer = True
        engine.process_signal(a_signal(timestamp=minutes(16)))
        dispatcher.turn()
        assert [position.lots for position in engine.positions.values()] == [2]
        engine.process_signal(a_signal("EXIT", price=52000, timestamp=minutes(17)))
        dispatcher.turn()
        assert not engine.positions
        engine.command(Resume(instrument="BANK_NIFTY"))
        broker.next_place = OutcomeUnknown("it never came")
        assert status_of(engine.process_signal(a_signal(timestamp=minutes(18)))) == "accepted"
        for _ in range(3):
            dispatcher.turn()
        (order,) = engine.portfolio.orders.values()
        assert (order.state, order.broker_order_id, order.filled_lots) == (OrderState.IN_DOUBT, None, 0)
        assert not engine.positions
        proved(dsn, engine)


def test_an_order_nobody_knows_of_stays_in_doubt_and_freezes_its_instrument(dsn, tmp_path):
    with a_desk(dsn, tmp_path) as (engine, broker, _):
        broker.next_place = OutcomeUnknown("gone")
        engine.process_signal(a_signal(timestamp=minutes(16)))
        assert eventually(lambda: [order.state for order in engine.portfolio.orders.values()] == ["in_doubt"])
        time.sleep(0.6)
        assert broker.placed == []
        assert "BANK_NIFTY" in engine.status()["frozen"]
        assert status_of(engine.process_signal(a_signal(**GOLD, timestamp=minutes(16)))) == "accepted"


def test_a_broker_that_refuses_or_is_away(dsn, tmp_path):
    with a_desk(dsn, tmp_path) as (engine, broker, _):
        broker.next_place = BrokerRefused("margin")
        engine.process_signal(a_signal(timestamp=minutes(16)))
        assert eventually(lambda: states(dsn) == [("entry", "rejected", 0, True)])
        broker.next_place = BrokerAway("no route")
        engine.process_signal(a_signal(**GOLD, timestamp=minutes(16)))
        assert eventually(lambda: quiet(engine))
        assert [position.instrument for position in engine.positions.values()] == ["GOLD_MINI"]
        assert len(broker.placed) == 1
        proved(dsn, engine)


def test_an_intent_of_a_killed_process_is_looked_for_before_it_is_sent(dsn, tmp_path):
    """Sent, and nothing of the answer kept; and never sent at all: the next process tells one from the other."""
    with a_desk(dsn, tmp_path, start=False) as (engine, broker, dispatcher):
        for fields in ({}, GOLD):
            engine.process_signal(a_signal(**fields, timestamp=minutes(16)))
        (sent, never) = sorted(engine.portfolio.orders.values(), key=lambda order: order.instrument)
        dispatcher._prepare()
        broker.place(_request(sent))
    with a_desk(dsn, tmp_path) as (engine, broker, _):
        assert eventually(lambda: quiet(engine))
        assert broker.placed == [never.client_order_id]
        assert sorted(position.instrument for position in engine.positions.values()) == ["BANK_NIFTY", "GOLD_MINI"]
        assert len(broker.orders()) == 2
        proved(dsn, engine)


def test_nothing_inherited_is_sent_while_the_book_cannot_be_read(dsn, tmp_path):
    with a_desk(dsn, tmp_path, start=False) as (engine, *_):
        engine.process_signal(a_signal(timestamp=minutes(16)))
    with a_desk(dsn, tmp_path, start=False) as (engine, broker, dispatcher):
        broker.blind = True
        dispatcher.start()
        time.sleep(0.6)
        assert broker.placed == []
        broker.blind = False
        assert eventually(lambda: quiet(engine) and engine.positions)
        assert len(broker.placed) == 1


def test_what_a_killed_process_kept_as_sent_is_not_sent_again_but_in_doubt(dsn, tmp_path):
    """Nobody knows whether it was killed before the call or inside it, and the book does not show it."""
    with a_desk(dsn, tmp_path, start=False) as (engine, *_):
        engine.process_signal(a_signal(timestamp=minutes(16)))
        (order,) = engine.portfolio.orders.values()
        engine.order_input(SendOrder(client_order_id=order.client_order_id, quote=Decimal(52000)))
    with a_desk(dsn, tmp_path) as (engine, broker, _):
        assert eventually(lambda: [order.state for order in engine.portfolio.orders.values()] == ["in_doubt"])
        assert "BANK_NIFTY" in engine.status()["frozen"]
        time.sleep(0.3)
        assert broker.placed == []
        proved(dsn, engine)


def test_where_placing_again_is_asking_what_was_kept_as_sent_is_placed(dsn, tmp_path):
    with a_desk(dsn, tmp_path, start=False) as (engine, *_):
        engine.process_signal(a_signal(timestamp=minutes(16)))
        (order,) = engine.portfolio.orders.values()
        engine.order_input(SendOrder(client_order_id=order.client_order_id, quote=Decimal(52000)))
    with a_desk(dsn, tmp_path, start=False) as (engine, broker, dispatcher):
        broker.places_once = True
        dispatcher.start()
        assert eventually(lambda: quiet(engine) and engine.positions)
        assert len(broker.orders()) == 1
        proved(dsn, engine)


def test_a_limit_that_is_not_filled_in_its_time_is_tried_again_and_at_last_at_market(dsn, tmp_path):
    clock, settings = Clock(NOW), settings_with(execution={**EXECUTION, "tries": 2, "seconds_per_try": 3})
    with a_desk(dsn, tmp_path, {"slippage_percent": "0"}, clock=clock, settings=settings) as (engine, broker, _):
        broker.quote_when_asked = Decimal(51_800)  # what it shows, and the market is above every limit made of it
        engine.process_signal(a_signal(timestamp=minutes(16)))

        def time_goes_by() -> bool:
            clock.forward(seconds=1)
            return quiet(engine) and bool(engine.positions)

        assert eventually(time_goes_by)
        tried = rows(dsn, "SELECT order_type, limit_price, state, filled_lots FROM orders ORDER BY attempt")
        assert tried == [
            ("LIMIT", Decimal("51929.40"), "cancelled", 0),
            ("LIMIT", Decimal("51955.40"), "cancelled", 0),
            ("MARKET", None, "filled", 2),
        ]
        assert [position.entry_price for position in engine.positions.values()] == [52000]
        proved(dsn, engine)


def test_an_entry_that_waited_too_long_or_is_halted_is_not_sent_an_exit_is(dsn, tmp_path):
    clock = Clock(NOW)
    with a_desk(dsn, tmp_path, start=False, clock=clock) as (engine, *_):
        engine.process_signal(a_signal(timestamp=minutes(16)))
        clock.forward(hours=1)
    with a_desk(dsn, tmp_path, clock=clock) as (engine, broker, _):
        assert eventually(lambda: quiet(engine))
        assert rows(dsn, "SELECT state, message FROM orders") == [("cancelled", "stale")]
        assert broker.placed == []


def test_an_exit_during_a_working_entry_cancels_it_and_leaves_nothing_behind(dsn, tmp_path):
    clock = Clock(NOW)
    with a_desk(dsn, tmp_path, {"latency_seconds": "30"}, clock=clock) as (engine, broker, _):
        engine.process_signal(a_signal(timestamp=minutes(16)))
        assert eventually(lambda: [order.state for order in engine.portfolio.orders.values()] == ["working"])
        answer = engine.process_signal(a_signal("EXIT", price=52500, timestamp=minutes(17)))
        assert status_of(answer) == "accepted"

        def over() -> bool:
            clock.forward(seconds=7)
            return quiet(engine)

        assert eventually(over)
        assert not engine.positions
        assert broker.positions() == []
        proved(dsn, engine)


def test_the_database_refuses_an_order_that_goes_back_and_a_fill_that_is_changed(dsn, tmp_path):
    with a_desk(dsn, tmp_path) as (engine, *_):
        engine.process_signal(a_signal(timestamp=minutes(16)))
        assert eventually(lambda: quiet(engine))
    connection = psycopg2.connect(dsn)
    for statement in (
        "UPDATE orders SET state = 'working', settled = FALSE",
        "UPDATE orders SET filled_lots = 1, state = 'partial'",
        "UPDATE fills SET price = 1",
        "DELETE FROM fills",
        "TRUNCATE fills",
    ):
        with pytest.raises(psycopg2.Error), connection, connection.cursor() as cursor:
            cursor.execute(statement)
    connection.close()


def test_the_database_lets_no_broker_order_be_two_orders_of_ours(dsn, tmp_path):
    with a_desk(dsn, tmp_path) as (engine, _, _):
        engine.process_signal(a_signal(timestamp=minutes(16)))
        engine.process_signal(a_signal(**GOLD, timestamp=minutes(16)))
        assert eventually(lambda: quiet(engine) and len(engine.positions) == 2)
    taken = "UPDATE orders SET broker_order_id = (SELECT min(broker_order_id) FROM orders)"
    rows(dsn, "ALTER TABLE orders DISABLE TRIGGER order_changes_are_legal")
    for both_at_once in (taken, taken + " WHERE instrument = 'GOLD_MINI'", "UPDATE orders SET broker_order_id = 'X'"):
        with pytest.raises(psycopg2.IntegrityError, match="is another order of ours already"):
            rows(dsn, both_at_once)
    rows(dsn, "UPDATE orders SET sent_at = sent_at - interval '1 day' WHERE instrument = 'GOLD_MINI'")
    rows(dsn, taken)


def test_eight_clients_and_answers_that_get_lost_leave_no_order_twice(dsn, tmp_path):
    with a_desk(dsn, tmp_path) as (engine, broker, _):
        answers: list[Answer] = []

        def trade(instrument: str, price: Decimal) -> None:
            fields: dict[str, Any] = {"instrument": instrument, "price": price, "stop": price - 500, "atr": 500}
            answers.append(engine.process_signal(a_signal(**fields, timestamp=_at(16))))
            broker.lose_answer = True
            eventually(lambda: any(p.instrument == instrument for p in engine.positions.values()))
            answers.append(
                engine.process_signal(
                    a_signal("EXIT", layer="ALL", instrument=instrument, price=price, timestamp=_at(18))
                )
            )

        threads = [
            threading.Thread(target=trade, args=(name, Decimal(price)))
            for name, price in (("BANK_NIFTY", 52000), ("GOLD_MINI", 72000), ("SILVER_MINI", 90000))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert eventually(lambda: quiet(engine))
        assert len(broker.placed) == len(set(broker.placed)) == len(broker.orders())
        assert broker.positions() == []
        assert not engine.positions
        proved(dsn, engine)


def _at(minute: float) -> datetime:
    return minutes(minute)


def _request(order: Any) -> OrderRequest:
    from live.books import request_of

    return request_of(order, market_of(order.instrument))


# --- the operator and the books


def test_an_order_in_doubt_is_resolved_by_the_operator_once(dsn, tmp_path):
    with a_desk(dsn, tmp_path) as (engine, broker, _):
        broker.next_place = OutcomeUnknown("gone")
        engine.process_signal(a_signal(timestamp=minutes(16)))
        assert eventually(lambda: [order.state for order in engine.portfolio.orders.values()] == ["in_doubt"])
        (order,) = engine.portfolio.orders.values()
        for told in ("executed", "rejected: no such order, or it is settled"):
            answer = engine.resolve(
                order.client_order_id,
                OrderState.CANCELLED,
                lots=1,
                price=Decimal(52010),
                broker_order_id="seen on the screen",
                request_id="r1",
            )
            assert status_of(answer) == told
        assert quiet(engine)
        assert [(position.lots, position.entry_price) for position in engine.positions.values()] == [(1, 52010)]
        assert engine.status()["frozen"] == {}
        proved(dsn, engine)


def test_what_the_broker_holds_is_compared_and_a_lasting_difference_freezes_adds(dsn, tmp_path):
    with a_desk(dsn, tmp_path) as (engine, broker, _):
        markets = {name: market_of(name) for name in SETTINGS.instruments}
        reconciler = Reconciler(broker, markets, portfolio=lambda: engine.portfolio, command=engine.command)
        engine.process_signal(a_signal(timestamp=minutes(16)))
        assert eventually(lambda: quiet(engine))
        (finding,) = reconciler.run()
        assert (finding.kind, finding.ours, finding.broker) == (FindingKind.MATCHED, 60, 60)
        # Somebody sells half of it by hand, and buys something else.
        for symbol, action, quantity in (("BANK_NIFTY", Action.SELL, 30), ("GOLD_MINI", Action.BUY, 100)):
            broker.quote_seen(symbol, "PAPER", Decimal(52000), NOW)
            broker.place(an_order_by_hand(symbol, action, quantity, f"by-hand-{symbol}"))
        findings = {finding.symbol: finding.kind for finding in reconciler.run()}
        assert findings == {"BANK_NIFTY": FindingKind.DIFFERS, "GOLD_MINI": FindingKind.UNKNOWN}
        assert engine.status()["frozen"] == {}
        reconciler.run()
        assert set(engine.status()["frozen"]) == {"BANK_NIFTY", "GOLD_MINI"}
        refused = engine.process_signal(a_signal(**GOLD, timestamp=minutes(16)))
        assert status_of(refused) == "blocked: frozen"
        assert status_of(engine.process_signal(a_signal("EXIT", price=52500, timestamp=minutes(17)))) == "accepted"
        assert status_of(engine.command(Resume(instrument="GOLD_MINI"))) == "executed"
        assert eventually(lambda: quiet(engine))
        proved(dsn, engine)


def test_a_row_that_is_not_what_memory_says_is_found_and_freezes_adds(dsn, tmp_path):
    with a_desk(dsn, tmp_path) as (engine, broker, _):
        markets = {name: market_of(name) for name in SETTINGS.instruments}
        reconciler = Reconciler(
            broker, markets, portfolio=lambda: engine.portfolio, command=engine.command, rows=engine.position_rows
        )
        engine.process_signal(a_signal(timestamp=minutes(16)))
        assert eventually(lambda: quiet(engine))
        assert [finding.kind for finding in reconciler.run()] == [FindingKind.MATCHED]
        rows(dsn, "UPDATE portfolio_positions SET current_stop = current_stop - 1")
        found = {finding.kind: finding for finding in reconciler.run()}
        assert set(found) == {FindingKind.MATCHED, FindingKind.DATABASE}
        told = found[FindingKind.DATABASE]
        assert (told.symbol, told.ours, told.broker) == (next(iter(engine.positions)), 60, 60)
        assert engine.status()["frozen"] == {}
        reconciler.run()
        assert engine.status()["frozen"]["BANK_NIFTY"].startswith("database differs: ")


def test_what_is_in_flight_or_has_no_market_is_told_apart():
    portfolio = holding(a_portfolio(), a_position())
    assert [finding.kind for finding in compare(portfolio, [], {})] == [FindingKind.MISSING]
    held = [BrokerPosition(symbol="X", exchange="NFO", quantity=Decimal(-5))]
    kinds = {finding.symbol: (finding.kind, finding.instrument) for finding in compare(portfolio, held, {})}
    assert kinds == {"GOLD_MINI": (FindingKind.MISSING, "GOLD_MINI"), "X": (FindingKind.UNKNOWN, None)}


def test_an_exit_of_what_the_broker_no_longer_holds_is_not_sent(dsn, tmp_path):
    with a_desk(dsn, tmp_path) as (engine, broker, _):
        engine.process_signal(a_signal(timestamp=minutes(16)))
        assert eventually(lambda: quiet(engine))
        broker.place(an_order_by_hand("BANK_NIFTY", Action.SELL, 60))
        markets = {name: market_of(name) for name in SETTINGS.instruments}
        reconciler = Reconciler(broker, markets, portfolio=lambda: engine.portfolio, command=engine.command)
        reconciler.run()
        reconciler.run()
        engine.process_signal(a_signal("EXIT", price=52500, timestamp=minutes(17)))
        assert eventually(lambda: quiet(engine))
        assert broker.positions() == []
        ((state, message),) = rows(dsn, "SELECT state, message FROM orders WHERE purpose = 'exit'")
        assert state == "cancelled"
        assert "would be reversed" in message


def test_an_exit_waits_until_the_account_shows_what_it_sells(dsn, tmp_path):
    """A book of positions that lags must not make an exit fail, nor one that has less be sold short."""
    with a_desk(dsn, tmp_path) as (engine, broker, _):
        engine.process_signal(a_signal(timestamp=minutes(16)))
        assert eventually(lambda: quiet(engine))
        shown = broker.positions
        broker.positions = list
        engine.process_signal(a_signal("EXIT", price=52500, timestamp=minutes(17)))
        time.sleep(0.4)
        assert [order.state for order in engine.portfolio.orders.values()] == ["intent"]
        broker.positions = shown
        assert eventually(lambda: quiet(engine) and not engine.positions)
        assert broker.positions() == []
        proved(dsn, engine)


@pytest.mark.parametrize("hours, state", [(5, "working"), (18, "cancelled")])
def test_what_the_book_of_another_day_does_not_show_any_more_is_over(dsn, tmp_path, hours, state):
    """A day's orders end with it. Within one day nothing is inferred from what a book does not show."""
    clock, settings = Clock(NOW), settings_with(execution={**EXECUTION, "tries": 0})
    slow = {"latency_seconds": "86400"}
    with a_desk(dsn, tmp_path, slow, clock=clock, settings=settings) as (engine, broker, _):
        engine.process_signal(a_signal(timestamp=minutes(16)))
        assert eventually(lambda: [order.state for order in engine.portfolio.orders.values()] == ["working"])
        broker.orders = list
        clock.forward(hours=hours)
        if state == "working":
            time.sleep(0.6)
            assert [order.state for order in engine.portfolio.orders.values()] == ["working"]
        else:
            assert eventually(lambda: quiet(engine))
            assert states(dsn) == [("entry", "cancelled", 0, True)]
            proved(dsn, engine)


def test_what_is_open_keeps_the_way_it_was_filled(dsn, tmp_path):
    with a_desk(dsn, tmp_path) as (engine, *_):
        engine.process_signal(a_signal(timestamp=minutes(16)))
        assert eventually(lambda: quiet(engine))
    with pytest.raises(ConfigurationError, match="`execution"), an_engine(dsn, clock=Clock(NOW)):
        pass
    with a_desk(dsn, tmp_path) as (engine, *_):
        assert engine.status()["fills"] == "broker"
        engine.process_signal(a_signal("EXIT", price=52500, timestamp=minutes(17)))
        assert eventually(lambda: quiet(engine) and not engine.positions)
    with an_engine(dsn, clock=Clock(NOW)) as engine:
        assert engine.status()["fills"] == "paper"


def test_verify_asks_as_often_whether_two_orders_were_filled_or_many(dsn, tmp_path):
    asked = []
    with a_desk(dsn, tmp_path) as (engine, *_):
        for number in range(6):
            engine.process_signal(a_signal(timestamp=minutes(16 + number / 2)))
            assert eventually(lambda: quiet(engine))
            engine.process_signal(a_signal("EXIT", price=52500, timestamp=minutes(16 + number / 2 + 0.25)))
            assert eventually(lambda: quiet(engine))
            if number in (0, 5):
                asked.append(statements_of_verify(dsn))
    assert len(states(dsn)) == 12
    assert asked[0] == asked[1]
    assert {"orders_by_id", "fills_of_entries", "positions_by_id"} < set(asked[0])


@pytest.mark.parametrize(
    "change, found",
    [
        ("UPDATE orders SET message = 'by hand' WHERE purpose = 'entry'", "orders: "),
        ("UPDATE orders SET average_price = 1 WHERE purpose = 'exit'", "orders: "),
        ("UPDATE fills SET price = price + 1", "fills: "),
        ("UPDATE fills SET lots = lots - 1 WHERE lots > 1", "fills: "),
        ("DELETE FROM fills", "orders: |fills: "),
        (FORGED_ORDER, "orders: rows"),
    ],
)
def test_a_row_of_orders_or_fills_that_was_changed_by_hand_is_found(dsn, tmp_path, change, found):
    with a_desk(dsn, tmp_path) as (engine, *_):
        engine.process_signal(a_signal(timestamp=minutes(16)))
        assert eventually(lambda: quiet(engine))
        engine.process_signal(a_signal("EXIT", price=52500, timestamp=minutes(17)))
        assert eventually(lambda: quiet(engine))
    with journal_stream(dsn, "main") as stream:
        verify(stream, "main")
    for table in ("orders", "fills"):
        rows(dsn, f"ALTER TABLE {table} DISABLE TRIGGER USER")
    rows(dsn, change)
    with pytest.raises(Wrong, match=found), journal_stream(dsn, "main") as stream:
        verify(stream, "main")
