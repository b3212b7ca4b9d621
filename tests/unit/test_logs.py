"""The log's lines are structlog's own, only made faster."""

import json
import logging
import math
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import structlog
from hypothesis import example, given
from hypothesis import strategies as st

from live import logs
from live.logs import _Lines, in_background

CONSOLE = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback, pad_event_to=0)
VALUES = st.one_of(
    st.text(),
    st.none(),
    st.booleans(),
    st.integers(),
    st.decimals(),
    st.lists(st.text()),
    st.just(math.pi),
    st.just(datetime(2026, 1, 14, tzinfo=UTC)),
    st.just(Decimal("52000.50")),
)


def both(event: dict[str, Any]) -> tuple[str, str]:
    whole = {"timestamp": "2026-01-14T06:15:00Z", "level": "info", **event}
    return _Lines()(None, "info", dict(whole)), str(CONSOLE(None, "info", dict(whole)))


@example({}, " ")
@given(st.dictionaries(st.from_regex("[a-z_]{1,12}", fullmatch=True), VALUES), st.text(min_size=1))
def test_a_line_is_what_the_console_would_write(fields: dict[str, Any], event: str) -> None:
    # What the renderer gives a meaning of its own is not a field.
    special = {"timestamp", "level", "event", "logger", "logger_name", "exc_info", "exception", "stack", "stack_info"}
    ours, console = both({"event": event, **{name: value for name, value in fields.items() if name not in special}})
    assert ours == console


def test_a_traceback_is_written_as_the_console_writes_it() -> None:
    ours, console = both({"event": "failed", "exc_info": ValueError("wrong")})
    assert ours == console
    assert "ValueError: wrong" in ours


def test_the_lines_of_a_block_are_written_in_their_order_and_whole_at_its_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = structlog.get_logger("test")
    with in_background():
        for number in range(500):
            log.info("line", number=number)
    log.info("after", number=500)
    told = [line.rpartition("number=")[2] for line in capsys.readouterr().err.splitlines()]
    assert told == [str(number) for number in range(501)]


def test_a_line_says_what_was_so_when_it_was_logged(capsys: pytest.CaptureFixture[str]) -> None:
    log, positions = structlog.get_logger("test"), ["first"]
    with in_background():
        log.info("opened", positions=positions)
        positions.append("second")
        try:
            int("wrong")
        except ValueError:
            log.exception("failed")
        log.info("closed", lots=2, reason=None)
    opened, *failed, closed = capsys.readouterr().err.splitlines()
    assert opened.endswith("opened positions=['first']")
    assert "ValueError: invalid literal" in "\n".join(failed)
    assert closed.endswith("closed lots=2 reason=None")


def test_a_line_is_made_by_who_writes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    render = _Lines.__call__

    def noted(*arguments: Any) -> str:
        made.append(threading.current_thread().name)
        return render(*arguments)

    monkeypatch.setattr(_Lines, "__call__", noted)
    log = structlog.get_logger("test")
    with in_background():
        log.info("line", number=1)
    assert made == ["log"]


@pytest.mark.usefixtures("json_lines")
def test_a_line_that_cannot_be_made_is_told_of_and_the_next_ones_are_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = structlog.get_logger("test")
    with in_background():
        log.info("before")
        log.info("broken", file="\ud800")
        log.info("after")
    log.info("broken", file="\ud800")
    before, broken, after, outside = capsys.readouterr().err.splitlines()
    assert (json.loads(before)["event"], json.loads(after)["event"]) == ("before", "after")
    assert broken == outside == "a line of the log cannot be written: UnicodeEncodeError"


def test_a_log_that_nobody_reads_stops_nobody_and_says_what_it_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read, written, before = threading.Event(), [], logs._out

    def stalled(text: str) -> None:
        read.wait(60)
        written.extend(text.splitlines())

    monkeypatch.setattr(logs, "_write", stalled)
    monkeypatch.setattr(logs, "MOST_LINES_WAITING", 50)
    with in_background():
        logs._out("first")
        for number in range(1000):
            logs._out(str(number))
        read.set()
    assert written[:2] == ["first", "0"]
    (loss,) = [line for line in written if "could not be written" in line]
    assert len(written) - 1 + int(loss.split()[0]) == 1001
    assert logs._out is before


def test_waitress_names_no_address_below_the_webhooks(caplog: pytest.LogCaptureFixture) -> None:
    waitress = logging.getLogger("waitress")
    waitress.error("Exception while serving %s", "/webhook/main/a-secret?portfolio=main")
    waitress.error("Exception while serving /webhook/a-secret")
    waitress.error("Exception while serving /positions")
    assert [record.getMessage().rpartition(" ")[2] for record in caplog.records] == [
        "/webhook/***",
        "/webhook/***",
        "/positions",
    ]


@pytest.fixture
def json_lines() -> Iterator[None]:
    logs.configure_logging(json_lines=True)
    yield
    logs.configure_logging()


@pytest.mark.usefixtures("json_lines")
def test_a_line_can_be_an_object(capsys: pytest.CaptureFixture[str]) -> None:
    log = structlog.get_logger("test")
    log.info(
        "signal", lots=2, price=Decimal("52000.50"), at=datetime(2026, 1, 14, tzinfo=UTC), reason="a\nb", other=math
    )
    try:
        int("wrong")
    except ValueError:
        log.exception("failed")
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    told = {
        "event": "signal",
        "level": "info",
        "lots": 2,
        "price": "52000.50",
        "at": "2026-01-14T00:00:00Z",
        "reason": "a\nb",
    }
    assert told.items() <= first.items()
    assert "module 'math'" in first["other"]
    assert "ValueError: invalid literal" in second["exception"]
