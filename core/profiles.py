"""Intake profiles as data: how a sender's own shape of alert becomes our signals, by field names and small tables."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from core.alert import KNOWN_FIELDS
from core.config import merged, read_json_object, validated
from core.contracts import INSTRUMENT_NAME, Positive, Settled
from core.errors import ConfigurationError
from core.models import SignalType

SHIPPED = Path(__file__).parent / "data" / "intake"
# What rules ask for, besides the fields of an alert of ours; it is no part of the signal.
HELPERS = ("action", "sentiment", "contracts", "prev_market_position", "order_id")
# Rules say what an alert is, `identity` which one it is; a body's own `portfolio` and its secret are read as ever.
_SAID_ELSEWHERE = ("type", "position", "alert_id", "portfolio", "secret", "trade_number")
NAMES = (*(name for name in KNOWN_FIELDS if name not in _SAID_ELSEWHERE), *HELPERS)

_Text = Annotated[str, StringConstraints(min_length=1, max_length=100)]
_Layer = Annotated[str, StringConstraints(pattern=r"^(Long|Short)_[1-6]$")]
_Value = Annotated[str, StringConstraints(max_length=100)] | int | Decimal


class Distance(Settled):
    """Where the alert carries no stop or ATR: how far the stop is from the price, and what the ATR is taken for.

    Points, per cent of the price, or a multiple of the ATR; `last_bar` is the ATR of the instrument's last bar, which must be
    no older than `atr_max_age_seconds` at the alert's own.
    """

    stop_points: Positive | None = None
    stop_percent: Positive | None = None
    stop_atr: Positive | None = None
    atr_points: Positive | None = None
    atr_percent: Positive | None = None
    atr: Literal["last_bar"] | None = None
    atr_max_age_seconds: Positive | None = None

    @model_validator(mode="after")
    def _one_of_each(self) -> "Distance":
        for kind, names in _KINDS.items():
            given = [name for name in names if getattr(self, name) is not None]
            if len(given) > 1:
                raise ValueError(f"{' and '.join(given)} are both given: one of them says what `{kind}` is")
        if (self.atr is None) != (self.atr_max_age_seconds is None):
            raise ValueError("`atr`: `last_bar` and atr_max_age_seconds go together: how old that bar may be")
        return self


_KINDS = {"stop": ("stop_points", "stop_percent", "stop_atr"), "atr": ("atr_points", "atr_percent", "atr")}


class Kind(Settled):
    """One signal that an alert becomes. `position` None: the layer that `layers` has for the order's id."""

    type: SignalType
    position: Annotated[str, StringConstraints(pattern=r"^((Long|Short)_([1-6]|next)|ALL)$")] | None = None


class Rule(Settled):
    """What an alert with these values becomes; an empty text stands for a field that is not there."""

    when: dict[str, str | tuple[str, ...]] = Field(default={})
    signals: Annotated[tuple[Kind, ...], Field(min_length=1, max_length=2)]

    @field_validator("when")
    @classmethod
    def _of_known_names(cls, when: dict[str, Any]) -> dict[str, Any]:
        _require_names(when)
        return when

    def fits(self, values: Mapping[str, str]) -> bool:
        """Whether an alert with these values, in lower case, is one of this rule's."""
        return all(
            values.get(name, "") in ((wanted,) if isinstance(wanted, str) else wanted)
            for name, wanted in self.when.items()
        )


