"""`migrate` and `dsn`: the database itself."""

from typing import TYPE_CHECKING

import click

from core.errors import PortfolioError
from live.cli.options import DatabaseChoice, database_options, json_option
from live.cli.output import note, print_json, say

if TYPE_CHECKING:
    from book.sync import Synced


@click.command(short_help="Bring the portfolio's tables up to date.")
@database_options
@click.option(
    "--book",
    is_flag=True,
    help="The book's tables and market data's too, which a database has once. `live` needs none of them.",
)
@json_option
def migrate(*, database: DatabaseChoice, book: bool, as_json: bool) -> None:
    """Bring the portfolio's tables to the version that this program needs; makes the embedded database if need be.

    Run again it changes nothing. It happens whole or not at all; the book's tables after the portfolio's, by themselves.
    The book then takes over what the engine trades, as `book sync` does.

    \b
    Examples:
      python portfolio_manager.py migrate
      python portfolio_manager.py migrate --book
      python portfolio_manager.py migrate --db-config database_config.json --db-env production --portfolio alpha
    """
    from core.postgres.migrations import migrate as run
    from core.postgres.migrations import migrate_shared

    with database.dsn(create=True) as dsn:
        before, after = run(dsn, database.portfolio)
        of_book = migrate_shared(dsn) if book else None
        synced = _synced(dsn) if book else None
    if as_json:
        shared = {} if of_book is None else {"book": {"before": of_book[0], "after": of_book[1]}}
        print_json({"portfolio": database.portfolio, "before": before, "after": after, **shared})
        return
    _tell(f"portfolio {database.portfolio}", before, after)
    if of_book is not None and synced is not None:
        _tell("book", *of_book)
        for portfolio in synced.hung:
            say(f"book: portfolio {portfolio} hangs on the fund default; `book node hang` hangs it elsewhere")


def _synced(dsn: str) -> "Synced":
    from book.database import engine_of, transaction
    from book.sync import sync

    engine = engine_of(dsn)
    try:
        with transaction(engine) as session:
            return sync(session)
    finally:
        engine.dispose()


def _tell(what: str, before: str | None, after: str) -> None:
    if before == after:
        say(f"{what}: already at version {after}, nothing to do")
    else:
        say(f"{what}: migrated from version {before or 'none'} to {after}")


@click.command(short_help="Print the database's connection string.")
@database_options
@click.option("--show-password", is_flag=True, help="Print the password of --db-config too.")
@json_option
def dsn(*, database: DatabaseChoice, show_password: bool, as_json: bool) -> None:
    """Print the libpq connection string of the database in use, for psql and backups. Starts nothing.

    A password of --db-config is left out unless --show-password is given: psql then asks for it or takes PGPASSWORD.

    \b
    Examples:
      psql "$(python portfolio_manager.py dsn)"
      pg_dump --format=custom --file=book.dump "$(python portfolio_manager.py dsn)"
    """
    printed, left_out = _connection_string(database, show_password=show_password)
    if as_json:
        print_json({"dsn": printed, "password_left_out": left_out})
    else:
        # Not say(): a connection string is printed as it is, to be used.
        click.echo(printed)
    if left_out:
        note("the password is left out: psql asks for it or takes it from PGPASSWORD; --show-password prints it")


def _connection_string(database: DatabaseChoice, *, show_password: bool) -> tuple[str, bool]:
    from core.config import load_database_settings
    from core.postgres.connections import dsn_of
    from core.postgres.embedded import EmbeddedServerError
    from live.database import dsn_in_use

    if database.db_config is not None and not show_password:
        settings = load_database_settings(database.db_config, database.db_env)
        return dsn_of(settings.model_copy(update={"password": None})), settings.password is not None
    try:
        return dsn_in_use(database.data_dir, database.db_config, database.db_env), False
    except EmbeddedServerError as error:
        raise PortfolioError(str(error)) from error
