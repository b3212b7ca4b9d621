"""What would this alert do now: what the engine would decide, on a portfolio that stays as it is."""

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given as any_of
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from core.decide import decide
from core.events import OrderReported, PositionOpened
from core.models import Signal, Status
from core.orders import Leg
from core.portfolio import Portfolio
from risk.what_if.alert import Foreseen, foresee, impact
from risk.what_if.positions import Described, Positions, positions_of
from tests.builders import NOON, RandomTrading, a_portfolio, a_signal, after, given, minutes, settings_with, told
from tests.contracts import in_contracts
from tests.unit.risk.what_if import inputs

DESCRIBED = {
    "BANK_NIFTY": Described(node="Fund/Equity", betas={"index": 1.1, "gold": 0.0}, specific_variance=1e-5),
    "GOLD_MINI": Described(node="Fund/Metals", betas={"index": 0.0, "gold": 1.0}, specific_variance=4e-6),
}


def measured(portfolio: Portfolio) -> Positions:
    return positions_of(portfolio, base="INR", as_of=NOON, described=DESCRIBED)


def one_of(portfolio: Portfolio, *signals: Signal, **how: object) -> Foreseen:
    return foresee(portfolio, signals, minutes(1), **how)


def test_an_entry_would_open_what_the_engine_would_open() -> None:
    portfolio = a_portfolio()
    foreseen = one_of(portfolio, a_signal())
    (answer,) = foreseen.answers
    decision = told(portfolio, a_signal(), minutes(1))
    assert answer.outcome == decision.outcome
    assert answer.events == decision.events
    assert foreseen.after == decision.portfolio
    assert (answer.outcome.status, answer.outcome.lots, answer.outcome.limiter) == (Status.EXECUTED, 2, "volatility")
    assert foreseen.before is portfolio
    assert portfolio == a_portfolio()


def test_a_refusal_is_told_with_its_reason_and_opens_nothing() -> None:
    portfolio = after(a_portfolio(), a_signal())
    foreseen = one_of(portfolio, a_signal(price=52_100, stop=51_700, timestamp=minutes(1)))
    (answer,) = foreseen.answers
    assert (answer.outcome.status, answer.outcome.reason) == (Status.REJECTED, "base position already open")
    assert foreseen.after == portfolio


def test_each_is_decided_on_what_the_one_before_left_in_the_engines_order() -> None:
    pyramid = a_signal("PYRAMID", price=53_000, stop=52_650, timestamp=minutes(1))
    foreseen = one_of(a_portfolio(), pyramid, a_signal())
    assert [answer.signal.type.value for answer in foreseen.answers] == ["BASE_ENTRY", "PYRAMID"]
    assert [answer.outcome.status for answer in foreseen.answers] == [Status.EXECUTED] * 2
    assert len(foreseen.after.positions) == 2
    alone = one_of(a_portfolio(), pyramid)
    assert alone.answers[0].outcome.status is Status.REJECTED


def test_age_is_of_the_clock_that_is_given() -> None:
    late = foresee(a_portfolio(), [a_signal()], minutes(6))
    assert (late.answers[0].outcome.status, late.answers[0].outcome.reason) == (Status.REJECTED, "stale")


def test_a_signal_that_was_decided_before_is_a_duplicate() -> None:
    fingerprint = given(a_signal()).fingerprint
    first = {"status": "executed", "lots": 2}
    (answer,) = one_of(a_portfolio(), a_signal(), decided={fingerprint: first}).answers
    assert (answer.outcome, answer.first, answer.events, answer.fingerprint) == (None, first, (), fingerprint)
    one, two = one_of(a_portfolio(), a_signal(), a_signal()).answers
    assert two.outcome is None
    assert two.first["lots"] == one.outcome.lots == 2


