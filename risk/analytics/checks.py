"""What every function asks of its input: finite numbers, fitting shapes, matching labels, covariances that can be."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from risk.analytics.refusals import (
    LabelsDiffer,
    NotFinite,
    NotPositiveSemidefinite,
    NotSymmetric,
    OutOfRange,
    TooFewObservations,
    WrongShape,
)

Array = npt.NDArray[np.float64]

# Rounding of sums of products: relative to the largest element or eigenvalue.
TOLERANCE = 1e-9
_NOISE = 1e-12
_SHOWN = 5
_LOCATED = 3


def numbers(name: str, given: Any, dimensions: int) -> Array:
    """`given` as an array of floats of so many dimensions. Raises WrongShape, NotFinite (saying where)."""
    try:
        array = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise WrongShape(f"`{name}`: not an array of numbers") from error
    if array.ndim != dimensions:
        raise WrongShape(f"`{name}`: {dimensions} dimensions are needed, not {array.ndim}")
    if not np.isfinite(array).all():
        places = [tuple(int(index) for index in place) for place in np.argwhere(~np.isfinite(array))[:_LOCATED]]
        raise NotFinite(f"`{name}`: not finite at {', '.join(_place(place, given) for place in places)}")
    return array


def _place(place: tuple[int, ...], given: Any) -> str:
    if isinstance(given, pd.Series):
        return str(given.index[place[0]])
    if isinstance(given, pd.DataFrame):
        return f"{given.index[place[0]]}, {given.columns[place[1]]}"
    return str(place[0] if len(place) == 1 else place)


def vector(name: str, given: Any, *, length: int | None = None) -> Array:
    """A finite vector, of `length` where that is said. Raises WrongShape, NotFinite."""
    array = numbers(name, given, 1)
    if length is not None and len(array) != length:
        raise WrongShape(f"`{name}`: {length} values are needed, not {len(array)}")
    return array


def not_negative(name: str, given: Any, *, length: int | None = None) -> Array:
    """A finite vector without negative values. Raises OutOfRange too."""
    array = vector(name, given, length=length)
    if (array < 0).any():
        raise OutOfRange(f"`{name}`: {array.min()} is below 0")
    return array


def matrix(name: str, given: Any) -> Array:
    """A finite matrix. Raises WrongShape, NotFinite."""
    return numbers(name, given, 2)


def symmetric(name: str, given: Any) -> Array:
    """A finite square matrix that is its own transpose, but for rounding. Raises WrongShape, NotFinite, NotSymmetric."""
    array = matrix(name, given)
    if array.shape[0] != array.shape[1]:
        raise WrongShape(f"`{name}`: {array.shape[0]} x {array.shape[1]} is not square")
    gap = np.abs(array - array.T)
    if gap.size and gap.max() > TOLERANCE * np.abs(array).max():
        row, column = (int(index) for index in np.unravel_index(gap.argmax(), gap.shape))
        raise NotSymmetric(f"`{name}`: {array[row, column]} at ({row}, {column}), {array[column, row]} across")
    return array


def covariance(name: str, given: Any) -> Array:
    """A symmetric positive semi-definite matrix. Raises WrongShape, NotFinite, NotSymmetric, NotPositiveSemidefinite."""
    array = symmetric(name, given)
    lowest = negative_eigenvalue(array)
    if lowest < 0:
        raise NotPositiveSemidefinite(f"`{name}`: scaled to variances of 1 its lowest eigenvalue is {lowest:.6g}")
    return array


def negative_eigenvalue(array: Array) -> float:
    """The lowest eigenvalue of a symmetric matrix scaled to variances of 1, where it is below 0 by more than rounding; else 0."""
    if not array.any():
        return 0.0
    scaled = _scaled(array)
    try:
        # With half the tolerance added. It says so in a twentieth of the time that eigenvalues take.
        np.linalg.cholesky(scaled + np.eye(len(array)) * (TOLERANCE * len(array) / 2))
    except np.linalg.LinAlgError:
        values = np.linalg.eigvalsh(scaled)
        lowest = float(values[0])
        return lowest if lowest < -TOLERANCE * max(1.0, float(values[-1])) * len(values) else 0.0
    return 0.0


def _scaled(array: Array) -> Array:
    """To variances of 1. Small variances count as much as large ones, but for what is rounding beside the largest."""
    scale = np.sqrt(np.maximum(np.abs(np.diag(array)), _NOISE * np.abs(array).max()))
    scaled: Array = array / np.outer(scale, scale)
    return scaled


def correlation(name: str, given: Any) -> Array:
    """A covariance matrix whose diagonal is 1. Raises OutOfRange where it is not, and what `covariance` raises."""
    array = symmetric(name, given)
    if np.abs(np.diag(array) - 1).max(initial=0) > TOLERANCE:
        raise OutOfRange(f"`{name}`: its diagonal is not 1")
    return covariance(name, array)


def share(name: str, given: float) -> float:
    """A number above 0 and below 1: a confidence, a probability. Raises OutOfRange."""
    if not 0 < given < 1:
        raise OutOfRange(f"`{name}`: {given} is not between 0 and 1")
    return float(given)


def above_zero(name: str, given: float) -> float:
    """A finite number above 0. Raises OutOfRange."""
    if not (given > 0 and np.isfinite(given)):
        raise OutOfRange(f"`{name}`: {given} is not above 0")
    return float(given)


def whole(name: str, given: Any, *, at_least: int = 1) -> int:
    """A whole number, `at_least` so large. Raises OutOfRange."""
    if isinstance(given, bool) or not isinstance(given, (int, np.integer)) or given < at_least:
        raise OutOfRange(f"`{name}`: {given!r} is not a whole number from {at_least} on")
    return int(given)


def observations(found: int, needed: int) -> None:
    """Raises TooFewObservations where fewer were found than are needed."""
    if found < needed:
        raise TooFewObservations(f"{found} observations; {needed} are needed")


def columns(name: str, frame: Any, needed: Iterable[str]) -> pd.DataFrame:
    """`frame` if it is one with these columns. Raises WrongShape naming those that it lacks."""
    if not isinstance(frame, pd.DataFrame):
        raise WrongShape(f"`{name}`: a frame is needed, not {type(frame).__name__}")
    if lacking := [column for column in needed if column not in frame.columns]:
        raise WrongShape(f"`{name}`: the columns {', '.join(lacking)} are missing")
    return frame


def distinct(name: str, labels: Iterable[Any]) -> list[Any]:
    """The labels as a list. Raises LabelsDiffer where one is there twice."""
    listed = labels.tolist() if isinstance(labels, pd.Index) else list(labels)
    if len(set(listed)) != len(listed):
        twice = [str(label) for label, count in Counter(listed).items() if count > 1]
        raise LabelsDiffer(f"`{name}`: {', '.join(sorted(twice)[:_SHOWN])} more than once")
    return listed


def same_labels(name: str, found: pd.Index, wanted: Iterable[Any]) -> None:
    """Raises LabelsDiffer unless both have the same labels, each once, in whatever order."""
    have, want = set(distinct(name, found)), set(wanted)
    if have == want:
        return
    sentences = [
        f"{what} {', '.join(sorted(map(str, labels))[:_SHOWN])}"
        for what, labels in (("without", want - have), ("unknown", have - want))
        if labels
    ]
    raise LabelsDiffer(f"`{name}`: {'; '.join(sentences)}")


def square_frame(name: str, frame: Any, labels: list[Any]) -> Array:
    """A frame's values in the labels' order, its rows and columns labelled alike. Raises WrongShape, LabelsDiffer."""
    if not isinstance(frame, pd.DataFrame):
        raise WrongShape(f"`{name}`: a frame is needed, not {type(frame).__name__}")
    same_labels(name, frame.index, labels)
    same_labels(name, frame.columns, labels)
    # Most come in the right order, and arranging costs more than all the arithmetic.
    arranged = frame if frame.index.tolist() == frame.columns.tolist() == labels else frame.loc[labels, labels]
    return matrix(name, arranged)


def series(name: str, given: Any, labels: list[Any]) -> Array:
    """A series' values in the labels' order. Raises WrongShape, LabelsDiffer, NotFinite."""
    if not isinstance(given, pd.Series):
        raise WrongShape(f"`{name}`: a series is needed, not {type(given).__name__}")
    same_labels(name, given.index, labels)
    return numbers(name, given if given.index.tolist() == labels else given.loc[labels], 1)


def active(positions: pd.DataFrame) -> pd.DataFrame:
    """The rows whose `is_active` is true; all where there is no such column. Raises OutOfRange for what is neither."""
    if "is_active" not in positions.columns:
        return positions
    told = positions["is_active"].tolist()
    if not all(isinstance(each, bool) for each in told):
        raise OutOfRange("`is_active`: neither true nor false somewhere")
    return positions[np.array(told, dtype=bool)]
