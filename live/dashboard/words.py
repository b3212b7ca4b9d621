"""Figures, prices and times as a page shows them: grouped, with fixed decimals, in UTC."""

from datetime import datetime
from decimal import Decimal
from typing import Any

NOTHING = "—"


def money(value: Decimal | float | None, *, signed: bool = False) -> str:
    """Two decimals and groups of three; with a sign where asked. A dash for none."""
    if value is None:
        return NOTHING
    return f"{value:+,.2f}" if signed and value else f"{value:,.2f}"


def percent(value: Decimal | None) -> str:
    """Two decimals and the sign of per cent."""
    return NOTHING if value is None else f"{value:,.2f} %"


def share(value: float | None, *, signed: bool = False) -> str:
    """A fraction in per cent: 0.0123 is `1.23 %`; with a sign where asked. A dash for none."""
    return f"{money(None if value is None else value * 100, signed=signed)}{'' if value is None else ' %'}"


def short_amount(value: float) -> str:
    """In three digits or so: `12.3k`, `-1.25M`."""
    for unit, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit * 0.9995:
            return f"{value / unit:.3g}{letter}"
    return f"{value:.3g}" if value else "0"


def figure(value: float | None, *, signed: bool = False) -> str:
    """Two decimals as money has; what is below 1 in four digits."""
    if value is None or not value or abs(value) >= 1:
        return money(value, signed=signed)
    return f"{value:{'+' if signed else ''}.4g}"


def factor(value: Decimal | None) -> str:
    """A multiple of R with its sign."""
    return NOTHING if value is None else f"{value:+.2f} R" if value else "0.00 R"


def price(value: Decimal | None, decimals: int = 0) -> str:
    """A price with all the decimals that it has, and at least so many."""
    if value is None:
        return NOTHING
    plain = value.normalize()
    has = max(0, -int(plain.as_tuple().exponent))
    return f"{value:,.{max(has, decimals)}f}"


def decimals_of(step: Decimal) -> int:
    """How many decimals a tick has: 0.05 has two."""
    return max(0, -int(step.normalize().as_tuple().exponent))


def kind(value: Decimal | float | None) -> str:
    """`gain`, `loss`, or nothing: the sign in the text says the same."""
    if not value:
        return ""
    return "gain" if value > 0 else "loss"


def moment(time: datetime | None) -> str:
    """Such as `14 Jan 06:15:00`."""
    return NOTHING if time is None else f"{time.day} {time:%b %H:%M:%S}"


def count(number: int, one: str, many: str | None = None) -> str:
    """`1 position`, `2 positions`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def some(names: list[str], most: int = 3) -> str:
    """The first names, and how many there are besides."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def text(value: Any) -> str:
    """What there is, a dash for nothing."""
    return NOTHING if value is None or value == "" else str(value)
