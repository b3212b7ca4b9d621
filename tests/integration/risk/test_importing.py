"""Imports of every layout: each row once, exact, all or nothing, what is bad told with its line."""

import io
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pandas
import pyarrow as arrow
import pytest
from pyarrow import parquet
from sqlalchemy.orm import Session

from core.errors import Refused
from risk.as_of import Bar
from risk.importers.frames import bars_of_frame
from risk.importers.history import History, bars_of_history
from risk.importers.told import UnreadableFile, of_table, read_file
from risk.importing import Import, Imported, ImportNotValid, NothingImported, take
from risk.market_data import MarketData
from risk.register import SourceNotValid, kept_bars, kept_series
from risk.upsert import BATCH_ROWS, table_of

INDIA = ZoneInfo("Asia/Kolkata")
CHART = Import(kind="tradingview", zone=INDIA, instrument="GOLD_MINI", timeframe="1h")
SYMBOLS = {"BANKNIFTY": "BANK_NIFTY", "GOLDM": "GOLD_MINI"}
TRADINGVIEW = """time,open,high,low,close,Volume,Supertrend
1768362300,138900,139010.5,138850,138940.25,120,1
1768365900,138940.25,139100,138900,139050,98.5,1
"""


def imported(session: Session, given: Import, text: str, name: str = "file.csv") -> Imported:
    return take(session, given, read_file(name, text.encode()))


def bars(session: Session, *columns: str) -> list[tuple[Any, ...]]:
    table = table_of(MarketData).c
    wanted = [table[column] for column in columns]
    return [
        tuple(row) for row in session.query(*wanted).order_by(table.timestamp, table.expiry, table.strike, table.id)
    ]


def lines(error: "pytest.ExceptionInfo[NothingImported]") -> list[tuple[int, str]]:
    return [(problem.line, problem.reason) for problem in error.value.problems]


# --- charts


def test_a_chart_is_imported_exactly_and_the_second_time_inserts_nothing(session: Session) -> None:
    first = imported(session, CHART, TRADINGVIEW)
    assert (first.rows, first.inserted, first.same, first.problems) == (2, 2, 0, [])
    again = imported(session, CHART, TRADINGVIEW)
    assert (again.rows, again.inserted, again.same, again.changed) == (2, 0, 2, 0)
    assert bars(session, "timestamp", "close", "volume") == [
        (datetime(2026, 1, 14, 3, 45, tzinfo=UTC), Decimal("138940.25"), Decimal(120)),
        (datetime(2026, 1, 14, 4, 45, tzinfo=UTC), Decimal(139050), Decimal("98.5")),
    ]


@pytest.mark.parametrize(
    "written",
    ["2026-01-14T09:15:00+05:30", "2026-01-14T03:45:00Z", "2026-01-14 09:15:00", "1768362300", "1768362300000"],
)
def test_a_time_is_read_however_it_is_written(session: Session, written: str) -> None:
    imported(session, CHART, f"time,open,high,low,close\n{written},1,2,1,2\n")
    assert bars(session, "timestamp") == [(datetime(2026, 1, 14, 3, 45, tzinfo=UTC),)]


@pytest.mark.parametrize("written", ["1768362300", "2026-01-14", "2026-01-14T09:15:00+05:30", "13-JAN-2026 x"])
def test_a_days_bar_begins_with_the_exchanges_day_whoever_tells_it(session: Session, written: str) -> None:
    given = replace(CHART, timeframe="1d")
    text = f"time,open,high,low,close\n{written},1,2,1,2\n"
    if written.endswith("x"):
        with pytest.raises(NothingImported) as error:
            imported(session, given, text)
        ((line, reason),) = [each for each in lines(error) if "missing" not in each[1]]
        assert (line, reason.startswith("`timestamp`: '13-JAN-2026 x' is no time")) == (2, True)
        return
    imported(session, given, text)
    assert bars(session, "timestamp") == [(datetime(2026, 1, 13, 18, 30, tzinfo=UTC),)]


