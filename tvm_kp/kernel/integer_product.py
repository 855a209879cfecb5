"""A product of integers that is requantized: what a PrimFunc with ``ATTRIBUTE`` computes.

Whichever operand the weights are, the product is ``out[…, r, c] = Σ w[…, r, k] * x[…, c, k]``:
``r`` counts rows of weights, ``c`` columns of activations.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tvm import tirx

ATTRIBUTE = "kp.integer_matmul"


@dataclass(frozen=True)
class Operand:
    """A parameter, and how many elements apart neighbors along an axis are: 0 if all are one."""

    index: int
    shape: tuple[int, ...]
    dtype: str
    batch: tuple[int, ...]
    row: int = 0
    column: int = 0
    depth: int = 0


@dataclass(frozen=True)
class IntegerProduct:
    """``requantize(Σ weights * activations + bias, factor)``; ``batch`` are the extents of the
    batch axes, ``rows_first`` whether results of a column or of a row are neighbors.

    ``factor`` is a number where all results have one.
    """

    batch: tuple[int, ...]
    rows: int
    columns: int
    depth: int
    rows_first: bool
    weights: Operand
    activations: Operand
    out: Operand
    bias: Operand | None
    factor: Operand | int
    left: int


def find_integer_product(function: tirx.PrimFunc) -> IntegerProduct | None:
    """What ``function`` computes, or None if it is not marked with ``ATTRIBUTE``."""
    if function.attrs is None or ATTRIBUTE not in function.attrs:
        return None
    described: dict[str, Any] = json.loads(str(function.attrs[ATTRIBUTE]))
    depth = int(function.params[0].shape[-1])
    *batch, m, n = (int(size) for size in function.params[-1].shape)
    rows_first = described["weights"] == 0
    outer = [f"batch{k}" for k in range(len(batch))]
    left, right = ("row", "column") if rows_first else ("column", "row")

    def operand(index: int, axes: Sequence[str]) -> Operand:
        return _operand(function, index, [*outer, *axes], len(batch))

    pair = operand(0, [left, "depth"]), operand(1, ["depth", right])
    bias, factor = described["bias"], described["factor"]
    product = IntegerProduct(
        batch=tuple(batch),
        rows=m if rows_first else n,
        columns=n if rows_first else m,
        depth=depth,
        rows_first=rows_first,
        weights=pair[described["weights"]],
        activations=pair[1 - described["weights"]],
        out=operand(len(function.params) - 1, [left, right]),
        bias=None if bias is None else operand(bias, [left, right]),
        factor=described["multiplier"] if factor is None else operand(factor, [left, right]),
        left=described["left"],
    )
    return _joined(product)


def _operand(function: tirx.PrimFunc, index: int, axes: Sequence[str], rank: int) -> Operand:
    """The parameter ``index`` whose axes are the last of ``axes``."""
    param = function.params[index]
    shape = tuple(int(size) for size in param.shape)
    strides = dict.fromkeys(axes, 0)
    for axis, name in enumerate(axes[len(axes) - len(shape) :]):
        strides[name] = math.prod(shape[axis + 1 :]) if shape[axis] > 1 else 0
    batch = tuple(strides.pop(f"batch{k}") for k in range(rank))
    return Operand(index, shape, str(param.dtype), batch, **strides)


def _joined(product: IntegerProduct) -> IntegerProduct:
    """Batches of rows times the same weights are one product with more columns."""
    numbers = [one for one in (product.bias, product.factor) if isinstance(one, Operand)]
    same = [product.weights.batch, *(one.batch for one in numbers)]
    if product.rows_first or any(map(any, same)) or any(one.column for one in numbers):
        return product

    def flat(one: Any, **strides: Any) -> Any:
        return replace(one, batch=(), **strides) if isinstance(one, Operand) else one

    return replace(
        product,
        batch=(),
        columns=product.columns * math.prod(product.batch),
        weights=flat(product.weights),
        activations=flat(product.activations, column=product.depth),
        out=flat(product.out, column=product.rows),
        bias=flat(product.bias),
        factor=flat(product.factor),
    )
