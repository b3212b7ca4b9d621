"""The Pine Script example: the messages that it builds are alerts as the engine takes them.

There is no compiler of Pine Script to be had. Its messages are made of one-line functions of strings, calls and a choice; those
are read from the file, written as Python's and called with what a bar would have.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core.alert import KNOWN_FIELDS, Alert, parse_alert
from core.config import default_settings
from core.fingerprint import fingerprint_of

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "pine" / "supertrend_with_pyramids.pine"
TEXT = EXAMPLE.read_text(encoding="utf-8")
BAR = datetime(2026, 1, 14, 6, 15, tzinfo=UTC)
FIRED = datetime(2026, 1, 14, 7, 30, 2, tzinfo=UTC)
SECRET = "kPq3-vT8_zL0wXy7Rb2NcD5fGh1JmS4a"
_FUNCTION = re.compile(r"^(\w+)\(([\w, ]*)\) => (.+)$", re.MULTILINE)
_CHOICE = re.compile(r"^(.+?) \? (.+?) : (.+)$")


@dataclass(frozen=True)
class Chart:
    """What Pine's built-in variables are on one bar, and the inputs; the messages by their functions' names."""

    functions: dict[str, Callable[..., str]]

    def alert(self, function: str, *arguments: Any) -> Alert:
        """The alert that the engine reads in a message."""
        body = self.functions[function](*arguments).encode()
        return parse_alert(body, instruments=default_settings().instruments, naive_timezone=UTC)


def chart(**inputs: str) -> Chart:
    section = TEXT.partition("// --- messages")[2].partition("\n// --- ")[0]
    values: dict[str, Any] = {
        "instrument": "BANK_NIFTY",
        "secret": "",
        "portfolio": "",
        "lots": 2,
        "close": 58412.6,
        "atr": 285.4000000001,
        "er": 0.86,
        "roc": -2.4,
        "supertrend": 57985.0,
        "time": BAR,
        "timenow": FIRED,
        "nextSeq": iter(range(1, 100)).__next__,
        "str": SimpleNamespace(tostring=_tostring, format_time=_format_time),
        "array": SimpleNamespace(join=lambda parts, between: between.join(parts), **{"from": None}),
        **inputs,
    }
    values["array"].from_ = lambda *parts: list(parts)
    functions = {}
    for name, parameters, body in _FUNCTION.findall(section):
        functions[name] = values[name] = eval(f"lambda {parameters}: {_as_python(body)}", values)  # our own file's
    return Chart(functions)


def _as_python(body: str) -> str:
    chosen = _CHOICE.sub(r"(\2) if (\1) else (\3)", body)
    return chosen.replace("array.from(", "array.from_(")


def _tostring(value: float) -> str:
    """At most ten decimals, and none that say nothing: Pine's default."""
    text = f"{value:.10f}"
    return text.rstrip("0").rstrip(".")


def _format_time(moment: datetime, form: str, zone: str) -> str:
    assert (form, zone) == ("yyyy-MM-dd'T'HH:mm:ss'Z'", "UTC")
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def day(of: Chart) -> Iterator[Alert]:
    """A bar, an entry, a pyramid and the end of both, as the strategy sends them."""
    yield of.alert("bar", "0")
    yield of.alert("entry", "BASE_ENTRY", "Long_1", 2)
    yield of.alert("bar", "2")
    yield of.alert("bar", "")
    yield of.alert("entry", "PYRAMID", "Long_2", 4)
    yield of.alert("exit", "ALL", "SuperTrend", 0)


def test_every_message_is_an_alert_without_a_field_that_is_not_known() -> None:
    alerts = list(day(chart()))
    kinds = [(alert.signal.type.value, alert.signal.layer) for alert in alerts]
    bar = ("MARKET_DATA", "")
    assert kinds == [bar, ("BASE_ENTRY", "Long_1"), bar, bar, ("PYRAMID", "Long_2"), ("EXIT", "ALL")]
    for alert in alerts:
        assert alert.warnings == ()
        assert (alert.signal.bar_time, alert.signal.timestamp) == (BAR, FIRED)
        assert alert.signal.price == Decimal("58412.6")
        assert alert.signal.atr == Decimal("285.4")
    assert set(re.findall(r'(?:quoted|number|moment|given)\("(\w+)"', TEXT)) <= set(KNOWN_FIELDS)


def test_an_entry_says_what_sizing_needs_and_what_the_strategy_holds_then() -> None:
    _, entry, _, _, pyramid, leaves = (alert.signal for alert in day(chart()))
    assert (entry.stop, entry.er, entry.lots) == (Decimal(57985), Decimal("0.86"), 2)
    assert (entry.supertrend, entry.roc) == (Decimal(57985), Decimal("-2.4"))
    assert [signal.position_size for signal in (entry, pyramid, leaves)] == [2, 4, 0]
    assert leaves.reason == "SuperTrend"


def test_a_bar_that_an_order_follows_leaves_what_the_strategy_holds_to_that_order() -> None:
    sizes = [alert.signal.position_size for alert in day(chart()) if alert.signal.type.value == "MARKET_DATA"]
    assert sizes == [0, 2, None]


def test_alerts_are_numbered_without_a_gap_and_told_apart() -> None:
    alerts = list(day(chart()))
    assert [alert.signal.seq for alert in alerts] == [1, 2, 3, 4, 5, 6]
    of_one_bar = [alert for alert in alerts if alert.signal.type.value != "MARKET_DATA"]
    assert len({fingerprint_of("main", alert.signal) for alert in of_one_bar}) == len(of_one_bar)


def test_what_is_an_input_is_in_the_message_only_where_it_was_given() -> None:
    for alert in day(chart()):
        assert (alert.secret, alert.portfolio) == (None, None)
    for alert in day(chart(secret=SECRET, portfolio="alpha")):
        assert (alert.secret, alert.portfolio) == (SECRET, "alpha")


def test_the_example_holds_no_secret_of_anybodys() -> None:
    assert 'string secret = input.string("", ' in TEXT
    assert "http" not in TEXT


@pytest.mark.parametrize("function", ["bar", "entry", "exit"])
def test_each_message_is_sent_somewhere(function: str) -> None:
    strategy = TEXT.partition("// --- the strategy")[2]
    sent = {"bar": r"alert\(bar\(", "entry": r"alert_message = entry\(", "exit": r"alert_message = exit\("}
    assert re.search(sent[function], strategy)


def test_no_line_is_indented_as_pine_takes_for_a_block_where_it_goes_on() -> None:
    head = TEXT.partition("strategy(\n")[2].partition("\n\n")[0].splitlines()
    assert all(len(line) - len(line.lstrip()) == 5 for line in head)
    assert TEXT.startswith("//@version=6\n")
    assert "\t" not in TEXT
