"""A backup holds one moment of a portfolio, whole or not at all; a restore is proved before it is there, and halts."""

import io
import json
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import psycopg2
import psycopg2.extensions
import pytest

import core.postgres.client_programs
import live.restore
from core.db_state_manager import DatabaseStateManager
from core.errors import LeadershipLost
from core.inputs import Halt, MoveCapital, Resume
from core.journal import Batch
from core.postgres.client_programs import client_program, connection_for
from core.postgres.connections import connect
from core.postgres.embedded_binaries import shipped_versions
from core.postgres.lease import PortfolioLock
from core.postgres.migrations import functions, head, migrate, tables
from live.backup import BackupRefused, OpenBackup, open_backup
from live.engine import LiveTradingEngine
from live.spool import Spool
from tests.archiving_server import ArchivingServer
from tests.builders import a_signal, given, minutes, settings_with
from tests.command_line import run
from tests.database_file import pointed_to
from tests.engines import Clock, an_engine, status_of, without_waiting
from tests.live_process import ROOT
from tests.postgres_server import drop_database, fresh_database
from tests.queries import rows
from tests.verified import verified
from tests.waiting import eventually

PATIENCE_SECONDS = 60.0
# What differs between a portfolio and its restored copy: who leads, and that it is halted.
DIFFERS = {"leadership", "leader_lease", "portfolio_state"}
BROKER = without_waiting(settings_with(execution={"fills": "broker"}))


