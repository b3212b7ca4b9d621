"""What-if sessions as a page tells them: changes in words, measures before and after, two sessions beside each other."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

_STRESS = "stress "
# The order that measures are told in; what is not here comes after these.
_ORDER = (
    "long",
    "short",
    "gross",
    "net",
    "value",
    "volatility",
    "parametric_value_at_risk",
    "parametric_expected_shortfall",
    "historical_value_at_risk",
    "historical_expected_shortfall",
    "diversification_score",
    "diversification_ratio",
    "open_heat",
    "margin",
)
_TIMES = {"shock_prices": "prices", "shock_volatilities": "volatilities", "shock_factors": "factors"}


class Row(Struct, frozen=True, kw_only=True):
    """A measure twice, and the difference; what is not known is None, with why."""

    name: str
    before: float | None
    after: float | None
    difference: float | None
    why: str = ""


def change_in_words(change: Mapping[str, Any]) -> str:
    """What a change does."""
    kind = change["change"]
    if kind == "add":
        position = change["position"]
        at = "" if position.get("price") is None else f" at {position['price']:,.10g}"
        return f"add {position['signed_quantity']:+,.10g} lots of {position['instrument']}{at} as {position['position_id']}"
    if kind == "remove":
        return f"remove {change['position_id']}"
    if kind == "resize":
        return f"make {change['position_id']} {change['lots']:,.10g} lots"
    if kind == "roll":
        return f"roll {change['position_id']} to {change['contract']}, {change['spread']:+,.10g} points away"
    told = ", ".join(f"{name} {shock:+.4g}" for name, shock in change["shocks"].items())
    return f"shock {_TIMES[kind]}: {told}"


def measures_of(snapshot: Mapping[str, Any]) -> list[Row]:
    """The whole's measures before and after."""
    known = {name: told for name, told in snapshot["measures"].items() if not name.startswith(_STRESS)}
    ordered = [*(name for name in _ORDER if name in known), *sorted(set(known) - set(_ORDER))]
    return [_row(name.replace("_", " "), known[name]) for name in ordered]


def scenarios_of(snapshot: Mapping[str, Any]) -> list[Row]:
    """What scenarios would earn before and after, the largest one of before first."""
    rows = [
        _row(name.removeprefix(_STRESS), told)
        for name, told in snapshot["measures"].items()
        if name.startswith(_STRESS)
    ]
    return sorted(rows, key=lambda row: (row.before is None, -abs(row.before or 0.0), row.name))


def exposures_of(snapshot: Mapping[str, Any]) -> list[Row]:
    """The exposures to factors before and after, the largest change first."""
    rows = [_row(str(told["label"]), told) for told in snapshot["exposures"]]
    return sorted(rows, key=lambda row: (row.difference is None, -abs(row.difference or 0.0), row.name))


def side_by_side(one: Sequence[Row], other: Sequence[Row]) -> list[Row]:
    """What one session makes, what the other does, and how much more."""
    second = {row.name: row for row in other}
    first = {row.name: row for row in one}
    found = []
    for name in dict.fromkeys([*first, *second]):
        before, after = first.get(name), second.get(name)
        values = (None if before is None else before.after, None if after is None else after.after)
        difference = None if values[0] is None or values[1] is None else values[1] - values[0]
        why = "; ".join(row.why for row in (before, after) if row is not None and row.after is None and row.why)
        found.append(Row(name=name, before=values[0], after=values[1], difference=difference, why=why))
    return found


def _row(name: str, told: Mapping[str, Any]) -> Row:
    return Row(
        name=name,
        before=told["before"],
        after=told["after"],
        difference=told["difference"],
        why=str(told.get("after_reason") or told.get("before_reason") or ""),
    )
