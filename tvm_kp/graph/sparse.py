"""Single entries of a weight as a PrimFunc: one multiply-accumulate each."""

from __future__ import annotations

from tvm import tirx
from tvm.script import tirx as T


def add_entries(
    batch: int | tirx.Var, shape: tuple[int, int], count: int, index: str
) -> tirx.PrimFunc:
    """``result = product; result[b, rows[k]] += values[k] * x[b, columns[k]]`` for all b and k.

    ``shape`` is rows x columns of the weight, product is (batch, rows), x (batch, columns), in
    float32; rows and columns of the ``count`` entries are of type ``index``.
    """
    outputs, inputs = shape

    @T.prim_func(private=True, s_tir=True)
    def entries(
        product: T.Buffer((batch, outputs), "float32"),  # type: ignore[valid-type]
        x: T.Buffer((batch, inputs), "float32"),  # type: ignore[valid-type]
        rows: T.Buffer((count,), index),  # type: ignore[valid-type]
        columns: T.Buffer((count,), index),  # type: ignore[valid-type]
        values: T.Buffer((count,), "float32"),  # type: ignore[valid-type]
        result: T.Buffer((batch, outputs), "float32"),  # type: ignore[valid-type]
    ) -> None:
        for b in range(batch):
            for i in range(outputs):
                with T.sblock("start"):
                    result[b, i] = product[b, i]
            for k in range(count):
                with T.sblock("add"):
                    result[b, T.Cast("int32", rows[k])] = (
                        result[b, T.Cast("int32", rows[k])]
                        + values[k] * x[b, T.Cast("int32", columns[k])]
                    )

    return entries
