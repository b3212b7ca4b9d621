"""`watch`: a running instance on one screen, looked at again each second."""

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from core.errors import Refused, Retryable
from live.cli.options import json_option, portfolio_option, url_option
from live.cli.output import console, print_json

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from live.cli.frame import Seen
    from live.client import EngineClient

_EVERY_SECONDS = 1.0
_UNAUTHORIZED = 401
_MOST_POSITIONS = 200
_MOST_SIGNALS = 50


class Unknown(Refused):
    """the instance wants to know who asks"""


@click.command(short_help="A live view of a running instance; ends on Ctrl-C.")
@url_option
@portfolio_option
@click.option(
    "--token",
    envvar="PORTFOLIO_OPERATOR_TOKEN",
    help="An operator's, to look from another machine. [default: PORTFOLIO_OPERATOR_TOKEN]",
)
@click.option("--once", is_flag=True, help="Print it once and end: for pipes, and for a look.")
@json_option
def watch(*, url: str, portfolio: str, token: str | None, once: bool, as_json: bool) -> None:
    """Show figures, positions and the last signals of the instance at --url, refreshed each second, until Ctrl-C.

    While the instance does not answer, what it said last stays there, and since when. --json prints once what is shown, as the
    HTTP API tells it. It only reads; `halt` in another terminal stops entries.

    \b
    Examples:
      python portfolio_manager.py watch
      python portfolio_manager.py watch --portfolio alpha --url http://127.0.0.1:5002
      python portfolio_manager.py watch --once
    """
    from live.client import EngineClient

    shown = console(as_wide_as_the_terminal=not once)
    if not (once or as_json or shown.is_terminal):
        raise click.UsageError("this is no terminal: give --once, or --json")
    with EngineClient(url, token=token) as engine:
        if once or as_json:
            _print_once(engine, portfolio, shown, as_json=as_json)
        else:
            _refresh(shown, _frames(engine, portfolio, shown), time.sleep)


def _print_once(engine: "EngineClient", portfolio: str, shown: "Console", *, as_json: bool) -> None:
    from live.cli.frame import frame

    seen = _look(engine, portfolio)
    if as_json:
        print_json({"status": seen.status, "positions": seen.positions, "signals": seen.signals})
    else:
        shown.print(frame(seen))


def _refresh(shown: "Console", frames: "Iterator[RenderableType]", pause: Callable[[float], None]) -> None:
    """One frame in place of the other until Ctrl-C; then the terminal is what it was before."""
    from rich.live import Live

    try:
        with Live(console=shown, screen=True, auto_refresh=False) as live:
            for one in frames:
                live.update(one, refresh=True)
                pause(_EVERY_SECONDS)
    except KeyboardInterrupt:
        return


def _frames(engine: "EngineClient", portfolio: str, shown: "Console") -> "Iterator[RenderableType]":
    from live.bootstrap import utc_now
    from live.cli.frame import away, frame

    last: Seen | None = None
    while True:
        try:
            last = _look(engine, portfolio)
            yield frame(last, height=shown.height)
        except (Retryable, Refused) as error:
            yield away(str(error), last, now=utc_now(), height=shown.height)


def _look(engine: "EngineClient", portfolio: str) -> "Seen":
    from live.bootstrap import utc_now
    from live.cli.frame import Seen
    from live.client import EngineRefused

    def told(path: str, **parameters: str | int) -> dict[str, Any]:
        try:
            return engine.read(path, portfolio=portfolio, **parameters)
        except EngineRefused as error:
            if error.http_status != _UNAUTHORIZED:
                raise
            raise Unknown(
                f"{engine.url} shows nothing to a stranger: give --token, or PORTFOLIO_OPERATOR_TOKEN"
            ) from error

    return Seen(
        url=engine.url,
        at=utc_now(),
        status=told("/status"),
        positions=told("/positions", status="open,partial", limit=_MOST_POSITIONS)["positions"],
        signals=told("/signals", limit=_MOST_SIGNALS)["signals"],
    )
