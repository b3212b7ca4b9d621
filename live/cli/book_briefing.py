"""`book briefing`: what a portfolio's day was."""

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import click

from core.errors import ConfigurationError
from live.cli.book_options import date_option, open_book
from live.cli.options import DatabaseChoice, config_option, database_options, json_option
from live.cli.output import note, print_json, say

if TYPE_CHECKING:
    from book.briefings import Kept


@click.command(short_help="What a portfolio's day was.")
@database_options
@config_option
@date_option
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write it to this file, a page that needs nothing else.",
)
@json_option
def briefing(
    *, database: DatabaseChoice, config: Path | None, day: date | None, html: Path | None, as_json: bool
) -> None:
    """Make and keep the briefing of a trading day that is over, and show it. Nobody is told: a running `live` does that.

    One that was sent is shown as it was sent.

    \b
    Examples:
      python portfolio_manager.py book briefing
      python portfolio_manager.py book briefing --date 2026-01-14 --html briefing.html
    """
    with open_book(database, config) as book:
        book.projector.sync()
        briefings = book.briefings()
        day = day or briefings.last_day()
        kept = None if day is None else briefings.make(day)
    if html is not None and kept is not None:
        _write(kept, html)
    if as_json:
        print_json(None if kept is None else _told(kept))
    elif kept is None:
        say("no trading day is over yet")
    else:
        _say(kept)


def _write(kept: "Kept", path: Path) -> None:
    from live.briefings.page import page_of
    from live.replay.reports import write_whole

    try:
        write_whole(path, page_of(kept).encode())
    except OSError as error:
        raise ConfigurationError(f"`--html`: {path} cannot be written: {error.strerror}") from error
    note(f"written to {path}")


def _told(kept: "Kept") -> dict[str, object]:
    from msgspec.structs import asdict

    told = asdict(kept)
    del told["parts"]
    return {**told, **asdict(kept.parts)}


def _say(kept: "Kept") -> None:
    from book.briefing import headline, shown

    say(headline(kept.portfolio, kept.briefing_date, kept.parts))
    for item in kept.parts.action_items:
        say(f"  {item['text']}")
    for name, amount in kept.parts.sections["pnl"]["by_instrument"].items():
        say(f"  {name}: {shown(amount, signed=True)}")
    refused = kept.parts.sections["signals"]["refused"]
    for signal in refused:
        say(f"  {signal['decided_at']}  {signal['words']}")
