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
_WORTH = 0.5  # the part of the rounding errors' energy that a scale for each row must save


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
        whole = self._rounded((-2, -1), smallest)
        rows = self._rounded((self._inner,), smallest)
        errors = [float(((q * scale - self.w) ** 2).sum()) for q, scale in (whole, rows)]
        q, scale = rows if errors[1] < _WORTH * errors[0] else whole
        return q, scale if scale.size > 1 else scale.reshape(())

    def _rounded(self, axes: tuple[int, ...], smallest: float) -> tuple[np.ndarray, np.ndarray]:
        """Weights that share a scale along ``axes``."""
        largest = np.abs(self.w).max(axis=axes, keepdims=True)
        largest = np.maximum(largest, largest.max() / 1024)
        scale = np.maximum(largest / fixedpoint.limits(WEIGHT_BITS)[1], smallest)
        scale[scale == 0] = 1.0
        return np.floor(self.w / scale + 0.5).astype(np.int32), scale
