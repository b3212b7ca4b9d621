"""What closed positions have earned, in R, by tag: the book says which they are, the engine's rows what they risked."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import String, Text, cast, column, func, select, table
from sqlalchemy.orm import Session

from book.decision_journal import entries_of
from book.journal_reading import last_seq, seq_at
from core.events import Event, PositionIncreased, PositionOpened, PositionRolled
from core.journal import read_events
from core.models import Position
from core.postgres.rows import POSITION_COLUMNS, position_from_row
from risk.what_if.positions import Tags
from risk.what_if.trades import Trade, by_tag, r_of_trades

_NOT_THE_ENGINES = "NoRisk: the engine does not know it: its stop is not told"
_OF_R = ("win_rate", "mean_r", "total_r", "best_r", "worst_r")
_NO_R = "NoRisk: of no closed position an R is known"
NO_TRADES: dict[str, Any] = {"closed": 0, "trades": 0, "reasons": dict.fromkeys(_OF_R, _NO_R), "without": {}}
_OF_A_FILL = ("entry_price", "entry_lots", "status", "lots", "quantity")
_PIECE = 1000
_A_MINUTE = timedelta(minutes=1)
_A_DAY = timedelta(days=1)
Group = tuple[str, str]


class Closed(Struct, frozen=True, kw_only=True):
    """A position of the book that was closed: where the engine has it, what it earned (net, in `currency`), and its tags."""

    position: str
    portfolio: str | None
    engine_position_id: str | None
    currency: str
    pnl: float
    closed_on: date
    tags: Tags


def trades_by_group(session: Session, closed: Sequence[Closed]) -> dict[Group, dict[str, Any]]:
    """Of all (`all`, blank) and of each type and tag: how many were `closed`, and of those whose R is known `trades`, `won`,
    `win_rate`, `mean_r`, `total_r`, `best_r` and `worst_r`; `without` says by position why the others have none.

    A roll moves entry and stop: of what was rolled they are those of its first fills, as the journal tells them.
    """
    held = _as_the_engine_has_them(session, closed)
    rolled = [each for each in closed if each.position in held and held[each.position].rollover_count]
    labels = {each.position: each.tags for each in closed}
    told = r_of_trades(held.values(), as_entered=_as_entered(session, rolled, held), tags=labels)
    without = {each.position: _NOT_THE_ENGINES for each in closed if each.position not in held}
    without |= {position: f"NoRisk: {why}" for position, why in told.without.items()}
    figures = _figures(told.trades)
    found: dict[Group, dict[str, Any]] = {}
    for group, members in _grouped(closed).items():
        own = figures.get(group)
        reasons = {} if own else NO_TRADES["reasons"]
        missing = {each.position: without[each.position] for each in members if each.position in without}
        found[group] = {"closed": len(members), "trades": 0, **(own or {}), "reasons": reasons, "without": missing}
    return found


def _figures(trades: Sequence[Trade]) -> dict[Group, dict[str, Any]]:
    found: dict[Group, dict[str, Any]] = {}
    for (kind, tag), row in by_tag(trades).iterrows():
        own = {"trades": int(row["trades"]), "won": int(row["won"]), "win_rate": float(row["won"] / row["trades"])}
        found[kind, tag] = {**own, **{name: float(row[name]) for name in _OF_R if name != "win_rate"}}
    return found


def _grouped(closed: Sequence[Closed]) -> Mapping[Group, list[Closed]]:
    found: dict[Group, list[Closed]] = defaultdict(list)
    for each in closed:
        for group in groups_of(each.tags):
            found[group].append(each)
    return found


def groups_of(tags: Tags) -> list[Group]:
    """What a position with these tags counts for."""
    return [("all", ""), *(("regular", tag) for tag in tags.regular), *(("strategy", tag) for tag in tags.strategy)]


def _as_the_engine_has_them(session: Session, closed: Sequence[Closed]) -> dict[str, Position]:
    """By the book's names. The tags are those of the book alone: its own strategy is one of them."""
    known = func.book.portfolios().table_valued("portfolio", "schema_name")
    schemas = dict(session.execute(select(known.c.portfolio, known.c.schema_name)).all())
    wanted: dict[str, dict[str, str]] = defaultdict(dict)
    for each in closed:
        if each.portfolio is not None and each.portfolio in schemas and each.engine_position_id is not None:
            wanted[each.portfolio][each.engine_position_id] = each.position
    found = {}
    for portfolio, names in wanted.items():
        rows = table("portfolio_positions", *map(column, POSITION_COLUMNS), schema=schemas[portfolio])
        ids = list(names)
        for start in range(0, len(ids), _PIECE):
            own = column("position_id", String).in_(ids[start : start + _PIECE])
            for row in session.execute(select(rows).where(own)).mappings():
                name = names[row["position_id"]]
                found[name] = replace(position_from_row(dict(row)), position_id=name, strategy_id=None)
    return found


def _as_entered(session: Session, rolled: Sequence[Closed], held: Mapping[str, Position]) -> dict[str, Position]:
    """Positions as they were before their first rolls, by the book's names, of those whose entry the journal tells."""
    lasts = {portfolio: last_seq(session, portfolio) for portfolio in {each.portfolio or "" for each in rolled}}
    found = {}
    for each in rolled:
        portfolio = each.portfolio or ""
        entered = _first(
            session, portfolio, held[each.position].entry_timestamp, each.engine_position_id or "", lasts[portfolio]
        )
        if entered is not None:
            found[each.position] = replace(entered, position_id=each.position)
    return found


def _first(session: Session, portfolio: str, entered_at: datetime, position_id: str, last: int) -> Position | None:
    """The entry's fills, which come within a day of its alert: of a long journal no more is looked at."""
    begin = seq_at(session, portfolio, entered_at - _A_MINUTE, last)
    end = seq_at(session, portfolio, entered_at + _A_DAY, last)
    entries = entries_of(portfolio, begin, end).subquery()
    events = cast(entries.c.events, Text)
    asked = select(events).where(events.contains(position_id, autoescape=True)).order_by(entries.c.seq)
    return as_entered((event for text in session.scalars(asked) for event in read_events(text)), position_id)


def as_entered(events: Iterable[Event], position_id: str) -> Position | None:
    """A position after the fills of its entry, before its first roll; None where these events do not tell of its opening."""
    found: Position | None = None
    for event in events:
        match event:
            case PositionOpened() if event.position.position_id == position_id:
                found = event.position
            case PositionIncreased() if event.position_id == position_id and found is not None:
                # Its lots, status and quantity have to fit each other.
                found = replace(found, **{name: getattr(event, name) for name in _OF_A_FILL})
            case PositionRolled() if event.position_id == position_id:
                return found
            case _:
                pass
    return found
