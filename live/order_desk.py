"""Puts the way of orders together: which broker, where instruments are traded there, and the dispatcher between."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, assert_never

import structlog

from core.config import FileSettings, validated
from core.errors import ConfigurationError
from core.journal import Batch
from core.settings import Settings
from core.trading_calendar import TradingCalendar
from live.books import Market
from live.brokers.paper import PaperBroker
from live.brokers.port import Broker, BrokerAway, BrokerRefused, OutcomeUnknown
from live.brokers.settings import BrokersSettings
from live.contract_markets import ContractMarkets
from live.contracts_desk import ContractsDesk
from live.dispatcher import SHOWS_WITHIN_SECONDS, Dispatcher
from live.engine import LiveTradingEngine
from live.order_limits import Gate
from live.outbox import Outbox
from live.paper_quotes import PaperQuotes
from live.reconcile import Reconciler

# In `--data-dir`/broker: while a file of this name is there, no order is sent.
SWITCH = "STOP"
log = structlog.get_logger(__name__)


def brokers_settings(file_settings: FileSettings, broker: str) -> BrokersSettings:
    """The brokers' settings with `broker` in use. Raises ConfigurationError, without any secret in it."""
    if file_settings.brokers.get("use", broker) != broker:
        raise ConfigurationError(f"`brokers.use` is another than `--broker {broker}`: leave it out, `--broker` says it")
    return validated(BrokersSettings, {**file_settings.brokers, "use": broker}, "`brokers`")


def require_accounts_apart(brokers: Mapping[str, BrokersSettings]) -> None:
    """Raise ConfigurationError where two portfolios trade the same at one account: whose an order or a position is that only
    the broker tells of, neither could know."""
    traded: dict[tuple[tuple[object, ...], str, str], str] = {}
    for portfolio, each in brokers.items():
        if each.account is None:
            continue
        for instrument, market in each.markets.items():
            symbol = market.symbol or instrument
            other = traded.setdefault((each.account, symbol, market.exchange), portfolio)
            if other != portfolio:
                raise ConfigurationError(
                    f"`brokers`: portfolios {other} and {portfolio} would both trade {symbol} ({market.exchange}) at one "
                    f"account of {each.use}; give each an account of its own, or other `brokers.markets`, below `portfolios`"
                )


def settings_for(settings: Settings, brokers: BrokersSettings) -> Settings:
    """What decides, as the broker in use can carry it out: with fills that are waited for where they come from a real one.

    Raises ConfigurationError where the configuration says that they do not.
    """
    broker = brokers.use
    if broker == "paper" and settings.execution.fills == "paper":
        return settings
    if broker == "paper":
        # It sees the prices of charts, none of options, unless a file shows them.
        return _executing(settings, legs=settings.execution.legs and brokers.paper.quotes_file is not None)
    if settings.execution.fills == "paper" and "fills" in settings.execution.model_fields_set:
        raise ConfigurationError(
            f"`execution.fills` is `paper`, and with `--broker {broker}` orders are real and their fills waited for: "
            "leave the setting out (or give `broker`), or start with `--broker paper`"
        )
    takes_stops = brokers.use != "ccxt" or (brokers.ccxt is not None and brokers.ccxt.stop_orders)
    return _executing(settings, fills="broker", **({} if takes_stops else {"stop_atr": None}))


def _executing(settings: Settings, **changes: Any) -> Settings:
    return settings.model_copy(update={"execution": settings.execution.model_copy(update=changes)})


