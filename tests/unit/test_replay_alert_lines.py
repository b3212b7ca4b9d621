"""Recorded alerts: lines, arrays, what GET /signals answers; and what is none of them."""

import json
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.alert import parse_alert
from core.profiles import profile_named
from live.replay import alert_lines, lines
from live.replay.alert_lines import read_alerts
from live.replay.merge import in_order
from live.replay.model import BadFile, Recorded

KOLKATA = ZoneInfo("Asia/Kolkata")
KNOWN = ("BANK_NIFTY", "GOLD_MINI")
Reading = Callable[[str | bytes], list[Recorded]]


def an_alert(**changes: Any) -> dict[str, Any]:
    return {
        "type": "EXIT",
        "instrument": "BANK_NIFTY",
        "position": "Long_1",
        "price": 58120.5,
        "reason": "SuperTrend",
        "timestamp": "2026-01-16T10:30:03+05:30",
    } | changes


def a_row(number: int = 1, **changes: Any) -> dict[str, Any]:
    """A signal as GET /signals tells it."""
    return {
        "id": number,
        "instrument": "BANK_NIFTY",
        "signal_type": "EXIT",
        "outcome": {"status": "executed", "figures": [[[1, {"deep": None}]]]},
        "payload": an_alert(price=str(number), **changes),
    }


def test_alerts_of_another_shape_are_read_by_a_profile_beside_those_that_were_kept(tmp_path: Path) -> None:
    moved = {"ticker": "BANK_NIFTY", "action": "buy", "prev_market_position": "short", "market_position": "long"}
    flip = moved | {"price": 5, "stop": 4, "atr": 1, "position_size": 1, "time": "2026-01-16T10:30:03+05:30"}
    path = tmp_path / "alerts.jsonl"
    path.write_text(json.dumps(flip))
    options: dict[str, Any] = {"instruments": KNOWN, "naive_timezone": KOLKATA}
    found = list(read_alerts(path, **options, profile=profile_named("tradingview", {})))
    assert [(one.signal.type, one.line) for one in found] == [("EXIT", 1), ("BASE_ENTRY", 1)]
    # What is exported of them needs no profile.
    path.write_text("\n".join(json.dumps({"id": 1, "payload": one.payload}) for one in found))
    assert [one.signal for one in read_alerts(path, **options)] == [one.signal for one in found]


@pytest.fixture
def reading(tmp_path: Path) -> Reading:
    def of(content: str | bytes) -> list[Recorded]:
        path = tmp_path / "alerts.jsonl"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read(path)

    return of


def read(path: Path) -> list[Recorded]:
    return list(read_alerts(path, instruments=KNOWN, naive_timezone=KOLKATA))


def jsonl(*objects: Any) -> str:
    return "".join(json.dumps(one) + "\n" for one in objects)


def prices(found: list[Recorded]) -> list[tuple[int, int]]:
    return [(one.line, int(one.signal.price)) for one in found]


def test_each_line_is_read_as_live_reads_an_alert(reading: Reading) -> None:
    alert = an_alert(note="mine", price="58120.50", timestamp="2026-01-16 10:30:03")
    [found] = reading(jsonl(alert))
    expected = parse_alert(json.dumps(alert).encode(), instruments=KNOWN, naive_timezone=KOLKATA)
    assert found == Recorded(signal=expected.signal, payload=expected.payload, line=1)
    assert found.signal.price == Decimal("58120.5")


def test_blank_lines_are_skipped_but_counted_and_line_ends_and_the_mark_do_not_matter(reading: Reading) -> None:
    one, two = (json.dumps(an_alert(price=price)) for price in (1, 2))
    assert prices(reading(f"\ufeff\n{one}\r\n \n\r\n{two}")) == [(2, 1), (5, 2)]


def test_lines_keep_their_order_until_they_are_sorted(reading: Reading) -> None:
    late, early = an_alert(price=1), an_alert(price=2, timestamp="2026-01-15T10:30:03+05:30")
    found = reading(jsonl(late, early))
    assert prices(found) == [(1, 1), (2, 2)]
    assert prices(in_order(found)) == [(2, 2), (1, 1)]


