"""The calendar answers from its table, to the minute, and refuses what its table does not hold."""

import json
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from core.errors import ConfigurationError
from core.trading_calendar import (
    BeyondHorizon,
    ExceptionalDay,
    ExchangeTable,
    Hours,
    Session,
    TradingCalendar,
)
from live import calendar_sources
from live.calendar_sources import extended_calendar, nse_table, table_of_spans
from live.contracts_file import DEFAULT_CALENDAR, load_calendar

INDIA = ZoneInfo("Asia/Kolkata")
NEW_YORK = ZoneInfo("America/New_York")
CALENDAR = load_calendar()
FIRST, LAST = date(2024, 1, 1), date(2026, 12, 31)
covered_days = st.dates(FIRST, LAST)


def at(text: str) -> datetime:
    """An instant from what India's clocks show."""
    return datetime.fromisoformat(text).replace(tzinfo=INDIA).astimezone(UTC)


def a_table(**changes: Any) -> dict[str, Any]:
    return {
        "exchanges": ["X"],
        "timezone": "Asia/Kolkata",
        "first_day": "2026-01-01",
        "last_day": "2026-12-31",
        "hours": [{"from_day": "2026-01-01", "opens": "09:00", "closes": "23:30"}],
        "halves_at": "17:00",
        "days": {"2026-01-26": {"name": "Republic Day"}},
        **changes,
    }


def a_calendar(**changes: Any) -> TradingCalendar:
    return TradingCalendar.model_validate({"tables": [a_table(**changes)]})


def messages(refused: pytest.ExceptionInfo[ValidationError]) -> str:
    return " ".join(error["msg"] for error in refused.value.errors())


@pytest.mark.parametrize(
    "exchange, clock, is_open",
    [
        ("NFO", "2026-01-14 09:14:59", False),
        ("NFO", "2026-01-14 09:15:00", True),
        ("NFO", "2026-01-14 15:29:59", True),
        ("NFO", "2026-01-14 15:30:00", False),
        ("NSE", "2026-01-17 10:00:00", False),  # a Saturday
        ("NSE", "2026-01-26 10:00:00", False),
        ("NSE", "2026-02-01 10:00:00", True),  # a Sunday, the Union Budget
        ("NFO", "2024-03-02 10:30:00", False),  # between the two sessions of that Saturday
        ("NFO", "2024-03-02 11:45:00", True),
        ("NFO", "2025-10-21 10:00:00", False),
        ("NFO", "2025-10-21 14:00:00", True),  # Muhurat
        ("MCX", "2026-01-14 09:00:00", True),
        ("MCX", "2026-01-14 23:54:59", True),  # New York on standard time
        ("MCX", "2026-01-14 23:55:00", False),
        ("MCX", "2026-07-14 23:29:59", True),
        ("MCX", "2026-07-14 23:30:00", False),
        ("MCX", "2026-01-15 12:00:00", False),  # the morning is closed
        ("MCX", "2026-01-15 17:00:00", True),
        ("MCX", "2026-01-01 16:59:59", True),  # the evening is closed
        ("MCX", "2026-01-01 17:00:00", False),
        ("MCX", "2026-02-01 16:00:00", True),
    ],
)
def test_an_exchange_is_open_by_its_table(exchange: str, clock: str, is_open: bool) -> None:
    assert CALENDAR.is_open(exchange, at(clock)) is is_open


def test_the_session_in_progress_tells_when_it_ends() -> None:
    assert CALENDAR.session_at("MCX", at("2026-01-15 18:00")) == Session(
        opens_at=at("2026-01-15 17:00"), closes_at=at("2026-01-15 23:55")
    )
    assert CALENDAR.session_at("MCX", at("2026-01-15 16:00")) is None


