"""The spool's file: what is kept survives, once, whatever the disk or another process does."""

import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from core.errors import ConfigurationError
from core.fingerprint import fingerprint_of
from core.inputs import SignalInput
from live.spool import Spool, SpoolUnusable, open_spool
from tests.builders import NOON, a_signal, minutes
from tests.live_process import ROOT


def an_input(instrument: str = "BANK_NIFTY", **fields: object) -> SignalInput:
    signal = a_signal(instrument=instrument, **fields)
    return SignalInput(signal=signal, fingerprint=fingerprint_of("main", signal), received_at=NOON)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "main-1.sqlite"


def test_what_is_kept_is_read_back_exactly_in_the_order_it_came(file):
    given = [an_input("GOLD_MINI", price="72000.12345678", timestamp=minutes(2)), an_input(timestamp=minutes(1))]
    spool = Spool(file)
    for one in given:
        spool.keep(one, {"type": "BASE_ENTRY", "price": "72000.12345678", "roc": None})
    spool.close()
    again = Spool(file)
    assert [spooled.given for spooled in again.load()] == given
    assert again.load()[0].payload == {"type": "BASE_ENTRY", "price": "72000.12345678", "roc": None}
    assert (again.kept, again.set_aside_count) == (2, 0)
    again.close()


def test_a_signal_is_kept_once_with_its_first_body(file):
    spool = Spool(file)
    spool.keep(an_input(), {"price": 1})
    spool.keep(an_input(), {"price": 2})
    assert [spooled.payload for spooled in spool.load()] == [{"price": 1}]
    assert spool.kept == 1
    spool.close()


def test_what_was_decided_is_forgotten(file):
    spool = Spool(file)
    one, other = an_input(), an_input("GOLD_MINI")
    spool.keep(one, {})
    spool.keep(other, {})
    spool.remove([one.fingerprint, "never kept"])
    assert [spooled.given for spooled in spool.load()] == [other]
    assert spool.kept == 1
    spool.close()


def test_what_is_set_aside_is_counted_apart_and_tried_again_at_the_next_start(file):
    spool = Spool(file)
    spool.keep(an_input(), {})
    spool.set_aside(an_input().fingerprint, "no")
    assert (spool.kept, spool.set_aside_count) == (0, 1)
    spool.close()
    again = Spool(file)
    assert (again.kept, again.set_aside_count) == (0, 1)
    assert len(again.load()) == 1
    assert (again.kept, again.set_aside_count) == (1, 0)
    again.close()


def test_a_full_spool_keeps_nothing_more_and_says_so(file):
    spool = Spool(file, most=1)
    spool.keep(an_input(), {})
    assert spool.usable is False
    with pytest.raises(SpoolUnusable, match="full"):
        spool.keep(an_input("GOLD_MINI"), {})
    spool.remove([an_input().fingerprint])
    assert spool.usable is True
    spool.keep(an_input("GOLD_MINI"), {})
    spool.close()


def test_a_disk_that_takes_nothing_keeps_nothing_and_is_tried_again(file):
    """The real thing, by the process's own limit on file sizes; a child's, since it cannot be lifted again."""
    script = f"""
import resource, signal, sys
from pathlib import Path
from live.spool import Spool, SpoolUnusable
from tests.unit.test_spool import an_input
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
spool = Spool(Path({str(file)!r}))
spool.keep(an_input(), {{}})
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (Path({str(file)!r} + "-wal").stat().st_size, hard))
try:
    spool.keep(an_input("GOLD_MINI"), {{"note": "x" * 100000}})
    sys.exit("it was kept")
except SpoolUnusable:
    assert not spool.usable
spool.set_aside(an_input().fingerprint, "cannot be noted either")
spool.remove([an_input().fingerprint])
spool.probe()
assert not spool.usable
assert spool.kept == 1
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
spool.probe()
assert spool.usable
assert spool.kept == 0
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    spool = Spool(file)
    assert spool.load() == []
    spool.close()


def test_an_entry_that_cannot_be_read_is_set_aside_and_hides_no_other(file):
    spool = Spool(file)
    spool.keep(an_input(), {})
    spool.keep(an_input("GOLD_MINI"), {})
    spool.close()
    connection = sqlite3.connect(file)
    with connection:
        connection.execute("UPDATE signals SET input = '{}' WHERE number = 1")
    connection.close()
    again = Spool(file)
    assert [spooled.given for spooled in again.load()] == [an_input("GOLD_MINI")]
    assert (again.kept, again.set_aside_count) == (1, 1)
    again.close()


@pytest.mark.parametrize("damage", ["not a database", "newer"])
def test_a_file_that_cannot_be_used_is_told_in_a_sentence(file, damage):
    if damage == "newer":
        connection = sqlite3.connect(file)
        connection.execute("PRAGMA user_version = 99")
        connection.close()
    else:
        file.write_text("x" * 5000)
    with pytest.raises(ConfigurationError, match=r"main-1\.sqlite"):
        Spool(file)


def test_a_folder_that_cannot_be_made_is_told_in_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="--data-dir"), open_spool(tmp_path / "file" / "spool", "main"):
        pass


def test_each_process_has_a_file_of_its_own_and_takes_over_what_another_left(tmp_path):
    folder = tmp_path / "spool"
    with open_spool(folder, "main") as first:
        with open_spool(folder, "main") as second:
            assert first.file != second.file
            second.keep(an_input(), {"a": 1})
            with open_spool(folder, "alpha") as other_portfolio:
                assert other_portfolio.load() == []
        assert first.load() == []
    assert folder.stat().st_mode & 0o777 == 0o700
    with open_spool(folder, "main") as later:
        assert later.file == first.file
        assert [spooled.given for spooled in later.load()] == [an_input()]
    left = Spool(second.file)
    assert left.load() == []
    left.close()


def test_what_a_killed_process_kept_is_there(tmp_path):
    script = f"""
