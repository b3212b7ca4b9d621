"""From bytes to a canonical signal: every rule of the alert, and that no body gets past or breaks the reader."""

import json
import time as clock
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.alert import KNOWN_FIELDS, MAX_BODY_BYTES, Alert, AlertRefused, canonical_payload, parse_alert
from core.errors import Refused
from core.fingerprint import fingerprint_of
from core.models import MarketPosition, Signal, SignalType

INSTRUMENTS = frozenset({"BANK_NIFTY", "GOLD_MINI", "SILVER_MINI", "COPPER"})
KOLKATA = ZoneInfo("Asia/Kolkata")
SECRET = "hunter2-correct-horse"

BASE_ENTRY = (
    '{"type":"BASE_ENTRY","instrument":"BANK_NIFTY","position":"Long_1","price":58412.6,"stop":57985.0,"lots":3,'
    '"atr":285.4,"er":0.86,"supertrend":57985.0,"roc":2.4,"timestamp":"2026-01-14T06:15:00Z"}'
)
PYRAMID = (
    '{"type":"pyramid","instrument":"GOLD_MINI","position":"Long_2","price":"138940","stop":"137820","lots":"1",'
    '"atr":"560","er":"0.91","supertrend":"137655","roc":null,"timestamp":"2026-01-14T19:00:01"}'
)
EXIT = (
    '{"type":"EXIT","instrument":"BANK_NIFTY","position":"Long_2","price":58120.0,"stop":58190.5,"lots":1,'
    '"reason":"TRAILING_STOP","atr":301.2,"er":0.41,"supertrend":57990.0,"timestamp":"2026-01-16T10:30:03+05:30"}'
)
EXIT_ALL = (
    '{"type":"EXIT","instrument":"GOLD_MINI","position":"ALL","price":137410,"stop":0,"lots":0,"reason":"SuperTrend",'
    '"atr":575,"er":0.22,"supertrend":137655,"timestamp":"2026-01-19T15:30:00Z"}'
)
MARKET_DATA = (
    '{"type":"MARKET_DATA","instrument":"BANK_NIFTY","price":58733.0,"atr":288.9,"supertrend":58040.0,'
    '"timestamp":"2026-01-13T07:30:00Z"}'
)
EXAMPLES = (BASE_ENTRY, PYRAMID, EXIT, EXIT_ALL, MARKET_DATA)

ABSENT = object()


def parse(body: bytes | str, **options: Any) -> Alert:
    raw = body if isinstance(body, bytes) else body.encode()
    return parse_alert(raw, **({"instruments": INSTRUMENTS, "naive_timezone": KOLKATA} | options))


def body_of(base: str = BASE_ENTRY, **changes: Any) -> bytes:
    fields = json.loads(base) | changes
    return json.dumps({name: value for name, value in fields.items() if value is not ABSENT}).encode()


def an_alert(base: str = BASE_ENTRY, **changes: Any) -> Alert:
    return parse(body_of(base, **changes))


def refusal(body: bytes | str) -> AlertRefused:
    with pytest.raises(AlertRefused) as caught:
        parse(body)
    assert caught.value.__cause__ is None
    return caught.value


def refusal_of(base: str = BASE_ENTRY, **changes: Any) -> AlertRefused:
    return refusal(body_of(base, **changes))


def with_price(literal: str) -> str:
    return BASE_ENTRY.replace("58412.6", literal)


# --- the examples -------------------------------------------------------------------------------------------------


def test_the_example_base_entry_is_read() -> None:
    alert = parse(BASE_ENTRY)
    assert alert.signal == Signal(
        type=SignalType.BASE_ENTRY,
        instrument="BANK_NIFTY",
        layer="Long_1",
        price=Decimal("58412.6"),
        stop=Decimal(57985),
        lots=3,
        atr=Decimal("285.4"),
        er=Decimal("0.86"),
        supertrend=Decimal(57985),
        roc=Decimal("2.4"),
        timestamp=datetime(2026, 1, 14, 6, 15, tzinfo=UTC),
    )
    assert (alert.portfolio, alert.secret, alert.warnings) == (None, None, ())
    assert alert.payload == {
        "type": "BASE_ENTRY",
        "instrument": "BANK_NIFTY",
        "position": "Long_1",
        "price": "58412.6",
        "stop": "57985",
        "lots": 3,
        "atr": "285.4",
        "er": "0.86",
        "supertrend": "57985",
        "roc": "2.4",
        "timestamp": "2026-01-14T06:15:00Z",
    }


def test_the_example_pyramid_in_strings_and_lower_case_without_offset_is_read() -> None:
    assert parse(PYRAMID).signal == Signal(
        type=SignalType.PYRAMID,
        instrument="GOLD_MINI",
        layer="Long_2",
        price=Decimal(138940),
        stop=Decimal(137820),
        lots=1,
        atr=Decimal(560),
        er=Decimal("0.91"),
        supertrend=Decimal(137655),
        timestamp=datetime(2026, 1, 14, 13, 30, 1, tzinfo=UTC),
    )


def test_the_example_exit_of_a_layer_is_read() -> None:
    assert parse(EXIT).signal == Signal(
        type=SignalType.EXIT,
        instrument="BANK_NIFTY",
        layer="Long_2",
        price=Decimal(58120),
        stop=Decimal("58190.5"),
        lots=1,
        reason="TRAILING_STOP",
        atr=Decimal("301.2"),
        er=Decimal("0.41"),
        supertrend=Decimal(57990),
        timestamp=datetime(2026, 1, 16, 5, 0, 3, tzinfo=UTC),
    )


