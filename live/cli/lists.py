"""What commands that list something share: their options, and a page as --json shows it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from live.cli.names import instrument_names

limit_option = click.option(
    "--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="At most so many, newest first."
)


class StatusList(click.ParamType[tuple[str, ...] | None]):
    """Statuses with commas between them; `all` for every one (None)."""

    name = "status[,...]"

    def __init__(self, known: Sequence[str]) -> None:
        self._known = known

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...] | None:
        """The statuses as named."""
        if not isinstance(value, str) or value == "all":
            return None if value == "all" else value
        statuses = tuple(part.strip() for part in value.split(","))
        unknown = [status for status in statuses if status not in self._known]
        if unknown:
            self.fail(f"{unknown[0]!r} is not one of {', '.join(self._known)}, all", param, ctx)
        return statuses


def status_option(name: str, known: Sequence[str], default: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """--status, or what it is called there, as `statuses` or the like."""
    return click.option(
        f"--{name}",
        f"{name}es" if name.endswith("s") else f"{name}s",
        type=StatusList(known),
        default=default,
        show_default=True,
        help=f"{', '.join(known)}, several with commas, or all.",
    )


def _in_capitals(_context: click.Context, _parameter: click.Parameter, given: str | None) -> str | None:
    return None if given is None else given.upper()


instrument_option = click.option(
    "--instrument", shell_complete=instrument_names, callback=_in_capitals, help="Of this instrument only."
)


def page_of(name: str, rows: Sequence[Mapping[str, Any]], limit: int, key: str) -> dict[str, Any]:
    """One page of rows that were read with one more than `limit`; `next` is None where it is the last."""
    page = rows[:limit]
    return {name: page, "next": page[-1][key] if len(rows) > limit else None}
