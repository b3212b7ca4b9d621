"""A PostgreSQL of our own below the data directory, shared by all commands that run on it.

Two locks (flock, so that they end with the process that holds them, however it ends):

- `use.lock` is shared by every process that uses the server, for as long as it does.
- `change.lock` is exclusive, and held only while the server is looked for, started or stopped. Taking and giving up a
  use happens under it, so nobody can begin to use a server that somebody else is about to stop.

Who gives up a use tries to have `use.lock` alone: if that works it was the last one, and it stops the server. A process
that is killed leaves the server running; the next start adopts it.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import psycopg2

from core.postgres.embedded_account import (
    Account,
    EmbeddedServerError,
    data_folder_argument,
    give,
    leave_running_as,
    make_private_folder,
    server_account,
)
from core.postgres.embedded_binaries import Programs, programs_for
from core.postgres.embedded_cluster import (
    DATABASE,
    PORT,
    Layout,
    make_base,
    make_cluster,
    remove_leftovers,
    write_access_rules,
)
from core.postgres.embedded_process import (
    LOOK_AGAIN_SECONDS,
    MARK,
    disown_stale_pid_files,
    is_running,
    live_postmaster,
    read_pid_file,
    recovers,
    remember_child,
    shut_down,
    wait_for_orphans,
)

__all__ = ["EmbeddedServer", "EmbeddedServerError"]

_LOG_BYTES = 10 * 1024 * 1024
_LOG_TAIL_LINES = 20
_CONNECT_SECONDS = 10
_LISTENS_SECONDS = 2
_ATTEMPTS = 600
_BETWEEN_ATTEMPTS_SECONDS = 0.1
_ABANDONED_SECONDS = 10.0


class EmbeddedServer:
    """One process's use of the PostgreSQL below a data directory. Not for several threads at once."""

    # A leader needs five, a follower three, for each portfolio.
    max_connections: ClassVar[int] = 300

    def __init__(self, data_dir: Path, *, create: bool = True) -> None:
        self._layout = Layout.of(data_dir)
        self._create = create
        self._use: int | None = None

    def start(self) -> str:
        """Start the server, or adopt the one that runs, use it until `stop()`, and return its DSN.

        May be called again to bring back a server that died. A recovery may take as long as it takes. Raises
        EmbeddedServerError, and uses nothing, if there is no server to be had.
        """
        if not self._create:
            _require_cluster(self._layout)
        with _explained(self._layout):
            make_base(self._layout)
            in_use = self._use is not None
            with self._changing(), self._using():
                self._bring_up(in_use=in_use)
        return self.dsn

    @property
    def dsn(self) -> str:
        """The libpq connection string (key=value, Unix socket); the same whether or not the server runs."""
        return self._layout.dsn()

    @staticmethod
    def dsn_of(data_dir: Path) -> str:
        """The DSN of the cluster below a data directory, without starting it; EmbeddedServerError if there is none."""
        layout = Layout.of(data_dir)
        _require_cluster(layout)
        return layout.dsn()

    def stop(self) -> None:
        """Give up our use; who is the last to do so stops the server cleanly. Without a use nothing happens."""
        if self._use is None:
            return
        with _explained(self._layout), self._changing():
            self._give_up_use()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def postmaster_pid(self) -> int | None:
        """The pid of the live server on this data directory, whoever started it; None if none runs."""
        return live_postmaster(self._layout.cluster)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Nobody else starts or stops the server, or begins or ends to use it, meanwhile."""
        descriptor = _open_lock(self._layout.change_lock)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def _using(self) -> Iterator[None]:
        """Take a use that outlives the block, unless the block fails. Under `_changing`."""
        with ExitStack() as undo:
            if self._use is None:
                self._use = _open_lock(self._layout.use_lock)
                # Not one that was there before: others, and we, use the server through it.
                undo.callback(self._give_up_use)
            fcntl.flock(self._use, fcntl.LOCK_SH)
            yield
            undo.pop_all()

    def _give_up_use(self) -> None:
        """Under `_changing`: that an upgrade of a flock lets go of the shared one first does no harm then."""
        if self._use is None:
            return
        descriptor, self._use = self._use, None
        try:
            if _had_alone(descriptor) and (pid := self.postmaster_pid) is not None:
                shut_down(pid, self._layout.cluster)
        finally:
            # Not by closing alone: a forked child may have a copy of the descriptor.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)

    def _bring_up(self, *, in_use: bool) -> None:
        """Return when a server runs that has our database; one in use by us has it, and may be too busy to be asked."""
        account = server_account(self._layout.cluster_folder)
        make_private_folder(self._layout.socket_folder, account)
        for _ in range(_ATTEMPTS):
            pid = self.postmaster_pid
            came_up = self._launch(account) if pid is None else self._becomes_ready(pid)
            if came_up and (self._listens() if in_use else self._has_database()):
                return
            time.sleep(_BETWEEN_ATTEMPTS_SECONDS)
        raise EmbeddedServerError(
            f"the embedded PostgreSQL does not stay up; its log {self._layout.log} ends:\n{self._log_tail(0)}"
        )

    def _becomes_ready(self, pid: int) -> bool:
        """Wait, through any recovery, until the server takes connections; False if it ended, or was about to."""
        cluster = self._layout.cluster
        look_at = time.monotonic() + _ABANDONED_SECONDS
        while is_running(pid, cluster):
            if time.monotonic() > look_at:
                look_at += _ABANDONED_SECONDS
                self._end_if_abandoned()
            found = read_pid_file(cluster)
            if found is not None and found.pid == pid:
                if found.status == "ready":
                    return True
                if found.status == "stopping":
                    # Who told it so was killed before it ended. Told again it does not wait for its clients.
                    shut_down(pid, cluster)
                    return False
            time.sleep(LOOK_AGAIN_SECONDS)
        return False

    def _end_if_abandoned(self) -> bool:
        """End a server that takes no connections and that nobody brings up: it never would come up by itself.

        PostgreSQL 18 can come to this: a full disk ends its recovery after a panic, and the postmaster goes on without.
        """
        began = time.monotonic()
        while (pid := self.postmaster_pid) is not None and not recovers(pid) and _is_not_up(self._refusal()):
            if time.monotonic() - began > _ABANDONED_SECONDS:
                shut_down(pid, self._layout.cluster, at_once=True)
                return True
            time.sleep(_BETWEEN_ATTEMPTS_SECONDS)
        return False

    def _refusal(self) -> str:
        """What the server says to a new connection; empty where it takes it."""
        try:
            psycopg2.connect(self._layout.dsn("postgres"), connect_timeout=_LISTENS_SECONDS).close()
        except psycopg2.OperationalError as error:
            return str(error)
        return ""

    def _launch(self, account: Account) -> bool:
        """Start a server and wait for it; False if it is worth another attempt, EmbeddedServerError if it is not."""
        layout = self._layout
        programs = programs_for(account, layout.major_version(), layout.base)
        self._ready_cluster(account, programs)
        disown_stale_pid_files(layout.cluster, account)
        wait_for_orphans(layout.cluster)
        if self.postmaster_pid is not None:
            return False
        _rotate(layout.log)
        with os.fdopen(_open_owned(layout.log, os.O_WRONLY | os.O_APPEND), "ab") as log:
            log_start = os.fstat(log.fileno()).st_size
            command = self._command(account, programs)
            pid = leave_running_as(account, command, working_folder=layout.cluster_folder, log=log)
        remember_child(pid)
        if self._becomes_ready(pid):
            return True
        self._require_a_passing_reason(log_start)
        return False

    def _ready_cluster(self, account: Account, programs: Programs) -> None:
        remove_leftovers(self._layout)
        if not self._create:
            _require_cluster(self._layout)
        if not self._layout.has_cluster():
            make_cluster(self._layout, account, programs)
        give(self._layout.cluster_folder, account)
        write_access_rules(self._layout.cluster_folder, account)

    def _command(self, account: Account, programs: Programs) -> list[str]:
        """The server's command line. What is set here, no configuration file can undo."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": self._layout.socket_setting,
            "unix_socket_permissions": "0700",
            "port": str(PORT),
            "max_connections": str(self.max_connections),
            "fsync": "on",
            "full_page_writes": "on",
            "synchronous_commit": "on",
            # It is nobody's standby. One that recovers to an earlier time is to be waited for, not read.
            "hot_standby": "off",
            "logging_collector": "off",
            "log_destination": "stderr",
            "log_timezone": "UTC",
            "timezone": "UTC",
            "cluster_name": DATABASE,
            MARK: str(self._layout.cluster_folder),
        }
        folder = data_folder_argument(account, self._layout.cluster_folder)
        arguments = [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
        return [str(programs.folder / "postgres"), "-D", folder, *arguments]

    def _require_a_passing_reason(self, log_start: int) -> None:
        """A server of ours ended while it started: EmbeddedServerError, with its log, if the next one would too."""
        log = self._log_tail(log_start)
        # Either one that was launched by a starter that was killed is there after all, or processes of an earlier one
        # that we may not see (a container without CAP_SYS_PTRACE) still hold its shared memory, or it was told to end.
        passing = ("is still in use", "shutdown request")
        if self.postmaster_pid is None and not any(words in log for words in passing):
            raise EmbeddedServerError(
                f"the embedded PostgreSQL ended while it started; its log {self._layout.log} ends:\n{log}"
            )

    def _log_tail(self, start: int) -> str:
        with self._layout.log.open("rb") as log:
            log.seek(start)
            lines = log.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-_LOG_TAIL_LINES:])

    def _listens(self) -> bool:
        """Whether anybody is there at the socket, be it busy, full, recovering or paused; not one who is just dying."""
        refusal = self._refusal()
        if _is_not_up(refusal):
            return not self._end_if_abandoned()
        # What the server refused it said itself, and a paused one says nothing: only a socket without anybody is refused.
        return not any(words in refusal for words in ("Connection refused", "No such file", "server closed"))

    def _has_database(self) -> bool:
        """Make our database if a kill came between; False if the server went away meanwhile."""
        try:
            with closing(
                psycopg2.connect(self._layout.dsn("postgres"), connect_timeout=_CONNECT_SECONDS)
            ) as connection:
                connection.autocommit = True
                with connection.cursor() as cursor:
                    cursor.execute("SELECT FROM pg_database WHERE datname = %s", (DATABASE,))
                    if cursor.rowcount == 0:
                        # Of a start that was killed the server may still be making it: then it is there now.
                        with suppress(psycopg2.errors.DuplicateDatabase, psycopg2.errors.UniqueViolation):
                            cursor.execute(f"CREATE DATABASE {DATABASE}")
        except psycopg2.OperationalError as error:
            if _is_full(error):
                return True  # whoever has all its connections found it usable
            found = read_pid_file(self._layout.cluster)
            if _is_passing(error) or found is None or found.status != "ready" or self.postmaster_pid is None:
                self._end_if_abandoned()
                return False
            raise EmbeddedServerError(
                f"the embedded PostgreSQL runs (process {found.pid}) but cannot be used: {error}"
            ) from error
        return True


