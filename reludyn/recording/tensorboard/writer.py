"""TensorBoard's event file of a run: one Summary of many values a look, tags
`group/quantity/neuron` (`reludyn.recording.tensorboard.tags`).

A run is one run of TensorBoard's, which deselects all of them where there are more than 40. What
theory predicts for a replica has tags of its own, predicted/ and the tag of what is measured, and
is drawn on the same charts (log10 of the loss stands for the loss, |v_i| for |w_i|: events stay
small). Of several replicas there is the ensemble (median, 10% and 90% quantiles over replicas, and
the fraction past each event), and the first few singly, their tags below seed_S/. Neurons are
counted from 1, as in the paper; of more than 16 only the slowest is shown: the smallest length, the
largest angle; of the pairs of more than four the largest angle.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.summary_pb2 import Summary

from reludyn.config.schema import Config, Trainer
from reludyn.recording.look import Look
from reludyn.recording.observables import FULL, WIDEST
from reludyn.recording.tensorboard import hparams
from reludyn.recording.tensorboard.bands import log10, quantiles, quantities
from reludyn.recording.tensorboard.event_file import NAME, EventFile, events_of
from reludyn.recording.tensorboard.tags import PAIRS, SINGLY, SPECTRUM, describe
from reludyn.recording.trajectory import parts_of
from reludyn.system.errors import ConfigError
from reludyn.training.schedule import look_steps

Earlier = tuple[Mapping[str, Sequence[Any]], Path]  # what `saved` said, and where they are
ITSELF = "."  # a run that is its folder, in what `saved` says
MOST = 1000  # points of a tag: TensorBoard's server picks as many at random
Array = NDArray[Any]
Scalars = Iterator[tuple[str, float]]


class TensorBoard:
    """Writes looks as scalars, so many that no tag has more than MOST points, the last one
    always."""

    def __init__(self, folder: Path, config: Config, looks: Sequence[int], predicted: int) -> None:
        """looks: the iterations of all of them; predicted: of how many replicas theory speaks."""
        self.folder, self.several = folder, config.replicas > 1
        self.singly = singly(config)
        self.predicted, self.lr = predicted, config.optimizer.lr
        self.steps = frozenset(shown_looks(looks, config.trainer))
        self.pending: Look | None = None  # the latest one, if it was not written
        self.replaced = False  # whether the event files of earlier parts are gone

    @cached_property
    def file(self) -> EventFile:
        """The event file, begun when it is first needed."""
        return EventFile(self.folder, describe)

    def open(self, step: int, opening: Summary) -> None:
        """Write what is said at the beginning."""
        self.file.add(step, opening)

    def saved(self) -> dict[str, list[Any]]:
        """Return file and bytes by run, on disk."""
        self.file.sync()
        return {ITSELF: [self.file.path.name, self.file.size]}

    def restore(self, saved: Earlier) -> None:
        """Begin with the events that had been saved. Raises ConfigError where they are gone."""
        self.file = EventFile(self.folder, describe, _read(*saved))

    def record(self, look: Look) -> None:
        """Write a look, or keep it in case it is the last one."""
        self._replace()
        self.pending = look
        if look.step in self.steps:
            self._write()

    def add_image(self, step: int, tag: str, png: bytes) -> None:
        """Write a picture at a step, as the bytes of a PNG file."""
        self.file.add_image(step, tag, png)

    def close(self) -> None:
        """Write the last look, and close the file."""
        self._replace()
        self._write()
        self.file.close()

    def _replace(self) -> None:
        """Remove other event files from the folder once the checkpoint speaks of this one: those
        of an earlier part, whose events are here, too, and of an attempt that saved nothing."""
        if not self.replaced:
            self.replaced = True
            for other in self.folder.rglob(f"{NAME}.*"):
                if other != self.file.path:
                    other.unlink()

    def _write(self) -> None:
        look, self.pending = self.pending, None
        if look is not None:
            self.file.add_scalars(look.step, self._scalars(look))

    def _scalars(self, look: Look) -> Scalars:
        if self.several:
            yield from ensemble_scalars(look)
        for j, replica in enumerate(self.singly):
            yield from _below(replica, replica_scalars(look, j, self.lr))
            if j < self.predicted:
                yield from _below(f"{replica}predicted/", predicted_scalars(look, j))


def singly(config: Config) -> list[str]:
    """What the tags of each replica that is shown singly begin with."""
    if config.replicas == 1:
        return [""]
    return [f"seed_{config.seed + j}/" for j in range(min(config.replicas, config.logger.replicas))]


def shown_looks(looks: Sequence[int], trainer: Trainer) -> Sequence[int]:
    """The iterations of the looks that are written: all, or a part spaced as `trainer.spacing`
    says, with room for the last look of a run that stops before its time (and for the first value
    of a tag, which is there twice)."""
    if len(looks) < MOST:
        return looks
    spacing: Any = trainer.spacing
    wanted = look_steps(looks[-1], MOST - 3, spacing)
    return sorted({looks[bisect_left(looks, step)] for step in wanted})


def _read(saved: Mapping[str, Sequence[Any]], folder: Path) -> list[bytes]:
    """The events in a folder that had been saved."""
    name, size = saved[ITSELF]
    path = folder / name
    try:
        return events_of(path, size)
    except (OSError, ValueError) as error:
        raise ConfigError(
            "resume",
            path,
            f"the run's curves cannot go on from here: {error}",
            f"To begin them anew, move {folder} away",
        ) from error


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


def replica_scalars(look: Look, j: int, lr: float) -> Scalars:
    """Tag and value of everything that is measured of replica j."""
    yield "loss/total", look.loss[j]
    yield "loss/log10", float(log10(look.loss[j]))
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
            if name == "sharpness":
                yield "hessian/two_over_mu", 2 / lr
    for name, sides in look.beside.bounds.items():
        left, right, applies = (x[j].tolist() for x in sides)
        for i, on in enumerate(applies):
            if on and right[i]:
                neuron = [str(i + 1)] if len(applies) > 1 else []
                yield "/".join(["bound", name, *neuron]), (right[i] - left[i]) / abs(right[i])


def predicted_scalars(look: Look, j: int) -> Scalars:
    """What is predicted of replica j, by the tags of what is measured."""
    predicted = {name.removeprefix("predicted_"): x[j] for name, x in look.beside.predicted.items()}
    if predicted:
        yield "loss/log10", float(log10(predicted["loss"]))
        yield from _of_neurons("norm", "v", predicted["v_norm"], "smallest")
        yield from _of_neurons("angle", "to_target", predicted["angle_to_target"], "largest")
        if "learned" in look.full:
            for i, part in enumerate(predicted["learned"][:WIDEST]):
                yield f"{FULL['learned'].tag}/{i + 1}", part


def ensemble_scalars(look: Look) -> Scalars:
    """Quantiles over replicas of the loss and of each replica's slowest neuron."""
    single, several, _ = parts_of(look)
    values = quantities(single | several)
    values |= {FULL[name].tag: x for name, x in look.full.items() if x.ndim == 1}
    for level, row in quantiles(np.stack([*values.values()])).items():
        yield from ((f"{tag}/{level}", value) for tag, value in zip(values, row, strict=True))
    yield "fraction/aligned", (look.phase >= 1).mean()
    yield "fraction/grown", (look.phase >= 2).mean()
    yield "fraction/stopped", 1 - look.running / len(look.loss)


def _below(group: str, scalars: Scalars) -> Scalars:
    """With another group in front of the tags."""
    return ((group + tag, value) for tag, value in scalars)


def _of_neurons(group: str, quantity: str, values: Array, slowest: str) -> Scalars:
    """What belongs to each neuron (k,): one by one or, of many neurons, of the slowest."""
    if len(values) <= SINGLY:
        yield from ((f"{group}/{quantity}/{i + 1}", value) for i, value in enumerate(values))
    else:
        extreme = values.min() if slowest == "smallest" else values.max()
        yield f"{group}/{slowest}_{quantity}", extreme


def _numbered(place: Sequence[int]) -> list[str]:
    """Neurons and outputs counted from 1: (0, 1) is 1-2."""
    return ["-".join(str(i + 1) for i in place)] if place else []
