"""Logging: one line an event, to stderr, without local variables in tracebacks (they may hold what must not be logged)."""

import logging
import queue
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from functools import partial

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

MOST_LINES_WAITING = 10_000
# Lines are written together: a thread that is woken for each of them would cost more than the line.
TOGETHER_SECONDS = 0.02
_DRAIN_SECONDS = 1.0
# What shows itself later as it does now.
_STAYS = frozenset((str, int, float, bool, type(None), Decimal))

# A line, or what makes it.
Line = str | Callable[[], str]


def _text(line: Line) -> str:
    if isinstance(line, str):
        return line
    try:
        return line()
    except Exception as error:  # noqa: BLE001 - whoever logs must not fail by it, and whoever writes goes on
        return f"a line of the log cannot be written: {type(error).__name__}"


def _write(line: Line) -> None:
    text = _text(line)
    # A log that cannot be written (closed pipe, full disk) must not change what is done.
    with suppress(OSError, ValueError):
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


_out: Callable[[Line], None] = _write
_HOLDS_A_SECRET = re.compile(r"(/webhook/|/link/)\S+")


def without_secrets(path: str) -> str:
    """An address as a log may have it: what is below the webhook's may be a secret, or one that was put in a wrong place,
    and what is below a link's decides a proposal."""
    return _HOLDS_A_SECRET.sub(r"\1***", path)


class _WithoutSecrets(logging.Filter):
    """waitress names the address of a request that it cannot serve."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Every record, with its addresses as a log may have them."""
        record.msg, record.args = without_secrets(record.getMessage()), ()
        return True


class _Background:
    """A thread that writes the lines. It takes so many and no more; what it leaves out it counts, and says so."""

    def __init__(self) -> None:
        self._lines: queue.SimpleQueue[Line | None] = queue.SimpleQueue()
        self._lost = 0
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, line: Line) -> None:
        """Have a line made and written soon. Never blocks."""
        if self._lines.qsize() < MOST_LINES_WAITING:
            self._lines.put(line)
        else:
            self._lost += 1

    def end(self) -> None:
        """Write what waits, for a moment."""
        self._lines.put(None)
        self._thread.join(_DRAIN_SECONDS)

    def _run(self) -> None:
        ended = False
        while not ended:
            waiting = [self._lines.get()]
            time.sleep(TOGETHER_SECONDS)
            with suppress(queue.Empty):
                while True:
                    waiting.append(self._lines.get_nowait())
            ended = None in waiting
            lines = [_text(line) for line in waiting if line is not None]
            if self._lost:
                lines.append(f"{self._lost} lines of the log could not be written")
                self._lost = 0
            if lines:
                _write("\n".join(lines))


@contextmanager
def in_background() -> Iterator[None]:
    """Within the block a thread of its own writes the log: whoever reads stderr may stand still, and nobody waits for that."""
    global _out
    background, before = _Background(), _out
    _out = background.write
    try:
        yield
    finally:
        _out = before
        background.end()


class _Stderr:
    """What structlog writes its lines to."""

    def msg(self, message: Line) -> None:
        """Write one line, or leave it."""
        _out(message)

    debug = info = warning = warn = error = critical = exception = fatal = log = failure = msg


class _Lines:
    """What structlog's console writes without colours, at a fifth of its cost: one line is written for each alert."""

    _WITH_MORE_LINES = ("exc_info", "exception", "stack", "stack_info")
    _TO_QUOTE = re.compile("[ \t=\r\n\"']")

    def __init__(self) -> None:
        self._console = structlog.dev.ConsoleRenderer(
            colors=False, exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
        )

    def __call__(self, logger: WrappedLogger, name: str, event: EventDict) -> str:
        """The line."""
        if any(key in event for key in self._WITH_MORE_LINES):
            return str(self._console(logger, name, event))
        head = f"{event.pop('timestamp')} [{event.pop('level'):<9}] {event.pop('event')}"
        return " ".join([head, *(f"{key}={self._shown(event[key])}" for key in sorted(event))]).rstrip(" ")

    def _shown(self, value: object) -> str:
        if isinstance(value, str):
            return repr(value) if self._TO_QUOTE.search(value) else value
        return repr(value)


class _Later:
    """Has whoever writes a line make it, if it reads the same then: an answer need not wait for how it is told of."""

    _OF_THIS_MOMENT = frozenset(("exc_info", "stack_info"))

    def __init__(self, renderer: Processor) -> None:
        self._renderer = renderer

    def __call__(self, logger: WrappedLogger, name: str, event: EventDict) -> tuple[tuple[Line], dict[str, object]]:
        """The one argument of _Stderr's methods."""
        make = partial(self._made, logger, name, event)
        stays = _STAYS.issuperset(map(type, event.values())) and self._OF_THIS_MOMENT.isdisjoint(event)
        return (make if stays else make(),), {}

    def _made(self, logger: WrappedLogger, name: str, event: EventDict) -> str:
        made = self._renderer(logger, name, event)
        return made if isinstance(made, str) else str(made)


def _as_json(event: EventDict, **_: object) -> str:
    # Decimals as text, as everywhere; what has no JSON of its own as it shows itself.
    return msgspec.json.encode(event, enc_hook=repr).decode()


def configure_logging(*, json_lines: bool = False) -> None:
    """Set structlog up for the process; waitress' own loggers say only what is wrong."""
    renderer: Processor
    if json_lines:
        renderer = structlog.processors.JSONRenderer(serializer=_as_json)
    elif sys.stderr.isatty():
        renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback, pad_event_to=0)
    else:
        renderer = _Lines()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([structlog.processors.format_exc_info] if json_lines else []),
            _Later(renderer),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=lambda *_: _Stderr(),
        cache_logger_on_first_use=False,
    )
    waitress = logging.getLogger("waitress")
    waitress.setLevel(logging.ERROR)
    waitress.filters[:] = [_WithoutSecrets()]
