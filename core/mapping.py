"""An alert of another shape, mapped onto our signals by a profile. Pure: what it becomes follows from the alert alone.

So the same alert has the same fingerprints whenever and wherever it comes, whatever has happened in between.
"""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any

from core.alert import PLACEHOLDER, Alert, AlertRefused, alert_of, kept_as_it_came, parse_alert
from core.models import ENTRIES, NEXT_LAYER, PRICE_LIMIT, SignalType, market_position_of
from core.numbers import exactly
from core.profiles import HELPERS, Distance, Kind, Profile, Rule, paths_of
from core.strict_json import MAX_DEPTH, NumberLiteral, exact_number, printable, quoted, read_object, shown

# Where the kept body holds the sender's own.
ORIGINAL = "original"
MOST_ORIGINAL_BYTES = 4096
_TIMES = ("timestamp", "bar_time")
# What the first of two signals says of the strategy is not yet so.
_OF_THE_LAST = ("position_size", "market_position")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_END_SECONDS = 4_102_444_800  # the year 2100
_HUNDRED = Decimal(100)
_ORDER_SIGNS = {"buy": 1, "sell": -1}
_NAME = re.compile(r"`(\w+)`", re.ASCII)


def read_alerts(
    body: bytes,
    profile: Profile | None,
    *,
    instruments: Collection[str],
    naive_timezone: tzinfo,
    as_listed: bool = False,
) -> tuple[Alert, ...]:
    """The signals that `body` asks for, in the order in which they are decided; AlertRefused names the first problem by the
    sender's own names. Without a profile, or with a `type` of ours, it is one alert of our own shape."""
    reading: dict[str, Any] = {
        "instruments": instruments,
        "naive_timezone": naive_timezone,
        "as_listed": as_listed,
    }
    if profile is None:
        return (parse_alert(body, **reading),)
    given = read_object(body, AlertRefused)
    if _is_ours(given, profile):
        return (alert_of(given, **reading),)
    return _Mapping(given, profile).alerts(reading)


def _is_ours(given: Mapping[str, Any], profile: Profile) -> bool:
    kind = given.get("type")
    is_ours = isinstance(kind, str) and kind.strip().upper() in SignalType.__members__
    return is_ours and "type" not in profile.sender_names()


