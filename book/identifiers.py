"""ISIN and CUSIP: numbers of securities whose last digit shows most mistakes. The database has the same rules (b001)."""

import re
from collections.abc import Iterable

from core.errors import Refused

_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ*@#"
_ISIN = re.compile(r"[A-Z]{2}[A-Z0-9]{9}[0-9]", re.ASCII)
_CUSIP = re.compile(r"[A-Z0-9*@#]{8}[0-9]", re.ASCII)


class NotAnIdentifier(Refused):
    """no such identifier can exist"""


def require_isin(given: str) -> str:
    """`given` if it is an ISIN (ISO 6166: country, nine letters or digits, check digit). Raises NotAnIdentifier."""
    if not _ISIN.fullmatch(given):
        raise NotAnIdentifier(f"`isin`: {given!r} is not two capital letters, nine letters or digits, and a digit")
    digits = "".join(str(_LETTERS.index(letter)) for letter in given)
    if _luhn(int(digit) for digit in reversed(digits)):
        raise NotAnIdentifier(f"`isin`: {given}'s last digit is not the one that follows from the others")
    return given


def require_cusip(given: str) -> str:
    """`given` if it is a CUSIP (ANSI X9.6: eight of A-Z, 0-9, *, @, #, and a check digit). Raises NotAnIdentifier."""
    if not _CUSIP.fullmatch(given):
        raise NotAnIdentifier(f"`cusip`: {given!r} is not eight letters, digits, * @ or #, and a digit")
    if _luhn(_LETTERS.index(letter) for letter in given):
        raise NotAnIdentifier(f"`cusip`: {given}'s last digit is not the one that follows from the others")
    return given


def _luhn(values: Iterable[int]) -> int:
    """What is left of the sum of the values' digits, every second value doubled, divided by ten: 0 where it adds up."""
    doubled = (value * (1 + place % 2) for place, value in enumerate(values))
    return sum(value // 10 + value % 10 for value in doubled) % 10
