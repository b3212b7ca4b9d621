"""All measures of positions at once: what is exposed, margin, heat, Greeks; factors, volatility, tails and stress."""

from collections.abc import Callable
from dataclasses import dataclass, fields

import pandas as pd

from risk.analytics.checks import columns, distinct, share, whole
from risk.analytics.definitions import Scenario
from risk.analytics.greeks import Greeks
from risk.analytics.refusals import InputRefused
from risk.analytics.valuation import exposure
from risk.what_if.factors import add_factors, covariance_of_factors
from risk.what_if.measured import PORTFOLIO, Figure, Measures, Rows, attempt, known, refusal_of, total
from risk.what_if.positions import HeldPosition, Positions, nodes_of
from risk.what_if.pricing import exposure_of, greeks_per_lot, money_per_point, price_of, rate_of, value_of
from risk.what_if.refusals import MissingFigure
from risk.what_if.tails import add_stress, add_tails

GREEKS = tuple(field.name for field in fields(Greeks) if field.name != "value")
# Of one underlying only: points of one price are not those of another.
_PER_POINT_OF_PRICE = ("delta", "gamma")
_SIDES = ("long", "short", "gross", "net")


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskInputs:
    """What measures need besides positions. Whatever is None, the measures that need it say so.

    `factor_covariance` of the factors' returns over one period, labelled by factor; `returns`: one row a period, oldest
    first, one column for each instrument or underlying; `scenarios`: their shocks; `confidence`; `horizon` in periods.
    Raises what a covariance, a confidence, a horizon or labels that cannot be are refused with.
    """

    factor_covariance: pd.DataFrame | None = None
    returns: pd.DataFrame | None = None
    scenarios: tuple[Scenario, ...] = ()
    confidence: float = 0.99
    horizon: int = 1

    def __post_init__(self) -> None:
        share("confidence", self.confidence)
        whole("horizon", self.horizon)
        distinct("scenarios", [scenario.name for scenario in self.scenarios])
        if self.factor_covariance is not None:
            # A copy, in one order, which nobody else holds.
            object.__setattr__(self, "factor_covariance", covariance_of_factors(self.factor_covariance))
        if self.returns is not None:
            distinct("returns", columns("returns", self.returns, ()).columns)


def measure(positions: Positions, inputs: RiskInputs) -> Measures:
    """Every measure of the positions, each a figure or the reason why there is none, which names the positions.

    Money in the base currency; P&L of a stress is a gain where it is positive, value at risk a loss. Nothing is raised for what
    is not known.
    """
    rows = Rows()
    exposed = {position.position_id: attempt(exposure_of, position) for position in positions.held}
    _add_exposures(rows, positions, exposed)
    _add_sums(rows, positions)
    _add_greeks(rows, positions)
    volatility = add_factors(rows, positions, exposed, inputs.factor_covariance)
    add_tails(rows, positions, volatility, inputs.returns, inputs.confidence, inputs.horizon)
    add_stress(rows, positions, inputs.scenarios, inputs.factor_covariance)
    return Measures(
        base=positions.base,
        as_of=positions.as_of,
        confidence=inputs.confidence,
        horizon=inputs.horizon,
        rows=rows.all(),
    )


# Of a tree all nodes above count too; a position with two tags counts for both: these do not add up to the whole.
GROUPS: dict[str, Callable[[HeldPosition], tuple[str, ...]]] = {
    PORTFOLIO: lambda _: ("",),
    "currency": lambda position: (position.currency,),
    "node": lambda position: tuple(nodes_of(position)),
    "instrument": lambda position: (position.instrument,),
    "sector": lambda position: (position.sector,),
    "tag": lambda position: position.tags,
    "strategy": lambda position: position.strategies,
}


def grouped(positions: Positions, by: str) -> dict[str, list[HeldPosition]]:
    """The positions of each label; of no positions at all, the portfolio is there all the same."""
    found: dict[str, list[HeldPosition]] = {"": []} if by == PORTFOLIO else {}
    for position in positions.held:
        for label in GROUPS[by](position):
            found.setdefault(label, []).append(position)
    return dict(sorted(found.items()))


def _add_exposures(rows: Rows, positions: Positions, exposed: dict[str, Figure]) -> None:
    for by in GROUPS:
        for label, own in grouped(positions, by).items():
            figures = {position.position_id: exposed[position.position_id] for position in own}
            refusal = refusal_of(figures.values())
            sums = None if refusal else exposure(pd.Series([*known(figures).values()], dtype=float))
            for side in _SIDES:
                rows.add(side, by, label, refusal or getattr(sums, side))
    for position_id, figure in exposed.items():
        rows.add("exposure", "position", position_id, figure)


def _add_sums(rows: Rows, positions: Positions) -> None:
    for name, work in (("value", value_of), ("margin", _margin), ("open_heat", _open_heat)):
        figures = {position.position_id: attempt(work, position) for position in positions.held}
        rows.add(name, PORTFOLIO, "", total(figures))
        for position_id, figure in figures.items():
            rows.add(name, "position", position_id, figure)


def _margin(position: HeldPosition) -> float:
    """Lots x margin per lot x rate."""
    if position.margin_per_lot is None:
        raise MissingFigure(f"{position.position_id}: no margin per lot")
    return abs(position.signed_quantity) * position.margin_per_lot * rate_of(position)


def _open_heat(position: HeldPosition) -> float:
    """max(0, s x (price - stop)) x lots x point value x rate: what is lost from here to the stop."""
    if position.stop is None:
        raise MissingFigure(f"{position.position_id}: no stop")
    return max(0.0, (price_of(position) - position.stop) * money_per_point(position))


def _add_greeks(rows: Rows, positions: Positions) -> None:
    """Delta of everything, by position and by what it moves with: a future's is its money per point. The others of options,
    by position, by underlying, and of the whole where they are of one kind whatever the underlying is."""
    options = [position for position in positions.held if position.option is not None]
    told = {position.position_id: _greeks(position) for position in positions.held}
    for name in GREEKS:
        held = positions.held if name == "delta" else options
        figures = {one.position_id: _greek(told[one.position_id], name) for one in held}
        for position_id, figure in figures.items():
            rows.add(name, "position", position_id, figure)
        by_source: dict[str, dict[str, Figure]] = {}
        for one in held:
            by_source.setdefault(one.source, {})[one.position_id] = figures[one.position_id]
        for source, own in sorted(by_source.items()):
            rows.add(name, "underlying", source, total(own))
        if name not in _PER_POINT_OF_PRICE:
            rows.add(name, PORTFOLIO, "", total(figures))


def _greek(told: Greeks | InputRefused, name: str) -> Figure:
    return told if isinstance(told, InputRefused) else float(getattr(told, name))


def _greeks(position: HeldPosition) -> Greeks | InputRefused:
    """In money of the base currency, as held."""
    try:
        per_point = money_per_point(position)
        if position.option is not None:
            return greeks_per_lot(position).times(per_point)
    except InputRefused as refusal:
        return refusal
    return Greeks(value=0.0, delta=per_point, gamma=0.0, vega_per_point=0.0, theta_per_day=0.0, rho_per_point=0.0)