def test_an_exported_signal_is_its_payload(reading: Reading) -> None:
    assert prices(reading(jsonl(a_row(1), an_alert(price=2), a_row(3)))) == [(1, 1), (2, 2), (3, 3)]


def test_an_alert_with_a_payload_of_its_own_stays_the_alert(reading: Reading) -> None:
    [found] = reading(jsonl(an_alert(payload={"any": "thing"}, note='"payload"')))
    assert found.payload["payload"] == {"any": "thing"}


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize(
    "document",
    [
        {"signals": [a_row(1), a_row(2)], "next": None},
        {"next": 17, "signals": [a_row(1), a_row(2)]},
        {"signals": [a_row(1), a_row(2)]},
        [a_row(1), an_alert(price=2)],
    ],
)
def test_a_page_of_signals_and_an_array_are_read_whole(reading: Reading, document: Any, indent: int | None) -> None:
    text = json.dumps(document, indent=indent)
    found = reading(f" \n{text}\n")
    assert [price for _, price in prices(found)] == [1, 2]
    begins = [text.count("\n", 0, text.index(mark)) + 2 for mark in ('"price": "1"', '"price": ')]
    assert found[0].line <= begins[0]
    assert found[0].line < found[1].line if indent else found[0].line == found[1].line == 2


def test_a_page_may_be_longer_than_a_line(reading: Reading) -> None:
    assert len(reading(json.dumps({"signals": [a_row(n) for n in range(1, 500)], "next": 7}))) == 499


def test_a_pipe_is_read_as_lines(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(jsonl(an_alert(price=1), an_alert(price=2)),))
    writer.start()
    found = read(pipe)
    writer.join()
    assert prices(found) == [(1, 1), (2, 2)]


def test_a_document_that_became_another_file_while_it_was_opened_is_refused(
    reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alert_lines, "start_of", lambda *_: b"[")
    with pytest.raises(BadFile, match="line 1: not JSON: neither a list of alerts nor `signals`"):
        reading(jsonl(an_alert()))


def test_an_alert_is_given_as_soon_as_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "alerts.jsonl"
    path.write_text(jsonl(an_alert(price=1)) + "{oops\n")
    inputs = read_alerts(path, instruments=KNOWN, naive_timezone=KOLKATA)
    assert next(inputs).signal.price == 1
    with pytest.raises(BadFile, match="line 2: the body is not JSON"):
        next(inputs)


