"""Which contracts there are on a day, what of the configuration is refused by name, and when they are made anew."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from core.config import ContractFiles, default_settings, load_file_settings
from core.errors import ConfigurationError
from core.inputs import SetContracts
from core.listed_contracts import contracts_from
from live.brokers.settings import BrokersSettings, MarketSettings
from live.contracts_desk import ContractsDesk, DailyContracts
from live.contracts_file import DEFAULT_CALENDAR, DEFAULT_CONTRACT_RULES
from tests.builders import a_portfolio, settings_with
from tests.contracts import a_contracts_desk, a_document, in_contracts

NEW_YEAR, NEXT_DAY = date(2026, 1, 1), date(2026, 1, 2)


def months(document: dict[str, Any], name: str = "COPPER") -> list[str]:
    known = [contract["month"] for contract in document[name]["known"]]
    return sorted(known + [gap["month"] for gap in document[name]["refused"]])


def a_json(folder: Path, name: str, content: Any) -> Path:
    file = folder / name
    file.write_text(json.dumps(content))
    return file


# --- what is made


def test_months_are_those_from_three_back_to_twelve_ahead() -> None:
    desk = a_contracts_desk("COPPER")
    found = months(desk.document_on(NEW_YEAR))
    assert (found[0], found[-1], len(found)) == ("2025-10", "2027-01", 16)
    assert months(desk.document_on(date(2026, 12, 31)))[-1] == "2027-12"


def test_only_what_is_traded_by_contract_has_contracts() -> None:
    assert a_contracts_desk().document_on(NEW_YEAR) == {}
    assert set(a_contracts_desk("BANK_NIFTY", "COPPER").document_on(NEW_YEAR)) == {"BANK_NIFTY", "COPPER"}


def test_contracts_carry_their_exchanges_zone_and_the_settings_money(tmp_path: Path) -> None:
    settings = settings_with(instruments={"COPPER": {"margin_per_lot": 310_000}})
    desk = a_contracts_desk("COPPER", folder=tmp_path, settings=settings, COPPER={"2026-02": {"lot_size": "250"}})
    listed = contracts_from(desk.document_on(NEW_YEAR))["COPPER"]
    assert listed.timezone == "Asia/Kolkata"
    assert listed.of_month("2026-03").margin_per_lot == 310_000
    assert listed.of_month("2026-02").margin_per_lot == 31_000
    assert (desk.lot_of("COPPER27FEB26FUT"), desk.lot_of("COPPER31MAR26FUT")) == (250, 2500)
    assert desk.lot_of("NOTHING") is None
    # An option's is its future's.
    assert desk.lot_of("COPPER27FEB26800CE") == 250


def test_rules_and_calendar_of_ones_own_take_the_place_of_the_shipped_ones(tmp_path: Path) -> None:
    rules = json.loads(DEFAULT_CONTRACT_RULES.read_text())
    rules["COPPER"]["symbol"] = "CU"
    calendar = json.loads(DEFAULT_CALENDAR.read_text())
    for table in calendar["tables"]:
        table["last_day"] = "2026-06-30"
        table["days"] = {day: found for day, found in table["days"].items() if day <= "2026-06-30"}
    files = ContractFiles(rules=a_json(tmp_path, "r", rules), calendar=a_json(tmp_path, "c", calendar))
    desk = ContractsDesk(files, default_settings(), ["COPPER"])
    document = desk.document_on(NEW_YEAR)
    assert document["COPPER"]["known"][0]["symbol"] == "CU"
    assert document["COPPER"]["known"][-1]["month"] == "2026-06"
    assert str(desk.calendar().table("MCX").last_day) == "2026-06-30"


def test_before_the_calendar_ends_the_log_warns(capsys: pytest.CaptureFixture[str]) -> None:
    desk = a_contracts_desk("COPPER")
    desk.document_on(date(2026, 11, 22))
    assert "cannot be told" not in capsys.readouterr().err
    desk.document_on(date(2026, 11, 24))
    told = capsys.readouterr().err
    assert "cannot be told" in told
    assert "2027-01" in told


# --- what is refused


def test_an_instrument_without_rules_is_named() -> None:
    coin = {"COIN": {"lot_size": 1, "point_value": 1, "margin_per_lot": 1, "exchange": "MCX"}}
    desk = a_contracts_desk("COIN", settings=settings_with(instruments=coin))
    with pytest.raises(ConfigurationError, match=r"`brokers.markets.COIN`: there are no contract rules of COIN"):
        desk.document_on(NEW_YEAR)


def test_an_exchange_without_a_calendar_is_named() -> None:
    desk = a_contracts_desk("COPPER", settings=settings_with(instruments={"COPPER": {"exchange": "MOON"}}))
    with pytest.raises(ConfigurationError, match=r"`brokers.markets.COPPER`: no calendar of 'MOON'"):
        desk.document_on(NEW_YEAR)


def test_an_instrument_that_is_not_configured_is_named() -> None:
    with pytest.raises(ConfigurationError, match="TULIPS is no instrument"):
        a_contracts_desk("TULIPS")


@pytest.mark.parametrize(
    "corrections, complaint",
    [
        ({"COPPER": {"2026-02": {"expiry": "2026-02-28"}}}, "is no trading day"),
        ({"COPPER": {"2026-02": {"roll_date": "2026-03-02"}}}, "comes after expiry"),
        ({"COPPER": {"2026-02": {"lots": 1}}}, "`lots`: is no setting"),
        ({"TULIPS": {}}, "no contract rules"),
    ],
)
def test_a_correction_that_makes_no_contract_is_named_with_its_file(
    tmp_path: Path, corrections: dict[str, Any], complaint: str
) -> None:
    desk = a_contracts_desk("COPPER", folder=tmp_path, **corrections)
    with pytest.raises(ConfigurationError, match=complaint) as refused:
        desk.document_on(NEW_YEAR)
    assert "corrections.json" in str(refused.value)


def test_a_market_has_one_symbol_or_contracts() -> None:
    settings = BrokersSettings.model_validate(
        {"markets": {"A": {"symbol": "X", "exchange": "NFO"}, "B": {"exchange": "MCX", "contracts": True}}}
    )
    assert settings.by_contract == {"B"}
    for wrong in ({}, {"symbol": "X", "contracts": True}, {"contracts": False}):
        with pytest.raises(ValidationError, match="give either `symbol`, one that stays, or `contracts`"):
            MarketSettings.model_validate({"exchange": "NFO", **wrong})
    with pytest.raises(ValidationError, match="exchange"):
        MarketSettings.model_validate({"contracts": True})


def test_the_files_are_settings_of_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTFOLIO_CONTRACTS__CALENDAR", "calendar.json")
    found = load_file_settings(a_json(tmp_path, "config.json", {"contracts": {"corrections": "by-hand.json"}}))
    assert found.contracts == ContractFiles(corrections=Path("by-hand.json"), calendar=Path("calendar.json"))
    with pytest.raises(ConfigurationError, match="did you mean `corrections`"):
        load_file_settings(a_json(tmp_path, "wrong.json", {"contracts": {"correction": "x"}}))


# --- once a day


class Kept:
    """What was given to be journalled, and whether it could be."""

    def __init__(self) -> None:
        self.given: list[SetContracts] = []
        self.works = True

    def __call__(self, given: SetContracts) -> bool:
        self.given.append(given)
        return self.works


class Files:
    """Contracts by day, as they would be made; how often they were asked for."""

    def __init__(self, **corrections: Any) -> None:
        self.document = a_document(**corrections)
        self.asked: list[date] = []
        self.broken = False

    def __call__(self, day: date) -> dict[str, Any]:
        self.asked.append(day)
        if self.broken:
            raise ConfigurationError("a file is gone")
        return self.document


def test_contracts_are_made_anew_once_a_day_and_kept_where_they_changed() -> None:
    files, kept = Files(), Kept()
    daily, portfolio = DailyContracts(files), in_contracts(a_portfolio(), files.document)
    assert daily.at_start(NEW_YEAR) == files.document
    daily.refresh(NEW_YEAR, portfolio, kept)
    assert files.asked == [NEW_YEAR]
    for _ in range(2):
        daily.refresh(NEXT_DAY, portfolio, kept)
    assert (files.asked, kept.given) == ([NEW_YEAR, NEXT_DAY], [])
    files.document = a_document(last="2027-02")
    daily.refresh(date(2026, 1, 3), portfolio, kept)
    assert kept.given == [SetContracts(contracts=files.document)]


def test_what_could_not_be_kept_is_tried_again() -> None:
    files, kept = Files(), Kept()
    daily, portfolio = DailyContracts(files), a_portfolio()
    daily.at_start(NEW_YEAR)
    kept.works = False
    daily.refresh(NEXT_DAY, portfolio, kept)
    kept.works = True
    for _ in range(2):
        daily.refresh(NEXT_DAY, portfolio, kept)
    assert len(kept.given) == 2


def test_a_file_that_cannot_be_used_leaves_the_contracts_and_is_told_once_a_day(
    capsys: pytest.CaptureFixture[str],
) -> None:
    files, kept = Files(), Kept()
    daily, portfolio = DailyContracts(files), a_portfolio()
    daily.at_start(NEW_YEAR)
    files.broken = True
    for _ in range(3):
        daily.refresh(NEXT_DAY, portfolio, kept)
    assert capsys.readouterr().err.count("a file is gone") == 1
    assert not kept.given
    with pytest.raises(ConfigurationError, match="a file is gone"):
        DailyContracts(files).at_start(NEW_YEAR)
