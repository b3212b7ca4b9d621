"""Changes are applied in their order, each to a copy; what cannot be is refused by name and changes nothing."""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import assume
from hypothesis import given as any_of
from hypothesis import strategies as st
from msgspec.structs import replace

from core.errors import Refused
from risk.analytics.refusals import ImpossibleShocks, NotFinite, NoVolatility, OutOfRange, WrongShape
from risk.what_if.changes import (
    Add,
    Change,
    Remove,
    Resize,
    Roll,
    ShockFactors,
    ShockPrices,
    ShockVolatilities,
    applied,
    apply,
    changes_from_json,
    changes_to_json,
    correlated_factor_shock,
)
from risk.what_if.positions import Positions
from risk.what_if.pricing import greeks_per_lot, terms_of
from risk.what_if.refusals import MissingBeta, MissingFigure, MissingPrice, NotRollable, PositionExists, UnknownPosition
from tests.unit.risk.what_if import (
    AT,
    COVARIANCE,
    EXPIRY,
    a_leg,
    a_position,
    an_option,
    gold,
    held,
    lots,
    many,
    moves,
    synthetic,
    terms,
)


def test_positions_are_added_removed_and_resized_on_their_side() -> None:
    after = applied(
        held(), [Add(position=an_option()), Remove(position_id="bank-1"), Resize(position_id="gold-1", lots=5)]
    )
    assert [(one.position_id, one.signed_quantity) for one in after.held] == [("call-1", 1.0), ("gold-1", -5.0)]


def test_a_roll_moves_price_and_stop_by_the_spread() -> None:
    rolled = apply(held(), Roll(position_id="bank-1", contract="2026-02", spread=250)).of("bank-1")
    assert (rolled.contract, rolled.price, rolled.stop) == ("2026-02", 52_250.0, 51_900.0)
    unknown = held(a_position(price=None, stop=None))
    rolled = apply(unknown, Roll(position_id="bank-1", contract="2026-02", spread=250)).of("bank-1")
    assert (rolled.contract, rolled.price, rolled.stop) == ("2026-02", None, None)


def test_a_synthetic_future_is_rolled_with_its_legs() -> None:
    later = {"strike": 52_500.0, "expires_at": EXPIRY + timedelta(days=28)}
    legs = (a_leg("CALL", **later), a_leg("PUT", ratio=-1.0, **later))
    change = Roll(position_id="bank-1", contract="2026-02", spread=250, legs=legs)
    rolled = apply(held(a_position(option=synthetic())), change).of("bank-1")
    assert (rolled.price, terms_of(rolled).legs, terms_of(rolled).underlying_price) == (52_250.0, legs, 52_250.0)


def test_shocked_prices_move_what_moves_with_them() -> None:
    after = apply(held(), ShockPrices(shocks={"BANK_NIFTY": -0.1}))
    assert after.of("bank-1").price == pytest.approx(46_800)
    assert after.of("gold-1") == gold()


def test_options_are_valued_anew_when_their_underlying_moves() -> None:
    before, after = an_option(), apply(held(an_option()), ShockPrices(shocks={"BANK_NIFTY": -0.1})).of("call-1")
    assert terms_of(after).underlying_price == pytest.approx(46_800)
    assert after.price == pytest.approx(1_100 + greeks_per_lot(after).value - greeks_per_lot(before).value)
    # Less than delta says, for the option is long gamma.
    assert -1_100 < after.price - before.price < 0
    assert before.price - after.price < greeks_per_lot(before).delta * 5_200


def test_a_synthetic_future_moves_as_the_future() -> None:
    before = a_position(option=synthetic())
    after = apply(held(before), ShockPrices(shocks={"BANK_NIFTY": 0.1})).of("bank-1")
    assert (after.price, terms_of(after).underlying_price) == (pytest.approx(57_200), pytest.approx(57_200))


def test_shocked_volatilities_move_options_alone() -> None:
    positions = held(a_position(), an_option(), gold(option=terms(a_leg("PUT"))))
    after = apply(positions, ShockVolatilities(shocks={"BANK_NIFTY": 0.05}))
    assert terms_of(after.of("call-1")).legs[0].volatility == pytest.approx(0.23)
    assert after.of("call-1").price > 1_100
    assert after.of("bank-1") == a_position()
    assert after.of("gold-1") == positions.of("gold-1")


def test_shocked_factors_move_prices_by_betas_and_volatilities_by_theirs() -> None:
    betas = {"index": 1.1, "gold": 0.0, "implied_volatility": 0.0}
    positions = held(a_position(betas=betas), an_option(betas=betas))
    after = apply(positions, ShockFactors(shocks={"index": 0.1, "implied_volatility": 0.02}))
    assert after.of("bank-1").price == pytest.approx(52_000 * 1.11)
    assert terms_of(after.of("call-1")).underlying_price == pytest.approx(52_000 * 1.11)
    assert terms_of(after.of("call-1")).legs[0].volatility == pytest.approx(0.20)


