"""`risk tag` and `risk by-tag`: what a desk calls nodes and positions, and a day told by that."""

import os
from collections.abc import Callable, Mapping
from datetime import date
from getpass import getuser
from typing import Any

import click

from live.cli.book_session import Day, session_of, tell, today
from live.cli.options import DatabaseChoice, database_options, json_option
from live.cli.output import Column, print_facts, print_json, print_table, text
from live.cli.output import time as shown_time
from live.cli.risk_options import now, require_what_reckons

_TYPES = ("regular", "strategy")  # of risk.tags, which --help starts without
_LIMIT_SECONDS = 600.0
_type_option = click.option("--type", "tag_type", type=click.Choice(_TYPES), default="regular", show_default=True)
_by_option = click.option("--by", help="Who does, for the record. [default: the account that runs this]")


def _account() -> str:
    """Who runs this; in a container an account may have no name."""
    try:
        return getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


@click.group(short_help="Tags: `create`, `list`, `add`, `remove`, `show`, `retire`.")
def tag() -> None:
    """Call nodes and positions by tags, regular ones and strategies. A node's tags hold for all below it.

    \b
    Examples:
      python portfolio_manager.py risk tag create trend --type strategy
      python portfolio_manager.py risk tag add trend node/1 --type strategy
    """


@tag.command("create", short_help="A new tag, or one that was retired again.")
@click.argument("name")
@_type_option
@click.option("--colour", help="To be shown in, like #0a7f3c.")
@click.option("--description", help="What it means.")
@_by_option
@database_options
@json_option
def create(
    *,
    name: str,
    tag_type: str,
    colour: str | None,
    description: str | None,
    by: str | None,
    database: DatabaseChoice,
    as_json: bool,
) -> None:
    """Make the tag NAME, or give it another colour or description. The same again, in whatever case, changes nothing.

    \b
    Example:
      python portfolio_manager.py risk tag create trend --type strategy --colour '#0a7f3c'
    """
    from risk.tagging import create_tag

    with session_of(database) as session:
        made, changed = create_tag(session, name, tag_type, by=by or _account(), colour=colour, description=description)
        told = {"tag_id": made.tag_id, "tag": made.name, "tag_type": made.tag_type, "changed": changed}
    tell(told, f"{tag_type} tag {told['tag']}", as_json=as_json)


@tag.command("list", short_help="The tags, and on how much each is.")
@click.option("--type", "tag_type", type=click.Choice(_TYPES), help="Only of this type.")
@click.option("--all", "retired", is_flag=True, help="Retired ones too.")
@database_options
@json_option
def list_tags(*, tag_type: str | None, retired: bool, database: DatabaseChoice, as_json: bool) -> None:
    """List tags, and on how many nodes and positions each is now.

    \b
    Example:
      python portfolio_manager.py risk tag list --all
    """
    from risk.tagging import tags

    with session_of(database) as session:
        found = tags(session, retired=retired, tag_type=tag_type)
    if as_json:
        print_json({"tags": found})
        return
    columns = [
        Column("tag", _text_of("name")),
        Column("type", _text_of("tag_type")),
        Column("colour", _text_of("colour")),
        Column("nodes", _text_of("nodes"), right=True),
        Column("positions", _text_of("positions"), right=True),
        Column("retired", lambda row: "" if row["retired_at"] is None else shown_time(row["retired_at"])),
        Column("description", _text_of("description")),
    ]
    print_table(columns, found, none="there is no tag: `risk tag create` makes one")


@tag.command("add", short_help="Put a tag on a node or position.")
@click.argument("name")
@click.argument("on")
@_type_option
@_by_option
@database_options
@json_option
def add(*, name: str, on: str, tag_type: str, by: str | None, database: DatabaseChoice, as_json: bool) -> None:
    """Put the tag NAME on ON: node/1 and all below it, position/12 or holding/5, as `risk show` names them.

    \b
    Examples:
      python portfolio_manager.py risk tag add trend node/1 --type strategy
      python portfolio_manager.py risk tag add hedge position/12
    """
    from risk.tagging import add_tag, target

    with session_of(database) as session:
        changed = add_tag(session, name, tag_type, target(on), by=by or _account(), now=now())
    told = {"tag": name, "tag_type": tag_type, "on": on, "changed": changed}
    tell(told, f"{on} has the {tag_type} tag {name}", as_json=as_json)


