"""What the daily batch keeps of a date: positions, exposures, covariances, nodes, stress; and the log of its steps."""

from datetime import date
from typing import Annotated, Any

from sqlalchemy import CheckConstraint, Double, ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from book.base import is_object, one_of
from book.hierarchy import PortfolioNode
from book.reference_data import Instrument
from risk.base import Base, Code5, Created, Document, Id, Price, Quantity, Text20, Text50, Time
from risk.factors import FactorDefinition, StressScenario

Float = Annotated[float, mapped_column(Double)]
Day = Annotated[date, mapped_column(primary_key=True)]
PositionName = Annotated[str, mapped_column(String(30))]
_Details = Annotated[dict[str, Any], mapped_column(JSONB(none_as_null=True))]
_FINITE_COVARIANCE = "abs(covariance) < 'Infinity' AND ({0}1_id <> {0}2_id OR covariance >= 0)"


class PositionRisk(Base):
    """A position at the end of a day: its value in `currency` (long +, short -); its instrument's last move and volatility a day.

    `position` is `position/12` of the book's portfolio_positions, `holding/5` of its position. `reasons` says by aspect (value,
    returns, factors, greeks, correlations) why something is not known.
    """

    __tablename__ = "position_risk"
    __table_args__ = (
        one_of("direction", "LONG", "SHORT"),
        one_of("squeeze_level", "HIGH", "MEDIUM", "LOW", "UNKNOWN"),
        CheckConstraint(
            "abs(value) < 'Infinity' AND abs(day_return) < 'Infinity' AND volatility >= 0 AND volatility < 'Infinity'",
            name="finite",
        ),
        CheckConstraint("value IS NOT NULL OR reasons ? 'value'", name="value"),
        is_object("reasons", "reasons"),
    )

    calculation_date: Mapped[Day]
    position: Mapped[PositionName] = mapped_column(primary_key=True)
    portfolio_node_id: Mapped[int] = mapped_column(ForeignKey(PortfolioNode.portfolio_node_id), index=True)
    instrument_id: Mapped[int] = mapped_column(ForeignKey(Instrument.instrument_id), index=True)
    symbol: Mapped[str] = mapped_column(String(29))
    direction: Mapped[Code5]
    quantity: Mapped[Quantity]
    currency: Mapped[Code5]
    price: Mapped[Price | None]
    price_date: Mapped[date | None]
    price_source: Mapped[Text50 | None]
    value: Mapped[Float | None]
    day_return: Mapped[Float | None]
    observations: Mapped[int | None]
    volatility: Mapped[Float | None]
    squeeze_level: Mapped[str | None] = mapped_column(String(7))
    greeks: Mapped[_Details | None]
    reasons: Mapped[Document]
    created_at: Mapped[Created]


class PositionFactorExposure(Base):
    """A position's return per unit of a factor's, how sure that is, and what no factor explains, a day."""

    __tablename__ = "position_factor_exposures"
    __table_args__ = (
        CheckConstraint(
            "abs(beta) < 'Infinity' AND standard_error >= 0 AND standard_error < 'Infinity' AND r_squared <= 1"
            " AND specific_variance >= 0 AND specific_variance < 'Infinity'",
            name="finite",
        ),
    )

    calculation_date: Mapped[Day]
    position: Mapped[PositionName] = mapped_column(primary_key=True)
    factor_id: Mapped[int] = mapped_column(ForeignKey(FactorDefinition.factor_id), primary_key=True, index=True)
    beta: Mapped[Float]
    standard_error: Mapped[Float]
    r_squared: Mapped[Float]
    specific_variance: Mapped[Float]
    observations: Mapped[int]
    created_at: Mapped[Created]


class FactorCovariance(Base):
    """The covariance of two factors, or a factor's variance, a day; each pair once, the lower number first."""

    __tablename__ = "factor_covariance"
    __table_args__ = (
        CheckConstraint("factor1_id <= factor2_id", name="pair"),
        CheckConstraint(_FINITE_COVARIANCE.format("factor"), name="covariance"),
        CheckConstraint("shrinkage >= 0 AND shrinkage <= 1", name="shrinkage"),
    )

    calculation_date: Mapped[Day]
    factor1_id: Mapped[int] = mapped_column(ForeignKey(FactorDefinition.factor_id), primary_key=True, index=True)
    factor2_id: Mapped[int] = mapped_column(ForeignKey(FactorDefinition.factor_id), primary_key=True, index=True)
    covariance: Mapped[Float]
    shrinkage: Mapped[Float]
    observations: Mapped[int]
    created_at: Mapped[Created]


