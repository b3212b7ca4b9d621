"""`risk`: market data is imported, listed, read as of a time and looked through, in tables for people and JSON for programs."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import run
from tests.integration.test_cli_database import config_for, shown
from tests.live_process import ROOT
from tests.queries import rows

CHART = """time,open,high,low,close
2026-01-13T09:00:00+05:30,138500,139100,138350,138940.5
2026-01-13T10:00:00+05:30,138940.5,139400,138800,139210
2026-01-13T11:00:00+05:30,139210,139250,138700,138815
"""
OF_GOLD = ("--instrument", "GOLD_MINI", "--timeframe", "1h")


@pytest.fixture
def database(empty_dsn: str, tmp_path: Path) -> tuple[str, ...]:
    given = ("--db-config", str(config_for(empty_dsn, tmp_path)))
    shown("migrate", "--book", *given)
    return given


@pytest.fixture
def chart(tmp_path: Path) -> str:
    file = tmp_path / "chart.csv"
    file.write_text(CHART)
    return str(file)


def test_a_chart_is_imported_once_and_read_as_of_a_time(database: tuple[str, ...], chart: str) -> None:
    told = shown("risk", "import", "tradingview", chart, *OF_GOLD, *database)
    assert (told["status"], told["rows"], told["inserted"], told["refused"]) == ("imported", 3, 3, 0)
    assert shown("risk", "import", "tradingview", chart, *OF_GOLD, *database)["same"] == 3
    (bars,) = shown("risk", "series", *database)["bars"]
    assert (bars["instrument"], bars["source"], bars["bars"]) == ("GOLD_MINI", "tradingview", 3)
    then = shown("risk", "bars", "GOLD_MINI", "--timeframe", "1h", "--as-of", "2026-01-13T05:30:00Z", *database)
    assert [bar["close"] for bar in then["bars"]] == ["138940.5", "139210"]
    printed = run("risk", "bars", "GOLD_MINI", "--timeframe", "1h", "--as-of", "2026-01-13", *database)
    assert "138,940.5" in printed.stdout
    assert "tradingview" in run("risk", "series", *database).stdout


def test_a_bad_row_is_told_with_its_line_and_nothing_is_imported(
    database: tuple[str, ...], chart: str, empty_dsn: str
) -> None:
    Path(chart).write_text(CHART.replace("139400", "much"))
    result = run("risk", "import", "tradingview", chart, *OF_GOLD, *database)
    assert (result.exit_code, "nothing imported" in result.stdout, "'much' is no number" in result.stdout) == (
        1,
        True,
        True,
    )
    assert rows(empty_dsn, "SELECT count(*) FROM risk.market_data") == [(0,)]
    taken = shown("risk", "import", "tradingview", chart, *OF_GOLD, "--partial", *database)
    assert (taken["inserted"], taken["refused"], taken["problems"][0]["line"]) == (2, 1, 3)


def test_contracts_are_imported_and_joined(database: tuple[str, ...], tmp_path: Path) -> None:
    columns = "Date,Instrument Name,Symbol,Expiry Date,Option Type,Strike Price,Open,High,Low,Close,Volume(Lots)"
    header = f"{columns},Open Interest(Lots)\n"
    lines = [
        f"{day:02} Jan 2026,FUTCOM,GOLDM,{expiry},-,0,{price},{price},{price},{price},10,5\n"
        for expiry, base in (("05FEB2026", 1000), ("05MAR2026", 1010))
        for day in (27, 28, 29, 30)
        for price in [base + day]
    ]
    file = tmp_path / "bhav.csv"
    file.write_text(header + "".join(lines))
    assert shown("risk", "import", "mcx", str(file), *database)["inserted"] == 8
    joined = shown("risk", "bars", "GOLD_MINI", "--continuous", "difference", *database)
    assert [bar["close"] for bar in joined["bars"]] == ["1037", "1038", "1039", "1040"]
    assert [(roll["near"], roll["spread"]) for roll in joined["rolls"]] == [("2026-02-05", "10")]
    printed = run("risk", "bars", "GOLD_MINI", "--continuous", "ratio", *database)
    assert "2026-02-05" in printed.stdout
    (near,) = shown("risk", "bars", "GOLD_MINI", "--expiry", "2026-02-05", "--last", "1", *database)["bars"]
    assert near["close"] == "1030"


def test_what_is_wrong_with_bars_is_told(database: tuple[str, ...], chart: str) -> None:
    Path(chart).write_text(CHART.replace("2026-01-13T10:00:00+05:30,138940.5,139400,138800,139210\n", ""))
    shown("risk", "import", "tradingview", chart, *OF_GOLD, *database)
    told = shown("risk", "quality", "GOLD_MINI", "--timeframe", "1h", *database)
    assert (told["bars"], told["counts"]) == (2, {"gap": 1})
    assert told["findings"][0]["first"] == "2026-01-13T04:30:00Z"
    assert "no bar: 1 missing" in run("risk", "quality", "GOLD_MINI", "--timeframe", "1h", *database).stdout
    later = shown("risk", "quality", "GOLD_MINI", "--timeframe", "1h", "--since", "2026-01-14", *database)
    assert (later["bars"], later["findings"]) == (0, [])


@pytest.mark.parametrize(
    "given, code, told",
    [
        (("bars", "TIN"), 1, "not in the master"),
        (("bars", "GOLD_MINI", "--continuous", "ratio"), 1, "no bars of contracts"),
        (("bars", "GOLD_MINI", "--as-of", "2026-01-14T10:00:00"), 2, "of which zone"),
        (("bars", "GOLD_MINI", "--as-of", "soon"), 2, "must be like"),
        (("import", "journal"), 1, "--instrument and --timeframe"),
        (("import", "tradingview"), 2, "needs one"),
        (("import", "journal", "--timezone", "Mars"), 2, "no IANA time zone"),
        (("import", "journal", "--map", "GOLDM"), 2, "BANKNIFTY=BANK_NIFTY"),
    ],
)
def test_what_is_refused_is_told(database: tuple[str, ...], given: tuple[str, ...], code: int, told: str) -> None:
    result = run("risk", *given, *database)
    assert (result.exit_code, result.stdout) == (code, "")
    assert told in result.stderr


def test_bars_are_made_of_the_portfolios_alerts(database: tuple[str, ...]) -> None:
    told = shown("risk", "import", "journal", "--instrument", "BANK_NIFTY", "--timeframe", "1d", *database)
    assert (told["status"], told["rows"], told["inserted"]) == ("imported", 0, 0)


def test_without_the_tables_it_is_said_what_to_run(dsn: str, tmp_path: Path) -> None:
    result = run("risk", "series", "--db-config", str(config_for(dsn, tmp_path)))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "migrate --book" in result.stderr


def test_help_of_risk_imports_neither_frames_nor_the_database() -> None:
    program = (
        "import sys; from live.cli import main\n"
        "try: main(['risk', 'import', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'pandas', 'pyarrow', 'numpy', 'sqlalchemy', 'psycopg2'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or None)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
