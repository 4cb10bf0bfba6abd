"""Results: a row a replica, and the medians over all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reludyn.dynamics import order_parameters
from reludyn.dynamics.pairing import Pairs
from reludyn.dynamics.phases import Clocks
from reludyn.network.activation import LeakyReLU
from reludyn.network.notation import Loss
from reludyn.network.outcomes import Outcome
from reludyn.network.student import ReLUStudent
from reludyn.recording.registry import WIDEST
from reludyn.runs.columns import COLUMNS as COLUMNS
from reludyn.theory.predictions import Prediction, effective_sign, stuck_by_signs

MEDIANS = (
    "T_align",
    "T_growth",
    "T_converged",
    "loss",
    "loss_linear",
    "loss_rectification",
    "rate_measured",
)
Row = dict[str, object]


def replica_rows(
    student: ReLUStudent,
    A: Tensor,
    activation: LeakyReLU,
    loss: Loss,
    clocks: Clocks,
    outcomes: Sequence[Outcome],
    rate: NDArray[np.float64],
    pairs: Pairs | None,
    given: Mapping[str, Sequence[object]],
) -> list[Row]:
    """Return the rows of replicas.csv for the final weights; what is not defined is None.

    T_* are iterations. rate_measured is the contraction of sqrt(loss) an iteration, at a global
    minimum. effective_weight_error needs r = 1, k = 2 and v_i of both signs; group_sum_error needs
    r = 1; saddle_c needs a non-strict saddle. signs are those of the v_i, r = 1; pair_* belong to
    the worst of the pairs, r > 1. `given` are columns that are known already.
    """
    R, r = student.replicas, len(A)
    minimum = np.array([outcome == Outcome.GLOBAL_MINIMUM for outcome in outcomes])
    saddle = torch.tensor([outcome == Outcome.NON_STRICT_SADDLE for outcome in outcomes])
    weight_error = group_error = saddle_c = torch.full((R,), math.nan)
    if r == 1:
        group_error = order_parameters.group_sum_error(student, A, activation)
        saddle_c = order_parameters.saddle_ratio(student, A, activation)
        saddle_c = saddle_c.cpu().where(saddle, math.nan)
        if student.width == 2:
            weight_error = order_parameters.effective_weight_error(student, A, activation)
    columns: dict[str, Sequence[object]] = {
        "replica": range(R),
        "outcome": outcomes,
        "loss": numbers(loss.total),
        "loss_linear": numbers(loss.linear),
        "loss_rectification": numbers(loss.rectification),
        "signs": sign_patterns(student.V[:, 0]) if r == 1 else [None] * R,
        "T_align": _iterations(clocks.align),
        "T_growth": _iterations(clocks.growth),
        "T_converged": _iterations(clocks.converged),
        "rate_measured": numbers(torch.from_numpy(np.where(minimum, rate, math.nan))),
        "effective_weight_error": numbers(weight_error),
        "group_sum_error": numbers(group_error),
        "saddle_c": numbers(saddle_c),
        **({} if pairs is None else _worst_pair(pairs)),
        **given,
    }
    empty = [None] * R
    return [{name: columns.get(name, empty)[j] for name in COLUMNS} for j in range(R)]


def predicted_columns(prediction: Prediction) -> dict[str, Sequence[object]]:
    """Return the columns of a prediction; an event that is not expected within the steps is
    None."""
    clocks = {
        "T_align": prediction.T_align,
        "T_growth": prediction.T_growth,
        "T_converged": prediction.T_converged,
    }
    columns: dict[str, Sequence[object]] = {
        "predicted_outcome": prediction.outcome,
        "predicted_signs": sign_patterns(prediction.signs),
        "predicted_saddle_c": numbers(prediction.saddle_c),
        "predicted_rate": numbers(prediction.rate),
    }
    return columns | {f"predicted_{name}": _iterations(clock) for name, clock in clocks.items()}


def rule_columns(initial: ReLUStudent, A: Tensor) -> dict[str, Sequence[object]]:
    """Return what the basin rule and the paper's rule of signs say about initial weights (r =
    1)."""
    rules = {"basin_rule": effective_sign(initial, A), "sign_rule": initial.V[:, 0].sign()}
    names = {True: Outcome.NON_STRICT_SADDLE, False: Outcome.GLOBAL_MINIMUM}
    return {
        name: [names[stuck] for stuck in stuck_by_signs(signs).tolist()]
        for name, signs in rules.items()
    }


def summarise(rows: Sequence[Row]) -> dict[str, object]:
    """Return success_fraction, the medians over the replicas where a value is defined (else None),
    and how many these are."""
    medians: dict[str, float | None] = {}
    defined: dict[str, int] = {}
    for name in MEDIANS:
        values = np.array([row[name] for row in rows if row[name] is not None], dtype=float)
        medians[name] = float(np.median(values)) if len(values) else None
        defined[name] = len(values)
    reached = sum(row["outcome"] == Outcome.GLOBAL_MINIMUM for row in rows)
    return {"success_fraction": reached / len(rows), "median": medians, "defined": defined}


def _worst_pair(pairs: Pairs) -> dict[str, Sequence[object]]:
    worst = pairs.residual, pairs.hidden_cosine, pairs.output_cosine
    names = ("pair_residual", "pair_cosine_hidden", "pair_cosine_output")
    return {
        name: numbers(x.nan_to_num(-math.inf).amax(-1))
        for name, x in zip(names, worst, strict=True)
    }


def sign_patterns(v: Tensor) -> list[str | None]:
    """Return the signs of v (R, k) as text like +-, for narrow students; None where none is
    known."""
    if v.shape[1] > WIDEST:
        return [None] * len(v)
    rows = ["".join({1: "+", -1: "-", 0: "0"}[int(s)] for s in row) for row in v.sign().tolist()]
    return [row if set(row) != {"0"} else None for row in rows]


def numbers(values: Tensor) -> list[float | None]:
    """Return a column (R,); what is not finite is None."""
    return [value if math.isfinite(value) else None for value in values.tolist()]


def _iterations(clock: Tensor) -> list[int | None]:
    return [step if step >= 0 else None for step in clock.tolist()]
