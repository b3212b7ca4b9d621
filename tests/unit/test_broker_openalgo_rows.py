"""OpenAlgo's rows: numbers as text or not, times without offsets, trades without ids."""

from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from live.brokers.openalgo_rows import (
    UnreadableRow,
    doubts_of,
    fills_of,
    funds_of,
    has_equal_rows,
    number,
    order_of,
    plain,
    positions_of,
    quote_of,
    rows_in,
    time_of,
)
from live.brokers.port import BrokerOrder, BrokerOrderState, OrderType

NOON = datetime(2026, 1, 14, 6, 30, tzinfo=UTC)


def an_order_row(**changes: Any) -> dict[str, Any]:
    """The row of OpenAlgo's documentation, but for the changes."""
    return {
        "action": "BUY",
        "symbol": "YESBANK",
        "exchange": "NSE",
        "orderid": "250408001002736",
        "product": "MIS",
        "quantity": "10",
        "price": Decimal("16.5"),
        "pricetype": "LIMIT",
        "order_status": "open",
        "trigger_price": Decimal("0.0"),
        "timestamp": "08-Apr-2025 14:13:45",
        **changes,
    }


def a_trade_row(**changes: Any) -> dict[str, Any]:
    return {
        "action": "BUY",
        "symbol": "YESBANK",
        "exchange": "NSE",
        "orderid": "250408001002736",
        "product": "MIS",
        "quantity": 2,
        "average_price": Decimal("16.5"),
        "timestamp": "11:58:03",
        "trade_value": Decimal("33.0"),
        **changes,
    }


def an_order(state: str, quantity: int = 10) -> BrokerOrder:
    return order_of(an_order_row(order_status=state, quantity=str(quantity)), NOON)


def counted(rows: list[dict[str, Any]], *orders: BrokerOrder) -> Decimal:
    return sum((fill.quantity for fill in fills_of(rows, orders, NOON)), Decimal(0))


@pytest.mark.parametrize(
    "told, expected",
    [
        ("08-Apr-2025 14:13:45", "2025-04-08T08:43:45+00:00"),
        ("2025-04-08 14:13:45", "2025-04-08T08:43:45+00:00"),
        ("08-04-2025 14:13:45", "2025-04-08T08:43:45+00:00"),
        ("2025-04-08T14:13:45", "2025-04-08T08:43:45+00:00"),
        ("2025-04-08T08:43:45Z", "2025-04-08T08:43:45+00:00"),
        ("11:58:03", "2026-01-14T06:28:03+00:00"),
        ("23:50:00", "2026-01-13T18:20:00+00:00"),
    ],
)
def test_times_are_those_of_india(told: str, expected: str) -> None:
    found = time_of(told, NOON)
    assert found is not None
    assert found.astimezone(UTC).isoformat() == expected


@pytest.mark.parametrize("told", [None, "", "soon", 17, "2025-13-45 00:00:00"])
def test_a_time_that_cannot_be_read_is_none(told: object) -> None:
    assert time_of(told, NOON) is None


@pytest.mark.parametrize("value, expected", [("-104", -104), (7, 7), (" 1.50 ", "1.5"), (Decimal("0.1"), "0.1")])
def test_numbers_may_be_text(value: object, expected: str) -> None:
    assert number({"n": value}, "n") == Decimal(expected)


@pytest.mark.parametrize("value", [None, "", "many", "NaN", "Infinity", "1e99", Decimal("1e-99"), True, [], {}])
def test_what_is_no_number_is_named(value: object) -> None:
    with pytest.raises(UnreadableRow, match="`n`"):
        number({"n": value}, "n")


@pytest.mark.parametrize(
    "value, text", [("30", "30"), ("300", "300"), ("0.050", "0.05"), ("58412.60000000", "58412.6")]
)
def test_numbers_are_sent_plain(value: str, text: str) -> None:
    assert plain(Decimal(value)) == text


