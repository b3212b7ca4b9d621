"""The journal in words: one decision explained, an instrument's signals, or what came last."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from core.models import Status
from core.proposals import proposal_id_of
from live.api.errors import malformed
from live.api.queries import INSTRUMENT, LARGEST_ID
from live.dashboard.asked import asked_by_fingerprint
from live.dashboard.rows import signal_row
from live.dashboard.words import moment
from live.explain import asked_in_words, explanation, in_words
from live.ports import Engine

ENTRIES = 50
STATUSES = tuple(Status)


class Line(Struct, frozen=True):
    """One decision: what `of` finds it again."""

    of: str
    time: str
    asked: str
    became: str


class Found(Struct, frozen=True, kw_only=True):
    """What there is: the explanation of one decision, or lines, and the cursor that more of them lie behind."""

    explanation: Sequence[str] = ()
    lines: Sequence[Line] = ()
    before: str = ""
    nothing: str = ""


def search(engine: Engine, given: Mapping[str, str]) -> Found:
    """What is asked for: `of` one entry, position or signal; else signals of an instrument or status; else all entries.

    Raises HttpRefused for a parameter that is wrong, DatabaseAway.
    """
    before = _cursor(given["before"])
    _require_known(given["instrument"], given["status"])
    if given["of"]:
        return _explained(engine, given["of"])
    if given["instrument"] or given["status"]:
        return _signals(engine, given["instrument"], given["status"], before)
    rows = engine.lists.journal(limit=ENTRIES + 1, before=before)
    lines = [
        Line(str(row["seq"]), moment(row["decided_at"]), asked_in_words(row), in_words(row["kind"], row["outcome"]))
        for row in rows[:ENTRIES]
    ]
    return _listed(lines, str(rows[ENTRIES - 1]["seq"]) if len(rows) > ENTRIES else "")


def _explained(engine: Engine, identity: str) -> Found:
    # What no identity can hold is not asked of the database.
    row = engine.lists.explained_entry(identity) if len(identity) <= 100 and identity.isprintable() else None
    if row is None:
        return Found(nothing="There is no entry of this number, position or fingerprint.")
    return Found(explanation=explanation(row, engine.lists.proposal_of(row)))


def _require_known(instrument: str, status: str) -> None:
    if instrument and not INSTRUMENT.fullmatch(instrument):
        raise malformed("`instrument` must be 1 to 29 letters, digits or underscores", "instrument")
    if status and status not in STATUSES:
        raise malformed(f"`status` must be one of {', '.join(STATUSES)}", "status")


def _signals(engine: Engine, instrument: str, status: str, before: int | None) -> Found:
    rows = engine.lists.signals(
        statuses=[status] if status else None,
        instrument=instrument.upper() or None,
        limit=ENTRIES + 1,
        before=before,
    )
    lines, made = [], _asked(engine, rows)
    for row in rows[:ENTRIES]:
        shown = signal_row(row, made.get(row["fingerprint"]))
        asked = " ".join(filter(None, (shown["type"], shown["instrument"], shown["layer"], f"at {shown['price']}")))
        became = ": ".join(filter(None, (shown["status"], shown["words"])))
        lines.append(Line(row["fingerprint"], shown["time"], asked, became))
    return _listed(lines, str(rows[ENTRIES - 1]["id"]) if len(rows) > ENTRIES else "")


def _asked(engine: Engine, rows: Sequence[Mapping[str, Any]]) -> Mapping[str, str]:
    """What a human has made of those that were proposed."""
    ids = [proposal_id_of(row["fingerprint"]) for row in rows if row["processing_status"] == Status.PROPOSED]
    return asked_by_fingerprint(engine.lists.proposals_by_id(ids)) if ids else {}


def _listed(lines: Sequence[Line], before: str) -> Found:
    return Found(lines=lines, before=before, nothing="" if lines else "Nothing was found.")


def _cursor(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal()) or len(text) > 19 or not 1 <= int(text) <= LARGEST_ID:
        raise malformed(f"`before` must be a whole number from 1 to {LARGEST_ID}", "before")
    return int(text)
