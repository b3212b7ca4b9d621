"""Which days are due: trading days that are over, that the book has kept, and that are not reckoned to their end."""

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy.orm import Session

from live.contracts_file import load_calendar
from risk.batch import due
from risk.batch.due import DueDays
from risk.batch.holdings import held_on
from risk.batch.run import STEPS
from risk.daily import CalculationAuditLog as Log
from risk.models import Instrument
from tests.book_world import a_held_position, a_node, an_instrument, briefing_values, kept
from tests.live_process import ROOT
from tests.risk_world import AFTER, DAY

CALENDAR = load_calendar()
LONG_AGO = AFTER - timedelta(days=30)
HALF_AN_HOUR = timedelta(minutes=30)
TUESDAY, WEDNESDAY = date(2026, 1, 13), DAY


def days(session: Session, now: datetime = AFTER, *, most: int = 3, began: datetime = LONG_AGO) -> list[date]:
    asked = DueDays(CALENDAR, close_seconds=300, wait_seconds=1800, most=most, began=began)
    return asked.find(session, now)


@pytest.fixture
def held(session: Session) -> Session:
    """A contract of MCX, held from Thursday the 8th on; there was a node and an instrument before."""
    gold = session.query(Instrument).filter_by(symbol="GOLD_MINI").one()
    node = a_node(session)
    at = datetime(2026, 1, 8, 6, tzinfo=UTC)
    a_held_position(session, node.portfolio_node_id, gold.instrument_id, entry_timestamp=at)
    return session


def reckoned(session: Session, day: date, run: int = 1, step: str = due.LAST_STEP, status: str = "completed") -> None:
    ended = {"completed": {"records_processed": 1}, "failed": {"error_message": "on fire"}}[status]
    common = {"calculation_type": step, "calculation_date": day, "run": run, "attempt": 1, "status": status}
    kept(session, Log(start_time=AFTER, end_time=AFTER, **common, **ended))


def followed(session: Session, portfolio: str, *briefed: date) -> None:
    """The book follows a portfolio, and has told of these days."""
    from book.models import DailyBriefing, ProjectionCursor

    kept(session, ProjectionCursor(portfolio=portfolio, seq=7, content_hash="0" * 64))
    for day in briefed:
        kept(session, DailyBriefing(**briefing_values(portfolio=portfolio, briefing_date=day)))


def test_the_newest_trading_days_that_are_over_are_due_the_oldest_first(held: Session) -> None:
    assert days(held) == [date(2026, 1, 12), TUESDAY, WEDNESDAY]
    # The weekend between is none of them; and nothing is before the first day on which anything was held.
    assert days(held, most=10) == [date(2026, 1, 8), date(2026, 1, 9), *days(held)]


def test_a_day_is_not_due_before_its_last_session_is_over_and_its_grace(held: Session) -> None:
    closes = [session.closes_at for session in CALENDAR.sessions("MCX", DAY)][-1]
    for after, last in ((timedelta(0), TUESDAY), (timedelta(seconds=299), TUESDAY), (timedelta(seconds=300), DAY)):
        assert days(held, closes + after)[-1] == last


def test_where_nothing_was_ever_held_nothing_is_due(session: Session) -> None:
    assert days(session) == []


def test_a_day_of_nothing_held_is_due_where_anything_was_held_before(session: Session) -> None:
    number = an_instrument(session, "TIN", exchange="MCX").instrument_id
    left = {"is_open": False, "exit_timestamp": datetime(2026, 1, 9, 6, tzinfo=UTC), "exit_price": Decimal(101)}
    begun = datetime(2026, 1, 8, 6, tzinfo=UTC)
    a_held_position(session, a_node(session).portfolio_node_id, number, entry_timestamp=begun, **left)
    assert days(session) == [date(2026, 1, 12), TUESDAY, WEDNESDAY]


def test_what_the_calendar_does_not_know_trades_always(session: Session) -> None:
    number = an_instrument(session, "BTC", exchange="ELSEWHERE").instrument_id
    begun = datetime(2026, 1, 9, 6, tzinfo=UTC)
    a_held_position(session, a_node(session).portfolio_node_id, number, entry_timestamp=begun)
    sunday = datetime(2026, 1, 11, 12, tzinfo=UTC)
    assert days(session, sunday) == [date(2026, 1, 9), date(2026, 1, 10)]
    assert days(session, datetime(2031, 1, 11, 12, tzinfo=UTC))[-1] == date(2031, 1, 10)


def test_a_day_is_done_once_its_last_run_has_come_to_its_end(held: Session) -> None:
    reckoned(held, TUESDAY)
    assert days(held) == [date(2026, 1, 12), WEDNESDAY]
    reckoned(held, TUESDAY, run=2, step="greeks")
    assert TUESDAY in days(held)
    reckoned(held, TUESDAY, run=2, status="failed")
    assert TUESDAY in days(held)


def test_a_day_waits_until_the_book_has_kept_it_but_not_for_ever(held: Session) -> None:
    end = [session.closes_at for session in CALENDAR.sessions("MCX", DAY)][-1] + timedelta(seconds=300)
    now = end + timedelta(minutes=1)
    assert days(held, now)[-1] == WEDNESDAY  # nobody is followed
    followed(held, "main", TUESDAY)
    assert days(held, now)[-1] == TUESDAY
    assert days(held, end + HALF_AN_HOUR)[-1] == WEDNESDAY
    # Who has just begun waits, too: the book may be about to follow what it has missed.
    assert days(held, AFTER, began=AFTER) == [date(2026, 1, 12), TUESDAY]
    assert days(held, AFTER, began=AFTER - HALF_AN_HOUR)[-1] == WEDNESDAY
    from book.models import DailyBriefing

    kept(held, DailyBriefing(**briefing_values(briefing_date=WEDNESDAY)))
    assert days(held, now)[-1] == WEDNESDAY
    followed(held, "alpha")
    assert days(held, now, began=now) == []
    kept(held, DailyBriefing(**briefing_values(portfolio="alpha", briefing_date=DAY + timedelta(days=1))))
    assert days(held, now)[-1] == WEDNESDAY  # a later day was told: this one is kept


def test_exchanges_and_steps_are_those_of_the_batch(held: Session) -> None:
    number = an_instrument(held, "BTC").instrument_id
    node = a_node(held, "Other").portfolio_node_id
    sold = {"is_open": False, "exit_timestamp": datetime(2026, 1, 13, 6, tzinfo=UTC), "exit_price": Decimal(101)}
    a_held_position(held, node, number, entry_timestamp=datetime(2026, 1, 10, tzinfo=UTC), **sold)
    for back in range(10):
        day = DAY - timedelta(days=back)
        assert due._exchanges(held, day) == {each.instrument.exchange or "" for each in held_on(held, day)}
    assert due._exchanges(held, TUESDAY - timedelta(days=1)) == {"MCX", ""}
    assert list(STEPS)[-1] == due.LAST_STEP


def test_looking_for_days_imports_no_arrays() -> None:
    program = (
        "import sys, live.reckoning, risk.batch.due\n"
        "sys.exit(', '.join({'pandas', 'numpy', 'QuantLib', 'scipy', 'sklearn'} & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
