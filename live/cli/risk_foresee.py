"""`risk foresee`: what would this alert do now? The engine's own rules on its portfolio in memory, and every measure."""

from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from core.errors import PortfolioError
from live.cli.options import DatabaseChoice, config_option, database_options, file_settings, json_option
from live.cli.output import Column, jsonable, note, print_json, print_table, say, text
from live.cli.risk_options import now
from live.cli.risk_session_told import print_impact, print_reasons, sessions_of

if TYPE_CHECKING:
    from live.cli.alerts import FileSignal
    from risk.what_if.alert import Answer, Foreseen


@click.command("foresee", short_help="What would this alert do now?")
@click.option(
    "--alert", "file", type=click.File("rb"), required=True, help="A file of alerts, as `send` takes; - for stdin."
)
@click.option("--as-filled", is_flag=True, help="Take a broker's orders as filled at the prices that they refer to.")
@database_options
@config_option
@json_option
def foresee(*, file: IO[bytes], as_filled: bool, database: DatabaseChoice, config: Path | None, as_json: bool) -> None:
    """Decide alerts on the portfolio as it is now, and tell every measure before and after. Nothing is sent and nothing written:
    the answers are those of `send --dry-run`, the measures are by the last batch.

    \b
    Examples:
      python portfolio_manager.py risk foresee --alert alert.json
      python portfolio_manager.py risk foresee --alert - < alert.json
    """
    from live.cli.alerts import read_alerts

    settings = file_settings(config).of(database.portfolio)
    good, bad = read_alerts(file.read(), settings, portfolio=database.portfolio, secret=None)
    if bad:
        raise PortfolioError(f"line {bad[0].line}: {bad[0].problem}; put it right: nothing was decided")
    signals = [signal for found in good for signal in found.signals]
    at = now()
    with sessions_of(database) as session, database.manager() as manager:
        from live.cli.dry_run import DryRun
        from live.contracts_file import load_calendar
        from risk.modelling.keeping import given_at
        from risk.modelling.live_portfolio import known_of
        from risk.what_if import alert as what_if

        run = DryRun(manager, settings, clock=lambda: at)
        decided = {
            signal.fingerprint: first for signal in signals if (first := run.kept(signal.fingerprint)) is not None
        }
        symbols = {signal.alert.signal.instrument for signal in signals}
        known = known_of(session, run.portfolio, symbols, at, given_at(at, load_calendar()))
    asked = [signal.alert.signal for signal in signals]
    foreseen = what_if.foresee(run.portfolio, asked, at, decided=decided, as_filled=as_filled)
    impact = what_if.impact(foreseen, known.positions, known.inputs.for_measures())
    if run.warning:
        note(run.warning)
    if as_json:
        from risk.modelling.snapshots import summary

        told = {"as_of": at, "currency": known.base, "batch_day": known.inputs.batch_day, "notes": known.inputs.notes}
        print_json({**told, "answers": _answers(foreseen, signals), "impact": summary(impact)})
        return
    _print_answers(foreseen)
    say("")
    print_impact(impact)
    print_reasons(known.inputs.notes)


def _answers(foreseen: "Foreseen", signals: list["FileSignal"]) -> list[dict[str, Any]]:
    warnings = {signal.fingerprint: list(signal.alert.warnings) for signal in signals}
    return [{**_told(answer), "warnings": warnings[answer.fingerprint]} for answer in foreseen.answers]


def _told(answer: "Answer") -> dict[str, Any]:
    signal = answer.signal
    head = {"type": signal.type, "instrument": signal.instrument, "position": signal.layer}
    told = {**head, "fingerprint": answer.fingerprint, **_outcome(answer)}
    return {**told, "unfilled": list(answer.unfilled)} if answer.unfilled else told


def _outcome(answer: "Answer") -> dict[str, Any]:
    if answer.outcome is None:
        return {"status": "duplicate", "first": answer.first}
    found: dict[str, Any] = jsonable(answer.outcome)
    return found


def _print_answers(foreseen: "Foreseen") -> None:
    rows = [_told(answer) for answer in foreseen.answers]
    columns = [
        *(
            Column(name, _cell(name))
            for name in ("type", "instrument", "position", "status", "lots", "limiter", "reason")
        ),
        Column("waits for", lambda row: ", ".join(row.get("unfilled", []))),
        Column(
            "figures", lambda row: "  ".join(f"{name} {value}" for name, value in (row.get("sizing") or {}).items())
        ),
    ]
    print_table(columns, rows, none="no signals")


def _cell(name: str) -> Any:
    def cell(row: Mapping[str, Any]) -> str:
        return text(row.get(name))

    return cell
