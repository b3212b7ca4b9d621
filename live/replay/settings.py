"""The settings that a replay decides by: the configuration's, with what the command line says of costs and contract."""

from decimal import Decimal
from typing import Any

from msgspec import Struct

from core.contracts import Instrument
from core.errors import ConfigurationError
from core.settings import Approval, Settings


class Overrides(Struct, frozen=True, kw_only=True):
    """What the command line changes; None leaves the configuration's value. Percentages a side, of turnover and price."""

    as_listed: bool
    instrument: str
    point_value: Decimal | None = None
    commission_percent: Decimal | None = None
    slippage_percent: Decimal | None = None


def replay_settings(settings: Settings, overrides: Overrides) -> Settings:
    """Settings of a replay: no age, no waiting for an EXIT, no broker and no human to ask, and an instrument that may be known
    by its point value only.

    Raises ConfigurationError where the instrument is not configured and nothing says what a point of it is worth.
    """
    document = settings.model_dump()
    document["instruments"][overrides.instrument] = _instrument(settings, overrides)
    document["sizing"]["mode"] = "as_listed" if overrides.as_listed else "rules"
    document["timing"]["max_entry_age_seconds"] = None
    document["timing"]["exit_wait_seconds"] = Decimal(0)
    document["execution"]["fills"] = "paper"
    document["approval"] = Approval().model_dump()
    if overrides.commission_percent is not None:
        document["paper"]["costs"]["percent_of_turnover"] = overrides.commission_percent
        document["instruments"][overrides.instrument]["costs"] = None
    if overrides.slippage_percent is not None:
        document["paper"]["slippage_percent"] = overrides.slippage_percent
    return Settings.model_validate(document)


def _instrument(settings: Settings, overrides: Overrides) -> dict[str, Any]:
    known = settings.instruments.get(overrides.instrument)
    if known is not None:
        changes = {} if overrides.point_value is None else {"point_value": overrides.point_value}
        return {**known.model_dump(), **changes}
    if overrides.point_value is None or not overrides.as_listed:
        configured = ", ".join(sorted(settings.instruments))
        raise ConfigurationError(
            f"`--instrument`: {overrides.instrument} is not configured (configured: {configured}); add it to --config, "
            "or, as listed, say what a point of one lot is worth with --point-value"
        )
    # As listed nothing is sized: a lot is a unit, and its margin is only a figure.
    unit = Instrument(lot_size=Decimal(1), point_value=overrides.point_value, margin_per_lot=Decimal(1))
    return unit.model_dump()