GOOD = json.dumps(an_alert())
BAD: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "line 1: the file holds no alert"),
    "blank": (" \n\n", "line 1: the file holds no alert"),
    "an empty array": ("[ ]", "line 1: the file holds no alert"),
    "an empty page": ('{"signals": [], "next": null}', "line 1: the file holds no alert"),
    "not JSON": (f"{GOOD}\n\n{{oops\n", "line 3: the body is not JSON"),
    "CSV": ("Trade #,Type\n1,Exit long\n", "line 1: the body is not JSON"),
    "no object": (f"{GOOD}\n17\n", "line 2: the body must be one JSON object, not a number"),
    "a row without its alert": (
        jsonl({"id": 1, "payload": None}),
        "line 1: the body must be one JSON object, not null",
    ),
    "a missing field": (jsonl({"type": "EXIT"}), "line 1: `instrument` is required"),
    "an unknown type": (jsonl(an_alert(type="SELL")), "line 1: `type` must be one of BASE_ENTRY"),
    "another instrument": (jsonl(an_alert(instrument="COPPER")), "line 1: `instrument` COPPER is not configured"),
    "a key twice": ('{"type": "EXIT", "type": "EXIT"}', "line 1: `type` is given twice"),
    "not UTF-8": (GOOD.replace("SuperTrend", "é").encode("latin-1"), "line 1: the body is not UTF-8"),
    "a NUL": (GOOD.replace("SuperTrend", "\0"), "line 1: a NUL byte"),
    "UTF-16": (GOOD.encode("utf-16"), "line 1: not UTF-8 but UTF-16"),
    "a long line": (f"{GOOD}\n{' ' * 66_000}{GOOD}\n", "line 2: the line is longer than 65536 bytes"),
    "a bad element": (f"[\n{GOOD},\n{jsonl({'type': 'EXIT'})}]", "line 3: `instrument` is required"),
    "an element that is none": ('[\n{"a": }]', r"line 2: not JSON: Expecting value \(column 7\)"),
    "an array that is cut off": (f"[{GOOD},\n", "line 2: not JSON: Expecting value"),
    "an array that is cut off behind an alert": (f"[\n{GOOD}\n", "line 2: not JSON: a comma is missing"),
    "an array that is cut off within": ("[\n" + GOOD[:-9], "line 2: not JSON: "),
    "a comma too many": (f"[{GOOD},\n]", "line 1: not JSON: a comma is missing or too many"),
    "two documents": (f"[{GOOD}]\n[{GOOD}]", "line 1: not JSON: the document is cut off, or goes on"),
    "a page that is cut off": (f'{{"signals": [{GOOD}]', "line 1: not JSON: the document is cut off"),
    "a page cut off behind its start": ('{"signals": [', "line 1: not JSON: Expecting value"),
    "a document that is not UTF-8": (f"[\n{GOOD}, ".encode() + b"\xff]", "line 2: not UTF-8"),
    "deep": ("[" * 200_000, "line 1: the JSON is nested too deep"),
    "a deep row": ('{"payload": ' + "[" * 20_000, "line 1: the body is nested deeper than 8"),
}


@pytest.mark.parametrize("content, message", BAD.values(), ids=BAD.keys())
def test_a_bad_file_is_refused_with_its_name_the_line_and_the_rule(
    reading: Reading, content: str | bytes, message: str
) -> None:
    with pytest.raises(BadFile, match=r"alerts\.jsonl: " + message):
        reading(content)


def test_a_refusal_never_holds_a_secret(reading: Reading) -> None:
    for content in (jsonl(an_alert(secret="hush", price="x")), '{"secret": "hush"', '[{"secret": "hush", ]'):
        with pytest.raises(BadFile) as caught:
            reading(content)
        error: BaseException | None = caught.value
        assert "hush" not in str(error)
        assert error is not None
        assert error.__cause__ is None
    assert "secret" not in reading(jsonl(an_alert(secret="hush")))[0].payload


def test_a_directory_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="cannot be read: Is a directory"):
        read(tmp_path)
    with pytest.raises(BadFile, match=r"none\.jsonl: cannot be read: No such file"):
        read(tmp_path / "none.jsonl")


@pytest.mark.parametrize("content", [jsonl(an_alert()), json.dumps([an_alert()])])
def test_a_file_beyond_the_bound_is_refused(reading: Reading, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    monkeypatch.setattr(lines, "MAX_BYTES", len(content))
    assert len(reading(content)) == 1
    with pytest.raises(BadFile, match="line 1: the file is larger than"):
        reading(content + " ")


@given(
    st.one_of(
        st.binary(max_size=300),
        st.builds(
            lambda text, cut, put, size: text[:cut] + put + text[cut + size :],
            st.sampled_from(
                [
                    jsonl(an_alert()).encode(),
                    json.dumps([a_row()]).encode(),
                    json.dumps({"signals": [a_row()]}).encode(),
                ]
            ),
            st.integers(0, 300),
            st.one_of(st.binary(max_size=6), st.sampled_from([b"[", b"]", b"{", b"}", b",", b'"', b"null"])),
            st.integers(0, 20),
        ),
    )
)
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_bytes_are_alerts_or_a_bad_file(reading: Reading, content: bytes) -> None:
    with suppress(BadFile):
        assert reading(content)
