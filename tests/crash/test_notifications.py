"""People are told at least once: a process that is killed between a message and the note that it was sent loses none, and what
comes twice says so and has the same journal number."""

import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from live.notify.message import AGAIN
from tests.crash.load import dice_of
from tests.crash.totals import FULL
from tests.database_file import pointed_to
from tests.live_process import LiveProcess
from tests.queries import rows
from tests.receiver import Receiver, a_receiver
from tests.waiting import eventually

KILLS = 40 if FULL else 6
_ONE = re.compile(r"\(journal (\d+)\)")
_SEVERAL = re.compile(r"^from journal (\d+) to (\d+)$", re.MULTILINE)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with a_receiver() as made:
        yield made


def live_on(dsn: str, folder: Path, receiver: Receiver) -> LiveProcess:
    """`live` whose channel is the receiver."""
    config = folder / "portfolio.json"
    channel = {"url": receiver.url, "most_per_minute": 600, "least_level": "info"}
    config.write_text(json.dumps({"notifications": {"channels": {"phone": channel}}}), encoding="utf-8")
    database = pointed_to(dsn, folder / "database.json")
    return LiveProcess(folder / "data", "--config", str(config), *database)


def deposit(live: LiveProcess, folder: Path, number: int) -> int:
    """Something to tell; its journal entry."""
    token = (folder / "data" / "operator.token").read_text().strip()
    status, answer = live.post({"amount": "1", "note": f"deposit {number}."}, "/capital", token)
    assert (status, answer["status"]) == (200, "executed")
    return int(answer["journal_seq"])


def numbers_in(messages: list[dict[str, Any]]) -> Counter[int]:
    """How often each journal entry was told: those of a message are a part of the journal without a gap."""
    parts = [_ONE.search(message["message"]) for message in messages]
    several = [_SEVERAL.search(message["message"]) for message in messages]
    return Counter(
        seq
        for one, many in zip(parts, several, strict=True)
        for seq in (range(int(many[1]), int(many[2]) + 1) if many else [int(one[1])] if one else [])
    )


def test_killed_between_a_message_and_the_note_that_it_was_sent_it_is_told_again_and_says_so(
    dsn: str, folder: Path, receiver: Receiver, note: Any
) -> None:
    with live_on(dsn, folder, receiver) as live:
        first = deposit(live, folder, 1)
        assert eventually(lambda: first in numbers_in(receiver.taken))
        assert eventually(lambda: rows(dsn, "SELECT told_seq FROM notification_cursors") == [(first,)])
        # The provider has the message, and its answer does not come: nobody has noted that it was sent.
        receiver.silent.set()
        second = deposit(live, folder, 2)
        assert eventually(lambda: second in numbers_in(receiver.got))
        assert rows(dsn, "SELECT told_seq, sending_seq FROM notification_cursors") == [(first, second)]
        live.sigkill()
    receiver.silent.clear()
    before = len(receiver.got)
    with live_on(dsn, folder, receiver) as live:
        third = deposit(live, folder, 3)
        assert eventually(lambda: third in numbers_in(receiver.got))
    again, *others = receiver.got[before:]
    assert again["message"].startswith(f"{AGAIN}\n")
    assert numbers_in([again]) == {second: 1}
    assert all(AGAIN not in message["message"] for message in others)
    assert numbers_in(receiver.got)[first] == numbers_in(receiver.got)[third] == 1
    note(faults=1, signals=0)


def test_killed_at_any_instant_no_message_is_lost_and_what_comes_twice_says_so(
    dsn: str, folder: Path, receiver: Receiver, note: Any
) -> None:
    dice = dice_of("notifications")
    told: list[int] = []
    number = 0
    with live_on(dsn, folder, receiver):
        # From here on the channel has a place.
        assert eventually(lambda: rows(dsn, "SELECT count(*) FROM notification_cursors") == [(1,)])
    for _ in range(KILLS):
        with live_on(dsn, folder, receiver) as live:
            for _ in range(dice.randrange(1, 6)):
                number += 1
                told.append(deposit(live, folder, number))
                time.sleep(dice.random() * 0.3)
            time.sleep(dice.random() * 1.5)
            live.sigkill()
    with live_on(dsn, folder, receiver):
        assert eventually(lambda: set(told) <= set(numbers_in(receiver.got)))
    counted = numbers_in(receiver.got)
    unsaid = numbers_in([message for message in receiver.got if AGAIN not in message["message"]])
    assert [seq for seq in told if not counted[seq]] == []
    assert [seq for seq in told if unsaid[seq] > 1] == []
    # In their order, but for what was told again.
    first_told = [seq for message in receiver.got for seq in numbers_in([message])]
    assert list(dict.fromkeys(first_told)) == sorted(set(first_told))
    note(faults=KILLS, signals=0)
