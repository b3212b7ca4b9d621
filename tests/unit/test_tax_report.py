"""Totals of realised tax lots by tax year and instrument."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from book.tax_lots import TaxLot
from book.tax_report import tax_report, tax_year

NET = ("tax_year", "instrument", "closed", "lots", "gains", "losses", "net_gain")


def a_lot(closed: str, gain: str, instrument: str = "GOLD_MINI", costs: str = "1", lots: int = 1) -> TaxLot:
    return TaxLot(
        portfolio="main",
        instrument=instrument,
        contract=instrument,
        side="LONG",
        lots=lots,
        quantity=Decimal(lots * 100),
        opened_at=datetime(2024, 1, 1, tzinfo=UTC),
        opened_seq=1,
        open_price=Decimal(100),
        closed_at=datetime.fromisoformat(f"{closed}T12:00:00+00:00"),
        closed_seq=2,
        close_price=Decimal(100),
        gain=Decimal(gain),
        costs=Decimal(costs),
    )


LOTS = (
    a_lot("2025-03-31", "11"),
    a_lot("2025-04-01", "-19", lots=2),
    a_lot("2025-12-31", "41", "SILVER_MINI"),
    a_lot("2026-03-31", "31"),
    a_lot("2026-04-01", "5"),
)


@pytest.mark.parametrize(
    "day, begins, year",
    [
        ("2025-03-31", 4, "2024-25"),
        ("2025-04-01", 4, "2025-26"),
        ("2026-03-31", 4, "2025-26"),
        ("2025-12-31", 1, "2025"),
        ("1999-12-31", 4, "1999-00"),
        ("2025-06-30", 7, "2024-25"),
    ],
)
def test_a_tax_year_begins_with_its_month(day: str, begins: int, year: str) -> None:
    assert tax_year(date.fromisoformat(day), begins) == year


def test_totals_are_net_by_year_and_by_instrument() -> None:
    report = tax_report("main", LOTS, year_begins=4)
    assert [tuple(getattr(total, name) for name in NET) for total in report.years] == [
        ("2024-25", None, 1, 1, 10, 0, 10),
        ("2025-26", None, 3, 4, 70, 20, 50),
        ("2026-27", None, 1, 1, 4, 0, 4),
    ]
    silver = next(total for total in report.instruments if total.instrument == "SILVER_MINI")
    assert (silver.tax_year, silver.gain, silver.costs, silver.net_gain) == ("2025-26", 41, 1, 40)
    assert sum(total.net_gain for total in report.instruments) == sum(lot.net_gain for lot in LOTS)


def test_one_year_is_told_alone() -> None:
    report = tax_report("main", LOTS, year_begins=1, year="2025")
    assert [total.tax_year for total in report.years] == ["2025"]
    assert report.lots == LOTS[:3]


def test_there_is_no_thirteenth_month() -> None:
    with pytest.raises(ValueError, match="13"):
        tax_report("main", LOTS, year_begins=13)
