"""`risk batch`, `show`, `scenarios`, `factors`: what the book's positions are worth, and what could happen to them, by day."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from typing import Any

import click

from live.cli.book_session import Day, session_of
from live.cli.options import DatabaseChoice, database_options, json_option
from live.cli.output import Column, print_facts, print_json, print_table, say, text
from live.cli.output import time as shown_time
from live.cli.risk_options import now, require_what_reckons

_LIMIT_SECONDS = 900
_date_option = click.option("--date", "day", type=Day(), required=True, help="The trading day.")


@click.command("batch", short_help="Reckon a day: values, exposures, risk, stress.")
@_date_option
@click.option("--again", is_flag=True, help="Reckon anew what is there already.")
@database_options
@json_option
def batch(*, day: date, again: bool, database: DatabaseChoice, as_json: bool) -> None:
    """Reckon a trading day that is over, in nine steps. What is done already stays as it is; what failed is begun again.

    Needs `pip install --requirement requirements-risk.txt --requirement requirements-book.txt`.

    \b
    Example:
      python portfolio_manager.py risk batch --date 2026-01-14
    """
    require_what_reckons()
    from book.database import engine_of
    from live.contracts_file import load_calendar
    from risk.batch.run import STEPS, run_batch

    with database.dsn(create=False) as dsn, _progress(len(STEPS)) as told:
        engine = engine_of(dsn, idle_seconds=_LIMIT_SECONDS)
        try:
            done = run_batch(engine, day, calendar=load_calendar(), clock=now, again=again, told=told)
        finally:
            engine.dispose()
    if as_json:
        steps = [{"step": each.step, "records": each.records} for each in done.steps]
        print_json({"date": day, "run": done.run, "changed": done.changed, "steps": steps})
        return
    columns = [
        Column("step", lambda each: each.step),
        Column("records", lambda each: "done before" if each.records is None else str(each.records), right=True),
    ]
    print_table(columns, done.steps, none="")
    say(f"{day}: {'reckoned' if done.changed else 'nothing was left to do'}; `risk show --date {day}` tells it")


@contextmanager
def _progress(steps: int) -> Iterator[Callable[[str], None]]:
    """A bar on a terminal, which is gone at the end; else nothing."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    shown = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=shown, transient=True, disable=not shown.is_terminal) as progress:
        task = progress.add_task("", total=steps)
        begun = 0

        def told(step: str) -> None:
            nonlocal begun
            progress.update(task, description=step.replace("_", " "), completed=begun)
            begun += 1

        yield told


@click.command("show", short_help="What was reckoned of a day.")
@_date_option
@click.option("--node", type=click.IntRange(1, 2**63 - 1), help="This node with all that it is made of.")
@database_options
@json_option
def show(*, day: date, node: int | None, database: DatabaseChoice, as_json: bool) -> None:
    """Show each node's exposure, volatility and value at risk of a day in its own currency, or all of one node.

    What could not be reckoned is said, with the reason.

    \b
    Example:
      python portfolio_manager.py risk show --date 2026-01-14 --node 1
    """
    from risk import reading

    with session_of(database) as session:
        steps, found = reading.steps(session, day), reading.nodes(session, day, node)
        held: list[dict[str, Any]] = []
        costs: list[dict[str, Any]] = []
        if node is not None and found:
            of_it = [each["position"] for each in (found[0]["snapshot"] or {}).get("positions", [])]
            held, costs = reading.positions(session, day, of_it), reading.stress_of(session, day, node)
    if as_json:
        of_node = {} if node is None else {"positions": held, "stress": costs}
        print_json({"date": day, "steps": steps, "nodes": found, **of_node})
        return
    if unfinished := [step for step in _last(steps) if step["status"] != "completed"]:
        print_table(_attempt_columns(), unfinished, none="")
    if node is None or not found:
        print_table(_node_columns(), found, none=f"nothing was reckoned of {day}: `risk batch --date {day}` does")
        return
    _print_node(found[0], held, costs)


