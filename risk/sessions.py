"""What-if sessions on a copy of the book, their snapshots, and the record of what was exported."""

from datetime import date
from typing import Annotated, Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from book.base import Sha256, is_array, is_object, one_of
from book.hierarchy import PortfolioNode
from risk.base import Base, Id, Text20, Text50, Text100, Time

_Text255 = Annotated[str, mapped_column(String(255))]
_Details = Annotated[dict[str, Any], mapped_column(JSONB)]
_List = Annotated[list[Any], mapped_column(JSONB)]
_STATUS = ("active", "completed", "cancelled")


def _is_hash(column: str) -> CheckConstraint:
    return CheckConstraint(f"{column} ~ '^[0-9a-f]{{64}}$'", name=column)


def _is_named(column: str) -> CheckConstraint:
    return CheckConstraint(f"btrim({column}) <> ''", name=column)


class ModelingSession(Base):
    """Who asks what of a copy of what a node held. The copy and what it is measured by never change, each with its SHA-256;
    `changes` do, a `version` each, until it is completed or cancelled."""

    __tablename__ = "modeling_sessions"
    __table_args__ = (
        _is_named("name"),
        is_object("base_portfolio_snapshot", "base_portfolio_snapshot"),
        _is_hash("base_hash"),
        is_object("inputs", "inputs"),
        _is_hash("inputs_hash"),
        is_array("changes", "changes"),
        one_of("status", *_STATUS),
        CheckConstraint("version > 0", name="version"),
        _is_named("created_by"),
        CheckConstraint(
            "(status = 'active') = (ended_at IS NULL) AND (ended_at IS NULL) = (ended_by IS NULL)", name="ended"
        ),
        Index("ix_modeling_sessions_active", "created_by", "created_at", postgresql_where=text("status = 'active'")),
    )

    session_id: Mapped[Id]
    name: Mapped[_Text255]
    description: Mapped[str] = mapped_column(Text, server_default=text("''"))
    portfolio_node_id: Mapped[int] = mapped_column(ForeignKey(PortfolioNode.portfolio_node_id), index=True)
    base_as_of: Mapped[Time]
    base_portfolio_snapshot: Mapped[_Details]
    base_hash: Mapped[Sha256]
    inputs: Mapped[_Details]
    inputs_hash: Mapped[Sha256]
    changes: Mapped[_List] = mapped_column(server_default=text("'[]'"))
    status: Mapped[Text20] = mapped_column(server_default="active")
    version: Mapped[int] = mapped_column(server_default=text("1"))
    created_by: Mapped[Text100]
    created_at: Mapped[Time]
    updated_at: Mapped[Time]
    ended_by: Mapped[Text100 | None]
    ended_at: Mapped[Time | None]


class ModelingSessionSnapshot(Base):
    """A session as it was: its changes, the positions that they make, every measure before and after. Never changed;
    `content_hash` is of all of it."""

    __tablename__ = "modeling_session_snapshots"
    __table_args__ = (
        CheckConstraint("session_version > 0", name="session_version"),
        one_of("status", *_STATUS),
        _is_hash("base_hash"),
        _is_hash("inputs_hash"),
        is_array("modifications", "modifications"),
        is_object("modified_portfolio_snapshot", "modified_portfolio_snapshot"),
        _is_hash("modified_hash"),
        is_object("impact_summary", "impact_summary"),
        is_object("risk_metrics_before", "risk_metrics_before"),
        is_object("risk_metrics_after", "risk_metrics_after"),
        is_array("factor_exposures_change", "factor_exposures_change"),
        _is_hash("content_hash"),
        _is_named("created_by"),
    )

    snapshot_id: Mapped[Id]
    session_id: Mapped[int] = mapped_column(ForeignKey(ModelingSession.session_id), index=True)
    session_version: Mapped[int]
    name: Mapped[_Text255]
    status: Mapped[Text20]
    base_snapshot_date: Mapped[date]
    base_as_of: Mapped[Time]
    base_hash: Mapped[Sha256]
    inputs_hash: Mapped[Sha256]
    modifications: Mapped[_List]
    modified_portfolio_snapshot: Mapped[_Details]
    modified_hash: Mapped[Sha256]
    impact_summary: Mapped[_Details]
    risk_metrics_before: Mapped[_Details]
    risk_metrics_after: Mapped[_Details]
    factor_exposures_change: Mapped[_List]
    content_hash: Mapped[Sha256]
    created_by: Mapped[Text100]
    created_at: Mapped[Time]


class ExportHistory(Base):
    """What left the risk lab: which snapshot as what, by whom, and the SHA-256 of the file. Added to, never changed."""

    __tablename__ = "export_history"
    __table_args__ = (
        one_of("export_type", "portfolio", "trades", "modeling_session"),
        one_of("export_format", "csv", "json", "fix"),
        _is_named("file_name"),
        CheckConstraint("file_size_bytes > 0", name="file_size_bytes"),
        _is_hash("content_hash"),
        _is_named("exported_by"),
    )

    export_id: Mapped[Id]
    snapshot_id: Mapped[int] = mapped_column(ForeignKey(ModelingSessionSnapshot.snapshot_id), index=True)
    export_type: Mapped[Text50]
    export_format: Mapped[Text20]
    file_name: Mapped[_Text255]
    file_size_bytes: Mapped[int]
    content_hash: Mapped[Sha256]
    exported_by: Mapped[Text100]
    created_at: Mapped[Time]
