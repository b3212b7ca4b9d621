"""A broker's bars as the risk lab imports them, and what a broker calls an instrument of ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING

from msgspec import Struct

from core.config import FileSettings
from core.errors import ConfigurationError
from core.symbols import FutureSymbol
from live.brokers.port import BarHistory
from live.contracts_file import DEFAULT_CONTRACT_RULES, load_contract_rules
from live.order_desk import brokers_settings

if TYPE_CHECKING:
    from risk.as_of import Bar

_MICROSECOND = timedelta(microseconds=1)
_OF_DAYS = ("1d", "1w")


class Listed(Struct, frozen=True, kw_only=True):
    """What a broker calls something, on which of its exchanges."""

    symbol: str
    exchange: str


class AdapterHistory:
    """What an adapter tells, with bars of days and weeks from 00:00 on in `zone`, whatever the broker writes."""

    def __init__(self, broker: BarHistory, exchange: str, zone: tzinfo) -> None:
        self._broker, self._exchange, self._zone = broker, exchange, zone

    def bars(self, symbol: str, timeframe: str, since: datetime, until: datetime) -> "Iterator[Bar]":
        """The symbol's bars from the day of `since` up to that of `until`. Raises BrokerRefused, BrokerAway."""
        from risk.as_of import Bar

        first, last = (time.astimezone(self._zone).date() for time in (since, until - _MICROSECOND))
        for bar in self._broker.bars(symbol, self._exchange, timeframe, first, last):
            yield Bar(
                timestamp=self._begin(bar.opened) if timeframe in _OF_DAYS else bar.opened,
                open=bar.open,
                high=bar.high,
                low=bar.low,
                close=bar.close,
                volume=bar.volume,
                open_interest=bar.open_interest,
            )

    def _begin(self, opened: datetime) -> datetime:
        day = opened.astimezone(self._zone).date()
        return datetime(day.year, day.month, day.day, tzinfo=self._zone).astimezone(UTC)


@contextmanager
def broker_with_history(file_settings: FileSettings) -> Iterator[BarHistory]:
    """The adapter of OpenAlgo, as it is configured. Raises ConfigurationError."""
    from live.brokers.openalgo import OpenAlgoBroker

    settings = brokers_settings(file_settings, "openalgo").openalgo
    assert settings is not None  # noqa: S101 - held by BrokersSettings
    with OpenAlgoBroker(settings, lambda: datetime.now(UTC)) as broker:
        yield broker


def listed_as(file_settings: FileSettings, instrument: str, expiry: date | None, symbol: str | None) -> Listed:
    """What `brokers.markets` calls an instrument: its one symbol, or that of the contract that expires then.

    `symbol` says it in the configuration's place. Raises ConfigurationError where neither does.
    """
    market = brokers_settings(file_settings, "openalgo").markets.get(instrument)
    if market is None:
        raise ConfigurationError(f"`brokers.markets`: {instrument} has none: on which exchange is it traded?")
    if symbol is None and market.contracts:
        symbol = _contract(file_settings, instrument, expiry)
    found = symbol or market.symbol
    assert found is not None  # noqa: S101 - held by MarketSettings
    return Listed(symbol=found, exchange=market.exchange)


def _contract(file_settings: FileSettings, instrument: str, expiry: date | None) -> str:
    rules = load_contract_rules(file_settings.contracts.rules or DEFAULT_CONTRACT_RULES).get(instrument)
    if expiry is None or rules is None:
        raise ConfigurationError(f"{instrument} is traded by contract: say --expiry, or --symbol with --expiry")
    return str(FutureSymbol(underlying=rules.symbol, expiry=expiry))
