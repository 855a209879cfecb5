from __future__ import annotations

from tvm.script import tirx as T

from tvm_kp.kernel.hoist import STACK_BYTES, hoist_allocations


@T.prim_func(private=True)
def with_temporaries(x: T.Buffer((17,), "float32"), y: T.Buffer((17,), "float32")):
    large = T.alloc_buffer((17,), "float32")
    small = T.alloc_buffer((16,), "float32")
    tile = T.alloc_local((32,), "float32")
    for i in range(17):
        large[i] = x[i]
    small[0] = large[0]
    tile[0] = small[0]
    for i in range(17):
        y[i] = large[i] + tile[0]


def test_only_large_memory_becomes_a_parameter():
    hoisted = hoist_allocations(with_temporaries)
    assert [int(param.shape[0]) for param in hoisted.params] == [17, 17, 17]
    assert 16 * 4 <= STACK_BYTES < 17 * 4
    text = hoisted.script()
    assert "small" in text and "tile" in text
    assert text.count("large = ") == 0


def test_a_function_without_is_left_unchanged():
    once = hoist_allocations(with_temporaries)
    assert hoist_allocations(once).same_as(once)
