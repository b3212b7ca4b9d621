"""What the book keeps of the engine's journal: the same rows however often, from wherever, and by however many it is read."""

import io
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg2
import psycopg2.extensions
from sqlalchemy import delete, event, select, text
from sqlalchemy.orm import Session, sessionmaker

from book.base import Base
from book.database import engine_of, sessions_on
from book.day_ends import DayEnds
from book.dollar_rates import DollarRates
from book.models import (
    FxSpot,
    Instrument,
    LivePortfolio,
    PortfolioNode,
    PortfolioPosition,
    PositionPnLHistory,
    ProjectionCursor,
    TradeProposal,
)
from book.projection import Overtaken, Projector, Synced, lag
from core.settings import Settings
from live.contracts_file import load_calendar
from live.engine import LiveTradingEngine
from tests.book_world import a_feed, a_node, kept
from tests.crash.scenario import NOW, SETTINGS, story, tell
from tests.engines import Clock, an_engine
from tests.postgres_server import drop_database, fresh_database
from tests.queries import rows

CALENDAR = load_calendar()
ENDS = DayEnds(CALENDAR, 300)
LATER = NOW + timedelta(days=3)


def a_projector(sessions: sessionmaker[Session], now: datetime = NOW, **options: Any) -> Projector:
    return Projector(sessions.kw["bind"], "main", ENDS, clock=lambda: now, **options)


@contextmanager
def told(dsn: str, settings: Settings = SETTINGS) -> Iterator[LiveTradingEngine]:
    """An engine that was told the story of the crash tests."""
    with an_engine(dsn, settings=settings, clock=Clock(NOW)) as engine:
        for one in story():
            tell(engine, one)
        yield engine


# Ids that sequences give, the clock's, and how far a start has to read.
_NOT_THE_JOURNALS = frozenset(
    (
        "id",
        "created_at",
        "updated_at",
        "position_id",
        "instrument_id",
        "portfolio_node_id",
        "checkpoint",
        "checkpoint_seq",
    )
)


def kept_rows(session: Session) -> dict[str, list[dict[str, Any]]]:
    """All that a projection writes, but for ids and the clock's."""
    found: dict[str, list[dict[str, Any]]] = {}
    models: tuple[type[Base], ...] = (PortfolioPosition, TradeProposal, PositionPnLHistory, ProjectionCursor)
    names = dict(session.execute(select(PortfolioPosition.id, PortfolioPosition.engine_position_id)).all())
    for model in models:
        rows = [
            {column.name: getattr(row, column.name) for column in model.__table__.columns}
            for row in session.scalars(select(model))
        ]
        for row in rows:
            row["of"] = names.get(row.get("position_id"))
        found[model.__tablename__] = sorted(
            ({name: value for name, value in row.items() if name not in _NOT_THE_JOURNALS} for row in rows), key=repr
        )
    return found


def now_kept(sessions: sessionmaker[Session]) -> dict[str, list[dict[str, Any]]]:
    with sessions() as session:
        return kept_rows(session)


def test_positions_and_proposals_are_the_engines(book_dsn, sessions):
    with told(book_dsn):
        synced = a_projector(sessions).sync()
    engine_rows = rows(
        book_dsn,
        "SELECT position_id, upper(side), exit_timestamp, realized_pnl, costs, entry_price, status <> 'closed', exit_price,"
        " entry_lots * lot_size FROM portfolio_positions ORDER BY 1",
    )
    assert len(engine_rows) > 5
    with sessions() as session:
        found = session.scalars(select(PortfolioPosition).order_by(PortfolioPosition.engine_position_id)).all()
        assert [
            (
                row.engine_position_id,
                row.direction,
                row.exit_timestamp,
                row.realized_pnl_base,
                row.transaction_costs_base,
                row.entry_price,
                row.is_open,
                row.exit_price,
                row.quantity,
            )
            for row in found
        ] == engine_rows
        assert {row.source for row in found} == {"engine"}
        proposals = session.scalars(select(TradeProposal).order_by(TradeProposal.journal_seq)).all()
        assert [(row.status, row.decision_note, row.decided_by) for row in proposals] == [
            ("REJECTED", "a test", None),
            ("APPROVED", None, None),
        ]
        assert [row.journal_seq < (row.decided_seq or 0) for row in proposals] == [True, True]
        assert proposals[0].risk_impact["sizing"]
        assert lag(session, "main") == 0
    assert synced.seq == rows(book_dsn, "SELECT max(seq) FROM decision_journal")[0][0] == synced.entries


