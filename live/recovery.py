"""A start: take the term, load, journal what is new, check the invariants. O(open positions), whatever the history."""

import json
from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import immutables
import structlog
from msgspec import Struct
from msgspec.structs import replace

from core.alert import AlertRefused, parse_alert
from core.db_state_manager import DatabaseStateManager, Loaded
from core.decide import decide
from core.errors import CommitUnknown, ConfigurationError, DatabaseAway, StateDiverged
from core.evolve import evolve
from core.inputs import (
    ChangeSettings,
    Halt,
    Input,
    OrderReport,
    SetContracts,
    SignalInput,
    StartPortfolio,
    StartTerm,
)
from core.invariants import broken_invariants
from core.journal import Batch, Entry, read_events, require_known_format
from core.listed_contracts import contracts_from
from core.models import PortfolioState
from core.numbers import DEFAULT_CAPITAL, ZERO
from core.orders import OrderState
from core.portfolio import Portfolio, portfolio_from_rows
from core.postgres.journal_stream import JournalStream, journal_stream
from core.postgres.reads import Row
from core.settings import Settings
from live.collector import collector_off
from live.deliveries import Delivery

ENTRIES_AT_ONCE = 500
# A hundred thousand open positions take a few.
LOAD_LIMIT_SECONDS = 30.0
log = structlog.get_logger(__name__)


class Followed(Struct, frozen=True, kw_only=True):
    """The state as one who followed the journal has it: as of the entry of this number and hash."""

    portfolio: Portfolio
    seq: int
    content_hash: str


class Recovered(Struct, frozen=True, kw_only=True):
    """The portfolio as it stands, and each invariant that does not hold: then there are only exits."""

    portfolio: Portfolio
    broken: tuple[str, ...]


def recover(
    manager: DatabaseStateManager,
    settings: Settings,
    capital: Decimal | None,
    now: datetime,
    contracts: dict[str, Any] | None = None,
    followed: Followed | None = None,
) -> Recovered:
    """Become the writer and know the state. `capital`: what the portfolio starts from, None = its own or the default;
    `contracts`: what instruments are traded in by now (core.listed_contracts as JSON), None = by no contract; what was
    `followed` is gone on from, and not loaded again.

    Raises ConfigurationError, DatabaseAway, StateDiverged (a row that no portfolio can have).
    """
    with collector_off():
        return _recovered(manager, settings, capital, now, contracts or {}, followed)


def _recovered(
    manager: DatabaseStateManager,
    settings: Settings,
    capital: Decimal | None,
    now: datetime,
    contracts: dict[str, Any],
    followed: Followed | None,
) -> Recovered:
    term = manager.take_term()
    try:
        portfolio, loaded = _taken_over(manager, settings, followed) or _loaded(manager, settings)
    except (TypeError, ValueError, KeyError) as error:
        raise StateDiverged(f"a row of the database is no valid state: {error}") from error
    require_fitting(loaded, settings, capital, contracts)
    broken = tuple(broken_invariants(portfolio)) if loaded.state is not None else ()
    inputs = _start_inputs(loaded, settings, contracts, capital)
    inputs += _term_inputs(loaded, term, manager.instance_id, broken)
    for sentence in broken:
        log.error("an invariant does not hold: entries are blocked", invariant=sentence)
    return Recovered(portfolio=_journalled(manager, portfolio, inputs, now), broken=broken)


def _loaded(manager: DatabaseStateManager, settings: Settings) -> tuple[Portfolio, Loaded]:
    loaded = manager.load()
    return portfolio_of(manager.portfolio, settings, loaded), loaded


