"""What series, curves and surfaces tell, and research signals. What is published again is another revision of the same."""

from datetime import date
from decimal import Decimal

from sqlalchemy import CheckConstraint, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from book.base import Exact, is_object, one_of
from book.reference_data import Instrument
from risk.base import (
    Base,
    Created,
    Document,
    Number,
    OptionType,
    Price,
    Revision,
    RowId,
    Share,
    Text20,
    Text50,
    Time,
    by_time,
)
from risk.sources import DataSource, SeriesMetadata

CURVE_TYPES = ("par", "zero", "forward", "swap", "real", "breakeven", "spread")
_REVISION = "revision >= 0"


def _unique(name: str, *columns: str) -> UniqueConstraint:
    """No two rows are of the same, be it told or not."""
    return UniqueConstraint(*columns, name=name, postgresql_nulls_not_distinct=True)


class MacroSeries(Base):
    """A series' value of a day, as a revision told it: known from `release_time` on."""

    __tablename__ = "macro_series"
    __table_args__ = (
        UniqueConstraint(
            "series_id",
            "observation_date",
            "revision",
            name="uq_macro_series_observation",
            postgresql_include=["release_time", "value"],
        ),
        CheckConstraint(_REVISION, name="revision"),
        CheckConstraint("value < 'NaN'", name="value"),
        by_time("observation_date"),
    )

    id: Mapped[RowId]
    observation_date: Mapped[date] = mapped_column(primary_key=True)
    series_id: Mapped[int] = mapped_column(ForeignKey(SeriesMetadata.series_id))
    revision: Mapped[Revision]
    release_time: Mapped[Time]
    value: Mapped[Number]
    created_at: Mapped[Created]


class CurveData(Base):
    """A point of a curve: the rate in per cent a year that is so many days away."""

    __tablename__ = "curve_data"
    __table_args__ = (
        UniqueConstraint("curve_id", "source_id", "curve_date", "tenor_days", "revision", name="uq_curve_data_point"),
        CheckConstraint("btrim(curve_id) <> ''", name="curve_id"),
        CheckConstraint("tenor_days >= 0", name="tenor_days"),
        CheckConstraint(_REVISION, name="revision"),
        one_of("curve_type", *CURVE_TYPES),
        CheckConstraint("rate < 'NaN'", name="rate"),
        by_time("curve_date"),
    )

    id: Mapped[RowId]
    curve_date: Mapped[date] = mapped_column(primary_key=True)
    curve_id: Mapped[Text50]
    source_id: Mapped[int] = mapped_column(ForeignKey(DataSource.source_id), index=True)
    tenor_days: Mapped[int]
    revision: Mapped[Revision]
    release_time: Mapped[Time]
    curve_type: Mapped[str] = mapped_column(String(9))
    rate: Mapped[Price]
    created_at: Mapped[Created]


class FlowData(Base):
    """What went in or out of a market, or of an instrument where one is named, in its unit."""

    __tablename__ = "flow_data"
    __table_args__ = (
        _unique("uq_flow_data_flow", "series_id", "flow_type", "instrument_id", "observation_date", "revision"),
        CheckConstraint("btrim(flow_type) <> ''", name="flow_type"),
        CheckConstraint(_REVISION, name="revision"),
        CheckConstraint("value < 'NaN'", name="value"),
        by_time("observation_date"),
    )

    id: Mapped[RowId]
    observation_date: Mapped[date] = mapped_column(primary_key=True)
    series_id: Mapped[int] = mapped_column(ForeignKey(SeriesMetadata.series_id))
    instrument_id: Mapped[int | None] = mapped_column(ForeignKey(Instrument.instrument_id), index=True)
    flow_type: Mapped[Text50]
    revision: Mapped[Revision]
    release_time: Mapped[Time]
    value: Mapped[Number]
    unit: Mapped[Text20]
    created_at: Mapped[Created]


class FiscalData(Base):
    """What a state takes, spends or owes, in its unit."""

    __tablename__ = "fiscal_data"
    __table_args__ = (
        UniqueConstraint("series_id", "fiscal_metric", "observation_date", "revision", name="uq_fiscal_data_metric"),
        CheckConstraint("btrim(fiscal_metric) <> ''", name="fiscal_metric"),
        CheckConstraint(_REVISION, name="revision"),
        CheckConstraint("value < 'NaN'", name="value"),
        by_time("observation_date"),
    )

    id: Mapped[RowId]
    observation_date: Mapped[date] = mapped_column(primary_key=True)
    series_id: Mapped[int] = mapped_column(ForeignKey(SeriesMetadata.series_id))
    fiscal_metric: Mapped[Text50]
    revision: Mapped[Revision]
    release_time: Mapped[Time]
    value: Mapped[Number]
    unit: Mapped[Text20]
    created_at: Mapped[Created]


class VolSurface(Base):
    """An implied volatility in per cent a year, by strike (points) or by delta, of calls, puts, or both where it is not told."""

    __tablename__ = "vol_surface"
    __table_args__ = (
        _unique(
            "uq_vol_surface_point",
            "instrument_id",
            "source_id",
            "surface_date",
            "expiry",
            "strike",
            "delta",
            "option_type",
        ),
        CheckConstraint("expiry >= surface_date", name="expiry"),
        CheckConstraint("num_nonnulls(strike, delta) = 1", name="place"),
        CheckConstraint("strike > 0 AND strike < 'NaN'", name="strike"),
        CheckConstraint("delta >= -1 AND delta <= 1", name="delta"),
        one_of("option_type", "CE", "PE"),
        CheckConstraint("implied_volatility > 0 AND implied_volatility < 'NaN'", name="implied_volatility"),
        by_time("surface_date"),
    )

    id: Mapped[RowId]
    surface_date: Mapped[date] = mapped_column(primary_key=True)
    instrument_id: Mapped[int] = mapped_column(ForeignKey(Instrument.instrument_id))
    source_id: Mapped[int] = mapped_column(ForeignKey(DataSource.source_id), index=True)
    expiry: Mapped[date]
    strike: Mapped[Price | None]
    delta: Mapped[Share | None]
    option_type: Mapped[OptionType | None]
    implied_volatility: Mapped[Decimal] = mapped_column(Exact(12, 6))
    created_at: Mapped[Created]


class Signal(Base):
    """What research says of an instrument or a series, or of neither; never an alert, and nothing that the engine reads."""

    __tablename__ = "signal"
    __table_args__ = (
        _unique("uq_signal_said", "signal_name", "model_version", "instrument_id", "series_id", "signal_date"),
        CheckConstraint("btrim(signal_name) <> ''", name="signal_name"),
        one_of("direction", "LONG", "SHORT", "FLAT"),
        CheckConstraint("strength < 'NaN'", name="strength"),
        CheckConstraint("confidence >= 0 AND confidence <= 1", name="confidence"),
        is_object("metadata_json", "metadata"),
        by_time("signal_date"),
    )

    id: Mapped[RowId]
    signal_date: Mapped[Time] = mapped_column(primary_key=True)
    signal_name: Mapped[Text50]
    model_version: Mapped[Text20 | None]
    instrument_id: Mapped[int | None] = mapped_column(ForeignKey(Instrument.instrument_id), index=True)
    series_id: Mapped[int | None] = mapped_column(ForeignKey(SeriesMetadata.series_id), index=True)
    direction: Mapped[str] = mapped_column(String(5))
    strength: Mapped[Number]
    confidence: Mapped[Share | None]
    metadata_json: Mapped[Document]
    created_at: Mapped[Created]
