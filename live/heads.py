"""Heads of requests that came before: what was read of one holds for the next that is the same, byte for byte.

A sender's alerts differ in their bodies. So a head is parsed once, by waitress, and no second reader of HTTP is needed for
those that follow.
"""

import re
from collections.abc import Mapping
from io import BytesIO
from typing import Any

# The heads of so many senders, times the lengths of their bodies; the oldest goes.
MOST_HEADS = 256
LONGEST_HEAD = 1024
_END = b"\r\n\r\n"
# What says nothing that has to be forgotten with its request. Everything else may be a token or a signature.
_PLAIN = frozenset(
    (
        "HOST",
        "USER_AGENT",
        "ACCEPT",
        "ACCEPT_ENCODING",
        "ACCEPT_LANGUAGE",
        "CONNECTION",
        "CONTENT_LENGTH",
        "CONTENT_TYPE",
        "X_FORWARDED_FOR",
        "X_FORWARDED_HOST",
        "X_FORWARDED_PORT",
        "X_FORWARDED_PROTO",
        "X_REAL_IP",
    )
)
# The webhook, and below it a portfolio's name; what is below that is a secret, as it is in other addresses and in queries.
_ADDRESS = re.compile(r"/webhook(?:/[^/]*)?")


class Heads:
    """What was read of heads, by their bytes. Only for the I/O thread."""

    def __init__(self) -> None:
        self._read: dict[bytes, Mapping[str, Any]] = {}

    def find(self, data: bytes) -> tuple[Mapping[str, Any] | None, int]:
        """What was read of the head that `data` begins with, and where its body begins; None and 0 where it is a new one."""
        end = data.find(_END) + len(_END)
        read = self._read.get(data[:end])
        return (None, 0) if read is None else (read, end)

    def keep(self, data: bytes, read: Mapping[str, Any]) -> None:
        """Keep what was read of the head that `data` begins with, unless it is long or may hold what is to be forgotten."""
        end = data.find(_END) + len(_END)
        if not len(_END) <= end <= LONGEST_HEAD or not _is_plain(data[:end], read):
            return
        if len(self._read) >= MOST_HEADS:
            del self._read[next(iter(self._read))]
        self._read[data[:end]] = read


def _is_plain(head: bytes, read: Mapping[str, Any]) -> bool:
    if not _ADDRESS.fullmatch(read["path"]) or read["query"] or read["fragment"] or read["proxy_netloc"]:
        return False
    # One that waitress dropped or joined to another is a line more than there are headers.
    return head.count(b"\r\n") == len(read["headers"]) + 2 and _PLAIN.issuperset(read["headers"])


class WholeBody:
    """A body that came with its head, for waitress."""

    completed, error = True, None

    def __init__(self, body: bytes) -> None:
        self._body = body

    def __len__(self) -> int:
        return len(self._body)

    def get(self) -> bytes:
        """All of it."""
        return self._body

    def getbuf(self) -> "WholeBody":
        """Itself: it needs no buffer."""
        return self

    def getfile(self) -> BytesIO:
        """A stream of it."""
        return BytesIO(self._body)

    def close(self) -> None:
        """Nothing is held."""
