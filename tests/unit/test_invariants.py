"""What must hold of a loaded portfolio, each broken by hand."""

from decimal import Decimal

from msgspec.structs import replace

from core.invariants import broken_invariants
from core.models import PyramidingState
from core.portfolio import Portfolio, portfolio_from_rows
from tests.builders import a_portfolio, a_position, a_signal, after, settings_with


def a_book() -> Portfolio:
    return after(a_portfolio(), a_signal())


def test_what_the_engine_leaves_is_whole() -> None:
    assert broken_invariants(a_portfolio()) == []
    assert broken_invariants(a_book()) == []


def test_equity_that_does_not_add_up_is_named_with_its_figures() -> None:
    book = a_book()
    (sentence,) = broken_invariants(replace(book, state=replace(book.state, realized_total=Decimal(1))))
    assert "5000000" in sentence
    assert "5000001" in sentence


def test_two_bases_and_two_positions_of_a_layer_are_named() -> None:
    book = a_portfolio().with_position(a_position("one")).with_position(a_position("two"))
    assert broken_invariants(book) == [
        "GOLD_MINI has 2 open base positions",
        "GOLD_MINI has 2 open positions of layer Long_1",
    ]


def test_pyramids_need_their_base_or_its_id() -> None:
    pyramid = a_position("p", layer="Long_2", is_base_position=False)
    alone = a_portfolio().with_position(pyramid)
    assert any("neither an open base position" in sentence for sentence in broken_invariants(alone))
    known = PyramidingState(instrument="GOLD_MINI", base_position_id="closed")
    rows = portfolio_from_rows("main", alone.settings, alone.state, [pyramid], [known])
    assert broken_invariants(rows) == []


def test_an_open_position_without_a_stop_is_named_but_not_where_trades_are_listed() -> None:
    book = a_portfolio().with_position(a_position(current_stop=None))
    assert broken_invariants(book) == ["position GOLD_MINI-Long_1-abc is open and has no stop"]
    listed = a_portfolio(settings_with(sizing={"mode": "as_listed"})).with_position(a_position(current_stop=None))
    assert broken_invariants(listed) == []


def test_sums_that_are_not_the_positions_are_named() -> None:
    book = a_book()
    (sentence,) = broken_invariants(replace(book, state=replace(book.state, total_vol_amount=Decimal(7))))
    assert sentence.startswith("total_vol_amount 7 is not")
