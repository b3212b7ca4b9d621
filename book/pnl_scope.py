"""Of what P&L is added up: a node with all below it, one portfolio of the engine, or all there is; and in which currency."""

from datetime import date

from msgspec import Struct
from sqlalchemy.orm import Session

from book.nodes import nodes_on, require_currency
from book.refusals import CurrencyNeeded, UnknownNode, UnknownPortfolio


class Scope(Struct, frozen=True, kw_only=True):
    """What is asked about, as the tree is on a day. `portfolios` are the engine's that hang in it, each with its money's
    currency: that of its node. Of `node` and `portfolio` both may be given: of that portfolio what is below the node."""

    day: date
    currency: str
    node: int | None
    portfolio: str | None
    portfolios: dict[str, str]


def scope_of(
    session: Session, day: date, *, node: int | None = None, portfolio: str | None = None, currency: str | None = None
) -> Scope:
    """The scope on a day. Without a currency in that of the node, of the portfolio's node, or of all roots.

    Raises UnknownNode, UnknownPortfolio, CurrencyNeeded, NodeNotValid.
    """
    known = {row["portfolio_node_id"]: row for row in nodes_on(session, day)}
    if node is not None and node not in known:
        raise UnknownNode(f"there is no node {node} on {day}")
    hung = {name: row for row in known.values() for name in row["portfolios"]}
    if portfolio is not None and portfolio not in hung:
        raise UnknownPortfolio(f"portfolio {portfolio!r} hangs on no node: `book sync` hangs it on one")
    children: dict[int | None, list[int]] = {}
    for number, row in known.items():
        children.setdefault(row["parent_id"], []).append(number)
    asked = [known[node]] if node is not None else [known[root] for root in children.get(None, [])]
    inside = _below(children, [row["portfolio_node_id"] for row in asked])
    found = {name: row["base_ccy"] for name, row in hung.items() if row["portfolio_node_id"] in inside}
    if portfolio is not None:
        asked = asked if node is not None else [hung[portfolio]]
        found = {name: currency_of for name, currency_of in found.items() if name == portfolio}
    return Scope(
        day=day,
        currency=_currency(currency, sorted({row["base_ccy"] for row in asked})),
        node=node,
        portfolio=portfolio,
        portfolios=found,
    )


def _below(children: dict[int | None, list[int]], nodes: list[int]) -> set[int]:
    inside, waiting = set(nodes), list(nodes)
    while waiting:
        for child in children.get(waiting.pop(), []):
            inside.add(child)
            waiting.append(child)
    return inside


def _currency(given: str | None, known: list[str]) -> str:
    if given is not None:
        return require_currency(given, "currency")
    if len(known) > 1:
        raise CurrencyNeeded(f"`currency` is required: roots are in {', '.join(known)}")
    return known[0] if known else "USD"
