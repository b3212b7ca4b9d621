"""How each field of an alert is read: to its canonical value, or to a refusal that names the field and the rule.

Each reader is given the field's name, for the words of AlertRefused, and its value as JSON has it.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from difflib import SequenceMatcher
from typing import Any, Never, TypeVar

from msgspec import Struct

from core.models import ALL_LAYERS, NEXT_LAYER, PRICE_LIMIT, MarketPosition, SignalType, layer_number
from core.numbers import price as rounded_price
from core.strict_json import MAX_ECHO, BodyRefused, NumberLiteral, exact_number, quoted, shown

MAX_LOTS = 10**9 - 1  # fits INTEGER
MAX_SEQUENCE = 10**15 - 1  # exact in every JSON reader
MAX_ID = 200
YEARS = range(2000, 2101)

_INSTRUMENT = re.compile(r"[A-Za-z0-9_]{1,29}", re.ASCII)
_PORTFOLIO = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,29}", re.ASCII)
_LAYER = re.compile(r"(long|short)_([1-9])", re.ASCII | re.IGNORECASE)
_NEXT_LAYER = re.compile(rf"(long|short)_{NEXT_LAYER}", re.ASCII | re.IGNORECASE)
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d+))?)?"
    r" ?(?:([Zz])|([+-])([01]\d|2[0-3])(?::?([0-5]\d))?)?",
    re.ASCII,
)
_PRICE_DIGITS = 10  # before the point: NUMERIC(18,8)
_SUGGESTIONS_FROM = 50
_NEAR = 0.6

T = TypeVar("T")
# From a field's name and value to its canonical value, or to AlertRefused.
Reader = Callable[[str, Any], Any]


class AlertRefused(BodyRefused):
    """the alert is malformed; `code` and `field` say where, the message names the rule and never holds the secret"""


class Fields(Struct, frozen=True):
    """The given object, read field by field; null and blank text count as absent."""

    given: Mapping[str, Any]
    unknown: tuple[str, ...]
    needs: frozenset[str]

    def optional(self, name: str, read: Callable[[str, Any], T]) -> T | None:
        """The field's value, None where it is absent and the signal's type does not need it."""
        value = self.given.get(name)
        if value is None or not is_given(value):
            if name in self.needs:
                self.missing(name)
            return None
        return read(name, value)

    def all_of(self, readers: Mapping[str, Reader]) -> dict[str, Any]:
        """The values of those that are given, in the readers' order."""
        read, given = {}, self.given
        for name, reader in readers.items():
            value = given.get(name)
            if value is not None and is_given(value):
                read[name] = reader(name, value)
            elif name in self.needs:
                self.missing(name)
        return read

    def required(self, name: str, read: Callable[[str, Any], T]) -> T:
        """The field's value; refused where it is absent."""
        value = self.optional(name, read)
        return self.missing(name) if value is None else value

    def missing(self, *names: str) -> Never:
        """Refuse for want of one of `names`, suggesting the unknown field whose name is nearest."""
        message = " or ".join(f"`{name}`" for name in names) + " is required"
        # Bounded, because comparing thousands of names would cost more than the answer is worth.
        candidates = [name for name in self.unknown[:_SUGGESTIONS_FROM] if len(name) <= MAX_ECHO]
        near = max((_nearest(name, candidates) for name in names), default=(0.0, ""), key=lambda pair: pair[0])
        if near[0] >= _NEAR:
            message += f"; did you mean it by {quoted(near[1])}?"
        raise AlertRefused(message, field=names[0])


def is_given(value: Any) -> bool:
    """Whether a value says something: null and blank text do not."""
    return value is not None and not (isinstance(value, str) and not value.strip())


def read_type(name: str, value: Any) -> SignalType:
    """A signal's type, whatever the case."""
    text = read_text(name, value)
    # upper() makes I of a dotless i: other alphabets must not become ours.
    if not text.isascii() or text.upper() not in SignalType.__members__:
        refuse(name, f"one of {', '.join(SignalType)}", value)
    return SignalType[text.upper()]


def read_market_position(name: str, value: Any) -> MarketPosition:
    """long, short or flat, whatever the case."""
    text = read_text(name, value)
    if not text.isascii() or text.upper() not in MarketPosition.__members__:
        refuse(name, f"one of {', '.join(MarketPosition)}", value)
    return MarketPosition[text.upper()]


def read_instrument(name: str, value: Any, *, known: Collection[str]) -> str:
    """One of those that are `known`, in capitals."""
    text = read_text(name, value)
    if not _INSTRUMENT.fullmatch(text):
        refuse(name, "1 to 29 letters, digits or underscores", value)
    instrument = text.upper()
    if instrument not in known:
        ratio, near = _nearest(instrument, known)
        suggestion = f"; did you mean {near}?" if ratio >= _NEAR else ""
        raise AlertRefused(
            f"`{name}` {instrument} is not configured{suggestion}", code="unknown_instrument", field=name
        )
    return instrument


def read_layer(name: str, value: Any, *, signal_type: SignalType, max_layers: int) -> str:
    """A layer that a signal of that type may name: `Long_2`, `Short_next`, `ALL`."""
    text = read_text(name, value)
    if signal_type is SignalType.EXIT and text.isascii() and text.upper() == ALL_LAYERS:
        return ALL_LAYERS
    first, last, rule = {
        SignalType.BASE_ENTRY: (1, 1, "Long_1 or Short_1 for a BASE_ENTRY"),
        SignalType.PYRAMID: (
            2,
            max_layers,
            f"Long_2 to Long_{max_layers}, Short_2 to Short_{max_layers}, Long_next or Short_next for a PYRAMID",
        ),
    }.get(
        signal_type, (1, max_layers, f"Long_1 to Long_{max_layers}, Short_1 to Short_{max_layers} or ALL for an EXIT")
    )
    if signal_type is SignalType.PYRAMID and _NEXT_LAYER.fullmatch(text):
        return text.capitalize()
    if not _LAYER.fullmatch(text) or not first <= layer_number(text) <= last:
        refuse(name, rule, value)
    return text.capitalize()


