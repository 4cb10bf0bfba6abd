"""TensorBoard's event file of a run: one Summary of many values per look, tags
`group/quantity/neuron` (`reludyn.recording.tensorboard.tags`).

A run is one run of TensorBoard's, which deselects all of them where there are more than 40. What
theory predicts for a replica has tags of its own, predicted/ and the tag of what is measured, and
is drawn on the same charts (log10 of the loss stands for the loss, |v_i| for |w_i|: events stay
small). A run with several replicas shows the ensemble (median, 10% and 90% quantiles over replicas,
and the fraction past each event), and the first few replicas singly, with tags below seed_S/.
Neurons are counted from 1, as in the paper. More than 16 are shown by the slowest one: the smallest
length, the largest angle. The pairs of more than four are shown by the largest angle.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.compat.proto.summary_pb2 import Summary

from reludyn.config.schema import Config, Trainer
from reludyn.recording.look import Look
from reludyn.recording.observables import FULL
from reludyn.recording.quantities import CORE
from reludyn.recording.registry import WIDEST, Array, Quantity, numbers_of
from reludyn.recording.tensorboard import hparams
from reludyn.recording.tensorboard.bands import quantiles
from reludyn.recording.tensorboard.event_file import NAME, EventFile, events_of
from reludyn.recording.tensorboard.tags import PAIRS, SINGLY, SPECTRUM, describe
from reludyn.system.errors import ConfigError
from reludyn.training.schedule import look_steps

Earlier = tuple[Mapping[str, Sequence[Any]], Path]  # what `saved` said, and where they are
ITSELF = "."  # a run that is its folder, in what `saved` says
MOST = 1000  # points of a tag: TensorBoard's server picks as many at random
QUANTITIES = CORE | FULL
Scalars = Iterator[tuple[str, float]]


class TensorBoard:
    """Writes looks as scalars, so many that no tag has more than MOST points, the last one
    always."""

    def __init__(self, folder: Path, config: Config, looks: Sequence[int], predicted: int) -> None:
        """Prepare for looks at these iterations, and predictions for the first `predicted`
        replicas."""
        self.folder, self.several = folder, config.replicas > 1
        self.singly = singly(config)
        self.predicted, self.lr = predicted, config.optimizer.lr
        self.steps = frozenset(shown_looks(looks, config.trainer))
        self.pending: Look | None = None  # the latest one, if it was not written
        self.replaced = False  # whether the event files of earlier parts are gone

    @cached_property
    def file(self) -> EventFile:
        """Event file, begun when it is first needed."""
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
    """Return what the tags of each replica that is shown singly begin with."""
    if config.replicas == 1:
        return [""]
    return [f"seed_{config.seed + j}/" for j in range(min(config.replicas, config.logger.replicas))]


def shown_looks(looks: Sequence[int], trainer: Trainer) -> Sequence[int]:
    """Return the iterations of the looks that are written: all, or a part spaced as
    `trainer.spacing` says, with room for the last look of a run that stops before its time (and for
    the first value of a tag, which is there twice)."""
    if len(looks) < MOST:
        return looks
    spacing: Any = trainer.spacing
    wanted = look_steps(looks[-1], MOST - 3, spacing)
    return sorted({looks[bisect_left(looks, step)] for step in wanted})


def _read(saved: Mapping[str, Sequence[Any]], folder: Path) -> list[bytes]:
    """Return the events in a folder that had been saved."""
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
    """Yield tag and value of everything that is measured of replica j."""
    for name, x in look.measured.items():
        yield from _scalars_of(QUANTITIES[name], x[j])
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
    """Yield what is predicted of replica j, by the tags of what is measured."""
    for name in look.measured:
        quantity, predicted = QUANTITIES[name], look.beside.predicted.get(f"predicted_{name}")
        if quantity.predicted and predicted is not None:
            shown = _scalars_of(quantity, predicted[j])
            yield from shown if quantity.axes else list(shown)[-1:]


def ensemble_scalars(look: Look) -> Scalars:
    """Yield quantiles over the replicas of one number per replica, and how far they have come."""
    values = numbers_of(QUANTITIES, look.measured)
    for level, row in quantiles(np.stack([*values.values()])).items():
        yield from ((f"{tag}/{level}", value) for tag, value in zip(values, row, strict=True))
    yield "fraction/aligned", (look.phase >= 1).mean()
    yield "fraction/grown", (look.phase >= 2).mean()
    yield "fraction/stopped", 1 - look.running / len(look.loss)


def _below(group: str, scalars: Scalars) -> Scalars:
    """Put a group in front of the tags."""
    return ((group + tag, value) for tag, value in scalars)


def _scalars_of(quantity: Quantity, values: Array) -> Scalars:
    """Yield tag and value of a quantity of one replica: each neuron or pair has its own or, of
    many, the one that stands for all of them."""
    many = values.ndim > 0 and len(values) > (SINGLY if values.ndim == 1 else PAIRS)
    if many and quantity.digest is not None:
        yield quantity.digest_tag, float(quantity.digest.of(values.reshape(-1)))
    elif not many or values.ndim == 1:
        places = product(*map(range, values.shape))
        for place, value in zip(places, values.ravel().tolist(), strict=True):
            if max(place, default=0) < WIDEST and not (quantity.mutual and place[0] >= place[1]):
                yield "/".join([quantity.tag, *_numbered(place)]), value
        if quantity.digest is not None and not quantity.axes:
            yield quantity.digest_tag, float(quantity.digest.of(values))


def _numbered(place: Sequence[int]) -> list[str]:
    """Count neurons and outputs from 1: (0, 1) is 1-2."""
    return ["-".join(str(i + 1) for i in place)] if place else []
