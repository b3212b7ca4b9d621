"""How far a channel has told of the journal, in PostgreSQL: written by who leads, before something is sent and after it."""

from msgspec import Struct
from msgspec.structs import replace

from core.errors import LeadershipLost
from core.postgres.reads import Reads, Row
from live.notify.standing import Drawdown, Margin, Standing


class Place(Struct, frozen=True, kw_only=True):
    """All up to `told_seq` is done with. A message about what is behind it up to `sending_seq` was begun with."""

    told_seq: int
    sending_seq: int | None = None
    standing: Standing = Standing()


class Cursor:
    """One channel's, of one portfolio. All of it raises what reading raises, and LeadershipLost where somebody else goes on."""

    def __init__(self, reads: Reads, channel: str, term: int | None) -> None:
        self._reads = reads
        self._channel = channel
        self._term = term

    def place(self) -> Place:
        """Where it is; a channel that is new begins where this leader began."""
        found = self._reads.one("notification_cursor", channel=self._channel)
        if found is None:
            self._reads.run("new_notification_cursor", channel=self._channel, term=self._term)
            found = self._reads.one("notification_cursor", channel=self._channel)
        if found is None:
            raise LeadershipLost
        return Place(
            told_seq=found["told_seq"],
            sending_seq=found["sending_seq"],
            standing=Standing(margin=Margin(found["margin_level"]), drawdown=Drawdown(found["drawdown_level"])),
        )

    def begin(self, place: Place, sending_seq: int) -> Place:
        """A message about what is behind the place, up to `sending_seq`, is about to be sent."""
        rows = self._reads.run(
            "begin_notification",
            channel=self._channel,
            term=self._term,
            told_seq=place.told_seq,
            begun_seq=place.sending_seq,
            sending_seq=sending_seq,
        )
        return replace(place, sending_seq=_one(rows)["sending_seq"])

    def end(self, place: Place, done_seq: int, standing: Standing) -> Place:
        """It was sent, or there was nothing to send."""
        rows = self._reads.run(
            "end_notification",
            channel=self._channel,
            told_seq=place.told_seq,
            begun_seq=place.sending_seq,
            done_seq=done_seq,
            margin_level=standing.margin,
            drawdown_level=standing.drawdown,
        )
        return Place(told_seq=_one(rows)["told_seq"], standing=standing)


def _one(rows: list[Row]) -> Row:
    if not rows:
        raise LeadershipLost
    return rows[0]
