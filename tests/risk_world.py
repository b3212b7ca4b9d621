"""A small book to reckon by hand: three positions below two nodes, two factors, 61 days of closes."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from book.fx import set_rate
from book.reference_data import Instrument
from risk.models import DataSource, FactorDefinition, MacroSeries, MarketData, SeriesMetadata
from risk.seeds import seed
from tests.book_world import a_held_position, a_node, an_instrument, kept

DAY = date(2026, 1, 14)
AFTER = datetime(2026, 1, 14, 20, tzinfo=UTC)
DAYS = [day for day in (DAY - timedelta(days=back) for back in reversed(range(200))) if day.isoweekday() < 6][-61:]
SYMBOLS = ("BANK_NIFTY", "GOLD_MINI", "COPPER")
FACTORS = ("gold", "index")  # in the order of their names
USD = 85.0


def closes() -> dict[str, np.ndarray]:
    """Closes of the three instruments and of the two factors, rounded to cents: what the world is told, and tests reckon with."""
    dice = np.random.Generator(np.random.PCG64(7))
    index, gold, own = (dice.standard_normal((60, 3)) * 0.01).T
    moves = {
        "NIFTY": index,
        "gold": 0.3 * index + gold,
        "BANK_NIFTY": 1.2 * index + 0.3 * own,
        "GOLD_MINI": 0.9 * gold + 0.2 * own,
        "COPPER": 0.5 * index + 0.5 * own,
    }
    begin = {"NIFTY": 25_000.0, "gold": 4_000.0, "BANK_NIFTY": 52_000.0, "GOLD_MINI": 72_000.0, "COPPER": 500.0}
    return {
        name: np.round(begin[name] * np.concatenate([[1.0], np.cumprod(1 + move)]), 2) for name, move in moves.items()
    }


def bars(session: Session, instrument: int, source: int, values: Sequence[float], days: Sequence[date] = DAYS) -> None:
    """Daily bars of these closes, which begin at midnight in India."""
    for day, value in zip(days, values, strict=True):
        price = Decimal(str(value))
        opened = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=5, minutes=30)
        prices = dict.fromkeys(("open", "high", "low", "close"), price)
        session.add(MarketData(timestamp=opened, instrument_id=instrument, source_id=source, timeframe="1d", **prices))
    session.flush()


def a_world(session: Session, *, rate: bool = True) -> None:
    """Fund (INR) holds BANK_NIFTY, its Desk is short of GOLD_MINI and COPPER in dollars; instruments that are there stay."""
    fund = a_node(session)
    desk = a_node(session, "Desk", "DESK", parent_id=fund.portfolio_node_id)
    told = closes()
    source = kept(session, DataSource(name="here", kind="file")).source_id
    factor = an_instrument(session, "NIFTY", exchange="NSE")
    bars(session, factor.instrument_id, source, told["NIFTY"])
    series = kept(session, SeriesMetadata(source_id=source, series_code="gold", name="Gold"))
    for day, value in zip(DAYS, told["gold"], strict=True):
        at = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
        session.add(
            MacroSeries(observation_date=day, series_id=series.series_id, release_time=at, value=Decimal(str(value)))
        )
    seed(session)
    session.query(FactorDefinition).filter_by(name="index").update({"instrument_id": factor.instrument_id})
    for symbol, node, side, quantity, currency in (
        ("BANK_NIFTY", fund, "LONG", 60, "INR"),
        ("GOLD_MINI", desk, "SHORT", 40, "INR"),
        ("COPPER", desk, "LONG", 100, "USD"),
    ):
        of = session.scalar(select(Instrument).filter_by(symbol=symbol)) or an_instrument(
            session, symbol, exchange="MCX", kind="future", currency=currency
        )
        bars(session, of.instrument_id, source, told[symbol])
        a_held_position(
            session,
            node.portfolio_node_id,
            of.instrument_id,
            direction=side,
            quantity=Decimal(quantity),
            base_ccy=currency,
        )
    if rate:
        set_rate(session, "USD/INR", Decimal(str(USD)), DAY)
