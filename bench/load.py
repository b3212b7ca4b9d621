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
from collections.abc import Callable
from dataclasses import dataclass, field

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_HEAD = b"POST /webhook HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
_STUCK_SECONDS = 20.0


@dataclass(slots=True)
class Load:
    """What a load met: seconds per answer, seconds in all, answers by HTTP status."""

    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.latencies) / self.seconds

    def add(self, other: "Load") -> None:
        """Take another turn's answers in."""
        self.latencies += other.latencies
        self.seconds += other.seconds
        self.statuses.update(other.statuses)


class _Client:
    """One keep-alive connection; `number` says whose story it tells."""

    __slots__ = ("connection", "number", "received", "sent_at")

    def __init__(self, port: int, number: int) -> None:
        self.connection = socket.create_connection(("127.0.0.1", port), timeout=_STUCK_SECONDS)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.number = number
        self.received = b""
        self.sent_at = 0.0

    def send(self, body: bytes) -> None:
        request = _HEAD % len(body) + body
        self.received = b""
        self.sent_at = time.perf_counter()
        self.connection.sendall(request)

    def receive(self) -> int | None:
        """The status, once the answer is whole."""
        arrived = self.connection.recv(65536)
        if not arrived:
            raise ConnectionError("the server hung up")
        self.received += arrived
        end = self.received.find(b"\r\n\r\n")
        if end < 0:
            return None
        length = _LENGTH.search(self.received, 0, end)
        if length is None:
            raise ConnectionError(f"an answer without a length: {self.received[:end]!r}")
        return int(self.received[9:12]) if len(self.received) >= end + 4 + int(length[1]) else None


def drive(port: int, clients: int, seconds: float, body: Callable[[int], bytes]) -> Load:
    """Load the server for so long, then let the last answers arrive. `body` makes a client's next request."""
    connected = [_Client(port, number) for number in range(clients)]
    collecting = gc.isenabled()
    gc.disable()
    try:
        return _driven(connected, seconds, body)
    finally:
        if collecting:
            gc.enable()
        for client in connected:
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
        ready = poll.poll(_STUCK_SECONDS)
        if not ready:
            raise TimeoutError(f"{under_way} answers did not come")
        for descriptor, _ in ready:
            client = by_descriptor[descriptor]
            status = client.receive()
            if status is None:
                continue
            now = time.perf_counter()
            load.latencies.append(now - client.sent_at)
            load.statuses[status] += 1
            if now < until:
                client.send(body(client.number))
            else:
                under_way -= 1
    load.seconds = time.perf_counter() - begun
    poll.close()
    return load
