"""One HTTP connection under waitress, with what waitress leaves out.

A deadline for a whole request, bodies that are too large read to their end and kept no further, shedding, errors in
our JSON form.
"""

import threading
import time
from collections import deque
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any, ClassVar

from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer

from live.answering import JsonErrorTask, Task, answer_of
from live.arriving import ARRIVAL_SECONDS as UPLOAD_SECONDS
from live.arriving import Admission, Admit, Arriving, Refusal
from live.deliveries import CROWDED_SECONDS
from live.heads import Heads
from live.parser import HttpProblem, Parser
from live.short_cut import Begin, Begun, Posted

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


class Channel(HTTPChannel):  # type: ignore[misc]
    """A connection: read by the server's one I/O thread, answered by a worker's."""

    task_class = Task
    error_task_class = JsonErrorTask
    request: Parser | None  # the one that is arriving
    requests: list[Parser]  # those that have arrived and are not answered
    will_close: bool
    close_when_flushed: bool
    queued_at = 0.0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        # When the first byte of the request that is arriving came (at first: when the connection was made), None
        # while none is arriving.
        self.arriving_since: float | None = time.monotonic()
        self.parser_class = partial(Parser, admission=self._admission, heads=arguments[0].heads)
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

    def answer(self, begun: Begun) -> None:
        """Answer the first request, which was begun with. Only for the I/O thread.

        As a worker does it where anything but the answer's bytes is to be thought of: that takes several times as long."""
        told = self._told(begun) if self._is_simple else None
        if told is None:
            self.service()
            return
        with self.requests_lock:
            request = self.requests.pop()
        self._send(told)
        begun.answered()
        request.close()
        self.last_activity = time.time()

    @property
    def _is_simple(self) -> bool:
        """Whether this is all that the connection has to do, and goes on behind it."""
        request = self.requests[0]
        is_last = request.connection_close or request.version != "1.1" or self.server.draining
        is_all = len(self.requests) == 1 and self.request is None and not self.total_outbufs_len
        return (
            self.connected and is_all and not (is_last or request.error or self.will_close or self.close_when_flushed)
        )

    @staticmethod
    def _told(begun: Begun) -> bytes | None:
        """The answer; None where it cannot be written down, which service() says in the log and to whoever waits."""
        with suppress(Exception):
            return answer_of(begun.body())
        return None

    def _send(self, data: bytes) -> None:
        """Send what the connection takes now; the rest waits as waitress has it wait."""
        try:
            sent = self.send(data, do_close=False)
        except OSError:
            self.will_close = True
            return
        if sent < len(data):
            self.write_soon(data[sent:])
            # As service() does: the next answer begins a buffer of its own, and this one's is let go once it is sent.
            self.current_outbuf_count = self.adj.outbuf_high_watermark

    def _admission(self, request: Parser) -> Arriving | None:
        """Have a worker ask whether a large file may come."""
        listener: Listener = self.server
        if listener.admit is None:
            return None
        request.allow(listener.largest_upload)
        if request.content_length > listener.largest_upload:
            return None
        arriving = Arriving(listener.pull_trigger)
        posted = Posted(
            path=request.path, query=request.query, headers=request.headers, peer=self.addr[0], read_body=bytes
        )
        listener.task_dispatcher.add_task(
            Admission(posted, arriving, listener.admit, partial(listener.refuse_upload, self, request))
        )
        return arriving

    def readable(self) -> bool:
        """Whether to read on."""
        request = self.request
        if request is not None and request.arriving is not None and not request.is_full and request.continues_later:
            request.continues_later = False
            self.send_continue()
        return bool(super().readable()) and not (request is not None and request.is_full)

    def handle_close(self) -> None:
        """The end of the connection."""
        if self.request is not None:
            self.request.give_up()
        super().handle_close()

    def refuse_upload(self, request: Parser, refusal: Refusal) -> None:
        """Answer before the body has come. Only for the I/O thread."""
        with self.requests_lock:
            if self.request is not request or self.will_close:
                return
            self.request, self.arriving_since = None, None
            request.refusal, request.completed = refusal, True
            self.requests.append(request)
            if len(self.requests) == 1:
                self.server.add_task(self)

    def refuse_when_late(self, now: float) -> None:
        """Give up a request that has been arriving for too long. Only for the I/O thread."""
        is_upload = self.request is not None and self.request.arriving is not None
        seconds = UPLOAD_SECONDS if is_upload else self.server.arrival_seconds
        if self.arriving_since is None or now - self.arriving_since <= seconds:
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
                408, "Request Timeout", "request_timeout", f"the request took over {seconds:g} s"
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
    admit: Admit | None = None
    largest_upload = 0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        # Re-entrant: a signal handler may stop the server in the middle of its own work.
        self._trigger_lock = threading.RLock()
        self._has_trigger = True
        # Requests that were begun with, oldest first, and those of them that there is something to tell of.
        self._under_way: dict[Parser, Channel] = {}
        self._done: deque[Parser] = deque()
        self._refused: deque[tuple[Channel, Parser, Refusal]] = deque()
        self._woken = False
        self._answering = False
        self._io_thread: int | None = None
        self.heads = Heads()
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

    def refuse_upload(self, channel: Channel, request: Parser, refusal: Refusal) -> None:
        """A worker's: a large file that may not come is answered."""
        self._refused.append((channel, request, refusal))
        self.pull_trigger()

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
        while self._refused:
            channel, request, refusal = self._refused.popleft()
            channel.refuse_upload(request, refusal)
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
            channel.answer(request.begun)
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
