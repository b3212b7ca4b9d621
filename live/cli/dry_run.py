"""What would be decided now: the portfolio in the database, decided on in memory and forgotten."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from msgspec.structs import asdict

from core.config import FileSettings
from core.db_state_manager import DatabaseStateManager, Loaded
from core.decide import decide
from core.errors import ConfigurationError
from core.inputs import SignalInput, StartPortfolio
from core.listed_contracts import contracts_from
from core.models import PortfolioState, Status
from core.numbers import DEFAULT_CAPITAL, ZERO
from core.portfolio import Portfolio, portfolio_from_rows
from live.cli.alerts import FileSignal
from live.recovery import load_one_moment


class DryRun:
    """A portfolio as it is now, and after each signal that is decided on it here. It takes no term and writes nothing."""

    def __init__(
        self, manager: DatabaseStateManager, file_settings: FileSettings, *, clock: Callable[[], datetime]
    ) -> None:
        self._manager = manager
        self._clock = clock
        self._decided: dict[str, Mapping[str, Any]] = {}
        loaded, _ = load_one_moment(manager)
        settings = file_settings.settings
        known = set(settings.instruments)
        if unknown := sorted({position.instrument for position in loaded.positions} - known):
            raise ConfigurationError(
                f"`instruments`: {', '.join(unknown)} has open positions and is not configured; give the --config of `live`"
            )
        self.warning = _warning(loaded, settings.model_dump(mode="json"))
        self._portfolio = _portfolio_of(manager.portfolio, file_settings, loaded, clock())

    @property
    def portfolio(self) -> Portfolio:
        """The portfolio as it is, after what was decided here."""
        return self._portfolio

    def decide(self, found: FileSignal) -> dict[str, Any]:
        """The answer that the engine would give now, but for the numbers that only keeping gives."""
        first = self._decided.get(found.fingerprint) or self.kept(found.fingerprint)
        if first is not None:
            return {"status": "duplicate", "first": first}
        now = self._clock()
        given = SignalInput(signal=found.alert.signal, fingerprint=found.fingerprint, received_at=now)
        decision = decide(self._portfolio, given, now)
        self._portfolio = decision.portfolio
        outcome = asdict(decision.outcome)
        self._decided[found.fingerprint] = outcome
        return {**outcome, "warnings": list(found.alert.warnings)}

    def kept(self, fingerprint: str) -> Mapping[str, Any] | None:
        """The outcome of a signal that was decided before; None where there is none yet."""
        row = self._manager.find_signal(fingerprint)
        if row is None or row["processing_status"] == Status.RECEIVED:
            return None
        outcome: Mapping[str, Any] = row["outcome"]
        return outcome


def _portfolio_of(name: str, file_settings: FileSettings, loaded: Loaded, now: datetime) -> Portfolio:
    state = loaded.state or PortfolioState(initial_capital=ZERO, closed_equity=ZERO, equity_high=ZERO)
    portfolio = portfolio_from_rows(
        name,
        file_settings.settings,
        state,
        loaded.positions,
        loaded.pyramiding,
        loaded.orders,
        contracts_from(loaded.contracts),
        proposals=loaded.proposals,
    )
    if loaded.state is not None:
        return portfolio
    capital = DEFAULT_CAPITAL if file_settings.initial_capital is None else file_settings.initial_capital
    return decide(portfolio, StartPortfolio(initial_capital=capital), now).portfolio


def _warning(loaded: Loaded, wanted: dict[str, Any]) -> str | None:
    if loaded.settings is None or loaded.settings == wanted:
        return None
    return "note: these settings are not those that `live` last decided with; give the same --config and environment"
