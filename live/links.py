"""Links that decide a proposal without a login: who has one may approve or reject that proposal, until its time is over.

A link is signed (HMAC-SHA256, RFC 2104) over portfolio, proposal and the end of its time, with a key of its own: why so, and
what a link is worth, is in docs/decisions/0024-links-that-decide.md.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property

# Of the address: what stands below it is taken out of every line of the log (live/logs.py).
PATH = "/link/"
# Whom the journal names as who decided; no operator may be called so.
DECIDED_BY = "link"
_SALT = b"portfolio manager, links of proposals"
_TOKEN = re.compile(r"([a-z][a-z0-9_]{0,29})\.(P[0-9a-f]{16})\.([0-9]{1,11})\.([A-Za-z0-9_-]{43})", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Linked:
    """What a link is for, and when it ends."""

    portfolio: str
    proposal_id: str
    expires_at: datetime


@dataclass(frozen=True)
class Links:
    """Makes links below `public_url`, and knows its own again; `clock` gives aware UTC."""

    secret: str = field(repr=False)
    public_url: str
    clock: Callable[[], datetime]

    def address(self, linked: Linked) -> str:
        """The link."""
        return f"{self.public_url}{PATH}{self.token(linked)}"

    def token(self, linked: Linked) -> str:
        """The part of it that says what it is for, and is signed."""
        # The signature is of whole seconds: a link never outlives its proposal.
        told = f"{linked.portfolio}.{linked.proposal_id}.{int(linked.expires_at.timestamp())}"
        return f"{told}.{self._signature(told)}"

    def read(self, token: str) -> Linked | None:
        """What a token of ours is for, also once it has ended; None for any other. Compared in constant time."""
        found = _TOKEN.fullmatch(token)
        if found is None:
            return None
        told, _, given = token.rpartition(".")
        if not hmac.compare_digest(self._signature(told).encode(), given.encode()):
            return None
        portfolio, proposal_id, seconds, _ = found.groups()
        return Linked(
            portfolio=portfolio, proposal_id=proposal_id, expires_at=datetime.fromtimestamp(int(seconds), tz=UTC)
        )

    def is_over(self, linked: Linked) -> bool:
        """Whether its time is."""
        return self.clock() >= linked.expires_at

    def _signature(self, told: str) -> str:
        made = hmac.new(self._key, told.encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(made).rstrip(b"=").decode()

    @cached_property
    def _key(self) -> bytes:
        # Slowly, once: who has a link is not to find a weak secret by trying.
        return hashlib.scrypt(self.secret.encode(), salt=_SALT, n=2**14, r=8, p=1)