def test_the_example_exit_of_all_layers_is_read() -> None:
    signal = parse(EXIT_ALL).signal
    assert (signal.layer, signal.stop, signal.lots, signal.reason) == ("ALL", Decimal(0), 0, "SuperTrend")


def test_the_example_market_data_is_read() -> None:
    assert parse(MARKET_DATA).signal == Signal(
        type=SignalType.MARKET_DATA,
        instrument="BANK_NIFTY",
        price=Decimal(58733),
        atr=Decimal("288.9"),
        supertrend=Decimal(58040),
        timestamp=datetime(2026, 1, 13, 7, 30, tzinfo=UTC),
    )


@pytest.mark.parametrize("text", EXAMPLES)
def test_every_example_reads_back_from_its_own_payload(text: str) -> None:
    alert = parse(text)
    assert parse(json.dumps(alert.payload)) == alert


# --- the body -----------------------------------------------------------------------------------------------------


def test_a_refusal_is_one_the_caller_has_to_act_on_and_is_malformed_by_default() -> None:
    error = refusal_of(price=0)
    assert isinstance(error, Refused)
    assert (error.code, error.field, str(error)) == ("malformed", "price", "`price` must be above 0, not 0")


def test_a_refusal_without_words_has_its_docstring() -> None:
    assert str(AlertRefused()).startswith("the alert is malformed")
    assert AlertRefused().field is None


def test_a_body_of_64_kib_is_read_and_one_byte_more_is_too_large() -> None:
    padded = BASE_ENTRY.encode().ljust(MAX_BODY_BYTES)
    assert parse(padded) == parse(BASE_ENTRY)
    assert refusal(padded + b" ").code == "too_large"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1"])
def test_only_utf_8_is_read(encoding: str) -> None:
    body = body_of(EXIT).decode().replace("TRAILING_STOP", "é").encode(encoding)
    assert "is not UTF-8" in str(refusal(body))


def test_a_leading_byte_order_mark_is_skipped() -> None:
    assert parse(b"\xef\xbb\xbf" + BASE_ENTRY.encode()) == parse(BASE_ENTRY)


@pytest.mark.parametrize("body", [b"", b"   ", b"hello", b"{", b'{"a":1}x', b"{'a':1}", b'{"a":1,}', b'{"a":01}'])
def test_what_is_not_json_is_refused_with_the_place(body: bytes) -> None:
    assert "is not JSON" in str(refusal(body))
    assert "line 1 column" in str(refusal(body))


@pytest.mark.parametrize(
    "body, kind",
    [
        ("[]", "a list"),
        ("1", "a number"),
        ('"x"', "a string"),
        ("null", "null"),
        ("true", "true"),
        ("NaN", "a number"),
    ],
)
def test_only_an_object_is_an_alert(body: str, kind: str) -> None:
    assert str(refusal(body)) == f"the body must be one JSON object, not {kind}"


def test_a_duplicate_key_is_refused_by_name() -> None:
    error = refusal(BASE_ENTRY.replace("{", '{"price":1,', 1))
    assert (str(error), error.field) == ("`price` is given twice", "price")


def test_a_key_that_is_a_duplicate_only_once_unescaped_is_refused() -> None:
    assert refusal(BASE_ENTRY.replace("{", '{"pr\\u0069ce":1,', 1)).field == "price"


def test_a_nested_duplicate_key_is_refused() -> None:
    assert refusal('{"note":{"a":1,"a":1}}').field == "a"


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_constants_that_are_no_numbers_are_refused(constant: str) -> None:
    assert str(refusal(with_price(constant))) == f"`price` must be a finite number, not {constant}"


def test_such_a_constant_in_an_unknown_field_is_refused_too() -> None:
    assert refusal(BASE_ENTRY.replace("{", '{"note":{"x":[1,NaN]},', 1)).field == "note.x[1]"


def nested(levels: int) -> str:
    return BASE_ENTRY.replace("{", '{"note":' + "[" * levels + "]" * levels + ",", 1)


def test_nesting_to_the_eighth_level_is_read_and_the_ninth_refused() -> None:
    assert parse(nested(7)).warnings == ("note",)
    assert str(refusal(nested(8))) == "the body is nested deeper than 8"


@pytest.mark.parametrize("opening", ["[", '{"a":', "[{", '{"a":['])
def test_thousands_of_levels_are_refused(opening: str) -> None:
    assert "nested deeper" in str(refusal(opening * 10_000))


def test_brackets_inside_strings_are_not_nesting() -> None:
    assert an_alert(note='[[[[[[[[[[{{{{{{"\\').payload["note"] == '[[[[[[[[[[{{{{{{"\\'


def test_siblings_are_not_nesting() -> None:
    assert an_alert(note=[[], [], [], [], [], [], [], [], [], []]).payload["note"] == [[]] * 10


@pytest.mark.parametrize(
    "body",
    [
        '"' + '\\"' * 30_000,
        '"' * 60_000,
        "\\" * 60_000,
        '{"a":' + "9" * 60_000 + "}",
        '{"a":' + "9" * 60_000 + ".5}",
        '{"a":1e' + "9" * 60_000 + "}",
        '{"type":"' + "{{" * 30_000 + '"}',
        '{"type":"' + "{{" * 400 + '"}',
        "{" + ",".join(f'"instrumen{i}":1' for i in range(3000)) + ',"type":"EXIT"}',
    ],
)
def test_no_body_costs_more_than_a_moment(body: str) -> None:
    started = clock.process_time()
    refusal(body)
    assert clock.process_time() - started < 0.5


