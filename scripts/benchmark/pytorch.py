"""Contenders in PyTorch as a researcher writes them: autograd of the loss, in R^d."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import islice

import torch
from torch import Tensor

from scripts.benchmark.contender import Array, Problem

ALONE = 3  # replicas that are trained one after another: every further one takes as long
# arccos has an infinite slope at 1, where the diagonal of W W^T lies: the clamp keeps off it
MARGIN = 1e-12


def population_loss(W: Tensor, V: Tensor, A: Tensor) -> Tensor:
    """Return the paper's closed form of the risk, for W (k, d), V (r, k), A (r, d).

    It is 1/2 sum_ij (v_i.v_j) F(w_i, w_j) - 1/2 sum_i v_i^T A w_i + 1/2 |A|_F^2 with
    F(p, q) = |p||q| (sin t + (pi - t) cos t)/(2 pi).
    """
    norm = W.norm(dim=1)
    area = torch.outer(norm, norm)
    cosine = (W @ W.T / area).clamp(-1 + MARGIN, 1 - MARGIN)
    theta = torch.arccos(cosine)
    F = area * (torch.sin(theta) + (math.pi - theta) * cosine) / (2 * math.pi)
    return ((V.T @ V) * F).sum() / 2 - (V * (A @ W.T)).sum() / 2 + A.square().sum() / 2


def empirical_loss(W: Tensor, V: Tensor, X: Tensor, Y: Tensor) -> Tensor:
    """Return 1/(2n) sum_i |V relu(W x_i) - y_i|^2 for W (k, d), V (r, k), X (n, d), Y (n, r)."""
    return ((X @ W.T).relu() @ V.T - Y).square().sum() / (2 * len(X))


LOSS: dict[str, Callable[..., Tensor]] = {
    "population": population_loss,
    "empirical": empirical_loss,
}


class Autograd:
    """`loss.backward()` and torch.optim.SGD, one replica after another."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.loss = problem, LOSS[problem.case.risk]
        self.replicas = min(ALONE, problem.case.replicas)
        self.data = [
            [torch.from_numpy(x) for x in problem.data_of(replica)]
            for replica in range(self.replicas)
        ]
        self.start()

    def start(self) -> None:
        initial = zip(self.problem.W, self.problem.V, strict=True)
        self.layers = [
            [torch.tensor(layer, requires_grad=True) for layer in layers]
            for layers in islice(initial, self.replicas)
        ]

    def advance(self, steps: int) -> None:
        for layers, data in zip(self.layers, self.data, strict=True):
            optimizer = torch.optim.SGD(layers, lr=self.problem.lr)
            for _ in range(steps):
                optimizer.zero_grad()
                self.loss(*layers, *data).backward()
                optimizer.step()

    def weights(self) -> tuple[Array, Array]:
        W, V = (torch.stack(layer).detach().numpy() for layer in zip(*self.layers, strict=True))
        return W, V


class Vmap:
    """torch.func.grad of the loss of one replica, torch.func.vmap over all replicas."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.replicas = problem, problem.case.replicas
        self.data = [torch.from_numpy(x) for x in problem.data]
        axes = (0, 0, *(problem.axis for _ in self.data))
        gradient = torch.func.grad(LOSS[problem.case.risk], argnums=(0, 1))
        self.gradient = torch.func.vmap(gradient, in_dims=axes)
        self.start()

    def start(self) -> None:
        self.W, self.V = torch.from_numpy(self.problem.W), torch.from_numpy(self.problem.V)

    def advance(self, steps: int) -> None:
        for _ in range(steps):
            grad_W, grad_V = self.gradient(self.W, self.V, *self.data)
            self.W = self.W - self.problem.lr * grad_W
            self.V = self.V - self.problem.lr * grad_V

    def weights(self) -> tuple[Array, Array]:
        return self.W.numpy(), self.V.numpy()
