"""The log's lines are structlog's own, only made faster."""

import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import structlog
from hypothesis import given
from hypothesis import strategies as st

from live.logs import _Lines

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
