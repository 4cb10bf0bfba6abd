"""Who takes part."""

from __future__ import annotations

from functools import partial

from reludyn.benchmark.contender import Prepare
from reludyn.benchmark.jax_scan import (
    Scan,
    empirical_gradient,
    matmul_gradient,
    pairs_gradient,
)
from reludyn.benchmark.project import engines
from reludyn.benchmark.pytorch import Autograd, Vmap

SCRIPTS: dict[str, dict[str, Prepare]] = {
    "population": {
        "autograd": Autograd,
        "vmap": Vmap,
        "jax matmul": partial(Scan, matmul_gradient),
        "jax pairs": partial(Scan, pairs_gradient),
    },
    "empirical": {
        "autograd": Autograd,
        "vmap": Vmap,
        "jax matmul": partial(Scan, empirical_gradient),
    },
}


def contenders(risk: str) -> dict[str, Prepare]:
    """Name -> how it is made ready; this project comes last, its fastest engine at the very end."""
    return {**SCRIPTS[risk], **engines()}
