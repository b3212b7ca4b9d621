"""A recorded file read line by line: bounded in every direction, and every refusal names the file and the line."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from live.replay.model import BadFile

# A replay holds its inputs in memory, some 2 KB each: these bounds keep that below what any machine has.
MAX_BYTES = 64 * 1024 * 1024
MAX_LINES = 1_000_000
MAX_LINE_BYTES = 64 * 1024

_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def bad_file(path: Path, line: int | None, rule: str) -> BadFile:
    """The refusal of a file: its name, the line (None where it could not be read at all) and the rule."""
    # What breaks a log line, or no encoder takes, is escaped.
    name = "".join(mark if mark.isprintable() else repr(mark)[1:-1] for mark in str(path))
    return BadFile(f"{name}: {rule}" if line is None else f"{name}: line {line}: {rule}")


def byte_lines(path: Path, *, longest: int = MAX_LINE_BYTES) -> Iterator[tuple[int, bytes]]:
    """Each line that is not blank, with its number (from 1), without its end and without a leading UTF-8 mark.

    Raises BadFile where the file cannot be read, holds a NUL, or is longer or wider than a replay takes.
    """
    with _opened(path) as file:
        yield from _lines(path, file, longest)


def whole_content(path: Path) -> bytes:
    """All bytes of a file that is one document, without a leading UTF-8 mark; BadFile as for lines."""
    with _opened(path) as file:
        return file.read(MAX_BYTES).removeprefix(_UTF8_MARK)


def start_of(path: Path, size: int) -> bytes:
    """The first `size` bytes without a leading UTF-8 mark, to see what kind of file it is."""
    with _opened(path) as file:
        return file.read(size).removeprefix(_UTF8_MARK)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        with path.open("rb") as file:
            _refuse_large(path, file)
            yield file
    except (OSError, ValueError) as error:  # ValueError: a name that holds a NUL
        reason = getattr(error, "strerror", None) or str(error)
        raise bad_file(path, None, f"cannot be read: {reason}") from error


def _refuse_large(path: Path, file: IO[bytes]) -> None:
    """Before anything is read: what is known to be too large need not be waited for."""
    if os.fstat(file.fileno()).st_size > MAX_BYTES:
        raise _too_large(path, 1)


def _lines(path: Path, file: IO[bytes], longest: int) -> Iterator[tuple[int, bytes]]:
    number = size = 0
    # One byte more than the bound tells a line that is too long from one that just fits; `\r\n` are two of them.
    while raw := file.readline(longest + 3):
        number, size = number + 1, size + len(raw)
        if number == 1:
            raw = _without_mark(path, raw)
        line = raw.rstrip(b"\r\n")
        if len(line) > longest:
            raise bad_file(path, number, f"the line is longer than {longest} bytes")
        if size > MAX_BYTES:  # a pipe has no size to ask for
            raise _too_large(path, number)
        if number > MAX_LINES:
            raise bad_file(
                path, number, f"more than {MAX_LINES} lines: split the file, a part at a time can be replayed"
            )
        if b"\0" in line:
            raise bad_file(path, number, "a NUL byte: this is no text file")
        if line.strip():
            yield number, line


def _without_mark(path: Path, raw: bytes) -> bytes:
    if raw.startswith(_UTF16_MARKS):
        raise bad_file(path, 1, "not UTF-8 but UTF-16: save it as UTF-8")
    return raw.removeprefix(_UTF8_MARK)


def _too_large(path: Path, line: int) -> BadFile:
    return bad_file(
        path, line, f"the file is larger than {MAX_BYTES} bytes: split it, a part at a time can be replayed"
    )
