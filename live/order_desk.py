"""Puts the way of orders together: which broker, where instruments are traded there, and the dispatcher between."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import assert_never

import structlog

from core.config import FileSettings, validated
from core.errors import ConfigurationError
from core.journal import Batch
from core.settings import Execution, Settings
from core.trading_calendar import TradingCalendar
from live.books import Market
from live.brokers.paper import PaperBroker
from live.brokers.port import Broker, BrokerAway, BrokerRefused, OutcomeUnknown
from live.brokers.settings import BrokersSettings
from live.dispatcher import SHOWS_WITHIN_SECONDS, Dispatcher
from live.engine import LiveTradingEngine
from live.order_limits import Gate
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


def settings_for(settings: Settings, broker: str) -> Settings:
    """What decides, with fills that are waited for where they come from a real broker.

    Raises ConfigurationError where the configuration says that they do not.
    """
    if broker == "paper":
        return settings
    if settings.execution.fills == "paper" and "fills" in settings.execution.model_fields_set:
        raise ConfigurationError(
            f"`execution.fills` is `paper`, and with `--broker {broker}` orders are real and their fills waited for: "
            "leave the setting out (or give `broker`), or start with `--broker paper`"
        )
    return settings.model_copy(update={"execution": Execution(fills="broker")})


@contextmanager
def order_desk(
    engine: LiveTradingEngine,
    settings: Settings,
    brokers: BrokersSettings,
    folder: Path,
    *,
    clock: Callable[[], datetime],
    may_send: Callable[[], bool],
) -> Iterator[Callable[[], None]]:
    """What starts the dispatcher, which ends with the block; nothing to start where decisions are filled on paper at once.

    Raises ConfigurationError where the broker is not what the settings say it is.
    """
    if settings.execution.fills == "paper":
        yield lambda: None
        return
    # There from the start, for whoever has to put the switch into it in a hurry.
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    broker = _broker(brokers, settings, folder, clock)
    try:
        _require_ready(broker)
        markets = _markets(brokers, settings, broker)
        quotes = PaperQuotes(broker, markets.get) if isinstance(broker, PaperBroker) else None
        reconciler = Reconciler(broker, markets, portfolio=lambda: engine.portfolio, command=engine.command)
        engine.reconcile_with_broker = reconciler.run
        dispatcher = Dispatcher(
            engine,
            broker,
            market_of=markets.get,
            clock=clock,
            may_send=may_send,
            prepare=(lambda: None) if quotes is None else quotes.show,
            reconcile=reconciler.run,
            # The paper broker acts before it answers: nothing of it comes late.
            shows_within=1.0 if brokers.use == "paper" else SHOWS_WITHIN_SECONDS,
            gate=Gate(brokers.limits, folder.parent / SWITCH, clock=clock, calendar=_calendar(brokers)),
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


def _broker(brokers: BrokersSettings, settings: Settings, folder: Path, clock: Callable[[], datetime]) -> Broker:
    match brokers.use:
        case "paper":
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lots = {name: instrument.lot_size for name, instrument in settings.instruments.items()}
            return PaperBroker(
                folder / "paper.sqlite", brokers.paper, clock, step_of=lambda symbol, _: lots.get(symbol, Decimal(1))
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


def _calendar(brokers: BrokersSettings) -> TradingCalendar | None:
    if not brokers.limits.within_hours:
        return None
    from live.contracts_file import load_calendar

    return load_calendar()


def _require_ready(broker: Broker) -> None:
    try:
        broker.require_ready()
    except BrokerRefused as error:
        raise ConfigurationError(f"the broker {broker.name} cannot be used: {error}") from error
    except (BrokerAway, OutcomeUnknown) as error:
        log.warning("the broker is away: orders wait until it is back", broker=broker.name, error=str(error))


def _markets(brokers: BrokersSettings, settings: Settings, broker: Broker) -> dict[str, Market]:
    """Where each instrument is traded: on paper each under its own name, elsewhere what `brokers.markets` names."""
    unknown = sorted(set(brokers.markets) - set(settings.instruments))
    if unknown:
        raise ConfigurationError(f"`brokers.markets`: {', '.join(unknown)} is no instrument that is configured")
    markets = {}
    for name, instrument in settings.instruments.items():
        given = brokers.markets.get(name)
        if given is None and brokers.use != "paper":
            continue
        symbol, exchange = (name, instrument.exchange) if given is None else (given.symbol, given.exchange)
        lots = Decimal(1) if broker.counts_lots(exchange) else instrument.lot_size
        markets[name] = Market(symbol=symbol, exchange=exchange, units_per_lot=lots)
    return markets
