"""The briefing of a day: what is in it, made once, and everybody told at least once, also where a channel fails for a while."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from book.briefing import headline
from book.briefings import Briefings, NoBriefing
from book.models import DailyBriefing
from core.inputs import Freeze, Halt
from core.notifications import Channel, Level, NotificationSettings
from live.briefings.page import page_of, policy_of
from live.briefings.post import BriefingPost
from live.engine import LiveTradingEngine
from live.explain import in_a_sentence
from live.notify.message import AGAIN, Message
from tests.builders import a_signal, minutes, settings_with
from tests.engines import Clock, an_engine, without_waiting
from tests.integration.book.test_projection import a_projector

DAY = date(2026, 1, 14)
NOW = minutes(20)
EVENING = minutes(60 * 13)
# What is older than this waits for a human.
SETTINGS = without_waiting(settings_with(approval={"late": {"seconds": 250}, "expires_seconds": 90_000}))


@contextmanager
def a_day(dsn: str) -> Iterator[LiveTradingEngine]:
    """A day with a winner, a stale loser near its stop, a proposal, a refusal, a freeze and a halt."""
    with an_engine(dsn, settings=SETTINGS, clock=Clock(NOW)) as engine:
        engine.process_signal(a_signal(timestamp=minutes(16)))
        engine.process_signal(a_signal("MARKET_DATA", price=52500, timestamp=minutes(17)))
        gold = {"instrument": "GOLD_MINI", "price": 72000, "stop": 71500, "atr": 500}
        engine.process_signal(a_signal(**gold, timestamp=minutes(18)))
        engine.process_signal(
            a_signal("PYRAMID", instrument="COPPER", price=800, stop=790, atr=3, timestamp=minutes(18))
        )
        engine.process_signal(a_signal(instrument="COPPER", price=800, stop=790, atr=3, timestamp=minutes(15.5)))
        engine.command(Freeze(instrument="SILVER_MINI", reason="the broker holds more"))
        engine.command(Halt(reason="a test"))
        yield engine


def briefings_of(sessions: sessionmaker[Session], now: datetime = EVENING, **options: Any) -> Briefings:
    projector = a_projector(sessions, now)
    projector.sync()
    given = {"stops_near_atr": Decimal(1), "words": in_a_sentence, **options}
    return Briefings(projector, clock=lambda: now, **given)


def test_it_has_all_that_the_day_was(book_dsn, sessions):
    with a_day(book_dsn) as engine:
        equity = engine.status()
    kept = briefings_of(sessions).make(DAY)
    snapshot, sections, risk = kept.parts.portfolio_snapshot, kept.parts.sections, kept.parts.risk_summary
    assert Decimal(snapshot["closed_equity"]) == equity["closed_equity"]
    assert Decimal(snapshot["open_equity"]) == equity["open_equity"]
    assert snapshot["halted"] is True
    assert [row["instrument"] for row in snapshot["positions"]] == ["BANK_NIFTY", "GOLD_MINI"]
    assert sections["pnl"]["by_instrument"] == {"BANK_NIFTY": "30000", "GOLD_MINI": "0"}
    assert sections["pnl"]["by_strategy"] == {"none": "30000"}
    assert sections["history"] == [{"date": "2026-01-14", "daily_pnl": "30000"}]
    assert risk["risk"]["limit_percent"] == "15"
    assert Decimal(risk["risk"]["amount"]) == equity["total_risk_amount"]
    assert Decimal(risk["open_heat"]) == equity["open_heat"]
    assert [row["position_id"].split("-")[0] for row in sections["stops_near"]] == ["GOLD_MINI"]
    assert sections["stops_near"][0]["distance_atr"] == "1"
    assert sections["signals"]["total"] == 5
    assert [row["words"] for row in sections["signals"]["refused"]] == [
        "PYRAMID COPPER Long_2 at 800 stop 790 atr 3 er 0.82: rejected: there was no base position to add to"
    ]
    assert [row["what"] for row in sections["proposals"]] == ["COPPER BASE_ENTRY Long_1"]
    assert sections["reconciliation"]["frozen"] == {"SILVER_MINI": "the broker holds more"}
    assert [item["kind"] for item in kept.parts.action_items] == ["halted", "frozen", "proposal", "stop"]
    assert headline("main", DAY, kept.parts) == (
        "main on 2026-01-14: P&L +30,000.00, equity 5,030,000.00, 4 things to look at"
    )


def test_the_day_after_has_what_is_stale_and_only_its_own_signals(book_dsn, sessions):
    with a_day(book_dsn):
        pass
    friday = DAY + timedelta(days=2)
    kept = briefings_of(sessions, EVENING + timedelta(days=2), stops_near_atr=Decimal(0)).make(friday)
    assert kept.parts.sections["signals"] == {"total": 0, "refused": []}
    stale = [row["mark_time"] for row in kept.parts.sections["stale"]]
    assert stale == ["2026-01-14T06:32:00Z", "2026-01-14T06:33:00Z"]
    daily = {row["date"]: row["daily_pnl"] for row in kept.parts.sections["history"]}
    assert daily == {"2026-01-14": "30000", "2026-01-15": "0", "2026-01-16": "0"}


def test_made_again_it_is_the_same_and_by_the_journal_alone_too(book_dsn, sessions):
    with a_day(book_dsn):
        pass
    first = briefings_of(sessions).make(DAY)
    later = briefings_of(sessions, EVENING + timedelta(days=9))
    again = later.make(DAY)
    assert (again.parts, again.journal_seq) == (first.parts, first.journal_seq)
    with sessions() as session:
        assert len(session.scalars(select(DailyBriefing)).all()) == 1


@pytest.mark.parametrize(
    "day, why",
    [
        (date(2026, 1, 17), "no trading day"),
        (date(2026, 1, 15), "is not over"),
        (date(2026, 1, 13), "had not been started"),
    ],
)
def test_of_other_days_there_is_none(book_dsn, sessions, day, why):
    with a_day(book_dsn):
        pass
    with pytest.raises(NoBriefing, match=why):
        briefings_of(sessions).make(day)


def test_the_last_day_is_the_one_that_is_over_on_every_exchange(book_dsn, sessions):
    with a_day(book_dsn):
        pass
    assert briefings_of(sessions, minutes(60 * 12)).last_day() is None
    assert briefings_of(sessions, EVENING).last_day() == DAY


def test_the_page_needs_nothing_else_and_escapes_what_others_wrote(book_dsn, sessions):
    with an_engine(book_dsn, settings=SETTINGS, clock=Clock(NOW)) as engine:
        engine.command(Freeze(instrument="SILVER_MINI", reason="<script>alert(1)</script>"))
    page = page_of(briefings_of(sessions).make(DAY))
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert set(re.findall(r"(?:src|href)=\"([^\"]*)\"", page)) == {"data:,", "#h-look"}
    assert policy_of().replace("'", "&#39;") in page
    assert json.loads(re.findall(r'id="data">(.*?)</script>', page)[0]) == {"time": [], "daily": [], "total": []}


# --- telling it


class Told:
    """A channel that takes messages, or does not."""

    def __init__(self, *refusals: str) -> None:
        self.messages: list[Message] = []
        self._refusals = list(refusals)

    def send(self, message: Message) -> str | None:
        self.messages.append(message)
        return self._refusals.pop(0) if self._refusals else None


def a_post(briefings: Briefings, clock: Clock, senders: dict[str, Told], **channels: dict[str, Any]) -> BriefingPost:
    settings = NotificationSettings(
        channels={name: Channel(url="json://127.0.0.1", **channels.get(name, {})) for name in senders}
    )
    return BriefingPost("main", briefings, settings, clock=clock, senders=dict(senders))


def test_each_channel_is_told_once_and_then_it_is_locked(book_dsn, sessions):
    with a_day(book_dsn):
        pass
    briefings, clock = briefings_of(sessions), Clock(EVENING)
    phone, mail = Told(), Told("mailbox full")
    post = a_post(briefings, clock, {"phone": phone, "mail": mail})
    assert post.told(DAY) is False
    assert post.told(DAY) is False  # not so soon again
    clock.forward(seconds=6)
    assert post.told(DAY) is True
    assert post.told(DAY) is True
    (message,) = phone.messages
    assert (message.level, message.title) == (Level.WARNING, "[main] briefing of 2026-01-14")
    assert message.body.splitlines()[1] == "trading is halted: no entries until `resume`"
    assert [AGAIN in message.body for message in mail.messages] == [False, True]
    locked = briefings.of(DAY)
    assert locked is not None
    assert locked.is_locked
    assert all(own["taken_at"] for own in locked.deliveries.values())
    assert briefings.make(DAY) == locked


def test_who_sleeps_is_told_later_and_who_wants_less_is_not_told(book_dsn, sessions):
    with an_engine(book_dsn, settings=SETTINGS, clock=Clock(NOW)):
        pass
    briefings, clock = briefings_of(sessions), Clock(EVENING)
    asleep, calm = Told(), Told()
    quiet = {"quiet": {"begins": "22:00", "ends": "07:00"}}
    post = a_post(briefings, clock, {"asleep": asleep, "calm": calm}, asleep=quiet, calm={"least_level": "warning"})
    clock.now = datetime.fromisoformat("2026-01-14T19:00:00+00:00")
    assert post.told(DAY) is False
    clock.now = datetime.fromisoformat("2026-01-15T02:00:00+00:00")
    assert post.told(DAY) is True
    assert ([message.level for message in asleep.messages], calm.messages) == ([Level.INFO], [])


def test_with_nobody_to_tell_it_is_locked_at_once_and_of_no_day_nothing_is_said(book_dsn, sessions):
    with a_day(book_dsn):
        pass
    briefings = briefings_of(sessions)
    assert a_post(briefings, Clock(EVENING), {}).told(DAY)
    kept = briefings.of(DAY)
    assert kept is not None
    assert (kept.is_locked, kept.deliveries) == (True, {})
    assert a_post(briefings, Clock(EVENING), {"phone": Told()}).told(date(2026, 1, 17))
