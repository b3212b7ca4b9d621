"""The orders that a session would need, as FIX 4.4: the bytes of a message, its length, its check sum."""

import re
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.modelling.fix import new_orders
from risk.modelling.inputs import Inputs, Shocks, inputs_from_json
from risk.modelling.orders import Order, orders_of
from risk.what_if.changes import Add, Change, Remove, Resize, Roll, ShockPrices, applied
from risk.what_if.positions import Positions
from tests.unit.risk.what_if import a_position, gold, held

AT = datetime(2026, 1, 14, 18, 30, 5, 123456, tzinfo=UTC)
BASE = held(a_position(), gold())


def orders(*changes: Change, **expiries: date) -> list[tuple[Any, ...]]:
    found = orders_of(BASE, applied(BASE, changes), {name.replace("_", "-"): day for name, day in expiries.items()})
    assert [order.number for order in found] == [*range(1, len(found) + 1)]
    return [(order.node, order.instrument, order.contract, order.expiry, order.side, order.lots) for order in found]


@pytest.mark.parametrize(
    "changes, expected",
    [
        ((), []),
        ((ShockPrices(shocks={"GOLD_MINI": 0.1}),), []),
        ((Resize(position_id="bank-1", lots=5),), [("Fund/Equity", "BANK_NIFTY", "2026-01", None, "BUY", 3.0)]),
        ((Resize(position_id="gold-1", lots=1),), [("Fund/Metals", "GOLD_MINI", "2026-01", None, "BUY", 2.0)]),
        ((Remove(position_id="bank-1"),), [("Fund/Equity", "BANK_NIFTY", "2026-01", None, "SELL", 2.0)]),
        (
            (Roll(position_id="gold-1", contract="2026-02", spread=300),),
            [
                ("Fund/Metals", "GOLD_MINI", "2026-01", None, "BUY", 3.0),
                ("Fund/Metals", "GOLD_MINI", "2026-02", None, "SELL", 3.0),
            ],
        ),
        # Taken out, and as many of another: one order, for the difference.
        (
            (Remove(position_id="gold-1"), Add(position=gold("gold-2", signed_quantity=-4))),
            [("Fund/Metals", "GOLD_MINI", "2026-01", None, "SELL", 1.0)],
        ),
        ((Remove(position_id="gold-1"), Add(position=gold("gold-2"))), []),
        ((Add(position=gold("gold-2", node="Fund/Else")),), [("Fund/Else", "GOLD_MINI", "2026-01", None, "SELL", 3.0)]),
    ],
)
def test_orders_are_the_difference_of_lots_by_node_and_contract(
    changes: tuple[Change, ...], expected: list[tuple[Any, ...]]
) -> None:
    assert orders(*changes) == expected


def test_an_expiry_is_that_of_the_contract_it_is_known_of() -> None:
    rolled = orders(Roll(position_id="gold-1", contract="2026-02", spread=300), gold_1=date(2026, 2, 5))
    assert [row[3] for row in rolled] == [date(2026, 2, 5), None]


@given(st.lists(st.integers(-20, 20).filter(bool), min_size=1, max_size=6), st.data())
def test_orders_lead_from_one_to_the_other(lots: list[int], data: st.DataObject) -> None:
    def of(sizes: list[int]) -> Any:
        kept = tuple(gold(f"gold-{number}", signed_quantity=size) for number, size in enumerate(sizes))
        return Positions(base="INR", as_of=AT, held=kept)

    others = data.draw(st.lists(st.integers(-20, 20).filter(bool), max_size=6))
    found = orders_of(of(lots), of(others), {})
    signed = sum(order.lots if order.side == "BUY" else -order.lots for order in found)
    assert sum(lots) + signed == sum(others)
    assert len(found) == (sum(lots) != sum(others))


# --- FIX


def an_order(**changed: Any) -> Order:
    fields: dict[str, Any] = {
        "number": 1,
        "node": "Fund/Metals",
        "instrument": "GOLD_MINI",
        "contract": "2026-02",
        "expiry": date(2026, 2, 5),
        "side": "BUY",
        "lots": 3.0,
        "currency": "INR",
        "price": 72_000.0,
    }
    return Order(**{**fields, **changed})


