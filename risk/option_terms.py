"""What an option of the master is a right to: its type, strike, expiry and underlying."""

from datetime import date
from decimal import Decimal
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, String, select
from sqlalchemy.orm import Mapped, Session, aliased, mapped_column

from book.base import one_of
from book.reference_data import Instrument
from core.errors import Refused
from risk.base import Base, Created, Price, Updated


class NotAnOption(Refused):
    """only an option has terms, and they are of something else"""


class UnknownInstrument(Refused):
    """there is no such instrument"""


class OptionTerms(Base):
    """The right to buy (CE) or sell (PE) the underlying at the strike, in points, on the day of expiry."""

    __tablename__ = "option_terms"
    __table_args__ = (
        one_of("option_type", "CE", "PE"),
        CheckConstraint("strike > 0 AND strike < 'NaN'", name="strike"),
        CheckConstraint("underlying_id <> instrument_id", name="underlying"),
    )

    instrument_id: Mapped[int] = mapped_column(ForeignKey(Instrument.instrument_id), primary_key=True)
    underlying_id: Mapped[int] = mapped_column(ForeignKey(Instrument.instrument_id), index=True)
    option_type: Mapped[str] = mapped_column(String(2))
    strike: Mapped[Price]
    expiry: Mapped[date]
    created_at: Mapped[Created]
    updated_at: Mapped[Updated]


def set_terms(
    session: Session, instrument: str, *, underlying: str, option_type: str, strike: Decimal, expiry: date
) -> bool:
    """Say what an option is a right to; False where that is known. Raises UnknownInstrument, NotAnOption."""
    option, below = _instrument(session, instrument), _instrument(session, underlying)
    if option.kind != "option":
        raise NotAnOption(f"{instrument} is a {option.kind}: `book instrument` says what is an option")
    if below.kind == "option":
        raise NotAnOption(f"{underlying}, the underlying, is an option itself")
    told = {
        "underlying_id": below.instrument_id,
        "option_type": option_type,
        "strike": strike,
        "expiry": expiry,
    }
    row = session.get(OptionTerms, option.instrument_id, with_for_update=True)
    if row is not None and all(getattr(row, name) == value for name, value in told.items()):
        return False
    if row is None:
        row = OptionTerms(instrument_id=option.instrument_id)
        session.add(row)
    for name, value in told.items():
        setattr(row, name, value)
    session.flush()
    return True


def all_terms(session: Session) -> list[dict[str, Any]]:
    """Every option of the master, by name; without terms where nobody has said them."""
    below = aliased(Instrument)
    asked = (
        select(
            Instrument.symbol.label("instrument"),
            below.symbol.label("underlying"),
            OptionTerms.option_type,
            OptionTerms.strike,
            OptionTerms.expiry,
        )
        .outerjoin(OptionTerms, OptionTerms.instrument_id == Instrument.instrument_id)
        .outerjoin(below, below.instrument_id == OptionTerms.underlying_id)
        .where(Instrument.kind == "option")
        .order_by(Instrument.symbol)
    )
    return [dict(row) for row in session.execute(asked).mappings()]


def _instrument(session: Session, symbol: str) -> Instrument:
    found = session.scalar(select(Instrument).where(Instrument.symbol == symbol))
    if found is None:
        raise UnknownInstrument(f"{symbol} is not in the master of instruments: `book instrument add` puts it there")
    return found
