"""A base and its pyramid are bought in January and rolled into February, and a child that is killed at the N-th step of it.

Run as `python -m tests.crash.rollover_scenario` it is a zygote, as tests/crash/order_scenario.py is.
"""

import json
import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import psycopg2

from core.inputs import Roll
from core.models import Signal
from live.answers import AnswerKind
from live.brokers.port import Broker
from live.contract_markets import ContractMarkets
from live.dispatcher import Dispatcher
from live.engine import LiveTradingEngine
from live.outbox import Outbox
from tests.builders import a_signal, minutes, settings_with
from tests.contracts import a_contracts_desk
from tests.crash.order_scenario import (
    BANK,
    NOW,
    Desk,
    LabelledSteps,
    SteeredServer,
    count_calls,
    move_market,
    openalgo,
)
from tests.crash.scenario import Database
from tests.crash.zygote import fork_children
from tests.engines import Clock, an_engine, without_waiting

JAN, FEB = "BANKNIFTY27JAN26FUT", "BANKNIFTY24FEB26FUT"
PRICES = {JAN: Decimal(53000), FEB: Decimal(53200)}
EXECUTION = {"fills": "broker", "legs": False, "stop_atr": 1}
# The week between the entries and the roll must not make the entries of a story that is told again too old.
TIMING = {"max_entry_age_seconds": None}
LOOSE = {"ongoing_volatility_percent": "50", "ongoing_risk_percent": "50", "initial_volatility_percent": "1.1"}
SETTINGS = without_waiting(
    settings_with(execution=EXECUTION, timing=TIMING, instruments={BANK: {**LOOSE, "initial_risk_percent": "2"}})
)
MARKETS = ContractMarkets({BANK: "NFO"}, lambda _: False)


@dataclass(frozen=True)
class Rolled:
    """A week later what is due is rolled."""


Part = Signal | Rolled


def story() -> list[Part]:
    """A base, a pyramid, and the roll of both."""
    return [
        a_signal(er=1, price=52000, timestamp=minutes(16)),
        a_signal("PYRAMID", price=53000, stop=52900, atr=100, timestamp=minutes(17)),
        Rolled(),
    ]


def set_market(server: SteeredServer) -> None:
    """Both contracts trade at their prices."""
    for symbol, price in PRICES.items():
        server.exchange.steer(symbol, price if symbol != JAN else Decimal(52000), None)


@contextmanager
def a_desk(dsn: str, broker: Broker, url_market: Any, *, clock: Clock, pause: float = 0.005) -> Iterator[Desk]:
    """Engine and dispatcher of the story; `url_market` moves January's price."""
    contracts = a_contracts_desk(BANK)
    with an_engine(
        dsn,
        settings=SETTINGS,
        clock=clock,
        instance_id="crash",
        contracts_on=lambda day: contracts.document_on(_first(day)),
    ) as engine:
        outbox = Outbox(engine, broker, market_of=MARKETS.of_order, clock=clock)
        dispatcher = Dispatcher(outbox, shows_within=0.3, read_every=0.0)
        yield Desk(engine=engine, dispatcher=dispatcher, clock=clock, move=url_market, pause=pause)


def _first(day: Any) -> Any:
    # The same contracts whatever the day of the restart is.
    return day.replace(day=1)


def tell(desk: Desk, part: Part, *, again: bool = False) -> None:
    """One part of the story, until nothing more is to come of it; `again`: the market does not go back for it."""
    if isinstance(part, Signal):
        if not again:
            desk.move(part.price)
        given: Any = desk.engine.process_signal(part)
    else:
        desk.clock.now = max(desk.clock.now, NOW + timedelta(days=7))
        given = desk.engine.command(Roll(request_id="roll", day=desk.engine.exchange_day(), execute=True))
    assert given.kind in (AnswerKind.DECIDED, AnswerKind.DUPLICATE), given
    desk.settle({BANK})


def held_by_symbol(engine: LiveTradingEngine) -> dict[str, Decimal]:
    """What the engine believes to hold, contract by contract."""
    held: dict[str, Decimal] = defaultdict(Decimal)
    for position in engine.portfolio.positions.values():
        held[position.futures_symbol or "none"] += position.side.sign * position.quantity
    return dict(held)


def child(request: dict[str, Any], report: int) -> None:
    """Tell the whole story; each part that was told is noted in `report` before the next one."""
    steps, clock = LabelledSteps(request["kill_at"]), Clock(NOW)
    psycopg2.connect = Database(steps).connect
    with ExitStack() as stack:
        broker = openalgo(request["at"])
        stack.callback(broker.close)
        count_calls(broker, steps)

        def move(price: Decimal) -> None:
            move_market(request["at"], JAN, price)

        desk = stack.enter_context(a_desk(request["dsn"], broker, move, clock=clock, pause=0.0))
        for part in story():
            tell(desk, part)
            os.write(report, b".")
    os.write(report, json.dumps(steps.labels).encode())


if __name__ == "__main__":
    fork_children(child)
