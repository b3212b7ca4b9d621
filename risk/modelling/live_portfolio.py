"""What an engine's portfolio is measured by as it is now: its node's currency, rates, and what the last batch knows."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from book.hierarchy import LivePortfolio
from book.reference_data import Instrument, ReferenceData
from core.portfolio import Portfolio
from risk.batch.given import Given
from risk.batch.history import closes_of
from risk.batch.holdings import Rates
from risk.modelling.clone import NO_BATCH
from risk.modelling.estimates import Estimates, estimates_of, inputs_of, past_returns
from risk.modelling.held import Branch, day_of
from risk.modelling.inputs import Inputs
from risk.modelling.refusals import HangsNowhere
from risk.what_if.positions import Described, Positions, positions_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What makes positions of a portfolio, before and after something, in the same way; `inputs.notes` is by instrument."""

    base: str
    at: datetime
    rates: dict[str, float]
    described: dict[str, Described]
    inputs: Inputs

    def positions(self, portfolio: Portfolio) -> Positions:
        """The portfolio's open positions. Raises what `positions_of` does."""
        return positions_of(portfolio, base=self.base, as_of=self.at, rates=self.rates, described=self.described)


def known_of(session: Session, portfolio: Portfolio, symbols: Iterable[str], at: datetime, given: Given) -> Known:
    """What the book and the last batch know of what a portfolio holds, and of these instruments besides. Raises HangsNowhere."""
    node = session.scalar(select(LivePortfolio.portfolio_node_id).filter_by(portfolio=portfolio.name))
    if node is None:
        raise HangsNowhere(f"portfolio {portfolio.name} hangs on no node of the book: `book sync` hangs it")
    branch = Branch(session, node, at)
    wanted = {*symbols, *(position.instrument for position in portfolio.positions.values())}
    asked = select(Instrument).where(Instrument.symbol.in_(wanted)).order_by(Instrument.symbol)
    instruments = list(session.scalars(asked))
    estimates = estimates_of(session, day_of(at), given)
    sectors = {
        row.entity_id: row.name for row in session.scalars(select(ReferenceData).filter_by(entity_type="SECTOR"))
    }
    notes = {
        each.symbol: (_note(estimates, each),) for each in instruments if each.instrument_id not in estimates.betas
    }
    rates = Rates(session, day_of(at))
    found = {currency: rates.between(currency, branch.currency) for currency in _currencies(portfolio, wanted)}
    notes |= {currency: (f"rate: {rate}",) for currency, rate in found.items() if isinstance(rate, str)}
    return Known(
        base=branch.currency,
        at=at,
        rates={currency: rate for currency, rate in found.items() if not isinstance(rate, str)},
        described={
            each.symbol: Described(
                node=branch.paths[node],
                sector="" if each.sector_id is None else sectors.get(each.sector_id, ""),
                betas=_betas(estimates, each),
                specific_variance=estimates.specific.get(each.instrument_id),
            )
            for each in instruments
        },
        inputs=inputs_of(
            session, estimates, past_returns(closes_of(session, instruments, given), instruments, given), notes=notes
        ),
    )


def _currencies(portfolio: Portfolio, symbols: Iterable[str]) -> set[str]:
    settings = portfolio.settings.instruments
    return {settings[symbol].currency for symbol in symbols if symbol in settings}


def _betas(estimates: Estimates, instrument: Instrument) -> dict[str, float] | None:
    found = estimates.betas.get(instrument.instrument_id)
    return None if found is None else dict(found)


def _note(estimates: Estimates, instrument: Instrument) -> str:
    if estimates.batch_day is None:
        return NO_BATCH
    known = estimates.reasons.get(instrument.instrument_id)
    return f"betas: {known or f'the batch of {estimates.batch_day} has none'}"
