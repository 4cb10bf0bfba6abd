"""TensorBoard event files: one Summary of many values a look, tags `group/quantity/neuron`.

One replica writes below tensorboard/ itself. Of several, tensorboard/ holds the ensemble (median,
10% and 90% quantiles over replicas, and the fraction past each event) and tensorboard/seed_S/ the
first few replicas singly. The predictions for a replica are a run of their own below it, theory/,
with the same tags, so that each card shows a second line. Neurons are counted from 1, as in the
paper.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reludyn.recording.event_file import EventFile
from reludyn.recording.look import Look
from reludyn.recording.observables import FULL, WIDEST

PAIRS_UP_TO = 6  # the width up to which every pair of neurons has a curve
SPECTRUM = {
    "sharpness": "hessian/sharpness",
    "smallest_eigenvalue": "hessian/smallest",
    "negative_eigenvalues": "hessian/negative",
    "zero_eigenvalues": "hessian/near_zero",
}
QUANTILES = {"p10": 0.1, "median": 0.5, "p90": 0.9}
Scalars = Iterator[tuple[str, float]]


class TensorBoard:
    """Writes looks as scalars."""

    def __init__(
        self, folder: Path, seeds: Sequence[int], singly: int, predicted: int, lr: float
    ) -> None:
        self.ensemble = EventFile(folder) if len(seeds) > 1 else None
        shown = seeds[:singly] if self.ensemble else seeds
        folders = [folder / f"seed_{seed}" if self.ensemble else folder for seed in shown]
        self.replicas = [EventFile(folder) for folder in folders]
        self.theory = [EventFile(folder / "theory") for folder in folders[:predicted]]
        self.lr = lr

    def record(self, look: Look) -> None:
        if self.ensemble is not None:
            self.ensemble.add_scalars(look.step, ensemble_scalars(look))
        for j, file in enumerate(self.replicas):
            file.add_scalars(look.step, replica_scalars(look, j))
        for j, file in enumerate(self.theory):
            file.add_scalars(look.step, theory_scalars(look, j, self.lr))

    def close(self) -> None:
        for file in [self.ensemble, *self.replicas, *self.theory]:
            if file is not None:
                file.close()


def replica_scalars(look: Look, j: int) -> Scalars:
    """Tag and value of everything that is logged of replica j."""
    yield "loss/total", look.loss[j]
    yield "loss/log10", float(_log10(look.loss[j]))
    yield "loss/linear", look.loss_linear[j]
    yield "loss/rectification", look.loss_rectification[j]
    if look.loss_population is not None:
        yield "loss/population", look.loss_population[j]
    k = look.w_norm.shape[1]
    for i in range(min(k, WIDEST)):
        yield f"norm/w/{i + 1}", look.w_norm[j, i]
        yield f"norm/v/{i + 1}", look.v_norm[j, i]
        yield f"angle/to_target/{i + 1}", look.angle_to_target[j, i]
        yield f"imbalance/b/{i + 1}", look.imbalance[j, i]
    if look.angle_between is not None and k <= PAIRS_UP_TO:
        for i in range(k):
            for h in range(i):
                yield f"angle/between/{h + 1}-{i + 1}", look.angle_between[j, h, i]
    for name, array in look.full.items():
        if array.ndim < 3 or k <= PAIRS_UP_TO:
            for place in np.ndindex(array.shape[1:]):
                if max(place, default=0) < WIDEST:
                    yield "/".join([FULL[name].tag, *_numbered(place)]), array[j][place]
    yield "phase/index", float(look.phase[j])
    for name, tag in SPECTRUM.items():
        values = look.beside.spectrum.get(name)
        if values is not None and j < len(values):
            yield tag, float(values[j])
    for name, sides in look.beside.bounds.items():
        left, right, applies = (x[j].tolist() for x in sides)
        for i, on in enumerate(applies):
            if on and right[i]:
                neuron = [str(i + 1)] if len(applies) > 1 else []
                yield "/".join(["bound", name, *neuron]), (right[i] - left[i]) / abs(right[i])


def theory_scalars(look: Look, j: int, lr: float) -> Scalars:
    """What is predicted of replica j, under the tags of what is measured."""
    predicted = {name.removeprefix("predicted_"): x[j] for name, x in look.beside.predicted.items()}
    if predicted:
        yield "loss/total", predicted["loss"]
        yield "loss/log10", float(_log10(predicted["loss"]))
        for i in range(min(len(predicted["w_norm"]), WIDEST)):
            yield f"norm/w/{i + 1}", predicted["w_norm"][i]
            yield f"norm/v/{i + 1}", predicted["v_norm"][i]
            yield f"angle/to_target/{i + 1}", predicted["angle_to_target"][i]
        if "learned" in look.full:
            for i, part in enumerate(predicted["learned"][:WIDEST]):
                yield f"{FULL['learned'].tag}/{i + 1}", part
    if look.beside.spectrum:
        yield SPECTRUM["sharpness"], 2 / lr  # above it descent is unstable


def ensemble_scalars(look: Look) -> Scalars:
    """Quantiles over replicas of the loss and of each replica's slowest neuron."""
    quantities = {
        "loss/total": look.loss,
        "loss/log10": _log10(look.loss),
        "loss/linear": look.loss_linear,
        "loss/rectification": look.loss_rectification,
        "norm/smallest_w": _neurons(look.w_norm).min(0),
        "norm/smallest_v": _neurons(look.v_norm).min(0),
        "angle/largest_to_target": _neurons(look.angle_to_target).max(0),
        "imbalance/largest": np.abs(_neurons(look.imbalance)).max(0),
    }
    if look.angle_between is not None:
        quantities["angle/largest_between"] = _neurons(look.angle_between).max(0)
    if look.loss_population is not None:
        quantities["loss/population"] = look.loss_population
    quantities |= {FULL[name].tag: a for name, a in look.full.items() if a.ndim == 1}
    values = np.stack([*quantities.values()])
    finite = np.where(np.isfinite(values), values, np.nan)
    quantile = np.nanquantile if np.isnan(finite).any() else np.quantile  # the first is slow
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a quantity that is finite nowhere has no quantiles
        levels = quantile(finite, [*QUANTILES.values()], axis=1)
    for name, row in zip(QUANTILES, levels, strict=True):
        yield from ((f"{tag}/{name}", level) for tag, level in zip(quantities, row, strict=True))
    yield "fraction/aligned", (look.phase >= 1).mean()
    yield "fraction/grown", (look.phase >= 2).mean()
    yield "fraction/stopped", 1 - look.running / len(look.loss)


def _neurons(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """(R, ...) -> (., R): NumPy reduces a short last axis ten times slower than a first one."""
    return np.ascontiguousarray(x.reshape(len(x), -1).T)


def _numbered(place: Sequence[int]) -> list[str]:
    """Neurons and outputs counted from 1: (0, 1) is 1-2."""
    return ["-".join(str(i + 1) for i in place)] if place else []


def _log10(loss: NDArray[np.float64]) -> NDArray[np.float64]:
    """NaN for a loss of zero: there is nothing to show on a logarithmic axis."""
    return np.log10(loss, out=np.full(np.shape(loss), np.nan), where=loss > 0)
