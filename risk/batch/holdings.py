"""What was held at the end of a day, by the book: positions and uploaded holdings, with the book's own marks and rates."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import and_, or_, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from book.fx import rate_between
from book.hierarchy import Position
from book.nodes import nodes_on
from book.portfolio_management import PortfolioPosition, PositionPnLHistory
from book.reference_data import Instrument
from book.refusals import MissingRate


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A position: units held (0 or more), and the book's last mark of it (points, `currency`) with the day of its price."""

    position: str
    portfolio_node_id: int
    instrument: Instrument
    direction: str
    quantity: Decimal
    currency: str
    mark: Decimal | None = None
    marked_on: date | None = None
    portfolio: str | None = None
    engine_position_id: str | None = None


def held_on(session: Session, day: date) -> list[Held]:
    """All that was open at the end of a day (UTC), in the order of their names."""
    found = [*_positions(session, day), *_holdings(session, day)]
    return sorted(found, key=lambda each: each.position)


def end_of(day: date) -> datetime:
    """When a day is over, in UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)


def _positions(session: Session, day: date) -> Iterable[Held]:
    end = end_of(day)
    marks = (
        select(PositionPnLHistory)
        .where(PositionPnLHistory.snapshot_date <= day)
        .ext(distinct_on(PositionPnLHistory.position_id))
        .order_by(PositionPnLHistory.position_id, PositionPnLHistory.snapshot_date.desc())
    )
    asked = (
        select(PortfolioPosition, Instrument)
        .join(Instrument, Instrument.instrument_id == PortfolioPosition.instrument_id)
        .where(PortfolioPosition.entry_timestamp < end)
        .where(or_(PortfolioPosition.exit_timestamp.is_(None), PortfolioPosition.exit_timestamp >= end))
    )
    rows = session.execute(asked).all()
    of_these = PositionPnLHistory.position_id.in_([row.PortfolioPosition.id for row in rows])
    last = {mark.position_id: mark for mark in session.scalars(marks.where(of_these))} if rows else {}
    for position, instrument in rows:
        mark = last.get(position.id)
        yield Held(
            position=f"position/{position.id}",
            portfolio_node_id=position.portfolio_node_id,
            instrument=instrument,
            direction=position.direction,
            quantity=position.quantity if mark is None else mark.quantity,
            currency=position.base_ccy,
            mark=None if mark is None else mark.mark_price,
            marked_on=None if mark is None else mark.price_date or mark.snapshot_date,
            portfolio=position.portfolio,
            engine_position_id=position.engine_position_id,
        )


def _holdings(session: Session, day: date) -> Iterable[Held]:
    """What was uploaded; it has no marks."""
    end = end_of(day)
    asked = (
        select(Position, Instrument)
        .join(Instrument, Instrument.instrument_id == Position.instrument_id)
        .where(Position.created_at < end)
        .where(or_(Position.status == "ACTIVE", and_(Position.status == "CLOSED", Position.updated_at >= end)))
    )
    for holding, instrument in session.execute(asked):
        yield Held(
            position=f"holding/{holding.position_id}",
            portfolio_node_id=holding.portfolio_node_id,
            instrument=instrument,
            direction="SHORT" if holding.quantity < 0 else "LONG",
            quantity=abs(holding.quantity),
            currency=holding.base_ccy,
        )


class Tree:
    """The book's nodes as they were at the end of a day."""

    def __init__(self, session: Session, day: date) -> None:
        self.nodes: dict[int, Mapping[str, Any]] = {row["portfolio_node_id"]: row for row in nodes_on(session, day)}

    def above(self, node: int) -> list[int]:
        """The node and all that it is below of, itself first; what the tree does not know is below nothing."""
        found: list[int] = []
        at: int | None = node
        while at is not None and at in self.nodes and at not in found:
            found.append(at)
            at = self.nodes[at]["parent_id"]
        return found

    def currency(self, node: int) -> str:
        """The currency of the node's money."""
        return str(self.nodes[node]["base_ccy"])


class Rates:
    """The book's rates of a day, each asked for once; one that is missing is the sentence that says so."""

    def __init__(self, session: Session, day: date) -> None:
        self._session = session
        self._day = day
        self._known: dict[tuple[str, str], float | str] = {}

    def between(self, currency: str, into: str) -> float | str:
        """How much of `into` one of `currency` is, or `MissingRate: ...`."""
        if (currency, into) not in self._known:
            self._known[currency, into] = self._asked(currency, into)
        return self._known[currency, into]

    def _asked(self, currency: str, into: str) -> float | str:
        if currency == into:
            return 1.0
        try:
            # A savepoint: the database says that a rate is missing by an error.
            with self._session.begin_nested():
                return float(rate_between(self._session, currency, into, self._day))
        except MissingRate as error:
            return named(error)


def named(error: Exception) -> str:
    """An error as a reason: its name, and what it says."""
    return f"{type(error).__name__}: {error}"[:500]
