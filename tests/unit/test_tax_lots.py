"""Executions from events, and tax lots from executions: first in, first out, and nothing gained or lost on the way."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from book.executions import Entry, Execution, executions_of
from book.tax_lots import tax_lots
from core.decide import decide
from core.events import PositionExited, PositionIncreased, PositionOpened
from core.models import Side
from tests.builders import NOON, RandomTrading, a_portfolio, a_signal, minutes, settings_with, told
from tests.unit.test_decide_orders import Book
from tests.unit.test_decide_roll import FAR, NEAR, a_book, done, only, roll

COSTS = {"slippage_percent": "0.01", "costs": {"percent_of_turnover": "0.02", "per_lot": "12.3456"}}


def an_execution(side: str = "BUY", lots: int = 1, price: Any = 100, **others: Any) -> Execution:
    values: dict[str, Any] = {
        "portfolio": "main",
        "journal_seq": 1,
        "number": 1,
        "time": NOON,
        "kind": "open",
        "position_id": "P",
        "instrument": "COPPER",
        "contract": "COPPER",
        "side": side,
        "lots": lots,
        "quantity": Decimal(2500) * lots,
        "price": Decimal(price),
        "point_value": Decimal(2500),
        **others,
    }
    return Execution(**values)


def test_what_was_bought_first_is_sold_first_whatever_layer_it_was_of() -> None:
    buys = [an_execution(lots=2, price=100), an_execution(lots=3, price=110, journal_seq=2, time=minutes(60))]
    sale = an_execution(
        "SELL", 4, 120, journal_seq=3, time=NOON + timedelta(days=3), costs=Decimal("10.01"), position_id="Q"
    )
    closed, left = tax_lots([*buys, sale])
    assert [(lot.lots, lot.open_price, lot.close_price, lot.gain) for lot in closed] == [
        (2, Decimal(100), Decimal(120), Decimal(100_000)),
        (2, Decimal(110), Decimal(120), Decimal(50_000)),
    ]
    assert [(lot.opened_seq, lot.closed_seq, lot.days_held) for lot in closed] == [(1, 3, 3), (2, 3, 2)]
    assert [lot.costs for lot in closed] == [Decimal("5.005"), Decimal("5.005")]
    assert sum(lot.net_gain for lot in closed) == Decimal("149989.99")
    assert [(one.lots, one.price) for one in left] == [(1, Decimal(110))]


def test_a_short_is_bought_back_and_what_sells_more_than_there_is_opens_the_other_side() -> None:
    closed, left = tax_lots([an_execution("SELL", 1, 100), an_execution("BUY", 3, 90)])
    assert [(lot.side, lot.gain) for lot in closed] == [("SHORT", Decimal(25_000))]
    assert [(one.side, one.lots) for one in left] == [("BUY", 2)]


def test_contracts_and_portfolios_are_matched_apart() -> None:
    closed, left = tax_lots(
        [
            an_execution(contract="COPPERJAN"),
            an_execution(portfolio="other"),
            an_execution("SELL", contract="COPPERFEB"),
        ]
    )
    assert closed == []
    assert len(left) == 3


def journal(inputs: int, seed: int, settings: Any) -> tuple[list[Entry], Any, Decimal, Decimal]:
    """The entries of a random story on paper, its portfolio, and what its exits earned net and cost."""
    portfolio, trading = a_portfolio(settings, Decimal(30_000_000)), RandomTrading(seed)
    entries, pnl, costs = [], Decimal(0), Decimal(0)
    for seq in range(1, inputs + 1):
        something, now = trading.next(portfolio)
        decision = decide(portfolio, something, now)
        entries.append(Entry(seq=seq, decided_at=now, events=msgspec.to_builtins(list(decision.events))))
        exits = [event for event in decision.events if isinstance(event, PositionExited)]
        pnl += sum((event.pnl for event in exits), Decimal(0))
        costs += sum((event.costs for event in exits), Decimal(0))
        portfolio = decision.portfolio.settled()
    return entries, portfolio, pnl, costs


@pytest.mark.parametrize("seed", range(8))
def test_executions_add_up_to_what_is_held_and_lots_to_what_was_earned(seed: int) -> None:
    entries, portfolio, pnl, costs = journal(300, seed, settings_with(paper=COSTS))
    made = list(executions_of("main", entries))
    held = dict.fromkeys(portfolio.settings.instruments, 0)
    for position in portfolio.positions.values():
        held[position.instrument] += position.side.sign * position.lots
    for execution in made:
        held[execution.instrument] -= execution.signed_lots
    assert set(held.values()) == {0}
    closed, left = tax_lots(made)
    assert sum(lot.costs for lot in closed) == costs > 0
    # By layer or first in first out: with what is still open at its price the whole is the same.
    open_by_layer = sum(
        p.side.sign * (p.mark_price - p.entry_price) * p.lots * p.point_value for p in portfolio.positions.values()
    )
    marks = {p.instrument: p.mark_price for p in portfolio.positions.values()}
    same_marks = all(p.mark_price == marks[p.instrument] for p in portfolio.positions.values())
    open_by_lots = sum(one.signed_lots * (marks[one.instrument] - one.price) * one.point_value for one in left)
    if same_marks:
        assert abs(sum(lot.gain for lot in closed) + open_by_lots - (pnl + costs + open_by_layer)) < Decimal("0.1")


@for_all(st.lists(st.tuples(st.sampled_from(["BUY", "SELL"]), st.integers(1, 9), st.integers(90, 110)), max_size=30))
def test_every_lot_is_closed_once_or_open(trades: list[tuple[str, int, int]]) -> None:
    executions = [
        an_execution(side, lots, price, journal_seq=seq, costs=Decimal(seq) / 100)
        for seq, (side, lots, price) in enumerate(trades, 1)
    ]
    closed, left = tax_lots(executions)
    assert sum(one.lots for one in executions) == 2 * sum(lot.lots for lot in closed) + sum(one.lots for one in left)
    assert sum(one.signed_lots for one in executions) == sum(one.signed_lots for one in left)
    assert len({one.side for one in left}) <= 1
    cash = sum(-one.signed_lots * one.price * one.point_value for one in executions)
    at_cost = sum(one.signed_lots * one.price * one.point_value for one in left)
    assert sum(lot.gain for lot in closed) == cash + at_cost


def test_fills_that_come_one_by_one_are_executions_of_their_own() -> None:
    decision = told(a_portfolio(), a_signal())
    (opened,) = [event.position for event in decision.events if isinstance(event, PositionOpened)]
    more = PositionIncreased(
        position_id=opened.position_id,
        entry_price=Decimal(52010),
        entry_lots=4,
        entry_costs=Decimal(0),
        status=opened.status,
        lots=4,
        quantity=Decimal(120),
        unrealized_pnl=Decimal(0),
        risk_contribution=Decimal(0),
        vol_contribution=Decimal(0),
    )
    entries = [
        Entry(seq=5, decided_at=minutes(1), events=msgspec.to_builtins(list(decision.events))),
        Entry(seq=6, decided_at=minutes(2), events=msgspec.to_builtins([more])),
    ]
    first, second = executions_of("main", entries)
    assert (first.kind, first.lots, first.price, first.side) == ("open", 2, Decimal(52000), "BUY")
    assert (second.kind, second.lots, second.price, second.journal_seq) == ("increase", 2, Decimal(52020), 6)
    assert second.time == minutes(2)


@pytest.mark.parametrize("side", Side)
def test_a_roll_leaves_one_contract_and_enters_another(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    entries: list[Entry] = []
    take = Book.take

    def noted(book: Book, what: Any) -> Any:
        decision = take(book, what)
        events = msgspec.to_builtins(list(decision.events))
        entries.append(Entry(seq=book.seq, decided_at=NOON, events=events))
        return decision

    monkeypatch.setattr(Book, "take", noted)
    book = a_book(side, paper={"costs": {"per_lot": "20"}})
    done(book, only(done(book, only(roll(book)), 52400)), 52650)
    entered, out, back = executions_of("main", entries)
    assert [(one.kind, one.contract, one.lots, one.price, one.costs) for one in (entered, out, back)] == [
        ("open", NEAR, 5, Decimal(52000), Decimal(0)),
        ("roll_out", NEAR, 5, Decimal(52400), Decimal(200)),
        ("roll_in", FAR, 5, Decimal(52650), Decimal(0)),
    ]
    assert out.side == ("SELL" if side is Side.LONG else "BUY")
    assert back.side == entered.side != out.side
    closed, left = tax_lots([entered, out, back])
    assert [(lot.contract, lot.gain) for lot in closed] == [(NEAR, Decimal(side.sign * 400 * 5 * 30))]
    assert [(one.contract, one.lots) for one in left] == [(FAR, 5)]
