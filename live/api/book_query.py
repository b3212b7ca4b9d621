"""Parameters of what is asked of the book: days, currencies, nodes."""

import re
from datetime import date

from live.api.errors import HttpRefused, malformed
from live.api.queries import LARGEST_ID, Query

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,19}", re.ASCII)
_CURRENCY = re.compile(r"[A-Za-z]{3,5}", re.ASCII)


def day_in(given: str | None, name: str) -> date | None:
    """The day that the parameter of that name says; None where it is absent."""
    if given is None:
        return None
    try:
        if _DAY.fullmatch(given):
            return date.fromisoformat(given)
    except ValueError:
        pass
    raise malformed(f"`{name}` must be a day such as 2026-01-14", name)


def currency_of(query: Query) -> str | None:
    """The currency that is asked for, as it is given."""
    given = query.text("currency")
    if given is not None and not _CURRENCY.fullmatch(given):
        raise malformed("`currency` must be three to five letters, such as USD", "currency")
    return given


def number_in(given: str) -> int | None:
    """The number in an address; None where nothing can have it."""
    return int(given) if _NUMBER.fullmatch(given) and 0 < int(given) <= LARGEST_ID else None


def node_number(given: str) -> int:
    """The number in an address; one that no node can have is of none."""
    number = number_in(given)
    if number is None:
        raise HttpRefused(404, "unknown_node", "there is no such node")
    return number
