"""Options that several commands share, each group of them as one object."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

import click

from core.errors import ConfigurationError, PortfolioError
from core.numbers import MONEY_SCALE, PRICE_SCALE, decimals_of
from live.cli.errors import NotMigrated
from live.cli.names import portfolio_names

if TYPE_CHECKING:
    from core.config import FileSettings
    from core.db_state_manager import DatabaseStateManager

_Function = Callable[..., Any]
_CONNECT_FOR_SECONDS = 3.0
_LONGEST = 60  # of a number as written; decimals_of is exact up to 80 digits
_MISSING_TABLE_OR_COLUMN = ("42P01", "42703")
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class _Exact(click.ParamType[Decimal]):
    """An exact number; how many digits it may have is the column's."""

    decimals: ClassVar[int]
    digits: ClassVar[int]  # before the point

    def __init__(self, *, positive: bool) -> None:
        self._positive = positive

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        """The number as written."""
        if isinstance(value, Decimal):
            return value
        try:
            amount = Decimal(str(value))
        except InvalidOperation:
            self.fail(f"{value!r} is not a number", param, ctx)
        if not amount.is_finite() or len(str(value)) > _LONGEST or (amount and amount.adjusted() >= self.digits):
            self.fail(f"{value!r} must be a number with at most {self.digits} digits before the point", param, ctx)
        if decimals_of(amount) > self.decimals:
            self.fail(f"{value!r} has more than {self.decimals} decimals", param, ctx)
        if self._positive and amount <= 0:
            self.fail(f"{value!r} must be above 0", param, ctx)
        return amount


class Money(_Exact):
    """An amount of money: NUMERIC(20,4)."""

    name = "amount"
    decimals = MONEY_SCALE
    digits = 16


class Quantity(_Exact):
    """A quantity in a broker's units, either way: NUMERIC(20,8)."""

    name = "quantity"
    decimals = PRICE_SCALE
    digits = 12

    def __init__(self) -> None:
        super().__init__(positive=False)


class Price(_Exact):
    """A price: NUMERIC(18,8)."""

    name = "price"
    decimals = PRICE_SCALE
    digits = 10

    def __init__(self) -> None:
        super().__init__(positive=True)


class TakesNegativeNumbers(click.Command):
    """A command with an argument such as -100: that is no option, while what is misspelt is told as one."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does."""
        ctx.ignore_unknown_options = any(
            argument[0] == "-" and argument[1:2].isdecimal() for argument in args if argument
        )
        return super().parse_args(ctx, args)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseChoice:
    """Which portfolio of which database."""

    data_dir: Path
    db_config: Path | None
    db_env: str
    portfolio: str

    @contextmanager
    def dsn(self, *, create: bool) -> Iterator[str]:
        """The database's libpq string, with its server up for the block; `create`: make the embedded one if need be."""
        from core.postgres.embedded import EmbeddedServerError
        from live.database import database_in_use

        try:
            with database_in_use(self.data_dir, self.db_config, self.db_env, create=create) as database:
                yield database.dsn
        except EmbeddedServerError as error:
            raise PortfolioError(str(error)) from error

    @contextmanager
    def manager(self) -> Iterator["DatabaseStateManager"]:
        """A manager that is only read from: it takes no term. The database has to exist and to be migrated."""
        from core.db_state_manager import DatabaseStateManager
        from core.postgres.errors import StatementFailed

        with self.dsn(create=False) as dsn:
            try:
                with DatabaseStateManager(
                    dsn, portfolio=self.portfolio, pool_size=1, connect_for=_CONNECT_FOR_SECONDS
                ) as manager:
                    yield manager
            except StatementFailed as error:
                if not str(error).startswith(_MISSING_TABLE_OR_COLUMN):
                    raise
                raise NotMigrated(
                    f"portfolio {self.portfolio} has no up-to-date tables in this database: run `python "
                    f"portfolio_manager.py migrate --portfolio {self.portfolio}` (with the same --data-dir or --db-config)"
                ) from error


def listen_options(function: _Function) -> _Function:
    """--host, --port and --broker of `live`."""
    host = click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
    port = click.option(
        "--port",
        type=click.IntRange(0, 65535),
        default=5000,
        show_default=True,
        help="Port to listen on; 0 takes a free one.",
    )
    broker = click.option(
        "--broker",
        type=click.Choice(["paper", "openalgo", "ccxt"]),
        default="paper",
        show_default=True,
        help="Where orders are filled; its settings are `brokers` in --config.",
    )
    return host(port(broker(function)))


