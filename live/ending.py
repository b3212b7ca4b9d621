"""Why and when the process ends: asked to by a signal, or because it may not go on."""

import signal
import socket
from contextlib import suppress
from threading import Event
from types import FrameType
from typing import Self


class Ending:
    """Use it as a context manager, in the main thread: SIGTERM and SIGINT ask for the end from then on.

    The kernel gives a signal to whichever thread it likes, and one that another thread has taken does not wake the main thread,
    the only one that handles signals in Python, from a lock. So that one waits on a socket that whoever takes a signal writes to.
    """

    def __init__(self) -> None:
        self.failure: str | None = None
        self._asked = Event()
        self._heard, self._told = socket.socketpair()
        self._told.setblocking(False)

    def __enter__(self) -> Self:
        signal.set_wakeup_fd(self._told.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled)
        return self

    def __exit__(self, *_: object) -> None:
        # A second signal while it ends is still handled: by doing nothing.
        signal.set_wakeup_fd(-1)
        self._heard.close()
        self._told.close()

    def fail(self, reason: str) -> None:
        """End with exit code 1. From any thread; the first reason counts."""
        self.failure = self.failure or reason
        self._ask()

    def wait(self) -> None:
        """Until the process is to end."""
        while not self._asked.is_set():
            self._heard.recv(64)

    def _signalled(self, _number: int, _frame: FrameType | None) -> None:
        self._asked.set()

    def _ask(self) -> None:
        self._asked.set()
        with suppress(OSError):  # full: there is enough to wake up from; closed: it has ended
            self._told.send(b"\0")
