"""Tell whether a process is the postmaster of our data folder, and end it and what it left behind, but nothing else.

A pid in postmaster.pid proves nothing: the process may be dead, a zombie, or a stranger that was given the number.
"""

import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from core.postgres.embedded_account import Account, EmbeddedServerError, write_owned

PROC = Path("/proc")

# The server carries the path of its data folder as a setting: in a container without CAP_SYS_PTRACE root cannot see
# the working folder of another user's process, but everybody can see its arguments.
MARK = "portfolio_manager.cluster"

# Servers that this process started and has not yet seen the end of.
_children: set[int] = set()

LOOK_AGAIN_SECONDS = 0.005
# Its title, behind the cluster's name; a client's, while it connects, ends with the same word.
_STARTUP = re.compile(r"postgres: (\S+: )?startup\b")
_ORPHANS_LEAVE_SECONDS = 1.0
_ORPHANS_END_SECONDS = 30.0
_FAST_SHUTDOWN_SECONDS = 5.0
_SHUTDOWN_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A data folder of PostgreSQL and the socket its server listens on."""

    folder: Path
    socket_file: Path

    @property
    def pid_file(self) -> Path:
        """Where a server leaves its pid and whether it is ready."""
        return self.folder / "postmaster.pid"

    @property
    def socket_lock(self) -> Path:
        """Where it leaves its pid beside the socket."""
        return self.socket_file.with_name(f"{self.socket_file.name}.lock")


@dataclass(frozen=True, slots=True, kw_only=True)
class PidFile:
    """What postmaster.pid says; not that it is true."""

    pid: int
    status: str


class Holder(Enum):
    """What a pid is to a data folder."""

    POSTMASTER = "the server of this folder"
    SOMETHING_ELSE = "dead, a zombie or a stranger"
    UNKNOWN = "a server, but we may not see of which folder"


def remember_child(pid: int) -> None:
    """Note that this process started that server, and so is the one to reap it."""
    _children.add(pid)


def read_pid_file(cluster: Cluster) -> PidFile | None:
    """What a server wrote about itself; None without a file or with one that names no server."""
    return _read(cluster.pid_file)


def _read(pid_file: Path) -> PidFile | None:
    try:
        lines = pid_file.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return None
    if not lines or not lines[0].strip().isdecimal():
        return None
    return PidFile(pid=int(lines[0]), status=lines[7].strip() if len(lines) > 7 else "starting")


def live_postmaster(cluster: Cluster) -> int | None:
    """The pid of the server that runs on the folder, ready or not; None if there is none."""
    found = read_pid_file(cluster)
    return found.pid if found is not None and is_postmaster(found.pid, cluster) else None


def is_postmaster(pid: int, cluster: Cluster) -> bool:
    """Whether the process is alive, no zombie, and the server of this folder."""
    return holder(pid, cluster) is Holder.POSTMASTER


def holder(pid: int, cluster: Cluster) -> Holder:
    """What the process with this pid is to the folder."""
    if not (PROC / "self").exists():
        listens = _exists(pid) and _somebody_listens(cluster.socket_file)
        return Holder.POSTMASTER if listens else Holder.SOMETHING_ELSE
    _reap()
    arguments = _arguments(pid)
    if Path(arguments[0]).name != "postgres" or _is_zombie(pid):
        return Holder.SOMETHING_ELSE
    works_here = _works_in(pid, cluster.folder)
    if works_here is None:
        return _holder_by_mark(arguments, cluster)
    return Holder.POSTMASTER if works_here else Holder.SOMETHING_ELSE


def _holder_by_mark(arguments: list[str], cluster: Cluster) -> Holder:
    if f"{MARK}={cluster.folder}" in arguments:
        return Holder.POSTMASTER
    marked = any(argument.startswith(f"{MARK}=") for argument in arguments)
    return Holder.SOMETHING_ELSE if marked else Holder.UNKNOWN


def _arguments(pid: int) -> list[str]:
    """The command line of a process; one empty word for one that is gone or a zombie."""
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().decode(errors="surrogateescape").split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return [""]


def _is_zombie(pid: int) -> bool:
    try:
        # The name in brackets may itself hold brackets and spaces: the state follows the last one.
        state = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in ("Z", "X")


def _works_in(pid: int, folder: Path) -> bool | None:
    """Whether it is the process's working folder (PostgreSQL never leaves its data folder); None: not ours to see."""
    try:
        return os.path.samestat((PROC / str(pid) / "cwd").stat(), folder.stat())
    except PermissionError:
        return None
    except (FileNotFoundError, ProcessLookupError):
        return False


def is_running(pid: int, cluster: Cluster) -> bool:
    """Whether a process that was the server of this folder, or that we started to become it, still runs."""
    _reap()
    if pid in _children:
        return True
    if (PROC / "self").exists():
        return is_postmaster(pid, cluster)
    found = read_pid_file(cluster)
    return found is not None and found.pid == pid and _exists(pid)


