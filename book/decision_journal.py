"""The kernel's journals as the book reads them: one view over all portfolios, and the entries of one of them by their numbers."""

from typing import Any, ClassVar

from sqlalchemy import BigInteger, MetaData, SmallInteger, String, func, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.sql.selectable import Select

from book.base import SCHEMA, BigInt, Sha256, Text20, Text100, Time


class Views(DeclarativeBase):
    """Base of what is read and never written: no table is made of it."""

    metadata: ClassVar[MetaData] = MetaData(schema=SCHEMA)


class DecisionJournal(Views):
    """An entry of a portfolio's journal. The chain is the kernel's; the database refuses to write here."""

    __tablename__ = "decision_journal"

    portfolio: Mapped[str] = mapped_column(String, primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    format: Mapped[int] = mapped_column(SmallInteger)
    kind: Mapped[Text20]
    fingerprint: Mapped[Sha256 | None]
    request_id: Mapped[Text100 | None]
    input: Mapped[dict[str, Any]] = mapped_column(JSONB)
    figures: Mapped[dict[str, Any]] = mapped_column(JSONB)
    outcome: Mapped[dict[str, Any]] = mapped_column(JSONB)
    events: Mapped[list[Any]] = mapped_column(JSONB)
    term: Mapped[BigInt]
    rules_version: Mapped[int]
    decided_at: Mapped[Time]
    recorded_at: Mapped[Time]
    content_hash: Mapped[Sha256]


_OF_ONE = [column for column in DecisionJournal.__table__.columns if column.name != "portfolio"]


def entries_of(portfolio: str, after_seq: int = 0, up_to_seq: int = 2**63 - 1) -> Select[Any]:
    """The entries of one portfolio behind `after_seq` up to `up_to_seq`, in order, found by the journal's key however long it is.

    The view would read a whole journal before it looks at numbers.
    """
    entries = func.book.journal_entries(portfolio, after_seq, up_to_seq).table_valued(*_OF_ONE, name="entries")
    return select(entries)
