"""A proxy that hears what clients ask PostgreSQL: each message that an answer is waited for is a round trip."""

import socket
from typing import Any

from tests.proxy import Proxy

_LENGTH_BYTES = 4
_QUERY, _SYNC = b"Q", b"S"


class ListeningProxy(Proxy):
    """`asked` is, in its order, what was waited for: the text of a query, or `sync` of the extended protocol."""

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn)
        self.asked: list[str] = []

    def _upstream(self, client: socket.socket, server: socket.socket, state: dict[str, Any]) -> None:
        super()._upstream(_Heard(client, self.asked), server, state)  # type: ignore[arg-type]


class _Heard:
    """A client's socket; what comes out of it is read along."""

    def __init__(self, client: socket.socket, asked: list[str]) -> None:
        self._client, self._asked = client, asked
        self._unread = b""
        self._greeted = False

    def recv(self, size: int) -> bytes:
        data = self._client.recv(size)
        self._unread += data
        while self._took_a_message():
            pass
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def _took_a_message(self) -> bool:
        # The first message of a connection has no letter before its length.
        letter = 1 if self._greeted else 0
        if len(self._unread) < letter + _LENGTH_BYTES:
            return False
        end = letter + int.from_bytes(self._unread[letter : letter + _LENGTH_BYTES])
        if len(self._unread) < end:
            return False
        kind, body = self._unread[:letter], self._unread[letter + _LENGTH_BYTES : end]
        self._unread, self._greeted = self._unread[end:], True
        if kind == _QUERY:
            self._asked.append(body.rstrip(b"\x00").decode())
        elif kind == _SYNC:
            self._asked.append("sync")
        return True
