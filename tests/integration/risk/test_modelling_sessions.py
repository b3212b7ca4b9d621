"""Sessions lose no change, keep what they began with, and touch nothing that is traded; snapshots and exports stay."""

import threading
from datetime import timedelta
from typing import Any

import numpy as np
import psycopg2
import pytest
from sqlalchemy import Engine, select

from book.database import transaction
from book.exports.files import CannotExport
from book.models import PortfolioNode
from risk.batch.run import run_batch
from risk.modelling import exports, keeping, listing, snapshots
from risk.modelling.adding import Wanted, addition
from risk.modelling.refusals import (
    ContentDiffers,
    NoSuchSession,
    NoSuchSnapshot,
    NothingToOrder,
    NotToBeAdded,
    NotYet,
    SessionChanged,
)
from risk.what_if.changes import Remove, Resize, Roll, ShockPrices
from risk.what_if.refusals import BaseDiffers, MissingFigure, NoSuchChange, SessionEnded, UnknownPosition
from tests.book_world import a_held_position, an_instrument
from tests.integration.risk.test_batch import by_hand
from tests.modelling_world import (
    CALENDAR,
    DESK,
    END,
    FUND,
    begun,
    changed,
    everything_else,
    exported,
    synced,
    taken,
)
from tests.queries import rows
from tests.risk_world import AFTER, DAY, FACTORS, a_world, closes

# --- sessions


def test_changes_are_kept_in_their_order_and_taken_back(world: Engine) -> None:
    number = begun(world).number
    found = changed(
        world,
        number,
        Resize(position_id="position/2", lots=10),
        Roll(position_id="position/1", contract="2026-02", spread=30),
        ShockPrices(shocks={"COPPER": -0.1}),
    )
    assert (found.version, len(found.session.changes)) == (4, 3)
    assert {change.by for change in found.session.changes} == {"bob"}
    with transaction(world) as session:
        assert keeping.kept(session, number) == found
        undone = keeping.undo(session, number, 2, now=AFTER)
    assert [type(change).__name__ for change in undone.session.changes] == ["Resize", "ShockPrices"]
    with transaction(world) as session, pytest.raises(NoSuchChange):
        keeping.undo(session, number, 9, now=AFTER)
    with transaction(world) as session, pytest.raises(UnknownPosition, match="risk session show"):
        keeping.change(session, number, Remove(position_id="tin"), by="bob", now=AFTER)
    with transaction(world) as session:
        assert keeping.kept(session, number).version == 5


def test_of_many_who_change_at_once_none_loses_a_change(world: Engine) -> None:
    number, many = begun(world).number, 4
    together, failed = threading.Barrier(many), []

    def change(who: int) -> None:
        try:
            together.wait(timeout=30)
            changed(world, number, ShockPrices(shocks={"COPPER": who / 100}), by=f"user {who}")
        except BaseException as error:  # noqa: BLE001 - told in the test's own thread
            failed.append(error)

    threads = [threading.Thread(target=change, args=(who,)) for who in range(1, many + 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert failed == []
    with transaction(world) as session:
        found = keeping.kept(session, number)
    assert sorted(str(change.by) for change in found.session.changes) == [f"user {who}" for who in range(1, many + 1)]
    assert found.version == many + 1


def test_who_names_a_version_changes_that_one_or_none(world: Engine) -> None:
    number = begun(world).number
    changed(world, number, ShockPrices(shocks={"COPPER": 0.1}), version=1)
    with pytest.raises(SessionChanged, match="version 2, not 1"):
        changed(world, number, ShockPrices(shocks={"COPPER": 0.2}), version=1)


@pytest.mark.parametrize("end", [keeping.complete, keeping.cancel])
def test_what_has_ended_stays(world: Engine, book_dsn: str, end: Any) -> None:
    number = begun(world).number
    with transaction(world) as session:
        ended = end(session, number, by="eve", now=AFTER)
    assert ended.session.status == {keeping.complete: "completed", keeping.cancel: "cancelled"}[end]
    with pytest.raises(SessionEnded, match="begins another one"):
        changed(world, number, ShockPrices(shocks={"COPPER": 0.2}))
    with transaction(world) as session, pytest.raises(SessionEnded):
        keeping.complete(session, number, by="eve", now=AFTER)
    with pytest.raises(psycopg2.errors.RestrictViolation, match=ended.session.status):
        rows(book_dsn, "UPDATE risk.modeling_sessions SET name = 'Another', version = version + 1")
    assert taken(world, number).snapshot.status == ended.session.status


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE risk.modeling_sessions SET base_hash = repeat('0', 64), version = version + 1",
        "UPDATE risk.modeling_sessions SET inputs = '{}', version = version + 1",
        "UPDATE risk.modeling_sessions SET created_by = 'eve', version = version + 1",
        "UPDATE risk.modeling_sessions SET name = 'Another'",
        "DELETE FROM risk.modeling_sessions",
        "TRUNCATE risk.modeling_sessions CASCADE",
        "UPDATE risk.modeling_session_snapshots SET name = 'Another'",
        "DELETE FROM risk.modeling_session_snapshots",
        "TRUNCATE risk.modeling_session_snapshots CASCADE",
        "UPDATE risk.export_history SET file_name = 'another.csv'",
        "DELETE FROM risk.export_history",
        "TRUNCATE risk.export_history",
    ],
)
def test_the_database_keeps_what_it_has(world: Engine, book_dsn: str, statement: str) -> None:
    exported(world, taken(world, begun(world).number).number, "modeling_session", "csv")
    with pytest.raises(psycopg2.errors.RestrictViolation):
        rows(book_dsn, statement)


