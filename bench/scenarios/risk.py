"""The risk lab's two heavy sums, each beside the same arithmetic by bare numpy, and what was promised."""

import time
from collections.abc import Callable

import numpy as np
import pandas as pd

from bench.host import Host
from bench.measure import Comparisons, values_in_turns
from risk.analytics.checks import Array
from risk.analytics.factor_risk import position_risk
from risk.analytics.monte_carlo import monte_carlo

POSITIONS, FACTORS, RISK_MS = 1_000, 30, 100.0
PATHS, QUICK_PATHS, HELD, SIMULATED_MS = 100_000, 20_000, 100, 2_000.0
_CONFIDENCE, _SEED = 0.99, 20_260_114
_REPEATED = 10


def risk(host: Host) -> Comparisons:
    """Contributions of 1,000 positions and 30 factors; VaR of 100 positions by 100,000 paths."""
    found = Comparisons("risk")
    drawn = np.random.Generator(np.random.PCG64(_SEED))
    values, betas, spread, own = _book(drawn)
    held, returns = _portfolio(drawn)
    paths = QUICK_PATHS if host.quick else PATHS
    for number in range(-1, host.rounds):
        ours, raw = values_in_turns(
            number,
            lambda: _milliseconds(lambda: position_risk(values, betas, spread, own).volatility, _REPEATED),
            lambda: _milliseconds(
                lambda: _bare_risk(values.to_numpy(), betas.to_numpy(), spread.to_numpy(), own.to_numpy()), _REPEATED
            ),
        )
        simulated, bare = values_in_turns(
            number,
            lambda: _milliseconds(
                lambda: monte_carlo(held, returns, paths=paths, seed=_SEED, confidence=_CONFIDENCE).tail.value_at_risk
            ),
            lambda: _milliseconds(lambda: _bare_simulation(held.to_numpy(), returns.to_numpy(), paths)),
        )
        if number >= 0:
            _tell(found, f"{POSITIONS:,} positions x {FACTORS} factors", ours, raw, RISK_MS)
            # A quick run has fewer paths: what was promised is of all.
            _tell(found, f"{paths:,} paths of {HELD} positions", simulated, bare, SIMULATED_MS * paths / PATHS)
    return found


def _tell(found: Comparisons, name: str, ours: float, raw: float, promised: float) -> None:
    found.add(name, ours, promised, unit="ms", limit="the target", target=1.0)
    found.add(name, ours, raw, unit="ms", limit="bare numpy, nothing checked or labelled")


def _book(drawn: np.random.Generator) -> tuple[pd.Series, pd.DataFrame, pd.DataFrame, pd.Series]:
    positions, factors = [f"p{number}" for number in range(POSITIONS)], [f"f{number}" for number in range(FACTORS)]
    return (
        pd.Series(drawn.standard_normal(POSITIONS) * 1e6, index=positions),
        pd.DataFrame(drawn.standard_normal((POSITIONS, FACTORS)), index=positions, columns=factors),
        _covariance(drawn, factors),
        pd.Series(drawn.random(POSITIONS) * 1e-4, index=positions),
    )


def _portfolio(drawn: np.random.Generator) -> tuple[pd.Series, pd.DataFrame]:
    positions = [f"p{number}" for number in range(HELD)]
    return pd.Series(drawn.standard_normal(HELD) * 1e6, index=positions), _covariance(drawn, positions)


def _covariance(drawn: np.random.Generator, labels: list[str]) -> pd.DataFrame:
    root = drawn.standard_normal((len(labels), 2 * len(labels))) * 0.001
    return pd.DataFrame(root @ root.T, index=labels, columns=labels)


def _bare_risk(held: Array, loadings: Array, spread: Array, own: Array) -> float:
    exposed = held @ loadings
    along, specific = spread @ exposed, held**2 * own
    volatility = np.sqrt(exposed @ along + specific.sum())
    by_factor, by_position = exposed * along / volatility, (held * (loadings @ along) + specific) / volatility
    return float(volatility + 0.0 * (by_factor.sum() + by_position.sum()))


def _bare_simulation(held: Array, returns: Array, paths: int) -> float:
    draws = np.random.Generator(np.random.PCG64(_SEED)).standard_normal((paths, len(held)))
    pnl = (draws @ np.linalg.cholesky(returns).T) @ held
    worst = np.sort(np.partition(pnl, int(paths * (1 - _CONFIDENCE)))[: int(paths * (1 - _CONFIDENCE))])
    return float(-worst[-1] + 0.0 * worst.mean())


def _milliseconds(work: Callable[[], float], times: int = 1) -> float:
    begun = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - begun) / times * 1000
