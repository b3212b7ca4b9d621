"""The tree is arranged: what is said twice changes nothing, what cannot be is refused by name, portfolios hang somewhere."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session, sessionmaker

from book.database import BookNotMigrated, engine_of, transaction
from book.master import engine_instruments, fill_instruments, master
from book.models import Instrument, LivePortfolio, PortfolioNode, PortfolioPosition, PositionPnLHistory, ReferenceData
from book.nodes import add_node, hang, hang_the_rest, move_node, nodes_on, rename_node
from book.refusals import NodeExists, NodeNotValid, UnknownNode, UnknownPortfolio, WrongLevel
from book.roll_up import tree
from book.snapshots import snapshot_as_of, snapshot_of_node, snapshots_of
from book.sync import sync
from core.config import default_settings
from core.errors import DatabaseAway, DataRefused, PoolExhausted
from core.postgres.migrations import migrate, migrate_shared
from core.postgres.patience import within
from tests.book_world import NOON, TODAY, a_held_position, a_node, an_instrument, kept, pnl_values, position_values
from tests.engines import an_engine
from tests.queries import rows


@pytest.fixture
def fund(sessions: sessionmaker[Session]) -> int:
    with sessions.begin() as session:
        return add_node(session, "Fund", "FUND", base_ccy="INR")[0].portfolio_node_id


def test_a_node_is_added_once_and_takes_its_parents_currency(sessions: sessionmaker[Session], fund: int) -> None:
    with sessions.begin() as session:
        made, is_new = add_node(session, " Macro ", "desk", parent_id=fund)
        assert (made.name, made.node_type, made.base_ccy, is_new) == ("Macro", "DESK", "INR", True)
        assert add_node(session, "Macro", "DESK", parent_id=fund) == (made, False)
        # The same name elsewhere is another node.
        assert add_node(session, "Macro", "FUND", base_ccy="usd")[1]
    with sessions() as session:
        assert len(session.scalars(select(PortfolioNode)).all()) == 3


@pytest.mark.parametrize(
    "asked, refusal",
    [
        (lambda s, _: add_node(s, " ", "FUND", base_ccy="INR"), NodeNotValid),
        (lambda s, _: add_node(s, "x" * 101, "FUND", base_ccy="INR"), NodeNotValid),
        (lambda s, _: add_node(s, "a\x00b", "FUND", base_ccy="INR"), NodeNotValid),
        (lambda s, _: add_node(s, "Macro", "TEAM", base_ccy="INR"), NodeNotValid),
        (lambda s, _: add_node(s, "Macro", "FUND", base_ccy="RUPEES"), NodeNotValid),
        (lambda s, _: add_node(s, "Macro", "FUND"), NodeNotValid),
        (lambda s, fund: add_node(s, "Macro", "FUND", parent_id=fund), WrongLevel),
        (lambda s, _: add_node(s, "Macro", "DESK", parent_id=10**6), UnknownNode),
        (lambda s, _: add_node(s, "Macro", "DESK", parent_id=10**30), UnknownNode),
        (lambda s, _: add_node(s, "Fund", "DESK", base_ccy="INR"), NodeExists),
        (lambda s, _: rename_node(s, 0, "Macro"), UnknownNode),
        (lambda s, fund: move_node(s, fund, fund), WrongLevel),
        (lambda s, _: hang(s, "main", 10**6), UnknownNode),
        (lambda s, fund: hang(s, "nobodys", fund), UnknownPortfolio),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    sessions: sessionmaker[Session], fund: int, asked: Callable[[Session, int], Any], refusal: type[Exception]
) -> None:
    with pytest.raises(refusal), sessions.begin() as session:
        asked(session, fund)
    with sessions() as session:
        assert [node.name for node in session.scalars(select(PortfolioNode))] == ["Fund"]


def test_a_name_is_given_once_below_a_parent(sessions: sessionmaker[Session], fund: int) -> None:
    with sessions.begin() as session:
        first, second = (add_node(session, name, "DESK", parent_id=fund)[0].portfolio_node_id for name in "ab")
        root = add_node(session, "b", "DESK", base_ccy="INR")[0].portfolio_node_id
    for change in (lambda s: rename_node(s, first, "b"), lambda s: move_node(s, root, fund)):
        with pytest.raises(NodeExists, match="'b' is there already"), sessions.begin() as session:
            change(session)
    with sessions.begin() as session:
        assert rename_node(session, second, "c").name == "c"
        assert move_node(session, root, fund).parent_id == fund
        assert move_node(session, root, None).parent_id is None


def test_a_node_is_not_moved_below_itself(sessions: sessionmaker[Session], fund: int) -> None:
    with sessions.begin() as session:
        desk = add_node(session, "Desk", "DESK", parent_id=fund)[0].portfolio_node_id
        book = add_node(session, "Book", "BOOK", parent_id=desk)[0].portfolio_node_id
    for above, below in ((fund, desk), (fund, book), (desk, book)):
        with pytest.raises(WrongLevel), sessions.begin() as session:
            move_node(session, above, below)


def test_every_version_of_a_node_is_kept(sessions: sessionmaker[Session], book_dsn: str, fund: int) -> None:
    with sessions.begin() as session:
        rename_node(session, fund, "Alpha")
    with sessions.begin() as session:
        rename_node(session, fund, "Beta")
        session.delete(session.get(PortfolioNode, fund))
    kept = rows(book_dsn, "SELECT name, valid_from, valid_to FROM book.portfolio_node_version ORDER BY version_id")
    assert [name for name, _, _ in kept] == ["Fund", "Alpha", "Beta"]
    assert [since for _, since, _ in kept] == [None, kept[0][2], kept[1][2]]
    assert all(until is not None for _, _, until in kept)


# --- portfolios


def test_every_portfolio_hangs_somewhere_and_stays_where_it_was_hung(book_dsn: str, book_engine: Engine) -> None:
    with transaction(book_engine) as session:
        done = sync(session)
        assert (done.hung, done.instruments, done.changed) == (("main",), len(default_settings().instruments), True)
    with transaction(book_engine) as session:
        assert not sync(session).changed
        fund = add_node(session, "Fund", "FUND", base_ccy="INR")[0].portfolio_node_id
        gold = session.scalars(select(Instrument.instrument_id).filter_by(symbol="GOLD_MINI")).one()
        default = session.get_one(LivePortfolio, "main").portfolio_node_id
        held = a_held_position(
            session, default, gold, source="engine", portfolio="main", engine_position_id="GOLD_MINI-Long_1-a"
        )
        assert hang(session, "main", fund)
        assert not hang(session, "main", fund)
        session.refresh(held)
        assert held.portfolio_node_id == fund
    migrate(book_dsn, "alpha")
    with transaction(book_engine) as session:
        assert hang_the_rest(session) == ["alpha"]
        hanging = {name: node["name"] for node in nodes_on(session, date(2100, 1, 1)) for name in node["portfolios"]}
        assert hanging == {"main": "Fund", "alpha": "default"}


# --- instruments


def test_the_master_is_what_the_engine_trades_and_keeps_what_the_desk_said(book_engine: Engine) -> None:
    with transaction(book_engine) as session:
        sync(session)
        known = {row["symbol"]: row for row in master(session)}
        bank = known["BANK_NIFTY"]
        assert (bank["asset_class"], bank["sector"], bank["lot_size"]) == ("EQUITY_INDEX", "Equity indices", 30)
        session.scalars(select(Instrument).filter_by(symbol="COPPER")).one().name = "Copper, of the desk"
        sectors = session.scalars(select(ReferenceData.name).filter_by(entity_type="SECTOR")).all()
        assert len(sectors) == len(set(sectors)) > 5
    given = dict(default_settings().instruments)
    given["COPPER"] = given["COPPER"].model_copy(update={"lot_size": Decimal(1000)})
    perpetual = {"kind": "perpetual", "currency": "USDT", "exchange": "bybit"}
    given["BTC_PERP"] = given["COPPER"].model_copy(update=perpetual)
    with transaction(book_engine) as session:
        assert fill_instruments(session, given) == 2
        assert fill_instruments(session, given) == 0
        known = {row["symbol"]: row for row in master(session)}
        assert (known["COPPER"]["lot_size"], known["COPPER"]["name"]) == (1000, "Copper, of the desk")
        assert (known["BTC_PERP"]["asset_class"], known["BTC_PERP"]["sector"]) == ("CRYPTO", "Crypto")


def test_the_settings_in_the_journal_say_what_the_engine_trades(book_dsn: str, book_engine: Engine) -> None:
    with transaction(book_engine) as session:
        assert set(engine_instruments(session)) == set(default_settings().instruments)
    bank = default_settings().instruments["BANK_NIFTY"]
    nifty = bank.model_copy(update={"lot_size": Decimal(75), "point_value": Decimal(75)})
    settings = default_settings().model_copy(update={"instruments": {"NIFTY": nifty, "BANK_NIFTY": bank}})
    with an_engine(book_dsn, settings=settings):
        pass
    with transaction(book_engine) as session:
        assert engine_instruments(session)["NIFTY"].lot_size == 75
        sync(session)
        assert "NIFTY" in {row["symbol"] for row in master(session)}


# --- snapshots


def test_a_snapshot_has_the_marks_that_the_tree_has(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        node, gold = a_node(session).portfolio_node_id, an_instrument(session).instrument_id
        for day, notional in ((TODAY - timedelta(days=3), 900), (TODAY, 1_200)):
            held = a_held_position(session, node, gold)
            mark = pnl_values(position_id=held.id, snapshot_date=day, notional_base=Decimal(notional))
            kept(session, PositionPnLHistory(**mark))
        snapshot_of_node(session, node, TODAY, NOON)
        (holding,) = (snapshot_as_of(session, node, TODAY) or {})["holdings"]
        assert Decimal(holding["gross"]) == tree(session, TODAY).nodes[0].figures.gross == 2_100


def test_a_node_is_kept_as_it_was_and_once_while_it_is_the_same(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        node, gold = a_node(session).portfolio_node_id, an_instrument(session).instrument_id
        held = a_held_position(session, node, gold)
        first = snapshot_of_node(session, node, TODAY, NOON)
        same = snapshot_of_node(session, node, TODAY + timedelta(days=1), NOON + timedelta(days=1))
        held.quantity = Decimal(20)
        session.flush()
        other = snapshot_of_node(session, node, TODAY + timedelta(days=2), NOON + timedelta(days=2))
        assert [first.is_new_content, same.is_new_content, other.is_new_content] == [True, False, True]
        assert [each.payload_hash for each in snapshots_of(session, node)] == [
            other.payload_hash,
            first.payload_hash,
            first.payload_hash,
        ]
        then = snapshot_as_of(session, node, TODAY)
        assert then is not None
        assert then["nodes"][0]["name"] == "Fund"
        (holding,) = then["holdings"]
        assert (holding["instrument"], holding["currency"], holding["positions"]) == ("BANK_NIFTY", "INR", 1)
        assert [Decimal(holding[name]) for name in ("quantity", "gross", "net")] == [10, 1_000, 1_000]
        with pytest.raises(UnknownNode):
            snapshot_of_node(session, 10**6, TODAY, NOON)


# --- transactions


def test_a_book_that_was_never_made_is_named(dsn: str) -> None:
    engine = engine_of(dsn)
    with pytest.raises(BookNotMigrated, match="migrate --book"), transaction(engine) as session:
        nodes_on(session, TODAY)
    engine.dispose()


def test_what_a_constraint_refuses_is_refused_in_our_words_and_undone(book_engine: Engine) -> None:
    with pytest.raises(DataRefused, match="ck_portfolio_positions_quantity"), transaction(book_engine) as session:
        session.add(PortfolioPosition(**position_values(session, quantity=Decimal(0))))
    with transaction(book_engine) as session:
        assert session.scalars(select(PortfolioNode)).all() == []


def test_nobody_waits_longer_for_the_book_than_he_wanted_to(book_engine: Engine) -> None:
    begun = datetime.now(UTC)
    with within(0.5), pytest.raises(DatabaseAway), transaction(book_engine) as session:
        session.connection().exec_driver_sql("SELECT pg_sleep(20)")
    assert datetime.now(UTC) - begun < timedelta(seconds=10)


def test_who_finds_no_free_connection_is_told_so_in_time(book_dsn: str) -> None:
    engine = engine_of(book_dsn, connections=1)
    with transaction(engine), pytest.raises(PoolExhausted), transaction(engine):
        pass
    engine.dispose()


def test_a_tree_that_was_there_before_versions_were_kept_is_taken_over(empty_dsn: str) -> None:
    migrate_shared(empty_dsn)
    rows(empty_dsn, "INSERT INTO book.portfolio_node (name, node_type, base_ccy) VALUES ('F', 'FUND', 'INR')")
    rows(empty_dsn, "DELETE FROM book.portfolio_node_version; UPDATE book.alembic_version SET version_num = 'b006'")
    migrate_shared(empty_dsn)
    assert rows(empty_dsn, "SELECT name, valid_from FROM book.portfolio_node_version") == [("F", None)]