def test_factors_that_are_not_shocked_move_as_expected() -> None:
    change = correlated_factor_shock({"index": -0.10}, COVARIANCE, by="ada", at=AT)
    assert change.shocks == {"index": pytest.approx(-0.10), "gold": pytest.approx(-0.0125)}
    assert (change.by, change.at) == ("ada", AT)
    upside_down = COVARIANCE.loc[["gold", "index"]]
    assert correlated_factor_shock({"index": -0.10}, upside_down).shocks == change.shocks
    with pytest.raises(ImpossibleShocks, match="tin"):
        correlated_factor_shock({"tin": 0.1}, COVARIANCE)


@pytest.mark.parametrize(
    "change, refusal, words",
    [
        (Remove(position_id="tin-1"), UnknownPosition, "no position tin-1"),
        (Resize(position_id="tin-1", lots=1), UnknownPosition, "tin-1"),
        (Roll(position_id="tin-1", contract="2026-02", spread=1), UnknownPosition, "tin-1"),
        (Add(position=a_position()), PositionExists, "bank-1 already"),
        (Add(position=a_position("bank-2", betas={"index": 2.0})), OutOfRange, "move with BANK_NIFTY, and differ"),
        (Roll(position_id="bank-1", contract="2026-01", spread=1), NotRollable, "in 2026-01 already"),
        (Roll(position_id="call-1", contract="2026-02", spread=1), NotRollable, "an option: it has no spread"),
        (Roll(position_id="synthetic", contract="2026-02", spread=1), NotRollable, "has legs, and the roll gives none"),
        (Roll(position_id="bank-1", contract="2026-02", spread=1, legs=(a_leg(),)), NotRollable, "has no legs"),
        (
            Roll(position_id="synthetic", contract="2026-02", spread=1, legs=(a_leg(),)),
            NotRollable,
            "these legs are none",
        ),
        (ShockPrices(shocks={"TIN": 0.1}), UnknownPosition, "nothing held moves with TIN"),
        (ShockVolatilities(shocks={"GOLD_MINI": 0.1}), UnknownPosition, "no options are held on GOLD_MINI"),
        (ShockFactors(shocks={"tin": 0.1, "index": 0.1}), MissingBeta, "bank-1: no beta to tin"),
        (ShockPrices(shocks={"COPPER": 0.1}), MissingPrice, "copper-1: no price"),
        (ShockPrices(shocks={"BANK_NIFTY": -1.0}), OutOfRange, "falls by 1 of itself"),
        (ShockVolatilities(shocks={"BANK_NIFTY": -0.18}), OutOfRange, "cannot change by -0.18"),
        (ShockVolatilities(shocks={"TIN_OPTION": 0.01}), NoVolatility, "tin-option: no volatility to change"),
    ],
)
def test_a_change_that_cannot_be_is_refused_and_changes_nothing(
    change: Change, refusal: type[Refused], words: str
) -> None:
    positions = held(
        a_position(),
        gold(),
        an_option(),
        a_position("synthetic", option=synthetic()),
        gold("copper-1", instrument="COPPER", price=None),
        an_option("tin-option", terms(a_leg(volatility=None)), instrument="TIN_OPTION", underlying=""),
    )
    before = positions.content_hash
    with pytest.raises(refusal, match=words):
        applied(positions, [Resize(position_id="gold-1", lots=7), change])
    assert positions.content_hash == before


@pytest.mark.parametrize(
    "build, refusal, words",
    [
        (lambda: Resize(position_id="a", lots=0), OutOfRange, "to sell all, remove it"),
        (lambda: Resize(position_id="a", lots=-1), OutOfRange, "not above 0"),
        (lambda: Resize(position_id="a", lots=float("nan")), NotFinite, "resize of a: `lots`: nan"),
        (lambda: Roll(position_id="a", contract=" ", spread=1), OutOfRange, "contract"),
        (lambda: Roll(position_id="a", contract="b", spread=float("inf")), NotFinite, "spread"),
        (lambda: ShockPrices(shocks={}), OutOfRange, "there are none"),
        (lambda: ShockFactors(shocks={"index": float("nan")}), NotFinite, "of index"),
        (lambda: Remove(position_id="a", at=AT.replace(tzinfo=None)), OutOfRange, "aware UTC"),
    ],
)
def test_a_change_is_valid_from_birth(build: Any, refusal: type[Refused], words: str) -> None:
    with pytest.raises(refusal, match=words):
        build()


