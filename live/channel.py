"""One HTTP connection under waitress, with what waitress leaves out.

A deadline for a whole request, bodies that are too large read to their end and kept no further, shedding, errors in
our JSON form.
"""

import threading
import time
from collections import deque
from collections.abc import Mapping
from functools import partial
from itertools import islice
from typing import Any, ClassVar

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask, WSGITask
from waitress.utilities import Error

from core.strict_json import MAX_BODY_BYTES
from live.api.encoding import JSON, encode
from live.api.errors import error_body
from live.deliveries import CROWDED_SECONDS
from live.short_cut import ARRIVED, BEGUN, DRAINING, Begin, Begun, Posted

# So many connections are kept. For one more the one is closed that has been without a whole request for the longest.
CONNECTION_LIMIT = 1000
# Taken in one turn of the I/O thread, which looks at every connection: who connects behind a crowd does not wait for long.
ACCEPTED_AT_ONCE = 100
# Whose request began to arrive a moment ago is not closed for others: the rest of it is on its way.
ARRIVING_SECONDS_SPARED = 0.2
# TradingView hangs up after 3 s: what has not arrived after 5 is nobody's any more. A byte now and then does not help.
ARRIVAL_SECONDS = 5.0
# A healthy engine answers about 1,000 requests/s and more, so that many have waited half a second when they are served.
QUEUE_LIMIT = 512
# When the engine stalls, each worker is busy for up to 2 s. Who has waited a second by then would be answered after the
# caller hung up at 3 s: better an honest 503, which the caller sends again.
QUEUED_SECONDS_LIMIT = 1.0


