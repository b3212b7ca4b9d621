"""`replay --sizing rules` against an independent model: every answer, every trade, equity, what stays open."""

import csv
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import cache
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import psycopg2.extensions
import pytest

from core.db_state_manager import DatabaseStateManager
from core.postgres.embedded import EmbeddedServer
from core.postgres.scratch import scratch_portfolio
from live.replay.files import Files, read_files
from live.replay.model import BadFile
from live.replay.run import replay
from live.replay.settings import Overrides, replay_settings
from tests.builders import settings_with
from tests.folders import passable_folder
from tests.live_process import ROOT
from tests.queries import rows
from tests.trading_model import Book, alert_of, indicators, points

PORTFOLIO = ("portfolio_risk", "portfolio_volatility")
KOLKATA = ZoneInfo("Asia/Kolkata")
FIRST = datetime(2026, 1, 5, 3, 45, tzinfo=UTC)
HOUR = timedelta(hours=1)
PRICES = {"BANK_NIFTY": 52000.0, "GOLD_MINI": 72000.0, "SILVER_MINI": 91000.0, "COPPER": 830.0}
DECIMALS = {"BANK_NIFTY": 2, "GOLD_MINI": 0, "SILVER_MINI": 3, "COPPER": 10}


# --- markets and what a chart fires on them


class Chart:
    """One instrument's hourly bars, trending and jumping, and the alerts that a strategy fires, sensible and not."""

    def __init__(self, random: Random, instrument: str, *, luck: float) -> None:
        self.random, self.instrument, self._luck = random, instrument, luck
        self._price = PRICES[instrument]
        self._range = 0.006
        self._trend, self._age, self._layer, self._side = 1, 0, 1, 1

    def alerts(self, bars: int) -> Iterator[dict[str, Any]]:
        """The alerts of so many bars; one of a bar comes within the bar's first seconds after its end."""
        for bar in range(bars):
            opened = FIRST + bar * HOUR
            self._walk()
            for alert in self._of_bar(opened):
                fired = opened + HOUR + timedelta(seconds=self.random.randint(0, 9))
                yield {**self._times(alert, opened, fired), **alert}
                if self.random.random() < 0.03:
                    again = {**alert, "price": alert["price"] * 1.001}
                    yield {**self._times(alert, opened, fired + timedelta(seconds=5), naive=False), **again}

    def closes(self, bars: int) -> Iterator[Fraction]:
        """The closes of so many bars, the trend turning now and then."""
        for _ in range(bars):
            self._walk()
            if self.random.random() < 0.03:
                self._trend = -self._trend
            yield Fraction(str(self._written(self._price)))

    def _walk(self) -> None:
        random, self._age = self.random, self._age + 1
        self._range = min(0.02, max(0.002, self._range * random.choice((0.9, 0.97, 1.0, 1.0, 1.04, 1.1))))
        jump = self._trend * random.choice((-5, -7, 4)) if random.random() < 0.02 else 0
        drift = self._luck * self._trend
        self._price *= 1 + self._range * (drift + random.gauss(0, 0.5) + jump)

    def _of_bar(self, opened: datetime) -> Iterator[dict[str, Any]]:
        random = self.random
        if self._age > 5 and random.random() < 0.035:
            yield from self._end_of_trend()
        if random.random() < 0.93:
            yield self._alert("MARKET_DATA")
        if self._age in (2, 3) and self._layer == 1:
            self._side = self._trend
            self._layer = 2
            yield self._entry("BASE_ENTRY", 1)
        if self._age > 3 and random.random() < 0.22:
            number = self._layer if random.random() < 0.85 else random.randint(2, 6)
            self._layer = min(6, self._layer + (random.random() < 0.7))
            yield self._entry("PYRAMID", number)
        if random.random() < 0.03:
            yield self._entry("BASE_ENTRY", 1)
        if random.random() < 0.04:
            # By its plain timestamp within the bar, and so later in order than what was entered on it, fired before.
            early = {"timestamp": (opened + timedelta(minutes=30)).isoformat(), "bar_time": None}
            yield {**self._exit("ALL" if random.random() < 0.3 else f"{self._name(self._side)}_{self._layer}"), **early}
        if random.random() < 0.02:
            yield self._exit(f"{random.choice(('Long', 'Short'))}_{random.randint(1, 4)}")

    def _end_of_trend(self) -> Iterator[dict[str, Any]]:
        how = self.random.random()
        if how < 0.4:
            yield self._exit("ALL")
        elif how < 0.7:
            yield self._exit(f"{self._name(self._side)}_1")
        self._trend, self._age, self._layer = -self._trend, 0, 1

    def _entry(self, kind: str, number: int) -> dict[str, Any]:
        random = self.random
        side = -self._side if random.random() < 0.06 else self._side
        distance = self._range * self._price * random.choice((1, 1.5, 1.5, 2, 3, -1 if random.random() < 0.3 else 1))
        stop = self._written(self._price - side * distance)
        er = random.choice((0.05, 0.3, 0.6, 0.82, 0.9, 1))
        return self._alert(kind, position=f"{self._name(side)}_{number}", stop=stop, er=er, lots=random.randint(1, 9))

    def _exit(self, position: str) -> dict[str, Any]:
        reason = self.random.choice((None, "SuperTrend", "TRAILING_STOP"))
        return self._alert("EXIT", position=position, stop=0, lots=self.random.randint(0, 3), reason=reason)

    def _alert(self, kind: str, **fields: Any) -> dict[str, Any]:
        atr = self._written(self._price * self._range)
        return {"type": kind, "instrument": self.instrument, "price": self._written(self._price), "atr": atr, **fields}

    def _written(self, price: float) -> float:
        return round(price, DECIMALS[self.instrument])

    def _name(self, side: int) -> str:
        return "Long" if side > 0 else "Short"

    def _times(self, alert: dict[str, Any], opened: datetime, fired: datetime, *, naive: bool = True) -> dict[str, str]:
        """Mostly both times. A plain timestamp orders an EXIT by the second it fired, within the bar after its own."""
        how = self.random.random()
        if alert["type"] == "EXIT" and how < 0.15:
            return {"timestamp": (opened + timedelta(minutes=self.random.randint(1, 59))).isoformat()}
        if how < 0.05:
            return {"bar_time": opened.isoformat()}
        if how < 0.1 and naive:
            return {
                "bar_time": opened.isoformat(),
                "timestamp": fired.astimezone(KOLKATA).replace(tzinfo=None).isoformat(),
            }
        return {"bar_time": opened.isoformat().replace("+00:00", "Z"), "timestamp": fired.isoformat()}


