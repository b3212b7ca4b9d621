"""PortfolioStateManager: equity, risk, volatility, margin and drawdown of a portfolio, for whoever asks."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from msgspec.structs import asdict

from core.fills import risk_amount
from core.numbers import ZERO, figure, percent_of
from core.portfolio import Portfolio, blended_equity, drawdown_percent, margin_percent, open_equity, sizing_equity


class PortfolioStateManager:
    """Reads one moment of a portfolio at a time; `current` gives the committed one. It changes nothing: decide does."""

    def __init__(self, current: Callable[[], Portfolio]) -> None:
        self._current = current

    @property
    def closed_equity(self) -> Decimal:
        """Initial capital + capital flows + realised P&L, in money."""
        return self._current().state.closed_equity

    @property
    def open_equity(self) -> Decimal:
        """Closed equity + all unrealised P&L at the kept marks."""
        return open_equity(self._current())

    @property
    def blended_equity(self) -> Decimal:
        """Closed equity + half of the unrealised P&L."""
        return blended_equity(self._current())

    @property
    def sizing_equity(self) -> Decimal:
        """The equity that sizes and percentages are of."""
        return sizing_equity(self._current())

    @property
    def drawdown_percent(self) -> Decimal:
        """(equity_high - closed equity) / equity_high, in per cent."""
        return drawdown_percent(self._current().state)

    @property
    def open_heat(self) -> Decimal:
        """What the winners can give back: the sum of max(0, s x (mark - stop)) x lots x point value."""
        return _open_heat(self._current())

    def measure(self) -> dict[str, Any]:
        """Every figure of one moment: the columns of portfolio_state, the equities, and what depends on the marks."""
        portfolio = self._current()
        equity = sizing_equity(portfolio)
        return {
            **asdict(portfolio.state),
            "open_equity": open_equity(portfolio),
            "blended_equity": blended_equity(portfolio),
            "sizing_equity": equity,
            "unrealized_total": portfolio.totals.unrealized,
            "open_heat": _open_heat(portfolio),
            "total_vol_percent": percent_of(portfolio.totals.volatility, equity),
            "margin_percent": margin_percent(portfolio),
            "drawdown_percent": figure(drawdown_percent(portfolio.state)),
            "open_positions": len(portfolio.positions),
        }


def _open_heat(portfolio: Portfolio) -> Decimal:
    heats = (
        risk_amount(p.side, p.mark_price, p.current_stop, p.lots, p.point_value) for p in portfolio.positions.values()
    )
    return sum(heats, ZERO)
