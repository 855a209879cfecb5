from __future__ import annotations

import json
import subprocess
import sys

import pytest
from tvm import te, tirx

from tvm_kp.kernel import identity
from tvm_kp.kernel.integer_product import ATTRIBUTE


def scaled(size: int = 6, dtype: str = "float32", factor: float = 2.0, name: str = "x"):
    """``y = x * factor``, with parameters and loops called after ``name``."""
    x = te.placeholder((1, size), dtype, name=name)
    scale = tirx.const(factor, dtype)
    y = te.compute((1, size), lambda i, j: x[i, j] * scale, name=f"{name}_scaled")
    return te.create_prim_func([x, y])


def product(**described: int | None) -> tirx.PrimFunc:
    """A product of integers, marked as one of these multipliers."""
    x, w = te.placeholder((1, 6), "int8"), te.placeholder((6, 4), "int8")
    k = te.reduce_axis((0, 6))
    y = te.compute((1, 4), lambda i, j: te.sum(x[i, k] * w[k, j], k))
    entries = {"weights": 1, "factor": None, "multiplier": 7, "bias": None, "left": 0, **described}
    return te.create_prim_func([x, w, y]).with_attr(ATTRIBUTE, json.dumps(entries))


KEY = identity.key(scaled())


def test_a_key_is_16_digits() -> None:
    assert len(KEY) == 16 and int(KEY, 16) >= 0


@pytest.mark.parametrize("same", [{"name": "other"}, {"factor": 0.1}, {"factor": 3e9}])
def test_names_and_numbers_do_not_count(same: dict) -> None:
    assert identity.key(scaled(**same)) == KEY


def test_attributes_do_not_count() -> None:
    function = scaled().with_attr("global_symbol", "main").with_attr("op_pattern", 2)
    assert identity.key(function) == KEY


@pytest.mark.parametrize("other", [{"size": 7}, {"dtype": "float16"}, {"dtype": "int32"}])
def test_shapes_and_types_count(other: dict) -> None:
    assert identity.key(scaled(**other)) != KEY


def test_operators_count() -> None:
    x = te.placeholder((1, 6), "float32")
    y = te.compute((1, 6), lambda i, j: x[i, j] + 2.0)
    assert identity.key(te.create_prim_func([x, y])) != KEY


def test_multipliers_do_not_count_but_whether_there_is_one() -> None:
    one = identity.key(product())
    assert identity.key(product(multiplier=1 << 30)) == one
    assert identity.key(product(multiplier=None)) != one
    assert identity.key(product(left=3)) != one


def test_what_kind_of_product_it_is_counts() -> None:
    assert identity.key(product()) != identity.key(product().without_attr(ATTRIBUTE))


def test_a_key_is_the_same_in_another_process() -> None:
    """Records are read by other processes than the one that wrote them."""
    code = (
        "import importlib.util as u; s = u.spec_from_file_location('m', {!r});"
        "m = u.module_from_spec(s); s.loader.exec_module(m); print(m.KEY)"
    )
    command = [sys.executable, "-c", code.format(__file__)]
    assert subprocess.check_output(command, text=True).strip() == KEY


def test_label() -> None:
    assert identity.label(scaled(), "fused_scale12") == "fused_scale: 1x6 float32, 1x6 float32"
    scalar = te.placeholder((), "int32")
    one = te.create_prim_func([scalar, te.compute((), lambda: scalar() + 1)])
    assert identity.label(one, "inc") == "inc: 1 int32, 1 int32"