def test_read_again_from_anywhere_and_in_parts_of_any_size_the_rows_are_the_same(book_dsn, sessions):
    with told(book_dsn):
        pass
    a_projector(sessions, LATER).sync()
    whole = now_kept(sessions)
    assert len(whole["position_pnl_history"]) > 3
    again = a_projector(sessions, LATER).sync()
    assert (again.entries, now_kept(sessions)) == (0, whole)
    for at_once, checkpoint_every in ((1, 1), (3, 7)):
        forget(sessions)
        while (part := a_projector(sessions, LATER, at_once=at_once, checkpoint_every=checkpoint_every)).sync().entries:
            assert part.walk is not None
        found = now_kept(sessions)
        assert found == whole


def test_it_goes_on_from_a_checkpoint_as_if_it_had_never_stopped(book_dsn, sessions):
    with an_engine(book_dsn, settings=SETTINGS, clock=Clock(NOW)) as engine:
        for one in story():
            tell(engine, one)
            a_projector(sessions, checkpoint_every=1).sync()
        stepwise = a_projector(sessions, LATER, checkpoint_every=1)
        stepwise.sync()
        by_steps = now_kept(sessions)
        assert stepwise.walk is not None
        resumed = stepwise.walk.resumed("main", ENDS, stepwise.walk.checkpoint())
        assert resumed.portfolio == stepwise.walk.portfolio == engine.portfolio
    forget(sessions)
    a_projector(sessions, LATER).sync()
    assert now_kept(sessions) == by_steps


def test_two_at_once_do_no_harm(book_dsn, sessions):
    with told(book_dsn):
        pass
    a_projector(sessions, LATER).sync()
    alone = now_kept(sessions)
    forget(sessions)
    beginning, failed = threading.Barrier(4), []

    def read() -> None:
        projector = a_projector(sessions, LATER, at_once=2)
        beginning.wait(60)
        for _ in range(100):
            try:
                projector.sync()
            except Overtaken:
                continue
            return
        failed.append(projector)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(60)
    assert not failed
    assert now_kept(sessions) == alone


def test_a_journal_that_has_gone_back_is_read_anew_and_what_a_person_wrote_stays(
    book_dsn, server_dsn, book_engine, sessions
):
    with an_engine(book_dsn, settings=SETTINGS, clock=Clock(NOW)) as engine:
        tell(engine, story()[0])
    a_projector(sessions).sync()
    with sessions.begin() as session:
        session.scalars(select(PortfolioPosition)).one().notes = "mine"
    book_engine.dispose()
    restored = fresh_database(server_dsn, template=psycopg2.extensions.parse_dsn(book_dsn)["dbname"])
    try:
        with an_engine(restored, settings=SETTINGS, clock=Clock(NOW)) as engine:
            tell(engine, story()[1])
        projector = a_projector(sessions, LATER)
        with told(book_dsn):
            pass
        projector.sync()
        assert len(now_kept(sessions)["portfolio_positions"]) > 5
        take_journal_of(restored, book_dsn)
    finally:
        drop_database(restored)
    synced = projector.sync()
    assert (synced.anew, synced.seq) == (True, rows(book_dsn, "SELECT max(seq) FROM decision_journal")[0][0])
    made_anew = now_kept(sessions)
    assert [row["notes"] for row in made_anew["portfolio_positions"]].count("mine") == 1
    assert len(made_anew["portfolio_positions"]) == 2
    assert made_anew["trade_proposals"] == []
    assert {row["of"] for row in made_anew["position_pnl_history"]} == {
        row["engine_position_id"] for row in made_anew["portfolio_positions"]
    }
    assert projector.sync() == Synced(seq=synced.seq)


