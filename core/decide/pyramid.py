"""A pyramid: another layer on an open base, where the gates allow it."""

from decimal import Decimal

from msgspec.structs import replace

from core.contract_rules import BeyondRules
from core.decide.contract import EntryTerms, no_contract, pyramid_terms, roll_refusal
from core.decide.decision import Decision, blocked, rejected
from core.decide.entry import (
    ENTRY_WORKING,
    LAYER_ALREADY_OPEN,
    WRONG_SIDE,
    as_listed,
    drawdown_factor,
    entry_refusal,
    limit_refusal,
    lot_figures,
    open_as_listed,
    open_sized,
    portfolio_room,
    with_context,
    within,
)
from core.decide.last_bar import with_last_bar
from core.decide.roll import rolls
from core.fills import exact_pnl
from core.models import NEXT_LAYER, Position, Signal, layer_number
from core.numbers import ZERO, product
from core.portfolio import Portfolio, drawdown_percent
from core.position_sizer import Sized, size_pyramid
from core.pyramid_gate import GateResult, pyramid_gate

_PYRAMIDS = range(2, 7)


def decide_pyramid(
    portfolio: Portfolio, signal: Signal, fingerprint: str, *, most_lots: int | None = None, least_lots: int = 1
) -> Decision:
    """Add a layer to the open base of its instrument and side, if the gates hold and a lot fits; `most_lots` and `least_lots`
    are an operator's."""
    signal = _with_layer(portfolio, signal)
    base = portfolio.base_of(signal.instrument)
    refusal = entry_refusal(portfolio, signal) or _state_refusal(portfolio, signal, base)
    if refusal is not None:
        return refusal
    assert base is not None  # noqa: S101 - held by _state_refusal
    return with_last_bar(
        portfolio, signal, lambda filled: _decide_sized(portfolio, filled, fingerprint, base, most_lots, least_lots)
    )


def _decide_sized(
    portfolio: Portfolio, signal: Signal, fingerprint: str, base: Position, most_lots: int | None, least_lots: int
) -> Decision:
    terms = pyramid_terms(portfolio, signal, base)
    if isinstance(terms, BeyondRules):
        return no_contract(portfolio, terms)
    if as_listed(portfolio):
        return open_as_listed(portfolio, signal, fingerprint, terms)
    refusal = roll_refusal(portfolio, base, terms) or limit_refusal(portfolio, signal)
    if refusal is not None:
        return refusal
    gate = _gate(portfolio, signal, base)
    if gate.failed is not None:
        return blocked(portfolio, gate.failed, figures=gate.figures)
    sized = _size(portfolio, signal, base, terms)
    sized = replace(sized, figures={**sized.figures, **gate.figures})
    return open_sized(portfolio, signal, fingerprint, within(sized, most_lots), terms, least_lots)


def _with_layer(portfolio: Portfolio, signal: Signal) -> Signal:
    """The signal with a layer of its own, where its sender does not know which one is next."""
    side, _, layer = signal.layer.partition("_")
    if layer != NEXT_LAYER:
        return signal
    taken = {position.layer for position in portfolio.positions_of(signal.instrument)}
    taken |= {order.layer for order in portfolio.working_entries_of(signal.instrument)}
    free = (layer for number in _PYRAMIDS if (layer := f"{side}_{number}") not in taken)
    # With none free the last one is refused, as if it had been named.
    return replace(signal, layer=next(free, f"{side}_{_PYRAMIDS[-1]}"))


def _state_refusal(portfolio: Portfolio, signal: Signal, base: Position | None) -> Decision | None:
    if base is None:
        return rejected(portfolio, "no base position")
    if base.side is not signal.side:
        return rejected(portfolio, WRONG_SIDE)
    if base.initial_stop is None and not as_listed(portfolio):
        return rejected(portfolio, "base position has no initial stop")
    if any(position.layer == signal.layer for position in portfolio.positions_of(signal.instrument)):
        return rejected(portfolio, LAYER_ALREADY_OPEN)
    if any(order.layer == signal.layer for order in portfolio.working_entries_of(signal.instrument)):
        return rejected(portfolio, ENTRY_WORKING)
    if any(rolls(order) for order in portfolio.orders_of(signal.instrument)):
        return rejected(portfolio, "roll in progress")
    return None


def _gate(portfolio: Portfolio, signal: Signal, base: Position) -> GateResult:
    positions = portfolio.positions_of(signal.instrument)
    last_entry = portfolio.pyramiding_of(signal.instrument).last_pyramid_price
    return pyramid_gate(
        side=signal.side,
        price=signal.price,
        atr=signal.atr or ZERO,
        base_entry=base.entry_price,
        initial_risk_points=base.initial_risk_points or ZERO,
        last_entry=base.entry_price if last_entry is None else last_entry,
        open_pyramids=sum(not position.is_base_position for position in positions)
        + _pyramids_on_their_way(portfolio, signal, positions),
        max_pyramids=portfolio.settings.instruments[signal.instrument].max_pyramids,
        instrument_pnl=_instrument_pnl(positions, signal),
        rules=portfolio.settings.pyramiding,
    )


def _pyramids_on_their_way(portfolio: Portfolio, signal: Signal, positions: list[Position]) -> int:
    """Layers that are entered and have no fill yet; one that has some is open already."""
    known = {position.position_id for position in positions}
    return len({order.position_id for order in portfolio.working_entries_of(signal.instrument)} - known)


def _instrument_pnl(positions: list[Position], signal: Signal) -> Decimal:
    pnls = (exact_pnl(p.side, p.entry_price, signal.price, p.lots, p.point_value) for p in positions)
    return sum(pnls, ZERO)


def _size(portfolio: Portfolio, signal: Signal, base: Position, terms: EntryTerms) -> Sized:
    settings, positions = portfolio.settings, portfolio.positions_of(signal.instrument)
    lot = lot_figures(signal, terms)
    previous = max(positions, key=lambda position: (position.entry_timestamp, layer_number(position.layer)))
    sized = size_pyramid(
        portfolio_room(portfolio),
        lot,
        settings.limits,
        previous_entry_lots=previous.entry_lots,
        discipline_share=settings.pyramiding.discipline_share,
        profit=_instrument_pnl(positions, signal),
        base_risk=product(base.initial_risk_points or ZERO, base.lots, base.point_value),
        profit_share=settings.pyramiding.profit_share,
        drawdown_factor=drawdown_factor(drawdown_percent(portfolio.state), settings.drawdown),
    )
    return with_context(portfolio, lot, sized)
