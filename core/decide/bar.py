"""A bar's close: mark what is older than it, trail the stops, close what is beyond its stop, peel off what grew too large."""

from collections.abc import Sequence
from decimal import Decimal

from core.decide.decision import Decision, Draft, rejected
from core.decide.exit import clear_if_flat, sell
from core.decide.last_bar import keep_bar
from core.events import PositionMarked
from core.fills import gross_pnl, risk_amount, volatility_amount
from core.models import Position, Signal
from core.numbers import percent_share, product
from core.peel_off import lots_to_peel
from core.portfolio import Portfolio, sizing_equity
from core.stops import best_close, stop_is_hit, trailed_stop

STOP_REASON = "STOP"
PEEL_OFF_REASON = "PEEL_OFF"


def decide_bar(portfolio: Portfolio, signal: Signal) -> Decision:
    """MARKET_DATA: `signal.price` is the bar's close, `signal.atr` its ATR, both in points."""
    open_positions = portfolio.positions_of(signal.instrument)
    if open_positions and all(signal.bar < position.mark_time for position in open_positions):
        return rejected(portfolio, "no newer bar")
    if signal.atr is None:
        return rejected(portfolio, "atr is needed")
    older = [position for position in open_positions if position.mark_time < signal.bar]
    draft = Draft(portfolio)
    keep_bar(draft, signal, signal.atr)
    rules = portfolio.settings.sizing.mode == "rules"
    # A pyramid whose base is gone keeps the stop it has.
    trails = rules and any(position.is_base_position for position in open_positions)
    _mark(draft, older, signal, signal.atr, trails=trails)
    marked = [position.position_id for position in older]
    stopped = [position_id for position_id in marked if rules and _stop_out(draft, position_id, signal)]
    peeled = (
        _peel(draft, [position_id for position_id in marked if position_id not in stopped], signal) if rules else []
    )
    clear_if_flat(draft, signal.instrument)
    figures = {"marked": len(older), "stopped": len(stopped), "peeled": len(peeled)}
    return draft.executed(positions=(*stopped, *peeled), sizing=figures)


def _mark(draft: Draft, positions: Sequence[Position], signal: Signal, atr: Decimal, *, trails: bool) -> None:
    instrument = draft.portfolio.settings.instruments.get(signal.instrument)
    distance = product(instrument.trailing_stop_atr, atr) if trails and instrument is not None else None
    draft.mark(signal.instrument, [_marked(position, signal, atr, distance) for position in positions])


def _marked(position: Position, signal: Signal, atr: Decimal, distance: Decimal | None) -> PositionMarked:
    side, entry, lots, point_value = position.side, position.entry_price, position.lots, position.point_value
    best, stop = best_close(side, position.highest_close, signal.price), position.current_stop
    if stop is not None and distance is not None:
        stop = trailed_stop(side, stop, best, distance)
    return PositionMarked(
        position_id=position.position_id,
        mark_price=signal.price,
        mark_time=signal.bar,
        atr=atr,
        highest_close=best,
        current_stop=stop,
        unrealized_pnl=gross_pnl(side, entry, signal.price, lots, point_value),
        risk_contribution=risk_amount(side, entry, stop, lots, point_value),
        vol_contribution=volatility_amount(atr, lots, point_value),
    )


def _stop_out(draft: Draft, position_id: str, signal: Signal) -> bool:
    position = draft.portfolio.positions[position_id]
    if position.current_stop is None or not stop_is_hit(position.side, position.current_stop, signal.price):
        return False
    if draft.portfolio.lots_leaving(position) == position.lots:
        return True  # it is on its way out already
    sell(draft, position, position.lots, signal.price, signal.time, STOP_REASON)
    return True


def _peel(draft: Draft, position_ids: list[str], signal: Signal) -> list[str]:
    instrument = draft.portfolio.settings.instruments.get(signal.instrument)
    # One equity for all layers of the bar: the marks and stop-outs are in it, the peeling itself is not.
    equity = sizing_equity(draft.portfolio)
    if instrument is None or equity <= 0:
        return []
    risk_limit = percent_share(equity, instrument.ongoing_risk_percent)
    volatility_limit = percent_share(equity, instrument.ongoing_volatility_percent)
    peeled = []
    for position in map(draft.portfolio.positions.__getitem__, position_ids):
        lots = lots_to_peel(
            position.lots,
            risk=position.risk_contribution,
            risk_limit=risk_limit,
            volatility=position.vol_contribution,
            volatility_limit=volatility_limit,
        )
        if not lots:
            continue
        # What an order sells already is as good as gone.
        lots -= draft.portfolio.lots_leaving(position)
        if lots > 0:
            sell(draft, position, lots, signal.price, signal.time, PEEL_OFF_REASON)
            peeled.append(position.position_id)
    return peeled
