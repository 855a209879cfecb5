"""Schedule primitives that the rules in ``schedules/`` share."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import tvm_ffi
from tvm import s_tir, tirx
from tvm.ir import Call, TensorLoad


@dataclass(frozen=True)
class Product:
    """A block ``C[…, i, j] += X[…, i, k] * W[…, k, j]`` and what it takes to tile it.

    ``W`` (index ``vector``) is contiguous in j, ``X`` (index ``scalar``) does not depend on j;
    ``dtype`` is that of C.
    """

    block: s_tir.schedule.SBlockRV
    vector: str
    scalar: str
    rows: int
    columns: int
    depth: int
    dtype: str


def find_product(sch: s_tir.Schedule) -> Product | None:
    """The only reduction of the function, if it is a matrix product over one axis."""
    reductions = [block for block in _blocks(sch) if _is_reduction(sch, block)]
    if len(reductions) != 1:
        return None
    stmt = sch.get(reductions[0])
    operands = _operands(stmt)
    reduced = [v for v in stmt.iter_vars if _is_reduced(v)]
    if operands is None or len(reduced) != 1 or stmt.iter_vars[-1] not in reduced:
        return None
    column = stmt.iter_vars[-2]
    vector = [load for load in operands if load.indices[-1].same_as(column.var)]
    scalar = [load for load in operands if not _reads(load, column.var)]
    if len(vector) != 1 or len(scalar) != 1 or len(stmt.iter_vars) < 3:
        return None
    row = stmt.iter_vars[-3]
    extent = [int(v.dom.extent) for v in (row, column, reduced[0])]
    rows = 1 if _reads(vector[0], row.var) else extent[0]
    return Product(
        reductions[0],
        vector[0].source.name,
        scalar[0].source.name,
        rows,
        extent[1],
        extent[2],
        str(stmt.body.buffer.dtype),
    )


@dataclass(frozen=True)
class Tile:
    """``rows`` x ``columns`` results that are computed at a time; ``unroll`` steps of the reduction
    are written out."""

    rows: int
    columns: int
    unroll: int = 1


def tile_product(sch: s_tir.Schedule, product: Product, tile: Tile) -> None:
    """Compute a tile of results at a time in local accumulators.

    Extents need not divide: the last tile is a copy of the loop with smaller bounds.
    """
    block = start_from_bias(sch, product)
    results = sch.cache_write(block, 0, "local")
    if product.dtype == "int32":
        _requantize_results(sch, results)
    *outer, i, j, k = sch.get_loops(block)
    i_tile, i_in = sch.split(i, [None, tile.rows])
    j_tile, j_in = sch.split(j, [None, tile.columns])
    k_step, k_in = sch.split(k, [None, tile.unroll])
    sch.reorder(*outer, i_tile, j_tile, k_step, k_in, i_in, j_in)
    sch.reverse_compute_at(results, j_tile)
    weights = sch.cache_read(block, product.vector, "local", [block])
    inputs = sch.cache_read(block, product.scalar, "local", [block])
    for operand in (weights, inputs):
        sch.compute_at(operand, k_in)
    start = sch.decompose_reduction(block, k_step)
    tile_depth = len(outer) + 2
    for part in (block, weights, inputs, start, results):
        for loop in sch.get_loops(part)[tile_depth:]:
            if not sch.get(loop).loop_var.same_as(sch.get(k_step).loop_var):
                sch.unroll(loop)
    for loop in (i_tile, j_tile, k_step):
        sch.annotate(loop, "pragma_loop_partition_hint", 1)


def inline_intermediates(sch: s_tir.Schedule) -> None:
    """Inline every intermediate that is not computed more often, or costs no call, for that."""
    for block in _blocks(sch):
        consumers = sch.get_consumers(block)
        if _is_reduction(sch, block) or not consumers:
            continue
        once = len(consumers) == 1 and not _is_reduction(sch, consumers[0])
        if once or _is_cheap(sch, block):
            with suppress(s_tir.ScheduleError):
                sch.compute_inline(block)


def accumulate_in_registers(sch: s_tir.Schedule) -> None:
    """Sum every reduction in a register, inside the loop of its only consumer if it can be."""
    for block in _blocks(sch):
        if not _is_reduction(sch, block) or len(sch.get(block).writes) != 1:
            continue
        consumers = sch.get_consumers(block)
        with suppress(s_tir.ScheduleError):
            if len(consumers) == 1 and not _is_reduction(sch, consumers[0]):
                sch.compute_at(block, sch.get_loops(consumers[0])[-1])
            else:
                spatial = [v for v in sch.get(block).iter_vars if not _is_reduced(v)]
                result = sch.cache_write(block, 0, "local")
                sch.reverse_compute_at(result, sch.get_loops(block)[len(spatial) - 1])


def merge_pointwise(sch: s_tir.Schedule) -> s_tir.schedule.LoopRV | None:
    """The one loop in which all blocks of a point-wise function are now; None if it is none."""
    blocks = _blocks(sch)
    if any(_is_reduction(sch, block) or _is_opaque(sch, block) for block in blocks):
        return None
    if len({_extents(sch, block) for block in blocks}) != 1:
        return None
    loops = [sch.fuse(*sch.get_loops(block)) for block in blocks]
    return sch.merge(*loops) if len(loops) > 1 else loops[0]


def start_from_bias(sch: s_tir.Schedule, product: Product) -> s_tir.schedule.SBlockRV:
    """Let the accumulators start from the bias that is added to the product, if there is one."""
    consumers = sch.get_consumers(product.block)
    # TVM would take any function for an epilogue and apply it to every partial sum.
    if len(consumers) != 1 or not _is_sum(sch.get(consumers[0])):
        return product.block
    try:
        sch.fuse_reduction_epilogue(product.block, consumers[0])
    except s_tir.ScheduleError:
        return product.block
    return next(block for block in _blocks(sch) if _is_reduction(sch, block))


def _requantize_results(sch: s_tir.Schedule, results: s_tir.schedule.SBlockRV) -> None:
    """Store the sums as what is made of them, so that wide ones never lie in memory."""
    consumers = sch.get_consumers(results)
    if len(consumers) == 1:
        with suppress(s_tir.ScheduleError):
            sch.reverse_compute_inline(consumers[0])


def _blocks(sch: s_tir.Schedule) -> list[s_tir.schedule.SBlockRV]:
    return sch.get_child_blocks(sch.get_sblock("root"))


def _is_reduction(sch: s_tir.Schedule, block: s_tir.schedule.SBlockRV) -> bool:
    return any(_is_reduced(v) for v in sch.get(block).iter_vars)


def _is_opaque(sch: s_tir.Schedule, block: s_tir.schedule.SBlockRV) -> bool:
    """Whether the block is inside of loops that none of its own axes stand for."""
    return len(sch.get(block).iter_vars) < len(sch.get_loops(block))


def _is_reduced(axis: tirx.IterVar) -> bool:
    return axis.iter_type == tirx.IterVar.CommReduce


def _is_cheap(sch: s_tir.Schedule, block: s_tir.schedule.SBlockRV) -> bool:
    calls: list[str] = []
    tvm_ffi.structural_walk(sch.get(block).body, (Call, lambda call: calls.append(call.op.name)))
    return all(name in ("prim.if_then_else", "tirx.likely") for name in calls)


def _extents(sch: s_tir.Schedule, block: s_tir.schedule.SBlockRV) -> tuple[int, ...]:
    return tuple(int(v.dom.extent) for v in sch.get(block).iter_vars)


def _operands(block: s_tir.SBlock) -> list[TensorLoad] | None:
    """[X, W] of ``C = C + X * W``."""
    store = block.body
    if not isinstance(store, tirx.BufferStore) or not isinstance(store.value, tirx.Add):
        return None
    times = store.value.b
    if not isinstance(times, tirx.Mul):
        return None
    # The operands of a sum of integers are widened first.
    loads = [x.value if isinstance(x, tirx.Cast) else x for x in (times.a, times.b)]
    return loads if all(isinstance(load, TensorLoad) for load in loads) else None


def _is_sum(block: s_tir.SBlock) -> bool:
    """Whether the block is ``C = A + B``."""
    value = block.body.value if isinstance(block.body, tirx.BufferStore) else None
    return isinstance(value, tirx.Add) and all(
        isinstance(x, TensorLoad) for x in (value.a, value.b)
    )


def _reads(load: TensorLoad, var: tirx.Var) -> bool:
    return any(index.same_as(var) for index in load.indices)
