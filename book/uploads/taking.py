"""What becomes of an upload's rows once they are found good: holdings, prices, rates, ratings, servicing."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from itertools import groupby
from typing import Any, cast

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from book.entered_marks import forget_marks
from book.hierarchy import Position
from book.market_data import InstrumentPrice, LoanServicing, MarketDataFeed
from book.reference_data import FxSpot, Instrument, RatingHistory
from book.snapshots import take_snapshot
from book.uploads.checks import Checked
from book.uploads.kinds import FxRow, PositionRow, PriceRow, RatingRow, ServicingRow

# SQLAlchemy makes a copy of what it is given at once.
_ROWS_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Which upload it is, and when (aware) on which day of the desk's."""

    batch_id: int
    name: str
    at: datetime
    today: date


def take(session: Session, kind: str, rows: Sequence[Checked], source: Source) -> None:
    """Bring these rows, none of which has a fault, into the book."""
    if rows:
        _TAKING[kind](session, rows, source)


def _take_positions(session: Session, rows: Sequence[Checked], source: Source) -> None:
    nodes = {checked.ids["node"] for checked in rows}
    held = {
        (position.portfolio_node_id, position.instrument_id): position
        for position in session.execute(
            select(*_HELD).where(Position.portfolio_node_id.in_(nodes), Position.status == "ACTIVE")
        )
    }
    new, changed = [], []
    for checked in rows:
        row, place = cast("PositionRow", checked.row), (checked.ids["node"], checked.ids["instrument"])
        values = {
            "quantity": row.quantity,
            "average_price": row.average_price,
            "base_ccy": row.currency,
            "status": "ACTIVE" if row.quantity else "CLOSED",
        }
        before = held.get(place)
        if before is not None and any(getattr(before, name) != value for name, value in values.items()):
            changed.append({"position_id": before.position_id, "batch_id": source.batch_id, **values})
        elif before is None and row.quantity:
            of = {"portfolio_node_id": place[0], "instrument_id": place[1]}
            new.append({"batch_id": source.batch_id, **of, **values})
    for part in _parts(new):
        session.execute(insert(Position), part)
    for part in _parts(changed):
        session.execute(update(Position), part)
    session.expire_all()
    for node in sorted(nodes):
        take_snapshot(session, node, source.today, source.at, _holdings(session, node))


_HELD = (
    Position.position_id,
    Position.portfolio_node_id,
    Position.instrument_id,
    Position.quantity,
    Position.average_price,
    Position.base_ccy,
    Position.status,
)


def _parts(rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    return (rows[start : start + _ROWS_AT_ONCE] for start in range(0, len(rows), _ROWS_AT_ONCE))


def _holdings(session: Session, node: int) -> dict[str, Any]:
    """What a node holds, as its snapshot has it."""
    found = session.execute(
        select(Instrument.symbol, Position.quantity, Position.average_price, Position.base_ccy)
        .join(Instrument, Instrument.instrument_id == Position.instrument_id)
        .where(Position.portfolio_node_id == node, Position.status == "ACTIVE")
        .order_by(Instrument.symbol)
    )
    return {
        "positions": {
            symbol: {"quantity": _plain(quantity), "average_price": _plain(average), "currency": currency}
            for symbol, quantity, average, currency in found
        }
    }


def _plain(number: Decimal | None) -> str | None:
    # Surplus zeros are the column's: what is the same must look the same.
    return None if number is None else f"{number.normalize():f}"


def _feeds(
    session: Session, rows: Sequence[Checked], source: Source, feed_type: str, payload_of: Callable[[Any], Any]
) -> list[tuple[int, list[Checked]]]:
    """A feed for each day of the rows, and the rows of it."""
    found = []
    by_day = sorted(rows, key=lambda checked: cast("Any", checked.row).as_of_date)
    for day, group in groupby(by_day, key=lambda checked: cast("Any", checked.row).as_of_date):
        own = list(group)
        feed = MarketDataFeed(
            feed_type=feed_type,
            as_of_date=day,
            source=source.name[:100],
            payload_json=dict(payload_of(checked.row) for checked in own),
            validation_status="WARN" if any(checked.oddities for checked in own) else "PASS",
            validation_errors_json=[
                {"line": checked.line, "reasons": checked.oddities} for checked in own if checked.oddities
            ],
            batch_id=source.batch_id,
        )
        session.add(feed)
        session.flush()
        found.append((feed.feed_id, own))
    return found


def _take_prices(session: Session, rows: Sequence[Checked], source: Source) -> None:
    def payload(row: PriceRow) -> tuple[str, Any]:
        return row.instrument, {"price": _plain(row.price), "currency": row.currency}

    new = [
        {
            "feed_id": feed_id,
            "instrument_id": checked.ids["instrument"],
            **cast("PriceRow", checked.row).model_dump(include={"as_of_date", "price", "currency"}),
        }
        for feed_id, own in _feeds(session, rows, source, "PRICE", payload)
        for checked in own
    ]
    first: dict[date, set[int]] = {}
    for row in new:
        first.setdefault(row["as_of_date"], set()).add(row["instrument_id"])
    # Held first, so that who keeps marks at the same moment sees these prices, or is seen.
    for day, instruments in sorted(first.items()):
        forget_marks(session, since=day, instruments=instruments)
    for part in _parts(new):
        session.execute(insert(InstrumentPrice), part)


def _take_fx(session: Session, rows: Sequence[Checked], source: Source) -> None:
    def payload(row: FxRow) -> tuple[str, Any]:
        return row.pair, _plain(row.rate)

    new = [
        {"snapshot_id": feed_id, **cast("FxRow", checked.row).model_dump(include={"pair", "rate"})}
        for feed_id, own in _feeds(session, rows, source, "FX_SPOT", payload)
        for checked in own
    ]
    session.execute(insert(FxSpot), new)


def _take_ratings(session: Session, rows: Sequence[Checked], source: Source) -> None:
    def payload(row: RatingRow) -> tuple[str, Any]:
        return f"{row.issuer} {row.agency}", {"rating": row.rating, "outlook": row.outlook}

    fresh = [checked for checked in rows if "known" not in checked.ids]
    new = [
        {
            "feed_id": feed_id,
            "entity_id": checked.ids["entity"],
            **cast("RatingRow", checked.row).model_dump(exclude={"issuer"}),
        }
        for feed_id, own in _feeds(session, fresh, source, "RATING", payload)
        for checked in own
    ]
    if new:
        session.execute(insert(RatingHistory), new)


def _take_servicing(session: Session, rows: Sequence[Checked], source: Source) -> None:
    new = [
        {
            "batch_id": source.batch_id,
            "instrument_id": checked.ids["instrument"],
            **cast("ServicingRow", checked.row).model_dump(exclude={"instrument"}),
        }
        for checked in rows
    ]
    session.execute(insert(LoanServicing), new)


_TAKING: dict[str, Callable[[Session, Sequence[Checked], Source], None]] = {
    "positions": _take_positions,
    "prices": _take_prices,
    "fx": _take_fx,
    "ratings": _take_ratings,
    "servicing": _take_servicing,
}
