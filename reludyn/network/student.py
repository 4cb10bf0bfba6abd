"""The student f(x) = V relu(W x)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from reludyn.network.activation import RELU, LeakyReLU


class ReLUStudent(NamedTuple):
    """Weights of R students f(x) = V phi(W x) without biases.

    Attributes:
        W: hidden weights (R, k, d); the row w_i belongs to neuron i.
        V: output weights (R, r, k); the column v_i belongs to neuron i.

    Examples:
        >>> import torch, reludyn
        >>> student = reludyn.ReLUStudent(W=torch.ones(1, 2, 3), V=torch.tensor([[[1.0, -0.5]]]))
        >>> student.replicas, student.width
        (1, 2)
        >>> student(torch.eye(3))  # f(x) at three inputs
        tensor([[[0.5000],
                 [0.5000],
                 [0.5000]]])
    """

    W: Tensor
    V: Tensor

    @property
    def replicas(self) -> int:
        """R, the number of students."""
        return self.W.shape[0]

    @property
    def width(self) -> int:
        """k, the number of hidden neurons."""
        return self.W.shape[1]

    def __call__(self, x: Tensor, activation: LeakyReLU = RELU) -> Tensor:
        """Return f(x) = V phi(W x), (R, n, r).

        Args:
            x: inputs (n, d) for all students, or (R, n, d).
            activation: phi, by default ReLU.
        """
        return activation(x @ self.W.mT) @ self.V.mT

    def map(self, change: Callable[[Tensor], Tensor]) -> ReLUStudent:
        """Return a student with the same change applied to W and to V."""
        return ReLUStudent(change(self.W), change(self.V))

    def map_hidden(self, change: Callable[[Tensor], Tensor]) -> ReLUStudent:
        """Return a student with a change applied to W alone."""
        return ReLUStudent(change(self.W), self.V)

    def to(self, device: torch.device | str, dtype: torch.dtype) -> ReLUStudent:
        """Return the student on a device and in a precision."""
        return self.map(lambda x: x.to(device=device, dtype=dtype))

    def split(self, replicas: int) -> Sequence[ReLUStudent]:
        """Return the students in blocks of at most `replicas`."""
        pairs = zip(self.W.split(replicas), self.V.split(replicas), strict=True)
        return [ReLUStudent(W, V) for W, V in pairs]


def check_layers(student: ReLUStudent, A: Tensor) -> None:
    """Raise ValueError unless W is (R, k, d), V (R, r, k), and A (r, d) or (R, r, d)."""
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
    """Return the replicas of several students as one batch, in this order."""
    return ReLUStudent(*(torch.cat(layers) for layers in zip(*students, strict=True)))
