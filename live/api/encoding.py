"""JSON as every answer has it: decimals as plain strings, times ISO 8601 in UTC with a Z."""

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

import msgspec
from flask import Response, request
from msgspec.structs import asdict

JSON = "application/json"
_ENCODER = msgspec.json.Encoder()
_PLAIN = frozenset((str, int, float, bool, type(None)))
_NUMERAL = re.compile(r"-?\d{1,60}(?:\.\d{1,60})?(?:[eE][+-]?\d{1,2})?", re.ASCII)


def encode(value: Any) -> bytes:
    """The value as JSON bytes: Decimal, time, date, enumeration and Struct in the form of the API."""
    return _ENCODER.encode(plain(value))


def respond(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer. It tells of this moment, so nothing on the way may keep it."""
    response = Response(encode(value), status=status, mimetype=JSON)
    response.headers["Cache-Control"] = "no-store"
    for name, text in (headers or {}).items():
        response.headers[name] = text
    return response


def respond_with_etag(value: Any) -> Response:
    """A JSON answer to a GET, of what stays as it is until something is committed."""
    return bytes_with_etag(encode(value), JSON)


def bytes_with_etag(body: bytes, content_type: str) -> Response:
    """A 200 to a GET that whoever asked may keep and has to ask for again by its ETag; 304 where it is the same still."""
    response = Response(body, mimetype=content_type)
    # Never by what lies between and serves others: whoever asks, asks here.
    response.headers["Cache-Control"] = "private, no-cache"
    response.set_etag(hashlib.blake2b(body, digest_size=16).hexdigest())
    response.make_conditional(request)
    return response


def plain(value: Any) -> Any:  # noqa: C901 - one line a kind
    """The value in JSON's own kinds."""
    if type(value) in _PLAIN:
        return value
    match value:
        case Enum():  # before str: most of ours are both
            return value.value
        case None | str() | bool() | int() | float():
            return value
        case Decimal():
            return decimal_text(value)
        case datetime():
            return value.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
        case date():
            return value.isoformat()
        case Mapping():
            return {str(name): plain(member) for name, member in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(member) for member in value]
        case msgspec.Struct():
            return plain(asdict(value))
        case _:
            raise TypeError(f"{type(value).__name__} has no form in the API")


def decimal_text(value: Decimal) -> str:
    """A finite number in fixed notation without surplus zeros: `52000.5`, `5000000`, never `5E+6`."""
    if value.is_zero():
        return "0"
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def outcome_text(outcome: Mapping[str, Any]) -> dict[str, Any]:
    """A stored outcome whose sizing figures, kept at the scale they were decided with, read like all other numbers."""
    figures = outcome.get("sizing")
    if not isinstance(figures, Mapping):
        return dict(outcome)
    return {**outcome, "sizing": figures_text(figures)}


def figures_text(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Stored figures, kept as text at their columns' scales, as all other numbers read; what is no number as it is."""
    return {name: _figure_text(figure) for name, figure in figures.items()}


def _figure_text(figure: Any) -> Any:
    is_numeral = isinstance(figure, str) and _NUMERAL.fullmatch(figure)
    return decimal_text(Decimal(figure)) if is_numeral else figure
