"""A portfolio as its page shows it: read from the engine as the JSON views read it, once for all who look."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any, TypeVar

import structlog
from msgspec import Struct

from core.errors import DatabaseAway, PortfolioError
from core.models import Position, Status
from core.portfolio import Portfolio
from core.postgres.patience import within
from live.dashboard.asked import asked_by_fingerprint, waiting_rows
from live.dashboard.board import Row, Sections
from live.dashboard.health import Moment, remarks_on, title
from live.dashboard.rows import instance_row, instrument_row, order_row, position_row, signal_row
from live.dashboard.words import NOTHING, count, moment, money, percent, price, text
from live.portfolios import Served
from live.ports import Engine

log = structlog.get_logger(__name__)

FEED = 60
ORDERS = 60
INSTANCES = 12
# More than anybody looks through; GET /positions lists all.
MOST_POSITIONS = 2000
# What a page waits for at most, and how long it asks nothing where that was in vain.
READ_SECONDS = 1.0
AWAY_SECONDS = 3.0
FEED_SECONDS = 0.5
SYSTEM_SECONDS = 3.0
# Who leads beats once a second, twice where there are many portfolios.
LATE_SECONDS = 8.0

_Result = TypeVar("_Result")


class System(Struct, frozen=True, kw_only=True):
    """What the database tells of itself and of who serves the portfolio."""

    database: Mapping[str, Any] = {}
    instances: Sequence[Mapping[str, Any]] = ()
    terms: Sequence[Mapping[str, Any]] = ()
    lease: Mapping[str, Any] = {}


class Lists(Struct, frozen=True, kw_only=True):
    """The newest signals and orders, and what became of signals that were proposed."""

    signals: Sequence[Mapping[str, Any]] = ()
    asked: Mapping[str, str] = {}
    orders: Sequence[Mapping[str, Any]] = ()


class View:
    """One portfolio's. Only one thread at a time asks it (live/dashboard/board.py)."""

    def __init__(self, served: Served, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._served = served
        self._clock = clock
        self._system = System()
        self._lists = Lists()
        self._due: dict[str, float] = {}
        self._away: str | None = None
        self._rows: dict[str, tuple[Position, Row]] = {}

    def sections(self) -> Sections:
        """All that the page shows, now."""
        engine = self._served.engine
        self._read(engine)
        status, portfolio = _loaded(engine)
        seen = self._moment(engine, status, portfolio)
        remarks = remarks_on(seen)
        level, first = title(remarks)
        return {
            "facts": {
                "title": {"text": first, "tone": level.value},
                **_figures(status),
                **self._system_facts(engine, seen, status),
            },
            "remarks": {f"{n:03}": {"text": r.text, "tone": r.level.value} for n, r in enumerate(remarks)},
            "waiting": {} if portfolio is None else waiting_rows(portfolio),
            "gauges": {} if status is None or portfolio is None else _gauges(status, portfolio),
            "positions": {} if portfolio is None else self._position_rows(portfolio),
            "instruments": {} if portfolio is None else _instrument_rows(portfolio),
            "signals": {
                f"{row['id']:015}": signal_row(row, self._lists.asked.get(row["fingerprint"]))
                for row in self._lists.signals
            },
            "orders": {
                f"{row['journal_seq']:012}-{row['client_order_id']}": order_row(row) for row in self._lists.orders
            },
            "instances": self._instance_rows(status),
            "terms": {f"{row['term']:012}": _term_row(row) for row in self._system.terms},
        }

    # --- what has to be asked of the database

    def _read(self, engine: Engine) -> None:
        with within(READ_SECONDS):
            lists = self._asked("lists", FEED_SECONDS, lambda: _read_lists(engine))
            system = self._asked("system", SYSTEM_SECONDS, lambda: _read_system(engine))
        self._lists = lists or self._lists
        self._system = system or self._system

    def _asked(self, name: str, seconds: float, read: Callable[[], _Result]) -> _Result | None:
        """What was read; None where it is not due, or the database is away."""
        if self._clock() < self._due.get(name, 0.0):
            return None
        try:
            found = read()
        except PortfolioError as error:
            self._away = str(error)
            # Nobody waits for the other one in vain.
            self._due = dict.fromkeys(("lists", "system"), self._clock() + AWAY_SECONDS)
            return None
        self._due[name] = self._clock() + seconds
        self._away = None
        return found

    # --- what it comes to

    def _moment(self, engine: Engine, status: Mapping[str, Any] | None, portfolio: Portfolio | None) -> Moment:
        backlog = engine.backlog()
        return Moment(
            role=engine.role,
            ready=engine.ready,
            backlog=backlog["backlog"],
            spool=backlog["spool"],
            status=status,
            portfolio=portfolio,
            away=self._away,
            led_by=self._led_by(),
            redis_is_away=self._served.lease_in_redis and not self._system.lease.get("elsewhere", True),
        )

    def _led_by(self) -> str | None:
        """Who leads and is alive, as far as heartbeats tell: by the database's clock, beside the latest of all."""
        instances = self._system.instances
        latest = max((row["last_heartbeat"] for row in instances), default=None)
        for row in instances:
            if row["is_leader"] and (latest - row["last_heartbeat"]).total_seconds() < LATE_SECONDS:
                return f"{row['hostname']}:{row['port']}"
        return None

    def _position_rows(self, portfolio: Portfolio) -> dict[str, Row]:
        before, self._rows = self._rows, {}
        rows: dict[str, Row] = {}
        for instrument in sorted(portfolio.by_instrument):
            if len(rows) >= MOST_POSITIONS:
                break
            for position in portfolio.positions_of(instrument):
                known = before.get(position.position_id)
                row = known[1] if known and known[0] is position else position_row(portfolio, position)
                self._rows[position.position_id] = (position, row)
                rows[f"{instrument} {position.layer} {position.position_id}"] = row
        return rows

    def _system_facts(self, engine: Engine, seen: Moment, status: Mapping[str, Any] | None) -> dict[str, Row]:
        database, spool = self._system.database, seen.spool
        by = seen.led_by or "nobody that is known"
        return {
            "role": _fact("this instance leads" if seen.role == "leader" else f"{seen.role}; led by {by}"),
            "halted": _fact(
                "entries are blocked" if (status or {}).get("halted") else "entries are taken",
                "act" if (status or {}).get("halted") else "",
            ),
            "term": _fact(text((status or {}).get("term"))),
            "pid": _fact(text((status or {}).get("pid"))),
            "ready": _fact("alerts are kept" if seen.ready else "no alert can be kept", "" if seen.ready else "act"),
            "database": _database_fact(seen, database),
            "migration": _fact(text(database.get("migration_version"))),
            "pool": _fact(_pool_words(database)),
            "committed": _fact(moment(engine.last_signal_at or database.get("last_commit"))),
            "redis": _redis_fact(self._served, seen),
            "backlog": _fact(count(seen.backlog, "input")),
            "spool": _fact(*_spool_words(spool)),
            "fills": _fact("from the broker" if (status or {}).get("fills") == "broker" else "on paper"),
            "more": _fact(_more_words(status)),
        }

    def _instance_rows(self, status: Mapping[str, Any] | None) -> dict[str, Row]:
        ours = (status or {}).get("instance_id")
        return {f"{n:03}": instance_row(row, ours) for n, row in enumerate(self._system.instances)}


def _loaded(engine: Engine) -> tuple[dict[str, Any] | None, Portfolio | None]:
    """The figures and the state, as soon as they are known; of a follower the state also while the database is away."""
    status, portfolio = None, None
    with suppress(DatabaseAway):
        portfolio = engine.portfolio
        with within(READ_SECONDS):
            status = engine.status()
    return status, portfolio


def glance(served: Served) -> tuple[str, str]:
    """How a portfolio is, from what is in memory: how much of a hurry there is, and why."""
    engine = served.engine
    status, portfolio = _loaded(engine)
    backlog = engine.backlog()
    seen = Moment(
        role=engine.role,
        ready=engine.ready,
        backlog=backlog["backlog"],
        spool=backlog["spool"],
        status=status,
        portfolio=portfolio,
        away=None,
        led_by="another instance",
    )
    level, words = title(remarks_on(seen))
    return level.value, words


def _read_lists(engine: Engine) -> Lists:
    signals = engine.lists.signals(statuses=None, instrument=None, limit=FEED, before=None)
    # What was accepted is proposed too, where the market was too far away for its order to be sent.
    proposed = any(row["processing_status"] in (Status.PROPOSED, Status.ACCEPTED) for row in signals)
    proposals = engine.lists.proposals(states=None, instrument=None, limit=2 * FEED, before=None) if proposed else ()
    return Lists(
        signals=signals,
        asked=asked_by_fingerprint(proposals),
        orders=engine.lists.orders(states=None, instrument=None, limit=ORDERS, before=None),
    )


def _read_system(engine: Engine) -> System:
    reads = engine.reads
    return System(
        database=engine.database_status(),
        instances=reads.instances(limit=INSTANCES),
        terms=reads.terms(limit=INSTANCES),
        lease=reads.one("lease_state") or {},
    )


# --- facts


def _fact(words: str, tone: str = "") -> Row:
    return {"text": words, "tone": tone}


def _figures(status: Mapping[str, Any] | None) -> dict[str, Row]:
    given = status or {}
    signed = ("unrealized_total", "realized_total")
    plain = ("closed_equity", "open_equity", "blended_equity", "equity_high", "open_heat")
    facts = {name: _fact(money(given.get(name))) for name in plain}
    for name in signed:
        value = given.get(name)
        facts[name] = _fact(money(value, signed=True), "" if not value else "gain" if value > 0 else "loss")
    facts["drawdown_percent"] = _fact(percent(given.get("drawdown_percent")))
    held = given.get("open_positions")
    facts["open_positions"] = _fact(NOTHING if held is None else f"{held:,}")
    statistics = given.get("statistics")
    closed, won = (0, 0) if statistics is None else (statistics.trades_closed, statistics.trades_won)
    facts["trades"] = _fact(f"{count(closed, 'trade')} closed" + (f", {won * 100 // closed} % won" if closed else ""))
    return facts


def _database_fact(seen: Moment, database: Mapping[str, Any]) -> Row:
    if seen.away is not None:
        return _fact("away", "act")
    if not database:
        return _fact("not asked yet")
    standbys = count(len(database.get("replication") or ()), "standby", "standbys")
    took = f"answers in {max(1, round(database.get('latency_ms') or 0))} ms"
    return _fact(f"PostgreSQL {database.get('server_version')}, {took}, {standbys}")


def _pool_words(database: Mapping[str, Any]) -> str:
    pool = database.get("pool")
    return NOTHING if pool is None else f"{pool['in_use']} of {pool['size']} connections in use"


def _redis_fact(served: Served, seen: Moment) -> Row:
    if not served.lease_in_redis:
        return _fact("not used")
    return _fact("does not answer", "look") if seen.redis_is_away else _fact("holds the lease")


def _spool_words(spool: Mapping[str, Any] | None) -> tuple[str, str]:
    if spool is None:
        return "none", ""
    words = f"{count(spool['kept'], 'signal')} kept"
    if spool["set_aside"]:
        words += f", {spool['set_aside']} set aside"
    return (words, "look" if spool["kept"] or spool["set_aside"] else "") if spool["usable"] else ("unusable", "act")


def _more_words(status: Mapping[str, Any] | None) -> str:
    more = ((status or {}).get("open_positions") or 0) - MOST_POSITIONS
    return "" if more <= 0 else f"{count(more, 'position')} more are open: GET /positions lists them all"


# --- gauges


def _gauges(status: Mapping[str, Any], portfolio: Portfolio) -> dict[str, Row]:
    limits, levels = portfolio.settings.limits, portfolio.settings.drawdown
    return {
        "1-risk": _gauge(
            "Risk", status.get("total_risk_percent"), limits.risk_percent, limits.pyramid_risk_percent, "pyramids stop"
        ),
        "2-volatility": _gauge(
            "Volatility",
            status.get("total_vol_percent"),
            limits.volatility_percent,
            limits.pyramid_volatility_percent,
            "pyramids stop",
        ),
        "3-margin": _gauge(
            "Margin", status.get("margin_percent"), limits.margin_percent, limits.margin_warning_percent, "warning"
        ),
        "4-drawdown": _gauge(
            "Drawdown",
            status.get("drawdown_percent"),
            levels.block_above_percent,
            levels.reduce_from_percent,
            "sizes shrink",
        ),
    }


def _gauge(name: str, value: Decimal | None, limit: Decimal, level: Decimal, meaning: str) -> Row:
    """`fill` and `level` are in per cent of the limit: what the bar shows."""
    reached = "unknown" if value is None else "at its limit" if value >= limit else f"{meaning} from {price(level)} %"
    tone = "act" if value is None or value >= limit else "look" if value >= level else ""
    return {
        "name": name,
        "value": percent(value),
        "limit": f"{price(limit)} %",
        "note": reached if tone != "look" else f"above {price(level)} %: {meaning}",
        "fill": _share(value, limit),
        "level": _share(level, limit),
        "tone": tone,
    }


def _share(value: Decimal | None, limit: Decimal) -> str:
    if value is None or limit <= 0:
        return "100"
    return f"{max(Decimal(0), min(Decimal(100), value * 100 / limit)):.1f}"


def _instrument_rows(portfolio: Portfolio) -> dict[str, Row]:
    frozen = {row.instrument for row in portfolio.pyramiding.values() if row.frozen_reason}
    return {name: instrument_row(portfolio, name) for name in sorted({*portfolio.by_instrument, *frozen})}


def _term_row(row: Mapping[str, Any]) -> Row:
    where = f"{row['hostname']}:{row['port']}" if row.get("hostname") else row["instance_id"]
    return {"term": str(row["term"]), "from": moment(row["acquired_at"]), "where": where}
