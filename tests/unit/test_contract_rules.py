"""Contracts follow from rules and calendar as DOMAIN.md and the exchanges' lists have them; a hand corrects single fields."""

import json
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from core.config import default_settings
from core.contract_rules import (
    BeyondRules,
    Contract,
    ContractRefused,
    ContractRules,
    Contracts,
    Correction,
    check_corrections,
    contract_of,
    contracts_of,
    front_contract,
    next_contract,
)
from core.contracts import Instrument
from core.errors import ConfigurationError
from core.trading_calendar import TradingCalendar
from live.contracts_file import load_calendar, load_contract_rules, load_corrections

CALENDAR = load_calendar()
RULES = load_contract_rules()
INSTRUMENTS = default_settings().instruments


def a_calendar(first: str, last: str, *holidays: str) -> TradingCalendar:
    """NFO's and MCX's of other years, for rules that are older, or younger, than the shipped table."""
    table = {
        "exchanges": ["NFO", "MCX"],
        "timezone": "Asia/Kolkata",
        "first_day": first,
        "last_day": last,
        "hours": [{"from_day": first, "opens": "09:15", "closes": "15:30"}],
        "days": {day: {"name": "holiday"} for day in holidays},
    }
    return TradingCalendar.model_validate({"tables": [table]})


def made(name: str, month: str, *, calendar: TradingCalendar = CALENDAR, **correction: Any) -> Contract | BeyondRules:
    return contract_of(
        name,
        INSTRUMENTS[name],
        month,
        rules=RULES[name],
        calendar=calendar,
        correction=Correction.model_validate(correction) if correction else None,
    )


def contract(name: str, month: str, **changes: Any) -> Contract:
    found = made(name, month, **changes)
    assert isinstance(found, Contract)
    return found


def all_of(name: str, first: str = "2024-02", last: str = "2026-12", **changes: Any) -> Contracts:
    return contracts_of(name, INSTRUMENTS[name], (first, last), rules=RULES[name], calendar=CALENDAR, **changes)


@pytest.mark.parametrize(
    "month, expiry",
    [
        ("2024-01", "2024-01-25"),  # last Thursday
        ("2024-02", "2024-02-29"),
        ("2024-03", "2024-03-27"),  # last Wednesday
        ("2024-11", "2024-11-27"),
        ("2024-12", "2024-12-24"),  # Christmas is the last Wednesday
        ("2025-01", "2025-01-30"),  # last Thursday again
        ("2025-08", "2025-08-28"),
        ("2025-09", "2025-09-30"),  # last Tuesday
        ("2026-01", "2026-01-27"),
        ("2026-03", "2026-03-30"),  # Mahavir Jayanti is the last Tuesday
        ("2026-11", "2026-11-23"),  # Guru Nanak Jayanti is
    ],
)
def test_bank_nifty_expires_on_the_weekday_of_its_time_or_the_trading_day_before(month: str, expiry: str) -> None:
    assert contract("BANK_NIFTY", month).expiry == date.fromisoformat(expiry)


@pytest.mark.parametrize(
    "month, lot",
    [
        ("2016-04", 40),
        ("2018-09", 40),
        ("2018-10", 20),
        ("2020-04", 20),
        ("2020-05", 25),
        ("2023-06", 25),
        ("2023-07", 15),
        ("2025-01", 15),
        ("2025-02", 30),
        ("2025-06", 30),
        ("2025-07", 35),
        ("2025-12", 35),
        ("2026-01", 30),
    ],
)
def test_bank_niftys_lot_and_money_per_point_are_those_of_its_month(month: str, lot: int) -> None:
    found = contract("BANK_NIFTY", month, calendar=a_calendar("2016-01-01", "2016-12-31", "2016-01-26"), **BY_HAND)
    assert (found.lot_size, found.point_value) == (lot, lot)
    assert found.margin_per_lot == 9000 * lot


# Expiry and roll given: no calendar is needed for the lots of ten years.
BY_HAND = {"expiry": "2035-01-02", "roll_date": "2035-01-01"}


def test_a_contract_listed_from_2024_11_20_is_of_february_2025() -> None:
    # Three months are listed at a time: the next one begins the trading day after the nearest has expired.
    expiries = {found.month: found.expiry for found in all_of("BANK_NIFTY", "2024-09", "2025-03").known}
    listed = {
        month: CALENDAR.trading_day_from("NFO", expiries[nearest] + timedelta(days=1))
        for nearest, month in (("2024-10", "2025-01"), ("2024-11", "2025-02"))
    }
    assert listed == {"2025-01": date(2024, 10, 31), "2025-02": date(2024, 11, 28)}
    assert [contract("BANK_NIFTY", month).lot_size for month in listed] == [15, 30]


