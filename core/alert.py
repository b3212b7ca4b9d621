"""From the bytes of an alert to a canonical signal, or to a refusal that names the field and the rule."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from decimal import Decimal
from functools import partial
from typing import Any

from msgspec import UNSET

from core.alert_fields import (
    MAX_ID,
    MAX_LOTS,
    MAX_SEQUENCE,
    AlertRefused,
    Fields,
    Reader,
    is_given,
    read_above_zero,
    read_identity,
    read_instrument,
    read_layer,
    read_market_position,
    read_not_negative,
    read_number,
    read_portfolio,
    read_ratio,
    read_secret,
    read_text,
    read_time,
    read_type,
    read_whole,
    refuse,
)
from core.models import ENTRIES, MarketPosition, Signal, SignalType, market_position_of
from core.strict_json import MAX_BODY_BYTES, NumberLiteral, printable, read_object

__all__ = [
    "Alert",
    "AlertRefused",
    "parse_alert",
    "alert_of",
    "portfolio_named_in",
    "canonical_payload",
    "kept_as_it_came",
    "KNOWN_FIELDS",
    "PLACEHOLDER",
    "MAX_BODY_BYTES",
    "MAX_LOTS",
    "MAX_SEQUENCE",
    "MAX_ID",
]

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

_KNOWN = frozenset(KNOWN_FIELDS)
# Of a signal's fields those whose names and values are kept as they are.
_KEPT = tuple(name for name in KNOWN_FIELDS if name not in {"type", "instrument", "position", "secret", "portfolio"})

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
_SIZES = {MarketPosition.LONG: "above 0", MarketPosition.SHORT: "below 0", MarketPosition.FLAT: "0"}
_SAFE_INTEGER_LENGTH = 15

# How senders call what is to stay hidden.
_SECRETS = ("secret", "password", "passphrase", "apikey", "token")


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
    that is skipped is read with the offset before the change. `max_layers` (at most 6) includes the base. `as_listed`:
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
    unknown = () if given.keys() <= _KNOWN else tuple(name for name in given if name not in _KNOWN)
    fields = Fields(given, unknown, frozenset())
    signal_type = fields.required("type", read_type)
    is_entry = signal_type in ENTRIES
    needs = _AS_LISTED_ENTRY_NEEDS if as_listed and is_entry else _NEEDS[signal_type]
    if is_entry:
        needs = frozenset(name for name in needs if not is_given(given.get(_INSTEAD.get(name, ""))))
    fields = Fields(given, unknown, needs)
    signal = _signal(signal_type, fields, instruments=instruments, zone=naive_timezone, max_layers=max_layers)
    secret = read_secret(given.get("secret"))
    portfolio = fields.optional("portfolio", read_portfolio)
    return Alert(
        signal=signal,
        portfolio=portfolio,
        secret=secret,
        payload=canonical_payload(signal, portfolio) | kept_as_it_came({name: given[name] for name in unknown}),
        warnings=unknown,
    )


def portfolio_named_in(body: bytes) -> str | None:
    """The portfolio that a body says it is for, before anything else of it is looked at; AlertRefused as for the rest."""
    return Fields(read_object(body, AlertRefused), (), frozenset()).optional("portfolio", read_portfolio)


def canonical_payload(signal: Signal, portfolio: str | None = None) -> dict[str, Any]:
    """The known fields as they are kept: decimals as plain strings without surplus zeros, times UTC, nothing null."""
    kept: dict[str, Any] = {"type": signal.type.value, "instrument": signal.instrument}
    if signal.layer:
        kept["position"] = signal.layer
    for name in _KEPT:
        value = getattr(signal, name)
        if value is not None and value is not UNSET:
            kept[name] = _canonical(value)
    if portfolio is not None:
        kept["portfolio"] = portfolio
    return kept


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


def _signal(
    signal_type: SignalType, fields: Fields, *, instruments: Collection[str], zone: tzinfo, max_layers: int
) -> Signal:
    instrument = fields.required("instrument", partial(read_instrument, known=instruments))
    layer = _layer_of(signal_type, fields, max_layers)
    is_entry = signal_type in ENTRIES
    price = fields.required("price", read_above_zero)
    read = fields.all_of(_ENTRY_NUMBERS if is_entry else _NUMBERS)
    read |= fields.all_of(dict.fromkeys(("timestamp", "bar_time"), partial(read_time, zone=zone)))
    if "timestamp" not in read and "bar_time" not in read:
        fields.missing("timestamp", "bar_time")
    read |= fields.all_of(_STRATEGY)
    _require_position(fields, read)
    read |= fields.all_of(_IDENTITY)
    # Of an entry, and not beside what they stand for.
    for name, instead in _INSTEAD.items():
        if not is_entry or name in read:
            read.pop(instead, None)
    return Signal(type=signal_type, instrument=instrument, layer=layer, price=price, **read)


# In the order in which they are looked at: of several that are wrong the first is told of.
_NUMBERS: Mapping[str, Reader] = {
    "stop": read_not_negative,
    "lots": partial(read_whole, most=MAX_LOTS),
    "atr": read_above_zero,
    "er": read_ratio,
    "supertrend": read_number,
    "roc": read_number,
    "reason": read_text,
}
_ENTRY_NUMBERS: Mapping[str, Reader] = {**_NUMBERS, "stop": read_above_zero}
_STRATEGY: Mapping[str, Reader] = {"position_size": read_number, "market_position": read_market_position}
_IDENTITY: Mapping[str, Reader] = {
    "trade_number": partial(read_whole, most=MAX_LOTS),
    "seq": partial(read_whole, most=MAX_SEQUENCE),
    "alert_id": read_identity,
    "atr_max_age_seconds": read_above_zero,
    "stop_atr": read_above_zero,
}


def _require_position(fields: Fields, read: Mapping[str, Any]) -> None:
    size, told = read.get("position_size"), read.get("market_position")
    if size is not None and told is not None and market_position_of(size) is not told:
        refuse("position_size", f"{_SIZES[told]} where `market_position` is {told}", fields.given["position_size"])


def _layer_of(signal_type: SignalType, fields: Fields, max_layers: int) -> str:
    if signal_type is SignalType.MARKET_DATA:
        return ""  # a bar concerns all layers: a position given with it is no part of what it says
    return fields.required("position", partial(read_layer, signal_type=signal_type, max_layers=max_layers))


# --- what is kept -------------------------------------------------------------------------------------------------


def _canonical(value: datetime | Decimal | str | int) -> str | int:
    if isinstance(value, Decimal):
        text = f"{value:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat() + "Z"
    return value.value if isinstance(value, MarketPosition) else value


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