@pytest.mark.parametrize(
    "text, words",
    [
        ("a\\u0000b", "a NUL character"),
        ("\\ud800", "half of a surrogate pair"),
        ("\\udc00x", "half of a surrogate pair"),
        ("x" * 1001, "longer than 1000 characters"),
    ],
)
@pytest.mark.parametrize("place", ['"reason":"%s"', '"note":"%s"', '"note":[{"a":"%s"}]', '"secret":"%s"', '"%s":1'])
def test_text_that_cannot_be_kept_is_refused_anywhere(text: str, words: str, place: str) -> None:
    error = refusal(BASE_ENTRY.replace("{", "{" + place % text + ",", 1))
    assert words in str(error)
    assert str(error).isprintable()
    assert len(str(error)) < 200
    (str(error) + (error.field or "")).encode("utf-8")


def test_a_duplicate_key_that_no_encoder_takes_is_named_escaped() -> None:
    error = refusal('{"\\ud800":1,"\\ud800":2}')
    assert (str(error), error.field) == ("`\\ud800` is given twice", "\\ud800")


def test_a_nested_name_that_cannot_be_kept_is_refused_by_its_owner() -> None:
    assert refusal('{"note":{"a\\u0000":1}}').field == "note"


def test_a_surrogate_pair_is_one_character() -> None:
    assert parse(BASE_ENTRY.replace("{", '{"note":"\\ud83d\\ude00",', 1)).payload["note"] == "\U0001f600"


def test_a_thousand_characters_are_kept() -> None:
    assert an_alert(EXIT, reason="x" * 1000).signal.reason == "x" * 1000


def test_a_control_character_is_not_json() -> None:
    assert "is not JSON" in str(refusal(EXIT.replace("TRAILING_STOP", "a\nb")))


# --- type, instrument, position -----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["exit", "Exit", "EXIT", " eXiT "])
def test_a_type_may_be_written_in_any_case(text: str) -> None:
    alert = an_alert(EXIT, type=text)
    assert alert.signal.type is SignalType.EXIT
    assert alert.payload["type"] == "EXIT"


@pytest.mark.parametrize("value", ["BUY", "ex\u0131t", "BASE ENTRY", 1, True, [], {}])
def test_another_type_is_refused(value: Any) -> None:
    error = refusal_of(type=value)
    assert error.field == "type"
    assert isinstance(value, str) == ("BASE_ENTRY, PYRAMID, EXIT, MARKET_DATA" in str(error))


def test_an_instrument_is_made_upper_case() -> None:
    alert = an_alert(instrument=" bank_Nifty ")
    assert (alert.signal.instrument, alert.payload["instrument"]) == ("BANK_NIFTY", "BANK_NIFTY")


@pytest.mark.parametrize("value", ["BANK NIFTY", "BANK-NIFTY", "A" * 30, "NIFTY!", "\u0661", "BANK:NIFTY"])
def test_an_instrument_is_of_letters_digits_and_underscores(value: str) -> None:
    error = refusal_of(instrument=value)
    assert (error.field, error.code) == ("instrument", "malformed")
    assert "1 to 29 letters, digits or underscores" in str(error)


def test_an_instrument_of_29_characters_that_is_configured_is_read() -> None:
    assert parse(body_of(instrument="A" * 29), instruments=["A" * 29]).signal.instrument == "A" * 29


def test_an_instrument_that_is_not_configured_has_its_own_code_and_a_suggestion() -> None:
    error = refusal_of(instrument="BANKNIFTY")
    assert (error.code, error.field) == ("unknown_instrument", "instrument")
    assert str(error) == "`instrument` BANKNIFTY is not configured; did you mean BANK_NIFTY?"


def test_an_instrument_like_no_other_gets_no_suggestion() -> None:
    assert str(refusal_of(instrument="XYZ")) == "`instrument` XYZ is not configured"
    with pytest.raises(AlertRefused, match=r"is not configured$"):
        parse(BASE_ENTRY, instruments=())


@pytest.mark.parametrize(
    "base, given_layer, layer",
    [
        (BASE_ENTRY, "long_1", "Long_1"),
        (BASE_ENTRY, " SHORT_1 ", "Short_1"),
        (PYRAMID, "LONG_2", "Long_2"),
        (PYRAMID, "short_6", "Short_6"),
        (EXIT, "Long_1", "Long_1"),
        (EXIT, "long_6", "Long_6"),
        (EXIT, "all", "ALL"),
        (EXIT, " All ", "ALL"),
    ],
)
def test_a_position_is_made_canonical(base: str, given_layer: str, layer: str) -> None:
    alert = an_alert(base, position=given_layer)
    assert (alert.signal.layer, alert.payload["position"]) == (layer, layer)


