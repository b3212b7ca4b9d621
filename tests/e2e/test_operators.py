"""Operators beside a running engine: added, named in the journal, and out at once."""

import json
import subprocess
import sys
from pathlib import Path

from core.postgres.embedded import EmbeddedServer
from tests.e2e.test_live import folder
from tests.live_process import ROOT, LiveProcess
from tests.queries import rows
from tests.verified import verified

__all__ = ["folder"]


def told(data: Path, *arguments: str, exit_code: int = 0) -> str:
    command = [sys.executable, str(ROOT / "portfolio_manager.py"), "operators", *arguments, "--data-dir", str(data)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=data.parent)
    assert done.returncode == exit_code, done.stderr
    return done.stdout or done.stderr


def test_an_operator_is_let_in_named_in_the_journal_and_out_again_without_a_restart(folder: Path) -> None:
    data = folder / "data"
    with LiveProcess(data) as live:
        token = told(data, "add", "alice", "--role", "trader").strip()
        assert live.post({"reason": "lunch"}, "/halt", token)[1]["status"] == "executed"
        assert live.post({"amount": "1"}, "/capital", token)[0] == 403
        assert json.loads(told(data, "list", "--json"))["operators"][0]["role"] == "trader"
        assert "alice" in told(data, "list")
        told(data, "remove", "alice")
        assert live.post({}, "/resume", token)[0] == 401
        assert "no operator `alice`" in told(data, "remove", "alice", exit_code=1)
        own = (data / "operator.token").read_text().strip()
        assert live.post({}, "/resume", own)[1]["status"] == "executed"
        dsn = EmbeddedServer.dsn_of(data)
        given = "SELECT kind, input->>'operator' FROM decision_journal WHERE kind IN ('halt', 'resume') ORDER BY seq"
        assert rows(dsn, given) == [("halt", "alice"), ("resume", None)]
        assert "operator" not in rows(dsn, "SELECT input FROM decision_journal WHERE kind = 'resume'")[0][0]
        verified(dsn)
        assert token not in live.log()
        assert "operator=alice" in live.log()
