"""What ccxt's errors and rows mean."""

from decimal import Decimal
from typing import Any

import ccxt
import pytest

from live.brokers.ccxt_errors import Meaning
from live.brokers.ccxt_rows import fill_of, milliseconds, number, order_of
from live.brokers.port import Action, BrokerAway, BrokerOrderState, BrokerRefused, OrderType, OutcomeUnknown
from live.brokers.settings import CcxtSettings

SETTINGS = CcxtSettings(venue="bybit", symbols=("BTC/USDT:USDT",))


def meaning_of(error: Exception, *, change: bool) -> type[Exception]:
    meaning = Meaning(ccxt, ["a-secret"])

    def call() -> None:
        raise error

    with pytest.raises((BrokerRefused, BrokerAway, OutcomeUnknown)) as found:
        (meaning.of_change if change else meaning.of_reading)(call)
    return found.type


@pytest.mark.parametrize(
    "error, change, reading",
    [
        (ccxt.InsufficientFunds, BrokerRefused, BrokerRefused),
        (ccxt.InvalidOrder, BrokerRefused, BrokerRefused),
        (ccxt.OrderNotFound, BrokerRefused, BrokerRefused),
        (ccxt.AuthenticationError, BrokerRefused, BrokerRefused),
        (ccxt.BadSymbol, BrokerRefused, BrokerRefused),
        (ccxt.NotSupported, BrokerRefused, BrokerRefused),
        (ccxt.MarketClosed, BrokerRefused, BrokerRefused),
        (ccxt.DuplicateOrderId, OutcomeUnknown, BrokerRefused),
        (ccxt.RateLimitExceeded, BrokerAway, BrokerAway),
        (ccxt.DDoSProtection, BrokerAway, BrokerAway),
        (ccxt.InvalidNonce, BrokerAway, BrokerAway),
        (ccxt.RequestTimeout, OutcomeUnknown, BrokerAway),
        (ccxt.ExchangeNotAvailable, OutcomeUnknown, BrokerAway),
        (ccxt.OnMaintenance, OutcomeUnknown, BrokerAway),
        (ccxt.NetworkError, OutcomeUnknown, BrokerAway),
        (ccxt.BadResponse, OutcomeUnknown, BrokerAway),
        (ccxt.CancelPending, OutcomeUnknown, BrokerAway),
        (ccxt.ExchangeError, OutcomeUnknown, BrokerAway),
        (KeyError, OutcomeUnknown, BrokerAway),
    ],
)
def test_an_error_means_what_is_known_of_its_effect(
    error: type[Exception], change: type[Exception], reading: type[Exception]
) -> None:
    assert meaning_of(error("told"), change=True) is change
    assert meaning_of(error("told"), change=False) is reading


def test_every_error_of_ccxt_has_a_meaning() -> None:
    errors = [error for error in vars(ccxt).values() if isinstance(error, type) and issubclass(error, ccxt.BaseError)]
    assert len(errors) > 30
    for error in errors:
        meaning_of(error("told"), change=True)


def test_secrets_and_queries_are_cut_out_of_messages() -> None:
    meaning = Meaning(ccxt, ["a-secret"])

    def call() -> None:
        raise ccxt.RequestTimeout("bybit GET https://host/v5/order?sign=abc&key=a-secret (a-secret)")

    with pytest.raises(OutcomeUnknown) as found:
        meaning.of_change(call)
    assert str(found.value) == "RequestTimeout: bybit GET https://host/v5/order?... (***)"


def a_row(**changes: Any) -> dict[str, Any]:
    return {
        "id": "7",
        "clientOrderId": "a-1",
        "symbol": "BTC/USDT:USDT",
        "type": "limit",
        "side": "buy",
        "price": "71000.1",
        "amount": "0.005",
        "filled": "0",
        "average": None,
        "triggerPrice": None,
        "status": "open",
        "timestamp": 1768371300123,
        **changes,
    }


@pytest.mark.parametrize(
    "changes, state",
    [
        ({}, BrokerOrderState.WORKING),
        ({"status": "canceling"}, BrokerOrderState.WORKING),
        ({"status": "canceled"}, BrokerOrderState.CANCELLED),
        ({"status": "expired"}, BrokerOrderState.CANCELLED),
        ({"status": "rejected"}, BrokerOrderState.REJECTED),
        ({"status": "closed", "filled": "0.005"}, BrokerOrderState.FILLED),
        ({"status": "closed", "filled": "0.004"}, BrokerOrderState.CANCELLED),
        ({"status": "closed", "filled": None}, BrokerOrderState.FILLED),
        ({"triggerPrice": "71000"}, BrokerOrderState.PENDING),
        ({"triggerPrice": "71000", "filled": "0.001"}, BrokerOrderState.WORKING),
    ],
)
def test_a_status_of_ccxt_is_a_state(changes: dict[str, Any], state: BrokerOrderState) -> None:
    order = order_of(a_row(**changes), SETTINGS)
    assert (order.state, order.message) == (state, None)


@pytest.mark.parametrize("status", [None, "halted"])
def test_an_unknown_status_is_taken_for_working_and_told(status: str | None) -> None:
    order = order_of(a_row(status=status), SETTINGS)
    assert order.state is BrokerOrderState.WORKING
    assert order.message is not None


@pytest.mark.parametrize(
    "changes, order_type, price",
    [
        ({}, OrderType.LIMIT, Decimal("71000.1")),
        ({"type": "market", "price": "72000"}, OrderType.MARKET, None),
        ({"type": "market", "triggerPrice": "7"}, OrderType.STOP_MARKET, None),
        ({"type": "stop_limit", "triggerPrice": "7"}, OrderType.STOP, Decimal("71000.1")),
        ({"price": "0", "triggerPrice": "7"}, OrderType.STOP_MARKET, None),
    ],
)
def test_an_order_type_goes_by_its_prices(
    changes: dict[str, Any], order_type: OrderType, price: Decimal | None
) -> None:
    order = order_of(a_row(**changes), SETTINGS)
    assert (order.order_type, order.price) == (order_type, price)


def test_times_are_exact_to_the_millisecond() -> None:
    placed_at = order_of(a_row(), SETTINGS).placed_at
    assert placed_at is not None
    assert placed_at.isoformat() == "2026-01-14T06:15:00.123000+00:00"
    assert milliseconds(placed_at) == 1768371300123
    assert order_of(a_row(timestamp=None), SETTINGS).placed_at is None


@pytest.mark.parametrize("value", [None, "", "?", "NaN", "Infinity"])
def test_what_is_no_number_is_none(value: object) -> None:
    assert number(value) is None


def test_a_trade_carries_its_symbol_in_its_ids() -> None:
    row = {**a_row(), "order": "9", "amount": "0.001", "side": "sell"}
    fill = fill_of(row, SETTINGS)
    assert (fill.fill_id, fill.broker_order_id) == ("BTC/USDT:USDT|7", "BTC/USDT:USDT|9")
    assert (fill.quantity, fill.price, fill.action) == (Decimal("0.001"), Decimal("71000.1"), Action.SELL)
