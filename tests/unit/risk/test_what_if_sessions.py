"""A modelling session: changes to a copy, undone and ended, kept as JSON; its base is proved to be what it was."""

from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given as any_of
from msgspec.structs import replace

from core.errors import Refused
from risk.analytics.refusals import OutOfRange, WrongShape
from risk.what_if.changes import Add, Remove, Resize, ShockPrices
from risk.what_if.measures import measure
from risk.what_if.positions import Positions
from risk.what_if.refusals import BaseDiffers, NoSuchChange, NotComparable, SessionEnded, UnknownPosition
from risk.what_if.sessions import (
    Session,
    begun,
    cancelled,
    compare_sessions,
    completed,
    require_untouched,
    session_from_json,
    snapshot,
    snapshot_from_json,
    with_change,
    without_change,
)
from tests.unit.risk.what_if import AT, a_position, an_option, gold, held, inputs, many

LATER = AT + timedelta(hours=1)


def a_session(base: Positions | None = None, **changed: Any) -> Session:
    fields = {"by": "ada", "at": AT, **changed}
    return begun("session_789", "Less metal", base or held(), **fields)


def test_changes_are_made_to_a_copy_one_by_one() -> None:
    base = held()
    session = with_change(a_session(base), Remove(position_id="gold-1", by="ada", at=LATER))
    session = with_change(session, Resize(position_id="bank-1", lots=1))
    assert [one.signed_quantity for one in session.positions.held] == [1]
    assert session.base == base == held()
    assert (session.status, session.created_by, session.created_at) == ("active", "ada", AT)
    require_untouched(session, held())


def test_a_change_that_cannot_be_leaves_the_session_as_it_was() -> None:
    session = with_change(a_session(), Remove(position_id="gold-1"))
    with pytest.raises(UnknownPosition, match="gold-1"):
        with_change(session, Resize(position_id="gold-1", lots=1))
    assert session.changes == (Remove(position_id="gold-1"),)


def test_the_last_change_is_undone_or_any_that_no_later_one_needs() -> None:
    session = a_session()
    for change in (Add(position=an_option()), Resize(position_id="call-1", lots=2), Remove(position_id="gold-1")):
        session = with_change(session, change)
    assert without_change(session).positions.of("gold-1") == gold()
    assert without_change(session, 2).positions.of("call-1").signed_quantity == 1
    with pytest.raises(UnknownPosition, match="call-1"):
        without_change(session, 1)
    for number in (0, 4, -1):
        with pytest.raises(NoSuchChange, match=f"has 3 changes, and none to undo at {number}"):
            without_change(session, number)
    with pytest.raises(NoSuchChange):
        without_change(a_session())


@any_of(many())
def test_what_was_done_and_undone_has_not_been(base: Positions) -> None:
    session = a_session(base)
    changed = with_change(session, Add(position=gold("new")))
    assert changed.positions != base
    assert without_change(changed) == session
    assert without_change(changed).positions.content_hash == session.base_hash


@pytest.mark.parametrize("end, status", [(completed, "completed"), (cancelled, "cancelled")])
def test_an_end_is_final(end: Any, status: str) -> None:
    session = with_change(a_session(), Remove(position_id="gold-1"))
    ended = end(session, by="bob", at=LATER)
    assert (ended.status, ended.ended_by, ended.ended_at, ended.changes) == (status, "bob", LATER, session.changes)
    for again in (
        lambda: completed(ended, by="bob", at=LATER),
        lambda: cancelled(ended, by="bob", at=LATER),
        lambda: with_change(ended, Remove(position_id="bank-1")),
        lambda: without_change(ended),
    ):
        with pytest.raises(SessionEnded, match=f"session session_789 is {status}"):
            again()


@pytest.mark.parametrize(
    "changed, refusal, words",
    [
        ({"by": ""}, OutOfRange, "created_by"),
        ({"at": datetime(2026, 1, 14)}, OutOfRange, "created_at"),  # noqa: DTZ001 - what is refused
    ],
)
def test_a_session_is_valid_from_birth(changed: dict, refusal: type[Refused], words: str) -> None:
    with pytest.raises(refusal, match=words):
        a_session(**changed)
    with pytest.raises(OutOfRange, match="name"):
        begun("session_789", " ", held(), by="ada", at=AT)


@pytest.mark.parametrize(
    "changed", [{"status": "completed"}, {"ended_at": LATER}, {"status": "cancelled", "ended_at": LATER}]
)
def test_an_end_has_a_time_and_a_name(changed: dict) -> None:
    with pytest.raises(SessionEnded):
        replace(a_session(), **changed)


def test_a_session_is_kept_as_json_and_a_base_that_was_tampered_with_is_found() -> None:
    session = completed(with_change(a_session(), Add(position=an_option())), by="bob", at=LATER)
    assert session_from_json(session.to_json()) == session
    document = msgspec.json.decode(session.to_json())
    document["base"]["held"][0]["signed_quantity"] = 3.0
    with pytest.raises(BaseDiffers, match="its base is not what it was"):
        session_from_json(msgspec.json.encode(document))
    with pytest.raises(WrongShape, match=r"session: .*paused"):
        session_from_json(msgspec.json.encode({**document, "status": "paused"}))


def test_live_positions_that_differ_from_the_base_are_named() -> None:
    session = with_change(a_session(), ShockPrices(shocks={"GOLD_MINI": 0.5}))
    require_untouched(session, held())
    with pytest.raises(BaseDiffers, match=r"not as it began: gold-1$"):
        require_untouched(session, held(a_position(), gold(price=72_001)))
    with pytest.raises(BaseDiffers, match="bank-1, gold-1"):
        require_untouched(session, held(gold("gold-2")).with_position(gold(stop=None)))
    with pytest.raises(BaseDiffers, match="as of when"):
        require_untouched(session, held(as_of=LATER))
    many_of_them = a_session(held(*(gold(f"g{number}") for number in range(8))))
    with pytest.raises(BaseDiffers, match="g4 and 3 more"):
        require_untouched(many_of_them, held(a_position("g0")).without("g0"))


def test_a_snapshot_tells_what_the_changes_do() -> None:
    session = with_change(a_session(), Remove(position_id="gold-1"))
    taken = snapshot(session, inputs(), by="ada", at=LATER)
    assert (taken.session_id, taken.taken_by, taken.taken_at, taken.base_as_of) == ("session_789", "ada", LATER, AT)
    assert (taken.base_hash, taken.modified_hash) == (session.base_hash, session.positions.content_hash)
    assert taken.modified == session.positions
    assert taken.impact.of("net").difference == 2_160_000
    assert snapshot_from_json(taken.to_json()) == taken
    assert snapshot(session, inputs(), by="ada", at=LATER) == taken
    with pytest.raises(OutOfRange, match="taken_at"):
        snapshot(session, inputs(), by="ada", at=LATER.replace(tzinfo=None))
    with pytest.raises(OutOfRange, match="taken_by"):
        snapshot(session, inputs(), by="", at=LATER)


def test_two_sessions_are_compared_by_what_they_make() -> None:
    one = with_change(a_session(), Remove(position_id="gold-1"))
    other = with_change(a_session(), Resize(position_id="gold-1", lots=6))
    told = compare_sessions(one, other, inputs())
    assert told.of("net").difference == -4_320_000
    assert told.of("volatility").before == measure(one.positions, inputs()).of("volatility").value
    with pytest.raises(NotComparable, match="base"):
        compare_sessions(one, a_session(held(base="USD")), inputs())
