"""Totals of positions by node, instrument and currency as of the end of days, kept so that a roll-up adds up groups.

Whoever writes positions or marks leaves word of it in the same transaction (the database does that), and a roll-up reckons these
groups by their positions until their totals are reckoned anew. So a total is never wrong, whoever wrote, only sometimes missing.
"""

from datetime import date

from sqlalchemy import BigInteger, CheckConstraint, Engine, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, Session, mapped_column

from book.base import Base, BigInt, Currency, Id, Total
from book.database import transaction
from book.statements import rows_of

GROUPS_AT_ONCE = 500
# The first time all there is has to be read.
_LIMIT_SECONDS = 3_600.0


class PositionGroup(Base):
    """What totals are kept for. Those as of `stale_from` and later are no longer what the positions come to.

    `has_late_marks`: of some of its positions there may be marks of after they were closed.
    """

    __tablename__ = "position_group"
    __table_args__ = (UniqueConstraint("portfolio_node_id", "instrument_id", "base_ccy"),)

    group_id: Mapped[Id]
    portfolio_node_id: Mapped[BigInt]
    instrument_id: Mapped[BigInt]
    base_ccy: Mapped[Currency]
    stale_from: Mapped[date | None]
    has_late_marks: Mapped[bool] = mapped_column(server_default=text("false"))


class GroupTotal(Base):
    """A group at the end of a day (UTC), money in its currency: holds until the group's next row, `day_pnl` on that day.

    `entered` are all positions so far, `positions` those that are open; `closed_pnl` is what of `realized_pnl` is of the others.
    """

    __tablename__ = "group_total"

    group_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    day: Mapped[date] = mapped_column(primary_key=True)
    entered: Mapped[BigInt]
    positions: Mapped[BigInt]
    unmarked: Mapped[BigInt]
    longs: Mapped[Total]
    shorts: Mapped[Total]
    day_pnl: Mapped[Total | None]
    realized_pnl: Mapped[Total]
    closed_pnl: Mapped[Total]
    unrealized_pnl: Mapped[Total]
    dv01: Mapped[Total | None]
    var_contribution: Mapped[Total | None]


class TotalChange(Base):
    """What was written and is in no total yet: positions of a group, or marks of positions, from a day on."""

    __tablename__ = "total_change"
    __table_args__ = (
        CheckConstraint(
            "(position_ids IS NULL) = (portfolio_node_id IS NOT NULL)"
            " AND (portfolio_node_id IS NULL) = (instrument_id IS NULL)"
            " AND (portfolio_node_id IS NULL) = (base_ccy IS NULL)",
            name="of",
        ),
    )

    change_id: Mapped[Id]
    portfolio_node_id: Mapped[BigInt | None]
    instrument_id: Mapped[BigInt | None]
    base_ccy: Mapped[Currency | None]
    position_ids: Mapped[list[int] | None] = mapped_column(ARRAY(BigInteger))
    from_day: Mapped[date]


def keep_totals(engine: Engine, *, at_once: int = GROUPS_AT_ONCE) -> int:
    """Reckon what is stale, so many groups in a transaction; how many they were. Where another one is at it, it is left to him.

    Raises DatabaseAway, BookNotMigrated.
    """
    reckoned = 0
    while True:
        with transaction(engine, limit_seconds=_LIMIT_SECONDS) as session:
            groups = reckon(session, at_once=at_once)
        reckoned += groups
        if groups < at_once:
            return reckoned


def reckon(session: Session, *, at_once: int = GROUPS_AT_ONCE) -> int:
    """Reckon so many groups, in the caller's transaction; how many there were."""
    (row,) = rows_of(session, "hold_totals")
    if not row["is_held"]:
        return 0
    rows_of(session, "for_a_roll_up")
    rows_of(session, "for_totals", milliseconds=int(_LIMIT_SECONDS * 1000))
    rows_of(session, "take_changes")
    groups = [row["group_id"] for row in rows_of(session, "stale_groups", most=at_once)]
    if groups:
        # In statements of their own, each of which sees what is committed by then. What is written after the changes were taken
        # may be reckoned already, and left word of itself: it is reckoned once more.
        for name in ("forget_totals", "reckon_totals", "totals_are_fresh"):
            rows_of(session, name, groups=groups)
    return len(groups)
