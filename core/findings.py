"""What a comparison of memory with the broker, and with the database, can find."""

from enum import StrEnum


class FindingKind(StrEnum):
    """in_flight: an order of the instrument that does more than wait is not settled: neither figure is the last word."""

    MATCHED = "matched"
    MISSING = "missing at broker"
    UNKNOWN = "unknown at broker"
    DIFFERS = "quantity differs"
    IN_FLIGHT = "in flight"
    DATABASE = "database differs"


MISMATCHES = (FindingKind.MISSING, FindingKind.UNKNOWN, FindingKind.DIFFERS)

# What ends in a freeze where it lasts: also a position whose row is not what memory says, which no command settles.
DIFFERENCES = (*MISMATCHES, FindingKind.DATABASE)


def froze_it(frozen_reason: str | None) -> bool:
    """Whether an instrument is frozen by reason of a mismatch."""
    return (frozen_reason or "").startswith(tuple(kind.value for kind in MISMATCHES))
