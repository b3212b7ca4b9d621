"""The tree of portfolios (FUND > DESK > BOOK > STRATEGY), what hangs in it, and snapshots of it."""

from datetime import date
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Computed,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    String,
    UniqueConstraint,
    desc,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from book.base import (
    Base,
    BigInt,
    Created,
    Currency,
    Document,
    Id,
    Price,
    Quantity,
    Sha256,
    Text100,
    Time,
    Updated,
    is_currency,
    is_object,
    one_of,
)

# The higher first.
LEVELS = ("FUND", "DESK", "BOOK", "STRATEGY")


class PortfolioNode(Base):
    """A node. Its parent is of a higher level, so there is no ring: `parent_type` is looked up and held by the database."""

    __tablename__ = "portfolio_node"
    __table_args__ = (
        UniqueConstraint("portfolio_node_id", "node_type"),
        ForeignKeyConstraint(
            ["parent_id", "parent_type"],
            ["book.portfolio_node.portfolio_node_id", "book.portfolio_node.node_type"],
            onupdate="CASCADE",
        ),
        CheckConstraint("btrim(name) <> ''", name="name"),
        one_of("node_type", *LEVELS),
        CheckConstraint("(parent_id IS NULL) = (parent_type IS NULL)", name="parent"),
        CheckConstraint(
            "parent_type IS NULL"
            " OR (parent_type = 'FUND' AND node_type IN ('DESK', 'BOOK', 'STRATEGY'))"
            " OR (parent_type = 'DESK' AND node_type IN ('BOOK', 'STRATEGY'))"
            " OR (parent_type = 'BOOK' AND node_type = 'STRATEGY')",
            name="level",
        ),
        is_currency("base_ccy"),
        is_object("metadata_json", "metadata"),
        Index(
            "uq_portfolio_node_parent_id_name",
            "parent_id",
            "name",
            unique=True,
            postgresql_where=text("parent_id IS NOT NULL"),
        ),
        Index("uq_portfolio_node_root_name", "name", unique=True, postgresql_where=text("parent_id IS NULL")),
    )

    portfolio_node_id: Mapped[Id]
    name: Mapped[Text100]
    node_type: Mapped[str] = mapped_column(String(8))
    parent_id: Mapped[int | None] = mapped_column(BigInteger, index=True)
    parent_type: Mapped[str | None] = mapped_column(String(8))
    base_ccy: Mapped[Currency]
    metadata_json: Mapped[Document]
    created_at: Mapped[Created]
    updated_at: Mapped[Updated]


class PortfolioNodeVersion(Base):
    """What a node was called and where it hung, from when until when; the database keeps it. The first has no beginning."""

    __tablename__ = "portfolio_node_version"
    __table_args__ = (
        CheckConstraint("valid_to >= valid_from", name="valid"),
        Index(
            "uq_portfolio_node_version_now", "portfolio_node_id", unique=True, postgresql_where=text("valid_to IS NULL")
        ),
        Index("ix_portfolio_node_version_portfolio_node_id_valid_from", "portfolio_node_id", "valid_from"),
    )

    version_id: Mapped[Id]
    portfolio_node_id: Mapped[BigInt]
    name: Mapped[Text100]
    node_type: Mapped[str] = mapped_column(String(8))
    parent_id: Mapped[int | None] = mapped_column(BigInteger)
    base_ccy: Mapped[Currency]
    valid_from: Mapped[Time | None]
    valid_to: Mapped[Time | None]


class LivePortfolio(Base):
    """Where a portfolio of the engine hangs."""

    __tablename__ = "live_portfolio"
    __table_args__ = (CheckConstraint("portfolio ~ '^[a-z][a-z0-9_]{0,29}$'", name="portfolio"),)

    portfolio: Mapped[str] = mapped_column(String(30), primary_key=True)
    portfolio_node_id: Mapped[int] = mapped_column(ForeignKey("book.portfolio_node.portfolio_node_id"), index=True)
    created_at: Mapped[Created]


class Position(Base):
    """How much of an instrument a node holds; quantity in units, negative where it is short."""

    __tablename__ = "position"
    __table_args__ = (
        one_of("status", "ACTIVE", "CLOSED", "DELETED"),
        is_currency("base_ccy"),
        is_object("tags_json", "tags"),
        Index(None, "portfolio_node_id", "instrument_id"),
        Index(
            "uq_position_active",
            "portfolio_node_id",
            "instrument_id",
            unique=True,
            postgresql_where=text("status = 'ACTIVE'"),
        ),
    )

    position_id: Mapped[Id]
    portfolio_node_id: Mapped[int] = mapped_column(ForeignKey("book.portfolio_node.portfolio_node_id"))
    instrument_id: Mapped[int] = mapped_column(ForeignKey("book.instrument.instrument_id"), index=True)
    quantity: Mapped[Quantity]
    average_price: Mapped[Price | None]
    base_ccy: Mapped[Currency]
    status: Mapped[str] = mapped_column(String(7), server_default="ACTIVE")
    tags_json: Mapped[Document]
    batch_id: Mapped[int | None] = mapped_column(ForeignKey("book.ingestion_batch.batch_id"), index=True)
    created_at: Mapped[Created]
    updated_at: Mapped[Updated]


class PortfolioSnapshotContent(Base):
    """What a snapshot holds, by its own SHA-256: once, for all moments at which it was the same."""

    __tablename__ = "portfolio_snapshot_content"
    __table_args__ = (is_object("payload_json", "payload"),)

    payload_hash: Mapped[str] = mapped_column(
        String(64), Computed("book.content_hash(payload_json)", persisted=True), primary_key=True
    )
    payload_json: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[Created]


class PortfolioSnapshot(Base):
    """A moment of a node, and what it held then. Added to, never changed."""

    __tablename__ = "portfolio_snapshot"
    __table_args__ = (
        UniqueConstraint("portfolio_node_id", "taken_at"),
        Index("ix_portfolio_snapshot_portfolio_node_id_as_of_date", "portfolio_node_id", desc("as_of_date")),
    )

    snapshot_id: Mapped[Id]
    portfolio_node_id: Mapped[BigInt] = mapped_column(ForeignKey("book.portfolio_node.portfolio_node_id"))
    as_of_date: Mapped[date]
    taken_at: Mapped[Time]
    payload_hash: Mapped[Sha256] = mapped_column(ForeignKey("book.portfolio_snapshot_content.payload_hash"), index=True)
