"""What /api/risk takes and answers. Estimates are numbers; what is exact is a string, as everywhere."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from live.api.schema.book import CurrencyCode, NodeId
from live.api.schema.values import Answered, Count, Day, DecimalText, Kept, Time

_Position = Annotated[
    str, Field(description="`position/12` of the book's positions, `holding/5` of what was uploaded.")
]
_Reasons = Annotated[dict[str, str], Field(description="By what is missing why.")]


class RiskDay(Answered):
    """A day of which so many nodes were reckoned; `complete`: to its batch's end."""

    date: Day
    nodes: Count
    complete: bool


class RiskDays(Answered):
    """The days, the newest first; `next` is what to ask for as `before`."""

    days: list[RiskDay]
    next: Day | None


class NodePnL(Answered):
    """The day's P&L by the book, or the reason why it is not known; of so many positions there is no mark, or no value."""

    day_pnl: DecimalText | None
    realized_pnl: DecimalText | None
    unrealized_pnl: DecimalText | None
    unmarked: Count | None
    unvalued: Count | None
    reason: str | None


class NodeRisk(Answered):
    """A node with all below it, in its currency."""

    portfolio_node_id: NodeId
    name: str
    currency: CurrencyCode
    positions: Count
    measures: Annotated[
        dict[str, dict[str, float | None]],
        Field(
            description="`exposure`, `volatility`, `diversification`, `historical_95%` and so on, each with its figures.",
            examples=[{"historical_95%": {"value_at_risk": 107213.5, "expected_shortfall": 131002.25}}],
        ),
    ]
    reasons: _Reasons
    left_out: Annotated[
        dict[str, dict[str, str]], Field(description="The first positions that are not in all measures, with why.")
    ]
    more_left_out: Count
    pnl: NodePnL | None = Field(description="Null where the batch has not come to its end.")


class NodesRisk(Answered):
    """A day's nodes, the oldest first; `next` is what to ask for as `after`."""

    date: Day
    nodes: list[NodeRisk]
    next: NodeId | None


class PositionOfDay(Answered):
    """A position at the end of a day: value in its currency (long +, short -), returns and volatility of its instrument a day."""

    position: _Position
    portfolio_node_id: NodeId
    symbol: str
    direction: Literal["LONG", "SHORT"]
    quantity: DecimalText
    currency: CurrencyCode
    price: DecimalText | None
    price_date: Day | None
    price_source: str | None
    value: float | None
    day_return: float | None
    observations: Count | None
    volatility: float | None
    squeeze_level: Literal["HIGH", "MEDIUM", "LOW", "UNKNOWN"] | None
    greeks: Annotated[
        Kept | None,
        Field(
            description="In money: `delta`, `gamma`, `vega_per_point`, `theta_per_day`, `rho_per_point`; of an option its"
            " `volatility` and what told it, of a synthetic future its `legs`."
        ),
    ]
    betas: Annotated[dict[str, float], Field(description="By factor.")]
    reasons: _Reasons
    node_value: float | None = Field(description="In the node's currency, where a node is asked for.")
    contribution: float | None = Field(description="To the node's volatility a day.")
    left_out: Annotated[dict[str, str], Field(description="Why it is not in all of the node's measures.")]


class PositionsOfDay(Answered):
    """A day's positions by name; `next` is what to ask for as `after`."""

    date: Day
    node_currency: CurrencyCode | None
    positions: list[PositionOfDay]
    next: _Position | None


class FactorShare(Answered):
    """A factor, or `specific`: what no factor explains. The contributions add up to the volatility, the shares to 1."""

    factor: str
    display_name: str
    exposure: float | None
    contribution: float
    share: float | None


class Exposures(Answered):
    """A node's factors in their order; `volatility` is of a day, of so many positions, or missing for a reason."""

    date: Day
    portfolio_node_id: NodeId
    name: str
    currency: CurrencyCode
    volatility: float | None
    positions: Count
    reason: str | None
    factors: list[FactorShare]


class Correlations(Answered):
    """Of what a node held, the largest first: volatilities a day and a matrix in the order of the symbols.

    Null is a pair that is not known; of `unknown` nothing is, and `more` are left out for their size.
    """

    date: Day
    portfolio_node_id: NodeId
    symbols: list[str]
    volatilities: list[float]
    matrix: list[list[float | None]]
    unknown: list[str]
    more: Count


