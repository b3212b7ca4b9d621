"""What the journal says reaches whom it is for, in its order: through providers that refuse and hang, over restarts and
takeovers, and never at the expense of a decision. With a real database and a receiver on loopback."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from core.db_state_manager import DatabaseStateManager
from core.errors import ConfigurationError, LeadershipLost
from core.inputs import Halt, MoveCapital, Resume
from core.notifications import Channel, HeartbeatUrl, Level, NotificationSettings
from live.engine import LiveTradingEngine
from live.links import Linked, Links
from live.notify.courier import Courier
from live.notify.cursor import Cursor
from live.notify.message import AGAIN, Message
from live.notify.notices import Notice
from live.notify.pinger import Pinger
from live.notify.rounds import Rounds
from live.notify.sender import AppriseSender
from live.notify.service import Notifications
from live.notify.standing import Standing
from live.notify.watch import Trouble, Watch, troubles_of
from tests.builders import NOON, a_signal, minutes, settings_with
from tests.engines import Clock, an_engine, status_of, without_waiting
from tests.queries import rows
from tests.receiver import Receiver, a_receiver
from tests.waiting import Stopwatch, eventually


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with a_receiver() as made:
        yield made


@contextmanager
def a_courier(
    engine: LiveTradingEngine,
    receiver: Receiver,
    clock: Clock | None = None,
    *,
    name: str = "phone",
    links: Links | None = None,
    wants: Mapping[str, Any] | None = None,
    **channel: Any,
) -> Iterator[Courier]:
    given = {**channel, **(wants or {})}
    settings = Channel.model_validate({"url": receiver.url, "most_per_minute": 600, **given})
    courier = Courier(
        name,
        settings,
        AppriseSender(receiver.url, "phone"),
        lambda: engine,
        clock=clock or Clock(),
        who="the test",
        every=0.02,
        longest_pause=0.1,
        links=links,
    )
    courier.start()
    try:
        yield courier
    finally:
        courier.stop()


def deposit(engine: LiveTradingEngine, amount: int) -> int:
    """Something to tell; its entry."""
    answer = engine.command(MoveCapital(amount=Decimal(amount), note=f"note {amount}"))
    assert status_of(answer) == "executed"
    assert answer.journal_seq is not None
    return answer.journal_seq


def told_seq(dsn: str) -> int:
    ((seq,),) = rows(dsn, "SELECT coalesce(max(told_seq), 0) FROM notification_cursors WHERE sending_seq IS NULL")
    return int(seq)


def test_what_is_decided_is_told_with_its_entry_and_its_signal(dsn: str, receiver: Receiver) -> None:
    with an_engine(dsn) as engine, a_courier(engine, receiver):
        answer = engine.deliver(a_signal())
        assert status_of(answer) == "executed"
        assert eventually(lambda: told_seq(dsn) == answer.journal_seq)
    (message,) = receiver.got
    assert message["title"] == "INFO [main] BANK_NIFTY BASE_ENTRY Long_1 executed"
    assert f"(journal {answer.journal_seq}, signal {answer.fingerprint})" in message["message"]
    assert message["type"] == "info"


def test_what_waits_is_told_with_a_link_that_decides_it_where_links_are_wanted(dsn: str, receiver: Receiver) -> None:
    asking = without_waiting(settings_with(approval={"mode": "approve"}))
    clock = Clock(minutes(1))
    links = Links(secret="a-secret-of-the-links", public_url="https://portfolio.example.com", clock=clock)
    with an_engine(dsn, settings=asking, clock=clock) as engine, a_receiver() as other:
        with (
            a_courier(engine, receiver, clock, links=links),
            a_courier(engine, other, clock, links=links, name="group", wants={"links": False}),
        ):
            answer = engine.deliver(a_signal())
            assert answer.outcome["status"] == "proposed"
            assert eventually(lambda: all("`approve P" in each.said() for each in (receiver, other)))
        (proposal,) = engine.portfolio.pending_proposals()
    body = receiver.got[0]["message"]
    assert receiver.got[0]["type"] == "failure"
    assert f"`approve {proposal.proposal_id}` or `reject` it until 2026-01-14 06:31:00 UTC" in body
    address = body.splitlines()[-1]
    assert address.startswith("https://portfolio.example.com/link/")
    linked = links.read(address.rpartition("/")[2])
    assert linked == Linked(portfolio="main", proposal_id=proposal.proposal_id, expires_at=proposal.expires_at)
    assert "/link/" not in other.said()
    kept = rows(dsn, "SELECT string_agg(t::text, ' ') FROM notification_cursors t")
    assert "link" not in str(kept)


def test_a_new_channel_begins_where_its_leader_began_and_not_at_the_first_entry(dsn: str, receiver: Receiver) -> None:
    with an_engine(dsn) as engine:
        deposit(engine, 1)
    with an_engine(dsn) as engine:
        seq = deposit(engine, 2)
        with a_courier(engine, receiver):
            assert eventually(lambda: told_seq(dsn) == seq)
    assert "note 2" in receiver.said()
    assert "note 1" not in receiver.said()


def test_a_restart_goes_on_behind_what_was_told(dsn: str, receiver: Receiver) -> None:
    with an_engine(dsn) as engine, a_courier(engine, receiver):
        seq = deposit(engine, 1)
        assert eventually(lambda: told_seq(dsn) == seq)
    with an_engine(dsn) as engine:
        seq = deposit(engine, 2)
        with a_courier(engine, receiver):
            assert eventually(lambda: told_seq(dsn) == seq)
    assert receiver.said().count("note 1") == receiver.said().count("note 2") == 1
    assert "leads since term 2" in receiver.said()
    assert AGAIN not in receiver.said()


def test_a_provider_that_refuses_is_asked_again_and_nothing_is_lost_or_overtakes(dsn: str, receiver: Receiver) -> None:
    receiver.status = 500
    with an_engine(dsn) as engine, a_courier(engine, receiver):
        deposit(engine, 1)
        assert eventually(lambda: len(receiver.got) > 2)
        for amount in (2, 3):
            last = deposit(engine, amount)
        receiver.status = 200
        assert eventually(lambda: told_seq(dsn) == last)
    said = receiver.said()
    assert [said.count(f"note {amount}") for amount in (1, 2, 3)] == [1, 1, 1]
    assert said.index("note 1") < said.index("note 2") < said.index("note 3")
    assert AGAIN in receiver.taken[0]["message"]
    assert all(AGAIN not in message["message"] for message in receiver.taken[1:])


def test_a_provider_that_hangs_delays_no_decision_and_no_end(dsn: str, receiver: Receiver) -> None:
    receiver.silent.set()
    with an_engine(dsn) as engine, a_courier(engine, receiver):
        deposit(engine, 1)
        assert eventually(lambda: receiver.got)
        began = Stopwatch()
        for number in range(20):
            deposit(engine, 2 + number)
        # Four seconds is what apprise waits for an answer: nobody has waited for it.
        assert began.seconds < 4
        stopped = Stopwatch()
    assert stopped.seconds < 10
    receiver.silent.clear()
    # It is kept that it may have been told.
    ((begun,),) = rows(dsn, "SELECT sending_seq IS NOT NULL FROM notification_cursors")
    assert begun


def test_what_may_have_been_told_before_is_told_again_and_says_so(dsn: str, receiver: Receiver) -> None:
    with an_engine(dsn) as engine:
        cursor = Cursor(engine.reads, "phone", engine.db_manager.term)
        place = cursor.place()
        seq = deposit(engine, 1)
        cursor.begin(place, seq)
        later = deposit(engine, 2)
        with a_courier(engine, receiver):
            assert eventually(lambda: told_seq(dsn) == later)
    first, second = receiver.got
    assert first["message"].startswith(f"{AGAIN}\n")
    assert f"(journal {seq})" in first["message"]
    assert "note 2" not in first["message"]
    assert (AGAIN in second["message"], f"(journal {later})" in second["message"]) == (False, True)


def test_in_quiet_hours_it_waits_until_they_end_or_something_is_critical(dsn: str, receiver: Receiver) -> None:
    clock = Clock(NOON)
    quiet = {"begins": "11:00", "ends": "12:00", "timezone": "Asia/Kolkata"}  # NOON is 11:45 there
    with an_engine(dsn, clock=clock) as engine, a_courier(engine, receiver, clock, quiet=quiet):
        deposit(engine, 1)
        time.sleep(0.3)
        assert receiver.got == []
        assert status_of(engine.command(Halt(reason="smoke"))) == "executed"
        assert eventually(lambda: receiver.got)
        (message,) = receiver.got
        assert message["title"] == "CRITICAL [main] trading is halted, and 1 more"
        assert "note 1" in message["message"]
        assert status_of(engine.command(Resume())) == "executed"
        seq = deposit(engine, 2)
        time.sleep(0.3)
        assert len(receiver.got) == 1
        clock.forward(minutes=15)
        assert eventually(lambda: told_seq(dsn) == seq)
        assert len(receiver.got) == 2


def test_what_is_beyond_the_rate_is_summed_up_and_not_dropped(dsn: str, receiver: Receiver) -> None:
    clock = Clock(NOON)
    with an_engine(dsn, clock=clock) as engine, a_courier(engine, receiver, clock, most_per_minute=2):
        first = deposit(engine, 1)
        assert eventually(lambda: told_seq(dsn) == first)
        for amount in range(2, 40):
            last = deposit(engine, amount)
        time.sleep(0.3)
        assert len(receiver.got) == 1
        clock.forward(seconds=60)
        assert eventually(lambda: told_seq(dsn) == last)
    assert len(receiver.got) == 2
    assert receiver.got[1]["title"] == "INFO [main] capital moved, and 37 more"
    assert "and 28 more (28 info)\nfrom journal" in receiver.got[1]["message"]


def test_a_channel_hears_of_what_is_at_its_level_or_above(dsn: str, receiver: Receiver) -> None:
    with an_engine(dsn) as engine, a_courier(engine, receiver, least_level="warning"):
        deposit(engine, 1)
        engine.command(Halt(reason="smoke"))
        engine.command(Resume())
        assert eventually(lambda: "resumed" in receiver.said())
    assert "halted" in receiver.said()
    assert "note 1" not in receiver.said()


def test_margin_is_told_when_it_has_reached_a_level_once_and_after_a_restart(dsn: str, receiver: Receiver) -> None:
    settings = without_waiting()
    limits = settings.limits.model_copy(update={"margin_warning_percent": Decimal(1)})
    settings = settings.model_copy(update={"limits": limits})
    clock = Clock(minutes(3))
    with an_engine(dsn, settings=settings, clock=clock) as engine:
        assert status_of(engine.deliver(a_signal())) == "executed"
    # It was decided, and nobody was told: the process ended.
    with an_engine(dsn, settings=settings, clock=clock) as engine, a_courier(engine, receiver, least_level="warning"):
        assert eventually(lambda: "has reached its warning level" in receiver.said())
    with an_engine(dsn, settings=settings, clock=clock) as engine, a_courier(engine, receiver, least_level="warning"):
        assert eventually(lambda: "leads since term 3" in receiver.said())
        exit_all = a_signal("EXIT", layer="ALL", price=52000, timestamp=minutes(2))
        assert status_of(engine.deliver(exit_all)) == "executed"
        assert eventually(lambda: rows(dsn, "SELECT margin_level FROM notification_cursors") == [("normal",)])
    assert receiver.said().count("has reached its warning level") == 1


def test_who_lost_the_lead_sends_nothing_more(dsn: str, receiver: Receiver) -> None:
    with an_engine(dsn) as engine:
        cursor = Cursor(engine.reads, "phone", engine.db_manager.term)
        place = cursor.place()
        with DatabaseStateManager(dsn) as other:
            other.take_term()
            with pytest.raises(LeadershipLost):
                cursor.begin(place, place.told_seq + 1)
        with pytest.raises(LeadershipLost):
            Cursor(engine.reads, "another", engine.db_manager.term).place()


def test_a_message_that_was_under_way_is_ended_by_who_sent_it_though_another_leads(dsn: str) -> None:
    with an_engine(dsn) as engine, DatabaseStateManager(dsn) as other:
        cursor = Cursor(engine.reads, "phone", engine.db_manager.term)
        place = cursor.begin(cursor.place(), 10)
        term = other.take_term()
        theirs = Cursor(other.reads, "phone", term).place()
        assert cursor.end(place, 10, Standing()).told_seq == 10
        # The other has read that it was begun with, and finds that it was sent.
        with pytest.raises(LeadershipLost):
            Cursor(other.reads, "phone", term).begin(theirs, 10)
        assert Cursor(other.reads, "phone", term).place().told_seq == 10


def test_bars_that_move_marks_are_gone_by_without_a_message(dsn: str, receiver: Receiver) -> None:
    clock = Clock(minutes(3))
    with an_engine(dsn, clock=clock) as engine, a_courier(engine, receiver):
        assert status_of(engine.deliver(a_signal())) == "executed"
        for number in range(1, 6):
            bar = a_signal("MARKET_DATA", price=52000 + number, timestamp=minutes(number / 10))
            assert status_of(engine.deliver(bar)) == "executed"
        out = a_signal("MARKET_DATA", price=51000, timestamp=minutes(1))
        seq = engine.deliver(out).journal_seq
        assert eventually(lambda: told_seq(dsn) == seq)
    assert "BANK_NIFTY-Long_1" in receiver.said()
    assert "P&L" in receiver.said()
    assert receiver.said().count("(journal ") == 2


def test_a_right_that_is_missing_is_said_once_in_the_log(
    dsn: str, receiver: Receiver, capfd: pytest.CaptureFixture[str]
) -> None:
    with an_engine(dsn) as engine:
        rows(dsn, "ALTER TABLE notification_cursors RENAME TO gone")
        with a_courier(engine, receiver):
            said: list[str] = []
            assert eventually(lambda: said.append(capfd.readouterr().err) or "nobody is told anything" in "".join(said))
            time.sleep(0.2)
            assert "".join([*said, capfd.readouterr().err]).count("nobody is told anything") == 1
            rows(dsn, "ALTER TABLE gone RENAME TO notification_cursors")
            seq = deposit(engine, 1)
            assert eventually(lambda: told_seq(dsn) == seq)


def test_a_journal_that_goes_back_under_a_running_engine_is_told_of_at_once(dsn: str, receiver: Receiver) -> None:
    with an_engine(dsn) as engine, a_courier(engine, receiver):
        assert eventually(lambda: told_seq(dsn) > 0)
        kept = rows(dsn, "SELECT told_seq FROM notification_cursors")[0][0]
        for amount in (1, 2, 3):
            last = deposit(engine, amount)
        assert eventually(lambda: told_seq(dsn) == last)
        engine.serving = False
        rows(
            dsn,
            "ALTER TABLE decision_journal DISABLE TRIGGER USER; ALTER TABLE capital_flows DISABLE TRIGGER USER;"
            f" DELETE FROM capital_flows WHERE journal_seq > {kept + 1}; DELETE FROM decision_journal WHERE seq > {kept + 1};"
            f" UPDATE notification_cursors SET told_seq = {kept + 1}",
        )
        engine.serving = True
        assert status_of(engine.command(Halt(reason="smoke"))) == "executed"
        assert eventually(lambda: "went back to an earlier time" in receiver.said())


# --- what is not in the journal


class FakeEngine:
    """What Watch and Pinger look at."""

    def __init__(self) -> None:
        self.portfolio_name = "main"
        self.serving = self.ready = self.database_answers = True
        self.database_away = False
        self.role = "leader"
        self.hands_on = False
        self.failed_invariants: tuple[str, ...] = ()
        self.spool: dict[str, Any] | None = {"kept": 0, "set_aside": 0, "usable": True}

    def backlog(self) -> dict[str, Any]:
        return {"backlog": 0, "spool": self.spool}


@pytest.mark.parametrize(
    "wrong, what",
    [
        ({"database_away": True}, "the database is away"),
        ({"ready": False}, "no alert can be kept"),
        ({"role": "starting"}, "an instance does not serve"),
        ({"failed_invariants": ("closed equity",)}, "an invariant does not hold"),
        ({"spool": {"kept": 1000, "set_aside": 0, "usable": True}}, "the spool fills"),
        ({"spool": {"kept": 0, "set_aside": 1, "usable": True}}, "signals are set aside"),
        ({"spool": {"kept": 0, "set_aside": 0, "usable": False}}, "the spool takes nothing"),
        ({"spool": None}, None),
    ],
)
def test_each_trouble_is_found(wrong: dict[str, Any], what: str | None, tmp_path: Path) -> None:
    engine = FakeEngine()
    for name, value in wrong.items():
        setattr(engine, name, value)
    found = [trouble.what for trouble in troubles_of(engine, tmp_path) if "disk" not in trouble.what]  # type: ignore[arg-type]
    assert found == ([] if what is None else [what])


def test_a_disk_that_fills_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("live.notify.watch.LEAST_FREE_BYTES", 2**62)
    assert [trouble.what for trouble in troubles_of(FakeEngine(), tmp_path)] == ["the local disk is nearly full"]  # type: ignore[arg-type]


class Told:
    """A courier that remembers."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []

    def tell(self, notice: Notice) -> None:
        self.notices.append(notice)


