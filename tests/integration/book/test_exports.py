"""Exports: what is written is what there is, in every format, and each is kept."""

import csv
import hashlib
import io
import json
from datetime import date
from decimal import Decimal
from typing import Any

import psycopg2
import psycopg2.errors
import pytest
from pyarrow import parquet
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from book.exports.export import CONTENTS, Export, Exported, export
from book.exports.files import CannotExport
from book.models import ExportHistory, PositionPnLHistory, TradeProposal
from tests.book_world import NOON, TODAY, a_position, kept, pnl_values, proposal_values
from tests.builders import a_signal, minutes
from tests.engines import Clock, an_engine
from tests.queries import rows

Sessions = sessionmaker[Session]


@pytest.fixture
def full(book_dsn: str, sessions: Sessions) -> Sessions:
    """A journal with a trade that is over, and a row of everything."""
    with an_engine(book_dsn, clock=Clock(minutes(30))) as engine:
        engine.process_signal(a_signal(timestamp=minutes(26)))
        engine.process_signal(a_signal("EXIT", price=52500, timestamp=minutes(27)))
    with sessions.begin() as session:
        a_position(session, notes="=1+1")
        kept(session, TradeProposal(**proposal_values()))
        kept(session, PositionPnLHistory(**pnl_values()))
    return sessions


def exported(sessions: Sessions, content: str, form: str, **others: Any) -> Exported:
    asked = Export(**{"content": content, "format": form, "at": NOON, "by": "ada", "portfolio": "main", **others})
    with sessions.begin() as session:
        return export(session, asked)


@pytest.mark.parametrize("content", CONTENTS)
def test_every_content_is_the_same_in_every_format(full: Sessions, content: str) -> None:
    files = {form: exported(full, content, form) for form in ("csv", "json", "parquet")}
    told = json.loads(files["json"].file)
    assert len(told) == files["json"].rows
    in_csv = list(csv.DictReader(io.StringIO(files["csv"].file.decode())))
    in_parquet = parquet.read_table(io.BytesIO(files["parquet"].file)).to_pylist()
    assert len(in_csv) == len(in_parquet) == len(told)
    for one, line, row in zip(told, in_csv, in_parquet, strict=True):
        assert list(one) == list(line) == list(row)
        for name, value in one.items():
            assert line[name] in (("" if value is None else str(value)), f"'{value}", json.dumps(value), str(value))
            if isinstance(row[name], Decimal):
                assert Decimal(value) == row[name]


def test_each_export_is_kept_with_what_it_was_and_the_record_stays(full: Sessions, book_dsn: str) -> None:
    done = exported(full, "executions", "csv", begins=TODAY, ends=TODAY)
    assert done.content_hash == hashlib.sha256(done.file).hexdigest()
    with full() as session:
        record = session.scalars(select(ExportHistory)).one()
    assert (record.export_id, record.content, record.format, record.rows_total) == (
        done.export_id,
        "executions",
        "csv",
        2,
    )
    assert (record.exported_by, record.portfolio, record.exported_at) == ("ada", "main", NOON)
    assert record.parameters_json == {"begins": "2026-01-14", "ends": "2026-01-14"}
    for change in ("UPDATE book.export_history SET rows_total = 9", "DELETE FROM book.export_history"):
        with pytest.raises(psycopg2.errors.RestrictViolation):
            rows(book_dsn, change)


def test_executions_and_lots_are_the_journals(full: Sessions) -> None:
    bought, sold = json.loads(exported(full, "executions", "json").file)
    assert (bought["side"], bought["lots"], bought["price"], bought["kind"]) == ("BUY", 2, "52000", "open")
    assert (sold["side"], sold["lots"], sold["price"], sold["kind"]) == ("SELL", 2, "52500", "exit")
    (lot,) = json.loads(exported(full, "tax_lots", "json").file)
    assert (lot["gain"], lot["net_gain"], lot["days_held"], lot["side"]) == ("30000", "30000", 0, "LONG")


def test_days_bound_what_is_exported(full: Sessions) -> None:
    assert exported(full, "executions", "csv", begins=date(2026, 1, 15)).rows == 0
    assert exported(full, "executions", "csv", ends=date(2026, 1, 13)).rows == 0
    assert exported(full, "pnl", "csv", begins=TODAY, ends=TODAY).rows == 1
    assert exported(full, "pnl", "csv", ends=date(2026, 1, 13)).rows == 0


def test_a_spreadsheet_takes_no_text_for_a_formula(full: Sessions) -> None:
    (line,) = csv.DictReader(io.StringIO(exported(full, "positions", "csv", portfolio=None).file.decode()))
    assert line["notes"] == "'=1+1"


def test_fix_messages_have_their_length_their_sum_and_the_trade(full: Sessions) -> None:
    done = exported(full, "executions", "fix", target="AUDITOR\x01\nX=")
    messages = [message for message in done.file.split(b"8=FIX.4.4\x01") if message]
    assert len(messages) == done.rows == 2
    for message in messages:
        whole = b"8=FIX.4.4\x01" + message
        head, body = message.split(b"\x01", 1)
        body, tail = body.rsplit(b"10=", 1)
        assert head == b"9=%d" % len(body)
        assert int(tail[:3]) == sum(whole[: whole.rindex(b"10=")]) % 256
        fields = dict(part.split(b"=", 1) for part in body.split(b"\x01") if part)
        assert fields[b"35"] == b"8"
        assert fields[b"56"] == b"AUDITORX"
        assert fields[b"38"] == fields[b"32"] == fields[b"14"] == b"60"
        assert fields[b"60"].startswith(b"20260114-06:")
    first, second = (dict(part.split(b"=", 1) for part in message.split(b"\x01") if part) for message in messages)
    assert (first[b"54"], second[b"54"]) == (b"1", b"2")
    assert (first[b"31"], second[b"31"]) == (b"52000", b"52500")
    assert first[b"17"] != second[b"17"]


@pytest.mark.parametrize(
    "content, form, others, says",
    [
        ("nothing", "csv", {}, "one of positions"),
        ("positions", "xlsx", {}, "one of csv, json, parquet, fix"),
        ("positions", "fix", {}, "FIX tells of executions"),
        ("executions", "csv", {"portfolio": None}, "`portfolio`"),
    ],
)
def test_what_cannot_be_exported_is_refused_and_not_kept(
    full: Sessions, content: str, form: str, others: dict[str, Any], says: str
) -> None:
    with pytest.raises(CannotExport, match=says):
        exported(full, content, form, **others)
    with full() as session:
        assert session.scalars(select(ExportHistory)).all() == []
