"""Value at risk of what a node held on a day, simulated: the daily batch's values and covariance, drawn as often as one likes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import pandas as pd
from sqlalchemy.orm import Session

from core.errors import Refused
from risk.analytics.checks import share
from risk.analytics.monte_carlo import monte_carlo
from risk.analytics.tails import Tail, tail_of
from risk.batch.keeping import positions_of
from risk.batch.nodes import Below, nodes_below
from risk.batch.portfolio import by_instrument, instrument_covariance
from risk.distributed import Mapper, in_turn

_NO_RETURNS = "its returns are not among those of the day's covariance"


class NotReckoned(Refused):
    """the daily batch has not reckoned that day, or has no such node in it"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """How it is simulated: `horizon` in days; Student's t where `degrees_of_freedom` are said, else normal."""

    paths: int
    seed: int
    confidences: Sequence[float]
    horizon: int = 1
    degrees_of_freedom: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDay:
    """What a node held on a day: values by instrument, money in `currency`, and the covariance of their returns a day."""

    node: int
    currency: str
    positions: int
    values: pd.Series
    covariance: pd.DataFrame
    left_out: dict[str, str]


def read_node(session: Session, day: date, node: int) -> NodeDay:
    """A node with all below it, from what the batch kept of the day.

    Raises NotReckoned; NothingHeld where no position can be drawn.
    """
    instruments = {each.position: each.instrument_id for each in positions_of(session, day)}
    below = next((each for each in nodes_below(session, day) if each.node == node), None)
    if not instruments or below is None:
        which = "nothing was reckoned of" if not instruments else f"there was no node {node} on"
        raise NotReckoned(f"{which} {day}: `risk batch --date {day}` reckons a day, `book tree` lists nodes")
    covariance = instrument_covariance(session, day)
    values = by_instrument(below, instruments, set(covariance.columns))
    names = list(values.index)
    left_out = _left_out(below, instruments, set(names))
    return NodeDay(
        node=node,
        currency=below.currency,
        positions=len(below.positions) - len(left_out),
        values=values,
        covariance=covariance.loc[names, names],
        left_out=left_out,
    )


def simulate_node(held: NodeDay, draws: Draws, *, over: Mapper = in_turn) -> tuple[Tail, ...]:
    """A tail for each confidence, of one simulation: the batch's paths and seed give what it kept. Raises as `monte_carlo`."""
    for level in draws.confidences:
        share("confidence", level)
    first, *others = draws.confidences
    found = monte_carlo(
        held.values,
        held.covariance,
        paths=draws.paths,
        seed=draws.seed,
        confidence=first,
        horizon=draws.horizon,
        degrees_of_freedom=draws.degrees_of_freedom,
        over=over,
    )
    return found.tail, *(tail_of(found.pnl, level, draws.horizon) for level in others)


def _left_out(below: Below, instruments: dict[str, int], simulated: set[int]) -> dict[str, str]:
    found = {}
    for each in below.positions:
        told = below.left_out.get(each.position, {})
        if each.position not in below.values:
            found[each.position] = told.get("value", "it has no value")
        elif instruments[each.position] not in simulated:
            found[each.position] = told.get("correlations", _NO_RETURNS)
    return found
