"""`book entity`, `book instrument`: what there is besides what the engine trades; `book ratings`, `prices`, `servicing`: what was
known on a day; `book lineage`: where an upload came from."""

from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import click

from live.cli.book_session import as_of_option, session_of, tell, today
from live.cli.options import DatabaseChoice, Money, Price, database_options, json_option
from live.cli.output import Column, money, number, print_json, print_table, text

# Of book.reference_data, which --help starts without.
_TYPES = ("ISSUER", "SECTOR", "GEOGRAPHY", "CURRENCY")
_CLASSES = ("EQUITY", "EQUITY_INDEX", "COMMODITY", "FX", "RATES", "CREDIT", "LOAN", "CRYPTO", "OTHER")
_KINDS = ("future", "synthetic_future", "spot", "perpetual", "option", "bond", "loan", "swap", "forward")
_NUMBER = click.IntRange(min=1)


def _options(*options: Callable[..., Any]) -> Callable[..., Any]:
    def put(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return put


_identifiers = (
    click.option("--isin", help="Twelve characters, the last one a check digit."),
    click.option("--cusip", help="Nine characters, the last one a check digit."),
)
_entity_fields = _options(
    click.option("--ticker", help="Of a currency its letters."),
    *_identifiers,
    click.option("--parent", "parent_id", type=_NUMBER, help="The group it is in, of the same type."),
)
_instrument_fields = _options(
    click.option("--exchange"),
    click.option("--lot-size", type=Price(), help="In units."),
    click.option("--point-value", type=Price(), help="Money per point and lot."),
    click.option("--tick", type=Price()),
    click.option("--margin-per-lot", type=Money(positive=True)),
    click.option("--issuer", "issuer_id", type=_NUMBER, help="An entity."),
    click.option("--sector", "sector_id", type=_NUMBER, help="An entity."),
    *_identifiers,
)


@click.group(short_help="Issuers, sectors, geographies, currencies: `list`, `add`, `change`.")
def entity() -> None:
    """Say who issues, and how what is held is grouped. Ratings are of issuers.

    \b
    Examples:
      python portfolio_manager.py book entity add "Tata Steel" --type issuer --ticker TATASTEEL
      python portfolio_manager.py book entity list --type issuer
    """


@entity.command("list", short_help="What there is, by type and name.")
@click.option("--type", "entity_type", type=click.Choice(_TYPES, case_sensitive=False), help="Of this type only.")
@database_options
@json_option
def list_entities(*, database: DatabaseChoice, entity_type: str | None, as_json: bool) -> None:
    """List issuers, sectors, geographies and currencies.

    \b
    Example:
      python portfolio_manager.py book entity list
    """
    from book.entities import entities

    with session_of(database) as session:
        found = entities(session, entity_type)
    _show("entities", found, ("entity_id", "entity_type", "name", "ticker", "isin", "cusip", "parent"), as_json=as_json)


@entity.command("add", short_help="A new one.")
@click.argument("name")
@click.option("--type", "entity_type", type=click.Choice(_TYPES, case_sensitive=False), required=True)
@_entity_fields
@database_options
@json_option
def add(*, database: DatabaseChoice, entity_type: str, as_json: bool, **fields: Any) -> None:
    """Add NAME. The same again changes nothing.

    \b
    Example:
      python portfolio_manager.py book entity add "Tata Steel" --type issuer --isin INE081A01020
    """
    from book.entities import EntityFields, add_entity

    with session_of(database) as session:
        made, is_new = add_entity(session, entity_type, EntityFields(**fields))
        entity_id = made.entity_id
    told = {"entity_id": entity_id, "changed": is_new}
    tell(told, f"{entity_type.lower()} {entity_id}: {fields['name']}", as_json=as_json)


@entity.command("change", short_help="Another name, ticker, number or group.")
@click.argument("entity_id", type=_NUMBER)
@click.option("--name")
@_entity_fields
@database_options
@json_option
def change(*, database: DatabaseChoice, entity_id: int, as_json: bool, **fields: Any) -> None:
    """Change what is named of an entity.

    \b
    Example:
      python portfolio_manager.py book entity change 30 --ticker TATA
    """
    from book.entities import EntityFields, change_entity

    with session_of(database) as session:
        row, changed = change_entity(session, entity_id, EntityFields(**fields))
        name = row.name
    tell({"entity_id": entity_id, "changed": changed}, f"entity {entity_id}: {name}", as_json=as_json)


@click.group(short_help="The master of instruments: `add`, `change`.")
def instrument() -> None:
    """Enter what the engine does not trade: bonds, loans, options. `book instruments` lists all.

    \b
    Examples:
      python portfolio_manager.py book instrument add TATA_LOAN --asset-class loan --kind loan --currency USD --issuer 30
      python portfolio_manager.py book instrument change GOLD_MINI --name "Gold, 100 grams"
    """


@instrument.command("add", short_help="A new one.")
@click.argument("symbol")
@click.option("--asset-class", type=click.Choice(_CLASSES, case_sensitive=False), required=True, metavar="CLASS")
@click.option("--kind", type=click.Choice(_KINDS, case_sensitive=False), required=True, metavar="KIND")
@click.option("--currency", required=True)
@click.option("--name", help="Without it, made of the symbol.")
@_instrument_fields
@database_options
@json_option
def add_instrument(*, database: DatabaseChoice, symbol: str, as_json: bool, **fields: Any) -> None:
    """Add SYMBOL. The same again changes nothing.

    \b
    Example:
      python portfolio_manager.py book instrument add TATA_LOAN --asset-class loan --kind loan --currency USD
    """
    from book.entities import InstrumentFields
    from book.entities import add_instrument as keep

    with session_of(database) as session:
        made, is_new = keep(session, symbol.upper(), InstrumentFields(**fields))
        name = made.name
    tell({"symbol": symbol.upper(), "changed": is_new}, f"{symbol.upper()}: {name}", as_json=as_json)


@instrument.command("change", short_help="Another name, class, issuer, sector or size.")
@click.argument("symbol")
@click.option("--name")
@click.option("--asset-class", type=click.Choice(_CLASSES, case_sensitive=False), metavar="CLASS")
@click.option("--kind", type=click.Choice(_KINDS, case_sensitive=False), metavar="KIND")
@click.option("--currency")
@click.option("--active/--inactive", "is_active", default=None)
@_instrument_fields
@database_options
@json_option
def change_instrument(*, database: DatabaseChoice, symbol: str, as_json: bool, **fields: Any) -> None:
    """Change what is named of an instrument. What the engine trades is as its settings say, but for its name, class and issuer.

    \b
    Example:
      python portfolio_manager.py book instrument change GOLD_MINI --name "Gold, 100 grams"
    """
    from book.entities import InstrumentFields
    from book.entities import change_instrument as keep

    with session_of(database) as session:
        row, changed = keep(session, symbol.upper(), InstrumentFields(**fields))
        name = row.name
    tell({"symbol": symbol.upper(), "changed": changed}, f"{symbol.upper()}: {name}", as_json=as_json)


# --- what was known on a day


@click.command(short_help="The newest rating of each issuer by each agency.")
@as_of_option
@database_options
@json_option
def ratings(*, database: DatabaseChoice, as_of: date | None, as_json: bool) -> None:
    """List what agencies thought of issuers at the end of a day. `book upload ratings` brings them.

    \b
    Example:
      python portfolio_manager.py book ratings --as-of 2026-01-14
    """
    _known(database, "ratings", as_of, ("issuer", "agency", "rating", "outlook", "as_of_date"), as_json=as_json)


@click.command(short_help="The newest price of each instrument.")
@as_of_option
@database_options
@json_option
def prices(*, database: DatabaseChoice, as_of: date | None, as_json: bool) -> None:
    """List what instruments cost at the end of a day, by prices that were uploaded.

    \b
    Example:
      python portfolio_manager.py book prices --as-of 2026-01-14
    """
    _known(database, "prices", as_of, ("instrument", "price", "currency", "as_of_date", "source"), as_json=as_json)


@click.command(short_help="Where each loan stood.")
@as_of_option
@database_options
@json_option
def servicing(*, database: DatabaseChoice, as_of: date | None, as_json: bool) -> None:
    """List where loans stood at the end of a day. `book upload servicing` brings it.

    \b
    Example:
      python portfolio_manager.py book servicing --as-of 2026-01-14
    """
    names = (
        "instrument",
        "currency",
        "outstanding_balance",
        "principal_paid",
        "interest_paid",
        "days_past_due",
        "as_of_date",
    )
    _known(database, "servicing", as_of, names, as_json=as_json)


@click.command(short_help="Where an upload came from, and what was done to it.")
@click.argument("batch_id", type=_NUMBER)
@database_options
@json_option
def lineage(*, database: DatabaseChoice, batch_id: int, as_json: bool) -> None:
    """Tell of an upload and of each feed it brought the source, what was done in order, and what was checked.

    \b
    Example:
      python portfolio_manager.py book lineage 1
    """
    from book.known import lineage_of

    with session_of(database) as session:
        found = lineage_of(session, batch_id)
    names = (
        "lineage_id",
        "feed_type",
        "as_of_date",
        "source_system",
        "source_reference",
        "transformation_chain",
        "ingested_at",
    )
    _show("lineage", found, names, as_json=as_json)


def _known(database: DatabaseChoice, kind: str, as_of: date | None, names: Sequence[str], *, as_json: bool) -> None:
    from book.known import known_on

    with session_of(database) as session:
        found = known_on(session, kind, as_of or today())
    if as_json:
        print_json({"as_of": as_of or today(), kind: found})
        return
    _show(kind, found, names, as_json=False)


def _show(what: str, found: Sequence[Any], names: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        print_json({what: found})
        return
    columns = [Column(name.replace("_", " "), _cell(name), right=name in _RIGHT) for name in names]
    print_table(columns, found, none=f"there are no {what}" if what.endswith("s") else f"there is no {what}")


_RIGHT = ("entity_id", "price", "outstanding_balance", "principal_paid", "interest_paid", "days_past_due", "lineage_id")


def _cell(name: str) -> Callable[[Any], str]:
    def cell(row: Any) -> str:
        value = row[name]
        if isinstance(value, Decimal):
            return number(value) if name == "price" else money(value)
        return ", ".join(value) if isinstance(value, list) else text(value)

    return cell