@pytest.mark.parametrize(
    "base, layer, rule",
    [
        (BASE_ENTRY, "Long_2", "Long_1 or Short_1 for a BASE_ENTRY"),
        (BASE_ENTRY, "ALL", "Long_1 or Short_1 for a BASE_ENTRY"),
        (PYRAMID, "Long_1", "Long_2 to Long_6, Short_2 to Short_6, Long_next or Short_next for a PYRAMID"),
        (PYRAMID, "Long_7", "for a PYRAMID"),
        (PYRAMID, "ALL", "for a PYRAMID"),
        (EXIT, "Long_7", "Long_1 to Long_6, Short_1 to Short_6 or ALL for an EXIT"),
        (EXIT, "Long_0", "for an EXIT"),
        (EXIT, "Long_01", "for an EXIT"),
        (EXIT, "Long_10", "for an EXIT"),
        (EXIT, "Long_\u0662", "for an EXIT"),
        (EXIT, "\u017fhort_1", "for an EXIT"),
        (EXIT, "flat", "for an EXIT"),
        (EXIT, 1, "a string"),
    ],
)
def test_a_position_its_type_does_not_allow_is_refused(base: str, layer: Any, rule: str) -> None:
    error = refusal_of(base, position=layer)
    assert error.field == "position"
    assert rule in str(error)


def test_fewer_layers_can_be_allowed() -> None:
    assert parse(body_of(PYRAMID, position="Long_3"), max_layers=3).signal.layer == "Long_3"
    with pytest.raises(AlertRefused, match="Long_2 to Long_3"):
        parse(body_of(PYRAMID, position="Long_4"), max_layers=3)


@pytest.mark.parametrize("value", ["Long_1", "ALL", "", None, 5, ABSENT])
def test_a_position_given_with_market_data_is_no_part_of_it(value: Any) -> None:
    alert = an_alert(MARKET_DATA, position=value)
    assert alert == parse(MARKET_DATA)
    assert "position" not in alert.payload


# --- numbers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "literal, value",
    [
        ("58412.60", "58412.6"),
        ('"58412.6"', "58412.6"),
        ('" 58412.60 "', "58412.6"),
        ("5.84126e4", "58412.6"),
        ('"+58412.6"', "58412.6"),
        ('".5"', "0.5"),
        ('"5."', "5"),
        ("1E2", "100"),
        ("9999999999.99999999", "9999999999.99999999"),
        ("0.00000001", "0.00000001"),
        ("1e-8", "0.00000001"),
    ],
)
def test_a_number_may_be_written_in_many_ways(literal: str, value: str) -> None:
    alert = parse(with_price(literal))
    assert alert.signal.price == Decimal(value)
    assert alert.payload["price"] == value


@pytest.mark.parametrize(
    "literal, value",
    [
        ("0.000000015", "0.00000002"),
        ("0.000000025", "0.00000002"),
        ("1.123456789", "1.12345679"),
        ("1." + "3" * 900, "1.33333333"),
        ('"1.' + "3" * 900 + '"', "1.33333333"),
    ],
)
def test_surplus_decimals_are_rounded_half_even(literal: str, value: str) -> None:
    alert = parse(with_price(literal))
    assert f"{alert.signal.price:f}" == value
    assert alert.payload["price"] == value


@pytest.mark.parametrize(
    "literal",
    [
        "10000000000",
        '"12345678901"',
        "9999999999.999999999",
        "1e999",
        '"1e999"',
        "-1e999",
        "9" * 900,
        "9" * 60_000,
        "1." + "3" * 60_000,
    ],
)
def test_too_many_digits_are_refused(literal: str) -> None:
    error = refusal(with_price(literal))
    assert error.field == "price"
    assert "too many digits" in str(error)
    assert len(str(error)) < 200


@pytest.mark.parametrize(
    "literal",
    [
        '"1,000"',
        '"1 000"',
        '"abc"',
        '"NaN"',
        '"Infinity"',
        '"1e1000"',
        "1e1000",
        '"0x10"',
        '"1_000"',
        '"\u0661"',
        '"."',
        '"--1"',
        "true",
        "false",
        "[1]",
        "{}",
    ],
)
def test_what_is_no_number_is_refused(literal: str) -> None:
    error = refusal(with_price(literal))
    assert error.field == "price"
    assert str(error).startswith("`price` must be a number, not ")


def test_a_refusal_echoes_at_most_sixty_characters() -> None:
    assert str(refusal_of(price="x" * 900)) == f"`price` must be a number, not {'x' * 60!r}"
    assert str(refusal_of(price="a\nb")) == "`price` must be a number, not 'a\\nb'"


@pytest.mark.parametrize("name", ["price", "atr", "stop"])
@pytest.mark.parametrize("value", [0, -3, "-0.5", "4e-9", "1e-999", "0e999"])
def test_price_atr_and_the_stop_of_an_entry_are_above_0_once_rounded(name: str, value: Any) -> None:
    assert str(refusal_of(**{name: value})) in {
        f"`{name}` must be above 0, not {value}",
        f"`{name}` must be above 0, not {value!r}",
    }


@pytest.mark.parametrize("base, name", [(EXIT, "price"), (EXIT, "atr"), (MARKET_DATA, "price"), (PYRAMID, "stop")])
def test_the_rule_holds_for_every_type(base: str, name: str) -> None:
    assert refusal_of(base, **{name: 0}).field == name


@pytest.mark.parametrize("value, stop", [(0, Decimal(0)), ("5.5", Decimal("5.5")), (None, None), ("", None)])
def test_the_stop_of_an_exit_is_any_that_is_not_negative(value: Any, stop: Decimal | None) -> None:
    assert an_alert(EXIT, stop=value).signal.stop == stop
    assert str(refusal_of(EXIT, stop=-1)) == "`stop` must be 0 or above, not -1"


