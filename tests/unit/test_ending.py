"""The end of a process is heard of at once, whichever thread is told of it."""

import subprocess
import sys

import pytest

from tests.live_process import ROOT

PATIENCE = 60
SCRIPT = """
import signal, threading, time
from live.ending import Ending

idle = threading.Event()
with Ending() as ending:
    other = threading.Thread(target=idle.wait, daemon=True)
    other.start()
    def ask():
        time.sleep(0.3)  # the main thread waits by then
        {asked}
    threading.Thread(target=ask, daemon=True).start()
    ending.wait()
    ending.wait()
    print(ending.failure)
"""


@pytest.mark.parametrize(
    "asked, failure",
    [
        ("signal.pthread_kill(other.ident, signal.SIGTERM)", "None"),
        ("signal.pthread_kill(other.ident, signal.SIGINT)", "None"),
        ("signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)", "None"),
        ("ending.fail('no more'); ending.fail('a consequence')", "no more"),
        ("[signal.pthread_kill(other.ident, signal.SIGTERM) for _ in range(100_000)]", "None"),
    ],
)
def test_the_end_is_heard_of_whichever_thread_is_told(asked: str, failure: str) -> None:
    script = SCRIPT.format(asked=asked)
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, check=False, capture_output=True, text=True, timeout=PATIENCE
    )
    assert (ran.stdout, ran.returncode) == (f"{failure}\n", 0), ran.stderr
