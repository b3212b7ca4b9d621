"""What a page shows, numbered as it changes: whoever knows version 41 is told only what is different since."""

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

# A row is what the page puts into one line of a table, or one fact: texts by name.
Row = Mapping[str, str]
Sections = Mapping[str, Mapping[str, Row]]

LOOK_SECONDS = 0.5
# Pages take a twentieth of the interpreter at most, however much there is to show.
SHARE = 20
MOST_GONE = 20_000


class Changes(msgspec.Struct, frozen=True):
    """What brings a page to a version."""

    version: str
    body: bytes


class Board:
    """The latest sections, read by whoever asks when they are due, for all who ask. `read` may take long and raise."""

    def __init__(self, read: Callable[[], Sections], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._clock = clock
        self._epoch = secrets.token_hex(4)
        self._number = 0
        self._rows: dict[tuple[str, str], tuple[Row, int]] = {}
        self._gone: dict[tuple[str, str], int] = {}
        self._forgotten = 0
        self._due = float("-inf")
        self._looking = threading.Lock()
        self._lock = threading.Lock()

    @property
    def version(self) -> str:
        """Of what is shown now."""
        return f"{self._epoch}-{self._number}"

    def look(self) -> None:
        """Read anew where that is due. One does it; the others are content with what there is."""
        if self._number and self._clock() < self._due:
            return
        if not self._looking.acquire(blocking=not self._number):
            return
        try:
            began = self._clock()
            if self._number and began < self._due:
                return
            self._take(self._read())
            took = self._clock() - began
            self._due = began + max(LOOK_SECONDS, SHARE * took)
        finally:
            self._looking.release()

    def sections(self) -> dict[str, dict[str, Row]]:
        """All of it, for a page that knows nothing yet."""
        shown: dict[str, dict[str, Row]] = {}
        with self._lock:
            for (section, key), (row, _) in self._rows.items():
                shown.setdefault(section, {})[key] = row
        return shown

    def since(self, version: str | None) -> Changes | None:
        """What has changed since `version`, None where nothing has; all of it where that is not known any more.

        As JSON `{"version", "whole", "rows": {section: {key: row}}}`; a row that is null is gone.
        """
        with self._lock:
            known = self._known(version)
            if known == self._number:
                return None
            changes: dict[str, dict[str, Any]] = {}
            for (section, key), (row, number) in self._rows.items():
                if number > known:
                    changes.setdefault(section, {})[key] = row
            for (section, key), number in self._gone.items() if known else ():
                if number > known:
                    changes.setdefault(section, {})[key] = None
            told = {"version": self.version, "whole": not known, "rows": changes}
            return Changes(self.version, msgspec.json.encode(told))

    def _known(self, version: str | None) -> int:
        """The number of a version of ours; 0 for what was never ours, or is too long ago."""
        epoch, _, number = (version or "").partition("-")
        if epoch != self._epoch or not (number.isascii() and number.isdecimal()) or len(number) > 15:
            return 0
        known = int(number)
        return known if self._forgotten <= known <= self._number else 0

    def _take(self, sections: Sections) -> None:
        with self._lock:
            number = self._number + 1
            now = {(section, key): row for section, rows in sections.items() for key, row in rows.items()}
            changed = False
            for place, row in now.items():
                before = self._rows.get(place)
                if before is None or (before[0] is not row and before[0] != row):
                    self._rows[place] = (row, number)
                    self._gone.pop(place, None)
                    changed = True
            for place in [place for place in self._rows if place not in now]:
                del self._rows[place]
                self._gone[place] = number
                changed = True
            if changed or not self._number:
                self._number = number
            self._forget()

    def _forget(self) -> None:
        while len(self._gone) > MOST_GONE:
            place = next(iter(self._gone))
            self._forgotten = max(self._forgotten, self._gone.pop(place))
