"""GET /signals, /journal and /webhook/stats."""

from collections import Counter

from flask import Blueprint, Response

from core.models import Status
from live.api.encoding import outcome_text, respond_with_etag
from live.api.pages import Row, page
from live.api.queries import LARGEST_ID, Query
from live.portfolios import Portfolios


def signals_blueprint(portfolios: Portfolios) -> Blueprint:
    """The views of what came in and what was decided."""
    blueprint = Blueprint("signals", __name__)

    @blueprint.get("/signals")
    def list_signals() -> Response:
        query = Query(portfolios, "status", "instrument", "limit", "before")
        engine = query.engine
        statuses, instrument, limit = query.statuses(Status), query.instrument(), query.limit()
        before = query.whole("before", LARGEST_ID)
        return page(
            "signals",
            "id",
            limit,
            lambda count: [
                _with_plain_figures(row)
                for row in engine.lists.signals(statuses=statuses, instrument=instrument, limit=count, before=before)
            ],
        )

    @blueprint.get("/journal")
    def list_journal() -> Response:
        query = Query(portfolios, "limit", "before")
        engine = query.engine
        limit, before = query.limit(), query.whole("before", LARGEST_ID)
        return page("journal", "seq", limit, lambda count: engine.lists.journal(limit=count, before=before))

    @blueprint.get("/webhook/stats")
    def show_counts() -> Response:
        engine = Query(portfolios).engine
        by_type: Counter[str] = Counter()
        by_outcome: Counter[str] = Counter()
        counts = [
            {**row, "signals": int(row["signals"]), "duplicates": int(row["duplicates"])}
            for row in engine.lists.signal_counts()
        ]
        for row in counts:
            by_type[row["signal_type"]] += row["signals"]
            by_outcome[row["processing_status"]] += row["signals"]
        return respond_with_etag(
            {
                "signals": by_type.total(),
                "duplicates": sum(row["duplicates"] for row in counts),
                "by_type": by_type,
                "by_outcome": by_outcome,
                "counts": counts,
            }
        )

    return blueprint


def _with_plain_figures(row: Row) -> Row:
    outcome = row.get("outcome")
    return row if outcome is None else {**row, "outcome": outcome_text(outcome)}
