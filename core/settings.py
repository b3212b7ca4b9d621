"""What decides: limits, sizing, timing, costs, instruments. Journalled in full whenever it changes."""

from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from core.contracts import INSTRUMENT_NAME, Costs, Instrument, Percent, Settled

SizingEquity = Literal["blended", "closed", "open", "high_water"]
Seconds = Annotated[Decimal, Field(ge=0, le=86_400, allow_inf_nan=False)]
SmallPercent = Annotated[Decimal, Field(ge=0, le=5, max_digits=12, decimal_places=6, allow_inf_nan=False)]
Share = Annotated[Decimal, Field(ge=0, le=1, allow_inf_nan=False)]


class Limits(Settled):
    """Caps of the whole portfolio, in per cent of the sizing equity."""

    risk_percent: Percent = Decimal(15)
    pyramid_risk_percent: Percent = Decimal(12)
    volatility_percent: Percent = Decimal(5)
    pyramid_volatility_percent: Percent = Decimal(4)
    margin_percent: Percent = Decimal(60)
    margin_warning_percent: Percent = Decimal(50)
    margin_emergency_percent: Percent = Decimal(70)


class Drawdown(Settled):
    """Where a drawdown of closed equity (per cent of its high) makes sizes smaller, and where it ends entries."""

    reduce_from_percent: Percent = Decimal(5)
    reduce_factor: Share = Decimal("0.75")
    restrict_from_percent: Percent = Decimal(10)
    restrict_factor: Share = Decimal("0.5")
    block_above_percent: Percent = Decimal(15)

    @model_validator(mode="after")
    def _levels_rise(self) -> Self:
        if not self.reduce_from_percent <= self.restrict_from_percent <= self.block_above_percent:
            raise ValueError("reduce_from_percent <= restrict_from_percent <= block_above_percent must hold")
        return self


class Sizing(Settled):
    """How a size follows from equity: which equity, and whether the efficiency ratio scales it.

    `as_listed` is for replaying somebody's list of trades: lots as listed, no limits, gates, stops or peel-off.
    """

    mode: Literal["rules", "as_listed"] = "rules"

    equity: SizingEquity = "blended"
    efficiency_ratio_scales_risk: bool = True


class Pyramiding(Settled):
    """When and how much may be added. `spacing_atr` in ATR beyond the last entry; the shares are of lots and of profit."""

    requires_one_r: bool = True
    spacing_atr: Annotated[Decimal, Field(ge=0, le=100, allow_inf_nan=False)] = Decimal("0.5")
    discipline_share: Share = Decimal("0.5")
    profit_share: Share = Decimal("0.5")


class Timing(Settled):
    """Ages in seconds, and what counts as the same bar."""

    max_entry_age_seconds: Seconds | None = Decimal(300)
    max_future_seconds: Seconds = Decimal(60)
    intrabar_exits: bool = False
    exit_wait_seconds: Annotated[Decimal, Field(ge=0, le=1, allow_inf_nan=False)] = Decimal(1)
    same_bar_seconds: Seconds = Decimal(5)


class Bars(Settled):
    """What is kept of an instrument's bars: the ATR of the last one and its time, for entries that have none of their own."""

    keep_atr: bool = False


class PaperFills(Settled):
    """What the paper broker makes of a price: slippage in per cent against us, costs a side."""

    slippage_percent: Annotated[Decimal, Field(ge=0, le=10, allow_inf_nan=False)] = Decimal(0)
    costs: Costs = Costs()


class Execution(Settled):
    """How orders are filled: `paper`, at the signal's price as it is decided, or by a `broker`, whose fills are waited for.

    A broker's entry is tried `tries` times for `seconds_per_try` with a limit `limit_percent` beyond the quote, by
    `step_percent` more at each try, then at market. Not at all where the quote is further from the signal's price than the
    divergence; where risk per lot has grown by more than `risk_growth_percent`, a base is cut and a pyramid refused.
    With `legs` a synthetic future that is traded by contract is two options, else one future.
    What is open is protected by a stop at the broker, `stop_atr` ATR beyond ours; None: by none.
    """

    fills: Literal["paper", "broker"] = "paper"
    tries: Annotated[int, Field(ge=0, le=20)] = 5
    seconds_per_try: Annotated[Decimal, Field(ge=1, le=300, allow_inf_nan=False)] = Decimal(3)
    limit_percent: SmallPercent = Decimal("0.25")
    step_percent: SmallPercent = Decimal("0.05")
    base_divergence_percent: Percent = Decimal(2)
    pyramid_divergence_percent: Percent = Decimal(1)
    risk_growth_percent: Percent = Decimal(20)
    legs: bool = True
    stop_atr: Annotated[Decimal, Field(gt=0, le=100, allow_inf_nan=False)] | None = Decimal(1)


ExecutionMode = Literal["auto", "approve", "observe"]


class _AskedBy(Settled):
    """A rule that has entries wait for a human (`approve`), or only be noted (`observe`), whatever the portfolio's mode is."""

    mode: Literal["approve", "observe"] = "approve"


class LateRule(_AskedBy):
    """An entry that is older than so many seconds when it is decided."""

    seconds: Seconds = Decimal(60)


class DivergentRule(_AskedBy):
    """An entry whose order was not sent because the market is too far from the signal's price."""

    mode: Literal["approve"] = "approve"


class SizeRule(_AskedBy):
    """An entry of more lots, or of more risk in per cent of the sizing equity."""

    lots: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    risk_percent: Percent | None = None

    @model_validator(mode="after")
    def _says_a_size(self) -> Self:
        if self.lots is None and self.risk_percent is None:
            raise ValueError("needs `lots` or `risk_percent`")
        return self


class RecoveryRule(_AskedBy):
    """An entry within so many seconds after an instance became the one that decides."""

    seconds: Seconds = Decimal(600)


class Approval(Settled):
    """Whether a signal is carried out (`auto`), waits as a proposal until a human decides (`approve`), or is only noted with
    what it would have done (`observe`). The strictest of the portfolio's mode and of the rules that apply is taken.

    Bars always work their stops, and an EXIT is never kept from closing unless `exits` says that it follows the mode too.
    A proposal that nobody decides ends after `expires_seconds`.
    """

    mode: ExecutionMode = "auto"
    exits: bool = False
    expires_seconds: Annotated[Decimal, Field(ge=1, le=604_800, allow_inf_nan=False)] = Decimal(900)
    late: LateRule | None = None
    divergent: DivergentRule | None = None
    over_size: SizeRule | None = None
    after_recovery: RecoveryRule | None = None


class Settings(Settled):
    """All that changes decisions. Journalled in full whenever it changes."""

    limits: Limits = Limits()
    drawdown: Drawdown = Drawdown()
    sizing: Sizing = Sizing()
    pyramiding: Pyramiding = Pyramiding()
    timing: Timing = Timing()
    # At its default it is not written: what an earlier program has journalled stays what is configured.
    bars: Bars = Field(default=Bars(), exclude_if=lambda bars: bars == Bars())
    paper: PaperFills = PaperFills()
    execution: Execution = Execution()
    approval: Approval = Approval()
    instruments: dict[Annotated[str, StringConstraints(pattern=INSTRUMENT_NAME)], Instrument]

    def costs_of(self, instrument: str) -> Costs:
        """The instrument's own costs, else the portfolio's."""
        own = self.instruments[instrument].costs
        return self.paper.costs if own is None else own