def _is_full(error: psycopg2.OperationalError) -> bool:
    # A refused connection has no SQLSTATE; the server's messages are in English, its locale is C.
    return "too many clients" in str(error) or "remaining connection slots" in str(error)


def _is_not_up(refusal: str) -> bool:
    # It starts, recovers, or is not accepting connections (yet).
    return "the database system is" in refusal and "shutting down" not in refusal


def _is_passing(error: psycopg2.OperationalError) -> bool:
    """A backend was killed and the server recovers by itself, or it starts or stops: its pid file may say `ready` still.

    What it refuses for good (the role, the database), it refuses with another FATAL.
    """
    return "FATAL:" not in str(error) or "the database system is" in str(error)


def _require_cluster(layout: Layout) -> None:
    with _explained(layout):
        if layout.has_cluster():
            return
    raise EmbeddedServerError(
        f"there is no embedded database in {layout.base}: `python portfolio_manager.py migrate` or `live` makes one "
        "(with the same --data-dir)"
    )


@contextmanager
def _explained(layout: Layout) -> Iterator[None]:
    """What the system refuses us is told with the folder and the way out."""
    try:
        yield
    except OSError as error:
        raise EmbeddedServerError(
            f"the embedded database in {layout.base} cannot be used: {error}. Give this user the right to it, or "
            "choose another --data-dir"
        ) from error


def _open_lock(path: Path) -> int:
    return _open_owned(path, os.O_RDWR)


def _open_owned(path: Path, flags: int) -> int:
    """Open a file, made if need be for the owner of its folder, so that a visit of root locks nobody out.

    Python's descriptors are closed in the programs that it starts, so a server never holds a lock of ours.
    """
    descriptor = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    return descriptor


def _had_alone(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _rotate(log: Path) -> None:
    """Keep one old log when it has grown large; done between two servers, since one that runs holds it open."""
    if log.exists() and log.stat().st_size > _LOG_BYTES:
        log.replace(log.with_name(f"{log.name}.1"))
