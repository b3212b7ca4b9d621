"""What a node and all below it held at an instant: the book's positions, the engine's by its journal, uploaded holdings."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from sqlalchemy import and_, or_, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from book.hierarchy import LivePortfolio, PortfolioNodeVersion, Position
from book.nodes import node_of
from book.portfolio_management import PortfolioPosition, PositionPnLHistory
from book.reference_data import Instrument, ReferenceData
from core.models import Position as EnginePosition
from core.models import PositionStatus
from risk.modelling.engine_positions import positions_then
from risk.modelling.refusals import NodeNotThen

_SEPARATOR = "/"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldThen:
    """A position: signed lots (long +, short -), what a point is worth a lot, and its last mark before that time (points,
    `currency`) with its day. `stop`, `contract` and `expiry` are known of the engine's."""

    name: str
    node_id: int
    node: str
    instrument: Instrument
    sector: str
    lots: float
    point_value: float
    currency: str
    mark: float | None = None
    marked_on: date | None = None
    stop: float | None = None
    contract: str = ""
    expiry: date | None = None
    strategies: tuple[str, ...] = ()
    note: str | None = None


def day_over_by(at: datetime) -> date:
    """The last day (UTC) that was over by then."""
    return (at.astimezone(UTC) - timedelta(days=1)).date()


def day_of(at: datetime) -> date:
    """The day (UTC) that ran just before then: at midnight, the one that ended."""
    return (at.astimezone(UTC) - timedelta(microseconds=1)).date()


class Branch:
    """A node and all below it as the tree was at an instant: each one's path from the root, and the node's currency."""

    def __init__(self, session: Session, node: int, at: datetime) -> None:
        node_of(session, node)
        version = PortfolioNodeVersion
        asked = select(version).where(
            or_(version.valid_from.is_(None), version.valid_from < at),
            or_(version.valid_to.is_(None), version.valid_to >= at),
        )
        nodes = {each.portfolio_node_id: each for each in session.scalars(asked)}
        if node not in nodes:
            raise NodeNotThen(f"node {node} was not there at {at:%Y-%m-%d %H:%M:%S} UTC: `book node list` tells nodes")
        self.currency: str = nodes[node].base_ccy
        self.paths: dict[int, str] = {}
        for number in nodes:
            above = list(_above(nodes, number))
            if node in above:
                self.paths[number] = _SEPARATOR.join(nodes[each].name for each in reversed(above))


def _above(nodes: Mapping[int, PortfolioNodeVersion], number: int) -> Iterator[int]:
    """The node, and all that it hangs below."""
    at: int | None = number
    while at is not None and at in nodes:
        yield at
        at = nodes[at].parent_id


def held_then(session: Session, branch: Branch, at: datetime) -> list[HeldThen]:
    """All that the branch held just before `at`, in the order of their names. Raises BookBehind."""
    sectors = {
        row.entity_id: row.name for row in session.scalars(select(ReferenceData).filter_by(entity_type="SECTOR"))
    }
    found = [*_positions(session, branch, at, sectors), *_holdings(session, branch, at, sectors)]
    return sorted(found, key=lambda each: each.name)


