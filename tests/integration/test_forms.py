"""A batch as PostgreSQL is given it: whatever stands in it, and in whichever form of the statement."""

from decimal import Decimal
from typing import Any

import pytest
from psycopg2 import extensions, sql

import core.postgres.written
from core.db_state_manager import DatabaseStateManager
from core.decide import decide
from core.errors import StaleVersion
from core.inputs import Halt, MoveCapital
from core.journal import Batch, Entry
from core.postgres.forms import Form
from live.recovery import recover
from tests.builders import a_signal, minutes
from tests.engines import Clock, an_engine, status_of, without_waiting
from tests.listening_proxy import ListeningProxy
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


@pytest.fixture(params=["on", "off"])
def literals_dsn(dsn: str, request: pytest.FixtureRequest) -> str:
    """A database that takes a backslash in a literal as itself, and one that does not."""
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
        given = MoveCapital(amount=Decimal(1000))
        decision = decide(before, given, now)
        entry = Entry(given=given, decision=decision, decided_at=now)
        batch = Batch(before=before, after=decision.portfolio, entries=(entry,))
        monkeypatch.setattr(core.postgres.written, "form_of", lambda _: Form.BARS)
        with pytest.raises(StaleVersion, match="nothing was changed"):
            manager.commit(batch)
    assert rows(dsn, "SELECT count(*) FROM decision_journal") == entries
    assert rows(dsn, "SELECT count(*) FROM capital_flows") == [(0,)]


def test_a_connection_is_taught_a_form_once_and_when_it_is_needed(dsn: str) -> None:
    with an_engine(dsn, clock=Clock(minutes(6))) as engine:
        assert status_of(engine.deliver(a_signal(timestamp=minutes(1)))) == "executed"
    with ListeningProxy(dsn) as proxy, an_engine(proxy.dsn, clock=Clock(minutes(6))) as engine:

        def taught() -> list[str]:
            return [text.split()[1] for text in proxy.asked if text.startswith("PREPARE")]

        for minute in (2, 3):
            bar = a_signal("MARKET_DATA", timestamp=minutes(minute), bar_time=minutes(minute))
            assert status_of(engine.deliver(bar)) == "executed"
        assert taught() == [Form.BARS]  # a start needs no other
        for minute, kind in ((4, "EXIT"), (5, "BASE_ENTRY"), (6, "EXIT")):
            assert status_of(engine.deliver(a_signal(kind, timestamp=minutes(minute)))) == "executed"
        engine.command(Halt(reason="for a test"))
        assert taught() == [Form.BARS, Form.TRADES]
