"""One time step of an LSTM as a Relax function.

    gates = x·W_ihᵀ + h·W_hhᵀ + b;  i, f, g, o = split(gates, 4)
    c' = σ(f)∘c + σ(i)∘tanh(g);     h' = σ(o)∘tanh(c')          (torch.nn.LSTM)
"""

from __future__ import annotations

import numpy as np
from tvm import relax


def lstm_step(w_ih: np.ndarray, w_hh: np.ndarray, bias: np.ndarray, batch: int) -> relax.Function:
    """``step(x, h, c) -> (h', h', c')`` with w_ih (4H, I), w_hh (4H, H), bias (4H,), float32."""
    (rows, inputs), hidden = w_ih.shape, w_hh.shape[1]
    builder = relax.BlockBuilder()
    x, h, c = (
        relax.Var(name, relax.TensorType((batch, size), "float32"))
        for name, size in (("x", inputs), ("h", hidden), ("c", hidden))
    )
    op = relax.op
    with builder.function("step", [x, h, c], private=True):
        with builder.dataflow():
            from_x = builder.emit(op.matmul(x, relax.const(w_ih.T.copy())))
            from_h = builder.emit(op.matmul(h, relax.const(w_hh.T.copy())))
            gates = builder.emit(op.add(from_x, from_h))
            if np.any(bias):
                gates = builder.emit(op.add(gates, relax.const(bias.reshape(1, rows))))
            parts = builder.emit(op.split(gates, 4, axis=1))
            i, f, g, o = (builder.emit(parts[k]) for k in range(4))
            kept = builder.emit(op.multiply(op.sigmoid(f), c))
            added = builder.emit(op.multiply(op.sigmoid(i), op.tanh(g)))
            new_c = builder.emit(op.add(kept, added))
            new_h = builder.emit(op.multiply(op.sigmoid(o), op.tanh(new_c)))
            result = builder.emit_output(relax.Tuple([new_h, new_h, new_c]))
        builder.emit_func_output(result)
    return builder.get()["step"]
