"""Reports of the book: a node's tear sheet, realised tax lots. Each is made by a process of its own, when it is asked for."""

import re
from typing import Any

from flask import Blueprint, Response

from core.numbers import MONEY_SCALE
from live.api.book import BookApi
from live.api.book_files import a_file, days, sent, worked
from live.api.book_query import currency_of, node_number
from live.api.encoding import JSON
from live.api.errors import malformed
from live.api.queries import Query

APRIL = 4
HTML = "text/html"
_YEAR = re.compile(r"[0-9]{4}(-[0-9]{2})?", re.ASCII)
# Money above 0, as the database's columns hold it.
CAPITAL = r"[1-9][0-9]{0,15}(\.[0-9]{1,4})?|0\.([1-9][0-9]{0,3}|0[1-9][0-9]{0,2}|00[1-9][0-9]?|000[1-9])"
_CAPITAL = re.compile(CAPITAL, re.ASCII)


class BookReports:
    """The routes of reports; `api` has the book's session, and what it refuses."""

    def __init__(self, api: BookApi) -> None:
        self._api = api

    def blueprint(self) -> Blueprint:
        """Its routes."""
        blueprint = Blueprint("book_reports", __name__, url_prefix="/api/book")
        blueprint.get("/nodes/<node_id>/tear-sheet")(self.show_tear_sheet)
        blueprint.get("/nodes/<node_id>/tear-sheet.html")(self.show_tear_sheet_page)
        blueprint.get("/tax-lots")(self.show_tax_lots)
        return blueprint

    def show_tear_sheet(self, node_id: str) -> Response:
        """What the returns of a node say of it."""
        return self._tear_sheet(node_id, "json", JSON)

    def show_tear_sheet_page(self, node_id: str) -> Response:
        """The same to read."""
        response = self._tear_sheet(node_id, "html", HTML)
        from live.reports.policy import policy_of_tear_sheets

        response.headers["Content-Security-Policy"] = policy_of_tear_sheets()
        return response

    def show_tax_lots(self) -> Response:
        """What a portfolio has realised, lot by lot, and its totals by tax year and instrument."""
        query = self._api.query("year_begins", "year")
        begins, year = query.whole("year_begins", 12) or APRIL, query.text("year")
        if year is not None and not _YEAR.fullmatch(year):
            raise malformed("`year` must be a tax year such as 2025-26, or 2025 where it begins in January", "year")
        arguments = {"portfolio": query.engine.portfolio_name, "year_begins": begins, "year": year}
        return self._made("tax_report", arguments, JSON)

    def _tear_sheet(self, node_id: str, form: str, content_type: str) -> Response:
        query = self._api.query("from", "to", "currency", "capital")
        begins, ends = days(query)
        arguments = {
            "node_id": node_number(node_id),
            "form": form,
            "begins": begins,
            "ends": ends,
            "currency": currency_of(query),
            "capital": _capital(query),
        }
        return self._made("tear_sheet", arguments, content_type)

    def _made(self, task: str, arguments: dict[str, Any], content_type: str) -> Response:
        desk = self._api.desk()
        with a_file(desk) as file:
            worked(desk, task, {**arguments, "at": desk.now().isoformat()}, file)
            return sent(file, content_type)


def _capital(query: Query) -> str | None:
    """An amount of money above 0, as it is written; None where it is absent."""
    given = query.text("capital")
    if given is not None and not _CAPITAL.fullmatch(given):
        raise malformed(f"`capital` must be a number above 0 with at most {MONEY_SCALE} decimals", "capital")
    return given
