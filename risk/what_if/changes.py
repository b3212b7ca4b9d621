"""The changes of a what-if: data, kept as JSON, applied in their order, each giving other positions or a refusal by name."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import reduce
from typing import assert_never

import pandas as pd
from msgspec import Struct
from msgspec.structs import force_setattr, replace

from risk.analytics.covariance import volatilities_and_correlations
from risk.analytics.refusals import OutOfRange
from risk.analytics.stress import correlated_shocks
from risk.what_if.checked import as_float, floats_by_name, make_floats, read, require_names, require_utc_time, written
from risk.what_if.factors import covariance_of_factors
from risk.what_if.positions import HeldPosition, Leg, Positions
from risk.what_if.pricing import moved
from risk.what_if.refusals import MissingBeta, NotRollable, UnknownPosition

# The factor whose shock is a change of every option's volatility.
VOLATILITY_FACTOR = "implied_volatility"


class _Change(Struct, frozen=True, kw_only=True, tag_field="change", forbid_unknown_fields=True, omit_defaults=True):
    """Who made it, and when (aware UTC), where that is told."""

    by: str | None = None
    at: datetime | None = None

    def __post_init__(self) -> None:
        require_utc_time("change", at=self.at)


class Add(_Change, frozen=True, kw_only=True, tag="add"):
    """One more position."""

    position: HeldPosition


class Remove(_Change, frozen=True, kw_only=True, tag="remove"):
    """One position less."""

    position_id: str


class Resize(_Change, frozen=True, kw_only=True, tag="resize"):
    """A position of so many lots (above 0), on its side."""

    position_id: str
    lots: float

    def __post_init__(self) -> None:
        super().__post_init__()
        make_floats(self, f"resize of {self.position_id}", ("lots",))
        if not self.lots > 0:
            raise OutOfRange(
                f"resize of {self.position_id}: `lots`: {self.lots} is not above 0; to sell all, remove it"
            )


class Roll(_Change, frozen=True, kw_only=True, tag="roll"):
    """A position in another contract, `spread` points (far - near) away: price and stop move by it, as the engine's do.

    A synthetic future that has its legs needs those of the new contract.
    """

    position_id: str
    contract: str
    spread: float
    legs: tuple[Leg, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        make_floats(self, f"roll of {self.position_id}", ("spread",))
        require_names(f"roll of {self.position_id}", contract=self.contract)
        force_setattr(self, "legs", tuple(self.legs))


class _Shock(_Change, frozen=True, kw_only=True):
    shocks: dict[str, float]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.shocks:
            raise OutOfRange("shock: `shocks`: there are none")
        force_setattr(self, "shocks", floats_by_name("shock", "of", self.shocks))


class ShockPrices(_Shock, frozen=True, kw_only=True, tag="shock_prices"):
    """Prices of what positions move with (instrument, or underlying) higher by these fractions; options are valued anew."""


class ShockVolatilities(_Shock, frozen=True, kw_only=True, tag="shock_volatilities"):
    """Volatilities of the options on these underlyings higher by so much (0.01 = a point); the options are valued anew."""


class ShockFactors(_Shock, frozen=True, kw_only=True, tag="shock_factors"):
    """Factors moved: every price by its betas times these, every option's volatility by that of `implied_volatility`."""


Change = Add | Remove | Resize | Roll | ShockPrices | ShockVolatilities | ShockFactors


def applied(positions: Positions, changes: Iterable[Change]) -> Positions:
    """The positions after the changes, in their order. Raises the refusal of the first that cannot be: nothing is changed."""
    return reduce(apply, changes, positions)


def apply(positions: Positions, change: Change) -> Positions:
    """The positions after one change. Raises InputRefused by name."""
    match change:
        case Add():
            return positions.with_position(change.position)
        case Remove():
            return positions.without(change.position_id)
        case Resize():
            position = positions.of(change.position_id)
            sign = 1 if position.signed_quantity > 0 else -1
            return positions.replaced(replace(position, signed_quantity=sign * change.lots))
        case Roll():
            return positions.replaced(_rolled(positions.of(change.position_id), change))
        case ShockPrices() | ShockVolatilities() | ShockFactors():
            return _shocked(positions, change)
        case _:
            assert_never(change)


