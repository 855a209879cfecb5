"""Counted floors of products: instructions that no tiles can do without.

Counted are the products themselves, loads of operands, what unpacks them, where sums start, what
becomes of them, and their stores, as few as the registers of a core allow; and of a call the
addresses of operands, the branch, and what saves registers. Loops, other addresses and copies of
pointers are not: there are none of them in code that is written out. Of all tiles that fit the
registers the cheapest count. Tiles load their operands anew, but for what is said to be kept, and
one load takes neighbors in memory: what other ways of a product there may be, this does not say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence

from tvm import tirx
from tvm.s_tir import Schedule

from tvm_kp.c.join_parameters import Joined, kept_parameters
from tvm_kp.kernel.float_product import FloatProduct, find_float_product
from tvm_kp.kernel.integer_product import IntegerProduct, Operand, find_integer_product

_CALL, _CALL_VECTORS = 2, 4  # instructions that save and restore registers: core ones, or all
_CORE, _SINGLE, _VECTORS = 12, 32, 8  # registers: core ones but pointers, s0 to s31, q0 to q7
_SUMS, _SCALARS = 8, 8  # core registers that VMLADAVA adds to, and those for scalars

Cost = Callable[[int, int], float]
# How many sums tiles may have, what one costs by its rows and columns, and what each column of
# tiles costs once, by its width.
Tiles = tuple[int, Cost, Callable[[int], float]]


def floor(
    function: tirx.PrimFunc, isa: Collection[str], joined: Sequence[Joined] = ()
) -> float | None:
    """The instructions of a call, at least; None if ``function`` is no product of the rules.

    ``function`` is not scheduled, and then has parameters that are ``joined``; ``isa`` are the
    flags of a target with DSP and an FPU.
    """
    call = len(kept_parameters(len(function.params), joined)) + 1
    integers = find_integer_product(function)
    if integers is not None:
        return call + _of_integers(integers, "mve" in isa)
    floats = find_float_product(Schedule(function))
    return None if floats is None else call + _of_floats(floats, "mve.fp" in isa)


def _of_integers(product: IntegerProduct, mve: bool) -> float:
    size, blocks = (product.rows, product.columns), math.prod(product.batch)
    if not mve:
        return blocks * _least(*size, _pairs(product)) + _CALL
    lanes = (4, 8, 16) if product.activations.dtype == "int8" else (4, 8)
    ways = [(n, rest) for n in lanes for rest in {0, product.depth % n} if rest < product.depth]
    return blocks * min(_least(*size, _dots(product, *way)) for way in ways) + _CALL_VECTORS


def _of_floats(product: FloatProduct, mve: bool) -> float:
    blocks = math.prod(int(axis.dom.extent) for axis in product.batch)
    if not mve:
        return blocks * _least(product.rows, product.columns, _singles(product)) + _CALL_VECTORS
    size = product.rows, -(-product.columns // 4)
    return blocks * min(_least(*size, tiles) for tiles in _vectors(product)) + _CALL_VECTORS


def _least(rows: int, columns: int, tiles: Tiles) -> float:
    """What the cheapest tiles cost of ``rows`` x ``columns``."""
    sums, cost, once = tiles
    return min(
        sum(
            across * (once(width) + sum(down * cost(height, width) for height, down in parts))
            for width, across in _parts(columns, most)
        )
        for most in range(1, min(columns, sums) + 1)
        for parts in [list(_parts(rows, high)) for high in range(1, min(rows, sums // most) + 1)]
    )


def _parts(size: int, most: int) -> Iterator[tuple[int, int]]:
    """``size`` in parts of up to ``most``: how large, and how often."""
    whole, rest = divmod(size, most)
    yield most, whole
    if rest:
        yield rest, 1


def _pairs(product: IntegerProduct) -> Tiles:
    """With SMLAD, and weights that are stored as int16."""
    pairs, activations = -(-product.depth // 2), product.activations
    # SXTB16 makes pairs of int8, PKH of what is apart: one a word.
    unpacked = activations.dtype == "int8" or activations.depth > 1
    each = 5 if product.left else 3  # SMMULR, SSAT and a store; SSAT and a shift before

    def cost(rows: int, columns: int) -> float:
        sums = rows * columns
        loads = -(-(rows + columns) * pairs // (_CORE - sums))
        start = 0 if product.bias is None else _start(product.bias, rows, columns)
        return sums * (pairs + each) + loads + start + _factors(product, sums, _CORE)

    return _CORE - 2, cost, lambda columns: columns * pairs if unpacked else 0


def _dots(product: IntegerProduct, lanes: int, rest: int) -> Tiles:
    """With VMLADAVA of ``lanes``, and VMLA for the ``rest`` of a sum; activations are kept in
    vectors if two are left for others."""
    blocks = -(-(product.depth - rest) // lanes)
    narrowed = 2 if product.out.dtype == "int8" else 1
    each = 4 + narrowed + (1 if product.left else 0)  # two VMOV, VRMULH and a store

    def is_kept(columns: int) -> bool:
        return columns * blocks <= _VECTORS - 2

    def cost(rows: int, columns: int) -> float:
        vectors = -(-rows * columns // 4)
        loads = rows + (0 if is_kept(columns) else columns)
        start = 0 if product.bias is None else 1
        factors = _factors(product, 4 * vectors, 4)
        # A vector of weights for every four sums at most, and a scalar for every column.
        scalars = rest * (-(-rows // 4) + columns + vectors)
        dots = blocks * (rows * columns + loads)
        return dots + scalars + vectors * each + start + factors

    return _SUMS, cost, lambda columns: columns * blocks if is_kept(columns) else 0


def _start(bias: Operand, rows: int, columns: int) -> int:
    """Loads of what sums start at, by load-multiple, or copies for the other columns."""
    return 1 if bias.column else min(columns, 1 + rows * (columns - 1))


def _factors(product: IntegerProduct, sums: int, loaded: int) -> int:
    """Loads of ``loaded`` factors each, where sums of a tile have factors of their own."""
    factor = product.factor
    if not isinstance(factor, Operand) or not (factor.row or factor.column):
        return 0
    return -(-sums // loaded) if factor.column else 1


def _singles(product: FloatProduct) -> Tiles:
    """With VFMA of single numbers, which are loaded by load-multiple."""
    depth, columns = product.depth, product.columns

    def loads(rows: int, width: int) -> float:
        free = _SINGLE - rows * width
        adjoin = product.weights == "vectors" or width == columns
        return min(
            -(-depth // scalars) * (1 if product.weights == "scalars" or scalars == depth else rows)
            + (-(-depth // vectors) if adjoin else depth)
            for scalars in range(1, min(depth, free // rows) + 1)
            for vectors in [min(depth, (free - scalars * rows) // width)]
            if vectors
        )

    def cost(rows: int, width: int) -> float:
        if rows * width + rows + width > _SINGLE:
            return math.inf
        moves = 1 if width == columns else rows
        start = {"none": 0, "row": 1 + (rows - 1) * width, "tile": moves}[product.form]
        return rows * width * depth + loads(rows, width) + moves + start

    return _SINGLE, cost, lambda _: 0


def _vectors(product: FloatProduct) -> Iterator[Tiles]:
    """With VFMA of a vector and a scalar."""
    yield _streamed(product)
    yield from (_kept(product, parts) for parts in range(1, product.depth + 1))


def _streamed(product: FloatProduct) -> Tiles:
    """Vectors are loaded for each tile."""
    depth = product.depth

    def loads(rows: int, width: int) -> float:
        """Of scalars. Rows that are not packed lie apart: a load takes neighbors of one of them, as
        many as there are registers for all rows, or steps whose vectors wait for all rows."""
        steps = max(_SCALARS / rows, min(_SCALARS, _VECTORS // width - rows))
        apart = product.weights == "vectors" and steps < depth
        return rows * depth / (steps if apart else _SCALARS)

    def cost(rows: int, width: int) -> float:
        sums = rows * width
        moves = sums if product.form == "none" else 2 * sums
        return sums * depth + loads(rows, width) + moves + width * depth

    return _VECTORS - 1, cost, lambda _: 0


def _kept(product: FloatProduct, parts: int) -> Tiles:
    """The vectors of a part of the steps stay while all rows go by; then sums are stored, and
    loaded again for the next part."""
    depth = product.depth

    def cost(rows: int, width: int) -> float:
        if width * (-(-depth // parts) + 1) > _VECTORS:
            return math.inf
        # A load can take the scalars of several rows, unless they lie apart.
        apart = product.weights == "vectors" and parts > 1
        scalars = rows * parts if apart else rows * depth / _SCALARS
        moves = 2 * parts - (1 if product.form == "none" else 0)
        return rows * width * (depth + moves) + scalars

    return _VECTORS - 1, cost, lambda width: width * depth