def _taken_over(
    manager: DatabaseStateManager, settings: Settings, followed: Followed | None
) -> tuple[Portfolio, Loaded] | None:
    """What was followed, and what was committed since; None where the journal is not the one that was followed."""
    if followed is None:
        return None
    try:
        portfolio = _caught_up(manager, followed)
    except (TypeError, ValueError, KeyError, AttributeError):
        log.exception("what was followed cannot be gone on from: the state is loaded")
        return None
    if portfolio is None:
        return None
    settings_document, contracts_document = manager.last_documents()
    loaded = Loaded(
        positions=tuple(portfolio.positions.values()),
        by_id=portfolio.positions,
        state=portfolio.state,
        pyramiding=tuple(portfolio.pyramiding.values()),
        settings=settings_document,
        last_seq=manager.next_seq - 1,
        orders=tuple(portfolio.orders.values()),
        contracts=contracts_document,
        proposals=tuple(portfolio.pending_proposals()),
    )
    manager.show(portfolio)
    # As after loading: a change of settings is the first thing that is journalled.
    return replace(portfolio, settings=settings), loaded


def _caught_up(manager: DatabaseStateManager, followed: Followed) -> Portfolio | None:
    portfolio, seq, content_hash = followed.portfolio, followed.seq, followed.content_hash
    while True:
        rows = manager.journal_from(seq, ENTRIES_AT_ONCE)
        if not rows or (rows[0]["seq"], rows[0]["content_hash"]) != (seq, content_hash):
            return None
        if len(rows) == 1:
            return portfolio if seq == manager.next_seq - 1 else None
        for row in rows[1:]:
            portfolio = applied(portfolio, row)
        seq, content_hash = rows[-1]["seq"], rows[-1]["content_hash"]


def applied(portfolio: Portfolio, row: Row) -> Portfolio:
    """The portfolio after the events of a journal's entry. Raises TooNew."""
    require_known_format(row["seq"], row["format"])
    for event in read_events(row["events"]):
        portfolio = evolve(portfolio, event)
    return portfolio.settled()


def doubts(portfolio: Portfolio, why: str) -> list[OrderReport]:
    """After a portfolio went back in time: what was an intent then may have been sent since. It is looked for at the broker, and
    never sent again by itself."""
    unsent = [order_id for order_id, order in portfolio.orders.items() if order.state is OrderState.INTENT]
    return [
        OrderReport(client_order_id=order_id, state=OrderState.IN_DOUBT, message=why) for order_id in sorted(unsent)
    ]


def reload(manager: DatabaseStateManager, known: Portfolio) -> Portfolio:
    """The portfolio read anew, after something else wrote to its rows."""
    return portfolio_of(known.name, known.settings, manager.load())


def received_delivery(row: Row, settings: Settings) -> Delivery | None:
    """A kept signal as a delivery that nobody waits for; None (and a log line) where its body cannot be read."""
    try:
        alert = parse_alert(
            json.dumps(row["payload"], default=str, ensure_ascii=False).encode(),
            max_bytes=None,
            instruments=settings.instruments,
            naive_timezone=ZoneInfo("UTC"),
            as_listed=settings.sizing.mode == "as_listed",
        )
    except AlertRefused as refused:
        log.error(
            "a kept signal cannot be decided and stays as it is", fingerprint=row["fingerprint"], error=str(refused)
        )
        return None
    given = SignalInput(signal=alert.signal, fingerprint=row["fingerprint"], received_at=row["received_at"])
    return Delivery(given, dict(row["payload"]), kept=True)


def require_fitting(loaded: Loaded, settings: Settings, capital: Decimal | None, contracts: dict[str, Any]) -> None:
    """ConfigurationError where what is configured cannot go on from what is there."""
    if loaded.state is not None and capital is not None and capital != loaded.state.initial_capital:
        raise ConfigurationError(
            f"`initial_capital`: the portfolio started from {loaded.state.initial_capital:f}, not {capital:f}; "
            "capital changes by a flow (`capital`), not by starting again"
        )
    _require_same_fills(loaded, settings)
    _require_contracts(loaded, settings, contracts)
    unknown = sorted({position.instrument for position in loaded.positions} - set(settings.instruments))
    if unknown:
        raise ConfigurationError(
            f"`instruments`: {', '.join(unknown)} has open positions and is not configured; add it again"
        )


def _require_same_fills(loaded: Loaded, settings: Settings) -> None:
    """What a broker holds must not be closed on paper, nor what is on paper be sold at a broker."""
    if loaded.settings is None or not (loaded.positions or loaded.orders):
        return
    before, now = loaded.settings.get("execution", {}).get("fills", "paper"), settings.execution.fills
    if before != now:
        raise ConfigurationError(
            f"`execution.fills`: what is open was filled by `{before}`, and this start fills by `{now}`; start as before "
            "(the same --broker and PORTFOLIO_EXECUTION__FILLS), and change it once nothing is open"
        )