class ScenarioPnL(Answered):
    """What a scenario would have earned the node without so many positions, or why that is not known."""

    name: str
    pnl: float | None
    left_out: Count
    reason: str | None


class PositionPnL(Answered):
    """The same of a position, in its currency."""

    position: _Position
    symbol: str
    currency: CurrencyCode
    pnl: float | None
    reason: str | None


class Stress(Answered):
    """Scenarios in their order, in the node's currency; positions where one scenario is asked for. `next`: for `after`."""

    date: Day
    portfolio_node_id: NodeId
    name: str
    currency: CurrencyCode
    scenarios: list[ScenarioPnL]
    positions: list[PositionPnL]
    next: _Position | None


class Likelihood(Answered):
    """A likelihood ratio, and how probable one as large were."""

    statistic: float
    p_value: float


class RiskTests(Answered):
    """Kupiec's and Christoffersen's tests of the days of the window up to `as_of`, or the reason why there are none."""

    as_of: Day
    observations: Count | None = None
    breaches: Count | None = None
    expected: float | None = None
    kupiec: Likelihood | None = None
    independence: Likelihood | None = None
    conditional_coverage: Likelihood | None = None
    reason: str | None = None


class ForeseenDay(Answered):
    """A day's P&L beside the value at risk that the trading day before it foresaw, or the reason why not."""

    date: Day
    currency: CurrencyCode
    made_on: Day | None
    value_at_risk: float | None
    pnl: float | None
    breach: bool | None
    reason: str | None


class ValueAtRisk(Answered):
    """Days, the earliest first; a breach is a loss above what was foreseen."""

    portfolio_node_id: NodeId
    method: str
    confidence: float
    from_date: Day
    to_date: Day
    breaches: Count
    tests: RiskTests | None
    days: list[ForeseenDay]


class Scenario(Answered):
    """A scenario and how far it moves which factors: returns (0.1 is 10 %), or changes (0.01 is a point)."""

    name: str
    scenario_type: str
    first_day: Day | None
    last_day: Day | None
    is_active: bool
    shocks: dict[str, float]


class Scenarios(Answered):
    """Scenarios in their order."""

    scenarios: list[Scenario]


class Factor(Answered):
    """A factor, and which instruments or series tell how it moves."""

    name: str
    display_name: str
    category: str
    factor_set: str
    unit: Literal["return", "change"]
    meaning: str
    is_active: bool
    told_by: list[str]


class Factors(Answered):
    """Factors in their order."""

    factors: list[Factor]


class Attempt(Answered):
    """An attempt at a step."""

    calculation_type: str
    run: Annotated[int, Field(ge=1)]
    attempt: Annotated[int, Field(ge=1)]
    status: Literal["running", "completed", "failed"]
    start_time: Time
    end_time: Time | None
    records_processed: Count | None
    error_message: str | None


class BatchSteps(Answered):
    """The attempts at a day's steps, the first one first."""

    date: Day
    steps: list[Attempt]


class MarketBar(Answered):
    """A bar; prices in points, `timestamp` when it opened."""

    timestamp: Time
    open: DecimalText
    high: DecimalText
    low: DecimalText
    close: DecimalText
    settlement: DecimalText | None
    volume: DecimalText | None
    open_interest: DecimalText | None


class MarketBars(Answered):
    """Bars of one source, the newest first; `next` is what to ask for as `before`."""

    instrument: str
    timeframe: str
    source: str
    expiry: Day | None
    bars: list[MarketBar]
    next: Time | None


class StepReckoned(Answered):
    """A step and how many records it kept; null: it was done before."""

    step: str
    records: Count | None


class Reckoned(Answered):
    """A day's run, whether anything was reckoned, and its steps in their order."""

    date: Day
    run: Annotated[int, Field(ge=1)]
    changed: bool
    steps: list[StepReckoned]


class BatchAsked(BaseModel):
    """The trading day; `again`: all of it anew."""

    model_config = ConfigDict(extra="forbid")

    date: Annotated[str, Field(pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}$", examples=["2026-01-14"])]
    again: bool | None = None
