"""What `replay` and `risk sweep` share: which files are replayed, with which settings."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from msgspec import Struct

from core.numbers import DEFAULT_CAPITAL
from live.cli.names import instrument_names
from live.cli.options import Money, Price, file_settings

if TYPE_CHECKING:
    from core.settings import Settings
    from live.replay.files import Files


class _Percent(Price):
    name = "percent"

    def __init__(self) -> None:
        super().__init__()
        self._positive = False


class Asked(Struct, frozen=True, kw_only=True):
    """Files, the settings that they are replayed with, and what there is to begin with, money."""

    files: "Files"
    settings: "Settings"
    capital: Decimal


def replay_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """FILES, and the options that say what they are and what is made of them."""
    options = (
        click.argument("files", metavar="[NAME=]FILE...", nargs=-1, required=True),
        click.option(
            "--sizing", type=click.Choice(["as-listed", "rules"]), help="[default: as-listed for a list of trades]"
        ),
        click.option(
            "--instrument",
            default="BANK_NIFTY",
            show_default=True,
            shell_complete=instrument_names,
            help="What a file without NAME is of.",
        ),
        click.option(
            "--bars", multiple=True, metavar="[NAME=]FILE", help="A chart's OHLC as CSV: stops, marks, ATR and ER."
        ),
        click.option("--point-value", type=Price(), help="Money per point and lot, instead of the configured one."),
        click.option("--commission-percent", type=_Percent(), help="Of turnover, a side."),
        click.option("--slippage", type=_Percent(), help="Per cent of the price, against us."),
        click.option(
            "--capital", type=Money(positive=True), help="To begin with. [default: the configuration's, 5000000]"
        ),
        click.option("--timezone", help="Of times without an offset. [default: the configuration's, Asia/Kolkata]"),
    )
    for option in reversed(options):
        function = option(function)
    return function


def asked_for(config: Path | None, given: dict[str, Any]) -> Asked:
    """What the options say; nothing of the files is read yet. Raises BadParameter, ConfigurationError, BadFile."""
    from core.trading_calendar import time_zone
    from live.replay.files import Files, holds_alerts
    from live.replay.settings import Overrides, replay_settings

    configured = file_settings(config)
    try:
        zone = time_zone(given["timezone"] or configured.naive_timezone)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--timezone") from error
    paths = [_named(text, given["instrument"], "FILE") for text in given["files"]]
    all_alerts = all(holds_alerts(path) for _, path in paths)
    sizing = given["sizing"] or ("rules" if all_alerts else "as-listed")
    overrides = Overrides(
        as_listed=sizing == "as-listed",
        instrument=given["instrument"],
        point_value=given["point_value"],
        commission_percent=given["commission_percent"],
        slippage_percent=given["slippage"],
    )
    settings = replay_settings(configured.settings, overrides)
    files = Files(
        paths=paths,
        bars=dict(_named(text, given["instrument"], "--bars") for text in given["bars"]),
        timezone=zone,
        start=_time("--from", given.get("start"), zone),
        end=_time("--to", given.get("end"), zone),
        profile=configured.intake_profile(),
    )
    capital = given["capital"] or configured.initial_capital or DEFAULT_CAPITAL
    return Asked(files=files, settings=settings, capital=capital)


def _named(text: str, instrument: str, option: str) -> tuple[str, Path]:
    name, separator, path = text.partition("=")
    found = (name, Path(path)) if separator and not Path(text).exists() else (instrument, Path(text))
    if not found[1].is_file():
        raise click.BadParameter(f"{found[1]} is no file", param_hint=option)
    return found


def _time(option: str, text: str | None, zone: Any) -> datetime | None:
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} must be like 2020-01-31 or 2020-01-31T09:15", param_hint=option) from error
    return (time if time.tzinfo else time.replace(tzinfo=zone)).astimezone(UTC)
