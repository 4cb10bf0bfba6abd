"""CUDA graphs: what a device has to do, recorded once and repeated without the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Function = Callable[..., tuple[Tensor, ...]]


class Repeated:
    """A function of tensors on a CUDA device that never waits for it, repeated as a CUDA graph.

    The first call with tensors of some shapes runs the function, the second one records it, later
    ones repeat the record. What else the function reads must stay where it is.
    """

    def __init__(self, function: Function) -> None:
        self.function = function
        self.shapes: Any = None
        self.replay: Callable[[], None] | None = None

    def __call__(self, *given: Tensor) -> tuple[Tensor, ...]:
        shapes = [(x.shape, x.dtype) for x in given]
        if shapes != self.shapes:
            self.shapes, self.replay = shapes, None
            return self.function(*given)
        if self.replay is None:
            self.inputs = [x.clone() for x in given]
            self.replay, self.outputs = record(lambda: self.function(*self.inputs))
        for place, x in zip(self.inputs, given, strict=True):
            place.copy_(x)
        self.replay()
        return tuple(x.clone() for x in self.outputs)  # the next call writes into the same place


def record(work: Callable[[], tuple[Tensor, ...]]) -> tuple[Callable[[], None], tuple[Tensor, ...]]:
    """How to repeat some work, and where its results will be."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        work()  # libraries set themselves up: that must not be recorded
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = work()
    return graph.replay, outputs