@pytest.mark.parametrize(
    "exchange, clock, opens",
    [
        ("NFO", "2026-01-14 12:00", "2026-01-14 12:00"),
        ("NFO", "2026-01-14 08:00", "2026-01-14 09:15"),
        ("NFO", "2026-01-14 15:30", "2026-01-16 09:15"),  # over the elections of the 15th
        ("NFO", "2026-01-30 16:00", "2026-02-01 09:15"),
        ("NFO", "2024-03-02 10:00", "2024-03-02 11:30"),
        ("MCX", "2026-01-14 23:59", "2026-01-15 17:00"),
    ],
)
def test_the_next_opening_is_found_over_nights_holidays_and_weekends(exchange: str, clock: str, opens: str) -> None:
    assert CALENDAR.next_open(exchange, at(clock)) == at(opens)


@given(st.sampled_from(["NFO", "MCX"]), st.datetimes(datetime(2024, 1, 2), datetime(2026, 12, 30)))  # noqa: DTZ001 - hypothesis wants them naive
def test_the_next_opening_is_open_and_nothing_before_it_is(exchange: str, naive: datetime) -> None:
    asked = naive.replace(tzinfo=UTC)
    opening = CALENDAR.next_open(exchange, asked)
    assert CALENDAR.is_open(exchange, opening)
    assert opening == asked or not CALENDAR.is_open(exchange, asked)
    assert opening == asked or not CALENDAR.is_open(exchange, opening - timedelta(seconds=1))


@given(covered_days)
def test_mcx_closes_late_exactly_while_new_york_is_on_standard_time(day: date) -> None:
    noon = datetime.combine(day, time(12), NEW_YORK)
    closes = "23:30" if noon.dst() else "23:55"
    [table] = [table for table in CALENDAR.tables if "MCX" in table.exchanges]
    # The clocks change on a Sunday; the exchange's hours on the Monday after it.
    if day.isoweekday() <= 5:
        assert f"{table.hours_on(day).closes:%H:%M}" == closes


@given(st.sampled_from(["NSE", "MCX"]), st.dates(date(2024, 1, 10), LAST))
def test_the_trading_day_before_is_the_last_one_that_trades(exchange: str, day: date) -> None:
    before = CALENDAR.trading_day_before(exchange, day)
    assert before < day
    assert CALENDAR.is_trading_day(exchange, before)
    between = (before + timedelta(days=count) for count in range(1, (day - before).days))
    assert not any(CALENDAR.is_trading_day(exchange, day_between) for day_between in between)


def test_days_are_found_on_both_sides_of_a_holiday() -> None:
    republic_day = date(2026, 1, 26)  # a Monday
    assert CALENDAR.trading_day_before("NFO", republic_day) == date(2026, 1, 23)
    assert CALENDAR.trading_day_from("NFO", republic_day) == date(2026, 1, 27)
    assert CALENDAR.trading_day_from("NFO", date(2026, 1, 27)) == date(2026, 1, 27)
    assert CALENDAR.expiry_day_until("NFO", republic_day) == date(2026, 1, 23)


def test_nothing_expires_in_a_special_session_at_a_weekend() -> None:
    budget = date(2026, 2, 1)  # a Sunday
    assert CALENDAR.is_trading_day("MCX", budget)
    assert not CALENDAR.is_expiry_day("MCX", budget)
    assert CALENDAR.expiry_day_until("MCX", budget) == date(2026, 1, 30)


def test_a_day_with_an_evening_only_is_a_trading_day_of_mcx_and_a_holiday_of_nse() -> None:
    guru_nanak = date(2025, 11, 5)
    assert CALENDAR.is_expiry_day("MCX", guru_nanak)
    assert not CALENDAR.is_trading_day("NSE", guru_nanak)


def test_the_day_is_the_exchanges_own() -> None:
    late = datetime(2026, 1, 14, 20, 0, tzinfo=UTC)
    assert CALENDAR.day_of("NFO", late) == date(2026, 1, 15)


def test_a_naive_time_is_refused() -> None:
    with pytest.raises(ValueError, match="naive"):
        CALENDAR.is_open("NFO", datetime(2026, 1, 14, 12))  # noqa: DTZ001 - that is the test


