"""A child process that brings the book up to a journal's end and sends the day's briefing, and is killed at the N-th step of it.

A step is a statement before it is sent, a COMMIT before and after, a message before and after it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg2

from book.briefings import Briefings
from book.database import engine_of
from book.day_ends import DayEnds
from book.projection import Projector
from core.notifications import Channel, NotificationSettings
from live.briefings.post import BriefingPost
from live.contracts_file import load_calendar
from live.explain import in_a_sentence
from live.notify.message import Message
from tests.builders import minutes
from tests.crash.scenario import Steps, counted_connections
from tests.crash.zygote import fork_children

AFTERWARDS = minutes(60 * 24)
DAY = AFTERWARDS.date()
SETTINGS = NotificationSettings(channels={"desk": Channel(url="json://127.0.0.1")})


class Letterbox:
    """Takes messages into a file, a line each."""

    def __init__(self, path: Path, step: Any = lambda: None) -> None:
        self._path = path
        self._step = step

    def send(self, message: Message) -> str | None:
        self._step()
        with self._path.open("a") as file:
            file.write(repr(message.body) + "\n")
        self._step()
        return None


@contextmanager
def a_keeper(dsn: str, letters: Letterbox) -> Iterator[tuple[Projector, Briefings, BriefingPost]]:
    """All that keeps the book of `main`, a day after the story."""
    engine = engine_of(dsn)
    projector = Projector(
        engine,
        "main",
        DayEnds(load_calendar(), 300),
        clock=lambda: AFTERWARDS,
        at_once=12,
        checkpoint_every=20,
    )
    briefings = Briefings(projector, clock=lambda: AFTERWARDS, stops_near_atr=Decimal(1), words=in_a_sentence)
    post = BriefingPost("main", briefings, SETTINGS, clock=lambda: AFTERWARDS, senders={"desk": letters})
    try:
        yield projector, briefings, post
    finally:
        engine.dispose()


def keep(dsn: str, letters: Letterbox) -> None:
    """What a turn of a running instance's does."""
    with a_keeper(dsn, letters) as (projector, briefings, post):
        projector.sync()
        day = briefings.last_day()
        assert day is not None
        assert post.told(day)


def child(request: dict[str, Any], report: int) -> None:
    """A turn; the steps are told at its end."""
    steps = Steps(request["kill_at"])
    connect, counted = psycopg2.connect, counted_connections(steps)
    psycopg2.connect = lambda *given, **options: connect(*given, **options, connection_factory=counted)
    keep(request["dsn"], Letterbox(Path(request["letters"]), steps.step))
    os.write(report, f"{steps.count}".encode())


if __name__ == "__main__":
    fork_children(child)
