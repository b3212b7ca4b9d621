"""Which replays a sweep is of: settings by the names that they have, every value with every other one, year by year."""

from decimal import Decimal

import pytest

from core.config import default_settings
from core.errors import ConfigurationError
from live.replay.settings import Overrides, replay_settings
from live.replay.sweep import Combination, NoSuchSetting, TooMany, combinations, without_effect

RULES = replay_settings(default_settings(), Overrides(as_listed=False, instrument="BANK_NIFTY"))
LISTED = replay_settings(default_settings(), Overrides(as_listed=True, instrument="BANK_NIFTY"))


def test_every_value_is_taken_with_every_other_one_the_last_named_first() -> None:
    found = combinations(RULES, {"spacing_atr": ["0.5", "1"], "limits.risk_percent": ["15", "20"]}, [2024, 2025])
    assert [(*each.changes.values(), each.year) for each in found] == [
        (spacing, risk, year) for spacing in ("0.5", "1") for risk in ("15", "20") for year in (2024, 2025)
    ]
    last = found[-1].settings
    assert (last.pyramiding.spacing_atr, last.limits.risk_percent) == (1, 20)
    assert found[0].settings == RULES
    assert combinations(RULES, {}, []) == [Combination(changes={}, year=None, settings=RULES)]


def test_an_instruments_setting_is_all_instruments_unless_one_is_named() -> None:
    def changed(name: str) -> set[str]:
        (one,) = combinations(RULES, {name: ["0.7"]}, [])
        told = one.settings.instruments
        return {each for each in told if told[each].initial_risk_percent == Decimal("0.7")}

    assert changed("initial_risk_percent") == set(RULES.instruments)
    assert changed("instruments.COPPER.initial_risk_percent") == changed("COPPER.initial_risk_percent") == {"COPPER"}


@pytest.mark.parametrize(
    "name, value, read",
    [
        ("efficiency_ratio_scales_risk", "false", False),
        ("sizing.equity", "closed", "closed"),
        ("max_pyramids", "0", 0),
    ],
)
def test_values_are_read_as_the_setting_has_them(name: str, value: str, read: object) -> None:
    (one,) = combinations(RULES, {name: [value]}, [])
    assert read in (
        *one.settings.sizing.model_dump().values(),
        *(each.max_pyramids for each in one.settings.instruments.values()),
    )


@pytest.mark.parametrize(
    "name, told",
    [
        ("tin", "is no setting of a replay"),
        ("margin", "is no setting of a replay"),
        ("mode", "is no setting of a replay"),
        ("execution.tries", "is no setting of a replay"),
        ("sizing.mode", "is no setting of a replay"),
        ("timing.exit_wait_seconds", "is no setting of a replay"),
    ],
)
def test_what_is_no_setting_of_a_replay_is_refused(name: str, told: str) -> None:
    with pytest.raises(NoSuchSetting, match=told):
        combinations(RULES, {name: ["1"]}, [])


def test_a_name_that_means_several_is_refused() -> None:
    both = RULES.model_copy(update={"instruments": {"A": _with_costs(), "B": _with_costs()}})
    with pytest.raises(
        NoSuchSetting, match=r"say which: paper.costs.per_lot, instruments.A.costs.per_lot, instruments.B"
    ):
        combinations(both, {"per_lot": ["1"]}, [])
    (one,) = combinations(both, {"instruments.B.costs.per_lot": ["7"]}, [])
    assert [each.costs.per_lot for each in one.settings.instruments.values() if each.costs] == [2, 7]


def _with_costs() -> object:
    from core.contracts import Costs

    return RULES.instruments["COPPER"].model_copy(update={"costs": Costs(per_lot=Decimal(2))})


@pytest.mark.parametrize("value", ["much", "-1", "none"])
def test_a_value_that_is_none_is_refused_before_anything_is_replayed(value: str) -> None:
    with pytest.raises(ConfigurationError, match="--set"):
        combinations(RULES, {"initial_risk_percent": ["1", value]}, [])


def test_more_than_anybody_would_wait_for_are_refused() -> None:
    values = [str(number) for number in range(1, 102)]
    with pytest.raises(TooMany, match="10,201 combinations"):
        combinations(RULES, {"spacing_atr": values, "initial_stop_atr": values}, [])


def test_as_listed_only_costs_have_an_effect() -> None:
    names = ["percent_of_turnover", "slippage_percent", "paper.costs.per_lot", "point_value", "initial_risk_percent"]
    assert without_effect(LISTED, names) == ["initial_risk_percent"]
    assert without_effect(RULES, names) == []
