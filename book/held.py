"""What a node holds: its largest positions at the end of a day, with those of all below it."""

from collections.abc import Sequence
from datetime import date

from sqlalchemy import RowMapping
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from book.fx import raise_missing_rate
from book.roll_up import marked_on_or_before
from book.statements import rows_of


def largest_held(session: Session, node: int, day: date, currency: str, most: int) -> Sequence[RowMapping]:
    """So many, the largest notional first: its money in `currency`, prices as they are quoted. `positions` of each row says how
    many there are in all; `position_id` and `portfolio` are the engine's, None for what a person or a file brought.

    Raises MissingRate.
    """
    marked_on = marked_on_or_before(session, day)
    rows_of(session, "for_a_roll_up")
    try:
        return rows_of(session, "open_positions", node=node, day=day, marked_on=marked_on, currency=currency, most=most)
    except DBAPIError as error:
        raise_missing_rate(error)
        raise
