"""Pairing of neurons: for r > 1 and k = 2r they end as r pairs with w_i = -w_j and v_i = -v_j."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from reludyn.network.student import ReLUStudent
from reludyn.numerics.kernels import unit
from reludyn.numerics.surroundings import undisturbed

PAIRED = 128  # the largest width whose neurons are paired in the results of a run


class Pairs(NamedTuple):
    """Who is paired with whom, and how well, (R, k) each; -1 and NaN for the one neuron that is
    left over where k is odd."""

    partner: Tensor  # index of the other neuron
    residual: Tensor  # sqrt(|w_i + w_j|^2 + |v_i + v_j|^2)
    hidden_cosine: Tensor  # of the angle between w_i and w_j: -1 for a perfect pair
    output_cosine: Tensor  # of the angle between v_i and v_j


@undisturbed()
def pair_neurons(student: ReLUStudent) -> Pairs:
    """The matching of all neurons (all but one where k is odd) with the least sum over pairs of
    |w_i + w_j|^2 + |v_i + v_j|^2, for W (R, k, d), V (R, r, k).

    Where everyone's cheapest partner has chosen them too that is the matching, since no pair can
    cost less; elsewhere the blossom algorithm of networkx finds it, in O(k^3).
    """
    W, V = student.W, student.V.mT
    k = student.width
    cost = _squares_of_sums(W) + _squares_of_sums(V)
    cost.diagonal(dim1=-2, dim2=-1).fill_(torch.inf)
    partner = cost.argmin(-1)
    neurons = torch.arange(k, device=partner.device)
    mutual = (partner.gather(-1, partner) == neurons) & (partner != neurons)
    for j in torch.nonzero(~mutual.all(-1)).flatten().tolist():
        partner[j] = _match(cost[j])
    paired, chosen = partner >= 0, partner.clamp_min(0).unsqueeze(-1)
    residual = cost.gather(-1, chosen).squeeze(-1).clamp_min(0).sqrt()
    cosines = ((u @ u.mT).gather(-1, chosen).squeeze(-1) for u in (unit(W), unit(V)))
    return Pairs(partner, *(x.where(paired, torch.nan) for x in (residual, *cosines)))


def _squares_of_sums(rows: Tensor) -> Tensor:
    """|x_i + x_j|^2, (..., k, n) -> (..., k, k), without cancellation where x_i is near -x_j."""
    exact = "donot_use_mm_for_euclid_dist"
    distance: Tensor = torch.cdist(rows, -rows, compute_mode=exact)
    return distance.square()


def _match(cost: Tensor) -> Tensor:
    """The cheapest matching of largest size, for symmetric costs (k, k): (k,)."""
    from networkx import Graph, min_weight_matching

    k = len(cost)
    rows, graph = cost.tolist(), Graph()
    graph.add_weighted_edges_from((i, j, rows[i][j]) for i in range(k) for j in range(i))
    partner = torch.full((k,), -1)
    for i, j in min_weight_matching(graph):
        partner[i], partner[j] = j, i
    return partner.to(cost.device)
