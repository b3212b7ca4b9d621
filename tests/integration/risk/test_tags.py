"""Tags: made once in whatever case, put on what is there, told of each day as they were on it, and what is refused."""

import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg2
import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from book.database import transaction
from book.hierarchy import Position
from book.nodes import move_node
from core.errors import DataRefused
from risk.tagged import TagOf, tags_on
from risk.tagging import (
    NothingToTag,
    TagNotValid,
    TagRetired,
    UnknownTag,
    add_tag,
    create_tag,
    history_of,
    remove_tag,
    retire_tag,
    tags,
    target,
)
from risk.tags import PositionTag, Tag
from tests.book_world import a_held_position, a_node, an_instrument, kept
from tests.queries import rows
from tests.waiting import eventually

MONDAY = datetime(2026, 1, 12, 10, tzinfo=UTC)
ON_MONDAY = {"by": "ada", "now": MONDAY}
NODE, POSITION = target("node/1"), target("position/1")


@pytest.fixture
def world(book_engine: Engine) -> Engine:
    """Fund > Desk; a position in the Desk that came with a strategy, a holding in the Fund."""
    with transaction(book_engine) as session:
        fund = a_node(session)
        desk = a_node(session, "Desk", "DESK", parent_id=fund.portfolio_node_id)
        of = an_instrument(session).instrument_id
        a_held_position(
            session, desk.portfolio_node_id, of, strategy_ids=["Carry"], strategy_weights={"Carry": Decimal(1)}
        )
        kept(
            session,
            Position(portfolio_node_id=fund.portfolio_node_id, instrument_id=of, quantity=Decimal(-5), base_ccy="INR"),
        )
    return book_engine


def told(engine: Engine, on: str, day: date) -> list[tuple[str, str, str]]:
    with Session(engine) as session:
        return [(each.tag, each.tag_type, each.on) for each in tags_on(session, target(on), day)]


def test_a_tag_is_made_once_in_whatever_case_and_described_anew(world: Engine) -> None:
    with transaction(world) as session:
        made, changed = create_tag(session, " Trend ", "strategy", by="ada", colour="#0A7F3C")
        assert (made.name, made.colour, made.created_by, changed) == ("Trend", "#0a7f3c", "ada", True)
        again, changed = create_tag(session, "TREND", "strategy", by="bob", colour="#0a7f3c")
        assert (again.tag_id, again.name, again.created_by, changed) == (made.tag_id, "Trend", "ada", False)
        other, changed = create_tag(session, "trend", "regular", by="ada")
        assert (other.tag_id != made.tag_id, other.description, changed) == (True, "", True)
        described, changed = create_tag(session, "trend", "strategy", by="ada", description="with the move")
        assert (described.colour, described.description, changed) == ("#0a7f3c", "with the move", True)
        assert [(each["name"], each["tag_type"]) for each in tags(session)] == [
            ("trend", "regular"),
            ("Trend", "strategy"),
        ]
        assert [each["name"] for each in tags(session, tag_type="strategy")] == ["Trend"]


def test_of_two_who_make_a_tag_at_once_one_does(world: Engine) -> None:
    found: list[bool] = []

    def other() -> None:
        with transaction(world) as session:
            found.append(create_tag(session, "TREND", "regular", by="bob")[1])

    with transaction(world) as session:
        assert create_tag(session, "trend", "regular", by="ada")[1]
        second = threading.Thread(target=other)
        second.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        assert eventually(lambda: rows(dsn_of(world), waiting) == [(1,)])
    second.join(60)
    assert found == [False]


def dsn_of(engine: Engine) -> str:
    with engine.connect() as connection:
        return str(connection.connection.driver_connection.dsn)


