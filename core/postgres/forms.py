"""The forms of `commit_batch`: the whole statement, and those that leave out what a batch does not write.

For every part of a statement the server opens tables and indexes and makes ready, whether there are rows for it or not.
"""

from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from typing import Any

from core.postgres.statements import prepared


class Form(StrEnum):
    """Statements by the names that they are prepared by, the narrowest first: what a bar does, what a trade does, and all
    that there is."""

    BARS = "commit_bars"
    TRADES = "commit_trades"
    WHOLE = "commit_batch"


# The statement's parts that not every form has, by what they write of a document.
_PARTS: Mapping[str, str] = {
    "opened": "opened",
    "changed": "changed",
    "state_started": "state_started",
    "flows": "flowed",
    "orders_intended": "intended",
    "orders_changed": "reported",
    "proposals": "proposed",
    "fills": "filled",
}
_HAVE: Mapping[Form, frozenset[str]] = {
    Form.BARS: frozenset(),
    Form.TRADES: frozenset({"opened", "changed"}),
    Form.WHOLE: frozenset(_PARTS),
}


def form_of(rows: Mapping[str, Any]) -> Form:
    """The narrowest form that writes all of a batch's rows."""
    wanted = {name for name in _PARTS if rows[name]}
    return next(form for form, have in _HAVE.items() if wanted <= have)


@cache
def preparation(form: Form) -> str:
    """The PREPARE of a form."""
    left_out = tuple(part for name, part in _PARTS.items() if name not in _HAVE[form])
    return prepared("commit_batch", "JSONB", called=form, without=left_out)
