"""Tags: what a desk calls nodes and positions, regular ones and strategies; who said so, and from when until when."""

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, func, text
from sqlalchemy.orm import Mapped, mapped_column

from book.base import Text2000, one_of
from book.hierarchy import PortfolioNode
from risk.base import Base, Created, Id, Text50, Text100, Time, Updated

TAG_TYPES = ("regular", "strategy")
_REMOVED = "(removed_at IS NULL) = (removed_by IS NULL) AND removed_at >= added_at"
_STILL = text("removed_at IS NULL")


class Tag(Base):
    """A tag, unique by its type and its name in whatever case. `colour` is like #0a7f3c; a retired one is put on nothing."""

    __tablename__ = "tags"
    __table_args__ = (
        CheckConstraint("name = btrim(name) AND name <> ''", name="name"),
        one_of("tag_type", *TAG_TYPES),
        CheckConstraint("colour ~ '^#[0-9a-f]{6}$'", name="colour"),
        CheckConstraint("(retired_at IS NULL) = (retired_by IS NULL)", name="retired"),
        Index("uq_tags_tag_type_name", "tag_type", func.lower(text("name")), unique=True),
    )

    tag_id: Mapped[Id]
    name: Mapped[Text50]
    tag_type: Mapped[str] = mapped_column(String(8))
    colour: Mapped[str | None] = mapped_column(String(7))
    description: Mapped[Text2000] = mapped_column(server_default="")
    created_by: Mapped[Text100]
    retired_by: Mapped[Text100 | None]
    retired_at: Mapped[Time | None]
    created_at: Mapped[Created]
    updated_at: Mapped[Updated]


class PortfolioTag(Base):
    """A tag of a node, and so of all below it, from when until when: it has it now where it was not removed."""

    __tablename__ = "portfolio_tags"
    __table_args__ = (
        CheckConstraint(_REMOVED, name="removed"),
        Index("uq_portfolio_tags_now", "portfolio_node_id", "tag_id", unique=True, postgresql_where=_STILL),
    )

    id: Mapped[Id]
    tag_id: Mapped[int] = mapped_column(ForeignKey(Tag.tag_id), index=True)
    portfolio_node_id: Mapped[int] = mapped_column(ForeignKey(PortfolioNode.portfolio_node_id), index=True)
    added_by: Mapped[Text100]
    added_at: Mapped[Time]
    removed_by: Mapped[Text100 | None]
    removed_at: Mapped[Time | None]


class PositionTag(Base):
    """The same of a position: `position/12` of the book's portfolio_positions, `holding/5` of its position."""

    __tablename__ = "position_tags"
    __table_args__ = (
        CheckConstraint("position ~ '^(position|holding)/[1-9][0-9]*$'", name="position"),
        CheckConstraint(_REMOVED, name="removed"),
        Index("uq_position_tags_now", "position", "tag_id", unique=True, postgresql_where=_STILL),
    )

    id: Mapped[Id]
    tag_id: Mapped[int] = mapped_column(ForeignKey(Tag.tag_id), index=True)
    position: Mapped[str] = mapped_column(String(30), index=True)
    added_by: Mapped[Text100]
    added_at: Mapped[Time]
    removed_by: Mapped[Text100 | None]
    removed_at: Mapped[Time | None]


Tagging = PortfolioTag | PositionTag


def named(row: Tagging) -> str:
    """What the tag is on: `node/1`, `position/12` or `holding/5`."""
    return f"node/{row.portfolio_node_id}" if isinstance(row, PortfolioTag) else row.position
