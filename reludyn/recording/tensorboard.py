"""TensorBoard event files: one Summary of many values a look, tags `group/quantity/neuron`
(`reludyn.recording.tags`).

One replica writes below tensorboard/ itself. Of several, tensorboard/ holds the ensemble (median,
10% and 90% quantiles over replicas, and the fraction past each event) and tensorboard/seed_S/ the
first few replicas singly. The predictions for a replica are a run of their own below it, theory/,
with the same tags, so that a card shows a second line (log10 of the loss stands for the loss, |v_i|
for |w_i|: events stay small). Neurons are counted from 1, as in the paper; of more than 16 only
the slowest is shown: the smallest length, the largest angle; of the pairs of more than four the
largest angle.
"""

from __future__ import annotations

import warnings
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.summary_pb2 import Summary

from reludyn.errors import ConfigError
from reludyn.recording import hparams
from reludyn.recording.event_file import NAME, EventFile, events_of
from reludyn.recording.look import Look
from reludyn.recording.observables import FULL, WIDEST
from reludyn.recording.tags import PAIRS, QUANTILES, SINGLY, SPECTRUM, describe
from reludyn.settings import Config, Trainer
from reludyn.training.schedule import look_steps

Earlier = tuple[Mapping[str, Sequence[Any]], Path]  # what `saved` said, and where they are
MOST = 1000  # points of a tag: TensorBoard's server picks as many at random
Array = NDArray[Any]
Scalars = Iterator[tuple[str, float]]


class TensorBoard:
    """Writes looks as scalars, so many that no tag has more than MOST points, the last one
    always."""

    def __init__(
        self, folder: Path, config: Config, looks: Sequence[int], predicted: int,
        earlier: Earlier | None = None,
    ) -> None:  # fmt: skip
        """looks: the iterations of all of them; predicted: of how many replicas theory speaks;
        earlier: what the files begin with. Raises ConfigError where that is not there any more."""
        several, known = config.replicas > 1, {} if earlier is None else _read(*earlier)
        shown = min(config.replicas, config.logger.replicas) if several else 0
        singly = [f"seed_{config.seed + j}" for j in range(shown)] if several else ["."]
        theory = [str(Path(name, "theory")) for name in singly[:predicted]]
        names = dict.fromkeys([".", *singly, *theory])
        self.files = {
            name: EventFile(folder / name, describe, known.get(name, ())) for name in names
        }
        self.main = self.files["."]
        self.ensemble = self.main if several else None
        self.replicas = [self.files[name] for name in singly]
        self.theory = [self.files[name] for name in theory]
        self.lr = config.optimizer.lr
        self.steps = frozenset(shown_looks(looks, config.trainer))
        self.pending: Look | None = None  # the latest one, if it was not written
        self.mark()

    def open(self, step: int, opening: Summary) -> None:
        """What is said at the beginning."""
        self.main.add(step, opening)
        self.mark()

    def mark(self) -> None:
        """What has been written is complete: `saved` speaks of it."""
        self.sizes = {name: file.size for name, file in self.files.items()}

    def saved(self) -> dict[str, list[Any]]:
        """File and bytes of each run, on disk, up to the last mark."""
        for file in self.files.values():
            file.sync()
        return {name: [file.path.name, self.sizes[name]] for name, file in self.files.items()}

    def replace(self) -> None:
        """No other event files shall be where these are."""
        for file in self.files.values():
            for other in file.path.parent.glob(f"{NAME}.*"):
                if other != file.path:
                    other.unlink()

    def record(self, look: Look) -> None:
        self.pending = look
        if look.step in self.steps:
            self._write()

    def add_image(self, step: int, tag: str, png: bytes) -> None:
        """A picture at a step, as the bytes of a PNG file."""
        self.main.add_image(step, tag, png)

    def close(self) -> None:
        self._write()
        for file in self.files.values():
            file.close()

    def _write(self) -> None:
        look, self.pending = self.pending, None
        if look is None:
            return
        if self.ensemble is not None:
            self.ensemble.add_scalars(look.step, ensemble_scalars(look))
        for j, file in enumerate(self.replicas):
            file.add_scalars(look.step, replica_scalars(look, j))
        for j, file in enumerate(self.theory):
            file.add_scalars(look.step, theory_scalars(look, j, self.lr))