def test_gold_mini_expires_as_its_published_list_says() -> None:
    # groww.in/blog/gold-mini-futures-and-options, read in 2026.
    published = [
        "2025-01-03",
        "2025-02-05",
        "2025-03-05",
        "2025-04-04",
        "2025-05-05",
        "2025-06-05",
        "2025-07-04",
        "2025-08-05",
        "2025-09-05",
        "2025-10-03",
        "2025-11-05",
        "2025-12-05",
        "2026-01-05",
        "2026-02-05",
        "2026-03-05",
        "2026-04-02",
        "2026-05-05",
        "2026-06-05",
        "2026-07-03",
    ]
    assert [str(found.expiry) for found in all_of("GOLD_MINI", "2025-01", "2026-07").known] == published


@pytest.mark.parametrize(
    "name, month, expiry",
    [
        ("SILVER_MINI", "2024-08", "2024-08-30"),
        ("SILVER_MINI", "2025-11", "2025-11-28"),
        ("SILVER_MINI", "2026-02", "2026-02-27"),
        ("COPPER", "2024-01", "2024-01-31"),
        ("COPPER", "2024-03", "2024-03-28"),  # Good Friday, then a weekend
        ("COPPER", "2026-01", "2026-01-30"),
    ],
)
def test_silver_mini_and_copper_expire_on_the_last_trading_day_of_the_month(name: str, month: str, expiry: str) -> None:
    assert contract(name, month).expiry == date.fromisoformat(expiry)


def test_only_the_listed_months_have_contracts() -> None:
    assert [found.month[-2:] for found in all_of("SILVER_MINI", "2026-01").known] == ["02", "04", "06", "08", "11"]


def test_a_contract_carries_what_an_order_and_a_position_need() -> None:
    assert contract("GOLD_MINI", "2026-02") == Contract(
        instrument="GOLD_MINI",
        exchange="MCX",
        symbol="GOLDM",
        month="2026-02",
        expiry=date(2026, 2, 5),
        roll_date=date(2026, 1, 29),
        lot_size=Decimal(100),
        point_value=Decimal(10),
        margin_per_lot=Decimal(105000),
        ticks=RULES["GOLD_MINI"].ticks,
    )
    bank_nifty = contract("BANK_NIFTY", "2026-01")
    assert (bank_nifty.option_tick, bank_nifty.strike_step) == (Decimal("0.05"), 500)


def test_a_contract_survives_being_journalled() -> None:
    found = contract("BANK_NIFTY", "2026-01")
    assert Contract.model_validate(json.loads(found.model_dump_json())) == found


def test_another_lot_has_its_share_of_the_instruments_margin() -> None:
    thirds = INSTRUMENTS["BANK_NIFTY"].model_copy(update={"margin_per_lot": Decimal(100)})
    found = contract_of("BANK_NIFTY", thirds, "2025-12", rules=RULES["BANK_NIFTY"], calendar=CALENDAR)
    assert isinstance(found, Contract)
    assert found.margin_per_lot == Decimal("116.6667")


names = st.sampled_from(sorted(RULES))
months = st.dates(date(2024, 2, 1), date(2026, 12, 31)).map(lambda day: f"{day:%Y-%m}")
everything = {name: all_of(name) for name in RULES}


@given(names, st.data())
def test_every_expiry_is_a_trading_day_and_so_is_every_roll(name: str, data: st.DataObject) -> None:
    found = data.draw(st.sampled_from(everything[name].known))
    assert CALENDAR.is_expiry_day(found.exchange, found.expiry)
    assert CALENDAR.is_trading_day(found.exchange, found.roll_date)
    assert found.roll_date <= found.expiry


@given(names, st.data(), st.integers(1, 40))
def test_the_roll_date_is_the_first_trading_day_with_fewer_days_to_expiry(
    name: str, data: st.DataObject, setting: int
) -> None:
    month = data.draw(st.sampled_from([found.month for found in everything[name].known[2:]]))
    rules = RULES[name].model_copy(update={"roll_days_before_expiry": setting})
    found = contract_of(name, INSTRUMENTS[name], month, rules=rules, calendar=CALENDAR)
    assert isinstance(found, Contract)
    before = CALENDAR.trading_day_before(found.exchange, found.roll_date)
    assert (found.expiry - found.roll_date).days < setting
    assert (found.expiry - before).days >= setting


