"""Covariances, correlations and returns to test with: any that can be."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import strategies as st

sizes = st.integers(1, 6)
seeds = st.integers(0, 2**32 - 1)


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def names(count: int) -> list[str]:
    return [f"f{number}" for number in range(count)]


def a_covariance(seed: int, size: int) -> pd.DataFrame:
    """Any: of full rank or not, large and small variances."""
    drawn = generator(seed)
    root = drawn.standard_normal((size, int(drawn.integers(1, size + 1)))) * 10.0 ** drawn.integers(-3, 2, (size, 1))
    return framed(root @ root.T)


def correlations_of(covariance: pd.DataFrame) -> pd.DataFrame:
    scale = np.sqrt(np.diag(covariance))
    related = covariance.to_numpy() / np.outer(scale, scale)
    np.fill_diagonal(related, 1.0)
    return pd.DataFrame((related + related.T) / 2, index=covariance.index, columns=covariance.columns)


def framed(values: Any, labels: Sequence[str] | None = None) -> pd.DataFrame:
    array = np.asarray(values, dtype=float)
    labels = list(labels or names(len(array)))
    return pd.DataFrame(array, index=labels, columns=labels)


def series(values: Any, labels: Sequence[str] | None = None) -> pd.Series:
    array = np.asarray(values, dtype=float)
    return pd.Series(array, index=list(labels or names(len(array))))
