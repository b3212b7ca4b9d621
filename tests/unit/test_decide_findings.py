"""What an operator makes of a difference with the broker: adopted, written off, or accepted as none of ours."""

import hashlib
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from core.decide import Decision, decide
from core.events import (
    DifferenceAccepted,
    EntriesUnfrozen,
    PortfolioMeasured,
    PositionExited,
    PositionOpened,
    PyramidingChanged,
)
from core.findings import MISMATCHES, FindingKind, froze_it
from core.inputs import AdoptPosition, FindingCommand, Freeze, IgnoreFinding, OrderReport, Resume, WriteOff
from core.models import PositionStatus, Side, Status
from core.orders import OrderPurpose, OrderState
from core.portfolio import Portfolio
from live.brokers.port import BrokerPosition
from live.reconcile import compare
from tests.builders import NOON, a_portfolio, a_position, a_signal, holding, minutes, settings_with, told, with_state
from tests.contracts import in_contracts
from tests.unit.test_decide_orders import Book, a_fill, by_broker, exit_of, intended

ADOPTION = AdoptPosition(
    instrument="GOLD_MINI",
    layer="Long_1",
    lots=2,
    price=Decimal(72000),
    stop=Decimal(71500),
    atr=Decimal(500),
    symbol="GOLDM05FEB26FUT",
)
GOLD = "GOLD_MINI-Long_1-abc"


def of_a_broker(*positions: Any) -> Portfolio:
    return replace(holding(by_broker(), *positions), seq=41)


def carried_out(portfolio: Portfolio, given: FindingCommand) -> Decision:
    decision = decide(portfolio, given, minutes(7))
    assert decision.outcome.status is Status.EXECUTED
    return decision


def refusal(portfolio: Portfolio, given: FindingCommand) -> str | None:
    decision = decide(portfolio, given, minutes(7))
    assert decision.outcome.status is Status.REJECTED
    assert decision.events == ()
    assert decision.portfolio is portfolio
    return decision.outcome.reason


@pytest.mark.parametrize(
    "given",
    [
        ADOPTION,
        WriteOff(position_id=GOLD, price=Decimal(72000)),
        IgnoreFinding(instrument="GOLD_MINI", difference=Decimal(100)),
    ],
)
def test_without_a_broker_there_is_no_difference_to_settle(given: FindingCommand) -> None:
    assert str(refusal(holding(a_portfolio(), a_position()), given)).startswith("fills are not by a broker")


# --- adopted ------------------------------------------------------------------------------------------------------


def test_what_the_broker_holds_becomes_a_position_of_ours() -> None:
    decision = carried_out(of_a_broker(), ADOPTION)
    (position,) = decision.portfolio.positions.values()
    digits = hashlib.sha256(b"main:adopt:41").hexdigest()[:12]
    assert position.position_id == f"GOLD_MINI-Long_1-{digits}"
    assert (position.side, position.lots, position.entry_lots, position.quantity) == (Side.LONG, 2, 2, 200)
    assert (position.entry_price, position.mark_price, position.highest_close) == (72000, 72000, 72000)
    assert (position.initial_stop, position.current_stop, position.atr) == (71500, 71500, 500)
    assert position.entry_timestamp == position.mark_time == minutes(7)
    assert (position.entry_costs, position.limiter, position.futures_symbol) == (0, "adopted", "GOLDM05FEB26FUT")
    assert (position.risk_contribution, position.vol_contribution) == (10_000, 10_000)
    assert position.is_base_position
    row = decision.portfolio.pyramiding_of("GOLD_MINI")
    assert (row.base_position_id, row.last_pyramid_price) == (position.position_id, 72000)
    assert (decision.outcome.position_id, decision.outcome.lots) == (position.position_id, 2)
    assert [type(event) for event in decision.events] == [PositionOpened, PyramidingChanged, PortfolioMeasured]
    assert decision.portfolio.state.margin_used == 2 * 105_000
    assert not decision.portfolio.orders


