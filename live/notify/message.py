"""What is sent: one notice, or many summed up in one message of bounded length."""

from collections import Counter
from collections.abc import Iterable

from msgspec import Struct

from core.notifications import Level
from live.notify.notices import Notice

MOST_SHOWN = 10
_LONGEST_OF_MANY = 180
AGAIN = "(again, it may have been told before)"


class Message(Struct, frozen=True, kw_only=True):
    """Ready to be sent."""

    level: Level
    title: str
    body: str


class Digest:
    """Notices that wait to be told: all are counted, the most urgent ones are kept whole, so it does not grow with them."""

    def __init__(self, notices: Iterable[Notice] = ()) -> None:
        self._kept: list[Notice] = []
        self._levels: Counter[Level] = Counter()
        # The first and the last entry that they are from.
        self._seqs: tuple[int, int] | None = None
        for notice in notices:
            self.add(notice)

    def __bool__(self) -> bool:
        return bool(self._levels)

    @property
    def level(self) -> Level:
        """That of the most urgent one."""
        return max(self._levels, key=lambda level: level.rank, default=Level.INFO)

    @property
    def total(self) -> int:
        """How many there are."""
        return self._levels.total()

    @property
    def fingerprints(self) -> list[str]:
        """The signals whose notices are kept whole."""
        return [notice.fingerprint for notice in self._kept if notice.fingerprint is not None]

    def add(self, notice: Notice) -> None:
        """One more."""
        self._levels[notice.level] += 1
        self._kept.append(notice)
        if notice.seq is not None:
            self._seqs = (self._seqs[0] if self._seqs else notice.seq, notice.seq)
        self._cut()

    def _cut(self) -> None:
        while len(self._kept) > MOST_SHOWN:
            least = min(kept.level.rank for kept in self._kept)
            last = max(place for place, kept in enumerate(self._kept) if kept.level.rank == least)
            del self._kept[last]

    def with_more(self, notices: Iterable[Notice]) -> "Digest":
        """Another one, with these as well."""
        both = Digest()
        both._levels, both._kept, both._seqs = Counter(self._levels), list(self._kept), self._seqs
        for notice in notices:
            both.add(notice)
        return both

    def message(self, portfolio: str, *, again: bool = False, who: str | None = None) -> Message:
        """All of it; `who` says what is not in the journal."""
        lines = [AGAIN] if again else []
        lines += [_line(notice, alone=len(self._kept) == 1) for notice in self._kept]
        left = self._levels - Counter(kept.level for kept in self._kept)
        if left:
            counted = ", ".join(f"{count} {level.value}" for level, count in left.items())
            lines.append(f"and {left.total()} more ({counted})")
        if self.total > 1 and self._seqs is not None:
            # Also what is not shown, for whoever compares: journal numbers are told in their order, without a gap.
            lines.append(f"from journal {self._seqs[0]} to {self._seqs[1]}")
        if who is not None:
            lines.append(f"told by {who}")
        return Message(level=self.level, title=f"[{portfolio}] {self._title()}", body="\n".join(lines))

    def _title(self) -> str:
        first = max(self._kept, key=lambda notice: notice.level.rank)
        return first.title if self.total == 1 else f"{first.title}, and {self.total - 1} more"


def _line(notice: Notice, *, alone: bool) -> str:
    head = "" if alone else f"{notice.level.value}: {notice.title}. "
    text = notice.text if alone or len(notice.text) <= _LONGEST_OF_MANY else f"{notice.text[:_LONGEST_OF_MANY]}..."
    where = [] if notice.seq is None else [f"journal {notice.seq}"]
    where += [] if notice.fingerprint is None else [f"signal {notice.fingerprint}"]
    told = f"{head}{text}" + (f" ({', '.join(where)})" if where else "")
    return told if notice.link is None else f"{told}\n{notice.link}"
