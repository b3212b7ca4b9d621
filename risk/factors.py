"""Factors that move positions, and scenarios with their shocks: a desk's own, which `risk.seeds` begins."""

from datetime import date

from sqlalchemy import CheckConstraint, Double, ForeignKey, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from book.base import one_of
from book.reference_data import Instrument
from risk.base import Base, Created, Id, Text20, Text50, Text100, Text200, Updated
from risk.sources import SeriesMetadata


class FactorDefinition(Base):
    """A factor, and what tells how it moves: daily bars of an instrument, or a series; else the series of its own name.

    Of the unit `return` its moves are returns, of `change` differences of what is quoted in per cent (0.01 = a point).
    """

    __tablename__ = "factor_definitions"
    __table_args__ = (
        UniqueConstraint("name"),
        CheckConstraint("name ~ '^[a-z][a-z0-9_]*$' AND name <> 'specific'", name="name"),
        one_of("unit", "return", "change"),
        CheckConstraint("num_nonnulls(instrument_id, series_id) <= 1", name="told_by"),
    )

    factor_id: Mapped[Id]
    name: Mapped[Text50]
    display_name: Mapped[Text100]
    category: Mapped[Text20]
    factor_set: Mapped[Text20]
    unit: Mapped[str] = mapped_column(String(6))
    meaning: Mapped[Text200]
    sort_order: Mapped[int]
    instrument_id: Mapped[int | None] = mapped_column(ForeignKey(Instrument.instrument_id), index=True)
    series_id: Mapped[int | None] = mapped_column(ForeignKey(SeriesMetadata.series_id), index=True)
    is_active: Mapped[bool] = mapped_column(server_default=text("true"))
    created_at: Mapped[Created]
    updated_at: Mapped[Updated]


class StressScenario(Base):
    """Shocks that happen together; historical ones are of the days from the first to the last."""

    __tablename__ = "stress_scenarios"
    __table_args__ = (
        UniqueConstraint("name"),
        CheckConstraint("btrim(name) <> ''", name="name"),
        one_of("scenario_type", "sensitivity", "historical", "custom"),
        CheckConstraint("(first_day IS NULL) = (last_day IS NULL) AND last_day >= first_day", name="days"),
    )

    scenario_id: Mapped[Id]
    name: Mapped[Text100]
    scenario_type: Mapped[Text20]
    sort_order: Mapped[int]
    first_day: Mapped[date | None]
    last_day: Mapped[date | None]
    is_active: Mapped[bool] = mapped_column(server_default=text("true"))
    created_at: Mapped[Created]
    updated_at: Mapped[Updated]


class StressScenarioShock(Base):
    """How far a scenario moves a factor: a return (0.1 = 10 %) or a change (0.01 = a point); from where to where by whom."""

    __tablename__ = "stress_scenario_shocks"
    __table_args__ = (CheckConstraint("abs(shock) < 'Infinity'", name="shock"),)

    scenario_id: Mapped[int] = mapped_column(
        ForeignKey(StressScenario.scenario_id, ondelete="CASCADE"), primary_key=True
    )
    factor_id: Mapped[int] = mapped_column(ForeignKey(FactorDefinition.factor_id), primary_key=True, index=True)
    shock: Mapped[float] = mapped_column(Double)
    from_value: Mapped[float | None] = mapped_column(Double)
    to_value: Mapped[float | None] = mapped_column(Double)
    source: Mapped[Text200 | None]