def read_secret(value: Any) -> str | None:
    """The secret as it was given, None for an empty one."""
    if value is not None and not isinstance(value, str):
        raise AlertRefused("`secret` must be a string", field="secret")
    return value or None


def read_portfolio(name: str, value: Any) -> str:
    """A portfolio's name, in small letters."""
    text = read_text(name, value)
    if not _PORTFOLIO.fullmatch(text):
        refuse(name, "a letter and up to 29 letters, digits or underscores", value)
    return text.lower()


def read_identity(name: str, value: Any) -> str:
    """What an alert calls itself: text, or a number as it was written."""
    text = value.text if isinstance(value, NumberLiteral) else read_text(name, value)
    if len(text) > MAX_ID:
        raise AlertRefused(f"`{name}` is longer than {MAX_ID} characters", field=name)
    return text


def read_text(name: str, value: Any) -> str:
    """Text without the blanks around it."""
    if not isinstance(value, str):
        refuse(name, "a string", value)
    return value.strip()


def _exact(name: str, value: Any) -> Decimal:
    """The number as written, in a JSON number or a string."""
    number = exact_number(value)
    if number is None:
        refuse(name, "a number", value)
    return number


def read_number(name: str, value: Any) -> Decimal:
    """Rounded half-even to the 8 decimals of the columns; the rules then apply to what is kept."""
    exact = _exact(name, value)
    # Looked at before rounding, which cannot hold 1e999, and after it, which can carry into an eleventh digit.
    fits = exact.is_zero() or exact.adjusted() < _PRICE_DIGITS
    number = rounded_price(exact) if fits else PRICE_LIMIT
    if abs(number) >= PRICE_LIMIT:
        raise AlertRefused(
            f"`{name}` has too many digits: at most {_PRICE_DIGITS} before the point, not {shown(value)}", field=name
        )
    return number.copy_abs() if number.is_zero() else number


def read_above_zero(name: str, value: Any) -> Decimal:
    """A number above 0, as read_number() reads it."""
    number = read_number(name, value)
    if number <= 0:
        refuse(name, "above 0", value)
    return number


def read_not_negative(name: str, value: Any) -> Decimal:
    """A number from 0 on, as read_number() reads it."""
    number = read_number(name, value)
    if number < 0:
        refuse(name, "0 or above", value)
    return number


def read_ratio(name: str, value: Any) -> Decimal:
    """A number from 0 to 1, as read_number() reads it."""
    number = read_number(name, value)
    if not 0 <= number <= 1:
        refuse(name, "0 to 1", value)
    return number


def read_whole(name: str, value: Any, *, most: int) -> int:
    """A whole number from 0 to `most`."""
    exact = _exact(name, value)
    # The range first: only then is int() of 1e999 not asked for.
    if not 0 <= exact <= most or exact != int(exact):
        refuse(name, f"a whole number from 0 to {most}", value)
    return int(exact)


def read_time(name: str, value: Any, *, zone: tzinfo) -> datetime:
    """An instant as aware UTC; one without an offset is of `zone`."""
    parts = _TIME.fullmatch(value.strip()) if isinstance(value, str) else None
    if parts is None:
        refuse(name, "an ISO 8601 string such as 2026-01-14T06:15:00Z", value)
    year, month, day, hour, minute = (int(part) for part in parts.group(1, 2, 3, 4, 5))
    second, microsecond = int(parts[6] or 0), int((parts[7] or "")[:6].ljust(6, "0"))
    # The year is looked at before the conversion, which the years 1 and 9999 can overflow, and after it.
    if year not in YEARS:
        _refuse_year(name, value)
    try:
        # fold stays 0: of an hour that comes twice the first, deterministically.
        local = datetime(year, month, day, hour, minute, second, microsecond, tzinfo=_zone(parts, zone))
    except ValueError:
        refuse(name, "a time that exists", value)
    time = local.astimezone(UTC)
    if time.year not in YEARS:
        _refuse_year(name, value)
    return time


def _zone(parts: re.Match[str], naive: tzinfo) -> tzinfo:
    if parts[8]:
        return UTC
    if not parts[9]:
        return naive
    offset = timedelta(hours=int(parts[10]), minutes=int(parts[11] or 0))
    return timezone(-offset if parts[9] == "-" else offset)


def refuse(name: str, rule: str, value: Any) -> Never:
    """Raise AlertRefused: what the field must be, and what it is."""
    raise AlertRefused(f"`{name}` must be {rule}, not {shown(value)}", field=name)


def _refuse_year(name: str, value: Any) -> Never:
    refuse(name, f"in the years {YEARS[0]} to {YEARS[-1]}", value)


def _nearest(name: str, candidates: Iterable[str]) -> tuple[float, str]:
    """How near (0..1, whatever the case) the nearest candidate is, and which one: the first of equals."""
    rated = ((SequenceMatcher(None, name.lower(), other.lower()).ratio(), other) for other in candidates)
    return max(rated, default=(0.0, ""), key=lambda pair: pair[0])
