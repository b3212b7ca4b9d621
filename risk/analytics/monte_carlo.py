"""Simulated P&L, block by block: the same seed gives the same bits, however many blocks are reckoned where."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from threadpoolctl import ThreadpoolController

from risk.analytics.checks import Array, covariance, distinct, share, square_frame, vector, whole
from risk.analytics.parametric import LOWEST_DEGREES
from risk.analytics.refusals import NotFinite, OutOfRange, WrongShape
from risk.analytics.tails import Tail, tail_of
from risk.distributed import Mapper, in_turn

# Blocks are part of the result's definition: another size is another stream of numbers.
BLOCK = 8_192
Revaluation = Callable[[Array], Array]
_counting = threading.Lock()
_users = 0
_limited = ExitStack()


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """The tail, and the P&L of every path, in the paths' order, money."""

    tail: Tail
    pnl: Array


def blocks(paths: int) -> int:
    """How many blocks there are of so many paths; the last one may be shorter."""
    return -(-whole("paths", paths) // BLOCK)


def shocks_of_block(
    number: int, paths: int, root: Array, *, seed: int, degrees_of_freedom: float | None = None
) -> Array:
    """The returns of one block's paths, paths x factors, with covariance root root'; Student's t where degrees are said.

    A block depends on seed, number and its own size alone (PCG64, a stream for each block), so blocks may be reckoned in any
    order, anywhere. BLAS is held to one thread: with more, sums may be taken in another order.
    """
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(number,))))
    size = min(BLOCK, paths - number * BLOCK)
    draws = generator.standard_normal((size, root.shape[1]))
    with _one_blas_thread():
        shocks: Array = draws @ root.T
    if degrees_of_freedom is not None:
        mixing = generator.chisquare(degrees_of_freedom, size) / (degrees_of_freedom - 2)
        shocks /= np.sqrt(mixing)[:, None]
    return shocks


@contextmanager
def _one_blas_thread() -> Iterator[None]:
    """BLAS is held to one thread until the last block of ours is done: the limit is the whole process's."""
    global _users
    with _counting:
        _users += 1
        if _users == 1:
            _limited.enter_context(ThreadpoolController().limit(limits=1, user_api="blas"))
    try:
        yield
    finally:
        with _counting:
            _users -= 1
            if _users == 0:
                _limited.close()


def square_root(spread: Array) -> Array:
    """A matrix whose product with its transpose is the (checked) covariance, also where that is singular."""
    with _one_blas_thread():
        values, vectors = np.linalg.eigh(spread)
    root: Array = vectors * np.sqrt(np.maximum(values, 0.0))
    return root


def monte_carlo(
    values: pd.Series,
    returns_covariance: pd.DataFrame,
    *,
    paths: int,
    seed: int,
    confidence: float,
    horizon: int = 1,
    degrees_of_freedom: float | None = None,
    revalue: Revaluation | None = None,
    over: Mapper = in_turn,
) -> Simulated:
    """P&L of `paths` draws of returns with mean 0 and this covariance, and its VaR and expected shortfall.

    `values`: signed money by position (or by factor); `returns_covariance`: of their returns over one period, labelled
    alike; `horizon`: periods, taken as independent (the covariance grows with it). Normal; or with `degrees_of_freedom`
    above 2 a multivariate t with the same covariance. P&L of a path is values . returns, unless `revalue` makes it: a
    function of a block of returns (paths x positions) to its P&L (paths), for what is not linear, as options are.
    `over` reckons the blocks (risk.distributed): the bits are the same whoever does; on a cluster `revalue` travels as a pickle.
    Glasserman, Monte Carlo Methods in Financial Engineering (2003), chapter 9.
    Raises OutOfRange, TooFewObservations, LabelsDiffer, NotFinite, WrongShape, NotSymmetric, NotPositiveSemidefinite.
    """
    if not isinstance(values, pd.Series):
        raise WrongShape(f"`values`: a series is needed, not {type(values).__name__}")
    held, level, periods = vector("values", values), share("confidence", confidence), whole("horizon", horizon)
    count, key = whole("paths", paths), whole("seed", seed, at_least=0)
    if degrees_of_freedom is not None and not LOWEST_DEGREES < degrees_of_freedom < np.inf:
        raise OutOfRange(f"`degrees_of_freedom`: {degrees_of_freedom} is not above 2: there is no variance")
    labels = distinct("values", values.index)
    spread = covariance("returns_covariance", square_frame("returns_covariance", returns_covariance, labels))
    root = square_root(spread * periods)
    worth = partial(_linear, held=held) if revalue is None else revalue
    block = partial(_pnl_of_block, paths=count, root=root, seed=key, degrees_of_freedom=degrees_of_freedom, worth=worth)
    pnl = np.concatenate(over(block, range(blocks(count))))
    return Simulated(tail=tail_of(pnl, level, periods), pnl=pnl)


def _pnl_of_block(
    number: int, *, paths: int, root: Array, seed: int, degrees_of_freedom: float | None, worth: Revaluation
) -> Array:
    return _revalued(worth, shocks_of_block(number, paths, root, seed=seed, degrees_of_freedom=degrees_of_freedom))


def _linear(shocks: Array, held: Array) -> Array:
    # Not BLAS: one sum a path, in the positions' order.
    pnl: Array = np.einsum("pf,f->p", shocks, held)
    return pnl


def _revalued(worth: Revaluation, shocks: Array) -> Array:
    pnl = np.asarray(worth(shocks), dtype=np.float64)
    if pnl.shape != (len(shocks),):
        raise WrongShape(f"`revalue`: gave {pnl.shape} for {len(shocks)} paths")
    if not np.isfinite(pnl).all():
        raise NotFinite("`revalue`: gave what is not finite")
    return pnl
