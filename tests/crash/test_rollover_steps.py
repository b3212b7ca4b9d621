"""A roll is killed at every step: in the end the broker holds what the positions say, in the contract that they say."""

from datetime import timedelta
from decimal import Decimal
from random import Random

from core.inputs import Roll
from core.models import RolloverStatus
from tests.crash.order_scenario import NOW, Desk, SteeredServer, at_exchange, openalgo, require_reconciled
from tests.crash.rollover_scenario import (
    BANK,
    FEB,
    JAN,
    a_desk,
    held_by_symbol,
    set_market,
    story,
    tell,
)
from tests.crash.totals import FULL, SEED
from tests.crash.zygote import Zygote
from tests.engines import Clock
from tests.postgres_server import drop_database, fresh_database

# Of the steps of a roll that are neither an order, nor its cancel, nor its commit.
SAMPLE = 12


def test_killed_at_every_step_of_a_roll_no_lot_is_lost_or_rolled_twice(server_dsn, template, note):
    with Zygote("tests.crash.rollover_scenario") as zygote:
        labels = _undisturbed(server_dsn, template, zygote)
        for kill_at in _kills(labels):
            dsn = fresh_database(server_dsn, template=template)
            with SteeredServer() as server:
                set_market(server)
                killed = zygote.run(dsn=dsn, at=server.url, kill_at=kill_at)
                assert killed["killed"], f"not killed at step {kill_at}"
                _recover(dsn, server, killed["answered"], f"{kill_at}, {labels[kill_at - 1]}")
            drop_database(dsn)
            note(faults=1, signals=2)


def _undisturbed(server_dsn: str, template: str, zygote: Zygote) -> list[str]:
    dsn = fresh_database(server_dsn, template=template)
    with SteeredServer() as server:
        set_market(server)
        whole = zygote.run(dsn=dsn, at=server.url, kill_at=0)
        assert whole["answered"] == len(story())
        # Five lots of the base and two of the pyramid.
        assert set(at_exchange(server.exchange).held) == {FEB}
    drop_database(dsn)
    labels: list[str] = whole["told"]
    return labels


def _kills(labels: list[str]) -> list[int]:
    """Every step of the roll in full; else each order and cancel of it, and some of the others."""
    entries = [step for step, label in enumerate(labels, 1) if label == "placeorder answered"]
    # A base, its stop, a pyramid and its stop are placed before.
    roll = range(entries[3] + 1, len(labels) + 1)
    if FULL:
        return list(roll)
    changes = [step for step in roll if labels[step - 1].startswith(("placeorder", "cancelorder"))]
    others = [step for step in roll if step not in changes]
    return sorted([*changes, *Random(SEED).sample(others, SAMPLE)])


def _recover(dsn: str, server: SteeredServer, answered: int, killed_at: str) -> None:
    clock = Clock(NOW + (timedelta(days=7) if answered >= 2 else timedelta()))

    def move(price: Decimal) -> None:
        server.exchange.steer(JAN, price, None)

    with openalgo(server.url) as broker, a_desk(dsn, broker, move, clock=clock) as desk:
        desk.at_broker = lambda: at_exchange(server.exchange)
        for number, part in enumerate(story()):
            if number >= answered - 1:
                tell(desk, part, again=number < answered)
        _is_what_the_broker_holds(dsn, desk, server, killed_at)
        _is_rolled_in_the_end(desk, killed_at)
        _is_what_the_broker_holds(dsn, desk, server, killed_at)


def _is_what_the_broker_holds(dsn: str, desk: Desk, server: SteeredServer, killed_at: str) -> None:
    found = at_exchange(server.exchange)
    assert held_by_symbol(desk.engine) == found.held, killed_at
    require_reconciled(dsn, desk.engine, found)


def _is_rolled_in_the_end(desk: Desk, killed_at: str) -> None:
    """What an order that never came has kept from being rolled is rolled by the next day's roll; nothing is done twice."""
    positions = desk.engine.portfolio.positions.values()
    lost = sum(position.rollover_status is RolloverStatus.FAILED for position in positions)
    assert lost <= desk.resolved <= 1, killed_at
    if desk.resolved:
        answer = desk.engine.command(Roll(request_id="again", day=desk.engine.exchange_day(), execute=True))
        assert (answer.outcome or {})["status"] in ("accepted", "rejected"), killed_at
        desk.settle({BANK})
    else:
        assert len(positions) == 2, killed_at
    now = desk.engine.portfolio.positions.values()
    assert {(position.futures_symbol, position.rollover_count) for position in now} <= {(FEB, 1)}, killed_at
