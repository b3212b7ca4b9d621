"""What a page shows of a what-if session: what was done in it, and the measures that its newest snapshot has kept.

Nothing here needs arrays or frames.
"""

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from risk.modelling.listing import LARGEST_ID, LISTED
from risk.reckoned import floats
from risk.sessions import ModelingSession, ModelingSessionSnapshot


def session_told(session: Session, number: int) -> dict[str, Any] | None:
    """A session with its changes, its `currency`, how many positions it began with (`held`), the `batch_day` that it is measured
    by and what was not known of positions (`notes`); None where there is none of that number.
    """
    base, inputs = ModelingSession.base_portfolio_snapshot, ModelingSession.inputs
    asked = select(
        *(getattr(ModelingSession, name) for name in LISTED),
        ModelingSession.changes,
        base["base"].astext.label("currency"),
        func.jsonb_array_length(base["held"]).label("held"),
        inputs["batch_day"].astext.label("batch_day"),
        inputs["notes"].label("notes"),
    ).where(ModelingSession.session_id == min(number, LARGEST_ID))
    found = session.execute(asked).mappings().one_or_none()
    return None if found is None else floats(found)


def newest_snapshot(session: Session, number: int) -> dict[str, Any] | None:
    """A session's newest snapshot: of which version it is, who took it when, what it was measured by (`inputs_hash`), the
    `currency`, and before, after and difference of the whole, by scenario (`measures`) and by factor (`exposures`).
    """
    of = ModelingSessionSnapshot
    asked = (
        select(
            of.snapshot_id,
            of.session_version,
            of.created_by,
            of.created_at,
            of.inputs_hash,
            of.modified_portfolio_snapshot["base"].astext.label("currency"),
            of.impact_summary.label("measures"),
            of.factor_exposures_change.label("exposures"),
        )
        .where(of.session_id == min(number, LARGEST_ID))
        .order_by(of.snapshot_id.desc())
        .limit(1)
    )
    found = session.execute(asked).mappings().one_or_none()
    return None if found is None else floats(found)
