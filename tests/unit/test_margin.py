"""Margin levels are told once, when they are crossed upwards."""

from decimal import Decimal

from msgspec.structs import replace
from structlog.testing import capture_logs

from core.journal import Batch
from core.portfolio import Portfolio
from live.margin import tell_margin
from tests.builders import a_portfolio


def using(percent: int) -> Portfolio:
    portfolio = a_portfolio()
    return replace(portfolio, totals=replace(portfolio.totals, margin=Decimal(50_000 * percent)))


def told(before: int, after: int) -> list[str]:
    with capture_logs() as logs:
        tell_margin(Batch(before=using(before), after=using(after), entries=()))
    return [entry["level"] for entry in logs]


def test_a_level_is_told_when_it_is_reached() -> None:
    assert told(49, 50) == ["warning"]
    assert told(69, 70) == ["emergency"]


def test_the_higher_of_two_levels_reached_at_once_is_told() -> None:
    assert told(10, 90) == ["emergency"]


def test_a_level_is_not_told_again_and_not_on_the_way_down() -> None:
    assert told(51, 55) == []
    assert told(75, 80) == []
    assert told(75, 60) == []