def test_a_nodes_tags_hold_for_all_below_it_and_each_says_where_it_comes_from(world: Engine) -> None:
    with transaction(world) as session:
        for name, tag_type in (("core", "regular"), ("hedge", "regular"), ("carry", "strategy")):
            create_tag(session, name, tag_type, by="ada")
        assert add_tag(session, "CORE", "regular", NODE, **ON_MONDAY)
        assert not add_tag(session, "core", "regular", NODE, by="bob", now=MONDAY + timedelta(hours=1))
        assert add_tag(session, "hedge", "regular", POSITION, **ON_MONDAY)
        assert add_tag(session, "hedge", "regular", target("holding/1"), **ON_MONDAY)
    own = [("hedge", "regular", "position/1"), ("carry", "strategy", "position/1"), ("core", "regular", "node/1")]
    assert told(world, "position/1", MONDAY.date()) == own
    assert told(world, "holding/1", MONDAY.date()) == [
        ("hedge", "regular", "holding/1"),
        ("core", "regular", "node/1"),
    ]
    assert told(world, "node/2", MONDAY.date()) == [("core", "regular", "node/1")]
    assert told(world, "position/9", MONDAY.date()) == told(world, "holding/9", MONDAY.date()) == []
    with Session(world) as session:
        first = tags_on(session, POSITION, MONDAY.date())[0]
        assert first == TagOf(tag="hedge", tag_type="regular", on="position/1", added_by="ada", added_at=MONDAY)
        counted = {each["name"]: (each["nodes"], each["positions"]) for each in tags(session)}
    assert counted == {"core": (1, 0), "hedge": (0, 2), "carry": (0, 0)}


def test_a_past_day_has_the_tags_of_that_day(world: Engine) -> None:
    days = [MONDAY.date() + timedelta(days=each) for each in range(-1, 4)]
    with transaction(world) as session:
        create_tag(session, "core", "regular", by="ada")
        add_tag(session, "core", "regular", NODE, **ON_MONDAY)
        on_wednesday = MONDAY + timedelta(days=2)
        assert remove_tag(session, "Core", "regular", NODE, by="bob", now=on_wednesday)
        assert not remove_tag(session, "core", "regular", NODE, by="bob", now=on_wednesday)
        assert add_tag(session, "core", "regular", NODE, by="eve", now=on_wednesday + timedelta(days=1))
    core = [("core", "regular", "node/1")]
    assert [told(world, "node/2", day) for day in days] == [[], core, core, [], core]
    with Session(world) as session:
        found = history_of(session, "core", "regular")
    assert [(each["on"], each["added_by"], each["removed_by"]) for each in found["on"]] == [
        ("node/1", "ada", "bob"),
        ("node/1", "eve", None),
    ]


def test_a_node_that_moved_had_other_tags_before(world: Engine) -> None:
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    before = datetime(yesterday.year, yesterday.month, yesterday.day, tzinfo=UTC)
    with transaction(world) as session:
        create_tag(session, "core", "regular", by="ada")
        add_tag(session, "core", "regular", NODE, by="ada", now=before)
        move_node(session, 2, None)
    assert told(world, "node/2", yesterday) == [("core", "regular", "node/1")]
    assert told(world, "node/2", datetime.now(UTC).date()) == []


def test_a_retired_tag_is_taken_off_all_told_of_days_before_and_put_on_nothing(world: Engine) -> None:
    later = {"by": "bob", "now": MONDAY + timedelta(days=1)}
    with transaction(world) as session:
        create_tag(session, "core", "regular", by="ada")
        add_tag(session, "core", "regular", NODE, **ON_MONDAY)
        add_tag(session, "core", "regular", POSITION, **ON_MONDAY)
        assert retire_tag(session, "core", "regular", **later)[1] == 2
        assert retire_tag(session, "core", "regular", **later)[1] is None
        assert tags(session) == []
        assert [each["retired_by"] for each in tags(session, retired=True)] == ["bob"]
        with pytest.raises(TagRetired, match="core was retired on 2026-01-13"):
            add_tag(session, "core", "regular", NODE, **later)
    assert ("core", "regular", "node/1") in told(world, "node/1", MONDAY.date())
    assert told(world, "node/1", MONDAY.date() + timedelta(days=1)) == []
    with transaction(world) as session:
        assert create_tag(session, "core", "regular", by="ada")[1]
        assert not create_tag(session, "core", "regular", by="ada")[1]
    # Back in use it is on nothing.
    assert told(world, "node/1", MONDAY.date() + timedelta(days=1)) == []


def test_a_clock_that_went_back_takes_a_tag_off_all_the_same(world: Engine) -> None:
    with transaction(world) as session:
        create_tag(session, "core", "regular", by="ada")
        add_tag(session, "core", "regular", NODE, **ON_MONDAY)
        assert remove_tag(session, "core", "regular", NODE, by="bob", now=MONDAY - timedelta(hours=1))
        (row,) = history_of(session, "core", "regular")["on"]
        assert row["removed_at"] == MONDAY


_Asked = Callable[[Session], Any]