@pytest.mark.parametrize("exchange", ["NSE", "NFO", "MCX"])
def test_beyond_its_horizon_the_calendar_refuses_every_question(exchange: str) -> None:
    after, before = LAST + timedelta(days=1), FIRST - timedelta(days=1)
    asked = datetime.combine(after, time(6), UTC)
    questions = [
        lambda: CALENDAR.is_open(exchange, asked),
        lambda: CALENDAR.next_open(exchange, asked),
        lambda: CALENDAR.next_open(exchange, datetime.combine(LAST, time(19), UTC)),  # the answer lies beyond
        lambda: CALENDAR.is_trading_day(exchange, after),
        lambda: CALENDAR.is_expiry_day(exchange, date(2027, 1, 3)),  # a Sunday, even so
        lambda: CALENDAR.expiry_day_until(exchange, after),
        lambda: CALENDAR.trading_day_from(exchange, after),
        lambda: CALENDAR.trading_day_before(exchange, after + timedelta(days=1)),
        lambda: CALENDAR.trading_day_before(exchange, FIRST),
        lambda: CALENDAR.sessions(exchange, before),
    ]
    for question in questions:
        with pytest.raises(BeyondHorizon, match="2024-01-01 to 2026-12-31") as refused:
            question()
        assert refused.value.exchange == exchange
        assert refused.value.day is not None


def test_the_last_covered_day_is_found_from_just_beyond_it() -> None:
    assert CALENDAR.trading_day_before("NFO", LAST + timedelta(days=1)) == LAST


def test_an_exchange_without_a_table_is_refused_by_name() -> None:
    with pytest.raises(BeyondHorizon, match=r"no calendar of 'CME' \(known: MCX, NFO, NSE\)"):
        CALENDAR.is_open("CME", at("2026-01-14 12:00"))
    with pytest.raises(BeyondHorizon, match="known: none"):
        TradingCalendar(tables=()).table("CME")


def test_how_far_the_calendar_reaches_is_told() -> None:
    assert CALENDAR.days_left("MCX", date(2026, 12, 1)) == 30


def test_an_exchange_that_never_closes_is_data_too() -> None:
    always = a_calendar(
        weekdays=[1, 2, 3, 4, 5, 6, 7],
        timezone="UTC",
        hours=[{"from_day": "2026-01-01", "opens": "00:00", "closes": "00:00"}],
        halves_at=None,
        days={},
    )
    sunday = datetime(2026, 7, 5, 23, 59, 59, tzinfo=UTC)
    assert always.is_open("X", sunday)
    assert always.next_open("X", sunday + timedelta(seconds=1)) == datetime(2026, 7, 6, tzinfo=UTC)


def test_halves_meet_where_the_day_ends_at_midnight() -> None:
    late = a_calendar(
        hours=[{"from_day": "2026-01-01", "opens": "09:00", "closes": "00:00"}],
        days={"2026-01-27": {"name": "half", "trades": "evening"}},
    )
    assert late.sessions("X", date(2026, 1, 27)) == (
        Session(opens_at=at("2026-01-27 17:00"), closes_at=at("2026-01-28 00:00")),
    )


