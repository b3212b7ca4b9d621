"""What /api/risk answers of what-if sessions, tags and contracts."""

from typing import Annotated, Literal

from pydantic import Field

from live.api.schema.book import CurrencyCode, NodeId
from live.api.schema.values import Answered, Count, Day, DecimalText, Kept, Time

_Number = Annotated[int, Field(ge=1)]
_Status = Literal["active", "completed", "cancelled"]
_Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _OfASession(Answered):
    session_id: _Number
    name: str
    description: str
    portfolio_node_id: NodeId
    base_as_of: Time
    status: _Status
    version: _Number
    created_by: str
    created_at: Time
    updated_at: Time
    ended_by: str | None
    ended_at: Time | None


class WhatIfListed(_OfASession):
    """A session, and how many changes it has."""

    changes: Count


class WhatIfSessions(Answered):
    """Sessions, the newest first; `next` is what to ask for as `before`."""

    sessions: list[WhatIfListed]
    next: _Number | None


class WhatIfSnapshot(Answered):
    """A snapshot: of which version, and the hash of all that it has."""

    snapshot_id: _Number
    session_version: _Number
    status: _Status
    content_hash: _Hash
    created_by: str
    created_at: Time


class WhatIfMeasured(Answered):
    """Before, after and difference, as a snapshot has them: of the whole and by scenario, and by factor."""

    snapshot_id: _Number
    session_version: _Number
    created_by: str
    created_at: Time
    inputs_hash: _Hash
    currency: CurrencyCode
    measures: Kept
    exposures: list[Kept]


class WhatIfSession(_OfASession):
    """A session: its changes in their order, of how many positions it is a copy, and why something is not known of them."""

    changes: list[Kept]
    currency: CurrencyCode
    held: Count
    batch_day: Day | None
    notes: dict[str, list[str]] | None
    snapshots: list[WhatIfSnapshot]
    newest: WhatIfMeasured | None


class RiskExport(Answered):
    """A file that was made of a snapshot."""

    export_id: _Number
    session_id: _Number
    snapshot_id: _Number
    export_type: str
    export_format: str
    file_name: str
    file_size_bytes: Count
    content_hash: _Hash
    exported_by: str
    created_at: Time


class RiskExports(Answered):
    """Files, the newest first; `next` is what to ask for as `before`."""

    exports: list[RiskExport]
    next: _Number | None


class RiskTag(Answered):
    """A tag that is in use, on so many nodes and positions."""

    name: str
    tag_type: Literal["regular", "strategy"]
    colour: str | None
    description: str | None
    created_by: str
    created_at: Time
    nodes: Count
    positions: Count


class RiskTags(Answered):
    """Tags by type and name."""

    tags: list[RiskTag]


class TermContract(Answered):
    """A contract: its last close and when that bar was over, the spread to the next one (points), and what that is a year.

    `held`: a position would be in this one. What is null has its `reason`, but for the last one's roll.
    """

    expiry: Day
    days: int
    price: DecimalText | None
    time: Time | None
    settlement: DecimalText | None
    open_interest: DecimalText | None
    spread: DecimalText | None
    spread_time: Time | None
    carry_percent: DecimalText | None
    shape: Literal["contango", "backwardation", "flat", "mixed"] | None
    held: bool
    reason: str | None


class TermStructureTold(Answered):
    """An instrument's contracts that have not expired, the nearest first."""

    instrument: str
    as_of: Time
    source: str
    timeframe: str
    shape: Literal["contango", "backwardation", "flat", "mixed"] | None
    contracts: list[TermContract]
