"""Error-free transformations, against exact rational arithmetic."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reludyn.numerics.compensated import sum_of_products, two_product, two_sum

numbers = st.floats(-1e100, 1e100, allow_subnormal=False).filter(
    lambda x: x == 0 or abs(x) > 1e-100
)


def exact(*values: torch.Tensor) -> Fraction:
    return sum((Fraction(float(v)) for v in values), Fraction(0))


@given(numbers, numbers)
def test_two_sum_loses_nothing(a: float, b: float) -> None:
    x, y = torch.tensor([a, b], dtype=torch.float64)
    s, e = two_sum(x, y)
    assert float(s) == a + b
    assert exact(s, e) == Fraction(a) + Fraction(b)


@given(numbers, numbers)
def test_two_product_loses_nothing(a: float, b: float) -> None:
    x, y = torch.tensor([a, b], dtype=torch.float64)
    p, e = two_product(x, y)
    assert float(p) == a * b
    assert exact(p, e) == Fraction(a) * Fraction(b)


@pytest.mark.parametrize("terms", [1, 2, 3, 8, 13])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_sum_of_products_survives_cancellation(terms: int, dtype: torch.dtype) -> None:
    """The first terms cancel but for a remainder of relative size eps."""
    generator = torch.Generator().manual_seed(terms)
    a = torch.randn(terms, 50, dtype=dtype, generator=generator)
    b = torch.randn(terms, 50, dtype=dtype, generator=generator)
    a = torch.cat([a, -a * (1 + torch.finfo(dtype).eps)])
    b = torch.cat([b, b])
    result = sum(sum_of_products(a, b))
    eps = torch.finfo(dtype).eps
    for j in range(50):
        products = [
            Fraction(float(x)) * Fraction(float(y)) for x, y in zip(a[:, j], b[:, j], strict=True)
        ]
        size = float(sum(abs(p) for p in products))
        error = abs(float(Fraction(float(result[j])) - sum(products)))
        assert error <= eps * abs(float(sum(products))) + 16 * terms * eps**2 * size
