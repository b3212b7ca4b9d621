"""Recorded alerts: JSON lines, a JSON array, or what GET /signals answers."""

import json
import re
from collections.abc import Collection, Iterator
from datetime import tzinfo
from pathlib import Path

import msgspec

from core.alert import AlertRefused
from core.mapping import read_alerts as read_body
from core.profiles import Profile
from live.replay.lines import bad_file, byte_lines, start_of, whole_content
from live.replay.model import Recorded

_PEEK = 512
_ARRAY = re.compile(r"\s*\[")
# `next` first where a tool has sorted the keys.
_PAGE = re.compile(r'\s*\{\s*(?:"next"\s*:\s*(?:null|\d{1,20})\s*,\s*)?"signals"\s*:\s*\[', re.ASCII)
_NOT_BLANK = re.compile(r"\S")
# Numbers as text: core/alert.py reads them, and one of 5,000 digits must not be converted before.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str)


def read_alerts(
    path: Path,
    *,
    instruments: Collection[str],
    naive_timezone: tzinfo,
    as_listed: bool = False,
    profile: Profile | None = None,
) -> Iterator[Recorded]:
    """The alerts in the order of the file; sort them with `in_order`. Of an exported signal its `payload` is the alert. One of
    another shape than ours is read by the `profile`.

    Raises BadFile, as it comes to it, for the first that is no alert of one of `instruments`.
    """
    empty = True
    for line, body in _bodies(path):
        empty = False
        try:
            alerts = read_body(
                body, profile, instruments=instruments, naive_timezone=naive_timezone, as_listed=as_listed
            )
        except AlertRefused as refused:
            # The refusal's own words hold no secret; what caused it may.
            raise bad_file(path, line, str(refused)) from None
        yield from (Recorded(signal=alert.signal, payload=alert.payload, line=line) for alert in alerts)
    if empty:
        raise bad_file(path, 1, "the file holds no alert")


def _bodies(path: Path) -> Iterator[tuple[int, bytes]]:
    """Each alert's bytes and the line they begin on."""
    elements = _document(path) if _is_document(path) else byte_lines(path)
    for line, body in elements:
        yield line, _payload(body)


def _is_document(path: Path) -> bool:
    """Whether the file is one JSON document with a list in it, rather than an object a line."""
    if not path.is_file():  # a pipe's start, once read, is gone
        return False
    start = start_of(path, _PEEK).decode(errors="replace")
    return any(kind.match(start) for kind in (_ARRAY, _PAGE))


def _payload(body: bytes) -> bytes:
    """Of a signal as it is exported the alert that was kept; an alert itself as it is."""
    if b'"payload"' not in body:
        return body
    try:
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, ValueError, RecursionError):
        return body  # the reader says what is wrong
    return body if "type" in fields or "payload" not in fields else bytes(fields["payload"])


# --- one document -------------------------------------------------------------------------------------------------


def _document(path: Path) -> Iterator[tuple[int, bytes]]:
    """The elements of the list, one decoded at a time, as they are written."""
    text = _text(path)
    start = _ARRAY.match(text) or _PAGE.match(text)
    if start is None:
        raise bad_file(path, 1, "not JSON: neither a list of alerts nor `signals`")
    position, line, counted = _skip_blanks(text, start.end()), 1, 0
    while not text.startswith("]", position):
        line, counted = line + text.count("\n", counted, position), position
        end = _end_of_element(path, text, position, line)
        yield line, text[position:end].encode()
        position = _next_element(path, text, end, line)
    _require_end(path, text[: start.end()] + text[position:], line)


def _text(path: Path) -> str:
    content = whole_content(path)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise bad_file(path, line, f"not UTF-8 (byte {error.start + 1} of the file)") from None


def _end_of_element(path: Path, text: str, position: int, line: int) -> int:
    try:
        return _DECODER.raw_decode(text, position)[1]
    except json.JSONDecodeError as error:
        # Its cause holds the document, and so secrets.
        raise bad_file(path, error.lineno, f"not JSON: {error.msg} (column {error.colno})") from None
    except RecursionError:
        raise bad_file(path, line, "the JSON is nested too deep") from None


def _next_element(path: Path, text: str, end: int, line: int) -> int:
    """Where the next element begins, or the list's end; a comma stands between two elements and nowhere else."""
    position = _skip_blanks(text, end)
    has_comma = text.startswith(",", position)
    if has_comma:
        position = _skip_blanks(text, position + 1)
    if has_comma == text.startswith("]", position):
        raise bad_file(path, line, "not JSON: a comma is missing or too many behind the alert that begins here")
    return position


def _skip_blanks(text: str, position: int) -> int:
    found = _NOT_BLANK.search(text, position)
    return len(text) if found is None else found.start()


def _require_end(path: Path, rest: str, line: int) -> None:
    """Refuse a document that is cut off or goes on, with its elements left out of it."""
    try:
        _DECODER.decode(rest)
    except (json.JSONDecodeError, RecursionError):
        raise bad_file(path, line, "not JSON: the document is cut off, or goes on, behind the last alert") from None
