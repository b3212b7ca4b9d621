"""`notify`: who is told what, and whether a message reaches him."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from core.errors import PortfolioError
from live.cli.options import config_option, file_settings, json_option, portfolio_option
from live.cli.output import Column, print_json, print_table

if TYPE_CHECKING:
    from core.notifications import Channel, NotificationSettings

_WORKS = "taken"


class NotTaken(PortfolioError):
    """a message was not taken"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A channel, or the heartbeat, and what came of a test; None: it was not tested."""

    channel: str
    least_level: str
    quiet: str
    most_per_minute: str
    came_back: str | None = None


@click.command(short_help="Who is told what happens; --test: whether a message reaches him.")
@config_option
@portfolio_option
@click.option("--test", "tests", is_flag=True, help="Send a test message to each channel, and call the heartbeat.")
@json_option
def notify(*, config: Path | None, portfolio: str, tests: bool, as_json: bool) -> None:
    """List the channels of the configuration, without their URLs; with --test send each a message, and say what came back.

    Quiet hours and rates are those of a running engine: a test goes at once. It needs neither engine nor database.

    \b
    Examples:
      python portfolio_manager.py notify --config portfolio.json
      python portfolio_manager.py notify --config portfolio.json --test
    """
    settings = file_settings(config).of(portfolio).notifications
    rows = _asked(settings, portfolio, tests=tests)
    if as_json:
        print_json([{name: getattr(row, name) for name in row.__slots__} for row in rows])
    else:
        none = "nobody is told anything: `notifications` is not configured"
        print_table(_COLUMNS if tests else _COLUMNS[:-1], rows, none=none)
    if failed := [row.channel for row in rows if row.came_back not in (None, _WORKS)]:
        raise NotTaken(f"not taken: {', '.join(failed)}. Look at its URL, and at what came back")


_COLUMNS = [
    Column("channel", lambda row: row.channel),
    Column("from level", lambda row: row.least_level),
    Column("quiet", lambda row: row.quiet),
    Column("a minute", lambda row: row.most_per_minute, right=True),
    Column("came back", lambda row: row.came_back or ""),
]


def _asked(settings: "NotificationSettings", portfolio: str, *, tests: bool) -> list[_Asked]:
    rows = [
        _Asked(
            channel=name,
            least_level=channel.least_level.value,
            quiet=_quiet(channel),
            most_per_minute=str(channel.most_per_minute),
            came_back=_sent(channel, name, portfolio) if tests else None,
        )
        for name, channel in settings.channels.items()
    ]
    address = settings.heartbeat.address(portfolio)
    if address is not None:
        rows.append(
            _Asked(
                channel="heartbeat",
                least_level="",
                quiet="",
                most_per_minute=f"every {settings.heartbeat.every_seconds} s",
                came_back=_called(address) if tests else None,
            )
        )
    return rows


def _quiet(channel: "Channel") -> str:
    quiet = channel.quiet
    return "" if quiet is None else f"{quiet.begins:%H:%M}-{quiet.ends:%H:%M} {quiet.timezone}"


def _sent(channel: "Channel", name: str, portfolio: str) -> str:
    from core.notifications import Level
    from live.notify.message import Message
    from live.notify.sender import AppriseSender

    source = f"notifications.channels.{name}"
    message = Message(
        level=Level.INFO,
        title=f"[{portfolio}] a test",
        body=f"This is a test of the channel {name}: nothing has happened.",
    )
    return _told(AppriseSender(channel.secret(source), f"{source}.url").send(message))


def _called(address: str) -> str:
    from live.notify.pinger import called

    return _told(called(address))


def _told(reason: Any) -> str:
    return _WORKS if reason is None else f"refused: {reason}"
