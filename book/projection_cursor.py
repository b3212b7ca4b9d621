"""How far the book has come in each portfolio's journal."""

from sqlalchemy import CheckConstraint, LargeBinary, text
from sqlalchemy.orm import Mapped, mapped_column

from book.base import Base, BigInt, PortfolioName, Sha256, Updated


class ProjectionCursor(Base):
    """Up to which entry of a portfolio's journal the book tells, and that entry's hash.

    `checkpoint` is the portfolio as of `checkpoint_seq` (book.journal_walk): a start reads the journal from there.
    """

    __tablename__ = "projection_cursor"
    __table_args__ = (
        CheckConstraint("seq >= 0 AND checkpoint_seq BETWEEN 0 AND seq", name="seq"),
        CheckConstraint("content_hash ~ '^[0-9a-f]{64}$'", name="content_hash"),
        CheckConstraint("(checkpoint IS NULL) = (checkpoint_seq = 0)", name="checkpoint"),
    )

    portfolio: Mapped[PortfolioName] = mapped_column(primary_key=True)
    seq: Mapped[BigInt]
    content_hash: Mapped[Sha256]
    checkpoint_seq: Mapped[BigInt] = mapped_column(server_default=text("0"))
    checkpoint: Mapped[bytes | None] = mapped_column(LargeBinary)
    updated_at: Mapped[Updated]
