"""A file of alerts: one JSON object, an array of them, or one a line; each with its own bytes and the line it begins on."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import msgspec

from core.alert import Alert, AlertRefused
from core.errors import PortfolioError
from core.fingerprint import fingerprint_of
from core.mapping import read_alerts as read_body
from core.ordering import signal_in_order_key

if TYPE_CHECKING:
    from core.config import FileSettings

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_WHITESPACE = " \t\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSignal:
    """One signal that an alert asks for."""

    alert: Alert
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileAlert:
    """One alert of a file: the line it begins on, its bytes as they are, and the signals that it asks for."""

    line: int
    body: bytes
    signals: tuple[FileSignal, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BadAlert:
    """What is no alert, and why."""

    line: int
    problem: str


def read_alerts(
    content: bytes, settings: "FileSettings", *, portfolio: str, secret: str | None
) -> tuple[list[FileAlert], list[BadAlert]]:
    """The alerts in the order they are decided in, and what is none. `secret` is added where an alert has none.

    Raises PortfolioError for a file that holds nothing.
    """
    decides, zone, profile = settings.settings, ZoneInfo(settings.naive_timezone), settings.intake_profile()
    good: list[FileAlert] = []
    bad: list[BadAlert] = []
    for line, body in _bodies(content.removeprefix(_BYTE_ORDER_MARK)):
        try:
            alerts = read_body(
                body,
                profile,
                instruments=decides.instruments,
                naive_timezone=zone,
                as_listed=decides.sizing.mode == "as_listed",
            )
            _require_portfolio(alerts[0], portfolio)
        except AlertRefused as refused:
            bad.append(BadAlert(line=line, problem=str(refused)))
        else:
            signals = tuple(
                FileSignal(alert=alert, fingerprint=fingerprint_of(portfolio, alert.signal)) for alert in alerts
            )
            found = FileAlert(line=line, body=body, signals=signals)
            good.append(found if secret is None else _with_secret(found, secret))
    if not good and not bad:
        raise PortfolioError("the file holds no alert: give JSON, one object or an array of them, or one object a line")
    good.sort(key=lambda found: signal_in_order_key(found.signals[0].alert.signal))
    return good, bad


def _require_portfolio(alert: Alert, portfolio: str) -> None:
    if alert.portfolio not in (None, portfolio):
        raise AlertRefused(f"it is for portfolio {alert.portfolio}: give --portfolio {alert.portfolio}")


def _with_secret(found: FileAlert, secret: str) -> FileAlert:
    alert = found.signals[0].alert
    if alert.secret is not None:
        return found
    # Raw: every other value keeps its own bytes, so that the engine reads what was written.
    fields = msgspec.json.decode(found.body, type=dict[str, msgspec.Raw])
    return replace(found, body=msgspec.json.encode({**fields, alert.secret_field: secret}))


def _bodies(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Each alert's bytes with the number of the line they begin on."""
    whole = _whole(content)
    if whole is None:
        for line, body in enumerate(content.split(b"\n"), 1):
            if body.strip():
                yield line, body.strip()
    elif isinstance(whole[0], list):
        yield from _elements(whole[1])
    else:
        yield 1 + content[: len(content) - len(content.lstrip())].count(b"\n"), content.strip()


def _whole(content: bytes) -> tuple[object, str] | None:
    """The content as one JSON document, and its text; None where it is not one: then each line is for itself."""
    try:
        text = content.decode()
        return json.loads(text), text
    except (ValueError, RecursionError):
        return None


def _elements(text: str) -> Iterator[tuple[int, bytes]]:
    """The elements of a valid JSON array, as they are written."""
    decoder = json.JSONDecoder()
    position, line, counted = text.index("[") + 1, 1, 0
    while True:
        while text[position] in f"{_WHITESPACE},":
            position += 1
        if text[position] == "]":
            return
        _, end = decoder.raw_decode(text, position)
        line, counted = line + text.count("\n", counted, position), position
        yield line, text[position:end].encode()
        position = end
