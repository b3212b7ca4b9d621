"""Server-sent events: what changes on a page, as it changes. Each stream holds a worker, so there are few of them."""

import threading
import time
from collections.abc import Callable, Iterator

from live.dashboard.board import LOOK_SECONDS, Board

# Of 64 workers, which alerts may need, too. A page that finds none free asks again and again instead.
MOST_STREAMS = 8
# Then it ends, and the page comes back with the version that it has: nobody holds a worker for a page that nobody reads.
LASTS_SECONDS = 60.0
# A page that has heard nothing for longer says so.
BEAT_SECONDS = 2.0
COMES_BACK_MILLISECONDS = 500
_BEAT = b"event: beat\ndata: 1\n\n"


class Streams:
    """The streams of a process, so many at most."""

    def __init__(self, most: int = MOST_STREAMS) -> None:
        self._free = threading.BoundedSemaphore(most)

    def begin(self, board: Board, version: str | None, ending: Callable[[], bool]) -> "Stream | None":
        """What has changed on a board since `version`, and what will; None where there are too many already."""
        return Stream(board, version, ending, self._free) if self._free.acquire(blocking=False) else None


class Stream:
    """One of them, as WSGI iterates and closes it. It ends after a minute, or once `ending` holds."""

    def __init__(
        self, board: Board, version: str | None, ending: Callable[[], bool], free: threading.BoundedSemaphore
    ) -> None:
        self._board = board
        self._version = version
        self._ending = ending
        self._free = free
        self._closing = threading.Lock()
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        began = beat = time.monotonic()
        yield f"retry: {COMES_BACK_MILLISECONDS}\n\n".encode() + _BEAT
        while not self._ending() and time.monotonic() - began < LASTS_SECONDS:
            self._board.look()
            changes = self._board.since(self._version)
            if changes is not None:
                self._version, beat = changes.version, time.monotonic()
                yield b"id: %s\ndata: %s\n\n" % (changes.version.encode(), changes.body)
            elif time.monotonic() - beat > BEAT_SECONDS:
                beat = time.monotonic()
                yield _BEAT
            time.sleep(LOOK_SECONDS / 2)

    def close(self) -> None:
        """Give the place to another page."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._free.release()
