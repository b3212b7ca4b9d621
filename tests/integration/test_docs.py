"""The documents tell the truth: their commands are run, their links lead somewhere, their tables list what there is.

A fenced block says by an HTML comment above it how it is tested; without one a `bash` block is run in a shell, in a
scratch checkout, as it stands but for the ports. Installations are the only commands that are not run.
"""

import json
import os
import re
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args
from zoneinfo import ZoneInfo

import psycopg2
import pytest
from click.testing import CliRunner, Result
from pydantic import BaseModel

from core.alert import AlertRefused, parse_alert
from core.config import DatabaseSettings, FileSettings, default_settings, load_database_settings, load_file_settings
from core.contracts import Instrument
from core.errors import LockHeld, PortfolioError
from core.inputs import MoveCapital
from core.postgres.embedded import EmbeddedServer
from core.postgres.embedded_account import make_private_folder, run_as, server_account, write_owned
from core.postgres.embedded_binaries import programs_for, shipped_versions
from core.postgres.embedded_cluster import Layout
from core.postgres.errors import StatementFailed
from core.postgres.lease import PortfolioLock
from core.postgres.migrations import migrate
from live.app import create_app
from live.cli import _COMMANDS, main
from live.heartbeat import Heartbeat
from tests.builders import a_signal, minutes
from tests.engines import Clock, an_engine, rows_as_portfolio, status_of
from tests.fake_engine import FakeEngine

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "DATABASE_SETUP.md", "CHANGELOG.md")]
    + list((ROOT / "docs").rglob("*.md"))
)
BINARIES = shipped_versions()[max(shipped_versions())] / "bin"
NOT_LINKED = {"data", ".git", ".venv", "database_config.json", "alert.json", "book.dump"}
PATIENCE_SECONDS = 60.0
SUPERUSER_PASSWORD = "of the superuser"


# --- documents


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, how it is tested (the comment above it), its text, and where it begins."""

    language: str
    how: str
    text: str
    place: str


_FENCE = re.compile(
    r"(?:^<!-- test: (?P<how>[^\n]*?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


def blocks_of(name: str) -> list[Block]:
    """The fenced blocks of a document, in order."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return [
        Block(
            language=found["language"],
            how=found["how"] or "",
            text=found["text"],
            place=f"{name}:{text.count(chr(10), 0, found.start()) + 1}",
        )
        for found in _FENCE.finditer(text)
    ]


def block(name: str, how: str) -> Block:
    """The one block that is tested so."""
    (found,) = [candidate for candidate in blocks_of(name) if candidate.how == how]
    return found


