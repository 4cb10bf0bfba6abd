"""Bands over replicas: median, 10% and 90% quantiles of the loss and of each replica's slowest
neuron, from the arrays of trajectory.npz, at one look or at many."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
QUANTILES = {"p10": 0.1, "median": 0.5, "p90": 0.9}
SEEN = (  # arrays of trajectory.npz that bands are made of
    "loss",
    "loss_linear",
    "loss_rectification",
    "loss_population",
    "w_norm",
    "v_norm",
    "angle_to_target",
    "imbalance",
    "angle_between",
)


def quantities(seen: Mapping[str, Array]) -> dict[str, Array]:
    """One number of each replica by tag, (..., R), from what is there of SEEN, (..., R) and more
    axes for neurons."""
    axes = seen["loss"].ndim
    found = {f"loss/{name.removeprefix('loss_')}": seen[name] for name in SEEN[1:4] if name in seen}
    found |= {"loss/total": seen["loss"], "loss/log10": log10(seen["loss"])}
    found["norm/smallest_w"] = _by_neuron(seen["w_norm"], axes).min(0)
    found["norm/smallest_v"] = _by_neuron(seen["v_norm"], axes).min(0)
    found["angle/largest_to_target"] = _by_neuron(seen["angle_to_target"], axes).max(0)
    found["imbalance/largest"] = np.abs(_by_neuron(seen["imbalance"], axes)).max(0)
    if "angle_between" in seen:
        found["angle/largest_between"] = _by_neuron(seen["angle_between"], axes).max(0)
    return found


def quantiles(values: Array) -> dict[str, Array]:
    """QUANTILES over the last axis, of what is finite."""
    finite = np.where(np.isfinite(values), values, np.nan)
    quantile = np.nanquantile if np.isnan(finite).any() else np.quantile  # the first is slow
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a quantity that is finite nowhere has no quantiles
        levels = quantile(finite, [*QUANTILES.values()], axis=-1)
    return dict(zip(QUANTILES, levels, strict=True))


def log10(loss: Array) -> Array:
    """NaN for a loss of zero: there is nothing to show on a logarithmic axis."""
    return np.log10(loss, out=np.full(np.shape(loss), np.nan), where=loss > 0)


def _by_neuron(x: Array, axes: int) -> Array:
    """(..., R, k, ...) -> (., ..., R): NumPy reduces a short last axis ten times slower than a
    first one."""
    flat = x.reshape(*x.shape[:axes], -1)
    return np.ascontiguousarray(np.moveaxis(flat, -1, 0))
