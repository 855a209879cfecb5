from __future__ import annotations

import numpy as np
from tvm import relax

op = relax.op


def test_reductions_and_windows(module, assert_same_as_vm):
    def build(emit, x, image):
        kernel = relax.const(np.linspace(-1, 1, 6 * 3 * 3 * 3, dtype="float32").reshape(6, 3, 3, 3))
        return [
            emit(op.sum(x, axis=1)),
            emit(op.mean(emit(op.tanh(x)), axis=0, keepdims=True)),
            emit(op.max(x, axis=1)),
            emit(op.min(x)),
            emit(op.nn.softmax(x, axis=0)),
            emit(op.nn.layer_norm(x, *(relax.const(np.ones(7, "float32")),) * 2, axes=[-1])),
            emit(op.nn.conv2d(image, kernel, padding=1)),
            emit(op.nn.max_pool2d(image, (2, 2), (2, 2))),
            emit(op.nn.avg_pool2d(image, (3, 3), (1, 1), padding=1)),
        ]

    assert_same_as_vm(module(build, (5, 7), (1, 3, 6, 6)))


def test_moves(module, assert_same_as_vm):
    def build(emit, x):
        return [
            emit(op.permute_dims(x, [1, 0])),
            emit(op.take(x, relax.const(np.array([3, 0, 3], "int64")), axis=0)),
            emit(op.flip(x, 1)),
            emit(op.nn.pad(x, [1, 2, 0, 3])),
            emit(op.repeat(x, 2, axis=1)),
            emit(op.tile(x, (2, 1))),
            emit(op.concat([x, emit(op.tanh(x))], axis=1)),
            emit(op.broadcast_to(emit(op.sum(x, axis=1, keepdims=True)), (5, 7))),
        ]

    assert_same_as_vm(module(build, (5, 7)))


def test_a_sum_is_kept_in_a_register(module, kernels):
    mod = module(lambda emit, x: [emit(op.sum(x, axis=1))], (5, 7))
    (text,) = kernels(mod, "mps2-an385").values()
    assert "alloc_local" in text
