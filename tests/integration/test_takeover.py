"""A follower takes over: it goes on from what it holds where that is the journal's, and loads where it is not."""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pytest

from core.config import default_settings
from core.db_state_manager import DatabaseStateManager
from core.errors import TooNew
from core.inputs import MoveCapital
from core.journal import FORMAT
from core.postgres.forms import Form
from core.settings import Settings
from live import recovery
from live.assembly import _tell_followers
from live.engine import LiveTradingEngine
from live.following import Follower
from tests.builders import a_signal, minutes
from tests.engines import Clock, an_engine, rows_as_portfolio, status_of, without_waiting
from tests.queries import rows
from tests.verified import verified
from tests.waiting import eventually

GOLD: dict[str, Any] = {"instrument": "GOLD_MINI", "price": 72000, "stop": 71500, "atr": 500}
NEWER = (
    "INSERT INTO decision_journal SELECT (jsonb_populate_record(j, jsonb_build_object('seq', seq + 1, 'format', 9,"
    " 'fingerprint', NULL))).* FROM decision_journal j ORDER BY seq DESC LIMIT 1"
)


@contextmanager
def a_follower(dsn: str, settings: Settings | None = None, **given: Any) -> Iterator[LiveTradingEngine]:
    with DatabaseStateManager(dsn, instance_id="follower") as manager:
        engine = LiveTradingEngine(
            manager, settings or without_waiting(), clock=Clock(minutes(6)), answer_within=1.8, **given
        )
        engine.follow()
        try:
            yield engine
        finally:
            engine.stop()


