"""Signals, positions and portfolios for tests: say only what the test is about."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from msgspec.structs import replace

from core.config import default_settings
from core.decide import Decision, decide
from core.fingerprint import fingerprint_of
from core.inputs import (
    ApproveProposal,
    ChangeSettings,
    ClosePositions,
    ExpireProposals,
    Halt,
    Input,
    MoveCapital,
    RejectProposal,
    Resume,
    SignalInput,
    StartPortfolio,
    StartTerm,
)
from core.models import PortfolioState, Position, Side, Signal, SignalType, layer_side, status_of
from core.orders import Order, OrderPurpose
from core.portfolio import Portfolio
from core.settings import Settings

NOON = datetime(2026, 1, 14, 6, 15, tzinfo=UTC)
CAPITAL = Decimal(5_000_000)
WALKING = {"BANK_NIFTY": "52000", "GOLD_MINI": "72000", "SILVER_MINI": "91000", "COPPER": "830"}


def decimal(value: Any) -> Decimal | None:
    """A decimal from what a test writes down."""
    return None if value is None else Decimal(str(value))


def a_signal(
    kind: str = "BASE_ENTRY", instrument: str = "BANK_NIFTY", layer: str | None = None, **fields: Any
) -> Signal:
    """A valid alert of its kind: BANK_NIFTY of DOMAIN.md's worked table unless told otherwise."""
    layers = {"BASE_ENTRY": "Long_1", "PYRAMID": "Long_2", "EXIT": "Long_1", "MARKET_DATA": ""}
    defaults: dict[str, Any] = {"price": 52000, "atr": 350, "er": "0.82", "stop": 51650, "timestamp": NOON}
    if kind in ("EXIT", "MARKET_DATA"):
        defaults["stop"] = None
    values = {**defaults, **fields}
    for name in ("price", "atr", "er", "stop"):
        values[name] = decimal(values[name])
    return Signal(
        type=SignalType(kind), instrument=instrument, layer=layers[kind] if layer is None else layer, **values
    )


def given(signal: Signal, received_at: datetime | None = None, portfolio: str = "main") -> SignalInput:
    """The signal as the engine is given it."""
    return SignalInput(
        signal=signal, fingerprint=fingerprint_of(portfolio, signal), received_at=received_at or signal.time
    )


def a_portfolio(settings: Settings | None = None, capital: Decimal = CAPITAL) -> Portfolio:
    """A flat portfolio that has just been given its capital."""
    empty = Portfolio(
        name="main",
        settings=settings or default_settings(),
        state=PortfolioState(initial_capital=Decimal(0), closed_equity=Decimal(0), equity_high=Decimal(0)),
    )
    return decide(empty, StartPortfolio(initial_capital=capital), NOON).portfolio


def told(portfolio: Portfolio, signal: Signal, now: datetime | None = None) -> Decision:
    """What the portfolio decides on a signal, a second after its own time unless told otherwise."""
    return decide(portfolio, given(signal), now or signal.time + timedelta(seconds=1))


def after(portfolio: Portfolio, *signals: Signal) -> Portfolio:
    """The portfolio after signals, each a second after its own time."""
    for signal in signals:
        portfolio = told(portfolio, signal).portfolio
    return portfolio


def an_order(**changes: Any) -> Order:
    """An exit of what a_position() holds, recorded and not yet sent."""
    order = Order(
        client_order_id="pm4-0123456789ab-x1",
        journal_seq=4,
        position_id="GOLD_MINI-Long_1-abc",
        instrument="GOLD_MINI",
        layer="Long_1",
        side=Side.LONG,
        purpose=OrderPurpose.EXIT,
        lots=2,
        lot_size=Decimal(100),
        point_value=Decimal(10),
        reference_price=Decimal(72000),
    )
    return replace(order, **changes)


def minutes(count: float) -> datetime:
    """NOON and so many minutes."""
    return NOON + timedelta(minutes=count)


