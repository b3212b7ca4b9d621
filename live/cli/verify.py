"""`verify`: the proof that the tables are what the journal says, and the journal what was decided."""

import click

from live.cli.options import DatabaseChoice, database_options, json_option
from live.cli.output import print_json
from live.cli.progress import progress_bar


@click.command(short_help="Prove the tables from the journal.")
@database_options
@json_option
def verify(*, database: DatabaseChoice, as_json: bool) -> None:
    """Decide every journal entry again from the first one, and compare: decisions, events, hashes, and every row of the tables.

    It reads one moment of the database, beside a running engine or without one, and changes nothing. Entries of older
    rules are applied again instead of decided again, and counted apart.

    Exit codes: 0 all is as the journal says; 1 something is not: the first wrong entry or row is named.

    \b
    Examples:
      python portfolio_manager.py verify
      python portfolio_manager.py verify --portfolio alpha --json
    """
    from msgspec.structs import asdict

    from core.postgres.journal_stream import journal_stream
    from live.verify import verify as check

    with (
        database.manager() as manager,
        journal_stream(manager.dsn, database.portfolio) as stream,
        progress_bar("verify", stream.length(), visible=not as_json) as progress,
    ):
        done = check(stream, database.portfolio, progress)
    if as_json:
        print_json({"verified": True, **asdict(done)})
        return
    click.echo(
        f"verified {done.entries:,} journal entries: {done.redecided:,} decided again, {done.reapplied:,} of older rules "
        f"applied again, {done.hashes:,} hashes; {done.signals:,} signals, {done.positions:,} positions, "
        f"{done.orders:,} orders, {done.fills:,} fills and the state tables are what the journal says"
    )
    click.echo(f"last hash {done.last_hash}")
