"""A batch as it goes to PostgreSQL: encoded before it is sent, and perhaps while the batch before it is on its way."""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from core.errors import DataRefused, HistoryLost, LeadershipLost, Retryable, StaleVersion
from core.journal import Batch
from core.postgres.forms import Form, form_of
from core.postgres.rows import batch_rows


class AlreadyClaimed(Retryable):
    """signals of the batch were decided before; nothing was changed"""

    def __init__(self, fingerprints: set[str]) -> None:
        super().__init__()
        self.fingerprints = fingerprints


class End(Struct, frozen=True, kw_only=True):
    """Where the journal ends, in which term, and behind which fencing number: what is written next follows it."""

    seq: int
    content_hash: str
    term: int
    fencing_number: int


class Written(Struct, frozen=True, kw_only=True):
    """The one parameter of `commit_batch`: true only behind `previous`, and then the journal's end is `end`."""

    batch: Batch
    previous: End
    end: End
    rows: dict[str, Any]
    document: bytes
    form: Form

    @property
    def first_seq(self) -> int:
        """The journal's number of its first entry."""
        return self.previous.seq + 1


def written_down(batch: Batch, previous: End, instance_id: str) -> Written:
    """The batch behind that end. Raises DataRefused for what cannot even be written down: some input's fault, to be found as
    if PostgreSQL had refused it."""
    try:
        rows = batch_rows(
            batch,
            first_seq=previous.seq + 1,
            term=previous.term,
            instance_id=instance_id,
            previous_hash=previous.content_hash,
            fencing_number=previous.fencing_number,
        )
        document = msgspec.json.encode(rows)
    except Exception as error:
        raise DataRefused(f"{type(error).__name__}: {error}") from error
    end = replace(previous, seq=previous.seq + len(batch.entries), content_hash=rows["journal"][-1]["content_hash"])
    return Written(batch=batch, previous=previous, end=end, rows=rows, document=document, form=form_of(rows))


def require_kept(found: Mapping[str, Any]) -> None:
    """Raises the reason why a batch was not kept: LeadershipLost, HistoryLost, StaleVersion, AlreadyClaimed. Nothing was changed
    then."""
    if not found["fenced"]:
        raise LeadershipLost
    if not found["continued"]:
        # Under our term nobody else writes there.
        raise HistoryLost
    if not found["in_time"]:
        # Only where the database went back, and has lost no decision by it.
        raise StaleVersion("the fencing number is another one: read it anew")
    if found["known"]:
        raise AlreadyClaimed(set(found["known"]))