def a_position(position_id: str = "GOLD_MINI-Long_1-abc", **changes: Any) -> Position:
    """An open position, read never before (version 0)."""
    position = Position(
        position_id=position_id,
        instrument="GOLD_MINI",
        layer="Long_1",
        side=Side.LONG,
        entry_timestamp=NOON,
        entry_price=Decimal(72000),
        entry_lots=2,
        lots=2,
        quantity=Decimal(200),
        lot_size=Decimal(100),
        point_value=Decimal(10),
        initial_stop=Decimal(71500),
        current_stop=Decimal(71500),
        highest_close=Decimal(72000),
        atr=Decimal(500),
        mark_price=Decimal(72000),
        mark_time=NOON,
        limiter="volatility",
        is_base_position=True,
    )
    if "lots" in changes:
        lots = changes["lots"]
        changes = {"quantity": lots * Decimal(100), "status": status_of(lots, changes.get("entry_lots", 2)), **changes}
    if "layer" in changes:
        changes = {"side": layer_side(changes["layer"]), **changes}
    return replace(position, **changes)


def settings_with(**parts: Any) -> Settings:
    """The default settings with changes: `limits={...}`, `instruments={"COPPER": {...}}`."""
    values = default_settings().model_dump()
    for name, changes in parts.pop("instruments", {}).items():
        values["instruments"][name] = {**values["instruments"].get(name, {}), **changes}
    for name, changes in parts.items():
        values[name] = {**values.get(name, {}), **changes}
    return Settings.model_validate(values)


def with_state(portfolio: Portfolio, **changes: Any) -> Portfolio:
    """The portfolio with other figures in its row (money as a test writes it down)."""
    exact = {name: value if isinstance(value, bool) else decimal(value) for name, value in changes.items()}
    return replace(portfolio, state=replace(portfolio.state, **exact))


def holding(portfolio: Portfolio, *positions: Position) -> Portfolio:
    """The portfolio with positions that came from nowhere; a base is its instrument's base."""
    for position in positions:
        portfolio = portfolio.with_position(position)
        row = portfolio.pyramiding_of(position.instrument)
        base = position.position_id if position.is_base_position else row.base_position_id
        row = replace(row, last_pyramid_price=position.entry_price, base_position_id=base)
        portfolio = replace(portfolio, pyramiding=portfolio.pyramiding.set(row.instrument, row))
    return portfolio


def mirrored(signal: Signal, side: Side, around: int = 52000) -> Signal:
    """The same signal for the other side: layer swapped, price and stop reflected: a short meets what a long met."""
    if side is Side.LONG:
        return signal
    stop = None if signal.stop is None else 2 * around - signal.stop
    layer = signal.layer.replace("Long", "Short")
    return replace(signal, layer=layer, price=2 * around - signal.price, stop=stop)


