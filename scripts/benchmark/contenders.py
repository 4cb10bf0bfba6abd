"""The contenders of each risk."""

from __future__ import annotations

from functools import partial

from scripts.benchmark.contender import Prepare
from scripts.benchmark.jax_scan import Scan, empirical_gradient, matmul_gradient, pairs_gradient
from scripts.benchmark.project import engines
from scripts.benchmark.pytorch import Autograd, Vmap

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
    """Return name -> how it is made ready; the last is this project's fastest engine."""
    return {**SCRIPTS[risk], **engines()}
