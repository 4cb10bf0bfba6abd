"""The student f(x) = V relu(W x), and the invariant subspace in which it trains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from reludyn.network.activation import RELU, LeakyReLU


class ReLUStudent(NamedTuple):
    """Weights of R students: W (R, k, d) with rows w_i, V (R, r, k) with columns v_i; no biases."""

    W: Tensor
    V: Tensor

    @property
    def replicas(self) -> int:
        return self.W.shape[0]

    @property
    def width(self) -> int:
        return self.W.shape[1]

    def __call__(self, x: Tensor, activation: LeakyReLU = RELU) -> Tensor:
        """f(x) = V phi(W x): x (n, d) or (R, n, d) -> (R, n, r)."""
        return activation(x @ self.W.mT) @ self.V.mT

    def map(self, change: Callable[[Tensor], Tensor]) -> ReLUStudent:
        """The same change to both layers."""
        return ReLUStudent(change(self.W), change(self.V))

    def map_hidden(self, change: Callable[[Tensor], Tensor]) -> ReLUStudent:
        """A change to W alone."""
        return ReLUStudent(change(self.W), self.V)

    def to(self, device: torch.device | str, dtype: torch.dtype) -> ReLUStudent:
        return self.map(lambda x: x.to(device=device, dtype=dtype))

    def split(self, replicas: int) -> Sequence[ReLUStudent]:
        """Blocks of at most so many replicas."""
        pairs = zip(self.W.split(replicas), self.V.split(replicas), strict=True)
        return [ReLUStudent(W, V) for W, V in pairs]


def check_layers(student: ReLUStudent, A: Tensor) -> None:
    """Raise ValueError where weights are not W (R, k, d) and V (R, r, k), for A (r, d) or one of
    each replica (R, r, d)."""
    given = (*student, A)
    shapes = [tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__ for x in given]
    if [len(shape) for shape in shapes[:2]] == [3, 3] and len(shapes[-1]) in (2, 3):
        R, k, d = shapes[0]
        r = shapes[-1][-2]
        if shapes[1] == (R, r, k) and shapes[-1] in ((r, d), (R, r, d)):
            return
    named = ", ".join(f"{name} {shape}" for name, shape in zip("WVA", shapes, strict=False))
    raise ValueError(f"must be tensors W (R, k, d), V (R, r, k), A (r, d); these are {named}")


def stacked(students: Sequence[ReLUStudent]) -> ReLUStudent:
    """The replicas of several, one behind the other."""
    return ReLUStudent(*(torch.cat(layers) for layers in zip(*students, strict=True)))
