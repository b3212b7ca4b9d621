"""Files of uploads as rows: what is read of CSV, JSON and Parquet, and what cannot be read."""

import io
import json
from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from book.uploads import files
from book.uploads.files import FileRow, UnreadableFile, read_rows
from book.uploads.kinds import KINDS, read_row


def parquet_of(**columns: list[Any]) -> bytes:
    out = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), out)
    return out.getvalue()


def test_a_csv_is_rows_by_its_first_line_whatever_its_case_and_line_ends() -> None:
    content = b'\xef\xbb\xbfInstrument, Price ,note\r\nGOLD_MINI,72000.50,\r\n\r\nCOPPER,830,"a, b"\r\n'
    assert read_rows("prices.csv", content) == [
        FileRow(2, {"instrument": "GOLD_MINI", "price": "72000.50", "note": None}),
        FileRow(4, {"instrument": "COPPER", "price": "830", "note": "a, b"}),
    ]


def test_a_line_with_too_few_or_too_many_values_is_no_row_and_the_others_are() -> None:
    first, second, third = read_rows("x.csv", b"a,b\n1\n1,2\n1,2,3\n")
    assert (first.line, first.problem) == (2, "has 1 values for 2 columns")
    assert second.problem is None
    assert third.problem == "has 3 values for 2 columns"


def test_json_is_an_array_of_objects_and_numbers_stay_exact() -> None:
    rows = read_rows("x.json", b'[{"Price": 0.1, "n": 12345678901234567890.12345678}, 7]')
    assert rows[0].values == {"price": Decimal("0.1"), "n": Decimal("12345678901234567890.12345678")}
    assert rows[1].problem == "is no object"


def test_json_lines_are_read_line_by_line() -> None:
    rows = read_rows("x.jsonl", b'{"a": 1}\n\n{"a":\n{"a": 2}\n')
    assert [row.line for row in rows] == [1, 3, 4]
    assert rows[1].problem is not None
    assert rows[1].problem.startswith("is not JSON")


def test_parquet_is_read_with_its_types() -> None:
    content = parquet_of(Price=[0.1, None], day=[date(2026, 1, 14), date(2026, 1, 15)], exact=[Decimal("1.50"), None])
    assert read_rows("x.PARQUET", content) == [
        FileRow(1, {"price": Decimal("0.1"), "day": date(2026, 1, 14), "exact": Decimal("1.50")}),
        FileRow(2, {"price": None, "day": date(2026, 1, 15), "exact": None}),
    ]


@pytest.mark.parametrize(
    "name, content, says",
    [
        ("x.xlsx", b"", "has to end in"),
        ("x.csv", b"", "name every column"),
        ("x.csv", b"a,,b\n1,2,3\n", "name every column"),
        ("x.csv", b"a,A\n1,2\n", "`a` twice"),
        ("x.csv", b"a,b\n", "has no rows"),
        ("x.csv", b"a,b\n1,\xff\n", "is not UTF-8"),
        ("x.csv", b"a,b\n1,\0\n", "NUL"),
        ("x.csv", b'a,b\n1,"2\n', "line 2"),
        ("x.json", b"{}", "array of objects"),
        ("x.json", b"[", "is not JSON"),
        ("x.json", b'[{"a": NaN}]', "NaN is no number"),
        ("x.json", b'[{"a": 1, "a": 2}]', "'a' is there twice"),
        ("x.json", b"[" * 100_000, "is not JSON"),
        ("x.json", b"[]", "has no rows"),
        ("x.parquet", b"PAR1 and so on", "is not Parquet"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(name: str, content: bytes, says: str) -> None:
    with pytest.raises(UnreadableFile, match=says):
        read_rows(name, content)


def test_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_ROWS", 2)
    assert len(read_rows("x.csv", b"a\n1\n2\n")) == 2
    with pytest.raises(UnreadableFile, match="more than 2 rows"):
        read_rows("x.csv", b"a\n1\n2\n3\n")
    monkeypatch.setattr(files, "MOST_BYTES", 3)
    with pytest.raises(UnreadableFile, match="is larger than"):
        read_rows("x.csv", b"a\n1\n")


@given(st.binary(max_size=200), st.sampled_from([".csv", ".json", ".jsonl", ".parquet"]))
def test_whatever_a_file_holds_it_is_read_or_refused(content: bytes, ending: str) -> None:
    try:
        rows = read_rows(f"x{ending}", content)
    except UnreadableFile:
        return
    for row in rows:
        for kind in KINDS:
            read, reasons = read_row(kind, row)
            assert (read is None) == bool(reasons)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**15), max_value=10**15))
def test_the_same_number_is_read_however_it_is_written(number: Decimal) -> None:
    row = {"node": "Fund", "instrument": "gold_mini", "currency": "inr"}
    texts = [
        ("x.csv", f"node,instrument,currency,quantity\nFund,gold_mini,inr,{number:f}\n".encode()),
        ("x.json", json.dumps([row]).replace("}", f', "quantity": {number:f}}}').encode()),
        ("x.json", json.dumps([{**row, "quantity": str(number)}]).encode()),
        ("x.parquet", parquet_of(**{name: [value] for name, value in {**row, "quantity": number}.items()})),
    ]
    for name, content in texts:
        (found,) = read_rows(name, content)
        read, reasons = read_row("positions", found)
        assert reasons == []
        assert read is not None
        assert read.model_dump()["quantity"] == number
        assert read.model_dump()["instrument"] == "GOLD_MINI"


@pytest.mark.parametrize(
    "kind, values, reason",
    [
        ("positions", {"quantity": "1,000"}, "`quantity`: must be a number such as 1234.5, without groups"),
        ("positions", {"quantity": True}, "`quantity`: must be a number such as 1234.5, without groups"),
        ("positions", {"quantity": "1e99"}, "`quantity`: "),
        ("positions", {"quantity": "0.000000001"}, "`quantity`: "),
        ("positions", {"quantitiy": "1"}, "`quantitiy`: is no column of this kind"),
        ("positions", {"currency": None}, "`currency`: is missing"),
        ("positions", {"average_price": "0"}, "`average_price`: "),
        ("positions", {"instrument": "gold mini"}, "`instrument`: "),
        ("fx", {"pair": "USDINR"}, "`pair`: "),
        ("fx", {"as_of_date": "14.01.2026"}, "`as_of_date`: must be a day such as 2026-01-14"),
        ("fx", {"rate": "-1"}, "`rate`: "),
        ("ratings", {"agency": "ABC"}, "`agency`: "),
        ("servicing", {"days_past_due": "1.5"}, "`days_past_due`: must be a whole number"),
    ],
)
def test_a_row_that_is_wrong_says_which_column_and_why(kind: str, values: dict[str, Any], reason: str) -> None:
    right: dict[str, dict[str, Any]] = {
        "positions": {"node": "Fund", "instrument": "COPPER", "quantity": "1", "currency": "INR"},
        "fx": {"pair": "USD/INR", "as_of_date": "2026-01-14", "rate": "85"},
        "ratings": {"issuer": "Apple Inc.", "agency": "SP", "rating": "AA+", "as_of_date": "2026-01-14"},
        "servicing": {"instrument": "LOAN_1", "as_of_date": "2026-01-14", "outstanding_balance": "10"},
    }
    assert read_row(kind, FileRow(1, right[kind]))[1] == []
    read, reasons = read_row(kind, FileRow(1, {**right[kind], **values}))
    assert read is None
    assert len(reasons) == 1
    assert reasons[0].startswith(reason)
