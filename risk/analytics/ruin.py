"""What the live rules would make of trades like those so far: drawdowns, and how likely ruin is, by bootstrap."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from core.settings import Drawdown
from risk.analytics.checks import Array, above_zero, observations, vector, whole
from risk.analytics.refusals import OutOfRange, WrongShape
from risk.distributed import Mapper, in_turn

# Equity and its high so far, by path, to what one unit of the trades' figures is worth on the next one.
SizingRule = Callable[[Array, Array], Array]
# Blocks are part of the result's definition: another size is another stream of numbers.
BLOCK = 4_096
_FEWEST = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruin:
    """What became of the paths. Arrays are by path, money or per cent, drawdowns positive.

    `probability` of equity having been at or below `ruin_equity` after some trade; such a path trades no more. `stopped`:
    the share of the others that the rule lets trade no more at the end. `standard_error` is the probability's.
    """

    probability: float
    standard_error: float
    stopped: float
    final_equity: Array
    max_drawdown: Array
    max_drawdown_percent: Array

    def quantiles(self, levels: tuple[float, ...] = (0.05, 0.25, 0.5, 0.75, 0.95)) -> pd.DataFrame:
        """Quantiles of what became of the paths, a row for each level."""
        figures = {
            "final_equity": self.final_equity,
            "max_drawdown": self.max_drawdown,
            "max_drawdown_percent": self.max_drawdown_percent,
        }
        return pd.DataFrame({name: np.quantile(values, levels) for name, values in figures.items()}, index=list(levels))


def as_traded(equity: Array, high: Array) -> Array:  # noqa: ARG001 - a rule is asked for both
    """For trades in money: each as it was, whatever equity is."""
    return np.ones_like(equity)


def live_rule(
    risk_percent: float, levels: Drawdown, *, risk_per_lot: float | None = None, pyramids: bool = False
) -> SizingRule:
    """For trades in R: the money that one R is by the live rules, `risk_percent` of equity, less in a drawdown.

    `levels` are the engine's own: the factor falls with the drawdown, base entries end where it restricts, all above where
    it blocks; `pyramids` takes the trades for pyramids. With `risk_per_lot` (money from entry to stop of one lot) only whole
    lots are bought, none where none fits. Equity here is closed: a bootstrapped trade has no open P&L to blend.
    Raises OutOfRange.
    """
    if risk_per_lot is not None:
        above_zero("risk_per_lot", risk_per_lot)
    return _LiveRule(
        share=above_zero("risk_percent", risk_percent) / 100,
        reduce_from=float(levels.reduce_from_percent),
        reduced=float(levels.reduce_factor),
        restrict_from=float(levels.restrict_from_percent),
        restricted=float(levels.restrict_factor),
        block_above=float(levels.block_above_percent),
        risk_per_lot=risk_per_lot,
        pyramids=pyramids,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _LiveRule:
    """What `live_rule` gives: its figures, so that it travels as a pickle."""

    share: float
    reduce_from: float
    reduced: float
    restrict_from: float
    restricted: float
    block_above: float
    risk_per_lot: float | None
    pyramids: bool

    def __call__(self, equity: Array, high: Array) -> Array:
        """The money that one R is, by path."""
        fallen = (high - equity) * 100
        is_restricted = fallen >= self.restrict_from * high
        factor = np.where(
            is_restricted, self.restricted, np.where(fallen >= self.reduce_from * high, self.reduced, 1.0)
        )
        blocked = (equity <= 0) | (fallen > self.block_above * high) | (not self.pyramids) & is_restricted
        money = np.where(blocked, 0.0, equity * self.share * factor)
        return money if self.risk_per_lot is None else np.floor(money / self.risk_per_lot) * self.risk_per_lot


def simulate(
    trades: object,
    rule: SizingRule,
    *,
    initial_equity: float,
    ruin_equity: float,
    trades_per_path: int,
    paths: int,
    seed: int,
    block: int = 1,
    over: Mapper = in_turn,
) -> Ruin:
    """`paths` futures of `trades_per_path` trades, drawn from `trades` with replacement, `block` in a row at a time.

    `trades`: P&L in R, or in money, in the order in which they were closed; `rule` says what one unit of them is worth, so
    P&L of a trade is rule(equity, high) x trade. `initial_equity` and `ruin_equity` (below it) are money. With `block` above
    1 the order within a block is kept, and with it streaks: the circular block bootstrap of Politis and Romano (1992);
    1 is Efron's (1979). The same seed gives the same bits (PCG64, a stream for each block of paths), whoever reckons the blocks
    (`over`, risk.distributed); on a cluster `rule` travels as a pickle.
    Raises TooFewObservations, OutOfRange, NotFinite, WrongShape.
    """
    values = vector("trades", trades)
    observations(len(values), max(_FEWEST, whole("block", block)))
    start, key = above_zero("initial_equity", initial_equity), whole("seed", seed, at_least=0)
    if not 0 <= ruin_equity < start:
        raise OutOfRange(f"`ruin_equity`: {ruin_equity} is not from 0 to below {start}")
    count, length = whole("paths", paths), whole("trades_per_path", trades_per_path)
    futures = partial(
        _block_of_paths,
        values=values,
        rule=rule,
        start=start,
        ruin_equity=ruin_equity,
        paths=count,
        length=length,
        in_a_row=block,
        seed=key,
    )
    done = over(futures, range(-(-count // BLOCK)))
    equity, drawdown, percent, ruined, idle = (np.concatenate(parts) for parts in zip(*done, strict=True))
    probability = float(ruined.mean())
    return Ruin(
        probability=probability,
        standard_error=float(np.sqrt(probability * (1 - probability) / count)),
        stopped=float((idle & ~ruined).mean()),
        final_equity=equity,
        max_drawdown=drawdown,
        max_drawdown_percent=percent,
    )


def _block_of_paths(
    number: int,
    *,
    values: Array,
    rule: SizingRule,
    start: float,
    ruin_equity: float,
    paths: int,
    length: int,
    in_a_row: int,
    seed: int,
) -> tuple[Array, ...]:
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(number,))))
    size = min(BLOCK, paths - number * BLOCK)
    return _paths(_drawn(generator, values, size, length, in_a_row), rule, start, ruin_equity)


def _drawn(generator: np.random.Generator, values: Array, size: int, length: int, block: int) -> Array:
    """Paths x trades: blocks from anywhere, going on at the beginning where the end is reached."""
    starts = generator.integers(0, len(values), (size, -(-length // block)))
    places = (starts[:, :, None] + np.arange(block)) % len(values)
    drawn: Array = values[places.reshape(size, -1)[:, :length]]
    return drawn


def _paths(drawn: Array, rule: SizingRule, start: float, ruin_equity: float) -> tuple[Array, ...]:
    equity, high = np.full(len(drawn), start), np.full(len(drawn), start)
    deepest, deepest_percent = np.zeros(len(drawn)), np.zeros(len(drawn))
    ruined = np.zeros(len(drawn), dtype=bool)
    for outcome in drawn.T:
        equity = np.where(ruined, equity, equity + _stake(rule, equity, high) * outcome)
        high = np.maximum(high, equity)
        deepest = np.maximum(deepest, high - equity)
        deepest_percent = np.maximum(deepest_percent, (high - equity) / high * 100)
        ruined |= equity <= ruin_equity
    return equity, deepest, deepest_percent, ruined, _stake(rule, equity, high) == 0


def _stake(rule: SizingRule, equity: Array, high: Array) -> Array:
    stake = np.asarray(rule(equity, high), dtype=np.float64)
    if stake.shape != equity.shape:
        raise WrongShape(f"`rule`: gave {stake.shape} for {len(equity)} paths")
    if not (np.isfinite(stake) & (stake >= 0)).all():
        raise OutOfRange("`rule`: gave what is not finite, or below 0")
    return stake
