"""`close`, `close-all`, `capital`, `halt`, `resume`, `resolve`: the operator's commands, over HTTP."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import wraps
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import click

from core.errors import ConfigurationError, PortfolioError
from live.cli.names import instrument_names
from live.cli.options import (
    Money,
    Price,
    TakesNegativeNumbers,
    data_dir_option,
    json_option,
    portfolio_option,
    url_option,
)
from live.cli.output import note, print_json, say

_DONE = ("executed", "accepted")
_UNAUTHORIZED = 401
# Who halts wants to know soon that it is not done, to do something else.
_HALT_WITHIN_SECONDS = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """Who asks which engine, and how the answer is to be printed."""

    url: str
    token: str | None
    data_dir: Path
    portfolio: str
    request_id: str
    as_json: bool

    def carry_out(self, path: str, what: str, **fields: str | None) -> None:
        """POST the command and print its answer; exit code 1 unless it was executed, now or the first time."""
        tell(self.ask(path, fields), what, self)

    def halt(self, what: str, **fields: str | None) -> None:
        """The same for /halt, which is not waited for long: what is not done is said, and what to do instead."""
        switch = self.data_dir.absolute() / "broker" / "STOP"
        instead = (
            "As far as is known entries are not halted, and alerts that are kept are decided when the database is back. "
            f"To stop now: with a broker make the file {switch} (`live` has to have the same --data-dir), and while it is "
            "there no further order is sent, exits neither; without a broker stop the process of `live`. "
        )
        tell(self.ask("/halt", within=_HALT_WITHIN_SECONDS, instead=instead, fields=fields), what, self)

    def ask(
        self,
        path: str,
        fields: Mapping[str, str | None] | None = None,
        *,
        within: float = float("inf"),
        instead: str = "",
    ) -> dict[str, Any]:
        """POST and return the answer, or fail; within so many seconds, and then with the advice what to do instead."""
        from live.client import EngineAway, EngineClient, EngineRefused, NothingListens

        token, source = self._token()
        try:
            with EngineClient(self.url, token=token, within=within) as engine:
                return engine.command(path, {**(fields or {}), "request_id": self.request_id}, portfolio=self.portfolio)
        except NothingListens as error:
            raise click.ClickException(str(error)) from error
        except EngineAway as error:
            raise PortfolioError(
                f"{error}. {instead}Whether the command was carried out is not known: check that `live` runs at --url, then "
                f"give the same command again with --request-id {self.request_id}, which cannot do it twice"
            ) from error
        except EngineRefused as error:
            if error.http_status != _UNAUTHORIZED:
                raise
            raise PortfolioError(
                f"the engine at {self.url} does not take the token of {source}: does `live` run with the same "
                "--data-dir or PORTFOLIO_OPERATOR_TOKEN?"
            ) from error

    def _token(self) -> tuple[str, str]:
        """The operator's token and where it came from."""
        from live.secrets import TOKEN_FILE, operator_token

        file = self.data_dir / TOKEN_FILE
        if self.token is not None:
            return operator_token(self.data_dir, self.token, create=False), "--token or PORTFOLIO_OPERATOR_TOKEN"
        try:
            return operator_token(self.data_dir, None, create=False), str(file)
        except ConfigurationError as error:
            raise ConfigurationError(
                f"no operator's token: looked at --token, PORTFOLIO_OPERATOR_TOKEN and {file} ({error}). "
                "Give --data-dir as `live` was given it"
            ) from error


