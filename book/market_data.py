"""What was brought from outside: batches of uploads, feeds of market data, and where each came from."""

from datetime import date
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, desc, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from book.base import (
    Base,
    Created,
    Currency,
    Document,
    Documents,
    Id,
    Money,
    PortfolioName,
    Price,
    Sha256,
    Text20,
    Text100,
    Texts,
    Time,
    is_array,
    is_currency,
    is_object,
    one_of,
)

BATCH_TYPES = ("LOAN_SERVICING", "MARKET_DATA", "POSITION_UPLOAD")
FEED_TYPES = ("YIELD_CURVE", "CREDIT_SPREAD", "FX_SPOT", "RATING", "PRICE")
VALIDATION_STATUSES = ("PENDING", "PASS", "WARN", "FAIL")


class IngestionBatch(Base):
    """One upload: which file, how far it is, how many of its rows were taken, and what was wrong with the others."""

    __tablename__ = "ingestion_batch"
    __table_args__ = (
        one_of("batch_type", *BATCH_TYPES),
        one_of("status", "STARTED", "VALIDATING", "COMPLETED", "FAILED"),
        CheckConstraint("content_hash ~ '^[0-9a-f]{64}$'", name="content_hash"),
        CheckConstraint(
            "rows_taken >= 0 AND rows_refused >= 0 AND rows_taken + rows_refused <= rows_total", name="rows"
        ),
        CheckConstraint("(status IN ('COMPLETED', 'FAILED')) = (completed_at IS NOT NULL)", name="completed_at"),
        is_array("validation_errors_json", "validation_errors"),
        Index("ix_ingestion_batch_batch_type_started_at", "batch_type", desc("started_at")),
        Index(
            "uq_ingestion_batch_batch_type_content_hash",
            "batch_type",
            "content_hash",
            unique=True,
            postgresql_where=text("status <> 'FAILED'"),
        ),
    )

    batch_id: Mapped[Id]
    batch_type: Mapped[str] = mapped_column(String(15))
    status: Mapped[str] = mapped_column(String(10), server_default="STARTED")
    source_name: Mapped[str] = mapped_column(String(255))
    content_hash: Mapped[Sha256]
    rows_total: Mapped[int] = mapped_column(server_default=text("0"))
    rows_taken: Mapped[int] = mapped_column(server_default=text("0"))
    rows_refused: Mapped[int] = mapped_column(server_default=text("0"))
    validation_errors_json: Mapped[Documents]
    uploaded_by: Mapped[Text100 | None]
    started_at: Mapped[Created]
    completed_at: Mapped[Time | None]


class IngestionRow(Base):
    """A row of an upload as it came, and what was found of it; `line` as the file counts."""

    __tablename__ = "ingestion_row"
    __table_args__ = (
        CheckConstraint("line > 0", name="line"),
        is_object("payload_json", "payload"),
        one_of("validation_status", *VALIDATION_STATUSES),
        CheckConstraint("validation_status NOT IN ('WARN', 'FAIL') OR cardinality(reasons) > 0", name="reasons"),
    )

    batch_id: Mapped[int] = mapped_column(ForeignKey("book.ingestion_batch.batch_id"), primary_key=True)
    line: Mapped[int] = mapped_column(primary_key=True)
    payload_json: Mapped[dict[str, Any]] = mapped_column(JSONB)
    validation_status: Mapped[str] = mapped_column(String(7))
    reasons: Mapped[Texts]


