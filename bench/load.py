"""The load: keep-alive clients, each sending its next request when its answer is whole, driven by one thread.

One thread with raw sockets and epoll, in a process of its own (the bench's, which does nothing else meanwhile), so that
it costs as little of the machine as Python can: about 20 microseconds a request. On a machine of few processors that is
still part of what is measured, and it is so for ours and for the limit alike.
"""

import gc
import re
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_HEAD = b"POST /webhook HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
_STUCK_SECONDS = 20.0
_SEND_AGAIN = 503


@dataclass(slots=True)
class Load:
    """What a load met: seconds per answer, seconds in all, answers by HTTP status. A 503 is counted there, and no answer."""

    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.latencies) / self.seconds

    def require_all_good(self, *, or_shed: bool = False) -> None:
        """RuntimeError where an answer was no 200, or else a 503: what refuses is quick, and no limit."""
        if set(self.statuses) - ({_SEND_AGAIN} if or_shed else set()) != {200}:
            raise RuntimeError(f"not every answer was 200: {dict(self.statuses)}")

    def add(self, other: "Load") -> None:
        """Take another turn's answers in."""
        self.latencies += other.latencies
        self.seconds += other.seconds
        self.statuses.update(other.statuses)


class _Client:
    """One keep-alive connection; `number` says whose story it tells."""

    __slots__ = ("connection", "number", "port", "received", "sent_at")

    def __init__(self, port: int, number: int) -> None:
        self.port = port
        self.number = number
        self.received = b""
        self.sent_at = 0.0
        self.connection = self._connected()

    def _connected(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=_STUCK_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def connect_again(self) -> None:
        """Whoever is shed is also hung up on."""
        self.connection.close()
        self.connection = self._connected()

    def send(self, body: bytes) -> None:
        request = _HEAD % len(body) + body
        self.received = b""
        self.sent_at = time.perf_counter()
        self.connection.sendall(request)

    def receive(self) -> int | None:
        """The status, once the answer is whole."""
        self.received = _more(self.connection, self.received)
        return _status(self.received)


def burst(port: int, bodies: Sequence[bytes]) -> Load:
    """Everybody at once: a new connection for each body, until the last one has its 200; who is answered 503 sends again.

    Latencies are from the first connect on.
    """
    load, waiting = Load(), _Crowd(port)
    begun = time.perf_counter()
    try:
        for body in bodies:
            waiting.add(body)
        while len(load.latencies) < len(bodies):
            for status, body in waiting.answers():
                load.statuses[status] += 1
                if status == _SEND_AGAIN:
                    waiting.add(body)
                else:
                    load.latencies.append(time.perf_counter() - begun)
        load.seconds = time.perf_counter() - begun
    finally:
        waiting.close()
    return load


class _Crowd:
    """Connections that are each used once."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._poll = select.epoll()
        self._waiting: dict[int, _Newcomer] = {}

    def add(self, body: bytes) -> None:
        """One more, connecting."""
        newcomer = _Newcomer(self._port, body)
        self._waiting[newcomer.connection.fileno()] = newcomer
        self._poll.register(newcomer.connection.fileno(), select.EPOLLOUT)

    def answers(self) -> Iterator[tuple[int, bytes]]:
        """The statuses of what is answered now, with their requests' bodies."""
        ready = self._poll.poll(_STUCK_SECONDS)
        if not ready:
            raise TimeoutError(f"{len(self._waiting)} answers did not come")
        for descriptor, _ in ready:
            newcomer = self._waiting[descriptor]
            status = newcomer.go_on(self._poll)
            if status is not None:
                del self._waiting[descriptor]
                self._poll.unregister(descriptor)
                newcomer.connection.close()
                yield status, newcomer.body

    def close(self) -> None:
        """Close those that are left."""
        self._poll.close()
        for newcomer in self._waiting.values():
            newcomer.connection.close()


class _Newcomer:
    """One connection that is made, used once, and closed by its owner."""

    __slots__ = ("_answer", "_request", "body", "connection")

    def __init__(self, port: int, body: bytes) -> None:
        self.connection = socket.socket()
        self.connection.setblocking(False)
        self.connection.connect_ex(("127.0.0.1", port))
        self.body = body
        self._request = _HEAD % len(body) + body
        self._answer = b""

    def go_on(self, poll: select.epoll) -> int | None:
        """Send once connected, then read; the status, once the answer is whole."""
        if self._request:
            problem = self.connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if problem:
                raise ConnectionError(problem, "the connection was refused")
            self._request = self._request[self.connection.send(self._request) :]
            if not self._request:
                poll.modify(self.connection.fileno(), select.EPOLLIN)
            return None
        self._answer = _more(self.connection, self._answer)
        return _status(self._answer)


def _ready(poll: select.epoll) -> list[int]:
    """The descriptors of the connections that have something to say."""
    ready = poll.poll(_STUCK_SECONDS)
    if not ready:
        raise TimeoutError("answers did not come")
    return [descriptor for descriptor, _ in ready]


def _more(connection: socket.socket, received: bytes) -> bytes:
    arrived = connection.recv(65536)
    if not arrived:
        raise ConnectionError("the server hung up")
    return received + arrived


def _status(received: bytes) -> int | None:
    """The status of an answer; None while it is not whole."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    length = _LENGTH.search(received, 0, end)
    if length is None:
        raise ConnectionError(f"an answer without a length: {received[:end]!r}")
    return int(received[9:12]) if len(received) >= end + 4 + int(length[1]) else None


def drive(port: int, clients: int, seconds: float, body: Callable[[int], bytes]) -> Load:
    """Load the server for so long, then let the last answers arrive. `body` makes a client's next request."""
    with closing(Connected(port, clients)) as connected:
        return connected.drive(seconds, body)


class Connected:
    """Clients whose connections stay."""

    def __init__(self, port: int, clients: int) -> None:
        self._clients = [_Client(port, number) for number in range(clients)]

    def drive(self, seconds: float, body: Callable[[int], bytes]) -> Load:
        """The same over these connections."""
        collecting = gc.isenabled()
        gc.disable()
        try:
            return _driven(self._clients, seconds, body)
        finally:
            if collecting:
                gc.enable()

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients:
            client.connection.close()


def _driven(clients: list[_Client], seconds: float, body: Callable[[int], bytes]) -> Load:
    load, poll = Load(), select.epoll()
    by_descriptor = {client.connection.fileno(): client for client in clients}
    for descriptor in by_descriptor:
        poll.register(descriptor, select.EPOLLIN)
    begun = time.perf_counter()
    until = begun + seconds
    for client in clients:
        client.send(body(client.number))
    under_way = len(clients)
    while under_way:
        for descriptor in _ready(poll):
            client = by_descriptor[descriptor]
            status = client.receive()
            if status is None:
                continue
            now = time.perf_counter()
            load.statuses[status] += 1
            if status == _SEND_AGAIN:
                by_descriptor.pop(descriptor).connect_again()
                by_descriptor[client.connection.fileno()] = client
                poll.register(client.connection.fileno(), select.EPOLLIN)
            else:
                load.latencies.append(now - client.sent_at)
            if now < until:
                client.send(body(client.number))
            else:
                under_way -= 1
    load.seconds = time.perf_counter() - begun
    poll.close()
    return load
