"""What the engine answers to a delivery or a command."""

from enum import StrEnum
from typing import Any

from msgspec import Struct


class AnswerKind(StrEnum):
    """decided now; decided before; kept on local disk, to be decided; unknown (send again); not taken (nothing was kept,
    send again); refused by the database in every form (nothing was kept)."""

    DECIDED = "decided"
    DUPLICATE = "duplicate"
    QUEUED = "queued"
    UNKNOWN = "unknown"
    NOT_TAKEN = "not_taken"
    UNDECIDABLE = "undecidable"


class Answer(Struct, frozen=True, kw_only=True):
    """`outcome` is core.decide.Outcome's fields as JSON-able values (the first one's for a duplicate), {} without one.

    `differs`: the duplicate came with another body. `signal_id` and `journal_seq` join the answer where they are known.
    """

    kind: AnswerKind
    outcome: dict[str, Any] = {}
    fingerprint: str | None = None
    signal_id: int | None = None
    journal_seq: int | None = None
    differs: bool = False
    message: str = ""
