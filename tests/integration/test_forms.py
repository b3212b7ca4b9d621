"""A batch as PostgreSQL is given it: whatever stands in it, and in whichever form of the statement."""

from contextlib import closing
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from psycopg2 import extensions, sql

import core.postgres.writer
import core.postgres.written
from core.db_state_manager import DatabaseStateManager
from core.decide import decide
from core.errors import StaleVersion
from core.inputs import MoveCapital
from core.journal import Batch, Entry
from core.postgres.connections import connect
from core.postgres.forms import Form, preparation
from core.postgres.writer import PLANNING
from live.deliveries import Delivery
from live.recovery import recover
from live.writer import PortfolioWriter
from tests.builders import a_signal, given, minutes
from tests.engines import Clock, an_engine, status_of, without_waiting
from tests.queries import rows

ODD = [
    "'",
    "''); DROP TABLE decision_journal; --",
    "\\",
    "\\'",
    "\\\\'; ROLLBACK; --",
    "%s %(batch)s %%",
    "$1 $$ :name",
    '"',
    "\n\t\r\x01\x7f",
    "é 🙂 中 \u2028",
    "E'\\x27'",
]


@pytest.fixture(params=["on", "off", "another encoding", "another encoding around"])
def literals_dsn(dsn: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database that takes a backslash in a literal as itself, and one that does not; one that is asked in another encoding."""
    if request.param == "another encoding":
        return extensions.make_dsn(dsn, client_encoding="LATIN1")
    if request.param == "another encoding around":
        monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
        return dsn
    name = extensions.parse_dsn(dsn)["dbname"]
    rows(
        dsn,
        sql.SQL("ALTER DATABASE {} SET standard_conforming_strings = {}").format(
            sql.Identifier(name), sql.Literal(request.param)
        ),
    )
    return dsn


def test_whatever_stands_in_an_alert_is_kept_as_it_is(literals_dsn: str) -> None:
    payloads: list[dict[str, Any]] = [{"comment": text, text: [text]} for text in ODD]
    with an_engine(literals_dsn, clock=Clock(minutes(6))) as engine:
        for number, payload in enumerate(payloads):
            signal = a_signal("EXIT", timestamp=minutes(number), reason=payload["comment"])
            assert status_of(engine.deliver(signal, payload)).startswith("rejected")
    literals_dsn = extensions.make_dsn(literals_dsn, client_encoding="UTF8")
    assert [payload for (payload,) in rows(literals_dsn, "SELECT payload FROM signal_log ORDER BY id")] == payloads
    reasons = "SELECT input -> 'signal' ->> 'reason' FROM decision_journal WHERE kind = 'signal' ORDER BY seq"
    assert [reason for (reason,) in rows(literals_dsn, reasons)] == ODD


def test_a_form_that_leaves_out_what_a_batch_writes_is_refused_and_writes_nothing(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = minutes(12)
    with DatabaseStateManager(dsn) as manager:
        before = recover(manager, without_waiting(), None, minutes(10)).portfolio
        entries = rows(dsn, "SELECT count(*) FROM decision_journal")
        flow = MoveCapital(amount=Decimal(1000))
        decision = decide(before, flow, now)
        entry = Entry(given=flow, decision=decision, decided_at=now)
        batch = Batch(before=before, after=decision.portfolio, entries=(entry,))
        monkeypatch.setattr(core.postgres.written, "form_of", lambda _: Form.BARS)
        with pytest.raises(StaleVersion, match="nothing was changed"):
            manager.commit(batch)
    assert rows(dsn, "SELECT count(*) FROM decision_journal") == entries
    assert rows(dsn, "SELECT count(*) FROM capital_flows") == [(0,)]


def test_what_only_some_forms_need_is_waited_for_where_it_is_missing(dsn: str) -> None:
    given_back: list[Delivery] = []
    with DatabaseStateManager(dsn) as manager:
        portfolio = recover(manager, without_waiting(), None, minutes(10)).portfolio
        writer = PortfolioWriter(
            manager, portfolio, clock=lambda _: minutes(12), pause=lambda _: False, give_back=given_back.extend
        )
        flow = Delivery(MoveCapital(amount=Decimal(1000)))
        bar = Delivery(given(a_signal("MARKET_DATA", timestamp=minutes(11), bar_time=minutes(11))))
        rows(dsn, "ALTER TABLE capital_flows RENAME TO elsewhere")
        writer.keep([flow, bar])
        assert flow.answer is None
        rows(dsn, "ALTER TABLE elsewhere RENAME TO capital_flows")
        for _ in range(3):
            again = list(given_back)
            given_back.clear()
            if again:
                writer.keep(again)
        writer.close("the test is over")
    assert [None if one.answer is None else one.answer.kind for one in (flow, bar)] == ["decided", "decided"]
    assert rows(dsn, "SELECT amount FROM capital_flows") == [(Decimal(1000),)]


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize("wrong", ["term", "previous_hash", "fencing_number", "signals"])
def test_no_form_writes_or_reads_on_where_the_batch_may_not_be_kept(dsn: str, form: Form, wrong: str) -> None:
    """Not even an error in the rest of the document is met then: it would hide what is wrong."""
    with DatabaseStateManager(dsn) as manager:
        before = recover(manager, without_waiting(), None, minutes(10)).portfolio
        signal = given(a_signal("MARKET_DATA", timestamp=minutes(11), bar_time=minutes(11)))
        decision = decide(before, signal, minutes(12))
        batch = Batch(
            before=before,
            after=decision.portfolio,
            entries=(Entry(given=signal, decision=decision, decided_at=minutes(12)),),
        )
        document = manager.write_down(batch).rows
        if wrong == "signals":
            manager.commit(batch)
            (last,) = rows(dsn, "SELECT content_hash FROM decision_journal ORDER BY seq DESC LIMIT 1")
            document["previous_hash"] = last[0]
        else:
            document[wrong] = {"term": 99, "previous_hash": "0" * 64, "fencing_number": 99}[wrong]
        poison = {"position_id": "x", "entry_price": "1e40", "initial_capital": "1e40", "lots": "1e40"}
        for part in ("changed", "state_changed", "orders_changed"):
            document[part] = [poison]
        document["marked"] = {"position_id": ["x"], "mark_price": ["1e40"]}
        entries = rows(dsn, "SELECT count(*) FROM decision_journal")
        with closing(connect(dsn, "main", "a test")) as connection, connection.cursor() as cursor:
            cursor.execute(PLANNING)
            cursor.execute(preparation(form))
            cursor.execute(f"EXECUTE {form} (%s)", (msgspec.json.encode(document).decode(),))
            names = [column.name for column in cursor.description or ()]
            met = dict(zip(names, cursor.fetchone() or (), strict=True))
            connection.commit()
    assert (met["fenced"], met["continued"], met["in_time"]) == {
        "term": (False, False, False),
        "previous_hash": (True, False, False),
        "fencing_number": (True, True, False),
        "signals": (True, True, True),
    }[wrong]
    assert met["known"] == ([signal.fingerprint] if wrong == "signals" else [])
    assert (met["claimed"], met["effects"]) == ({}, 0)
    assert rows(dsn, "SELECT count(*) FROM decision_journal") == entries
