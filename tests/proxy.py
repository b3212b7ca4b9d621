"""A proxy between a client and PostgreSQL that cuts the connection where a test wants it: around COMMIT, or at once."""

import socket
import threading
from contextlib import suppress
from enum import Enum
from typing import Self

import psycopg2.extensions

_COMMIT = b"COMMIT\x00"


class Cut(Enum):
    """What happens at the next COMMIT."""

    NEVER = "nothing"
    BEFORE = "it is not forwarded, both sides are cut"
    AFTER = "it is forwarded and answered, the answer is not forwarded, both sides are cut"
    SILENT = "it is forwarded and answered, the answer is swallowed and nothing is cut"


class Proxy:
    """Listens on loopback; `cut` holds for one COMMIT. Use as a context manager."""

    def __init__(self, dsn: str) -> None:
        self._target = psycopg2.extensions.parse_dsn(dsn)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._refusing = False
        self.cut = Cut.NEVER
        self.cuts = 0

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
        self.cut_all()
        for thread in self._threads:
            thread.join(5)

    def refuse(self, refusing: bool) -> None:
        """Let nobody in from now on (and end who is), or let them in again."""
        self._refusing = refusing
        if refusing:
            self.cut_all()

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
            if self._refusing:
                client.close()
                continue
            server = socket.socket(socket.AF_UNIX)
            server.connect(f"{self._target['host']}/.s.PGSQL.{self._target.get('port', '5432')}")
            with self._lock:
                self._pairs.append((client, server))
            state = {"committing": False}
            self._start(self._upstream, client, server, state)
            self._start(self._downstream, client, server, state)

    def _upstream(self, client: socket.socket, server: socket.socket, state: dict[str, bool]) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                if data.endswith(_COMMIT) and self.cut is not Cut.NEVER:
                    if self.cut is Cut.BEFORE:
                        self._done()
                        break
                    state["committing"] = True
                server.sendall(data)
        _end(client, server)

    def _downstream(self, client: socket.socket, server: socket.socket, state: dict[str, bool]) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if state["committing"]:
                    silent = self.cut is Cut.SILENT
                    self._done()
                    if not silent:
                        break
                    state["committing"] = False
                    continue
                client.sendall(data)
        _end(client, server)

    def _done(self) -> None:
        self.cut = Cut.NEVER
        self.cuts += 1


def _end(*sockets: socket.socket) -> None:
    for end in sockets:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()
