"""A base entry, and what every entry has in common: who may not enter, and how a position is opened."""

from decimal import Decimal

from core.contract_rules import BeyondRules
from core.decide.contract import EntryTerms, entry_terms, no_contract
from core.decide.decision import Decision, Draft, blocked, rejected, shown
from core.decide.last_bar import with_last_bar
from core.decide.orders import by_broker, intend_entry
from core.events import PositionOpened, PyramidingChanged
from core.fills import paper_fill, risk_amount, side_costs, volatility_amount
from core.fingerprint import position_id_of
from core.models import MOST_LOTS, PRICE_LIMIT, Position, Signal, SignalType
from core.numbers import ZERO, price, product
from core.portfolio import Portfolio, drawdown_percent, sizing_equity
from core.position_sizer import LotFigures, PortfolioRoom, Sized, size_base
from core.settings import Drawdown

BASE_ALREADY_OPEN = "base position already open"
PYRAMIDS_STILL_OPEN = "pyramids still open"
LAYER_ALREADY_OPEN = "layer already open"
WRONG_SIDE = "side"
ENTRY_WORKING = "entry already working"
# Refusals that the EXIT of the same bar, still on its way, would lift: the shell lets such an entry wait for it.
NOT_YET_FLAT = frozenset({BASE_ALREADY_OPEN, PYRAMIDS_STILL_OPEN, LAYER_ALREADY_OPEN, WRONG_SIDE})


def decide_base_entry(
    portfolio: Portfolio, signal: Signal, fingerprint: str, *, most_lots: int | None = None, least_lots: int = 1
) -> Decision:
    """Size and open the base position of an instrument that is flat; `most_lots` and `least_lots` are an operator's."""
    refusal = entry_refusal(portfolio, signal) or _not_flat(portfolio, signal)
    if refusal is not None:
        return refusal
    return with_last_bar(
        portfolio, signal, lambda filled: _decide_sized(portfolio, filled, fingerprint, most_lots, least_lots)
    )


def _decide_sized(
    portfolio: Portfolio, signal: Signal, fingerprint: str, most_lots: int | None, least_lots: int
) -> Decision:
    terms = entry_terms(portfolio, signal)
    if isinstance(terms, BeyondRules):
        return no_contract(portfolio, terms)
    if as_listed(portfolio):
        return open_as_listed(portfolio, signal, fingerprint, terms)
    refusal = limit_refusal(portfolio, signal)
    if refusal is not None:
        return refusal
    sized = _size(portfolio, signal, terms)
    return open_sized(portfolio, signal, fingerprint, within(sized, most_lots), terms, least_lots)


def as_listed(portfolio: Portfolio) -> bool:
    """Whether somebody's list of trades is replayed: what it says is done, no rule of ours asked."""
    return portfolio.settings.sizing.mode == "as_listed"


def open_as_listed(portfolio: Portfolio, signal: Signal, fingerprint: str, terms: EntryTerms) -> Decision:
    """Open a position of the listed lots."""
    if not signal.lots:
        return rejected(portfolio, "lots are needed")
    sized = Sized(lots=signal.lots, limiter="listed", figures={})
    return open_position(portfolio, signal, fingerprint, sized, terms)


def entry_refusal(portfolio: Portfolio, signal: Signal) -> Decision | None:
    """Why no entry of this instrument is taken at all: halted, frozen, or no longer configured."""
    if portfolio.state.halted:
        return blocked(portfolio, "halted")
    frozen = portfolio.pyramiding_of(signal.instrument).frozen_reason
    if frozen is not None:
        return blocked(portfolio, "frozen", figures={"frozen_reason": frozen})
    if signal.instrument not in portfolio.settings.instruments:
        return rejected(portfolio, "unknown instrument")
    return None


def limit_refusal(portfolio: Portfolio, signal: Signal) -> Decision | None:
    """No risk to size by, no equity, or a drawdown in which this kind of entry is not taken."""
    distance = risk_points(signal)
    if distance is None or distance <= 0:
        return rejected(portfolio, "invalid_risk", **shown(risk_points=distance or ZERO))
    if signal.atr is None or (signal.er is None and portfolio.settings.sizing.efficiency_ratio_scales_risk):
        return rejected(portfolio, "atr and er are needed")
    equity = sizing_equity(portfolio)
    if equity <= 0:
        return blocked(portfolio, "equity", figures=shown(equity=equity))
    drawdown, levels = drawdown_percent(portfolio.state), portfolio.settings.drawdown
    no_base = signal.type is SignalType.BASE_ENTRY and drawdown >= levels.restrict_from_percent
    if no_base or drawdown > levels.block_above_percent:
        return blocked(portfolio, "drawdown", figures=shown(drawdown_percent=drawdown))
    return None


def risk_points(signal: Signal) -> Decimal | None:
    """s x (price - stop): what one unit risks, in points; None without a stop."""
    return None if signal.stop is None else signal.side.sign * (signal.price - signal.stop)


def drawdown_factor(drawdown: Decimal, levels: Drawdown) -> Decimal:
    """What a drawdown (per cent of the high) leaves of a size: 1, 0.75 or 0.5 by default."""
    if drawdown >= levels.restrict_from_percent:
        return levels.restrict_factor
    return levels.reduce_factor if drawdown >= levels.reduce_from_percent else Decimal(1)


