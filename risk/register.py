"""Who tells what: sources and series by name, made where they are told for the first time; instruments of the one master."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from book.reference_data import Instrument
from core.errors import Refused
from risk.market_data import MarketData
from risk.sources import DataSource, SeriesMetadata


class SourceNotValid(Refused):
    """a source's name begins with a letter and is of a-z, 0-9, and . _ -"""


def source_id(session: Session, name: str, kind: str) -> int:
    """The number of a source, which is made where there is none of that name; nobody removes it before the transaction's end."""
    if not name or len(name) > 50 or not (name[0].isascii() and name[0].islower()) or not _is_plain(name):
        raise SourceNotValid(f"{name!r}: begins with a letter and is of up to 50 of a-z, 0-9, and . _ -")
    session.execute(insert(DataSource).values(name=name, kind=kind).on_conflict_do_nothing())
    asked = select(DataSource.source_id).where(DataSource.name == name)
    return session.scalars(asked.with_for_update(key_share=True, read=True)).one()


def _is_plain(name: str) -> bool:
    return all(letter.isascii() and (letter.islower() or letter.isdigit() or letter in "._-") for letter in name)


def instrument_ids(session: Session, symbols: Iterable[str]) -> dict[str, int]:
    """The numbers of those that the master has; nobody removes them before the transaction's end."""
    asked = select(Instrument.symbol, Instrument.instrument_id).where(Instrument.symbol.in_(sorted(set(symbols))))
    return {row.symbol: row.instrument_id for row in session.execute(asked.with_for_update(key_share=True, read=True))}


def series_ids(session: Session, source: int, codes: Iterable[str]) -> dict[str, int]:
    """The numbers of a source's series by their codes; those that are new are made, to be described later."""
    wanted = sorted(set(codes))
    if wanted:
        new = [{"source_id": source, "series_code": code, "name": code} for code in wanted]
        session.execute(insert(SeriesMetadata).on_conflict_do_nothing(), new)
    asked = select(SeriesMetadata.series_code, SeriesMetadata.series_id)
    return {
        row.series_code: row.series_id
        for row in session.execute(
            asked.where(SeriesMetadata.source_id == source, SeriesMetadata.series_code.in_(wanted))
        )
    }


def kept_bars(session: Session) -> list[Mapping[str, Any]]:
    """What bars there are: how many of which instrument, contract, timeframe and source, the first and the last. Options of an
    expiry are one line."""
    of = (
        Instrument.symbol.label("instrument"),
        MarketData.timeframe,
        DataSource.name.label("source"),
        MarketData.expiry,
        (MarketData.strike.isnot(None)).label("options"),
    )
    asked = (
        select(
            *of,
            func.count().label("bars"),
            func.min(MarketData.timestamp).label("first"),
            func.max(MarketData.timestamp).label("last"),
        )
        .join(Instrument, Instrument.instrument_id == MarketData.instrument_id)
        .join(DataSource, DataSource.source_id == MarketData.source_id)
        .group_by(*of)
        .order_by(*of)
    )
    return [dict(row) for row in session.execute(asked).mappings()]


def kept_series(session: Session) -> list[Mapping[str, Any]]:
    """Every series of every source."""
    asked = (
        select(
            DataSource.name.label("source"),
            SeriesMetadata.series_code,
            SeriesMetadata.name,
            SeriesMetadata.frequency,
            SeriesMetadata.unit,
            Instrument.symbol.label("instrument"),
        )
        .join(DataSource, DataSource.source_id == SeriesMetadata.source_id)
        .outerjoin(Instrument, Instrument.instrument_id == SeriesMetadata.instrument_id)
        .order_by(DataSource.name, SeriesMetadata.series_code)
    )
    return [dict(row) for row in session.execute(asked).mappings()]