class MarketDataFeed(Base):
    """Market data of one kind and day, as it was brought, and whether it may be used."""

    __tablename__ = "market_data_feed"
    __table_args__ = (
        one_of("feed_type", *FEED_TYPES),
        one_of("validation_status", *VALIDATION_STATUSES),
        is_array("validation_errors_json", "validation_errors"),
        Index("ix_market_data_feed_feed_type_as_of_date", "feed_type", desc("as_of_date")),
    )

    feed_id: Mapped[Id]
    feed_type: Mapped[str] = mapped_column(String(13))
    as_of_date: Mapped[date]
    source: Mapped[Text100]
    payload_json: Mapped[Document]
    validation_status: Mapped[str] = mapped_column(String(7), server_default="PENDING")
    validation_errors_json: Mapped[Documents]
    batch_id: Mapped[int | None] = mapped_column(ForeignKey("book.ingestion_batch.batch_id"), index=True)
    created_at: Mapped[Created]


class InstrumentPrice(Base):
    """What an instrument cost on a day, in the feed that brought it."""

    __tablename__ = "price"
    __table_args__ = (CheckConstraint("price > 0", name="price"), is_currency("currency"))

    instrument_id: Mapped[int] = mapped_column(ForeignKey("book.instrument.instrument_id"), primary_key=True)
    as_of_date: Mapped[date] = mapped_column(primary_key=True)
    feed_id: Mapped[int] = mapped_column(ForeignKey("book.market_data_feed.feed_id"), primary_key=True, index=True)
    price: Mapped[Price]
    currency: Mapped[Currency]


class LoanServicing(Base):
    """Where a loan stood on a day, money in its currency, in the upload that brought it."""

    __tablename__ = "loan_servicing"
    __table_args__ = (
        CheckConstraint("days_past_due >= 0", name="days_past_due"),
        CheckConstraint("outstanding_balance >= 0", name="outstanding_balance"),
    )

    instrument_id: Mapped[int] = mapped_column(ForeignKey("book.instrument.instrument_id"), primary_key=True)
    as_of_date: Mapped[date] = mapped_column(primary_key=True)
    batch_id: Mapped[int] = mapped_column(ForeignKey("book.ingestion_batch.batch_id"), primary_key=True, index=True)
    outstanding_balance: Mapped[Money]
    principal_paid: Mapped[Money]
    interest_paid: Mapped[Money]
    days_past_due: Mapped[int]


class ExportHistory(Base):
    """What left the book: which rows in which format, by whom, and the SHA-256 of the file. Added to, never changed."""

    __tablename__ = "export_history"
    __table_args__ = (
        one_of("format", "csv", "json", "parquet", "fix"),
        CheckConstraint("rows_total >= 0", name="rows"),
        CheckConstraint("content_hash ~ '^[0-9a-f]{64}$'", name="content_hash"),
        is_object("parameters_json", "parameters"),
        Index("ix_export_history_exported_at", desc("exported_at")),
    )

    export_id: Mapped[Id]
    content: Mapped[Text20]
    format: Mapped[str] = mapped_column(String(7))
    portfolio: Mapped[PortfolioName | None]
    parameters_json: Mapped[Document]
    rows_total: Mapped[int]
    content_hash: Mapped[Sha256]
    exported_by: Mapped[Text100 | None]
    exported_at: Mapped[Created]


class DataLineage(Base):
    """Where a feed or a batch came from, what was done to it in which order, and what was checked."""

    __tablename__ = "data_lineage"
    __table_args__ = (
        CheckConstraint("feed_id IS NOT NULL OR batch_id IS NOT NULL", name="of_something"),
        is_object("quality_checks_json", "quality_checks"),
        is_object("metadata_json", "metadata"),
    )

    lineage_id: Mapped[Id]
    feed_id: Mapped[int | None] = mapped_column(ForeignKey("book.market_data_feed.feed_id"), index=True)
    batch_id: Mapped[int | None] = mapped_column(ForeignKey("book.ingestion_batch.batch_id"), index=True)
    source_system: Mapped[Text100]
    source_reference: Mapped[str | None] = mapped_column(String(500))
    transformation_chain: Mapped[Texts]
    quality_checks_passed: Mapped[bool | None]
    quality_checks_json: Mapped[Document]
    metadata_json: Mapped[Document]
    ingested_at: Mapped[Created]
