"""Columns that refuse what they could not keep, and models that refuse what cannot be."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from sqlalchemy.dialects import postgresql

from book.base import AwareTime, Exact
from book.identifiers import NotAnIdentifier
from book.portfolio_management import NotWeights, PortfolioPosition
from book.reference_data import Instrument, ReferenceData

DIALECT = postgresql.dialect()
MONEY = Exact(20, 4)


@pytest.mark.parametrize("value", [Decimal("1.2345"), Decimal("1.23450"), Decimal("-9999999999999999.9999"), 7, None])
def test_what_fits_exactly_is_taken(value: Decimal | None) -> None:
    assert MONEY.process_bind_param(value, DIALECT) == value


@pytest.mark.parametrize("value", ["1.23456", "10000000000000000", "NaN", "Infinity"])
def test_what_would_be_rounded_or_does_not_fit_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        MONEY.process_bind_param(Decimal(value), DIALECT)


@pytest.mark.parametrize("value", [1.5, True, "1"])
def test_what_is_no_exact_number_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="takes decimals"):
        MONEY.process_bind_param(value, DIALECT)  # type: ignore[arg-type]


def test_a_time_without_a_zone_is_refused_and_others_are_given_in_utc() -> None:
    india = datetime(2026, 1, 14, 17, 30, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    assert AwareTime().process_bind_param(india, DIALECT) == india
    given = AwareTime().process_result_value(india, DIALECT)
    assert (given, given.tzinfo) == (datetime(2026, 1, 14, 12, tzinfo=UTC), UTC)
    assert AwareTime().process_result_value(None, DIALECT) is None
    with pytest.raises(ValueError, match="no time zone"):
        AwareTime().process_bind_param(datetime(2026, 1, 14, 12), DIALECT)  # noqa: DTZ001 - that is the point


@pytest.mark.parametrize("model", [ReferenceData, Instrument])
def test_a_model_refuses_an_identifier_that_cannot_exist(model: type) -> None:
    assert model(isin="US0378331005", cusip="037833100").cusip == "037833100"
    assert (model(isin=None, cusip=None).isin, model(isin=None, cusip=None).cusip) == (None, None)
    with pytest.raises(NotAnIdentifier, match="isin"):
        model(isin="US0378331006")
    with pytest.raises(NotAnIdentifier, match="cusip"):
        model(cusip="037833101")


@pytest.mark.parametrize("weights", [{"a": "0.6", "b": Decimal("0.4")}, {"a": 1}, {}])
def test_weights_that_add_up_to_one_are_taken(weights: dict[str, object]) -> None:
    assert PortfolioPosition(strategy_weights=weights).strategy_weights == weights


@pytest.mark.parametrize("weights", [{"a": "0.6"}, {"a": "1.5", "b": "-0.5"}, {"a": "much"}, {"a": "1", "b": "0"}])
def test_weights_that_do_not_are_refused(weights: dict[str, object]) -> None:
    with pytest.raises(NotWeights, match="strategy_weights"):
        PortfolioPosition(strategy_weights=weights)
