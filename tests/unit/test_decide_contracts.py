"""Entries in contracts: which one, its lot and money, what is refused, and what of it the position and its orders keep."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given as with_examples
from hypothesis import strategies as st
from msgspec.structs import replace

from core.decide import Decision, decide
from core.events import ContractsSet, Event, OrderIntended, PortfolioMeasured
from core.inputs import ChangeSettings, Input, OrderReport, SetContracts
from core.listed_contracts import ListedContracts, contracts_document, contracts_from
from core.models import Position, Status
from core.orders import Fill, Order, OrderState
from core.portfolio import Portfolio, portfolio_from_rows
from tests.builders import NOON, a_portfolio, a_position, a_signal, after, holding, minutes, settings_with, told
from tests.contracts import FEBRUARY, JANUARY, a_document, in_contracts

MIDNIGHT_IN_KOLKATA = datetime(2026, 1, 20, 18, 30, tzinfo=UTC)
# 15 units instead of 30: half the money per point and half the margin.
SMALL_LOT = {"BANK_NIFTY": {"2026-01": {"lot_size": "15"}}}


def set_to(portfolio: Portfolio, document: dict[str, Any]) -> Decision:
    return decide(portfolio, SetContracts(contracts=document), NOON)


def the_position(portfolio: Portfolio) -> Position:
    (position,) = portfolio.positions.values()
    return position


def the_order(decision: Decision) -> Order:
    (event,) = [event for event in decision.events if isinstance(event, OrderIntended)]
    return event.order


def by_broker() -> Portfolio:
    """With orders for the future itself: its two legs have tests of their own."""
    return in_contracts(a_portfolio(settings_with(execution={"fills": "broker", "legs": False})))


# --- the input


def test_contracts_are_set_by_one_event_and_nothing_else_changes() -> None:
    portfolio = a_portfolio()
    decision = set_to(portfolio, a_document())
    assert decision.outcome.status is Status.EXECUTED
    assert [type(event) for event in decision.events] == [ContractsSet]
    assert decision.portfolio.contracts["BANK_NIFTY"].of_month("2026-01").expiry == JANUARY
    assert decision.portfolio.state == portfolio.state
    assert not set_to(decision.portfolio, {}).portfolio.contracts


def test_contracts_read_the_same_from_the_journal() -> None:
    document = a_document("BANK_NIFTY", "COPPER", BANK_NIFTY={"2026-02": {"margin_per_lot": "281000.5", "note": "x"}})
    assert contracts_document(contracts_from(document)) == document
    wire = msgspec.json.encode(SetContracts(contracts=document))
    assert msgspec.json.decode(wire, type=Input) == SetContracts(contracts=document)
    event = msgspec.json.decode(msgspec.json.encode(ContractsSet(contracts=document)), type=Event)
    assert isinstance(event, ContractsSet)
    assert contracts_from(event.contracts) == contracts_from(document)
    # What could not be told decides too: it is there, with why.
    refused = document["BANK_NIFTY"]["refused"]
    assert [gap["month"] for gap in refused] == ["2027-01"]
    assert "2026-12-31" in refused[0]["reason"]


# --- which contract


@pytest.mark.parametrize(
    "time, month, expiry, symbol",
    [
        (NOON, "2026-01", JANUARY, "BANKNIFTY27JAN26FUT"),
        (MIDNIGHT_IN_KOLKATA - timedelta(seconds=1), "2026-01", JANUARY, "BANKNIFTY27JAN26FUT"),
        (MIDNIGHT_IN_KOLKATA, "2026-02", FEBRUARY, "BANKNIFTY24FEB26FUT"),
    ],
)
def test_an_entry_is_in_the_contract_in_front_on_the_exchanges_date(time, month, expiry, symbol) -> None:
    decision = told(in_contracts(a_portfolio()), a_signal(timestamp=time))
    position = the_position(decision.portfolio)
    assert (position.contract_month, position.expiry, position.futures_symbol) == (month, expiry, symbol)


def test_the_signals_own_time_tells_the_date_not_the_clock() -> None:
    portfolio = in_contracts(a_portfolio(settings_with(timing={"max_entry_age_seconds": None})))
    late = told(portfolio, a_signal(), now=NOON + timedelta(days=9))
    assert the_position(late.portfolio).contract_month == "2026-01"


def test_the_time_of_the_alert_tells_the_date_not_its_bars() -> None:
    signal = a_signal(timestamp=MIDNIGHT_IN_KOLKATA, bar_time=MIDNIGHT_IN_KOLKATA - timedelta(hours=1))
    assert the_position(told(in_contracts(a_portfolio()), signal).portfolio).contract_month == "2026-02"


def test_an_instrument_without_contracts_is_traded_as_before() -> None:
    signal = a_signal(instrument="GOLD_MINI", price=72000, stop=71500, atr=500)
    with_contracts = told(in_contracts(a_portfolio()), signal)
    without = told(a_portfolio(), signal)
    assert with_contracts.outcome == without.outcome
    assert with_contracts.events == without.events
    position = the_position(with_contracts.portfolio)
    assert (position.expiry, position.contract_month, position.futures_symbol) == (None, None, None)


@pytest.mark.parametrize("mode", ["rules", "as_listed"])
@pytest.mark.parametrize("kind", ["BASE_ENTRY", "PYRAMID"])
def test_an_entry_whose_contract_cannot_be_told_is_blocked(kind: str, mode: str) -> None:
    time = datetime(2026, 12, 30, 6, tzinfo=UTC)
    portfolio = in_contracts(a_portfolio(settings_with(sizing={"mode": mode})))
    if kind == "PYRAMID":
        fields = {"instrument": "BANK_NIFTY", "layer": "Long_1", "point_value": Decimal(30)}
        portfolio = holding(portfolio, a_position(**fields))
    decision = told(portfolio, a_signal(kind, timestamp=time, lots=1))
    assert (decision.outcome.status, decision.outcome.reason) == (Status.BLOCKED, "contract")
    assert decision.outcome.sizing["month"] == "2027-01"
    assert "covers 2024-01-01 to 2026-12-31" in str(decision.outcome.sizing["why"])
    assert not decision.events


def test_a_listed_entry_is_in_its_contract_too() -> None:
    portfolio = in_contracts(a_portfolio(settings_with(sizing={"mode": "as_listed"})), a_document(**SMALL_LOT))
    position = the_position(told(portfolio, a_signal(lots=3)).portfolio)
    assert (position.lots, position.quantity, position.futures_symbol) == (3, 45, "BANKNIFTY27JAN26FUT")


# --- what a lot is


def test_size_and_money_follow_the_contracts_lot() -> None:
    decision = told(in_contracts(a_portfolio(), a_document(**SMALL_LOT)), a_signal())
    position = the_position(decision.portfolio)
    # 25,000 of volatility: 2 lots of 30 units, 4 of 15.
    assert (position.lots, position.quantity) == (4, 60)
    assert (position.lot_size, position.point_value) == (15, 15)
    assert position.risk_contribution == position.vol_contribution == 350 * 15 * 4
    assert decision.outcome.sizing["risk_per_lot"] == 350 * 15
    assert decision.outcome.sizing["margin_per_lot"] == 135_000
    assert decision.portfolio.totals.margin == 135_000 * 4


def test_costs_of_a_fill_on_paper_are_of_the_contracts_turnover() -> None:
    costly = settings_with(paper={"costs": {"percent_of_turnover": "0.01"}})
    position = the_position(told(in_contracts(a_portfolio(costly), a_document(**SMALL_LOT)), a_signal()).portfolio)
    assert position.entry_costs == Decimal(52000) * 15 * 4 / 10_000


def test_a_pyramid_is_sized_by_the_contract() -> None:
    portfolio = in_contracts(a_portfolio(), a_document(**SMALL_LOT))
    portfolio = after(portfolio, a_signal(), a_signal("PYRAMID", price=53000, stop=52650, timestamp=minutes(5)))
    added = next(position for position in portfolio.positions.values() if not position.is_base_position)
    assert (added.lot_size, added.point_value, added.lots) == (15, 15, 2)
    assert (added.contract_month, added.futures_symbol) == ("2026-01", "BANKNIFTY27JAN26FUT")


def test_what_no_row_could_hold_is_counted_in_the_contracts_units() -> None:
    huge = {"BANK_NIFTY": {"2026-01": {"lot_size": "9999999999", "point_value": "1", "margin_per_lot": "1"}}}
    decision = told(in_contracts(a_portfolio(), a_document(**huge)), a_signal())
    assert decision.outcome.reason == "max_lots"


# --- margin


def test_margin_is_the_contracts_and_follows_a_correction() -> None:
    portfolio = told(in_contracts(a_portfolio()), a_signal()).portfolio
    assert portfolio.state.margin_used == 270_000 * 2
    dearer = set_to(portfolio, a_document(BANK_NIFTY={"2026-01": {"margin_per_lot": "300000"}}))
    assert [type(event) for event in dearer.events] == [ContractsSet, PortfolioMeasured]
    assert dearer.portfolio.state.margin_used == dearer.portfolio.totals.margin == 300_000 * 2
    other = set_to(portfolio, a_document(BANK_NIFTY={"2026-02": {"margin_per_lot": "300000"}}))
    assert other.portfolio.state.margin_used == 270_000 * 2


def test_margin_of_what_has_no_known_contract_is_the_instruments() -> None:
    portfolio = told(in_contracts(a_portfolio()), a_signal()).portfolio
    for document in ({}, a_document(first="2026-05")):
        assert set_to(portfolio, document).portfolio.totals.margin == 270_000 * 2
    changed = settings_with(instruments={"BANK_NIFTY": {"margin_per_lot": 1000}}).model_dump(mode="json")
    # The contracts were made with the margin that was; the shell makes them anew.
    assert decide(portfolio, ChangeSettings(settings=changed), NOON).portfolio.totals.margin == 270_000 * 2


@with_examples(st.lists(st.sampled_from(["100000", "270000", "300000.5"]), min_size=1, max_size=4))
def test_sums_kept_up_are_those_of_the_rows_whatever_contracts_were_set(margins: list[str]) -> None:
    portfolio = told(in_contracts(a_portfolio()), a_signal()).portfolio
    for margin in margins:
        document = a_document(BANK_NIFTY={"2026-01": {"margin_per_lot": margin}})
        portfolio = set_to(portfolio, document).portfolio
    rebuilt = portfolio_from_rows(
        "main",
        portfolio.settings,
        portfolio.state,
        portfolio.positions.values(),
        portfolio.pyramiding.values(),
        contracts=portfolio.contracts,
    )
    assert rebuilt == portfolio.settled()


# --- orders


def test_an_order_names_its_contract_and_the_first_fill_hands_it_to_the_position() -> None:
    decision = told(by_broker(), a_signal())
    order = the_order(decision)
    assert order.symbol == "BANKNIFTY27JAN26FUT"
    assert order.plan is not None
    assert (order.plan.contract_month, order.plan.expiry) == ("2026-01", JANUARY)
    fill = Fill(fill_id="f", lots=2, price=Decimal(52010), filled_at=NOON)
    report = OrderReport(client_order_id=order.client_order_id, state=OrderState.FILLED, fills=(fill,), settled=False)
    filled = decide(decision.portfolio, report, NOON).portfolio
    position = the_position(filled)
    assert (position.contract_month, position.expiry) == ("2026-01", JANUARY)
    assert position.futures_symbol == "BANKNIFTY27JAN26FUT"
    # Sold in the contract that it is in, whatever is in front by then.
    leaving = told(filled, a_signal("EXIT", price=52500, timestamp=MIDNIGHT_IN_KOLKATA + timedelta(hours=12)))
    assert the_order(leaving).symbol == "BANKNIFTY27JAN26FUT"


def test_a_working_entry_holds_its_contracts_lot_and_margin() -> None:
    portfolio = in_contracts(by_broker(), a_document(**SMALL_LOT))
    decision = told(portfolio, a_signal())
    order = the_order(decision)
    assert (order.lots, order.lot_size, order.point_value) == (4, 15, 15)
    assert order.risk_reserved == order.vol_reserved == 350 * 15 * 4
    assert decision.portfolio.totals.margin == 135_000 * 4
    assert decision.portfolio.state.margin_used == 135_000 * 4


def test_an_order_of_no_contract_names_none() -> None:
    portfolio = a_portfolio(settings_with(execution={"fills": "broker"}))
    order = the_order(told(portfolio, a_signal()))
    assert order.symbol is None
    assert order.plan is not None
    assert (order.plan.contract_month, order.plan.expiry) == (None, None)


# --- a roll that is due


def test_a_base_that_was_rolled_ahead_of_its_day_is_added_to_where_it_is() -> None:
    base = the_position(told(in_contracts(a_portfolio()), a_signal()).portfolio)
    ahead = replace(base, contract_month="2026-02", expiry=FEBRUARY, futures_symbol="BANKNIFTY24FEB26FUT")
    portfolio = holding(in_contracts(a_portfolio()), ahead)
    pyramid = a_signal("PYRAMID", price=53000, stop=52650, timestamp=MIDNIGHT_IN_KOLKATA - timedelta(days=3))
    decision = told(portfolio, pyramid)
    assert decision.outcome.status is Status.EXECUTED
    assert {position.contract_month for position in decision.portfolio.positions.values()} == {"2026-02"}


def test_a_pyramid_is_blocked_while_its_base_is_due_to_be_rolled() -> None:
    base = the_position(told(in_contracts(a_portfolio()), a_signal()).portfolio)
    portfolio = holding(in_contracts(a_portfolio()), base)
    late = a_signal("PYRAMID", price=53000, stop=52650, timestamp=MIDNIGHT_IN_KOLKATA)
    refused = told(portfolio, late)
    assert (refused.outcome.status, refused.outcome.reason) == (Status.BLOCKED, "contract")
    assert refused.outcome.sizing == {
        "roll_due": True,
        "base_month": "2026-01",
        "base_expiry": "2026-01-27",
        "front_month": "2026-02",
        "front_expiry": "2026-02-24",
    }
    early = a_signal("PYRAMID", price=53000, stop=52650, timestamp=MIDNIGHT_IN_KOLKATA - timedelta(seconds=1))
    assert told(portfolio, early).outcome.status is Status.EXECUTED


@pytest.mark.parametrize(
    "document",
    [{}, a_document(BANK_NIFTY={"2026-01": {"expiry": "2026-01-28"}})],
    ids=["contracts no more", "another expiry"],
)
def test_a_pyramid_is_blocked_where_it_would_be_in_another_symbol_than_its_base(document: dict[str, Any]) -> None:
    portfolio = set_to(told(in_contracts(a_portfolio()), a_signal()).portfolio, document).portfolio
    refused = told(portfolio, a_signal("PYRAMID", price=53000, stop=52650, timestamp=minutes(5)))
    assert (refused.outcome.status, refused.outcome.reason) == (Status.BLOCKED, "contract")


def test_what_refuses_a_signal_for_its_state_is_told_before_its_contract() -> None:
    portfolio = told(in_contracts(a_portfolio()), a_signal()).portfolio
    again = told(portfolio, a_signal(timestamp=datetime(2026, 12, 30, 6, tzinfo=UTC)))
    assert again.outcome.reason == "base position already open"


def test_a_listing_knows_its_months() -> None:
    listed = in_contracts(a_portfolio()).contracts["BANK_NIFTY"]
    assert isinstance(listed, ListedContracts)
    assert listed.of_month("2026-02").expiry == FEBRUARY
    assert listed.of_month("2031-01") is None
    assert listed.of_month(None) is None
