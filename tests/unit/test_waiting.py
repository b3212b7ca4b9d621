"""What the tests wait with: a stopwatch counts what is waited for, and not what a busy machine takes."""

import os
import signal
import subprocess
import sys
import time

from tests.live_process import ROOT
from tests.waiting import Stopwatch, eventually

PAUSED = (
    "import time, tests.waiting; watch = tests.waiting.Stopwatch(); print('on', flush=True); {}; print(watch.seconds)"
)


def test_what_is_waited_for_is_counted() -> None:
    began = time.monotonic()
    watch = Stopwatch()
    time.sleep(0.3)
    seconds = watch.seconds
    assert 0.2 < seconds <= time.monotonic() - began


def test_what_the_machine_takes_is_not_counted() -> None:
    command = [sys.executable, "-c", PAUSED.format("time.sleep(0.5)")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "on\n"
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(2)
        os.kill(process.pid, signal.SIGCONT)
        assert float(process.stdout.readline()) < 1


def test_what_holds_is_not_waited_for_and_what_does_not_is_said() -> None:
    assert eventually(lambda: True, 0.01)
    assert not eventually(lambda: False, 0.01)
