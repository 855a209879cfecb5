"""Neighbors in memory are offsets from one address, and nothing is read earlier for that."""

from __future__ import annotations

import tvm_ffi
from tvm import tirx
from tvm.ir import TensorLoad

from tvm_kp.c.llvm.addresses import share_addresses

X, Y = (tirx.decl_buffer((64,), "int32", name) for name in "xy")


def load(buffer, index):
    return tirx.BufferLoad(buffer, [index])


def shared(body) -> str:
    """What becomes of a loop with ``body`` of its variable, in TIR's text."""
    i = tirx.Var("i", "int32")
    loop = tirx.For(i, 0, 16, tirx.ForKind.SERIAL, body(i))
    return share_addresses(tirx.PrimFunc([X, Y], loop)).script()


def test_neighbors_share_an_address() -> None:
    text = shared(lambda i: tirx.BufferStore(Y, load(X, i * 4 + 1) + load(X, i * 4 + 3), [i]))
    assert "data=T.address_of(x[i * 4])" in text
    assert "y[i] = x_near[1] + x_near[3]" in text


def test_an_address_alone_stays() -> None:
    text = shared(lambda i: tirx.BufferStore(Y, load(X, i * 4), [i]))
    assert "near" not in text and "y[i] = x[i * 4]" in text


def test_places_that_memory_says_are_looked_up_where_they_are_used() -> None:
    def body(i):
        written = tirx.BufferStore(Y, i, [i])
        return tirx.stmt_seq(written, tirx.BufferStore(Y, load(X, load(Y, i) + 7), [i]))

    assert "near" not in shared(body)


def test_inner_loops_have_addresses_of_their_own() -> None:
    def body(i):
        k = tirx.Var("k", "int32")
        inner = tirx.BufferStore(Y, load(X, i * 4 + k + 2), [i])
        return tirx.For(k, 0, 2, tirx.ForKind.SERIAL, inner)

    function = share_addresses(tirx.PrimFunc([X, Y], body(tirx.Var("i", "int32"))))
    loops: list[tirx.For] = []
    tvm_ffi.structural_walk(function.body, (tirx.For, loops.append))
    (loop,) = loops
    assert isinstance(loop.body.seq[0], tirx.DeclBuffer)
    offsets: list[int] = []

    def note(found: TensorLoad) -> None:
        if found.source.name.endswith("near"):
            offsets.append(int(found.indices[0]))

    tvm_ffi.structural_walk(loop.body, (TensorLoad, note))
    assert offsets == [2]