def portfolio_option(function: _Function) -> _Function:
    """--portfolio, checked."""
    return click.option(
        "--portfolio",
        default="main",
        show_default=True,
        callback=_portfolio,
        shell_complete=portfolio_names,
        help="The portfolio to work on.",
    )(function)


def portfolios_option(function: _Function) -> _Function:
    """--portfolio, as often as there are portfolios; checked, as `portfolios`."""
    return click.option(
        "--portfolio",
        "portfolios",
        multiple=True,
        default=("main",),
        show_default="main",
        callback=_portfolios,
        shell_complete=portfolio_names,
        help="The portfolio to serve; repeated, each of them.",
    )(function)


def data_dir_option(function: _Function) -> _Function:
    """--data-dir."""
    return click.option(
        "--data-dir",
        type=click.Path(file_okay=False, path_type=Path),
        default=Path("data"),
        show_default=True,
        help="Where the embedded database and the operator's token are.",
    )(function)


def database_options(function: _Function) -> _Function:
    """--data-dir, --db-config, --db-env, --portfolio as `database`, a DatabaseChoice."""

    @wraps(function)
    def collected(
        *args: Any, data_dir: Path, db_config: Path | None, db_env: str, portfolio: str, **others: Any
    ) -> Any:
        choice = DatabaseChoice(data_dir=data_dir, db_config=db_config, db_env=db_env, portfolio=portfolio)
        return function(*args, database=choice, **others)

    return data_dir_option(db_config_option(db_env_option(portfolio_option(collected))))


def db_config_option(function: _Function) -> _Function:
    """--db-config."""
    return click.option(
        "--db-config",
        type=_FILE,
        help="database_config.json of a PostgreSQL server; without it, the embedded one under --data-dir.",
    )(function)


def db_env_option(function: _Function) -> _Function:
    """--db-env."""
    return click.option("--db-env", default="local", show_default=True, help="The environment to use of --db-config.")(
        function
    )


class PastTime(click.ParamType[datetime]):
    """A time as ISO 8601, of UTC where it says nothing else."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Aware UTC."""
        if isinstance(value, datetime):
            return value
        try:
            time = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} must be like 2026-01-14T06:15:00Z", param, ctx)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)


def as_of_option(function: _Function) -> _Function:
    """--as-of."""
    return click.option(
        "--as-of",
        type=PastTime(),
        metavar="TIME",
        help="As it stood then, from the journal alone (UTC unless it says).",
    )(function)


def config_option(function: _Function) -> _Function:
    """--config."""
    return click.option(
        "--config", type=_FILE, help="Settings and instruments, TOML or JSON; without it, the defaults."
    )(function)


def url_option(function: _Function) -> _Function:
    """--url, checked."""
    return click.option(
        "--url",
        default="http://127.0.0.1:5000",
        show_default=True,
        callback=_url,
        help="The running engine (`live` prints it).",
    )(function)


def json_option(function: _Function) -> _Function:
    """--json as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Machine-readable: JSON, decimals as strings.")(
        function
    )


def file_settings(config: Path | None) -> "FileSettings":
    """The configuration that --config names, or the defaults."""
    from core.config import load_file_settings

    return load_file_settings(config)


def _portfolio(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if value == "main":
        return value
    from core.postgres.connections import require_portfolio_name

    try:
        return require_portfolio_name(value)
    except ConfigurationError as error:
        raise click.BadParameter(str(error), ctx, param) from error


def _portfolios(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(_portfolio(ctx, param, value) for value in values)
    if twice := [name for name in names if names.count(name) > 1]:
        raise click.BadParameter(f"{twice[0]!r} is given twice", ctx, param)
    return names


def url_or_none(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """A --url that may be left out, checked."""
    return None if value is None else _url(ctx, param, value)


def _url(ctx: click.Context, param: click.Parameter, value: str) -> str:
    try:
        parts = urlsplit(value)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise click.BadParameter(f"{value!r} must be like http://127.0.0.1:5000", ctx, param)
    return value.rstrip("/")