@pytest.fixture
def lags(monkeypatch: pytest.MonkeyPatch) -> None:
    """A follower that has loaded, and looks no more."""
    monkeypatch.setattr(Follower, "_look", lambda _: None)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Who has loaded the state, from here on."""
    seen: list[str] = []
    load = DatabaseStateManager.load

    def noted(manager: DatabaseStateManager) -> Any:
        seen.append(manager.instance_id)
        return load(manager)

    monkeypatch.setattr(DatabaseStateManager, "load", noted)
    return seen


def a_story(leader: LiveTradingEngine) -> None:
    """Entries, a pyramid, a bar that moves stops, an exit, a flow."""
    assert status_of(leader.process_signal(a_signal(timestamp=minutes(2)))) == "executed"
    leader.process_signal(a_signal(**GOLD, timestamp=minutes(2)))
    leader.process_signal(a_signal("MARKET_DATA", price=53000, timestamp=minutes(2.2)))
    leader.process_signal(a_signal("PYRAMID", price=53000, stop=52900, atr=100, timestamp=minutes(2.3)))
    leader.command(MoveCapital(amount=Decimal(1000), request_id="once"))
    leader.process_signal(a_signal("EXIT", **{**GOLD, "stop": None}, timestamp=minutes(2.5)))


def test_a_takeover_loads_nothing_and_goes_on_from_the_same_state(dsn: str, loads: list[str]) -> None:
    with an_engine(dsn, clock=Clock(minutes(3))) as leader, a_follower(dsn) as follower:
        a_story(leader)
        assert eventually(lambda: follower.portfolio == leader.portfolio)
        led = leader.portfolio
        leader.stop()
        follower.start()
        assert "follower" not in loads
        assert follower.serving
        assert follower.portfolio == led
        assert follower.positions == led.positions
        assert follower.portfolio == rows_as_portfolio(dsn, follower.portfolio)
        # What follows is decided, versioned and chained on it.
        follower.process_signal(a_signal("MARKET_DATA", price=53500, timestamp=minutes(5.2)))
        again = a_signal("EXIT", price=53400, stop=None, timestamp=minutes(5.3))
        assert status_of(follower.process_signal(again)) == "executed"
        assert follower.portfolio == rows_as_portfolio(dsn, follower.portfolio)
        verified(dsn)


@pytest.mark.usefixtures("lags")
def test_what_was_committed_after_the_last_look_is_caught_up_with(
    dsn: str, loads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "ENTRIES_AT_ONCE", 3)
    with an_engine(dsn, clock=Clock(minutes(3))) as leader, a_follower(dsn) as follower:
        before = follower.portfolio
        a_story(leader)
        assert follower.portfolio == before
        leader.stop()
        follower.start()
        assert "follower" not in loads
        assert follower.portfolio == rows_as_portfolio(dsn, follower.portfolio)
        assert follower.portfolio.state == leader.portfolio.state
        verified(dsn)


@pytest.mark.usefixtures("lags")
def test_another_journal_than_the_one_that_was_followed_is_loaded(dsn: str, loads: list[str]) -> None:
    with an_engine(dsn, clock=Clock(minutes(3))) as leader, a_follower(dsn) as follower:
        a_story(leader)
        leader.stop()
        follower._follower._hash = "of another journal"  # type: ignore[union-attr]
        follower.start()
        assert "follower" in loads
        assert follower.portfolio == rows_as_portfolio(dsn, follower.portfolio)


@pytest.mark.usefixtures("lags")
def test_what_cannot_be_applied_is_loaded(dsn: str, loads: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with an_engine(dsn, clock=Clock(minutes(3))) as leader, a_follower(dsn) as follower:
        a_story(leader)
        leader.stop()

        def broken(*_: Any) -> Any:
            raise KeyError("a position that is not there")

        monkeypatch.setattr(recovery, "applied", broken)
        follower.start()
        assert "follower" in loads
        assert follower.portfolio == rows_as_portfolio(dsn, follower.portfolio)


def test_other_settings_of_who_takes_over_are_journalled_first(dsn: str, loads: list[str]) -> None:
    limits = default_settings().limits.model_copy(update={"risk_percent": Decimal(7)})
    other = without_waiting().model_copy(update={"limits": limits})
    with an_engine(dsn, clock=Clock(minutes(3))) as leader, a_follower(dsn, other) as follower:
        a_story(leader)
        assert eventually(lambda: follower.portfolio.state == leader.portfolio.state)
        leader.stop()
        follower.start()
        assert "follower" not in loads
        assert follower.portfolio.settings.limits.risk_percent == 7
        kinds = rows(dsn, "SELECT kind, term FROM decision_journal ORDER BY seq DESC LIMIT 2")
        assert [kind for kind, _ in kinds] == ["term", "settings"]
        verified(dsn)


def test_a_journal_of_a_newer_program_is_not_led_and_its_leader_not_disturbed(dsn: str) -> None:
    with an_engine(dsn, clock=Clock(minutes(3))) as leader:
        a_story(leader)
    rows(dsn, NEWER)
    term = rows(dsn, "SELECT term FROM leadership")
    with (
        pytest.raises(TooNew, match=rf"of format 9, this program knows {FORMAT}: use the newer program"),
        an_engine(dsn, clock=Clock(minutes(6))),
    ):
        pass
    assert rows(dsn, "SELECT term FROM leadership") == term


def test_warming_up_has_the_batch_planned_and_changes_nothing(dsn: str) -> None:
    with an_engine(dsn, clock=Clock(minutes(3))) as leader, DatabaseStateManager(dsn, instance_id="other") as manager:
        a_story(leader)
        entries = rows(dsn, "SELECT count(*), max(term) FROM decision_journal")
        manager.warm_up()
        manager.warm_up()
        connection = manager._writer._connection
        assert connection is not None
        with connection.cursor() as cursor:
            cursor.execute("SELECT name, generic_plans, custom_plans FROM pg_prepared_statements")
            assert sorted(cursor.fetchall()) == sorted((form.value, 2, 0) for form in Form)
        assert rows(dsn, "SELECT count(*), max(term) FROM decision_journal") == entries
        # The leader leads.
        leader.command(MoveCapital(amount=Decimal(1000), request_id="twice"))
        assert leader.serving


def test_who_led_is_remembered_term_by_term(dsn: str) -> None:
    for _ in range(3):
        with an_engine(dsn, clock=Clock(minutes(3))):
            pass
    with DatabaseStateManager(dsn) as manager:
        terms = manager.reads.terms(limit=10)
        (now,) = rows(dsn, "SELECT term, instance_id, acquired_at FROM leadership")
        assert [row["term"] for row in terms] == [now[0], now[0] - 1, now[0] - 2]
        assert (terms[0]["instance_id"], terms[0]["acquired_at"]) == (now[1], now[2])


def test_followers_are_told_that_the_lead_is_free_but_a_database_that_is_away_is_not_waited_for(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    with an_engine(dsn) as engine:
        monkeypatch.setattr(engine.reads, "run", lambda name, **_: asked.append(name))
        _tell_followers(engine)
        assert asked == ["wake"]
        engine.database_away = True
        _tell_followers(engine)
        assert asked == ["wake"]
