"""Signals, positions and portfolios for tests: say only what the test is about."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from core.config import default_settings
from core.decide import Decision, decide
from core.fingerprint import fingerprint_of
from core.inputs import SignalInput, StartPortfolio
from core.models import PortfolioState, Position, Side, Signal, SignalType, layer_side, status_of
from core.portfolio import Portfolio
from core.settings import Settings

NOON = datetime(2026, 1, 14, 6, 15, tzinfo=UTC)
CAPITAL = Decimal(5_000_000)


def decimal(value: Any) -> Decimal | None:
    """A decimal from what a test writes down."""
    return None if value is None else Decimal(str(value))


def a_signal(kind: str = "BASE_ENTRY", instrument: str = "BANK_NIFTY", layer: str | None = None, **fields: Any) -> Signal:
    """A valid alert of its kind: BANK_NIFTY of DOMAIN.md's worked table unless told otherwise."""
    layers = {"BASE_ENTRY": "Long_1", "PYRAMID": "Long_2", "EXIT": "Long_1", "MARKET_DATA": ""}
    defaults: dict[str, Any] = {"price": 52000, "atr": 350, "er": "0.82", "stop": 51650, "timestamp": NOON}
    if kind in ("EXIT", "MARKET_DATA"):
        defaults["stop"] = None
    values = {**defaults, **fields}
    for name in ("price", "atr", "er", "stop"):
        values[name] = decimal(values[name])
    return Signal(type=SignalType(kind), instrument=instrument, layer=layers[kind] if layer is None else layer, **values)


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