def test_two_adoptions_of_one_layer_are_two_positions() -> None:
    first, second = (carried_out(replace(of_a_broker(), seq=seq), ADOPTION).outcome.position_id for seq in (41, 42))
    assert first != second


def test_an_adopted_position_trails_is_added_to_and_leaves_by_an_exit() -> None:
    book = Book(carried_out(of_a_broker(), replace(ADOPTION, instrument="BANK_NIFTY", stop=Decimal(71650))).portfolio)
    book.take(a_signal("MARKET_DATA", price=73000, atr=350, timestamp=minutes(15)))
    (position,) = book.portfolio.positions.values()
    assert position.current_stop == 73000 - Decimal("2.5") * 350
    adding = book.take(a_signal("PYRAMID", price=73100, stop=72900, atr=100, timestamp=minutes(16)))
    assert intended(adding).layer == "Long_2"
    leaving = intended(book.take(exit_of(price=73200, timestamp=minutes(17))))
    book.report(leaving, None, a_fill("x", 2, 73200, minutes(17)))
    assert not book.portfolio.positions
    assert book.portfolio.state.realized_total == 1200 * 30 * 2


def test_an_exit_from_before_the_adoption_does_not_close_it() -> None:
    portfolio = carried_out(of_a_broker(), ADOPTION).portfolio
    late = told(portfolio, a_signal("EXIT", instrument="GOLD_MINI", price=72000, timestamp=minutes(6)))
    assert late.outcome.reason == "exit predates position"


def test_a_layer_is_adopted_beside_its_base_and_the_next_pyramid_is_measured_from_it() -> None:
    decision = carried_out(of_a_broker(a_position()), replace(ADOPTION, layer="Long_3", price=Decimal(72800)))
    row = decision.portfolio.pyramiding_of("GOLD_MINI")
    assert (row.base_position_id, row.last_pyramid_price) == (GOLD, 72800)
    assert not decision.portfolio.positions[str(decision.outcome.position_id)].is_base_position


def test_a_base_is_adopted_back_under_pyramids_that_lost_theirs() -> None:
    orphan = a_position("GOLD_MINI-Long_2-abc", layer="Long_2", is_base_position=False)
    decision = carried_out(of_a_broker(orphan), ADOPTION)
    assert decision.portfolio.base_of("GOLD_MINI") is not None


def test_without_stop_and_atr_it_counts_as_no_risk_and_no_bar_stops_it() -> None:
    portfolio = carried_out(of_a_broker(), replace(ADOPTION, stop=None, atr=None, symbol=None)).portfolio
    assert (portfolio.totals.risk, portfolio.totals.volatility) == (0, 0)
    bar = told(portfolio, a_signal("MARKET_DATA", instrument="GOLD_MINI", price=1, atr=1, timestamp=minutes(15)))
    assert bar.outcome.sizing == {"marked": 1, "stopped": 0, "peeled": 0}


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"instrument": "TULIPS"}, "unknown instrument"),
        ({"layer": "Long_7"}, "layer must be Long_1 to Long_6 or Short_1 to Short_6"),
        ({"layer": "ALL"}, "layer must be Long_1 to Long_6 or Short_1 to Short_6"),
        ({"layer": "Long_1\n"}, "layer must be Long_1 to Long_6 or Short_1 to Short_6"),
        ({"lots": 0}, "lots are out of range"),
        ({"lots": -1}, "lots are out of range"),
        ({"lots": 2**31}, "lots are out of range"),
        ({"lots": 10**8}, "lots are out of range"),
        ({"price": Decimal(0)}, "price is out of range"),
        ({"price": Decimal("NaN")}, "price is out of range"),
        ({"price": Decimal("1e-9")}, "price is out of range"),
        ({"price": Decimal("9999999999.999999999")}, "price is out of range"),
        ({"price": Decimal(10) ** 10}, "price is out of range"),
        ({"stop": Decimal(-1)}, "stop is out of range"),
        ({"stop": Decimal("Infinity")}, "stop is out of range"),
        ({"atr": Decimal(0)}, "atr is out of range"),
        ({"stop": Decimal(72000)}, "stop is not on the losing side of the price"),
        ({"stop": Decimal(72001)}, "stop is not on the losing side of the price"),
        ({"layer": "Short_1"}, "stop is not on the losing side of the price"),
        ({"layer": "Long_2"}, "no base position"),
    ],
)
def test_figures_that_make_no_sense_are_not_adopted(changes: dict[str, Any], reason: str) -> None:
    assert refusal(of_a_broker(), replace(ADOPTION, **changes)) == reason


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({}, "layer already open"),
        ({"layer": "Short_1", "stop": None}, "side"),
        ({"layer": "Short_2", "stop": None}, "side"),
    ],
)
def test_a_layer_must_be_free_and_on_the_side_of_what_is_open(changes: dict[str, Any], reason: str) -> None:
    assert refusal(of_a_broker(a_position()), replace(ADOPTION, **changes)) == reason