@pytest.mark.parametrize("name", ["supertrend", "roc"])
def test_supertrend_and_roc_may_be_anything_finite(name: str) -> None:
    assert getattr(an_alert(**{name: "-2.5"}).signal, name) == Decimal("-2.5")
    assert getattr(an_alert(**{name: 0}).signal, name) == 0
    assert getattr(an_alert(**{name: None}).signal, name) is None
    assert refusal_of(**{name: "n/a"}).field == name


def test_a_negative_zero_is_zero() -> None:
    alert = an_alert(roc="-0.000000001", supertrend="-0")
    assert (str(alert.signal.roc), alert.payload["roc"], alert.payload["supertrend"]) == ("0E-8", "0", "0")


@pytest.mark.parametrize("value", [0, 1, "0.5", "1.000000001"])
def test_the_efficiency_ratio_is_from_0_to_1_once_rounded(value: Any) -> None:
    assert 0 <= (an_alert(er=value).signal.er or Decimal(0)) <= 1


@pytest.mark.parametrize("value", [-0.01, 1.01, "2"])
def test_another_efficiency_ratio_is_refused(value: Any) -> None:
    error = refusal_of(er=value)
    assert error.field == "er"
    assert "must be 0 to 1" in str(error)


@pytest.mark.parametrize(
    "literal, lots",
    [("3", 3), ('"3"', 3), ("3.0", 3), ('" 3.00 "', 3), ("3e0", 3), ("0", 0), ("999999999", 10**9 - 1)],
)
def test_lots_are_whole(literal: str, lots: int) -> None:
    alert = parse(BASE_ENTRY.replace('"lots":3', f'"lots":{literal}'))
    assert alert.signal.lots == lots
    assert type(alert.signal.lots) is int
    assert alert.payload["lots"] == lots


@pytest.mark.parametrize(
    "literal", ["-1", "1.5", '"1.5"', "1000000000", "1e999", "1e-999", "3.0000000001", "true", '"x"']
)
def test_other_lots_are_refused(literal: str) -> None:
    assert refusal(BASE_ENTRY.replace('"lots":3', f'"lots":{literal}')).field == "lots"


