"""A what-if's positions are valid from birth, made of rows or of the engine's portfolio, and told apart by their content."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given as any_of
from msgspec.structs import asdict, replace

from core.errors import Refused
from risk.analytics.refusals import LabelsDiffer, NotFinite, OutOfRange, WrongShape
from risk.what_if.checked import read, written
from risk.what_if.positions import Described, HeldPosition, Positions, Tags, nodes_of, positions_from_rows, positions_of
from risk.what_if.refusals import PositionExists, UnknownPosition
from tests.builders import NOON, a_portfolio, holding, settings_with
from tests.builders import a_position as engines_position
from tests.unit.risk.what_if import AT, a_leg, a_position, an_option, gold, held, many, synthetic, terms


@pytest.mark.parametrize(
    "changed, refusal, words",
    [
        ({"signed_quantity": 0}, OutOfRange, "position bank-1: `signed_quantity`: nothing is held"),
        ({"signed_quantity": -0.0}, OutOfRange, "nothing is held"),
        ({"signed_quantity": float("nan")}, NotFinite, "position bank-1: `signed_quantity`: nan"),
        ({"signed_quantity": "2"}, WrongShape, "'2' is not a number"),
        ({"signed_quantity": True}, WrongShape, "True is not a number"),
        ({"price": float("inf")}, NotFinite, "`price`: inf"),
        ({"point_value": 0}, OutOfRange, "`point_value`: 0.0 is not above 0"),
        ({"rate": -1}, OutOfRange, "`rate`: -1.0 is not above 0"),
        ({"specific_variance": -1e-9}, OutOfRange, "`specific_variance`: -1e-09 is below 0"),
        ({"margin_per_lot": -1}, OutOfRange, "`margin_per_lot`"),
        ({"betas": {"index": float("nan")}}, NotFinite, "beta to index"),
        ({"betas": {" ": 1.0}}, OutOfRange, "`beta to`: one has no name"),
        ({"instrument": " "}, OutOfRange, "`instrument`: ' ' is no name"),
        ({"currency": None}, OutOfRange, "`currency`: None is no name"),
    ],
)
def test_a_position_that_cannot_be_is_refused_by_name(changed: dict, refusal: type[Refused], words: str) -> None:
    with pytest.raises(refusal, match=words):
        a_position(**changed)


def test_a_price_may_be_below_nothing_and_what_is_unknown_is_none() -> None:
    assert a_position(price=-37).price == -37.0
    unknown = HeldPosition(position_id="x", instrument="X", currency="INR", signed_quantity=1, point_value=1)
    assert (unknown.price, unknown.rate, unknown.betas, unknown.stop, unknown.margin_per_lot) == (None,) * 5


@pytest.mark.parametrize(
    "build, refusal, words",
    [
        (lambda: a_leg(strike=0.0), OutOfRange, "strike"),
        (lambda: a_leg("STRADDLE"), OutOfRange, "STRADDLE"),
        (lambda: a_leg(volatility=0.0), OutOfRange, "`volatility`: 0.0 is not above 0"),
        (lambda: a_leg(ratio=0.0), OutOfRange, "`ratio`"),
        (lambda: a_leg(expires_at=datetime(2026, 1, 29)), OutOfRange, "aware UTC"),  # noqa: DTZ001 - what is refused
        (lambda: terms(underlying_price=0.0), OutOfRange, "price"),
        (lambda: terms(dividend_yield=0.01), OutOfRange, "a future has none"),
        (lambda: terms(at=AT.astimezone(timezone(timedelta(hours=5)))), OutOfRange, "aware UTC"),
        (lambda: replace(terms(), legs=()), OutOfRange, "`legs`: there are none"),
    ],
)
def test_options_that_cannot_be_are_refused_by_name(build: Any, refusal: type[Refused], words: str) -> None:
    with pytest.raises(refusal, match=words):
        build()


def test_a_synthetic_future_is_a_call_against_a_put_of_one_strike_and_expiry() -> None:
    assert synthetic().is_synthetic_future
    assert terms(a_leg("PUT", ratio=2.0), a_leg("CALL", ratio=-2.0)).is_synthetic_future
    for legs in (
        (a_leg("CALL"),),
        (a_leg("CALL"), a_leg("CALL", ratio=-1.0)),
        (a_leg("CALL"), a_leg("PUT")),
        (a_leg("CALL"), a_leg("PUT", ratio=-1.0, strike=52_500.0)),
    ):
        assert not terms(*legs).is_synthetic_future
    assert an_option().is_option
    assert not a_position(option=synthetic()).is_option


def test_positions_are_there_once_in_the_order_of_their_ids() -> None:
    assert [one.position_id for one in held(gold(), a_position()).held] == ["bank-1", "gold-1"]
    with pytest.raises(LabelsDiffer, match="bank-1 more than once"):
        held(a_position(), a_position())
    with pytest.raises(OutOfRange, match=r"`rate`: 85\.0 of INR to itself"):
        held(a_position(rate=85))
    assert held(a_position(currency="USD", rate=85)).held[0].rate == 85
    with pytest.raises(OutOfRange, match="`base`"):
        held(base="")


def test_positions_that_move_as_one_are_told_alike() -> None:
    held(a_position(), an_option(), a_position("bank-2", betas=None, specific_variance=None))
    with pytest.raises(OutOfRange, match="`betas`: bank-1 and call-1 both move with BANK_NIFTY, and differ"):
        held(a_position(), an_option(betas={"index": 1.0, "gold": 0.0}))
    with pytest.raises(OutOfRange, match="`specific_variance`"):
        held(a_position(), a_position("bank-2", specific_variance=0.0))


def test_a_position_is_found_added_and_left_out_by_its_id() -> None:
    positions = held()
    assert positions.of("gold-1") == gold()
    with pytest.raises(UnknownPosition, match="no position tin-1"):
        positions.of("tin-1")
    with pytest.raises(PositionExists, match="gold-1 already"):
        positions.with_position(gold())
    with pytest.raises(UnknownPosition):
        positions.without("tin-1")
    assert positions.without("gold-1") == held(a_position())


def test_rows_make_positions_and_a_wrong_one_is_told_by_its_field() -> None:
    rows = [asdict(one) for one in held().held]
    assert positions_from_rows(rows, base="INR", as_of=AT) == held()
    with pytest.raises(WrongShape, match="quantity"):
        positions_from_rows([{**rows[0], "quantity": 2}], base="INR", as_of=AT)
    with pytest.raises(WrongShape, match="point_value"):
        positions_from_rows([{k: v for k, v in rows[0].items() if k != "point_value"}], base="INR", as_of=AT)
    with pytest.raises(WrongShape, match="Expected `float"):
        positions_from_rows([{**rows[0], "price": "52000"}], base="INR", as_of=AT)


@any_of(many())
def test_the_content_hash_tells_the_same_from_what_differs(positions: Positions) -> None:
    again = read(written(positions), Positions, "positions")
    assert again == positions
    assert again.content_hash == positions.content_hash
    assert replace(positions, as_of=AT + timedelta(seconds=1)).content_hash != positions.content_hash
    assert positions.with_position(gold("other")).content_hash != positions.content_hash
    for one in positions.held:
        other = positions.replaced(replace(one, signed_quantity=one.signed_quantity * 2))
        assert other.content_hash != positions.content_hash


def test_whole_numbers_and_fractions_are_the_same_content() -> None:
    assert held(a_position(price=52_000)).content_hash == held(a_position(price=52_000.0)).content_hash


def test_a_frame_has_a_row_for_each_position() -> None:
    frame = held().frame()
    assert frame.index.to_list() == ["bank-1", "gold-1"]
    assert frame["signed_quantity"].to_list() == [2.0, -3.0]
    assert held(base="INR").without("bank-1").without("gold-1").frame().empty


def test_a_node_has_all_nodes_above_it() -> None:
    assert list(nodes_of(a_position(node="Fund/Desk/Book"))) == ["Fund", "Fund/Desk", "Fund/Desk/Book"]
    assert list(nodes_of(a_position(node=""))) == []


def test_the_engines_portfolio_gives_its_open_positions_at_their_marks() -> None:
    portfolio = holding(
        a_portfolio(),
        engines_position(mark_price=Decimal(72_400), current_stop=Decimal("71600.5"), strategy_id="trend"),
        engines_position(
            "GOLD_MINI-Short_2-abc",
            layer="Short_2",
            lots=1,
            current_stop=None,
            is_base_position=False,
            contract_month="2026-02",
        ),
    )
    described = {
        "GOLD_MINI": Described(
            node="Fund/Metals",
            sector="Metals",
            underlying="GOLD",
            betas={"gold": 1.0},
            specific_variance=1e-6,
            tags=Tags(regular=("hedge",), strategy=("carry",)),
        )
    }
    positions = positions_of(
        portfolio,
        base="USD",
        as_of=NOON,
        rates={"INR": 0.012},
        described=described,
        tags=Tags(regular=("india",)),
        tagged={"GOLD_MINI-Short_2-abc": Tags(regular=("test",), strategy=("pairs",))},
    )
    long, short = positions.of("GOLD_MINI-Long_1-abc"), positions.of("GOLD_MINI-Short_2-abc")
    assert (long.signed_quantity, long.point_value, long.price, long.stop) == (2.0, 10.0, 72_400.0, 71_600.5)
    assert (long.currency, long.rate, long.node, long.sector) == ("INR", 0.012, "Fund/Metals", "Metals")
    assert (long.source, long.betas, long.specific_variance) == ("GOLD", {"gold": 1.0}, 1e-6)
    assert (long.tags, long.strategies, short.strategies) == (
        ("hedge", "india"),
        ("carry", "trend"),
        ("carry", "pairs"),
    )
    assert short.tags == ("hedge", "india", "test")
    assert (short.signed_quantity, short.stop, short.contract, long.contract) == (-1.0, None, "2026-02", "")
    margin = float(portfolio.settings.instruments["GOLD_MINI"].margin_per_lot)
    assert long.margin_per_lot == short.margin_per_lot == margin


def test_what_is_not_described_is_unknown_and_a_portfolio_is_its_own_node() -> None:
    positions = positions_of(holding(a_portfolio(), engines_position()), base="USD", as_of=NOON)
    (one,) = positions.held
    assert (one.rate, one.betas, one.specific_variance, one.node, one.sector) == (None, None, None, "main", "")
    (inr,) = positions_of(holding(a_portfolio(), engines_position()), base="INR", as_of=NOON).held
    assert inr.rate == 1.0


def test_a_position_of_what_is_not_configured_is_refused() -> None:
    portfolio = holding(a_portfolio(), engines_position())
    others = settings_with()
    others = others.model_copy(update={"instruments": {"COPPER": others.instruments["COPPER"]}})
    with pytest.raises(OutOfRange, match="GOLD_MINI is not configured"):
        positions_of(portfolio.with_settings(others), base="INR", as_of=NOON)


def test_times_are_aware_utc() -> None:
    assert held().as_of.tzinfo is UTC
    with pytest.raises(OutOfRange, match="as_of"):
        held(as_of=datetime(2026, 1, 14))  # noqa: DTZ001 - what is refused