def _positions(session: Session, branch: Branch, at: datetime, sectors: Mapping[int, str]) -> Iterable[HeldThen]:
    asked = (
        select(PortfolioPosition, Instrument)
        .join(Instrument, Instrument.instrument_id == PortfolioPosition.instrument_id)
        .where(PortfolioPosition.portfolio_node_id.in_(branch.paths), PortfolioPosition.entry_timestamp < at)
        .where(or_(PortfolioPosition.exit_timestamp.is_(None), PortfolioPosition.exit_timestamp >= at))
    )
    rows = [(row.PortfolioPosition, row.Instrument) for row in session.execute(asked)]
    marks = _marks(session, [position.id for position, _ in rows], day_over_by(at))
    then = _of_engine(session, branch, [position for position, _ in rows], at)
    for position, instrument in rows:
        mark = marks.get(position.id)
        quantity = position.quantity if mark is None else mark.quantity
        told = HeldThen(
            name=f"position/{position.id}",
            node_id=position.portfolio_node_id,
            node=branch.paths[position.portfolio_node_id],
            instrument=instrument,
            sector=_sector(sectors, instrument),
            lots=_lots(quantity if position.direction == "LONG" else -quantity, instrument),
            point_value=float(instrument.point_value or 1),
            currency=position.base_ccy,
            mark=None if mark is None else float(mark.mark_price),
            marked_on=None if mark is None else mark.price_date or mark.snapshot_date,
            strategies=tuple(position.strategy_ids),
        )
        if position.portfolio is None:
            yield told
            continue
        own = then[position.portfolio].get(str(position.engine_position_id))
        if own is None:
            yield replace(told, note="lots: the book's: the journal does not tell of it by then")
        elif own.status is not PositionStatus.CLOSED:
            yield _as_journalled(told, own)


def _marks(session: Session, positions: list[int], day: date) -> dict[int, PositionPnLHistory]:
    """The book's last mark of each, up to a day."""
    asked = (
        select(PositionPnLHistory)
        .where(PositionPnLHistory.position_id.in_(positions), PositionPnLHistory.snapshot_date <= day)
        .ext(distinct_on(PositionPnLHistory.position_id))
        .order_by(PositionPnLHistory.position_id, PositionPnLHistory.snapshot_date.desc())
    )
    return {mark.position_id: mark for mark in session.scalars(asked)}


def _of_engine(
    session: Session, branch: Branch, positions: list[PortfolioPosition], at: datetime
) -> dict[str, dict[str, EnginePosition]]:
    """The engine's positions of each portfolio that hangs there, as its journal has them."""
    by_portfolio: dict[str, list[PortfolioPosition]] = defaultdict(list)
    hanging = select(LivePortfolio.portfolio).where(LivePortfolio.portfolio_node_id.in_(branch.paths))
    for portfolio in session.scalars(hanging):
        by_portfolio[portfolio] = []
    for position in positions:
        if position.portfolio is not None:
            by_portfolio[position.portfolio].append(position)
    return {portfolio: positions_then(session, portfolio, own, at) for portfolio, own in sorted(by_portfolio.items())}


def _as_journalled(told: HeldThen, own: EnginePosition) -> HeldThen:
    return replace(
        told,
        lots=float(own.side.sign * own.lots),
        point_value=float(own.point_value),
        mark=float(own.mark_price),
        marked_on=own.mark_time.astimezone(UTC).date(),
        stop=None if own.current_stop is None else float(own.current_stop),
        contract=own.contract_month or "",
        expiry=own.expiry,
    )


def _holdings(session: Session, branch: Branch, at: datetime, sectors: Mapping[int, str]) -> Iterable[HeldThen]:
    """What was uploaded; it has no marks."""
    asked = (
        select(Position, Instrument)
        .join(Instrument, Instrument.instrument_id == Position.instrument_id)
        .where(Position.portfolio_node_id.in_(branch.paths), Position.created_at < at, Position.quantity != 0)
        .where(or_(Position.status == "ACTIVE", and_(Position.status == "CLOSED", Position.updated_at >= at)))
    )
    for holding, instrument in session.execute(asked):
        yield HeldThen(
            name=f"holding/{holding.position_id}",
            node_id=holding.portfolio_node_id,
            node=branch.paths[holding.portfolio_node_id],
            instrument=instrument,
            sector=_sector(sectors, instrument),
            lots=_lots(holding.quantity, instrument),
            point_value=float(instrument.point_value or 1),
            currency=holding.base_ccy,
        )


def _sector(sectors: Mapping[int, str], instrument: Instrument) -> str:
    return "" if instrument.sector_id is None else sectors.get(instrument.sector_id, "")


def _lots(quantity: Decimal, instrument: Instrument) -> float:
    return float(quantity) / float(instrument.lot_size or 1)
