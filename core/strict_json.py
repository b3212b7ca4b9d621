"""JSON bodies read strictly: what a lenient reader lets through (duplicate keys, NaN, NUL) is refused by name."""

import json
import re
from decimal import Decimal
from typing import Any

from msgspec import Struct

from core.errors import Refused

MAX_BODY_BYTES = 64 * 1024
MAX_DEPTH = 8
MAX_TEXT = 1000  # of a string, a field's name and a number's literal
MAX_ECHO = 60

# The closing quote is optional and the repetitions possessive, so that no body costs more than one pass.
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)


class BodyRefused(Refused):
    """the body is malformed; `code` and `field` say where, the message names the rule and never holds a secret"""

    def __init__(self, message: str = "", *, code: str = "malformed", field: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        # A name as sent can be long or hold what no encoder takes; the answer has to carry it.
        self.field = None if field is None else printable(field)


class NumberLiteral(Struct, frozen=True):
    """A JSON number as written (or NaN, Infinity): converted only where its field is known and its length bounded."""

    text: str


def read_object(
    body: bytes, refused: type[BodyRefused] = BodyRefused, *, max_bytes: int | None = MAX_BODY_BYTES
) -> dict[str, Any]:
    """The JSON object in `body`, strictly: UTF-8 (a leading mark is skipped), no duplicate keys, bounded, storable.

    Numbers come as NumberLiteral. Raises `refused` for the first problem.
    """
    if max_bytes is not None and len(body) > max_bytes:
        raise refused(f"the body is larger than {max_bytes} bytes", code="too_large")
    reader = _READERS.get(refused) or _READERS.setdefault(refused, _Reader(refused))
    return reader.read(body)


def exact_number(value: Any) -> Decimal | None:
    """The number as written in a JSON number or a string; None where it is none."""
    text = value.text if isinstance(value, NumberLiteral) else value
    if not isinstance(text, str) or not _NUMBER.fullmatch(text.strip()):
        return None
    return Decimal(text.strip())


class _Reader:
    """Reads bodies; every refusal is of the caller's kind."""

    def __init__(self, refused: type[BodyRefused]) -> None:
        self._refused = refused
        self._decoder = json.JSONDecoder(
            object_pairs_hook=self._unique,
            parse_float=NumberLiteral,
            parse_int=NumberLiteral,
            parse_constant=NumberLiteral,
        )

    def read(self, body: bytes) -> dict[str, Any]:
        try:
            text = body.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise self._refused(f"the body is not UTF-8 (byte {error.start})") from None
        self._refuse_depth(text)
        try:
            value = self._decoder.decode(text)
        except json.JSONDecodeError as error:
            # The error holds the body, and so the secret: it must not become this one's cause.
            place = f"line {error.lineno} column {error.colno}"
            raise self._refused(f"the body is not JSON: {error.msg} ({place})") from None
        if not isinstance(value, dict):
            raise self._refused(f"the body must be one JSON object, not {kind(value)}")
        self._check(value, "")
        return value

    def _refuse_depth(self, text: str) -> None:
        # Before the decoder: it recurses, and a body can be nested 32,000 deep.
        if text.count("{") + text.count("[") <= MAX_DEPTH:
            return
        depth = 0
        for match in _STRING_OR_BRACKET.finditer(text):
            found = match[0]
            if found in "[{":
                depth += 1
            elif found in "]}":
                depth -= 1
            if depth > MAX_DEPTH:
                raise self._refused(f"the body is nested deeper than {MAX_DEPTH}")

    def _unique(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            seen: set[str] = set()
            for name, _ in pairs:
                if name in seen:
                    raise self._refused(f"{quoted(name)} is given twice", field=name)
                seen.add(name)
        return result

    def _check(self, value: Any, path: str) -> None:
        """Refuse, by path and without echo (it may be a secret), what could not be stored or is out of bounds."""
        match value:
            case str():
                self._check_text(value, path)
            case NumberLiteral():
                self._check_literal(value.text, path)
            case dict():
                for name, member in value.items():
                    self._check_text(name, path or None, name_of=name)
                    self._check(member, f"{path}.{name}" if path else name)
            case list():
                for index, member in enumerate(value):
                    self._check(member, f"{path}[{index}]")
            case _:  # true, false and null hold nothing to check
                pass

    def _check_text(self, text: str, path: str | None, name_of: str | None = None) -> None:
        if len(text) <= MAX_TEXT and (text.isascii() or not _SURROGATE.search(text)) and "\0" not in text:
            return
        what = quoted(path or "") if name_of is None else f"the name of {quoted(name_of)}"
        if len(text) > MAX_TEXT:
            raise self._refused(f"{what} is longer than {MAX_TEXT} characters", field=path)
        if "\0" in text:
            raise self._refused(f"{what} contains a NUL character", field=path)
        raise self._refused(f"{what} contains half of a surrogate pair", field=path)

    def _check_literal(self, text: str, path: str) -> None:
        if len(text) > MAX_TEXT:
            raise self._refused(f"{quoted(path)} has too many digits", field=path)
        if text.endswith(("NaN", "Infinity")):
            raise self._refused(f"{quoted(path)} must be a finite number, not {text}", field=path)


_READERS: dict[type[BodyRefused], _Reader] = {}  # a decoder is costly to build, and holds nothing of a body


# --- words of refusal ---------------------------------------------------------------------------------------------


def shown(value: Any) -> str:
    """A value as a refusal may echo it: bounded, escaped."""
    match value:
        case NumberLiteral():
            return value.text[:MAX_ECHO]
        case str():
            return repr(value[:MAX_ECHO])
        case _:
            return kind(value)


def kind(value: Any) -> str:
    """What a value is, in JSON's words."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case list():
            return "a list"
        case dict():
            return "an object"
        case NumberLiteral():
            return "a number"
        case _:
            return "a string"


def printable(text: str) -> str:
    """The text cut and escaped: no line ends, control characters or lone surrogates, which break logs and encoders."""
    return repr(text[:MAX_ECHO])[1:-1]


def quoted(name: str) -> str:
    """A field's name as messages show it."""
    return f"`{printable(name)}`"
