"""Instruments as data: what one trades, its lot, its money per point, its own limits."""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[Decimal, Field(gt=0, max_digits=18, decimal_places=8, allow_inf_nan=False)]
Percent = Annotated[Decimal, Field(ge=0, le=100, max_digits=12, decimal_places=6, allow_inf_nan=False)]
PositivePercent = Annotated[Decimal, Field(gt=0, le=100, max_digits=12, decimal_places=6, allow_inf_nan=False)]
Money = Annotated[Decimal, Field(ge=0, max_digits=20, decimal_places=4, allow_inf_nan=False)]
PositiveMoney = Annotated[Decimal, Field(gt=0, max_digits=20, decimal_places=4, allow_inf_nan=False)]
INSTRUMENT_NAME = r"^[A-Z0-9_]{1,29}$"


class Settled(BaseModel):
    """Base of all settings: frozen, unknown keys refused, defaults checked like given values."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class Costs(Settled):
    """What a fill costs: per cent of turnover a side, and money per lot a side."""

    percent_of_turnover: Percent = Decimal(0)
    per_lot: Money = Decimal(0)


class Instrument(Settled):
    """One tradable thing. Lot in units, point value and margin in money per lot, limits in per cent of the sizing equity."""

    exchange: str = Field(default="", max_length=20)
    currency: str = Field(default="INR", pattern=r"^[A-Z]{3,5}$")
    kind: Literal["future", "synthetic_future", "spot", "perpetual"] = "future"
    lot_size: Positive
    point_value: Positive
    tick: Positive = Decimal("0.05")
    margin_per_lot: PositiveMoney
    initial_risk_percent: PositivePercent = Decimal("1.0")
    ongoing_risk_percent: PositivePercent = Decimal("1.5")
    initial_volatility_percent: PositivePercent = Decimal("0.2")
    ongoing_volatility_percent: PositivePercent = Decimal("0.3")
    initial_stop_atr: Positive = Decimal("1.0")
    trailing_stop_atr: Positive = Decimal("2.0")
    max_pyramids: int = Field(default=3, ge=0, le=5)
    costs: Costs | None = None
