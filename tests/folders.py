"""Where tests put what they write: in memory where there is enough of it, and where another account may pass if it has to."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MEMORY = Path("/dev/shm")
_ENOUGH_BYTES = 4 * 2**30


def quick_folder() -> Path:
    """Memory where there is enough of it: what waits for a disk waits several times less. Who sets TMPDIR has chosen himself."""
    chosen = "TMPDIR" in os.environ
    roomy = os.access(_MEMORY, os.W_OK | os.X_OK) and shutil.disk_usage(_MEMORY).total >= _ENOUGH_BYTES
    return _MEMORY if roomy and not chosen else Path(tempfile.gettempdir())


@contextmanager
def passable_folder(name: str) -> Iterator[Path]:
    """A folder that another account may pass through; its path is short, as sockets' have to be."""
    made = Path(tempfile.mkdtemp(prefix=f"pm-{name}-"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made)
