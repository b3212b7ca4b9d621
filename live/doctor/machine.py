"""This machine: its clock, the disk under --data-dir, and the port that `live` would listen on."""

import ctypes
import errno
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

from live.doctor.findings import Finding, failed, ok, skipped, warning
from live.doctor.instance import Instance
from live.options import LiveOptions

_GIB = 1024**3
_SCARCE_BYTES = 2 * _GIB
_NONE_LEFT_BYTES = _GIB // 5
_SLOW_SECONDS = 0.25
_TIMEX_BYTES = 512  # longer than the kernel's struct anywhere; zeros ask, and set nothing
_NOT_SYNCHRONISED = 5


def check_clock() -> Iterator[Finding]:
    """Whether the kernel says that something keeps its clock right."""
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        state = -1
    if state < 0:
        yield skipped("clock", "this system does not tell whether its clock is kept right", "see that NTP runs")
    elif state == _NOT_SYNCHRONISED:
        found = "nothing keeps this machine's clock right; an entry older than 300 s, or 60 s ahead, is refused"
        yield warning("clock", found, "run chrony or systemd-timesyncd")
    else:
        yield ok("clock", "the kernel's clock is synchronised")


def check_disk(data_dir: Path) -> Iterator[Finding]:
    """Free space, and whether a file can be written there and reaches the disk; it has no name, and is gone again."""
    if not data_dir.exists():
        yield skipped("disk", f"{data_dir} is not there yet: `live` makes it")
        return
    yield _space(data_dir)
    try:
        began = monotonic()
        with tempfile.TemporaryFile(dir=data_dir) as file:
            file.write(b"doctor")
            file.flush()
            os.fsync(file.fileno())
        took = monotonic() - began
    except OSError as error:
        found = f"{data_dir} cannot be written: {error.strerror}"
        yield failed("disk", found, "give the user of `live` the right to it, or choose another --data-dir")
        return
    found = f"a write to {data_dir} is on the disk after {took * 1000:.0f} ms"
    if took > _SLOW_SECONDS:
        yield warning("disk", found, "put --data-dir on a faster, local disk")
    else:
        yield ok("disk", found)


def _space(data_dir: Path) -> Finding:
    free = shutil.disk_usage(data_dir).free
    found = f"{free / _GIB:,.1f} GiB are free under {data_dir}"
    if free < _NONE_LEFT_BYTES:
        return failed("disk", found, "make room: without any neither the database nor the spool can keep alerts")
    if free < _SCARCE_BYTES:
        return warning("disk", found, "make room, or put --data-dir where there is more")
    return ok("disk", found)


def check_port(options: LiveOptions, instance: Instance) -> Iterator[Finding]:
    """Whether it is free, or ours answers there. It is bound for a moment, and not listened on."""
    if options.port == 0:
        yield skipped("port", "0 takes one that is free")
        return
    where = f"{options.host}:{options.port}"
    problem = _cannot_bind(options.host, options.port)
    if problem is None:
        yield ok("port", f"{where} is free")
    elif problem == errno.EADDRINUSE and instance.is_alive():
        yield ok("port", f"an instance answers at {where}")
    elif problem == errno.EADDRINUSE:
        yield failed("port", f"something else listens on {where}", "end it, or give `live` another --port")
    else:
        mend = "give an address of this machine, and a port above 1023 unless root serves; a proxy has 443"
        yield failed("port", f"{where} cannot be listened on: {os.strerror(problem)}", mend)


def _cannot_bind(host: str, port: int) -> int | None:
    """Why not, as errno; None where it can be."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror:
        return errno.EADDRNOTAVAIL
    with socket.socket(family, kind, protocol) as probe:
        # As the server does: what was there a moment ago is no reason.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            return error.errno
    return None
