"""`send`: a file of alerts, to the running engine or, with --dry-run, to nobody."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from live.cli.options import DatabaseChoice, config_option, database_options, file_settings, json_option, url_option
from live.cli.output import Column, jsonable, note, number, print_json, print_table, say, time

if TYPE_CHECKING:
    from datetime import datetime

    from core.config import FileSettings
    from live.cli.alerts import BadAlert, FileAlert, FileSignal
    from live.webhook_secrets import Credential

_NOT_TAKEN = "not taken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What became of a signal of one alert: the engine's answer, or why it was not taken (`problem`)."""

    found: "FileAlert"
    signal: "FileSignal"
    answer: Mapping[str, Any]
    problem: str | None = None


@click.command(short_help="Post alerts from a file; --dry-run only decides.")
@click.argument("file", type=click.File("rb"))
@database_options
@config_option
@url_option
@click.option(
    "--secret",
    envvar="PORTFOLIO_WEBHOOK_SECRET",
    help="Added to alerts that carry none. [default: PORTFOLIO_WEBHOOK_SECRET]",
)
@click.option("--dry-run", is_flag=True, help="Decide here and now on the state in the database; change nothing.")
@click.option("--keep-going", is_flag=True, help="Skip bad lines, and go on after a signal that was not taken.")
@json_option
def send(
    *,
    file: IO[bytes],
    database: DatabaseChoice,
    config: Path | None,
    url: str,
    secret: str | None,
    dry_run: bool,
    keep_going: bool,
    as_json: bool,
) -> None:
    """Post the alerts in FILE (- for stdin): one JSON object, an array, or one object a line.

    They go out in the order in which the engine decides signals that wait together, each with its own bytes. One that
    gets no answer is sent again, which is safe: it counts once. A bad line is named before anything is sent. The first
    signal that is not taken ends the run, since later ones may depend on it; sending the file again goes on from there.

    With --dry-run nothing is sent: what would be decided now, each on the state the one before left, with the figures,
    and what --config's `intake` makes of an alert of another shape. It reads the database and needs no running engine.
    --json prints one JSON object a signal, each on a line.

    Exit codes: 0 every signal was taken, whatever was decided on it (a blocked or rejected one is an answer);
    1 at least one was not taken (bad, refused with 4xx, engine away) or is not known to be; 2 wrong usage.

    \b
    Examples:
      python portfolio_manager.py send alerts.jsonl
      python portfolio_manager.py send --dry-run - < alert.json
      python portfolio_manager.py send week.json --keep-going --json | jq -r .status
    """
    from live.cli.alerts import read_alerts

    settings = file_settings(config).of(database.portfolio)
    credential = None if dry_run else _credential(settings, secret)
    in_body = credential.secret if credential is not None and credential.place == "body" else None
    good, bad = read_alerts(file.read(), settings, portfolio=database.portfolio, secret=in_body)
    _report_bad(bad, keep_going=keep_going, as_json=as_json)
    told = (
        _decided_here(good, settings, database)
        if dry_run
        else _sent(good, url, database.portfolio, credential, keep_going=keep_going)
    )
    results = []
    for result in told:
        results.append(result)
        _print_one(result, as_json=as_json, dry_run=dry_run)
    if not as_json:
        _print_counts(results)
    if unsent := sum(len(found.signals) for found in good) - len(results):
        note(f"{unsent} more not sent: put right what is wrong and send the file again, or give --keep-going")
    if bad or unsent or any(result.problem for result in results):
        raise click.exceptions.Exit(1)


def _report_bad(bad: list["BadAlert"], *, keep_going: bool, as_json: bool) -> None:
    """Name what is no alert; without --keep-going that is the end, before anything is sent."""
    for found in bad:
        note(f"Error: line {found.line}: {found.problem}")
        if as_json and keep_going:
            print_json({"line": found.line, "status": _NOT_TAKEN, "error": {"message": found.problem}})
    if bad and not keep_going:
        note("nothing was sent: put the lines right, or give --keep-going to skip them")
        raise click.exceptions.Exit(1)


# --- to the engine


def _credential(settings: "FileSettings", secret: str | None) -> "Credential | None":
    """What shows that we may send: the given secret, else the configured one."""
    from live.webhook_secrets import Credential, WebhookSecrets

    if secret is None:
        configured = WebhookSecrets.of(settings, _now)
        secret = None if configured is None else configured.current
    return None if secret is None else Credential.of(secret, settings.webhook_secret_in, _now)


