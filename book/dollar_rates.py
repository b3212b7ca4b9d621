"""How much of a currency one US dollar was on a day, by the rates that were brought and may be used."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from decimal import Decimal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from book.market_data import MarketDataFeed
from book.reference_data import FxSpot
from core.numbers import money, price, quotient

DOLLAR = "USD"


class DollarRates:
    """Of some currencies on some days. What is not known is None, never a guess."""

    def __init__(self, session: Session, currencies: Iterable[str], days: Iterable[date]) -> None:
        asked, wanted = sorted(set(days)), sorted(set(currencies) - {DOLLAR})
        self._days: dict[str, list[date]] = defaultdict(list)
        self._rates: dict[str, list[Decimal]] = defaultdict(list)
        if asked and wanted:
            self._read(session, wanted, asked[0], asked[-1])

    def _read(self, session: Session, currencies: list[str], first: date, last: date) -> None:
        pairs = [pair for own in currencies for pair in (f"{DOLLAR}/{own}", f"{own}/{DOLLAR}")]
        usable = (
            FxSpot.pair.in_(pairs),
            MarketDataFeed.feed_type == "FX_SPOT",
            MarketDataFeed.validation_status.in_(("PASS", "WARN")),
        )
        feed = MarketDataFeed.feed_id == FxSpot.snapshot_id
        # Of each pair the last day that has a rate already as the first one that is asked for begins.
        begin = session.scalars(
            select(func.max(MarketDataFeed.as_of_date))
            .join(FxSpot, feed)
            .where(*usable, MarketDataFeed.as_of_date <= first)
            .group_by(FxSpot.pair)
        )
        rows = session.execute(
            select(FxSpot.pair, FxSpot.rate, MarketDataFeed.as_of_date)
            .join(MarketDataFeed, feed)
            .where(*usable, MarketDataFeed.as_of_date.between(min([first, *begin]), last))
            .order_by(MarketDataFeed.as_of_date, MarketDataFeed.feed_id)
        )
        for pair, rate, day in rows:
            base, _, quoted = pair.partition("/")
            self._days[quoted if base == DOLLAR else base].append(day)
            self._rates[quoted if base == DOLLAR else base].append(
                rate if base == DOLLAR else price(quotient(Decimal(1), rate))
            )

    def on(self, currency: str, day: date) -> Decimal | None:
        """Units of the currency for one dollar on that day, by the last rate of it or of the days before."""
        if currency == DOLLAR:
            return Decimal(1)
        place = bisect_right(self._days[currency], day) - 1
        return None if place < 0 else self._rates[currency][place]


def in_dollars(amount: Decimal, rate: Decimal | None) -> Decimal | None:
    """Money in dollars at so much of it for one; None without a rate."""
    return None if rate is None else money(quotient(amount, rate))