def table_after(name: str, heading: str) -> list[list[str]]:
    """The rows of the first table below a heading, cell by cell, without its head."""
    text = (ROOT / name).read_text(encoding="utf-8")
    _, found, rest = text.partition(f"\n{heading}\n")
    assert found, f"{name} has no heading {heading!r}"
    rows = re.search(r"(?:^\|.*\n)+", rest, re.MULTILINE)
    assert rows is not None
    lines = rows[0].strip().splitlines()[2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def quoted(cell: str) -> list[str]:
    """What a cell has in backticks."""
    return re.findall(r"`([^`]+)`", cell)


# --- a checkout to run commands in


@dataclass
class Shell:
    """A scratch checkout: commands run in it as they are in the documents, but for what `mapped` puts in their place."""

    folder: Path
    mapped: Callable[[str], str] = lambda text: text
    exports: list[str] = field(default_factory=list)

    def run(self, found: Block) -> str:
        """Run a block to its end; its output. What it exports is there for the blocks after it."""
        done = subprocess.run(
            self._command(found),
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{found.place} ends with {done.returncode}:\n{done.stdout}"
        self.exports += re.findall(r"^export .*$", found.text, re.MULTILINE)
        return done.stdout

    @contextmanager
    def serving(self, found: Block) -> Iterator["Served"]:
        """Run a block whose last command is `live` until it is ready; at the end it is stopped by SIGTERM."""
        with (self.folder / "live.log").open("ab") as errors:
            process = subprocess.Popen(
                self._command(found),
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        try:
            served = Served(process, self._ready(process, found))
            try:
                yield served
            finally:
                with suppress(OSError):
                    os.kill(served.pid, signal.SIGTERM)
                process.wait(PATIENCE_SECONDS)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            assert process.stdout is not None
            process.stdout.close()

    def _ready(self, process: subprocess.Popen[bytes], found: Block) -> str:
        assert process.stdout is not None
        give_up, output = time.monotonic() + PATIENCE_SECONDS, ""
        while time.monotonic() < give_up and process.poll() is None:
            if select.select([process.stdout], [], [], 0.1)[0]:
                line = process.stdout.readline().decode()
                output += line
                if ready := re.match(r"ready on (http://\S+)", line):
                    return ready[1]
        raise AssertionError(f"{found.place} does not serve:\n{output}{(self.folder / 'live.log').read_text()}")

    def _command(self, found: Block) -> list[str]:
        return ["bash", "-euo", "pipefail", "-c", self.mapped("\n".join([*self.exports, found.text]))]

    def _environment(self) -> dict[str, str]:
        ours = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PG", "PM_", "PORTFOLIO_", "MAKE", "MFLAGS", "COV_"))
        }
        path = os.pathsep.join([str(Path(sys.prefix) / "bin"), str(BINARIES), os.environ["PATH"]])
        return {**ours, "PATH": path, "HOME": str(self.folder)}


@dataclass
class Served:
    """A `live` that a document has started."""

    process: subprocess.Popen[bytes]
    url: str

    def __post_init__(self) -> None:
        self.pid: int = self.get("/status")["pid"]

    def get(self, path: str) -> Any:
        """The JSON of a GET."""
        with urllib.request.urlopen(self.url + path, timeout=10) as response:
            return json.loads(response.read())


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that another account may pass, unlike pytest's own."""
    made = Path(tempfile.mkdtemp(prefix="pm-docs-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def shell(folder: Path) -> Iterator[Shell]:
    checkout = folder / "checkout"
    checkout.mkdir(mode=0o755)
    for entry in ROOT.iterdir():
        if entry.name not in NOT_LINKED and not entry.name.endswith("_cache") and not entry.name.startswith(".cov"):
            (checkout / entry.name).symlink_to(entry)
    (checkout / ".venv").symlink_to(sys.prefix)
    yield Shell(checkout)
    if Layout.of(checkout / "data").has_cluster():
        # What a failed test has left running is stopped by its last user.
        server = EmbeddedServer(checkout / "data", create=False)
        server.start()
        server.stop()


def a_free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# --- a PostgreSQL as one installs it: passwords, TCP on loopback


@dataclass(frozen=True, slots=True)
class Installed:
    """A fresh server with a superuser `postgres`."""

    port: int

    def dsn(self, user: str = "postgres", password: str = SUPERUSER_PASSWORD, database: str = "postgres") -> str:
        """Its connection string for a role."""
        return psycopg2.extensions.make_dsn(
            host="127.0.0.1", port=self.port, user=user, password=password, dbname=database, connect_timeout=10
        )

    def run(self, statements: str, **who: str) -> list[tuple[Any, ...]]:
        """Run statements one by one, each committed; the last one's rows."""
        with closing(psycopg2.connect(self.dsn(**who))) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                for statement in filter(str.strip, statements.split(";\n")):
                    cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []


OWNER = {"user": "pm_user", "password": "choose-a-long-one", "database": "portfolio_manager"}
RUNTIME = {"user": "pm_runtime", "password": "choose-another", "database": "portfolio_manager"}


@pytest.fixture
def installed(folder: Path) -> Iterator[Installed]:
    """A cluster as a package makes it, from the binaries that we have: scram passwords, no TLS."""
    data, password_file = folder / "cluster", folder / "password"
    account = server_account(data)
    programs = programs_for(account, None, folder)
    make_private_folder(data, account)
    write_owned(password_file, f"{SUPERUSER_PASSWORD}\n", account)
    initdb = [str(programs.folder / "initdb"), "-D", str(data), "-U", "postgres", "-E", "UTF8", "--locale=C"]
    initdb += ["--auth=scram-sha-256", f"--pwfile={password_file}", "--no-sync", "--no-instructions"]
    done = run_as(account, initdb, working_folder=data)
    assert done.returncode == 0, done.stderr
    server = Installed(a_free_port())
    command = [str(programs.folder / "postgres"), "-D", str(data), "-c", "listen_addresses=127.0.0.1"]
    command += ["-c", f"port={server.port}", "-c", "unix_socket_directories="]
    as_account: dict[str, Any] = (
        {} if account.is_ours else {"user": account.uid, "group": account.gid, "extra_groups": []}
    )
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=data, stdin=subprocess.DEVNULL, stdout=log, stderr=log, umask=0o077, **as_account
        )
    try:
        _wait_until_it_answers(server, process, folder / "server.log")
        yield server
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE_SECONDS)


def _wait_until_it_answers(server: Installed, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            psycopg2.connect(server.dsn()).close()
        except psycopg2.OperationalError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < give_up, log.read_text()
            time.sleep(0.02)
        else:
            return


# --- README.md


def test_every_command_of_the_readme_runs_and_the_alert_survives_a_sigkill(shell: Shell) -> None:
    port = a_free_port()
    url = f"http://127.0.0.1:{port}"
    to_engine = re.compile(r"(portfolio_manager\.py (?:send|close-all|close|capital|halt|resume)\b)")

    def mapped(text: str) -> str:
        text = text.replace("http://127.0.0.1:5000", url).replace(
            "make live", f"make --old-file=.venv/.installed live ARGS='--port {port}'"
        )
        return to_engine.sub(rf"\1 --url {url}", text)

    shell.mapped = mapped
    first, second = [found for found in blocks_of("README.md") if found.how == "terminal one"]
    commands = [found for found in blocks_of("README.md") if found.language == "bash"]
    before, after = commands[: commands.index(second)], commands[commands.index(second) + 1 :]
    outputs: dict[str, str] = {}
    with shell.serving(first) as served:
        assert served.url == url
        for found in before:
            if found.how == "":
                outputs[found.place] = shell.run(found)
        (told,) = [output for output in outputs.values() if '"status"' in output]
        _assert_like_the_answer_shown(json.loads(told))
        shell.run(block("README.md", "kills"))
        served.process.wait(PATIENCE_SECONDS)
    with shell.serving(second) as served:
        assert served.get("/status")["term"] == 2
        outputs = {found.place: shell.run(found) for found in after}
        again = next(iter(outputs.values()))
        assert json.loads(told)["position_id"] in again
        duplicate = json.loads(next(line for line in again.splitlines() if line.startswith("{")))
        assert (duplicate["status"], duplicate["first"]["lots"]) == ("duplicate", 2)
        status = served.get("/status")
        assert (status["flows_total"], status["open_positions"], status["halted"]) == ("250000", 0, True)
    assert served.process.returncode == 0


def _assert_like_the_answer_shown(told: dict[str, Any]) -> None:
    """The same but for the fingerprint, which follows from the time of the alert."""
    shown = json.loads(block("README.md", "the answer to the alert").text)
    shown["fingerprint"] = told["fingerprint"]
    shown["position_id"] = f"BANK_NIFTY-Long_1-{told['fingerprint'][:12]}"
    assert told == shown


def test_the_readmes_make_targets_would_do_what_it_says(shell: Shell) -> None:
    shell.mapped = lambda text: text.replace(
        "make ", "make --dry-run --old-file=.venv/.installed --old-file=.venv/.installed-dev "
    )
    assert "pytest" in shell.run(block("README.md", "make --dry-run"))


def test_the_readmes_table_lists_every_command_and_no_other() -> None:
    assert [quoted(row[0])[0] for row in table_after("README.md", "## Commands")] == list(_COMMANDS)


def test_the_readmes_table_lists_every_route_and_no_other(settings: Any) -> None:
    app = create_app(
        FakeEngine(),
        instruments=lambda: settings.instruments,
        naive_timezone=UTC,
        webhook_secret=None,
        operator_token="t" * 16,
    )
    served = {
        (method, re.sub(r"<\w+>", "*", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    listed = set()
    for cell, *_ in table_after("README.md", "## HTTP"):
        method, _, paths = cell.partition(" ")
        listed |= {(method, re.sub(r"\bID\b|/webhook/\Kmain" if False else r"\bID\b|\bmain\b", "*", path)) for path in paths.split(", ")}
    assert listed == served


# --- DATABASE_SETUP.md


def test_every_command_of_the_database_setup_runs_against_a_real_server(shell: Shell, installed: Installed) -> None:
    _use(shell, installed)
    for found in blocks_of("DATABASE_SETUP.md"):
        match found.language, found.how:
            case "bash", "syntax only, it installs":
                assert re.search(r"\b(apt-get|brew|docker)\b", found.text), found.place
                subprocess.run(["bash", "-n", "-c", found.text], check=True)
            case "bash", "serves":
                with shell.serving(found) as served:
                    assert served.get("/db/status")["migration_version"] == "001"
                assert served.process.returncode == 0
            case "bash", "while live runs":
                with shell.serving(Block("bash", "", "python portfolio_manager.py live", found.place)):
                    assert "portfolio_positions" in shell.run(found)
            case "bash", "" | "by hand":
                shell.run(found)
            case "sql", _:
                _run_sql(shell, installed, found)
            case "json", "equals database_config.json":
                assert found.text == (ROOT / "database_config.json").read_text(encoding="utf-8")
            case _:
                raise AssertionError(f"{found.place}: nobody knows how to test this")
    instances = installed.run("SELECT DISTINCT processed_by_instance FROM signal_log", **OWNER)
    assert instances == []
    terms = installed.run("SELECT term FROM leadership", **OWNER)
    assert terms == [(2,)]


def test_a_schema_made_by_hand_is_recognised_by_migrate(shell: Shell, installed: Installed) -> None:
    _use(shell, installed)
    create, *_ = _sql("as superuser")
    _run_sql(shell, installed, create)
    shell.exports.append(f"export PM_DB_PASSWORD={OWNER['password']}")
    assert "CREATE TABLE" in shell.run(block("DATABASE_SETUP.md", "by hand"))
    told = shell.run(
        Block("bash", "", "python portfolio_manager.py migrate --db-config database_config.json", "migrate after it")
    )
    assert "migrated from version none to 001" in told
    assert "already at version 001" in shell.run(
        Block("bash", "", "python portfolio_manager.py migrate --db-config database_config.json", "migrate again")
    )


def _use(shell: Shell, installed: Installed) -> None:
    """The documents' port is the test's server's, and that one has no TLS."""

    def mapped(text: str) -> str:
        text = text.replace("5432", str(installed.port)).replace("verify-full", "prefer")
        return text.replace("portfolio_manager.py live", "portfolio_manager.py live --port 0")

    shell.mapped = mapped
    config = (ROOT / "database_config.json").read_text(encoding="utf-8")
    (shell.folder / "database_config.json").write_text(mapped(config), encoding="utf-8")


def _sql(how: str) -> list[Block]:
    return [found for found in blocks_of("DATABASE_SETUP.md") if found.language == "sql" and found.how == how]


def _run_sql(shell: Shell, installed: Installed, found: Block) -> None:
    who: dict[str, dict[str, str]] = {"as superuser": {}, "as owner": OWNER, "as runtime": RUNTIME}
    subprocess.run(
        [str(BINARIES / "psql"), "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", installed.dsn(**who[found.how])],
        input=found.text,
        cwd=shell.folder,
        stdout=subprocess.DEVNULL,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=True,
    )


@pytest.fixture
def runtime_dsn(shell: Shell, installed: Installed) -> str:
    """A migrated database with the document's two roles; the connection string of the one that serves."""
    for found in _sql("as superuser")[:2]:
        _run_sql(shell, installed, found)
    migrate(installed.dsn(**OWNER), "main")
    (grants,) = _sql("as owner")
    _run_sql(shell, installed, grants)
    return installed.dsn(**RUNTIME)


def test_the_runtime_role_can_do_all_that_an_engine_does(runtime_dsn: str) -> None:
    clock = Clock()
    with an_engine(runtime_dsn, clock=clock) as engine:
        assert status_of(engine.deliver(a_signal())) == "executed"
        assert status_of(engine.deliver(a_signal())) == "duplicate"
        assert status_of(engine.deliver(a_signal("MARKET_DATA", price=52600, timestamp=minutes(1)))) == "executed"
        clock.forward(minutes=3)
        pyramid = a_signal("PYRAMID", price=52700, stop=52600, timestamp=minutes(2))
        assert status_of(engine.deliver(pyramid)) == "executed"
        assert status_of(engine.command(MoveCapital(amount=Decimal(1000), request_id="once"))) == "executed"
        assert status_of(engine.command(MoveCapital(amount=Decimal(1000), request_id="once"))) == "duplicate"
        engine.database_status()
        kept = a_signal("MARKET_DATA", price=52710, timestamp=minutes(2.5))
        engine.db_manager.log_signal(kept, secrets.token_hex(32), received_at=minutes(2.5))
        before = engine.portfolio
    with an_engine(runtime_dsn, clock=clock) as engine:
        assert engine.portfolio.positions.keys() == before.positions.keys()
        exit_all = a_signal("EXIT", layer="ALL", price=52700, timestamp=minutes(3))
        assert status_of(engine.deliver(exit_all)) == "executed"
        assert rows_as_portfolio(runtime_dsn, engine.portfolio) == engine.portfolio


def test_the_runtime_role_ends_a_paused_leaders_transaction(runtime_dsn: str) -> None:
    with an_engine(runtime_dsn) as engine, closing(psycopg2.connect(runtime_dsn)) as paused:
        with paused.cursor() as cursor:
            cursor.execute("SELECT term FROM leadership WHERE id = 1 FOR SHARE")
        with an_engine(runtime_dsn) as successor:
            assert successor.db_manager.term == (engine.db_manager.term or 0) + 1


def test_the_runtime_role_has_no_right_that_it_could_do_without(runtime_dsn: str, installed: Installed) -> None:
    _start_once(runtime_dsn)
    grants = installed.run(
        "SELECT privilege_type, table_name FROM information_schema.role_table_grants WHERE grantee = 'pm_runtime'",
        **OWNER,
    )
    assert len(grants) == 23
    for privilege, table in grants:
        installed.run(f"REVOKE {privilege} ON {table} FROM pm_runtime", **OWNER)
        with pytest.raises(StatementFailed, match="permission denied"):
            _start_once(runtime_dsn)
        installed.run(f"GRANT {privilege} ON {table} TO pm_runtime", **OWNER)
    _start_once(runtime_dsn)


def _start_once(dsn: str) -> None:
    """Everything that a start does."""
    migrate(dsn, "main")
    lock = PortfolioLock(dsn, "main", "the test")
    lock.acquire(5)
    try:
        with an_engine(dsn) as engine:
            heartbeat = Heartbeat(engine.db_manager, lock, last_signal=lambda: None, on_lost=pytest.fail)
            heartbeat.start(hostname="here", port=0, version="0")
            heartbeat.stop()
    finally:
        lock.release()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM signal_log",
        "TRUNCATE portfolio_positions CASCADE",
        "UPDATE decision_journal SET seq = seq",
        "DELETE FROM decision_journal",
        "UPDATE capital_flows SET amount = 1",
        "CREATE TABLE mine ()",
        "CREATE TEMPORARY TABLE mine ()",
        "CREATE SCHEMA mine",
        "DROP TABLE leadership",
        "UPDATE alembic_version SET version_num = '999'",
    ],
)
def test_the_runtime_role_may_not(statement: str, refusing: Installed) -> None:
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        refusing.run(statement, **RUNTIME)
