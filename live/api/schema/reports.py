"""What reports of the book answer."""

from typing import Annotated, Literal

from pydantic import Field

from live.api.schema.book import CurrencyCode, NodeId
from live.api.schema.values import Answered, Count, Day, DecimalText, Time

_Ratio = DecimalText | None
_Month = Annotated[int, Field(ge=1, le=12)]


class Fall(Answered):
    """From a high of the cumulative return to its way back; `length` in trading days."""

    depth: DecimalText
    length: Count
    began: Day | None
    trough: Day | None
    recovered: Day | None = Field(description="Null where it is not back yet.")


class SheetDay(Answered):
    """A trading day. Returns are fractions; `base` is the money that the day's is of."""

    day: Day
    pnl: DecimalText
    base: DecimalText
    positions: Count
    day_return: DecimalText
    cumulative: DecimalText
    drawdown: DecimalText
    rolling_sharpe: _Ratio


class MonthReturn(Answered):
    """Compounded by day."""

    year: int
    month: _Month
    month_return: DecimalText


class YearReturn(Answered):
    """Compounded by day."""

    year: int
    year_return: DecimalText


class TearSheet(Answered):
    """What the daily returns of a node and all below it say of it. Fractions; null where a figure has no meaning."""

    node_id: NodeId
    node: str
    currency: CurrencyCode
    portfolios: list[str] = Field(description="Those that hang there, whose capital the returns are of.")
    capital_is_given: bool = Field(description="The returns are of another capital, which was given.")
    first_day: Day
    last_day: Day
    trading_days: Count
    days_held: Count
    days_a_year: Count
    rolling_days: Count
    capital_first: DecimalText
    capital_last: DecimalText
    pnl: DecimalText
    cumulative_return: _Ratio
    cagr: _Ratio
    volatility: _Ratio
    sharpe: _Ratio
    sortino: _Ratio
    calmar: _Ratio
    max_drawdown: DecimalText
    deepest: Fall
    longest: Fall
    hit_rate: _Ratio = Field(description="Of the days that gained or lost, those that gained.")
    profit_factor: _Ratio = Field(description="What was gained by what was lost.")
    best: SheetDay
    worst: SheetDay
    months: list[MonthReturn]
    years: list[YearReturn]
    days: list[SheetDay]


class TaxTotal(Answered):
    """Of lots closed in a tax year. `gains` and `losses` are net of costs, and positive."""

    tax_year: str
    instrument: str | None = Field(description="Null: of all.")
    closed: Count
    lots: Count
    gain: DecimalText
    costs: DecimalText
    gains: DecimalText
    losses: DecimalText
    net_gain: DecimalText


class RealisedLot(Answered):
    """Lots that were opened and closed, matched first in, first out."""

    portfolio: str
    instrument: str
    contract: str
    side: Literal["LONG", "SHORT"]
    lots: Count
    quantity: DecimalText
    opened_at: Time
    opened_seq: int
    open_price: DecimalText
    closed_at: Time
    closed_seq: int
    close_price: DecimalText
    gain: DecimalText
    costs: DecimalText
    net_gain: DecimalText
    days_held: int


class TaxReport(Answered):
    """What a portfolio has realised. Tax years begin with the first of that month, by days in UTC."""

    portfolio: str
    year_begins: _Month
    years: list[TaxTotal]
    instruments: list[TaxTotal]
    lots: list[RealisedLot] = Field(description="The last ones to be closed, the newest first.")
    more_lots: Count = Field(description="How many came before: the export of `tax_lots` has all.")