def messages(*told: Order, target: str = "BROKER") -> list[list[tuple[int, str]]]:
    """Each message's fields, once its length and check sum were reckoned by hand."""
    file = new_orders(told, sender="WHATIF", target=target, of="WI7-3", at=AT)
    found = re.findall(rb"(8=FIX\.4\.4\x01)(9=(\d+)\x01)(.*?\x01)10=(\d{3})\x01", file, re.DOTALL)
    assert b"".join(begin + length + body + b"10=" + total + b"\x01" for begin, length, _, body, total in found) == file
    for begin, length, count, body, total in found:
        assert int(count) == len(body)
        assert int(total) == sum(begin + length + body) % 256
    read = [body.decode().rstrip("\x01").split("\x01") for _, _, _, body, _ in found]
    return [[(int(tag), value) for tag, _, value in (field.partition("=") for field in fields)] for fields in read]


def test_a_message_is_byte_for_byte() -> None:
    golden = (
        "8=FIX.4.4|9=185|35=D|49=WHATIF|56=BROKER|34=1|52=20260114-18:30:05.123|11=WI7-3-1|1=Fund/Metals|21=3|55=GOLD_MINI|"
        "200=202602|541=20260205|54=1|60=20260114-18:30:05.123|38=3|40=1|15=INR|59=0|58=what if|10=254|"
    )
    assert new_orders([an_order()], sender="WHATIF", target="BROKER", of="WI7-3", at=AT).decode() == golden.replace(
        "|", "\x01"
    )


@pytest.mark.parametrize(
    "changed, expected",
    [
        ({"side": "SELL", "lots": 0.3}, {54: "2", 38: "0.3"}),
        ({"lots": 1e-7}, {38: "0.0000001"}),
        ({"lots": 1200.0}, {38: "1200"}),
        ({"contract": "", "expiry": None}, {55: "GOLD_MINI", 200: None, 541: None, 48: None}),
        ({"contract": "GOLDM05FEB26FUT"}, {48: "GOLDM05FEB26FUT", 22: "8", 200: None, 541: "20260205"}),
        ({"node": "Fund\x01=Désk"}, {1: "FundDésk"}),
    ],
)
def test_a_field_says_what_is_known_and_ends_where_it_ends(changed: dict[str, Any], expected: dict[int, Any]) -> None:
    (message,) = messages(an_order(**changed))
    fields = dict(message)
    assert len(fields) == len(message)
    assert {tag: fields.get(tag) for tag in expected} == expected


def test_messages_are_numbered_and_named_by_what_they_are_of() -> None:
    found = [dict(message) for message in messages(an_order(), an_order(number=2))]
    assert [(message[34], message[11]) for message in found] == [("1", "WI7-3-1"), ("2", "WI7-3-2")]


def test_nothing_ordered_is_no_message() -> None:
    assert new_orders([], sender="A", target="B", of="C", at=AT) == b""


# --- what a session is measured by


def test_inputs_are_read_as_they_were_written() -> None:
    told = Inputs(
        batch_day=date(2026, 1, 14),
        factors=("gold", "index"),
        covariance=((9e-5, 2e-5), (2e-5, 1.6e-4)),
        days=(date(2026, 1, 13), date(2026, 1, 14)),
        returns={"GOLD_MINI": (0.01, -1e-300)},
        scenarios=(Shocks(name="Down", shocks={"index": -0.1}),),
        expiries={"gold-1": date(2026, 2, 5)},
        notes={"gold-1": ("rate: none",)},
    )
    again = inputs_from_json(told.to_json())
    assert again == told
    assert again.content_hash == told.content_hash != Inputs().content_hash
    measured = told.for_measures()
    assert measured.factor_covariance.loc["gold", "index"] == 2e-5
    assert measured.returns["GOLD_MINI"].to_list() == [0.01, -1e-300]
    assert measured.scenarios[0].shocks_of(["index"]) == {"index": -0.1}


def test_inputs_of_nothing_measure_nothing() -> None:
    measured = Inputs().for_measures()
    assert (measured.factor_covariance, measured.returns, measured.scenarios) == (None, None, ())
