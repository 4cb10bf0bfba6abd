"""Pairing of neurons: against all matchings, and at the end of training with several outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

import reludyn as package
from reludyn.dynamics.pairing import PAIRED, pair_neurons
from reludyn.network.student import ReLUStudent
from tests.support.commands import Finished, reludyn_in

Pairs = list[tuple[int, int]]


def matchings(left: list[int], alone: bool) -> Iterator[Pairs]:
    """All ways to pair these neurons; `alone`: one of them may stay alone."""
    if not left:
        yield []
        return
    first, *rest = left
    if alone:
        yield from matchings(rest, False)
    for other in rest:
        remaining = [x for x in rest if x != other]
        for more in matchings(remaining, alone):
            yield [(first, other), *more]


def cost(W: np.ndarray, V: np.ndarray, pairs: Pairs) -> float:
    sums = [(W[i] + W[j], V[:, i] + V[:, j]) for i, j in pairs]
    return float(sum(np.sum(w**2) + np.sum(v**2) for w, v in sums))


def of(found: torch.Tensor) -> Pairs:
    partner = found.tolist()
    assert all(j < 0 or partner[j] == i for i, j in enumerate(partner))
    return [(i, j) for i, j in enumerate(partner) if i < j]


@pytest.mark.parametrize("k", [2, 3, 4, 5, 6, 7])
def test_no_matching_is_cheaper(k: int) -> None:
    """Random weights, where the nearest neuron is often taken already."""
    rng = np.random.default_rng(k)
    W, V = rng.standard_normal((20, k, 3)), rng.standard_normal((20, 2, k))
    found = pair_neurons(ReLUStudent(torch.from_numpy(W), torch.from_numpy(V)))
    for j in range(20):
        best = min(cost(W[j], V[j], pairs) for pairs in matchings(list(range(k)), k % 2 == 1))
        assert len(of(found.partner[j])) == k // 2
        assert cost(W[j], V[j], of(found.partner[j])) == pytest.approx(best, rel=1e-12)


def test_greed_would_be_wrong() -> None:
    """On a line: 0 and 1 are nearest (w_0 = 1, w_1 = -1.1), but 2 and 3 would be far apart."""
    W = torch.tensor([[[1.0], [-1.1], [1.5], [-0.3]]], dtype=torch.float64)
    found = pair_neurons(ReLUStudent(W, torch.zeros(1, 1, 4, dtype=torch.float64)))
    assert found.partner.tolist() == [[3, 2, 1, 0]]


def test_how_well_they_pair() -> None:
    """Residual and cosines of perfect, scaled and crooked pairs."""
    w, v = torch.tensor([1.0, 2.0, -2.0]).double(), torch.tensor([0.5, -0.5]).double()
    turned = torch.tensor([2.0, -1.0, 0.0]).double()
    W = torch.stack([w, -w, turned, -1.1 * turned])[None]
    V = torch.stack([v, -v, 3 * v, -3 * v], -1)[None]
    found = pair_neurons(ReLUStudent(W, V))
    assert found.partner.tolist() == [[1, 0, 3, 2]]
    expected = [0.0, 0.0, 0.1 * math.sqrt(5), 0.1 * math.sqrt(5)]
    torch.testing.assert_close(found.residual[0], torch.tensor(expected).double())
    torch.testing.assert_close(found.hidden_cosine, -torch.ones(1, 4).double())
    torch.testing.assert_close(found.output_cosine, -torch.ones(1, 4).double())


def test_a_neuron_alone() -> None:
    found = pair_neurons(ReLUStudent(torch.ones(1, 1, 2), torch.ones(1, 1, 1)))
    assert found.partner.tolist() == [[-1]]
    assert all(bool(x.isnan().all()) for x in found[1:])


@pytest.mark.slow
def test_training_ends_in_pairs() -> None:
    """k = 2r: w_i = -w_j, v_i = -v_j as far as the loss, 1e-8, has come (figures 6 to 8 of the
    paper); cosines to the square of that."""
    run = package.train(
        "data.outputs=3",
        "model.width=6",
        "init.signs=random",
        "init.scale=1e-4",
        "replicas=10",
        "trainer.tolerance=0",
        "trainer.steps=3000",
        "trainer.keep_weights=0",
    )
    assert (run.replicas["loss"] < 1e-8).all()
    assert (run.replicas["pair_residual"] < 1e-2).all()
    for layer in ("hidden", "output"):
        assert (np.abs(run.replicas[f"pair_cosine_{layer}"] + 1) < 1e-6).all()


@pytest.mark.parametrize(
    "overrides", [["data.outputs=1"], ["data.outputs=2", f"model.width={PAIRED + 1}"]]
)
def test_where_there_are_no_pairs_the_columns_are_empty(
    reludyn: Callable[..., Finished], overrides: list[str]
) -> None:
    (row,) = reludyn_in(reludyn, "run", "data.dim=5", "init.signs=random", *overrides).rows
    assert {row[name] for name in row if name.startswith("pair_")} == {""}