def written(random: Random, alert: dict[str, Any]) -> str:
    """An alert as a line; numbers now and then as strings, the type in lower case."""
    if random.random() < 0.2:
        texts = {name: str(value) for name, value in alert.items() if isinstance(value, float | int)}
        alert = {**alert, **texts, "type": alert["type"].lower()}
    return json.dumps(alert)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A portfolio's settings and the markets that it meets; `changes` are of every instrument."""

    seed: int
    capital: int = 5_000_000
    bars: int = 260
    luck: float = 0.3
    equity: str = "blended"
    slippage: str = "0"
    percent: str = "0"
    per_lot: str = "0"
    changes: dict[str, str] = field(default_factory=dict, hash=False)
    limits: dict[str, int] = field(default_factory=dict, hash=False)

    def lines(self) -> list[str]:
        """The alerts as a file holds them: in no particular order."""
        random = Random(self.seed)
        charts = [Chart(random, name, luck=self.luck) for name in PRICES]
        lines = [written(random, alert) for chart in charts for alert in chart.alerts(self.bars)]
        random.shuffle(lines)
        return lines

    def book(self) -> Book:
        """The model's empty portfolio."""
        changes = {name: dict(self.changes) for name in PRICES}
        return Book(
            self.capital,
            changes,
            equity=self.equity,
            slippage=self.slippage,
            percent=self.percent,
            per_lot=self.per_lot,
            limits=self.limits,
        )

    def settings(self) -> Any:
        """The engine's settings."""
        costs = {"percent_of_turnover": self.percent, "per_lot": self.per_lot}
        configured = settings_with(
            limits=self.limits,
            sizing={"equity": self.equity},
            paper={"slippage_percent": self.slippage, "costs": costs},
            instruments={name: dict(self.changes) for name in PRICES},
        )
        return replay_settings(configured, Overrides(as_listed=False, instrument="BANK_NIFTY"))


