"""What `risk.open(dsn)` gives: the market and the days that were reckoned, as frames."""

from risk.notebook.days import DayFrames
from risk.notebook.market import MarketFrames


class Lab(MarketFrames, DayFrames):
    """All of it, read-only: `with risk.open(dsn) as lab: lab.bars("GOLD_MINI")`."""
