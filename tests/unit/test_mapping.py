"""Alerts of other shapes, mapped by profiles: which signals they become, and what refuses them, in the sender's own words."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from msgspec import UNSET

from core.alert import Alert, AlertRefused, parse_alert
from core.config import FileSettings
from core.errors import ConfigurationError
from core.fingerprint import fingerprint_of
from core.mapping import MOST_ORIGINAL_BYTES, read_alerts
from core.profiles import NAMES, Profile, profile_named, shipped_profiles
from core.strict_json import MAX_TEXT

INSTRUMENTS = ("BANK_NIFTY", "GOLD_MINI")
SECRET = "hush-hush"
TRADINGVIEW = {
    "ticker": "BANKNIFTY1!",
    "action": "buy",
    "contracts": "2",
    "order_id": "Long",
    "market_position": "long",
    "prev_market_position": "flat",
    "position_size": "2",
    "price": "52000.5",
    "stop": "51650",
    "atr": "350",
    "time": "2026-01-14T06:15:00Z",
    "timenow": "2026-01-14T06:30:01Z",
    "secret": SECRET,
}
OPENALGO = {
    "apikey": SECRET,
    "strategy": "SuperTrend",
    "symbol": "BANKNIFTY1!",
    "exchange": "NFO",
    "action": "BUY",
    "product": "NRML",
    "pricetype": "MARKET",
    "quantity": "2",
    "position_size": "2",
    "price": "52000.5",
    "trigger_price": "0",
    "stop": "51650",
    "atr": "350",
    "timestamp": "2026-01-14T06:30:01Z",
}
TRADERSPOST = {
    "ticker": "BANKNIFTY1!",
    "action": "buy",
    "sentiment": "bullish",
    "quantity": 2,
    "signalPrice": 52000.5,
    "stopLoss": {"type": "stop", "stopPrice": 51650},
    "extras": {"atr": 350},
    "time": "2026-01-14T06:30:01Z",
}
LAST_BAR = {"stop_atr": 2, "atr": "last_bar", "atr_max_age_seconds": 7200}
SHAPES = {"tradingview": TRADINGVIEW, "openalgo": OPENALGO, "traderspost": TRADERSPOST}


def own(like: str = "tradingview", **changes: Any) -> Profile:
    """A profile like a shipped one, for our ticker, but for the changes."""
    return profile_named("mine", {"mine": {"like": like, "symbols": {"BANKNIFTY1!": "BANK_NIFTY"}, **changes}})


def read(shape: dict[str, Any], profile: Profile | None = None, **fields: Any) -> tuple[Alert, ...]:
    """The signals of an alert of this shape; a field of None is left out."""
    body = {name: value for name, value in {**shape, **fields}.items() if value is not None}
    return read_alerts(
        json.dumps(body).encode(), profile or own(), instruments=INSTRUMENTS, naive_timezone=UTC, as_listed=False
    )


def refused(shape: dict[str, Any], profile: Profile | None = None, **fields: Any) -> AlertRefused:
    with pytest.raises(AlertRefused) as caught:
        read(shape, profile, **fields)
    return caught.value


def kinds(alerts: tuple[Alert, ...]) -> list[str]:
    """`BASE_ENTRY Long_1` and so on."""
    return [f"{alert.signal.type} {alert.signal.layer}".strip() for alert in alerts]


def fingerprints(alerts: tuple[Alert, ...]) -> list[str]:
    return [fingerprint_of("main", alert.signal) for alert in alerts]


# --- what an alert becomes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHAPES)
def test_each_shipped_shape_becomes_a_base_entry(name: str) -> None:
    (alert,) = read(SHAPES[name], own(name))
    signal = alert.signal
    assert kinds((alert,)) == ["BASE_ENTRY Long_1"]
    assert (signal.instrument, signal.price, signal.stop, signal.atr, signal.er) == (
        "BANK_NIFTY",
        Decimal("52000.5"),
        Decimal(51650),
        Decimal(350),
        Decimal(1),
    )
    assert signal.timestamp == datetime(2026, 1, 14, 6, 30, 1, tzinfo=UTC)
    assert alert.warnings == ()
    assert alert.mapped


def test_every_shipped_profile_is_tested_here() -> None:
    assert set(shipped_profiles()) == set(SHAPES)


LONG_TO = {"prev_market_position": "long"}
SHORT_TO = {"prev_market_position": "short"}


@pytest.mark.parametrize(
    "fields, expected",
    [
        ({}, ["BASE_ENTRY Long_1"]),
        ({"action": "sell", "market_position": "short", "position_size": -2}, ["BASE_ENTRY Short_1"]),
        ({**LONG_TO, "position_size": 4}, ["PYRAMID Long_next"]),
        ({**SHORT_TO, "action": "sell", "market_position": "short", "position_size": -4}, ["PYRAMID Short_next"]),
        ({**LONG_TO, "action": "sell", "market_position": "flat", "position_size": 0}, ["EXIT ALL"]),
        ({**SHORT_TO, "market_position": "flat", "position_size": 0}, ["EXIT ALL"]),
        ({**SHORT_TO, "contracts": 4}, ["EXIT ALL", "BASE_ENTRY Long_1"]),
        (
            {**LONG_TO, "action": "sell", "market_position": "short", "position_size": -2},
            ["EXIT ALL", "BASE_ENTRY Short_1"],
        ),
    ],
)
def test_a_strategys_move_is_told_by_where_it_was_and_is(fields: dict[str, Any], expected: list[str]) -> None:
    assert kinds(read(TRADINGVIEW, **fields)) == expected


@pytest.mark.parametrize("before", [-4, -2, 0, 2, 4])
@pytest.mark.parametrize("after", [-4, -2, 0, 2, 4])
@pytest.mark.parametrize("name", ["tradingview", "openalgo"])
def test_where_it_was_follows_from_its_size_and_its_order(name: str, before: int, after: int) -> None:
    if before == after:
        return
    ordered = {"action": "buy" if after > before else "SELL", "position_size": after}
    amount = {"contracts" if name == "tradingview" else "quantity": abs(after - before)}
    missing = {"market_position": None, "prev_market_position": None}
    sides = {2: "long", 4: "long", 0: "flat", -2: "short", -4: "short"}
    told = {"prev_market_position": sides[before], "market_position": sides[after]}
    profile = own(name, layers={"Long": "Long_2" if after > 0 else "Short_2"})
    shape = {**SHAPES[name], **ordered, **amount, "order_id": "Long"}
    derived = read(shape, profile, **missing)
    assert kinds(derived) == kinds(read({**TRADINGVIEW, **ordered, **told}, own(layers=profile.layers)))


def test_a_partial_exit_is_of_the_layer_that_the_orders_id_names_and_refused_where_it_names_none() -> None:
    fields = {**LONG_TO, "action": "sell", "position_size": 2, "order_id": "Exit 2"}
    (alert,) = read(TRADINGVIEW, own(layers={"EXIT 2": "Long_2"}), **fields)
    assert kinds((alert,)) == ["EXIT Long_2"]
    error = refused(TRADINGVIEW, **fields)
    assert error.field == "order_id"
    assert "`layers` of the profile does not say which layer this is of: `order_id` is exit 2" in str(error)


def test_a_pyramid_is_of_the_layer_that_the_orders_id_names_where_it_names_one() -> None:
    fields = {**LONG_TO, "order_id": "Add 3", "position_size": 4}
    assert kinds(read(TRADINGVIEW, own(layers={"add 3": "Long_4"}), **fields)) == ["PYRAMID Long_4"]
    error = refused(TRADINGVIEW, own(layers={"add 3": "Long_1"}), **fields)
    assert (error.field, "`order_id` must be Long_2 to Long_6" in str(error)) == ("order_id", True)


@pytest.mark.parametrize(
    "fields, expected",
    [
        ({}, ["BASE_ENTRY Long_1"]),
        ({"sentiment": None}, ["BASE_ENTRY Long_1"]),
        ({"sentiment": "LONG"}, ["BASE_ENTRY Long_1"]),
        ({"action": "sell", "sentiment": "bearish"}, ["BASE_ENTRY Short_1"]),
        ({"action": "add"}, ["PYRAMID Long_next"]),
        ({"action": "add", "sentiment": "short"}, ["PYRAMID Short_next"]),
        ({"action": "exit", "sentiment": None}, ["EXIT ALL"]),
        ({"action": "sell", "sentiment": "flat"}, ["EXIT ALL"]),
    ],
)
def test_an_action_and_a_sentiment_say_what_is_wanted(fields: dict[str, Any], expected: list[str]) -> None:
    assert kinds(read(TRADERSPOST, own("traderspost"), **fields)) == expected


def test_what_no_rule_fits_is_refused_with_all_that_rules_ask_for() -> None:
    error = refused(TRADERSPOST, own("traderspost"), action="sell", sentiment=None)
    assert str(error) == "no rule of the profile fits: `action` sell, `sentiment` absent"
    assert error.field == "action"


# --- identity -----------------------------------------------------------------------------------------------------


def test_the_same_alert_has_the_same_fingerprints_and_a_flip_two_of_them() -> None:
    flip = {**SHORT_TO, "contracts": 4}
    first, again = fingerprints(read(TRADINGVIEW, **flip)), fingerprints(read(TRADINGVIEW, **flip))
    assert first == again
    assert len(set(first)) == 2


def test_two_pyramids_of_a_bar_are_two_signals_and_one_that_comes_again_later_is_one() -> None:
    second, third = ({**LONG_TO, "position_size": size} for size in (4, 6))
    assert fingerprints(read(TRADINGVIEW, **second)) != fingerprints(read(TRADINGVIEW, **third))
    later = {**second, "timenow": "2026-01-14T06:31:00Z"}
    assert fingerprints(read(TRADINGVIEW, **second)) == fingerprints(read(TRADINGVIEW, **later))


def test_values_of_the_identity_do_not_run_into_each_other() -> None:
    profile = own(identity=["order_id", "action"], rules=[{"signals": [{"type": "EXIT", "position": "ALL"}]}])
    one = read(TRADINGVIEW, profile, order_id='a","b', action="c")
    other = read(TRADINGVIEW, profile, order_id="a", action='b","c')
    assert fingerprints(one) != fingerprints(other)


def test_without_any_value_of_the_identity_bar_and_layer_are_the_identity() -> None:
    (alert,) = read(TRADERSPOST, own("traderspost", identity=["order_id"]))
    assert alert.signal.alert_id is UNSET


def test_an_identity_that_is_too_long_is_refused() -> None:
    assert "is longer than 200 characters" in str(refused(TRADINGVIEW, order_id="x" * 201))


def test_of_two_signals_the_first_tells_the_number_and_the_last_where_the_strategy_is() -> None:
    leave, enter = (alert.signal for alert in read(TRADINGVIEW, **SHORT_TO, contracts=4, seq=7))
    assert (leave.seq, leave.position_size, leave.market_position) == (7, None, None)
    assert (enter.seq, enter.position_size, enter.market_position) == (None, 2, "long")


# --- fields and tables --------------------------------------------------------------------------------------------


def test_names_and_tables_are_looked_up_whatever_their_case_and_the_first_name_that_is_there_counts() -> None:
    profile = own(
        fields={"price": ["fill.price", "close"]},
        tables={"action": {"GO": "Buy"}},
        symbols={"nse:gold1!": "GOLD_MINI"},
    )
    (alert,) = read(TRADINGVIEW, profile, fill={"price": 5}, close=6, price=None, action=" go ", ticker="NSE:Gold1!")
    assert (alert.signal.price, alert.signal.instrument) == (5, "GOLD_MINI")
    (alert,) = read(TRADINGVIEW, profile, fill={"price": " "}, close=6, price=None, ticker="gold_mini")
    assert (alert.signal.price, alert.signal.instrument) == (6, "GOLD_MINI")


def test_a_constant_stands_in_for_a_field_that_is_not_there() -> None:
    assert read(TRADINGVIEW)[0].signal.er == 1
    assert read(TRADINGVIEW, er="0.5")[0].signal.er == Decimal("0.5")
    error = refused(TRADINGVIEW, own(constants={"er": 5}))
    assert (str(error), error.field) == ("`er` must be 0 to 1, not '5' (from `constants` of the profile)", "er")


def test_a_price_of_zero_is_none_where_the_sender_says_so() -> None:
    error = refused(OPENALGO, own("openalgo"), price="0")
    assert (error.field, "`price` is required" in str(error)) == ("price", True)
    assert refused(OPENALGO, own("openalgo"), stop=None, trigger_price="0").field == "trigger_price"


@pytest.mark.parametrize(
    "times, given_time, expected",
    [
        ("epoch_seconds", 1768371300, datetime(2026, 1, 14, 6, 15, tzinfo=UTC)),
        ("epoch_seconds", "1768371300.25", datetime(2026, 1, 14, 6, 15, 0, 250000, tzinfo=UTC)),
        ("epoch_milliseconds", 1768371300250, datetime(2026, 1, 14, 6, 15, 0, 250000, tzinfo=UTC)),
        ("iso", "2026-01-14 06:15:00", datetime(2026, 1, 14, 6, 15, tzinfo=UTC)),
    ],
)
def test_times_are_read_in_the_senders_way(times: str, given_time: Any, expected: datetime) -> None:
    (alert,) = read(TRADINGVIEW, own(times=times), time=given_time, timenow=None)
    assert alert.signal.bar_time == expected


@pytest.mark.parametrize("times", ["epoch_seconds", "epoch_milliseconds"])
@pytest.mark.parametrize("wrong", ["2026-01-14T06:15:00Z", -1, "1e20", 1e300, True, {"a": 1}])
def test_a_time_that_is_none_is_refused_by_the_senders_name(times: str, wrong: Any) -> None:
    error = refused(TRADINGVIEW, own(times=times), time=wrong, timenow=None)
    assert error.field == "time"
    assert "`time` must be" in str(error)


# --- stops and ATR ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "distance, stop, atr",
    [
        ({"stop_points": 400, "atr_points": 300}, "51600.5", "300"),
        ({"stop_percent": 1, "atr_percent": "0.5"}, "51480.495", "260.0025"),
        ({"stop_atr": 2, "atr_points": 300}, "51400.5", "300"),
    ],
)
def test_the_profile_says_how_far_the_stop_is_where_the_alert_does_not(
    distance: dict[str, Any], stop: str, atr: str
) -> None:
    for profile in (own(distances={"*": distance}), own(distances={"BANK_NIFTY": distance, "*": {"stop_points": 1}})):
        (alert,) = read(TRADINGVIEW, profile, stop=None, atr=None)
        assert (alert.signal.stop, alert.signal.atr) == (Decimal(stop), Decimal(atr))
        short = {"action": "sell", "market_position": "short", "position_size": -2}
        (alert,) = read(TRADINGVIEW, profile, **short, stop=None, atr=None)
        assert alert.signal.stop == 2 * Decimal("52000.5") - Decimal(stop)


def test_the_alerts_own_stop_and_atr_go_before_the_profiles() -> None:
    (alert,) = read(TRADINGVIEW, own(distances={"*": {"stop_atr": 2, "atr_points": 1}}))
    assert (alert.signal.stop, alert.signal.atr) == (51650, 350)
    (alert,) = read(TRADINGVIEW, own(distances={"*": {"stop_atr": 2, "atr_points": 1}}), stop=None)
    assert alert.signal.stop == Decimal("51300.5")


@pytest.mark.parametrize("name", ["stop", "atr"])
def test_an_entry_without_stop_or_atr_anywhere_is_refused_and_an_exit_is_not(name: str) -> None:
    error = refused(TRADINGVIEW, **{name: None})
    assert str(error) == f"`{name}` is required; or give `distances` in the profile"
    assert kinds(read(TRADINGVIEW, **{name: None}, **LONG_TO, market_position="flat", position_size=0)) == ["EXIT ALL"]


def test_an_atr_of_the_last_bar_is_asked_for_and_not_known_here() -> None:
    profile = own(distances={"*": LAST_BAR})
    (alert,) = read(TRADINGVIEW, profile, stop=None, atr=None)
    signal = alert.signal
    assert (signal.stop, signal.atr, signal.stop_atr, signal.atr_max_age_seconds) == (None, None, 2, 7200)
    # What is kept says the same when it is read again, without the profile.
    kept = json.dumps({**alert.payload, "original": None}).encode()
    again = parse_alert(kept, instruments=INSTRUMENTS, naive_timezone=UTC)
    assert again.signal == signal
    # What the alert has counts.
    (alert,) = read(TRADINGVIEW, profile, stop=None)
    assert (alert.signal.stop, alert.signal.stop_atr) == (Decimal("51300.5"), UNSET)
    assert alert.signal.atr_max_age_seconds is UNSET
    (alert,) = read(TRADINGVIEW, profile, atr=None)
    assert (alert.signal.stop, alert.signal.stop_atr, alert.signal.atr_max_age_seconds) == (51650, UNSET, 7200)
    # An exit needs neither.
    (alert,) = read(
        TRADINGVIEW,
        profile,
        stop=None,
        atr=None,
        action="sell",
        market_position="flat",
        position_size=0,
        prev_market_position="long",
    )
    assert (alert.signal.stop_atr, alert.signal.atr_max_age_seconds) == (UNSET, UNSET)


def test_a_stop_in_points_goes_with_the_last_bars_atr() -> None:
    distance = {"stop_points": 400, "atr": "last_bar", "atr_max_age_seconds": 60}
    (alert,) = read(TRADINGVIEW, own(distances={"*": distance}), stop=None, atr=None)
    assert (alert.signal.stop, alert.signal.atr, alert.signal.stop_atr) == (Decimal("51600.5"), None, UNSET)


@pytest.mark.parametrize(
    "changes, asks",
    [
        ({}, False),
        ({"distances": {"*": {"stop_atr": 2, "atr_points": 3}}}, False),
        ({"distances": {"GOLD_MINI": LAST_BAR}}, True),
        ({"constants": {"atr_max_age_seconds": 60, "stop_atr": 2}}, True),
    ],
)
def test_a_profile_tells_whether_bars_are_to_be_kept(changes: dict[str, Any], asks: bool) -> None:
    assert own(**changes).asks_last_bar is asks


def test_a_stop_below_zero_says_where_it_comes_from() -> None:
    error = refused(TRADINGVIEW, own(distances={"*": {"stop_points": 60000}}), stop=None)
    assert "`stop` must be above 0" in str(error)
    assert "(from `distances` of the profile)" in str(error)


# --- refusals, secrets, what is kept ------------------------------------------------------------------------------


def test_refusals_name_the_senders_fields() -> None:
    profile = own("traderspost")
    assert refused(TRADERSPOST, profile, signalPrice="much").field == "signalPrice"
    error = refused(TRADERSPOST, profile, stopLoss={"stopPrice": -1})
    assert (error.field, str(error)) == ("stopLoss.stopPrice", "`stopLoss.stopPrice` must be above 0, not -1")
    error = refused(TRADERSPOST, profile, ticker="GOLDMINI")
    assert (error.code, error.field) == ("unknown_instrument", "ticker")
    assert "`ticker` GOLDMINI is not configured; did you mean GOLD_MINI?" in str(error)
    assert refused(TRADERSPOST, own("traderspost", fields={"er": "noise"}), noise=3).field == "noise"


def test_a_swapped_pair_of_names_is_told_apart() -> None:
    profile = own(fields={"price": "stop", "stop": "price"})
    assert str(refused(TRADINGVIEW, profile, price=-1, stop=5)) == "`price` must be above 0, not -1"


def test_a_placeholder_that_was_not_filled_in_is_refused_by_the_senders_name() -> None:
    error = refused(TRADINGVIEW, action="{{strategy.order.acton}}")
    assert error.field == "action"
    assert "{{strategy.order.acton}}, which was not filled in" in str(error)


@pytest.mark.parametrize("name", ["tradingview", "openalgo"])
def test_the_secret_is_where_the_profile_says_and_in_nothing_that_is_kept(name: str) -> None:
    (alert,) = read(SHAPES[name], own(name), nested={"password": SECRET, "api-key": SECRET})
    assert (alert.secret, alert.secret_field) == (SECRET, own(name).secret)
    assert SECRET not in repr(alert.payload) + repr(alert.signal) + repr(alert)
    assert alert.warnings == ("nested",)


@pytest.mark.parametrize("name", SHAPES)
def test_what_is_kept_reads_again_as_the_same_signal_with_the_senders_body_beside_it(name: str) -> None:
    (alert,) = read(SHAPES[name], own(name), comment="why")
    body = json.dumps(alert.payload, default=str).encode()
    again = parse_alert(body, instruments=INSTRUMENTS, naive_timezone=UTC)
    assert again.signal == alert.signal
    assert fingerprints((again,)) == fingerprints((alert,))
    assert again.payload == alert.payload
    assert alert.payload["original"]["comment"] == "why"


def test_a_body_that_is_too_large_or_too_deep_is_not_kept_beside_the_signal() -> None:
    deep: Any = 1
    for _ in range(7):
        deep = [deep]
    large = {f"n{number}": "x" * MAX_TEXT for number in range(MOST_ORIGINAL_BYTES // MAX_TEXT + 1)}
    for fields in ({"deep": deep}, large):
        (alert,) = read(TRADINGVIEW, **fields)
        assert "original" not in alert.payload
        parse_alert(json.dumps(alert.payload).encode(), instruments=INSTRUMENTS, naive_timezone=UTC)
    (alert,) = read(TRADINGVIEW, deep=deep[0])
    parse_alert(json.dumps(alert.payload).encode(), instruments=INSTRUMENTS, naive_timezone=UTC)
    assert "original" in alert.payload


def test_alerts_of_our_own_shape_are_read_as_ever() -> None:
    body = {"type": "market_data", "instrument": "GOLD_MINI", "price": 5, "atr": 1, "timestamp": "2026-01-14T06:15:00Z"}
    (alert,) = read(body)
    assert (kinds((alert,)), alert.mapped, alert.payload.get("original")) == (["MARKET_DATA"], False, None)
    assert refused({**body, "price": None}).field == "price"


def test_a_profile_that_names_type_a_field_of_its_own_reads_all_alerts() -> None:
    profile = own(fields={"action": "type"})
    assert kinds(read({**TRADINGVIEW, "type": "buy"}, profile)) == ["BASE_ENTRY Long_1"]
    assert "no rule" in str(refused({**TRADINGVIEW, "type": "EXIT"}, profile, prev_market_position="long"))


def test_the_portfolio_in_the_body_is_ours() -> None:
    assert read(TRADINGVIEW, portfolio="Alpha")[0].portfolio == "alpha"
    assert refused(TRADINGVIEW, portfolio=5).field == "portfolio"


_VALUES = some.one_of(
    some.none(),
    some.booleans(),
    some.integers(-(10**20), 10**20),
    some.floats(allow_nan=False, allow_infinity=False),
    some.sampled_from(
        ["", " ", "long", "flat", "BUY", "1e400", "-0", "{{x}}", "NaN", "\u017fhort", "2026-01-14T06:15Z"]
    ),
    some.text(max_size=20).filter(lambda text: "\0" not in text and text.isprintable()),
    some.lists(some.integers(), max_size=2),
    some.dictionaries(some.sampled_from(["stopPrice", "atr", "x"]), some.integers(), max_size=2),
)


@given(
    name=some.sampled_from(sorted(SHAPES)),
    changes=some.dictionaries(
        some.sampled_from(sorted({field for shape in SHAPES.values() for field in shape})), _VALUES
    ),
    distance=some.sampled_from(
        [{}, {"*": {"stop_percent": 1, "atr_percent": 1}}, {"*": {"stop_atr": 3}}, {"*": LAST_BAR}]
    ),
    times=some.sampled_from(["iso", "epoch_seconds", "epoch_milliseconds"]),
)
def test_whatever_comes_becomes_the_same_signals_each_time_or_a_refusal(
    name: str, changes: dict[str, Any], distance: dict[str, Any], times: str
) -> None:
    profile = own(name, distances=distance, times=times)
    try:
        alerts = read(SHAPES[name], profile, **changes)
    except AlertRefused as error:
        told, alerts = str(error), ()
    if not alerts:
        assert str(refused(SHAPES[name], profile, **changes)) == told
        return
    assert fingerprints(alerts) == fingerprints(read(SHAPES[name], profile, **changes))
    assert len(set(fingerprints(alerts))) == len(alerts)
    for alert in alerts:
        body = json.dumps(alert.payload, default=str, ensure_ascii=False).encode()
        assert parse_alert(body, instruments=INSTRUMENTS, naive_timezone=UTC).signal == alert.signal


# --- profiles -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"fields": {"prise": "p"}}, "`prise` is none of instrument, price"),
        ({"fields": {"type": "p"}}, "`type` is none of"),
        ({"identity": ["nothing"]}, "`nothing` is none of"),
        ({"rules": []}, "at least 1 item"),
        ({"rules": [{"when": {"foo": "x"}, "signals": [{"type": "EXIT"}]}]}, "`foo` is none of"),
        ({"rules": [{"signals": [{"type": "SELL"}]}]}, "rules.0.signals.0.type"),
        ({"layers": {"a": "Long_7"}}, "`layers.a`"),
        ({"symbols": {"a": "gold mini"}}, "`symbols.a`"),
        ({"distances": {"*": {"stop_points": 1, "stop_atr": 2}}}, "stop_points and stop_atr are both given"),
        ({"distances": {"*": {"atr_points": -1}}}, "greater than 0"),
        ({"distances": {"*": {**LAST_BAR, "atr_points": 1}}}, "atr_points and atr are both given"),
        ({"distances": {"*": {"atr": "last_bar"}}}, "`atr`: `last_bar` and atr_max_age_seconds go together"),
        ({"distances": {"*": {"atr_max_age_seconds": 60}}}, "`atr`: `last_bar` and atr_max_age_seconds go together"),
        ({"distances": {"*": {"atr": "first_bar", "atr_max_age_seconds": 60}}}, "'last_bar'"),
        ({"fields": {"reason": "secret"}}, "`secret` is the secret"),
        ({"secret": "a.b"}, "`secret`"),
        ({"like": "nobody"}, "there is no profile 'nobody'; there are mine, openalgo, traderspost, tradingview"),
        ({"like": "mine"}, "there is no profile 'mine'"),
        ({"feilds": {}}, "did you mean `fields`?"),
    ],
)
def test_a_wrong_profile_is_refused_by_its_name_and_what_is_allowed(changes: dict[str, Any], told: str) -> None:
    settings = FileSettings(intake={"profiles": {"mine": {"like": "tradingview", **changes}}})
    with pytest.raises(ConfigurationError) as caught:
        settings.intake_profile()
    assert told in str(caught.value)
    assert "intake" in str(caught.value)


def test_profiles_that_are_like_each_other_in_a_ring_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="is like itself"):
        profile_named("a", {"a": {"like": "b"}, "b": {"like": "a"}})


def test_an_own_profile_may_have_the_name_of_the_one_that_it_is_like() -> None:
    found = profile_named("openalgo", {"openalgo": {"like": "openalgo", "times": "epoch_seconds"}})
    assert (found.times, found.secret) == ("epoch_seconds", "apikey")


def test_a_portfolio_has_a_profile_of_its_own() -> None:
    settings = FileSettings(
        intake={"profiles": {"mine": {"like": "openalgo", "secret": "key"}}},
        portfolios={"alpha": {"intake": {"profile": "mine"}}, "beta": {"intake": {"profile": "traderspost"}}},
    )
    assert settings.intake_profile() is None
    alpha, beta = (settings.of(name).intake_profile() for name in ("alpha", "beta"))
    assert alpha is not None
    assert beta is not None
    assert (alpha.secret, "sentiment" in beta.fields) == ("key", True)


def test_names_are_those_of_an_alert_of_ours_and_what_rules_ask_for() -> None:
    assert {"price", "bar_time", "seq", "action", "sentiment", "order_id"} <= set(NAMES)
    assert not {"type", "position", "secret"} & set(NAMES)