@given(names, st.dates(date(2024, 3, 1), date(2026, 11, 1)))
def test_a_new_position_never_opens_in_a_contract_that_is_due(name: str, day: date) -> None:
    found = front_contract(everything[name], day)
    assert isinstance(found, Contract)
    assert day < found.roll_date <= found.expiry
    due = [other for other in everything[name].known if other.expiry < found.expiry]
    assert all(other.roll_date <= day for other in due)


@given(names, st.dates(date(2024, 3, 1), date(2026, 8, 1)))
def test_a_roll_goes_to_a_later_contract_that_is_not_due_itself(name: str, day: date) -> None:
    near = front_contract(everything[name], day)
    assert isinstance(near, Contract)
    far = next_contract(everything[name], near, near.roll_date)
    assert isinstance(far, Contract)
    assert near.expiry < far.expiry
    assert near.roll_date < far.roll_date


def test_a_month_beyond_the_calendar_is_refused_and_the_others_are_made() -> None:
    contracts = all_of("BANK_NIFTY", "2026-12", "2027-02")
    assert [found.month for found in contracts.known] == ["2026-12"]
    assert [refusal.month for refusal in contracts.refused] == ["2027-01", "2027-02"]
    assert "covers 2024-01-01 to 2026-12-31, not 2027-01-26" in contracts.refused[0].reason


def test_no_contract_is_skipped_because_it_could_not_be_made() -> None:
    contracts = all_of("BANK_NIFTY", "2026-11", "2027-01")
    december = front_contract(contracts, date(2026, 12, 1))
    assert isinstance(december, Contract)
    refusal = next_contract(contracts, december, december.roll_date)
    assert isinstance(refusal, BeyondRules)
    assert refusal.month == "2027-01"


def test_a_gap_before_the_next_contract_is_told_and_not_jumped() -> None:
    january = BeyondRules(instrument="GOLD_MINI", month="2026-01", reason="not known")
    later = Contracts(instrument="GOLD_MINI", known=(contract("GOLD_MINI", "2026-02"),), refused=(january,))
    assert front_contract(later, date(2025, 12, 20)) == january
    assert front_contract(later, date(2026, 1, 20)) == january
    assert front_contract(later, date(2026, 2, 2)) == BeyondRules(
        instrument="GOLD_MINI", month="", reason="no contract lasts beyond 2026-02-02"
    )


def test_a_gap_before_a_positions_own_contract_does_not_keep_it_from_rolling() -> None:
    january = BeyondRules(instrument="GOLD_MINI", month="2026-01", reason="not known")
    near, far = contract("GOLD_MINI", "2026-02"), contract("GOLD_MINI", "2026-03")
    contracts = Contracts(instrument="GOLD_MINI", known=(near, far), refused=(january,))
    assert next_contract(contracts, near, near.roll_date) == far


def test_an_exchange_without_a_calendar_has_no_contracts() -> None:
    elsewhere = INSTRUMENTS["COPPER"].model_copy(update={"exchange": "LME"})
    found = contract_of("COPPER", elsewhere, "2026-01", rules=RULES["COPPER"], calendar=CALENDAR)
    assert isinstance(found, BeyondRules)
    assert "no calendar of 'LME'" in found.reason


def test_a_month_before_the_rules_is_refused() -> None:
    found = made("COPPER", "2019-06")
    assert isinstance(found, BeyondRules)
    assert found.reason == "the rules begin with 2019-07, 2019-06 comes before"


@pytest.mark.parametrize("month", ["2026-13", "january"])
def test_what_is_no_month_is_refused(month: str) -> None:
    with pytest.raises(ContractRefused, match="is no month such as 2026-01"):
        all_of("COPPER", month, month)


@pytest.mark.parametrize(
    "name, day, level, tick",
    [
        ("BANK_NIFTY", "2025-04-11", "52000", "0.05"),
        ("BANK_NIFTY", "2025-04-15", "52000", "0.20"),
        ("BANK_NIFTY", "2025-04-15", "30000", "0.10"),
        ("BANK_NIFTY", "2025-04-15", "30000.05", "0.20"),
        ("BANK_NIFTY", "2025-04-15", "15000", "0.05"),
        ("BANK_NIFTY", "2025-04-15", "0.05", "0.05"),
        ("GOLD_MINI", "2026-01-14", "138940", "1"),
        ("SILVER_MINI", "2026-01-14", "250000", "1"),
        ("COPPER", "2026-01-14", "1333.60", "0.05"),
    ],
)
def test_the_tick_follows_day_and_level(name: str, day: str, level: str, tick: str) -> None:
    found = everything[name].known[0]
    assert found.tick_on(date.fromisoformat(day), Decimal(level)) == Decimal(tick)


