"""A copy of what a node and all below it held at an instant, with all that the measures need of it: read, and nothing written."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from book.reference_data import Instrument
from core.errors import Refused
from risk.batch.given import Given
from risk.batch.history import Closes, closes_of
from risk.batch.holdings import Rates, named
from risk.batch.options import Options
from risk.modelling.estimates import Estimates, estimates_of, inputs_of, past_returns
from risk.modelling.held import Branch, HeldThen, day_of, held_then
from risk.modelling.inputs import Inputs
from risk.modelling.terms import terms_of
from risk.tagged import Tagged
from risk.what_if.positions import HeldPosition, OptionTerms, Positions

NO_BATCH = "betas: no batch was reckoned by then: `risk batch --date DAY` does"


@dataclass(frozen=True, slots=True, kw_only=True)
class Clone:
    """The positions, and what they are measured by."""

    positions: Positions
    inputs: Inputs


def cloned(session: Session, node: int, at: datetime, given: Given) -> Clone:
    """What the book has below a node just before `at` (aware UTC; a day is the midnight that ends it), in the node's currency.

    Lots are those of then, the engine's by its journal. Prices are marks, or closes of newer days that were over (`given.day`
    is the last one). Rates, betas and covariances are those of the day of `at`, or of the last one before that has some; what
    is not known is None, and `inputs.notes` says why. Raises UnknownNode, NodeNotThen, BookBehind.
    """
    branch = Branch(session, node, at)
    held = held_then(session, branch, at)
    instruments = list({each.instrument.instrument_id: each.instrument for each in held}.values())
    closes = closes_of(session, instruments, given)
    told = _Told(
        closes=closes,
        estimates=estimates_of(session, day_of(at), given),
        rates=Rates(session, day_of(at)),
        tagged=Tagged(session, day_of(at), at),
        options=Options(session, given, instruments),
        base=branch.currency,
        given=given,
    )
    positions = Positions(base=branch.currency, as_of=at, held=tuple(told.position(each) for each in held))
    inputs = inputs_of(
        session,
        told.estimates,
        past_returns(closes, instruments, given),
        expiries={each.name: each.expiry for each in held if each.expiry is not None},
        notes={name: tuple(notes) for name, notes in sorted(told.notes.items())},
    )
    return Clone(positions=positions, inputs=inputs)


class _Told:
    """What is known of positions besides what is held of them; `notes` gathers what is not, and why."""

    def __init__(
        self,
        *,
        closes: Mapping[int, Closes],
        estimates: Estimates,
        rates: Rates,
        tagged: Tagged,
        options: Options,
        base: str,
        given: Given,
    ) -> None:
        self.estimates = estimates
        self.notes: dict[str, list[str]] = defaultdict(list)
        self._closes = closes
        self._rates = rates
        self._tagged = tagged
        self._options = options
        self._base = base
        self._given = given

    def position(self, held: HeldThen) -> HeldPosition:
        """The position with all that is known of it."""
        if held.note is not None:
            self.notes[held.name].append(held.note)
        instrument = held.instrument
        price, currency = self._price(held)
        moves_as, option = instrument, None
        if instrument.kind == "option":
            price, option, moves_as = self._option(held, price, currency)
        tags = self._tagged.of(held.name, held.node_id, list(held.strategies))
        return HeldPosition(
            position_id=held.name,
            instrument=instrument.symbol,
            currency=currency,
            signed_quantity=held.lots,
            point_value=held.point_value,
            price=price,
            rate=self._rate(held.name, currency),
            node=held.node,
            sector=held.sector,
            contract=held.contract,
            underlying="" if moves_as is instrument else moves_as.symbol,
            betas=self._betas(held.name, moves_as),
            specific_variance=self.estimates.specific.get(moves_as.instrument_id),
            stop=held.stop,
            margin_per_lot=None if instrument.margin_per_lot is None else float(instrument.margin_per_lot),
            tags=tuple(each.tag for each in tags if each.tag_type == "regular"),
            strategies=tuple(each.tag for each in tags if each.tag_type == "strategy"),
            option=option,
        )

    def _option(
        self, held: HeldThen, price: float | None, currency: str
    ) -> tuple[float | None, OptionTerms | None, Instrument]:
        """Its price, terms and underlying; without terms no price: as what it is not it would be measured wrongly."""
        try:
            option, underlying = terms_of(self._options, held.instrument, currency, price)
        except Refused as error:
            self.notes[held.name].append(f"option: {named(error)}")
            return None, None, held.instrument
        return price, option, underlying

    def _price(self, held: HeldThen) -> tuple[float | None, str]:
        """The newer of mark and close, and of one day the mark; its currency."""
        closes = self._closes.get(held.instrument.instrument_id)
        last = None if closes is None else closes.values.index[-1]
        if held.mark is not None and held.marked_on is not None and (last is None or held.marked_on >= last):
            price, day, currency = held.mark, held.marked_on, held.currency
        elif closes is None or last is None:
            self.notes[held.name].append("price: neither a mark of the book nor a daily bar")
            return None, held.currency
        else:
            price, day, currency = float(closes.values.iloc[-1]), last, held.instrument.currency
        if day < self._given.day - timedelta(days=self._given.method.stale_days):
            self.notes[held.name].append(
                f"price: the last one is of {day}, more than {self._given.method.stale_days} days before"
            )
            return None, currency
        return price, currency

    def _rate(self, name: str, currency: str) -> float | None:
        rate = self._rates.between(currency, self._base)
        if isinstance(rate, str):
            self.notes[name].append(f"rate: {rate}")
            return None
        return rate

    def _betas(self, name: str, instrument: Instrument) -> dict[str, float] | None:
        found = self.estimates.betas.get(instrument.instrument_id)
        if found is not None:
            return dict(found)
        day = self.estimates.batch_day
        known = self.estimates.reasons.get(instrument.instrument_id)
        unheard = NO_BATCH if day is None else f"betas: the batch of {day} has none of {instrument.symbol}"
        self.notes[name].append(unheard if known is None else f"betas: {known}")
        return None
