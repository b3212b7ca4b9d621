"""What was paid into the engine's portfolios and out of them, as their own tables say; read, never written."""

from datetime import date
from decimal import Decimal

from msgspec import Struct
from sqlalchemy import Date, Numeric, column, func, select, table
from sqlalchemy import cast as as_type
from sqlalchemy.orm import Session


class Capital(Struct, frozen=True, kw_only=True):
    """One portfolio's: what it began with, and what flowed in (above 0) and out, by day (UTC). `currency` is its money's."""

    portfolio: str
    currency: str
    initial: Decimal
    flows: tuple[tuple[date, Decimal], ...]


def capital_of(session: Session, portfolios: dict[str, str]) -> list[Capital]:
    """The capital of portfolios, given each with its currency. One that was never started has none, and is left out."""
    known = func.book.portfolios().table_valued("portfolio", "schema_name")
    schemas = dict(session.execute(select(known.c.portfolio, known.c.schema_name)).all())
    found = []
    for portfolio, currency in sorted(portfolios.items()):
        schema = schemas.get(portfolio)
        initial = None if schema is None else _initial(session, schema)
        if schema is not None and initial is not None:
            flows = _flows(session, schema)
            found.append(Capital(portfolio=portfolio, currency=currency, initial=initial, flows=flows))
    return found


def _initial(session: Session, schema: str) -> Decimal | None:
    state = table("portfolio_state", column("initial_capital", Numeric), schema=schema)
    return session.scalar(select(state.c.initial_capital))


def _flows(session: Session, schema: str) -> tuple[tuple[date, Decimal], ...]:
    flows = table("capital_flows", column("amount", Numeric), column("flowed_at"), schema=schema)
    day = as_type(func.timezone("UTC", flows.c.flowed_at), Date)
    rows = session.execute(select(day, func.sum(flows.c.amount)).group_by(day).order_by(day))
    return tuple((flowed_on, amount) for flowed_on, amount in rows)
