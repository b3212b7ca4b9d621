"""Ports for servers that a test starts: below those that connections are given, so that none is gone before its server has it."""

import socket
from contextlib import ExitStack
from random import SystemRandom

_FIRST, _LAST = 15_000, 30_000


def free_ports(number: int) -> list[int]:
    """So many ports of loopback that nobody listens on."""
    found: list[int] = []
    with ExitStack() as held:
        while len(found) < number:
            probe = held.enter_context(socket.socket())
            port = SystemRandom().randrange(_FIRST, _LAST)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
    return found
