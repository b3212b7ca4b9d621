"""What the book's worker can do: take a file in, write one out, each in one transaction; and reckon a day (live/risk_task.py)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date, datetime
from decimal import Decimal
from typing import IO, TYPE_CHECKING, Any

from core.errors import Refused
from live.api.encoding import encode
from live.risk_task import reckon_day

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from book.tax_report import TaxReport
    from book.tear_sheet import TearSheet

MOST_SHOWN = 50
MOST_LOTS = 1000
_LIMIT_SECONDS = 3600.0
# A million rows are checked between two statements, on a processor that the engine has first.
_IDLE_SECONDS = 1800
_MOST_PARTS = 8


class NoFile(Refused):
    """`file`: the form has to hold one file, in a field of that name, and nothing else"""


def take_upload(
    file: IO[bytes],
    *,
    dsn: str,
    kind: str,
    name: str,
    form: str | None,
    partial: bool,
    by: str,
    at: datetime,
    content_type: str,
) -> dict[str, Any]:
    """Take the file into the book, which may be a part of a form; what became of it."""
    from book.uploads.batches import remarks
    from book.uploads.upload import Upload
    from book.uploads.upload import upload as take

    content = file.read()
    if content_type.partition(";")[0].strip().lower() == "multipart/form-data":
        own, content = _file_in(content, content_type)
        name = own if form is None and "." in own else name
    given = Upload(kind=kind, name=name, content=content, partial=partial, by=by, at=at, today=at.date())
    with _session(dsn) as session:
        done = take(session, given)
        rows, more = remarks(session, done.batch_id, MOST_SHOWN)
    return {**asdict(done), "rows": rows, "more_rows": more}


def make_export(
    file: IO[bytes],
    *,
    dsn: str,
    content: str,
    form: str,
    at: datetime,
    by: str,
    portfolio: str | None,
    begins: date | None,
    ends: date | None,
    target: str,
) -> dict[str, Any]:
    """Write an export; its number, rows and SHA-256."""
    from book.exports.export import Export, export

    asked = Export(
        content=content, format=form, at=at, by=by, portfolio=portfolio, begins=begins, ends=ends, target=target
    )
    with _session(dsn) as session:
        done = export(session, asked)
        # Within the transaction: what could not be written was not exported.
        _write(file, done.file)
    return {"export_id": done.export_id, "rows": done.rows, "content_hash": done.content_hash}


def make_tear_sheet(
    file: IO[bytes],
    *,
    dsn: str,
    form: str,
    at: datetime,  # noqa: ARG001 - given to every task
    node_id: int,
    begins: date | None,
    ends: date | None,
    currency: str | None,
    capital: str | None,
) -> dict[str, Any]:
    """Write a node's tear sheet, as `json` or as `html`."""
    from book.returns import Asked, returns_of
    from book.tear_sheet import tear_sheet
    from live.contracts_file import load_calendar

    asked = Asked(
        node_id=node_id,
        begins=begins,
        ends=ends,
        currency=currency,
        capital=None if capital is None else Decimal(capital),
    )
    with _session(dsn) as session:
        returns = returns_of(session, asked, load_calendar())
    sheet = tear_sheet(returns)
    if form == "html":
        from live.reports.tear_sheet import page_of

        _write(file, page_of(sheet).encode())
    else:
        _write(file, encode(told_of(sheet)))
    return {}


def make_tax_report(
    file: IO[bytes],
    *,
    dsn: str,
    at: datetime,  # noqa: ARG001 - given to every task
    portfolio: str,
    year_begins: int,
    year: str | None,
) -> dict[str, Any]:
    """Write a portfolio's realised tax lots and their totals, as JSON: the lots up to a bound, the newest first."""
    from book.journal_reading import executions_in
    from book.tax_lots import tax_lots
    from book.tax_report import tax_report

    with _session(dsn) as session:
        closed, _ = tax_lots(executions_in(session, portfolio))
    _write(file, encode(told_of_lots(tax_report(portfolio, closed, year_begins=year_begins, year=year))))
    return {}


def told_of(sheet: "TearSheet") -> dict[str, Any]:
    """A tear sheet in words of the API."""
    told = asdict(sheet)
    months = [{"year": year, "month": month, "month_return": value} for year, month, value in sheet.months]
    return {
        **told,
        "months": months,
        "years": [{"year": year, "year_return": value} for year, value in sheet.years],
    }


def told_of_lots(report: "TaxReport") -> dict[str, Any]:
    """A report of tax lots in words of the API."""
    told = asdict(report)
    newest = report.lots[: -MOST_LOTS - 1 : -1]
    lots = [{**asdict(lot), "net_gain": lot.net_gain, "days_held": lot.days_held} for lot in newest]
    return {**told, "lots": lots, "more_lots": len(report.lots) - len(lots)}


def _write(file: IO[bytes], content: bytes) -> None:
    file.write(content)
    file.flush()


@contextmanager
def _session(dsn: str) -> "Iterator[Session]":
    from book.database import engine_of, transaction

    engine = engine_of(dsn, connections=1, idle_seconds=_IDLE_SECONDS)
    try:
        with transaction(engine, limit_seconds=_LIMIT_SECONDS) as session:
            yield session
    finally:
        engine.dispose()


def _file_in(body: bytes, content_type: str) -> tuple[str, bytes]:
    """The name and bytes of the one file in a form."""
    from io import BytesIO

    from werkzeug.formparser import MultiPartParser
    from werkzeug.http import parse_options_header

    _, options = parse_options_header(content_type)

    def in_memory(*_: Any, **__: Any) -> IO[bytes]:
        return BytesIO()

    parser = MultiPartParser(stream_factory=in_memory, max_form_parts=_MOST_PARTS)
    try:
        fields, files = parser.parse(BytesIO(body), options.get("boundary", "").encode("ascii"), len(body))
    except (ValueError, OSError) as error:
        raise NoFile(f"the form cannot be read: {error}") from error
    own = files.getlist("file")
    if len(own) != 1 or len(list(files.values())) != 1 or fields:
        raise NoFile
    return str(own[0].filename or "upload"), own[0].stream.read()


TASKS: dict[str, Callable[..., dict[str, Any]]] = {
    "upload": take_upload,
    "export": make_export,
    "tear_sheet": make_tear_sheet,
    "tax_report": make_tax_report,
    "risk_batch": reckon_day,
}
