"""One id through a signal's life: whoever looks for a fingerprint in the logs of all instances finds all of it."""

import json
import re
from pathlib import Path
from typing import Any

from tests.database_file import pointed_to
from tests.e2e.test_live import an_alert
from tests.live_process import LiveProcess
from tests.queries import rows
from tests.receiver import a_receiver
from tests.waiting import eventually


def lines_of(live: LiveProcess, fingerprint: str) -> list[dict[str, Any]]:
    """The lines of its log in which the fingerprint is found; each is JSON."""
    lines = [json.loads(line) for line in live.log().splitlines()]
    return [line for line in lines if fingerprint in json.dumps(line)]


def test_a_signals_fingerprint_is_in_every_line_about_it_on_both_instances(dsn: str, tmp_path: Path) -> None:
    with a_receiver() as receiver:
        config = tmp_path / "portfolio.json"
        settings = {"execution": {"fills": "broker"}, "notifications": {"channels": {"phone": {"url": receiver.url}}}}
        config.write_text(json.dumps(settings), encoding="utf-8")
        options = ("--config", str(config), "--log", "json", *pointed_to(dsn, tmp_path / "database.json"))
        with LiveProcess(tmp_path / "first", *options) as leader:
            with LiveProcess(tmp_path / "second", *options) as follower:
                status, answer = follower.post(an_alert())
                assert (status, answer["status"]) == (200, "accepted")
                fingerprint = answer["fingerprint"]
                # A price for what waits to be filled.
                leader.post(an_alert("MARKET_DATA", "", price=58412.6, ago=-1))
                settled = "SELECT bool_and(settled) FROM orders WHERE purpose = 'entry'"
                assert eventually(lambda: rows(dsn, settled) == [(True,)])
                assert eventually(lambda: any(fingerprint in message["message"] for message in receiver.taken))
                assert eventually(lambda: "order working" in _events(leader, fingerprint))
                assert _events(follower, fingerprint) == ["signal"]
                assert eventually(lambda: "notified" in _events(leader, fingerprint))
                found = _events(leader, fingerprint)
                _require_all_lines_name_it(leader, fingerprint)
            # The fingerprint of what is on its way is known to who leads after a restart, too.
            leader.sigkill()
        assert {"kept signal decided", "order intended", "order sent", "order fill", "order filled"} <= set(found)
        with LiveProcess(tmp_path / "first", *options) as again:
            before = len(lines_of(again, fingerprint))
            assert again.post(an_alert("EXIT", price=58500, ago=-2))[1]["status"] == "accepted"
            # The stop at the broker, which the entry has led to, is taken out of the way.
            assert eventually(lambda: len(lines_of(again, fingerprint)) > before)
            assert "order no longer wanted" in _events(again, fingerprint)
    with_it = rows(dsn, f"SELECT count(*) FROM decision_journal WHERE fingerprint = '{fingerprint}'")
    assert with_it == rows(dsn, f"SELECT count(*) FROM signal_log WHERE fingerprint = '{fingerprint}'") == [(1,)]


def _events(live: LiveProcess, fingerprint: str) -> list[str]:
    return [line["event"] for line in lines_of(live, fingerprint)]


def _require_all_lines_name_it(live: LiveProcess, fingerprint: str) -> None:
    """All lines about its position's orders: an order's id has the position's own digits, which are the fingerprint's first."""
    of_it = re.compile(rf"pm\d+-{fingerprint[:12]}-")
    for line in map(json.loads, live.log().splitlines()):
        if of_it.search(json.dumps(line)):
            assert fingerprint in json.dumps(line), line
