"""`risk simulate` and `risk ruin`: the batch's figures drawn again, and ruin of what was traded, here and on a cluster."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from book.database import engine_of, transaction
from tests.command_line import run
from tests.dask_cluster import a_cluster
from tests.integration.test_cli_database import config_for, shown
from tests.risk_world import a_world

DAY = ("--date", "2026-01-14")
# The first one is the fund that `migrate --book` makes.
FUND = "2"
# Each trade risks 500 points of GOLD_MINI, and leaves at these prices.
EXITS = (71_500, 71_400, 73_000, 71_500, 74_500, 71_600)


@pytest.fixture
def database(empty_dsn: str, tmp_path: Path) -> tuple[str, ...]:
    given = ("--db-config", str(config_for(empty_dsn, tmp_path)))
    shown("migrate", "--book", *given)
    return given


@pytest.fixture
def reckoned(database: tuple[str, ...], empty_dsn: str) -> tuple[str, ...]:
    engine = engine_of(empty_dsn)
    with transaction(engine) as session:
        a_world(session)
    engine.dispose()
    shown("risk", "batch", *DAY, *database)
    return database


def alerts(folder: Path) -> Path:
    """A base entry and its exit for each price, a day after the other."""
    lines = []
    for number, price in enumerate(EXITS):
        entered = datetime(2026, 1, 5, 6, tzinfo=UTC) + timedelta(days=number)
        told = {"instrument": "GOLD_MINI", "position": "Long_1"}
        entry = {**told, "type": "BASE_ENTRY", "price": 72000, "stop": 71500, "atr": 500, "er": 0.9}
        lines.append({**entry, "bar_time": entered.isoformat()})
        left = {**told, "type": "EXIT", "price": price, "reason": "SuperTrend"}
        lines.append({**left, "bar_time": (entered + timedelta(hours=2)).isoformat()})
    file = folder / "alerts.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def test_the_batchs_own_draws_come_to_what_it_kept(reckoned: tuple[str, ...]) -> None:
    nodes = shown("risk", "show", *DAY, *reckoned)["nodes"]
    fund = next(node for node in nodes if node["name"] == "Fund")
    told = shown("risk", "simulate", *DAY, "--node", FUND, "--paths", "20000", "--seed", "1", *reckoned)
    assert (told["positions"], told["instruments"], told["currency"], told["left_out"]) == (3, 3, "INR", {})
    for tail in told["tails"]:
        kept = fund["measures"][f"monte_carlo_{tail['confidence']:.0%}"]
        assert [tail[name] for name in kept] == [float(value) for value in kept.values()]
    fatter = ("--degrees-of-freedom", "3", "--confidence", "0.99", "--paths", "20000")
    (tail,) = shown("risk", "simulate", *DAY, "--node", FUND, *fatter, *reckoned)["tails"]
    assert tail["value_at_risk"] > told["tails"][1]["value_at_risk"]
    printed = run("risk", "simulate", *DAY, "--node", FUND, "--horizon", "10", *reckoned).stdout
    assert "expected shortfall" in printed


def test_a_position_without_a_price_is_left_out_with_the_reason(reckoned: tuple[str, ...], empty_dsn: str) -> None:
    from tests.queries import rows

    rows(
        empty_dsn,
        'UPDATE risk.position_risk SET value = NULL, reasons = \'{"value": "NoPrice: none"}\''
        " WHERE position = (SELECT min(position) FROM risk.position_risk)",
    )
    told = shown("risk", "simulate", *DAY, "--node", FUND, *reckoned)
    assert (told["positions"], list(told["left_out"].values())) == (2, ["NoPrice: none"])
    assert "NoPrice" in run("risk", "simulate", *DAY, "--node", FUND, *reckoned).stdout


def test_ruin_is_of_the_portfolios_trades_or_of_a_replays(database: tuple[str, ...], tmp_path: Path) -> None:
    closed = tmp_path / "closed.csv"
    shown("replay", str(alerts(tmp_path)), "--keep", "trial", "--csv", str(closed), *database)
    drawn = ("--ruin-percent", "4", "--trades", "100", "--paths", "5000", *database)
    kept = shown("risk", "ruin", "--portfolio", "trial", *drawn)
    assert (kept["drawn_from"], kept["risk_percent"], kept["without"]) == (6, 1.0, {})
    # -1, -1.2, 2, -1, 5 and -0.8 R
    assert kept["mean"] == pytest.approx(0.5)
    assert 0 < kept["probability"] < 1
    assert shown("risk", "ruin", str(closed), *drawn) == kept
    assert shown("risk", "ruin", str(closed), "--seed", "2", *drawn)["quantiles"] != kept["quantiles"]
    earned = shown("risk", "ruin", str(closed), "--unit", "money", *drawn)
    assert (earned["drawn_from"], earned["risk_percent"], earned["stopped"]) == (6, None, 0)
    assert shown("risk", "ruin", "--portfolio", "trial", "--unit", "money", *drawn) == earned
    assert "max drawdown percent" in run("risk", "ruin", str(closed), *drawn).stdout


def test_a_cluster_gives_the_same_figures(reckoned: tuple[str, ...], tmp_path: Path) -> None:
    closed = tmp_path / "closed.csv"
    shown("replay", str(alerts(tmp_path)), "--csv", str(closed), *reckoned)
    asked = [("simulate", *DAY, "--node", FUND), ("ruin", str(closed), "--paths", "20000")]
    here = [shown("risk", *each, *reckoned) for each in asked]
    with a_cluster(tmp_path) as cluster:
        assert [shown("risk", *each, "--scheduler", cluster.address, *reckoned) for each in asked] == here


def test_trades_without_a_stop_have_no_r_and_are_told(database: tuple[str, ...], tmp_path: Path) -> None:
    closed = tmp_path / "closed.csv"
    header = "state,number,instrument,layer,net_pnl,initial_risk\n"
    closed.write_text(
        header + "closed,1,GOLD_MINI,Long_1,-500,500\nclosed,2,GOLD_MINI,Long_1,900,\nopen,,GOLD_MINI,,,\n"
    )
    refused = run("risk", "ruin", str(closed), *database)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "1 observations; 2 are needed" in refused.stderr
    closed.write_text(closed.read_text() + "closed,3,GOLD_MINI,Long_1,1000,500\n")
    assert shown("risk", "ruin", str(closed), *database)["without"] == {"1 trades": "no initial risk: they had no stop"}
    assert "1 have no R" in run("risk", "ruin", str(closed), *database).stderr
    closed.write_text(header + "closed,2,GOLD_MINI,Long_1,900,\n")
    assert "no closed trade to draw from; 1 have no R" in run("risk", "ruin", str(closed), *database).stderr
    closed.write_text(header + "closed,2,TIN,Long_1,900,5\nclosed,3,TIN,Long_1,-9,5\n")
    assert "--risk-percent: give it" in run("risk", "ruin", str(closed), *database).stderr
    assert shown("risk", "ruin", str(closed), "--risk-percent", "2", *database)["risk_percent"] == 2
    assert (
        "`risk_percent`: 0.0 is not above 0"
        in run("risk", "ruin", str(closed), "--risk-percent", "0", *database).stderr
    )


@pytest.mark.parametrize(
    "content, told",
    [
        (b"state,net_pnl\n", "no column instrument"),
        (b"state,instrument,net_pnl,initial_risk\nclosed,GOLD_MINI,much,1\n", "line 2: `net_pnl`: 'much' is no number"),
        (b"state,instrument,net_pnl,initial_risk\nclosed,GOLD_MINI\n", "line 2: `net_pnl`: None is no number"),
        (b"\xff\xfe", "UTF-16"),
        (b"\xe9,\n", "not UTF-8"),
    ],
)
def test_a_file_that_no_replay_wrote_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    file = tmp_path / "closed.csv"
    file.write_bytes(content)
    result = run("risk", "ruin", str(file))
    assert (result.exit_code, result.stdout) == (1, "")
    assert told in result.stderr


@pytest.mark.parametrize(
    "given, code, told",
    [
        (("simulate", *DAY, "--node", "9"), 1, "there was no node 9 on 2026-01-14"),
        (("simulate", "--date", "2026-01-13", "--node", FUND), 1, "nothing was reckoned of 2026-01-13"),
        (("simulate", *DAY, "--node", FUND, "--confidence", "1.5"), 1, "is not between 0 and 1"),
        (("simulate", *DAY, "--node", FUND, "--degrees-of-freedom", "2"), 1, "is not above 2"),
        (("simulate", *DAY, "--node", FUND, "--scheduler", "there"), 1, "must be `threads`, or an address"),
        (("ruin",), 1, "there is no closed trade to draw from"),
    ],
)
def test_what_is_refused_is_told(reckoned: tuple[str, ...], given: tuple[str, ...], code: int, told: str) -> None:
    shown("migrate", *reckoned)
    result = run("risk", *given, *reckoned)
    assert (result.exit_code, result.stdout) == (code, "")
    assert told in result.stderr
