"""Runs one program, adopts and reaps what that leaves behind, and ends all of it when told to, or when its own parent dies.

Patroni's PostgreSQL outlives Patroni, on purpose. A test has to be its parent then: where nobody reaps a killed postmaster, the
next one takes it for alive. Started as a file, as the account of PostgreSQL; it imports nothing of ours.
"""

import ctypes
import os
import signal
import subprocess
import sys
from contextlib import suppress

import psutil

_SIGNAL_AT_PARENTS_DEATH, _ADOPT_ORPHANS = 1, 36


def main(command: list[str]) -> None:
    """Run the command, and wait for it and all that it started."""
    libc = ctypes.CDLL(None)
    libc.prctl(_ADOPT_ORPHANS, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, end_all)
    libc.prctl(_SIGNAL_AT_PARENTS_DEATH, signal.SIGTERM, 0, 0, 0)
    program = subprocess.Popen(command)
    with suppress(ChildProcessError):
        while True:
            os.wait()
    program.returncode = 0  # it was reaped here, with the others


def end_all(_number: int, _frame: object) -> None:
    """Kill everything below, until there is nothing left to kill."""
    while children := [child for child in psutil.Process().children(recursive=True) if _lives(child)]:
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


if __name__ == "__main__":
    main(sys.argv[1:])
