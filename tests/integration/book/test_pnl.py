"""Daily P&L: whatever days are kept in whatever order, they add up to what each position has earned."""

from datetime import timedelta
from decimal import Decimal
from random import Random

import pytest
from sqlalchemy import func, select

from book.day_ends import DayEnds
from book.engine_rows import EngineRows
from book.journal_walk import JournalWalk
from book.models import FxSpot, PortfolioPosition, PositionPnLHistory
from book.pnl import daily_sums, keep_day, rows_of_day
from live.contracts_file import load_calendar
from tests.book_world import a_feed, kept
from tests.crash.scenario import NOW, SETTINGS, story, tell
from tests.engines import Clock, an_engine
from tests.integration.book.test_projection import a_projector, now_kept
from tests.journal_entries import random_journal

ENDS = DayEnds(load_calendar(), 300)
LATER = NOW + timedelta(days=6)


@pytest.mark.parametrize("seed", range(4))
def test_the_days_of_a_position_add_up_to_what_it_has_earned(sessions, seed):
    dice = Random(seed)
    journal = random_journal(seed, 700)
    walk = JournalWalk("main", ENDS)
    change = walk.take(journal)
    days = [*change.days, *walk.end_days(journal[-1].decided_at + timedelta(days=10)).days]
    assert len(days) > 10
    with sessions.begin() as session:
        feed = a_feed(session, as_of_date=days[3].end.day, validation_status="PASS")
        kept(session, FxSpot(pair="USD/INR", snapshot_id=feed.feed_id, rate=Decimal(80)))
        EngineRows(session, "main", walk.portfolio.settings).keep_positions(change.positions)
        for closed in (*dice.sample(days, len(days)), *dice.sample(days, 5)):
            keep_day(session, "main", closed)
        totals = dict(
            session.execute(
                select(PortfolioPosition.engine_position_id, func.sum(PositionPnLHistory.daily_pnl_base))
                .join(PositionPnLHistory, PositionPnLHistory.position_id == PortfolioPosition.id)
                .group_by(PortfolioPosition.engine_position_id)
            ).all()
        )
        assert len(totals) > 10
        assert totals == {
            name: position.realized_pnl + position.unrealized_pnl for name, position in change.positions.items()
        }
        dollars = session.scalars(select(PositionPnLHistory).where(PositionPnLHistory.fx_rate.is_not(None))).all()
        assert dollars
        assert all(row.daily_pnl_usd == round(row.daily_pnl_base / 80, 4) for row in dollars)
        by_day = daily_sums(session, "main", days[-1].end.day, 1000)
        assert sum(total for _, total in by_day) == sum(totals.values())
        assert daily_sums(session, "main", days[-1].end.day, 2) == by_day[-2:]
        of_day = rows_of_day(session, "main", by_day[0][0])
        assert sum(row.daily for row in of_day) == by_day[0][1]


def test_a_past_day_is_kept_again_from_the_journal_alone(book_dsn, sessions):
    with an_engine(book_dsn, settings=SETTINGS, clock=Clock(NOW)) as engine:
        for one in story()[:9]:
            tell(engine, one)
    projector = a_projector(sessions, LATER)
    projector.sync()
    whole = now_kept(sessions)["position_pnl_history"]
    days = sorted({row["snapshot_date"] for row in whole})
    assert len(days) > 1
    with sessions.begin() as session:
        for row in session.scalars(select(PositionPnLHistory)):
            row.mark_price, row.unrealized_pnl_base, row.daily_pnl_base = Decimal(1), Decimal(0), Decimal(0)
    for day in reversed(days):
        assert projector.keep_day_again(day) == sum(row["snapshot_date"] == day for row in whole)
    assert now_kept(sessions)["position_pnl_history"] == whole
    assert projector.keep_day_again(days[-1] + timedelta(days=400)) == 0
    assert projector.keep_day_again(days[0] - timedelta(days=1)) == 0
