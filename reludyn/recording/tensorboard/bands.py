"""Bands over replicas: the median, the 10% and the 90% quantile, at one look or at many."""

from __future__ import annotations

import warnings

import numpy as np

from reludyn.recording.registry import Array

QUANTILES = {"p10": 0.1, "median": 0.5, "p90": 0.9}


def quantiles(values: Array) -> dict[str, Array]:
    """Return QUANTILES over the last axis, of what is finite."""
    finite = np.where(np.isfinite(values), values, np.nan)
    quantile = np.nanquantile if np.isnan(finite).any() else np.quantile  # the first is slow
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a quantity that is finite nowhere has no quantiles
        levels = quantile(finite, [*QUANTILES.values()], axis=-1)
    return dict(zip(QUANTILES, levels, strict=True))
