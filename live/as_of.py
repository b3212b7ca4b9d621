"""The portfolio as it stood at a time: the journal's events up to then, nothing else."""

from datetime import datetime

from core.db_state_manager import DatabaseStateManager
from core.errors import PortfolioError
from core.evolve import evolve
from core.journal import read_events
from core.models import PortfolioState
from core.numbers import ZERO
from core.portfolio import Portfolio
from core.postgres.journal_stream import JournalStream, journal_stream
from core.settings import Settings


def portfolio_then(manager: DatabaseStateManager, time: datetime) -> Portfolio:
    """The manager's portfolio as it stood at `time`. Raises PortfolioError where it had not been started."""
    with journal_stream(manager.dsn, manager.portfolio) as stream:
        portfolio = portfolio_as_of(stream, manager.portfolio, time)
    if portfolio is None:
        raise PortfolioError(f"portfolio {manager.portfolio} had not been started at {time:%Y-%m-%d %H:%M:%S} UTC")
    return portfolio


def portfolio_as_of(stream: JournalStream, name: str, time: datetime) -> Portfolio | None:
    """The portfolio after the last entry that was decided up to `time` (aware UTC); None before its first."""
    portfolio = Portfolio(
        name=name,
        settings=Settings(instruments={}),
        state=PortfolioState(initial_capital=ZERO, closed_equity=ZERO, equity_high=ZERO),
    )
    for rows in stream.entries():
        for row in rows:
            if row.decided_at > time:
                return portfolio if portfolio.state.version else None
            for event in read_events(row.events):
                portfolio = evolve(portfolio, event)
            portfolio = portfolio.settled()
    return portfolio if portfolio.state.version else None
