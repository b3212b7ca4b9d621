"""The factors and scenarios of risk/data in the tables, each once: what a desk changed of them stays as the desk has it."""

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from risk.analytics import definitions
from risk.factors import FactorDefinition, StressScenario, StressScenarioShock

# Its two 32-bit keys are told apart from those of the batch by the first one.
_SEEDING = 0x5EED


def seed(session: Session) -> int:
    """Add the factors and scenarios that are not there by name, with their shocks, in the caller's transaction; how many.

    A scenario that is there keeps the shocks that it has, also where a desk took one away. To be rid of one: `is_active`.
    """
    session.execute(select(func.pg_advisory_xact_lock(_SEEDING)))
    return _factors(session) + _scenarios(session)


def _factors(session: Session) -> int:
    there = set(session.scalars(select(FactorDefinition.name)))
    new = [
        {
            "name": each.name,
            "display_name": each.display_name,
            "category": each.category,
            "factor_set": each.set,
            "unit": each.unit,
            "meaning": each.meaning,
            "sort_order": each.sort_order,
        }
        for each in definitions.factors()
        if each.name not in there
    ]
    if new:
        session.execute(insert(FactorDefinition), new)
    return len(new)


def _scenarios(session: Session) -> int:
    there = set(session.scalars(select(StressScenario.name)))
    numbers = {
        row.name: row.factor_id for row in session.execute(select(FactorDefinition.name, FactorDefinition.factor_id))
    }
    new = [each for each in definitions.scenarios() if each.name not in there]
    for scenario in new:
        row = StressScenario(
            name=scenario.name,
            scenario_type=scenario.scenario_type,
            sort_order=scenario.sort_order,
            first_day=scenario.first_day,
            last_day=scenario.last_day,
        )
        session.add(row)
        session.flush()
        shocks = [
            {
                "scenario_id": row.scenario_id,
                "factor_id": numbers[name],
                "shock": shock.shock,
                "from_value": shock.start,
                "to_value": shock.end,
                "source": shock.source,
            }
            for name, shock in scenario.shocks.items()
        ]
        session.execute(insert(StressScenarioShock), shocks)
    return len(new)