def take_journal_of(restored: str, dsn: str) -> None:
    """The engine's journal as another database has it."""
    journal = io.BytesIO()
    with closing(psycopg2.connect(restored)) as source, source.cursor() as cursor:
        cursor.copy_expert("COPY decision_journal TO STDOUT (FORMAT binary)", journal)
    journal.seek(0)
    with closing(psycopg2.connect(dsn)) as target, target.cursor() as cursor:
        cursor.execute("ALTER TABLE decision_journal DISABLE TRIGGER ALL")
        cursor.execute("DELETE FROM decision_journal")
        cursor.copy_expert("COPY decision_journal FROM STDIN (FORMAT binary)", journal)
        cursor.execute("ALTER TABLE decision_journal ENABLE TRIGGER ALL")
        target.commit()


def test_it_writes_to_none_of_the_engines_tables_and_needs_no_right_to(book_dsn, sessions):
    with told(book_dsn):
        pass
    with sessions.begin() as session:
        session.execute(text("GRANT USAGE ON SCHEMA public, book TO pg_monitor"))
        session.execute(text("GRANT SELECT ON ALL TABLES IN SCHEMA public, book TO pg_monitor"))
        session.execute(text("GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA book TO pg_monitor"))

    def as_role(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET ROLE pg_monitor")
        connection.commit()

    engine = engine_of(book_dsn)
    event.listen(engine, "connect", as_role)
    try:
        assert a_projector(sessions_on(engine), LATER).sync().entries
        assert now_kept(sessions)["portfolio_positions"]
    finally:
        engine.dispose()


def test_dollars_are_told_where_there_is_a_rate_and_filled_in_when_one_comes(book_dsn, sessions):
    with told(book_dsn):
        pass
    a_projector(sessions).sync()
    with sessions() as session:
        assert {row.notional_usd for row in session.scalars(select(PortfolioPosition))} == {None}
    with sessions.begin() as session:
        for day, rate, status in ((NOW.date() - timedelta(days=1), 80, "PASS"), (NOW.date(), 50, "FAIL")):
            feed = a_feed(session, as_of_date=day, validation_status=status)
            kept(session, FxSpot(pair="USD/INR", snapshot_id=feed.feed_id, rate=Decimal(rate)))
    a_projector(sessions).sync()
    with sessions() as session:
        found = session.scalars(select(PortfolioPosition)).all()
        assert {row.entry_fx_rate for row in found} == {Decimal(80)}
        assert all(row.notional_usd == round(row.notional_base / 80, 4) for row in found)


def test_rates_are_those_of_the_last_days_either_way_round(sessions):
    day = NOW.date()
    with sessions() as session:
        for days_ago, pair, rate in ((8, "USD/INR", 90), (3, "INR/USD", Decimal("0.0125"))):
            feed = a_feed(session, as_of_date=day - timedelta(days=days_ago), validation_status="WARN")
            kept(session, FxSpot(pair=pair, snapshot_id=feed.feed_id, rate=Decimal(rate)))
        rates = DollarRates(session, ["INR", "USD", "EUR"], [day - timedelta(days=4), day, day + timedelta(days=5)])
    known = {days: rates.on("INR", day + timedelta(days=days)) for days in (-9, -8, -4, -3, 0, 5)}
    assert known == {-9: None, -8: 90, -4: 90, -3: 80, 0: 80, 5: 80}
    assert (rates.on("USD", day), rates.on("EUR", day)) == (1, None)


def test_positions_hang_where_the_portfolio_does_and_instruments_are_in_the_master(book_dsn, sessions):
    with told(book_dsn):
        pass
    projector = a_projector(sessions)
    projector.sync()
    with sessions.begin() as session:
        node = session.scalars(select(PortfolioNode)).one()
        assert (node.name, node.node_type, node.base_ccy) == ("default", "FUND", "INR")
        master = session.scalars(select(Instrument).where(Instrument.symbol == "BANK_NIFTY")).one()
        assert (master.exchange, master.kind, master.point_value) == ("NFO", "synthetic_future", 30)
        other = a_node(session, "Futures", "FUND")
        session.scalars(select(LivePortfolio)).one().portfolio_node_id = other.portfolio_node_id
    projector.sync()
    with sessions() as session:
        nodes = set(session.scalars(select(PortfolioPosition.portfolio_node_id)))
        assert nodes == {session.scalars(select(LivePortfolio.portfolio_node_id)).one()}


def forget(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        for model in (PositionPnLHistory, TradeProposal, PortfolioPosition, ProjectionCursor):
            session.execute(delete(model))