# --- times --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["timestamp", "bar_time"])
@pytest.mark.parametrize(
    "text, time",
    [
        ("2026-01-14T06:15:00Z", datetime(2026, 1, 14, 6, 15, tzinfo=UTC)),
        ("2026-01-14t06:15:00z", datetime(2026, 1, 14, 6, 15, tzinfo=UTC)),
        (" 2026-01-14 06:15:00 Z ", datetime(2026, 1, 14, 6, 15, tzinfo=UTC)),
        ("2026-01-14T11:45:00+05:30", datetime(2026, 1, 14, 6, 15, tzinfo=UTC)),
        ("2026-01-14T11:45:00+0530", datetime(2026, 1, 14, 6, 15, tzinfo=UTC)),
        ("2026-01-14T01:15:00-05", datetime(2026, 1, 14, 6, 15, tzinfo=UTC)),
        ("2026-01-14T11:45:00", datetime(2026, 1, 14, 6, 15, tzinfo=UTC)),
        ("2026-01-14 11:45", datetime(2026, 1, 14, 6, 15, tzinfo=UTC)),
        ("2026-01-14T06:15:00.5Z", datetime(2026, 1, 14, 6, 15, 0, 500_000, tzinfo=UTC)),
        ("2026-01-14T06:15:00,1234569Z", datetime(2026, 1, 14, 6, 15, 0, 123_456, tzinfo=UTC)),
        ("2000-01-01T00:00:00Z", datetime(2000, 1, 1, tzinfo=UTC)),
        ("2100-12-31T23:59:59Z", datetime(2100, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_a_time_is_iso_8601_and_becomes_utc(name: str, text: str, time: datetime) -> None:
    result = getattr(an_alert(**({"timestamp": ABSENT} | {name: text})).signal, name)
    assert result == time
    assert result.tzinfo is UTC


@pytest.mark.parametrize("name", ["timestamp", "bar_time"])
@pytest.mark.parametrize(
    "value, rule",
    [
        (1768371300000, "an ISO 8601 string such as 2026-01-14T06:15:00Z, not 1768371300000"),
        ("1768371300000", "an ISO 8601 string"),
        (True, "an ISO 8601 string"),
        ("14.01.2026 06:15", "an ISO 8601 string"),
        ("2026-01-14", "an ISO 8601 string"),
        ("2026-01-14T06:15:00+25:00", "an ISO 8601 string"),
        ("2026-01-14T06:15:00+05:60", "an ISO 8601 string"),
        ("2026-01-14T06:15:00Zjunk", "an ISO 8601 string"),
        ("\u0662026-01-14T06:15:00Z", "an ISO 8601 string"),
        ("2026-02-30T06:15:00Z", "a time that exists"),
        ("2026-01-14T24:00:00Z", "a time that exists"),
        ("2026-01-14T06:15:60Z", "a time that exists"),
        ("1999-12-31T23:59:59Z", "in the years 2000 to 2100"),
        ("2101-01-01T00:00:00Z", "in the years 2000 to 2100"),
        ("2000-01-01T00:00:00+05:30", "in the years 2000 to 2100"),
        ("2100-12-31T23:59:59-05:00", "in the years 2000 to 2100"),
        ("0001-01-01T00:00:00+23:59", "in the years 2000 to 2100"),
        ("9999-12-31T23:59:59-23:59", "in the years 2000 to 2100"),
    ],
)
def test_another_time_is_refused(name: str, value: Any, rule: str) -> None:
    error = refusal_of(**{name: value})
    assert error.field == name
    assert rule in str(error)


def test_an_hour_that_comes_twice_is_the_first_and_one_that_is_skipped_has_the_offset_before() -> None:
    berlin = {"naive_timezone": ZoneInfo("Europe/Berlin")}
    twice = parse(body_of(timestamp="2026-10-25T02:30:00"), **berlin).signal.timestamp
    skipped = parse(body_of(timestamp="2026-03-29T02:30:00"), **berlin).signal.timestamp
    assert twice == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert skipped == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)


def test_an_offset_given_wins_over_the_zone_of_the_naive() -> None:
    one = parse(BASE_ENTRY, naive_timezone=ZoneInfo("America/New_York"))
    assert one == parse(BASE_ENTRY)


# --- required, optional, unknown ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "base, name",
    [(base, name) for base in EXAMPLES for name in ("type", "instrument", "price")]
    + [(base, name) for base in (BASE_ENTRY, PYRAMID) for name in ("position", "stop", "atr", "er")]
    + [(EXIT, "position"), (EXIT_ALL, "position"), (MARKET_DATA, "atr")],
)
@pytest.mark.parametrize("value", [ABSENT, None, "", "  "])
def test_a_required_field_that_is_missing_null_or_blank_is_named(base: str, name: str, value: Any) -> None:
    error = refusal_of(base, **{name: value})
    assert (str(error), error.field) == (f"`{name}` is required", name)


@pytest.mark.parametrize("base", EXAMPLES)
def test_a_time_is_required(base: str) -> None:
    error = refusal_of(base, timestamp=ABSENT)
    assert (str(error), error.field) == ("`timestamp` or `bar_time` is required", "timestamp")


@pytest.mark.parametrize(
    "base, names",
    [
        (BASE_ENTRY, ("lots", "supertrend", "roc")),
        (EXIT, ("stop", "lots", "reason", "atr", "er", "supertrend")),
        (MARKET_DATA, ("supertrend",)),
    ],
)
@pytest.mark.parametrize("value", [ABSENT, None, "", "  "])
def test_every_other_field_may_be_absent_null_or_blank(base: str, names: tuple[str, ...], value: Any) -> None:
    alert = an_alert(base, **dict.fromkeys(names, value))
    assert all(getattr(alert.signal, name) is None for name in names)
    assert not set(names) & set(alert.payload)


@pytest.mark.parametrize(
    "missing, unknown, suggested",
    [
        ("instrument", "intrument", "intrument"),
        ("instrument", "Instrument", "Instrument"),
        ("price", "prise", "prise"),
        ("atr", "atrr", "atrr"),
        ("timestamp", "time", "time"),
        ("timestamp", "bartime", "bartime"),
    ],
)
def test_a_missing_field_suggests_the_unknown_one_nearest_to_it(missing: str, unknown: str, suggested: str) -> None:
    error = refusal_of(**{missing: ABSENT, "comment": "x", unknown: "x"})
    assert str(error).endswith(f"is required; did you mean it by `{suggested}`?")


def test_no_suggestion_is_made_from_names_unlike_it_or_absurdly_long() -> None:
    assert str(refusal_of(price=ABSENT, comment="x")) == "`price` is required"
    assert str(refusal_of(price=ABSENT, **{"price" * 20: "x"})) == "`price` is required"


def test_unknown_fields_are_kept_as_they_came_and_named() -> None:
    text = BASE_ENTRY.replace(
        "{",
        '{"comment":"{{x}}","Price":1.50,"big":12345678901234567890,"small":-42,"deep":{"a":[1,2.50,null,true,"é"]},',
        1,
    )
    alert = parse(text)
    assert alert.warnings == ("comment", "Price", "big", "small", "deep")
    assert {name: alert.payload[name] for name in alert.warnings} == {
        "comment": "{{x}}",
        "Price": "1.50",
        "big": "12345678901234567890",
        "small": -42,
        "deep": {"a": [1, "2.50", None, True, "é"]},
    }
    assert alert.signal == parse(BASE_ENTRY).signal


@pytest.mark.parametrize("name", [name for name in KNOWN_FIELDS if name != "secret"])
def test_a_placeholder_that_was_not_filled_in_is_refused_by_name(name: str) -> None:
    error = refusal_of(EXIT, **{name: "x {{strategy.order.action}} y"})
    assert error.field == name
    assert f"`{name}` holds the placeholder {{{{strategy.order.action}}}}" in str(error)


def test_a_long_placeholder_is_cut() -> None:
    assert len(str(refusal_of(reason="{{" + "x" * 900 + "}}"))) < 200


def test_the_first_problem_in_the_order_of_the_fields_is_told() -> None:
    fields = {"timestamp": "x", "price": -1, "position": "x", "instrument": "?", "type": "x", "stop": -1}
    for name in ("type", "instrument", "position", "price", "stop", "timestamp"):
        assert refusal(body_of("{}", atr=1, er=1, **fields)).field == name
        fields[name] = json.loads(BASE_ENTRY)[name]


def test_a_reason_is_text() -> None:
    assert an_alert(EXIT, reason="  Stop hit ").signal.reason == "Stop hit"
    assert str(refusal_of(EXIT, reason=5)) == "`reason` must be a string, not 5"
    assert str(refusal_of(EXIT, reason=["a"])) == "`reason` must be a string, not a list"
    assert str(refusal_of(EXIT, reason={"a": 1})) == "`reason` must be a string, not an object"
    assert str(refusal_of(EXIT, reason=True)) == "`reason` must be a string, not true"


# --- what the strategy tells of itself ----------------------------------------------------------------------------


def test_number_and_position_of_the_strategy_are_read_and_kept() -> None:
    alert = an_alert(seq="7", position_size=-3.50, market_position=" Short ")
    assert alert.warnings == ()
    assert (alert.signal.seq, alert.signal.position_size) == (7, Decimal("-3.5"))
    assert alert.signal.market_position is alert.signal.strategy_position is MarketPosition.SHORT
    kept = {name: alert.payload[name] for name in ("seq", "position_size", "market_position")}
    assert kept == {"seq": 7, "position_size": "-3.5", "market_position": "short"}
    assert parse(body_of(json.dumps(alert.payload))).signal == alert.signal
    for name in ("seq", "position_size", "market_position"):
        assert name not in an_alert(**{name: None}).payload
        assert getattr(an_alert(**{name: " "}).signal, name) is None


@pytest.mark.parametrize(
    "size, position",
    [("3", "long"), (0.00000001, "LONG"), ("-2.5", "Short"), (0, "flat"), ("-0.0", "FLAT"), (0.000000001, "flat")],
)
def test_a_size_and_a_position_that_agree_are_taken(size: Any, position: str) -> None:
    signal = an_alert(position_size=size, market_position=position).signal
    assert signal.strategy_position is signal.market_position is MarketPosition(position.lower())
    assert an_alert(position_size=size).signal.strategy_position is signal.market_position


@pytest.mark.parametrize(
    "size, position, rule",
    [
        (3, "short", "`position_size` must be below 0 where `market_position` is short, not 3"),
        (-3, "long", "`position_size` must be above 0 where `market_position` is long, not -3"),
        (0, "long", "`position_size` must be above 0 where `market_position` is long, not 0"),
        ("1", "flat", "`position_size` must be 0 where `market_position` is flat, not '1'"),
    ],
)
def test_a_size_and_a_position_that_contradict_each_other_are_refused(size: Any, position: str, rule: str) -> None:
    error = refusal_of(EXIT, position_size=size, market_position=position)
    assert (error.field, str(error)) == ("position_size", rule)


@pytest.mark.parametrize(
    "name, value",
    [
        ("seq", -1),
        ("seq", 1.5),
        ("seq", 10**15),
        ("seq", True),
        ("seq", "next"),
        ("position_size", "x"),
        ("position_size", "1e999"),
        ("position_size", []),
        ("market_position", 5),
        ("market_position", "buy"),
        ("market_position", "long short"),
        ("market_position", "\u017fhort"),
    ],
)
def test_they_have_rules_of_their_own(name: str, value: Any) -> None:
    assert refusal_of(**{name: value}).field == name
    assert refusal_of(EXIT, **{name: value}).field == name


def test_a_portfolio_is_told_and_made_lower_case() -> None:
    alert = an_alert(portfolio=" Alpha_2 ")
    assert (alert.portfolio, alert.payload["portfolio"]) == ("alpha_2", "alpha_2")
    assert an_alert(portfolio="a" * 30).portfolio == "a" * 30
    assert an_alert(portfolio="").portfolio is None


@pytest.mark.parametrize("value", ["1a", "_a", "a-b", "a" * 31, "a;drop", "\u00e4", 5, "a\nb"])
def test_another_portfolio_is_refused(value: Any) -> None:
    assert refusal_of(portfolio=value).field == "portfolio"


# --- secrets ------------------------------------------------------------------------------------------------------


def test_the_secret_is_told_as_given_and_kept_nowhere() -> None:
    alert = an_alert(secret=f" {SECRET} {{{{x}}}}")
    assert alert.secret == f" {SECRET} {{{{x}}}}"
    assert SECRET not in repr(alert)
    assert SECRET not in json.dumps(alert.payload)
    assert alert.payload == parse(BASE_ENTRY).payload


@pytest.mark.parametrize("value", [None, "", ABSENT])
def test_no_secret_is_none(value: Any) -> None:
    assert an_alert(secret=value).secret is None


@pytest.mark.parametrize("value", [5, 5.25, True, [SECRET], {"a": SECRET}])
def test_a_secret_that_is_no_string_is_refused_without_echo(value: Any) -> None:
    error = refusal_of(secret=value)
    assert (str(error), error.field) == ("`secret` must be a string", "secret")


@pytest.mark.parametrize("name", ["Secret", "SECRET", " secret", "webhook_secret"])
def test_a_secret_under_another_spelling_is_dropped_and_its_name_warned_of(name: str) -> None:
    alert = an_alert(**{name: SECRET})
    assert (alert.secret, alert.warnings) == (None, (name,))
    assert SECRET not in repr(alert)


def test_a_nested_secret_is_dropped() -> None:
    alert = an_alert(note={"a": [{"SeCreT": SECRET, "b": 1}], "secret": {"c": SECRET}})
    assert alert.payload["note"] == {"a": [{"b": 1}]}
    assert SECRET not in repr(alert)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda body: body[:-1],
        lambda body: body + "x",
        lambda body: "[" + body + "]",
        lambda body: body.replace("{", '{"secret":"other",', 1),
        lambda body: body.replace(SECRET, SECRET + "\\u0000"),
        lambda body: body.replace(SECRET, SECRET + "\\ud800"),
        lambda body: body.replace(SECRET, SECRET + "\n"),
        lambda body: body.replace(SECRET, SECRET + "\\x"),
        lambda body: body.replace(SECRET, SECRET * 60),
        lambda body: body.replace(f'"{SECRET}"', f'["{SECRET}"]'),
        lambda body: body.replace("58412.6", "-1"),
        lambda body: body.replace('"price"', '"prise"'),
    ],
)
def test_no_refusal_echoes_the_secret(spoil: Callable[[str], str]) -> None:
    error = refusal(spoil(BASE_ENTRY.replace("{", f'{{"secret":"{SECRET}",', 1)))
    assert SECRET not in str(error) + repr(error) + str(error.field)


