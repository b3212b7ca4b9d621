"""What every struct here asks of its fields: finite floats, names, aware UTC times; and JSON read with refusals by name."""

from collections.abc import Iterable
from datetime import UTC, datetime
from math import isfinite
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import force_setattr

from risk.analytics.refusals import NotFinite, OutOfRange, WrongShape

_Read = TypeVar("_Read")


# Beyond it nothing is a price, a lot or a rate; products of some below it are still numbers.
LARGEST = 1e18


def make_floats(owner: Struct, whose: str, names: Iterable[str]) -> None:
    """Have these fields be finite floats, where they are not None: 2 and 2.0 are the same, in JSON too.

    Raises NotFinite, WrongShape, OutOfRange beyond 1e18; all name `whose` and the field.
    """
    for name in names:
        value = getattr(owner, name)
        if value is not None:
            force_setattr(owner, name, as_float(whose, name, value))


def as_float(whose: str, name: str, value: Any) -> float:
    """A finite float up to 1e18; 0 for -0. Raises NotFinite, WrongShape, OutOfRange."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise WrongShape(f"{whose}: `{name}`: {value!r} is not a number")
    if not isfinite(value):
        raise NotFinite(f"{whose}: `{name}`: {value}")
    if abs(value) > LARGEST:
        raise OutOfRange(f"{whose}: `{name}`: {value} is beyond {LARGEST:g}")
    return float(value) + 0.0


def floats_by_name(whose: str, name: str, given: dict[str, float]) -> dict[str, float]:
    """Finite floats by name, in the names' order. Raises NotFinite, WrongShape, OutOfRange for a name without letters."""
    found = {key: as_float(whose, f"{name} {key}", value) for key, value in sorted(given.items())}
    if any(not key.strip() for key in found):
        raise OutOfRange(f"{whose}: `{name}`: one has no name")
    return found


def require_above_zero(whose: str, **figures: float | None) -> None:
    """Raises OutOfRange for a figure that is there and is not above 0."""
    for name, value in figures.items():
        if value is not None and not value > 0:
            raise OutOfRange(f"{whose}: `{name}`: {value} is not above 0")


def require_names(whose: str, **names: Any) -> None:
    """Raises OutOfRange for what is no name: no text, or empty."""
    for name, value in names.items():
        if not isinstance(value, str) or not value.strip():
            raise OutOfRange(f"{whose}: `{name}`: {value!r} is no name")


def require_utc_time(whose: str, **times: datetime | None) -> None:
    """Raises OutOfRange for a time that is there and is not aware UTC."""
    for name, value in times.items():
        if value is not None and value.tzinfo is not UTC:
            raise OutOfRange(f"{whose}: `{name}`: {value} is not an aware UTC time")


def written(value: Any) -> bytes:
    """JSON, keys sorted: equal where what it is made of is."""
    return msgspec.json.encode(value, order="sorted")


def read(text: bytes | str, kind: type[_Read], name: str) -> _Read:
    """What such JSON says. Raises WrongShape telling what is wrong and where, and what the structs refuse."""
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError as error:
        raise WrongShape(f"{name}: {error}") from error


def converted(value: Any, kind: type[_Read], name: str) -> _Read:
    """The same of plain values (dictionaries, lists, numbers, times)."""
    try:
        return msgspec.convert(value, type=kind)
    except msgspec.ValidationError as error:
        raise WrongShape(f"{name}: {error}") from error
