"""Where contracts are traded, and that what is held of each symbol is compared by itself."""

from decimal import Decimal
from typing import Any

import pytest

from core.models import Position
from core.orders import EntryPlan, Leg, OrderPurpose
from live.books import Market
from live.brokers.port import BrokerPosition
from live.contract_markets import ContractMarkets
from live.reconcile import FindingKind, compare
from tests.builders import NOON, a_portfolio, a_position, an_order, holding
from tests.contracts import a_document, in_contracts

JANUARY, FEBRUARY = "GOLDM05JAN26FUT", "GOLDM05FEB26FUT"
MARKETS = ContractMarkets({"GOLD_MINI": "MCX", "COPPER": "MCX"}, lambda _: False)
FIXED = {"COPPER": Market(symbol="COPPER27FEB26FUT", exchange="MCX", units_per_lot=Decimal(2500))}


def in_contract(symbol: str | None, position_id: str = "GOLD_MINI-Long_1-abc", **changes: Any) -> Position:
    return a_position(position_id, futures_symbol=symbol, **changes)


def held(symbol: str, quantity: int) -> BrokerPosition:
    return BrokerPosition(symbol=symbol, exchange="MCX", quantity=Decimal(quantity))


def test_an_order_goes_to_its_contract_in_units_of_its_own_lot() -> None:
    expected = Market(symbol=FEBRUARY, exchange="MCX", units_per_lot=Decimal(50))
    assert MARKETS.of_order(an_order(symbol=FEBRUARY, lot_size=Decimal(50))) == expected
    position = in_contract(FEBRUARY, lot_size=Decimal(50), quantity=Decimal(100))
    assert list(MARKETS.held_as(position)) == [(expected, 1)]


def test_where_the_broker_counts_lots_a_lot_is_one() -> None:
    markets = ContractMarkets({"GOLD_MINI": "MCX"}, lambda exchange: exchange == "MCX")
    market = markets.of_order(an_order(symbol=FEBRUARY))
    assert market is not None
    assert market.units_per_lot == 1


def test_what_is_in_no_contract_or_not_traded_has_no_market_here() -> None:
    assert MARKETS.of_order(an_order()) is None
    assert MARKETS.of_order(an_order(symbol=FEBRUARY, instrument="SILVER_MINI")) is None
    assert list(MARKETS.held_as(a_position())) == []
    assert not MARKETS.has(a_position())


def test_the_markets_in_use_are_those_of_positions_and_orders() -> None:
    portfolio = holding(a_portfolio(), in_contract(JANUARY)).with_order(an_order(symbol=FEBRUARY))
    assert {market.symbol for market in MARKETS.in_use(portfolio, "GOLD_MINI")} == {JANUARY, FEBRUARY}
    assert not list(MARKETS.in_use(portfolio, "COPPER"))


CALL, PUT = "GOLDM05FEB2672000CE", "GOLDM05FEB2672000PE"
PAIR: dict[str, Any] = {"strike": Decimal(72000), "ce_symbol": CALL, "pe_symbol": PUT}


def test_no_chart_tells_the_price_of_an_option() -> None:
    pair = a_position(**PAIR)
    portfolio = holding(a_portfolio(), pair).with_order(an_order(symbol=CALL, leg=Leg.CALL, strike=Decimal(72000)))
    assert [(market.symbol, sign) for market, sign in MARKETS.held_as(pair)] == [(CALL, 1), (PUT, -1)]
    assert not list(MARKETS.in_use(portfolio, "GOLD_MINI"))


def test_what_an_order_comes_to_is_its_instruments_while_it_works() -> None:
    plan = EntryPlan(
        entry_timestamp=NOON,
        entry_bar_time=None,
        mark_time=NOON,
        stop=None,
        atr=None,
        limiter="risk",
        is_base_position=True,
        **PAIR,
    )
    second = an_order(symbol=PUT, leg=Leg.PUT, plan=plan, purpose=OrderPurpose.ENTRY, leg_price=Decimal(900))
    portfolio = a_portfolio().with_order(second)
    # Bought for the first leg, which is settled; the second one is on its way.
    (finding,) = compare(portfolio, [held(CALL, 200)], FIXED, MARKETS)
    assert (finding.kind, finding.instrument) == (FindingKind.IN_FLIGHT, "GOLD_MINI")


# --- compared with what the broker holds


def found(*positions: Position, at_broker: list[BrokerPosition]) -> dict[str, tuple[FindingKind, str | None]]:
    document = a_document("GOLD_MINI", "BANK_NIFTY")
    portfolio = holding(in_contracts(a_portfolio(), document), *positions)
    findings = compare(portfolio, at_broker, FIXED, MARKETS)
    return {finding.symbol: (finding.kind, finding.instrument) for finding in findings}


BOTH = (in_contract(JANUARY), in_contract(FEBRUARY, "GOLD_MINI-Long_2-abc", layer="Long_2", is_base_position=False))


@pytest.mark.parametrize(
    "january, february, kinds",
    [
        (200, 200, (FindingKind.MATCHED, FindingKind.MATCHED)),
        (400, 0, (FindingKind.DIFFERS, FindingKind.MISSING)),
        (200, -200, (FindingKind.MATCHED, FindingKind.DIFFERS)),
    ],
)
def test_positions_of_one_instrument_in_two_contracts_are_two_symbols(
    january: int, february: int, kinds: tuple[FindingKind, FindingKind]
) -> None:
    findings = found(*BOTH, at_broker=[held(JANUARY, january), held(FEBRUARY, february)])
    assert findings == {JANUARY: (kinds[0], "GOLD_MINI"), FEBRUARY: (kinds[1], "GOLD_MINI")}


def test_a_contract_that_only_the_broker_holds_is_its_instruments() -> None:
    findings = found(at_broker=[held(FEBRUARY, 100), held("GOLDM05FEB31FUT", 100)])
    assert findings == {
        FEBRUARY: (FindingKind.UNKNOWN, "GOLD_MINI"),
        "GOLDM05FEB31FUT": (FindingKind.UNKNOWN, None),
    }


def test_a_fixed_market_is_compared_as_before() -> None:
    copper = {"instrument": "COPPER", "lot_size": Decimal(2500), "quantity": Decimal(5000)}
    position = a_position("COPPER-Long_1-abc", **copper)
    assert found(position, at_broker=[held("COPPER27FEB26FUT", 5000)]) == {
        "COPPER27FEB26FUT": (FindingKind.MATCHED, "COPPER")
    }


def test_the_contracts_that_are_known_are_named_by_their_symbols() -> None:
    named = MARKETS.instruments(in_contracts(a_portfolio(), a_document("GOLD_MINI", "BANK_NIFTY")))
    assert named[FEBRUARY, "MCX"] == "GOLD_MINI"
    assert set(named.values()) == {"GOLD_MINI"}, "what has no market is not looked for at the broker"
