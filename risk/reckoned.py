"""What the daily batch kept, as it is drawn: which days there are, correlations, and value at risk beside what came of it.

Nothing here needs arrays or frames.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from math import sqrt
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from risk.daily import InstrumentCovariance, PortfolioRisk, PositionRisk

MOST_INSTRUMENTS = 60
METHODS = ("historical", "normal", "monte_carlo")


def days(session: Session, *, until: date | None = None, most: int = 400) -> list[date]:
    """The days that nodes were reckoned of, the newest first."""
    asked = select(PortfolioRisk.calculation_date).distinct().order_by(PortfolioRisk.calculation_date.desc())
    if until is not None:
        asked = asked.where(PortfolioRisk.calculation_date <= until)
    return list(session.scalars(asked.limit(most)))


def correlations(session: Session, day: date, node: int, *, most: int = MOST_INSTRUMENTS) -> dict[str, Any]:
    """The correlations of what a node held on a day, of those of the largest value: `symbols`, a `matrix` of them in their order
    (None where a pair is not known), the `volatilities` a day, and how many others were left out.
    """
    by_value = _held(session, day, node)
    asked = select(InstrumentCovariance).where(
        InstrumentCovariance.calculation_date == day,
        InstrumentCovariance.instrument1_id.in_(by_value),
        InstrumentCovariance.instrument2_id.in_(by_value),
    )
    pairs = {(row.instrument1_id, row.instrument2_id): row.covariance for row in session.scalars(asked)}
    known = [number for number in by_value if (number, number) in pairs]
    shown = known[:most]
    volatilities = {number: sqrt(pairs[number, number]) for number in shown}
    return {
        "symbols": [by_value[number] for number in shown],
        "volatilities": [volatilities[number] for number in shown],
        "matrix": [[_correlation(pairs, volatilities, one, other) for other in shown] for one in shown],
        "unknown": [by_value[number] for number in by_value if number not in known],
        "more": len(known) - len(shown),
    }


def value_at_risk_days(
    session: Session, node: int, begins: date, ends: date, *, method: str, confidence: str
) -> list[dict[str, Any]]:
    """By day, both ends included, the value at risk that the trading day before it foresaw for a node (`historical`, `95%`), the
    P&L and whether that was a breach; or the `reason` why not. `tests` are of all days so far, as the day's batch knew them.
    """
    name = f"{method}_{confidence}"
    asked = (
        select(
            PortfolioRisk.calculation_date,
            PortfolioRisk.currency,
            PortfolioRisk.snapshot["backtests"][name].label("told"),
        )
        .where(PortfolioRisk.portfolio_node_id == node, PortfolioRisk.calculation_date.between(begins, ends))
        .order_by(PortfolioRisk.calculation_date)
    )
    nothing = dict.fromkeys(("made_on", "value_at_risk", "pnl", "breach", "tests", "reason"))
    return [
        {
            "day": row.calculation_date,
            "currency": row.currency,
            **nothing,
            **floats(row.told or {"reason": "the batch of that day did not tell"}),
        }
        for row in session.execute(asked)
    ]


def floats(document: Any) -> Any:
    """A kept document with floats for its exact numbers: what was estimated was one before it was kept."""
    if isinstance(document, Mapping):
        return {name: floats(each) for name, each in document.items()}
    if isinstance(document, list):
        return [floats(each) for each in document]
    return float(document) if isinstance(document, Decimal) else document


def breaches(told: Sequence[dict[str, Any]]) -> int:
    """How many of such days lost more than was foreseen."""
    return sum(1 for day in told if day["breach"])


def _held(session: Session, day: date, node: int) -> dict[int, str]:
    """The instruments that a node held, by their size in its currency, the largest first."""
    snapshot = session.scalar(
        select(PortfolioRisk.snapshot).where(
            PortfolioRisk.calculation_date == day, PortfolioRisk.portfolio_node_id == node
        )
    )
    values = {each["position"]: abs(float(each["value"] or 0)) for each in (snapshot or {}).get("positions", ())}
    asked = select(PositionRisk.position, PositionRisk.instrument_id, PositionRisk.symbol).where(
        PositionRisk.calculation_date == day, PositionRisk.position.in_(values)
    )
    sizes: dict[int, float] = {}
    symbols: dict[int, str] = {}
    for row in session.execute(asked):
        sizes[row.instrument_id] = sizes.get(row.instrument_id, 0.0) + values[row.position]
        symbols[row.instrument_id] = row.symbol
    return {number: symbols[number] for number in sorted(sizes, key=lambda number: (-sizes[number], symbols[number]))}


def _correlation(
    pairs: dict[tuple[int, int], float], volatilities: dict[int, float], one: int, other: int
) -> float | None:
    if one == other:
        return 1.0
    covariance, scale = pairs.get((min(one, other), max(one, other))), volatilities[one] * volatilities[other]
    # Rounding must not make it more than all.
    return None if covariance is None or not scale else max(-1.0, min(1.0, covariance / scale))
