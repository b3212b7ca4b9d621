"""Logging: one line an event, to stderr, without local variables in tracebacks (they may hold what must not be logged)."""

import logging
import re
import sys
from contextlib import suppress

import structlog
from structlog.typing import EventDict, WrappedLogger


class _Stderr:
    """Writes lines to stderr. A log that cannot be written (closed pipe, full disk) must not change what is done."""

    def msg(self, message: str) -> None:
        """Write one line, or leave it."""
        with suppress(OSError, ValueError):
            sys.stderr.write(message + "\n")
            sys.stderr.flush()

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
        return " ".join([head, *(f"{key}={self._shown(event[key])}" for key in sorted(event))])

    def _shown(self, value: object) -> str:
        if isinstance(value, str):
            return repr(value) if self._TO_QUOTE.search(value) else value
        return repr(value)


def configure_logging(*, json_lines: bool = False) -> None:
    """Set structlog up for the process; waitress' own loggers say only what is wrong."""
    renderer: structlog.types.Processor
    if json_lines:
        renderer = structlog.processors.JSONRenderer()
    elif sys.stderr.isatty():
        renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback, pad_event_to=0)
    else:
        renderer = _Lines()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([structlog.processors.format_exc_info] if json_lines else []),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=lambda *_: _Stderr(),
        cache_logger_on_first_use=False,
    )
    logging.getLogger("waitress").setLevel(logging.ERROR)
