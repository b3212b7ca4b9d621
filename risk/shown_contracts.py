"""Which instruments have bars of contracts, for a page to choose from."""

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from book.reference_data import Instrument
from risk.market_data import MarketData
from risk.sources import DataSource

_DAILY = "1d"


def with_contracts(session: Session) -> list[str]:
    """The instruments of whose contracts there are daily bars, by name."""
    told = exists().where(
        MarketData.instrument_id == Instrument.instrument_id,
        MarketData.timeframe == _DAILY,
        MarketData.expiry.is_not(None),
        MarketData.strike.is_(None),
    )
    return list(session.scalars(select(Instrument.symbol).where(told).order_by(Instrument.symbol)))


def who_tells(session: Session, instrument: str) -> list[str]:
    """The sources of daily bars of an instrument's contracts, by name."""
    told = (
        exists()
        .where(
            MarketData.source_id == DataSource.source_id,
            MarketData.timeframe == _DAILY,
            MarketData.expiry.is_not(None),
            MarketData.strike.is_(None),
        )
        .where(MarketData.instrument_id == Instrument.instrument_id, Instrument.symbol == instrument)
    )
    return list(session.scalars(select(DataSource.name).where(told).order_by(DataSource.name)))
