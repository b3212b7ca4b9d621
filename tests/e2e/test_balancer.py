"""Two engines behind the balancer as it is shipped: whoever sends alerts never sees that one of them ends."""

import json
import os
import re
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path

import pytest

from core.postgres.migrations import head
from tests.balancer import NEEDS_HAPROXY, Balancer, balancer
from tests.crash.load import ENVIRONMENT, Load, prove
from tests.database_file import pointed_to
from tests.e2e.test_live import an_alert
from tests.folders import passable_folder
from tests.live_process import ROOT, LiveProcess, Served
from tests.waiting import eventually

pytestmark = NEEDS_HAPROXY
ROUNDS = 2
TOKEN = "one-token-for-both-of-them"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that another account may pass through, unlike pytest's own."""
    with passable_folder("balancer") as made:
        yield made


@dataclass
class Pair:
    """Two engines with a data folder each, on one database."""

    dsn: str
    folder: Path
    environment: dict[str, str]
    checkout: Path = ROOT
    engines: list[LiveProcess] = field(default_factory=list)

    def start(self, number: int, port: int = 0) -> LiveProcess:
        """It is ready."""
        return self.begin(number, port).__enter__()

    def begin(self, number: int, port: int = 0) -> LiveProcess:
        """It starts."""
        database = pointed_to(self.dsn, self.folder / "database.json")
        data = self.folder / f"engine-{number}"
        environment = {**ENVIRONMENT, **self.environment}
        return LiveProcess(data, *database, port=port, environment=environment, checkout=self.checkout)

    def mend(self) -> None:
        """Start again what has ended, as systemd or Docker would."""
        for number, engine in enumerate(self.engines):
            if engine.process.poll() is not None:
                engine.__exit__()
                self.engines[number] = self.start(number, engine.port)

    @property
    def leader(self) -> LiveProcess:
        found: list[LiveProcess] = []
        assert eventually(lambda: found.extend(filter(leads, self.engines)) or found, 60)
        return found[0]

    @property
    def follower(self) -> LiveProcess:
        leader = self.leader
        return next(engine for engine in self.engines if engine is not leader)


def leads(engine: Served) -> bool:
    try:
        return engine.get("/leader") == (200, {"leader": True})
    except OSError:
        return False


@contextmanager
def two_behind_a_balancer(dsn: str, folder: Path, **environment: str) -> Iterator[tuple[Pair, Balancer]]:
    pair = Pair(dsn, folder, environment)
    with ExitStack() as stack:
        stack.callback(lambda: [engine.__exit__() for engine in pair.engines])
        for number in range(2):
            pair.engines.append(pair.start(number))
        with balancer(folder / "haproxy.log", *pair.engines) as before_them:
            assert eventually(lambda: before_them.post({})[0] in (400, 403)), "no engine is up for the balancer"
            yield pair, before_them


def killed(engine: LiveProcess) -> None:
    os.kill(engine.process.pid, signal.SIGKILL)
    engine.process.wait(60)


def stopped(engine: LiveProcess) -> None:
    os.kill(engine.process.pid, signal.SIGTERM)
    engine.process.wait(60)


@pytest.mark.parametrize("fault", [killed, stopped])
def test_engines_that_end_in_a_burst_are_not_seen_by_who_sends_alerts_to_the_balancer(dsn, folder, note, fault):
    with two_behind_a_balancer(dsn, folder) as (pair, before_them):
        load = Load(before_them, f"balancer {fault.__name__}")
        with load.running():
            for number in range(2 * ROUNDS):
                load.wait_for(answers=20)
                # The one that leads, and the one that follows, turn and turn about.
                fault(pair.leader if number % 2 else pair.follower)
                load.wait_for(answers=20)
                pair.mend()
        assert load.ledger.turned_away == [], (folder / "haproxy.log").read_text()
        prove(load, pair.leader, dsn, note, faults=2 * ROUNDS)