def _exists(pid: int) -> bool:
    _reap()
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _somebody_listens(socket_file: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as attempt:
        try:
            attempt.connect(str(socket_file))
        except OSError:
            return False
    return True


def _reap() -> None:
    """Take leave of the servers that we started and that ended: a zombie keeps its pid. Other children are not ours."""
    for pid in tuple(_children):
        ended = True
        with suppress(ChildProcessError):
            ended = os.waitpid(pid, os.WNOHANG)[0] == pid
        if ended:
            _children.discard(pid)


def recovers(pid: int) -> bool:
    """Whether the server has a process that brings it up; True where that cannot be seen."""
    if not PROC.exists():
        return True
    children = (int(entry.name) for entry in PROC.iterdir() if entry.name.isdecimal() and _parent(entry) == pid)
    return any(_STARTUP.match(_arguments(child)[0]) for child in children)


def _parent(process: Path) -> int | None:
    try:
        # The name in brackets may itself hold brackets and spaces: the parent is the second word after the last one.
        return int((process / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None


def shut_down(pid: int, cluster: Cluster, *, at_once: bool = False) -> None:
    """End the server cleanly (a fast shutdown: open transactions are rolled back, data are written) and wait for it.

    One that is told so in the middle of its own recovery can wait for itself for ever: what has not ended after
    a few seconds is ended `at_once`, and recovers at its next start.
    """
    patience = 0.0 if at_once else _FAST_SHUTDOWN_SECONDS
    _signal(pid, signal.SIGINT, cluster, is_postmaster)
    began, told_at_once = time.monotonic(), False
    while is_running(pid, cluster):
        waited = time.monotonic() - began
        if waited > patience and not told_at_once:
            told_at_once = True
            _signal(pid, signal.SIGQUIT, cluster, is_postmaster)
            # One that was paused hears nothing before it goes on.
            _signal(pid, signal.SIGCONT, cluster, is_postmaster)
        if waited > _SHUTDOWN_SECONDS:
            raise EmbeddedServerError(
                f"the embedded PostgreSQL (process {pid}) was told to stop {_SHUTDOWN_SECONDS:.0f} seconds ago and "
                f"still works on it; its data are safe. See the log beside {cluster.folder}"
            )
        time.sleep(LOOK_AGAIN_SECONDS)


def wait_for_orphans(cluster: Cluster) -> None:
    """Wait for what a killed server left behind; they leave by themselves, unless they are in the middle of a query.

    A new server refuses to start beside them, and rightly: they still write to the same files. Where a live server turns
    out to be theirs, whose starter was killed before it had written its pid file, they are none.
    """
    began = time.monotonic()
    while (orphans := _orphans(cluster)) and live_postmaster(cluster) is None:
        waited = time.monotonic() - began
        if waited > _ORPHANS_END_SECONDS:
            raise EmbeddedServerError(
                f"processes {orphans} of an embedded PostgreSQL that was killed still use {cluster.folder}: end them "
                "(kill), then start again"
            )
        if waited > _ORPHANS_LEAVE_SECONDS:
            for pid in orphans:
                _signal(pid, signal.SIGTERM, cluster, _is_part_of_server)
        time.sleep(LOOK_AGAIN_SECONDS)


def _orphans(cluster: Cluster) -> list[int]:
    if not PROC.exists():
        return []
    pids = (int(entry.name) for entry in PROC.iterdir() if entry.name.isdecimal())
    return [pid for pid in pids if _is_part_of_server(pid, cluster)]


def _is_part_of_server(pid: int, cluster: Cluster) -> bool:
    return _arguments(pid)[0].startswith("postgres:") and not _is_zombie(pid) and _works_in(pid, cluster.folder) is True


def _signal(pid: int, number: signal.Signals, cluster: Cluster, is_the_one: Callable[[int, Cluster], bool]) -> None:
    """Signal the process if it is the one: looked at after taking hold of it, so that the pid cannot change hands."""
    with _hold_of(pid) as descriptor, suppress(ProcessLookupError):
        if not is_the_one(pid, cluster):
            return
        if sys.platform == "linux" and descriptor is not None:
            signal.pidfd_send_signal(descriptor, number)
        else:
            os.kill(pid, number)


@contextmanager
def _hold_of(pid: int) -> Iterator[int | None]:
    """A descriptor that goes on meaning this process; None on systems that have none."""
    descriptor = None
    if sys.platform == "linux":
        with suppress(OSError):  # an old kernel or a sandbox that forbids it
            descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def disown_stale_pid_files(cluster: Cluster, account: Account) -> None:
    """Make pid files that name no server of ours harmless. Only for one who has made sure that none runs.

    PostgreSQL sees by itself that a pid is dead, but takes a zombie or a stranger of its own user for a server. The
    file is not removed: it also names the shared memory by which the new server knows that orphans of the old one are
    still at work. So it gets our pid in the place of the stranger's: PostgreSQL knows that its parent is no server.
    """
    _remove_empty(cluster.pid_file)
    for path in (cluster.pid_file, cluster.socket_lock):
        found = _read(path)
        if found is not None and holder(found.pid, cluster) is Holder.SOMETHING_ELSE and _exists(found.pid):
            _, _, rest = path.read_text(encoding="utf-8", errors="replace").partition("\n")
            write_owned(path, f"{os.getpid()}\n{rest}", account)


def _remove_empty(pid_file: Path) -> None:
    """A disk that was full, or a machine that lost power, leaves an empty file, and PostgreSQL stops at it."""
    with suppress(FileNotFoundError):
        if pid_file.stat().st_size == 0:
            time.sleep(_ORPHANS_LEAVE_SECONDS)  # a server whose starter was killed may be about to fill it
            if pid_file.stat().st_size == 0:
                pid_file.unlink()
