"""/api/book/uploads and /api/book/exports: files into the book and out of it, as a trader, with who brought or asked for each."""

import base64
import os
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import date
from typing import IO, TYPE_CHECKING, Any

import structlog
from flask import Blueprint, Response, request
from werkzeug.wsgi import wrap_file

from core.errors import Refused
from core.strict_json import MAX_BODY_BYTES, BodyRefused
from live.api.book import BookApi
from live.api.book_query import day_in
from live.api.encoding import respond, respond_with_etag
from live.api.errors import HttpRefused, malformed
from live.api.pages import cut
from live.api.queries import LARGEST_ID, Query
from live.arriving import ADMITTING, ARRIVED_FILE, Arriving
from live.book_desk import BookDesk
from live.book_work import RETRY_AFTER_SECONDS, Busy, UploadFile, WorkFailed, WorkRefused
from live.short_cut import ARRIVED

if TYPE_CHECKING:
    from _typeshed import SupportsRead

log = structlog.get_logger("live.book")

KINDS = ("positions", "prices", "fx", "ratings", "servicing")
UPLOADED_FORMATS = ("csv", "json", "jsonl", "parquet")
CONTENTS = ("positions", "holdings", "proposals", "pnl", "executions", "tax_lots")
EXPORTED_FORMATS = ("csv", "json", "parquet", "fix")
ROW_STATUSES = ("pass", "warn", "fail")
DOWNLOAD = "application/octet-stream"
# Of these the portfolio whose journal tells them has to be known.
_OF_A_JOURNAL = ("executions", "tax_lots")
_LONGEST_NAME = 255
_AT_ONCE = 256 * 1024
_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)
# Whom an execution report is for, in FIX's own words.
_TARGET = re.compile(r"[A-Za-z0-9_.-]{1,20}", re.ASCII)


class BookFiles:
    """The routes of files; `api` has the book's session, and what it refuses."""

    def __init__(self, api: BookApi) -> None:
        self._api = api

    def blueprint(self) -> Blueprint:
        """Its routes."""
        blueprint = Blueprint("book_files", __name__, url_prefix="/api/book")
        blueprint.get("/uploads")(self.list_uploads)
        blueprint.get("/uploads/<batch_id>/rows")(self.list_rows)
        blueprint.post("/uploads")(self.upload)
        blueprint.get("/exports")(self.list_exports)
        blueprint.post("/exports")(self.export)
        return blueprint

    # --- in

    def upload(self) -> Response:
        """Take a file: the body, or the one file of a form. Of a large one the server asks first, with its head alone."""
        operator = self._api.require_trader("kind", "format", "partial", "name")
        query = self._api.query("kind", "format", "partial", "name")
        kind, form = required(query, "kind", KINDS), chosen(query, "format", UPLOADED_FORMATS)
        arguments = {
            "kind": kind,
            "form": form,
            "name": _name(query, form),
            "partial": chosen(query, "partial", ("true", "false")) == "true",
            "by": operator.shown,
            "content_type": request.content_type or "",
        }
        with self._api.session() as session:
            from book.uploads.batches import batches

            batches(session, limit=1)  # where there is no book, that is told before a file comes
        desk = self._api.desk()
        admitting: dict[str, UploadFile] | None = request.environ.get(ADMITTING)
        if admitting is not None:
            admitting["upload"] = _begun(desk)
            return respond({})
        with closing(_body(desk)) as given:
            told = worked(desk, "upload", {**arguments, "at": desk.now().isoformat()}, given.file)
        log.info("upload", kind=kind, operator=operator.shown, batch=told["batch_id"], status=told["status"])
        if told["status"] != "FAILED":
            return respond(told)
        message = f"`file`: {told['rows_refused']} of {told['rows_total']} rows are refused, and none was taken"
        return respond({"error": {"code": "rows_refused", "message": message, "field": "file"}, **told}, 422)

    def list_uploads(self) -> Response:
        """The uploads, the newest first."""
        query = self._api.query("limit", "before")
        limit, before = query.limit(), query.whole("before", LARGEST_ID)
        with self._api.session() as session:
            from book.uploads.batches import batches

            rows = batches(session, limit=limit + 1, before=before)
        return respond_with_etag(cut("uploads", "batch_id", limit, rows))

    def list_rows(self, batch_id: str) -> Response:
        """The rows of an upload, in the order of its lines, with what was found of each."""
        query = self._api.query("status", "limit", "after")
        limit, after = query.limit(), query.whole("after", LARGEST_ID) or 0
        statuses = several(query, "status", ROW_STATUSES)
        if not _NUMBER.fullmatch(batch_id):
            raise HttpRefused(404, "not_found", "there is no such upload")
        with self._api.session() as session:
            from book.uploads.batches import UnknownBatch, rows_of

            try:
                rows = rows_of(session, int(batch_id), limit=limit + 1, after=after, statuses=statuses)
            except UnknownBatch as error:
                raise HttpRefused(404, "not_found", str(error)) from error
        return respond_with_etag(cut("rows", "line", limit, rows))

    # --- out

    def list_exports(self) -> Response:
        """What has left the book, the newest first."""
        query = self._api.query("limit", "before")
        limit, before = query.limit(), query.whole("before", LARGEST_ID)
        with self._api.session() as session:
            from book.exports.history import exports

            rows = exports(session, limit=limit + 1, before=before)
        return respond_with_etag(cut("exports", "export_id", limit, rows))

    def export(self) -> Response:
        """Make a file, keep what it was, and send it."""
        names = ("content", "format", "from", "to", "target")
        operator = self._api.require_trader(*names)
        query = self._api.query(*names)
        content, form = required(query, "content", CONTENTS), required(query, "format", EXPORTED_FORMATS)
        target = query.text("target") or "CLIENT"
        if not _TARGET.fullmatch(target):
            raise malformed("`target` must be 1 to 20 letters, digits, `_`, `.` or `-`", "target")
        begins, ends = days(query)
        portfolio = query.engine.portfolio_name if content in _OF_A_JOURNAL else query.portfolio
        desk = self._api.desk()
        arguments = {
            "content": content,
            "form": form,
            "target": target,
            "begins": begins,
            "ends": ends,
            "portfolio": portfolio,
            "by": operator.shown,
            "at": desk.now().isoformat(),
        }
        with a_file(desk) as file:
            told = worked(desk, "export", arguments, file)
            log.info("export", content=content, operator=operator.shown, export=told["export_id"])
            response = sent(file, DOWNLOAD)
        digest = base64.b64encode(bytes.fromhex(told["content_hash"])).decode()
        response.headers["Content-Disposition"] = f'attachment; filename="{content}.{form}"'
        response.headers["Content-Digest"] = f"sha-256=:{digest}:"
        response.headers["Export-Id"] = str(told["export_id"])
        return response


