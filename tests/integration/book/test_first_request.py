"""A process's first request of the book: what it imports is not on the time that it has."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy.orm import Session, sessionmaker

from live.book_desk import USED
from tests.integration.book.test_attribution import a_desk

ROOT = Path(__file__).parents[3]
SERVER = """
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import live.app
from live.book_desk import BookDesk
from live.operators import Operators
from live.portfolios import Portfolios
from tests.fake_engine import FakeEngine, served_by

dsn, path = sys.argv[1:]
desk = BookDesk(dsn, lambda: datetime(2026, 1, 14, 12, tzinfo=UTC))
served = Portfolios({"main": served_by(FakeEngine())})
app = live.app.create_app(served, operators=Operators("t" * 32, Path("none")), session_secret="t" * 32, book=desk)
assert "sqlalchemy" not in sys.modules and "book" not in sys.modules
within = live.app.within
before = []

@contextmanager
def noted(seconds):
    before.append(set(sys.modules))
    with within(seconds):
        yield

live.app.within = noted
client = app.test_client()
assert client.get("/health").status_code == 200
assert "sqlalchemy" not in before[0] and "sqlalchemy" not in sys.modules
answer = client.get(path)
late = {name for name in set(sys.modules) - before[1] if name.partition(".")[0] in ("book", "risk", "sqlalchemy")}
print(answer.status_code, *sorted(late))
desk.close()
"""


@pytest.mark.parametrize(
    "path",
    [
        "/api/book/tree",
        "/api/book/pnl/calendar",
        "/api/risk/days",
        "/dashboard/book",
        "/dashboard/book/attribution",
    ],
)
def test_the_first_request_of_the_book_imports_before_its_time_begins(
    book_dsn: str, sessions: sessionmaker[Session], path: str
) -> None:
    with sessions.begin() as session:
        a_desk(session)
    asking = [sys.executable, "-W", "error", "-c", SERVER, book_dsn, path]
    done = subprocess.run(asking, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.split() == ["200"]


def test_all_that_requests_import_of_the_book_is_imported_before() -> None:
    imported = {
        node.module
        for folder in ("live/api", "live/dashboard")
        for file in (ROOT / folder).glob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("book.", "risk."))
    }
    assert imported - set(USED) == {"book.portfolio_management"}  # of which book.models is made
