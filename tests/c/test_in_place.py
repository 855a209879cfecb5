"""What may be computed over its own input."""

from __future__ import annotations

import pytest
from tvm.script import tirx as T

from tvm_kp.c.in_place import may_overwrite

N = 16


@T.prim_func(private=True)
def same_place(a: T.Buffer((N,)), b: T.Buffer((N,))):
    for i in range(N):
        b[i] = a[i] * T.float32(2)


@T.prim_func(private=True)
def nested(a: T.Buffer((N,)), b: T.Buffer((N,))):
    for i in range(4):
        for j in range(4):
            b[i * 4 + j] = a[i * 4 + j]


@T.prim_func(private=True)
def neighbor(a: T.Buffer((N,)), b: T.Buffer((N,))):
    for i in range(N - 1):
        b[i] = a[i] + a[i + 1]


@T.prim_func(private=True)
def reversed_order(a: T.Buffer((N,)), b: T.Buffer((N,))):
    for i in range(N):
        b[i] = a[N - 1 - i]


@T.prim_func(private=True)
def two_loops(a: T.Buffer((N,)), b: T.Buffer((N,))):
    for i in range(N):
        b[i] = a[i]
    for i in range(N):
        b[i] = b[i] + a[0]


@T.prim_func(private=True)
def read_after_the_store(a: T.Buffer((N,)), b: T.Buffer((N,)), c: T.Buffer((N,))):
    for i in range(N):
        b[i] = T.float32(1)
        c[i] = a[i]


@T.prim_func(private=True)
def read_before_the_store(a: T.Buffer((N,)), b: T.Buffer((N,)), c: T.Buffer((N,))):
    for i in range(N):
        c[i] = a[i]
        b[i] = T.float32(1)


@T.prim_func(private=True)
def two_stores(a: T.Buffer((N,)), b: T.Buffer((N,))):
    for i in range(N):
        b[i] = a[i]
        b[i] = b[i] + T.float32(1)


@T.prim_func(private=True)
def broadcast(a: T.Buffer((N,)), b: T.Buffer((N,))):
    for i in range(N):
        b[i] = a[0]


@T.prim_func(private=True)
def product(a: T.Buffer((4,)), b: T.Buffer((4,))):
    for i in range(4):
        for j in range(4):
            b[i] = b[i] + a[j]


@T.prim_func(private=True)
def unread(a: T.Buffer((N,)), b: T.Buffer((N,))):
    for i in range(N):
        b[i] = T.float32(0)


@pytest.mark.parametrize("function", [same_place, nested, read_before_the_store, unread])
def test_may(function) -> None:
    assert may_overwrite(function, 0, 1)


@pytest.mark.parametrize(
    "function",
    [
        neighbor,
        reversed_order,
        two_loops,
        read_after_the_store,
        two_stores,
        broadcast,
        product,
    ],
)
def test_may_not(function) -> None:
    assert not may_overwrite(function, 0, 1)
