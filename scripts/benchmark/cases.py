"""Cases: sizes of problems, and the least work that a step of descent takes."""

from __future__ import annotations

import os
from dataclasses import dataclass

PAIR = 14  # operations on a pair of neurons: see `Case.flops`
BYTES = 8  # of a float64
SCALE = 0.3  # sigma of random weights that are neither tiny nor near a solution
FORMS = "population,K,R,REPLICAS or empirical,N,D,K,REPLICAS or empirical,N,D,K,REPLICAS,own"


@dataclass(frozen=True)
class Case:
    """R replicas of a student of width k with d inputs and r outputs, on the population risk
    (n = None) or on the empirical risk of n samples, shared by all or drawn for each replica.
    """

    k: int
    r: int
    d: int
    replicas: int
    n: int | None = None
    own: bool = False

    @property
    def risk(self) -> str:
        return "population" if self.n is None else "empirical"

    @property
    def samples(self) -> str:
        """none, shared or own."""
        if self.n is None:
            return "none"
        return "own" if self.own else "shared"

    @property
    def name(self) -> str:
        """Name of the case, as `--cases` reads it."""
        if self.n is None:
            return f"population,{self.k},{self.r},{self.replicas}"
        return f"empirical,{self.n},{self.d},{self.k},{self.replicas}" + ",own" * self.own

    @property
    def flops(self) -> int:
        """Arithmetic operations per step of one run; a root or an arcsine counts as one.

        Population, with m = min(d, k + r): products of matrices 2 k^2 m (W W^T) + 2 k^2 r (V^T V)
        + 2 k r m (V W) + 2 k^2 m (S C) W + 2 k^2 r (V J) + 4 k r m (V^T E, E W^T); 14 k^2 for the
        pairs (|w_i||w_j|, cos, sin: 3, arcsin, J: 4, S sin, its sum over j: 2, S C);
        2 k (m + r) for the update.
        Empirical: 2 n d k (X W^T) + 2 n k r (H V^T) + n k (relu) + n r (E) + 2 n k r + n k (E V,
        masked) + 2 n d k (its product with X) + 2 n k r (E^T H) + 2 k (d + r) for the update.
        """
        k, r, n = self.k, self.r, self.n
        if n is None:
            m = min(self.d, k + r)
            return k * k * (4 * m + 4 * r + PAIR) + 6 * k * r * m + 2 * k * (m + r)
        return n * (4 * self.d * k + 6 * k * r + 2 * k + r) + 2 * k * (self.d + r)

    @property
    def bytes(self) -> float:
        """Unavoidable memory traffic per step of one run: the weights read and written once,
        16 k (m + r) (m = d for samples), and the samples read once, 8 n (d + r), by all replicas
        together if they share them."""
        if self.n is None:
            return 2 * BYTES * self.k * (min(self.d, self.k + self.r) + self.r)
        return 2 * BYTES * self.k * (self.d + self.r) + self.sample_bytes / self.replicas

    @property
    def sample_bytes(self) -> int:
        """Size of X and Y in bytes: 8 n (d + r), times R if each replica has its own."""
        return BYTES * (self.n or 0) * (self.d + self.r) * (self.replicas if self.own else 1)

    @property
    def memory(self) -> int:
        """Bytes that all contenders together hold, within a factor of two: four copies of the
        samples and of the weights, and the temporaries of the hungriest, `vmap` in R^d."""
        weights = 4 * self.k * (self.d + self.r)
        pairs = self.k**2 if self.n is None else self.n * self.k
        return 4 * self.sample_bytes + BYTES * self.replicas * (weights + 12 * pairs)

    def fits(self) -> bool:
        """Return whether this machine has the memory."""
        return self.memory < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

    def overrides(self, lr: float) -> list[str]:
        """Return the overrides that run the case on the command line."""
        words = [
            "experiment=default",
            f"model.width={self.k}",
            f"data.dim={self.d}",
            f"data.outputs={self.r}",
            f"replicas={self.replicas}",
            f"init.scale={SCALE}",
            f"optimizer.lr={lr}",
            "trainer.tolerance=0",
            "device=cpu",
            "logger=none",
        ]
        if self.n is None:
            return words
        seed = "null" if self.own else "0"
        return ["data=gaussian", *words, f"data.samples={self.n}", f"data.seed={seed}"]


def population(k: int, r: int, *replicas: int, d: int = 100) -> list[Case]:
    """Return cases of one network with batches of several sizes."""
    return [Case(k, r, d, R) for R in replicas]


STANDARD = [
    *population(2, 1, 1, 100, 5_000, 10_000),
    *population(4, 1, 1, 100, 2_500, 10_000),
    *population(6, 3, 1, 100, 1_700, 10_000),
    *population(20, 10, 1, 100, 500),
    *population(100, 1, 1, 100),
    *(Case(2, 1, 100, R, 1_600) for R in (1, 50)),
    Case(2, 1, 100, 50, 1_600, own=True),
    *(Case(2, 1, 100, R, 20_000) for R in (1, 50)),
    *(Case(4, 1, 200, R, 100_000) for R in (1, 50)),
    *(Case(64, 1, 100, R, 20_000) for R in (1, 50)),
]
QUICK = [
    *population(2, 1, 1, d=10),
    *population(3, 2, 3, d=8),
    *(Case(3, 1, 8, 3, 64, own) for own in (False, True)),
]


def parse_case(text: str) -> list[Case]:
    """Return all standard cases of `population` or `empirical`, or one case of any size.

    Raises ValueError with the forms that are known.
    """
    risk, *words = text.split(",")
    own = words[-1:] == ["own"]
    known = [case for case in STANDARD if case.risk == risk]
    if known and not words:
        return known
    try:
        sizes = [int(word) for word in words[: len(words) - own]]
        if min(sizes, default=0) < 1:
            raise ValueError("a size below one")
        if risk == "population" and not own:
            k, r, R = sizes
            return population(k, r, R, d=max(100, r))
        if risk == "empirical":
            n, d, k, R = sizes
            return [Case(k, 1, d, R, n, own)]
        raise ValueError("no such risk")
    except ValueError as error:
        raise ValueError(
            f"{text}: must be {FORMS}, or population or empirical for all standard cases of a risk"
        ) from error