def test_bad_rows_are_told_with_their_lines_and_nothing_is_imported(session: Session) -> None:
    text = (
        "time,open,high,low,close\n1768362300,1,2,1,2\n\n1768365900,1,2,1\n1768369500,x,2,1,2\n1768373100,1,2,3,2\n"
        "1768362300,1,2,1,2\n1768380300,1,99999999999,1,2\n1768383900,,2,1,2\n"
    )
    with (
        pytest.raises(NothingImported, match="6 of 7 rows are not good, the first in line 4") as error,
        session.begin_nested(),
    ):
        imported(session, CHART, text)
    assert lines(error) == [
        (4, "row: has 4 values for 5 columns"),
        (5, "`open`: 'x' is no number"),
        (6, "`prices`: is refused by the rule ck_..._prices"),
        (7, "row: says the same of the same as line 2"),
        (8, "`high`: '99999999999' has more than 10 digits before the point"),
        (9, "`open`: is missing"),
    ]
    assert bars(session, "id") == []
    done = imported(session, replace(CHART, partial=True), text)
    assert (done.rows, done.inserted, [problem.line for problem in done.problems]) == (7, 1, [4, 5, 6, 7, 8, 9])


def test_something_else_of_the_same_bar_is_told_and_replaced_only_where_that_is_asked_for(session: Session) -> None:
    imported(session, CHART, TRADINGVIEW)
    corrected = TRADINGVIEW.replace("139050", "139060")
    with pytest.raises(NothingImported) as error, session.begin_nested():
        imported(session, CHART, corrected)
    assert lines(error) == [(3, "row: something else is known of the same")]
    kept = imported(session, replace(CHART, partial=True), corrected)
    assert (kept.same, kept.changed, len(kept.problems)) == (1, 0, 1)
    assert bars(session, "close")[1] == (Decimal(139050),)
    done = imported(session, replace(CHART, replace=True), corrected)
    assert (done.inserted, done.same, done.changed, done.problems) == (0, 1, 1, [])
    assert bars(session, "close")[1] == (Decimal(139060),)


