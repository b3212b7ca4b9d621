"""`reconcile`, and what settles its findings: `adopt`, `write-off`, `ignore`; over HTTP."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import click

from core.findings import FindingKind
from live.cli.names import instrument_names
from live.cli.operate import Operator, operator_options, plain
from live.cli.options import Price, Quantity, TakesNegativeNumbers
from live.cli.output import Column, number, print_json, print_table


@click.command(short_help="Compare our positions with the broker's.")
@operator_options
def reconcile(*, operator: Operator) -> None:
    """Show ours beside the broker's positions; exit code 1 where they differ. Needs `live` running.

    What differs twice in a row freezes the instrument's entries. `adopt`, `write-off` or `ignore` settles it; `resume
    --instrument` ends the freeze.

    \b
    Example:
      python portfolio_manager.py reconcile
    """
    answer = operator.ask("/reconcile")
    if operator.as_json:
        print_json(answer)
    else:
        print_table(_FINDING_COLUMNS, answer["findings"], none="nothing is held on either side")
    if answer["mismatches"]:
        raise click.exceptions.Exit(1)


@click.command(short_help="Take over what the broker holds and we do not.")
@click.argument("instrument", shell_complete=instrument_names)
@click.argument("layer")
@click.option("--lots", type=click.IntRange(min=1), required=True, help="How many lots of it.")
@click.option("--price", type=Price(), required=True, help="Its entry price.")
@click.option("--stop", type=Price(), help="Its stop. [default: none: no bar closes it, and it counts as no risk]")
@click.option("--atr", type=Price(), help="The ATR at its entry. [default: none: no volatility until the next bar]")
@click.option("--symbol", help="The contract that it is held in.")
@operator_options
def adopt(
    *,
    operator: Operator,
    instrument: str,
    layer: str,
    lots: int,
    price: Decimal,
    stop: Decimal | None,
    atr: Decimal | None,
    symbol: str | None,
) -> None:
    """Make lots that the broker holds a position of ours, as LAYER of INSTRUMENT: Long_1 for a base, Long_2 and on beside one.

    No order is sent. The instrument stays frozen until `resume --instrument`. Needs `live` running.

    \b
    Examples:
      python portfolio_manager.py adopt GOLD_MINI Long_1 --lots 2 --price 72000 --stop 71500 --atr 500
      python portfolio_manager.py adopt BANK_NIFTY Short_2 --lots 1 --price 58412.5 --symbol BANKNIFTY27JAN26FUT
    """
    operator.carry_out(
        "/reconcile/adopt",
        f"adopt {instrument.upper()} {layer}",
        instrument=instrument.upper(),
        layer=layer,
        lots=str(lots),
        price=plain(price),
        stop=plain(stop),
        atr=plain(atr),
        symbol=symbol,
    )


@click.command(name="write-off", short_help="Book as sold what the broker no longer holds.")
@click.argument("position_id")
@click.option("--price", type=Price(), required=True, help="The price that it was sold at.")
@click.option("--lots", type=click.IntRange(min=1), help="How many lots of it. [default: all]")
@click.option("--reason", help="Kept as the position's exit reason. [default: WRITTEN_OFF]")
@operator_options
def write_off(*, operator: Operator, position_id: str, price: Decimal, lots: int | None, reason: str | None) -> None:
    """Book lots of the position POSITION_ID as sold, although no order of ours sold them. Needs `live` running.

    No order is sent. The instrument stays frozen until `resume --instrument`.

    \b
    Examples:
      python portfolio_manager.py write-off GOLD_MINI-Long_1-0a1b2c3d4e5f --price 71800
      python portfolio_manager.py write-off GOLD_MINI-Long_1-0a1b2c3d4e5f --price 71800 --lots 1 --reason "sold by hand"
    """
    operator.carry_out(
        "/reconcile/write-off",
        f"write-off {position_id}",
        position_id=position_id,
        lots=None if lots is None else str(lots),
        price=plain(price),
        reason=reason,
    )


@click.command(cls=TakesNegativeNumbers, short_help="Accept a difference as none of ours.")
@click.argument("instrument", shell_complete=instrument_names)
@click.argument("difference", type=Quantity())
@operator_options
def ignore(*, operator: Operator, instrument: str, difference: Decimal) -> None:
    """Accept that the broker holds DIFFERENCE more of INSTRUMENT than we do, in its units; less, where it is negative.

    A freeze by reason of a mismatch ends. 0 forgets what was accepted. Our own exits go as before: lots of ours that are
    really gone have to be written off instead. Needs `live` running.

    \b
    Examples:
      python portfolio_manager.py ignore GOLD_MINI 100
      python portfolio_manager.py ignore GOLD_MINI -50
      python portfolio_manager.py ignore GOLD_MINI 0
    """
    operator.carry_out(
        "/reconcile/ignore",
        f"ignore {instrument.upper()} {difference:f}",
        instrument=instrument.upper(),
        difference=plain(difference),
    )


def _settled_by(finding: Mapping[str, Any]) -> str:
    """The commands that would settle a finding; who knows which of them is true is the operator."""
    kind, instrument = finding["kind"], finding["instrument"]
    if kind == FindingKind.MATCHED:
        return "-"
    if kind == FindingKind.IN_FLIGHT:
        return "wait for its orders"
    if kind == FindingKind.DATABASE:
        return "stop `live` and start it again; then `verify`"
    if instrument is None:
        return "none of our instruments: trade it at the broker"
    ours, broker = Decimal(finding["ours"]), Decimal(finding["broker"])
    # Of what we hold more is there, or less; or another side than ours, which is both.
    ways = []
    if ours and ours * broker < ours * ours:
        ways.append("write-off POSITION_ID")
    if broker and broker * ours < broker * broker:
        ways.append(f"adopt {instrument} LAYER")
    ignored = f"ignore {instrument} {broker - ours:f}"
    return f"{' then '.join(ways)}, or {ignored}" if ways else ignored


_FINDING_COLUMNS = (
    Column("symbol", lambda row: row["symbol"]),
    Column("exchange", lambda row: row["exchange"]),
    Column("instrument", lambda row: row["instrument"] or "-"),
    Column("ours", lambda row: number(Decimal(row["ours"])), right=True),
    Column("accepted", lambda row: number(Decimal(row["accepted"])), right=True),
    Column("broker", lambda row: number(Decimal(row["broker"])), right=True),
    Column("finding", lambda row: row["kind"]),
    Column("settled by", _settled_by),
)