@pytest.mark.parametrize(
    "asked, error, why",
    [
        (lambda session: create_tag(session, " ", "regular", by="ada"), TagNotValid, "`name`"),
        (lambda session: create_tag(session, "x" * 51, "regular", by="ada"), TagNotValid, "`name`"),
        (lambda session: create_tag(session, "a\nb", "regular", by="ada"), TagNotValid, "`name`"),
        (lambda session: create_tag(session, "node/1", "regular", by="ada"), TagNotValid, "not like node/1"),
        (lambda session: create_tag(session, "x", "other", by="ada"), TagNotValid, "`type`"),
        (lambda session: create_tag(session, "x", "regular", by=" "), TagNotValid, "`by`"),
        (lambda session: create_tag(session, "x", "regular", by="a", colour="red"), TagNotValid, "`colour`"),
        (lambda session: create_tag(session, "x", "regular", by="a", description="\0"), TagNotValid, "`description`"),
        (lambda session: add_tag(session, "tin", "regular", NODE, **ON_MONDAY), UnknownTag, "`risk tag create`"),
        (lambda session: add_tag(session, "core", "strategy", NODE, **ON_MONDAY), UnknownTag, "a regular one"),
        (lambda session: remove_tag(session, "tin", "regular", NODE, **ON_MONDAY), UnknownTag, "no regular tag 'tin'"),
        (lambda session: retire_tag(session, "tin", "regular", **ON_MONDAY), UnknownTag, "tin"),
        (lambda session: history_of(session, "tin", "regular"), UnknownTag, "tin"),
        (lambda session: add_tag(session, "core", "regular", target("node/9"), **ON_MONDAY), NothingToTag, "node/9"),
        (lambda session: add_tag(session, "core", "regular", target("position/9"), **ON_MONDAY), NothingToTag, "n/9"),
        (lambda session: add_tag(session, "core", "regular", target("holding/2"), **ON_MONDAY), NothingToTag, "g/2"),
        (lambda _: target("position/0"), NothingToTag, "is not like node/1"),
        (lambda _: target("desk/1"), NothingToTag, "is not like node/1"),
        (lambda _: target("position/1\n"), NothingToTag, "is not like node/1"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    world: Engine, asked: _Asked, error: type[Exception], why: str
) -> None:
    with transaction(world) as session:
        create_tag(session, "core", "regular", by="ada")
        session.add(
            Position(portfolio_node_id=1, instrument_id=1, quantity=Decimal(1), base_ccy="INR", status="DELETED")
        )
    with pytest.raises(error, match=why), transaction(world) as session:
        asked(session)
    with Session(world) as session:
        assert [each.name for each in session.scalars(select(Tag))] == ["core"]
        assert session.scalars(select(PositionTag)).all() == []


@pytest.mark.parametrize(
    "insert, rule",
    [
        ("tags (name, tag_type, created_by) VALUES (' a', 'regular', 'ada')", "ck_tags_name"),
        ("tags (name, tag_type, created_by) VALUES ('a', 'other', 'ada')", "ck_tags_tag_type"),
        ("tags (name, tag_type, created_by, colour) VALUES ('a', 'regular', 'ada', 'red')", "ck_tags_colour"),
        ("tags (name, tag_type, created_by, retired_by) VALUES ('a', 'regular', 'ada', 'bob')", "ck_tags_retired"),
        (
            "position_tags (tag_id, position, added_by, added_at) VALUES (1, 'desk/1', 'ada', now())",
            "ck_position_tags_position",
        ),
        (
            (
                "portfolio_tags (tag_id, portfolio_node_id, added_by, added_at, removed_by, removed_at)"
                " VALUES (1, 1, 'ada', now(), 'bob', now() - interval '1 s')"
            ),
            "ck_portfolio_tags_removed",
        ),
    ],
)
def test_the_database_refuses_what_cannot_be(world: Engine, insert: str, rule: str) -> None:
    with pytest.raises(psycopg2.errors.CheckViolation, match=rule):
        rows(dsn_of(world), f"INSERT INTO risk.{insert}")


def test_the_database_keeps_a_tag_once_on_a_thing_at_a_time(world: Engine) -> None:
    with transaction(world) as session:
        create_tag(session, "core", "regular", by="ada")
        add_tag(session, "core", "regular", POSITION, **ON_MONDAY)
    again = PositionTag(tag_id=1, position="position/1", added_by="ada", added_at=MONDAY)
    with pytest.raises(DataRefused, match="uq_position_tags_now"), transaction(world) as session:
        session.add(again)
