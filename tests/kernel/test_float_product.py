"""Which functions are products of floats, and what is constant in them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tvm_kp.kernel.float_product import FloatProduct

Products = Callable[..., FloatProduct | None]


@pytest.mark.parametrize(
    ("constants", "weights"), [((), "none"), ((0,), "scalars"), ((1,), "vectors")]
)
def test_one_operand_may_be_constant(
    float_product: Products, constants: tuple[int, ...], weights: str
) -> None:
    found = float_product(5, 6, 7, *constants)
    assert found is not None and found.weights == weights
    assert (found.constant is None) == (not constants)
    assert (found.rows, found.depth, found.columns) == (5, 6, 7)


def test_rows_must_be_rows_in_memory(float_product: Products) -> None:
    assert float_product(5, 6, 7, turned=True) is None
