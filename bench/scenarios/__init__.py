"""What is measured, by name: each scenario takes a host and gives its comparisons."""

from collections.abc import Callable

from bench.host import Host
from bench.measure import Comparisons
from bench.scenarios import (
    book,
    commit_each,
    decide,
    engine,
    history,
    manager,
    market_data,
    market_data_store,
    memory,
    orders,
    portfolios,
    post,
    projection,
    reconcile,
    recovery,
    replay,
    restart,
    risk,
    takeover,
)

Scenario = Callable[[Host], Comparisons]

SCENARIOS: dict[str, Scenario] = {
    "save_position": manager.save_position,
    "get_position": manager.get_position,
    "post": post.post,
    "commit_each": commit_each.commit_each,
    "restart": restart.restart,
    "imports": restart.imports,
    "memory": memory.memory,
    "soak": memory.soak,
    "engine": engine.engine,
    "market_data": market_data.market_data,
    "history": history.history,
    "decide": decide.decide,
    "orders": orders.orders,
    "reconcile": reconcile.reconcile,
    "replay": replay.replay,
    "portfolios": portfolios.portfolios,
    "takeover": takeover.takeover,
    "verify": recovery.verify,
    "recovery": recovery.recovery,
    "book": book.book,
    "risk": risk.risk,
    "market_data_store": market_data_store.market_data_store,
    "projection": projection.projection,
}