def test_a_layer_that_is_being_entered_is_not_adopted_nor_one_on_the_other_side_of_it() -> None:
    book = Book()
    book.enter(lots=0)
    taken = replace(ADOPTION, instrument="BANK_NIFTY")
    assert refusal(book.portfolio, taken) == "entry already working"
    assert refusal(book.portfolio, replace(taken, layer="Short_1", stop=None)) == "side"


# --- written off --------------------------------------------------------------------------------------------------


def test_lots_that_are_gone_are_booked_as_sold_without_an_order() -> None:
    portfolio = of_a_broker(a_position())
    decision = carried_out(portfolio, WriteOff(position_id=GOLD, price=Decimal(71800)))
    closed = decision.portfolio.closed[GOLD]
    assert (closed.exit_price, closed.exit_timestamp, closed.exit_reason) == (71800, minutes(7), "WRITTEN_OFF")
    assert (closed.realized_pnl, decision.portfolio.state.realized_total) == (-200 * 10 * 2, -4000)
    assert decision.portfolio.pyramiding_of("GOLD_MINI").base_position_id is None
    assert [type(event) for event in decision.events] == [PositionExited, PyramidingChanged]
    assert (decision.outcome.positions, decision.outcome.lots) == ((GOLD,), 2)
    assert not decision.portfolio.orders


def test_a_part_is_written_off_and_the_rest_stays_open() -> None:
    decision = carried_out(
        of_a_broker(a_position()), WriteOff(position_id=GOLD, lots=1, price=Decimal(72100), reason="x")
    )
    (position,) = decision.portfolio.positions.values()
    assert (position.lots, position.status, position.exit_reason) == (1, PositionStatus.PARTIAL, "x")
    assert decision.portfolio.pyramiding_of("GOLD_MINI").base_position_id == GOLD


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"position_id": "nobody"}, "no open position"),
        ({"lots": 0}, "lots are out of range"),
        ({"lots": -1}, "lots are out of range"),
        ({"lots": 3}, "lots are out of range"),
        ({"price": Decimal(0)}, "price is out of range"),
        ({"price": Decimal("-Infinity")}, "price is out of range"),
        ({"price": Decimal(10) ** 10}, "price is out of range"),
    ],
)
def test_what_is_not_there_is_not_written_off(changes: dict[str, Any], reason: str) -> None:
    given = replace(WriteOff(position_id=GOLD, price=Decimal(72000)), **changes)
    assert refusal(of_a_broker(a_position()), given) == reason


def test_while_an_order_of_it_is_not_settled_nothing_is_written_off() -> None:
    book = Book()
    entry = book.enter(lots=2)
    (position_id,) = book.portfolio.positions
    given = WriteOff(position_id=position_id, price=Decimal(52000))
    assert refusal(book.portfolio, given) == "orders of the position are not settled"
    book.report(entry, "cancelled", settled=True)
    leaving = intended(book.take(exit_of()))
    assert leaving.purpose is OrderPurpose.EXIT
    book.report(leaving, "cancelled")
    assert refusal(book.portfolio, given) == "orders of the position are not settled"
    book.take(OrderReport(client_order_id=leaving.client_order_id, state=OrderState.CANCELLED, settled=True))
    assert carried_out(book.portfolio, given).outcome.lots == 2


