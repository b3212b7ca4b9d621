"""decide: all branching of the engine, pure. `decide(portfolio, input, now) -> Decision`; what happened is in its events."""

from datetime import datetime
from functools import reduce
from typing import assert_never

from core.decide.approval import decide_proposal, in_its_mode
from core.decide.bar import decide_bar
from core.decide.command import (
    decide_capital,
    decide_close,
    decide_contracts,
    decide_freeze,
    decide_halt,
    decide_resume,
    decide_save,
    decide_settings,
    decide_start,
)
from core.decide.decision import Decision, Outcome, failed
from core.decide.entry import decide_base_entry
from core.decide.exit import decide_exit
from core.decide.findings import decide_finding
from core.decide.missed import beside_its_strategy
from core.decide.pyramid import decide_pyramid
from core.decide.report import decide_report
from core.decide.roll import decide_roll
from core.decide.send import decide_send, decide_try_over
from core.decide.timing import timing_refusal
from core.events import RecoveryNoted
from core.evolve import evolve
from core.inputs import (
    AdoptPosition,
    ApproveProposal,
    ChangeSettings,
    ClosePositions,
    EndTry,
    ExpireProposals,
    Freeze,
    Halt,
    IgnoreFinding,
    Input,
    MoveCapital,
    OrderInput,
    OrderReport,
    RejectProposal,
    Resume,
    Roll,
    SaveRow,
    SendOrder,
    SetContracts,
    SignalInput,
    StartPortfolio,
    StartTerm,
    TradingCommand,
    WriteOff,
)
from core.models import Signal, SignalType, Status
from core.numbers import exactly
from core.portfolio import Portfolio

__all__ = ["Decision", "Outcome", "decide", "failed"]


@exactly
def decide(portfolio: Portfolio, given: Input, now: datetime) -> Decision:
    """What `given` does to `portfolio`. `now` (aware UTC) decides age and is an operator's exit time, nothing else."""
    match given:
        case SignalInput():
            return _decide_signal(portfolio, given, now)
        case (
            Halt()
            | Resume()
            | Freeze()
            | ClosePositions()
            | MoveCapital()
            | Roll()
            | AdoptPosition()
            | WriteOff()
            | IgnoreFinding()
        ):
            return _decide_command(portfolio, given, now)
        case StartPortfolio() | ChangeSettings() | SetContracts():
            return _decide_basis(portfolio, given)
        case StartTerm():
            return _decide_term(portfolio, now)
        case ApproveProposal() | RejectProposal() | ExpireProposals():
            return decide_proposal(portfolio, given, now)
        case SaveRow():
            return decide_save(portfolio, given)
        case OrderReport() | SendOrder() | EndTry():
            return _decide_order(portfolio, given, now)
        case _:
            assert_never(given)


def _decide_order(portfolio: Portfolio, given: OrderInput, now: datetime) -> Decision:
    match given:
        case OrderReport():
            return decide_report(portfolio, given)
        case SendOrder():
            return decide_send(portfolio, given, now)
        case EndTry():
            return decide_try_over(portfolio, given)
        case _:
            assert_never(given)


def _decide_basis(portfolio: Portfolio, given: StartPortfolio | ChangeSettings | SetContracts) -> Decision:
    """What all later inputs are decided on."""
    match given:
        case StartPortfolio():
            return decide_start(portfolio, given)
        case ChangeSettings():
            return decide_settings(portfolio, given)
        case SetContracts():
            return decide_contracts(portfolio, given)
        case _:
            assert_never(given)


def _decide_command(portfolio: Portfolio, given: TradingCommand, now: datetime) -> Decision:
    match given:
        case Halt():
            return decide_halt(portfolio, given)
        case Resume():
            return decide_resume(portfolio, given)
        case Freeze():
            return decide_freeze(portfolio, given)
        case ClosePositions():
            return decide_close(portfolio, given, now)
        case MoveCapital():
            return decide_capital(portfolio, given)
        case Roll():
            return decide_roll(portfolio, given)
        case AdoptPosition() | WriteOff() | IgnoreFinding():
            return decide_finding(portfolio, given, now)
        case _:
            assert_never(given)


def _decide_term(portfolio: Portfolio, now: datetime) -> Decision:
    # Noted only where a rule asks for it: a term that starts changes nothing else.
    events = () if portfolio.settings.approval.after_recovery is None else (RecoveryNoted(at=now),)
    after = reduce(evolve, events, portfolio)
    return Decision(outcome=Outcome(status=Status.EXECUTED), portfolio=after, events=events)


def _decide_signal(portfolio: Portfolio, given: SignalInput, now: datetime) -> Decision:
    return beside_its_strategy(portfolio, given.signal, lambda current: _decide_alone(current, given, now))


def _decide_alone(portfolio: Portfolio, given: SignalInput, now: datetime) -> Decision:
    signal = given.signal
    refusal = timing_refusal(portfolio, given, now)
    if refusal is not None:
        return refusal
    decision = _decide_by_type(portfolio, signal, given.fingerprint)
    return in_its_mode(portfolio, given, now, decision)


def _decide_by_type(portfolio: Portfolio, signal: Signal, fingerprint: str) -> Decision:
    match signal.type:
        case SignalType.BASE_ENTRY:
            return decide_base_entry(portfolio, signal, fingerprint)
        case SignalType.PYRAMID:
            return decide_pyramid(portfolio, signal, fingerprint)
        case SignalType.EXIT:
            return decide_exit(portfolio, signal)
        case SignalType.MARKET_DATA:
            return decide_bar(portfolio, signal)
        case _:
            assert_never(signal.type)