def test_a_leader_that_is_paused_costs_alerts_time_but_none_is_turned_away(dsn, folder, note):
    with two_behind_a_balancer(dsn, folder) as (pair, before_them):
        load = Load(before_them, "balancer paused")
        # Who meets the paused one is asked for again at the other after 2.4 s.
        load.require_prompt_answers = lambda: None
        leader, follower = pair.leader, pair.follower
        with load.running():
            load.wait_for(answers=20)
            os.kill(leader.process.pid, signal.SIGSTOP)
            try:
                load.wait_for(answers=20)
                assert eventually(lambda: leads(follower), 60)
                load.wait_for(answers=20)
            finally:
                os.kill(leader.process.pid, signal.SIGCONT)
            assert leader.process.wait(30) == 1
            pair.mend()
            load.wait_for(answers=20)
        assert load.ledger.turned_away == [], (folder / "haproxy.log").read_text()
        prove(load, pair.leader, dsn, note, faults=1)


def test_an_upgrade_with_a_migration_follower_first_turns_no_alert_away(dsn, folder, note):
    with two_behind_a_balancer(dsn, folder) as (pair, before_them):
        load = Load(before_them, "balancer upgraded")
        leader, follower = pair.leader, pair.follower
        first, second = pair.engines.index(follower), pair.engines.index(leader)
        with load.running():
            load.wait_for(answers=20)
            pair.checkout, version = a_newer_program(folder / "newer")
            stopped(follower)
            follower.__exit__()
            pair.engines[first] = pair.begin(first, follower.port)
            # It takes nothing while the older one leads on the older schema.
            assert eventually(lambda: "the schema is of another version" in pair.engines[first].log())
            load.wait_for(answers=20)
            stopped(leader)
            pair.engines[first].__enter__()
            load.wait_for(answers=20)
            pair.mend()
            load.wait_for(answers=20)
        assert load.ledger.turned_away == [], (folder / "haproxy.log").read_text()
        assert leads(pair.engines[first])
        assert [engine.get("/db/status")[1]["migration_version"] for engine in pair.engines] == [version, version]
        prove(load, pair.engines[first], dsn, note, faults=2)
        # There is no way back: the older program says so, and ends.
        pair.checkout = ROOT
        stopped(pair.engines[second])
        pair.engines[second].__exit__()
        pair.engines[second] = older = pair.begin(second)
        stopped(pair.engines[first])
        assert older.process.wait(60) == 1
        assert "use a newer program" in older.log()


