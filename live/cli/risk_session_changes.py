"""`risk session add`, `remove`, `resize`, `roll`, `shock`, `undo`: what a session changes in its copy of the book."""

from collections.abc import Callable, Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any

import click

from live.cli.options import DatabaseChoice, TakesNegativeNumbers, database_options, json_option
from live.cli.risk_options import now
from live.cli.risk_session_told import by_option, number_argument, sessions_of, tell, version_option

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from risk.modelling.keeping import Kept
    from risk.what_if.changes import Change

_PER_CENT = 100.0
_Shocks = tuple[tuple[str, float], ...]


class Fraction(click.ParamType[tuple[str, float]]):
    """A name and a fraction: `index=-0.1`, or the same as `index=-10%`."""

    name = "name=number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        """Both."""
        if isinstance(value, tuple):
            return value
        name, _, told = value.partition("=")
        try:
            number = float(told.removesuffix("%")) / (_PER_CENT if told.endswith("%") else 1.0)
        except ValueError:
            number = float("nan")
        if not name or not isfinite(number):
            self.fail(f"{value!r} must be like index=-0.1 or index=-10%", param, ctx)
        return name, number


def _changed(
    database: DatabaseChoice,
    number: int,
    make: "Callable[[Session], Change]",
    *,
    by: str,
    version: int | None,
    as_json: bool,
) -> None:
    """Make the change and tell what it does."""
    with sessions_of(database) as transaction:
        from risk.modelling import keeping

        kept = keeping.change(transaction, number, make(transaction), by=by, now=now(), version=version)
    tell(kept, f"session {number}: change {len(kept.session.changes)}, version {kept.version}", as_json=as_json)


@click.command("add", cls=TakesNegativeNumbers, short_help="One more position.")
@number_argument
@click.argument("instrument")
@click.argument("lots", type=float)
@click.option("--price", type=float, help="In points. [default: as in the session, else the last close]")
@click.option("--node", type=click.IntRange(1), help="Below the session's own. [default: that one]")
@click.option("--contract", default="", help="Its contract, such as 2026-02.")
@click.option("--stop", type=float, help="Its stop, in points.")
@click.option("--position", "position_id", help="What it is called. [default: new/1 and so on]")
@version_option
@by_option
@database_options
@json_option
def add(
    *,
    number: int,
    version: int | None,
    by: str,
    database: DatabaseChoice,
    as_json: bool,
    **wanted: Any,
) -> None:
    """Add LOTS of INSTRUMENT (below 0: short) to session ID. Currency, point value, margin and betas are the book's.

    \b
    Examples:
      python portfolio_manager.py risk session add 1 GOLD_MINI 2 --price 72000 --stop 71500
      python portfolio_manager.py risk session add 1 COPPER -1
    """
    from live.contracts_file import load_calendar

    def made(transaction: "Session") -> "Change":
        from risk.modelling import keeping
        from risk.modelling.adding import Wanted, addition

        return addition(transaction, keeping.kept(transaction, number), Wanted(**wanted), load_calendar())

    _changed(database, number, made, by=by, version=version, as_json=as_json)


@click.command("remove", short_help="One position less.")
@number_argument
@click.argument("position")
@version_option
@by_option
@database_options
@json_option
def remove(
    *, number: int, position: str, version: int | None, by: str, database: DatabaseChoice, as_json: bool
) -> None:
    """Take POSITION out of session ID.

    \b
    Example:
      python portfolio_manager.py risk session remove 1 position/2
    """

    def made(_: "Session") -> "Change":
        from risk.what_if.changes import Remove

        return Remove(position_id=position)

    _changed(database, number, made, by=by, version=version, as_json=as_json)


@click.command("resize", short_help="A position of so many lots.")
@number_argument
@click.argument("position")
@click.argument("lots", type=float)
@version_option
@by_option
@database_options
@json_option
def resize(
    *,
    number: int,
    position: str,
    lots: float,
    version: int | None,
    by: str,
    database: DatabaseChoice,
    as_json: bool,
) -> None:
    """Make POSITION of session ID one of LOTS (above 0), on the side that it is on.

    \b
    Example:
      python portfolio_manager.py risk session resize 1 position/2 5
    """

    def made(_: "Session") -> "Change":
        from risk.what_if.changes import Resize

        return Resize(position_id=position, lots=lots)

    _changed(database, number, made, by=by, version=version, as_json=as_json)


@click.command("roll", short_help="A position in another contract.")
@number_argument
@click.argument("position")
@click.argument("contract")
@click.option("--spread", type=float, required=True, help="Points between the contracts: far - near.")
@version_option
@by_option
@database_options
@json_option
def roll(
    *,
    number: int,
    position: str,
    contract: str,
    spread: float,
    version: int | None,
    by: str,
    database: DatabaseChoice,
    as_json: bool,
) -> None:
    """Roll POSITION of session ID into CONTRACT: its price and stop move by the spread.

    \b
    Example:
      python portfolio_manager.py risk session roll 1 position/2 2026-02 --spread 350
    """

    def made(_: "Session") -> "Change":
        from risk.what_if.changes import Roll

        return Roll(position_id=position, contract=contract, spread=spread)

    _changed(database, number, made, by=by, version=version, as_json=as_json)


def _shock_option(name: str, told: str) -> Callable[[Any], Any]:
    return click.option(f"--{name}", f"{name}s", type=Fraction(), multiple=True, help=told)


@click.command("shock", short_help="Prices, volatilities or factors moved.")
@number_argument
@_shock_option("price", "An instrument's price: GOLD_MINI=-5%.")
@_shock_option("volatility", "The volatility of an underlying's options: BANK_NIFTY=0.02 (two points more).")
@_shock_option("factor", "A factor: index=-10%. Every price moves by its beta.")
@click.option("--correlated", is_flag=True, help="Other factors move as expected given those that are shocked.")
@version_option
@by_option
@database_options
@json_option
def shock(
    *,
    number: int,
    prices: _Shocks,
    volatilitys: _Shocks,
    factors: _Shocks,
    correlated: bool,
    version: int | None,
    by: str,
    database: DatabaseChoice,
    as_json: bool,
) -> None:
    """Move prices, volatilities or factors of session ID: one kind a change, each option as often as needed.

    \b
    Examples:
      python portfolio_manager.py risk session shock 1 --price GOLD_MINI=-5% --price COPPER=2%
      python portfolio_manager.py risk session shock 1 --factor index=-10% --correlated
    """
    given = {"prices": dict(prices), "volatilities": dict(volatilitys), "factors": dict(factors)}
    kinds = {name: shocks for name, shocks in given.items() if shocks}
    if len(kinds) != 1:
        raise click.UsageError("give --price, --volatility or --factor: one kind a change")
    if correlated and not factors:
        raise click.UsageError("--correlated is of factors: give --factor")
    ((kind, shocks),) = kinds.items()

    def made(transaction: "Session") -> "Change":
        from risk.modelling import keeping

        if correlated:
            return keeping.correlated(keeping.kept(transaction, number), shocks)
        return _shock(kind, shocks)

    _changed(database, number, made, by=by, version=version, as_json=as_json)


def _shock(kind: str, shocks: Mapping[str, float]) -> "Change":
    from risk.what_if.changes import ShockFactors, ShockPrices, ShockVolatilities

    match kind:
        case "prices":
            return ShockPrices(shocks=dict(shocks))
        case "volatilities":
            return ShockVolatilities(shocks=dict(shocks))
        case _:
            return ShockFactors(shocks=dict(shocks))


@click.command("undo", short_help="Take a change back.")
@number_argument
@click.argument("place", type=click.IntRange(1), required=False)
@version_option
@database_options
@json_option
def undo(*, number: int, place: int | None, version: int | None, database: DatabaseChoice, as_json: bool) -> None:
    """Take back the last change of session ID, or the one of that PLACE, as `show` numbers them.

    \b
    Example:
      python portfolio_manager.py risk session undo 1
    """
    with sessions_of(database) as transaction:
        from risk.modelling import keeping

        kept: Kept = keeping.undo(transaction, number, place, now=now(), version=version)
    tell(kept, f"session {number}: {len(kept.session.changes)} changes left, version {kept.version}", as_json=as_json)