import os
from pathlib import Path
from live.spool import open_spool
from tests.unit.test_spool import an_input
with open_spool(Path({str(tmp_path)!r}), "main") as spool:
    spool.keep(an_input(), {{"a": 1}})
    os.kill(os.getpid(), 9)
"""
    killed = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False)
    assert killed.returncode == -9
    with open_spool(tmp_path, "main") as spool:
        assert [spooled.given for spooled in spool.load()] == [an_input()]


def test_every_write_reaches_the_disk_before_it_is_answered(file):
    """synchronous=FULL: asked of the connection in use, for nothing short of a power cut shows it."""
    spool = Spool(file)
    assert spool._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert spool._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    spool.close()


def test_a_take_over_that_fails_leaves_all_where_it_was_and_harms_nothing_kept_later(tmp_path):
    other, own = Spool(tmp_path / "other.sqlite"), Spool(tmp_path / "own.sqlite")
    other.keep(an_input(), {})
    other.keep(an_input("GOLD_MINI"), {})
    own._connection.execute(
        "CREATE TRIGGER no_gold BEFORE INSERT ON signals WHEN new.input LIKE '%GOLD%' BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    with pytest.raises(SpoolUnusable):
        own.adopt(other)
    assert len(other.rows()) == 2
    own.keep(an_input("COPPER"), {})
    own.close()
    again = Spool(tmp_path / "own.sqlite")
    assert [spooled.given for spooled in again.load()] == [an_input("COPPER")]
    other.close()
    again.close()


def test_tens_of_thousands_are_taken_over_and_removed(tmp_path):
    old, new = Spool(tmp_path / "a.sqlite"), Spool(tmp_path / "b.sqlite")
    for spool in (old, new):
        spool._connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 999)
    old._connection.execute("BEGIN")
    old._connection.executemany(
        "INSERT INTO signals (fingerprint, input, payload) VALUES (?, '{}', '{}')", [(str(i),) for i in range(20_000)]
    )
    old._connection.execute("COMMIT")
    new.adopt(old)
    assert (len(old.rows()), len(new.rows())) == (0, 20_000)
    old.close()
    new.close()


def test_a_start_on_a_disk_that_is_full_reads_what_is_there(file):
    """As after a SIGKILL: the log of the writes still beside the file, and no byte to be had."""
    script = f"""
import os, resource, signal
from pathlib import Path
from live.spool import Spool
from tests.unit.test_spool import an_input
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
if os.fork() == 0:
    Spool(Path({str(file)!r})).keep(an_input(), {{}})
    os.kill(os.getpid(), 9)
os.wait()
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
spool = Spool(Path({str(file)!r}))
assert [spooled.given for spooled in spool.load()] == [an_input()]
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_many_that_come_at_once_share_the_writes(file):
    spool, writes = Spool(file), []
    real = spool._keep_all

    def counted(entries):
        writes.append(len(entries))
        time.sleep(0.01)
        real(entries)

    spool._keep_all = counted
    threads = [
        threading.Thread(target=spool.keep, args=[an_input(timestamp=minutes(number / 60)), {}]) for number in range(60)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert spool.kept == sum(writes) == len(spool.load()) == 60
    assert len(writes) < 20
    spool.close()


def test_one_that_is_full_still_knows_what_it_holds(file):
    spool = Spool(file, most=1)
    assert spool.keep(an_input(), {}) is True
    assert spool.keep(an_input(), {}) is False
    spool.set_aside(an_input().fingerprint, "no")
    assert spool.keep(an_input(), {}) is True
    assert (spool.kept, spool.set_aside_count) == (1, 0)
    spool.close()