BOLD = {
    "initial_risk_percent": "4",
    "ongoing_risk_percent": "5",
    "initial_volatility_percent": "2",
    "ongoing_volatility_percent": "2.5",
}
TIGHT = {**BOLD, "initial_risk_percent": "9", "ongoing_risk_percent": "12", "initial_volatility_percent": "3"}
LOOSE = {
    "initial_risk_percent": "10",
    "ongoing_risk_percent": "12",
    "initial_volatility_percent": "8",
    "ongoing_volatility_percent": "9",
    "margin_per_lot": "9000",
}
WIDE = {"volatility_percent": 60, "pyramid_volatility_percent": 60}
CASES = (
    Case(seed=1),
    Case(seed=2, capital=100_000_000, slippage="0.02", percent="0.03", per_lot="20"),
    Case(seed=3, capital=60_000_000, percent="0.0173", per_lot="12.3456", slippage="0.0131", luck=0.35),
    Case(seed=4, capital=20_000_000, equity="closed", changes=BOLD, luck=0.1, slippage="0.05"),
    Case(seed=5, capital=50_000_000, equity="open", changes=TIGHT, luck=0.25, percent="0.01"),
    Case(seed=6, capital=50_000_000, equity="high_water", changes=BOLD, luck=0.2),
    Case(seed=7, capital=30_000_000, changes={**TIGHT, "margin_per_lot": "1500000"}, luck=0.4),
    Case(seed=8, capital=40_000_000, changes=TIGHT, luck=-0.05, slippage="0.1", percent="0.05"),
    Case(seed=9, capital=400_000_000, changes={"ongoing_volatility_percent": "0.25"}, per_lot="33.3333"),
    Case(seed=12, capital=60_000_000, luck=0.25, changes=LOOSE),
    Case(seed=13, capital=60_000_000, luck=0.1, changes=LOOSE, slippage="0.0131"),
    Case(seed=14, capital=60_000_000, luck=0.1, percent="0.05"),
    Case(seed=19, capital=60_000_000, luck=0.1, changes=LOOSE, limits=WIDE),
    Case(seed=12, equity="open", capital=60_000_000, luck=0.1, changes=LOOSE, limits=WIDE),
    Case(seed=21, capital=3_000_000, luck=0.35, per_lot="20", changes={"ongoing_volatility_percent": "0.5"}),
)


HAPPENS = (
    *(f"{kind} {side}" for kind in ("BASE_ENTRY", "PYRAMID") for side in ("Long", "Short")),
    *(f"BASE_ENTRY limited by {limiter}" for limiter in ("risk", "volatility", "margin", *PORTFOLIO)),
    *(f"BASE_ENTRY blocked: {limiter}" for limiter in ("risk", "volatility", "margin", "drawdown", *PORTFOLIO)),
    *(f"BASE_ENTRY rejected: {why}" for why in ("base position already open", "pyramids still open", "invalid_risk")),
    *(f"PYRAMID limited by {limiter}" for limiter in ("margin", "discipline", "profit", *PORTFOLIO)),
    *(f"PYRAMID blocked: {limiter}" for limiter in ("margin", "discipline", "profit", "drawdown", *PORTFOLIO)),
    *(f"PYRAMID blocked: {gate}" for gate in ("one_r", "atr_spacing", "max_pyramids")),
    *(f"PYRAMID rejected: {why}" for why in ("no base position", "side", "layer already open", "invalid_risk")),
    *(f"PYRAMID at drawdown factor {factor}" for factor in ("1", "3/4", "1/2")),
    *("EXIT executed", "EXIT rejected: no open position", "EXIT rejected: exit predates position"),
    *("sold: STOP", "sold: PEEL_OFF", "sold: PEEL_OFF in part", "sold: EXIT", "sold: SuperTrend"),
    *("duplicate", "bar of pyramids without their base"),
)


@cache
def modelled(case: Case) -> Book:
    return case.book().take([alert_of(line) for line in case.lines()])


def test_the_cases_meet_every_rule_at_least_once():
    happened = sum((modelled(case).happened for case in CASES), Counter())
    assert {kind: happened[kind] for kind in HAPPENS if happened[kind] == 0} == {}


# --- what the engine makes of the same