@tag.command("remove", short_help="Take a tag off a node or position.")
@click.argument("name")
@click.argument("on")
@_type_option
@_by_option
@database_options
@json_option
def remove(*, name: str, on: str, tag_type: str, by: str | None, database: DatabaseChoice, as_json: bool) -> None:
    """Take the tag NAME off ON. Of days before it is told still.

    \b
    Example:
      python portfolio_manager.py risk tag remove hedge position/12
    """
    from risk.tagging import remove_tag, target

    with session_of(database) as session:
        changed = remove_tag(session, name, tag_type, target(on), by=by or _account(), now=now())
    told = {"tag": name, "tag_type": tag_type, "on": on, "changed": changed}
    tell(told, f"{on} has no {tag_type} tag {name}", as_json=as_json)


@tag.command("show", short_help="What a tag is on, or what tags something has.")
@click.argument("what")
@_type_option
@click.option("--date", "day", type=Day(), help="The tags that node/1 or position/12 had at the end of this day (UTC).")
@database_options
@json_option
def show_tag(*, what: str, tag_type: str, day: date | None, database: DatabaseChoice, as_json: bool) -> None:
    """Show WHAT: of a tag all that it is or was on; of node/1, position/12 or holding/5 its tags, and where each comes from.

    \b
    Examples:
      python portfolio_manager.py risk tag show trend --type strategy
      python portfolio_manager.py risk tag show position/12 --date 2026-01-14
    """
    from risk.tagging import history_of, is_target, target

    on_day = day or today()
    with session_of(database) as session:
        if not is_target(what):
            _print_history(history_of(session, what, tag_type), as_json=as_json)
            return
        from risk.tagged import tags_on

        found = tags_on(session, target(what), on_day)
    if as_json:
        print_json({"of": what, "date": on_day, "tags": found})
        return
    columns = [
        Column("tag", lambda each: each.tag),
        Column("type", lambda each: each.tag_type),
        Column("from", lambda each: each.on),
        Column("since", lambda each: "" if each.added_at is None else shown_time(each.added_at)),
        Column("by", lambda each: text(each.added_by)),
    ]
    print_table(columns, found, none=f"{what} had no tag on {on_day}")


@tag.command("retire", short_help="Take a tag off all, and out of use.")
@click.argument("name")
@_type_option
@_by_option
@database_options
@json_option
def retire(*, name: str, tag_type: str, by: str | None, database: DatabaseChoice, as_json: bool) -> None:
    """Retire the tag NAME: it is taken off all that it is on, and put on nothing any more. Of days before it is told still.

    \b
    Example:
      python portfolio_manager.py risk tag retire trend --type strategy
    """
    from risk.tagging import retire_tag

    with session_of(database) as session:
        retired, off = retire_tag(session, name, tag_type, by=by or _account(), now=now())
        told = {"tag": retired.name, "tag_type": tag_type, "taken_off": off or 0, "changed": off is not None}
    tell(told, f"{tag_type} tag {told['tag']} is retired, taken off {told['taken_off']}", as_json=as_json)


