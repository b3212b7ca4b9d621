"""`risk sweep`: each combination is what `replay` makes of it, in the order asked for, whoever reckons."""

from pathlib import Path

import pytest

from tests.command_line import run
from tests.dask_cluster import a_cluster
from tests.integration.test_cli_database import config_for, shown
from tests.integration.test_cli_risk_simulate import alerts
from tests.live_process import ROOT
from tests.queries import rows

LIST = (str(ROOT / "tests/data/tradingview_banknifty_trades.csv"), "--point-value", "35")


@pytest.fixture
def database(empty_dsn: str, tmp_path: Path) -> tuple[str, ...]:
    return ("--db-config", str(config_for(empty_dsn, tmp_path)))


def test_each_combination_is_the_replay_of_it(database: tuple[str, ...], tmp_path: Path) -> None:
    swept = ("--set", "percent_of_turnover=0,0.05", "--years", "2012,2014-2015")
    told = shown("risk", "sweep", *LIST, *swept, *database)
    assert [(each["settings"]["percent_of_turnover"], each["year"]) for each in told["combinations"]] == [
        (cost, year) for cost in ("0", "0.05") for year in (2012, 2014, 2015)
    ]
    for each in told["combinations"]:
        span = ("--from", f"{each['year']}-01-01", "--to", f"{each['year'] + 1}-01-01")
        cost = ("--commission-percent", each["settings"]["percent_of_turnover"])
        known = shown("replay", *LIST, *span, *cost, *database)["summary"]
        for name in ("final_equity", "cagr", "max_drawdown", "max_drawdown_percent", "trades"):
            assert each[name] == known[name], name
        assert (each["mean_r"], each["calmar"], each["reason"]) == (known["expectancy_r"], None, None)


def test_settings_change_sizes_by_rules_and_calmar_is_cagr_by_drawdown(
    database: tuple[str, ...], tmp_path: Path
) -> None:
    file = str(alerts(tmp_path))
    told = shown("risk", "sweep", file, "--set", "initial_volatility_percent=0.2,1", *database)["combinations"]
    small, large = (float(each["final_equity"]) for each in told)
    assert 5_000_000 < small < large
    assert float(told[0]["mean_r"]) == pytest.approx(0.5)
    (whole,) = shown("risk", "sweep", *LIST, *database)["combinations"]
    assert (whole["settings"], whole["year"]) == ({}, None)
    assert float(whole["calmar"]) == pytest.approx(
        float(whole["cagr"]) / float(whole["max_drawdown_percent"]), abs=1e-6
    )


def test_a_year_without_trades_has_its_reason_and_no_scratch_portfolio_is_left(
    database: tuple[str, ...], empty_dsn: str
) -> None:
    (year,) = shown("risk", "sweep", *LIST, "--years", "1999", *database)["combinations"]
    assert (year["final_equity"], year["trades"]) == (None, None)
    assert "there is nothing to replay" in year["reason"]
    printed = run("risk", "sweep", *LIST, "--years", "1999,2012", "--set", "max_pyramids=1,2", *database)
    assert "nothing to replay" in printed.stdout
    assert "max_pyramids changes nothing" in printed.stderr
    assert rows(empty_dsn, "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'scratch%'") == [(0,)]


def test_a_cluster_gives_the_same_figures(database: tuple[str, ...], tmp_path: Path) -> None:
    asked = (*LIST, "--set", "percent_of_turnover=0,0.05,0.1", "--years", "2012-2013", *database)
    here = shown("risk", "sweep", *asked)
    with a_cluster(tmp_path) as cluster:
        assert shown("risk", "sweep", *asked, "--scheduler", cluster.address) == here


@pytest.mark.parametrize(
    "given, code, told",
    [
        ((*LIST, "--set", "tin=1"), 1, "`--set tin`: is no setting of a replay"),
        ((*LIST, "--set", "max_pyramids"), 2, "must be like initial_risk_percent=0.5,1,2"),
        ((*LIST, "--set", "max_pyramids=1,1"), 2, "the same twice"),
        ((*LIST, "--set", "max_pyramids=1", "--set", "max_pyramids=2"), 2, "the same twice"),
        ((*LIST, "--set", "max_pyramids=9"), 1, "--set"),
        ((*LIST, "--years", "2020-2019"), 2, "must be like 2024 or 2019-2021"),
        ((*LIST, "--years", "20"), 2, "must be like 2024 or 2019-2021"),
        ((*LIST, "--years", "soon"), 2, "must be like 2024 or 2019-2021"),
        ((*LIST, "--scheduler", "there"), 1, "must be `threads`, or an address"),
        ((*LIST, "--sizing", "rules"), 1, "needs a stop, an ATR and an ER"),
    ],
)
def test_what_is_refused_is_told_and_no_database_is_made(
    tmp_path: Path, given: tuple[str, ...], code: int, told: str
) -> None:
    result = run("risk", "sweep", *given, "--data-dir", str(tmp_path / "data"))
    assert (result.exit_code, result.stdout) == (code, "")
    assert told in result.stderr
    assert not (tmp_path / "data").exists()
