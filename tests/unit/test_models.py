"""Signals, positions and rows are valid from birth: exact decimals in range, aware UTC times, figures that agree."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from core.models import (
    POSITION_MONEY,
    POSITION_PRICES,
    POSITION_TIMES,
    STATE_MONEY,
    MarketPosition,
    PortfolioState,
    Position,
    PositionStatus,
    PyramidingState,
    Side,
    Statistics,
    changed,
    layer_number,
    layer_side,
    require_utc,
    status_of,
)
from tests.builders import NOON, a_portfolio, a_position, a_signal

NAIVE = datetime(2026, 1, 14, 6, 15)  # noqa: DTZ001 - the point of the test
KOLKATA = datetime(2026, 1, 14, 11, 45, tzinfo=timezone(timedelta(hours=5, minutes=30)))

# What of one model a wrong value of a field looks like.
OUT_OF_RANGE = [Decimal(10) ** 16, -(Decimal(10) ** 16), Decimal("NaN"), Decimal("Infinity")]
SIGNAL_NUMBERS = ("price", "stop", "atr", "er", "supertrend", "roc", "position_size")


# --- signals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", SIGNAL_NUMBERS)
@pytest.mark.parametrize("value", [1.5, 1, "1"])
def test_a_signals_numbers_are_decimals(field: str, value: Any) -> None:
    with pytest.raises(TypeError, match=rf"Signal\.{field} must be a Decimal"):
        replace(a_signal(), **{field: value})


@pytest.mark.parametrize("field", SIGNAL_NUMBERS)
@pytest.mark.parametrize("value", ["NaN", "sNaN", "Infinity", "-Infinity", "10000000000", "-10000000000", "1E+999"])
def test_a_signals_numbers_are_finite_and_fit_their_columns(field: str, value: str) -> None:
    with pytest.raises(ValueError, match=rf"Signal\.{field} is out of range"):
        replace(a_signal(), **{field: Decimal(value)})


@pytest.mark.parametrize("field", SIGNAL_NUMBERS)
def test_a_signals_numbers_have_eight_decimals_at_most(field: str) -> None:
    with pytest.raises(ValueError, match=rf"Signal\.{field} has more than 8 decimals"):
        replace(a_signal(), **{field: Decimal("0.123456789")})
    replace(a_signal(), **{field: Decimal("0.12345678000")})  # trailing zeros are no digits


@pytest.mark.parametrize("price", ["0", "-1"])
def test_a_price_is_above_zero(price: str) -> None:
    with pytest.raises(ValueError, match=r"Signal\.price must be above 0"):
        a_signal(price=price)


@pytest.mark.parametrize("field", ["timestamp", "bar_time"])
@pytest.mark.parametrize("time", [NAIVE, KOLKATA])
def test_a_signals_times_are_aware_and_utc(field: str, time: datetime) -> None:
    with pytest.raises(ValueError, match=rf"Signal\.{field} must be an aware UTC datetime"):
        a_signal(**{field: time})


def test_a_signal_has_a_time() -> None:
    with pytest.raises(ValueError, match="timestamp or a bar_time"):
        a_signal(timestamp=None)


def test_a_signals_bar_is_its_identity_and_its_timestamp_its_own_time() -> None:
    bar = NOON - timedelta(minutes=15)
    both = a_signal(bar_time=bar)
    assert (both.bar, both.time) == (bar, NOON)
    assert (a_signal().bar, a_signal().time) == (NOON, NOON)
    only_bar = a_signal(timestamp=None, bar_time=bar)
    assert (only_bar.bar, only_bar.time) == (bar, bar)


@pytest.mark.parametrize("layer, side, number", [("Long_1", Side.LONG, 1), ("Short_6", Side.SHORT, 6)])
def test_a_layers_name_tells_its_side_and_number(layer: str, side: Side, number: int) -> None:
    assert (layer_side(layer), layer_number(layer)) == (side, number)
    assert a_signal("EXIT", layer=layer).side is side


def test_a_long_counts_up_and_a_short_down() -> None:
    assert [side.sign for side in Side] == [1, -1]


# --- positions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", POSITION_PRICES + POSITION_MONEY)
def test_a_positions_numbers_are_decimals(field: str) -> None:
    with pytest.raises(TypeError, match=rf"Position\.{field} must be a Decimal"):
        a_position(**{field: 1.5})


@pytest.mark.parametrize("field", POSITION_PRICES + POSITION_MONEY)
@pytest.mark.parametrize("value", OUT_OF_RANGE)
def test_a_positions_numbers_fit_their_columns(field: str, value: Decimal) -> None:
    with pytest.raises(ValueError, match=rf"Position\.{field} is out of range"):
        a_position(**{field: value})


@pytest.mark.parametrize(
    "field, decimals", [(field, 8) for field in POSITION_PRICES] + [(field, 4) for field in POSITION_MONEY]
)
def test_a_positions_numbers_have_the_scale_of_their_columns(field: str, decimals: int) -> None:
    with pytest.raises(ValueError, match=rf"Position\.{field} has more than {decimals} decimals"):
        a_position(**{field: Decimal(1).scaleb(-decimals - 1)})


TIMES = ("entry_timestamp", "entry_bar_time", "mark_time", "exit_timestamp", "rollover_timestamp")


@pytest.mark.parametrize("field", TIMES)
@pytest.mark.parametrize("time", [NAIVE, KOLKATA])
def test_a_positions_times_are_aware_and_utc(field: str, time: datetime) -> None:
    with pytest.raises(ValueError, match=rf"Position\.{field} must be an aware UTC datetime"):
        a_position(**{field: time})


def test_every_decimal_and_time_of_a_position_is_checked() -> None:
    hints = Position.__annotations__
    decimals = {name for name, hint in hints.items() if "Decimal" in str(hint)}
    times = {name for name, hint in hints.items() if "datetime.datetime" in str(hint)}
    assert decimals == set(POSITION_PRICES + POSITION_MONEY)
    assert times == set(TIMES)
    assert {name for name, hint in PortfolioState.__annotations__.items() if "Decimal" in str(hint)} == {
        *STATE_MONEY,
        "total_risk_percent",
    }


@pytest.mark.parametrize("changes", [{"entry_lots": 0, "lots": 0}, {"lots": 3}, {"lots": -1}, {"entry_lots": -1}])
def test_a_positions_lots_are_none_to_all_of_its_entry(changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"lots must be 0\.\.entry_lots"):
        replace(a_position(), **changes)


@pytest.mark.parametrize(
    "lots, status", [(2, PositionStatus.OPEN), (1, PositionStatus.PARTIAL), (0, PositionStatus.CLOSED)]
)
def test_a_positions_status_follows_from_its_lots(lots: int, status: PositionStatus) -> None:
    assert status_of(lots, 2) is status
    assert a_position(lots=lots).is_open is (lots > 0)
    for other in set(PositionStatus) - {status}:
        with pytest.raises(ValueError, match="does not fit"):
            a_position(lots=lots, status=other)


def test_a_positions_quantity_is_its_lots_in_units() -> None:
    with pytest.raises(ValueError, match="is not 2 lots of 100"):
        a_position(quantity=Decimal(201))


@pytest.mark.parametrize(
    "layer, stop, risk", [("Long_1", "71500", 500), ("Short_1", "72500", 500), ("Long_1", None, None)]
)
def test_r_is_the_distance_to_the_initial_stop(layer: str, stop: str | None, risk: int | None) -> None:
    initial = None if stop is None else Decimal(stop)
    position = a_position(layer=layer, initial_stop=initial, current_stop=Decimal(72000))
    assert position.initial_risk_points == risk


@settings(deadline=None)
@given(st.decimals(Decimal("0.00000001"), Decimal("9999999999.99999999"), places=8))
def test_any_price_that_fits_its_column_is_taken(price: Decimal) -> None:
    assert a_position(entry_price=price).entry_price == price


# --- the portfolio's rows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", STATE_MONEY)
@pytest.mark.parametrize(
    "value, error, rule",
    [
        (1.5, TypeError, "must be a Decimal"),
        (Decimal(10) ** 16, ValueError, "is out of range"),
        (Decimal("NaN"), ValueError, "is out of range"),
        (Decimal("0.00001"), ValueError, "has more than 4 decimals"),
    ],
)
def test_the_states_money_is_exact_and_fits_its_columns(
    field: str, value: Any, error: type[Exception], rule: str
) -> None:
    with pytest.raises(error, match=rf"PortfolioState\.{field} {rule}"):
        replace(a_portfolio().state, **{field: value})


@pytest.mark.parametrize("value", [Decimal("0.123456789"), Decimal(10) ** 10])
def test_a_pyramiding_rows_price_fits_its_column(value: Decimal) -> None:
    with pytest.raises(ValueError, match=r"PyramidingState\.last_pyramid_price"):
        PyramidingState(instrument="COPPER", last_pyramid_price=value)


def test_a_signals_number_is_not_negative_and_its_size_agrees_with_its_position() -> None:
    with pytest.raises(ValueError, match=r"Signal\.seq"):
        a_signal(seq=-1)
    with pytest.raises(ValueError, match=r"Signal\.position_size 3 is not short"):
        a_signal(position_size=Decimal(3), market_position=MarketPosition.SHORT)


@pytest.mark.parametrize("value", [Decimal(10) ** 12, Decimal("0.123456789"), Decimal("NaN")])
def test_an_accepted_difference_fits_its_column(value: Decimal) -> None:
    with pytest.raises(ValueError, match=r"PyramidingState\.accepted_difference"):
        PyramidingState(instrument="COPPER", accepted_difference=value)


def test_what_is_frozen_stays_as_it_is() -> None:
    for thing in (a_signal(), a_position(), a_portfolio().state, PyramidingState(instrument="COPPER")):
        with pytest.raises(AttributeError):
            thing.instrument = "GOLD_MINI"


def test_utc_is_asked_of_every_time_that_is_there() -> None:
    require_utc("Thing", at=NOON, later=None)
    with pytest.raises(ValueError, match=r"Thing\.later"):
        require_utc("Thing", at=NOON, later=NAIVE)


def test_a_time_read_back_from_json_is_utc() -> None:
    position = a_position(exit_timestamp=NOON, expiry=date(2026, 2, 5))
    decoded = msgspec.json.decode(msgspec.json.encode(position), type=Position)
    assert decoded == position
    assert decoded.entry_timestamp.tzinfo is UTC


# --- a change of a row ---------------------------------------------------------------------------------------------

NUMBERS_BESIDES = {
    "total_risk_percent",
    "gross_profit",
    "gross_loss",
    "costs",
    "last_pyramid_price",
    "accepted_difference",
}
ROWS = {
    "a position": a_position(),
    "the portfolio": a_portfolio().state,
    "statistics": Statistics(),
    "an instrument": PyramidingState(instrument="BANK_NIFTY"),
}
ANY_NUMBERS = st.one_of(
    st.none(),
    st.decimals(allow_nan=True, allow_infinity=True),
    st.decimals(-(10**7), 10**7, places=4),
    st.sampled_from([1, 1.5, "1"]),
)
ANY_TIMES = st.sampled_from([None, NOON, NAIVE, KOLKATA])
ANY_COUNTS = {
    "status": st.sampled_from(PositionStatus),
    **dict.fromkeys(["lots", "entry_lots", "version", "trades_closed"], st.integers(-2, 20)),
}


def new_values(row: Any) -> dict[str, st.SearchStrategy[Any]]:
    """For each column that holds numbers, times or counts: values of any kind."""
    numbers = {*POSITION_PRICES, *POSITION_MONEY, *STATE_MONEY, *NUMBERS_BESIDES}
    found = {name: ANY_NUMBERS for name in row.__struct_fields__ if name in numbers}
    found |= {name: ANY_TIMES for name in row.__struct_fields__ if name in POSITION_TIMES}
    return found | {name: values for name, values in ANY_COUNTS.items() if name in row.__struct_fields__}


def outcome_of(change: Any, row: Any, **changes: Any) -> object:
    try:
        return change(row, **changes)
    except (TypeError, ValueError) as error:
        return type(error), str(error)


@pytest.mark.parametrize("name", ROWS)
@given(data=st.data())
@settings(max_examples=300)
def test_a_row_that_is_changed_is_what_a_new_one_with_these_columns_would_be(name: str, data: st.DataObject) -> None:
    row = ROWS[name]
    values = new_values(row)
    column = data.draw(st.sampled_from(sorted(values)))
    changes = {column: data.draw(values[column])}
    assert outcome_of(changed, row, **changes) == outcome_of(replace, row, **changes)


def test_what_has_not_changed_is_not_looked_at_again() -> None:
    position = a_position()
    assert changed(position, mark_price=Decimal(51000)) == replace(position, mark_price=Decimal(51000))
    assert position.mark_price != Decimal(51000)
