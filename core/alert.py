"""From the bytes of an alert to a canonical signal, or to a refusal that names the field and the rule."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from difflib import SequenceMatcher
from functools import partial
from typing import Any, Never, TypeVar

from msgspec import UNSET, UnsetType

from core.models import (
    ALL_LAYERS,
    ENTRIES,
    NEXT_LAYER,
    PRICE_LIMIT,
    MarketPosition,
    Signal,
    SignalType,
    layer_number,
    market_position_of,
)
from core.numbers import price as rounded_price
from core.strict_json import (
    MAX_BODY_BYTES,
    MAX_ECHO,
    BodyRefused,
    NumberLiteral,
    exact_number,
    printable,
    quoted,
    read_object,
    shown,
)

__all__ = ["Alert", "AlertRefused", "parse_alert", "canonical_payload", "KNOWN_FIELDS", "MAX_BODY_BYTES"]

MAX_LOTS = 10**9 - 1  # fits INTEGER
MAX_SEQUENCE = 10**15 - 1  # exact in every JSON reader
MAX_ID = 200
YEARS = range(2000, 2101)

KNOWN_FIELDS = (
    "type",
    "instrument",
    "position",
    "price",
    "stop",
    "lots",
    "atr",
    "er",
    "supertrend",
    "roc",
    "reason",
    "timestamp",
    "bar_time",
    "secret",
    "portfolio",
    "seq",
    "position_size",
    "market_position",
    "trade_number",
    "alert_id",
    "atr_max_age_seconds",
    "stop_atr",
)

_ENTRY_NEEDS = frozenset({"position", "stop", "atr", "er"})
_NEEDS = {
    SignalType.BASE_ENTRY: _ENTRY_NEEDS,
    SignalType.PYRAMID: _ENTRY_NEEDS,
    SignalType.EXIT: frozenset({"position"}),
    SignalType.MARKET_DATA: frozenset({"atr"}),
}

# What an entry may say in place of what it needs: the last bar's ATR, and a stop so many ATR from the price.
_INSTEAD = {"atr": "atr_max_age_seconds", "stop": "stop_atr"}

_AS_LISTED_ENTRY_NEEDS = frozenset({"position", "lots"})

PLACEHOLDER = re.compile(r"\{\{.*?\}\}", re.DOTALL)
_INSTRUMENT = re.compile(r"[A-Za-z0-9_]{1,29}", re.ASCII)
_PORTFOLIO = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,29}", re.ASCII)
_LAYER = re.compile(r"(long|short)_([1-9])", re.ASCII | re.IGNORECASE)
_NEXT_LAYER = re.compile(rf"(long|short)_{NEXT_LAYER}", re.ASCII | re.IGNORECASE)
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d+))?)?"
    r" ?(?:([Zz])|([+-])([01]\d|2[0-3])(?::?([0-5]\d))?)?",
    re.ASCII,
)
_SIZES = {MarketPosition.LONG: "above 0", MarketPosition.SHORT: "below 0", MarketPosition.FLAT: "0"}
_PRICE_DIGITS = 10  # before the point: NUMERIC(18,8)
_SAFE_INTEGER_LENGTH = 15
_SUGGESTIONS_FROM = 50
_NEAR = 0.6

# How senders call what is to stay hidden.
_SECRETS = ("secret", "password", "passphrase", "apikey", "token")

T = TypeVar("T")


class AlertRefused(BodyRefused):
    """the alert is malformed; `code` and `field` say where, the message names the rule and never holds the secret"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert as read: the signal, where it goes, what authorises it, and the canonical body to keep.

    `payload` is JSON-able, equal for two bodies that mean the same, free of secrets and, but for its size, a valid
    body: known fields canonical (absent where null), unknown ones as they came, fractions as strings.
    `warnings` are the names of the unknown fields, `secret_field` is how its sender calls the secret; `mapped`: it came in
    another shape than ours.
    """

    signal: Signal
    portfolio: str | None = None
    secret: str | None = field(default=None, repr=False)
    payload: dict[str, Any]
    warnings: tuple[str, ...] = ()
    secret_field: str = "secret"  # noqa: S105 - a field's name
    mapped: bool = False


def parse_alert(
    body: bytes,
    *,
    instruments: Collection[str],
    naive_timezone: tzinfo,
    max_layers: int = 6,
    as_listed: bool = False,
    max_bytes: int | None = MAX_BODY_BYTES,
) -> Alert:
    """The alert that `body` holds, whatever its Content-Type said; AlertRefused names the first problem.

    A time without an offset is of `naive_timezone`; there, an hour that comes twice is the earlier one and an hour
    that is skipped is read with the offset before the change. `max_layers` (at most 9) includes the base. `as_listed`:
    an entry needs its lots, and neither stop nor ATR nor ER. `max_bytes` None: a body that was taken once is taken again.
    """
    given = read_object(body, AlertRefused, max_bytes=max_bytes)
    return alert_of(
        given, instruments=instruments, naive_timezone=naive_timezone, max_layers=max_layers, as_listed=as_listed
    )


def alert_of(
    given: Mapping[str, Any],
    *,
    instruments: Collection[str],
    naive_timezone: tzinfo,
    max_layers: int = 6,
    as_listed: bool = False,
) -> Alert:
    """The same of an object that was read already."""
    _refuse_placeholders(given)
    unknown = tuple(name for name in given if name not in KNOWN_FIELDS)
    fields = _Fields(given, unknown, frozenset())
    signal_type = fields.required("type", _type)
    is_entry = signal_type in ENTRIES
    needs = _AS_LISTED_ENTRY_NEEDS if as_listed and is_entry else _NEEDS[signal_type]
    if is_entry:
        needs = frozenset(name for name in needs if not _is_given(given.get(_INSTEAD.get(name, ""))))
    fields = _Fields(given, unknown, needs)
    signal = _signal(signal_type, fields, instruments=instruments, zone=naive_timezone, max_layers=max_layers)
    secret = _secret(given.get("secret"))
    portfolio = fields.optional("portfolio", _portfolio)
    return Alert(
        signal=signal,
        portfolio=portfolio,
        secret=secret,
        payload=canonical_payload(signal, portfolio) | kept_as_it_came({name: given[name] for name in unknown}),
        warnings=unknown,
    )


def portfolio_named_in(body: bytes) -> str | None:
    """The portfolio that a body says it is for, before anything else of it is looked at; AlertRefused as for the rest."""
    return _Fields(read_object(body, AlertRefused), (), frozenset()).optional("portfolio", _portfolio)


def canonical_payload(signal: Signal, portfolio: str | None = None) -> dict[str, Any]:
    """The known fields as they are kept: decimals as plain strings without surplus zeros, times UTC, nothing null."""
    values = {
        "type": signal.type.value,
        "instrument": signal.instrument,
        "position": signal.layer or None,
        "price": signal.price,
        "stop": signal.stop,
        "lots": signal.lots,
        "atr": signal.atr,
        "er": signal.er,
        "supertrend": signal.supertrend,
        "roc": signal.roc,
        "reason": signal.reason,
        "timestamp": signal.timestamp,
        "bar_time": signal.bar_time,
        "trade_number": signal.trade_number,
        "portfolio": portfolio,
        "seq": signal.seq,
        "position_size": signal.position_size,
        "market_position": None if signal.market_position is None else signal.market_position.value,
        "alert_id": None if signal.alert_id is UNSET else signal.alert_id,
        "atr_max_age_seconds": None if signal.atr_max_age_seconds is UNSET else signal.atr_max_age_seconds,
        "stop_atr": None if signal.stop_atr is UNSET else signal.stop_atr,
    }
    return {name: _canonical(value) for name, value in values.items() if value is not None}


# --- fields -------------------------------------------------------------------------------------------------------


def _refuse_placeholders(given: Mapping[str, Any]) -> None:
    if not any(isinstance(value, str) and "{{" in value for value in given.values()):
        return
    for name in KNOWN_FIELDS:
        value = given.get(name)
        # The secret may hold what it likes: it is compared, never read, and must not be echoed.
        if name != "secret" and isinstance(value, str) and (found := PLACEHOLDER.search(value)):
            raise AlertRefused(
                f"`{name}` holds the placeholder {printable(found[0])}, which was not filled in: check its spelling",
                field=name,
            )


@dataclass(frozen=True, slots=True)
class _Fields:
    """The given object, read field by field; null and blank text count as absent."""

    given: Mapping[str, Any]
    unknown: tuple[str, ...]
    needs: frozenset[str]

    def optional(self, name: str, read: Callable[[str, Any], T]) -> T | None:
        """The field's value, None where it is absent and the signal's type does not need it."""
        value = self.given.get(name)
        if not _is_given(value):
            if name in self.needs:
                self.missing(name)
            return None
        return read(name, value)

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


def _is_given(value: Any) -> bool:
    return value is not None and not (isinstance(value, str) and not value.strip())


def _signal(
    signal_type: SignalType, fields: _Fields, *, instruments: Collection[str], zone: tzinfo, max_layers: int
) -> Signal:
    instrument = fields.required("instrument", partial(_instrument, known=instruments))
    layer = _layer_of(signal_type, fields, max_layers)
    is_entry = signal_type in ENTRIES
    price = fields.required("price", _above_zero)
    stop = fields.optional("stop", _above_zero if is_entry else _not_negative)
    lots = fields.optional("lots", partial(_whole, most=MAX_LOTS))
    atr = fields.optional("atr", _above_zero)
    er = fields.optional("er", _ratio)
    supertrend = fields.optional("supertrend", _number)
    roc = fields.optional("roc", _number)
    reason = fields.optional("reason", _text)
    timestamp = fields.optional("timestamp", partial(_time, zone=zone))
    bar_time = fields.optional("bar_time", partial(_time, zone=zone))
    if timestamp is None and bar_time is None:
        fields.missing("timestamp", "bar_time")
    position_size, market_position = _strategy_position(fields)
    return Signal(
        type=signal_type,
        instrument=instrument,
        layer=layer,
        price=price,
        stop=stop,
        lots=lots,
        atr=atr,
        er=er,
        supertrend=supertrend,
        roc=roc,
        reason=reason,
        timestamp=timestamp,
        bar_time=bar_time,
        trade_number=fields.optional("trade_number", partial(_whole, most=MAX_LOTS)),
        seq=fields.optional("seq", partial(_whole, most=MAX_SEQUENCE)),
        position_size=position_size,
        market_position=market_position,
        alert_id=fields.optional("alert_id", _identity) or UNSET,
        # Of an entry, and not beside what they stand for.
        atr_max_age_seconds=_instead(fields, "atr", unused=not is_entry or atr is not None),
        stop_atr=_instead(fields, "stop", unused=not is_entry or stop is not None),
    )


def _instead(fields: _Fields, name: str, *, unused: bool) -> Decimal | UnsetType:
    value = fields.optional(_INSTEAD[name], _above_zero)
    return UNSET if unused or value is None else value


def _strategy_position(fields: _Fields) -> tuple[Decimal | None, MarketPosition | None]:
    size, told = fields.optional("position_size", _number), fields.optional("market_position", _market_position)
    if size is not None and told is not None and market_position_of(size) is not told:
        _refuse("position_size", f"{_SIZES[told]} where `market_position` is {told}", fields.given["position_size"])
    return size, told


def _layer_of(signal_type: SignalType, fields: _Fields, max_layers: int) -> str:
    if signal_type is SignalType.MARKET_DATA:
        return ""  # a bar concerns all layers: a position given with it is no part of what it says
    return fields.required("position", partial(_layer, signal_type=signal_type, max_layers=max_layers))


def _type(name: str, value: Any) -> SignalType:
    text = _text(name, value)
    # upper() makes I of a dotless i: other alphabets must not become ours.
    if not text.isascii() or text.upper() not in SignalType.__members__:
        _refuse(name, f"one of {', '.join(SignalType)}", value)
    return SignalType[text.upper()]


def _market_position(name: str, value: Any) -> MarketPosition:
    text = _text(name, value)
    if not text.isascii() or text.upper() not in MarketPosition.__members__:
        _refuse(name, f"one of {', '.join(MarketPosition)}", value)
    return MarketPosition[text.upper()]


def _instrument(name: str, value: Any, *, known: Collection[str]) -> str:
    text = _text(name, value)
    if not _INSTRUMENT.fullmatch(text):
        _refuse(name, "1 to 29 letters, digits or underscores", value)
    instrument = text.upper()
    if instrument not in known:
        ratio, near = _nearest(instrument, known)
        suggestion = f"; did you mean {near}?" if ratio >= _NEAR else ""
        raise AlertRefused(
            f"`{name}` {instrument} is not configured{suggestion}", code="unknown_instrument", field=name
        )
    return instrument


def _layer(name: str, value: Any, *, signal_type: SignalType, max_layers: int) -> str:
    text = _text(name, value)
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
        _refuse(name, rule, value)
    return text.capitalize()


def _secret(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise AlertRefused("`secret` must be a string", field="secret")
    return value or None


def _portfolio(name: str, value: Any) -> str:
    text = _text(name, value)
    if not _PORTFOLIO.fullmatch(text):
        _refuse(name, "a letter and up to 29 letters, digits or underscores", value)
    return text.lower()


def _identity(name: str, value: Any) -> str:
    text = value.text if isinstance(value, NumberLiteral) else _text(name, value)
    if len(text) > MAX_ID:
        raise AlertRefused(f"`{name}` is longer than {MAX_ID} characters", field=name)
    return text


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        _refuse(name, "a string", value)
    return value.strip()


def _exact(name: str, value: Any) -> Decimal:
    """The number as written, in a JSON number or a string."""
    number = exact_number(value)
    if number is None:
        _refuse(name, "a number", value)
    return number


def _number(name: str, value: Any) -> Decimal:
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


def _above_zero(name: str, value: Any) -> Decimal:
    number = _number(name, value)
    if number <= 0:
        _refuse(name, "above 0", value)
    return number


def _not_negative(name: str, value: Any) -> Decimal:
    number = _number(name, value)
    if number < 0:
        _refuse(name, "0 or above", value)
    return number


def _ratio(name: str, value: Any) -> Decimal:
    number = _number(name, value)
    if not 0 <= number <= 1:
        _refuse(name, "0 to 1", value)
    return number


def _whole(name: str, value: Any, *, most: int) -> int:
    exact = _exact(name, value)
    # The range first: only then is int() of 1e999 not asked for.
    if not 0 <= exact <= most or exact != int(exact):
        _refuse(name, f"a whole number from 0 to {most}", value)
    return int(exact)


def _time(name: str, value: Any, *, zone: tzinfo) -> datetime:
    parts = _TIME.fullmatch(value.strip()) if isinstance(value, str) else None
    if parts is None:
        _refuse(name, "an ISO 8601 string such as 2026-01-14T06:15:00Z", value)
    year, month, day, hour, minute = (int(part) for part in parts.group(1, 2, 3, 4, 5))
    second, microsecond = int(parts[6] or 0), int((parts[7] or "")[:6].ljust(6, "0"))
    # The year is looked at before the conversion, which the years 1 and 9999 can overflow, and after it.
    if year not in YEARS:
        _refuse_year(name, value)
    try:
        # fold stays 0: of an hour that comes twice the first, deterministically.
        local = datetime(year, month, day, hour, minute, second, microsecond, tzinfo=_zone(parts, zone))
    except ValueError:
        _refuse(name, "a time that exists", value)
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


# --- what is kept -------------------------------------------------------------------------------------------------


def _canonical(value: datetime | Decimal | str | int) -> str | int:
    match value:
        case datetime():
            return value.replace(tzinfo=None).isoformat() + "Z"
        case Decimal():
            text = f"{value:f}"
            return text.rstrip("0").rstrip(".") if "." in text else text
        case _:
            return value


def kept_as_it_came(value: Any) -> Any:
    """What is no field of ours, as it came: fractions, and integers not exact in every reader, as strings; secrets dropped."""
    match value:
        case NumberLiteral(text):
            is_small_integer = text.lstrip("-").isdigit() and len(text) <= _SAFE_INTEGER_LENGTH
            return int(text) if is_small_integer else text
        case dict():
            return {name: kept_as_it_came(member) for name, member in value.items() if not _is_secret(name)}
        case list():
            return [kept_as_it_came(member) for member in value]
        case _:
            return value


def _is_secret(name: str) -> bool:
    # Also `webhook_secret` and the like: what the caller meant to hide is not kept under a name we do not know.
    plain = name.lower().replace("_", "").replace("-", "").replace(" ", "")
    return any(word in plain for word in _SECRETS)


# --- words of refusal ---------------------------------------------------------------------------------------------


def _refuse(name: str, rule: str, value: Any) -> Never:
    raise AlertRefused(f"`{name}` must be {rule}, not {shown(value)}", field=name)


def _refuse_year(name: str, value: Any) -> Never:
    _refuse(name, f"in the years {YEARS[0]} to {YEARS[-1]}", value)


def _nearest(name: str, candidates: Iterable[str]) -> tuple[float, str]:
    """How near (0..1, whatever the case) the nearest candidate is, and which one: the first of equals."""
    rated = ((SequenceMatcher(None, name.lower(), other.lower()).ratio(), other) for other in candidates)
    return max(rated, default=(0.0, ""), key=lambda pair: pair[0])
