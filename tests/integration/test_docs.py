"""The documents tell the truth: their commands are run, their links lead somewhere, their tables list what there is.

A fenced block says by an HTML comment above it how it is tested; without one a `bash` block is run in a shell, in a
scratch checkout, as it stands but for the ports. Installations are the only commands that are not run.
"""

import csv
import json
import os
import re
import secrets
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, get_args, get_origin
from zoneinfo import ZoneInfo

import psycopg2
import pytest
import yaml
from click.testing import CliRunner, Result
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from core.alert import AlertRefused, parse_alert
from core.config import (
    ContractFiles,
    DatabaseSettings,
    FileSettings,
    default_settings,
    load_database_settings,
    load_file_settings,
)
from core.contracts import Instrument
from core.errors import DatabaseAway, LockHeld
from core.inputs import MoveCapital, Resume
from core.mapping import read_alerts
from core.notifications import Channel
from core.postgres.connections import connect, dsn_of
from core.postgres.embedded import EmbeddedServer
from core.postgres.embedded_account import give, server_account
from core.postgres.embedded_binaries import shipped_versions
from core.postgres.embedded_cluster import Layout
from core.postgres.errors import StatementFailed
from core.postgres.lease import PortfolioLock
from core.postgres.migrations import head, migrate, shared_head
from core.profiles import Profile, profile_named
from live.brokers.ccxt import CcxtBroker
from live.brokers.settings import BrokersSettings
from live.cli import _COMMANDS, main
from live.contracts_desk import ContractsDesk
from live.heartbeat import Heartbeat
from live.notify.cursor import Cursor
from live.notify.standing import Standing
from live.order_desk import _markets, brokers_settings, settings_for
from live.replay.lines import MAX_BYTES, MAX_LINE_BYTES, MAX_LINES
from live.replay.model import ReplayResult
from live.replay.reports import GROUP_HEADINGS, facts
from live.replay.summary import summarise
from live.replay.table import MAX_ROW_BYTES
from live.replay.trade_rows import MAX_ROWS
from tests.archiving_server import ARCHIVE_COMMAND
from tests.builders import a_signal, minutes
from tests.command_line import run
from tests.database_file import pointed_to
from tests.engines import Clock, an_engine, led_by, rows_as_portfolio, status_of
from tests.fake_engine import FakeEngine, an_app
from tests.folders import passable_folder
from tests.free_ports import free_ports
from tests.ha.cluster import DYNAMIC_SETTINGS
from tests.installed_server import Installed, installed_server
from tests.receiver import a_receiver

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "DATABASE_SETUP.md", "CHANGELOG.md")]
    + list((ROOT / "docs").rglob("*.md"))
)
BINARIES = shipped_versions()[max(shipped_versions())] / "bin"
NOT_LINKED = {"data", "config", ".git", ".venv", "database_config.json", "alert.json", "book.dump"}
PATIENCE_SECONDS = 180.0


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

    def run(self, *blocks: Block) -> str:
        """Run blocks to their ends; their output. What one exports is there for those after it."""
        return "".join(map(self._run, blocks))

    def _run(self, found: Block) -> str:
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
        first = self.get("/portfolios")["portfolios"][0]["portfolio"]
        self.pid: int = self.get(f"/status?portfolio={first}")["pid"]

    def get(self, path: str) -> Any:
        """The JSON of a GET."""
        with urllib.request.urlopen(self.url + path, timeout=10) as response:
            return json.loads(response.read())


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that another account may pass, unlike pytest's own."""
    with passable_folder("docs") as made:
        yield made


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
    (port,) = free_ports(1)
    return port


# --- a PostgreSQL as one installs it: passwords, TCP on loopback


OWNER = {"user": "pm_user", "password": "choose-a-long-one", "database": "portfolio_manager"}
RUNTIME = {"user": "pm_runtime", "password": "choose-another", "database": "portfolio_manager"}


@pytest.fixture
def installed(folder: Path) -> Iterator[Installed]:
    """A cluster as a package makes it."""
    with installed_server(folder) as server:
        yield server


# --- README.md


def test_the_readmes_alert_is_executed_and_survives_a_sigkill(readme: Shell) -> None:
    first, second = [found for found in blocks_of("README.md") if found.how == "terminal one"]
    send, again = _readme_commands("## An alert"), _readme_commands("## Kill it")
    with readme.serving(first) as served:
        told = _json_in(readme.run(*send))
        _assert_like_the_answer_shown(told)
        readme.run(block("README.md", "kills"))
        served.process.wait(PATIENCE_SECONDS)
    with readme.serving(second) as served, readme.serving(block("README.md", "terminal two, follows")) as follower:
        assert (follower.get("/status")["leader"], follower.get("/status")["term"]) == (False, 2)
        status = served.get("/status")
        assert (status["term"], status["open_positions"], status["failed_invariants"]) == (2, 1, [])
        output = readme.run(*again)
        assert told["position_id"] in output[: output.index("{")]
        duplicate = _json_in(output)
        assert (duplicate["status"], duplicate["differs"]) == ("duplicate", False)
        assert duplicate["first"]["position_id"] == told["position_id"]
        assert told["position_id"] in output[output.rindex("}") :]
    assert served.process.returncode == 0


def test_the_readmes_portfolios_are_served_side_by_side(readme: Shell) -> None:
    with readme.serving(block("README.md", "terminal three, several")) as served:
        told = {each["portfolio"]: each["role"] for each in served.get("/portfolios")["portfolios"]}
        assert told == {"alpha": "leader", "beta": "leader"}
    assert served.process.returncode == 0


def test_the_readmes_commands_and_requests_do_what_they_say(readme: Shell) -> None:
    live = next(found for found in blocks_of("README.md") if found.how == "terminal one")
    with readme.serving(live) as served:
        readme.run(*_readme_commands("## An alert"))
        commands = readme.run(*_readme_commands("## Commands"))
        assert "BASE_ENTRY" in commands
        assert '"events"' in commands
        assert "duplicate" in commands
        status = served.get("/status")
        assert (status["flows_total"], status["open_positions"], status["halted"]) == ("250000", 0, False)
        assert _json_in(readme.run(*_readme_commands("## HTTP")))["status"] == "executed"
        assert served.get("/status")["halted"] is True
    assert served.process.returncode == 0


def test_every_command_of_the_readme_is_run_by_one_of_these_tests() -> None:
    marked = ("terminal one", "terminal two, follows", "terminal three, several", "kills", "make --dry-run")
    known = [("bash", how) for how in ("", *marked)]
    known.append(("json", "the answer to the alert"))
    unmarked = [found for found in blocks_of("README.md") if found.language == "bash" and not found.how]
    assert {(found.language, found.how) for found in blocks_of("README.md")} == set(known)
    run = [
        _readme_commands(heading) for heading in ("## An alert", "## Kill it", "## Replay", "## Commands", "## HTTP")
    ]
    assert [found for (found,) in run] == unmarked