def test_no_tick_is_known_before_the_first_rule() -> None:
    with pytest.raises(ContractRefused, match="COPPER 2024-02: no ticks are known on 2019-06-30"):
        everything["COPPER"].known[0].tick_on(date(2019, 6, 30), Decimal(400))


def test_a_hand_corrects_single_fields_of_a_single_contract() -> None:
    corrected = all_of(
        "GOLD_MINI", corrections={"2025-11": Correction.model_validate({"expiry": "2025-11-04", "note": "x"})}
    )
    others = {found.month: found for found in all_of("GOLD_MINI").known}
    for found in corrected.known:
        if found.month == "2025-11":
            assert (found.expiry, found.roll_date) == (date(2025, 11, 4), date(2025, 10, 28))
            assert found.corrected == ("expiry",)
        else:
            assert found == others[found.month]


def test_what_follows_from_a_corrected_field_follows_unless_it_is_given_too() -> None:
    lot = contract("BANK_NIFTY", "2026-01", lot_size="20")
    assert (lot.lot_size, lot.point_value, lot.margin_per_lot) == (20, 20, 180000)
    full = contract(
        "BANK_NIFTY",
        "2026-01",
        lot_size="20",
        point_value="21",
        margin_per_lot="199000",
        roll_date="2026-01-20",
        option_tick="0.10",
        ticks=[{"from_day": "2020-01-01", "bands": [{"tick": "0.25"}]}],
    )
    assert (full.point_value, full.margin_per_lot, full.roll_date) == (21, 199000, date(2026, 1, 20))
    assert (full.option_tick, full.tick_on(date(2026, 1, 2), Decimal(52000))) == (Decimal("0.10"), Decimal("0.25"))
    assert full.corrected == ("lot_size", "margin_per_lot", "option_tick", "point_value", "roll_date", "ticks")


def test_an_expiry_by_hand_goes_beyond_the_calendar() -> None:
    assert contract("GOLD_MINI", "2027-01", expiry="2027-01-05").roll_date == date(2026, 12, 29)
    assert isinstance(made("BANK_NIFTY", "2027-01", expiry="2027-01-26"), BeyondRules), "its roll date is not known"
    assert contract("BANK_NIFTY", "2027-01", expiry="2027-01-26", roll_date="2027-01-20").expiry == date(2027, 1, 26)


@pytest.mark.parametrize(
    "correction, rule",
    [
        ({"expiry": "2026-01-26"}, "BANK_NIFTY 2026-01: expiry 2026-01-26 is no trading day of NFO"),
        ({"roll_date": "2026-01-26"}, "BANK_NIFTY 2026-01: roll_date 2026-01-26 is no trading day of NFO"),
        ({"roll_date": "2026-01-28"}, "roll_date 2026-01-28 comes after expiry 2026-01-27"),
    ],
)
def test_a_correction_that_makes_no_contract_is_refused(correction: dict[str, str], rule: str) -> None:
    with pytest.raises(ContractRefused, match=rule):
        made("BANK_NIFTY", "2026-01", **correction)


def test_a_contract_cannot_roll_after_it_expired() -> None:
    values = contract("COPPER", "2026-01").model_dump()
    with pytest.raises(ValidationError, match="comes after expiry"):
        Contract.model_validate({**values, "roll_date": date(2026, 1, 31)})


def test_a_correction_of_a_contract_that_is_not_there_is_refused_by_name() -> None:
    nothing = {"2026-03": Correction()}
    with pytest.raises(ContractRefused, match="SILVER_MINI 2026-03: there is no contract of that month"):
        all_of("SILVER_MINI", corrections=nothing)
    with pytest.raises(ContractRefused, match="SILVER_MINI 2026-03"):
        check_corrections({"SILVER_MINI": nothing}, RULES)
    with pytest.raises(ContractRefused, match=r"PLATINUM: there are no contract rules for it \(known: BANK_NIFTY, "):
        check_corrections({"PLATINUM": {}}, RULES)
    with pytest.raises(ContractRefused, match="known: none"):
        check_corrections({"PLATINUM": {}}, {})


def some_rules(**changes: Any) -> dict[str, Any]:
    return {
        "symbol": "X",
        "expiries": [{"from_month": "2020-01", "day": 5}],
        "lots": [{"from_month": "2020-01", "lot_size": 1}],
        "ticks": [{"from_day": "2020-01-01", "bands": [{"tick": "0.05"}]}],
        "roll_days_before_expiry": 8,
        **changes,
    }


