"""Rows of the book to test with, each valid but for what a test says otherwise."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from book.models import Base, Instrument, LivePortfolio, MarketDataFeed, PortfolioNode, PortfolioPosition, ReferenceData

_Row = TypeVar("_Row", bound=Base)
NOON = datetime(2026, 1, 14, 12, tzinfo=UTC)
TODAY = date(2026, 1, 14)
FINGERPRINT = "a" * 64
# Numbers of securities that exist.
APPLE_ISIN, APPLE_CUSIP = "US0378331005", "037833100"


def kept(session: Session, row: _Row) -> _Row:
    """The row, once the database has taken it."""
    session.add(row)
    session.flush()
    return row


def a_node(session: Session, name: str = "Fund", node_type: str = "FUND", **others: Any) -> PortfolioNode:
    return kept(session, PortfolioNode(**{"name": name, "node_type": node_type, "base_ccy": "INR", **others}))


def an_instrument(session: Session, symbol: str = "BANK_NIFTY", **others: Any) -> Instrument:
    given = {"name": symbol.title(), "asset_class": "EQUITY_INDEX", "kind": "synthetic_future", "currency": "INR"}
    return kept(session, Instrument(**{"symbol": symbol, **given, **others}))


def an_issuer(session: Session, name: str = "Apple Inc.", **others: Any) -> ReferenceData:
    return kept(session, ReferenceData(**{"entity_type": "ISSUER", "name": name, **others}))


def a_feed(session: Session, **others: Any) -> MarketDataFeed:
    given = {"feed_type": "FX_SPOT", "as_of_date": TODAY, "source": "the desk"}
    return kept(session, MarketDataFeed(**{**given, **others}))


def a_live_portfolio(session: Session, node: PortfolioNode, portfolio: str = "main") -> LivePortfolio:
    return kept(session, LivePortfolio(portfolio=portfolio, portfolio_node_id=node.portfolio_node_id))


def position_values(session: Session, **others: Any) -> dict[str, Any]:
    """What a position entered by hand is: 60 units at 52,000 rupees, at 85 rupees a dollar."""
    return {
        "portfolio_node_id": a_node(session).portfolio_node_id,
        "instrument_id": an_instrument(session).instrument_id,
        "source": "manual",
        "direction": "LONG",
        "quantity": Decimal(60),
        "base_ccy": "INR",
        "notional_base": Decimal(3_120_000),
        "notional_usd": Decimal("36705.8824"),
        "entry_fx_rate": Decimal(85),
        "entry_price": Decimal(52_000),
        "entry_timestamp": NOON,
        **others,
    }


def a_position(session: Session, **others: Any) -> PortfolioPosition:
    return kept(session, PortfolioPosition(**position_values(session, **others)))


def a_held_position(session: Session, node: int, instrument: int, **others: Any) -> PortfolioPosition:
    """A long of 1,000 rupees that was entered by hand; no rate to dollars was known."""
    given = {
        "portfolio_node_id": node,
        "instrument_id": instrument,
        "source": "manual",
        "direction": "LONG",
        "quantity": Decimal(10),
        "base_ccy": "INR",
        "notional_base": Decimal(1_000),
        "entry_price": Decimal(100),
        "entry_timestamp": NOON - timedelta(days=10),
    }
    return kept(session, PortfolioPosition(**{**given, **others}))


def proposal_values(**others: Any) -> dict[str, Any]:
    return {
        "portfolio": "main",
        "proposal_id": "Paaaaaaaaaaaaaaaa",
        "journal_seq": 7,
        "fingerprint": FINGERPRINT,
        "instrument": "BANK_NIFTY",
        "signal_type": "BASE_ENTRY",
        "layer": "Long_1",
        "direction": "LONG",
        "rule": "late",
        "lots": 2,
        "price": Decimal(52_000),
        "proposed_at": NOON,
        **others,
    }


def draft_values(**others: Any) -> dict[str, Any]:
    given = {"request_id": "note-1", "portfolio": "main", "entry_type": "NOTE", "author": "alice", "title": "Why"}
    return {**given, **others}


def briefing_values(**others: Any) -> dict[str, Any]:
    return {"portfolio": "main", "briefing_date": TODAY, "journal_seq": 7, "generated_at": NOON, **others}


def pnl_values(**others: Any) -> dict[str, Any]:
    return {
        "snapshot_date": TODAY,
        "position_id": 1,
        "quantity": Decimal(60),
        "mark_price": Decimal(52_100),
        "notional_base": Decimal(3_126_000),
        "unrealized_pnl_base": Decimal(6_000),
        "daily_pnl_base": Decimal(6_000),
        **others,
    }
