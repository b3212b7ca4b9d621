"""`risk term-structure` and `risk supply`: what was known as of an instant, with reasons for what was not."""

import math
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from tests.command_line import run
from tests.integration.test_cli_database import config_for, shown

BHAVCOPY = "Date,Instrument Name,Symbol,Expiry Date,Option Type,Strike Price,Open,High,Low,Close,Volume(Lots),Open Interest(Lots)"
AS_OF = ("--as-of", "2026-01-30T20:00:00Z")
WORKDAYS = [day for day in (date(2025, 11, 3) + timedelta(days=n) for n in range(89)) if day.isoweekday() < 6]


@pytest.fixture
def database(empty_dsn: str, tmp_path: Path) -> tuple[str, ...]:
    given = ("--db-config", str(config_for(empty_dsn, tmp_path)))
    shown("migrate", "--book", *given)
    return given


@pytest.fixture
def contracts(database: tuple[str, ...], tmp_path: Path) -> tuple[str, ...]:
    """Two contracts of gold, the far one 480 points dearer; the near one's last bar is of 29 January."""
    lines = [
        f"{day:02} Jan 2026,FUTCOM,GOLDM,{expiry},-,0,{close},{close + 100},{close - 100},{close},10,5"
        for expiry, base in (("05FEB2026", 72_000), ("05MAR2026", 72_480))
        for day in (27, 28, 29, 30)
        for close in [base + day]
        if (expiry, day) != ("05FEB2026", 30)
    ]
    file = tmp_path / "bhav.csv"
    file.write_text("\n".join([BHAVCOPY, *lines]) + "\n")
    assert shown("risk", "import", "mcx", str(file), *database)["inserted"] == 7
    return database


def chart(folder: Path, closes: dict[date, float], name: str = "chart") -> str:
    rows = (f"{day}T00:00:00+05:30,{close},{close + 5},{close - 5},{close}" for day, close in closes.items())
    file = folder / f"{name}.csv"
    file.write_text("time,open,high,low,close\n" + "\n".join(rows) + "\n")
    return str(file)


def daily(folder: Path, instrument: str, closes: dict[date, float], *database: str) -> None:
    told = ("--instrument", instrument, "--timeframe", "1d")
    shown("risk", "import", "tradingview", chart(folder, closes, instrument), *told, *database)


def waves(base: float, by: float) -> dict[date, float]:
    return {day: round(base + by * math.sin(number), 2) for number, day in enumerate(WORKDAYS)}


def test_contracts_are_told_beside_each_other_as_of_an_instant(contracts: tuple[str, ...]) -> None:
    told = shown("risk", "term-structure", "GOLD_MINI", *AS_OF, *contracts)
    assert (told["instrument"], told["source"], told["shape"]) == ("GOLD_MINI", "mcx", "contango")
    near, far = told["contracts"]
    assert (near["expiry"], near["days"], near["price"], near["held"]) == ("2026-02-05", 5, "72029", False)
    assert (near["spread"], near["spread_time"], near["carry_percent"]) == ("480", "2026-01-29T18:30:00Z", "8.686977")
    assert (far["days"], far["price"], far["held"], far["spread"]) == (33, "72510", True, None)
    before = shown("risk", "term-structure", "GOLD_MINI", "--as-of", "2026-01-28T20:00:00Z", *contracts)["contracts"]
    assert [each["price"] for each in before] == ["72028", "72508"]
    late = shown("risk", "term-structure", "GOLD_MINI", "--as-of", "2026-02-20", *contracts)["contracts"]
    assert [(each["price"], each["reason"]) for each in late] == [
        (None, "stale: its last bar was over at 2026-01-30 18:30 UTC")
    ]
    assert "contango" in run("risk", "term-structure", "GOLD_MINI", *AS_OF, *contracts).stdout
    none = run("risk", "term-structure", "GOLD_MINI", "--as-of", "2026-06-01", *contracts).stdout
    assert "no spread is known" in none
    assert "every contract has expired" in none


