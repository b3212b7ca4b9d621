"""A backup: one file, a zip with what pg_dump wrote of the portfolio and a manifest that says what has to be in it."""

import fcntl
import hashlib
import os
import secrets
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from errno import ENOSPC
from pathlib import Path
from typing import IO

import msgspec
from msgspec.structs import asdict

from core.errors import PortfolioError
from core.postgres.dump import PIECE, DumpFailed, Facts, Moment, one_moment, require_readable

DUMP = "portfolio.dump"
MANIFEST = "manifest.json"
FORMAT = 1
_MOST_MANIFEST_BYTES = 64 * 1024


class BackupFailed(PortfolioError):
    """no backup was made"""


class BackupRefused(PortfolioError):
    """this file cannot be restored from"""


class Manifest(Facts, frozen=True, kw_only=True):
    """What is in a backup, and how it can be told that it still is."""

    format: int
    portfolio: str
    program_version: str
    pg_dump_major: int
    dump_bytes: int
    sha256: str


def back_up(
    dsn: str, portfolio: str, to: Path, version: str, progress: Callable[[int], None] = lambda _: None
) -> tuple[Path, Manifest]:
    """Write a backup of the portfolio as it is now, beside whoever writes to it; the file, and what is in it.

    `to` is the file where it ends in `.zip`, else the folder for it; a file that is there is not overwritten. Under the final
    name there is the whole file, on the disk, or none. Raises BackupFailed, ProgramMissing, DatabaseAway.
    """
    with one_moment(dsn, portfolio) as moment:
        facts = moment.facts()
        if facts is None:
            raise BackupFailed(f"portfolio {portfolio} has no journal in this database: there is nothing to back up")
        file = to if to.suffix == ".zip" else to / f"{portfolio}-{facts.taken_at:%Y%m%dT%H%M%SZ}.zip"
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _shown_when_whole(file) as partial:
                manifest = _write(partial, moment, facts, portfolio, version, progress)
                _check(partial)
        except DumpFailed as error:
            raise BackupFailed(f"pg_dump: {error}") from error
        except OSError as error:
            raise BackupFailed(_explained(file, error)) from error
    return file, manifest


def _write(
    partial: IO[bytes], moment: Moment, facts: Facts, portfolio: str, version: str, progress: Callable[[int], None]
) -> Manifest:
    digest, size = hashlib.sha256(), 0
    with zipfile.ZipFile(partial, "w") as archive:
        with archive.open(DUMP, "w", force_zip64=True) as member, moment.dumped() as dump:
            while piece := dump.read(PIECE):
                member.write(piece)
                digest.update(piece)
                size += len(piece)
                progress(len(piece))
        manifest = Manifest(
            format=FORMAT,
            portfolio=portfolio,
            program_version=version,
            pg_dump_major=moment.major,
            dump_bytes=size,
            sha256=digest.hexdigest(),
            **asdict(facts),
        )
        archive.writestr(MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))
    partial.flush()
    os.fsync(partial.fileno())
    return manifest


def _check(partial: IO[bytes]) -> None:
    """What was written can be read again, all of it."""
    partial.seek(0)
    opened = OpenBackup(partial, "the backup that was just written")
    opened.require_undamaged()
    with opened.dump() as dump:
        require_readable(dump, opened.manifest.pg_dump_major)


class OpenBackup:
    """A backup to be read. Raises BackupRefused where the file is none, or not as it was written."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._name = name
        with self._readable():
            self._archive = zipfile.ZipFile(file)
            with self._archive.open(MANIFEST) as member:
                text = member.read(_MOST_MANIFEST_BYTES)
            self.manifest = msgspec.json.decode(text, type=Manifest)
        if self.manifest.format > FORMAT:
            raise BackupRefused(
                f"{name} has format {self.manifest.format}, this program knows {FORMAT}: use a newer program"
            )

    def require_undamaged(self) -> None:
        """The dump is the one that was written. Raises BackupRefused."""
        digest = hashlib.sha256()
        with self._readable(), self._archive.open(DUMP) as member:
            while piece := member.read(PIECE):
                digest.update(piece)
        if digest.hexdigest() != self.manifest.sha256:
            raise BackupRefused(f"{self._name} is damaged: the dump in it is not the one that its manifest tells of")

    def dump(self) -> IO[bytes]:
        """What pg_dump wrote."""
        return self._archive.open(DUMP)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        # What zipfile raises besides: NotImplementedError and RuntimeError for methods and passwords that a damaged file
        # seems to have, ValueError and OSError where its parts would be before its beginning.
        damages = (
            zipfile.BadZipFile,
            msgspec.MsgspecError,
            KeyError,
            EOFError,
            zlib.error,
            RuntimeError,
            ValueError,
            OSError,
        )
        try:
            yield
        except damages as error:
            raise BackupRefused(f"{self._name} is no backup, or it is damaged: {error}") from error


@contextmanager
def open_backup(file: Path) -> Iterator[OpenBackup]:
    """The backup in a file. Raises BackupRefused."""
    try:
        opened = file.open("rb")
    except OSError as error:
        raise BackupRefused(f"{file} cannot be read: {error.strerror}") from error
    with opened:
        yield OpenBackup(opened, str(file))


@contextmanager
def _shown_when_whole(file: Path) -> Iterator[IO[bytes]]:
    """A file of mode 600 that gets its name once the block has ended well; what a killed one left behind is removed."""
    if file.exists():
        raise BackupFailed(f"{file} is there already, and is not overwritten: name another one")
    _remove_abandoned(file.parent)
    partial = file.with_name(f".{file.name}.{secrets.token_hex(4)}.partial")
    descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w+b") as opened:
            # Whoever looks for what killed ones have left knows by the lock that this is none of it.
            fcntl.flock(opened, fcntl.LOCK_EX)
            yield opened
            _give_name(partial, file)
            _sync_folder(file.parent)
    finally:
        partial.unlink(missing_ok=True)


def _give_name(partial: Path, file: Path) -> None:
    try:
        os.link(partial, file)  # never over another one
    except FileExistsError as error:
        raise BackupFailed(f"{file} is there already, and is not overwritten: name another one") from error
    except OSError:
        # A file system without hard links.
        if file.exists():
            raise BackupFailed(f"{file} is there already, and is not overwritten: name another one") from None
        partial.rename(file)


def _remove_abandoned(folder: Path) -> None:
    for leftover in folder.glob(".*.zip.*.partial"):
        with suppress(OSError), leftover.open("rb") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            leftover.unlink()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _explained(file: Path, error: OSError) -> str:
    text = f"{file} cannot be written: {error.strerror or error}"
    if error.errno == ENOSPC:
        free = shutil.disk_usage(file.parent).free
        return f"{text}; {free // 1_000_000} MB are free there. Make room, or name another folder with --to"
    return f"{text}. Name another folder with --to, or give this user the right to it"
