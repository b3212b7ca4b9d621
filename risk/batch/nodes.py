"""What is below each node on a day: its positions, their values in its currency, and why others are left out."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date

import pandas as pd
from sqlalchemy.orm import Session

from risk.batch.holdings import Rates, Tree
from risk.batch.keeping import positions_of
from risk.daily import PositionRisk


@dataclass(slots=True, kw_only=True)
class Below:
    """A node's positions, those of all below it too: values in `currency` (long +, short -) of those that have one, by the
    book's `rates` from their currencies."""

    node: int
    currency: str
    positions: list[PositionRisk] = field(default_factory=list)
    values: dict[str, float] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
    left_out: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, position: PositionRisk, rates: Rates) -> None:
        """One position more. What is not known of it is missing wherever it is counted."""
        self.positions.append(position)
        told = {
            aspect: reason
            for aspect, reason in position.reasons.items()
            if aspect in ("value", "factors", "correlations")
        }
        if position.value is not None:
            rate = rates.between(position.currency, self.currency)
            if isinstance(rate, str):
                told["value"] = rate
            else:
                self.rates[position.currency] = rate
                self.values[position.position] = position.value * rate
        if told:
            self.left_out[position.position].update(told)

    def series(self, among: set[str]) -> pd.Series:
        """The values of those among these, by position."""
        return pd.Series({name: value for name, value in self.values.items() if name in among}, dtype=float)


def nodes_below(session: Session, day: date) -> list[Below]:
    """Every node of the day, in the order of their numbers."""
    tree, rates = Tree(session, day), Rates(session, day)
    found = {node: Below(node=node, currency=tree.currency(node)) for node in sorted(tree.nodes)}
    for position in positions_of(session, day):
        for node in tree.above(position.portfolio_node_id):
            found[node].add(position, rates)
    return list(found.values())
