"""What a shell may complete: names that are known without a database."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import click


def portfolio_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001 - click's
    """`main`, those that were served from --data-dir, and those of --config."""
    locks = (ctx.params.get("data_dir") or Path("data")).joinpath("spool").glob("*.lock")
    return _beginning(
        incomplete, ["main", *(lock.name.rpartition("-")[0] for lock in locks), *_configured(ctx, "portfolios")]
    )


def instrument_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001 - as above
    """Those that come with the program, and those of --config."""
    from core.config import default_instruments

    return _beginning(incomplete.upper(), [*default_instruments(), *_configured(ctx, "instruments")])


def _configured(ctx: click.Context, section: str) -> Iterable[str]:
    file = ctx.params.get("config")
    if file is None:
        return ()
    from core.config import read_settings
    from core.errors import ConfigurationError

    found: Any = None
    # What is wrong with the file is told by the command, not while it is typed.
    with suppress(ConfigurationError):
        found = read_settings(file).get(section)
    return list(found) if isinstance(found, dict) else ()


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return sorted({name for name in names if name.startswith(incomplete)})