def test_what_somebody_changed_past_the_database_is_found(world: Engine, book_dsn: str) -> None:
    number = begun(world).number
    snapshot = taken(world, number).number
    for table in ("modeling_sessions", "modeling_session_snapshots"):
        rows(book_dsn, f"ALTER TABLE risk.{table} DISABLE TRIGGER ALL")
    price = "'{held,0,price}', '1'"
    of_a_snapshot = "UPDATE risk.modeling_session_snapshots SET modified_portfolio_snapshot = jsonb_set({0}, {1})"
    rows(book_dsn, of_a_snapshot.format("modified_portfolio_snapshot", price))
    with transaction(world) as session, pytest.raises(ContentDiffers):
        snapshots.kept_snapshot(session, snapshot)
    inputs = "UPDATE risk.modeling_sessions SET inputs = jsonb_set(inputs, '{confidence}', '{0}')"
    rows(book_dsn, inputs.replace("{0}", "0.95"))
    with transaction(world) as session, pytest.raises(ContentDiffers):
        keeping.kept(session, number)
    rows(book_dsn, inputs.replace("{0}", "0.99"))
    base = "base_portfolio_snapshot"
    rows(book_dsn, f"UPDATE risk.modeling_sessions SET {base} = jsonb_set({base}, {price})")
    with transaction(world) as session, pytest.raises(BaseDiffers):
        keeping.kept(session, number)


def test_what_cannot_begin_is_refused_and_keeps_nothing(world: Engine) -> None:
    with pytest.raises(NotYet, match="--as-of"):
        begun(world, at=END + timedelta(days=2))
    with pytest.raises(NoSuchSession, match="risk session list"), transaction(world) as session:
        keeping.kept(session, 2**70)
    with transaction(world) as session:
        assert listing.sessions(session) == []


def test_sessions_are_listed_the_newest_first(world: Engine) -> None:
    for name in ("one", "two", "three"):
        begun(world, name=name)
    with transaction(world) as session:
        keeping.cancel(session, 2, by="eve", now=AFTER)
    changed(world, 3, ShockPrices(shocks={"COPPER": 0.1}))
    with transaction(world) as session:
        found = listing.sessions(session)
        assert [(row["name"], row["status"], row["changes"]) for row in found] == [
            ("three", "active", 1),
            ("two", "cancelled", 0),
            ("one", "active", 0),
        ]
        assert [row["name"] for row in listing.sessions(session, status="active", limit=1, before=3)] == ["one"]


# --- nothing is touched


