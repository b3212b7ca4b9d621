"""A portfolio's journal as the book's transactions read it: entries by their numbers, and the number of a time."""

from collections.abc import Collection
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from sqlalchemy import Text, cast, func, select
from sqlalchemy.orm import Session

from book.decision_journal import entries_of
from book.executions import Entry, Execution, executions_of
from book.journal_walk import JournalEntry


class PriceAlert(NamedTuple):
    """What an alert told of an instrument: when its bar opened, else when it fired (aware), and the price at its close."""

    instrument: str
    time: datetime
    price: Decimal


def entries_between(session: Session, portfolio: str, after_seq: int, up_to_seq: int) -> list[JournalEntry]:
    """The entries behind `after_seq` up to `up_to_seq`, in order."""
    found = entries_of(portfolio, after_seq, up_to_seq).subquery()
    rows = session.execute(
        select(
            found.c.seq,
            found.c.format,
            cast(found.c.events, Text).label("events"),
            cast(found.c.figures, Text).label("figures"),
            found.c.decided_at,
            found.c.content_hash,
        ).order_by(found.c.seq)
    )
    return [
        JournalEntry(
            seq=row.seq,
            format=row.format,
            events=row.events,
            figures=row.figures,
            decided_at=row.decided_at,
            content_hash=row.content_hash,
        )
        for row in rows
    ]


def executions_in(session: Session, portfolio: str) -> list[Execution]:
    """Every execution that a portfolio's journal tells of, in its order."""
    entries = (
        Entry(seq=row.seq, decided_at=row.decided_at, events=row.events)
        for row in session.execute(entries_of(portfolio))
    )
    return list(executions_of(portfolio, entries))


def signals_between(session: Session, portfolio: str, after_seq: int, up_to_seq: int) -> list[dict[str, Any]]:
    """The signals decided behind `after_seq` up to `up_to_seq`, as the journal has them."""
    found = entries_of(portfolio, after_seq, up_to_seq).subquery()
    names = ("seq", "kind", "fingerprint", "input", "figures", "outcome", "decided_at", "term")
    asked = select(*(found.c[name] for name in names)).where(found.c.kind == "signal").order_by(found.c.seq)
    return [dict(row) for row in session.execute(asked).mappings()]


def prices_between(
    session: Session, portfolio: str, after_seq: int, up_to_seq: int, instruments: Collection[str]
) -> list[PriceAlert]:
    """The prices that MARKET_DATA alerts of these instruments told behind `after_seq` up to `up_to_seq`, in the journal's order:
    also of those that were refused."""
    found = entries_of(portfolio, after_seq, up_to_seq).subquery()
    signal = func.coalesce(found.c.input["signal"], found.c.input)
    told = {
        name: signal.op("->>", return_type=Text())(name)
        for name in ("type", "instrument", "bar_time", "timestamp", "price")
    }
    asked = (
        select(told["instrument"], func.coalesce(told["bar_time"], told["timestamp"]), told["price"])
        .where(found.c.kind == "signal", told["type"] == "MARKET_DATA", told["instrument"].in_(instruments))
        .order_by(found.c.seq)
    )
    return [
        PriceAlert(instrument, datetime.fromisoformat(time), Decimal(price))
        for instrument, time, price in session.execute(asked)
    ]


def last_seq(session: Session, portfolio: str, known: int = 0) -> int:
    """The number of the journal's last entry, looked for from one that is known to be there: it has no gaps."""
    step = 1
    while _decided_at(session, portfolio, known + step) is not None:
        known, step = known + step, step * 2
    while step > 1:
        step //= 2
        if _decided_at(session, portfolio, known + step) is not None:
            known += step
    return known


def seq_at(session: Session, portfolio: str, time: datetime, last: int) -> int:
    """The last entry that was decided until `time`, of those up to `last`; 0 where all came later."""
    low, high = 0, last
    while low < high:
        middle = (low + high + 1) // 2
        decided_at = _decided_at(session, portfolio, middle)
        if decided_at is not None and decided_at <= time:
            low = middle
        else:
            high = middle - 1
    return low


def _decided_at(session: Session, portfolio: str, seq: int) -> datetime | None:
    found = entries_of(portfolio, seq - 1, seq).subquery()
    return session.scalar(select(found.c.decided_at))
