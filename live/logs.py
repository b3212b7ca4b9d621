"""Logging: one line an event, to stderr, without local variables in tracebacks (they may hold what must not be logged)."""

import logging
import sys
from contextlib import suppress

import structlog


class _Stderr:
    """Writes lines to stderr. A log that cannot be written (closed pipe, full disk) must not change what is done."""

    def msg(self, message: str) -> None:
        """Write one line, or leave it."""
        with suppress(OSError, ValueError):
            sys.stderr.write(message + "\n")
            sys.stderr.flush()

    debug = info = warning = warn = error = critical = exception = fatal = log = failure = msg


def configure_logging(*, json_lines: bool = False) -> None:
    """Set structlog up for the process; waitress' own loggers say only what is wrong."""
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer()
        if json_lines
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
        )
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
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