@given(st.decimals(min_value="0.00000001", max_value=10**12, places=8))
def test_a_number_that_is_sent_is_the_same(value: Decimal) -> None:
    assert Decimal(plain(value)) == value
    assert "E" not in plain(value)


@pytest.mark.parametrize(
    "status, state",
    [
        ("complete", BrokerOrderState.FILLED),
        ("open", BrokerOrderState.WORKING),
        ("pending", BrokerOrderState.PENDING),
        ("trigger pending", BrokerOrderState.PENDING),
        ("Rejected", BrokerOrderState.REJECTED),
        ("cancelled", BrokerOrderState.CANCELLED),
    ],
)
def test_the_states_are_those_of_openalgo(status: str, state: BrokerOrderState) -> None:
    order = an_order(status)
    assert (order.state, order.message) == (state, None)


def test_an_unknown_state_is_taken_for_working_and_told() -> None:
    order = an_order("modify validation pending")
    assert order.state is BrokerOrderState.WORKING
    assert order.message is not None
    assert "modify validation pending" in order.message


def test_what_is_filled_is_told_where_it_follows() -> None:
    states = ("complete", "rejected", "open", "cancelled")
    assert [an_order(state).filled_quantity for state in states] == [10, 0, None, None]
    assert order_of(an_order_row(filled_quantity="4"), NOON).filled_quantity == 4


@pytest.mark.parametrize(
    "fields, order_type",
    [
        ({"pricetype": "SL-M", "price": 0, "trigger_price": "1180"}, OrderType.STOP_MARKET),
        ({"pricetype": "SL", "price": 1180, "trigger_price": "1185"}, OrderType.STOP),
        ({"pricetype": "MARKET", "price": 0}, OrderType.MARKET),
        ({"pricetype": "SLM", "price": 0, "trigger_price": 5}, OrderType.STOP_MARKET),
        ({"pricetype": "", "price": 5, "trigger_price": 5}, OrderType.STOP),
        ({"pricetype": "CO", "price": 5}, OrderType.LIMIT),
        ({"pricetype": "CO", "price": 0}, OrderType.MARKET),
    ],
)
def test_an_order_type_goes_by_its_name_or_its_prices(fields: dict[str, Any], order_type: OrderType) -> None:
    order = order_of(an_order_row(**fields), NOON)
    assert order.order_type is order_type
    assert order.price != 0
    assert order.trigger_price != 0


@pytest.mark.parametrize(
    "changes", [{"orderid": None}, {"symbol": ""}, {"action": "HOLD"}, {"quantity": "?"}, {"exchange": None}]
)
def test_an_order_that_cannot_be_read_spoils_the_book(changes: dict[str, Any]) -> None:
    with pytest.raises(UnreadableRow):
        order_of(an_order_row(**changes), NOON)


@pytest.mark.parametrize("data", [None, [], {}, {"orders": None}, {"orders": []}])
def test_an_empty_book_has_several_forms(data: object) -> None:
    assert rows_in(data) == []


@pytest.mark.parametrize("data", ["rows", {"orders": "rows"}, [1, 2], 7])
def test_what_is_no_book_is_refused(data: object) -> None:
    with pytest.raises(UnreadableRow):
        rows_in(data)


def test_positions_are_summed_and_zeros_left_out() -> None:
    rows = [{"symbol": name, "exchange": "NSE", "quantity": text} for name, text in POSITIONS]
    assert [(held.symbol, held.quantity) for held in positions_of(rows)] == [("NHPC", -1), ("YESBANK", -100)]


POSITIONS = [("NHPC", "-1"), ("RELIANCE", "0"), ("YESBANK", "-104"), ("YESBANK", "4"), ("SBIN", "5"), ("SBIN", "-5")]


def test_a_bid_of_zero_is_none() -> None:
    quote = quote_of({"ltp": Decimal("1187.75"), "bid": 0, "ask": Decimal("1188.0")})
    assert (quote.last, quote.bid, quote.ask) == (Decimal("1187.75"), None, Decimal(1188))


