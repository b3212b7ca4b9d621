"""Engines for tests: on a database of their own, with a clock that the test sets, and the rows beside the memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

import live.writer
from core.config import default_settings
from core.db_state_manager import DatabaseStateManager
from core.listed_contracts import contracts_from
from core.portfolio import Portfolio, portfolio_from_rows
from core.postgres.lease import PortfolioLock
from core.settings import Settings
from live.answers import Answer
from live.engine import LiveTradingEngine
from live.leadership import Leadership, PostgresLease
from tests.builders import NOON


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **by: float) -> None:
        """Move on."""
        self.now += timedelta(**by)


@contextmanager
def an_engine(
    dsn: str, *, settings: Settings | None = None, clock: Clock | None = None, **given: Any
) -> Iterator[LiveTradingEngine]:
    """A started engine on `dsn`, stopped at the end."""
    manager_options = {name: given.pop(name) for name in ("commit_limit", "instance_id") if name in given}
    with DatabaseStateManager(dsn, **manager_options) as manager:
        engine = LiveTradingEngine(manager, settings or without_waiting(), clock=clock or Clock(), **given)
        engine.start()
        try:
            yield engine
        finally:
            engine.stop()


def spoil_decisions_of(monkeypatch: pytest.MonkeyPatch, instrument: str) -> None:
    """From now on no signal of the instrument can be decided: a mistake of ours."""
    real = live.writer.decide

    def deciding(portfolio: Portfolio, given: Any, now: datetime) -> Any:
        if getattr(getattr(given, "signal", None), "instrument", "") == instrument:
            raise ZeroDivisionError("a mistake of ours")
        return real(portfolio, given, now)

    monkeypatch.setattr(live.writer, "decide", deciding)


def led_by(lock: PortfolioLock) -> Leadership:
    """Leadership by a lock that the test has its hand on."""
    return Leadership(lock, PostgresLease(lock, "the test", 2.0), seconds=2.0)


def without_waiting(settings: Settings | None = None) -> Settings:
    """Settings under which no entry waits for the EXIT of its bar: tests of something else need no second."""
    settings = settings or default_settings()
    return settings.model_copy(update={"timing": settings.timing.model_copy(update={"exit_wait_seconds": Decimal(0)})})


def rows_as_portfolio(dsn: str, like: Portfolio) -> Portfolio:
    """What the rows of the database say the portfolio is, read by somebody else."""
    with DatabaseStateManager(dsn) as other:
        loaded = other.load()
    assert loaded.state is not None
    return portfolio_from_rows(
        like.name,
        like.settings,
        loaded.state,
        loaded.positions,
        loaded.pyramiding,
        loaded.orders,
        contracts_from(loaded.contracts),
        proposals=loaded.proposals,
    )


def status_of(answer: Answer) -> str:
    """`executed`, or `rejected: no open position`, or `duplicate`, or `unknown`."""
    if answer.kind != "decided":
        return answer.kind.value
    reason = answer.outcome["reason"]
    return answer.outcome["status"] if reason is None else f"{answer.outcome['status']}: {reason}"