@pytest.mark.parametrize(
    "changes, rule",
    [
        ({"expiries": [{"from_month": "2020-01"}]}, "either last_weekday or day"),
        ({"expiries": [{"from_month": "2020-01", "day": 5, "last_weekday": 2}]}, "either last_weekday or day"),
        (
            {"lots": [{"from_month": "2020-02", "lot_size": 1}, {"from_month": "2020-01", "lot_size": 2}]},
            "lots must rise",
        ),
        ({"ticks": [{"from_day": "2020-01-01", "bands": [{"above": 1, "tick": 1}]}]}, "bands must rise"),
        ({"roll_days_before_expiry": 0}, "greater than or equal to 1"),
    ],
)
def test_rules_that_cannot_be_meant_are_refused(changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValidationError, match=rule):
        ContractRules.model_validate(some_rules(**changes))


@settings(max_examples=50)
@given(st.integers(1, 31), st.integers(0, 35))
def test_a_day_of_the_month_is_at_most_its_last_one(day: int, ahead: int) -> None:
    rules = ContractRules.model_validate(some_rules(expiries=[{"from_month": "2020-01", "day": day}]))
    month = f"{2024 + ahead // 12}-{ahead % 12 + 1:02}"
    every_day = a_calendar("2023-01-01", "2027-12-31", *(f"{year}-01-26" for year in range(2023, 2028)))
    instrument = Instrument(exchange="NFO", lot_size=Decimal(1), point_value=Decimal(1), margin_per_lot=Decimal(1))
    found = contract_of("X", instrument, month, rules=rules, calendar=every_day)
    assert isinstance(found, Contract)
    # A weekend or a holiday may push it back, but never over the nominal day.
    assert found.expiry.day <= day or found.expiry.month < int(month[-2:])


def a_file(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "contracts.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_corrections_come_from_a_file(tmp_path: Path) -> None:
    path = a_file(tmp_path, {"GOLD_MINI": {"2027-01": {"expiry": "2027-01-05", "note": "MCX/TRD/1/2026"}}})
    assert load_corrections(path, RULES) == {
        "GOLD_MINI": {"2027-01": Correction(expiry=date(2027, 1, 5), note="MCX/TRD/1/2026")}
    }
    assert load_corrections(None, RULES) == {}


@pytest.mark.parametrize(
    "content, rule",
    [
        ({"GOLDM": {}}, "GOLDM: there are no contract rules for it"),
        ({"SILVER_MINI": {"2026-03": {}}}, "SILVER_MINI 2026-03: there is no contract of that month"),
        ({"GOLD_MINI": {"Jan 2026": {}}}, "GOLD_MINI: `Jan 2026` is no month"),
        (
            {"GOLD_MINI": {"2026-01": {"expires": "2026-01-05"}}},
            "GOLD_MINI 2026-01: `expires`: is no setting; did you mean `expiry`",
        ),
        ({"GOLD_MINI": {"2026-01": {"expiry": 5}}}, "GOLD_MINI 2026-01: `expiry`: must be a date such as"),
        ({"GOLD_MINI": {"2026-01": {"lot_size": 0}}}, "GOLD_MINI 2026-01: `lot_size`: .* greater than 0"),
        ({"GOLD_MINI": []}, "GOLD_MINI: must be an object, not list"),
        ({"GOLD_MINI": {"2026-01": 5}}, "GOLD_MINI 2026-01: must be an object, not int"),
    ],
)
def test_a_corrections_file_with_an_error_is_refused_by_name(tmp_path: Path, content: Any, rule: str) -> None:
    with pytest.raises(ConfigurationError, match=rule):
        load_corrections(a_file(tmp_path, content), RULES)


def test_the_shipped_rules_are_of_the_shipped_instruments_and_name_their_sources() -> None:
    assert sorted(RULES) == sorted(INSTRUMENTS)
    assert all(rules.sources for rules in RULES.values())
    assert [RULES[name].roll_days_before_expiry for name in INSTRUMENTS] == [7, 8, 8, 8]


def test_the_contracts_of_today_are_the_instruments_own_figures() -> None:
    for name, instrument in INSTRUMENTS.items():
        found = everything[name].known[-1]
        assert (found.lot_size, found.point_value) == (instrument.lot_size, instrument.point_value)
        assert found.margin_per_lot == instrument.margin_per_lot
        level = Decimal(52000)
        assert found.tick_on(found.expiry, level) == instrument.tick
