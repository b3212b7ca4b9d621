"""What there is to show of factors, scenarios and the days that were reckoned. Nothing here needs arrays or frames."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from book.hierarchy import PortfolioNode
from book.reference_data import Instrument
from core.errors import Refused
from risk.daily import CalculationAuditLog, PortfolioRisk, PositionRisk, StressResult
from risk.factors import FactorDefinition, StressScenario, StressScenarioShock
from risk.sources import DataSource, SeriesMetadata


class UnknownFactor(Refused):
    """there is no such factor"""


class NothingTellsIt(Refused):
    """a factor is told by daily bars of an instrument, or by a series of a source"""


class NotReckoned(Refused):
    """of that day nothing was reckoned"""


def require_reckoned(session: Session, day: date) -> None:
    """Raises NotReckoned where the batch has kept no node of the day."""
    if not session.scalar(select(exists().where(PortfolioRisk.calculation_date == day))):
        raise NotReckoned(f"{day} was not reckoned: `risk batch --date {day}` does")


def factors(session: Session) -> list[dict[str, Any]]:
    """Every factor in its order, with what tells it: an instrument, a series, or the series that have its name for a code."""
    by_code: dict[str, list[str]] = {}
    by_number: dict[int, str] = {}
    series = select(SeriesMetadata.series_id, SeriesMetadata.series_code, DataSource.name).join(
        DataSource, DataSource.source_id == SeriesMetadata.source_id
    )
    for row in session.execute(series.order_by(DataSource.name)):
        by_number[row.series_id] = f"{row.name}/{row.series_code}"
        by_code.setdefault(row.series_code, []).append(by_number[row.series_id])
    asked = (
        select(FactorDefinition, Instrument.symbol)
        .outerjoin(Instrument, Instrument.instrument_id == FactorDefinition.instrument_id)
        .order_by(FactorDefinition.sort_order, FactorDefinition.name)
    )
    names = ("name", "display_name", "category", "factor_set", "unit", "meaning", "is_active")
    found = []
    for factor, symbol in session.execute(asked):
        told_by = [symbol] if symbol else by_code.get(factor.name, [])
        if factor.series_id is not None:
            told_by = [by_number[factor.series_id]]
        found.append({**{name: getattr(factor, name) for name in names}, "told_by": told_by})
    return found


def tell_factor(session: Session, name: str, by: str) -> bool:
    """From now on a factor is told by daily bars of an instrument (`NIFTY`), a series (`fred/DGS10`), or, where `by` is blank, by
    the series of its own name; False where it is so already. Raises UnknownFactor, NothingTellsIt.
    """
    factor = session.scalar(select(FactorDefinition).where(FactorDefinition.name == name).with_for_update())
    if factor is None:
        raise UnknownFactor(f"{name}: there is no such factor: `risk factors` lists them")
    before = (factor.instrument_id, factor.series_id)
    factor.instrument_id = factor.series_id = None
    source, slash, code = by.partition("/")
    if slash:
        factor.series_id = _series(session, source, code)
    elif by:
        factor.instrument_id = session.scalar(select(Instrument.instrument_id).where(Instrument.symbol == by))
        if factor.instrument_id is None:
            raise NothingTellsIt(f"{by} is not in the master of instruments")
    session.flush()
    return before != (factor.instrument_id, factor.series_id)


def _series(session: Session, source: str, code: str) -> int:
    asked = select(SeriesMetadata.series_id).join(DataSource, DataSource.source_id == SeriesMetadata.source_id)
    found = session.scalar(asked.where(DataSource.name == source, SeriesMetadata.series_code == code))
    if found is None:
        raise NothingTellsIt(f"{source} has no series {code}")
    return found


def scenarios(session: Session) -> list[dict[str, Any]]:
    """Every scenario in its order, with its shocks by factor."""
    asked = (
        select(StressScenarioShock.scenario_id, FactorDefinition.name, StressScenarioShock.shock)
        .join(FactorDefinition, FactorDefinition.factor_id == StressScenarioShock.factor_id)
        .order_by(FactorDefinition.sort_order)
    )
    shocks: dict[int, dict[str, float]] = {}
    for row in session.execute(asked):
        shocks.setdefault(row.scenario_id, {})[row.name] = row.shock
    names = ("name", "scenario_type", "first_day", "last_day", "is_active")
    return [
        {**{name: getattr(each, name) for name in names}, "shocks": shocks.get(each.scenario_id, {})}
        for each in session.scalars(select(StressScenario).order_by(StressScenario.sort_order, StressScenario.name))
    ]


def steps(session: Session, day: date) -> list[dict[str, Any]]:
    """The attempts at a day's steps, the first one first."""
    columns = [getattr(CalculationAuditLog, name) for name in _OF_AN_ATTEMPT]
    asked = select(*columns).where(CalculationAuditLog.calculation_date == day).order_by(CalculationAuditLog.id)
    return [dict(row) for row in session.execute(asked).mappings()]


_OF_AN_ATTEMPT = (
    "calculation_type",
    "run",
    "attempt",
    "status",
    "start_time",
    "end_time",
    "records_processed",
    "error_message",
)


def nodes(session: Session, day: date, node: int | None = None) -> list[dict[str, Any]]:
    """What was reckoned of every node on a day, or of one."""
    names = ("portfolio_node_id", "currency", "positions", "measures", "reasons", "left_out", "snapshot")
    asked = (
        select(PortfolioRisk, PortfolioNode.name)
        .join(PortfolioNode, PortfolioNode.portfolio_node_id == PortfolioRisk.portfolio_node_id)
        .where(PortfolioRisk.calculation_date == day)
        .order_by(PortfolioRisk.portfolio_node_id)
    )
    if node is not None:
        asked = asked.where(PortfolioRisk.portfolio_node_id == node)
    return [{"name": name, **{each: getattr(row, each) for each in names}} for row, name in session.execute(asked)]


def positions(session: Session, day: date, among: Sequence[str]) -> list[dict[str, Any]]:
    """What was reckoned of these positions on a day."""
    asked = select(PositionRisk).where(PositionRisk.calculation_date == day, PositionRisk.position.in_(among))
    names = [column.name for column in PositionRisk.__table__.columns if column.name != "created_at"]
    found = session.scalars(asked.order_by(PositionRisk.position))
    return [{name: getattr(row, name) for name in names} for row in found]


def stress_of(session: Session, day: date, node: int) -> list[dict[str, Any]]:
    """What each scenario would have cost a node on a day, in the scenarios' order."""
    asked = (
        select(StressScenario.name, StressResult.pnl, StressResult.currency, StressResult.left_out, StressResult.reason)
        .join(StressScenario, StressScenario.scenario_id == StressResult.scenario_id)
        .where(StressResult.calculation_date == day, StressResult.portfolio_node_id == node)
        .order_by(StressScenario.sort_order, StressScenario.name)
    )
    return [dict(row) for row in session.execute(asked).mappings()]
