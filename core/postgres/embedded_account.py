"""The account that an embedded PostgreSQL runs as, what it can reach, and files that are handed to it."""

import os
import pwd
import secrets
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

# Root cannot run PostgreSQL. `postgres` is the account made for it; `nobody` is on every system, but shares its files
# with whatever else runs as nobody.
ACCOUNTS_FOR_ROOT = ("postgres", "nobody")


class EmbeddedServerError(Exception):
    """The embedded PostgreSQL cannot be used; the message says what happened and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A user of this machine that a server runs as and whose files its data are."""

    uid: int
    gid: int
    name: str

    @property
    def is_ours(self) -> bool:
        """Whether it is the account that this process runs as."""
        return self.uid == os.geteuid()


def server_account(cluster: Path) -> Account:
    """The account of the server whose data folder is, or will be, `cluster`: its owner, else (as root) another one.

    An ordinary user can run only what is its own: EmbeddedServerError for somebody else's.
    """
    owner = _owner_of(cluster)
    if os.geteuid() == 0:
        return _account_for_root() if owner is None else _account_of(owner)
    if owner is not None and owner != os.geteuid():
        raise EmbeddedServerError(
            f"the embedded database in {cluster} belongs to uid {owner}, not to this process's uid {os.geteuid()}: "
            "run the command as that user or as root, or choose another --data-dir"
        )
    return _account_of(os.geteuid())


def _owner_of(cluster: Path) -> int | None:
    """Who owns the data folder or, before there is one, the folder above it; root's own say nothing."""
    for folder in (cluster, cluster.parent):
        if folder.exists() and (owner := folder.stat().st_uid) != 0:
            return owner
    return None


def _account_of(uid: int) -> Account:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError as error:
        raise EmbeddedServerError(
            f"uid {uid} has no entry in the password database (/etc/passwd), and PostgreSQL needs one to know its "
            "user: add it (useradd), or use a PostgreSQL of your own with --db-config"
        ) from error
    return Account(uid=entry.pw_uid, gid=entry.pw_gid, name=entry.pw_name)


def _account_for_root() -> Account:
    for name in ACCOUNTS_FOR_ROOT:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(uid=entry.pw_uid, gid=entry.pw_gid, name=entry.pw_name)
    raise EmbeddedServerError(
        f"PostgreSQL refuses to run as root and there is no user {' or '.join(ACCOUNTS_FOR_ROOT)} to run it: "
        "add one (useradd --system postgres), or run the command as an ordinary user"
    )


def run_as(account: Account, command: Sequence[str], *, working_folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program to its end as the account; its output is in the answer, a failure is the caller's to see."""
    return subprocess.run(  # noqa: S603 - the command is ours
        command,
        cwd=working_folder,
        env=_clean_environment(),
        user=None if account.is_ours else account.uid,
        group=None if account.is_ours else account.gid,
        extra_groups=None if account.is_ours else [],
        umask=0o077,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


def leave_running_as(account: Account, command: Sequence[str], *, working_folder: Path, log: IO[bytes]) -> int:
    """Start a program that outlives this process and return its pid; what it prints goes to `log`.

    It has its own session, so that neither Ctrl-C nor the end of our terminal or process group reaches it, and none of
    our file descriptors, so that our locks end with us.
    """
    process = subprocess.Popen(  # noqa: S603 - the command is ours
        command,
        cwd=working_folder,
        env=_clean_environment(),
        user=None if account.is_ours else account.uid,
        group=None if account.is_ours else account.gid,
        extra_groups=None if account.is_ours else [],
        umask=0o077,
        start_new_session=True,
        close_fds=True,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
    )
    # It outlives this object on purpose and is reaped by embedded_process: without a code the object would complain.
    process.returncode = 0
    return process.pid


def _clean_environment() -> dict[str, str]:
    """No PG* settings, no secrets of ours in a process of another user, and messages in a language we can read."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return {"PATH": os.defpath, **kept, "LC_ALL": "C", "LANG": "C"}


def can_enter(account: Account, folder: Path) -> bool:
    """Whether the account gets to the folder by its absolute path (asked of the system: ACLs count too)."""
    if account.is_ours:
        return True
    asked = run_as(account, ["/bin/sh", "-c", 'cd -- "$1"', "sh", str(folder)], working_folder=Path("/"))
    return asked.returncode == 0


def data_folder_argument(account: Account, folder: Path) -> str:
    """The `-D` of a PostgreSQL program that is started with `folder` as its working folder.

    Folders above may keep the account out (a --data-dir below a home of mode 700). They are not ours to open up, so
    the server goes in by the working folder that it is born with: PostgreSQL never leaves it.
    """
    if can_enter(account, folder):
        return str(folder)
    if Path("/proc/self/cwd").exists():
        return "/proc/self/cwd"
    raise EmbeddedServerError(
        f"the user {account.name}, whom PostgreSQL runs as, cannot get to {folder}: choose a --data-dir whose parent "
        "folders let everybody pass (chmod o+x), or run the command as an ordinary user"
    )


def make_private_folder(folder: Path, account: Account) -> None:
    """Make the folder, mode 700 and the account's; EmbeddedServerError for one that is somebody else's or a link.

    The name may lie in a folder where everybody can write, so nothing is followed or taken on trust.
    """
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise EmbeddedServerError(f"{folder} is not a folder of ours ({error.strerror}): remove it") from error
    try:
        owner = os.fstat(descriptor).st_uid
        if owner not in (account.uid, os.geteuid()):
            raise EmbeddedServerError(
                f"{folder} belongs to uid {owner}, not to {account.name}: remove it, or choose another --data-dir"
            )
        if owner != account.uid:
            os.fchown(descriptor, account.uid, account.gid)
        os.fchmod(descriptor, 0o700)
    finally:
        os.close(descriptor)


def write_owned(path: Path, text: str, account: Account) -> None:
    """Put a file of mode 600 in the place of `path`, whole or not at all; no link that lies there is followed."""
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        if not account.is_ours:
            os.fchown(descriptor, account.uid, account.gid)
        os.fsync(descriptor)
    fresh.replace(path)


def give(folder: Path, account: Account) -> None:
    """Make the account the owner of the folder and all in it (a backup unpacked by root is root's)."""
    if folder.stat().st_uid == account.uid:
        return
    for _, folders, files, descriptor in os.fwalk(folder, follow_symlinks=False):
        for name in (*folders, *files):
            os.chown(name, account.uid, account.gid, dir_fd=descriptor, follow_symlinks=False)
    # Last, since it is what the test above looks at: a kill in the middle is made good by the next start.
    os.chown(folder, account.uid, account.gid, follow_symlinks=False)


def sync_folder(folder: Path) -> None:
    """Make the names in the folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
