"""An upload from the file to the book, in one transaction: read, staged, checked row by row, taken whole or in part."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import msgspec
from sqlalchemy import func, insert, select, text
from sqlalchemy.dialects.postgresql import insert as insert_once
from sqlalchemy.orm import Session

from book.market_data import DataLineage, IngestionBatch, IngestionRow
from book.uploads.checks import Checked, check
from book.uploads.files import FileRow, read_rows
from book.uploads.kinds import BATCH_TYPES, KINDS, read_row
from book.uploads.taking import Source, take
from core.errors import Refused

_LONGEST_VALUE = 1000
_MOST_ERRORS_KEPT = 100
_ROWS_AT_ONCE = 10_000


class UnknownKind(Refused):
    """there is no such kind of upload"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """What became of a file; `already`: it was taken before, and nothing has changed."""

    batch_id: int
    status: str
    rows_total: int
    rows_taken: int
    rows_refused: int
    rows_warned: int
    already: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A file as it was given; `partial`: its good rows are taken though others are not. `at` is aware, `today` the desk's day."""

    kind: str
    name: str
    content: bytes
    partial: bool
    by: str | None
    at: datetime
    today: date


def upload(session: Session, given: Upload) -> Uploaded:
    """Take a file, in the caller's transaction. The same file again changes nothing.

    Raises UnknownKind, and UnreadableFile where there are no rows to speak of; then nothing is kept. What single rows lack
    is kept with them: a batch that is not taken is FAILED, and all its rows can be looked at.
    """
    if given.kind not in KINDS:
        raise UnknownKind(f"{given.kind}: one of {', '.join(KINDS)}")
    found = read_rows(given.name, given.content)
    batch_id = _begun(session, given, len(found))
    if batch_id is None:
        return _taken_before(session, given)
    read = [(one, *read_row(given.kind, one)) for one in found]
    rows = [Checked(line=one.line, row=row) for one, row, _ in read if row is not None]
    check(session, given.kind, rows, given.today)
    checked = {row.line: row for row in rows}
    faults = {
        one.line: reasons if row is None else checked[one.line].faults
        for one, row, reasons in read
        if row is None or checked[one.line].faults
    }
    total = len(found)
    _stage(session, batch_id, found, checked, faults)
    # Of a million rows this is as much memory as what comes of them takes.
    del found, read, checked
    good = [row for row in rows if not row.faults]
    done = given.partial or not faults
    if done:
        take(session, given.kind, good, Source(batch_id=batch_id, name=given.name, at=given.at, today=given.today))
    result = Uploaded(
        batch_id=batch_id,
        status="COMPLETED" if done else "FAILED",
        rows_total=total,
        rows_taken=len(good) if done else 0,
        rows_refused=len(faults),
        rows_warned=sum(bool(row.oddities) for row in good),
    )
    _end(session, given, result, faults)
    return result


def _hash_of(given: Upload) -> str:
    return hashlib.sha256(f"{given.kind}\n".encode() + given.content).hexdigest()


def _begun(session: Session, given: Upload, rows: int) -> int | None:
    """The number of a new batch; None where the same file was taken, or is just being taken, by somebody else."""
    adding = insert_once(IngestionBatch).values(
        batch_type=BATCH_TYPES[given.kind],
        status="VALIDATING",
        source_name=given.name[:255],
        content_hash=_hash_of(given),
        rows_total=rows,
        uploaded_by=given.by,
        started_at=given.at,
    )
    same = ["batch_type", "content_hash"]
    adding = adding.on_conflict_do_nothing(index_elements=same, index_where=text("status <> 'FAILED'"))
    return session.scalar(adding.returning(IngestionBatch.batch_id))


def _taken_before(session: Session, given: Upload) -> Uploaded:
    batch = session.scalars(
        select(IngestionBatch).where(
            IngestionBatch.batch_type == BATCH_TYPES[given.kind],
            IngestionBatch.content_hash == _hash_of(given),
            IngestionBatch.status != "FAILED",
        )
    ).one()
    warned = select(func.count()).where(
        IngestionRow.batch_id == batch.batch_id, IngestionRow.validation_status == "WARN"
    )
    return Uploaded(
        batch_id=batch.batch_id,
        status=batch.status,
        rows_total=batch.rows_total,
        rows_taken=batch.rows_taken,
        rows_refused=batch.rows_refused,
        rows_warned=session.scalars(warned).one(),
        already=True,
    )


def _stage(
    session: Session,
    batch_id: int,
    found: Sequence[FileRow],
    checked: dict[int, Checked],
    faults: dict[int, list[str]],
) -> None:
    for start in range(0, len(found), _ROWS_AT_ONCE):
        part = [_staged(batch_id, one, checked, faults) for one in found[start : start + _ROWS_AT_ONCE]]
        session.execute(insert(IngestionRow), part)


def _staged(batch_id: int, one: FileRow, checked: dict[int, Checked], faults: dict[int, list[str]]) -> dict[str, Any]:
    odd = checked[one.line].oddities if one.line in checked else []
    return {
        "batch_id": batch_id,
        "line": one.line,
        "payload_json": {column: _shown(value) for column, value in one.values.items()},
        "validation_status": "FAIL" if one.line in faults else "WARN" if odd else "PASS",
        "reasons": [*faults.get(one.line, []), *odd],
    }


def _shown(value: Any) -> Any:
    """A value as it is kept beside its row: whatever it is, it must not keep the row from being looked at."""
    plain = msgspec.to_builtins(value, enc_hook=repr)
    if isinstance(plain, bool | int | None):
        return plain
    # No column of JSON takes a NUL, nor half of a character.
    text_of = (plain if isinstance(plain, str) else repr(plain))[:_LONGEST_VALUE]
    return text_of.replace("\0", "").encode("utf-8", "replace").decode()


def _end(session: Session, given: Upload, result: Uploaded, faults: dict[int, list[str]]) -> None:
    batch = session.get_one(IngestionBatch, result.batch_id)
    batch.status = result.status
    batch.rows_taken, batch.rows_refused = result.rows_taken, result.rows_refused
    batch.validation_errors_json = [
        {"line": line, "reasons": reasons} for line, reasons in sorted(faults.items())[:_MOST_ERRORS_KEPT]
    ]
    batch.completed_at = given.at
    ending = given.name.rpartition(".")[2].lower()
    chain = [f"read {ending}", f"check {given.kind}", "take" if result.status == "COMPLETED" else "refuse"]
    session.add(
        DataLineage(
            batch_id=result.batch_id,
            source_system="upload",
            source_reference=given.name[:500],
            transformation_chain=chain,
            quality_checks_passed=not faults,
            quality_checks_json={
                "rows": result.rows_total,
                "refused": result.rows_refused,
                "warned": result.rows_warned,
            },
            ingested_at=given.at,
        )
    )
    session.flush()
