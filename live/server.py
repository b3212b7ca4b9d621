"""The HTTP server: waitress in this process, one I/O thread and a pool of workers, drained when it is stopped."""

import errno
import logging
import resource
import socket
import time
import traceback
from collections.abc import Callable, Iterable
from typing import Any

import structlog
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.task import ThreadedTaskDispatcher

from core.errors import ConfigurationError
from live.arriving import Admit
from live.channel import ARRIVAL_SECONDS, CONNECTION_LIMIT, Listener
from live.short_cut import Begin

# Workers wait for the writer's COMMIT, up to 2 s each, and a batch holds at most as many signals as there are workers.
THREADS = 64
BACKLOG = 2048
IDLE_SECONDS = 60
MAX_HEADER_BYTES = 16 * 1024
# Up to here a body that is too large is read (and thrown away) so that its sender sees the 413 instead of a reset.
DRAINED_BODY_BYTES = 8 * 1024 * 1024
DRAIN_SECONDS = 2.5
_MOMENT = 0.05
_FILES = 4096
_NEVER = 2**31
_SECONDS_BETWEEN_WARNINGS = 60.0

WsgiApplication = Callable[..., Iterable[bytes]]
log = structlog.get_logger("live.server")


class Server:
    """Listens from construction on (connections wait), answers while `serve()` runs.

    Raises ConfigurationError where the address cannot be had. `port` 0 takes a free one; `self.port` tells which. `begin`
    is asked before the application; `admit`, whether a file of at most `largest_upload` bytes may come.
    """

    def __init__(
        self,
        app: WsgiApplication,
        host: str,
        port: int,
        *,
        threads: int = THREADS,
        arrival_seconds: float = ARRIVAL_SECONDS,
        drain_seconds: float = DRAIN_SECONDS,
        begin: Begin | None = None,
        admit: Admit | None = None,
        largest_upload: int = 0,
    ) -> None:
        _quieten_waitress()
        _allow_many_files()
        self._drain_seconds = drain_seconds
        self._map: dict[int, Any] = {}
        self._stopping = False
        self._quiet_until = 0.0
        sockets = _listening(host, port)
        self.port: int = sockets[0].getsockname()[1]
        self._workers = ThreadedTaskDispatcher()
        self._workers.set_thread_count(threads)
        settings = _settings(sockets, threads)
        self._listeners = [self._listener(app, listening, settings, arrival_seconds) for listening in sockets]
        for listener in self._listeners:
            listener.begin, listener.admit, listener.largest_upload = begin, admit, largest_upload

    def serve(self) -> None:
        """Answer until `stop()`; then let running requests finish, for at most `drain_seconds`, and return."""
        while not self._stopping:
            self._turn(1.0)
        self._drain()

    def stop(self) -> None:
        """Make `serve()` end. Returns at once; may be called from any thread, a signal handler, and repeatedly."""
        self._stopping = True
        self._listeners[0].pull_trigger()

    def _listener(
        self, app: WsgiApplication, listening: socket.socket, settings: Adjustments, arrival_seconds: float
    ) -> Listener:
        listener = Listener(
            app,
            self._map,
            _sock=listening,
            dispatcher=self._workers,
            adj=settings,
            bind_socket=False,
            sockinfo=(listening.family, listening.type, listening.proto, listening.getsockname()),
        )
        listener.arrival_seconds = arrival_seconds
        return listener

    def _turn(self, seconds: float) -> None:
        for listener in self._listeners:
            listener.turn()
            self._told_of_closed(listener.make_room())
            seconds = listener.seconds_until_late(seconds)
        # It may have been told to stop while it answered, when it needs no waking; and in a crowd there is room in a moment.
        if self._stopping or any(listener.is_crowded for listener in self._listeners):
            seconds = min(seconds, _MOMENT)
        wasyncore.loop(timeout=seconds, use_poll=True, map=self._map, count=1)

    def _told_of_closed(self, connections: int) -> None:
        """Say in the log, once a minute, that connections were closed for others."""
        if connections and time.monotonic() >= self._quiet_until:
            self._quiet_until = time.monotonic() + _SECONDS_BETWEEN_WARNINGS
            log.warning(
                "too many connections: those without a request for the longest are closed", limit=CONNECTION_LIMIT
            )

    def _drain(self) -> None:
        deadline = time.monotonic() + self._drain_seconds
        for listener in self._listeners:
            listener.draining = True
            # Only the listening socket: the trigger still has to wake the loop for answers.
            wasyncore.dispatcher.close(listener)
        while self._close_idle() and time.monotonic() < deadline:
            self._turn(_MOMENT)
        self._workers.shutdown(timeout=max(_MOMENT, deadline - time.monotonic()))
        for listener in self._listeners:
            for channel in list(listener.active_channels.values()):
                channel.handle_close()
            listener.close_trigger()

    def _close_idle(self) -> int:
        """Close the connections on which nothing happens; how many are left."""
        left = 0
        for listener in self._listeners:
            for channel in list(listener.active_channels.values()):
                if channel.is_idle:
                    channel.handle_close()
                else:
                    left += 1
        return left