@pytest.mark.parametrize("data", [None, [], {}, {"ltp": 0}, {"ltp": None}])
def test_a_quote_without_a_price_is_none(data: object) -> None:
    with pytest.raises(UnreadableRow):
        quote_of(data)


def test_funds_are_exact() -> None:
    funds = funds_of({"availablecash": "320.66", "utiliseddebits": "679.34"})
    assert (funds.available, funds.used) == (Decimal("320.66"), Decimal("679.34"))


def test_trades_with_ids_count_once_however_often_they_are_there() -> None:
    rows = [a_trade_row(tradeid=f"T{number}") for number in (1, 2)]
    assert not has_equal_rows([*rows, *rows], NOON)
    fills = fills_of([*rows, *rows[::-1]], [], NOON)
    assert [fill.fill_id for fill in fills] == ["250408001002736:T1", "250408001002736:T2"]


def test_equal_rows_of_a_filled_order_are_as_many_trades_as_fill_it() -> None:
    rows = [a_trade_row(), a_trade_row()]
    assert has_equal_rows(rows, NOON)
    assert counted(rows, an_order("complete", 4)) == 4
    assert doubts_of(rows, [an_order("complete", 4)], NOON) == {}


def test_equal_rows_of_an_order_that_was_cancelled_in_part_are_booked_once_and_in_doubt() -> None:
    rows = [a_trade_row(), a_trade_row(), a_trade_row(quantity=1, timestamp="11:58:04")]
    assert counted(rows, an_order("cancelled")) == 3
    assert doubts_of(rows, [an_order("cancelled")], NOON) == {"250408001002736": 5}
    assert doubts_of(rows, [an_order("open")], NOON) == {}


def test_a_cancelled_order_that_has_no_room_for_a_second_trade_has_one() -> None:
    rows = [a_trade_row(quantity=6), a_trade_row(quantity=6)]
    assert counted(rows, an_order("cancelled")) == 6
    assert doubts_of(rows, [an_order("cancelled")], NOON) == {}


@pytest.mark.parametrize("filled", [2, 4])
def test_what_an_adapter_tells_to_be_filled_decides_of_a_cancelled_order(filled: int) -> None:
    rows = [a_trade_row(), a_trade_row()]
    order = order_of(an_order_row(order_status="cancelled", filled_quantity=str(filled)), NOON)
    assert counted(rows, order) == filled
    assert doubts_of(rows, [order], NOON) == {}


@pytest.mark.parametrize("average, twice", [("16.67", True), ("16.75", False)])
def test_the_average_price_decides_of_a_cancelled_order_where_the_prices_differ(average: str, twice: bool) -> None:
    rows = [a_trade_row(), a_trade_row(), a_trade_row(average_price=17, timestamp="11:58:04")]
    order = order_of(an_order_row(order_status="cancelled", average_price=average), NOON)
    assert counted(rows, order) == (6 if twice else 4)
    assert doubts_of(rows, [order], NOON) == {}


@pytest.mark.parametrize("average", ["16.5", "16.2"])
def test_an_average_price_that_says_nothing_leaves_the_doubt(average: str) -> None:
    rows = [a_trade_row(), a_trade_row()]
    order = order_of(an_order_row(order_status="cancelled", average_price=average), NOON)
    assert counted(rows, order) == 2
    assert doubts_of(rows, [order], NOON) == {"250408001002736": 4}


def test_equal_rows_of_a_filled_order_whose_last_trade_is_not_there_yet_count_once() -> None:
    rows = [a_trade_row(), a_trade_row()]
    assert counted(rows, an_order("complete")) == 2
    assert counted([*rows, a_trade_row(quantity=8, timestamp="11:58:04")], an_order("complete")) == 10


