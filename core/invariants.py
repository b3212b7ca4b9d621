"""What must hold of a loaded portfolio before it takes entries."""

from collections import Counter

from core.portfolio import Portfolio


def broken_invariants(portfolio: Portfolio) -> list[str]:
    """Each invariant that does not hold, as a sentence with its figures; empty when all do."""
    return [
        *_equity(portfolio),
        *_bases(portfolio),
        *_stops(portfolio),
        *_totals(portfolio),
    ]


def _equity(portfolio: Portfolio) -> list[str]:
    state = portfolio.state
    expected = state.initial_capital + state.flows_total + state.realized_total
    if state.closed_equity == expected:
        return []
    return [f"closed equity {state.closed_equity} is not initial capital + flows + realised P&L = {expected}"]


def _bases(portfolio: Portfolio) -> list[str]:
    broken = []
    for instrument in sorted(portfolio.by_instrument):
        positions = portfolio.positions_of(instrument)
        bases = len([position for position in positions if position.is_base_position])
        layers = [position.layer for position in positions]
        if bases > 1:
            broken.append(f"{instrument} has {bases} open base positions")
        if bases == 0 and portfolio.pyramiding_of(instrument).base_position_id is None:
            broken.append(f"{instrument} has pyramids, but neither an open base position nor the id of the one it had")
        if len(set(layers)) < len(layers):
            broken += [
                f"{instrument} has {count} open positions of layer {layer}"
                for layer, count in Counter(layers).items()
                if count > 1
            ]
    return broken


def _stops(portfolio: Portfolio) -> list[str]:
    if portfolio.settings.sizing.mode == "as_listed":
        return []
    without = sorted(position.position_id for position in portfolio.positions.values() if position.current_stop is None)
    return [f"position {position_id} is open and has no stop" for position_id in without]


def _totals(portfolio: Portfolio) -> list[str]:
    state, totals = portfolio.state, portfolio.totals
    kept = {"total_risk_amount": totals.risk, "total_vol_amount": totals.volatility}
    return [
        f"{name} {getattr(state, name)} is not the sum over the open positions, {total}"
        for name, total in kept.items()
        if getattr(state, name) != total
    ]