# --- what the routes of files and reports share


def worked(desk: BookDesk, task: str, arguments: dict[str, Any], file: IO[bytes]) -> dict[str, Any]:
    """What the task tells when it is done; what it refuses is refused here."""
    arguments = {name: value.isoformat() if isinstance(value, date) else value for name, value in arguments.items()}
    try:
        return desk.work.run(task, arguments, file)
    except WorkRefused as error:
        raise BookApi.refused(error.name, str(error)) from error


@contextmanager
def a_file(desk: BookDesk) -> Iterator[IO[bytes]]:
    """A file to write to; 429 while another one is being made."""
    try:
        with desk.work.making_a_file() as file:
            yield file
    except Busy as error:
        raise _busy(error) from error


def sent(file: IO[bytes], content_type: str) -> Response:
    """The file as an answer, read while it is sent."""
    own = os.fdopen(os.dup(file.fileno()), "rb")
    length = own.seek(0, os.SEEK_END)
    own.seek(0)
    response = Response(wrap_file(request.environ, own, _AT_ONCE), mimetype=content_type, direct_passthrough=True)
    response.content_length = length
    response.headers["Cache-Control"] = "no-store"
    return response


def days(query: Query) -> tuple[date | None, date | None]:
    """The first and the last day that are asked for."""
    begins, ends = (day_in(query.text(name), name) for name in ("from", "to"))
    if begins is not None and ends is not None and ends < begins:
        raise malformed("`to` must not be before `from`", "to")
    return begins, ends


def chosen(query: Query, name: str, known: tuple[str, ...]) -> str | None:
    """One of these; None where it is absent."""
    given = query.text(name)
    if given is not None and given not in known:
        raise malformed(f"`{name}` must be one of {', '.join(known)}", name)
    return given


def required(query: Query, name: str, known: tuple[str, ...]) -> str:
    """One of these."""
    given = chosen(query, name, known)
    if given is None:
        raise malformed(f"`{name}` is required: one of {', '.join(known)}", name)
    return given


def several(query: Query, name: str, known: tuple[str, ...]) -> list[str] | None:
    """Some of these, in capitals; None for all."""
    given = query.text(name)
    if given is None:
        return None
    asked = given.split(",")
    if any(one not in (*known, "all") for one in asked):
        raise malformed(f"`{name}` must be one or more, with commas, of {', '.join((*known, 'all'))}", name)
    return None if "all" in asked else [one.upper() for one in asked]


def _name(query: Query, form: str | None) -> str:
    """What the file is called, for the record; it ends in what says how it is read."""
    name = query.text("name") or "upload"
    if len(name) > _LONGEST_NAME or not name.isprintable() or "/" in name:
        raise malformed(f"`name` must be 1 to {_LONGEST_NAME} printable characters without a slash", "name")
    if form is not None and not name.lower().endswith(f".{form}"):
        name = f"{name}.{form}"
    return name


def _begun(desk: BookDesk) -> UploadFile:
    try:
        return desk.work.begin_upload()
    except Busy as error:
        raise _busy(error) from error


def _busy(error: Refused | Busy) -> HttpRefused:
    return HttpRefused(429, "busy", str(error), headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


def _body(desk: BookDesk) -> UploadFile:
    """The body in its file: it came there, or is read into it now."""
    arriving: Arriving | None = request.environ.get(ARRIVED_FILE)
    if arriving is not None:
        return arriving.whole()
    given = _begun(desk)
    try:
        # Our server keeps no more of a body whose length it was not told before.
        most = MAX_BODY_BYTES if ARRIVED in request.environ else given.most
        _copy(request.stream, given, most)
    except BaseException:
        given.close()
        raise
    return given


def _copy(stream: "SupportsRead[bytes]", given: UploadFile, most: int) -> None:
    size = 0
    while part := stream.read(_AT_ONCE):
        size += len(part)
        if size > most:
            raise BodyRefused(f"the body is larger than {most} bytes", code="too_large")
        try:
            given.write(part)
        except OSError as error:
            raise WorkFailed(f"the file cannot be kept: {error.strerror}") from error
    given.file.seek(0)
