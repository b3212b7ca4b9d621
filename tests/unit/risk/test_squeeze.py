"""Squeezes: the limits are exclusive, and what is not known is said."""

import numpy as np
import pandas as pd
import pytest

from risk.analytics.refusals import OutOfRange, WrongShape
from risk.analytics.squeeze import squeeze, squeeze_risks


@pytest.mark.parametrize(
    "cost, days, level, missing",
    [
        (10.0, 3.0, "MEDIUM", ()),
        (10.01, 0.0, "HIGH", ()),
        (0.0, 5.01, "HIGH", ()),
        (5.0, 5.0, "MEDIUM", ()),
        (5.0, 3.0, "LOW", ()),
        (5.01, 0.0, "MEDIUM", ()),
        (-0.5, 3.01, "MEDIUM", ()),
        (0.0, 0.0, "LOW", ()),
        (None, 0.0, "UNKNOWN", ("cost_to_borrow_percent",)),
        (4.0, None, "UNKNOWN", ("days_to_cover",)),
        (np.nan, None, "UNKNOWN", ("cost_to_borrow_percent", "days_to_cover")),
        (12.0, None, "HIGH", ("days_to_cover",)),
        (None, 3.5, "MEDIUM", ("cost_to_borrow_percent",)),
    ],
)
def test_levels(cost: float | None, days: float | None, level: str, missing: tuple[str, ...]) -> None:
    found = squeeze(cost, days)
    assert (found.level, found.missing) == (level, missing)


@pytest.mark.parametrize("cost, days", [(np.inf, 1.0), (1.0, np.inf), (1.0, -0.1)])
def test_figures_that_cannot_be_are_refused(cost: float, days: float) -> None:
    with pytest.raises(OutOfRange, match="cannot be"):
        squeeze(cost, days)


def positions() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "instrument": ["AAA", "BBB", "CCC", "DDD", "EEE", "BBB"],
            "side": ["SHORT", "SHORT", "LONG", "SHORT", "SHORT", "SHORT"],
            "is_active": [True, True, True, True, False, True],
        }
    )


def metrics() -> pd.DataFrame:
    return pd.DataFrame(
        {"cost_to_borrow_percent": [1.0, 11.0, 50.0, 50.0], "days_to_cover": [1.0, 2.0, 9.0, 9.0]},
        index=["AAA", "BBB", "CCC", "EEE"],
    )


def test_active_shorts_are_told_the_most_exposed_first_and_none_is_lost() -> None:
    told = squeeze_risks(positions(), metrics())
    assert told["instrument"].to_list() == ["BBB", "BBB", "DDD", "AAA"]
    assert told["level"].to_list() == ["HIGH", "HIGH", "UNKNOWN", "LOW"]
    assert told["missing"].to_list() == ["", "", "cost_to_borrow_percent, days_to_cover", ""]


def test_all_are_active_where_nothing_says_otherwise() -> None:
    assert "EEE" in set(squeeze_risks(positions().drop(columns="is_active"), metrics())["instrument"])
    assert squeeze_risks(positions().iloc[:0], metrics()).empty


def test_two_rows_of_an_instrument_are_refused() -> None:
    with pytest.raises(OutOfRange, match="more than once"):
        squeeze_risks(positions(), pd.concat([metrics(), metrics()]))
    with pytest.raises(WrongShape, match="not numbers"):
        squeeze_risks(positions(), metrics().astype({"days_to_cover": object}).assign(days_to_cover="few"))
    with pytest.raises(WrongShape, match="side"):
        squeeze_risks(positions()[["instrument"]], metrics())