class _Mapping:
    """One alert of a sender's, with each value and the sender's name for it."""

    def __init__(self, given: Mapping[str, Any], profile: Profile) -> None:
        self._given = given
        self._profile = profile
        self._sources = {"secret": profile.secret, "portfolio": "portfolio"}
        self._made: dict[str, str] = {}
        self._values: dict[str, Any] = {}

    def alerts(self, reading: Mapping[str, Any]) -> tuple[Alert, ...]:
        """What the alert becomes."""
        self._take_fields()
        self._look_up()
        self._take_constants()
        self._derive_positions()
        self._read_epochs()
        kinds = self._rule().signals
        return tuple(self._alert(kind, reading, number, len(kinds)) for number, kind in enumerate(kinds))

    # --- values

    def _take_fields(self) -> None:
        for name, given in self._profile.fields.items():
            paths = paths_of(given)
            path, value = next(((path, found) for path in paths if (found := self._at(path)) is not None), ("", None))
            self._sources[name] = path or paths[0]
            if value is not None:
                _refuse_placeholder(path, value)
                self._values[name] = value

    def _at(self, path: str) -> Any:
        """The value there; None where it is absent, null or blank."""
        value: Any = self._given
        for part in path.split("."):
            if not isinstance(value, Mapping):
                return None
            value = value.get(part)
        return None if isinstance(value, str) and not value.strip() else value

    def _take_constants(self) -> None:
        for name, value in self._profile.constants.items():
            if name not in self._values:
                self._values[name] = str(value)
                self._made[name] = "constants"

    def _look_up(self) -> None:
        # Each table by itself: what one gives is not looked up in another.
        tables = {
            **self._profile.tables,
            "instrument": {**self._profile.tables.get("instrument", {}), **self._profile.symbols},
        }
        for name, table in tables.items():
            found = table.get(self._text(name))
            if found is not None:
                self._values[name] = found
            if found == "":  # how the sender says that there is none
                del self._values[name]

    def _text(self, name: str) -> str:
        """A value in lower case, empty where there is none."""
        value = self._values.get(name)
        if isinstance(value, NumberLiteral):
            return value.text
        return value.strip().lower() if isinstance(value, str) else ""

    @exactly
    def _derive_positions(self) -> None:
        """Where the strategy is and was, from its size and what it ordered, where it does not say."""
        size = exact_number(self._values.get("position_size"))
        if size is None:
            return
        self._values.setdefault("market_position", market_position_of(size).value)
        contracts, sign = exact_number(self._values.get("contracts")), _ORDER_SIGNS.get(self._text("action"))
        if contracts is not None and sign is not None:
            before = market_position_of(size - sign * contracts)
            self._values.setdefault("prev_market_position", before.value)

    def _read_epochs(self) -> None:
        if self._profile.times == "iso":
            return
        for name in _TIMES:
            value = self._values.get(name)
            if value is not None:
                self._values[name] = self._from_epoch(name, value)

    def _from_epoch(self, name: str, value: Any) -> str:
        seconds = self._profile.times == "epoch_seconds"
        number = exact_number(value)
        if number is not None and 0 <= number < (_END_SECONDS if seconds else _END_SECONDS * 1000):
            return (_EPOCH + timedelta(microseconds=int(number * (1_000_000 if seconds else 1000)))).isoformat()
        unit = "seconds" if seconds else "milliseconds"
        raise AlertRefused(
            f"{quoted(self._sources[name])} must be {unit} since 1970, not {shown(value)}", field=self._sources[name]
        )

    # --- signals

    def _rule(self) -> Rule:
        texts = {name: self._text(name) for name in self._values}
        for rule in self._profile.rules:
            if rule.fits(texts):
                return rule
        asked = list(dict.fromkeys(name for rule in self._profile.rules for name in rule.when))
        told = ", ".join(f"{self._named(name)} {printable(texts.get(name, '')) or 'absent'}" for name in asked)
        raise AlertRefused(f"no rule of the profile fits: {told}", field=self._source_of(asked))

    def _source_of(self, asked: Collection[str]) -> str | None:
        return next((self._sources[name] for name in asked if name in self._sources and name not in self._made), None)

    def _named(self, name: str) -> str:
        return quoted(self._source_of([name]) or name)

    def _alert(self, kind: Kind, reading: Mapping[str, Any], number: int, count: int) -> Alert:
        """The signal of this number among `count` that the alert becomes."""
        fields = {name: value for name, value in self._values.items() if name not in _left_out(number, count)}
        fields |= {"type": kind.type.value, "alert_id": self._identity(), "portfolio": self._given.get("portfolio")}
        fields["position"] = self._layer(kind)
        fields["secret"] = self._given.get(self._profile.secret)
        if kind.type in ENTRIES:
            self._add_distances(fields)
        try:
            alert = alert_of(fields, **reading)
        except AlertRefused as refused:
            raise self._in_their_words(refused) from None
        known = self._profile.sender_names()
        return replace(
            alert,
            payload=alert.payload | self._original(),
            warnings=tuple(name for name in self._given if name not in known),
            secret_field=self._profile.secret,
            mapped=True,
        )

    def _identity(self) -> str | None:
        """What tells this alert from another one of its bar, by the sender's own values."""
        parts = [self._values.get(name) for name in self._profile.identity]
        texts = [part.text if isinstance(part, NumberLiteral) else part for part in parts]
        if not any(isinstance(text, str) for text in texts):
            return None
        # As JSON: two values never look like one that holds both.
        return json.dumps([text.strip() if isinstance(text, str) else None for text in texts], ensure_ascii=False)

    def _layer(self, kind: Kind) -> str | None:
        if kind.type is SignalType.MARKET_DATA or (
            kind.position is not None and not kind.position.endswith(NEXT_LAYER)
        ):
            return kind.position
        named = self._profile.layers.get(self._text("order_id"))
        if named is None and kind.position is None:
            order = printable(self._text("order_id")) or "absent"
            raise AlertRefused(
                f"`layers` of the profile does not say which layer this is of: {self._named('order_id')} is {order}",
                field=self._sources.get("order_id"),
            )
        if named is not None:
            self._sources["position"] = self._sources["order_id"]
        return named or kind.position

    @exactly
    def _add_distances(self, fields: dict[str, Any]) -> None:
        """Stop and ATR from the profile, where the alert has none."""
        price, instrument = exact_number(fields.get("price")), fields.get("instrument")
        if price is None or not 0 < price < PRICE_LIMIT or not isinstance(instrument, str):
            return  # which is then refused
        distance = self._profile.distance_of(instrument.strip().upper())
        if fields.get("atr") is None:
            self._make(fields, "atr", _atr_of(distance, price))
            self._make(fields, "atr_max_age_seconds", distance.atr_max_age_seconds)
        if fields.get("atr") is None and fields.get("stop") is None:
            self._make(fields, "stop_atr", distance.stop_atr)
        offset = _offset_of(distance, price, exact_number(fields.get("atr")))
        if fields.get("stop") is None and offset is not None:
            is_long = str(fields["position"]).startswith("Long")
            self._make(fields, "stop", price - offset if is_long else price + offset)

    def _make(self, fields: dict[str, Any], name: str, value: Decimal | None) -> None:
        if value is not None:
            fields[name] = f"{value:f}"
            self._made[name] = "distances"

    def _original(self) -> dict[str, Any]:
        """The sender's own body beside ours, without its secret; not one that is too large, or could not be read again."""
        own = {name: value for name, value in self._given.items() if name not in (self._profile.secret, "portfolio")}
        kept = kept_as_it_came(own)
        # One level deeper than it came.
        if _depth(kept) >= MAX_DEPTH or len(json.dumps(kept)) > MOST_ORIGINAL_BYTES:
            return {}
        return {ORIGINAL: kept}

    def _in_their_words(self, refused: AlertRefused) -> AlertRefused:
        """The same refusal with the sender's names in place of ours."""
        name = refused.field or ""
        message = _NAME.sub(lambda found: self._named(found[1]), str(refused))
        if name in self._made:
            message += f" (from `{self._made[name]}` of the profile)"
        elif name not in self._sources:
            message += ": no field of the profile is for it"
        if name in ("stop", "atr") and name not in self._values:
            message += "; or give `distances` in the profile"
        return AlertRefused(message, code=refused.code, field=self._source_of([name]) or name or None)


def _left_out(number: int, count: int) -> Collection[str]:
    """Of several signals the first tells the alert's number, and the last where the strategy is after all of them."""
    return (*HELPERS, *(() if number == count - 1 else _OF_THE_LAST), *(() if number == 0 else ("seq",)))


def _atr_of(distance: Distance, price: Decimal) -> Decimal | None:
    if distance.atr_percent is not None:
        return price * distance.atr_percent / _HUNDRED
    return distance.atr_points


def _offset_of(distance: Distance, price: Decimal, atr: Decimal | None) -> Decimal | None:
    """How far the stop is from the price, in points."""
    if distance.stop_percent is not None:
        return price * distance.stop_percent / _HUNDRED
    if distance.stop_atr is not None:
        return None if atr is None else atr * distance.stop_atr
    return distance.stop_points


def _refuse_placeholder(path: str, value: Any) -> None:
    if isinstance(value, str) and (found := PLACEHOLDER.search(value)):
        raise AlertRefused(
            f"{quoted(path)} holds the placeholder {printable(found[0])}, which was not filled in: check its spelling",
            field=path,
        )


def _depth(value: Any) -> int:
    members = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, members), default=0) if isinstance(value, Mapping | list) else 0
