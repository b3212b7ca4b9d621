"""All models of the risk lab, for whoever needs every table. Instrument is the book's: there is one master."""

from book.reference_data import Instrument
from risk.base import Base, metadata
from risk.market_data import MarketData
from risk.series import CurveData, FiscalData, FlowData, MacroSeries, Signal, VolSurface
from risk.sources import DataSource, SeriesMetadata

__all__ = [
    "Base",
    "CurveData",
    "DataSource",
    "FiscalData",
    "FlowData",
    "Instrument",
    "MacroSeries",
    "MarketData",
    "SeriesMetadata",
    "Signal",
    "VolSurface",
    "metadata",
]