def test_an_order_of_another_layer_does_not_keep_it_from_being_written_off() -> None:
    book = Book()
    book.enter()
    for order in list(book.portfolio.orders.values()):
        book.report(order, None, settled=True)
    (position_id,) = book.portfolio.positions
    intended(book.take(a_signal("PYRAMID", price=53000, stop=52900, atr=100, timestamp=minutes(1))))
    assert carried_out(book.portfolio, WriteOff(position_id=position_id, price=Decimal(52000))).outcome.lots == 5


# --- accepted -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("difference", ["100", "-250.5"])
def test_a_difference_that_is_accepted_matches_from_then_on(difference: str) -> None:
    portfolio = of_a_broker(a_position())
    held = [BrokerPosition(symbol="GOLD_MINI", exchange="", quantity=200 + Decimal(difference))]
    (before,) = compare(portfolio, held, {})
    assert before.kind is FindingKind.DIFFERS
    decision = carried_out(portfolio, IgnoreFinding(instrument="GOLD_MINI", difference=Decimal(difference)))
    assert decision.events[0] == DifferenceAccepted(instrument="GOLD_MINI", difference=Decimal(difference))
    (after,) = compare(decision.portfolio, held, {})
    assert (after.kind, after.accepted) == (FindingKind.MATCHED, Decimal(difference))
    (more,) = compare(decision.portfolio, [*held, *held], {})
    assert more.kind in MISMATCHES


def test_a_difference_of_what_we_hold_nothing_of_is_given_once_it_is_gone() -> None:
    decision = carried_out(of_a_broker(), IgnoreFinding(instrument="GOLD_MINI", difference=Decimal(100)))
    held = [BrokerPosition(symbol="GOLD_MINI", exchange="", quantity=Decimal(100))]
    assert [finding.kind for finding in compare(decision.portfolio, held, {})] == [FindingKind.MATCHED]
    (gone,) = compare(decision.portfolio, [], {})
    assert (gone.kind, gone.instrument, gone.accepted) == (FindingKind.MISSING, "GOLD_MINI", 100)


def test_a_difference_of_nothing_forgets_what_was_accepted_and_lifts_no_freeze() -> None:
    accepted = carried_out(of_a_broker(), IgnoreFinding(instrument="GOLD_MINI", difference=Decimal(100))).portfolio
    assert refusal(accepted, IgnoreFinding(instrument="GOLD_MINI", difference=Decimal(100))) is not None
    frozen = decide(accepted, Freeze(instrument="GOLD_MINI", reason="quantity differs: GOLD_MINI"), NOON).portfolio
    forgotten = carried_out(frozen, IgnoreFinding(instrument="GOLD_MINI", difference=Decimal(0)))
    row = forgotten.portfolio.pyramiding_of("GOLD_MINI")
    assert row.accepted_difference is None
    assert row.frozen_reason is not None
    assert refusal(forgotten.portfolio, IgnoreFinding(instrument="GOLD_MINI", difference=Decimal(0))) is not None


@pytest.mark.parametrize(
    "instrument, difference, reason",
    [
        ("TULIPS", "1", "unknown instrument"),
        ("GOLD_MINI", "NaN", "difference is out of range"),
        ("GOLD_MINI", "-Infinity", "difference is out of range"),
        ("GOLD_MINI", "1e12", "difference is out of range"),
        ("GOLD_MINI", "999999999999.999999999", "difference is out of range"),
        ("GOLD_MINI", "1e-9", "nothing was accepted"),
    ],
)
def test_a_difference_that_no_column_holds_is_not_accepted(instrument: str, difference: str, reason: str) -> None:
    given = IgnoreFinding(instrument=instrument, difference=Decimal(difference))
    assert refusal(of_a_broker(), given) == reason


