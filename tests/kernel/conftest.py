"""Products of floats whose tiles are looked at."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from tvm import s_tir, te

from tvm_kp.artifacts import CONSTANTS
from tvm_kp.kernel.float_product import FloatProduct, find_float_product


@pytest.fixture(scope="session")
def float_product() -> Callable[..., FloatProduct | None]:
    """``(rows, depth, columns, constant…)`` -> a product of operands 0 and 1, of which these are
    constants; the rows of operand 0 may be ``turned`` to columns."""

    def make(
        rows: int, depth: int, columns: int, *constants: int, turned: bool = False
    ) -> FloatProduct | None:
        a = te.placeholder((depth, rows) if turned else (rows, depth), name="a")
        b, k = te.placeholder((depth, columns), name="b"), te.reduce_axis((0, depth), "k")
        c = te.compute(
            (rows, columns),
            lambda i, j: te.sum((a[k, i] if turned else a[i, k]) * b[k, j], axis=k),
            name="c",
        )
        function = te.create_prim_func([a, b, c]).with_attr(CONSTANTS, json.dumps(constants))
        return find_float_product(s_tir.Schedule(function))

    return make
