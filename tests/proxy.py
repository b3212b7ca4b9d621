"""A proxy between a client and PostgreSQL that is as bad as a network can be, where and when a test wants it.

It cuts around COMMIT or at once, refuses, delays, and falls silent in one direction or both with the sockets left open:
who connects then is half open, accepted and told nothing. What was held back flows on when the silence ends, as TCP
sends again what a broken line swallowed.
"""

import socket
import threading
import time
from contextlib import suppress
from enum import Enum
from typing import Any, Self

import psycopg2.extensions

_COMMIT = b"COMMIT\x00"
# A batch is its own transaction: in libpq's message, behind its type and its length.
_BATCH = b"EXECUTE commit_"
# Time enough for a client to have a new connection and to look.
_LATE_SECONDS = 0.5


def commits(data: bytes) -> bool:
    """Whether a client asks for a COMMIT with this, or for a batch, which is its own."""
    return data.endswith(_COMMIT) or data[5 : 5 + len(_BATCH)] == _BATCH


class Cut(Enum):
    """What happens at the next COMMIT, or at the statement that is its own."""

    NEVER = "nothing"
    BEFORE = "it is not forwarded, both sides are cut"
    LATE = "the client is cut, the COMMIT reaches the server a moment later all the same"
    FORWARDED = "it is forwarded, both sides are cut at once, before any answer"
    AFTER = "it is forwarded and answered, the answer is not forwarded, both sides are cut"
    SILENT = "it is forwarded and answered, the answer is swallowed and nothing is cut"


class Way(Enum):
    """A direction."""

    TO_SERVER = "from the client to the server"
    TO_CLIENT = "from the server to the client"


class Proxy:
    """Listens on loopback; `cut` holds for one COMMIT, `delay` seconds for each piece forwarded. A context manager."""

    def __init__(self, dsn: str) -> None:
        self._target = psycopg2.extensions.parse_dsn(dsn)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._refusing = False
        self._flows = {way: threading.Event() for way in Way}
        self.speak()
        self.cut = Cut.NEVER
        self.cuts = 0
        self._spared = 0
        self.delay = 0.0

    @property
    def dsn(self) -> str:
        """The DSN of the database behind the proxy."""
        return psycopg2.extensions.make_dsn(
            **{**self._target, "host": "127.0.0.1", "port": str(self._listener.getsockname()[1]), "sslmode": "disable"}
        )

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.delay = 0.0
        self.cut_all()
        self.speak()
        for thread in self._threads:
            thread.join(60)

    def refuse(self, refusing: bool) -> None:
        """Let nobody in from now on (and end who is), or let them in again."""
        self._refusing = refusing
        if refusing:
            self.cut_all()

    def cut_commit(self, number: int, cut: Cut = Cut.AFTER) -> None:
        """Lose the answer to the COMMIT of that number, counted from now, or do something else about it."""
        self._spared, self.cut = number - 1, cut

    def silence(self, *ways: Way) -> None:
        """Forward nothing more in these directions; every socket stays open, and new ones are accepted."""
        for way in ways:
            self._flows[way].clear()

    def speak(self) -> None:
        """End the silence: what was held back flows on."""
        for flows in self._flows.values():
            flows.set()

    def cut_all(self) -> None:
        """End every connection, both sides."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            _end(*pair)

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = None if self._refusing else self._reach_server()
            if server is None:
                client.close()
                continue
            with self._lock:
                self._pairs.append((client, server))
            state: dict[str, Any] = {"committing": Cut.NEVER}
            self._start(self._upstream, client, server, state)
            self._start(self._downstream, client, server, state)

    def _reach_server(self) -> socket.socket | None:
        host, port = self._target["host"], self._target.get("port", "5432")
        by_socket = host.startswith("/")
        server = socket.socket(socket.AF_UNIX if by_socket else socket.AF_INET)
        try:
            server.connect(f"{host}/.s.PGSQL.{port}" if by_socket else (host, int(port)))
        except OSError:
            server.close()
            return None
        return server

    def _upstream(self, client: socket.socket, server: socket.socket, state: dict[str, Any]) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                self._hold_back(Way.TO_SERVER)
                cut = self._cut_at(data)
                if cut is Cut.BEFORE:
                    break
                if cut is Cut.LATE:
                    _end(client)
                    time.sleep(_LATE_SECONDS)
                # Before the COMMIT is forwarded: its answer may come at once.
                state["committing"] = cut
                server.sendall(data)
                if cut in (Cut.LATE, Cut.FORWARDED):
                    break
        _end(client, server)

    def _downstream(self, client: socket.socket, server: socket.socket, state: dict[str, Any]) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                self._hold_back(Way.TO_CLIENT)
                if state["committing"] in (Cut.AFTER, Cut.FORWARDED, Cut.LATE):
                    break
                if state["committing"] is Cut.SILENT:
                    state["committing"] = Cut.NEVER
                    continue
                client.sendall(data)
        _end(client, server)

    def _hold_back(self, way: Way) -> None:
        time.sleep(self.delay)
        self._flows[way].wait()

    def _cut_at(self, data: bytes) -> Cut:
        """What is to happen to this piece; that it is a COMMIT uses the cut up."""
        if not commits(data):
            return Cut.NEVER
        with self._lock:
            cut = self.cut
            if cut is not Cut.NEVER and self._spared:
                self._spared -= 1
                return Cut.NEVER
            if cut is not Cut.NEVER:
                self._done()
        return cut

    def _done(self) -> None:
        self.cut = Cut.NEVER
        self.cuts += 1


def _end(*sockets: socket.socket) -> None:
    for end in sockets:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()
