"""Long work of the book, done in a process of its own: whatever it takes, the one that decides has its processor and memory.

It ends with this process, and neither listens nor decides (docs/decisions/0026-the-books-long-work.md).
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import IO, Any

import structlog

from core.book_settings import LARGEST_UPLOAD
from core.errors import DatabaseAway, Refused, Retryable

log = structlog.get_logger("live.book")

# A million rows take a while. What takes longer is given up, and nothing of it is kept.
LIMIT_SECONDS = 3600.0
RETRY_AFTER_SECONDS = 5
_ROOT = Path(__file__).resolve().parents[1]
_MOST_LOGGED = 4000


class Busy(Retryable):
    """one such file at a time: another one is under way"""


class WorkRefused(Refused):
    """what the process has refused; `name` is the refusal's own"""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class WorkFailed(Retryable):
    """the process ended before its work was done, and nothing of it was kept"""


class UploadFile:
    """The one place for an upload, and the file that its body goes to: it has no name, and is gone when it is closed."""

    def __init__(self, place: Lock, folder: Path | None, most: int) -> None:
        self.most = most
        self._place: Lock | None = place
        try:
            self.file: IO[bytes] = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - closed by close()
        except OSError as error:
            place.release()
            raise WorkFailed(f"no file can be made for it: {error.strerror}") from error

    def write(self, data: bytes) -> None:
        """All of it, behind what is there. Raises OSError."""
        view = memoryview(data)
        while view:
            view = view[self.file.write(view) :]

    def close(self) -> None:
        """Make room for the next one. More than once does no harm."""
        self.file.close()
        place, self._place = self._place, None
        if place is not None:
            place.release()


class BookWork:
    """Uploads, files and reports that are asked for, and batches of the risk lab: each one at a time. Files: below `folder`."""

    def __init__(self, dsn: str, folder: Path | None = None, *, upload_max_bytes: int = LARGEST_UPLOAD) -> None:
        self.upload_max_bytes = upload_max_bytes
        self._dsn = dsn
        self._folder = folder
        self._upload_place, self._report_place, self._batch_place = Lock(), Lock(), Lock()
        self._lock = Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._closed = False

    def begin_upload(self) -> UploadFile:
        """The place for an upload. Raises Busy, and WorkFailed where there is no disk for it."""
        if not self._upload_place.acquire(blocking=False):
            raise Busy("another upload is under way: one at a time")
        return UploadFile(self._upload_place, self._made_folder(), self.upload_max_bytes)

    @contextmanager
    def making_a_file(self) -> Iterator[IO[bytes]]:
        """The file that something is written to; whoever takes it over duplicates its descriptor. Raises Busy."""
        if not self._report_place.acquire(blocking=False):
            raise Busy("another export or report is being made: one at a time")
        try:
            with tempfile.TemporaryFile(dir=self._made_folder()) as file:
                yield file
        finally:
            self._report_place.release()

    @contextmanager
    def reckoning(self) -> Iterator[IO[bytes]]:
        """The place for a day's batch, and the file of its process, which holds nothing. Raises Busy."""
        if not self._batch_place.acquire(blocking=False):
            raise Busy("another batch is under way: one at a time")
        try:
            with open(os.devnull, "r+b") as file:  # noqa: PTH123 - no path of ours
                yield file
        finally:
            self._batch_place.release()

    def run(self, task: str, arguments: Mapping[str, Any], file: IO[bytes]) -> dict[str, Any]:
        """What the task tells when it is done; `file` is what it reads, or writes.

        Raises WorkRefused, DatabaseAway, and WorkFailed where it did not come to its end.
        """
        ours, alive = os.pipe()
        try:
            given = {"task": task, "dsn": self._dsn, "file": file.fileno(), "alive": ours, **arguments}
            process = self._started((ours, file.fileno()))
            os.close(ours)
            ours = -1
            answer = self._answer_of(process, json.dumps(given).encode())
        finally:
            for descriptor in (ours, alive):
                if descriptor >= 0:
                    os.close(descriptor)
        if "refused" in answer:
            raise WorkRefused(answer["refused"], answer["message"])
        if "away" in answer:
            raise DatabaseAway(answer["away"])
        told: dict[str, Any] = answer["told"]
        return told

    def close(self) -> None:
        """End what is under way; nothing of it is kept."""
        with self._lock:
            self._closed = True
            running = list(self._running)
        for process in running:
            process.kill()

    def _made_folder(self) -> Path | None:
        if self._folder is not None:
            with suppress(OSError):  # where it cannot be made, the file in it cannot either, and that is told
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._folder

    def _started(self, descriptors: tuple[int, ...]) -> "subprocess.Popen[bytes]":
        with self._lock:
            if self._closed:
                raise WorkFailed("this instance is about to end")
            path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "live.book_worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=descriptors,
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,
            )
            self._running.add(process)
            return process

    def _answer_of(self, process: "subprocess.Popen[bytes]", given: bytes) -> dict[str, Any]:
        try:
            with process:
                out, errors = process.communicate(given, timeout=LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            raise WorkFailed(f"it took over {LIMIT_SECONDS:g} s") from None
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            with self._lock:
                self._running.discard(process)
        if process.returncode:
            log.error(
                "work of the book ended", code=process.returncode, told=errors.decode(errors="replace")[-_MOST_LOGGED:]
            )
            raise WorkFailed
        answer: dict[str, Any] = json.loads(out)
        return answer