def test_the_readmes_replay_writes_its_page(readme: Shell) -> None:
    assert "Trades closed" in readme.run(*_readme_commands("## Replay"))
    assert (readme.folder / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.fixture
def readme(shell: Shell) -> Shell:
    """A checkout in which the README's port is a free one."""
    port, second_port = a_free_port(), a_free_port()
    url = f"http://127.0.0.1:{port}"
    to_engine = re.compile(r"(portfolio_manager\.py (?:send|close-all|close|capital|halt|resume)\b)")

    def mapped(text: str) -> str:
        text = text.replace("http://127.0.0.1:5000", url).replace("--port 5001", f"--port {second_port}")
        # The packages are installed already: as far as make is concerned, too.
        text = text.replace("make live", f"make --old-file=.venv/.installed live ARGS='--port {port}'")
        return to_engine.sub(rf"\1 --url {url}", text)

    shell.mapped = mapped
    return shell


def _readme_commands(heading: str) -> list[Block]:
    """The blocks of a section that are run as they are."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.partition(f"\n{heading}\n")[2].partition("\n## ")[0]
    unmarked = [found for found in blocks_of("README.md") if found.language == "bash" and not found.how]
    return [found for found in unmarked if found.text in section]


def _json_in(output: str) -> dict[str, Any]:
    """The first JSON object that was printed."""
    found: dict[str, Any] = json.JSONDecoder().raw_decode(output[output.index("{") :])[0]
    return found


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


def test_the_readmes_table_lists_every_route_and_no_other() -> None:
    app = an_app(FakeEngine())
    served = {
        (method, re.sub(r"<\w+>", "*", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if not rule.endpoint.endswith(".static")
    }
    listed = set()
    for cell, *_ in table_after("README.md", "## HTTP"):
        method, _, paths = cell.partition(" ")
        listed |= {(method, re.sub(r"\b(?:ID|main|SECRET)\b", "*", path)) for path in paths.split(", ")}
    assert listed == served


# --- DATABASE_SETUP.md


def test_every_command_about_the_embedded_database_runs(shell: Shell) -> None:
    shell.mapped = _on_any_port
    make, look = [found for found in blocks_of("DATABASE_SETUP.md") if found.text in _about_the_embedded()]
    assert f"migrated from version none to {head()}" in shell.run(make)
    assert look.how == "while live runs"
    with shell.serving(Block("bash", "", "python portfolio_manager.py live", look.place)):
        assert "portfolio_positions" in shell.run(look)
    assert (shell.folder / "book.dump").read_bytes().startswith(b"PGDMP")


def test_every_command_about_a_server_of_ones_own_runs_against_one(shell: Shell, installed: Installed) -> None:
    _use(shell, installed)
    for found in blocks_of("DATABASE_SETUP.md"):
        if found.text in _about_the_embedded() or found.how in SEVERAL_SERVERS:
            continue
        match found.language, found.how:
            case "bash", "syntax only, it installs":
                assert re.search(r"\b(apt-get|brew|docker)\b", found.text), found.place
                subprocess.run(["bash", "-n", "-c", found.text], check=True)
            case "bash", "serves":
                with shell.serving(found) as served:
                    assert served.get("/db/status")["migration_version"] == head()
                assert served.process.returncode == 0
            case "bash", "" | "by hand":
                shell.run(found)
            case "sql", _:
                _run_sql(shell, installed, found)
            case "json", "equals database_config.json":
                assert found.text == (ROOT / "database_config.json").read_text(encoding="utf-8")
            case _:
                raise AssertionError(f"{found.place}: nobody knows how to test this")
    # Both roles have served.
    assert installed.run("SELECT term FROM leadership", **OWNER) == [(2,)]


SEVERAL_SERVERS = ("several hosts", "as the tests of a cluster have it")


def test_what_the_guide_says_of_several_servers_is_valid_and_what_the_tests_have(tmp_path: Path) -> None:
    entry, patroni = (block("DATABASE_SETUP.md", how) for how in SEVERAL_SERVERS)
    file = tmp_path / "several.json"
    file.write_text(re.sub(r"\$\{\w+\}", "x", entry.text), encoding="utf-8")
    settings = load_database_settings(file, "production")
    assert settings.host.count(",") == 2
    assert "target_session_attrs=read-write" in dsn_of(settings)
    assert yaml.safe_load(patroni.text) == {"bootstrap": {"dcs": DYNAMIC_SETTINGS}}


def _about_the_embedded() -> str:
    text = (ROOT / "DATABASE_SETUP.md").read_text(encoding="utf-8")
    return text.partition("\n## Embedded\n")[2].partition("\n## ")[0]


def _on_any_port(text: str) -> str:
    return text.replace("portfolio_manager.py live", "portfolio_manager.py live --port 0")


def test_a_schema_made_by_hand_is_recognised_by_migrate(shell: Shell, installed: Installed) -> None:
    _use(shell, installed)
    create, *_ = _sql("as superuser")
    _run_sql(shell, installed, create)
    shell.exports.append(f"export PM_DB_PASSWORD={OWNER['password']}")
    assert "CREATE TABLE" in shell.run(block("DATABASE_SETUP.md", "by hand"))
    told = shell.run(
        Block("bash", "", "python portfolio_manager.py migrate --db-config database_config.json", "migrate after it")
    )
    assert f"migrated from version none to {head()}" in told
    assert f"already at version {head()}" in shell.run(
        Block("bash", "", "python portfolio_manager.py migrate --db-config database_config.json", "migrate again")
    )


def _use(shell: Shell, installed: Installed) -> None:
    """The documents' port is the test's server's, and that one has no TLS."""

    def mapped(text: str) -> str:
        text = text.replace("5432", str(installed.port)).replace("verify-full", "prefer")
        return _on_any_port(text)

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
        assert set(engine.portfolio.positions) == set(before.positions)
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
    assert len(grants) == 42
    for privilege, table in grants:
        installed.run(f"REVOKE {privilege} ON {table} FROM pm_runtime", **OWNER)
        with pytest.raises(StatementFailed, match="permission denied"):
            _start_once(runtime_dsn)
        installed.run(f"GRANT {privilege} ON {table} TO pm_runtime", **OWNER)
    _start_once(runtime_dsn)


def test_where_functions_are_nobodys_to_execute_the_runtime_role_needs_one(
    runtime_dsn: str, installed: Installed
) -> None:
    (grant,) = re.findall(
        r"`(GRANT EXECUTE ON FUNCTION refuse_batch.*?)`", (ROOT / "DATABASE_SETUP.md").read_text("utf-8")
    )
    installed.run("REVOKE EXECUTE ON FUNCTION refuse_batch FROM PUBLIC", **OWNER)
    with pytest.raises(StatementFailed, match="permission denied for function refuse_batch"):
        _start_once(runtime_dsn)
    installed.run(grant, **OWNER)
    _start_once(runtime_dsn)


def test_the_runtime_role_serves_what_the_owner_has_restored_in_the_place_of_another(
    runtime_dsn: str, installed: Installed, tmp_path: Path
) -> None:
    _start_once(runtime_dsn)
    owner = (*pointed_to(installed.dsn(**OWNER), tmp_path / "owner.json"), "--data-dir", str(tmp_path))
    runtime = pointed_to(runtime_dsn, tmp_path / "runtime.json")
    file = tmp_path / "backup.zip"
    refused = run("backup", "--to", str(file), *runtime, "--data-dir", str(tmp_path))
    assert (refused.exit_code, "signal_log_id_seq" in refused.stderr) == (1, True)
    for command in (("backup", "--to", str(file)), ("restore", str(file), "--replace"), ("restore", "--recovered")):
        done = run(*command, *owner)
        assert done.exit_code == 0, done.output
    _start_once(runtime_dsn)
    with an_engine(runtime_dsn) as engine:
        assert status_of(engine.command(Resume())) == "executed"
        assert status_of(engine.deliver(a_signal())) == "executed"
    refused = run("restore", str(file), "--replace", *runtime, "--data-dir", str(tmp_path))
    assert (refused.exit_code, "permission denied" in refused.stderr) == (1, True)


def _start_once(dsn: str) -> None:
    """Everything that a start does."""
    migrate(dsn, "main")
    lock = PortfolioLock(dsn, "main", "the test")
    lock.acquire(5)
    try:
        with an_engine(dsn) as engine:
            heartbeat = Heartbeat(engine.db_manager, led_by(lock), engine, revive=lambda: None, on_lost=pytest.fail)
            heartbeat.start(hostname="here", port=0, version="0")
            heartbeat.lead()
            heartbeat.stop()
            engine.db_manager.reads.run("count_signals", settled_seconds=600, limit=1)
            told = Cursor(engine.reads, secrets.token_hex(8), engine.db_manager.term)
            told.end(told.begin(told.place(), 1_000), 1_000, Standing())
    finally:
        lock.release()


def test_the_runtime_role_may_neither_delete_nor_change_the_journal_nor_create(
    runtime_dsn: str, installed: Installed
) -> None:
    for statement in (
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
    ):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            installed.run(statement, **RUNTIME)


def test_what_the_troubleshooting_table_quotes_is_what_is_printed(
    installed: Installed, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.delenv("PM_DB_PASSWORD", raising=False)
    printed = "\n".join(_provoked(installed, monkeypatch))
    sources = "\n".join(
        file.read_text(encoding="utf-8") for file in sorted((ROOT / "core" / "postgres").glob("embedded*.py"))
    )
    for first, *_ in table_after("DATABASE_SETUP.md", "## Troubleshooting"):
        message = quoted(first)[0]
        # What takes another user or a broken machine is looked up instead, as it is written down.
        assert message in printed or re.sub(r"\s+", " ", message) in _unwrapped(sources), message


def _unwrapped(source: str) -> str:
    """String literals that go on over several lines, as one."""
    return re.sub(r'"\s*\n\s*f?"', "", source)


def _provoked(installed: Installed, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """What the commands say when things are wrong, one after the other."""
    entry = {"host": "127.0.0.1", "port": installed.port, "user": "pm_user", "password": "${PM_DB_PASSWORD}"}

    def told(*command: str, **changes: Any) -> str:
        Path("config.json").write_text(json.dumps({"local": {**entry, **changes}}), encoding="utf-8")
        done: Result = CliRunner().invoke(main, [*command, "--db-config", "config.json"])
        assert done.exit_code == 1, done.output
        return done.output

    yield CliRunner().invoke(main, ["status"]).output
    with pytest.raises(DatabaseAway) as away:
        connect(psycopg2.extensions.make_dsn(host="/nobody/listens/here", dbname="none"), "main", "a test")
    yield str(away.value)
    yield told("migrate")
    monkeypatch.setenv("PM_DB_PASSWORD", OWNER["password"])
    yield told("migrate", "--db-env", "production")
    yield told("migrate", port=a_free_port())
    yield told("migrate")
    installed.run("CREATE ROLE pm_user LOGIN PASSWORD 'choose-a-long-one'")
    yield told("migrate")
    installed.run("CREATE DATABASE portfolio_manager")
    yield told("migrate")
    yield told("migrate", sslmode="require")
    yield told("status")
    superuser = {"database": "portfolio_manager"}
    installed.run("CREATE TABLE signal_log (instrument TEXT, signal_timestamp TIMESTAMPTZ)", **superuser)
    installed.run("ALTER DATABASE portfolio_manager OWNER TO pm_user")
    yield told("migrate")
    installed.run("DROP TABLE signal_log", **superuser)
    migrate(installed.dsn(**OWNER), "main")
    installed.run("REVOKE SELECT ON portfolio_state FROM pm_user", **superuser)
    yield told("status")
    installed.run("GRANT SELECT ON portfolio_state TO pm_user", **superuser)
    installed.run("UPDATE alembic_version SET version_num = '999'", **superuser)
    yield told("migrate")
    for setting in ("synchronous_commit = off", "default_transaction_read_only = on"):
        installed.run(f"ALTER ROLE pm_user SET {setting}")
        yield told("migrate")
        installed.run("ALTER ROLE pm_user RESET ALL")
    holder, other = (PortfolioLock(installed.dsn(**OWNER), "main", name) for name in ("live pid 4711", "another"))
    holder.acquire(1)
    with pytest.raises(LockHeld) as held:
        other.acquire(0)
    yield str(held.value)
    holder.release()
    other.release()


# --- database_config.json and docs/configuration.md


def test_database_config_json_is_valid_and_holds_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PM_DB_HOST", "PM_DB_USER", "PM_DB_PASSWORD"):
        monkeypatch.setenv(name, f"value-of-{name.lower()}")
    file = ROOT / "database_config.json"
    local, production = (load_database_settings(file, name) for name in ("local", "production"))
    assert (local.host, local.user, local.password) == ("127.0.0.1", "pm_user", "value-of-pm_db_password")
    assert (production.host, production.sslmode) == ("value-of-pm_db_host", "verify-full")
    entries = json.loads(file.read_text(encoding="utf-8"))
    assert all(entry["password"] == "${PM_DB_PASSWORD}" for entry in entries.values())


def test_the_configuration_guide_lists_every_setting_with_its_default_and_no_other() -> None:
    listed = {quoted(row[0])[0]: row[1:3] for row in table_after("docs/configuration.md", "## Settings")}
    expected = dict(_settings_of(FileSettings))
    assert listed.keys() == expected.keys()
    for name, (default, variable) in listed.items():
        assert quoted(default) == [expected[name]], name
        assert quoted(variable) == [f"PORTFOLIO_{name.replace('.', '__').upper()}"], name


def test_the_configuration_guide_lists_every_field_of_an_instrument_and_no_other() -> None:
    listed = {quoted(row[0])[0]: row[1] for row in table_after("docs/configuration.md", "## Instruments")}
    assert {name: quoted(default) for name, default in listed.items()} == {
        name: [] if info.is_required() else [_shown(info.default)] for name, info in Instrument.model_fields.items()
    }


def test_the_configuration_guide_lists_every_key_of_database_config_json_and_no_other() -> None:
    listed = {
        quoted(row[0])[0]: quoted(row[1]) for row in table_after("docs/configuration.md", "## database_config.json")
    }
    assert listed == {name: [_shown(info.default)] for name, info in DatabaseSettings.model_fields.items()}


def _settings_of(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every leaf of a settings model, by its dotted name, with its default as the guide shows it."""
    for name, info in model.model_fields.items():
        # What may be left out whole has settings of its own all the same.
        inner = [kind for kind in (info.annotation, *get_args(info.annotation)) if _is_model(kind)]
        if inner and get_origin(info.annotation) is not dict:
            yield from _settings_of(inner[0], f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _shown_default(info)


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _shown_default(info: FieldInfo) -> str:
    return "required" if info.is_required() else _shown(info.get_default(call_default_factory=True))


def _shown(default: Any) -> str:
    match default:
        case None:
            return "null"
        case bool():
            return str(default).lower()
        case tuple() | frozenset():
            return f"[{', '.join(map(_shown, default))}]"
        case dict():
            return json.dumps(default)
        case str():
            return f'"{default}"'
        case _:
            return str(default)


def test_the_configuration_guides_portfolios_are_valid(tmp_path: Path) -> None:
    example = tmp_path / "portfolios.json"
    example.write_text(block("docs/configuration.md", "valid, for several portfolios").text, encoding="utf-8")
    found = load_file_settings(example)
    risk = [found.of(name).limits.risk_percent for name in ("alpha", "beta", "gamma")]
    assert (risk, found.of("alpha").initial_capital) == ([10, 6, 10], 10_000_000)


def test_the_configuration_guides_examples_are_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = tmp_path / "portfolio.json"
    example.write_text(block("docs/configuration.md", "a valid configuration").text, encoding="utf-8")
    for variable, value in re.findall(
        r"^export (PORTFOLIO_\w+)='?([^'\n]*)'?$",
        block("docs/configuration.md", "valid variables").text,
        re.MULTILINE,
    ):
        monkeypatch.setenv(variable, value)
    found = load_file_settings(example)
    assert found.limits.risk_percent == 10
    assert found.settings.instruments["COPPER"].max_pyramids == 2
    assert found.settings.instruments["GOLD_MINI"].margin_per_lot == 120000
    assert found.settings.instruments["RELIANCE"].kind == "spot"
    assert found.webhook_secret is not None


def test_the_configuration_guides_toml_says_the_same_as_its_json(tmp_path: Path) -> None:
    in_json, in_toml = tmp_path / "portfolio.json", tmp_path / "portfolio.toml"
    in_json.write_text(block("docs/configuration.md", "a valid configuration").text, encoding="utf-8")
    in_toml.write_text(block("docs/configuration.md", "the same configuration in TOML").text, encoding="utf-8")
    assert load_file_settings(in_toml) == load_file_settings(in_json)


def test_what_the_configuration_guides_init_writes_is_taken(shell: Shell) -> None:
    alert = {"type": "MARKET_DATA", "instrument": "BANK_NIFTY", "price": 52000, "atr": 350}
    (shell.folder / "alert.json").write_text(json.dumps({**alert, "timestamp": datetime.now(UTC).isoformat()}))
    shell.run(Block("bash", "", "python portfolio_manager.py migrate", "before it"))
    told = shell.run(block("docs/configuration.md", "init"))
    assert "MARKET_DATA" in told
    assert "PORTFOLIO_WEBHOOK_SECRET=" in (shell.folder / "config" / "portfolio.env").read_text()


# --- docs/tradingview.md

FILLED = {
    "{{close}}": "58412.6",
    "{{time}}": "2026-01-14T06:15:00Z",
    "{{timenow}}": "2026-01-14T07:30:02Z",
    "{{plot_0}}": "285.4",
    "{{plot_1}}": "0.86",
    "{{plot_2}}": "57985",
}


def test_the_five_alert_messages_are_taken_once_tradingview_has_filled_them() -> None:
    alerts = [found for found in blocks_of("docs/tradingview.md") if found.how.startswith("an alert")]
    kinds = []
    for found in alerts:
        filled = re.sub(r"\{\{\w+\}\}", lambda placeholder: FILLED[placeholder[0]], found.text)
        alert = parse_alert(
            filled.encode(), instruments=default_settings().instruments, naive_timezone=ZoneInfo("Asia/Kolkata")
        )
        kinds.append((alert.signal.type.value, alert.signal.layer))
        assert alert.warnings == ()
        assert alert.secret is not None
        assert alert.signal.bar_time == datetime(2026, 1, 14, 6, 15, tzinfo=UTC)
        assert alert.signal.timestamp == datetime(2026, 1, 14, 7, 30, 2, tzinfo=UTC)
        with pytest.raises(AlertRefused, match="placeholder"):
            parse_alert(found.text.encode(), instruments=default_settings().instruments, naive_timezone=UTC)
    assert kinds == [
        ("BASE_ENTRY", "Long_1"),
        ("PYRAMID", "Long_2"),
        ("EXIT", "Long_2"),
        ("EXIT", "ALL"),
        ("MARKET_DATA", ""),
    ]


# --- docs/intake.md

INTAKE = "docs/intake.md"
ORDERED = {
    "{{ticker}}": "BANKNIFTY1!",
    "{{strategy.order.action}}": "buy",
    "{{strategy.order.contracts}}": "2",
    "{{strategy.order.id}}": "Long",
    "{{strategy.order.price}}": "52000.5",
    "{{strategy.market_position}}": "long",
    "{{strategy.prev_market_position}}": "flat",
    "{{strategy.position_size}}": "2",
    **FILLED,
    "{{close}}": "52000.5",
}


def _ordered(found: Block) -> bytes:
    """A message once TradingView has filled it."""
    return re.sub(r"\{\{[\w.]+\}\}", lambda placeholder: ORDERED[placeholder[0]], found.text).encode()


@pytest.mark.parametrize(
    "sender, portfolio, stop, atr",
    [
        ("TradingView", "main", "51480.495", "260.0025"),
        ("OpenAlgo", "alpha", "51650", "350"),
        ("TradersPost", "beta", "51650", "350"),
    ],
)
def test_the_intake_guides_messages_are_taken_by_its_configuration(
    tmp_path: Path, sender: str, portfolio: str, stop: str, atr: str
) -> None:
    file = tmp_path / "config.json"
    file.write_text(block(INTAKE, "a configuration with intake").text, encoding="utf-8")
    found, settings = block(INTAKE, f"a message of {sender}"), load_file_settings(file).of(portfolio)
    read = partial(read_alerts, instruments=default_settings().instruments, naive_timezone=UTC)
    (alert,) = read(_ordered(found), settings.intake_profile())
    signal = alert.signal
    assert (signal.type, signal.instrument, signal.layer) == ("BASE_ENTRY", "BANK_NIFTY", "Long_1")
    assert (signal.price, signal.stop, signal.atr) == (Decimal("52000.5"), Decimal(stop), Decimal(atr))
    assert (signal.bar_time, signal.timestamp) == (
        datetime(2026, 1, 14, 6, 15, tzinfo=UTC),
        datetime(2026, 1, 14, 7, 30, 2, tzinfo=UTC),
    )
    assert (alert.warnings, alert.secret) == ((), "at-least-8-characters")
    with pytest.raises(AlertRefused, match="placeholder"):
        read(found.text.encode(), settings.intake_profile())


def test_the_intake_guides_own_profile_takes_its_alert() -> None:
    profile = profile_named("own", {"own": json.loads(block(INTAKE, "a profile of one's own").text)})
    body = block(INTAKE, "an alert of one's own").text.encode()
    (alert,) = read_alerts(body, profile, instruments=default_settings().instruments, naive_timezone=UTC)
    assert (alert.signal.instrument, alert.signal.stop) == ("GOLD_MINI", Decimal("71100.5"))
    assert (alert.warnings, alert.secret) == ((), "at-least-8-characters")


def test_the_intake_guides_distances_ask_for_the_last_bar() -> None:
    distances = json.loads(block(INTAKE, "the last bar's ATR").text)
    profile = profile_named("own", {"own": {"like": "tradingview", "distances": distances}})
    assert profile.asks_last_bar
    named = profile.distance_of("COPPER")
    assert (named.stop_atr, named.atr_max_age_seconds) == (2, 7200)


def test_the_intake_guide_lists_every_key_of_a_profile_with_its_default_and_no_other() -> None:
    listed = {quoted(row[0])[0]: quoted(row[1]) or [row[1]] for row in table_after(INTAKE, "## A profile of one's own")}
    assert listed == {name: [_shown_default(info)] for name, info in Profile.model_fields.items()}


def test_the_intake_guides_commands_do_what_it_says(shell: Shell) -> None:
    shell.mapped = _on_any_port
    (shell.folder / "intake.json").write_text(block(INTAKE, "a configuration with intake").text, encoding="utf-8")
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    for name, sender in (("strategy-alert.json", "TradingView"), ("alert.json", "OpenAlgo")):
        filled = json.loads(_ordered(block(INTAKE, f"a message of {sender}"))) | {
            "time": now,
            "timestamp": now,
            "timenow": now,
        }
        (shell.folder / name).write_text(json.dumps({**filled, "symbol": "BANK_NIFTY"}), encoding="utf-8")
    (shell.folder / "signed.json").write_text('{"webhook_secret_in": ["signature"], "intake": {"profile": "openalgo"}}')
    secret = "export PORTFOLIO_WEBHOOK_SECRET=of-the-environment\n"
    live = "python portfolio_manager.py live --config signed.json"
    with shell.serving(Block("bash", "", secret + live, INTAKE)) as served:
        shell.exports.append(secret.strip())
        signed = block(INTAKE, "signed")
        port = served.url.rpartition(":")[2]
        shell.mapped = lambda text: text.replace("127.0.0.1:5000", f"127.0.0.1:{port}")
        assert _json_in(shell.run(signed))["status"] == "executed"
        shown = shell.run(block(INTAKE, "shown by a dry run"))
        assert "base position already open" in shown
        assert re.search(r"^ +read as type BASE_ENTRY .*stop 51480.495 .*market_position long", shown, re.MULTILINE)


def test_every_command_of_the_intake_guide_is_run_by_one_of_these_tests() -> None:
    run = {"shown by a dry run", "signed"}
    assert {found.how for found in blocks_of(INTAKE) if found.language == "bash"} == run


# --- docs/replay.md

REPLAY = "docs/replay.md"


def test_the_replay_guides_commands_do_what_it_says(shell: Shell) -> None:
    _write_bars(shell.folder / "bars.csv")
    _assert_figures_are_shown(shell.run(block(REPLAY, "a list")), block(REPLAY, "its figures"))
    year = shell.run(block(REPLAY, "a year"))
    assert re.findall(r"^(20\d\d) ", year, re.MULTILINE) == ["2024"]
    alerts = _json_in(shell.run(block(REPLAY, "alerts")))
    assert (alerts["outcomes"], alerts["summary"]["trades"]) == ({"executed": 3}, 1)
    assert alerts["summary"]["expectancy_r"] is not None
    rules = shell.run(block(REPLAY, "rules"))
    assert "blocked" in rules
    assert "no open position" in rules
    exported = _json_in(shell.run(block(REPLAY, "exported")))
    assert exported["signals"] == 50
    shell.run(block(REPLAY, "reports"))
    report = json.loads((shell.folder / "report.json").read_text(encoding="utf-8"))
    assert {"trades", "open", "outcomes", "summary"} <= report.keys()
    assert len((shell.folder / "closed.csv").read_text(encoding="utf-8").splitlines()) == 1 + 824 + 1
    assert not re.search(r"(?:src|href)=.https?://", (shell.folder / "report.html").read_text(encoding="utf-8"))
    several = shell.run(block(REPLAY, "several"))
    assert re.search(r"^GOLD_MINI +1 ", several, re.MULTILINE)


def test_the_replay_guides_kept_portfolio_is_there_to_look_at_until_it_is_dropped(shell: Shell) -> None:
    shell.run(Block("bash", "", block(REPLAY, "a list").text.splitlines()[0], "the guide's list"))
    kept = shell.run(block(REPLAY, "keep"))
    assert re.search(r"^portfolio +trial$", kept, re.MULTILINE)
    assert "BANK_NIFTY-Long_1-" in kept
    shell.mapped = _on_any_port
    with shell.serving(Block("bash", "", "python portfolio_manager.py live", REPLAY)):
        assert "DROP SCHEMA" in shell.run(block(REPLAY, "while live runs"))
    gone = Block("bash", "", "! python portfolio_manager.py status --portfolio trial", REPLAY)
    assert "has no up-to-date tables" in shell.run(gone)


def test_the_replay_guides_bad_file_is_refused_in_the_words_it_shows(shell: Shell) -> None:
    cut = block(REPLAY, "refused").text.splitlines()
    copied = block(REPLAY, "a list").text.splitlines()[0]
    output = shell.run(Block("bash", "", "\n".join([copied, cut[0], f"! {cut[1]}"]), REPLAY))
    assert output == block(REPLAY, "its refusal").text
    assert not (shell.folder / "data").exists()


def test_every_command_of_the_replay_guide_is_run_by_one_of_these_tests() -> None:
    run = {
        "a list",
        "a year",
        "alerts",
        "rules",
        "exported",
        "reports",
        "several",
        "keep",
        "while live runs",
        "refused",
    }
    assert {found.how for found in blocks_of(REPLAY) if found.language == "bash"} == run


def test_the_replay_guide_explains_the_figures_that_are_shown_and_no_other() -> None:
    explained = {row[0] for row in table_after(REPLAY, "## What the figures mean")}
    empty = ReplayResult(
        capital=Decimal(1),
        trades=(),
        open_trades=(),
        started_at=minutes(0),
        ended_at=minutes(1),
        signals=0,
        outcomes={},
    )
    shown = {name for name, _ in facts(summarise(empty))}
    # The others say it themselves.
    assert explained - {"Return"} == shown - {"Capital", "Trades closed", "Best trade", "Worst trade"}
    assert "Return" in GROUP_HEADINGS


def test_the_replay_guide_names_the_limits_that_hold() -> None:
    cells = " ".join(row[1] for row in table_after(REPLAY, "## What a bad file says"))
    assert f"{MAX_BYTES // 1024**2} MiB, {MAX_LINES:,} lines" in cells
    assert f"{MAX_ROWS:,} rows" in cells
    assert f"{MAX_LINE_BYTES // 1024} KiB; of a CSV {MAX_ROW_BYTES // 1024} KiB" in cells


def _assert_figures_are_shown(output: str, expected: Block) -> None:
    """Every line of the block is one of the output's, blanks at its end apart."""
    lines = {line.rstrip() for line in output.splitlines()}
    assert [line for line in expected.text.splitlines() if line not in lines] == []


def _write_bars(path: Path) -> None:
    """Bars through the list's own prices, and enough of them before the first."""
    source = ROOT / "tests" / "data" / "tradingview_banknifty_trades.csv"
    with source.open(encoding="utf-8-sig", newline="") as file:
        prices = {row["Date/Time"]: Decimal(row["Price INR"]) for row in csv.DictReader(file)}
    zone = ZoneInfo("Asia/Kolkata")
    points = [(datetime.fromisoformat(time).replace(tzinfo=zone), prices[time]) for time in sorted(prices)]
    first, close = points[0]
    points = [(first - timedelta(hours=30 - hour), close + hour % 3) for hour in range(30)] + points
    with path.open("w", encoding="utf-8") as file:
        file.write("time,open,high,low,close\n")
        before = points[0][1]
        for time, price in points:
            high, low = max(before, price) + 20, min(before, price) - 20
            file.write(f"{int(time.timestamp())},{before},{high},{low},{price}\n")
            before = price


# --- brokers


def test_the_brokers_guides_configuration_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config.json"
    file.write_text(block("docs/brokers.md", "brokers").text, encoding="utf-8")
    monkeypatch.setenv("PORTFOLIO_BROKERS__OPENALGO__API_KEY", "a-key")
    brokers = brokers_settings(load_file_settings(file), "openalgo")
    assert brokers.openalgo is not None
    assert brokers.openalgo.analyze
    assert set(brokers.markets) == {"BANK_NIFTY", "GOLD_MINI"}
    assert brokers.by_contract == {"GOLD_MINI"}
    assert (brokers.limits.most_lots, brokers.limits.within_hours) == (10, True)
    assert "a-key" not in repr(load_file_settings(file))


def test_the_brokers_guides_corrections_make_contracts(tmp_path: Path) -> None:
    file = tmp_path / "corrections.json"
    file.write_text(block("docs/brokers.md", "corrections").text, encoding="utf-8")
    desk = ContractsDesk(ContractFiles(corrections=file), default_settings(), ["BANK_NIFTY", "GOLD_MINI"])
    desk.document_on(date(2026, 6, 1))
    assert (desk.lot_of("BANKNIFTY30JUN26FUT"), desk.lot_of("GOLDM05JAN27FUT")) == (35, 100)


def test_the_brokers_guides_configuration_of_a_venue_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config.json"
    file.write_text(block("docs/brokers.md", "brokers, ccxt").text, encoding="utf-8")
    for name in ("API_KEY", "SECRET"):
        monkeypatch.setenv(f"PORTFOLIO_BROKERS__CCXT__{name}", f"the-{name}")
    found = load_file_settings(file)
    brokers = brokers_settings(found, "ccxt")
    settings = settings_for(found.settings, brokers)
    assert settings.execution.fills == "broker"
    assert brokers.ccxt is not None
    assert brokers.ccxt.secret is not None
    assert "the-" not in repr(brokers)
    with CcxtBroker(brokers.ccxt, lambda: datetime.now(UTC)) as broker:
        markets = _markets(brokers, settings, broker)
    assert set(markets) == {"BTC_PERPETUAL"}
    assert {market.symbol for market in markets.values()} == set(brokers.ccxt.symbols)
    assert {market.exchange for market in markets.values()} == {brokers.ccxt.exchange_name}
    assert markets["BTC_PERPETUAL"].units_per_lot == Decimal("0.001")


def test_the_brokers_guide_lists_every_setting_with_its_default_and_no_other() -> None:
    listed = {quoted(row[0])[0]: row[1] for row in table_after("docs/brokers.md", "## Settings")}
    expected = dict(_settings_of(BrokersSettings))
    assert listed.keys() == expected.keys()
    for name, default in listed.items():
        assert (quoted(default) or [default]) == [expected[name]], name


def test_every_setting_of_a_broker_that_the_guide_lists_can_be_given_as_a_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    variables = {
        "PAPER__FILL_FRACTIONS": "[0.5, 0.5]",
        "OPENALGO__API_KEY": "a-key",
        "OPENALGO__ANALYZE": "true",
        "OPENALGO__PRODUCTS__MCX": "MIS",
        "OPENALGO__LOTS_ON": '["MCX"]',
        "MARKETS__GOLD_MINI__SYMBOL": "GOLDM05FEB26FUT",
        "MARKETS__GOLD_MINI__EXCHANGE": "MCX",
        "LIMITS__MOST_LOTS": "5",
    }
    for name, value in variables.items():
        monkeypatch.setenv(f"PORTFOLIO_BROKERS__{name}", value)
    brokers = brokers_settings(load_file_settings(None), "openalgo")
    assert brokers.openalgo is not None
    assert (brokers.openalgo.analyze, brokers.openalgo.lots_on) == (True, {"MCX"})
    assert brokers.openalgo.product_on("MCX") == "MIS"
    assert set(brokers.markets) == {"GOLD_MINI"}
    assert brokers.limits.most_lots == 5


def test_the_brokers_guides_commands_are_understood() -> None:
    commands = [found.text for found in blocks_of("docs/brokers.md") if found.language == "bash"]
    assert len(commands) == 6
    for command in commands:
        result = run(*shlex.split(command)[2:], "--url", "http://127.0.0.1:9", "--token", "t" * 20)
        assert result.exit_code == 1
        assert "127.0.0.1:9" in result.stderr


# --- what survives what


SURVIVAL = ROOT / "docs" / "what-survives-what.md"


def test_every_fault_of_the_guide_is_shown_by_tests_that_exist() -> None:
    tests = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)\(", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
    rows = [line for line in SURVIVAL.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    faults = [row for row in rows if not row.startswith(("| fault |", "| --- |"))]
    assert len(faults) > 20
    for fault in faults:
        shown_by = re.findall(r"`(test_\w+)`", fault)
        assert shown_by, fault
        assert set(shown_by) <= tests, fault


def test_every_test_of_the_crash_matrix_is_in_the_guide() -> None:
    guide = SURVIVAL.read_text(encoding="utf-8")
    folders = ("crash", "ha", "partitions")
    for file in (file for folder in folders for file in (ROOT / "tests" / folder).glob("test_*.py")):
        for name in re.findall(r"^def (test_\w+)\(", file.read_text(encoding="utf-8"), re.MULTILINE):
            assert f"`{name}`" in guide, f"{name} of {file.name}"


# --- docs/backups.md

BACKUPS = "docs/backups.md"


def test_the_backup_guides_portfolio_is_restored_beside_itself_over_itself_and_by_hand(
    shell: Shell, empty_dsn: str
) -> None:
    shell.mapped = _on_any_port
    live = Block("bash", "", "python portfolio_manager.py live", BACKUPS)
    with shell.serving(live):
        told = shell.run(block(BACKUPS, "one portfolio, while live runs"))
        assert _json_in(told)["file"] == "backups/before.zip"
    assert len(list((shell.folder / "data" / "backups").glob("main-20*Z.zip"))) == 1
    restored = shell.run(block(BACKUPS, "restored, after live"))
    assert re.search(r"is kept in the schema main_until_\d{14}$", restored, re.MULTILINE)
    assert re.search(r"^trading +halted$", restored, re.MULTILINE)
    shell.exports.append(f"export PM_EMPTY_DATABASE={shlex.quote(empty_dsn)}")
    shell.run(block(BACKUPS, "by hand"))
    with closing(psycopg2.connect(empty_dsn)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT version_num FROM alembic_version")
        assert cursor.fetchone() == (head(),)
    assert _json_in(shell.run(Block("bash", "", "python portfolio_manager.py verify --json", BACKUPS)))["verified"]


def test_the_backup_guides_server_is_recovered_to_the_point_that_was_named(shell: Shell) -> None:
    def mapped(text: str) -> str:
        # It outlives the shell, which it must not keep waiting, and is ended below.
        aside = "--synchronous > received.log 2>&1 &\necho received by $!"
        return _on_any_port(text).replace("--synchronous &", aside)

    shell.mapped = mapped
    receivers: list[int] = []
    try:
        with shell.serving(Block("bash", "", "python portfolio_manager.py live", BACKUPS)):
            output = shell.run(block(BACKUPS, "received, while live runs"))
            receivers += map(int, re.findall(r"received by (\d+)", output))
            shell.run(block(BACKUPS, "a point, while live runs"))
    finally:
        # Behind its last user, who has stopped the server: all of it has been received.
        for receiver in receivers:
            _end(receiver)
    assert receivers
    give(shell.folder / "wal", server_account(Layout.of(shell.folder / "data").cluster_folder))
    assert "it is halted, under term 1000001" in shell.run(block(BACKUPS, "recovered, after live"))
    with shell.serving(Block("bash", "", "python portfolio_manager.py live", BACKUPS)) as served:
        assert served.get("/status")["halted"] is True


def _end(pid: int) -> None:
    """End a process that is not our child, and wait until it has ended."""
    os.kill(pid, signal.SIGINT)
    deadline = time.monotonic() + PATIENCE_SECONDS
    running = Path("/proc") / str(pid) / "cmdline"
    while running.exists() and running.read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_backup_guides_settings_are_settings_of_postgresql(server_dsn: str) -> None:
    settings = dict(line.split(" = ", 1) for line in block(BACKUPS, "archived by itself").text.splitlines())
    with closing(psycopg2.connect(server_dsn)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT name FROM pg_settings WHERE name = ANY(%s)", (list(settings),))
        assert {name for (name,) in cursor.fetchall()} == settings.keys()
    # The one that the tests archive with.
    assert settings["archive_command"].strip("'") == ARCHIVE_COMMAND.format(folder="/mnt/archive")


def test_every_command_of_the_backup_guide_is_run_by_one_of_these_tests() -> None:
    run = {
        "one portfolio, while live runs",
        "restored, after live",
        "by hand",
        "received, while live runs",
        "a point, while live runs",
        "recovered, after live",
    }
    assert {found.how for found in blocks_of(BACKUPS) if found.language == "bash"} == run


# --- docs/book.md


def test_the_book_guides_commands_do_what_it_says(shell: Shell) -> None:
    shell.mapped = _on_any_port
    blocks = [found for found in blocks_of("docs/book.md") if found.language == "bash"]
    (migrated,) = [found for found in blocks if found.how == "before live"]
    assert f"book: migrated from version none to {shared_head()}" in shell.run(migrated)
    with shell.serving(Block("bash", "", "python portfolio_manager.py live", "docs/book.md")) as served:
        shell.mapped = lambda text: text.replace("http://127.0.0.1:5000", served.url)
        told = shell.run(*(found for found in blocks if found.how == "while live runs"))
    assert "No new upgrade operations detected." in told
    assert "CREATE TABLE IF NOT EXISTS book.position_pnl_history" in told
    # The file that the command has taken before is the same over HTTP.
    assert '"already": true' in told
    assert (shell.folder / "trades.csv").read_text().startswith("portfolio,journal_seq")
    assert (shell.folder / "book.dump").read_bytes().startswith(b"PGDMP")
    assert {found.how for found in blocks} == {"before live", "while live runs"}


# --- docs/market-data.md


def test_the_market_data_guides_commands_do_what_it_says(shell: Shell) -> None:
    shell.mapped = _on_any_port
    blocks = [found for found in blocks_of("docs/market-data.md") if found.language == "bash"]
    (migrated,) = [found for found in blocks if found.how == "before live"]
    assert f"book: migrated from version none to {shared_head()}" in shell.run(migrated)
    with shell.serving(Block("bash", "", "python portfolio_manager.py live", "docs/market-data.md")):
        told = shell.run(*(found for found in blocks if found.how == "while live runs"))
    first, second = re.findall(r"^inserted +(\d+)\nsame +(\d+)$", told, re.MULTILINE)[:2]
    assert (first, second) == (("3", "0"), ("0", "3"))
    # As of 05:00 only the first bar was over.
    assert re.findall(r"2026-01-13T(\d\d:\d\d):00Z +138,", told) == ["03:30"]
    assert re.findall(r'"close": "(\d+)"', told) == ["139210", "138815"]
    assert re.findall(r"2026-01-13 (\d\d:\d\d):00\+00:00 +138500\.0 +138940\.5", told) == ["03:30"]
    assert "nothing is wrong with 3 bars" in told
    # 1,125 points in 28 days: 1125 / 138815 x 365 / 28.
    assert re.search(r"^GOLD_MINI: contango, by file 1d$", told, re.MULTILINE)
    assert re.search(r" 1,125 +10\.564549 ", told)
    assert "NoSuchBars: no bar of BANK_NIFTY 1d was over by then" in told
    assert {found.how for found in blocks} == {"before live", "while live runs"}


# --- docs/risk.md


def test_the_risk_guides_commands_do_what_it_says(shell: Shell) -> None:
    shell.mapped = _on_any_port
    blocks = [found for found in blocks_of("docs/risk.md") if found.language == "bash"]
    (migrated,) = [found for found in blocks if found.how == "before live"]
    assert f"book: migrated from version none to {shared_head()}" in shell.run(migrated)
    with shell.serving(Block("bash", "", "python portfolio_manager.py live", "docs/risk.md")) as served:
        shell.mapped = lambda text: text.replace("http://127.0.0.1:5000", served.url)
        told = shell.run(*(found for found in blocks if found.how == "while live runs"))
    assert "index -0.1" in told
    assert "2026-01-14: reckoned" in told
    assert "2026-01-14: nothing was left to do" in told
    assert re.search(r"^drawn from +824$", told, re.MULTILINE)
    swept = re.findall(r"^(0(?:\.05)?) +(20\d\d) +[\d,.]+ ", told, re.MULTILINE)
    assert swept == [("0", "2023"), ("0", "2024"), ("0.05", "2023"), ("0.05", "2024")]
    for answered in ('"complete": true', '"name": "Market Down 10%"', '"method": "normal"', '"records": null'):
        assert answered in told
    assert "node/1 has the regular tag core (as before)" in told
    assert re.search(r"^1 +default +INR +0 +0\.0$", told, re.MULTILINE)
    assert re.search(r"^all +0 +0\.0 +NaN$", told, re.MULTILINE)
    assert '"calculation_type": "snapshots", "run": 1, "attempt": 1, "status": "completed"' in told
    assert "session 1: change 2, version 3" in told
    assert "the book is what it began with; its hashes hold, and those of 1 snapshot" in told
    assert "session 1 is completed" in told
    assert "session 2 is cancelled" in told
    assert b"\x0135=D\x01" in (shell.folder / "orders.fix").read_bytes()
    assert re.search(r"BASE_ENTRY +SILVER_MINI +Long_1 +executed +2 +volatility", told)
    assert {found.how for found in blocks} == {"before live", "while live runs"}


# --- docs/notifications.md

NOTIFICATIONS = "docs/notifications.md"


def test_the_notification_guides_configuration_is_valid_and_its_commands_reach_whom_it_names(
    shell: Shell, tmp_path: Path
) -> None:
    with a_receiver() as receiver:
        text = block(NOTIFICATIONS, "a valid configuration").text
        for name in ("telegram", "mail"):
            (tmp_path / f"{name}.url").write_text(f"{receiver.url}/{name}\n", encoding="utf-8")
        text = text.replace("/etc/portfolio-manager", str(tmp_path))
        text = text.replace("https://hc.example", f"http://{receiver.address}")
        (shell.folder / "portfolio.json").write_text(text, encoding="utf-8")
        told = shell.run(block(NOTIFICATIONS, "a test message"))
        assert told.count("taken") == 3
        assert "a-secret-path" not in told
        assert [message["title"] for message in receiver.taken] == ["INFO [main] a test"] * 2
        assert receiver.calls == ["/ping/main"]


def test_the_notification_guide_lists_every_field_of_a_channel_and_no_other() -> None:
    listed = {quoted(row[0])[0]: quoted(row[1]) for row in table_after(NOTIFICATIONS, "## A channel")}
    assert listed == {name: [_shown(info.default)] for name, info in Channel.model_fields.items()}


def test_every_command_of_the_notification_guide_is_run_by_one_of_these_tests() -> None:
    assert {found.how for found in blocks_of(NOTIFICATIONS) if found.language == "bash"} == {"a test message"}


# --- docs/approval.md

APPROVAL = "docs/approval.md"


def test_the_approval_guides_configuration_is_valid(tmp_path: Path) -> None:
    file = tmp_path / "portfolio.json"
    file.write_text(block(APPROVAL, "a valid configuration").text, encoding="utf-8")
    found = load_file_settings(file)
    rules = found.settings.approval
    assert rules.late is not None
    assert rules.over_size is not None
    assert rules.divergent is not None
    assert (rules.mode, rules.over_size.lots, found.public_url) == ("auto", 5, "https://portfolio.example.com")


@pytest.mark.parametrize("how", ["decided by commands", "decided over HTTP"])
def test_the_approval_guides_commands_decide_what_waits(shell: Shell, how: str) -> None:
    port = a_free_port()
    (shell.folder / "asking.json").write_text('{"approval": {"mode": "approve"}}', encoding="utf-8")
    live = Block("bash", "", f"python portfolio_manager.py live --port {port} --config asking.json", APPROVAL)
    with shell.serving(live) as served:
        alerts = (("BANK_NIFTY", 52000, 51650, 350), ("GOLD_MINI", 72000, 71500, 500))
        now = datetime.now(UTC).isoformat()
        for instrument, price, stop, atr in alerts:
            given = {"instrument": instrument, "price": price, "stop": stop, "atr": atr, "er": 0.8, "timestamp": now}
            alert = {"type": "BASE_ENTRY", "position": "Long_1", **given}
            body = json.dumps(alert).encode()
            with urllib.request.urlopen(f"{served.url}/webhook", data=body, timeout=10) as answer:
                assert json.loads(answer.read())["status"] == "proposed"
        ids = {row["instrument"]: row["proposal_id"] for row in served.get("/proposals")["proposals"]}
        shell.mapped = lambda text: (
            text.replace("P0123456789abcdef", ids["BANK_NIFTY"])
            .replace("Pfedcba9876543210", ids["GOLD_MINI"])
            .replace("127.0.0.1:5000", f"127.0.0.1:{port}")
            .replace("portfolio_manager.py approve", f"portfolio_manager.py approve --url {served.url}")
            .replace("portfolio_manager.py reject", f"portfolio_manager.py reject --url {served.url}")
        )
        shell.run(block(APPROVAL, how))
        states = {row["instrument"]: row for row in served.get("/proposals")["proposals"]}
        assert (states["BANK_NIFTY"]["state"], states["BANK_NIFTY"]["decided_lots"]) == ("modified", 1)
        assert (states["GOLD_MINI"]["state"], states["GOLD_MINI"]["note"]) == ("rejected", "results are due tonight")
        assert served.get("/status")["proposals"] == 0


def test_every_command_of_the_approval_guide_is_run_by_one_of_these_tests() -> None:
    run = {"decided by commands", "decided over HTTP"}
    assert {found.how for found in blocks_of(APPROVAL) if found.language == "bash"} == run


# --- docs/performance.md

PERFORMANCE = "docs/performance.md"


def test_the_performance_guides_results_are_made_by_its_commands(shell: Shell) -> None:
    made = shell.folder / "made"
    made.mkdir()
    shutil.copy(ROOT / PERFORMANCE, made)
    # `docs` is this repository's: it keeps what it says.
    shell.mapped = lambda text: text.replace("bench.document results.json", "bench.document results.json --docs made")
    told = shell.run(block(PERFORMANCE, "a quick run"))
    assert "could not be measured" not in told
    assert "### save_position" in (made / "performance.md").read_text(encoding="utf-8")
    assert {file.name for file in made.iterdir()} == {"performance.md", "performance.svg", "performance.json"}


def test_the_performance_guides_suite_is_the_whole_of_it(shell: Shell) -> None:
    shell.mapped = lambda text: text.replace(
        "make ", "make --dry-run --old-file=.venv/.installed --old-file=.venv/.installed-dev "
    )
    # Without --quick and --only: all scenarios, in all rounds.
    assert shell.run(block(PERFORMANCE, "make --dry-run")).strip().endswith("-m bench --json")


def test_every_command_of_the_performance_guide_is_run_by_one_of_these_tests() -> None:
    run = {"a quick run", "make --dry-run"}
    assert {found.how for found in blocks_of(PERFORMANCE) if found.language == "bash"} == run


# --- docs/api.md


def test_the_api_guides_requests_do_what_it_says(shell: Shell) -> None:
    port = a_free_port()
    shell.mapped = lambda text: text.replace("127.0.0.1:5000", f"127.0.0.1:{port}")
    described, paged, kept = [found for found in blocks_of("docs/api.md") if found.language == "bash"]
    live = Block("bash", "", f"python portfolio_manager.py live --port {port}", "docs/api.md")
    with shell.serving(live):
        assert _json_in(shell.run(described))["openapi"] == "3.1.0"
        page = _json_in(shell.run(paged))
        assert ([entry["seq"] for entry in page["journal"]], page["next"]) == ([3, 2], 2)
        assert shell.run(kept) == "304\n"


# --- all documents

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PRIVATE = re.compile(
    r"/work\b|/home/|/root\b|/Users/|\b(?:[\w-]+\.)*(?:pypi\.org|pythonhosted\.org|docker\.io|ghcr\.io|quay\.io)\b"
    r"|index-url|trusted-host|proxy\.golang|\b10\.\d+\.\d+\.\d+\b|\b192\.168\."
)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_something_that_is_there(document: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in LINK.findall(text):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        found = (document.parent / path).resolve() if path else document
        assert found.exists(), target
        if anchor:
            assert anchor in _anchors(found), target


def _anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_document_names_a_path_of_this_machine_or_a_registry(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert PRIVATE.search(text) is None
    assert str(ROOT) not in text


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_files_that_a_document_names_are_there(document: Path) -> None:
    named = re.findall(r"`((?:core|live|migrations|tests|docs|bench)/[\w./-]+)`", document.read_text(encoding="utf-8"))
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_decisions_are_numbered_without_gaps_and_fit_on_a_page() -> None:
    records = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(record.name[:4]) for record in records] == list(range(1, len(records) + 1))
    assert all(len(record.read_text(encoding="utf-8").splitlines()) <= 60 for record in records)
