"""All models of the book, for whoever needs every table: the migrations' comparison, and imports of a name."""

from book.base import Base, metadata
from book.decision_journal import DecisionJournal
from book.hierarchy import (
    LivePortfolio,
    PortfolioNode,
    PortfolioNodeVersion,
    PortfolioSnapshot,
    PortfolioSnapshotContent,
    Position,
)
from book.market_data import (
    DataLineage,
    ExportHistory,
    IngestionBatch,
    IngestionRow,
    InstrumentPrice,
    LoanServicing,
    MarketDataFeed,
)
from book.portfolio_management import (
    DailyBriefing,
    DecisionDraft,
    PortfolioPosition,
    PositionPnLHistory,
    TradeProposal,
)
from book.projection_cursor import ProjectionCursor
from book.reference_data import FxSpot, Instrument, RatingHistory, ReferenceData
from book.totals import GroupTotal, PositionGroup, TotalChange

__all__ = [
    "Base",
    "DailyBriefing",
    "DataLineage",
    "DecisionDraft",
    "DecisionJournal",
    "ExportHistory",
    "FxSpot",
    "GroupTotal",
    "IngestionBatch",
    "IngestionRow",
    "Instrument",
    "InstrumentPrice",
    "LivePortfolio",
    "LoanServicing",
    "MarketDataFeed",
    "PortfolioNode",
    "PortfolioNodeVersion",
    "PortfolioPosition",
    "PortfolioSnapshot",
    "PortfolioSnapshotContent",
    "Position",
    "PositionGroup",
    "PositionPnLHistory",
    "ProjectionCursor",
    "RatingHistory",
    "ReferenceData",
    "TotalChange",
    "TradeProposal",
    "metadata",
]
