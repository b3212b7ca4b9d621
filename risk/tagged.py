"""Which tags hold on a day: a position's own, those of the nodes above it, and the strategies that it is part of."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from msgspec import Struct
from sqlalchemy import Select, func, or_, select
from sqlalchemy.orm import Session

from book.hierarchy import Position
from book.portfolio_management import PortfolioPosition
from risk.batch.holdings import Tree
from risk.tagging import On
from risk.tags import PortfolioTag, PositionTag, Tag, Tagging, named

_MODELS: tuple[type[Tagging], ...] = (PositionTag, PortfolioTag)


class TagOf(Struct, frozen=True, kw_only=True):
    """A tag that holds of something. `on` is what it was put on: itself, or a node above it. A strategy that the position came
    with, and nobody put there, has no `added_by`."""

    tag: str
    tag_type: str
    on: str
    added_by: str | None = None
    added_at: datetime | None = None


class Tagged:
    """The tags of a day: those that were on something at its end (UTC), or just before an instant of it, where one is told."""

    def __init__(self, session: Session, day: date, at: datetime | None = None) -> None:
        self.on: Mapping[str, list[TagOf]] = _on(session, at or end_of(day))
        self._tree = Tree(session, day)
        self._written = {
            row.name.lower(): row.name for row in session.execute(select(Tag.name).where(Tag.tag_type == "strategy"))
        }

    def of(self, position: str, node: int, strategies: list[str]) -> list[TagOf]:
        """A position's tags, its own first, then those of its node and all above; its own strategies are strategy tags, written
        as the tag of that name is. Each name of a type once."""
        own = [
            TagOf(tag=self._written.get(name.lower(), name), tag_type="strategy", on=position) for name in strategies
        ]
        found = [*self.on.get(position, ()), *own, *self.of_node(node)]
        return _once(found)

    def of_node(self, node: int) -> list[TagOf]:
        """A node's tags, its own first, then those of all above."""
        return _once([each for above in self._tree.above(node) for each in self.on.get(f"node/{above}", ())])


def tags_on(session: Session, on: On, day: date) -> list[TagOf]:
    """The tags that hold of a node or a position on a day; of what is not there, none."""
    tagged = Tagged(session, day)
    if on.kind == "node":
        return tagged.of_node(on.number)
    node: int | None
    strategies: list[str] = []
    if on.kind == "position":
        position = session.get(PortfolioPosition, on.number)
        node = None if position is None else position.portfolio_node_id
        strategies = [] if position is None else position.strategy_ids
    else:
        node = session.scalar(select(Position.portfolio_node_id).where(Position.position_id == on.number))
    return [] if node is None else tagged.of(str(on), node, strategies)


def end_of(day: date) -> datetime:
    """The first instant (UTC) that is not of the day any more."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)


def _on(session: Session, end: datetime) -> Mapping[str, list[TagOf]]:
    found: dict[str, list[TagOf]] = defaultdict(list)
    for model in _MODELS:
        kept: Any = model
        asked: Select[Any] = (
            select(kept, Tag)
            .join(Tag, Tag.tag_id == model.tag_id)
            .where(model.added_at < end, or_(model.removed_at.is_(None), model.removed_at >= end))
            .order_by(Tag.tag_type, func.lower(Tag.name))
        )
        for row, tag in session.execute(asked):
            told = TagOf(
                tag=tag.name, tag_type=tag.tag_type, on=named(row), added_by=row.added_by, added_at=row.added_at
            )
            found[told.on].append(told)
    return found


def _once(found: list[TagOf]) -> list[TagOf]:
    first: dict[tuple[str, str], TagOf] = {}
    for each in found:
        first.setdefault((each.tag_type, each.tag), each)
    return list(first.values())
