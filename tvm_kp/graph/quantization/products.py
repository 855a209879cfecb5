"""Products with constant weights: 8-bit weights, 32-bit sums, requantized as they are stored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import relax
from tvm.ir import GenericConst

from tvm_kp import fixedpoint
from tvm_kp.fixedpoint import Multiplier
from tvm_kp.graph.integer_matmul import integer_matmul
from tvm_kp.graph.quantization.formats import Format
from tvm_kp.graph.quantization.values import Arithmetic, Quantized

WEIGHT_BITS = 8
_ROOM = 2**29  # for a bias among sums of 32 bits


@dataclass(frozen=True)
class Product:
    """``relax.matmul`` of a tensor and a constant, and the bias that is added to it.

    ``w`` is (…, M, K) where ``left``, and stands left of x (…, K, N); else it is (…, K, N).
    """

    w: np.ndarray
    x: relax.Var
    left: bool
    bias: np.ndarray | None

    @staticmethod
    def of(call: relax.Call, bias: GenericConst | None) -> Product:
        a, b = call.args[:2]
        left = isinstance(a, GenericConst)
        weights, x = (a, b) if left else (b, a)
        added = None if bias is None else bias.value.numpy().astype(np.float64)
        return Product(weights.value.numpy().astype(np.float64), x, left, added)

    @property
    def _inner(self) -> int:
        """The axis of ``w`` that is summed over."""
        return -1 if self.left else -2

    def input_limit(self) -> int:
        """The largest magnitude of integer inputs with which no sum overflows."""
        q, _ = self._weights(0.0)
        largest = int(np.abs(q).sum(axis=self._inner).max(initial=1))
        return (2**31 - 1 - _ROOM) // max(1, largest)

    def emit(self, to: Arithmetic, x: Quantized, form: Format) -> Quantized:
        """The product as integers of ``form``; ``x`` is narrow."""
        smallest = form.scale / x.scale * 2.0**-24
        if self.bias is not None:
            smallest = max(smallest, float(np.abs(self.bias).max(initial=0.0)) / x.scale / _ROOM)
        q, scale = self._weights(smallest)
        bias = None
        if self.bias is not None:
            rounded = np.floor(self.bias / (x.scale * scale) + 0.5).astype(np.int32)
            bias = relax.const(rounded, "int32")
        multiplier = Multiplier.of(x.scale * scale / form.step)
        weights = relax.const(q.astype(np.int8))
        a, b = (weights, x.expr) if self.left else (x.expr, weights)
        bits = 8 if form.bits == 8 else 16
        call = integer_matmul(a, b, multiplier, bits, bias)
        return to.saturated(to.emit(call), 1 << (bits - 1), form)

    def _weights(self, smallest: float) -> tuple[np.ndarray, np.ndarray]:
        """Integers and their scale, which broadcasts to the product and is at least ``smallest``.

        Every matrix of a batch has its own, and every row of one where that pays.
        """
        q, scale = fixedpoint.quantize_weights(
            self.w, WEIGHT_BITS, inner=self._inner, smallest=smallest
        )
        return q, scale if scale.size > 1 else scale.reshape(())
