"""Where an embedded PostgreSQL keeps its things below the data directory, and how a new cluster is made there."""

import hashlib
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psycopg2.extensions

from core.postgres.embedded_account import (
    Account,
    EmbeddedServerError,
    data_folder_argument,
    run_as,
    sync_folder,
    write_owned,
)
from core.postgres.embedded_binaries import Programs
from core.postgres.embedded_process import Cluster

DATABASE = "portfolio_manager"
# The role that initdb makes. It is a superuser: it is the only one, and who may use it owns the files anyway.
ROLE = "portfolio_manager"
PORT = 5432

_SOCKET_NAME = f".s.PGSQL.{PORT}"
_LONGEST_SOCKET_PATH = 102 if sys.platform == "darwin" else 106
_STAGING_PREFIX = "cluster.new-"
_BUILTIN_LOCALE_SINCE = 17

_PG_HBA = """\
# Written by the portfolio manager at each start; changes are lost.
# No passwords and no trust: the system says who is at the other end of the socket (peer), and pg_ident.conf says who
# of them may be the database's user. The socket's folder (mode 700) lets nobody else through anyway.
local all all peer map=owner
local replication all peer map=owner
"""

_PG_IDENT = """\
# Written by the portfolio manager at each start; changes are lost.
# Root, and the user that the server runs as, own all its files: they may be its user too.
owner root {role}
owner "{account}" {role}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The files of one data directory's server; all paths are absolute."""

    base: Path
    socket_folder: Path

    @staticmethod
    def of(data_dir: Path) -> "Layout":
        """The layout below a data directory, whether or not anything is there."""
        base = data_dir.expanduser().resolve() / "postgres"
        return Layout(base=base, socket_folder=_socket_folder(base))

    @property
    def cluster_folder(self) -> Path:
        """PostgreSQL's own data folder."""
        return self.base / "cluster"

    @property
    def cluster(self) -> Cluster:
        """The data folder with its socket."""
        return Cluster(folder=self.cluster_folder, socket_file=self.socket_folder / _SOCKET_NAME)

    @property
    def log(self) -> Path:
        """What the server printed."""
        return self.base / "server.log"

    @property
    def change_lock(self) -> Path:
        """Held while somebody starts or stops the server, or finds out whether to."""
        return self.base / "change.lock"

    @property
    def use_lock(self) -> Path:
        """Shared by all who use the server; had alone by who stops it."""
        return self.base / "use.lock"

    @property
    def socket_setting(self) -> str:
        """unix_socket_directories as the server is told: relative to its data folder where it can be."""
        return "../socket" if self.socket_folder.parent == self.base else str(self.socket_folder)

    def has_cluster(self) -> bool:
        """Whether a cluster has been made here (it appears whole, by a rename)."""
        return (self.cluster_folder / "PG_VERSION").exists()

    def major_version(self) -> int | None:
        """The PostgreSQL version that the cluster was made with; None without a cluster."""
        return int((self.cluster_folder / "PG_VERSION").read_text(encoding="utf-8")) if self.has_cluster() else None

    def dsn(self, database: str = DATABASE) -> str:
        """The libpq connection string of a database of the cluster."""
        return psycopg2.extensions.make_dsn(host=str(self.socket_folder), port=PORT, user=ROLE, dbname=database)


def _socket_folder(base: Path) -> Path:
    folder = base / "socket"
    # libpq takes a comma for the end of a host's name.
    if len(os.fsencode(folder / _SOCKET_NAME)) <= _LONGEST_SOCKET_PATH and "," not in str(folder):
        return folder
    name = hashlib.sha256(os.fsencode(base)).hexdigest()[:16]
    return _system_temporary_folder() / f"portfolio-manager-{name}"


def _system_temporary_folder() -> Path:
    """Not TMPDIR where it can be helped: commands with different environments have to find the same server."""
    shared = Path("/tmp")  # noqa: S108 - the name is a hash, the folder private, its owner checked
    return shared if shared.is_dir() else Path(tempfile.gettempdir())


def make_base(layout: Layout) -> None:
    """Make the folder that holds all the rest, and the data directory if there is none."""
    layout.base.parent.mkdir(parents=True, exist_ok=True)
    # As root the server is somebody else, who has to pass but not to read. Nothing is its own but the data and the
    # socket: root follows no name that another user could have put there.
    mode = 0o711 if os.geteuid() == 0 else 0o700
    layout.base.mkdir(mode=mode, exist_ok=True)
    status = layout.base.stat()
    if status.st_uid == os.geteuid() and status.st_mode & 0o777 != mode:
        layout.base.chmod(mode)


def remove_leftovers(layout: Layout) -> None:
    """Remove what starts that were killed left half made; what their initdb still writes there is for the next time."""
    for leftover in layout.base.glob(f"{_STAGING_PREFIX}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def make_cluster(layout: Layout, account: Account, programs: Programs) -> None:
    """Make a new cluster beside its place and show it there when it is whole and on disk."""
    staging = Path(tempfile.mkdtemp(prefix=_STAGING_PREFIX, dir=layout.base))
    try:
        if not account.is_ours:
            os.chown(staging, account.uid, account.gid)
        _initdb(staging, account, programs)
        write_access_rules(staging, account)
        staging.rename(layout.cluster_folder)
        sync_folder(layout.base)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _initdb(staging: Path, account: Account, programs: Programs) -> None:
    # Bytes order text, as in C, whatever the machine's locale: an index means the same on every machine.
    locale = ["--locale=C"]
    if programs.major >= _BUILTIN_LOCALE_SINCE:
        locale += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    command = [str(programs.folder / "initdb"), "-D", data_folder_argument(account, staging), "-U", ROLE, "-E", "UTF8"]
    command += ["--data-checksums", "--auth-local=peer", "--auth-host=reject", "--no-instructions", *locale]
    done = run_as(account, command, working_folder=staging)
    if done.returncode != 0:
        raise EmbeddedServerError(f"a new database could not be made in {staging.parent}:\n{done.stderr.strip()}")


def write_access_rules(folder: Path, account: Account) -> None:
    """Say who may connect, where the files do not say so already (a restored backup, another machine's user)."""
    identities = _PG_IDENT.format(role=ROLE, account=account.name)
    for name, text in (("pg_hba.conf", _PG_HBA), ("pg_ident.conf", identities)):
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8", errors="replace") != text:
            write_owned(path, text, account)