def test_a_session_touches_nothing_that_is_traded_marked_or_reckoned(traded: tuple[Engine, str]) -> None:
    engine, dsn = traded
    synced(engine)
    with transaction(engine) as session:
        a_world(session, rate=False)
        node = session.scalars(select(PortfolioNode.portfolio_node_id).filter_by(name="Fund")).one()
    run_batch(engine, DAY, calendar=CALENDAR, clock=lambda: AFTER)
    before = everything_else(dsn)
    assert len(before) > 40
    for of in (node, 1):
        number = begun(engine, of).number
        with transaction(engine) as session:
            added = addition(session, keeping.kept(session, number), Wanted(instrument="COPPER", lots=-3.0), CALENDAR)
        found = changed(engine, number, added)
        for position in found.session.base.held:
            changed(engine, number, Remove(position_id=position.position_id))
        with transaction(engine) as session:
            assert keeping.differing(session, number, CALENDAR) == []
        exported(engine, taken(engine, number).number, "trades", "fix")
        with transaction(engine) as session:
            keeping.complete(session, number, by="ada", now=AFTER)
    assert everything_else(dsn) == before


def test_what_the_book_tells_otherwise_later_is_named(world: Engine, book_dsn: str) -> None:
    number = begun(world).number
    rows(book_dsn, "UPDATE risk.position_factor_exposures SET beta = beta + 1 WHERE position = 'position/1'")
    rows(book_dsn, "DELETE FROM book.portfolio_positions WHERE id = 2")
    with transaction(world) as session:
        tin = an_instrument(session, "TIN")
        a_held_position(session, DESK, tin.instrument_id)
    with transaction(world) as session:
        assert keeping.differing(session, number, CALENDAR) == [
            "position/1: betas",
            "position/2: held then, and not any more",
            "position/4: not held then, and now it is",
        ]
        assert keeping.kept(session, number).session.positions.of("position/2").signed_quantity == -40.0


# --- adding


def test_what_is_added_is_as_the_book_knows_it(world: Engine) -> None:
    number = begun(world, DESK).number

    def added(**wanted: Any) -> Any:
        with transaction(world) as session:
            return addition(session, keeping.kept(session, number), Wanted(**wanted), CALENDAR).position

    gold = added(instrument="GOLD_MINI", lots=2.0, stop=68_000.0)
    assert (gold.position_id, gold.price, gold.node, gold.rate) == (
        "new/1",
        closes()["GOLD_MINI"][-1],
        "Fund/Desk",
        1.0,
    )
    bank = added(instrument="BANK_NIFTY", lots=-1.0)
    assert bank.price == closes()["BANK_NIFTY"][-1]
    np.testing.assert_allclose([bank.betas[factor] for factor in FACTORS], by_hand()["betas"][0], rtol=1e-9)
    assert added(instrument="COPPER", lots=1.0, price=400.0).price == 400.0
    for wanted in (
        {"instrument": "TIN", "lots": 1.0},
        {"instrument": "COPPER", "lots": 1.0, "node": FUND},
    ):
        with pytest.raises(NotToBeAdded):
            added(**wanted)
    with transaction(world) as session:
        an_instrument(session, "TIN", kind="future")
        an_instrument(session, "NIFTY_CALL", kind="option")
    with pytest.raises(NotToBeAdded, match="--price"):
        added(instrument="TIN", lots=1.0)
    with pytest.raises(NotToBeAdded, match="risk option set NIFTY_CALL"):
        added(instrument="NIFTY_CALL", lots=1.0, price=300.0)
    tin = added(instrument="TIN", lots=1.0, price=10.0)
    assert (tin.price, tin.betas) == (10.0, None)


def test_a_correlated_shock_moves_the_other_factors_as_expected(world: Engine) -> None:
    session = begun(world)
    shocks = keeping.correlated(session, {"index": -0.1}).shocks
    covariance = by_hand()["covariance"]
    assert shocks == {"index": -0.1, "gold": pytest.approx(-0.1 * covariance[0, 1] / covariance[1, 1], rel=1e-9)}


def test_without_a_batch_no_factor_is_correlated(held: Engine) -> None:
    with pytest.raises(MissingFigure, match="risk batch"):
        keeping.correlated(begun(held), {"index": -0.1})


# --- snapshots and exports


