"""What the book takes over from the engine by itself: instruments, and a place in the tree for every portfolio. Idempotent."""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from book.master import engine_instruments, fill_instruments, fill_reference_data
from book.nodes import hang_the_rest


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced:
    """How many entries of reference data and instruments are new or changed, and which portfolios were hung."""

    reference_data: int
    instruments: int
    hung: tuple[str, ...]

    @property
    def changed(self) -> bool:
        """Whether anything did."""
        return bool(self.reference_data or self.instruments or self.hung)


def sync(session: Session) -> Synced:
    """Bring the book up to what the engine trades and which portfolios it has, in the caller's transaction."""
    # Two at once: the second waits here, and then finds nothing left to do.
    session.execute(select(func.pg_advisory_xact_lock(func.hashtext("portfolio-manager book sync"))))
    instruments = engine_instruments(session)
    reference_data = fill_reference_data(session, {each.currency for each in instruments.values()})
    changed = fill_instruments(session, instruments)
    return Synced(reference_data=reference_data, instruments=changed, hung=tuple(hang_the_rest(session)))
