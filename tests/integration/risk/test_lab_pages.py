"""Pages of contracts and of what-if sessions: what was known as of a day, and what snapshots have kept."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from book.database import transaction
from live.app import create_app
from live.book_desk import BookDesk
from live.contracts_file import load_calendar
from live.dashboard import words
from live.operators import Operators
from live.portfolios import Portfolios
from risk.batch.run import run_batch
from risk.modelling import keeping, snapshots
from risk.models import DataSource, MarketData
from risk.shown_contracts import who_tells, with_contracts
from risk.shown_sessions import newest_snapshot, session_told
from risk.what_if.changes import Change, Remove, Resize, ShockPrices
from tests.book_world import a_node, an_instrument, kept
from tests.fake_engine import TOKEN, FakeEngine, served_by
from tests.integration.risk.test_pages import asked
from tests.risk_world import AFTER, DAY, a_world

NEAR, FAR = date(2026, 2, 5), date(2026, 3, 5)
FUND, DESK = 1, 2
END = datetime(2026, 1, 15, tzinfo=UTC)
CALENDAR = load_calendar()


@pytest.fixture
def client(book_dsn: str) -> Iterator[FlaskClient]:
    desk = BookDesk(book_dsn, lambda: AFTER)
    engine = FakeEngine()
    app = create_app(
        Portfolios({engine.portfolio_name: served_by(engine)}),
        operators=Operators(TOKEN, Path("none")),
        session_secret=TOKEN,
        book=desk,
    )
    yield app.test_client()
    desk.close()


# --- contracts


def contracts(session: Session, symbol: str, source: str, prices: dict[date, int], last: date = DAY) -> None:
    """Daily bars of contracts, on the last day and the one before it."""
    told = session.query(DataSource).filter_by(name=source).one_or_none() or kept(
        session, DataSource(name=source, kind="file")
    )
    of = an_instrument(session, symbol, exchange="MCX", kind="future")
    for expiry, price in prices.items():
        for back in (1, 0):
            day = last - timedelta(days=back)
            opened = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=5, minutes=30)
            values = dict.fromkeys(("open", "high", "low", "close"), Decimal(price - back))
            values |= {"settlement": Decimal(price) + Decimal("0.5"), "open_interest": Decimal(12_345)}
            row = MarketData(timestamp=opened, instrument_id=of.instrument_id, source_id=told.source_id, **values)
            row.timeframe, row.expiry = "1d", expiry
            session.add(row)
    session.flush()


def test_contracts_are_told_beside_each_other(client: FlaskClient, book_engine: Engine) -> None:
    with transaction(book_engine) as session:
        contracts(session, "GOLD_MINI", "mcx", {NEAR: 72_000, FAR: 72_480})
        contracts(session, "ZINC", "mcx", {NEAR: 300})
    told = asked(client, f"/term-structure?as_of={DAY}")
    assert "Contracts of GOLD_MINI" in told
    assert "2 contracts, contango: the later a contract expires the dearer it is." in told
    assert f"A position would be in the one of {NEAR}." in told
    # 480 / 72000 x 365 / 28
    assert f"{NEAR} 22 yes 72,000 72,000.5 12,345 +480 +8.69 contango" in told
    assert f"{FAR} 50 72,480 72,480.5 12,345 — —" in told
    before = asked(client, "/term-structure?instrument=gold_mini&as_of=2026-01-13")
    assert f"{NEAR} 23 yes 71,999 " in before
    # In India it is the next day by then.
    assert f"{NEAR} 21 yes 72,000 " in asked(client, "/term-structure")
    gone = asked(client, "/term-structure?as_of=2026-06-01")
    assert "Every contract had expired by then." in gone
    one = asked(client, "/term-structure?instrument=ZINC")
    assert "1 contract, no spread between two of them is known." in one


def test_of_several_sources_one_is_chosen(client: FlaskClient, book_engine: Engine) -> None:
    with transaction(book_engine) as session:
        contracts(session, "GOLD_MINI", "mcx", {NEAR: 72_000})
        other = kept(session, DataSource(name="another", kind="file")).source_id
        row = session.query(MarketData).first()
        assert row is not None
        values = {name: getattr(row, name) for name in ("timestamp", "instrument_id", "timeframe", "expiry")}
        prices = dict.fromkeys(("open", "high", "low", "close"), Decimal(500))
        session.add(MarketData(**values, **prices, source_id=other))
        assert with_contracts(session) == ["GOLD_MINI"]
        assert who_tells(session, "GOLD_MINI") == ["another", "mcx"]
        assert who_tells(session, "ZINC") == []
    assert "By daily bars of another that" in asked(client, "/term-structure")
    assert "By daily bars of mcx that" in asked(client, "/term-structure?source=mcx")
    assert "nse tells none of GOLD_MINI's contracts; these do: another, mcx." in asked(
        client, "/term-structure?source=nse"
    )


def test_where_there_are_no_contracts_the_page_says_what_brings_them(client: FlaskClient, book_engine: Engine) -> None:
    told = asked(client, "/term-structure")
    assert "There are no daily bars of contracts. python portfolio_manager.py risk import brings some" in told
    with transaction(book_engine) as session:
        contracts(session, "GOLD_MINI", "mcx", {NEAR: 72_000})
    assert "There are no daily bars of contracts of TIN" in asked(client, "/term-structure?instrument=TIN")
    with transaction(book_engine) as session:
        contracts(session, "OLD", "mcx", {NEAR: 72_000}, last=date(2025, 12, 1))
    old = asked(client, "/term-structure?instrument=OLD")
    assert "stale: its last bar was over at 2025-12-01 18:30 UTC" in old
    assert "Price by expiry Expiry Days" in old  # no chart


# --- what if


@pytest.fixture
def world(book_engine: Engine) -> Engine:
    with transaction(book_engine) as session:
        a_world(session)
    run_batch(book_engine, DAY, calendar=CALENDAR, clock=lambda: AFTER)
    return book_engine


def begun(engine: Engine, name: str, *changes: Change, node: int = FUND, is_kept: bool = True) -> int:
    with transaction(engine) as session:
        number = keeping.begin(session, node=node, name=name, at=END, by="ada", now=END, calendar=CALENDAR).number
    for change in changes:
        with transaction(engine) as session:
            keeping.change(session, number, change, by="bob", now=END)
    if is_kept:
        with transaction(engine) as session:
            snapshots.snapshot(session, number, by="ada", now=END)
    return number


def test_a_session_is_told_before_and_after_as_its_snapshot_has_it(client: FlaskClient, world: Engine) -> None:
    less = begun(
        world, "Less metal", Resize(position_id="position/2", lots=10.0), ShockPrices(shocks={"COPPER": -0.02})
    )
    assert "Less metal active 2" in asked(client, "/what-if")
    told = asked(client, f"/what-if?session={less}")
    assert "Of node Fund in INR Held at the beginning 3 positions" in told
    assert "make position/2 10 lots by bob" in told
    assert "shock prices: COPPER -0.02 by bob" in told
    with Session(world) as session:
        impact = snapshots.kept_snapshot(session, 1).snapshot.impact
        assert impact.factor_exposures
    for row in (
        impact.of("net"),
        impact.of("volatility"),
        impact.of("parametric_value_at_risk"),
        *impact.factor_exposures,
    ):
        name = row.label or row.measure.replace("_", " ")
        figures = (words.figure(row.before), words.figure(row.after), words.figure(row.difference, signed=True))
        assert f" {name} {' '.join(figures)} " in told
    crash = impact.of("stress", "scenario", "2008 Financial Crisis")
    assert f"2008 Financial Crisis {words.money(crash.before)} {words.money(crash.after)} " in told
    assert "margin — — —" in told  # with the reason
    assert "no margin per lot" in told
    with transaction(world) as session:
        keeping.change(session, less, Remove(position_id="position/2"), by="bob", now=END)
    assert (
        f"It was changed since this snapshot was taken: python portfolio_manager.py risk session snapshot {less}"
        in asked(client, f"/what-if?session={less}")
    )


def test_two_sessions_are_told_beside_each_other(client: FlaskClient, world: Engine) -> None:
    one = begun(world, "Less", Resize(position_id="position/2", lots=10.0))
    other = begun(world, "None", Remove(position_id="position/2"))
    told = asked(client, f"/what-if?session={one}&other={other}")
    with Session(world) as session:
        first, second = (snapshots.kept_snapshot(session, number).snapshot.impact.of("gross") for number in (1, 2))
    figures = (
        words.money(first.after),
        words.money(second.after),
        words.money(second.after - first.after, signed=True),
    )
    assert "What if Less beside None" in told
    assert f" gross {' '.join(figures)} " in told
    assert "measured by different" not in told
    without = begun(world, "Bare", is_kept=False)
    assert f"They cannot be compared, without a snapshot: {without}" in asked(
        client, f"/what-if?session={one}&other={without}"
    )
    assert "There is no session 99." in asked(client, f"/what-if?session={one}&other=99")
    assert "A snapshot has them, and there is none yet" in asked(client, f"/what-if?session={without}")
    desk = begun(world, "Desk", node=DESK)
    apart = asked(client, f"/what-if?session={one}&other={desk}")
    assert "They are measured by different covariances, returns or scenarios" in apart
    with transaction(world) as session:
        dollars = a_node(session, "Dollars", base_ccy="USD").portfolio_node_id
    currencies = asked(client, f"/what-if?session={one}&other={begun(world, 'Dollars', node=dollars)}")
    assert "They cannot be compared, in different currencies: INR and USD" in currencies


def test_where_there_is_no_session_the_page_says_what_begins_one(client: FlaskClient, book_engine: Engine) -> None:
    assert "There is no session: python portfolio_manager.py risk session begin" in asked(client, "/what-if")
    assert "There is no session 7." in asked(client, "/what-if?session=7")
    assert "There is no session 7." in asked(client, "/what-if?other=7")
    with Session(book_engine) as session:
        assert session_told(session, 7) is newest_snapshot(session, 7) is None


def test_what_others_called_their_sessions_is_text(client: FlaskClient, world: Engine) -> None:
    number = begun(world, "<b onclick=x>&")
    for page in ("/what-if", f"/what-if?session={number}", f"/what-if?session={number}&other={number}"):
        asked(client, page)
        html = client.get(f"/dashboard/risk{page}").get_data(as_text=True)
        assert "&lt;b onclick=x&gt;&amp;" in html
        assert "<b onclick" not in html
