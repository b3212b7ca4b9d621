"""The short cut: a request that is begun with as it arrives, and answered when it is decided, without a thread that waits.

It is for what comes often and goes well. Everything else, refusals too, is the application's.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from msgspec import Struct

# Where the application finds, in a request's WSGI environment, what was begun with.
BEGUN = "live.begun"
# And when the request had arrived whole, on the monotonic clock.
ARRIVED = "live.arrived"
# And what tells whether the server is about to end: an answer without an end has to, then.
DRAINING = "live.draining"


class Posted(Struct, frozen=True, kw_only=True):
    """A POST as it came: headers by their names as WSGI has them, without HTTP_; `peer` is who connected."""

    path: str
    query: str
    headers: Mapping[str, str]
    peer: str
    read_body: Callable[[], bytes]


class Begun(Protocol):
    """What was begun with. It is under way, and ends, whoever still asks for it."""

    @property
    def answerable(self) -> bool:
        """Whether body() has an answer; where not, the application has to be asked."""

    def body(self) -> bytes:
        """The JSON of a 200. Does not block."""

    def answered(self) -> None:
        """Once it was written: note it. Whoever waits for the answer need not wait for that. Does not block."""


# Begins with a request, unless that is for the application. The second argument is called by whichever thread it is once there
# is something to be told, and neither blocks nor raises. Neither does this.
Begin = Callable[[Posted, Callable[[], None]], Begun | None]