def a_newer_program(folder: Path) -> tuple[Path, str]:
    """This program with one migration more; the version that it brings."""
    folder.mkdir()
    for name in ("book", "core", "live", "migrations", "risk", "portfolio_manager.py"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    before = head()
    version = f"{int(before) + 1:03}"
    (folder / "migrations" / f"{version}_newer.sql").write_text("CREATE TABLE IF NOT EXISTS newer (id INTEGER);\n")
    (last,) = (ROOT / "migrations" / "versions").glob(f"v{before}_*.py")
    text = re.sub(rf"{before}_\w+\.sql", f"{version}_newer.sql", last.read_text())
    text = re.sub(r'down_revision = "\w+"', f'down_revision = "{before}"', text)
    text = re.sub(r'(?<!_)revision = "\w+"', f'revision = "{version}"', text)
    (folder / "migrations" / "versions" / f"v{version}_newer.py").write_text(text)
    return folder, version


def test_where_no_engine_is_left_the_sender_is_told_to_send_again(dsn, folder):
    with two_behind_a_balancer(dsn, folder) as (pair, before_them):
        alert = an_alert()
        for engine in pair.engines:
            killed(engine)
        status, answer = before_them.post(alert)
        assert (status, answer["error"]["code"]) == (503, "no_engine")
        pair.mend()
        # The checks need not have seen it.
        assert before_them.post(alert)[1]["status"] == "executed"


def refused_while_sending(port: int, size: int) -> tuple[int, str]:
    """Status and code of the answer to a body whose rest need not be read: who sends on finds the line closed."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.request("POST", "/webhook", b"x" * size)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())["error"]["code"]


def test_the_balancer_lets_alerts_in_and_nothing_else(dsn, folder):
    with two_behind_a_balancer(dsn, folder) as (pair, before_them):
        assert before_them.post(an_alert(), "/webhook/main")[0] == 200
        assert before_them.get("/webhook")[0] == 405
        for method, path in (
            ("GET", "/status"),
            ("GET", "/positions"),
            ("POST", "/halt"),
            ("GET", "/"),
            ("GET", "/webhooks"),
        ):
            status, answer = before_them.ask(method, path, b"{}" if method == "POST" else None, TOKEN)
            assert (status, answer["error"]["code"]) == (404, "not_found"), path
        assert pair.leader.get("/status")[1]["halted"] is False
        # A body of 64 KiB passes; a larger one is refused as an engine would refuse it.
        assert before_them.post(b"x" * 65_536)[0] == 400
        for size in (65_537, 90_000, 2_000_000):
            assert refused_while_sending(before_them.port, size) == (413, "too_large"), size


def test_an_alert_is_from_whom_the_balancer_saw_whatever_its_sender_writes(dsn, folder):
    environment = {"PORTFOLIO_TRUSTED_PROXIES": '["127.0.0.1"]', "PORTFOLIO_ALLOWED_ADDRESSES": '["127.0.0.2"]'}
    with two_behind_a_balancer(dsn, folder, **environment) as (pair, before_them):
        alert = json.dumps(an_alert()).encode()

        def status_of(port: int, source: str, **headers: str) -> int:
            with closing(HTTPConnection("127.0.0.1", port, timeout=10, source_address=(source, 0))) as connection:
                connection.request("POST", "/webhook", alert, headers)
                return connection.getresponse().status

        lying = {"X-Forwarded-For": "127.0.0.2"}
        assert status_of(before_them.port, "127.0.0.3") == 403
        assert status_of(before_them.port, "127.0.0.3", **lying) == 403
        assert status_of(pair.leader.port, "127.0.0.3", **lying) == 403
        assert status_of(before_them.port, "127.0.0.2") == 200
        assert status_of(before_them.port, "127.0.0.2", **{"X-Forwarded-For": "127.0.0.3"}) == 200


def test_an_operators_command_finds_the_one_that_leads_with_one_token_for_both(dsn, folder):
    with two_behind_a_balancer(dsn, folder, PORTFOLIO_OPERATOR_TOKEN=TOKEN) as (pair, before_them):
        operator = before_them.operator
        assert eventually(lambda: operator.ask("GET", "/status", token=TOKEN)[0] == 200)
        assert operator.post({"reason": "a test", "request_id": "halt"}, "/halt", "another-token-altogether")[0] == 401
        assert operator.post({"reason": "a test", "request_id": "halt"}, "/halt", TOKEN)[0] == 200
        follower = pair.follower
        killed(pair.leader)
        assert eventually(lambda: leads(follower))

        def resumed() -> bool:
            return operator.post({"request_id": "resume"}, "/resume", TOKEN)[0] == 200

        assert eventually(resumed)
        assert follower.get("/status")[1]["halted"] is False


def test_a_command_is_not_sent_again_where_its_answer_is_lost(dsn, folder):
    """A deposit without `request_id` is done twice if it is told twice: alerts only are told again."""
    with two_behind_a_balancer(dsn, folder, PORTFOLIO_OPERATOR_TOKEN=TOKEN) as (pair, before_them):
        operator = before_them.operator
        assert eventually(lambda: operator.ask("GET", "/status", token=TOKEN)[0] == 200)
        leader, follower = pair.leader, pair.follower
        os.kill(leader.process.pid, signal.SIGSTOP)
        told: list[int] = []

        def deposit() -> None:
            with suppress(OSError):
                told.append(operator.post({"amount": 1000}, "/capital", TOKEN)[0])

        asking = threading.Thread(target=deposit)
        asking.start()
        # The balancer knows the next leader before the answer of the one before it is lost.
        assert eventually(
            lambda: leads(operator) and operator.ask("GET", "/status", token=TOKEN)[1]["pid"] == follower.process.pid,
            60,
        )
        killed(leader)
        asking.join(60)
        assert told in ([503], [])
        assert follower.get("/status")[1]["flows_total"] == "0"