@pytest.mark.parametrize(
    "changes, rule",
    [
        ({"timezone": "Asia/Bombey"}, "no IANA time zone"),
        ({"last_day": "2025-12-31"}, "last_day must not come before"),
        ({"hours": [{"from_day": "2026-02-01", "opens": "09:00", "closes": "23:30"}]}, "hours must begin on first_day"),
        ({"hours": [{"from_day": "2026-01-01", "opens": "09:00", "closes": "08:00"}]}, "closes must come after opens"),
        ({"days": {"2027-01-26": {"name": "late"}}}, "lies outside"),
        ({"days": {"2026-01-26": {"name": "half", "trades": "evening"}}, "halves_at": None}, "halves_at"),
        ({"days": {"2026-01-26": {"name": "half", "trades": "morning"}}, "halves_at": "08:00"}, "halves_at"),
        ({"days": {"2026-01-26": {"name": "half", "trades": "morning"}}, "halves_at": "23:45"}, "halves_at"),
        ({"days": {"2026-01-26": {"name": "x", "trades": "special"}}}, "sessions belong to a day that trades"),
        ({"last_day": "2027-12-31"}, "2027 has no holiday"),
        ({"first_day": 1767225600}, "must be a date such as"),
        ({"halves_at": 61200}, "must be a time of day such as"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValidationError) as refused:
        a_calendar(**changes)
    assert rule in messages(refused)


@pytest.mark.parametrize("second", ["09:30", "10:30"])
def test_sessions_of_one_day_must_follow_one_another(second: str) -> None:
    spans = [
        {"opens": "09:15", "closes": "10:00" if second == "09:30" else "00:00"},
        {"opens": second, "closes": "11:00"},
    ]
    with pytest.raises(ValidationError) as refused:
        ExceptionalDay.model_validate({"name": "two", "trades": "special", "sessions": spans})
    assert "must follow one another" in messages(refused)


def test_an_exchange_has_one_table() -> None:
    with pytest.raises(ValidationError) as refused:
        TradingCalendar.model_validate({"tables": [a_table(), a_table()]})
    assert "X is in more than one table" in messages(refused)


def test_dates_and_times_may_be_given_as_themselves() -> None:
    table = ExchangeTable.model_validate(a_table(first_day=date(2026, 1, 1), halves_at=time(17)))
    assert (table.first_day, table.halves_at) == (date(2026, 1, 1), time(17))


def written(tmp_path: Path, *tables: dict[str, Any]) -> Path:
    path = tmp_path / "calendar.json"
    path.write_text(json.dumps({"tables": tables}), encoding="utf-8")
    return path


def next_year(**changes: Any) -> dict[str, Any]:
    return {
        **a_table(
            exchanges=["MCX"],
            first_day="2027-01-01",
            last_day="2027-12-31",
            hours=[{"from_day": "2027-01-01", "opens": "09:00", "closes": "23:55"}],
            days={"2027-01-01": {"name": "New Year", "trades": "morning"}, "2027-01-26": {"name": "Republic Day"}},
        ),
        **changes,
    }


def test_a_file_carries_the_calendar_into_the_next_year(tmp_path: Path) -> None:
    longer = extended_calendar(CALENDAR, written(tmp_path, next_year()))
    assert longer.is_open("MCX", at("2027-01-01 16:00"))
    assert not longer.is_open("MCX", at("2027-01-26 12:00"))
    assert longer.is_open("MCX", at("2026-07-14 12:00"))
    with pytest.raises(BeyondHorizon):
        longer.is_open("NFO", at("2027-01-04 12:00"))


def test_a_file_puts_a_day_right(tmp_path: Path) -> None:
    muhurat = {"name": "Muhurat", "trades": "special", "sessions": [{"opens": "18:00", "closes": "19:00"}]}
    right = next_year(
        first_day="2026-11-08",
        last_day="2026-11-08",
        hours=[{"from_day": "2026-11-02", "opens": "09:00", "closes": "23:55"}],
        days={"2026-11-08": muhurat},
    )
    calendar = extended_calendar(CALENDAR, written(tmp_path, right))
    assert calendar.is_open("MCX", at("2026-11-08 18:30"))
    assert calendar.is_open("MCX", at("2026-11-09 12:00"))


def test_a_file_adds_an_exchange(tmp_path: Path) -> None:
    calendar = extended_calendar(CALENDAR, written(tmp_path, a_table()))
    assert calendar.is_open("X", at("2026-07-14 12:00"))


@pytest.mark.parametrize(
    "changes, rule",
    [
        ({"first_day": "2027-01-02", "days": {"2027-01-26": {"name": "Republic Day"}}}, "leaves a gap"),
        ({"exchanges": ["NFO"]}, "NFO: a table must be of exactly NSE, NFO"),
        ({"days": {}}, "2027 has no holiday"),
    ],
)
def test_a_file_that_does_not_join_is_refused(tmp_path: Path, changes: dict[str, Any], rule: str) -> None:
    table = next_year(**changes)
    if "first_day" in changes:
        table["hours"][0]["from_day"] = "2027-01-02"
    with pytest.raises(ConfigurationError, match=rule):
        extended_calendar(CALENDAR, written(tmp_path, table))


def test_a_file_that_ends_long_before_leaves_a_gap_too(tmp_path: Path) -> None:
    early = next_year(
        first_day="2022-01-01",
        last_day="2022-12-31",
        hours=[{"from_day": "2022-01-01", "opens": "09:00", "closes": "23:55"}],
        days={"2022-01-26": {"name": "Republic Day"}},
    )
    with pytest.raises(ConfigurationError, match="leaves a gap"):
        extended_calendar(CALENDAR, written(tmp_path, early))


def test_what_a_source_does_not_know_yet_is_cut_off() -> None:
    regular = Hours(opens=time(9, 15), closes=time(15, 30))
    every_day = (date(2026, 12, 1) + timedelta(days=count) for count in range(90))
    spans = {day: regular for day in every_day if day.isoweekday() <= 5 and day != date(2026, 12, 25)}
    table = table_of_spans(spans, date(2026, 12, 1), date(2027, 2, 28))
    assert table.last_day == LAST
    assert list(table.days) == [date(2026, 12, 25)]


def test_special_sessions_of_a_source_are_kept() -> None:
    spans = {
        date(2026, 2, 1): Hours(opens=time(9, 15), closes=time(15, 30)),  # a Sunday
        date(2026, 2, 2): Hours(opens=time(18), closes=time(19)),
        date(2026, 2, 3): Hours(opens=time(9, 15), closes=time(15, 30)),
    }
    table = table_of_spans(spans, date(2026, 1, 31), date(2026, 2, 4))
    assert {day: exception.trades for day, exception in table.days.items()} == {
        date(2026, 2, 1): "special",
        date(2026, 2, 2): "special",
        date(2026, 2, 4): "none",
    }


def test_a_source_that_knows_no_holiday_is_no_source() -> None:
    with pytest.raises(ConfigurationError, match="no holiday is known"):
        table_of_spans(
            {date(2027, 1, 4): Hours(opens=time(9, 15), closes=time(15, 30))}, date(2027, 1, 4), date(2027, 1, 4)
        )


def test_the_package_is_asked_for_by_name_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(calendar_sources, "import_module", missing)
    with pytest.raises(ConfigurationError, match="pip install pandas_market_calendars"):
        nse_table(FIRST, LAST)


class _Stamp(datetime):
    """A time as pandas gives it."""

    def tz_convert(self, name: str) -> datetime:
        return self.astimezone(ZoneInfo(name))


class _Schedule(SimpleNamespace):
    """A schedule as pandas_market_calendars gives it, of one Friday before a holiday."""

    def get_calendar(self, _name: str) -> Any:
        return self

    def schedule(self, **_days: str) -> Any:
        return self

    def itertuples(self) -> list[SimpleNamespace]:
        row = SimpleNamespace(
            market_open=_Stamp(2026, 1, 23, 3, 45, tzinfo=UTC), market_close=_Stamp(2026, 1, 23, 10, 0, tzinfo=UTC)
        )
        return [row]


def test_a_schedule_of_the_package_becomes_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = _Schedule(index=[datetime(2026, 1, 23, tzinfo=UTC)])
    monkeypatch.setattr(calendar_sources, "import_module", lambda _name: schedule)
    table = nse_table(date(2026, 1, 23), date(2026, 1, 26))
    assert table.days == {date(2026, 1, 26): ExceptionalDay(name="holiday")}


@pytest.mark.filterwarnings("default")
def test_nse_agrees_with_pandas_market_calendars_where_that_is_installed() -> None:
    theirs = nse_table(FIRST, date(2027, 12, 31))
    assert theirs.last_day == LAST, "it names no holiday of 2027: what is ours ends with 2026 as well"
    ours = CALENDAR.table("NSE")
    # Ours also has the special sessions at weekends, which it leaves out.
    own = {day: ours.spans_on(day) for day in ours.days if day.isoweekday() <= 5}
    assert {day: theirs.spans_on(day) for day in theirs.days} == own


def test_the_shipped_calendar_names_its_sources() -> None:
    assert DEFAULT_CALENDAR.name == "trading_calendar.json"
    assert all(table.sources for table in CALENDAR.tables)