@contextmanager
def order_desk(
    engine: LiveTradingEngine,
    settings: Settings,
    brokers: BrokersSettings,
    folder: Path,
    *,
    clock: Callable[[], datetime],
    may_send: Callable[[], bool],
    contracts: ContractsDesk,
) -> Iterator[Callable[[], None]]:
    """What starts the dispatcher, which ends with the block; nothing to start where decisions are filled on paper at once.

    Raises ConfigurationError where the broker is not what the settings say it is.
    """
    if settings.execution.fills == "paper":
        yield lambda: None
        return
    # There from the start, for whoever has to put the switch into it in a hurry.
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    broker = _broker(brokers, settings, folder, clock, contracts)
    try:
        _require_ready(broker)
        markets = _markets(brokers, settings, broker)
        by_contract = ContractMarkets(_exchanges(brokers, settings), broker.counts_lots)
        quotes = None
        if isinstance(broker, PaperBroker):
            quotes = PaperQuotes(broker, markets.get, by_contract, portfolio=lambda: engine.portfolio)
        reconciler = Reconciler(
            broker,
            markets,
            by_contract,
            portfolio=lambda: engine.portfolio,
            command=engine.command,
            rows=engine.position_rows,
        )
        engine.reconcile_with_broker = reconciler.run
        outbox = Outbox(
            engine,
            broker,
            market_of=lambda order: by_contract.of_order(order) or markets.get(order.instrument),
            clock=clock,
            may_send=may_send,
            gate=Gate(brokers.limits, folder.parent / SWITCH, clock=clock, calendar=_calendar(brokers, contracts)),
            differs=lambda instrument: instrument in reconciler.differing,
        )
        dispatcher = Dispatcher(
            outbox,
            prepare=(lambda: None) if quotes is None else quotes.show,
            reconcile=reconciler.run,
            # The paper broker acts before it answers: nothing of it comes late.
            shows_within=1.0 if brokers.use == "paper" else SHOWS_WITHIN_SECONDS,
        )

        def committed(batch: Batch) -> None:
            if quotes is not None:
                quotes.take(batch)
            dispatcher.wake()

        engine.on_commit = committed
        try:
            yield dispatcher.start
        finally:
            dispatcher.stop()
    finally:
        broker.close()


def _broker(
    brokers: BrokersSettings,
    settings: Settings,
    folder: Path,
    clock: Callable[[], datetime],
    contracts: ContractsDesk,
) -> Broker:
    match brokers.use:
        case "paper":
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lots = {_fixed_symbol(brokers, name): each.lot_size for name, each in settings.instruments.items()}
            return PaperBroker(
                folder / "paper.sqlite",
                brokers.paper,
                clock,
                step_of=lambda symbol, _: contracts.lot_of(symbol) or lots.get(symbol, Decimal(1)),
            )
        case "openalgo":
            from live.brokers.openalgo import OpenAlgoBroker

            assert brokers.openalgo is not None  # noqa: S101 - held by BrokersSettings
            return OpenAlgoBroker(brokers.openalgo, clock)
        case "ccxt":
            from live.brokers.ccxt import CcxtBroker

            assert brokers.ccxt is not None  # noqa: S101 - held by BrokersSettings
            return CcxtBroker(brokers.ccxt, clock)
        case _:
            assert_never(brokers.use)


def _calendar(brokers: BrokersSettings, contracts: ContractsDesk) -> TradingCalendar | None:
    return contracts.calendar() if brokers.limits.within_hours else None


def _require_ready(broker: Broker) -> None:
    try:
        broker.require_ready()
    except BrokerRefused as error:
        raise ConfigurationError(f"the broker {broker.name} cannot be used: {error}") from error
    except (BrokerAway, OutcomeUnknown) as error:
        log.warning("the broker is away: orders wait until it is back", broker=broker.name, error=str(error))


def _markets(brokers: BrokersSettings, settings: Settings, broker: Broker) -> dict[str, Market]:
    """Where each instrument is traded under one symbol: on paper its own name, elsewhere what `brokers.markets` names."""
    unknown = sorted(set(brokers.markets) - set(settings.instruments))
    if unknown:
        raise ConfigurationError(f"`brokers.markets`: {', '.join(unknown)} is no instrument that is configured")
    markets = {}
    for name, instrument in settings.instruments.items():
        symbol, exchange = _fixed_symbol(brokers, name), _exchanges(brokers, settings).get(name)
        if symbol is None or exchange is None:
            continue
        lots = Decimal(1) if broker.counts_lots(exchange) else instrument.lot_size
        markets[name] = Market(symbol=symbol, exchange=exchange, units_per_lot=lots)
    return markets


def _fixed_symbol(brokers: BrokersSettings, instrument: str) -> str | None:
    """The one symbol of an instrument; None where its contracts have theirs, or it is not traded."""
    given = brokers.markets.get(instrument)
    if given is None:
        return instrument if brokers.use == "paper" else None
    return given.symbol


def _exchanges(brokers: BrokersSettings, settings: Settings) -> dict[str, str]:
    """The exchange, as the broker names it, of each instrument that is traded."""
    given = {name: market.exchange for name, market in brokers.markets.items()}
    if brokers.use != "paper":
        return given
    return {name: instrument.exchange for name, instrument in settings.instruments.items()} | given