def test_an_exit_would_close_and_what_it_closed_is_in_its_events() -> None:
    portfolio = after(a_portfolio(), a_signal())
    foreseen = one_of(portfolio, a_signal("EXIT", price=52_700, timestamp=minutes(1)))
    assert not foreseen.after.positions
    assert not foreseen.after.closed
    assert foreseen.after.state.closed_equity == Decimal(5_042_000)
    assert len(portfolio.positions) == 1


def test_the_measures_are_told_before_and_after() -> None:
    foreseen = one_of(
        after(a_portfolio(), a_signal("BASE_ENTRY", "GOLD_MINI", price=72_000, atr=500, stop=71_500)), a_signal()
    )
    told_of = impact(foreseen, measured, inputs())
    assert told_of.of("net").difference == 2 * 52_000 * 30
    assert told_of.of("net", "node", "Fund/Metals").difference == 0
    assert told_of.of("open_heat").difference == 21_000
    assert told_of.of("margin").difference == 540_000
    assert told_of.of("factor_exposure", "factor", "index").difference == pytest.approx(1.1 * 3_120_000)


def at_a_broker() -> Portfolio:
    return a_portfolio(settings_with(execution={"fills": "broker"}))


def test_where_a_broker_fills_nothing_is_bought_until_it_does() -> None:
    foreseen = one_of(at_a_broker(), a_signal())
    (answer,) = foreseen.answers
    assert answer.outcome.status is Status.ACCEPTED
    assert not foreseen.after.positions
    assert answer.unfilled == tuple(foreseen.after.orders)
    assert impact(foreseen, measured, inputs()).of("net").difference == 0


def test_orders_are_taken_as_filled_where_that_is_asked() -> None:
    foreseen = one_of(
        at_a_broker(), a_signal("BASE_ENTRY", "GOLD_MINI", price=72_000, atr=500, stop=71_500), as_filled=True
    )
    (answer,) = foreseen.answers
    (position,) = foreseen.after.positions.values()
    assert (position.lots, position.entry_price) == (2, 72_000)
    assert answer.unfilled == ()
    assert {OrderReported, PositionOpened} <= {type(event) for event in answer.events}
    out = one_of(
        foreseen.after,
        a_signal("EXIT", "GOLD_MINI", price=72_500, timestamp=minutes(1)),
        as_filled=True,
    )
    assert not out.after.positions
    assert out.after.state.closed_equity == Decimal(5_010_000)


def test_a_leg_of_a_synthetic_future_has_no_price_to_be_filled_at() -> None:
    foreseen = one_of(in_contracts(at_a_broker()), a_signal(), as_filled=True)
    (answer,) = foreseen.answers
    (order,) = foreseen.after.orders.values()
    assert (order.leg, answer.unfilled) == (Leg.CALL, (order.client_order_id,))
    assert not foreseen.after.positions


def test_answers_are_json() -> None:
    foreseen = one_of(a_portfolio(), a_signal(), a_signal())
    first, second = msgspec.json.decode(msgspec.json.encode(foreseen.answers))
    assert first["outcome"]["lots"] == 2
    assert second["first"] == first["outcome"]


@hypothesis_settings(max_examples=25, deadline=None)
@any_of(st.integers(0, 2**32 - 1), st.sampled_from(("paper", "broker")), st.booleans())
def test_whatever_is_asked_the_portfolio_given_stays_as_it_is(seed: int, fills: str, as_filled: bool) -> None:
    trading, portfolio = RandomTrading(seed), a_portfolio(settings_with(execution={"fills": fills}))
    for _ in range(30):
        asked, now = trading.next(portfolio)
        before = msgspec.json.encode([portfolio.state, *portfolio.positions.values(), *portfolio.orders.values()])
        signal = getattr(asked, "signal", None)
        if signal is not None:
            foreseen = foresee(portfolio, [signal], now, as_filled=as_filled)
            (answer,) = foreseen.answers
            assert answer.outcome == decide(portfolio, asked, now).outcome
        kept = msgspec.json.encode([portfolio.state, *portfolio.positions.values(), *portfolio.orders.values()])
        assert kept == before
        portfolio = decide(portfolio, asked, now).portfolio.settled()
