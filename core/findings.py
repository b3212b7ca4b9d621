"""What a comparison with the broker can find."""

from enum import StrEnum


class FindingKind(StrEnum):
    """in_flight: an order of the instrument that does more than wait is not settled: neither figure is the last word."""

    MATCHED = "matched"
    MISSING = "missing at broker"
    UNKNOWN = "unknown at broker"
    DIFFERS = "quantity differs"
    IN_FLIGHT = "in flight"


MISMATCHES = (FindingKind.MISSING, FindingKind.UNKNOWN, FindingKind.DIFFERS)


def froze_it(frozen_reason: str | None) -> bool:
    """Whether an instrument is frozen by reason of a mismatch."""
    return (frozen_reason or "").startswith(tuple(kind.value for kind in MISMATCHES))