def test_a_trouble_is_told_once_it_lasts_once_and_when_it_is_over(tmp_path: Path) -> None:
    engine, told = FakeEngine(), Told()
    watch = Watch(lambda: engine, [told], tmp_path, every=0.01, lasts=0.2)  # type: ignore[arg-type, return-value, list-item]
    watch.start()
    engine.database_away = True
    time.sleep(0.05)
    engine.database_away = False
    time.sleep(0.3)
    assert [notice for notice in told.notices if "disk" not in notice.title] == []
    engine.database_away = True
    assert eventually(lambda: any(notice.title == "the database is away" for notice in told.notices))
    time.sleep(0.1)
    engine.database_away = False
    assert eventually(lambda: any(notice.title == "over: the database is away" for notice in told.notices))
    watch.stop()
    assert [notice.title for notice in told.notices if "disk" not in notice.title] == [
        "the database is away",
        "over: the database is away",
    ]


def test_what_others_have_found_wrong_is_told_once_and_when_it_is_over(tmp_path: Path) -> None:
    engine, told, found = FakeEngine(), Told(), [Trouble(Level.ERROR, "a day's risk was not reckoned", "on fire")]
    watch = Watch(lambda: engine, [told], tmp_path, every=0.01, lasts=0.02, more=lambda: found)  # type: ignore[arg-type, return-value, list-item]
    watch.start()
    assert eventually(lambda: any(notice.text == "on fire" for notice in told.notices))
    found.clear()
    assert eventually(lambda: any(notice.title.startswith("over: ") for notice in told.notices))
    watch.stop()
    titles = [notice.title for notice in told.notices if "disk" not in notice.title]
    assert titles == ["a day's risk was not reckoned", "over: a day's risk was not reckoned"]


