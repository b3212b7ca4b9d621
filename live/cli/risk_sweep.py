"""`risk sweep`: replays of the same files with other settings and in other years, side by side."""

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import asdict

from live.cli.options import DatabaseChoice, config_option, database_options, json_option
from live.cli.output import Column, note, number, print_json, print_table, text
from live.cli.progress import progress_bar
from live.cli.replay_files import asked_for, replay_options
from live.cli.risk_options import require_what_reckons, scheduler_option

if TYPE_CHECKING:
    from live.replay.sweep import Combination, Recording, Row

# Each has connections of its own, and Python is no faster with more.
_THREADS = 4
_FIGURES = (
    *("final_equity", "return_percent", "cagr", "max_drawdown", "max_drawdown_percent", "trades"),
    *("mean_r", "calmar"),
)


@click.command("sweep", short_help="Replays with other settings and in other years.")
@database_options
@config_option
@replay_options
@click.option(
    "--set", "grid", multiple=True, metavar="NAME=VALUE,...", help="A setting with its values; repeated, each."
)
@click.option("--years", metavar="2019-2021,2024", help="Each of these years by itself. [default: all at once]")
@scheduler_option
@json_option
def sweep(
    *,
    database: DatabaseChoice,
    config: Path | None,
    grid: tuple[str, ...],
    years: str | None,
    scheduler: str,
    as_json: bool,
    **given: Any,
) -> None:
    """Replay FILES, as `replay` does, with every combination of the settings' values and years, and tell what came of each.

    NAME is a setting of the configuration (limits.risk_percent), or the end of its name where it is clear
    (spacing_atr); an instrument's (initial_risk_percent) alone is set for all instruments. The figures are the same whoever
    reckons; a cluster's worker replays in the database of its own machine, by --data-dir or --db-config.

    \b
    Examples:
      python portfolio_manager.py risk sweep alerts.jsonl --set initial_risk_percent=0.5,1,2 --years 2023-2025
      python portfolio_manager.py risk sweep trades.csv --sizing rules --bars bars.csv --set trailing_stop_atr=2,2.5,3
    """
    require_what_reckons()
    from live.replay.files import read_files
    from live.replay.sweep import combinations, recorded, without_effect
    from risk.distributed import THREADS, mapper

    done: Callable[[int], object]
    asked = asked_for(config, given)
    told = _grid(grid)
    every = combinations(asked.settings, told, _years(years))
    if useless := without_effect(asked.settings, told):
        note(
            f"as listed, {', '.join(useless)} changes nothing: sizes, limits and stops are not ours; see --sizing rules"
        )
    # Every mistake in the files is named before a database is touched.
    read_files(asked.files, asked.settings)
    recording = recorded(asked.files, asked.capital, database.portfolio)
    with progress_bar("replays", len(every), visible=not as_json) as done:
        over = mapper(scheduler, threads=_THREADS, done=done)
        one = partial(_replayed, recording=recording, database=database)
        if scheduler == THREADS:
            # Up for all of them: each would start it again.
            with database.dsn(create=True):
                rows = over(one, every)
        else:
            rows = over(one, every)
    if as_json:
        print_json({"capital": asked.capital, "combinations": [asdict(row) for row in rows]})
        return
    print_table(_columns(told, has_years=years is not None), rows, none="")


def _replayed(combination: "Combination", *, recording: "Recording", database: DatabaseChoice) -> "Row":
    """One of them, wherever it runs."""
    from live.replay.sweep import replayed

    with database.dsn(create=True) as dsn:
        return replayed(dsn, recording, combination)


def _grid(given: tuple[str, ...]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for pair in given:
        name, is_pair, listed = pair.partition("=")
        values = [value.strip() for value in listed.split(",")]
        if not (is_pair and name and all(values)):
            raise click.BadParameter(f"{pair!r} must be like initial_risk_percent=0.5,1,2", param_hint="--set")
        if name in found or len(set(values)) < len(values):
            raise click.BadParameter(f"{pair!r}: the same twice", param_hint="--set")
        found[name] = values
    return found


def _years(given: str | None) -> list[int]:
    from live.replay.sweep import YEARS

    found: list[int] = []
    for part in given.split(",") if given else ():
        first, _, last = part.strip().partition("-")
        try:
            span = range(int(first), int(last or first) + 1)
        except ValueError:
            span = range(0)
        if not span or span[0] not in YEARS or span[-1] not in YEARS:
            raise click.BadParameter(f"{part!r} must be like 2024 or 2019-2021", param_hint="--years")
        found += [year for year in span if year not in found]
    return found


def _columns(names: dict[str, list[str]], *, has_years: bool) -> list[Column]:
    columns = [_setting(name) for name in names]
    if has_years:
        columns.append(Column("year", lambda row: text(row.year)))
    columns += [_figure(name) for name in _FIGURES]
    return [*columns, Column("why not", lambda row: text(row.reason))]


def _setting(name: str) -> Column:
    return Column(name, lambda row: str(row.settings[name]))


def _figure(name: str) -> Column:
    def cell(row: "Row") -> str:
        value = getattr(row, name)
        if value is None:
            return "-"
        return f"{value:,.2f}" if isinstance(value, Decimal) else number(value)

    return Column(name.replace("_", " "), cell, right=True)
