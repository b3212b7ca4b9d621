"""Settings of the risk lab in a running instance: whether whoever leads reckons each day, and how patiently."""

from decimal import Decimal
from typing import Annotated

from pydantic import Field

from core.contracts import Settled


class RiskSettings(Settled):
    """Of the whole database, and so of the process: where it is `enabled`, an instance that leads has days reckoned.

    Every so many seconds it looks which are not, the newest `catch_up_days` trading days at most. One is begun once the book has
    kept it, or `grace_seconds` after it was over and this instance began to look. What failed is tried again after
    `retry_seconds`, then after twice as long each time, an hour at most.
    """

    enabled: bool = False
    every_seconds: Annotated[Decimal, Field(ge=1, le=3600, allow_inf_nan=False)] = Decimal(60)
    grace_seconds: Annotated[int, Field(ge=0, le=86_400)] = 1800
    catch_up_days: Annotated[int, Field(ge=1, le=10)] = 10
    retry_seconds: Annotated[Decimal, Field(ge=1, le=3600, allow_inf_nan=False)] = Decimal(60)
