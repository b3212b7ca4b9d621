"""What a portfolio's day was, in a document: equity, P&L, risk beside its limits, and what somebody has to look at.

Pure: made of the portfolio as the day ended, of that day's rows, and of what became of its signals. Decimals are text.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from msgspec import Struct

from book.day_ends import DayEnds
from book.pnl import PnLRow
from core.models import Position, RolloverStatus
from core.numbers import ZERO, percent_of, product, quotient
from core.portfolio import (
    Portfolio,
    blended_equity,
    drawdown_percent,
    margin_percent,
    open_equity,
    sizing_equity,
)
from core.proposals import Proposal

_REFUSED = ("rejected", "blocked", "failed")
Row = Mapping[str, Any]


class Day(Struct, frozen=True, kw_only=True):
    """What a briefing is made of. `portfolio` is as of the journal's entry `seq`; `exchanges` are by instrument;
    `signals` are the rows of the journal since the trading day before; `history` are days with the sums of their P&L."""

    portfolio: Portfolio
    seq: int
    day: date
    exchanges: Mapping[str, str]
    pnl: Sequence[PnLRow]
    signals: Sequence[Row]
    history: Sequence[tuple[date, Decimal]]


class Parts(Struct, frozen=True, kw_only=True):
    """The columns of a briefing's row that tell something."""

    portfolio_snapshot: dict[str, Any]
    market_snapshot: dict[str, Any]
    risk_summary: dict[str, Any]
    action_items: list[dict[str, Any]]
    sections: dict[str, Any]


def briefing_of(given: Day, ends: DayEnds, *, stops_near_atr: Decimal, words: Callable[[Row], str]) -> Parts:
    """The briefing. `words` says of a row of the journal what was asked and what became of it."""
    portfolio = given.portfolio
    positions = sorted(portfolio.positions.values(), key=lambda position: position.position_id)
    near = [position for position in positions if _is_near(position, stops_near_atr)]
    stale = [position for position in positions if _is_stale(position, given, ends)]
    rolls = [found for position in positions if (found := _roll_due(position, given)) is not None]
    refused = [_signal(row, words) for row in given.signals if row["outcome"]["status"] in _REFUSED]
    frozen = {
        name: row.frozen_reason for name, row in sorted(portfolio.pyramiding.items()) if row.frozen_reason is not None
    }
    proposals = [_proposal(proposal) for proposal in portfolio.pending_proposals()]
    sections = {
        "pnl": _pnl(given.pnl),
        "history": [{"date": day.isoformat(), "daily_pnl": plain(total)} for day, total in given.history],
        "stops_near": [_stop(position) for position in near],
        "rolls_due": rolls,
        "proposals": proposals,
        "signals": {"total": len(given.signals), "refused": refused},
        "stale": [_stale(position) for position in stale],
        "reconciliation": {
            "frozen": frozen,
            "accepted_differences": {
                name: plain(row.accepted_difference)
                for name, row in sorted(portfolio.pyramiding.items())
                if row.accepted_difference is not None
            },
            "orders_under_way": len(portfolio.orders),
        },
    }
    return Parts(
        portfolio_snapshot=_equity(portfolio, positions),
        market_snapshot=_market(positions),
        risk_summary=_risk(portfolio),
        action_items=list(_items(portfolio, sections)),
        sections=sections,
    )


def headline(portfolio: str, day: date, parts: Parts) -> str:
    """The day in one sentence."""
    pnl, equity = parts.sections["pnl"]["total"], parts.portfolio_snapshot["open_equity"]
    count = len(parts.action_items)
    look = "nothing to look at" if not count else "1 thing to look at" if count == 1 else f"{count} things to look at"
    return f"{portfolio} on {day}: P&L {shown(pnl, signed=True)}, equity {shown(equity)}, {look}"


def plain(value: Decimal) -> str:
    """A number as text, in fixed notation without surplus zeros."""
    text = f"{value.copy_abs() if value.is_zero() else value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def shown(text: str, *, signed: bool = False) -> str:
    """Money for people: two decimals, thousands apart."""
    return f"{Decimal(text):{'+' if signed else ''},.2f}"


