"""One time step of PyTorch's recurrent cells in Relax."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from tvm import relax
from tvm.relax import op


@dataclass(frozen=True)
class Weights:
    """A cell's parameters, float32, in PyTorch's gate order and shapes, G gates.

    ``w_ih`` (G·H, I), ``w_hh`` (G·H, H), biases (G·H,) or None, ``w_hr`` (P, H) or None.
    """

    w_ih: np.ndarray
    w_hh: np.ndarray
    b_ih: np.ndarray | None = None
    b_hh: np.ndarray | None = None
    w_hr: np.ndarray | None = None


class Cell(ABC):
    """A cell with its weights as constants, made once for all time steps."""

    states: ClassVar[tuple[str, ...]]  # names of the carried values; the first is the output
    gates: ClassVar[int]

    def __init__(self, weights: Weights) -> None:
        self._weights = weights

    @abstractmethod
    def emit(
        self, builder: relax.BlockBuilder, x: relax.Expr, states: Sequence[relax.Expr]
    ) -> list[relax.Expr]:
        """The new states from ``x`` (N, I) and the old ones, (N, H) each."""

    def step(self, batch: int) -> relax.Function:
        """``step(x, state…) -> (y, new state…)``, y being the first state."""
        inputs = self._weights.w_ih.shape[1]
        builder = relax.BlockBuilder()
        sizes = {"x": inputs, **dict(zip(self.states, self.widths, strict=True))}
        x, *states = (
            relax.Var(name, relax.TensorType((batch, size), "float32"))
            for name, size in sizes.items()
        )
        with builder.function("step", [x, *states], private=True):
            with builder.dataflow():
                new = self.emit(builder, x, states)
                result = builder.emit_output(relax.Tuple([new[0], *new]))
            builder.emit_func_output(result)
        return builder.get()["step"]

    @property
    def widths(self) -> tuple[int, ...]:
        """Columns of each state."""
        return (self._weights.w_hh.shape[1],) * len(self.states)

    def _rows(self, part: slice) -> tuple[relax.Constant, relax.Constant]:
        """W_ih and W_hh of some of the rows, transposed."""
        weights = self._weights
        return _transposed(weights.w_ih[part]), _transposed(weights.w_hh[part])

    def _bias(self, part: slice = slice(None)) -> relax.Constant | None:
        """b_ih + b_hh of some of the rows, None where all are zero."""
        if self._weights.b_ih is None or self._weights.b_hh is None:
            return None
        return _row(self._weights.b_ih[part] + self._weights.b_hh[part])


class LSTMCell(Cell):
    """i, f, g, o = W_ih·x + b_ih + W_hh·h + b_hh; c' = σ(f)∘c + σ(i)∘tanh(g);
    h' = W_hr·(σ(o)∘tanh(c')), the projection only where there is one."""

    states = ("h", "c")
    gates = 4

    def __init__(self, weights: Weights) -> None:
        super().__init__(weights)
        self._from_x, self._from_h = self._rows(slice(None))
        self._added = self._bias()
        self._projection = None if weights.w_hr is None else _transposed(weights.w_hr)

    @property
    def widths(self) -> tuple[int, ...]:
        return self._weights.w_hh.shape[1], self._weights.w_hh.shape[0] // 4

    def emit(
        self, builder: relax.BlockBuilder, x: relax.Expr, states: Sequence[relax.Expr]
    ) -> list[relax.Expr]:
        _, c = states
        emit = builder.emit
        gates = _sum(builder, x, self._from_x, states[0], self._from_h, "")
        gates = _plus(builder, gates, self._added)
        i, f, g, o = _split(builder, gates, 4)
        kept = emit(op.multiply(op.sigmoid(f), c))
        added = emit(op.multiply(op.sigmoid(i), op.tanh(g)))
        new_c = emit(op.add(kept, added))
        new_h = emit(op.multiply(op.sigmoid(o), op.tanh(new_c)))
        if self._projection is not None:
            new_h = emit(op.matmul(new_h, self._projection), "weight_hr")
        return [new_h, new_c]


class GRUCell(Cell):
    """r, z = σ(W_ih·x + b_ih + W_hh·h + b_hh); n = tanh(W_in·x + b_in + r∘(W_hn·h + b_hn));
    h' = n + z∘(h − n). The candidate needs its two products apart."""

    states = ("h",)
    gates = 3

    def __init__(self, weights: Weights) -> None:
        super().__init__(weights)
        split = 2 * weights.w_hh.shape[1]
        gates, candidate = slice(split), slice(split, None)
        self._from_x, self._from_h = self._rows(gates)
        self._candidate_x, self._candidate_h = self._rows(candidate)
        self._added = self._bias(gates)
        self._added_x, self._added_h = (
            None if bias is None else _row(bias[candidate]) for bias in (weights.b_ih, weights.b_hh)
        )

    def emit(
        self, builder: relax.BlockBuilder, x: relax.Expr, states: Sequence[relax.Expr]
    ) -> list[relax.Expr]:
        (h,) = states
        emit = builder.emit
        gates = _sum(builder, x, self._from_x, h, self._from_h, "_rz")
        r, z = _split(builder, _plus(builder, gates, self._added), 2)
        from_x = emit(op.matmul(x, self._candidate_x), "weight_ih_n")
        from_h = emit(op.matmul(h, self._candidate_h), "weight_hh_n")
        reset = emit(op.multiply(op.sigmoid(r), _plus(builder, from_h, self._added_h)))
        n = emit(op.tanh(op.add(_plus(builder, from_x, self._added_x), reset)))
        return [emit(op.add(n, op.multiply(op.sigmoid(z), op.subtract(h, n))))]


