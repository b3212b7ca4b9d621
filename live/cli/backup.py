"""`backup` and `restore`: a portfolio as one file, and back."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from live.cli.options import DatabaseChoice, database_options, json_option
from live.cli.output import note, number, print_json, say, time
from live.cli.progress import progress_bar

if TYPE_CHECKING:
    from msgspec import Struct

    from live.restore import Begin, Restored


@click.command(short_help="Write a portfolio into one file, beside a running engine.")
@database_options
@click.option(
    "--to",
    type=click.Path(path_type=Path),
    help="A folder, or the file's name, which ends in .zip. Without it, the folder `backups` under --data-dir.",
)
@json_option
def backup(*, database: DatabaseChoice, to: Path | None, as_json: bool) -> None:
    """Write the portfolio as it is at one moment into one file, beside a running engine or without one.

    The file is a zip of what pg_dump wrote and a manifest. It has its name only once it is whole, checked and on the disk; one
    that is there is not overwritten. Signals in a spool are not in the database yet, so they are not in it: their number is told.

    \b
    Examples:
      python portfolio_manager.py backup
      python portfolio_manager.py backup --to /mnt/backups --portfolio alpha --json
    """
    from live.backup import back_up
    from live.spool import waiting_in
    from live.start import VERSION

    with database.dsn(create=False) as dsn, progress_bar("backup", None, visible=not as_json) as progress:
        file, manifest = back_up(dsn, database.portfolio, to or database.data_dir / "backups", VERSION, progress)
    spooled = waiting_in(database.data_dir / "spool", database.portfolio)
    if as_json:
        print_json({"file": str(file), "spooled": spooled, **_fields(manifest)})
    else:
        say(
            f"{file}: portfolio {manifest.portfolio} as it was at {time(manifest.taken_at)}, "
            f"{number(manifest.entries)} journal entries, {number(manifest.open_positions)} open positions, "
            f"{number(manifest.signals)} signals ({number(manifest.undecided)} not decided yet), "
            f"{number(manifest.dump_bytes)} bytes"
        )
    if spooled != 0:
        note(
            f"{_so_many(spooled)} signals in the spool under "
            f"{database.data_dir} are not in it: they are in no database yet. Take another backup once they are decided"
        )


@click.command(short_help="Make a portfolio what a backup holds; halted until `resume`.")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@database_options
@click.option("--replace", is_flag=True, help="Where there is a portfolio already: keep it aside under another name.")
@click.option("--recovered", is_flag=True, help="No FILE: the server itself was recovered to an earlier time.")
@click.option("--as", "name", metavar="NAME", help="Into a portfolio of this name, to look at it beside the other one.")
@json_option
def restore(
    *, file: Path | None, database: DatabaseChoice, replace: bool, recovered: bool, name: str | None, as_json: bool
) -> None:
    """Make the portfolio what the backup FILE holds: whole and proved by `verify`, or not at all.

    Nobody may serve it meanwhile. It is halted afterwards (exits only), since what was decided and sent after the backup is not
    known any more: compare with the broker, then `resume`. Makes the embedded database if need be.

    --recovered does only the latter to a portfolio whose server was recovered to an earlier time by PostgreSQL's own means.

    \b
    Examples:
      python portfolio_manager.py restore data/backups/main-20260114T061500Z.zip
      python portfolio_manager.py restore main-20260114T061500Z.zip --replace
      python portfolio_manager.py restore main-20260114T061500Z.zip --as look
      python portfolio_manager.py restore --recovered
    """
    if (file is not None) == recovered or (recovered and (replace or name is not None)):
        raise click.UsageError("give a FILE (with --replace or --as), or --recovered alone")
    if file is None:
        _tell(_recovered(database, as_json=as_json), database, as_json=as_json)
    else:
        _restore(file, database, replace=replace, name=name, as_json=as_json)


def _restore(file: Path, database: DatabaseChoice, *, replace: bool, name: str | None, as_json: bool) -> None:
    from core.postgres.connections import require_portfolio_name
    from live.backup import BackupRefused, open_backup
    from live.bootstrap import utc_now
    from live.restore import restore

    portfolio = database.portfolio if name is None else require_portfolio_name(name)
    with open_backup(file) as opened:
        manifest = opened.manifest
        if manifest.portfolio != database.portfolio:
            raise BackupRefused(
                f"{file} is of portfolio {manifest.portfolio}, not {database.portfolio}: --portfolio {manifest.portfolio}"
            )
        with database.dsn(create=True) as dsn, _bars(visible=not as_json) as begin:
            done = restore(dsn, portfolio, opened, replace=replace, now=utc_now(), begin=begin)
    _tell(done, database, as_json=as_json, file=str(file), taken_at=manifest.taken_at)


def _recovered(database: DatabaseChoice, *, as_json: bool) -> "Restored":
    from live.bootstrap import utc_now
    from live.restore import recovered

    with database.dsn(create=False) as dsn, _bars(visible=not as_json) as begin:
        return recovered(dsn, database.portfolio, now=utc_now(), begin=begin)


@contextmanager
def _bars(*, visible: bool) -> Iterator["Begin"]:
    """One bar after the other."""
    with ExitStack() as shown:

        def begin(what: str, total: int) -> Callable[[int], None]:
            shown.close()
            return shown.enter_context(progress_bar(what, total, visible=visible))

        yield begin


def _tell(done: "Restored", database: DatabaseChoice, *, as_json: bool, **of: Any) -> None:
    from live.spool import waiting_in

    spooled = waiting_in(database.data_dir / "spool", done.portfolio)
    if as_json:
        print_json({**of, "spooled": spooled, **_fields(done)})
        return
    when = f" is what it was at {time(of['taken_at'])}" if of else ""
    say(
        f"portfolio {done.portfolio}{when}: {number(done.verified.entries)} journal entries, "
        f"{number(done.verified.signals)} signals, {number(done.verified.positions)} positions and "
        f"{number(done.verified.orders)} orders verified"
    )
    if done.set_aside_as is not None:
        say(f"the portfolio that was there is kept in the schema {done.set_aside_as}")
    say(f"it is halted, under term {done.term}: compare with the broker, start `live`, then `resume`")
    if done.orders_in_doubt:
        say(f"{done.orders_in_doubt} orders may have been sent since: `resolve` what the broker does not tell of")
    if done.left_out:
        note(f"left out, since they are none of a portfolio's tables: {', '.join(done.left_out)}")
    if spooled != 0:
        note(f"{_so_many(spooled)} signals in the spool under {database.data_dir} are decided by the next start")


def _so_many(count: int | None) -> str:
    return "an unknown number of" if count is None else number(count)


def _fields(value: "Struct") -> dict[str, Any]:
    from msgspec.structs import asdict

    return asdict(value)
