"""Whether a pyramid is allowed at all: one R beyond the base, room since the last entry, a free layer, a profit."""

from decimal import Decimal

from msgspec import Struct

from core.models import Side
from core.numbers import ZERO, figure, product
from core.position_sizer import Figures
from core.settings import Pyramiding


class GateResult(Struct, frozen=True, kw_only=True):
    """`failed` names the first gate that does not hold, None = all do; `figures` has each gate's figure."""

    failed: str | None
    figures: Figures


def pyramid_gate(
    *,
    side: Side,
    price: Decimal,
    atr: Decimal,
    base_entry: Decimal,
    initial_risk_points: Decimal,
    last_entry: Decimal,
    open_pyramids: int,
    max_pyramids: int,
    instrument_pnl: Decimal,
    rules: Pyramiding,
) -> GateResult:
    """Check all gates at the signal's price. Distances in points, `instrument_pnl` in money before costs."""
    beyond_base = side.sign * (price - base_entry)
    beyond_last = side.sign * (price - last_entry)
    spacing = product(rules.spacing_atr, atr)
    gates = {
        "one_r": not rules.requires_one_r or beyond_base > initial_risk_points,
        "atr_spacing": beyond_last >= spacing,
        "max_pyramids": open_pyramids < max_pyramids,
        "profit": instrument_pnl > ZERO,
    }
    figures: Figures = {
        "beyond_base_points": figure(beyond_base),
        "initial_risk_points": figure(initial_risk_points),
        "beyond_last_points": figure(beyond_last),
        "required_spacing_points": figure(spacing),
        "open_pyramids": open_pyramids,
        "max_pyramids": max_pyramids,
        "instrument_pnl": figure(instrument_pnl),
    }
    return GateResult(failed=next((name for name, holds in gates.items() if not holds), None), figures=figures)