def shown_looks(looks: Sequence[int], trainer: Trainer) -> Sequence[int]:
    """The iterations of the looks that are written: all, or a part spaced as `trainer.spacing`
    says, with room for the last look of a run that stops before its time (and for the first value
    of a tag, which is there twice)."""
    if len(looks) < MOST:
        return looks
    spacing: Any = trainer.spacing
    wanted = look_steps(looks[-1], MOST - 3, spacing)
    return sorted({looks[bisect_left(looks, step)] for step in wanted})


def _read(saved: Mapping[str, Sequence[Any]], folder: Path) -> dict[str, list[bytes]]:
    """The events of each run below a folder that had been saved."""
    events = {}
    for run, (name, size) in saved.items():
        path = folder / run / name
        try:
            events[run] = events_of(path, size)
        except (OSError, ValueError) as error:
            raise ConfigError(
                "resume", path, f"the run's curves cannot go on from here: {error}",
                f"To begin them anew, move {folder} away",
            ) from error  # fmt: skip
    return events


def finish(
    folder: Path, step: int, pictures: Sequence[Path], session: hparams.Session | None
) -> None:
    """Add what is known at the end: pictures, and a row of the page HPARAMS."""
    with closing(EventFile.newest(folder, describe)) as file:
        for picture in pictures:
            if picture.suffix == ".png":
                file.add_image(step, f"figure/{picture.stem}", picture.read_bytes())
        if session is not None:
            file.add_scalars(step, session.results.items())
            file.add(step, session.messages)


def replica_scalars(look: Look, j: int) -> Scalars:
    """Tag and value of everything that is logged of replica j."""
    yield "loss/total", look.loss[j]
    yield "loss/log10", float(_log10(look.loss[j]))
    yield "loss/linear", look.loss_linear[j]
    yield "loss/rectification", look.loss_rectification[j]
    if look.loss_population is not None:
        yield "loss/population", look.loss_population[j]
    k = look.w_norm.shape[1]
    yield from _of_neurons("norm", "w", look.w_norm[j], "smallest")
    yield from _of_neurons("norm", "v", look.v_norm[j], "smallest")
    yield from _of_neurons("angle", "to_target", look.angle_to_target[j], "largest")
    b = look.imbalance[j]
    if k <= SINGLY:
        yield from ((f"imbalance/b/{i + 1}", b[i]) for i in range(k))
    else:
        yield "imbalance/largest", np.abs(b).max()
    if look.angle_between is not None:
        between = look.angle_between[j]
        if k <= PAIRS:
            for i in range(k):
                for h in range(i):
                    yield f"angle/between/{h + 1}-{i + 1}", between[h, i]
        else:
            yield "angle/largest_between", between.max()
    for name, array in look.full.items():
        if array.ndim < 3 or k <= PAIRS:
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
        yield "loss/log10", float(_log10(predicted["loss"]))
        yield from _of_neurons("norm", "v", predicted["v_norm"], "smallest")
        yield from _of_neurons("angle", "to_target", predicted["angle_to_target"], "largest")
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
        "norm/smallest_w": _by_neuron(look.w_norm).min(0),
        "norm/smallest_v": _by_neuron(look.v_norm).min(0),
        "angle/largest_to_target": _by_neuron(look.angle_to_target).max(0),
        "imbalance/largest": np.abs(_by_neuron(look.imbalance)).max(0),
    }
    if look.angle_between is not None:
        quantities["angle/largest_between"] = _by_neuron(look.angle_between).max(0)
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


def _of_neurons(group: str, quantity: str, values: Array, slowest: str) -> Scalars:
    """What belongs to each neuron (k,): one by one or, of many neurons, of the slowest."""
    if len(values) <= SINGLY:
        yield from ((f"{group}/{quantity}/{i + 1}", value) for i, value in enumerate(values))
    else:
        extreme = values.min() if slowest == "smallest" else values.max()
        yield f"{group}/{slowest}_{quantity}", extreme


def _by_neuron(x: Array) -> Array:
    """(R, ...) -> (., R): NumPy reduces a short last axis ten times slower than a first one."""
    return np.ascontiguousarray(x.reshape(len(x), -1).T)


def _numbered(place: Sequence[int]) -> list[str]:
    """Neurons and outputs counted from 1: (0, 1) is 1-2."""
    return ["-".join(str(i + 1) for i in place)] if place else []


def _log10(loss: Array) -> Array:
    """NaN for a loss of zero: there is nothing to show on a logarithmic axis."""
    return np.log10(loss, out=np.full(np.shape(loss), np.nan), where=loss > 0)
