"""`risk simulate` and `risk ruin`: what could become of a day's positions, and of the account, drawn as often as one likes."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from msgspec import Struct

from core.errors import Refused
from live.cli.book_session import Day, session_of
from live.cli.options import DatabaseChoice, Money, config_option, database_options, file_settings, json_option
from live.cli.output import Column, note, print_facts, print_json, print_table
from live.cli.progress import progress_bar
from live.cli.risk_options import require_what_reckons, scheduler_option

if TYPE_CHECKING:
    from core.config import FileSettings
    from risk.analytics.ruin import Ruin

_MOST_PATHS = 100_000_000
_MOST_TRADES = 100_000
_seed_option = click.option(
    "--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Of what is drawn."
)


class NoTrades(Refused):
    """there is no closed trade to draw from"""


@click.command("simulate", short_help="Value at risk of a day's positions, simulated.")
@click.option("--date", "day", type=Day(), required=True, help="A day that `risk batch` has reckoned.")
@click.option("--node", type=click.IntRange(1, 2**63 - 1), required=True, help="This node with all that it is made of.")
@click.option("--paths", type=click.IntRange(1, _MOST_PATHS), default=100_000, show_default=True, help="How many.")
@_seed_option
@click.option(
    "--confidence",
    "confidences",
    type=float,
    multiple=True,
    help="Between 0 and 1; repeated, each. [default: 0.95, 0.99]",
)
@click.option("--horizon", type=click.IntRange(1, 1000), default=1, show_default=True, help="Days.")
@click.option("--degrees-of-freedom", type=float, help="Above 2: Student's t with so many, not normal.")
@scheduler_option
@database_options
@json_option
def simulate(
    *,
    day: date,
    node: int,
    paths: int,
    seed: int,
    confidences: tuple[float, ...],
    horizon: int,
    degrees_of_freedom: float | None,
    scheduler: str,
    database: DatabaseChoice,
    as_json: bool,
) -> None:
    """Simulate what a node would have earned in a day, by the values and the covariance that `risk batch` kept of it.

    The same seed gives the same bits, on this process's threads or on a Dask cluster.

    \b
    Examples:
      python portfolio_manager.py risk simulate --date 2026-01-14 --node 1 --paths 1000000
      python portfolio_manager.py risk simulate --date 2026-01-14 --node 1 --scheduler tcp://127.0.0.1:8786
    """
    require_what_reckons()
    from risk.analytics.monte_carlo import blocks
    from risk.distributed import mapper, require_scheduler
    from risk.simulation import Draws, read_node, simulate_node

    levels = confidences or (0.95, 0.99)
    draws = Draws(paths=paths, seed=seed, confidences=levels, horizon=horizon, degrees_of_freedom=degrees_of_freedom)
    require_scheduler(scheduler)
    with session_of(database) as session:
        held = read_node(session, day, node)
    # Nothing waits for it in the database.
    with progress_bar("blocks", blocks(paths), visible=not as_json) as done:
        found = simulate_node(held, draws, over=mapper(scheduler, done=done))
    tails = [
        {
            "confidence": tail.confidence,
            "value_at_risk": tail.value_at_risk,
            "expected_shortfall": tail.expected_shortfall,
        }
        for tail in found
    ]
    facts: dict[str, Any] = {
        "date": day,
        "node": node,
        "currency": held.currency,
        "positions": held.positions,
        "instruments": len(held.values),
        "paths": paths,
        "seed": seed,
        "horizon_days": horizon,
        "degrees_of_freedom": degrees_of_freedom,
    }
    if as_json:
        print_json({**facts, "tails": tails, "left_out": held.left_out})
        return
    _print_facts(facts)
    columns = [
        Column("confidence", lambda tail: f"{tail['confidence']:g}", right=True),
        Column("value at risk", lambda tail: f"{tail['value_at_risk']:,.2f}", right=True),
        Column("expected shortfall", lambda tail: f"{tail['expected_shortfall']:,.2f}", right=True),
    ]
    print_table(columns, tails, none="")
    print_table(
        [Column("left out", lambda pair: pair[0]), Column("why", lambda pair: pair[1])], held.left_out.items(), none=""
    )


@click.command("ruin", short_help="How likely ruin is, by trades like those so far.")
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--unit", type=click.Choice(["r", "money"]), default="r", show_default=True, help="What is drawn of trades."
)
@click.option("--risk-percent", type=float, help="Of equity, one R. [default: the traded instruments' own]")
@click.option("--risk-per-lot", type=float, help="Money from entry to stop of a lot: only whole lots are bought.")
@click.option("--capital", type=Money(positive=True), help="To begin with. [default: the configuration's, 5000000]")
@click.option(
    "--ruin-percent",
    type=click.FloatRange(0, 100, min_open=True),
    default=50.0,
    show_default=True,
    help="Ruin is to have lost so much of the capital.",
)
@click.option("--trades", type=click.IntRange(1, _MOST_TRADES), default=250, show_default=True, help="A path.")
@click.option("--paths", type=click.IntRange(1, _MOST_PATHS), default=100_000, show_default=True, help="How many.")
@click.option(
    "--block", type=click.IntRange(min=1), default=1, show_default=True, help="Trades in a row that stay together."
)
@_seed_option
@scheduler_option
@config_option
@database_options
@json_option
def ruin(*, file: Path | None, config: Path | None, database: DatabaseChoice, as_json: bool, **given: Any) -> None:
    """Draw futures from the portfolio's closed positions, or from the trades of FILE, which `replay --csv` wrote, and size them
    by the live rules: a share of equity, less in a drawdown, no base entries where the engine takes none.

    Of trades without a stop there is no R: `--unit money` draws what each earned, as it was.

    \b
    Examples:
      python portfolio_manager.py risk ruin --portfolio main --ruin-percent 30
      python portfolio_manager.py risk ruin closed.csv --unit money --capital 5000000 --block 5
    """
    require_what_reckons()
    from risk.analytics.ruin import BLOCK, SizingRule, as_traded, live_rule, simulate
    from risk.distributed import mapper

    configured = file_settings(config)
    drawn = _of_portfolio(database, given["unit"]) if file is None else _of_file(file, given["unit"])
    if not drawn.values:
        raise NoTrades(f"there is no closed trade to draw from{_counted(drawn.without)}")
    capital = float(given["capital"] or configured.initial_capital or _default_capital())
    rule: SizingRule = as_traded
    risk_percent = None
    if given["unit"] == "r":
        told = given["risk_percent"]
        risk_percent = _risk_percent(configured, drawn.instruments) if told is None else told
        rule = live_rule(risk_percent, configured.settings.drawdown, risk_per_lot=given["risk_per_lot"])
    with progress_bar("blocks", -(-given["paths"] // BLOCK), visible=not as_json) as done:
        found = simulate(
            drawn.values,
            rule,
            initial_equity=capital,
            ruin_equity=capital * (1 - given["ruin_percent"] / 100),
            trades_per_path=given["trades"],
            paths=given["paths"],
            seed=given["seed"],
            block=given["block"],
            over=mapper(given["scheduler"], done=done),
        )
    facts: dict[str, Any] = {
        "unit": given["unit"],
        "drawn_from": len(drawn.values),
        "mean": sum(drawn.values) / len(drawn.values),
        "risk_percent": risk_percent,
        "capital": capital,
        **{name: given[name] for name in ("ruin_percent", "trades", "paths", "block", "seed")},
        "probability": found.probability,
        "standard_error": found.standard_error,
        "stopped": found.stopped,
    }
    _tell_ruin(facts, found, drawn.without, as_json=as_json)


class _Drawn(Struct, frozen=True, kw_only=True):
    """What is drawn from, in the order of the exits; of which instruments; and why other trades are not in it."""

    values: list[float]
    instruments: set[str]
    without: dict[str, str]


def _of_portfolio(database: DatabaseChoice, unit: str) -> _Drawn:
    from live.closed_trades import closed_positions
    from risk.what_if.trades import r_of_trades

    with database.manager() as manager:
        positions = list(closed_positions(manager))
    if unit == "money":
        positions.sort(key=lambda one: (one.exit_timestamp, one.position_id))
        values = [float(one.realized_pnl) for one in positions]
        return _Drawn(values=values, instruments={one.instrument for one in positions}, without={})
    found = r_of_trades(positions)
    return _Drawn(
        values=[one.r for one in found.trades],
        instruments={one.instrument for one in found.trades},
        without=found.without,
    )


def _of_file(file: Path, unit: str) -> _Drawn:
    from live.closed_trades import read_closed_trades

    trades = read_closed_trades(file)
    used = [one for one in trades if unit == "money" or one.risk is not None]
    values = [float(one.pnl if unit == "money" or one.risk is None else one.pnl / one.risk) for one in used]
    missing = len(trades) - len(used)
    without = {f"{missing} trades": "no initial risk: they had no stop"} if missing else {}
    return _Drawn(values=values, instruments={one.instrument for one in used}, without=without)


def _risk_percent(configured: "FileSettings", instruments: set[str]) -> float:
    """What the traded instruments risk at their entries. Raises UsageError where that is not one figure."""
    known = configured.settings.instruments
    told: set[Decimal] = {known[name].initial_risk_percent for name in instruments if name in known}
    if len(told) != 1 or not instruments <= set(known):
        raise click.UsageError("--risk-percent: give it: the configuration does not say one for all that was traded")
    return float(told.pop())


def _default_capital() -> Decimal:
    from core.numbers import DEFAULT_CAPITAL

    return DEFAULT_CAPITAL


def _counted(without: Mapping[str, str]) -> str:
    return f"; {len(without)} have no R, the first: {next(iter(without.values()))}" if without else ""


def _tell_ruin(facts: dict[str, Any], found: "Ruin", without: Mapping[str, str], *, as_json: bool) -> None:
    quantiles = [{"quantile": level, **row.to_dict()} for level, row in found.quantiles().iterrows()]
    if as_json:
        print_json({**facts, "quantiles": quantiles, "without": without})
        return
    _print_facts(facts)
    columns = [Column("quantile", lambda row: f"{row['quantile']:.0%}", right=True)]
    columns += [_amount(name) for name in ("final_equity", "max_drawdown", "max_drawdown_percent")]
    print_table(columns, quantiles, none="")
    if without:
        note(f"left out{_counted(without)}")


def _amount(name: str) -> Column:
    def cell(row: Mapping[str, Any]) -> str:
        return f"{row[name]:,.2f}"

    return Column(name.replace("_", " "), cell, right=True)


def _print_facts(facts: Mapping[str, Any]) -> None:
    shown = {name.replace("_", " "): value for name, value in facts.items() if value is not None}
    print_facts({name: f"{value:,.6g}" if isinstance(value, float) else str(value) for name, value in shown.items()})
