"""A large body on its way to a file: whether it may come is asked before it does, and who reads it waits for no disk."""

import sys
from collections.abc import Callable, Iterable, Mapping
from io import BytesIO
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import IO, Any

from live.book_work import UploadFile, WorkFailed
from live.short_cut import Posted

# Where the application finds, in a request's WSGI environment, the body that has come so; and, while it is asked whether it
# may come, where it puts the place for it.
ARRIVED_FILE = "live.arrived_file"
ADMITTING = "live.admitting"
UPLOADS = "/api/book/uploads"
# So much may wait for the disk; then its sender waits.
MOST_WAITING = 4 * 1024 * 1024
# From its first byte to its last. Only one at a time comes, of somebody who may: he keeps nobody but the next one waiting.
ARRIVAL_SECONDS = 600.0

Refusal = tuple[str, list[tuple[str, str]], bytes]
# Where there is a place for it, or what is answered instead.
Admit = Callable[[Posted], UploadFile | Refusal]


class Arriving:
    """What waitress takes for a body's buffer. Until begin() what comes waits: nobody reads on while `is_full`."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lock = Lock()
        # Parts; an event, to be set where all before it is written; None, the end.
        self._waiting: SimpleQueue[bytes | Event | None] = SimpleQueue()
        self._behind, self._size = 0, 0
        self._upload: UploadFile | None = None
        self._problem: OSError | None = None
        self._closed = False

    def begin(self, upload: UploadFile) -> None:
        """It may come, into this file."""
        with self._lock:
            self._upload = upload
            Thread(target=self._write, args=(upload,), name="upload", daemon=True).start()
        self._wake()

    @property
    def is_full(self) -> bool:
        """Whether its sender has to wait."""
        return self._upload is None or self._behind > MOST_WAITING

    def append(self, data: bytes) -> None:
        """Take a part."""
        self._size += len(data)
        with self._lock:
            self._behind += len(data)
        self._waiting.put(data)

    def __len__(self) -> int:
        return self._size

    def whole(self) -> UploadFile:
        """The file with all that has come. Raises WorkFailed where the disk did not take it."""
        if self._upload is None:
            raise WorkFailed
        written = Event()
        self._waiting.put(written)
        written.wait()
        if self._problem is not None:
            raise WorkFailed(f"the file cannot be kept: {self._problem.strerror}") from self._problem
        self._upload.file.seek(0)
        return self._upload

    def getfile(self) -> IO[bytes]:
        """Nothing: the application has it from whole()."""
        return BytesIO()

    def close(self) -> None:
        """Whatever has come is gone, and there is a place for the next one."""
        self._closed = True
        self._waiting.put(None)

    def _write(self, upload: UploadFile) -> None:
        while (data := self._waiting.get()) is not None:
            if isinstance(data, Event):
                data.set()
                continue
            if self._problem is None and not self._closed:
                try:
                    upload.write(data)
                except OSError as error:
                    self._problem = error
            with self._lock:
                was_full = self.is_full
                self._behind -= len(data)
            if was_full and not self.is_full:
                self._wake()
        upload.close()


class Admission:
    """A worker's: asks whether a body may come. Until then nobody reads it, so a slow look at a token keeps nobody waiting."""

    def __init__(self, posted: Posted, arriving: Arriving, admit: Admit, refuse: Callable[[Refusal], None]) -> None:
        self._posted = posted
        self._arriving = arriving
        self._admit = admit
        self._refuse = refuse

    def service(self) -> None:
        """Ask."""
        answer = self._admit(self._posted)
        if isinstance(answer, UploadFile):
            self._arriving.begin(answer)
        else:
            self._refuse(answer)

    def cancel(self) -> None:
        """The server ends, and its connections with it."""


def asked_of(application: Callable[..., Iterable[bytes]], posted: Posted) -> UploadFile | Refusal:
    """What the application says to the head of a request alone: it either finds a place for the body, or refuses it."""
    admitting: dict[str, UploadFile] = {}
    told: list[Any] = []
    environ = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": posted.path,
        "QUERY_STRING": posted.query,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": posted.peer,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        ADMITTING: admitting,
        **{name if name == "CONTENT_TYPE" else f"HTTP_{name}": text for name, text in _heads(posted.headers)},
    }
    answer = application(environ, lambda status, headers, *_: told.append((status, headers)))
    try:
        body = b"".join(answer)
    finally:
        if callable(close := getattr(answer, "close", None)):
            close()
    ((status, headers),) = told
    return admitting.get("upload") or (status, headers, body)


def _heads(headers: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    return ((name, text) for name, text in headers.items() if name != "CONTENT_LENGTH")