def portfolio_room(portfolio: Portfolio) -> PortfolioRoom:
    """What the portfolio carries before this entry."""
    totals = portfolio.totals
    return PortfolioRoom(
        equity=sizing_equity(portfolio),
        risk_amount=totals.risk,
        volatility_amount=totals.volatility,
        margin_used=totals.margin,
    )


def lot_figures(signal: Signal, terms: EntryTerms) -> LotFigures:
    """What one lot of this entry adds; limit_refusal has made sure of stop and distance, intake of the ATR."""
    return LotFigures(
        risk=product(risk_points(signal) or ZERO, terms.point_value),
        volatility=product(signal.atr or ZERO, terms.point_value),
        margin=terms.margin_per_lot,
    )


def with_context(portfolio: Portfolio, lot: LotFigures, sized: Sized) -> Sized:
    """The size with what it was computed from, for the answer and the journal."""
    drawdown = drawdown_percent(portfolio.state)
    context = shown(
        equity=sizing_equity(portfolio),
        risk_per_lot=lot.risk,
        volatility_per_lot=lot.volatility,
        margin_per_lot=lot.margin,
        drawdown_percent=drawdown,
        drawdown_factor=drawdown_factor(drawdown, portfolio.settings.drawdown),
    )
    return Sized(lots=sized.lots, limiter=sized.limiter, figures={**sized.figures, **context})


def within(sized: Sized, most_lots: int | None) -> Sized:
    """The size, cut to what an operator wants at most."""
    if most_lots is None or sized.lots <= most_lots:
        return sized
    return Sized(lots=most_lots, limiter="operator", figures=sized.figures)


def open_sized(
    portfolio: Portfolio, signal: Signal, fingerprint: str, sized: Sized, terms: EntryTerms, least_lots: int
) -> Decision:
    """Open a position of that size, or be blocked by its limiter where it is too small."""
    if sized.lots < least_lots:
        figures = sized.figures if least_lots == 1 else {**sized.figures, "lots_that_fit": sized.lots}
        return blocked(portfolio, sized.limiter, limiter=sized.limiter, figures=figures)
    return open_position(portfolio, signal, fingerprint, sized, terms)


def open_position(portfolio: Portfolio, signal: Signal, fingerprint: str, sized: Sized, terms: EntryTerms) -> Decision:
    """Fill the entry on paper and open its position, or ask a broker; `max_lots` blocks what no row could hold."""
    if sized.lots > MOST_LOTS or product(terms.lot_size, sized.lots) >= PRICE_LIMIT:
        return blocked(portfolio, "max_lots", limiter="max_lots", figures=sized.figures)
    position_id = position_id_of(signal.instrument, signal.layer, fingerprint)
    if by_broker(portfolio):
        return intend_entry(portfolio, signal, position_id, fingerprint, sized, terms)
    fill = paper_fill(signal.side, signal.price, portfolio.settings.paper.slippage_percent, entering=True)
    is_base = signal.type is SignalType.BASE_ENTRY
    position = Position(
        position_id=position_id,
        instrument=signal.instrument,
        layer=signal.layer,
        side=signal.side,
        entry_timestamp=signal.time,
        entry_bar_time=signal.bar_time,
        entry_price=fill,
        entry_lots=sized.lots,
        entry_costs=side_costs(portfolio.settings.costs_of(signal.instrument), fill, sized.lots, terms.point_value),
        lots=sized.lots,
        quantity=price(product(terms.lot_size, sized.lots)),
        lot_size=terms.lot_size,
        point_value=terms.point_value,
        initial_stop=signal.stop,
        current_stop=signal.stop,
        highest_close=fill,
        atr=signal.atr,
        mark_price=fill,
        mark_time=signal.bar,
        limiter=sized.limiter,
        risk_contribution=risk_amount(signal.side, fill, signal.stop, sized.lots, terms.point_value),
        vol_contribution=volatility_amount(signal.atr, sized.lots, terms.point_value),
        is_base_position=is_base,
        expiry=terms.expiry,
        contract_month=terms.contract_month,
        futures_symbol=terms.symbol,
    )
    base_id = position_id if is_base else portfolio.pyramiding_of(signal.instrument).base_position_id
    draft = Draft(portfolio)
    draft.apply(PositionOpened(position=position))
    draft.apply(PyramidingChanged(instrument=signal.instrument, last_pyramid_price=fill, base_position_id=base_id))
    return draft.executed(position_id=position_id, lots=sized.lots, limiter=sized.limiter, sizing=sized.figures)


def _not_flat(portfolio: Portfolio, signal: Signal) -> Decision | None:
    if portfolio.base_of(signal.instrument) is not None:
        return rejected(portfolio, BASE_ALREADY_OPEN)
    if portfolio.working_entries_of(signal.instrument):
        return rejected(portfolio, ENTRY_WORKING)
    return rejected(portfolio, PYRAMIDS_STILL_OPEN) if portfolio.positions_of(signal.instrument) else None


def _size(portfolio: Portfolio, signal: Signal, terms: EntryTerms) -> Sized:
    settings, instrument = portfolio.settings, portfolio.settings.instruments[signal.instrument]
    lot = lot_figures(signal, terms)
    sized = size_base(
        portfolio_room(portfolio),
        lot,
        settings.limits,
        risk_percent=instrument.initial_risk_percent,
        volatility_percent=instrument.initial_volatility_percent,
        efficiency_ratio=signal.er if settings.sizing.efficiency_ratio_scales_risk else None,
        drawdown_factor=drawdown_factor(drawdown_percent(portfolio.state), settings.drawdown),
    )
    return with_context(portfolio, lot, sized)
