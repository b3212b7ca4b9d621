"""The tree of portfolios: nodes are added, renamed and moved, and the engine's portfolios are hung on them."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from book.hierarchy import LEVELS, LivePortfolio, PortfolioNode
from book.portfolio_management import PortfolioPosition
from book.refusals import NodeExists, NodeNotValid, UnknownNode, UnknownPortfolio, WrongLevel
from book.statements import rows_of

NAME_LENGTH = 100
CURRENCY = re.compile(r"[A-Z]{3,5}", re.ASCII)
LARGEST_ID = 2**63 - 1
# Where a portfolio of the engine hangs until somebody hangs it elsewhere, in the currency of the default instruments.
DEFAULT_NODE = "default"
DEFAULT_CURRENCY = "INR"
_TAKEN = ("uq_portfolio_node_parent_id_name", "uq_portfolio_node_root_name")


def node_of(session: Session, portfolio_node_id: int) -> PortfolioNode:
    """The node. Raises UnknownNode."""
    found = session.get(PortfolioNode, portfolio_node_id) if 0 < portfolio_node_id <= LARGEST_ID else None
    if found is None:
        raise UnknownNode(f"there is no node {portfolio_node_id}")
    return found


def nodes_on(session: Session, day: date) -> list[Mapping[str, Any]]:
    """Every node as it was at the end of a day (UTC), the oldest first, with the engine's portfolios that hang on it now."""
    return [dict(row) for row in rows_of(session, "nodes_on", day=day)]


def add_node(
    session: Session, name: str, node_type: str, *, base_ccy: str | None = None, parent_id: int | None = None
) -> tuple[PortfolioNode, bool]:
    """A node, and whether it is new: the same one told again changes nothing.

    Without `base_ccy` its money is in its parent's currency. Raises NodeNotValid, UnknownNode for the parent, WrongLevel,
    and NodeExists where another one has its name there.
    """
    name, node_type = _name(name), _node_type(node_type)
    parent = None if parent_id is None else node_of(session, parent_id)
    if base_ccy is None and parent is None:
        raise NodeNotValid("`base_ccy` is required where there is no parent whose it could be")
    currency = require_currency(base_ccy or (parent.base_ccy if parent else ""), "base_ccy")
    _require_below(node_type, parent)
    with _named(name):
        there = session.scalar(select(PortfolioNode).filter_by(name=name, parent_id=parent_id))
        if there is None:
            adding = PortfolioNode(name=name, node_type=node_type, parent_id=parent_id, base_ccy=currency)
            session.add(adding)
            session.flush()
            return adding, True
    if (there.node_type, there.base_ccy) != (node_type, currency):
        raise NodeExists(f"`name`: {name!r} is there already, a {there.node_type} in {there.base_ccy}")
    return there, False


def rename_node(session: Session, portfolio_node_id: int, name: str) -> PortfolioNode:
    """The node under another name. Raises UnknownNode, NodeNotValid, NodeExists."""
    node = node_of(session, portfolio_node_id)
    name = _name(name)
    with _named(name):
        node.name = name
        session.flush()
    return node


def move_node(session: Session, portfolio_node_id: int, parent_id: int | None) -> PortfolioNode:
    """The node, and with it all below it, under another parent; None makes it a root. Raises UnknownNode, WrongLevel, NodeExists.

    A parent is of a higher level, so what is moved below itself is refused by that.
    """
    node = node_of(session, portfolio_node_id)
    _require_below(node.node_type, None if parent_id is None else node_of(session, parent_id))
    with _named(node.name):
        node.parent_id = parent_id
        session.flush()
    return node


def hang(session: Session, portfolio: str, portfolio_node_id: int) -> bool:
    """Hang a portfolio of the engine on a node, with the positions it has in the book; whether anything changed.

    Raises UnknownPortfolio, UnknownNode.
    """
    node = node_of(session, portfolio_node_id)
    if portfolio not in session.scalars(select(func.book.portfolios().table_valued("portfolio").c.portfolio)).all():
        raise UnknownPortfolio(f"the engine has no portfolio {portfolio!r} in this database")
    hung = session.get(LivePortfolio, portfolio, with_for_update=True)
    if hung is None:
        session.add(LivePortfolio(portfolio=portfolio, portfolio_node_id=node.portfolio_node_id))
    elif hung.portfolio_node_id == portfolio_node_id:
        return False
    else:
        hung.portfolio_node_id = portfolio_node_id
    session.flush()
    moving = update(PortfolioPosition).where(PortfolioPosition.portfolio == portfolio)
    session.execute(moving.values(portfolio_node_id=portfolio_node_id))
    return True


def hang_the_rest(session: Session) -> list[str]:
    """Hang every portfolio of the engine that hangs nowhere on the fund `default`, made where there is none; which they were."""
    known = select(func.book.portfolios().table_valued("portfolio").c.portfolio)
    hanging = set(session.scalars(select(LivePortfolio.portfolio)))
    homeless = sorted(set(session.scalars(known)) - hanging)
    if homeless:
        there = session.scalar(select(PortfolioNode).filter_by(name=DEFAULT_NODE, parent_id=None))
        node = there or add_node(session, DEFAULT_NODE, "FUND", base_ccy=DEFAULT_CURRENCY)[0]
        for portfolio in homeless:
            hang(session, portfolio, node.portfolio_node_id)
    return homeless


def require_currency(given: str, field: str) -> str:
    """`given` if it is a currency's letters, in capitals. Raises NodeNotValid."""
    if not CURRENCY.fullmatch(given.upper()):
        raise NodeNotValid(f"`{field}`: {given[:20]!r} is not three to five letters, such as USD")
    return given.upper()


def _name(given: str) -> str:
    name = given.strip()
    if not name or len(name) > NAME_LENGTH or not name.isprintable():
        raise NodeNotValid(f"`name` must be 1 to {NAME_LENGTH} printable characters")
    return name


def _node_type(given: str) -> str:
    if given.upper() not in LEVELS:
        raise NodeNotValid(f"`node_type`: {given[:20]!r} is none of {', '.join(LEVELS)}")
    return given.upper()


def _require_below(node_type: str, parent: PortfolioNode | None) -> None:
    if parent is not None and LEVELS.index(parent.node_type) >= LEVELS.index(node_type):
        raise WrongLevel(f"a {node_type} does not hang on a {parent.node_type}: {' > '.join(LEVELS)}")


@contextmanager
def _named(name: str) -> Iterator[None]:
    """What the database says of a name that is taken, in our words. The caller's transaction is over then."""
    try:
        yield
    except IntegrityError as error:
        diagnosis = getattr(error.orig, "diag", None)
        if getattr(diagnosis, "constraint_name", None) not in _TAKEN:
            raise
        raise NodeExists(f"`name`: {name!r} is there already") from error
