"""A request as it arrives under waitress: how much of it is kept, and where a large file goes that may come."""

from collections.abc import Callable, Mapping
from copy import copy
from typing import Any

from waitress.parser import HTTPRequestParser, ParsingError
from waitress.utilities import Error

from core.strict_json import MAX_BODY_BYTES
from live.arriving import UPLOADS, Arriving, Refusal
from live.heads import Heads, WholeBody
from live.short_cut import Begun

# What waitress notes of a head; `headers` besides, which are a request's own.
_OF_THE_HEAD = (
    "command",
    "connection_close",
    "content_length",
    "first_line",
    "fragment",
    "header_bytes_received",
    "headers_finished",
    "path",
    "proxy_netloc",
    "proxy_scheme",
    "query",
    "request_uri",
    "url_scheme",
    "version",
)


class HttpProblem(Error):  # type: ignore[misc]
    """An error that is found before the application is asked."""

    def __init__(self, code: int, reason: str, name: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.name = name


class Parser(HTTPRequestParser):  # type: ignore[misc]
    """A request as it arrives. Of a body that is too large no more is kept than shows that it is."""

    adj: Any
    body_rcv: Any
    command: str
    content_length: int
    expect_continue: bool
    path = ""  # waitress logs the path of requests that it could not parse
    begun: Begun | None = None
    # A large file: until it is known whether it may come nobody is told to go on, and it is not read on.
    arriving: Arriving | None = None
    refusal: Refusal | None = None
    continues_later = False

    def __init__(
        self, adj: Any, admission: "Callable[[Parser], Arriving | None]" = lambda _: None, heads: Heads | None = None
    ) -> None:
        super().__init__(adj)
        self._admission = admission
        self._heads = heads

    def received(self, data: bytes) -> int:
        """Take what came of it; how many bytes of `data` that was."""
        heads, self._heads = self._heads, None  # who dribbles a head is read as waitress reads it
        if heads is None:
            return int(super().received(data))
        read, end = heads.find(data)
        if read is not None and len(data) - end >= read["content_length"]:
            return self._is_like(read, data, end)
        taken = int(super().received(data))
        if self._may_come_again:
            heads.keep(data, {name: getattr(self, name) for name in (*_OF_THE_HEAD, "headers")})
        return taken

    def _is_like(self, read: Mapping[str, Any], data: bytes, end: int) -> int:
        """Take a whole request whose head was read before; how many bytes of `data` that was."""
        self.__dict__.update(read)
        self.headers = dict(read["headers"])
        self.body_bytes_received = read["content_length"]
        taken = end + self.content_length
        self.body_rcv = WholeBody(data[end:taken])
        self.completed = True
        return taken

    @property
    def _may_come_again(self) -> bool:
        """Whether its head was read in one go, and is such as alerts have."""
        if not self.headers_finished or self.error or self.empty or self.command != "POST":
            return False
        has_body = self.content_length > 0 and not self.chunked
        return has_body and self.arriving is None and not self.expect_continue

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
        if self.body_rcv is None:
            return
        if self.command == "POST" and self.path == UPLOADS and self.content_length > MAX_BODY_BYTES:
            self.arriving = self._admission(self)
        if self.arriving is None:
            self.expect_continue &= self.content_length < self.adj.max_request_body_size
            self.body_rcv.buf = _Bounded(self.body_rcv.buf, MAX_BODY_BYTES + 1)
            return
        self.body_rcv.buf = self.arriving
        self.continues_later, self.expect_continue = self.expect_continue, False

    def allow(self, most: int) -> None:
        """A body of at most so many bytes."""
        self.adj = copy(self.adj)
        self.adj.max_request_body_size = most + 1

    @property
    def is_full(self) -> bool:
        """Whether it is not to be read on for now."""
        return self.arriving is not None and self.arriving.is_full and not self.completed

    def give_up(self) -> None:
        """Nobody sends it any more."""
        if self.arriving is not None:
            self.arriving.close()


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
