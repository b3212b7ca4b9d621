"""The body of an operator's command, read as strictly as an alert's; here unknown fields are refused too."""

import re
from decimal import Decimal
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from flask import request

from core.models import MOST_LOTS, PRICE_LIMIT
from core.numbers import PRICE_SCALE, decimals_of
from core.numbers import price as to_price
from core.strict_json import MAX_BODY_BYTES, BodyRefused, exact_number, quoted, read_object, shown

_MAX_DIGITS = 60  # more than any column holds, few enough for decimals_of to be exact
_INSTRUMENT = re.compile(r"[A-Za-z0-9_]{1,29}", re.ASCII)
_MOST_FIELDS = 20
_REQUEST_ID_LENGTH = 100  # decision_journal.request_id VARCHAR(100)

_Value = TypeVar("_Value")


def read_body() -> bytes:
    """The request's raw body, whatever its headers call it; refused above 64 KiB, without reading further."""
    declared = request.content_length
    # A body one byte too long is refused rather than cut, however it was transferred and whatever was declared.
    body: bytes = b"" if declared is not None and declared > MAX_BODY_BYTES else request.stream.read(MAX_BODY_BYTES + 1)
    if len(body) > MAX_BODY_BYTES or (declared is not None and declared > MAX_BODY_BYTES):
        raise BodyRefused(f"the body is larger than {MAX_BODY_BYTES} bytes", code="too_large")
    return body


class CommandBody:
    """The fields of a command. An empty body is an empty object; null counts as absent."""

    def __init__(self, *allowed: str) -> None:
        body = read_body()
        self._given = read_object(body) if body.strip() else {}
        for name in self._given:
            if name not in allowed:
                known = ", ".join(f"`{other}`" for other in allowed)
                raise BodyRefused(f"{quoted(name)} is not a field here; allowed: {known}", field=name)

    def text(self, name: str, most: int) -> str | None:
        """Text of at most `most` characters; None where it is absent or blank."""
        value = self._given.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise _refused(name, "a string", value)
        text = value.strip()
        if len(text) > most:
            raise BodyRefused(f"`{name}` is longer than {most} characters", field=name)
        return text or None

    def flag(self, name: str) -> bool | None:
        """True or false; None where it is absent."""
        value = self._given.get(name)
        if value is not None and not isinstance(value, bool):
            raise _refused(name, "true or false", value)
        return value

    def request_id(self) -> str | None:
        """What makes a repeat of the command the same command; None where it is absent."""
        value = self._given.get("request_id")
        if value is None:
            return None
        # Never blank: who sends one relies on it.
        is_id = isinstance(value, str) and value.isprintable() and value.strip() and len(value) <= _REQUEST_ID_LENGTH
        if not is_id:
            raise _refused("request_id", f"1 to {_REQUEST_ID_LENGTH} printable characters", value)
        return str(value)

    def instrument(self) -> str | None:
        """An instrument's name in capitals; None where it is absent."""
        value = self._given.get("instrument")
        if value is None:
            return None
        if not isinstance(value, str) or not _INSTRUMENT.fullmatch(value.strip()):
            raise _refused("instrument", "1 to 29 letters, digits or underscores", value)
        return value.strip().upper()

    def number(self, name: str, *, scale: int, limit: Decimal) -> Decimal | None:
        """An exact number below `limit` either way, in JSON or in a string; None where it is absent.

        More than `scale` decimals are refused, not rounded: an operator means what he types.
        """
        value = self._given.get(name)
        return None if value is None else _exact(name, value, scale, limit)

    def numbers(self, name: str, *, scale: int, limit: Decimal) -> dict[str, Decimal] | None:
        """Exact numbers by name, each as of `number`; None where the object is absent."""
        value = self._given.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise _refused(name, "an object of numbers", value)
        return {key: _exact(key, given, scale, limit) for key, given in value.items() if given is not None}

    def required_number(self, name: str, *, scale: int, limit: Decimal) -> Decimal:
        """The same; refused where it is absent."""
        return self.required(name, self.number(name, scale=scale, limit=limit))

    def lots(self) -> int | None:
        """Whole lots from 1 to what a column holds; None where they are absent."""
        lots = self.number("lots", scale=0, limit=PRICE_LIMIT)
        if lots is not None and not 0 < lots <= MOST_LOTS:
            raise BodyRefused(f"`lots` must be 1 to {MOST_LOTS}", field="lots")
        return None if lots is None else int(lots)

    def price(self, name: str) -> Decimal | None:
        """A price, stop or ATR above 0, at the scale of the columns; None where it is absent."""
        value = self.number(name, scale=PRICE_SCALE, limit=PRICE_LIMIT)
        if value is None:
            return None
        if value <= 0:
            raise BodyRefused(f"`{name}` must be above 0", field=name)
        return to_price(value)

    def required(self, name: str, value: _Value | None) -> _Value:
        """What was read of a field; refused where it is absent."""
        if value is None:
            raise BodyRefused(f"`{name}` is required", field=name)
        return value


class FormBody(CommandBody):
    """The same of a form that a browser has posted: all is text, and what is blank is absent."""

    def __init__(self, *allowed: str) -> None:
        try:
            pairs = parse_qsl(read_body().decode("ascii"), max_num_fields=_MOST_FIELDS, errors="strict")
        except ValueError as error:
            raise BodyRefused("the form cannot be read") from error
        self._given = dict(pairs)
        if len(self._given) < len(pairs) or not self._given.keys() <= set(allowed):
            raise BodyRefused(f"a form has these fields, once each: {', '.join(f'`{name}`' for name in allowed)}")


def _refused(name: str, rule: str, value: Any) -> BodyRefused:
    return BodyRefused(f"`{name}` must be {rule}, not {shown(value)}", field=name)


def _exact(name: str, value: Any, scale: int, limit: Decimal) -> Decimal:
    number = exact_number(value)
    if number is None:
        raise _refused(name, "a number", value)
    if len(number.as_tuple().digits) > _MAX_DIGITS or abs(number) >= limit:
        raise BodyRefused(f"`{name}` has too many digits", field=name)
    if decimals_of(number) > scale:
        raise BodyRefused(f"`{name}` has more than {scale} decimals", field=name)
    return number
