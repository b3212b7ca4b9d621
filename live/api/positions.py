"""GET /positions and /positions/<id>."""

from flask import Blueprint, Response

from core.models import Position, PositionStatus
from live.api.encoding import respond_with_etag
from live.api.errors import HttpRefused, malformed
from live.api.pages import page
from live.api.queries import Query
from live.portfolios import Portfolios
from live.ports import Engine

ID_LENGTH = 50  # portfolio_positions.position_id VARCHAR(50)


def find_position(engine: Engine, position_id: str) -> Position:
    """The position, open or closed; refused with 404 where there is none."""
    # What no column can hold (a NUL, say) is not asked of the database.
    could_exist = len(position_id) <= ID_LENGTH and position_id.isprintable()
    position = engine.position(position_id) if could_exist else None
    if position is None:
        raise HttpRefused(404, "unknown_position", f"there is no position `{position_id[:ID_LENGTH]}`")
    return position


def positions_blueprint(portfolios: Portfolios) -> Blueprint:
    """The views of positions."""
    blueprint = Blueprint("positions", __name__)

    @blueprint.get("/positions")
    def list_positions() -> Response:
        query = Query(portfolios, "status", "instrument", "limit", "before")
        engine = query.engine
        statuses, instrument, limit = query.statuses(PositionStatus), query.instrument(), query.limit()
        before = query.text("before")
        if before is not None:
            _require_cursor(engine, before)
        return page(
            "positions",
            "position_id",
            limit,
            lambda count: engine.lists.positions(statuses=statuses, instrument=instrument, limit=count, before=before),
        )

    @blueprint.get("/positions/<position_id>")
    def show_position(position_id: str) -> Response:
        return respond_with_etag(find_position(Query(portfolios).engine, position_id))

    return blueprint


def _require_cursor(engine: Engine, before: str) -> None:
    # Behind a position that does not exist lies nothing: an empty page would look like the end of the list.
    try:
        find_position(engine, before)
    except HttpRefused:
        raise malformed("`before` must be the id of a position", "before") from None
