"""Lists in pages: the newest first, and the cursor that the next page lies behind."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flask import Response

from live.api.encoding import respond

Row = Mapping[str, Any]


def page(name: str, key: str, limit: int, read: Callable[[int], Sequence[Row]]) -> Response:
    """`{name: rows, "next": cursor}`; `next` is the last row's `key`, null where nothing lies behind it.

    `read` is asked for one row more than the page holds: whether it exists tells the last page from a full one.
    """
    rows = read(limit + 1)
    shown = rows[:limit]
    return respond({name: shown, "next": shown[-1][key] if len(rows) > limit else None})