class InstrumentCovariance(Base):
    """The same of the returns of what positions are of."""

    __tablename__ = "instrument_covariance"
    __table_args__ = (
        CheckConstraint("instrument1_id <= instrument2_id", name="pair"),
        CheckConstraint(_FINITE_COVARIANCE.format("instrument"), name="covariance"),
        CheckConstraint("shrinkage >= 0 AND shrinkage <= 1", name="shrinkage"),
    )

    calculation_date: Mapped[Day]
    instrument1_id: Mapped[int] = mapped_column(ForeignKey(Instrument.instrument_id), primary_key=True, index=True)
    instrument2_id: Mapped[int] = mapped_column(ForeignKey(Instrument.instrument_id), primary_key=True, index=True)
    covariance: Mapped[Float]
    shrinkage: Mapped[Float]
    observations: Mapped[int]
    created_at: Mapped[Created]


class PortfolioRisk(Base):
    """A node with all below it, in its own currency: measures, why others are missing, and which positions are not in them."""

    __tablename__ = "portfolio_risk"
    __table_args__ = (
        CheckConstraint("positions >= 0", name="positions"),
        is_object("measures", "measures"),
        is_object("reasons", "reasons"),
        is_object("left_out", "left_out"),
        is_object("snapshot", "snapshot"),
    )

    calculation_date: Mapped[Day]
    portfolio_node_id: Mapped[int] = mapped_column(
        ForeignKey(PortfolioNode.portfolio_node_id), primary_key=True, index=True
    )
    currency: Mapped[Code5]
    positions: Mapped[int]
    measures: Mapped[Document]
    reasons: Mapped[Document]
    left_out: Mapped[Document]
    snapshot: Mapped[_Details | None]
    created_at: Mapped[Created]


class StressResult(Base):
    """What a scenario earns a position, or a node with all below it but `left_out` positions, in `currency`."""

    __tablename__ = "stress_results"
    __table_args__ = (
        UniqueConstraint(
            "calculation_date",
            "scenario_id",
            "position",
            "portfolio_node_id",
            name="uq_stress_results_of",
            postgresql_nulls_not_distinct=True,
        ),
        CheckConstraint("num_nonnulls(position, portfolio_node_id) = 1", name="whose"),
        CheckConstraint("abs(pnl) < 'Infinity' AND (pnl IS NULL) = (reason IS NOT NULL)", name="pnl"),
        CheckConstraint("left_out >= 0", name="left_out"),
    )

    id: Mapped[Id]
    calculation_date: Mapped[date]
    scenario_id: Mapped[int] = mapped_column(ForeignKey(StressScenario.scenario_id), index=True)
    position: Mapped[PositionName | None]
    portfolio_node_id: Mapped[int | None] = mapped_column(ForeignKey(PortfolioNode.portfolio_node_id), index=True)
    currency: Mapped[Code5]
    pnl: Mapped[Float | None]
    left_out: Mapped[int] = mapped_column(server_default="0")
    reason: Mapped[str | None] = mapped_column(String(500))
    created_at: Mapped[Created]


class CalculationAuditLog(Base):
    """An attempt at a step: of which day, run, when from and until, how many records, or what went wrong."""

    __tablename__ = "calculation_audit_log"
    __table_args__ = (
        UniqueConstraint(
            "calculation_date",
            "calculation_type",
            "portfolio_node_id",
            "run",
            "attempt",
            name="uq_calculation_audit_log_attempt",
            postgresql_nulls_not_distinct=True,
        ),
        CheckConstraint("btrim(calculation_type) <> ''", name="calculation_type"),
        one_of("status", "running", "completed", "failed"),
        CheckConstraint("run > 0 AND attempt > 0", name="run"),
        CheckConstraint(
            "(status = 'running') = (end_time IS NULL) AND (status = 'completed') = (records_processed IS NOT NULL)"
            " AND (status = 'failed') = (error_message IS NOT NULL)",
            name="ended",
        ),
        CheckConstraint("records_processed >= 0", name="records_processed"),
    )

    id: Mapped[Id]
    calculation_type: Mapped[Text50]
    portfolio_node_id: Mapped[int | None] = mapped_column(ForeignKey(PortfolioNode.portfolio_node_id), index=True)
    calculation_date: Mapped[date]
    run: Mapped[int]
    attempt: Mapped[int]
    start_time: Mapped[Time]
    end_time: Mapped[Time | None]
    status: Mapped[Text20]
    records_processed: Mapped[int | None]
    error_message: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[Created]
