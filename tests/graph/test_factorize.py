"""Products with factors compute what the dense products did."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tvm import relax

from tvm_kp.graph import FactorizeKronecker, RecognizeKronecker, decisions
from tvm_kp.graph.rewrite import bindings, name_of

op = relax.op
SMALL = ((2, 4), (3, 2))
STRUCTURES = ["kronecker sum", "low rank", "hybrid", "three factors", "doped"]


def kron(random, factors, blocks=1):
    (m1, n1), (m2, n2) = factors
    scale = (n1 * n2) ** -0.5
    parts = [
        np.kron(random.normal(size=(m1, n1)), random.normal(size=(m2, n2))) for _ in range(blocks)
    ]
    return (scale * np.concatenate(parts)).astype("float32")


def product(emit, x, w, transposed=False):
    if transposed:
        return emit(op.matmul(x, emit(op.permute_dims(relax.const(w)))))
    return emit(op.matmul(x, relax.const(np.ascontiguousarray(w.T))))


def joined(module_of, w, split, lead=(1,)):
    return module_of(
        lambda e, x, h: e(op.add(product(e, x, w[:, :split]), product(e, h, w[:, split:]))),
        x=(*lead, split),
        h=(*lead, w.shape[1] - split),
    )


def multiplies(mod):
    """Multiply-accumulates of all products in main."""
    total = 0
    for binding in bindings(mod["main"]):
        if name_of(binding.value) == "relax.matmul":
            inner = int(binding.value.args[0].ty.shape[-1])
            total += inner * int(np.prod([int(n) for n in binding.var.ty.shape]))
    return total


def constants_bytes(mod):
    """The bytes of all constants that main reads."""
    args = [arg for b in bindings(mod["main"]) for arg in getattr(b.value, "args", [])]
    fields = [f for arg in args for f in getattr(arg, "fields", [arg])]
    return sum(f.value.numpy().nbytes for f in fields if isinstance(f, tvm.ir.GenericConst))


@pytest.mark.parametrize("lead", [(), (1,), (2, 3)], ids=["vector", "row", "batch"])
@pytest.mark.parametrize("blocks", [1, 2, 3, 4])
def test_alone(module_of, assert_kept, lead, blocks):
    # Shapes of both orders: A·X first, X·Bᵀ first.
    factors = SMALL if blocks % 2 else ((4, 2), (2, 5))
    w = kron(np.random.default_rng(blocks), factors, blocks)
    before = module_of(lambda e, x: product(e, x, w), x=(*lead, w.shape[1]))
    after = FactorizeKronecker()(before)
    (found,) = decisions(RecognizeKronecker()(before))
    assert multiplies(after) == found.macs_after * int(np.prod(lead)) < multiplies(before)
    assert_kept(before, after)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    sizes=st.tuples(*[st.integers(2, 6)] * 4),
    blocks=st.sampled_from([1, 2, 3, 4]),
    batch=st.integers(1, 3),
)
def test_any_shape_is_well_formed_and_no_dearer(module_of, sizes, blocks, batch):
    m1, n1, m2, n2 = sizes
    w = kron(np.random.default_rng(0), ((m1, n1), (m2, n2)), blocks)
    before = module_of(lambda e, x: product(e, x, w), x=(batch, n1 * n2))
    after = FactorizeKronecker()(before)
    relax.analysis.well_formed(after)
    assert multiplies(after) <= multiplies(before)


@pytest.mark.parametrize(("split", "lead"), [(3, (1,)), (6, (2, 2))])
def test_joint(module_of, assert_kept, split, lead):
    w = kron(np.random.default_rng(split), SMALL, 4)
    before = joined(module_of, w, split, lead)
    after = FactorizeKronecker()(before)
    assert multiplies(after) < multiplies(before)
    assert_kept(before, after)


@pytest.mark.parametrize(("split", "lead"), [(3, (1,)), (6, (2, 2)), (4, (1,))])
def test_parts(module_of, assert_kept, split, lead):
    w = kron(np.random.default_rng(split), ((4, 6), (5, 4)), 3)

    def body(emit, x, h, r):
        from_x, from_h = product(emit, x, w[:, :split]), product(emit, h, w[:, split:])
        return emit(op.add(from_x, emit(op.multiply(r, from_h))))

    before = module_of(body, x=(*lead, split), h=(*lead, 24 - split), r=(*lead, 60))
    after = FactorizeKronecker()(before)
    found = decisions(RecognizeKronecker()(before))
    assert multiplies(after) == sum(d.macs_after for d in found) * int(np.prod(lead))
    assert sum(d.bytes_after for d in found) < w.nbytes
    assert_kept(before, after)


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("lead", [(), (1,), (2, 3)], ids=["vector", "row", "batch"])
@pytest.mark.parametrize("blocks", [1, 4])
def test_every_structure(module_of, assert_kept, structured, name, lead, blocks):
    w = structured(name, np.random.default_rng(blocks), blocks)
    before = module_of(lambda e, x: product(e, x, w), x=(*lead, w.shape[1]))
    after = FactorizeKronecker()(before)
    (found,) = decisions(RecognizeKronecker()(before))
    assert (found.structure, found.blocks) == (name, blocks)
    factors = multiplies(after) // int(np.prod(lead))
    assert factors + found.nonzeros == found.macs_after < found.macs_before
    assert constants_bytes(after) == found.bytes_after < found.bytes_before
    assert_kept(before, after)


@pytest.mark.parametrize("name", STRUCTURES)
def test_every_structure_joint(module_of, assert_kept, structured, name):
    before = joined(module_of, structured(name, np.random.default_rng(1), 4), 15)
    after = FactorizeKronecker()(before)
    assert [d.structure for d in decisions(RecognizeKronecker()(before))] == [f"{name} joint"]
    assert multiplies(after) < multiplies(before)
    assert_kept(before, after)


@pytest.mark.parametrize("name", STRUCTURES)
def test_what_changed_since_is_left(module_of, assert_equal, structured, name):
    random = np.random.default_rng(3)
    w = structured(name, random)
    decided = RecognizeKronecker()(mlp(module_of, [w], False))
    changed = mlp(module_of, [random.permuted(w)], False).with_attrs(dict(decided.attrs))
    assert_equal(FactorizeKronecker()(changed), changed)


def test_one_part_dense(module_of, assert_kept):
    random = np.random.default_rng(8)
    w = np.concatenate([kron(random, SMALL, 4), random.normal(size=(24, 5)) / 3], axis=1)
    before = joined(module_of, w.astype("float32"), 8)
    after = FactorizeKronecker()(before)
    assert (
        multiplies(after)
        == multiplies(before) - 4 * 6 * 8 + decisions(RecognizeKronecker()(before))[0].macs_after
    )
    assert_kept(before, after)


def mlp(module_of, weights, transposed):
    def body(emit, x):
        for w in weights:
            x = emit(op.nn.relu(product(emit, x, w, transposed)))
        return x

    return module_of(body, x=(2, weights[0].shape[1]))


@pytest.mark.parametrize("transposed", [True, False])
def test_perceptron_for_llvm(module_of, assert_kept, transposed):
    random = np.random.default_rng(9)
    middle = (random.normal(size=(12, 12)) / 4).astype("float32")
    weights = [kron(random, ((4, 4), (3, 2))), middle, kron(random, ((2, 3), (3, 4)), 2)]
    before = mlp(module_of, weights, transposed)
    copy = before.clone()
    after = FactorizeKronecker()(before)
    tvm.ir.assert_structural_equal(before, copy)
    assert [d.structure for d in decisions(after)] == ["kronecker", "dense", "kronecker"]
    assert_kept(before, after)


def test_twice_is_harmless(module_of, assert_equal, assert_kept):
    random = np.random.default_rng(10)
    square = [kron(random, ((2, 4), (4, 2))) for _ in range(3)]
    before = mlp(module_of, square, False)
    once = FactorizeKronecker()(before)
    twice = FactorizeKronecker()(once)
    assert decisions(twice) == decisions(once)
    assert_equal(twice, once)
    assert_kept(before, twice)


def test_decisions_of_another_module_do_no_harm(module_of, assert_equal):
    random = np.random.default_rng(11)
    decided = RecognizeKronecker()(mlp(module_of, [kron(random, SMALL)], False))
    other = (random.normal(size=(6, 8))).astype("float32")
    changed = mlp(module_of, [other], False).with_attrs(dict(decided.attrs))
    assert_equal(FactorizeKronecker()(changed), changed)


def test_left_unchanged_where_all_is_dense(module_of, assert_equal):
    w = np.random.default_rng(12).normal(size=(6, 8)).astype("float32")
    mod = RecognizeKronecker()(mlp(module_of, [w], False))
    assert_equal(FactorizeKronecker()(mod), mod)


def test_a_batch_of_any_size(on_vm):
    w = kron(np.random.default_rng(13), SMALL)
    builder = relax.BlockBuilder()
    n = tvm.tirx.Var("n", "int64")
    x = relax.Var("x", relax.TensorType((n, 8), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            y = builder.emit_output(op.matmul(x, relax.const(w.T.copy())))
        builder.emit_func_output(y)
    after = FactorizeKronecker()(builder.get())
    assert "relax.reshape" in {name_of(b.value) for b in bindings(after["main"])}
    data = np.random.default_rng(0).normal(size=(5, 8)).astype("float32")
    np.testing.assert_allclose(on_vm(after, data)[0], data @ w.T, rtol=0, atol=1e-5)