def test_bars_of_contracts_supply_an_atr_of_the_held_ones_points(contracts: tuple[str, ...]) -> None:
    told = shown("risk", "supply", "GOLD_MINI", *AS_OF, "--period", "2", "--roll-days", "8", *contracts)
    (gold,) = told["instruments"]
    # Rolled at the first bar: each true range is 200, and rolls make no range.
    assert (gold["atr"]["value"], gold["atr"]["source"], gold["atr"]["observations"]) == ("200", "mcx", 4)
    assert gold["atr"]["time"] == "2026-01-30T18:30:00Z"
    assert gold["volatility"] == {
        **dict.fromkeys(("value", "source", "time")),
        "observations": 0,
        "reason": "TooFewObservations: 3 returns; 60 are needed",
    }
    assert (gold["mark"]["price"], gold["mark"]["expiry"]) == ("72029", "2026-02-05")


def test_figures_are_of_bars_that_were_over_and_correlations_of_common_days(
    database: tuple[str, ...], tmp_path: Path
) -> None:
    for instrument, closes in (
        ("GOLD_MINI", waves(72_000, 300)),
        ("SILVER_MINI", waves(90_000, 400)),
        ("COPPER", waves(800, -4)),
    ):
        daily(tmp_path, instrument, closes, *database)
    names = ("GOLD_MINI", "SILVER_MINI", "COPPER")
    told = shown("risk", "supply", *names, "--as-of", "2026-01-30T20:00:00Z", *database)
    gold = told["instruments"][0]
    closes = list(waves(72_000, 300).values())
    returns = [math.log(after / before) for before, after in zip(closes[-61:], closes[-60:], strict=False)]
    mean = sum(returns) / 60
    known = math.sqrt(sum((each - mean) ** 2 for each in returns) / 59 * 250)
    assert gold["volatility"]["value"] == pytest.approx(known, rel=1e-9)
    assert (gold["mark"]["price"], gold["mark"]["source"], gold["mark"]["timeframe"]) == (
        f"{closes[-1]:.2f}".rstrip("0").rstrip("."),
        "tradingview",
        "1d",
    )
    pairs = {(pair["instrument"], pair["other"]): pair["value"] for pair in told["correlations"]}
    assert pairs["GOLD_MINI", "SILVER_MINI"] == pytest.approx(1, abs=0.01)
    assert pairs["GOLD_MINI", "COPPER"] == pytest.approx(-1, abs=0.01)
    earlier = shown("risk", "supply", "GOLD_MINI", "--as-of", "2026-01-30T18:29:59Z", *database)["instruments"][0]
    assert earlier["mark"]["time"] == "2026-01-29T18:30:00Z"
    printed = run("risk", "supply", *names, "--as-of", "2026-01-30T20:00:00Z", *database).stdout
    assert "GOLD_MINI and COPPER" in printed


def test_of_two_timeframes_the_newest_close_is_the_mark(database: tuple[str, ...], tmp_path: Path) -> None:
    daily(tmp_path, "GOLD_MINI", {date(2026, 1, 29): 72_000}, *database)
    hour = tmp_path / "hour.csv"
    hour.write_text("time,open,high,low,close\n2026-01-30T10:00:00+05:30,72100,72200,72000,72150\n")
    shown("risk", "import", "tradingview", str(hour), "--instrument", "GOLD_MINI", "--timeframe", "1h", *database)
    told = shown("risk", "supply", "GOLD_MINI", *AS_OF, "--timeframe", "1h", "--period", "1", *database)["instruments"][
        0
    ]
    assert (told["mark"]["price"], told["mark"]["time"]) == ("72150", "2026-01-30T05:30:00Z")
    assert told["atr"]["value"] == "200"