def test_what_is_not_in_the_journal_is_told_by_who_notices_though_it_leads_nothing(
    dsn: str, receiver: Receiver
) -> None:
    with an_engine(dsn) as engine:
        engine.serving = False
        with a_courier(engine, receiver) as courier:
            courier.tell(Notice(level=Level.CRITICAL, title="the database is away", text="alerts are kept"))
            assert eventually(lambda: receiver.taken)
        engine.serving = True
    assert receiver.taken[0]["message"] == "alerts are kept\ntold by the test"


# --- the heartbeat


def test_the_heartbeat_is_called_while_all_is_well_only(receiver: Receiver) -> None:
    engine = FakeEngine()
    engine.database_answers = False
    pinger = Pinger(f"http://{receiver.address}/ping/main", 0.02, lambda: engine)  # type: ignore[arg-type, return-value]
    pinger.start()
    time.sleep(0.2)
    assert receiver.calls == []
    engine.database_answers = True
    assert eventually(lambda: len(receiver.calls) > 2)
    engine.serving = False
    time.sleep(0.2)
    so_far = len(receiver.calls)
    time.sleep(0.2)
    assert len(receiver.calls) == so_far
    assert set(receiver.calls) == {"/ping/main"}
    pinger.stop()


@pytest.mark.parametrize("beside", ["heartbeat", "watch"])
def test_what_looks_every_so_often_goes_on_though_a_look_has_failed(
    beside: str, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("live.notify.rounds.AGAIN_SECONDS", 0.02)
    asked = 0

    def engine_now() -> FakeEngine:
        nonlocal asked
        asked += 1
        if asked < 3:
            raise RuntimeError("there is none just now")
        engine = FakeEngine()
        engine.database_away = True
        return engine

    told = Told()
    looks: Rounds = (
        Pinger(f"http://{receiver.address}/ping/main", 0.02, engine_now)  # type: ignore[arg-type]
        if beside == "heartbeat"
        else Watch(engine_now, [told], tmp_path, every=0.02, lasts=0.0)  # type: ignore[arg-type, list-item]
    )
    looks.start()
    assert eventually(lambda: receiver.calls or [notice for notice in told.notices if "away" in notice.title])
    looks.stop()
    assert asked >= 3


def test_two_portfolios_cannot_share_a_heartbeat_that_would_hide_one(tmp_path: Path) -> None:
    shared = NotificationSettings(heartbeat=HeartbeatUrl(url="https://here.example/ping"))
    apart = NotificationSettings(heartbeat=HeartbeatUrl(url="https://here.example/ping/{portfolio}"))

    def made(settings: NotificationSettings) -> Notifications:
        both = {"alpha": settings, "beta": settings}
        return Notifications(both, lambda _: FakeEngine, tmp_path, port=1, clock=Clock())  # type: ignore[arg-type, return-value]

    made(apart)
    with pytest.raises(ConfigurationError, match="alpha and beta have the same URL"):
        made(shared)


# --- settings


def test_a_url_that_apprise_does_not_know_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigurationError) as refused:
        AppriseSender("nonsense://token-of-somebody@host", "notifications.channels.phone.url")
    assert str(refused.value) == "`notifications.channels.phone.url`: apprise knows no such URL"


def test_what_a_provider_says_is_told_without_the_urls_secrets(receiver: Receiver) -> None:
    receiver.status = 403
    reason = AppriseSender(receiver.url, "phone").send(Message(level=Level.INFO, title="t", body="b"))
    assert reason is not None
    assert "403" in reason
    assert "a-secret-path" not in reason
