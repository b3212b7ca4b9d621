"""What a desk works with: positions in two currencies, proposals, drafts of journal entries, briefings, daily P&L."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, String, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, validates

from book.base import (
    Base,
    BigInt,
    Created,
    Currency,
    Document,
    Documents,
    Id,
    Money,
    NoMoneyYet,
    PortfolioName,
    Price,
    Quantity,
    Sha256,
    Text20,
    Text50,
    Text100,
    Text200,
    Text2000,
    Texts,
    Time,
    Updated,
    Years,
    is_array,
    is_currency,
    is_object,
    one_of,
)
from core.errors import Refused


class NotWeights(Refused):
    """strategies' weights are above 0 and add up to 1"""


_LOCKED = "is_locked = (content_hash IS NOT NULL) AND is_locked = (locked_at IS NOT NULL)"


class PortfolioPosition(Base):
    """A position of the engine's, a person's or a file's, in the base currency and in US dollars, with its risk at entry.

    `entry_fx_rate` is how much of the base currency one dollar was; without one nothing is said in dollars. DV01 and VaR
    contribution are money in the base currency, spread duration is in years; what the instrument does not have is None.
    """

    __tablename__ = "portfolio_positions"
    __table_args__ = (
        UniqueConstraint("portfolio", "engine_position_id"),
        one_of("source", "engine", "manual", "import"),
        CheckConstraint(
            "(source = 'engine') = (engine_position_id IS NOT NULL)"
            " AND (engine_position_id IS NULL) = (portfolio IS NULL)",
            name="of_engine",
        ),
        one_of("direction", "LONG", "SHORT"),
        CheckConstraint("quantity > 0", name="quantity"),
        is_currency("base_ccy"),
        CheckConstraint("entry_fx_rate > 0 AND (base_ccy <> 'USD' OR entry_fx_rate = 1)", name="entry_fx_rate"),
        CheckConstraint("exit_fx_rate > 0 AND (base_ccy <> 'USD' OR exit_fx_rate = 1)", name="exit_fx_rate"),
        CheckConstraint(
            "(notional_usd IS NULL) = (entry_fx_rate IS NULL)"
            " AND (notional_usd IS NULL OR abs(notional_usd - notional_base / entry_fx_rate) <= 0.0001)",
            name="notional_usd",
        ),
        CheckConstraint(
            "jsonb_typeof(strategy_weights) = 'object' AND strategy_weights ?& strategy_ids", name="strategy_weights"
        ),
        CheckConstraint("is_open = (exit_timestamp IS NULL)", name="closed"),
        CheckConstraint("exit_timestamp >= entry_timestamp", name="exit"),
        Index(None, "portfolio_node_id", "is_open"),
        Index(None, "instrument_id", "is_open"),
        Index("ix_portfolio_positions_group_exit_timestamp", "portfolio_node_id", "instrument_id", "exit_timestamp"),
        Index("uq_portfolio_positions_request_id", "request_id", unique=True),
    )

    id: Mapped[Id]
    portfolio_node_id: Mapped[int] = mapped_column(ForeignKey("book.portfolio_node.portfolio_node_id"))
    instrument_id: Mapped[int] = mapped_column(ForeignKey("book.instrument.instrument_id"))
    source: Mapped[str] = mapped_column(String(6))
    portfolio: Mapped[PortfolioName | None] = mapped_column(ForeignKey("book.live_portfolio.portfolio"))
    engine_position_id: Mapped[Text50 | None]
    batch_id: Mapped[int | None] = mapped_column(ForeignKey("book.ingestion_batch.batch_id"), index=True)
    direction: Mapped[str] = mapped_column(String(5))
    quantity: Mapped[Quantity]
    base_ccy: Mapped[Currency]
    notional_base: Mapped[Money]
    notional_usd: Mapped[Money | None]
    entry_fx_rate: Mapped[Price | None]
    entry_price: Mapped[Price]
    entry_timestamp: Mapped[Time] = mapped_column(index=True)
    entry_dv01: Mapped[Money | None]
    entry_delta: Mapped[Price | None]
    entry_convexity: Mapped[Price | None]
    entry_var_contribution: Mapped[Money | None]
    entry_spread_duration: Mapped[Years | None]
    strategy_ids: Mapped[Texts]
    strategy_weights: Mapped[Document]
    transaction_costs_base: Mapped[NoMoneyYet]
    realized_pnl_base: Mapped[NoMoneyYet]
    realized_pnl_usd: Mapped[Money | None]
    is_open: Mapped[bool] = mapped_column(server_default=text("true"))
    exit_price: Mapped[Price | None]
    exit_fx_rate: Mapped[Price | None]
    exit_timestamp: Mapped[Time | None]
    notes: Mapped[Text2000 | None]
    created_at: Mapped[Created]
    updated_at: Mapped[Updated]
    request_id: Mapped[Text100 | None]

    @validates("strategy_weights")
    def _checked_weights(self, _key: str, given: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            weights = [Decimal(str(weight)) for weight in given.values()]
        except InvalidOperation:
            raise NotWeights(f"`strategy_weights`: {dict(given)} has a weight that is no number") from None
        if weights and not (min(weights) > 0 and sum(weights) == 1):
            raise NotWeights(f"`strategy_weights`: {dict(given)} are not all above 0 with a sum of 1")
        return given


class TradeProposal(Base):
    """A signal that waits, or waited, for a person: what the journal says of it since the entry `journal_seq` that proposed it.

    `decided_lots` and `decided_price` (points) are what was done. An EXIT of ALL layers has no direction.
    """

    __tablename__ = "trade_proposals"
    __table_args__ = (
        UniqueConstraint("portfolio", "proposal_id"),
        CheckConstraint("fingerprint ~ '^[0-9a-f]{64}$'", name="fingerprint"),
        one_of("signal_type", "BASE_ENTRY", "PYRAMID", "EXIT"),
        one_of("direction", "LONG", "SHORT"),
        CheckConstraint("signal_type = 'EXIT' OR direction IS NOT NULL", name="direction_of_entries"),
        CheckConstraint("lots >= 0 AND decided_lots >= 0", name="lots"),
        CheckConstraint("price > 0", name="price"),
        one_of("status", "PENDING", "APPROVED", "REJECTED", "MODIFIED", "EXPIRED"),
        CheckConstraint(
            "(status = 'PENDING') = (decided_at IS NULL)"
            " AND (decided_at IS NULL) = (decided_seq IS NULL)"
            " AND decided_seq > journal_seq",
            name="decided",
        ),
        CheckConstraint("status <> 'REJECTED' OR btrim(coalesce(decision_note, '')) <> ''", name="rejection_has_note"),
        CheckConstraint(
            "(status IN ('APPROVED', 'MODIFIED') OR decided_lots IS NULL)"
            " AND (status <> 'MODIFIED' OR decided_lots IS NOT NULL)",
            name="decided_lots",
        ),
        is_object("risk_impact", "risk_impact"),
        Index(None, "portfolio", "journal_seq"),
        Index(None, "portfolio", "status"),
    )

    id: Mapped[Id]
    portfolio: Mapped[PortfolioName]
    proposal_id: Mapped[str] = mapped_column(String(17))
    journal_seq: Mapped[BigInt]
    fingerprint: Mapped[Sha256]
    instrument: Mapped[str] = mapped_column(String(29))
    signal_type: Mapped[str] = mapped_column(String(11))
    layer: Mapped[Text20]
    direction: Mapped[str | None] = mapped_column(String(5))
    rule: Mapped[Text20]
    lots: Mapped[int]
    limiter: Mapped[str | None] = mapped_column(String(30))
    price: Mapped[Price]
    stop: Mapped[Price | None]
    notional_base: Mapped[Money | None]
    notional_usd: Mapped[Money | None]
    risk_impact: Mapped[Document]
    strategy_ids: Mapped[Texts]
    rationale: Mapped[Text2000 | None]
    status: Mapped[str] = mapped_column(String(8), server_default="PENDING")
    proposed_at: Mapped[Time] = mapped_column(index=True)
    expires_at: Mapped[Time | None]
    decided_seq: Mapped[BigInt | None]
    decided_at: Mapped[Time | None]
    decided_by: Mapped[Text100 | None]
    decided_lots: Mapped[int | None]
    decided_price: Mapped[Price | None]
    decision_note: Mapped[Text2000 | None]
    created_at: Mapped[Created]
    updated_at: Mapped[Updated]


class DecisionDraft(Base):
    """What a person writes before it is an entry of the journal, which it becomes under `request_id`.

    Locking seals it: the database gives it `locked_at` and `content_hash`, over all columns, and refuses every change after it.
    """

    __tablename__ = "decision_drafts"
    __table_args__ = (
        UniqueConstraint("request_id"),
        one_of("entry_type", "NOTE", "APPROVAL", "REJECTION", "OVERRIDE"),
        CheckConstraint("btrim(title) <> ''", name="title"),
        is_object("market_snapshot", "market_snapshot"),
        is_object("portfolio_snapshot", "portfolio_snapshot"),
        CheckConstraint(_LOCKED, name="locked"),
        Index(None, "portfolio", "created_at"),
    )
    # Read back: the database makes them.
    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012 - as SQLAlchemy reads it

    id: Mapped[Id]
    request_id: Mapped[Text100]
    portfolio: Mapped[PortfolioName]
    entry_type: Mapped[str] = mapped_column(String(10))
    author: Mapped[Text100]
    title: Mapped[Text200]
    body: Mapped[str] = mapped_column(String(10000), server_default="")
    engine_position_id: Mapped[Text50 | None]
    proposal_id: Mapped[str | None] = mapped_column(String(17))
    tags: Mapped[Texts]
    market_snapshot: Mapped[Document]
    portfolio_snapshot: Mapped[Document]
    is_locked: Mapped[bool] = mapped_column(server_default=text("false"))
    locked_at: Mapped[Time | None]
    content_hash: Mapped[Sha256 | None]
    created_at: Mapped[Created]
    updated_at: Mapped[Updated]


class DailyBriefing(Base):
    """What a portfolio's day was, up to the journal's entry `journal_seq`; one a trading day, locked once it was sent.

    `deliveries` says by channel when a message about it was begun with, and when it was taken.
    """

    __tablename__ = "daily_briefings"
    __table_args__ = (
        UniqueConstraint("portfolio", "briefing_date"),
        CheckConstraint("journal_seq >= 0", name="journal_seq"),
        is_object("portfolio_snapshot", "portfolio_snapshot"),
        is_object("market_snapshot", "market_snapshot"),
        is_object("risk_summary", "risk_summary"),
        is_array("action_items", "action_items"),
        is_object("sections", "sections"),
        is_object("deliveries", "deliveries"),
        CheckConstraint(_LOCKED, name="locked"),
    )

    id: Mapped[Id]
    portfolio: Mapped[PortfolioName]
    briefing_date: Mapped[date] = mapped_column(index=True)
    journal_seq: Mapped[BigInt]
    portfolio_snapshot: Mapped[Document]
    market_snapshot: Mapped[Document]
    risk_summary: Mapped[Document]
    action_items: Mapped[Documents]
    sections: Mapped[Document]
    generated_at: Mapped[Time]
    is_locked: Mapped[bool] = mapped_column(server_default=text("false"))
    locked_at: Mapped[Time | None]
    content_hash: Mapped[Sha256 | None]
    created_at: Mapped[Created]
    deliveries: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))


