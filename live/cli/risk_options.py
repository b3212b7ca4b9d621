"""What the commands of `risk` share: which bars, instants, who reckons, and what it takes."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import click

from core.errors import ConfigurationError
from live.cli.book_session import Day
from live.risk_task import missing_libraries

# As the tables have them; risk.market_data, which says how long each is, is imported where it is used.
TIMEFRAMES = ("1m", "3m", "5m", "10m", "15m", "30m", "45m", "1h", "2h", "3h", "4h", "1d", "1w")


class Instant(click.ParamType[datetime]):
    """An aware instant as ISO 8601; a day is the end of it, in UTC."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The instant, in UTC."""
        if isinstance(value, datetime):
            return value
        try:
            if len(value) == len("2026-01-14"):
                day = date.fromisoformat(value)
                return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
            found = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} must be like 2026-01-14 or 2026-01-14T10:00:00Z", param, ctx)
        if found.tzinfo is None:
            self.fail(f"{value!r} has to say of which zone it is, such as 2026-01-14T10:00:00Z", param, ctx)
        return found.astimezone(UTC)


def bars_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--timeframe, --source and --expiry."""
    options = (
        click.option(
            "--timeframe", type=click.Choice(TIMEFRAMES), default="1d", show_default=True, help="The bars' length."
        ),
        click.option("--source", help="Who told them; needed where several did."),
        click.option("--expiry", type=Day(), help="Of the contract that expires then."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def scheduler_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """--scheduler."""
    return click.option(
        "--scheduler",
        default="threads",
        show_default=True,
        metavar="threads|tcp://HOST:PORT",
        help="Who reckons: this process, or the Dask cluster at an address.",
    )(function)


def require_what_reckons() -> None:
    """Raises ConfigurationError, which says what to install, where it is not."""
    for file, missing in missing_libraries().items():
        raise ConfigurationError(f"{', '.join(missing)}: not installed: pip install --requirement {file}")


def now() -> datetime:
    """The clock."""
    return datetime.now(UTC)