class TanhCell(Cell):
    """h' = tanh(W_ih·x + b_ih + W_hh·h + b_hh)."""

    states = ("h",)
    gates = 1

    def __init__(self, weights: Weights) -> None:
        super().__init__(weights)
        self._from_x, self._from_h = self._rows(slice(None))
        self._added = self._bias()

    def emit(
        self, builder: relax.BlockBuilder, x: relax.Expr, states: Sequence[relax.Expr]
    ) -> list[relax.Expr]:
        total = _sum(builder, x, self._from_x, states[0], self._from_h, "")
        return [builder.emit(self._activated(_plus(builder, total, self._added)))]

    def _activated(self, total: relax.Expr) -> relax.Expr:
        return op.tanh(total)


class ReLUCell(TanhCell):
    """h' = max(0, W_ih·x + b_ih + W_hh·h + b_hh)."""

    def _activated(self, total: relax.Expr) -> relax.Expr:
        return op.nn.relu(total)


CELLS: Mapping[str, type[Cell]] = {
    "lstm": LSTMCell,
    "gru": GRUCell,
    "rnn_tanh": TanhCell,
    "rnn_relu": ReLUCell,
}


def _transposed(w: np.ndarray) -> relax.Constant:
    return relax.const(np.ascontiguousarray(w.T))


def _row(bias: np.ndarray) -> relax.Constant | None:
    return relax.const(bias.reshape(1, -1)) if np.any(bias) else None


def _sum(
    builder: relax.BlockBuilder,
    x: relax.Expr,
    w_ih: relax.Constant,
    h: relax.Expr,
    w_hh: relax.Constant,
    gates: str,
) -> relax.Expr:
    from_x = builder.emit(op.matmul(x, w_ih), f"weight_ih{gates}")
    from_h = builder.emit(op.matmul(h, w_hh), f"weight_hh{gates}")
    return builder.emit(op.add(from_x, from_h), f"weight_ih_hh{gates}")


def _plus(
    builder: relax.BlockBuilder, total: relax.Expr, bias: relax.Constant | None
) -> relax.Expr:
    return total if bias is None else builder.emit(op.add(total, bias))


def _split(builder: relax.BlockBuilder, gates: relax.Expr, count: int) -> list[relax.Expr]:
    parts = builder.emit(op.split(gates, count, axis=1))
    return [builder.emit(parts[k]) for k in range(count)]