class PositionPnLHistory(Base):
    """A position's mark and profit on a day, in the base currency and, where there is a rate, in US dollars.

    With TimescaleDB a hypertable: so the key has the day in it, and `position_id` is that of a PortfolioPosition without a
    foreign key. `fx_rate` is how much of the base currency one dollar was.
    """

    __tablename__ = "position_pnl_history"
    __table_args__ = (
        UniqueConstraint("position_id", "snapshot_date"),
        CheckConstraint("fx_rate > 0", name="fx_rate"),
        CheckConstraint(
            "(fx_rate IS NULL) = (notional_usd IS NULL)"
            " AND (fx_rate IS NULL) = (unrealized_pnl_usd IS NULL)"
            " AND (fx_rate IS NULL) = (realized_pnl_usd IS NULL)"
            " AND (fx_rate IS NULL) = (daily_pnl_usd IS NULL)",
            name="usd",
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    snapshot_date: Mapped[date] = mapped_column(primary_key=True, index=True)
    position_id: Mapped[BigInt]
    quantity: Mapped[Quantity]
    mark_price: Mapped[Price]
    fx_rate: Mapped[Price | None]
    notional_base: Mapped[Money]
    notional_usd: Mapped[Money | None]
    unrealized_pnl_base: Mapped[Money]
    unrealized_pnl_usd: Mapped[Money | None]
    realized_pnl_base: Mapped[NoMoneyYet]
    realized_pnl_usd: Mapped[Money | None]
    daily_pnl_base: Mapped[Money]
    daily_pnl_usd: Mapped[Money | None]
    dv01: Mapped[Money | None]
    delta: Mapped[Price | None]
    var_contribution: Mapped[Money | None]
    created_at: Mapped[Created]
    price_date: Mapped[date | None]