# --- the same alert, the same payload -----------------------------------------------------------------------------


def test_bodies_that_mean_the_same_have_equal_payloads() -> None:
    one = parse(BASE_ENTRY)
    other = an_alert(
        type="base_entry",
        instrument="bank_nifty",
        position="LONG_1",
        price="58412.60",
        stop=57985,
        lots="3.0",
        er="0.8600",
        reason=None,
        secret="x",
        timestamp="2026-01-14 11:45:00.000",
    )
    assert other.payload == one.payload
    assert other.signal == one.signal


def test_bodies_that_differ_have_payloads_that_differ() -> None:
    assert an_alert(price=58412.7).payload != parse(BASE_ENTRY).payload
    assert an_alert(comment="x").payload != parse(BASE_ENTRY).payload
    assert an_alert(timestamp="2026-01-14T06:15:00.5Z").payload != parse(BASE_ENTRY).payload


def test_a_signal_made_elsewhere_has_a_payload_too() -> None:
    alert = parse(EXIT)
    assert canonical_payload(alert.signal) == alert.payload


def test_an_hour_with_a_fraction_keeps_it_in_the_payload() -> None:
    assert an_alert(bar_time="2026-01-14T06:00:00.25Z").payload["bar_time"] == "2026-01-14T06:00:00.250000Z"


