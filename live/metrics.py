"""What Prometheus reads at GET /metrics: counts of what was answered, and how each portfolio stands at the moment it asks."""

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from core.errors import DatabaseAway
from core.models import Status
from live.answers import Answer, AnswerKind
from live.portfolios import Portfolios
from live.ports import Engine

if TYPE_CHECKING:
    from prometheus_client import Metric

    from live.reckoning import Reckoning

PREFIX = "portfolio_manager_"
# Seconds. TradingView hangs up after 3, and no request waits longer than 2 to be decided or kept.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0)
# Their reasons are a few fixed words; a failure's is whatever went wrong.
_WITH_REASON = (Status.REJECTED, Status.BLOCKED)

_Figure = Callable[[Engine, Mapping[str, Any]], Any]


def _of(key: str) -> _Figure:
    return lambda _, status: status.get(key)


def _limit(name: str) -> _Figure:
    return lambda engine, _: getattr(engine.portfolio.settings.limits, name)


# What /status says, as numbers: name, help, where it comes from; None is left out.
FIGURES: tuple[tuple[str, str, _Figure], ...] = (
    ("term", "Rises by one whenever another instance leads.", _of("term")),
    ("open_positions", "Positions with lots left.", _of("open_positions")),
    ("closed_equity", "Capital, flows and realised P&L, in money.", _of("closed_equity")),
    ("equity_high", "The highest closed equity, in money.", _of("equity_high")),
    ("blended_equity", "Closed equity and half of the unrealised P&L, in money.", _of("blended_equity")),
    ("unrealized_pnl", "Of open positions at their marks, before costs, in money.", _of("unrealized_total")),
    ("realized_pnl", "Since the start, net of costs, in money.", _of("realized_total")),
    ("drawdown_percent", "Of closed equity from its high.", _of("drawdown_percent")),
    ("risk_percent", "Initial risk of what is open, of the sizing equity.", _of("total_risk_percent")),
    ("risk_limit_percent", "Above it no base entry.", _limit("risk_percent")),
    ("volatility_percent", "ATR risk of what is open, of the sizing equity.", _of("total_vol_percent")),
    ("volatility_limit_percent", "Above it no base entry.", _limit("volatility_percent")),
    ("margin_percent", "Margin used, of the sizing equity.", _of("margin_percent")),
    ("margin_limit_percent", "Above it no entry.", _limit("margin_percent")),
    ("open_heat", "What is lost if every stop is hit now, in money.", _of("open_heat")),
    ("proposals", "Signals that wait for a human.", _of("proposals")),
    ("halted", "1 while entries are halted.", _of("halted")),
    ("frozen_instruments", "Instruments without entries until somebody looks.", lambda _, s: len(s.get("frozen", ()))),
    ("invariants_broken", "Of the last start.", lambda _, s: len(s.get("failed_invariants", ()))),
    ("last_commit_timestamp_seconds", "When the last batch was committed.", lambda e, _: _unix(e.last_signal_at)),
)


