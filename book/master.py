"""The one master of instruments, filled from what the engine trades, with the currencies and sectors that it refers to."""

import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from book.reference_data import Instrument as MasterInstrument
from book.reference_data import ReferenceData
from book.statements import rows_of
from core.config import default_instruments
from core.contracts import Instrument
from core.settings import Settings

_REFERENCE = Path(__file__).parent / "data" / "reference.json"
# Of an instrument that is in no list: where it is traded says most.
_BY_EXCHANGE = {"MCX": "COMMODITY", "NCDEX": "COMMODITY", "CDS": "FX"}
_CRYPTO = ("USDT", "USDC")
# What the engine decides by. The rest (name, asset class, sector, identifiers) is the book's own once it is there.
_OF_ENGINE = ("kind", "exchange", "currency", "lot_size", "point_value", "tick", "margin_per_lot")


@cache
def _shipped() -> Mapping[str, Any]:
    shipped: dict[str, Any] = json.loads(_REFERENCE.read_text(encoding="utf-8"))
    return shipped


def fill_reference_data(session: Session, currencies: Iterable[str] = ()) -> int:
    """The shipped sectors and currencies, and these currencies besides; how many are new. What is there stays as it is."""
    known = session.execute(select(ReferenceData.entity_type, ReferenceData.ticker, ReferenceData.name)).all()
    tickers = {ticker for kind, ticker, _ in known if kind == "CURRENCY"}
    sectors = {name for kind, _, name in known if kind == "SECTOR"}
    wanted = {**dict.fromkeys(sorted(currencies)), **_shipped()["currencies"]}
    adding = [
        ReferenceData(entity_type="CURRENCY", name=name or ticker, ticker=ticker)
        for ticker, name in wanted.items()
        if ticker not in tickers
    ]
    adding += [ReferenceData(entity_type="SECTOR", name=name) for name in _shipped()["sectors"] if name not in sectors]
    session.add_all(adding)
    session.flush()
    return len(adding)


def fill_instruments(session: Session, instruments: Mapping[str, Instrument]) -> int:
    """Put the engine's instruments into the master; how many are new or not what they were.

    What the engine decides by follows the engine; name, asset class and sector are guessed once, and then the book's own.
    """
    kept = {each.symbol: each for each in session.scalars(select(MasterInstrument).with_for_update())}
    sectors = {
        row.name: row.entity_id
        for row in session.scalars(
            select(ReferenceData).filter_by(entity_type="SECTOR").order_by(ReferenceData.entity_id)
        )
    }
    changed = 0
    for symbol, instrument in sorted(instruments.items()):
        values = {name: getattr(instrument, name) for name in _OF_ENGINE}
        values["exchange"] = values["exchange"] or None
        master = kept.get(symbol)
        if master is None:
            session.add(MasterInstrument(symbol=symbol, **_guessed(symbol, instrument, sectors), **values))
            changed += 1
        elif any(getattr(master, name) != value for name, value in values.items()):
            for name, value in values.items():
                setattr(master, name, value)
            changed += 1
    session.flush()
    return changed


def engine_instruments(session: Session) -> dict[str, Instrument]:
    """What the engine trades: the shipped instruments, and over them those of every portfolio's settings in its journal.

    Of portfolios that say different things of one instrument the last by name is heard, and `main` after all.
    """
    found = dict(Settings.model_validate({"instruments": default_instruments()}).instruments)
    said = [row for row in rows_of(session, "portfolios_with_settings") if row["settings"] is not None]
    for row in sorted(said, key=lambda each: (each["portfolio"] == "main", each["portfolio"])):
        found.update(Settings.model_validate(row["settings"]).instruments)
    return found


def master(session: Session) -> list[Mapping[str, Any]]:
    """The whole master, by symbol, with the names of sectors."""
    return [dict(row) for row in rows_of(session, "instruments_with_sectors")]


def _guessed(symbol: str, instrument: Instrument, sectors: Mapping[str, int]) -> dict[str, Any]:
    listed = _shipped()["instruments"].get(symbol)
    if listed is not None:
        sector_id = sectors.get(listed["sector"])
        return {"name": listed["name"], "asset_class": listed["asset_class"], "sector_id": sector_id}
    is_crypto = instrument.kind in ("spot", "perpetual") and instrument.currency in _CRYPTO
    asset_class = "CRYPTO" if is_crypto else _BY_EXCHANGE.get(instrument.exchange, "OTHER")
    return {
        "name": symbol.replace("_", " ").title(),
        "asset_class": asset_class,
        "sector_id": sectors.get("Crypto") if is_crypto else None,
    }