def _plain_or_none(value: Decimal | None) -> str | None:
    return None if value is None else plain(value)


# --- figures


def _equity(portfolio: Portfolio, positions: Iterable[Position]) -> dict[str, Any]:
    state = portfolio.state
    return {
        "initial_capital": plain(state.initial_capital),
        "closed_equity": plain(state.closed_equity),
        "open_equity": plain(open_equity(portfolio)),
        "blended_equity": plain(blended_equity(portfolio)),
        "equity_high": plain(state.equity_high),
        "drawdown_percent": plain(_percent(drawdown_percent(state))),
        "unrealized_pnl": plain(portfolio.totals.unrealized),
        "realized_total": plain(state.realized_total),
        "flows_total": plain(state.flows_total),
        "halted": state.halted,
        "positions": [_position(position) for position in positions],
    }


def _position(position: Position) -> dict[str, Any]:
    return {
        "position_id": position.position_id,
        "instrument": position.instrument,
        "layer": position.layer,
        "strategy_id": position.strategy_id,
        "lots": position.lots,
        "entry_price": plain(position.entry_price),
        "mark_price": plain(position.mark_price),
        "current_stop": _plain_or_none(position.current_stop),
        "unrealized_pnl": plain(position.unrealized_pnl),
        "risk": plain(position.risk_contribution),
    }


def _market(positions: Iterable[Position]) -> dict[str, Any]:
    latest: dict[str, Position] = {}
    for position in positions:
        known = latest.get(position.instrument)
        if known is None or position.mark_time > known.mark_time:
            latest[position.instrument] = position
    return {
        name: {
            "mark_price": plain(position.mark_price),
            "mark_time": _time(position.mark_time),
            "atr": _plain_or_none(position.atr),
        }
        for name, position in latest.items()
    }


def _risk(portfolio: Portfolio) -> dict[str, Any]:
    limits, totals, equity = portfolio.settings.limits, portfolio.totals, sizing_equity(portfolio)
    return {
        "sizing_equity": plain(equity),
        "risk": _beside(totals.risk, percent_of(totals.risk, equity), limits.risk_percent),
        "volatility": _beside(totals.volatility, percent_of(totals.volatility, equity), limits.volatility_percent),
        "margin": _beside(totals.margin, margin_percent(portfolio), limits.margin_percent),
        "open_heat": plain(sum((_heat(position) for position in portfolio.positions.values()), ZERO)),
    }


def _beside(amount: Decimal, percent: Decimal | None, limit: Decimal) -> dict[str, Any]:
    return {"amount": plain(amount), "percent": _plain_or_none(percent), "limit_percent": plain(limit)}


def _heat(position: Position) -> Decimal:
    """What is lost of today's value if its stop is hit."""
    if position.current_stop is None:
        return ZERO
    distance = position.side.sign * (position.mark_price - position.current_stop)
    return max(ZERO, product(distance, position.lots, position.point_value))


def _percent(value: Decimal) -> Decimal:
    return round(value, 6)


def _pnl(rows: Sequence[PnLRow]) -> dict[str, Any]:
    strategies = [(row.strategies or ["none"], row) for row in rows]
    return {
        "total": plain(sum((row.daily for row in rows), ZERO)),
        "by_position": [
            {
                "position_id": row.position_id,
                "instrument": row.instrument,
                "daily_pnl": plain(row.daily),
                "daily_pnl_usd": _plain_or_none(row.daily_usd),
                "unrealized_pnl": plain(row.unrealized),
                "realized_pnl": plain(row.realized),
            }
            for row in rows
        ],
        "by_instrument": _summed((row.instrument, row.daily) for row in rows),
        "by_strategy": _summed((", ".join(names), row.daily) for names, row in strategies),
    }


