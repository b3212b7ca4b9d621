"""Pages are told of what changes over a real server, and no alert waits for them, however many are open."""

import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import pytest

from live.dashboard.streams import MOST_STREAMS
from tests.integration.test_cli_database import config_for
from tests.live_process import LiveProcess
from tests.waiting import eventually

PATIENCE_SECONDS = 20.0


@pytest.fixture
def live(dsn: str, tmp_path: Path) -> Iterator[LiveProcess]:
    with LiveProcess(tmp_path / "data", "--db-config", str(config_for(dsn, tmp_path))) as started:
        yield started


class Page:
    """A page's stream, read event by event."""

    def __init__(self, answer: HTTPResponse) -> None:
        self.answer = answer

    def next(self) -> dict[str, str]:
        """The next event that tells of a change, by its fields."""
        while True:
            fields: dict[str, str] = {}
            while line := self.answer.readline().decode().rstrip("\n"):
                name, _, value = line.partition(": ")
                fields[name] = value
            if "id" in fields:
                return fields


@contextmanager
def stream(live: LiveProcess, version: str | None = None) -> Iterator[Page]:
    request = urllib.request.Request(f"{live.url}/events", headers={"Last-Event-ID": version} if version else {})
    with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        yield Page(answer)


def entry(instrument: str = "BANK_NIFTY") -> dict[str, Any]:
    now = datetime.now(UTC).isoformat()
    signal = {"type": "BASE_ENTRY", "instrument": instrument, "position": "Long_1", "timestamp": now}
    return {**signal, "price": 52000, "stop": 51650, "atr": 350, "er": 0.82}


def rows_until(page: Page, section: str) -> dict[str, Any]:
    """The first rows of a section that come."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        rows = json.loads(page.next()["data"])["rows"].get(section)
        if rows:
            return dict(rows)
    raise AssertionError(f"no {section} came")


def test_a_page_is_told_of_a_position_and_one_that_comes_back_of_what_it_missed(live: LiveProcess) -> None:
    with stream(live) as page:
        first = page.next()
        everything = json.loads(first["data"])
        assert everything["whole"] is True
        assert everything["rows"]["facts"]["title"]["text"] == "All is well"
        assert live.post(entry())[1]["status"] == "executed"
        (row,) = rows_until(page, "positions").values()
        assert (row["instrument"], row["lots"], row["entry"]) == ("BANK_NIFTY", "2", "52,000.0")
    with stream(live, first["id"]) as page:
        told = json.loads(page.next()["data"])
        assert told["whole"] is False
        assert [row["status"] for row in told["rows"]["signals"].values()] == ["executed"]


def test_with_more_pages_open_than_may_be_alerts_are_answered_and_the_others_poll(live: LiveProcess) -> None:
    with ExitStack() as pages:
        for _ in range(MOST_STREAMS):
            assert json.loads(pages.enter_context(stream(live)).next()["data"])["whole"] is True
        for _ in range(MOST_STREAMS):
            with pytest.raises(urllib.error.HTTPError) as refused, stream(live):
                pass
            assert json.load(refused.value)["error"]["code"] == "too_many_streams"
            refused.value.close()
        status, answer = live.post(entry())
        assert (status, answer["status"]) == (200, "executed")
        assert eventually(lambda: "signals" in live.get("/dashboard/state")[1]["rows"])
    # A page that is gone makes room for another one, as soon as something would be said to it.
    assert eventually(lambda: is_streamed(live))


def is_streamed(live: LiveProcess) -> bool:
    try:
        with stream(live) as page:
            return bool(page.next())
    except urllib.error.HTTPError as error:
        error.close()
        return False


def test_pages_that_read_nothing_cost_alerts_nothing(live: LiveProcess) -> None:
    with ExitStack() as held:
        for _ in range(3 * MOST_STREAMS):
            page = held.enter_context(socket.create_connection(("127.0.0.1", live.port), timeout=PATIENCE_SECONDS))
            page.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for instrument in ("BANK_NIFTY", "GOLD_MINI", "COPPER"):
            assert live.post(entry(instrument))[0] == 200


def test_a_server_that_ends_does_not_wait_for_its_pages(live: LiveProcess) -> None:
    with stream(live) as page:
        page.next()
        live.process.terminate()
        assert live.process.wait(PATIENCE_SECONDS) == 0
        # The stream ended as streams do: nothing was cut off.
        page.answer.read()