def test_more_readings_than_can_be_tried_are_a_doubt() -> None:
    rows = [a_trade_row(quantity=1, timestamp=f"11:58:{second}") for second in range(10, 23)] * 2
    assert counted(rows, an_order("cancelled", 20)) == 13
    assert doubts_of(rows, [an_order("cancelled", 20)], NOON) == {"250408001002736": 20}


def test_equal_rows_beyond_an_orders_quantity_are_one_trade_reported_twice() -> None:
    rows = [a_trade_row(quantity=10), a_trade_row(quantity=10)]
    assert counted(rows, an_order("complete")) == 10


def test_a_book_that_is_there_twice_is_counted_once() -> None:
    rows = [a_trade_row(quantity=4), a_trade_row(quantity=6, timestamp="11:58:04")]
    assert counted(rows * 2, an_order("complete")) == 10


def test_real_equal_trades_are_told_from_doubled_ones_by_what_fills_the_order() -> None:
    twice_real, doubled = a_trade_row(quantity=2), a_trade_row(quantity=6, timestamp="11:58:04")
    assert counted([twice_real, twice_real, doubled, doubled], an_order("complete")) == 10


def test_equal_rows_of_a_live_order_count_once_until_it_ends_and_keep_their_ids() -> None:
    rows = [a_trade_row(), a_trade_row()]
    (early,) = fills_of(rows, [an_order("open")], NOON)
    late = fills_of(rows, [an_order("complete", 4)], NOON)
    assert [fill.fill_id for fill in late] == [early.fill_id, f"{early.fill_id[:-1]}2"]


def test_a_trade_has_the_same_id_wherever_it_is_in_the_book() -> None:
    rows = [
        a_trade_row(),
        a_trade_row(timestamp="11:58:01"),
        a_trade_row(average_price="16.55"),
        a_trade_row(quantity=1),
    ]
    first = fills_of(rows, [], NOON)
    assert sorted(fill.fill_id for fill in fills_of(rows[::-1], [], NOON)) == sorted(fill.fill_id for fill in first)
    assert len({fill.fill_id for fill in first}) == 4
    assert first[0].filled_at == datetime(2026, 1, 14, 6, 28, 1, tzinfo=UTC)


def test_a_trade_whose_quantity_is_missing_has_that_of_its_value() -> None:
    # OpenAlgo's documentation shows such rows.
    assert counted([a_trade_row(quantity=Decimal("0.0"), trade_value="33.0")]) == 2


def test_a_trade_without_any_quantity_is_left_out() -> None:
    assert counted([a_trade_row(quantity=0, trade_value="17")]) == 0


_LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.decimals())
_JSON = st.recursive(
    _LEAVES,
    lambda children: st.one_of(
        st.lists(children, max_size=4),
        st.dictionaries(st.sampled_from([*an_order_row(), *a_trade_row(), "orders", "ltp", "tradeid"]), children),
    ),
    max_leaves=20,
)
_ROWS = st.lists(
    st.fixed_dictionaries({}, optional=dict.fromkeys([*an_order_row(), *a_trade_row(), "tradeid"], _LEAVES))
)


@given(st.one_of(_JSON, _ROWS))
def test_whatever_comes_is_read_or_named_unreadable(data: Any) -> None:
    for read in (
        lambda: [order_of(row, NOON) for row in rows_in(data)],
        lambda: fills_of(rows_in(data), [], NOON),
        lambda: positions_of(rows_in(data)),
        lambda: quote_of(data),
        lambda: funds_of(data),
    ):
        with suppress(UnreadableRow):
            read()


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 3)), min_size=1, max_size=8), st.booleans())
def test_the_fills_of_a_filled_order_sum_to_it_whether_the_book_is_doubled_or_not(
    parts: list[tuple[int, int]], doubled: bool
) -> None:
    rows = [a_trade_row(quantity=quantity, timestamp=f"11:58:0{second}") for quantity, second in parts]
    whole = sum(quantity for quantity, _ in parts)
    assert counted(rows * 2 if doubled else rows, an_order("complete", whole)) == whole