def _now() -> "datetime":
    # What all of that imports is needed by a signature only.
    from live.bootstrap import utc_now

    return utc_now()


def _sent(
    alerts: list["FileAlert"], url: str, portfolio: str, credential: "Credential | None", *, keep_going: bool
) -> Iterator[Told]:
    from live.client import EngineAway, EngineClient, EngineRefused

    with EngineClient(url) as engine:
        for found in alerts:
            try:
                answer = engine.send(found.body, portfolio=portfolio, credential=credential)
            except EngineRefused as error:
                detail = {"code": error.code, "message": str(error), "field": error.field}
                answer = {"status": _NOT_TAKEN, "http_status": error.http_status, "error": detail}
                yield _told(found, answer, str(error))
            except EngineAway as error:
                answer = {"status": _NOT_TAKEN, "http_status": error.http_status, "error": {"message": str(error)}}
                yield _told(found, answer, str(error))
            else:
                for signal, told in zip(found.signals, answer.get("signals", [answer]), strict=True):
                    yield Told(found=found, signal=signal, answer={**told, "http_status": answer["http_status"]})
                continue
            if not keep_going:
                return


def _told(found: "FileAlert", answer: Mapping[str, Any], problem: str) -> Told:
    return Told(found=found, signal=found.signals[0], answer=answer, problem=problem)


# --- to nobody


def _decided_here(alerts: list["FileAlert"], settings: "FileSettings", database: DatabaseChoice) -> Iterator[Told]:
    """What would be decided now, each on the portfolio that the one before left. Nothing is written."""
    from live.bootstrap import utc_now
    from live.cli.dry_run import DryRun

    with database.manager() as manager:
        run = DryRun(manager, settings, clock=utc_now)
        if run.warning:
            note(run.warning)
        for found in alerts:
            for signal in found.signals:
                yield Told(found=found, signal=signal, answer=run.decide(signal))


# --- what is printed


def _print_one(told: Told, *, as_json: bool, dry_run: bool) -> None:
    signal, mapped = told.signal.alert.signal, _mapped(told) if dry_run else {}
    if as_json:
        head = {"line": told.found.line, "type": signal.type, "instrument": signal.instrument, "position": signal.layer}
        shown = {"mapped": mapped} if mapped else {}
        print_json({**head, "fingerprint": told.signal.fingerprint, **shown, **told.answer})
        return
    words = (time(signal.bar), f"{signal.type:<11}", signal.instrument, f"{signal.layer or '-':<7}", _outcome(told))
    say("  ".join(words))
    if mapped:
        say("    read as " + "  ".join(f"{name} {value}" for name, value in mapped.items()))
    if dry_run and (figures := _first(told.answer).get("sizing")):
        shown = jsonable(figures)
        say("    " + "  ".join(f"{name} {value}" for name, value in shown.items()))


def _mapped(told: Told) -> Mapping[str, Any]:
    """What an alert of another shape was read as; empty for one of ours."""
    from core.alert import canonical_payload

    alert = told.signal.alert
    return canonical_payload(alert.signal) if alert.mapped else {}


def _first(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """The outcome that counts: a duplicate's first one."""
    first = answer.get("first")
    return first if isinstance(first, Mapping) else answer


def _outcome(told: Told) -> str:
    """The answer in a few words."""
    if told.problem is not None:
        return f"{_NOT_TAKEN}: {told.problem}"
    answer, outcome = told.answer, _first(told.answer)
    words = [str(answer.get("status"))]
    if outcome is not answer:
        words.append(f"(first: {outcome.get('status')})")
    if answer.get("differs"):
        words.append("(with another body)")
    if outcome.get("lots") is not None:
        words.append(f"{outcome['lots']} lots")
    words += [str(outcome[name]) for name in ("limiter", "reason", "position_id") if outcome.get(name)]
    if answer.get("warnings"):
        words.append(f"(unknown fields: {', '.join(answer['warnings'])})")
    return "  ".join(words)


def _print_counts(results: list[Told]) -> None:
    counts = Counter(str(result.answer.get("status")) for result in results)
    columns = (
        Column("status", lambda row: row[0]),
        Column("signals", lambda row: number(row[1]), right=True),
    )
    say("")
    print_table(columns, sorted(counts.items()), none="no signals")
