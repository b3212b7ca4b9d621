"""A portfolio made anew from a backup: proved before it is shown, halted, and under a term that nobody has had."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

import msgspec
from msgspec import Struct, structs

from core.decide import decide
from core.errors import PortfolioError
from core.inputs import Halt, Input, StartTerm
from core.journal import Batch, Entry
from core.portfolio import Portfolio
from core.postgres.dump import DumpFailed, tables_of
from core.postgres.lease import PortfolioLock
from core.postgres.migrations import SchemaTooNew, head
from core.postgres.remake import Remaking, remaking
from core.postgres.rows import batch_rows
from core.postgres.written import require_kept
from core.settings import Settings
from live.backup import BackupRefused, Manifest, OpenBackup
from live.recovery import doubts, loaded_from, portfolio_of
from live.verify import Verified, verify

# More than an instance that goes on somewhere can take until it is noticed: one a second for eleven days.
TERM_LEAP = 1_000_000
_PERHAPS_SENT = "restored from a backup: it may have been sent since"


class NotEmpty(PortfolioError):
    """there is a portfolio already, and nobody said that it is to be replaced"""


class NothingRecovered(PortfolioError):
    """there is no portfolio in this database"""


class Restored(Struct, frozen=True, kw_only=True):
    """What was done: the term from here on, orders whose fate is unknown now, what was proved, where the one before is now, and
    tables of the backup that are none of a portfolio's."""

    portfolio: str
    schema_version: str
    term: int
    orders_in_doubt: int
    verified: Verified
    set_aside_as: str | None = None
    left_out: tuple[str, ...] = ()


# What begins, and of how many: bytes of the dump, then journal entries. What it returns is told each time that some are done.
Begin = Callable[[str, int], Callable[[int], None]]


def untold(_what: str, _total: int) -> Callable[[int], None]:
    """Nobody is told."""
    return lambda _: None


def restore(
    dsn: str, portfolio: str, backup: OpenBackup, *, replace: bool, now: datetime, begin: Begin = untold
) -> Restored:
    """Make `portfolio` what the backup holds, in one transaction that is committed only once `verify` has passed.

    Raises LockHeld where it is served, NotEmpty, BackupRefused, SchemaTooNew, Wrong: then nothing was changed.
    """
    manifest = backup.manifest
    if manifest.schema_version > head():
        raise SchemaTooNew(
            f"the backup is of schema {manifest.schema_version}, this program knows {head()}: use a newer program"
        )
    backup.require_undamaged()
    with _alone(dsn, portfolio), remaking(dsn, portfolio) as made:
        term, aside = _out_of_the_way(made, portfolio, replace=replace, now=now)
        made.make(manifest.schema_version)
        left_out = _load(made, backup, begin("load", manifest.dump_bytes))
        made.upgrade()
        _require_the_end(made, manifest)
        reason = f"restored from a backup of {manifest.taken_at:%Y-%m-%d %H:%M:%S} UTC"
        done = _proved_and_halted(made, portfolio, max(term, manifest.term), reason, now, begin)
    return structs.replace(done, set_aside_as=aside, left_out=left_out)


def recovered(dsn: str, portfolio: str, *, now: datetime, begin: Begin = untold) -> Restored:
    """The database itself was recovered to an earlier time: the portfolio goes on as after `restore`.

    Raises LockHeld where it is served, NothingRecovered, Wrong: then nothing was changed.
    """
    with _alone(dsn, portfolio), remaking(dsn, portfolio) as made:
        if made.is_empty():
            raise NothingRecovered(f"portfolio {portfolio} has no journal in this database: nothing was recovered")
        made.upgrade()
        return _proved_and_halted(made, portfolio, made.term(), "recovered to an earlier time", now, begin)


def _proved_and_halted(made: Remaking, portfolio: str, term: int, reason: str, now: datetime, begin: Begin) -> Restored:
    proved = verify(made.stream, portfolio, begin("verify", made.stream.length()))
    holder = f"restore-{socket.gethostname()[:40]}-{os.getpid()}"
    in_doubt = _go_on_halted(made, portfolio, term + TERM_LEAP, holder, reason, now)
    return Restored(
        portfolio=portfolio,
        schema_version=head(),
        term=term + TERM_LEAP,
        orders_in_doubt=in_doubt,
        verified=proved,
    )


@contextmanager
def _alone(dsn: str, portfolio: str) -> Iterator[None]:
    """Nobody serves the portfolio meanwhile. Raises LockHeld."""
    lock = PortfolioLock(dsn, portfolio, f"restore pid {os.getpid()}")
    lock.acquire(0)
    try:
        yield
    finally:
        lock.release()


def _go_on_halted(made: Remaking, portfolio: str, term: int, holder: str, reason: str, now: datetime) -> int:
    """Journal, under a term of its own, that the portfolio went back in time: halted, and no order taken for unsent.

    How many orders are in doubt for it.
    """
    made.set_term(term, holder)
    loaded, last_hash = loaded_from(made.stream)
    before = portfolio_of(portfolio, Settings.model_validate(loaded.settings), loaded)
    inputs = _inputs(before, term, holder, reason)
    after, entries = before, list[Entry]()
    for given in inputs:
        decision = decide(structs.replace(after, seq=loaded.last_seq + 1 + len(entries)), given, now)
        entries.append(Entry(given=given, decision=decision, decided_at=now))
        after = decision.portfolio
    batch = Batch(before=before, after=after, entries=tuple(entries))
    rows = batch_rows(batch, first_seq=loaded.last_seq + 1, term=term, instance_id=holder, previous_hash=last_hash)
    require_kept(made.keep(msgspec.json.encode(rows)))
    return len(inputs) - 2


def _inputs(portfolio: Portfolio, term: int, holder: str, reason: str) -> list[Input]:
    return [StartTerm(term=term, instance_id=holder), *doubts(portfolio, _PERHAPS_SENT), Halt(reason=reason)]


def _out_of_the_way(made: Remaking, portfolio: str, *, replace: bool, now: datetime) -> tuple[int, str | None]:
    """The highest term so far, and where the portfolio that was there is now."""
    if made.is_empty():
        term = made.term()
        made.remove()
        return term, None
    if not replace:
        raise NotEmpty(
            f"portfolio {portfolio} is not empty: with --replace it is kept aside under another name, and what the backup "
            "holds takes its place"
        )
    term = made.term()
    # A name that a portfolio may have: status, positions, journal and backup can look at it.
    return term, made.set_aside(f"{portfolio[:8]}_until_{now:%Y%m%d%H%M%S}")


def _load(made: Remaking, backup: OpenBackup, progress: Callable[[int], None]) -> tuple[str, ...]:
    """The tables of the backup that are none of a portfolio's: they are left out."""
    try:
        with (
            backup.dump() as dump,
            tables_of(dump, backup.manifest.pg_dump_major, progress) as tables,
            made.loading(),
        ):
            return tuple(table.table for table in tables if not made.load(table))
    except DumpFailed as error:
        raise BackupRefused(f"the dump cannot be read: {error}") from error


def _require_the_end(made: Remaking, manifest: Manifest) -> None:
    if (found := made.stream.end()) != (manifest.entries, manifest.last_hash):
        raise BackupRefused(
            f"the journal in the dump ends with entry {found[0]}, {found[1][:12]}; the manifest says {manifest.entries}, "
            f"{manifest.last_hash[:12]}"
        )