def _settings(sockets: list[socket.socket], threads: int) -> Adjustments:
    return Adjustments(
        sockets=sockets,
        threads=threads,
        connection_limit=_NEVER,  # there is one of our own: waitress', once reached, takes nobody until somebody leaves
        backlog=BACKLOG,
        channel_timeout=IDLE_SECONDS,
        cleanup_interval=1,  # how often deadlines are looked at
        asyncore_use_poll=True,
        max_request_header_size=MAX_HEADER_BYTES,
        max_request_body_size=DRAINED_BODY_BYTES,
        log_socket_errors=False,
        expose_tracebacks=False,
        # The application looks at them, and believes them of trusted proxies only (live/proxies.py).
        clear_untrusted_proxy_headers=False,
        ident="",
    )


def _listening(host: str, port: int) -> list[socket.socket]:
    """A bound and listening socket for each address of `host` (localhost has two); ConfigurationError says why not."""
    sockets: list[socket.socket] = []
    problem: OSError | None = None
    for family, address in _addresses(host, port):
        chosen = sockets[0].getsockname()[1] if sockets else port
        try:
            sockets.append(_bound(family, (address[0], chosen, *address[2:])))
        except OSError as error:
            problem = error
            # Without IPv6 on the machine, localhost is its IPv4 address.
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                break
    else:
        if sockets:
            return sockets
    for opened in sockets:
        opened.close()
    raise _explained(host, port, problem) from problem


def _addresses(host: str, port: int) -> list[tuple[int, tuple[Any, ...]]]:
    if port not in range(65536):
        raise ConfigurationError(f"`--port` must be 0 to 65535, not {port}")
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(f"`--host`: {host} is not an address to listen on ({error})") from error
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def _bound(family: int, address: tuple[Any, ...]) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


def _explained(host: str, port: int, error: OSError | None) -> ConfigurationError:
    if error is not None and error.errno == errno.EADDRINUSE:
        return ConfigurationError(f"port {port} on {host} is in use")
    if error is not None and error.errno == errno.EACCES:
        return ConfigurationError(f"port {port} on {host} needs more rights: choose one above 1023")
    reason = "no address" if error is None else error.strerror
    return ConfigurationError(f"cannot listen on port {port} of {host}: {reason}")


def _allow_many_files() -> None:
    """Room for CONNECTION_LIMIT connections besides all else: the usual limit of 1024 files is hit by them alone."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class _ToOurLog(logging.Handler):
    """waitress' own words, in our log instead of on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        # The traceback as text: what renders one may show its variables, and with them a body.
        trace = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else None
        log.log(record.levelno, "waitress", message=record.getMessage(), traceback=trace)


def _quieten_waitress() -> None:
    logger = logging.getLogger("waitress")
    if not any(isinstance(handler, _ToOurLog) for handler in logger.handlers):
        logger.addHandler(_ToOurLog(level=logging.WARNING))
    logger.propagate = False
    # One line for each request that waits: nothing that shedding does not say better.
    logging.getLogger("waitress.queue").setLevel(logging.CRITICAL)