def test_more_than_one_batch_is_imported_and_found_again(session: Session) -> None:
    """Also where the first rows are there already and the last ones are new."""
    begin = datetime(2020, 1, 1, tzinfo=UTC)
    count = BATCH_ROWS + 1000
    rows = [f"{int((begin + timedelta(minutes=n)).timestamp())},1,2,1,{1 + n % 7 / 8}" for n in range(count)]
    given = replace(CHART, timeframe="1m")
    half = imported(session, given, "\n".join(["time,open,high,low,close", *rows[: count // 2]]))
    assert half.inserted == count // 2
    whole = imported(session, given, "\n".join(["time,open,high,low,close", *rows]))
    assert (whole.inserted, whole.same) == (count - count // 2, count // 2)
    (told,) = kept_bars(session)
    assert (told["bars"], told["first"], told["last"]) == (count, begin, begin + timedelta(minutes=count - 1))


def test_surplus_decimals_are_rounded_half_even(session: Session) -> None:
    imported(session, CHART, "time,open,high,low,close\n1768362300,1,2e0,1,1.123456785\n")
    assert bars(session, "high", "close") == [(Decimal(2), Decimal("1.12345678"))]


# --- bhavcopies

UDIFF = (
    "TradDt,BizDt,Sgmt,Src,FinInstrmTp,FinInstrmId,ISIN,TckrSymb,SctySrs,XpryDt,FininstrmActlXpryDt,StrkPric,OptnTp,FinInstrmNm,"
    "OpnPric,HghPric,LwPric,ClsPric,LastPric,PrvsClsgPric,UndrlygPric,SttlmPric,OpnIntrst,ChngInOpnIntrst,TtlTradgVol,TtlTrfVal,"
    "TtlNbOfTxsExctd,SsnId,NewBrdLotQty,Rmks,Rsvd1,Rsvd2,Rsvd3,Rsvd4\n"
)
UDIFF_DERIVATIVES = UDIFF + (
    "2026-01-14,2026-01-14,FO,NSE,IDF,1,,BANKNIFTY,,2026-01-27,2026-01-27,,,BANKNIFTY26JANFUT,"
    "58400,58800.4,58300,58733,58730,58412.6,58600,58740.2,900000,1,31000,1,1,F1,30,,,,,\n"
    "2026-01-14,2026-01-14,FO,NSE,IDO,2,,BANKNIFTY,,2026-01-27,2026-01-27,58500,CE,BANKNIFTY26JAN58500CE,"
    "410,450.05,400,430,430,400,58600,430,1200,1,500,1,1,F1,30,,,,,\n"
    "2026-01-14,2026-01-14,FO,NSE,IDO,3,,BANKNIFTY,,2026-01-27,2026-01-27,70000,CE,BANKNIFTY26JAN70000CE,"
    "0,0,0,0.05,0,0.05,58600,0.05,0,0,0,0,0,F1,30,,,,,\n"
    "2026-01-14,2026-01-14,FO,NSE,STF,4,,NOTOURS,,2026-01-27,2026-01-27,,,NOTOURS26JANFUT,"
    "1,2,1,2,2,2,2,2,1,1,500,1,1,F1,30,,,,,\n"
)
UDIFF_EQUITIES = UDIFF + (
    "2026-01-14,2026-01-14,CM,NSE,STK,5,INE002A01018,RELIANCE,EQ,,,,,RELIANCE,"
    "1450,1466.6,1448,1460,1460,1449,,1460,,,5000000,1,1,F1,1,,,,,\n"
    "2026-01-14,2026-01-14,CM,NSE,STK,6,INE002A01018,RELIANCE,BL,,,,,RELIANCE,"
    "1451,1451,1451,1451,1451,1449,,1451,,,10,1,1,F1,1,,,,,\n"
)
OLD_DERIVATIVES = (
    "INSTRUMENT,SYMBOL,EXPIRY_DT,STRIKE_PR,OPTION_TYP,OPEN,HIGH,LOW,CLOSE,SETTLE_PR,CONTRACTS,VAL_INLAKH,OPEN_INT,CHG_IN_OI,"
    "TIMESTAMP,\n"
    "FUTIDX,BANKNIFTY,26-Jul-2018,0,XX,26620,26740.05,26606.1,26713.4,26713.4,60977,650965.44,2326640,217280,09-JUL-2018,\n"
    "OPTIDX,BANKNIFTY,12-Jul-2018,27000,PE,398.05,398.05,290,309.3,309.3,3365,36771.21,26360,15400,09-JUL-2018,\n"
)
OLD_EQUITIES = (
    "SYMBOL,SERIES,OPEN,HIGH,LOW,CLOSE,LAST,PREVCLOSE,TOTTRDQTY,TOTTRDVAL,TIMESTAMP,TOTALTRADES,ISIN,\n"
    "RELIANCE,EQ,3110.1,3140,3100,3120.55,3121,3108,4556633,3045044015.80,05-JUL-2024,29778,INE002A01018,\n"
    "RELIANCE,N3,1048,1048,1048,1048,1048,1050,91,186368,05-JUL-2024,2,INE002A08MG3,\n"
)
MCX = (
    "Date,Instrument Name,Symbol,Expiry Date,Option Type,Strike Price,Open,High,Low,Close,Previous Close,Volume(Lots),"
    "Volume(In 000's),Value(Lacs),Open Interest(Lots)\n"
    '"14 Jan 2026","FUTCOM","GOLDM     ","05FEB2026","-","0","138900","139200","138500","138940","138800","3412","341 GRMS","9",'
    '"8801"\n'
    '"14 Jan 2026","OPTFUT","GOLDM","29JAN2026","PE","120000","2","2","0.5","0.5","0.5","7980","0 GRMS","1","5162"\n'
    '"14 Jan 2026","OPTFUT","GOLDM","29JAN2026","CE","177500","","","","0.5","0.5","0","0 GRMS","0","0"\n'
)
OF_DAY = datetime(2026, 1, 13, 18, 30, tzinfo=UTC)


def test_nses_derivatives_are_read_in_the_udiff_layout(session: Session) -> None:
    given = Import(kind="nse", zone=INDIA, symbols=SYMBOLS)
    done = imported(session, given, UDIFF_DERIVATIVES)
    assert (done.inserted, done.left_out) == (2, {"not in the master of instruments": 1, "not traded that day": 1})
    assert bars(
        session, "timestamp", "timeframe", "expiry", "strike", "option_type", "high", "settlement", "open_interest"
    ) == [
        (OF_DAY, "1d", date(2026, 1, 27), Decimal(58500), "CE", Decimal("450.05"), Decimal(430), Decimal(1200)),
        (OF_DAY, "1d", date(2026, 1, 27), None, None, Decimal("58800.4"), Decimal("58740.2"), Decimal(900000)),
    ]
    assert imported(session, given, UDIFF_DERIVATIVES).inserted == 0


def test_a_zipped_bhavcopy_is_read_as_it_is_published(session: Session) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("BhavCopy_NSE_FO_0_0_0_20260114_F_0000.csv", UDIFF_DERIVATIVES)
    told = read_file("BhavCopy_NSE_FO_0_0_0_20260114_F_0000.csv.zip", packed.getvalue())
    assert take(session, Import(kind="nse", zone=INDIA, symbols=SYMBOLS), told).inserted == 2


def test_nses_equities_are_read_in_the_udiff_layout_and_in_the_one_before(session: Session) -> None:
    given = Import(kind="nse", zone=INDIA)
    done = imported(session, given, UDIFF_EQUITIES)
    assert (done.inserted, done.left_out) == (1, {"of another series than EQ": 1})
    done = imported(session, given, OLD_EQUITIES)
    assert (done.inserted, done.left_out) == (1, {"of another series than EQ": 1})
    assert bars(session, "close", "expiry") == [(Decimal("3120.55"), None), (Decimal(1460), None)]


def test_nses_derivatives_are_read_in_the_layout_before(session: Session) -> None:
    assert imported(session, Import(kind="nse", zone=INDIA, symbols=SYMBOLS), OLD_DERIVATIVES).inserted == 2
    assert bars(session, "expiry", "strike", "option_type", "close") == [
        (date(2018, 7, 12), Decimal(27000), "PE", Decimal("309.3")),
        (date(2018, 7, 26), None, None, Decimal("26713.4")),
    ]


def test_mcxs_bhavcopy_is_read(session: Session) -> None:
    done = imported(session, Import(kind="mcx", zone=INDIA, symbols=SYMBOLS), MCX)
    assert (done.inserted, done.left_out) == (2, {"not traded that day": 1})
    assert bars(session, "timestamp", "expiry", "option_type", "close", "volume") == [
        (OF_DAY, date(2026, 1, 29), "PE", Decimal("0.5"), Decimal(7980)),
        (OF_DAY, date(2026, 2, 5), None, Decimal(138940), Decimal(3412)),
    ]


def test_a_bad_row_of_a_bhavcopy_is_told_with_its_line(session: Session) -> None:
    broken = MCX.replace('"139200"', '"138000"').replace('"7980"', '"many"')
    with pytest.raises(NothingImported) as error:
        imported(session, Import(kind="mcx", zone=INDIA, symbols=SYMBOLS), broken)
    assert lines(error) == [(2, "`prices`: is refused by the rule ck_..._prices"), (3, "`volume`: 'many' is no number")]


@pytest.mark.parametrize("kind, told", [("nse", "no bhavcopy of NSE"), ("mcx", "has no column `Symbol`")])
def test_another_layout_is_refused(session: Session, kind: str, told: str) -> None:
    with pytest.raises(UnreadableFile, match=told):
        imported(session, Import(kind=kind, zone=INDIA), TRADINGVIEW)


# --- frames

DAYS = pandas.DatetimeIndex(["2026-01-13", "2026-01-14"], tz="Asia/Kolkata", name="Date")


def test_a_frame_is_imported(session: Session) -> None:
    frame = pandas.DataFrame(
        {
            "Open": [1.5, 2.5],
            "High": [3.0, 3.25],
            "Low": [1.0, 2.0],
            "Close": [2.0, 2.1],
            "Adj Close": [1.9, 2.0],
            "Volume": [10, 20],
        },
        index=DAYS,
    )
    given = Import(kind="yfinance", zone=INDIA, instrument="GOLD_MINI", timeframe="1d")
    assert take(session, given, bars_of_frame(frame)).inserted == 2
    assert bars(session, "timestamp", "close", "volume")[1] == (OF_DAY, Decimal("2.1"), Decimal(20))
    assert imported(session, given, frame.to_csv()).same == 2


@pytest.mark.parametrize("levels", [("Price", "Ticker"), ("Ticker", "Price")])
def test_a_frame_of_several_tickers_is_imported(session: Session, levels: tuple[str, str]) -> None:
    prices = {"Open": 1.0, "High": 3.0, "Low": 1.0, "Close": 2.0, "Volume": 1e10}
    cells = {(name, ticker): [value, value] for ticker in ("GC=F", "HG=F") for name, value in prices.items()}
    frame = pandas.DataFrame(cells, index=DAYS).rename_axis(columns=["Price", "Ticker"])
    frame.loc[DAYS[0], [(name, "HG=F") for name in prices]] = float("nan")
    given = Import(kind="yfinance", zone=INDIA, timeframe="1d", symbols={"GC=F": "GOLD_MINI", "HG=F": "COPPER"})
    done = take(session, given, bars_of_frame(frame.reorder_levels(levels, axis=1)))
    assert (done.inserted, done.left_out) == (3, {"without a price": 1})
    assert sorted(row["instrument"] for row in kept_bars(session)) == ["COPPER", "GOLD_MINI"]
    assert {volume for (volume,) in bars(session, "volume")} == {Decimal(10_000_000_000)}


# --- our own columns


def test_parquet_is_imported_as_csv_is(session: Session) -> None:
    table = arrow.table(
        {
            "timestamp": arrow.array([datetime(2026, 1, 14, 4, tzinfo=UTC)], arrow.timestamp("us", "UTC")),
            "instrument": ["GOLD_MINI"],
            "timeframe": ["1h"],
            "expiry": arrow.array([date(2026, 2, 5)]),
            **{
                name: arrow.array([Decimal("138940.25")], arrow.decimal128(18, 8))
                for name in ("open", "high", "low", "close")
            },
        }
    )
    written = io.BytesIO()
    parquet.write_table(table, written)
    given = Import(kind="bars", zone=INDIA)
    assert take(session, given, read_file("bars.parquet", written.getvalue())).inserted == 1
    text = "timestamp,instrument,timeframe,expiry,open,high,low,close\n"
    row = "2026-01-14T04:00:00Z,GOLD_MINI,1h,2026-02-05,138940.25,138940.25,138940.250,138940.25\n"
    assert imported(session, given, text + row).same == 1
    assert take(session, given, of_table(table)).same == 1


OTHERS = {
    "macro": (
        "series,observation_date,revision,release_time,value\n"
        "CPI,2025-12-01,0,2026-01-12T12:00:00Z,1.33\nCPI,2025-12-01,1,2026-02-12T12:00:00Z,1.4\n"
    ),
    "curves": (
        "curve_id,curve_date,tenor_days,release_time,curve_type,rate\n"
        "INR_GSEC,2026-01-14,3650,2026-01-14T12:00:00Z,par,6.62\n"
    ),
    "flows": (
        "series,observation_date,flow_type,release_time,value,unit\n"
        "FII,2026-01-14,equity,2026-01-14T13:00:00Z,-1200.5,INR crore\n"
    ),
    "fiscal": (
        "series,observation_date,fiscal_metric,release_time,value,unit\n"
        "GOI,2025-12-01,deficit,2026-01-31T12:00:00Z,8.5,INR crore\n"
    ),
    "volatilities": (
        "instrument,surface_date,expiry,strike,option_type,implied_volatility\nBANK_NIFTY,2026-01-14,2026-01-27,58500,CE,12.5\n"
        "BANK_NIFTY,2026-01-14,2026-01-27,58500,PE,12.75\n"
    ),
    "signals": (
        "signal_name,signal_date,instrument,direction,strength,metadata_json\n"
        'trend,2026-01-14T10:00:00Z,GOLD_MINI,LONG,0.5,"{""window"": 20}"\ntrend,2026-01-14T10:00:00Z,,FLAT,0,\n'
    ),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_every_other_table_is_imported_once(session: Session, kind: str) -> None:
    rows = OTHERS[kind].count("\n") - 1
    given = Import(kind=kind, zone=INDIA, source="desk")
    assert imported(session, given, OTHERS[kind]).inserted == rows
    again = imported(session, given, OTHERS[kind])
    assert (again.inserted, again.same, again.problems) == (0, rows, [])


def test_series_are_made_as_they_are_told(session: Session) -> None:
    imported(session, Import(kind="macro", zone=INDIA, source="mospi"), OTHERS["macro"])
    (told,) = kept_series(session)
    assert (told["source"], told["series_code"], told["name"]) == ("mospi", "CPI", "CPI")


# --- histories of brokers


class Recorded:
    """A broker that remembers three hours, and tells one more than it was asked for."""

    def bars(self, symbol: str, timeframe: str, since: datetime, until: datetime) -> Iterator[Bar]:
        assert (symbol, timeframe) == ("GOLDM05FEB26FUT", "1h")
        for hour in range(4):
            price = Decimal(100 + hour)
            time = since + timedelta(hours=hour)
            yield Bar(timestamp=time, open=price, high=price + 1, low=price, close=price, volume=Decimal(hour))


def test_a_brokers_history_is_imported(session: Session) -> None:
    history: History = Recorded()
    since = datetime(2026, 1, 14, 4, tzinfo=UTC)
    asked = ("GOLDM05FEB26FUT", "1h", since, since + timedelta(hours=3))
    told = bars_of_history(history, *asked, now=since + timedelta(hours=3), expiry=date(2026, 2, 5))
    given = Import(
        kind="bars", zone=INDIA, source="paper", source_kind="broker", symbols={"GOLDM05FEB26FUT": "GOLD_MINI"}
    )
    done = take(session, given, told)
    assert (done.inserted, done.left_out) == (3, {"outside what was asked for": 1})
    assert bars(session, "expiry", "close", "volume")[2] == (date(2026, 2, 5), Decimal(102), Decimal(2))


def test_a_bar_that_is_not_over_is_left_out(session: Session) -> None:
    since = datetime(2026, 1, 14, 4, tzinfo=UTC)
    asked = ("GOLDM05FEB26FUT", "1h", since, since + timedelta(hours=3))
    told = bars_of_history(Recorded(), *asked, now=since + timedelta(hours=2, minutes=59))
    assert (len(told.lines), told.left_out["not over yet"]) == (2, 1)


# --- what is refused


@pytest.mark.parametrize(
    "given, text, error, told",
    [
        (replace(CHART, kind="other"), TRADINGVIEW, ImportNotValid, "one of tradingview"),
        (replace(CHART, timeframe=None), TRADINGVIEW, ImportNotValid, "`timeframe`"),
        (replace(CHART, timeframe="7m"), TRADINGVIEW, ImportNotValid, "`timeframe`: 7m"),
        (replace(CHART, instrument=None), TRADINGVIEW, ImportNotValid, "`instrument`"),
        (replace(CHART, source="No Name"), TRADINGVIEW, SourceNotValid, "begins with a letter"),
        (replace(CHART, kind="macro"), OTHERS["macro"], ImportNotValid, "are of bars"),
        (CHART, "time,open\n1,2\n", UnreadableFile, "a column `high`"),
        (CHART, "", UnreadableFile, "has to name the columns"),
        (CHART, "time,time\n1,2\n", UnreadableFile, "twice"),
        (
            Import(kind="macro", zone=INDIA),
            "series,colour\nCPI,red\n",
            UnreadableFile,
            "`colour`: is no column of macro",
        ),
        (Import(kind="macro", zone=INDIA), "series,value\nCPI,1\n", ImportNotValid, "`observation_date`"),
        (replace(CHART, kind="bars"), "timestamp,instrument\nx,y\n", ImportNotValid, "the file tells its own"),
    ],
)
def test_what_cannot_be_imported_is_refused(
    session: Session, given: Import, text: str, error: type[Refused], told: str
) -> None:
    with pytest.raises(error, match=told):
        imported(session, given, text)


def test_an_instrument_that_is_not_in_the_master_is_told_with_its_lines(session: Session) -> None:
    text = (
        "timestamp,instrument,timeframe,open,high,low,close\n"
        "2026-01-14T04:00:00Z,GOLD_MINI,1h,1,2,1,2\n2026-01-14T05:00:00Z,TIN,1h,1,2,1,2\n"
    )
    with pytest.raises(NothingImported) as error:
        imported(session, Import(kind="bars", zone=INDIA), text)
    assert lines(error) == [(3, "`instrument`: TIN is not in the master of instruments")]


@pytest.mark.parametrize(
    "name, content", [("a.xls", b"x"), ("a.parquet", b"x"), ("a.zip", b"x"), ("a.csv", b"\xff\xfe,\n")]
)
def test_a_file_that_is_none_is_refused(name: str, content: bytes) -> None:
    with pytest.raises(UnreadableFile, match=name.replace(".", r"\.")):
        read_file(name, content)
