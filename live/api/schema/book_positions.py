"""What /api/book/positions takes and answers."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from live.api.schema.bodies import InstrumentName, Money, Price, Quantity
from live.api.schema.book import CurrencyCode, NodeId
from live.api.schema.values import Answered, Day, DecimalText, Time

_When = Annotated[
    str,
    Field(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})$",
        description="Not in the future. Without it, now.",
        examples=["2026-01-14T06:15:00Z"],
    ),
]
_Node = Annotated[int, Field(ge=1, description="The node that holds it.")]
_Notes = Annotated[str, Field(max_length=2000)]
_Strategies = Annotated[
    dict[str, Price],
    Field(description="Each with its weight; they add up to 1.", examples=[{"trend": "0.6", "carry": "0.4"}]),
]
_FxRate = Annotated[
    Price, Field(description="How much of its currency one dollar was. Without it the book's rate of that day.")
]


class _Given(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Risks(_Given):
    """At entry; what the instrument does not have is left out. Money is in the position's currency, durations in years."""

    dv01: Money | None = None
    delta: Quantity | None = None
    convexity: Quantity | None = None
    var_contribution: Money | None = None
    spread_duration: Quantity | None = None


class NewEnteredPosition(_Given):
    """A position. Without a currency it is in the instrument's. The same `request_id` again enters no second one."""

    node: _Node
    instrument: InstrumentName
    direction: Literal["LONG", "SHORT"]
    quantity: Annotated[Quantity, Field(description="In units, above 0.")]
    price: Price
    at: _When | None = None
    currency: CurrencyCode | None = None
    fx_rate: _FxRate | None = None
    costs: Money | None = None
    strategies: _Strategies | None = None
    risks: Risks | None = None
    notes: _Notes | None = None
    request_id: Annotated[str, Field(min_length=1, max_length=100)] | None = None


class EnteredCorrection(_Given):
    """What is to be otherwise; strategies and risks are named all or not at all."""

    node: _Node | None = None
    quantity: Annotated[Quantity, Field(description="In units, above 0.")] | None = None
    price: Price | None = None
    fx_rate: _FxRate | None = None
    costs: Money | None = None
    strategies: _Strategies | None = None
    risks: Risks | None = None
    notes: _Notes | None = None


class EnteredClose(_Given):
    """The whole position is closed. The same price and time again change nothing."""

    price: Price
    at: _When | None = None
    costs: Money | None = None


class ChangedPosition(Answered):
    """The position, and whether anything is other than before."""

    id: int
    notional_base: DecimalText
    notional_usd: DecimalText | None = Field(description="Null where no rate was known.")
    entry_fx_rate: DecimalText | None
    realized_pnl_base: DecimalText
    is_open: bool
    changed: bool


class EnteredPosition(Answered):
    """A position that was entered, and its last mark; `is_stale` where its price is of a day before."""

    id: int
    portfolio_node_id: NodeId
    node: str
    instrument: str
    direction: Literal["LONG", "SHORT"]
    quantity: DecimalText
    currency: CurrencyCode
    entry_price: DecimalText
    entry_timestamp: Time
    notional_base: DecimalText
    notional_usd: DecimalText | None
    entry_fx_rate: DecimalText | None
    strategies: dict[str, str]
    is_open: bool
    exit_price: DecimalText | None
    exit_timestamp: Time | None
    transaction_costs_base: DecimalText
    realized_pnl_base: DecimalText
    notes: str | None
    marked_on: Day | None
    mark_price: DecimalText | None
    price_date: Day | None = Field(description="Of which day the price is.")
    is_stale: bool
    unrealized_pnl_base: DecimalText | None
    daily_pnl_base: DecimalText | None


class EnteredPositions(Answered):
    """Positions that were entered, the latest first."""

    positions: list[EnteredPosition]
    next: int | None