def _require_contracts(loaded: Loaded, settings: Settings, contracts: dict[str, Any]) -> None:
    """What was bought under the instrument's own name is not sold under a contract's: nobody knows which it is in."""
    if settings.execution.fills == "paper":
        return
    open_without = {p.instrument for p in loaded.positions if p.futures_symbol is None and p.ce_symbol is None}
    open_without |= {order.instrument for order in loaded.orders if order.symbol is None}
    without = sorted(open_without & contracts.keys())
    if without:
        raise ConfigurationError(
            f"`brokers.markets`: {', '.join(without)} has something open without a contract; give the symbol that it was "
            "bought under, close it, and set `contracts` once nothing is open"
        )


def load_one_moment(manager: DatabaseStateManager) -> tuple[Loaded, str]:
    """The state at one moment for one who does not write, and the hash of the journal's last entry then. Raises
    DatabaseAway, also where the server does not answer for long."""
    with journal_stream(manager.dsn, manager.portfolio, within=LOAD_LIMIT_SECONDS) as stream:
        return loaded_from(stream)


def loaded_from(stream: JournalStream) -> tuple[Loaded, str]:
    """The same of a transaction that is open already."""
    last_seq, last_hash = stream.end()
    positions = stream.open_positions()
    loaded = Loaded(
        positions=tuple(positions.values()),
        by_id=immutables.Map(positions),
        state=stream.state(),
        pyramiding=tuple(stream.pyramiding().values()),
        settings=stream.settings(),
        last_seq=last_seq,
        orders=tuple(stream.unsettled_orders().values()),
        contracts=stream.contracts(),
        proposals=tuple(stream.pending_proposals().values()),
    )
    return loaded, last_hash


def portfolio_of(name: str, settings: Settings, loaded: Loaded) -> Portfolio:
    """The portfolio of these rows."""
    empty = PortfolioState(initial_capital=ZERO, closed_equity=ZERO, equity_high=ZERO)
    return portfolio_from_rows(
        name,
        settings,
        loaded.state or empty,
        loaded.positions,
        loaded.pyramiding,
        loaded.orders,
        # The ones in force, not the ones to come: these are set by their own entry, as `verify` does it.
        contracts_from(loaded.contracts),
        by_id=loaded.by_id,
        proposals=loaded.proposals,
    )


def _start_inputs(
    loaded: Loaded, settings: Settings, contracts: dict[str, Any], capital: Decimal | None
) -> list[Input]:
    inputs: list[Input] = []
    if loaded.state is None:
        inputs.append(StartPortfolio(initial_capital=DEFAULT_CAPITAL if capital is None else capital))
    wanted: dict[str, Any] = settings.model_dump(mode="json")
    if loaded.settings != wanted:
        inputs.append(ChangeSettings(settings=wanted))
    if loaded.contracts != contracts:
        inputs.append(SetContracts(contracts=contracts))
    return inputs


def _term_inputs(loaded: Loaded, term: int, instance_id: str, broken: tuple[str, ...]) -> list[Input]:
    inputs: list[Input] = [StartTerm(term=term, instance_id=instance_id)]
    if broken and loaded.state is not None and not loaded.state.halted:
        inputs.append(Halt(reason=f"invariant: {broken[0]}"[:500]))
    return inputs


def _journalled(manager: DatabaseStateManager, portfolio: Portfolio, inputs: list[Input], now: datetime) -> Portfolio:
    after, entries = portfolio, []
    for given in inputs:
        decision = decide(after, given, now)
        entries.append(Entry(given=given, decision=decision, decided_at=now))
        after = decision.portfolio
    try:
        manager.commit(Batch(before=portfolio, after=after, entries=tuple(entries)))
    except CommitUnknown as unknown:
        raise DatabaseAway("the connection was lost while the start was journalled; start again") from unknown
    return after.settled()
