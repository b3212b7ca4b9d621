"""Folders for what runs as another account: pytest's own are this account's alone."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def passable_folder(name: str) -> Iterator[Path]:
    """A folder that another account may pass through; its path is short, as sockets' have to be."""
    made = Path(tempfile.mkdtemp(prefix=f"pm-{name}-"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made)
