"""Journals made in memory, of random trading over many days."""

import msgspec

from book.journal_walk import JournalEntry
from core.decide import decide
from core.inputs import ChangeSettings, StartPortfolio
from core.journal import NO_HASH, Entry, journal_records
from core.models import PortfolioState
from core.numbers import ZERO
from core.portfolio import Portfolio
from core.settings import Settings
from tests.builders import CAPITAL, NOON, RandomTrading, settings_with


def random_journal(seed: int, count: int) -> list[JournalEntry]:
    """So many inputs of a portfolio's first days, decided."""
    trading, entries = RandomTrading(seed), []
    portfolio = Portfolio(
        name="main",
        settings=Settings(instruments={}),
        state=PortfolioState(initial_capital=ZERO, closed_equity=ZERO, equity_high=ZERO),
    )
    changed = settings_with(approval={"late": {"seconds": 200}}).model_dump(mode="json")
    given = [(StartPortfolio(initial_capital=CAPITAL), NOON), (ChangeSettings(settings=changed), NOON)]
    for number in range(count):
        one, now = given[number] if number < len(given) else trading.next(portfolio)
        decision = decide(msgspec.structs.replace(portfolio, seq=number + 1), one, now)
        entries.append(Entry(given=one, decision=decision, decided_at=now))
        portfolio = decision.portfolio.settled()
    return [
        JournalEntry(
            seq=record["seq"],
            format=record["format"],
            events=msgspec.json.encode(record["events"]).decode(),
            figures=msgspec.json.encode(record["figures"]).decode(),
            decided_at=record["decided_at"],
            content_hash=record["content_hash"],
        )
        for record in journal_records(entries, 1, 1, NO_HASH)
    ]