def test_a_snapshot_stays_whatever_is_changed_or_reckoned_later(world: Engine) -> None:
    number = begun(world).number
    changed(world, number, Remove(position_id="position/2"))
    first = taken(world, number)
    assert first.snapshot.impact.of("short").after == 0.0
    run_batch(world, DAY, calendar=CALENDAR, clock=lambda: AFTER, again=True)
    changed(world, number, Remove(position_id="position/3"))
    second = taken(world, number, AFTER + timedelta(minutes=1))
    with transaction(world) as session:
        assert snapshots.kept_snapshot(session, first.number) == first
        impact, same = snapshots.compared_snapshots(session, first.number, second.number)
        assert same
        assert impact.of("exposure", "position", "position/3").after == 0.0
        found = listing.snapshots(session, number)
        assert [(row["snapshot_id"], row["session_version"]) for row in found] == [(1, 2), (2, 3)]
        assert found[0]["impact_summary"]["short"] == {
            "before": first.before.of("short").value,
            "after": 0.0,
            "difference": -float(first.before.of("short").value or 0),
        }
        with pytest.raises(NoSuchSnapshot):
            snapshots.kept_snapshot(session, 99)


def test_sessions_are_compared_each_by_its_own_inputs(world: Engine) -> None:
    begun(world)
    begun(world)
    changed(world, 2, Resize(position_id="position/1", lots=30))
    begun(world, DESK)
    with transaction(world) as session:
        impact, same = snapshots.compared(session, 1, 2)
        assert same
        gross = impact.of("exposure", "position", "position/1")
        assert gross.after == pytest.approx((gross.before or 0) / 2)
        assert snapshots.compared(session, 1, 3)[1] is False


@pytest.mark.parametrize(
    "kind, form",
    [(kind, form) for kind, forms in exports.FORMATS.items() for form in forms],
)
def test_the_same_snapshot_is_the_same_file_and_each_export_is_kept(world: Engine, kind: str, form: str) -> None:
    number = begun(world).number
    changed(world, number, Remove(position_id="position/2"))
    snapshot = taken(world, number).number
    first, second = exported(world, snapshot, kind, form), exported(world, snapshot, kind, form, "b.file")
    assert first.file == second.file
    with transaction(world) as session:
        found = listing.exports(session)
    assert [(row["export_id"], row["session_id"], row["file_name"]) for row in found] == [
        (2, 1, "b.file"),
        (1, 1, "a.file"),
    ]
    with transaction(world) as session:
        assert [row["export_id"] for row in listing.exports(session, limit=1, before=2)] == [1]
    assert {
        (row["export_type"], row["export_format"], row["content_hash"], row["file_size_bytes"]) for row in found
    } == {(kind, form, first.content_hash, len(first.file))}


def test_json_of_a_session_is_the_snapshot_by_its_hash(world: Engine) -> None:
    snapshot = taken(world, begun(world).number)
    found = exported(world, snapshot.number, "modeling_session", "json")
    assert found.content_hash == snapshot.content_hash
    assert found.file == snapshot.snapshot.to_json()


@pytest.mark.parametrize(
    "kind, form, name, told",
    [
        ("portfolio", "fix", "a", "not exported as fix"),
        ("everything", "csv", "a", "everything is not exported"),
        ("portfolio", "csv", "", "1 to 255"),
        ("portfolio", "csv", "a" * 256, "1 to 255"),
    ],
)
def test_what_is_not_exported_so_is_refused_and_not_recorded(
    world: Engine, kind: str, form: str, name: str, told: str
) -> None:
    snapshot = taken(world, begun(world).number).number
    with pytest.raises(CannotExport, match=told):
        exported(world, snapshot, kind, form, name)
    with transaction(world) as session:
        assert listing.exports(session) == []


def test_shocks_have_no_orders(world: Engine) -> None:
    number = begun(world).number
    changed(world, number, ShockPrices(shocks={"COPPER": -0.1}))
    snapshot = taken(world, number).number
    with pytest.raises(NothingToOrder, match="its changes move no position"):
        exported(world, snapshot, "trades", "fix")
    assert exported(world, snapshot, "trades", "json").file == b"[]"
    with transaction(world) as session:
        assert len(listing.exports(session)) == 1


def test_the_last_snapshot_of_a_session_is_its_own(world: Engine) -> None:
    for _ in range(2):
        begun(world)
    taken(world, 1)
    with transaction(world) as session:
        assert exports.snapshot_of(session, 1, None) == 1
        assert exports.snapshot_of(session, 1, 1) == 1
        with pytest.raises(NoSuchSnapshot, match="risk session snapshot 2"):
            exports.snapshot_of(session, 2, None)
        with pytest.raises(NoSuchSnapshot, match="not of session 2"):
            exports.snapshot_of(session, 2, 1)
        with pytest.raises(NoSuchSession):
            exports.snapshot_of(session, 3, None)