@dataclass(frozen=True)
class Place:
    """A database, and how commands are pointed to it."""

    dsn: str
    options: tuple[str, ...]

    def run(self, *arguments: str) -> Any:
        return run(*arguments, *self.options)

    def told(self, *arguments: str) -> Any:
        result = self.run(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "backups"
    made.mkdir()
    return made


def place(dsn: str, tmp_path: Path, name: str) -> Place:
    return Place(dsn, (*pointed_to(dsn, tmp_path / f"{name}.json"), "--data-dir", str(tmp_path / "data")))


@pytest.fixture
def source(dsn: str, tmp_path: Path) -> Place:
    """A database in which a bit of everything has happened."""
    trade(dsn)
    return place(dsn, tmp_path, "source")


@pytest.fixture
def target(empty_dsn: str, tmp_path: Path) -> Place:
    """A database without any table."""
    return place(empty_dsn, tmp_path, "target")


def trade(dsn: str) -> None:
    with an_engine(dsn, clock=Clock(minutes(3))) as engine:
        engine.process_signal(a_signal())
        engine.process_signal(a_signal(instrument="GOLD_MINI", price=72000, stop=71500, atr=500, reason="a\tb\\n\n\\."))
        engine.process_signal(a_signal("MARKET_DATA", price=53000, timestamp=minutes(1)))
        engine.process_signal(a_signal("PYRAMID", price=53000, stop=52900, atr=100, timestamp=minutes(1.1)))
        engine.process_signal(a_signal("EXIT", layer="ALL", price=53100, timestamp=minutes(2)))
        engine.command(MoveCapital(request_id="r", amount=Decimal(1000), note="a deposit \u20b9"))
        engine.command(Halt(reason="lunch"))
        engine.command(Resume())


def backed_up(source: Place, folder: Path) -> Path:
    return Path(source.told("backup", "--to", str(folder))["file"])


def content(dsn: str, schema: str = "public") -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table of a portfolio, in the order of their keys."""
    there = [name for (name,) in rows(dsn, "SELECT tablename FROM pg_tables WHERE schemaname = %s", (schema,))]
    return {name: rows(dsn, f'SELECT t.* FROM "{schema}"."{name}" AS t ORDER BY 1, t::TEXT') for name in sorted(there)}


def left_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


# --- there and back


def test_a_restored_portfolio_is_the_one_that_was_backed_up(source, target, folder):
    told = source.told("backup", "--to", str(folder))
    file = Path(told["file"])
    assert left_in(folder) == [file.name]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (end,) = rows(source.dsn, "SELECT seq, content_hash FROM decision_journal ORDER BY seq DESC LIMIT 1")
    assert (told["entries"], told["last_hash"]) == end
    assert (told["portfolio"], told["schema_version"], told["term"], told["spooled"]) == ("main", head(), 1, 0)
    restored = target.told("restore", str(file))
    before, after = content(source.dsn), content(target.dsn)
    assert after.keys() == before.keys()
    for name in before.keys() - DIFFERS:
        # What the restore itself journalled, and the term it took, come behind.
        shared = after[name][: len(before[name])] if name in ("decision_journal", "leadership_history") else after[name]
        assert shared == before[name], name
    assert (restored["verified"]["entries"], restored["verified"]["last_hash"]) == (told["entries"], told["last_hash"])
    assert verified(target.dsn).entries == told["entries"] + 2


def test_a_restored_portfolio_takes_exits_only_until_it_is_resumed_and_numbers_on(source, target, folder):
    target.told("restore", str(backed_up(source, folder)))
    assert target.told("status")["halted"]
    with an_engine(target.dsn, clock=Clock(minutes(5))) as engine:
        assert engine.db_manager.term == 1_000_002
        assert status_of(engine.process_signal(a_signal(timestamp=minutes(4)))) == "blocked: halted"
        assert status_of(engine.process_signal(a_signal())) == "duplicate"
        gold = a_signal("EXIT", instrument="GOLD_MINI", price=72100, atr=500, timestamp=minutes(4.1))
        assert status_of(engine.process_signal(gold)) == "executed"
        engine.command(Resume())
        assert status_of(engine.process_signal(a_signal(timestamp=minutes(4.5)))) == "executed"
    assert verified(target.dsn)
    ids = [row_id for (row_id,) in rows(target.dsn, "SELECT id FROM signal_log ORDER BY id")]
    assert ids == sorted(set(ids))
    entry = rows(
        target.dsn, "SELECT input ->> 'reason' FROM decision_journal WHERE kind = 'halt' ORDER BY seq DESC LIMIT 1"
    )
    assert entry[0][0].startswith("restored from a backup of 20")


def test_both_say_in_words_what_they_did(source, target, folder):
    told = source.run("backup", "--to", str(folder / "b.zip"))
    assert (told.exit_code, told.stderr) == (0, "")
    assert re.fullmatch(
        r"\S+/b\.zip: portfolio main as it was at 20\S+Z, 11 journal entries, 1 open positions, 5 signals "
        r"\(0 not decided yet\), [\d,]+ bytes\n",
        told.stdout,
    ), told.stdout
    told = target.run("restore", str(folder / "b.zip"))
    assert (told.exit_code, told.stderr) == (0, "")
    said = told.stdout.splitlines()
    assert re.fullmatch(
        r"portfolio main is what it was at 20\S+Z: 11 journal entries, 5 signals, 3 positions and 0 orders verified",
        said[0],
    )
    assert said[1] == "it is halted, under term 1000001: compare with the broker, start `live`, then `resume`"
    told = target.run("restore", "--recovered")
    assert told.stdout.startswith("portfolio main: 13 journal entries, ")


def test_the_dump_in_a_backup_is_one_that_pg_restore_takes_by_hand(source, target, folder):
    told = source.told("backup", "--to", str(folder))
    with zipfile.ZipFile(told["file"]) as archive:
        archive.extract("portfolio.dump", folder)
    program = client_program("pg_restore", told["pg_dump_major"]).path
    command = [program, "--no-owner", "--schema=public", "--single-transaction", f"--dbname={target.dsn}"]
    done = subprocess.run([*command, folder / "portfolio.dump"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert content(target.dsn) == content(source.dsn)
    assert verified(target.dsn)


def test_a_backup_during_a_burst_of_alerts_holds_one_moment_of_it(dsn, server_dsn, tmp_path, folder):
    source = place(dsn, tmp_path, "source")
    acknowledged: list[str] = []
    with an_engine(dsn, clock=Clock(minutes(3))) as engine:
        engine.process_signal(a_signal())
        with sending(engine, acknowledged):
            files = []
            for number in range(3):
                assert eventually(lambda: len(acknowledged) > 20 * (len(files) + 1), PATIENCE_SECONDS)
                before = set(acknowledged)
                told = source.told("backup", "--to", str(folder / f"{number}.zip"))
                files.append((before, told))
    for before, told in files:
        restored = fresh_database(server_dsn)
        try:
            done = place(restored, tmp_path, "restored").told("restore", told["file"])
            assert done["verified"]["last_hash"] == told["last_hash"]
            assert verified(restored).entries == told["entries"] + 2
            kept = {found for (found,) in rows(restored, "SELECT fingerprint FROM signal_log")}
            assert before <= kept
            assert len(kept) == told["signals"]
        finally:
            drop_database(restored)


@contextmanager
def sending(engine: LiveTradingEngine, acknowledged: list[str]) -> Iterator[None]:
    ending = threading.Event()

    def send() -> None:
        for number in range(1, 100_000):
            if ending.is_set():
                return
            bar = a_signal("MARKET_DATA", price=52000 + number % 100, timestamp=minutes(1 + number / 1_000_000))
            answer = engine.process_signal(bar)
            acknowledged.append(answer.fingerprint)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        ending.set()
        sender.join()


def test_a_portfolio_of_its_own_schema_and_one_to_look_at(dsn, tmp_path, folder):
    here = place(dsn, tmp_path, "here")
    migrate(dsn, "alpha")
    with DatabaseStateManager(dsn, portfolio="alpha") as manager:
        engine = LiveTradingEngine(manager, without_waiting(), clock=Clock(minutes(3)))
        engine.start()
        engine.process_signal(a_signal())
        engine.stop()
    told = here.told("backup", "--to", str(folder), "--portfolio", "alpha")
    assert Path(told["file"]).name.startswith("alpha-")
    untouched = content(dsn, "alpha")
    assert here.told("restore", told["file"], "--portfolio", "alpha", "--as", "look")["portfolio"] == "look"
    assert content(dsn, "alpha") == untouched
    assert verified(dsn, "look").positions == 1
    replaced = here.told("restore", told["file"], "--portfolio", "alpha", "--replace")
    assert content(dsn, replaced["set_aside_as"]) == untouched
    assert verified(dsn, "alpha").positions == 1
    # A trigger's function looks into the schema that its table is in now.
    paths = rows(dsn, "SELECT pronamespace::regnamespace::text, proconfig FROM pg_proc WHERE proconfig IS NOT NULL")
    assert {schema for schema, _ in paths} >= {"alpha", "look", replaced["set_aside_as"], "public"}
    assert all(path == [f"search_path={schema}"] for schema, path in paths)


def test_a_backup_goes_into_an_older_and_a_newer_postgresql(source, tmp_path, folder):
    majors = sorted(shipped_versions())
    assert len(majors) > 1
    with tempfile.TemporaryDirectory(prefix="pm-backup-") as passable:
        Path(passable).chmod(0o755)
        server = ArchivingServer(Path(passable), majors[0])
        server.make()
        server.start(archive_mode="off")
        try:
            older = place(server.dsn, tmp_path, "older")
            older.told("restore", source.told("backup", "--to", str(folder / "newer.zip"))["file"])
            assert older.told("verify")["verified"]
            told = older.told("backup", "--to", str(folder / "older.zip"))
        finally:
            server.stop()
    assert told["pg_dump_major"] == majors[0]
    source.told("restore", told["file"], "--replace")
    assert verified(source.dsn).entries == told["entries"] + 2


def test_what_was_replaced_can_be_put_back(source, folder):
    file = backed_up(source, folder)
    with an_engine(source.dsn, clock=Clock(minutes(5))) as engine:
        engine.process_signal(a_signal("MARKET_DATA", price=52100, timestamp=minutes(4)))
    journal = rows(source.dsn, "SELECT seq, content_hash FROM decision_journal ORDER BY seq")
    aside = source.told("restore", str(file), "--replace")["set_aside_as"]
    told = source.told("backup", "--to", str(folder / "aside.zip"), "--portfolio", aside)
    back = source.told("restore", told["file"], "--portfolio", aside, "--as", "main", "--replace")
    assert back["term"] > 2_000_000
    assert rows(source.dsn, "SELECT seq, content_hash FROM decision_journal ORDER BY seq")[: len(journal)] == journal
    assert verified(source.dsn)


AS_004 = (
    "DROP TABLE leadership_history, leader_lease, signal_totals, notification_cursors, proposals",
    "ALTER TABLE instance_metadata DROP COLUMN stopped_at",
    "ALTER TABLE pyramiding_state DROP COLUMN last_bar_atr, DROP COLUMN last_bar_time",
    "ALTER TABLE leadership DROP COLUMN fencing_number",
    "DROP FUNCTION refuse_batch",
    "UPDATE alembic_version SET version_num = '004'",
)


def test_a_backup_of_an_older_schema_is_brought_up_to_date(empty_dsn, server_dsn, tmp_path, folder):
    migrate(empty_dsn, "main")
    trade(empty_dsn)
    for undone in AS_004:
        rows(empty_dsn, undone)
    old = place(empty_dsn, tmp_path, "old")
    told = old.told("backup", "--to", str(folder))
    assert told["schema_version"] == "004"
    restored = fresh_database(server_dsn)
    try:
        new = place(restored, tmp_path, "new")
        assert new.told("restore", told["file"])["schema_version"] == head()
        assert verified(restored)
        assert rows(restored, "SELECT version_num FROM alembic_version") == [(head(),)]
        assert migrate(restored, "main") == (head(), head())
    finally:
        drop_database(restored)


# --- what must not happen after a portfolio went back in time


def test_who_led_before_can_write_no_more_whatever_term_it_had(source, folder):
    file = backed_up(source, folder)
    with an_engine(source.dsn, clock=Clock(minutes(5))) as zombie:
        zombie.process_signal(a_signal("MARKET_DATA", price=52100, timestamp=minutes(4)))
        term = zombie.db_manager.term
        done = source.told("restore", str(file), "--replace")
        assert done["term"] >= term + 1_000_000
        with pytest.raises(LeadershipLost):
            zombie.db_manager.commit(Batch(before=zombie.portfolio, after=zombie.portfolio, entries=an_entry(zombie)))
    assert verified(source.dsn)


def an_entry(engine: LiveTradingEngine) -> Any:
    from core.decide import decide
    from core.journal import Entry

    halt = Halt(reason="x")
    return (Entry(given=halt, decision=decide(engine.portfolio, halt, minutes(6)), decided_at=minutes(6)),)


def test_an_order_that_may_have_been_sent_since_is_never_sent_again_by_itself(dsn, target, tmp_path, folder):
    source = place(dsn, tmp_path, "source")
    with an_engine(dsn, settings=BROKER, clock=Clock(minutes(1))) as engine:
        assert status_of(engine.process_signal(a_signal())) == "accepted"
    assert rows(dsn, "SELECT state FROM orders") == [("intent",)]
    done = target.told("restore", str(backed_up(source, folder)))
    assert done["orders_in_doubt"] == 1
    ((state, message),) = rows(target.dsn, "SELECT state, message FROM orders")
    assert (state, message) == ("in_doubt", "restored from a backup: it may have been sent since")
    ((frozen,),) = rows(target.dsn, "SELECT frozen_reason FROM pyramiding_state WHERE instrument = 'BANK_NIFTY'")
    assert frozen
    assert verified(target.dsn).orders == 1


def test_a_database_that_was_recovered_to_an_earlier_time_goes_on_as_after_a_restore(source):
    done = source.told("restore", "--recovered")
    assert (done["term"], done["portfolio"]) == (1_000_001, "main")
    assert source.told("status")["halted"]
    assert verified(source.dsn).entries == done["verified"]["entries"] + 2


def test_there_has_to_be_something_that_was_recovered(target):
    result = target.run("restore", "--recovered")
    assert (result.exit_code, "nothing was recovered" in result.stderr) == (1, True)
    assert content(target.dsn) == {}


# --- what is in the place already


def test_what_is_replaced_is_kept_whole_under_another_name_with_the_rights_of_others(source, folder):
    file = backed_up(source, folder)
    role = f"reader_{os.getpid()}"
    rows(source.dsn, f"CREATE ROLE {role}")
    try:
        rows(source.dsn, f"GRANT SELECT, INSERT ON signal_log TO {role}; GRANT SELECT ON orders TO PUBLIC")
        rows(source.dsn, "REVOKE EXECUTE ON FUNCTION cleanup_old_signals(INTEGER) FROM PUBLIC")
        rows(source.dsn, f"GRANT EXECUTE ON FUNCTION cleanup_old_signals(INTEGER) TO {role}")
        rows(source.dsn, "CREATE TABLE somebody_elses (id INTEGER); INSERT INTO somebody_elses VALUES (1)")
        rights = rights_of(source.dsn, role)
        with an_engine(source.dsn, clock=Clock(minutes(5))) as engine:
            engine.process_signal(a_signal("MARKET_DATA", price=52100, timestamp=minutes(4)))
        replaced = {name: found for name, found in content(source.dsn).items() if name != "somebody_elses"}
        done = source.told("restore", str(file), "--replace")
        assert content(source.dsn, done["set_aside_as"]) == replaced
        assert verified(source.dsn, done["set_aside_as"])
        assert verified(source.dsn)
        assert rows(source.dsn, "SELECT * FROM public.somebody_elses") == [(1,)]
        assert rights_of(source.dsn, role) == rights
    finally:
        rows(source.dsn, f"DROP OWNED BY {role}; DROP ROLE {role}")


def rights_of(dsn: str, role: str) -> tuple[Any, ...]:
    query = (
        "SELECT has_table_privilege(%(role)s, 'public.signal_log', 'SELECT'),"
        " has_table_privilege(%(role)s, 'public.signal_log', 'INSERT'),"
        " has_table_privilege(%(role)s, 'public.signal_log', 'UPDATE'),"
        " has_table_privilege(%(role)s, 'public.orders', 'SELECT'),"
        " has_function_privilege(%(role)s, 'public.cleanup_old_signals(integer)', 'EXECUTE'),"
        " (SELECT proacl::text LIKE '{=X%%' FROM pg_proc WHERE oid = 'public.cleanup_old_signals(integer)'::regprocedure)"
    )
    return rows(dsn, query, {"role": role})[0]


def test_tables_in_which_nothing_happened_yet_are_replaced_without_a_word(source, target, folder):
    migrate(target.dsn, "main")
    assert target.told("restore", str(backed_up(source, folder)))["set_aside_as"] is None
    assert rows(target.dsn, "SELECT nspname FROM pg_namespace WHERE nspname LIKE '%%empty%%'") == []


def test_other_peoples_tables_in_a_backup_are_left_out_and_named(source, target, folder):
    rows(source.dsn, "CREATE TABLE somebody_elses (id INTEGER); INSERT INTO somebody_elses VALUES (1)")
    assert target.told("restore", str(backed_up(source, folder)))["left_out"] == ["somebody_elses"]
    assert "somebody_elses" not in content(target.dsn)


# --- what is refused, and changes nothing


def refused(where: Place, *arguments: str) -> str:
    """What it says; nothing was changed."""
    before = content(where.dsn)
    result = where.run("restore", *arguments)
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    assert "Traceback" not in result.stderr
    assert content(where.dsn) == before
    assert rows(where.dsn, "SELECT count(*) FROM pg_namespace WHERE nspname LIKE '%%until%%'") == [(0,)]
    return result.stderr


def test_a_portfolio_that_is_served_is_not_restored_into(source, folder):
    file = backed_up(source, folder)
    lock = PortfolioLock(source.dsn, "main", "live pid 1 on a test")
    lock.acquire(0)
    try:
        assert "already served: held by 'portfolio-manager main live pid 1" in refused(source, str(file), "--replace")
    finally:
        lock.release()


def test_a_portfolio_that_is_not_empty_is_replaced_only_where_that_is_asked_for(source, folder):
    assert "is not empty: with --replace" in refused(source, str(backed_up(source, folder)))


@pytest.mark.parametrize("how", ["a bit of the dump", "its end", "its beginning", "the manifest", "nothing of it"])
def test_a_damaged_file_is_refused(source, target, folder, how):
    file = backed_up(source, folder)
    whole = bytearray(file.read_bytes())
    match how:
        case "a bit of the dump":
            whole[len(whole) // 2] ^= 1
        case "its end":
            del whole[-100:]
        case "its beginning":
            del whole[:1000]
        case "the manifest":
            at = whole.index(b'"entries": ') + len(b'"entries": ')
            whole[at] ^= 1
        case _:
            whole = bytearray(b"not a backup")
    file.write_bytes(whole)
    assert "damaged" in refused(target, str(file))


def test_whatever_byte_of_a_file_is_wrong_it_is_refused_or_means_the_same(source, folder):
    file = backed_up(source, folder)
    whole, dice = file.read_bytes(), Random(1)
    with open_backup(file) as opened:
        manifest = opened.manifest
    # Most of the file is the dump: the manifest and the zip's own parts are at its end.
    places = [dice.randrange(len(whole)) for _ in range(100)] + list(range(len(whole) - 900, len(whole)))
    refusals = 0
    for number in places:
        damaged = bytearray(whole)
        damaged[number] ^= 1 << dice.randrange(8)
        try:
            opened = OpenBackup(io.BytesIO(bytes(damaged)), "a file")
            opened.require_undamaged()
        except BackupRefused:
            refusals += 1
        else:
            assert opened.manifest == manifest
    assert refusals > 500


def rewritten(file: Path, **changes: Any) -> Path:
    """The backup with another manifest, itself whole."""
    with zipfile.ZipFile(file) as archive:
        manifest, dump = json.loads(archive.read("manifest.json")), archive.read("portfolio.dump")
    other = file.with_name("other.zip")
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("portfolio.dump", dump)
        archive.writestr("manifest.json", json.dumps(manifest | changes))
    return other


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"schema_version": "999"}, "is of schema 999, this program knows"),
        ({"format": 2}, "has format 2, this program knows 1"),
        ({"portfolio": "alpha"}, "is of portfolio alpha, not main"),
        ({"sha256": "0" * 64}, "is damaged"),
        ({"entries": 3}, "ends with entry"),
        ({"last_hash": "0" * 64}, "the manifest says"),
        ({"schema_version": "001"}, "is not a table of the version"),
    ],
    ids=lambda given: next(iter(given)) if isinstance(given, dict) else "",
)
def test_a_backup_that_does_not_fit_is_refused(source, target, folder, changes, says):
    assert says in refused(target, str(rewritten(backed_up(source, folder), **changes)))


def test_a_backup_whose_rows_are_not_what_its_journal_says_is_refused(source, target, folder):
    rows(source.dsn, "UPDATE portfolio_state SET closed_equity = closed_equity + 1")
    assert "portfolio_state: the row is not what the journal leads to" in refused(
        target, str(backed_up(source, folder))
    )


def test_a_file_that_is_not_there_is_told_in_a_sentence(target, folder):
    assert "cannot be read: No such file" in refused(target, str(folder / "nothing.zip"))


@pytest.mark.parametrize(
    "arguments", [(), ("x.zip", "--recovered"), ("--recovered", "--replace"), ("--recovered", "--as", "x")]
)
def test_a_restore_is_told_what_to_restore(target, arguments):
    result = target.run("restore", *arguments)
    assert (result.exit_code, "--recovered alone" in result.stderr) == (2, True)


# --- backups that cannot be made


def not_made(where: Place, *arguments: str) -> str:
    result = where.run("backup", *arguments)
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    assert "Traceback" not in result.stderr
    return result.stderr


def test_a_file_that_is_there_is_not_overwritten(source, folder):
    kept = folder / "kept.zip"
    kept.write_text("somebody's")
    assert "is not overwritten" in not_made(source, "--to", str(kept))
    assert kept.read_text() == "somebody's"
    assert left_in(folder) == ["kept.zip"]


def test_a_file_that_appears_meanwhile_is_not_overwritten(source, folder, monkeypatch):
    kept = folder / "kept.zip"
    check = live.backup._check

    def appears(partial: Any) -> None:
        check(partial)
        kept.write_text("somebody's")

    monkeypatch.setattr("live.backup._check", appears)
    assert "is not overwritten" in not_made(source, "--to", str(kept))
    assert (kept.read_text(), left_in(folder)) == ("somebody's", ["kept.zip"])


def test_on_a_file_system_without_hard_links_the_file_has_its_name_all_the_same(source, folder, monkeypatch):
    def refuses(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("live.backup.os.link", refuses)
    assert [backed_up(source, folder).name] == left_in(folder)


def test_a_folder_is_made_and_one_that_cannot_be_is_told_in_a_sentence(source, folder, tmp_path):
    made = folder / "of" / "today"
    assert Path(source.told("backup", "--to", str(made))["file"]).parent == made
    assert Path(source.told("backup")["file"]).parent == tmp_path / "data" / "backups"
    (folder / "file").touch()
    assert "cannot be written: " in not_made(source, "--to", str(folder / "file"))


def test_a_database_in_which_nothing_happened_has_nothing_to_back_up(target, folder):
    assert "there is nothing to back up" in not_made(target, "--to", str(folder))
    migrate(target.dsn, "main")
    assert "there is nothing to back up" in not_made(target, "--to", str(folder))
    assert left_in(folder) == []


@pytest.mark.parametrize(
    "on_path, says", [(None, "there is none"), ("echo 'pg_dump (PostgreSQL) 9.6.24'", "there is 9: install")]
)
def test_a_pg_dump_that_is_missing_or_too_old_is_told_with_the_way_out(
    source, folder, tmp_path, monkeypatch, on_path, says
):
    monkeypatch.setattr(core.postgres.client_programs, "shipped_versions", dict)
    (tmp_path / "bin").mkdir()
    if on_path is not None:
        program = tmp_path / "bin" / "pg_dump"
        program.write_text(f"#!/bin/sh\n{on_path}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert says in not_made(source, "--to", str(folder))
    assert left_in(folder) == []


def test_what_pg_dump_says_is_told(source, folder):
    role = f"nobody_{os.getpid()}"
    rows(source.dsn, f"CREATE ROLE {role}; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    rows(source.dsn, f"ALTER ROLE {role} SUPERUSER LOGIN")
    try:
        rows(
            source.dsn, "ALTER DATABASE " + psycopg2.extensions.parse_dsn(source.dsn)["dbname"] + f" SET role = {role}"
        )
        rows(source.dsn, f"ALTER ROLE {role} NOSUPERUSER")
        assert "signal_log_id_seq" in not_made(source, "--to", str(folder))
        assert left_in(folder) == []
    finally:
        with closing(psycopg2.connect(source.dsn, options="-c role=none")) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_password_is_on_no_command_line(dsn):
    with closing(connect(dsn, "main", "a test")) as connection:
        given_dsn = psycopg2.extensions.make_dsn(dsn, password="of the owner")
        target, environment = connection_for(connection, given_dsn)
    assert "of the owner" not in target
    assert environment["PGPASSWORD"] == "of the owner"


def test_signals_in_a_spool_are_counted_beside_who_holds_it(source, folder, tmp_path):
    (tmp_path / "data" / "spool").mkdir(parents=True)
    with closing(Spool(tmp_path / "data" / "spool" / "main-1.sqlite")) as spool:
        for minute in (1, 2):
            spool.keep(given(a_signal(timestamp=minutes(minute))), {})
        told = source.told("backup", "--to", str(folder / "a.zip"))
        assert told["spooled"] == 2
        assert "2 signals in the spool" in source.run("backup", "--to", str(folder / "b.zip")).stderr
    (tmp_path / "data" / "spool" / "main-1.sqlite").write_bytes(b"no database")
    assert source.told("backup", "--to", str(folder / "c.zip"))["spooled"] is None


# --- killed


def killed(
    where: Place, command: str, *arguments: str, held: Callable[[], bool], by: signal.Signals = signal.SIGKILL
) -> None:
    """Kill the command once `held`."""
    process = subprocess.Popen(
        [sys.executable, "-c", command, *arguments, *where.options],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        assert eventually(lambda: held() or process.poll() is not None, PATIENCE_SECONDS)
        assert process.poll() is None, process.communicate()[1].decode()
    finally:
        process.send_signal(by)
        process.communicate()


def test_a_killed_backup_leaves_no_file_under_the_final_name_and_the_next_one_clears_up(source, folder):
    file = folder / "backup.zip"
    run_main = "from live.cli import main; main()"
    with closing(psycopg2.connect(source.dsn)) as connection, connection.cursor() as cursor:
        # pg_dump waits here, with the file begun.
        cursor.execute("LOCK TABLE fills")
        killed(source, run_main, "backup", "--to", str(file), held=lambda: bool(left_in(folder)))
        connection.rollback()
    assert not file.exists()
    (partial,) = left_in(folder)
    assert partial.endswith(".partial")
    source.told("backup", "--to", str(file))
    assert left_in(folder) == ["backup.zip"]


def test_a_backup_that_is_interrupted_leaves_nothing(source, folder):
    with closing(psycopg2.connect(source.dsn)) as connection, connection.cursor() as cursor:
        cursor.execute("LOCK TABLE fills")
        killed(
            source,
            "from live.cli import main; main()",
            "backup",
            "--to",
            str(folder / "backup.zip"),
            held=lambda: bool(left_in(folder)),
            by=signal.SIGINT,
        )
        connection.rollback()
    assert left_in(folder) == []


HELD_AT = {
    "the old one is out of the way": "live.restore._load",
    "the rows are loaded": "live.restore.verify",
    "it is proved": "live.restore._go_on_halted",
    "it is halted": "live.restore.Restored",
}


@pytest.mark.parametrize("where", HELD_AT)
def test_a_killed_restore_leaves_the_portfolio_as_it_was(source, folder, where):
    file = backed_up(source, folder)
    with an_engine(source.dsn, clock=Clock(minutes(5))) as engine:
        engine.process_signal(a_signal("MARKET_DATA", price=52100, timestamp=minutes(4)))
    before, there = content(source.dsn), folder / "there"
    command = (
        "import pathlib, sys, time, live.restore; from live.cli import main\n"
        f"def held(*_, **__): pathlib.Path({str(there)!r}).touch(); time.sleep(600)\n"
        f"{HELD_AT[where]} = held; main()"
    )
    killed(source, command, "restore", str(file), "--replace", held=there.exists)
    # Its session ends as soon as the server notices.
    assert eventually(
        lambda: not rows(source.dsn, "SELECT FROM pg_locks WHERE locktype = 'advisory'"), PATIENCE_SECONDS
    )
    assert content(source.dsn) == before
    with an_engine(source.dsn, clock=Clock(minutes(6))) as engine:
        assert status_of(engine.process_signal(a_signal(timestamp=minutes(5.5)))) == "executed"
    assert verified(source.dsn)
    assert source.told("restore", str(file), "--replace")["set_aside_as"]


# --- a full disk


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount the small disk")
def test_a_full_disk_is_told_and_nothing_is_left(source, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "pm-backup", disk], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    try:
        assert "No space left on device" in not_made(source, "--to", str(disk))
        assert left_in(disk) == []
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


# --- the schema


def test_the_names_of_tables_and_functions_are_those_that_the_migrations_make(dsn):
    there = {name for (name,) in rows(dsn, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
    assert there == tables()
    named = rows(dsn, "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace")
    assert {name for (name,) in named} == functions()


def test_a_restored_schema_is_the_one_that_migrate_makes(source, target, server_dsn, folder):
    target.told("restore", str(backed_up(source, folder)))
    assert schema_of(target.dsn) == schema_of(source.dsn)


def schema_of(dsn: str) -> str:
    command = [client_program("pg_dump", 18).path, "--schema-only", "--schema=public", f"--dbname={dsn}"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return "\n".join(line for line in told.splitlines() if not line.startswith("\\"))