def _print_history(found: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    facts = {
        name: text(found[name]) for name in ("name", "tag_type", "colour", "description", "created_by", "retired_by")
    }
    print_facts({name.replace("_", " "): value for name, value in facts.items() if value})
    columns = [
        Column("on", _text_of("on")),
        Column("since", lambda row: shown_time(row["added_at"])),
        Column("by", _text_of("added_by")),
        Column("until", lambda row: "" if row["removed_at"] is None else shown_time(row["removed_at"])),
        Column("removed by", _text_of("removed_by")),
    ]
    print_table(columns, found["on"], none="it was never put on anything")


def _text_of(name: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda row: text(row[name])


@click.command("by-tag", short_help="A day that was reckoned, by tag.")
@click.option("--date", "day", type=Day(), required=True, help="The trading day.")
@click.option("--type", "tag_type", type=click.Choice(_TYPES), help="Only tags of this type.")
@click.option("--node", type=click.IntRange(1, 2**63 - 1), help="Of this node, in its currency. [default: all]")
@click.option("--tagged-on", type=Day(), help="By the tags of this day. [default: of --date]")
@database_options
@json_option
def by_tag(
    *,
    day: date,
    tag_type: str | None,
    node: int | None,
    tagged_on: date | None,
    database: DatabaseChoice,
    as_json: bool,
) -> None:
    """Tell a day that `risk batch` has reckoned by tag: what positions of a tag are worth together, volatility and value at risk,
    what scenarios cost, P&L, and what closed positions earned in R. A position with two tags counts for both.

    \b
    Examples:
      python portfolio_manager.py risk by-tag --date 2026-01-14
      python portfolio_manager.py risk by-tag --date 2026-01-14 --type strategy --node 1 --json
    """
    require_what_reckons()
    from live.contracts_file import load_calendar
    from risk.batch.given import Given
    from risk.by_tag import day_by_tag

    given = Given(day=day, calendar=load_calendar())
    with session_of(database, limit_seconds=_LIMIT_SECONDS) as session:
        found = day_by_tag(session, given, node=node, tag_type=tag_type, tagged_on=tagged_on)
    if as_json:
        head = {"date": found.day, "tagged_on": found.tagged_on, "node": found.node, "currency": found.currency}
        print_json({**head, "tags": found.of})
        return
    print_facts({"date": str(day), "currency": found.currency, "tags of": str(found.tagged_on)})
    print_table(_measures(), found.of, none="")
    print_table(_trades(), [each for each in found.of if each.trades["closed"]], none="no position was closed")
    costs = [{"of": each, **cost} for each in found.of for cost in each.stress]
    print_table(_costs(), costs, none="")
    missing = [_TAG_OF, Column("missing", lambda row: row["what"]), Column("why", lambda row: row["why"])]
    print_table(missing, _missing(found.of), none="")


_TAG_OF = Column("tag", lambda row: _label(row["of"]))


def _label(each: Any) -> str:
    return each.tag if each.tag_type != "all" else "(all)"


def _measures() -> list[Column]:
    measures = (
        ("long", ("exposure", "long")),
        ("short", ("exposure", "short")),
        ("gross", ("exposure", "gross")),
        ("net", ("exposure", "net")),
        ("volatility a day", ("volatility", "daily")),
        ("VaR 95%", ("historical_95%", "value_at_risk")),
        ("VaR 99%", ("normal_99%", "value_at_risk")),
        ("P&L of the day", ("day_pnl",)),
        ("since entry", ("pnl_since_entry",)),
        ("closed", ("closed_pnl",)),
    )
    return [
        Column("tag", _label),
        Column("type", lambda each: each.tag_type),
        Column("positions", lambda each: str(len(each.positions)), right=True),
        *(Column(heading, _measure(*path), right=True) for heading, path in measures),
        Column("left out", lambda each: str(len(each.left_out) or ""), right=True),
    ]


def _measure(name: str, part: str | None = None) -> Callable[[Any], str]:
    def cell(each: Any) -> str:
        found = each.measures.get(name)
        return _amount(found if part is None or found is None else found[part])

    return cell


def _amount(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f}"


def _trades() -> list[Column]:
    names = {"closed": "closed", "with R": "trades", "won": "won"}
    return [
        Column("tag", _label),
        *(Column(heading, _counted(name), right=True) for heading, name in names.items()),
        Column("win rate", lambda each: _share(each.trades.get("win_rate")), right=True),
        *(Column(name.replace("_", " "), _r(name), right=True) for name in ("mean_r", "total_r", "best_r", "worst_r")),
    ]


def _counted(name: str) -> Callable[[Any], str]:
    return lambda each: str(each.trades.get(name, "-"))


def _r(name: str) -> Callable[[Any], str]:
    return lambda each: _amount(each.trades.get(name))


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _costs() -> list[Column]:
    return [
        _TAG_OF,
        Column("scenario", lambda row: row["scenario"]),
        Column("P&L", lambda row: _amount(row["pnl"]), right=True),
        Column("left out", lambda row: str(row["left_out"] or ""), right=True),
        Column("why not", lambda row: text(row["reason"])),
    ]


def _missing(found: Any) -> list[dict[str, Any]]:
    rows = []
    for each in found:
        told = {**each.reasons, **(each.trades["reasons"] if each.trades["closed"] else {})}
        rows += [{"of": each, "what": name, "why": reason} for name, reason in told.items()]
        for position, aspects in each.left_out.items():
            rows += [{"of": each, "what": f"{position} {aspect}", "why": reason} for aspect, reason in aspects.items()]
        rows += [{"of": each, "what": f"{position} R", "why": why} for position, why in each.trades["without"].items()]
    return rows