class Profile(Settled):
    """One sender's shape. The names on the left are ours, those on the right the sender's: `a.b` is `b` in the object `a`."""

    like: str | None = None
    fields: dict[str, _Text | tuple[_Text, ...]] = Field(default={})
    constants: dict[str, _Value] = Field(default={})
    tables: dict[str, dict[_Text, str]] = Field(default={})
    symbols: dict[_Text, Annotated[str, StringConstraints(pattern=INSTRUMENT_NAME)]] = Field(default={})
    layers: dict[_Text, _Layer] = Field(default={})
    rules: Annotated[tuple[Rule, ...], Field(min_length=1)]
    identity: tuple[str, ...] = ()
    distances: dict[Annotated[str, StringConstraints(pattern=r"^([A-Z0-9_]{1,29}|\*)$")], Distance] = Field(default={})
    times: Literal["iso", "epoch_seconds", "epoch_milliseconds"] = "iso"
    secret: Annotated[str, StringConstraints(pattern=r"^[^.]{1,100}$")] = "secret"  # noqa: S105 - a field's name
    ignored: tuple[_Text, ...] = ()

    @field_validator("fields", "constants", "tables", "identity")
    @classmethod
    def _of_known_names(cls, given: Any) -> Any:
        _require_names(given)
        return given

    @field_validator("symbols", "layers")
    @classmethod
    def _whatever_the_case(cls, table: dict[str, str]) -> dict[str, str]:
        return _in_lower_case(table)

    @field_validator("tables")
    @classmethod
    def _each_whatever_the_case(cls, tables: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
        return {name: _in_lower_case(table) for name, table in tables.items()}

    @model_validator(mode="after")
    def _names_of_the_sender_are_not_the_secret(self) -> "Profile":
        if any(self.secret in paths_of(self.fields[name]) for name in self.fields):
            raise ValueError(f"`{self.secret}` is the secret, and no field of a signal")
        return self

    def sender_names(self) -> frozenset[str]:
        """The sender's fields that mean something here, or are known not to."""
        paths = [path for given in self.fields.values() for path in paths_of(given)]
        return frozenset([path.partition(".")[0] for path in paths] + [self.secret, "portfolio", *self.ignored])

    @property
    def asks_last_bar(self) -> bool:
        """Whether an entry may need the ATR of the instrument's last bar."""
        named = "atr_max_age_seconds" in (*self.fields, *self.constants)
        return named or any(distance.atr is not None for distance in self.distances.values())

    def distance_of(self, instrument: str) -> Distance:
        """What holds for an instrument: its own entry, else that of all."""
        return self.distances.get(instrument) or self.distances.get("*") or Distance()


def paths_of(given: str | tuple[str, ...]) -> tuple[str, ...]:
    """Where in the sender's object a value may be, the first choice first."""
    return (given,) if isinstance(given, str) else given


def shipped_profiles() -> tuple[str, ...]:
    """The names of the profiles that come with the program."""
    return tuple(sorted(file.stem for file in SHIPPED.glob("*.json")))


def profile_named(name: str, own: Mapping[str, Mapping[str, Any]]) -> Profile:
    """The profile of that name, one of one's own or a shipped one. Raises ConfigurationError.

    What an own one says goes over the one that it is `like`: objects key by key, anything else whole.
    """
    return validated(Profile, _of_name(name, own, ()), f"`intake.profiles.{name}`")


def _of_name(name: str, own: Mapping[str, Mapping[str, Any]], above: tuple[str, ...]) -> dict[str, Any]:
    if name in above:
        raise ConfigurationError(f"`intake.profiles.{name}`: is like itself")
    if name not in own:
        return _shipped(name, own)
    like = own[name].get("like")
    if like is None:
        return dict(own[name])
    # An own one may have the name of the shipped one that it is like.
    before = _shipped(name, own) if like == name else _of_name(str(like), own, (*above, name))
    return merged(before, dict(own[name]))


def _shipped(name: str, own: Mapping[str, Any]) -> dict[str, Any]:
    known = shipped_profiles()
    if name not in known:
        raise ConfigurationError(
            f"`intake`: there is no profile {name!r}; there are {', '.join(sorted({*known, *own}))}"
        )
    return read_json_object(SHIPPED / f"{name}.json")


def _in_lower_case(table: Mapping[str, str]) -> dict[str, str]:
    return {key.lower(): value for key, value in table.items()}


def _require_names(given: Iterable[str]) -> None:
    for name in given:
        if name not in NAMES:
            raise ValueError(f"`{name}` is none of {', '.join(NAMES)}")