def _summed(amounts: Iterable[tuple[str, Decimal]]) -> dict[str, str]:
    sums: dict[str, Decimal] = defaultdict(lambda: ZERO)
    for name, amount in amounts:
        sums[name] += amount
    return {name: plain(total) for name, total in sorted(sums.items())}


# --- what somebody has to look at


def _is_near(position: Position, most_atr: Decimal) -> bool:
    distance = _stop_distance(position)
    return distance is not None and position.atr is not None and distance <= most_atr * position.atr


def _stop_distance(position: Position) -> Decimal | None:
    if position.current_stop is None:
        return None
    return position.side.sign * (position.mark_price - position.current_stop)


def _stop(position: Position) -> dict[str, Any]:
    distance = _stop_distance(position)
    assert distance is not None  # noqa: S101 - held by _is_near
    assert position.atr is not None  # noqa: S101 - as above
    return {
        "position_id": position.position_id,
        "mark_price": plain(position.mark_price),
        "current_stop": _plain_or_none(position.current_stop),
        "distance_points": plain(distance),
        "distance_atr": plain(round(quotient(distance, position.atr), 2)),
    }


def _is_stale(position: Position, given: Day, ends: DayEnds) -> bool:
    """Whether no bar of its day has come, where its exchange traded."""
    opens_at = ends.opening(given.exchanges.get(position.instrument, ""), given.day)
    return opens_at is not None and position.mark_time < opens_at


def _stale(position: Position) -> dict[str, Any]:
    return {"position_id": position.position_id, "mark_time": _time(position.mark_time)}


def _roll_due(position: Position, given: Day) -> dict[str, Any] | None:
    """As the engine would find it: by its contract's roll date, or marked so already."""
    listed = given.portfolio.contracts.get(position.instrument)
    contract = None if listed is None else listed.of_month(position.contract_month)
    marked = position.rollover_status in (RolloverStatus.PENDING, RolloverStatus.IN_PROGRESS, RolloverStatus.FAILED)
    if not marked and (contract is None or given.day < contract.roll_date):
        return None
    expiry = position.expiry or (None if contract is None else contract.expiry)
    return {
        "position_id": position.position_id,
        "contract_month": position.contract_month,
        "expiry": None if expiry is None else expiry.isoformat(),
        "rollover_status": position.rollover_status.value,
    }


def _proposal(proposal: Proposal) -> dict[str, Any]:
    signal = proposal.signal
    return {
        "proposal_id": proposal.proposal_id,
        "what": " ".join(part for part in (signal.instrument, signal.type.value, signal.layer) if part),
        "lots": proposal.lots,
        "price": plain(signal.price),
        "rule": proposal.rule,
        "expires_at": _time(proposal.expires_at),
    }


def _signal(row: Row, words: Callable[[Row], str]) -> dict[str, Any]:
    return {
        "journal_seq": row["seq"],
        "decided_at": _time(row["decided_at"]),
        "status": row["outcome"]["status"],
        "words": words(row),
    }


def _items(portfolio: Portfolio, sections: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    if portfolio.state.halted:
        yield {"kind": "halted", "text": "trading is halted: no entries until `resume`"}
    for name, reason in sections["reconciliation"]["frozen"].items():
        yield {"kind": "frozen", "text": f"entries of {name} are frozen: {reason}"}
    for kind, section, says in _SAID:
        for found in sections[section]:
            yield {"kind": kind, "text": says.format(**found)}
    for signal in sections["signals"]["refused"]:
        if signal["status"] == "failed":
            yield {"kind": "failed", "text": f"journal {signal['journal_seq']}: {signal['words']}"}


_SAID = (
    ("proposal", "proposals", "{proposal_id} waits for you: {what}"),
    ("roll", "rolls_due", "{position_id} is due to leave its contract, {contract_month}"),
    ("stop", "stops_near", "{position_id} is {distance_atr} ATR from its stop"),
    ("stale", "stale", "{position_id} had no bar: its mark is of {mark_time}"),
)


def _time(value: datetime) -> str:
    return value.isoformat(timespec="seconds").replace("+00:00", "Z")
