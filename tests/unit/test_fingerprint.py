"""What makes a signal the same signal, the position's id, and the order of signals that wait together."""

import hashlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from core.fingerprint import fingerprint_of, position_id_of
from core.models import MarketPosition, Signal, SignalType
from core.ordering import signal_in_order_key

FIRED = datetime(2026, 1, 14, 6, 15, 0, tzinfo=UTC)


def a_signal(**changes: Any) -> Signal:
    fields: dict[str, Any] = {
        "type": SignalType.BASE_ENTRY,
        "instrument": "BANK_NIFTY",
        "layer": "Long_1",
        "price": Decimal("58412.6"),
        "timestamp": FIRED,
    }
    layers = {SignalType.MARKET_DATA: "", SignalType.PYRAMID: "Long_2"}
    fields["layer"] = layers.get(changes.get("type", SignalType.BASE_ENTRY), "Long_1")
    return Signal(**(fields | changes))


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def test_the_fingerprint_is_the_sha_256_of_what_the_domain_says() -> None:
    expected = sha256("main:BANK_NIFTY:BASE_ENTRY:Long_1:2026-01-14T06:15:00Z")
    assert fingerprint_of("main", a_signal()) == expected
    assert len(expected) == 64


def test_the_fingerprint_of_the_first_example_never_changes() -> None:
    assert fingerprint_of("main", a_signal()) == "cbbcdff6af7b051a93339173eec81c363325f3183d6b83fde39528b112e827a4"


def test_the_bar_time_is_the_identity_where_there_is_one() -> None:
    signal = a_signal(bar_time=datetime(2026, 1, 14, 5, 15, tzinfo=UTC))
    assert fingerprint_of("main", signal) == sha256("main:BANK_NIFTY:BASE_ENTRY:Long_1:2026-01-14T05:15:00Z")
    assert fingerprint_of("main", signal) == fingerprint_of(
        "main", a_signal(bar_time=signal.bar_time, timestamp=FIRED + timedelta(seconds=2))
    )


def test_the_time_is_cut_to_the_second_not_rounded() -> None:
    assert fingerprint_of("main", a_signal(timestamp=FIRED.replace(microsecond=999_999))) == fingerprint_of(
        "main", a_signal()
    )
    assert fingerprint_of("main", a_signal(timestamp=FIRED + timedelta(seconds=1))) != fingerprint_of(
        "main", a_signal()
    )


def test_what_the_strategy_tells_of_itself_is_no_part_of_the_identity() -> None:
    told = a_signal(seq=7, position_size=Decimal(3), market_position=MarketPosition.LONG)
    assert fingerprint_of("main", told) == fingerprint_of("main", a_signal())


def test_market_data_has_an_empty_position() -> None:
    signal = a_signal(type=SignalType.MARKET_DATA)
    assert fingerprint_of("main", signal) == sha256("main:BANK_NIFTY:MARKET_DATA::2026-01-14T06:15:00Z")


@pytest.mark.parametrize(
    "changes",
    [
        {"type": SignalType.EXIT},
        {"instrument": "COPPER"},
        {"layer": "Short_1"},
        {"timestamp": FIRED - timedelta(seconds=1)},
    ],
)
def test_type_instrument_position_and_time_each_make_another_signal(changes: dict[str, Any]) -> None:
    assert fingerprint_of("main", a_signal(**changes)) != fingerprint_of("main", a_signal())


def test_the_same_alert_to_two_portfolios_is_two_signals() -> None:
    assert fingerprint_of("alpha", a_signal()) != fingerprint_of("main", a_signal())


def test_price_stop_and_lots_do_not_make_another_signal() -> None:
    assert fingerprint_of("main", a_signal(price=Decimal(1), stop=Decimal(2), lots=9)) == fingerprint_of(
        "main", a_signal()
    )


def test_the_trade_number_of_a_replayed_exit_is_appended() -> None:
    signal = a_signal(type=SignalType.EXIT)
    assert fingerprint_of("main", replace(signal, trade_number=17)) == sha256(
        "main:BANK_NIFTY:EXIT:Long_1:2026-01-14T06:15:00Z:17"
    )
    assert fingerprint_of("main", replace(signal, trade_number=0)) != fingerprint_of("main", signal)


def test_a_position_id_is_instrument_layer_and_the_first_twelve_digits() -> None:
    assert position_id_of("BANK_NIFTY", "Long_1", "0123456789abcdef" * 4) == "BANK_NIFTY-Long_1-0123456789ab"


def test_the_longest_position_id_fits_its_column() -> None:
    assert len(position_id_of("A" * 29, "Short_6", "f" * 64)) == 50


def test_a_position_id_that_does_not_fit_its_column_is_an_error() -> None:
    with pytest.raises(ValueError, match="longer than 50 characters"):
        position_id_of("A" * 30, "Short_6", "f" * 64)


def test_signals_of_one_bar_are_ordered_exit_bar_base_pyramid() -> None:
    order = [SignalType.EXIT, SignalType.MARKET_DATA, SignalType.BASE_ENTRY, SignalType.PYRAMID]
    # Fired in the opposite order: the type comes before the timestamp.
    signals = [
        a_signal(type=kind, bar_time=FIRED, timestamp=FIRED + timedelta(seconds=9 - rank))
        for rank, kind in enumerate(order)
    ]
    signals.reverse()
    assert [signal.type for signal in sorted(signals, key=signal_in_order_key)] == order


def test_an_earlier_bar_comes_first_whatever_its_type_and_timestamp() -> None:
    early = a_signal(type=SignalType.PYRAMID, bar_time=FIRED - timedelta(hours=1), timestamp=FIRED)
    late = a_signal(type=SignalType.EXIT, bar_time=FIRED, timestamp=FIRED - timedelta(hours=2))
    assert sorted([late, early], key=signal_in_order_key) == [early, late]


def test_without_a_bar_time_the_timestamp_orders() -> None:
    bar, fired = a_signal(bar_time=FIRED), a_signal(timestamp=FIRED - timedelta(seconds=1))
    assert sorted([bar, fired], key=signal_in_order_key) == [fired, bar]


def test_the_timestamp_orders_signals_of_equal_bar_and_type() -> None:
    first = a_signal(bar_time=FIRED, timestamp=FIRED + timedelta(seconds=1))
    second = a_signal(bar_time=FIRED, timestamp=FIRED + timedelta(seconds=2), layer="Short_1")
    assert sorted([second, first], key=signal_in_order_key) == [first, second]


def test_a_signal_with_only_a_bar_time_can_be_ordered() -> None:
    assert signal_in_order_key(a_signal(timestamp=None, bar_time=FIRED)) == (FIRED, 2, FIRED)


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001 - given a zone
    st.integers(0, 999_999),
)
def test_all_instants_of_one_second_share_a_fingerprint(time: datetime, microsecond: int) -> None:
    one, other = a_signal(timestamp=time), a_signal(timestamp=time.replace(microsecond=microsecond))
    assert fingerprint_of("main", one) == fingerprint_of("main", other)