def changes_to_json(changes: Iterable[Change]) -> bytes:
    """The changes as JSON, in their order."""
    return written(tuple(changes))


def changes_from_json(text: bytes | str) -> tuple[Change, ...]:
    """The changes that such JSON holds. Raises WrongShape saying where it is none, and what the changes refuse."""
    return read(text, tuple[Change, ...], "changes")


def correlated_factor_shock(
    shocks: Mapping[str, float], factor_covariance: pd.DataFrame, *, by: str | None = None, at: datetime | None = None
) -> ShockFactors:
    """The change by which other factors move as expected given these shocks. Raises what `correlated_shocks` does."""
    every = correlated_shocks(shocks, *volatilities_and_correlations(covariance_of_factors(factor_covariance)))
    return ShockFactors(shocks={str(name): float(shock) for name, shock in every.items()}, by=by, at=at)


def _rolled(position: HeldPosition, change: Roll) -> HeldPosition:
    if change.contract == position.contract:
        raise NotRollable(f"{position.position_id} is in {change.contract} already")
    if position.is_option:
        raise NotRollable(f"{position.position_id} is an option: it has no spread; remove it, and add the other")
    if (position.option is None) != (not change.legs):
        lacks = "no legs, and the roll gives some" if change.legs else "legs, and the roll gives none"
        raise NotRollable(f"{position.position_id} has {lacks}")
    option = position.option
    if option is not None:
        far = option.underlying_price + change.spread
        option = replace(option, legs=change.legs, underlying_price=far)
        if not option.is_synthetic_future:
            raise NotRollable(f"{position.position_id} is a synthetic future, and these legs are none")
    return replace(
        position,
        contract=change.contract,
        price=_shifted(position.price, change.spread),
        stop=_shifted(position.stop, change.spread),
        option=option,
    )


def _shifted(level: float | None, spread: float) -> float | None:
    return None if level is None else level + spread


def _shocked(positions: Positions, change: ShockPrices | ShockVolatilities | ShockFactors) -> Positions:
    match change:
        case ShockPrices():
            _require_held(change.shocks, {position.source for position in positions.held}, "nothing held moves with")
            return _each(positions, lambda one: (change.shocks.get(one.source, 0.0), 0.0))
        case ShockVolatilities():
            having = {position.source for position in positions.held if position.option is not None}
            _require_held(change.shocks, having, "no options are held on")
            return _each(positions, lambda one: (0.0, change.shocks.get(one.source, 0.0)))
        case ShockFactors():
            volatility = change.shocks.get(VOLATILITY_FACTOR, 0.0)
            return _each(positions, lambda one: (move_of(one, change.shocks), volatility))
        case _:
            assert_never(change)


def _each(positions: Positions, moves: Callable[[HeldPosition], tuple[float, float]]) -> Positions:
    changed = []
    for position in positions.held:
        move, volatility = moves(position)
        change = volatility if position.option is not None else 0.0
        if move or change:
            changed.append(moved(position, as_float(position.position_id, "move", move), change))
    return positions.replaced(*changed)


def move_of(position: HeldPosition, shocks: Mapping[str, float]) -> float:
    """The return of what a position moves with, as factors move: sum of beta x shock. Raises MissingBeta."""
    betas = position.betas or {}
    if lacking := [factor for factor in shocks if factor not in betas]:
        raise MissingBeta(f"{position.position_id}: no beta to {', '.join(lacking)}")
    return sum(betas[factor] * shock for factor, shock in shocks.items())


def _require_held(shocks: Mapping[str, float], held: set[str], words: str) -> None:
    if unknown := sorted(set(shocks) - held):
        raise UnknownPosition(f"shock: {words} {', '.join(unknown)}")
