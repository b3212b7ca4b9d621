"""Rates between currencies: kept as of a day, and asked for between any two."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from book.market_data import DataLineage, MarketDataFeed
from book.nodes import CURRENCY
from book.reference_data import FxSpot
from book.refusals import MissingRate, RateNotValid
from book.statements import rows_of
from core.numbers import PRICE_SCALE, decimals_of

# Raised by book.fx_rate.
_MISSING = "BK001"
RATE_LIMIT = Decimal(10) ** 10
SOURCE_LENGTH = 100


def set_rate(session: Session, pair: str, rate: Decimal, day: date, *, source: str = "manual") -> bool:
    """Keep how much of a pair's second currency one of its first (`USD/INR`) is from a day on; False where it is so already.

    What was kept for that day before stays, and holds no more. Raises RateNotValid.
    """
    pair = _pair(pair)
    if not (rate.is_finite() and decimals_of(rate) <= PRICE_SCALE and 0 < rate < RATE_LIMIT):
        raise RateNotValid(
            f"`rate`: {rate} must be above 0, with at most 10 digits before the point and {PRICE_SCALE} behind"
        )
    if not source.strip() or len(source) > SOURCE_LENGTH:
        raise RateNotValid(f"`source` must be 1 to {SOURCE_LENGTH} characters")
    kept = rows_of(session, "rate_of_day", pair=pair, day=day)
    if kept and kept[0]["rate"] == rate:
        return False
    feed = MarketDataFeed(feed_type="FX_SPOT", as_of_date=day, source=source, validation_status="PASS")
    session.add(feed)
    session.flush()
    lineage = DataLineage(
        feed_id=feed.feed_id, source_system=source, transformation_chain=[], quality_checks_passed=True
    )
    session.add_all([FxSpot(pair=pair, snapshot_id=feed.feed_id, rate=rate), lineage])
    session.flush()
    return True


def rates_on(session: Session, day: date) -> list[Mapping[str, Any]]:
    """The newest rate of every pair on or before a day: `pair`, `rate`, `as_of_date`, `source`."""
    return [dict(row) for row in rows_of(session, "rates_on", day=day)]


def rate_between(session: Session, from_ccy: str, to_ccy: str, day: date) -> Decimal:
    """How much of `to_ccy` one of `from_ccy` is by the newest rates on or before a day: of the pair, the pair turned around, or
    through US dollars. Raises MissingRate, never guesses."""
    try:
        (row,) = rows_of(session, "fx_rate", from_ccy=from_ccy, to_ccy=to_ccy, day=day)
    except DBAPIError as error:
        raise_missing_rate(error)
        raise
    rate: Decimal = row["rate"]
    return rate


def raise_missing_rate(error: DBAPIError) -> None:
    """Raise MissingRate where the database says that a rate is missing."""
    if getattr(error.orig, "pgcode", None) == _MISSING:
        message = getattr(getattr(error.orig, "diag", None), "message_primary", None)
        raise MissingRate(f"{message or ''}; `book fx set` keeps one") from error


def _pair(given: str) -> str:
    first, _, second = given.upper().partition("/")
    if not (CURRENCY.fullmatch(first) and CURRENCY.fullmatch(second)) or first == second:
        raise RateNotValid(f"`pair`: {given[:30]!r} must be two currencies, such as USD/INR")
    return f"{first}/{second}"
