"""One line of the page's tables each: a position, a signal, an order, an instance."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from core.fills import risk_amount
from core.models import Position, RolloverStatus
from core.numbers import ZERO, product, quotient
from core.orders import Order
from core.portfolio import Portfolio
from core.postgres.rows import order_from_row
from live.dashboard.board import Row
from live.dashboard.words import count, decimals_of, factor, kind, moment, money, price, text
from live.explain import in_words, order_state_in_words

SHOWN_REASON = 160


def position_row(portfolio: Portfolio, position: Position) -> Row:
    """An open position: R is what it has earned in units of its initial risk, heat what it loses if its stop is hit now."""
    configured = portfolio.settings.instruments.get(position.instrument)
    decimals = 0 if configured is None else decimals_of(configured.tick)
    earned = _earned(position)
    return {
        "id": position.position_id,
        "instrument": position.instrument,
        "layer": position.layer.replace("_", " "),
        "side": position.side.value,
        "lots": _lots(position),
        "lots_open": str(position.lots),
        "entry": price(position.entry_price, decimals),
        "stop": "no stop" if position.current_stop is None else price(position.current_stop, decimals),
        "mark": price(position.mark_price, decimals),
        "r": factor(earned),
        "pnl": money(position.unrealized_pnl, signed=True),
        "heat": money(heat_of(position)),
        "risk": money(position.risk_contribution),
        "marked": moment(position.mark_time),
        "contract": text(position.futures_symbol or _legs(position) or position.contract_month),
        "note": _note(position),
        "tone": kind(position.unrealized_pnl),
    }


def heat_of(position: Position) -> Decimal:
    """What is lost between the mark and the stop, in money."""
    return risk_amount(position.side, position.mark_price, position.current_stop, position.lots, position.point_value)


def _earned(position: Position) -> Decimal | None:
    risk = position.initial_risk_points
    if not risk:
        return None
    return quotient(product(position.side.sign, position.mark_price - position.entry_price), risk)


def _lots(position: Position) -> str:
    return str(position.lots) if position.lots == position.entry_lots else f"{position.lots} of {position.entry_lots}"


def _legs(position: Position) -> str | None:
    return None if position.ce_symbol is None else f"{position.ce_symbol}, {position.pe_symbol}"


def _note(position: Position) -> str:
    notes = {
        RolloverStatus.PENDING: "roll is due",
        RolloverStatus.IN_PROGRESS: "is being rolled",
        RolloverStatus.FAILED: "roll failed",
    }
    return notes.get(position.rollover_status, "")


def signal_row(row: Mapping[str, Any], asked: str | None = None) -> Row:
    """A signal and what became of it, with the reason in words; `asked` says what a human has made of it."""
    payload, outcome = row["payload"] or {}, row["outcome"]
    again = row["deliveries"] - 1
    return {
        "id": str(row["id"]),
        "time": moment(row["received_at"]),
        "type": row["signal_type"].replace("_", " ").lower(),
        "instrument": row["instrument"],
        "layer": (row["position"] or "").replace("_", " "),
        "price": _given(payload.get("price")),
        "status": row["processing_status"],
        "words": _short(asked or _words_of(outcome)),
        "again": f"came {count(again, 'time')} more" if again > 0 else "",
        "fingerprint": row["fingerprint"],
    }


def _words_of(outcome: Mapping[str, Any] | None) -> str:
    return "waits to be decided" if outcome is None else in_words("signal", outcome).partition(": ")[2]


def order_row(row: Mapping[str, Any]) -> Row:
    """An order and its fate."""
    order = order_from_row({**row, "fill_ids": ()})
    return {
        "id": order.client_order_id,
        "time": moment(row["updated_at"]),
        "instrument": order.instrument,
        "layer": order.layer.replace("_", " "),
        "does": _does(order),
        "state": order.state.value.replace("_", " "),
        "words": order_state_in_words(order.state.value),
        "filled": f"{order.filled_lots} of {order.lots}",
        "average": price(order.average_price),
        "why": _short("; ".join(filter(None, (order.message, order.reason)))),
        "number": f"{order.journal_seq:012}",
    }


def _does(order: Order) -> str:
    leg = "" if order.leg is None else f" {order.leg}"
    return f"{'buy' if order.buys else 'sell'} {order.lots} {order.purpose.replace('_', ' ')}{leg}"


def instance_row(row: Mapping[str, Any], ours: str | None) -> Row:
    """A process of the portfolio."""
    where = f"{row['hostname']}:{row['port']}" if row.get("hostname") else NAMELESS
    return {
        "id": row["instance_id"],
        "name": row["instance_id"],
        "where": where,
        "role": "leads" if row["is_leader"] else str(row["status"]),
        "this": "this one" if row["instance_id"] == ours else "",
        "heartbeat": moment(row["last_heartbeat"]),
        "version": text(row.get("version")),
    }


NAMELESS = "not told"


def _given(value: Any) -> str:
    if value is None:
        return text(None)
    try:
        return price(Decimal(str(value)))
    except ArithmeticError:
        return str(value)


def _short(words: str) -> str:
    return words if len(words) <= SHOWN_REASON else f"{words[: SHOWN_REASON - 1]}…"


def instrument_row(portfolio: Portfolio, instrument: str) -> Row:
    """What is open of one instrument, and whether its entries are frozen."""
    held = portfolio.positions_of(instrument)
    frozen = portfolio.pyramiding_of(instrument).frozen_reason
    return {
        "id": instrument,
        "name": instrument,
        "layers": count(len(held), "layer"),
        "lots": str(sum(position.lots for position in held)),
        "pnl": money(sum((position.unrealized_pnl for position in held), ZERO), signed=True),
        "heat": money(sum((heat_of(position) for position in held), ZERO)),
        "frozen": "" if frozen is None else _short(frozen),
    }