# --- the freeze ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MISMATCHES)
def test_a_mismatchs_freeze_ends_with_its_acceptance_but_otherwise_only_with_a_resume(kind: FindingKind) -> None:
    reason = f"{kind.value}: GOLD_MINI, ours 200, the broker's 100"
    frozen = decide(of_a_broker(a_position()), Freeze(instrument="GOLD_MINI", reason=reason), NOON).portfolio
    assert froze_it(reason)
    ignored = carried_out(frozen, IgnoreFinding(instrument="GOLD_MINI", difference=Decimal(-100)))
    assert ignored.events[1] == EntriesUnfrozen(instrument="GOLD_MINI")
    assert ignored.portfolio.pyramiding_of("GOLD_MINI").frozen_reason is None
    assert ignored.outcome.sizing == {}
    for given in (WriteOff(position_id=GOLD, lots=1, price=Decimal(72000)), replace(ADOPTION, layer="Long_2")):
        decision = carried_out(frozen, given)
        assert decision.portfolio.pyramiding_of("GOLD_MINI").frozen_reason == reason
        assert decision.outcome.sizing == {"frozen_reason": reason}
        resumed = decide(decision.portfolio, Resume(instrument="GOLD_MINI"), NOON).portfolio
        assert resumed.pyramiding_of("GOLD_MINI").frozen_reason is None


def test_a_freeze_for_another_reason_outlives_the_acceptance() -> None:
    assert not froze_it(None)
    frozen = decide(of_a_broker(), Freeze(instrument="GOLD_MINI", reason="delivery"), NOON).portfolio
    decision = carried_out(frozen, IgnoreFinding(instrument="GOLD_MINI", difference=Decimal(100)))
    assert decision.portfolio.pyramiding_of("GOLD_MINI").frozen_reason == "delivery"
    assert decision.outcome.sizing == {"frozen_reason": "delivery"}


def test_findings_are_settled_while_halted() -> None:
    carried_out(with_state(of_a_broker(), halted=True), ADOPTION)


def test_costs_of_the_sale_are_booked_as_of_any_other() -> None:
    costs = settings_with(execution={"fills": "broker"}, paper={"costs": {"per_lot": "20"}})
    portfolio = holding(a_portfolio(costs), a_position())
    closed = carried_out(portfolio, WriteOff(position_id=GOLD, price=Decimal(72000))).portfolio.closed[GOLD]
    assert (closed.costs, closed.realized_pnl) == (40, -40)


def test_lots_in_a_contract_are_adopted_into_it_and_no_others_are() -> None:
    portfolio = in_contracts(of_a_broker())
    given_: dict[str, Any] = {"instrument": "BANK_NIFTY", "layer": "Long_1", "lots": 2, "price": Decimal(52000)}
    for symbol in (None, "BANKNIFTY"):
        assert refusal(portfolio, AdoptPosition(**given_, symbol=symbol)) == "symbol is no contract of the instrument"
    decision = carried_out(portfolio, AdoptPosition(**given_, symbol="BANKNIFTY27JAN26FUT"))
    (position,) = decision.portfolio.positions.values()
    assert (position.contract_month, position.expiry) == ("2026-01", date(2026, 1, 27))


def test_a_write_off_makes_the_stop_at_the_broker_smaller() -> None:
    portfolio = replace(a_portfolio(settings_with(execution={"fills": "broker"})), seq=41)
    given_: dict[str, Any] = {"instrument": "BANK_NIFTY", "layer": "Long_1", "lots": 3, "price": Decimal(52000)}
    adopted = carried_out(portfolio, AdoptPosition(**given_, stop=Decimal(51650), atr=Decimal(350))).portfolio
    (position,) = adopted.positions.values()
    (stop,) = adopted.orders.values()
    assert (stop.purpose, stop.lots) == (OrderPurpose.STOP, 3)
    less = carried_out(adopted, WriteOff(position_id=position.position_id, lots=1, price=Decimal(52000))).portfolio
    assert [order.lots for order in less.orders.values()] == [2]
