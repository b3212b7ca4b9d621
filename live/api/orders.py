"""GET /orders: what brokers were asked to do, and what came of it."""

from flask import Blueprint, Response

from core.orders import OrderState
from live.api.encoding import figures_text
from live.api.errors import malformed
from live.api.pages import Row, page
from live.api.queries import Query
from live.portfolios import Portfolios
from live.ports import Engine

ID_LENGTH = 40  # orders.client_order_id VARCHAR(40)


def orders_blueprint(portfolios: Portfolios) -> Blueprint:
    """The view of orders."""
    blueprint = Blueprint("orders", __name__)

    @blueprint.get("/orders")
    def list_orders() -> Response:
        query = Query(portfolios, "state", "instrument", "limit", "before")
        engine = query.engine
        states, instrument, limit = query.statuses(OrderState, "state"), query.instrument(), query.limit()
        before = query.text("before")
        if before is not None:
            _require_cursor(engine, before)
        return page(
            "orders",
            "client_order_id",
            limit,
            lambda count: [
                _with_plain_figures(row)
                for row in engine.lists.orders(states=states, instrument=instrument, limit=count, before=before)
            ],
        )

    return blueprint


def _require_cursor(engine: Engine, before: str) -> None:
    # As with positions: behind an order that does not exist lies nothing, and what no column can hold is not asked for.
    could_exist = len(before) <= ID_LENGTH and before.isprintable()
    if not could_exist or engine.lists.order(before) is None:
        raise malformed("`before` must be the id of an order", "before")


def _with_plain_figures(row: Row) -> Row:
    plan = row.get("plan")
    return row if plan is None else {**row, "plan": figures_text(plan)}