class Metrics:
    """Counts, by any thread, and the text that Prometheus reads."""

    def __init__(self, portfolios: Portfolios, reckoning: "Callable[[], Reckoning | None]" = lambda: None) -> None:
        self._portfolios = portfolios
        self._reckoning = reckoning
        self._lock = threading.Lock()
        self._answers: Counter[tuple[str, str, str, str]] = Counter()
        self._refused: Counter[str] = Counter()
        self._seconds: dict[str, _Histogram] = {}

    def answered(self, portfolio: str, kind: str, answer: Answer, seconds: float) -> None:
        """An alert of that type was answered, so many seconds after it had arrived."""
        status = answer.outcome.get("status", "") if answer.kind is AnswerKind.DECIDED else answer.kind.value
        reason = answer.outcome.get("reason") or "" if status in _WITH_REASON else ""
        with self._lock:
            self._answers[portfolio, kind, status, reason] += 1
            if portfolio not in self._seconds:
                self._seconds[portfolio] = _Histogram()
            self._seconds[portfolio].add(seconds)

    def refused(self, code: str) -> None:
        """An alert was refused as malformed, or as nobody's who may send one."""
        with self._lock:
            self._refused[code] += 1

    def text(self) -> tuple[bytes, str]:
        """Everything, as Prometheus reads it, and what format that is."""
        # Imported where it is used: a process that nobody watches need not know it.
        from prometheus_client import (
            CONTENT_TYPE_LATEST,
            CollectorRegistry,
            ProcessCollector,
            generate_latest,
        )

        registry = CollectorRegistry()
        registry.register(self)
        ProcessCollector(registry=registry)
        return generate_latest(registry), CONTENT_TYPE_LATEST

    def collect(self) -> Iterator["Metric"]:
        """The families of metrics."""
        yield from self._counted()
        yield from self._states()
        yield from self._figures()
        yield from self._reckoned()

    def _counted(self) -> Iterator["Metric"]:
        from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

        with self._lock:
            answers, refused = Counter(self._answers), Counter(self._refused)
            seconds = {name: histogram.copy() for name, histogram in self._seconds.items()}
        labels = ("portfolio", "type", "status", "reason")
        told = CounterMetricFamily(f"{PREFIX}answers", "Alerts answered, by what became of them.", labels=labels)
        for given, count in answers.items():
            told.add_metric(given, count)
        yield told
        turned_away = CounterMetricFamily(f"{PREFIX}refused_alerts", "Alerts refused, by code.", labels=("code",))
        for code, count in refused.items():
            turned_away.add_metric((code,), count)
        yield turned_away
        took = HistogramMetricFamily(
            f"{PREFIX}answer_seconds", "From an alert's arrival until it was answered, durably.", labels=("portfolio",)
        )
        for name, histogram in seconds.items():
            took.add_metric((name,), buckets=histogram.cumulative(), sum_value=histogram.sum)
        yield took

    def _states(self) -> Iterator["Metric"]:
        """What can be told of every portfolio, whatever it waits for."""
        ready = self._gauge("ready", "1 while alerts can be kept.")
        role = self._gauge("role", "1 for the role that this instance has.", "role")
        backlog = self._gauge("backlog", "Inputs that wait to be decided.")
        kept = self._gauge("spool_kept", "Of them on the local disk, as the database was away.")
        aside = self._gauge("spool_set_aside", "Signals that never could be decided: somebody has to look.")
        lag = self._gauge("book_lag_entries", "Entries of the journal that the book does not tell of yet.")
        usable = self._gauge("spool_usable", "1 while the local disk could take a signal.")
        for served in self._portfolios:
            engine = served.engine
            name, waiting = engine.portfolio_name, engine.backlog()
            ready.add_metric((name,), engine.ready)
            for each in ("leader", "follower", "starting"):
                role.add_metric((name, each), engine.role == each)
            backlog.add_metric((name,), waiting["backlog"])
            book_lag = served.book_lag()
            if book_lag is not None:
                lag.add_metric((name,), book_lag)
            spool = waiting["spool"]
            if spool is not None:
                kept.add_metric((name,), spool["kept"])
                aside.add_metric((name,), spool["set_aside"])
                usable.add_metric((name,), spool["usable"])
        yield from (ready, role, backlog, kept, aside, usable, lag)

    def _figures(self) -> Iterable["Metric"]:
        """What is known once the state is loaded."""
        families = {name: self._gauge(name, text) for name, text, _ in FIGURES}
        orders = self._gauge("orders", "Orders of which more may come, by state.", "state")
        for served in self._portfolios:
            engine = served.engine
            try:
                status = engine.status()
            except DatabaseAway:
                continue
            for name, _, figure in FIGURES:
                value = _number(figure(engine, status))
                if value is not None:
                    families[name].add_metric((engine.portfolio_name,), value)
            for state, count in status.get("orders", {}).items():
                orders.add_metric((engine.portfolio_name, state), count)
        return [*families.values(), orders]

    def _reckoned(self) -> Iterable["Metric"]:
        """Of the whole database, where this instance has its days reckoned."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        days = GaugeMetricFamily(f"{PREFIX}risk_last_day_timestamp_seconds", "The newest day whose risk is reckoned.")
        failures = CounterMetricFamily(f"{PREFIX}risk_failures", "Tries to reckon a day that failed.")
        told = self._reckoning()
        if told is not None:
            failures.add_metric((), told.failures)
            if told.last_day is not None:
                days.add_metric((), datetime.combine(told.last_day, time(0), UTC).timestamp())
        return days, failures

    @staticmethod
    def _gauge(name: str, text: str, *labels: str) -> Any:
        from prometheus_client.core import GaugeMetricFamily

        return GaugeMetricFamily(f"{PREFIX}{name}", text, labels=("portfolio", *labels))


class _Histogram:
    def __init__(self, counts: Iterable[int] = (0,) * (len(BUCKETS) + 1), total: float = 0.0) -> None:
        self._counts = list(counts)
        self.sum = total

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(BUCKETS, seconds)] += 1
        self.sum += seconds

    def copy(self) -> "_Histogram":
        return _Histogram(self._counts, self.sum)

    def cumulative(self) -> list[tuple[str, float]]:
        below, told = 0, []
        for bound, count in zip((*BUCKETS, float("inf")), self._counts, strict=True):
            below += count
            told.append(("+Inf" if bound == float("inf") else str(bound), float(below)))
        return told


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, bool | int | float | Decimal) else None


def _unix(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
