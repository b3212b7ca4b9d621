"""Lists in pages: the newest first, and the cursor that the next page lies behind."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flask import Response

from live.api.encoding import respond_with_etag

Row = Mapping[str, Any]


def page(name: str, key: str, limit: int, read: Callable[[int], Sequence[Row]]) -> Response:
    """`{name: rows, "next": cursor}`; `next` is the last row's `key`, null where nothing lies behind it.

    `read` is asked for one row more than the page holds: whether it exists tells the last page from a full one.
    """
    return respond_with_etag(cut(name, key, limit, read(limit + 1)))


def cut(name: str, key: str, limit: int, rows: Sequence[Row]) -> dict[str, Any]:
    """The page's part of rows of which there is one more than it holds, where there is one."""
    shown = rows[:limit]
    return {name: shown, "next": shown[-1][key] if len(rows) > limit else None}