# --- properties ---------------------------------------------------------------------------------------------------

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.decimals().map(str)
    | st.sampled_from(["{{x}}", "1e999", "-0", "Long_1", "all", "EXIT", "pyramid", "copper", "2026-01-14T06:15:00"])
    | st.datetimes().map(str)
)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)
names = st.sampled_from(KNOWN_FIELDS) | st.text(max_size=8)
spoilt_bodies = st.tuples(st.sampled_from(EXAMPLES), st.dictionaries(names, anything, max_size=4)).map(
    lambda pair: json.dumps(json.loads(pair[0]) | pair[1]).encode()
)
prices = st.decimals("0.00000001", "9999999999", allow_nan=False).map(str)
times = (st.datetimes(datetime(2001, 1, 1), datetime(2099, 12, 31)) | st.just(datetime(2026, 1, 14, 6, 15))).map(str)  # noqa: DTZ001
valid_changes = st.fixed_dictionaries(
    {"price": prices, "atr": prices},
    optional={
        "stop": prices,
        "er": st.floats(0, 1),
        "roc": st.floats(-1e9, 1e9),
        "lots": st.integers(0, 10**9 - 1),
        "timestamp": times,
        "bar_time": times,
        "reason": st.text(st.characters(codec="utf-8", exclude_characters="\0{"), max_size=30),
        "seq": st.integers(0, 10**15 - 1),
        "comment": st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30),
        "extra": st.recursive(
            st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
            max_leaves=5,
        ),
    },
)


def outcome_of(body: bytes) -> Alert | AlertRefused:
    try:
        return parse(body)
    except AlertRefused as refused:
        return refused


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
@example(b"\xff\xfe")
@example(b'{"a":1e400}')
@example(b"[" * 65_536)
def test_any_bytes_are_an_alert_or_refused(body: bytes) -> None:
    assert isinstance(outcome_of(body), Alert | AlertRefused)


@given(st.text('{}[]",:0123456789.eE+-ntfaulrsNIy\\ \ud800"', max_size=100))
def test_any_text_of_json_characters_is_an_alert_or_refused(text: str) -> None:
    assert isinstance(outcome_of(text.encode("utf-8", "surrogatepass")), Alert | AlertRefused)


@given(spoilt_bodies)
@settings(max_examples=500)
def test_any_object_is_an_alert_that_reads_back_or_is_refused_in_few_words(body: bytes) -> None:
    match outcome_of(body):
        case Alert() as alert:
            again = parse(json.dumps(alert.payload))
            assert (again.signal, again.payload) == (alert.signal, alert.payload)
        case AlertRefused() as refused:
            assert len(str(refused)) < 400
            (str(refused) + (refused.field or "")).encode()


@given(st.sampled_from(EXAMPLES), valid_changes)
def test_a_valid_alert_reads_back_from_its_payload_with_the_same_fingerprint(
    base: str, changes: dict[str, Any]
) -> None:
    alert = an_alert(base, **changes)
    again = parse(json.dumps(alert.payload))
    assert again == alert
    assert fingerprint_of("main", again.signal) == fingerprint_of("main", alert.signal)


@given(spoilt_bodies, st.sampled_from(["secret", "SECRET", "note"]))
def test_the_secret_is_in_no_payload_and_no_refusal(body: bytes, place: str) -> None:
    fields = json.loads(body)
    fields |= {place: {"secret": SECRET} if place == "note" else SECRET}
    match outcome_of(json.dumps(fields).encode()):
        case Alert() as alert:
            assert SECRET not in repr(alert)
            assert SECRET not in json.dumps(alert.payload)
        case AlertRefused() as refused:
            assert SECRET not in repr(refused)
