"""The registry of what is measured at a look: each quantity is one decorated function.

Its declaration says all that other places need: the arrays of trajectory.npz and of checkpoints,
the tags of TensorBoard with their meanings, charts and bands, and the tables of the documentation
are read off the registries `reludyn.recording.quantities.CORE`, which every run measures, and
`reludyn.recording.observables.FULL`, which runs with `trainer.observables=full` measure as well.

Nothing here needs PyTorch: a process that only waits for the jobs of a sweep draws their curves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import getdoc
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

    from reludyn.recording.moment import Moment

Array = NDArray[Any]
Measure = Callable[["Moment"], "Tensor | None"]
WIDEST = 16  # the width up to which what belongs to pairs of neurons is kept
_NUMBERED = ("", "/<i>", "/<i>-<j>")  # tags of numbers with so many axes
_NUMBERS = ("", r"/\d+", r"/\d+-\d+")  # as regular expressions


@dataclass(frozen=True)
class Chart:
    """Chart of TensorBoard's page CUSTOM SCALARS, in a category of that page. It shows the
    quantities that are declared with it, or the tags that fit its own regular expression."""

    category: str
    title: str
    tags: str = ""


@dataclass(frozen=True)
class Digest:
    """Number per replica that is made from a quantity: the extreme one of all neurons, which stands
    for them in bands and in wide networks, or the same number on another scale."""

    name: str  # behind the first part of the quantity's tag
    meaning: str
    of: Callable[[Array], Array]  # reduces the first axis, which holds all neurons or pairs
    chart: Chart | None = None  # of the other scale; None: that of the quantity


@dataclass(frozen=True)
class Quantity:
    """Quantity of each replica: how it is measured, and where it is shown."""

    axes: str
    tag: str
    meaning: str
    measure: Measure
    chart: Chart | None
    band: str
    digest: Digest | None
    predicted: bool
    mutual: bool

    @property
    def digest_tag(self) -> str:
        """Tag of its digest, in the group of its own tag; empty without a digest."""
        group, _, _ = self.tag.partition("/")
        return "" if self.digest is None else f"{group}/{self.digest.name}"

    @property
    def tags(self) -> dict[str, str]:
        """Meanings of its tags, in their general form: `<i>` stands for a neuron, `<i>-<j>` for a
        pair."""
        own = {self.tag + _NUMBERED[len(self.axes)]: self.meaning}
        return own if self.digest is None else own | {self.digest_tag: self.digest.meaning}

    @property
    def predicted_tags(self) -> list[str]:
        """Tags that have a prediction beside them: one number per replica is predicted on the scale
        of its digest."""
        return [*self.tags][0 if self.axes else -1 :] if self.predicted else []

    def lines(self) -> Iterator[tuple[Chart | None, str]]:
        """Yield its charts, and its tags on each as a regular expression."""
        before = "(predicted/)?" if self.predicted else ""
        if self.digest is None:
            yield self.chart, before + self.tag + ("" if self.axes else "$")
        elif self.axes:
            group, _, own = self.tag.partition("/")
            numbers = _NUMBERS[len(self.axes)]
            yield self.chart, f"{before}{group}/({own}{numbers}|{self.digest.name})$"
        else:
            yield self.chart, f"{self.tag}$"
            yield self.digest.chart or self.chart, f"{before}{self.digest_tag}$"

    def numbers(self, values: Array) -> dict[str, Array]:
        """Return one number per replica by tag, (..., R), from its array (..., R, axes)."""
        own = {} if self.axes else {self.tag: values}
        if self.digest is None:
            return own
        if self.axes:  # NumPy reduces a short last axis ten times slower than a first one
            flat = values.reshape(*values.shape[: values.ndim - len(self.axes)], -1)
            values = np.ascontiguousarray(np.moveaxis(flat, -1, 0))
        return own | {self.digest_tag: self.digest.of(values)}


class Registry(dict[str, Quantity]):
    """Quantities by name, in the order in which they are recorded."""

    def __init__(self, *charts: Chart) -> None:
        """Begin without quantities. The given charts are shown first; others follow in the order of
        their quantities."""
        super().__init__()
        self._charts: Sequence[Chart | None] = charts

    def quantity(
        self,
        tag: str,
        *,
        axes: str = "",
        chart: Chart | None = None,
        band: str = "",
        digest: Digest | None = None,
        predicted: bool = False,
        mutual: bool = False,
    ) -> Callable[[Measure], Measure]:
        """Register a function that measures a quantity, or returns None where it is not defined.
        Its name is that of the array in trajectory.npz, its docstring says what the quantity is.

        Args:
            tag: in TensorBoard, `group/quantity`; numbers of neurons, from 1, follow it.
            axes: those behind looks and replicas, one letter each: "" for one number per replica,
                "k" for one per neuron, "kk" for pairs of neurons; also "r" (outputs, or singular
                directions) and "2" (sign groups).
            chart: where its curve is drawn.
            band: the title of the chart of its quantiles over replicas (those of its digest, if it
                has one); empty: no such chart.
            digest: one number per replica, made from it.
            predicted: whether the prediction of the same name is drawn beside it.
            mutual: whether i-j is the same as j-i, and only pairs i < j are shown.
        """

        def register(measure: Measure) -> Measure:
            meaning = " ".join((getdoc(measure) or "").split())
            self[measure.__name__] = Quantity(
                axes, tag, meaning, measure, chart, band, digest, predicted, mutual
            )
            return measure

        return register

    @property
    def meanings(self) -> dict[str, str]:
        """Meanings of all tags, in their general form."""
        return {tag: meaning for x in self.values() for tag, meaning in x.tags.items()}

    def charts(self, width: int) -> dict[Chart, list[str]]:
        """Return the charts of networks of a width, each with the tags of its lines."""
        found: dict[Chart, list[str]] = {}
        for quantity in self._shown(width):
            for chart, tags in quantity.lines():
                if chart is not None:
                    found.setdefault(chart, []).append(tags)
        return {chart: [chart.tags] if chart.tags else tags for chart, tags in found.items()}

    def bands(self, width: int = WIDEST) -> dict[str, str]:
        """Return the titles of charts of quantiles over replicas, each with its tag."""
        return {x.band: x.digest_tag or x.tag for x in self._shown(width) if x.band}

    def _shown(self, width: int) -> list[Quantity]:
        """Return those that networks of a width have, in the order of their charts: a single neuron
        has no pairs, a wide network has too many."""
        those = (x for x in self.values() if not x.mutual or 1 < width <= WIDEST)
        first = {chart: place for place, chart in enumerate(self._charts)}
        return sorted(those, key=lambda x: first.get(x.chart, len(first)))


def numbers_of(quantities: Mapping[str, Quantity], arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Return one number per replica by tag, (..., R), of the quantities whose arrays are there."""
    return {
        tag: x
        for name, quantity in quantities.items()
        if name in arrays
        for tag, x in quantity.numbers(arrays[name]).items()
    }
