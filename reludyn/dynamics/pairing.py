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
    """Pairs of neurons, and how close each is to w_i = -w_j, v_i = -v_j: (R, k) each.

    The one neuron that is left over where k is odd has partner -1 and NaN elsewhere.
    """

    partner: Tensor  # index of the other neuron
    residual: Tensor  # sqrt(|w_i + w_j|^2 + |v_i + v_j|^2)
    hidden_cosine: Tensor  # cosine of the angle between w_i and w_j: -1 for a perfect pair
    output_cosine: Tensor  # cosine of the angle between v_i and v_j


@undisturbed()
def pair_neurons(student: ReLUStudent) -> Pairs:
    """Match all neurons in pairs (all but one where k is odd) so that the sum over pairs of

        |w_i + w_j|^2 + |v_i + v_j|^2

    is least. Where every neuron's cheapest partner chooses it too, that is the matching, since no
    pair can cost less; elsewhere the blossom algorithm of networkx finds it in O(k^3).

    Args:
        student: weights W (R, k, d) and V (R, r, k).

    Returns:
        Partner of each neuron, residual and cosines of each pair, (R, k) each.

    Examples:
        >>> import torch, reludyn
        >>> w, v = torch.randn(2, 3), torch.randn(2, 2)
        >>> student = reludyn.ReLUStudent(torch.cat([w, -w])[None], torch.cat([v, -v]).mT[None])
        >>> pairs = reludyn.pair_neurons(student)
        >>> pairs.partner
        tensor([[2, 3, 0, 1]])
        >>> pairs.residual
        tensor([[0., 0., 0., 0.]])
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
    """Return |x_i + x_j|^2, (..., k, n) -> (..., k, k), exact also where x_i is near -x_j."""
    exact = "donot_use_mm_for_euclid_dist"
    distance: Tensor = torch.cdist(rows, -rows, compute_mode=exact)
    return distance.square()


def _match(cost: Tensor) -> Tensor:
    """Return the cheapest matching of largest size, (k,), for symmetric costs (k, k)."""
    from networkx import Graph, min_weight_matching

    k = len(cost)
    rows, graph = cost.tolist(), Graph()
    graph.add_weighted_edges_from((i, j, rows[i][j]) for i in range(k) for j in range(i))
    partner = torch.full((k,), -1)
    for i, j in min_weight_matching(graph):
        partner[i], partner[j] = j, i
    return partner.to(cost.device)