def test_a_move_beyond_all_numbers_is_refused() -> None:
    with pytest.raises(OutOfRange, match="`move`: 1e\\+20 is beyond"):
        apply(held(a_position(betas={"index": 1e10})), ShockFactors(shocks={"index": 1e10}))
    with pytest.raises(OutOfRange, match="position bank-1: `price`"):
        apply(held(a_position(price=1e17)), ShockPrices(shocks={"BANK_NIFTY": 1e10}))


def test_a_position_without_options_has_no_terms() -> None:
    with pytest.raises(MissingFigure, match="bank-1: no options"):
        terms_of(a_position())


ALL_KINDS: tuple[Change, ...] = (
    Add(position=an_option(), by="ada", at=AT),
    Remove(position_id="bank-1"),
    Resize(position_id="gold-1", lots=2),
    Roll(position_id="gold-1", contract="2026-03", spread=-12.5, by="ada"),
    Roll(position_id="x", contract="2026-03", spread=1.0, legs=synthetic().legs),
    ShockPrices(shocks={"GOLD_MINI": 0.01}),
    ShockVolatilities(shocks={"BANK_NIFTY": 0.01}),
    ShockFactors(shocks={"index": -0.1, "gold": 0.0}),
)


def test_changes_are_kept_as_json() -> None:
    assert changes_from_json(changes_to_json(ALL_KINDS)) == ALL_KINDS
    assert changes_from_json("[]") == ()


@pytest.mark.parametrize(
    "text, refusal, words",
    [
        ("[", WrongShape, "truncated"),
        ('[{"change": "explode"}]', WrongShape, "explode"),
        ('[{"change": "remove"}]', WrongShape, "position_id"),
        ('[{"change": "remove", "position_id": "a", "why": "x"}]', WrongShape, "why"),
        ('[{"change": "resize", "position_id": "a", "lots": NaN}]', WrongShape, "malformed"),
        ('[{"change": "resize", "position_id": "a", "lots": 0}]', OutOfRange, "remove it"),
        ('[{"change": "remove", "position_id": "a", "at": "2026-01-14T06:15:00+05:30"}]', OutOfRange, "aware UTC"),
    ],
)
def test_json_that_is_no_changes_is_refused(text: str, refusal: type[Refused], words: str) -> None:
    with pytest.raises(refusal, match=words):
        changes_from_json(text)


@any_of(many(), st.data())
def test_undoing_by_dropping_the_last_change_gives_what_was_before(positions: Positions, data: st.DataObject) -> None:
    kinds = (
        lambda one: Resize(position_id=one.position_id, lots=3),
        lambda one: Remove(position_id=one.position_id),
        lambda _: ShockPrices(shocks={"GOLD_MINI": 0.1}),
    )
    changes: list[Change] = [Add(position=gold("new"))]
    changes += [data.draw(st.sampled_from(kinds))(one) for one in positions.held]
    states = [positions]
    for change in changes:
        states.append(apply(states[-1], change))
    for count, state in enumerate(states):
        assert applied(positions, changes[:count]) == state
    assert states[0].content_hash == positions.content_hash


@any_of(many(least=1), lots, st.data())
def test_what_takes_a_change_back_gives_the_same_content(
    positions: Positions, size: float, data: st.DataObject
) -> None:
    one = data.draw(st.sampled_from(positions.held))
    back = (
        [Add(position=gold("new")), Remove(position_id="new")],
        [Remove(position_id=one.position_id), Add(position=one)],
        [
            Resize(position_id=one.position_id, lots=size),
            Resize(position_id=one.position_id, lots=abs(one.signed_quantity)),
        ],
    )
    for changes in back:
        assert applied(positions, changes).content_hash == positions.content_hash


@any_of(many(least=1), moves, moves)
def test_two_shocks_of_an_underlying_are_their_product(positions: Positions, first: float, second: float) -> None:
    sources = {one.source for one in positions.held}
    both = (1 + first) * (1 + second) - 1
    assume(both > -1)
    one_by_one = applied(positions, [ShockPrices(shocks=dict.fromkeys(sources, move)) for move in (first, second)])
    at_once = apply(positions, ShockPrices(shocks=dict.fromkeys(sources, both)))
    for label in (one.position_id for one in positions.held):
        np.testing.assert_allclose(one_by_one.of(label).price, at_once.of(label).price, rtol=1e-6, atol=1e-4)


def test_a_factor_shock_needs_every_beta() -> None:
    with pytest.raises(MissingBeta, match="gold-1: no beta to gold, index"):
        apply(held(a_position(), gold(betas=None)), ShockFactors(shocks={"index": 0.1, "gold": 0.0}))


def test_a_shock_of_nothing_changes_nothing() -> None:
    positions = held(replace(a_position(), price=None), gold())
    assert apply(positions, ShockPrices(shocks={"BANK_NIFTY": 0.0})) == positions