def test_what_is_stale_or_not_there_has_its_reason_and_is_no_0(database: tuple[str, ...], tmp_path: Path) -> None:
    daily(tmp_path, "GOLD_MINI", waves(72_000, 300), *database)
    at = datetime(2026, 2, 20, tzinfo=UTC).isoformat()
    told = shown("risk", "supply", "GOLD_MINI", "COPPER", "--as-of", at, *database)
    gold, copper = told["instruments"]
    stale = "Stale: its last bar was over at 2026-01-30 18:30 UTC, 20 days before"
    for name, part in (("atr", "value"), ("volatility", "value"), ("mark", "price")):
        assert (gold[name][part], gold[name]["reason"]) == (None, stale)
        assert copper[name][part] is None
        assert "was over by then" in copper[name]["reason"]
    (pair,) = told["correlations"]
    assert (pair["value"], pair["reason"]) == (None, f"GOLD_MINI: {stale}")
    fresh = shown("risk", "supply", "GOLD_MINI", "COPPER", "--as-of", at, "--stale-days", "30", *database)
    assert fresh["instruments"][0]["atr"]["value"] is not None
    assert "COPPER: NoSuchBars" in fresh["correlations"][0]["reason"]
    assert "20 days before" in run("risk", "supply", "GOLD_MINI", "COPPER", "--as-of", at, *database).stdout


@pytest.mark.parametrize(
    "given, code, told",
    [
        (("term-structure", "TIN"), 1, "not in the master"),
        (("term-structure", "COPPER"), 1, "there are no bars of contracts of COPPER 1d"),
        (("term-structure", "GOLD_MINI", "--source", "nse"), 1, "of GOLD_MINI 1d by nse"),
        (("supply", "TIN"), 1, "not in the master"),
        (("supply",), 2, "Missing argument"),
        (("supply", "GOLD_MINI", "--period", "0"), 2, "--period"),
        (("supply", "GOLD_MINI", "--as-of", "2026-01-14T10:00:00"), 2, "of which zone"),
    ],
)
def test_what_is_refused_is_told(contracts: tuple[str, ...], given: tuple[str, ...], code: int, told: str) -> None:
    result = run("risk", *given, *contracts)
    assert (result.exit_code, result.stdout) == (code, "")
    assert told in result.stderr


def test_contracts_that_cannot_be_joined_are_a_reason_unless_another_source_can(
    contracts: tuple[str, ...], tmp_path: Path
) -> None:
    lines = (
        f"{day:02} Jan 2026,FUTCOM,COPPER,{expiry},-,0,{close},{close},{close},{close},10,5"
        for expiry, day, close in (("30JAN2026", 27, 800), ("27FEB2026", 29, 810))
    )
    file = tmp_path / "copper.csv"
    file.write_text("\n".join([BHAVCOPY, *lines]) + "\n")
    shown("risk", "import", "mcx", str(file), *contracts)
    asked = ("risk", "supply", "COPPER", *AS_OF, "--period", "1", *contracts)
    (copper,) = shown(*asked)["instruments"]
    assert copper["atr"]["value"] is None
    assert copper["atr"]["reason"].startswith("NoRoll: the contract that expires on 2026-01-30 has no bar in common")
    file.write_text("\n".join([BHAVCOPY, "29 Jan 2026,FUTCOM,COPPER,27FEB2026,-,0,810,815,805,810,10,5"]) + "\n")
    shown("risk", "import", "mcx", str(file), "--source", "desk", *contracts)
    (copper,) = shown(*asked)["instruments"]
    assert (copper["atr"]["value"], copper["atr"]["source"]) == ("10", "desk")


def test_of_two_sources_of_contracts_one_has_to_be_named(contracts: tuple[str, ...], tmp_path: Path) -> None:
    shown("risk", "import", "mcx", str(tmp_path / "bhav.csv"), "--source", "desk", *contracts)
    assert "name one of the sources desk, mcx" in run("risk", "term-structure", "GOLD_MINI", *contracts).stderr
    assert shown("risk", "term-structure", "GOLD_MINI", "--source", "mcx", *AS_OF, *contracts)["source"] == "mcx"
