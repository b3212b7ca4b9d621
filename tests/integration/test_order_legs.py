"""A synthetic future at OpenAlgo: engine, PostgreSQL and dispatcher, two orders each way, and what becomes of half of one."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from core.decide.follow import LEG_LEFT
from core.models import Side
from core.settings import Settings
from live.brokers.settings import BrokersSettings, OpenAlgoSettings
from live.contract_markets import ContractMarkets
from live.dispatcher import Dispatcher
from live.engine import LiveTradingEngine
from live.order_desk import order_desk
from live.outbox import Outbox
from live.reconcile import FindingKind, Reconciler
from tests.builders import a_signal, minutes, mirrored, settings_with
from tests.contracts import a_contracts_desk
from tests.crash.order_scenario import openalgo
from tests.engines import Clock, an_engine, status_of, without_waiting
from tests.integration.test_orders import proved, quiet
from tests.misbehaving_server import Trouble
from tests.openalgo_server import API_KEY, OpenAlgoServer
from tests.queries import rows
from tests.waiting import eventually

CALL, PUT = "BANKNIFTY27JAN2652000CE", "BANKNIFTY27JAN2652000PE"
NOW = minutes(3)
SETTINGS = without_waiting(settings_with(execution={"fills": "broker"}))
CONTRACTS = a_contracts_desk("BANK_NIFTY")
both_sides = pytest.mark.parametrize("side", Side)


READ_ATTEMPTS = OpenAlgoSettings.model_fields["read_attempts"].default


@dataclass(kw_only=True)
class Desk:
    engine: LiveTradingEngine
    dispatcher: Dispatcher
    reconciler: Reconciler
    # How many orders may be sent in all; None: as many as there are.
    most: int | None = None

    def frozen(self) -> str | None:
        return self.engine.portfolio.pyramiding_of("BANK_NIFTY").frozen_reason

    def kinds(self) -> dict[str, FindingKind]:
        return {finding.symbol: finding.kind for finding in self.reconciler.run()}


@contextmanager
def a_server() -> Iterator[OpenAlgoServer]:
    with OpenAlgoServer() as server:
        show(server, call=810, put=800)
        yield server


def show(server: OpenAlgoServer, *, call: int, put: int) -> None:
    server.exchange.set_quote(CALL, Decimal(call))
    server.exchange.set_quote(PUT, Decimal(put))


@contextmanager
def a_desk(
    dsn: str, server: OpenAlgoServer, *, clock: Clock | None = None, start: bool = True, settings: Settings = SETTINGS
) -> Iterator[Desk]:
    """Engine and dispatcher on a database and an exchange that may have a past."""
    clock = clock or Clock(NOW)
    with ExitStack() as stack:
        engine = stack.enter_context(an_engine(dsn, settings=settings, clock=clock, contracts_on=CONTRACTS.document_on))
        broker = stack.enter_context(openalgo(server.url))
        markets = ContractMarkets({"BANK_NIFTY": "NFO"}, broker.counts_lots)
        made: list[Desk] = []

        def may_send() -> bool:
            return not made or made[0].most is None or len(asked(server)) < made[0].most

        outbox = Outbox(engine, broker, market_of=markets.of_order, clock=clock, may_send=may_send)
        dispatcher = Dispatcher(outbox, shows_within=0.3, read_every=0.02)
        engine.on_commit = lambda _: dispatcher.wake()
        stack.callback(dispatcher.stop)
        if start:
            dispatcher.start()
        reconciler = Reconciler(broker, {}, markets, portfolio=lambda: engine.portfolio, command=engine.command)
        made.append(Desk(engine=engine, dispatcher=dispatcher, reconciler=reconciler))
        yield made[0]


def an_exit(side: Side = Side.LONG, minute: float = 2):
    return mirrored(a_signal("EXIT", price=52500, timestamp=minutes(minute)), side)


def until_the_second_leg_is_intended(desk: Desk) -> None:
    """Turn by turn; nothing of it is sent."""
    desk.most = 1
    assert eventually(lambda: desk.dispatcher.turn() or any(o.leg_price for o in desk.engine.portfolio.orders.values()))


def asked(server: OpenAlgoServer) -> list[tuple[str, str, int]]:
    """What was asked of OpenAlgo, in order, whatever it said."""
    told = [fields for endpoint, fields in server.requests if endpoint == "placeorder"]
    return [(fields["action"], fields["symbol"], int(fields["quantity"])) for fields in told]


def held(server: OpenAlgoServer) -> dict[str, Decimal]:
    return {symbol: quantity for (symbol, *_), quantity in server.exchange.positions().items() if quantity}


def test_an_alert_becomes_two_orders_at_openalgo_and_its_exit_two_more(dsn, tmp_path):
    parts = {
        "use": "openalgo",
        "markets": {"BANK_NIFTY": {"exchange": "NFO", "contracts": True}},
    }
    clock = Clock(NOW)
    with a_server() as server, ExitStack() as stack:
        brokers = BrokersSettings.model_validate({**parts, "openalgo": {"url": server.url, "api_key": API_KEY}})
        engine = stack.enter_context(an_engine(dsn, settings=SETTINGS, clock=clock, contracts_on=CONTRACTS.document_on))
        folder = Path(tmp_path) / "broker" / "main"
        start = stack.enter_context(
            order_desk(engine, SETTINGS, brokers, folder, clock=clock, may_send=lambda: True, contracts=CONTRACTS)
        )
        start()
        assert status_of(engine.process_signal(a_signal())) == "accepted"
        assert eventually(lambda: quiet(engine) and engine.positions)
        assert asked(server) == [("BUY", CALL, 60), ("SELL", PUT, 60)]
        (position,) = engine.positions.values()
        assert (position.entry_price, position.lots, position.strike) == (52010, 2, 52000)
        assert (position.ce_symbol, position.pe_symbol, position.futures_symbol) == (CALL, PUT, None)
        findings = engine.reconcile()
        assert [(f.kind, f.symbol, f.ours) for f in findings] == [
            (FindingKind.MATCHED, CALL, 60),
            (FindingKind.MATCHED, PUT, -60),
        ]
        proved(dsn, engine)
        show(server, call=900, put=650)
        assert status_of(engine.process_signal(an_exit())) == "accepted"
        assert eventually(lambda: quiet(engine) and not engine.positions)
        assert asked(server)[2:] == [("BUY", PUT, 60), ("SELL", CALL, 60)]
        assert held(server) == {}
        assert all(finding.kind is FindingKind.MATCHED for finding in engine.reconcile())
        booked = rows(dsn, "SELECT exit_price, realized_pnl FROM portfolio_positions")
        assert booked == [(Decimal(52250), Decimal(240 * 30 * 2))]
        proved(dsn, engine)


def test_a_short_is_the_put_bought_and_the_call_sold(dsn):
    with a_server() as server, a_desk(dsn, server) as desk:
        desk.engine.process_signal(mirrored(a_signal(), Side.SHORT))
        assert eventually(lambda: quiet(desk.engine) and desk.engine.positions)
        assert held(server) == {CALL: -60, PUT: 60}
        assert set(desk.kinds().values()) == {FindingKind.MATCHED}
        desk.engine.process_signal(an_exit(Side.SHORT))
        assert eventually(lambda: quiet(desk.engine) and not desk.engine.positions)
        assert asked(server) == [("BUY", PUT, 60), ("SELL", CALL, 60), ("BUY", CALL, 60), ("SELL", PUT, 60)]
        proved(dsn, desk.engine)


@both_sides
def test_a_second_leg_that_is_rejected_is_undone_and_the_next_entry_goes(dsn, side):
    with a_server() as server, a_desk(dsn, server) as desk:
        server.misbehave("placeorder", Trouble.SLOW)
        server.misbehave("placeorder", Trouble.REJECTS)
        desk.engine.process_signal(mirrored(a_signal(), side))
        assert eventually(lambda: quiet(desk.engine))
        bought, refused = (CALL, PUT) if side is Side.LONG else (PUT, CALL)
        assert asked(server) == [("BUY", bought, 60), ("SELL", refused, 60), ("SELL", bought, 60)]
        assert held(server) == {}
        assert not desk.engine.positions
        assert desk.frozen() is None
        assert all(kind is FindingKind.MATCHED for kind in desk.kinds().values())
        trades = rows(dsn, "SELECT status, exit_reason, realized_pnl, lots FROM portfolio_positions")
        assert trades == [("closed", "UNDONE", Decimal(0), 0)]
        told = rows(dsn, "SELECT purpose, leg, state, settled FROM orders ORDER BY journal_seq")
        ours, other = ("ce", "pe") if side is Side.LONG else ("pe", "ce")
        assert told == [
            ("entry", ours, "filled", True),
            ("entry", other, "rejected", True),
            ("undo", ours, "filled", True),
        ]
        desk.engine.process_signal(mirrored(a_signal(timestamp=minutes(1)), side))
        assert eventually(lambda: quiet(desk.engine) and desk.engine.positions)
        proved(dsn, desk.engine)


def test_an_undoing_in_parts_is_a_row_for_each_of_them(dsn):
    with a_server() as server, a_desk(dsn, server) as desk:
        server.misbehave("placeorder", Trouble.SLOW)
        server.misbehave("placeorder", Trouble.REJECTS)
        server.exchange.parts.extend([Decimal(60), Decimal(30)])
        desk.engine.process_signal(a_signal())
        undone = "SELECT realized_pnl FROM portfolio_positions WHERE exit_reason = 'UNDONE' ORDER BY realized_pnl"
        assert eventually(lambda: len(rows(dsn, undone)) == 1)
        show(server, call=800, put=800)
        assert eventually(lambda: quiet(desk.engine))
        assert rows(dsn, undone) == [(Decimal(-300),), (Decimal(0),)]
        assert desk.engine.portfolio.state.closed_equity == 5_000_000 - 300
        proved(dsn, desk.engine)


def test_a_try_that_is_filled_in_part_has_its_own_second_leg_and_the_next_try_has_another(dsn):
    clock = Clock(NOW)
    with a_server() as server, a_desk(dsn, server, clock=clock) as desk:
        server.exchange.parts.append(Decimal(30))
        desk.engine.process_signal(a_signal())
        assert eventually(lambda: any(order.filled_lots for order in desk.engine.portfolio.orders.values()))
        assert not desk.engine.positions
        clock.forward(seconds=4)
        assert eventually(lambda: quiet(desk.engine) and desk.engine.positions)
        (position,) = desk.engine.positions.values()
        assert (position.lots, position.entry_price) == (2, 52010)
        assert Counter(asked(server)) == {("BUY", CALL, 60): 1, ("BUY", CALL, 30): 1, ("SELL", PUT, 30): 2}
        assert held(server) == {CALL: 60, PUT: -60}
        proved(dsn, desk.engine)


def test_a_second_leg_that_nobody_quotes_does_not_wait_for_ever_but_is_undone(dsn):
    with a_server() as server, a_desk(dsn, server, start=False) as desk:
        desk.engine.process_signal(a_signal())
        until_the_second_leg_is_intended(desk)
        del server.exchange.quotes[PUT]
        desk.most = None
        desk.dispatcher.start()
        assert eventually(lambda: quiet(desk.engine))
        assert asked(server) == [("BUY", CALL, 60), ("SELL", CALL, 60)]
        assert rows(dsn, "SELECT message FROM orders WHERE leg = 'pe'") == [("no quote",)]
        proved(dsn, desk.engine)


@pytest.mark.parametrize("at", ["first leg at the broker", "second leg intended", "second leg at the broker"])
def test_a_restart_between_the_legs_goes_on_with_the_second_one(dsn, at):
    clock = Clock(NOW)
    with a_server() as server:
        with a_desk(dsn, server, clock=clock, start=False) as desk:
            desk.engine.process_signal(a_signal())
            if at == "first leg at the broker":
                desk.most = 1
                desk.dispatcher.turn()
            else:
                until_the_second_leg_is_intended(desk)
            if at == "second leg at the broker":
                desk.most = 2
                server.misbehave("orderbook", Trouble.FAILS_AFTER, times=10 * READ_ATTEMPTS)
                desk.dispatcher.turn()
                server._troubles.clear()
            assert len(asked(server)) == (2 if at == "second leg at the broker" else 1)
            assert not desk.engine.positions
        clock.forward(hours=1)
        with a_desk(dsn, server, clock=clock) as desk:
            assert eventually(lambda: quiet(desk.engine) and desk.engine.positions)
            assert asked(server) == [("BUY", CALL, 60), ("SELL", PUT, 60)]
            assert held(server) == {CALL: 60, PUT: -60}
            proved(dsn, desk.engine)
        with a_desk(dsn, server, clock=clock) as desk:
            desk.engine.process_signal(an_exit())
            assert eventually(lambda: quiet(desk.engine) and not desk.engine.positions)
            assert held(server) == {}
            proved(dsn, desk.engine)


def test_what_is_between_two_legs_is_in_flight_and_freezes_nothing(dsn):
    with a_server() as server, a_desk(dsn, server, start=False) as desk:
        desk.engine.process_signal(a_signal())
        until_the_second_leg_is_intended(desk)
        for _ in range(3):
            assert desk.kinds()[CALL] is FindingKind.IN_FLIGHT
        desk.most = None
        desk.dispatcher.start()
        assert eventually(lambda: quiet(desk.engine) and desk.engine.positions)
        assert set(desk.kinds().values()) == {FindingKind.MATCHED}


def test_a_leg_that_is_left_at_the_broker_freezes_entries_and_nothing_is_bought_back_twice(dsn):
    with a_server() as server, a_desk(dsn, server) as desk:
        desk.engine.process_signal(a_signal())
        assert eventually(lambda: quiet(desk.engine) and desk.engine.positions)
        server.misbehave("placeorder", Trouble.SLOW)
        server.misbehave("placeorder", Trouble.REJECTS, times=3)
        desk.engine.process_signal(an_exit())
        assert eventually(lambda: quiet(desk.engine) and desk.frozen() is not None)
        assert str(desk.frozen()).endswith(LEG_LEFT)
        assert asked(server)[2:] == [("BUY", PUT, 60), *[("SELL", CALL, 60)] * 3]
        assert held(server) == {CALL: 60}
        assert status_of(desk.engine.process_signal(a_signal(timestamp=minutes(2.2)))) == "blocked: frozen"
        # Another EXIT would buy the put a second time, for nothing.
        assert status_of(desk.engine.process_signal(an_exit(minute=2.5))) == "accepted"
        assert eventually(lambda: quiet(desk.engine))
        assert len(asked(server)) == 6
        assert held(server) == {CALL: 60}
        assert rows(dsn, "SELECT message FROM orders WHERE message LIKE '%reversed%'")
        proved(dsn, desk.engine)


def test_an_exit_between_the_legs_undoes_the_first_one(dsn):
    with a_server() as server, a_desk(dsn, server, start=False) as desk:
        desk.engine.process_signal(a_signal())
        until_the_second_leg_is_intended(desk)
        assert status_of(desk.engine.process_signal(an_exit())) == "accepted"
        desk.most = None
        desk.dispatcher.start()
        assert eventually(lambda: quiet(desk.engine))
        assert asked(server) == [("BUY", CALL, 60), ("SELL", CALL, 60)]
        assert held(server) == {}
        proved(dsn, desk.engine)


def test_on_paper_options_trade_at_the_files_quotes_in_whole_lots_whatever_the_chart_says(dsn, tmp_path):
    quotes = tmp_path / "quotes.csv"
    lines = [f"{minutes(0).isoformat()},{CALL},810", f"{minutes(0).isoformat()},{PUT},800"]
    quotes.write_text("\n".join(["time,symbol,price", *lines]) + "\n")
    brokers = BrokersSettings.model_validate(
        {
            "markets": {"BANK_NIFTY": {"exchange": "NFO", "contracts": True}},
            "paper": {"quotes_file": str(quotes), "slippage_percent": "0", "fill_fractions": ["0.6", "0.4"]},
        }
    )
    clock, folder = Clock(NOW), tmp_path / "broker" / "main"
    with (
        an_engine(dsn, settings=SETTINGS, clock=clock, contracts_on=CONTRACTS.document_on) as engine,
        order_desk(engine, SETTINGS, brokers, folder, clock=clock, may_send=lambda: True, contracts=CONTRACTS) as start,
    ):
        start()
        engine.process_signal(a_signal())
        assert eventually(lambda: quiet(engine) and engine.positions)
        assert rows(dsn, "SELECT lots FROM fills ORDER BY number") == [(1,)] * 4
        engine.process_signal(a_signal("MARKET_DATA", price=52100, timestamp=minutes(1)))
        engine.process_signal(an_exit())
        assert eventually(lambda: quiet(engine) and not engine.positions)
        assert rows(dsn, "SELECT entry_price, exit_price FROM portfolio_positions") == [
            (Decimal(52010), Decimal(52010))
        ]
        proved(dsn, engine)
