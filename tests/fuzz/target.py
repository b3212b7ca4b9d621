"""The real application around a real engine, asked as the server asks it, and looked after."""

import gc
import io
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import psutil

from live.app import create_app
from live.engine import LiveTradingEngine
from live.operators import Operators
from live.portfolios import Portfolios, Served
from live.short_cut import ARRIVED, BEGUN, Posted
from live.webhook_secrets import WebhookSecrets
from tests.fake_engine import KOLKATA, TOKEN
from tests.fuzz.posted import SECRET, Request
from tests.queries import rows

PEER = "198.51.100.7"
# What may be told to whoever sends something: never a 5xx.
STATUSES = {200, 400, 401, 403, 404, 405, 413}
_COUNTS = "SELECT (SELECT count(*) FROM decision_journal), (SELECT count(*) FROM signal_log)"
# Every row of the state, whatever it holds. Deliveries are counted beside it.
_STATE = """
    SELECT md5(string_agg(line, '\n' ORDER BY line)) FROM (
        SELECT t::text AS line FROM portfolio_positions t UNION ALL SELECT t::text FROM portfolio_state t
        UNION ALL SELECT t::text FROM pyramiding_state t UNION ALL SELECT t::text FROM capital_flows t
        UNION ALL SELECT t::text FROM orders t UNION ALL SELECT t::text FROM fills t
    ) AS lines
"""


class Target:
    """Takes requests, and knows which of them changed something."""

    def __init__(self, engine: LiveTradingEngine, dsn: str) -> None:
        self._engine, self._dsn = engine, dsn
        served = Served(
            engine_now=lambda: engine,
            instruments=lambda: engine.portfolio.settings.instruments,
            naive_timezone=KOLKATA,
            secrets=WebhookSecrets(clock=lambda: datetime.now(UTC), current=SECRET),
        )
        self._app = create_app(
            Portfolios({"main": served}), operators=Operators(TOKEN, Path("none")), session_secret=TOKEN
        )
        self.statuses: Counter[int] = Counter()
        self._decided = 0
        self._counted = rows(dsn, _COUNTS)[0]
        self._state = rows(dsn, _STATE)

    def post(self, request: Request) -> None:
        """Send it, and see that it is answered as promised, and changes nothing where it is refused."""
        before = self._engine.portfolio
        status, answer = self._ask(request)
        self.statuses[status] += 1
        assert status in STATUSES, (status, answer, request)
        if status == 200:
            self._decided += answer["status"] != "duplicate"
            return
        assert answer["error"]["message"]
        assert SECRET not in answer["error"]["message"]
        assert self._engine.portfolio is before, request

    def check_rows(self) -> None:
        """The journal and the signals have one row more for each alert that was decided, and the rest of the state is as it was
        where none was."""
        journal, signals = self._counted
        self._counted = rows(self._dsn, _COUNTS)[0]
        assert self._counted == (journal + self._decided, signals + self._decided)
        state, self._state = self._state, rows(self._dsn, _STATE)
        assert self._decided or state == self._state
        self._decided = 0

    def _ask(self, request: Request) -> tuple[int, Any]:
        """First the short cut, then the application: as live/channel.py does."""
        headers = {name.removeprefix("HTTP_"): value for name, value in request.headers}
        posted = Posted(
            path=request.path, query=request.query, headers=headers, peer=PEER, read_body=lambda: request.body
        )
        begun = self._app.webhook.begin(posted, lambda: None)
        environ = {**_environ(request), **({} if begun is None else {BEGUN: begun})}
        told: list[str] = []
        body = b"".join(self._app.wsgi_app(environ, lambda status, _headers: told.append(status)))
        return int(told[0].split()[0]), msgspec.json.decode(body)


def _environ(request: Request) -> dict[str, Any]:
    return {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": request.path,
        "QUERY_STRING": request.query,
        "SERVER_NAME": "x",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": PEER,
        "CONTENT_LENGTH": str(len(request.body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(request.body),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        ARRIVED: None,
        **dict(request.headers),
    }


def resident_mebibytes() -> float:
    """What this process holds, after all that is garbage is gone."""
    gc.collect()
    return psutil.Process().memory_info().rss / 2**20