def engine(dsn: str, case: Case, files: Files) -> SimpleNamespace:
    """What stands in the tables after a replay of `files`, and its result."""
    settings = case.settings()
    inputs = read_files(files, settings)
    with scratch_portfolio(dsn, None) as name, DatabaseStateManager(dsn, portfolio=name) as manager:
        done = replay(manager, settings, Decimal(case.capital), inputs.recorded, portfolio="main", marks=inputs.marks)
        return SimpleNamespace(result=done.result, **stored(in_schema(dsn, name)))


def in_schema(dsn: str, schema: str) -> str:
    return psycopg2.extensions.make_dsn(dsn, options=f"-c search_path={schema}")


def stored(dsn: str) -> dict[str, Any]:
    """Answers, open positions and equity of the first schema of the search path."""
    answers = "SELECT fingerprint, processing_status, outcome ->> 'reason' FROM signal_log"
    positions = f"SELECT {', '.join(OPEN)} FROM portfolio_positions WHERE lots > 0"
    ((closed, high),) = rows(dsn, "SELECT closed_equity, equity_high FROM portfolio_state")
    return {
        "answers": {identity: (status, reason) for identity, status, reason in rows(dsn, answers)},
        "open": sorted(rows(dsn, positions)),
        "equity": (closed, high),
    }


OPEN = (
    *("instrument", "layer", "lots", "entry_lots", "entry_price", "initial_stop", "current_stop", "highest_close"),
    *("atr", "mark_price", "mark_time", "entry_costs", "limiter", "is_base_position"),
)


def left_open(book: Book) -> list[tuple[Any, ...]]:
    """The model's open positions in the order and the columns of OPEN."""
    names = (
        *("instrument", "layer", "lots", "entry_lots", "entry", "initial_stop", "stop", "best"),
        *("atr", "mark", "mark_time", "entry_costs", "limiter", "base"),
    )
    return sorted(tuple(position[name] for name in names) for position in book.open)


def trades_of(book: Book) -> list[tuple[Any, ...]]:
    """The model's trades as the engine tells its own, each exit's rounded money to the last digit."""
    names = ("instrument", "layer", "sold", "time", "entry", "exit_time", "exit", "net", "why")
    return [tuple(trade[name] for name in names) for trade in book.trades]


def trades_told(result: Any) -> list[tuple[Any, ...]]:
    """The engine's trades in the columns of `trades_of`."""
    names = ("instrument", "layer", "lots", "entry_time", "entry_price", "exit_time", "exit_price", "net_pnl", "reason")
    return [tuple(getattr(trade, name) for name in names) for trade in result.trades]


def require_same(book: Book, told: Any) -> None:
    wrong = {
        identity: (book.answers.get(identity), told.answers.get(identity))
        for identity in book.answers.keys() | told.answers.keys()
        if book.answers.get(identity) != told.answers.get(identity)
    }
    assert wrong == {}
    assert told.open == left_open(book)
    assert told.equity == (book.closed, book.high)
    if told.result is not None:
        assert trades_told(told.result) == trades_of(book)
        assert told.result.outcomes == outcomes_of(book)


def outcomes_of(book: Book) -> dict[str, int]:
    statuses = Counter(status for status, _ in book.answers.values())
    statuses["duplicate"] = book.happened["duplicate"]
    return {status: count for status, count in statuses.items() if count}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.seed} {case.equity}")
def test_alerts_by_rules_come_to_what_the_model_says(case, empty_dsn, tmp_path):
    file = tmp_path / "alerts.jsonl"
    file.write_text("\n".join(case.lines()))
    files = Files(paths=[("BANK_NIFTY", file)], bars={}, timezone=KOLKATA)
    require_same(modelled(case), engine(empty_dsn, case, files))


# --- the same from the command line


@pytest.fixture
def folder() -> Iterator[Path]:
    """For an embedded server: another user than root has to get there."""
    with passable_folder("rules") as made:
        yield made


def commanded(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, str(ROOT / "portfolio_manager.py"), "replay", "--data-dir", str(folder / "data"))
    options = ("--sizing", "rules", "--json")
    return subprocess.run(
        (*command, *options, *arguments), capture_output=True, text=True, timeout=120, check=False, cwd=folder
    )