def operator_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--url, --token, --data-dir, --portfolio, --request-id, --json as `operator`."""

    @wraps(function)
    def collected(
        *args: Any,
        url: str,
        token: str | None,
        data_dir: Path,
        portfolio: str,
        request_id: str | None,
        as_json: bool,
        **others: Any,
    ) -> Any:
        operator = Operator(
            url=url,
            token=token,
            data_dir=data_dir,
            portfolio=portfolio,
            request_id=request_id or str(uuid4()),
            as_json=as_json,
        )
        return function(*args, operator=operator, **others)

    token_option = click.option(
        "--token",
        envvar="PORTFOLIO_OPERATOR_TOKEN",
        help="The operator's token. [default: PORTFOLIO_OPERATOR_TOKEN, else operator.token in --data-dir]",
    )
    request_id_option = click.option(
        "--request-id", help="Repeat an earlier command under its id: it is done once. [default: a fresh one]"
    )
    return url_option(token_option(data_dir_option(portfolio_option(request_id_option(json_option(collected))))))


@click.command(short_help="Close one position.")
@click.argument("position_id")
@click.option("--price", type=Price(), help="Exit price. [default: the position's mark]")
@click.option("--reason", help="Kept as the position's exit reason. [default: OPERATOR]")
@operator_options
def close(*, operator: Operator, position_id: str, price: Decimal | None, reason: str | None) -> None:
    """Close the position POSITION_ID whole, at its mark or at --price. Needs `live` running.

    \b
    Examples:
      python portfolio_manager.py close GOLD_MINI-Long_1-0a1b2c3d4e5f
      python portfolio_manager.py close GOLD_MINI-Long_1-0a1b2c3d4e5f --price 72150 --reason "news"
    """
    if position_id.upper() == "ALL":
        raise click.UsageError("to close every position there is `close-all`")
    operator.carry_out(
        f"/positions/{quote(position_id, safe='')}/close", f"close {position_id}", price=plain(price), reason=reason
    )


@click.command(name="close-all", short_help="Close every open position.")
@click.option("--yes", is_flag=True, help="Do not ask first.")
@click.option("--price", type=Price(), help="Exit price, where only one instrument is open. [default: the marks]")
@click.option("--reason", help="Kept as the positions' exit reason. [default: OPERATOR]")
@operator_options
def close_all(*, operator: Operator, yes: bool, price: Decimal | None, reason: str | None) -> None:
    """Close every open position of the portfolio, at its mark. Asks first. Needs `live` running.

    \b
    Examples:
      python portfolio_manager.py close-all
      python portfolio_manager.py close-all --yes --reason "end of month"
    """
    if not yes:
        question = f"Close every open position of portfolio {operator.portfolio} at {operator.url}?"
        click.confirm(question, abort=True, err=True)
    operator.carry_out("/positions/ALL/close", "close-all", price=plain(price), reason=reason)


@click.command(cls=TakesNegativeNumbers, short_help="Deposit or withdraw.")
@click.argument("amount", type=Money(positive=False))
@click.option("--note", "remark", help="Kept with the flow.")
@operator_options
def capital(*, operator: Operator, amount: Decimal, remark: str | None) -> None:
    """Move AMOUNT into the portfolio; a negative one is a withdrawal. Needs `live` running.

    \b
    Examples:
      python portfolio_manager.py capital 250000 --note "deposit of January"
      python portfolio_manager.py capital -100000
    """
    if amount == 0:
        raise click.BadParameter("0 moves nothing", param_hint="AMOUNT")
    operator.carry_out("/capital", f"capital {amount:,f}", amount=plain(amount), note=remark)


@click.command(short_help="Stop entries; exits go on.")
@click.option("--instrument", shell_complete=instrument_names, help="Only freeze this instrument's entries.")
@click.option("--reason", help="Kept in the journal.")
@operator_options
def halt(*, operator: Operator, instrument: str | None, reason: str | None) -> None:
    """Block every entry until `resume`, across restarts too; exits go on. Needs `live` running.

    \b
    Examples:
      python portfolio_manager.py halt --reason "exchange outage"
      python portfolio_manager.py halt --instrument GOLD_MINI --reason "delivery period"
    """
    wanted = None if instrument is None else instrument.upper()
    operator.halt(f"halt {wanted}" if wanted else "halt", instrument=wanted, reason=reason)


@click.command(short_help="Allow entries again.")
@click.option("--instrument", shell_complete=instrument_names, help="Only lift this instrument's freeze.")
@operator_options
def resume(*, operator: Operator, instrument: str | None) -> None:
    """Allow entries again after `halt`; with --instrument, end that instrument's freeze. Needs `live` running.

    \b
    Examples:
      python portfolio_manager.py resume
      python portfolio_manager.py resume --instrument GOLD_MINI
    """
    wanted = None if instrument is None else instrument.upper()
    operator.carry_out("/resume", f"resume {wanted}" if wanted else "resume", instrument=wanted)


@click.command(short_help="Let another instance lead.")
@operator_options
def handover(*, operator: Operator) -> None:
    """Let another instance lead; the one at --url follows it then. Does nothing where that one follows already.

    \b
    Examples:
      python portfolio_manager.py handover --url http://127.0.0.1:5000
    """
    answer = operator.ask("/handover")
    if operator.as_json:
        print_json(answer)
    elif answer.get("status") == "follower":
        say(f"{operator.url} does not lead: nothing to do")
    else:
        say(f"handed over: {operator.url} follows now")


@click.command(short_help="Say what became of an order that nobody knows of.")
@click.argument("client_order_id")
@click.option(
    "--state",
    type=click.Choice(["cancelled", "rejected", "filled"]),
    required=True,
    help="How it ended, as the broker's screen shows it.",
)
@click.option("--lots", type=click.IntRange(min=1), help="Lots that were filled and are not booked yet.")
@click.option("--price", type=Price(), help="Their price; with --lots.")
@operator_options
def resolve(*, operator: Operator, client_order_id: str, state: str, lots: int | None, price: Decimal | None) -> None:
    """End an order that is in doubt, as you saw it at the broker; what was filled is booked. Needs `live` running.

    \b
    Examples:
      python portfolio_manager.py resolve pm41-c8f6b2da9a0b-e1 --state cancelled
      python portfolio_manager.py resolve pm41-c8f6b2da9a0b-e1 --state filled --lots 2 --price 58412.5
    """
    if (lots is None) != (price is None):
        raise click.UsageError("--lots and --price come together")
    fields = {"state": state, "lots": None if lots is None else str(lots), "price": plain(price)}
    operator.carry_out(f"/orders/{quote(client_order_id, safe='')}/resolve", f"resolve {client_order_id}", **fields)


def tell(answer: Mapping[str, Any], what: str, operator: Operator) -> None:
    """Print the outcome; exit code 1 where the command was not carried out."""
    first = answer.get("first")
    repeated = answer.get("status") == "duplicate"
    outcome: Mapping[str, Any] = first if repeated and isinstance(first, Mapping) else answer
    if operator.as_json:
        print_json({**answer, "request_id": operator.request_id})
    if answer.get("differs"):
        raise PortfolioError(
            f"{what}: not carried out, since the request id {operator.request_id} belongs to another command; "
            "leave --request-id out"
        )
    if outcome.get("status") not in _DONE:
        raise PortfolioError(f"{what}: {outcome.get('status')}: {outcome.get('reason') or 'no reason given'}")
    if operator.as_json:
        return
    say(f"{what}: done{_closed(outcome)} (journal entry {answer.get('journal_seq')})")
    frozen = (outcome.get("sizing") or {}).get("frozen_reason")
    if frozen is not None:
        note(f"entries of the instrument stay frozen until `resume --instrument`: {frozen}")
    if repeated:
        note("it had been carried out before: nothing changed now")


def _closed(outcome: Mapping[str, Any]) -> str:
    # What only moves to another contract names no lots.
    closed = (outcome.get("positions") or ()) if outcome.get("lots") is not None else ()
    return f", closed {outcome.get('lots')} lots: {', '.join(map(str, closed))}" if closed else ""


def plain(value: Decimal | None) -> str | None:
    """The number as it is posted."""
    return None if value is None else f"{value:f}"