class RandomTrading:
    """An endless, seeded stream of inputs, plausible and not: walking prices, late, early and needless alerts."""

    def __init__(self, seed: int, instruments: dict[str, str] | None = None) -> None:
        self._random = Random(seed)
        self._now = NOON
        self._prices = {name: Decimal(price) for name, price in (instruments or WALKING).items()}
        self._trends = dict.fromkeys(self._prices, 1)

    def next(self, portfolio: Portfolio) -> tuple[Input, datetime]:
        """One more input and the time at which it is decided."""
        self._now += timedelta(seconds=self._random.choice((1, 30, 60, 900, 3600)))
        if portfolio.proposals and self._random.random() < 0.4:
            return self._word_on(portfolio), self._now
        if self._random.random() < 0.1:
            return self._command(portfolio), self._now
        signal = self._signal(portfolio)
        return given(signal, received_at=self._now), self._now

    def _signal(self, portfolio: Portfolio) -> Signal:
        instrument = self._random.choice(sorted(self._prices))
        open_positions = portfolio.positions_of(instrument)
        kinds = ("MARKET_DATA", "BASE_ENTRY", "PYRAMID", "EXIT")
        kind = self._random.choices(kinds, weights=(40, 4, 45, 6) if open_positions else (15, 50, 4, 3))[0]
        price = self._walked(instrument)
        atr = self._exact(price * Decimal(self._random.uniform(0.002, 0.01)))
        trend = Side.LONG if self._trends[instrument] > 0 else Side.SHORT
        side = open_positions[0].side if open_positions else trend
        side = self._random.choice(list(Side)) if self._random.random() < 0.1 else side
        distance = self._exact(atr * Decimal(self._random.choice((-1, 0, 1, 1, 1, 2, 2, 3, 5))))
        return Signal(
            type=SignalType(kind),
            instrument=instrument,
            layer=self._layer(kind, side),
            price=price,
            stop=max(Decimal("0.00000001"), price - side.sign * distance)
            if kind in ("BASE_ENTRY", "PYRAMID")
            else None,
            atr=atr,
            er=Decimal(self._random.randint(0, 100)) / 100,
            reason=self._random.choice((None, "SuperTrend")),
            **self._times(),
        )

    def _walked(self, instrument: str) -> Decimal:
        if self._random.random() < 0.03:
            self._trends[instrument] *= -1
        drift = Decimal(self._random.gauss(0.005 * self._trends[instrument], 0.005))
        self._prices[instrument] = max(Decimal(1), self._exact(self._prices[instrument] * (1 + drift)))
        return self._prices[instrument]

    def _exact(self, value: Decimal) -> Decimal:
        return round(value, self._random.choice((0, 2, 8)))

    def _layer(self, kind: str, side: Side) -> str:
        if kind == "MARKET_DATA":
            return ""
        if kind == "EXIT" and self._random.random() < 0.3:
            return "ALL"
        numbers = {"BASE_ENTRY": (1,), "PYRAMID": (2, 3, 4, 5, 6), "EXIT": (1, 2, 3)}[kind]
        return f"{side.value.capitalize()}_{self._random.choice(numbers)}"

    def _times(self) -> dict[str, datetime]:
        fired = self._now - timedelta(
            seconds=self._random.choice((0, 1, 1, 1, 1, 1, 1, 2, 2, 2, 60, 240, 300, 400, 7200, -30, -90))
        )
        bar = fired.replace(minute=0, second=0, microsecond=0)
        return self._random.choice(({"timestamp": fired}, {"timestamp": fired, "bar_time": bar}, {"bar_time": fired}))

    def _word_on(self, portfolio: Portfolio) -> Input:
        proposal = self._random.choice(portfolio.pending_proposals())
        lots, price = self._random.choice((None, None, 1, 2, 400)), self._random.choice((None, proposal.signal.price))
        return self._random.choice(
            (
                *(ApproveProposal(proposal_id=proposal.proposal_id, lots=lots, price=price, operator="ada"),) * 3,
                RejectProposal(proposal_id=proposal.proposal_id, note=self._random.choice(("too late", " "))),
                ExpireProposals(),
                ApproveProposal(proposal_id="P0123456789abcdef"),
            )
        )

    def _command(self, portfolio: Portfolio) -> Input:
        ids = sorted(portfolio.positions) or ["nobody"]
        price = self._random.choice((None, next(iter(self._prices.values()))))
        flow = Decimal(self._random.randint(-2_000_000_000, 2_500_000_000)) / 10_000
        changed = settings_with(
            sizing={"equity": self._random.choice(("blended", "closed", "open", "high_water"))},
            timing={"intrabar_exits": self._random.random() < 0.5},
        ).model_dump(mode="json")
        changed["instruments"] |= portfolio.settings.model_dump(mode="json")["instruments"]
        changed |= {name: portfolio.settings.model_dump(mode="json")[name] for name in ("paper", "approval")}
        return self._random.choice(
            (
                Halt(reason="lunch"),
                *(Resume(),) * 6,
                Resume(instrument=self._random.choice(sorted(self._prices))),
                ClosePositions(position_id=self._random.choice(ids), price=None),
                ClosePositions(position_id="ALL", price=price if len(ids) == 1 else None),
                *(MoveCapital(amount=flow),) * 3,
                ChangeSettings(settings=changed),
                StartTerm(term=self._random.randint(1, 9), instance_id="b2c1"),
            )
        )
