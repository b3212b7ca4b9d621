"""/api/risk: what-if sessions and their files, tags, and contracts beside each other. What measures is the command's."""

from datetime import date, datetime

from flask import Blueprint, Response

from core.trading_calendar import BeyondHorizon
from live.api.book import BookApi
from live.api.book_files import chosen
from live.api.encoding import respond_with_etag
from live.api.errors import malformed
from live.api.pages import cut
from live.api.queries import LARGEST_ID
from live.api.risk import instant_in, source_in
from live.contracts_file import load_calendar

STATUSES = ("active", "completed", "cancelled")
TAG_TYPES = ("regular", "strategy")
# As `risk term-structure` has them where nobody says otherwise.
ROLL_DAYS = 8
_OF_A_SNAPSHOT = ("snapshot_id", "session_version", "status", "content_hash", "created_by", "created_at")
_OF_A_TAG = ("name", "tag_type", "colour", "description", "created_by", "created_at", "nodes", "positions")


def day_on(exchange: str, at: datetime) -> date:
    """The day on the exchange's clock; in UTC where no calendar knows that."""
    try:
        return load_calendar().day_of(exchange, at)
    except BeyondHorizon:
        return at.date()


class RiskSessionsApi:
    """The views; `api` has the book's session, and what it refuses."""

    def __init__(self, api: BookApi) -> None:
        self._api = api

    def blueprint(self) -> Blueprint:
        """Its routes."""
        blueprint = Blueprint("risk_sessions", __name__, url_prefix="/api/risk")
        blueprint.get("/sessions")(self.list_sessions)
        blueprint.get("/sessions/<session_id>")(self.show_session)
        blueprint.get("/exports")(self.list_exports)
        blueprint.get("/tags")(self.list_tags)
        blueprint.get("/term_structure")(self.show_term_structure)
        return blueprint

    def list_sessions(self) -> Response:
        """Sessions, the newest first."""
        query = self._api.query("status", "limit", "before")
        status, limit, before = chosen(query, "status", STATUSES), query.limit(), query.whole("before", LARGEST_ID)
        with self._api.session() as session:
            from risk.modelling.listing import sessions

            rows = sessions(session, status=status, limit=limit + 1, before=before)
        return respond_with_etag(cut("sessions", "session_id", limit, rows))

    def show_session(self, session_id: str) -> Response:
        """One of them: its changes, its snapshots, and every measure before and after as the newest of these has it."""
        self._api.query()
        number = int(session_id) if session_id.isascii() and session_id.isdecimal() else 0
        with self._api.session() as session:
            from risk.modelling.listing import no_such_session, snapshots
            from risk.shown_sessions import newest_snapshot, session_told

            found = session_told(session, min(number, LARGEST_ID))
            if found is None:
                raise no_such_session(number)
            kept = snapshots(session, number)
            newest = newest_snapshot(session, number)
        told = [{name: each[name] for name in _OF_A_SNAPSHOT} for each in kept]
        return respond_with_etag({**found, "snapshots": told, "newest": newest})

    def list_exports(self) -> Response:
        """Files that were made of snapshots, the newest first."""
        query = self._api.query("limit", "before")
        limit, before = query.limit(), query.whole("before", LARGEST_ID)
        with self._api.session() as session:
            from risk.modelling.listing import exports

            rows = exports(session, limit=limit + 1, before=before)
        return respond_with_etag(cut("exports", "export_id", limit, rows))

    def list_tags(self) -> Response:
        """Tags that are in use."""
        query = self._api.query("type")
        tag_type = chosen(query, "type", TAG_TYPES)
        with self._api.session() as session:
            from risk.tagging import tags

            found = tags(session, tag_type=tag_type)
        return respond_with_etag({"tags": [{name: each[name] for name in _OF_A_TAG} for each in found]})

    def show_term_structure(self) -> Response:
        """An instrument's contracts."""
        query = self._api.query("instrument", "as_of", "source")
        instrument, source = query.instrument(), source_in(query)
        if instrument is None:
            raise malformed("`instrument` is required", "instrument")
        at = instant_in(query, self._api.now(), self._api.today())
        with self._api.session() as session:
            from risk.term_structure import contracts_told, term_structure_as_of

            of = contracts_told(session, instrument, source=source)
            found = term_structure_as_of(session, of, at, day_on(of.exchange, at), roll_days=ROLL_DAYS)
        return respond_with_etag(found)