def _last(steps: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The last attempt at each step."""
    return list({step["calculation_type"]: step for step in steps}.values())


def _attempt_columns() -> list[Column]:
    return [
        Column("step", lambda step: step["calculation_type"]),
        Column("status", lambda step: step["status"]),
        Column("began", lambda step: shown_time(step["start_time"])),
        Column("error", lambda step: text(step["error_message"])),
    ]


def _node_columns() -> list[Column]:
    measures = (
        ("gross", ("exposure", "gross")),
        ("net", ("exposure", "net")),
        ("volatility a day", ("volatility", "daily")),
        ("VaR 95%", ("historical_95%", "value_at_risk")),
        ("VaR 99%", ("normal_99%", "value_at_risk")),
    )
    return [
        Column("node", lambda row: str(row["portfolio_node_id"]), right=True),
        Column("name", lambda row: row["name"]),
        Column("currency", lambda row: row["currency"]),
        Column("positions", lambda row: str(row["positions"]), right=True),
        *(Column(heading, _measure(*path), right=True) for heading, path in measures),
        Column("left out", lambda row: str(len(row["left_out"]) or ""), right=True),
    ]


def _measure(name: str, part: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda row: _amount(row["measures"].get(name, {}).get(part))


def _amount(value: Any) -> str:
    return "-" if value is None else f"{value:,.2f}"


def _print_node(row: Mapping[str, Any], held: Sequence[Mapping[str, Any]], costs: Sequence[Mapping[str, Any]]) -> None:
    facts = {
        f"{name} {part}".replace("_", " "): _amount(value)
        for name, parts in row["measures"].items()
        for part, value in parts.items()
        if not isinstance(value, Mapping)
    }
    print_facts({"node": row["name"], "currency": row["currency"], **facts})
    print_table(_position_columns(), held, none="nothing was held")
    of_factors = row["measures"].get("volatility", {})
    by_factor = [{"factor": name, "volatility": value} for name, value in of_factors.get("by_factor", {}).items()]
    exposed = of_factors.get("exposures", {})
    columns = [
        Column("factor", lambda each: each["factor"]),
        Column("exposure", lambda each: _amount(exposed.get(each["factor"])), right=True),
        Column("of the volatility", lambda each: _amount(each["volatility"]), right=True),
    ]
    print_table(columns, by_factor, none="")
    scenario = [
        Column("scenario", lambda each: each["name"]),
        Column("P&L", lambda each: _amount(each["pnl"]), right=True),
        Column("left out", lambda each: str(each["left_out"] or ""), right=True),
        Column("why not", lambda each: text(each["reason"])),
    ]
    print_table(scenario, costs, none="")
    missing = [{"what": name, "why": reason} for name, reason in row["reasons"].items()]
    missing += [
        {"what": f"{name} {aspect}", "why": reason}
        for name, told in row["left_out"].items()
        for aspect, reason in told.items()
    ]
    print_table(
        [Column("missing", lambda each: each["what"]), Column("why", lambda each: each["why"])], missing, none=""
    )


def _position_columns() -> list[Column]:
    return [
        *(Column(name, _text_of(name)) for name in ("position", "symbol", "direction", "currency", "price_date")),
        Column("value", lambda each: _amount(each["value"]), right=True),
        Column("volatility a day", lambda each: _share(each["volatility"]), right=True),
        Column("squeeze", lambda each: text(each["squeeze_level"])),
    ]


def _text_of(name: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda row: "" if row[name] is None else str(row[name])


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"


@click.command("scenarios", short_help="Stress scenarios with their shocks.")
@database_options
@json_option
def scenarios(*, database: DatabaseChoice, as_json: bool) -> None:
    """List the scenarios and what they do to which factor; those that we come with are added where they are not there yet.

    \b
    Example:
      python portfolio_manager.py risk scenarios
    """
    from risk import reading
    from risk.seeds import seed

    with session_of(database) as session:
        seed(session)
        found = reading.scenarios(session)
    if as_json:
        print_json({"scenarios": found})
        return
    columns = [
        Column("scenario", lambda row: row["name"]),
        Column("type", lambda row: row["scenario_type"]),
        Column("shocks", lambda row: ", ".join(f"{name} {shock:+.4g}" for name, shock in row["shocks"].items())),
    ]
    print_table(columns, found, none="there is no scenario")


@click.command("factors", short_help="Factors, and what tells how they move.")
@click.option(
    "--set",
    "told_by",
    multiple=True,
    metavar="FACTOR=WHAT",
    help="FACTOR is told by daily bars of an instrument (NIFTY) or a series (SOURCE/CODE); FACTOR= by the series of its name.",
)
@database_options
@json_option
def factors(*, told_by: tuple[str, ...], database: DatabaseChoice, as_json: bool) -> None:
    """List the factors and what tells each of them; those that we come with are added where they are not there yet.

    \b
    Examples:
      python portfolio_manager.py risk factors
      python portfolio_manager.py risk factors --set gold=GOLD_MINI --set rates=fred/DGS10
    """
    from risk import reading
    from risk.seeds import seed

    wanted = [told.partition("=") for told in told_by]
    if wrong := [told for told, (_, equals, _) in zip(told_by, wanted, strict=True) if not equals]:
        raise click.UsageError(f"--set {wrong[0]}: must be like gold=GOLD_MINI")
    with session_of(database) as session:
        seed(session)
        for name, _, by in wanted:
            reading.tell_factor(session, name, by)
        found = reading.factors(session)
    if as_json:
        print_json({"factors": found})
        return
    columns = [
        *(Column(name.replace("_", " "), _text_of(name)) for name in ("name", "factor_set", "unit", "meaning")),
        Column("told by", lambda row: ", ".join(row["told_by"]) or "nothing"),
    ]
    print_table(columns, found, none="there is no factor")
