"""`live`: the running engine."""

from decimal import Decimal
from pathlib import Path

import click

from live.cli.options import (
    Money,
    config_option,
    data_dir_option,
    db_config_option,
    db_env_option,
    listen_options,
    portfolios_option,
)
from live.collector import collector_off
from live.options import LiveOptions


@click.command(short_help="Serve a portfolio: take alerts, keep positions.")
@listen_options
@data_dir_option
@db_config_option
@db_env_option
@portfolios_option
@config_option
@click.option(
    "--capital",
    type=Money(positive=True),
    help="What a new portfolio starts from. [default: of --config, else 5,000,000]",
)
@click.option(
    "--log",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How lines of the log are written to stderr; json: an object each.",
)
def live(
    *,
    host: str,
    port: int,
    data_dir: Path,
    db_config: Path | None,
    db_env: str,
    portfolios: tuple[str, ...],
    config: Path | None,
    broker: str,
    capital: Decimal | None,
    log: str,
) -> None:
    """Serve a portfolio, or several, until SIGTERM or Ctrl-C.

    Makes and migrates the database where need be, takes over the state as it was left, then prints one line
    `ready on http://...`. A host other than loopback needs PORTFOLIO_WEBHOOK_SECRET.

    \b
    Examples:
      python portfolio_manager.py live
      python portfolio_manager.py live --port 8080 --data-dir /var/lib/portfolio --capital 10000000
      python portfolio_manager.py live --db-config database_config.json --db-env production
      python portfolio_manager.py live --portfolio alpha --portfolio beta --config portfolios.json
    """
    with collector_off():
        from live.bootstrap import run_live

    if capital is not None and len(portfolios) > 1:
        raise click.UsageError(
            "--capital is one portfolio's: give each its own `portfolios.NAME.initial_capital` in --config"
        )
    options = LiveOptions(
        host=host,
        port=port,
        data_dir=data_dir,
        db_config=db_config,
        db_env=db_env,
        portfolios=portfolios,
        config=config,
        broker=broker,
        capital=capital,
        log=log,
    )
    raise click.exceptions.Exit(run_live(options))
