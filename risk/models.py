"""All models of the risk lab, for whoever needs every table. Instrument is the book's: there is one master."""

from book.reference_data import Instrument
from risk.base import Base, metadata
from risk.daily import (
    CalculationAuditLog,
    FactorCovariance,
    InstrumentCovariance,
    PortfolioRisk,
    PositionFactorExposure,
    PositionRisk,
    StressResult,
)
from risk.factors import FactorDefinition, StressScenario, StressScenarioShock
from risk.market_data import MarketData
from risk.option_terms import OptionTerms
from risk.series import CurveData, FiscalData, FlowData, MacroSeries, Signal, VolSurface
from risk.sessions import ExportHistory, ModelingSession, ModelingSessionSnapshot
from risk.sources import DataSource, SeriesMetadata
from risk.tags import PortfolioTag, PositionTag, Tag

__all__ = [
    "Base",
    "CalculationAuditLog",
    "CurveData",
    "DataSource",
    "ExportHistory",
    "FactorCovariance",
    "FactorDefinition",
    "FiscalData",
    "FlowData",
    "Instrument",
    "InstrumentCovariance",
    "MacroSeries",
    "MarketData",
    "ModelingSession",
    "ModelingSessionSnapshot",
    "OptionTerms",
    "PortfolioRisk",
    "PortfolioTag",
    "PositionFactorExposure",
    "PositionRisk",
    "PositionTag",
    "SeriesMetadata",
    "Signal",
    "StressResult",
    "StressScenario",
    "StressScenarioShock",
    "Tag",
    "VolSurface",
    "metadata",
]