def require_said(book: Book, said: dict[str, Any]) -> None:
    """That `--json` says what the model does."""
    trades = [
        (
            *(trade["instrument"], trade["layer"], trade["lots"]),
            *times_and_numbers(trade, "entry"),
            *times_and_numbers(trade, "exit"),
            Fraction(trade["net_pnl"]),
        )
        for trade in said["trades"]
    ]
    assert trades == [trade[:-1] for trade in trades_of(book)]
    still_open = sorted((p["instrument"], p["layer"], p["lots"], *times_and_numbers(p, "entry")) for p in said["open"])
    assert still_open == sorted((p["instrument"], p["layer"], p["lots"], p["time"], p["entry"]) for p in book.open)
    assert Fraction(said["final_equity"]) == book.closed
    assert said["outcomes"] == outcomes_of(book)


def times_and_numbers(trade: dict[str, Any], what: str) -> tuple[datetime, Fraction]:
    return datetime.fromisoformat(trade[f"{what}_time"]), Fraction(trade[f"{what}_price"])


def test_the_command_says_of_alerts_by_rules_what_the_model_says(folder):
    case = Case(seed=21, capital=100_000_000, slippage="0.02", percent="0.03", luck=0.35, bars=120)
    (folder / "alerts.jsonl").write_text("\n".join(case.lines()))
    money_options = ("--capital", "100000000", "--slippage", "0.02", "--commission-percent", "0.03")
    done = commanded(folder, "alerts.jsonl", *money_options, "--keep", "kept")
    assert done.returncode == 0, done.stderr
    book = modelled(case)
    assert len(book.trades) > 10
    require_said(book, json.loads(done.stdout))
    with EmbeddedServer(folder / "data") as server:
        require_same(book, SimpleNamespace(result=None, **stored(in_schema(server.dsn, "kept"))))


# --- a list of trades, sized and stopped by bars


class Listed:
    """A chart's bars as a CSV, and a list of trades made on them with hindsight, both sides, some sold in two parts."""

    def __init__(self, seed: int, bars: int = 400) -> None:
        self._random = Random(seed)
        chart = Chart(self._random, "BANK_NIFTY", luck=0.4)
        closes = list(chart.closes(bars))
        self.bars = [self._bar(at, closes[max(0, at - 1)], close) for at, close in enumerate(closes)]
        self.rows: list[list[Any]] = []
        self.alerts: list[SimpleNamespace] = []
        self._indicators = indicators(self.bars)
        at = 30
        while at < bars - 40:
            at = self._trade(at) + self._random.randint(1, 8)
        self.alerts += [
            self._alert("MARKET_DATA", "", at) for at, (atr, _) in enumerate(self._indicators) if atr is not None
        ]

    def _bar(self, at: int, first: Fraction, last: Fraction) -> tuple[Any, ...]:
        over, under = (Fraction(self._random.randint(0, 9000), 100) for _ in range(2))
        return (FIRST + at * HOUR, first, max(first, last) + over, min(first, last) - under, last)

    def _trade(self, at: int) -> int:
        """One base and up to three pyramids; first in, first out. The bar of the last exit."""
        random = self._random
        side = 1 if self.bars[at + 20][4] > self.bars[at][4] else -1
        side = -side if random.random() < 0.2 else side
        entered = [at, *sorted(random.sample(range(at + 2, at + 18), random.randint(0, 3)))]
        left = at + 18
        for number, bar in enumerate(entered, 1):
            parts = [2, 3] if random.random() < 0.4 else [5]
            layer = f"{'Long' if side > 0 else 'Short'}_{number}"
            self.alerts.append(self._alert("BASE_ENTRY" if number == 1 else "PYRAMID", layer, bar, side=side))
            for lots in parts:
                left += random.choice((0, 0, 1, 3))
                self._part(side, number, bar, left, lots, layer)
        return left

    def _part(self, side: int, number: int, entered: int, left: int, lots: int, layer: str) -> None:
        count = len(self.rows) // 2 + 1
        name = "long" if side > 0 else "short"
        label = f"{'ENTRY' if number == 1 else f'PYR{number - 1}'}-5{'L' if side > 0 else 'S'}"
        self.rows.append(self._row(count, f"Exit {name}", left, "EXIT - Basso Stop", lots))
        self.rows.append(self._row(count, f"Entry {name}", entered, label, lots))
        self.alerts.append(self._alert("EXIT", layer, left, number=count, reason="EXIT - Basso Stop"))

    def _row(self, count: int, kind: str, at: int, signal: str, lots: int) -> list[Any]:
        time, *_, close = self.bars[at]
        return [count, kind, time.astimezone(KOLKATA).strftime("%Y-%m-%d %H:%M"), signal, float(close), lots, 0]

    def _alert(self, kind: str, layer: str, at: int, *, side: int = 0, **fields: Any) -> SimpleNamespace:
        """What the engine should make of it: stop, ATR and ER of the bar that it was made on."""
        (time, *_, close), (atr, er) = self.bars[at], self._indicators[at]
        stop = points(close - side * Fraction(3, 2) * atr) if side else None
        alert = {"kind": kind, "instrument": "BANK_NIFTY", "layer": layer, "price": close, "stop": stop, "atr": atr}
        times = {"bar_time": time, "timestamp": None}
        return SimpleNamespace(**{**alert, **times, "er": er, "number": None, "reason": None, **fields})

    def write(self, trades: Path, bars: Path, *, bars_from: int = 0) -> None:
        """Both files, as TradingView writes them: the list in the chart's own time, bars in Unix seconds."""
        header = ["Trade #", "Type", "Date/Time", "Signal", "Price INR", "Position size (qty)", "Net P&L INR"]
        with trades.open("w", encoding="utf-8-sig", newline="") as file:
            csv.writer(file).writerows([header, *self.rows])
        shown = [[int(time.timestamp()), *map(float, prices)] for time, *prices in self.bars[bars_from:]]
        with bars.open("w", newline="") as file:
            csv.writer(file).writerows([["time", "open", "high", "low", "close"], *shown])