class HttpProblem(Error):  # type: ignore[misc]
    """An error that is found before the application is asked."""

    def __init__(self, code: int, reason: str, name: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.name = name


_WORDS: Mapping[int, tuple[int, str, str]] = {
    400: (400, "Bad Request", "bad_request"),
    413: (413, "Content Too Large", "too_large"),
    431: (431, "Request Header Fields Too Large", "headers_too_large"),
    500: (503, "Service Unavailable", "internal"),
    501: (400, "Bad Request", "bad_request"),  # an unknown transfer coding is the caller's mistake
}


class JsonErrorTask(ErrorTask):  # type: ignore[misc]
    """Answers an error of waitress' own in the form of the API."""

    def execute(self) -> None:
        """Write the answer and close the connection."""
        error = self.request.error
        if isinstance(error, HttpProblem):
            code, reason, name = error.code, error.reason, error.name
        else:
            code, reason, name = _WORDS.get(error.code, _WORDS[400])
        body = encode(error_body(name, str(error.body)))
        self.status = f"{code} {reason}"
        self.response_headers += [("Content-Type", JSON), ("Cache-Control", "no-store")]
        self.content_length = len(body)
        self.set_close_on_finish()
        self.write(body)


class Task(WSGITask):  # type: ignore[misc]
    """A request for the application; while the server drains, its answer is the connection's last."""

    wrote_header: bool

    def execute(self) -> None:
        """Write the answer: what was begun with, or what the application says."""
        if self.channel.server.draining:
            self.set_close_on_finish()
        begun = self.request.begun
        if begun is None or not begun.answerable:
            super().execute()
            return
        body = begun.body()
        self.complete = True
        self.response_headers += [("Content-Type", JSON), ("Cache-Control", "no-store")]
        self.content_length = len(body)
        self.write(body)

    def get_environment(self) -> dict[str, Any]:
        """The request as WSGI has it."""
        environment: dict[str, Any] = super().get_environment()
        environment[ARRIVED] = self.channel.queued_at
        environment[DRAINING] = self._draining
        if self.request.begun is not None:
            environment[BEGUN] = self.request.begun
        return environment

    def _draining(self) -> bool:
        return bool(self.channel.server.draining)

    def write(self, data: bytes) -> None:
        """Write a part of the answer: head and body together, which saves a system call and a packet."""
        if self.wrote_header or not data or len(data) != self.content_length or not self.has_body:
            super().write(data)
            return
        self.channel.write_soon(self.build_response_header() + data)
        self.wrote_header = True
        self.content_bytes_written = len(data)


class Parser(HTTPRequestParser):  # type: ignore[misc]
    """A request as it arrives. Of a body that is too large no more is kept than shows that it is."""

    path = ""  # waitress logs the path of requests that it could not parse
    begun: Begun | None = None

    def read_body(self) -> bytes:
        """The whole body; it can be read again."""
        body: bytes = b"" if self.body_rcv is None else self.body_rcv.getbuf().get()
        return body

    def parse_header(self, header_plus: bytes) -> None:
        """Parse the head, and bound what the body's receiver keeps."""
        try:
            super().parse_header(header_plus)
        except ValueError as error:  # from urlsplit or int, which waitress does not expect to fail
            raise ParsingError("Bad URI or Content-Length") from error
        if self.body_rcv is not None:
            self.body_rcv.buf = _Bounded(self.body_rcv.buf, MAX_BODY_BYTES + 1)


class _Bounded:
    """A buffer that takes everything and keeps the first `limit` bytes."""

    def __init__(self, buffer: Any, limit: int) -> None:
        self._buffer = buffer
        self._room = limit

    def append(self, data: bytes) -> None:
        kept = data[: self._room]
        self._room -= len(kept)
        if kept:
            self._buffer.append(kept)

    def __len__(self) -> int:
        return len(self._buffer)

    def get(self) -> bytes:
        content: bytes = self._buffer.get(MAX_BODY_BYTES + 1)
        return content

    def getfile(self) -> Any:
        return self._buffer.getfile()

    def close(self) -> None:
        self._buffer.close()


class Channel(HTTPChannel):  # type: ignore[misc]
    """A connection: read by the server's one I/O thread, answered by a worker's."""

    task_class = Task
    error_task_class = JsonErrorTask
    parser_class = Parser
    request: Parser | None  # the one that is arriving
    requests: list[Parser]  # those that have arrived and are not answered
    will_close: bool
    close_when_flushed: bool
    queued_at = 0.0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        # When the first byte of the request that is arriving came (at first: when the connection was made), None
        # while none is arriving.
        self.arriving_since: float | None = time.monotonic()
        super().__init__(*arguments, **options)

    def received(self, data: bytes) -> bool:
        """Take bytes of a request, or of several."""
        self._arriving()
        taken = bool(super().received(data))
        if self.request is not None:  # a part of the next one came with it
            self._arriving()
        return taken

    def _arriving(self) -> None:
        if self.arriving_since is None:
            self.arriving_since = time.monotonic()
            self.server.began_to_arrive(self)

    def queued(self) -> None:
        """Note that a whole request has arrived and waits for a worker."""
        self.queued_at = time.monotonic()
        self.arriving_since = None

    def service(self) -> None:
        """Answer one request; at once, with 503, where too many wait or this one waited too long."""
        waiting = len(self.server.task_dispatcher.queue)
        shed = waiting > QUEUE_LIMIT or time.monotonic() - self.queued_at > QUEUED_SECONDS_LIMIT
        # What was begun with may be decided: only its engine can say that it was not.
        if shed and self.requests[0].begun is None:
            self.requests[0].error = HttpProblem(
                503, "Service Unavailable", "overloaded", "too many requests wait, nothing was kept; send again"
            )
        super().service()

    def refuse_when_late(self, now: float) -> None:
        """Give up a request that has been arriving for too long. Only for the I/O thread."""
        if self.arriving_since is None or now - self.arriving_since <= self.server.arrival_seconds:
            return
        with self.requests_lock:
            if self.requests or self.will_close or self.close_when_flushed:
                return
            request, self.request = self.request, None
            self.arriving_since = None
            if request is None:  # connected, and said nothing
                self.will_close = True
                return
            request.error = HttpProblem(
                408, "Request Timeout", "request_timeout", f"the request took over {self.server.arrival_seconds:g} s"
            )
            request.completed = True
            self.requests.append(request)
            self.server.add_task(self)

    def may_be_closed(self, now: float) -> bool:
        """Whether its place may be another's: nothing of it is being answered, and no request has just begun to arrive."""
        is_new = self.arriving_since is not None and now - self.arriving_since < ARRIVING_SECONDS_SPARED
        return not self.requests and not is_new

    @property
    def is_idle(self) -> bool:
        """Whether nothing is arriving, being answered or on its way out."""
        return not (self.requests or self.request is not None or self.total_outbufs_len)


class Listener(TcpWSGIServer):  # type: ignore[misc]
    """One listening socket and its connections."""

    channel_class: ClassVar[type[Channel]] = Channel
    draining = False
    arrival_seconds = ARRIVAL_SECONDS
    begin: Begin | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        # Re-entrant: a signal handler may stop the server in the middle of its own work.
        self._trigger_lock = threading.RLock()
        self._has_trigger = True
        # Requests that were begun with, oldest first, and those of them that there is something to tell of.
        self._under_way: dict[Parser, Channel] = {}
        self._done: deque[Parser] = deque()
        self._woken = False
        self._answering = False
        self._io_thread: int | None = None
        super().__init__(*arguments, **options)

    def pull_trigger(self) -> None:
        """Wake the I/O thread, if it still runs: afterwards the number of the trigger's pipe may be another file's."""
        if self._answering and threading.get_ident() == self._io_thread:
            return  # it is awake, and looks at every connection before it sleeps
        with self._trigger_lock:
            if self._has_trigger:
                super().pull_trigger()

    def close_trigger(self) -> None:
        """The I/O thread has ended: nobody is woken any more."""
        with self._trigger_lock:
            self._has_trigger = False
            self.trigger.close()

    def began_to_arrive(self, channel: Channel) -> None:
        """The first byte of a request came: its connection goes behind all others. Only for the I/O thread."""
        number = channel.socket.fileno()
        if self.active_channels.pop(number, None) is not None:
            self.active_channels[number] = channel

    def readable(self) -> bool:
        """Whether to look for who connects."""
        super().readable()  # which looks after the connections from time to time
        return self.accepting and len(self.active_channels) < CONNECTION_LIMIT + ACCEPTED_AT_ONCE

    def handle_accept(self) -> None:
        """Take all who have connected, up to a bound."""
        for _ in range(ACCEPTED_AT_ONCE):
            before = len(self.active_channels)
            super().handle_accept()
            if len(self.active_channels) == before:
                return

    @property
    def is_crowded(self) -> bool:
        """Whether more connections are held than are to be kept."""
        return len(self.active_channels) > CONNECTION_LIMIT

    def make_room(self) -> int:
        """Close those above the limit that have been without a whole request for the longest; how many. Only for the I/O
        thread, before it asks which connections have something to read: a closed one's number may be another's by then.

        They stand in the order in which their requests began to arrive; one that dribbles its request keeps its place.
        """
        if not self.is_crowded:
            return 0
        now = time.monotonic()
        closable = (channel for channel in self.active_channels.values() if channel.may_be_closed(now))
        given_up = list(islice(closable, len(self.active_channels) - CONNECTION_LIMIT))
        for channel in given_up:
            channel.handle_close()
        return len(given_up)

    def add_task(self, task: Channel) -> None:
        """Begin with a connection's request that has arrived, or queue it for a worker."""
        task.queued()
        if not self._began(task):
            super().add_task(task)

    def _began(self, channel: Channel) -> bool:
        request = channel.requests[0]
        # What a worker finds behind its own request is for a worker.
        if self.begin is None or threading.get_ident() != self._io_thread:
            return False
        if request.error is not None or request.command != "POST":
            return False
        posted = Posted(
            path=request.path,
            query=request.query,
            headers=request.headers,
            peer=channel.addr[0],
            read_body=request.read_body,
        )
        try:
            request.begun = self.begin(posted, partial(self._tell, request))
        except Exception:
            # Nobody would be answered any more without this thread; the application may say what is wrong with this one.
            self.logger.exception("a request could not be begun with")
        if request.begun is None:
            return False
        self._under_way[request] = channel
        return True

    def _tell(self, request: Parser) -> None:
        """Any thread's: there is something to tell of this request."""
        self._done.append(request)
        if not self._woken:
            self._woken = True
            self.pull_trigger()

    def turn(self) -> None:
        """Answer what was decided, and leave to the workers what takes long or cannot be answered here. Only for the I/O
        thread, whenever it has been woken."""
        self._io_thread = threading.get_ident()
        self._woken = False
        self._answering = True
        try:
            while self._done:
                request = self._done.popleft()
                channel = self._under_way.pop(request, None)
                # A worker has it already where there is none.
                if channel is not None:
                    self._answer(request, channel)
        finally:
            self._answering = False
        now = time.monotonic()
        for request, channel in list(self._under_way.items()):
            if now - channel.queued_at < CROWDED_SECONDS:
                break
            del self._under_way[request]
            super().add_task(channel)

    def seconds_until_late(self, most: float) -> float:
        """How long the I/O thread may sleep: `most`, or until the oldest request that was begun with takes long."""
        for channel in self._under_way.values():
            return min(most, max(0.0, channel.queued_at + CROWDED_SECONDS - time.monotonic()))
        return most

    def _answer(self, request: Parser, channel: Channel) -> None:
        if request.begun is None or not request.begun.answerable:
            super().add_task(channel)
            return
        try:
            channel.service()
        except Exception:
            # As a worker does: it is this connection's end, not the server's.
            self.logger.exception("a request that was begun with could not be answered")
            channel.will_close = True

    def maintenance(self, now: float) -> None:
        """Close what has been idle for too long, and refuse what has been arriving for too long."""
        super().maintenance(now)
        monotonic = time.monotonic()
        for channel in list(self.active_channels.values()):
            channel.refuse_when_late(monotonic)
