"""Claims of the paper, their findings, and the few fits that findings need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from reludyn.runs.table import Array

Verdict = Literal["confirmed", "confirmed with a remark", "not confirmed"]


@dataclass(frozen=True)
class Finding:
    """Finding of a check: what was measured, and whether the claim holds."""

    measured: str
    holds: bool
    remark: str = ""

    @property
    def verdict(self) -> Verdict:
        if not self.holds:
            return "not confirmed"
        return "confirmed with a remark" if self.remark else "confirmed"


@dataclass(frozen=True)
class Claim:
    """Claim of the paper, with the rows it needs and the check on their folders."""

    title: str
    paper: str
    rows: tuple[str, ...]
    check: Callable[..., Finding]

    def on(self, folder: Path) -> Finding:
        """Return the finding for runs below a folder, each in the folder of its row."""
        return self.check(*(folder / row for row in self.rows))


CLAIMS: list[Claim] = []


def claim(title: str, paper: str, *rows: str) -> Callable[[Callable[..., Finding]], None]:
    """Register a check, which takes the folders of these rows."""

    def register(check: Callable[..., Finding]) -> None:
        CLAIMS.append(Claim(title, paper, rows, check))

    return register


def contraction(step: Array, error: Array, above: float, below: float) -> float:
    """Return the factor per iteration, by least squares on the logarithm of errors in a range."""
    inside = (error < above) & (error > below)
    slope, _, _ = line(step[inside].astype(float), np.log(error[inside]))
    return float(np.exp(slope))


def line(x: Array, y: Array) -> tuple[float, float, float]:
    """Return slope, intercept and R² of a line; NaN with fewer than three points."""
    if len(x) < 3:
        return np.nan, np.nan, np.nan
    slope, intercept = np.polyfit(x, y, 1)
    residual = y - slope * x - intercept
    return float(slope), float(intercept), float(1 - residual.var() / y.var())


def crossing(x: Array, y: Array, level: float) -> float:
    """Return where a rising curve first reaches a level, by interpolation; NaN if nowhere."""
    above = np.flatnonzero(y >= level)
    if len(above) == 0 or above[0] == 0:
        return float("nan")
    i = above[0]
    return float(x[i - 1] + (level - y[i - 1]) / (y[i] - y[i - 1]) * (x[i] - x[i - 1]))