BARS_CASE = Case(seed=31, capital=300_000_000, slippage="0.01", percent="0.03")


def test_a_list_with_bars_by_rules_comes_to_what_the_model_says(empty_dsn, tmp_path):
    happened: Counter[str] = Counter()
    for seed in (31, 32, 33):
        listed = Listed(seed)
        trades, bars = tmp_path / f"trades{seed}.csv", tmp_path / f"bars{seed}.csv"
        listed.write(trades, bars)
        files = Files(paths=[("BANK_NIFTY", trades)], bars={"BANK_NIFTY": bars}, timezone=KOLKATA)
        book = BARS_CASE.book().take(listed.alerts)
        require_same(book, engine(empty_dsn, BARS_CASE, files))
        happened += book.happened
    expected = ("BASE_ENTRY executed", "PYRAMID executed", "sold: STOP", "sold: EXIT - Basso Stop")
    expected += ("PYRAMID blocked: one_r", "EXIT rejected: no open position")
    assert {kind: happened[kind] for kind in expected if happened[kind] == 0} == {}


def test_the_command_says_of_a_list_with_bars_by_rules_what_the_model_says(folder):
    listed = Listed(34)
    listed.write(folder / "trades.csv", folder / "bars.csv")
    money_options = ("--capital", "300000000", "--slippage", "0.01", "--commission-percent", "0.03")
    done = commanded(folder, "trades.csv", "--bars", "BANK_NIFTY=bars.csv", *money_options, "--keep", "kept")
    assert done.returncode == 0, done.stderr
    book = BARS_CASE.book().take(listed.alerts)
    require_said(book, json.loads(done.stdout))
    with EmbeddedServer(folder / "data") as server:
        require_same(book, SimpleNamespace(result=None, **stored(in_schema(server.dsn, "kept"))))


@pytest.mark.parametrize("bars_from", [None, 25], ids=["without bars", "with bars that begin too late"])
def test_a_list_by_rules_is_refused_where_a_size_cannot_be_found(tmp_path, bars_from):
    listed = Listed(34)
    trades, bars = tmp_path / "trades.csv", tmp_path / "bars.csv"
    listed.write(trades, bars, bars_from=bars_from or 0)
    known = {} if bars_from is None else {"BANK_NIFTY": bars}
    files = Files(paths=[("BANK_NIFTY", trades)], bars=known, timezone=KOLKATA)
    with pytest.raises(BadFile, match=r"line 3: .*--sizing rules.*--bars"):
        read_files(files, BARS_CASE.settings())
