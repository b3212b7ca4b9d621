"""What a channel has to tell while an engine leads: where it is in the journal, and what there is to say from there on."""

from collections.abc import Callable, Iterable

from msgspec.structs import replace

from core.errors import LeadershipLost
from core.notifications import Level
from core.portfolio import Portfolio
from live.engine import LiveTradingEngine
from live.notify.cursor import Cursor
from live.notify.message import Digest
from live.notify.notices import Asks, Notice, notice_of
from live.notify.standing import notices_between, standing_of

ENTRIES_AT_ONCE = 500
# Where there is nothing to tell the cursor is written once in so many entries.
SKIP_AT_ONCE = 2_000


class Leading:
    """One channel's, under one term; `link_of` gives what decides a proposal for whoever is told of it.

    Everything raises what reading raises, and LeadershipLost.
    """

    def __init__(
        self,
        engine: LiveTradingEngine,
        channel: str,
        least_level: Level,
        link_of: Callable[[Asks], str | None] = lambda _: None,
    ) -> None:
        self.engine = engine
        self.digest = Digest()
        self._least = least_level
        self._link_of = link_of
        self._term = engine.db_manager.term
        self._cursor = Cursor(engine.reads, channel, self._term)
        self._place = self._cursor.place()
        # The last entry that was read, and its hash, once it is known.
        self._read_seq = self._place.told_seq
        self._hash: str | None = None
        self._seen_seq = 0
        self._seen_portfolio: Portfolio | None = None
        self._of_journal = Digest()
        self._standing = self._place.standing
        # What another life of ours has begun with, and perhaps sent: exactly that is told again.
        self.begun_before = self._place.sending_seq is not None
        if self._place.sending_seq is not None:
            self._look_up_to(self._place.sending_seq)

    @property
    def leads(self) -> bool:
        """Whether it still does, as far as is known."""
        return self.engine.serving and self.engine.db_manager.term == self._term

    def look(self) -> None:
        """Read what was decided since."""
        # A state that was read anew is another object, though its journal is as long as before.
        next_seq, portfolio = self.engine.db_manager.next_seq, self.engine.portfolio
        if next_seq != self._seen_seq or portfolio is not self._seen_portfolio:
            self._look_up_to(None)
            self._seen_seq, self._seen_portfolio = next_seq, portfolio

    def begin(self) -> None:
        """What there is to tell now is about to be sent."""
        self._place = self._cursor.begin(self._place, self._read_seq)

    def end(self) -> None:
        """It was sent, or there was nothing to send."""
        self._place = self._cursor.end(self._place, self._read_seq, self._standing)
        self._of_journal = self.digest = Digest()
        self.begun_before = False

    def skip(self) -> None:
        """Nothing of what was read is to be told: that is written down now and then."""
        if self._read_seq - self._place.told_seq >= SKIP_AT_ONCE or self._standing != self._place.standing:
            self.end()

    def _look_up_to(self, seq: int | None) -> None:
        """As far as that entry; None: as the journal goes."""
        marks = self.engine.reads.one("journal_marks", seq=self._read_seq)
        if marks is None or (self._hash is not None and marks["content_hash"] != self._hash):
            raise LeadershipLost("the journal went back: so did the cursor, which is read again")
        portfolio = self.engine.portfolio  # as of the end, or a little later
        self._read(marks["end_seq"] if seq is None else seq)
        self._hash = marks["end_hash"] if seq is None else None
        self._look_at_standing(portfolio)

    def _read(self, end_seq: int) -> None:
        while self._read_seq < end_seq:
            up_to = min(self._read_seq + ENTRIES_AT_ONCE, end_seq)
            rows = self.engine.reads.confirmed("journal_to_tell", after_seq=self._read_seq, up_to_seq=up_to)
            found = (notice_of(row) for row in rows)
            for notice in self._wanted(notice for notice in found if notice is not None):
                self._of_journal.add(self._with_link(notice))
            self._read_seq = up_to

    def _with_link(self, notice: Notice) -> Notice:
        return notice if notice.asks is None else replace(notice, link=self._link_of(notice.asks))

    def _look_at_standing(self, portfolio: Portfolio) -> None:
        self._standing = standing_of(portfolio)
        changes = notices_between(self._place.standing, self._standing, portfolio, self._read_seq)
        self.digest = self._of_journal.with_more(self._wanted(changes))

    def _wanted(self, notices: Iterable[Notice]) -> list[Notice]:
        return [notice for notice in notices if notice.level.rank >= self._least.rank]
