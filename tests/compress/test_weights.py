"""Weights of every form: gradients, variances, the nearest to a matrix, and entries chosen."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tvm_kp.compress import Kronecker, LowRank, Pruned
from tvm_kp.compress.weights import DROPOUT, choose, make

PAIR = ((2, 3), (3, 4))  # 6 x 12
FORMS = {
    "two factors": (Kronecker(PAIR), 6, 12),
    "three factors": (Kronecker(((2, 1), (1, 3), (3, 2))), 6, 6),
    "sum": (Kronecker(PAIR, terms=2), 6, 12),
    "sum of three factors": (Kronecker(((2, 1), (1, 3), (3, 2)), terms=2), 6, 6),
    "hybrid": (Kronecker(PAIR, dense_rows=2), 8, 12),
    "doped": (Kronecker(PAIR, density=0.1), 6, 12),
    "all": (Kronecker(PAIR, terms=2, dense_rows=2, density=0.1), 8, 12),
    "low rank": (LowRank(2), 6, 12),
    "pruned": (Pruned(0.3), 6, 12),
}
GATES = 3
SIDES = st.tuples(st.integers(1, 4), st.integers(1, 4))
every_form = pytest.mark.parametrize("name", FORMS)


def made(form, rows, cols, gates=GATES, dtype=torch.float64):
    return make(form, gates, rows, cols, torch.empty(0, dtype=dtype))


def drawn(form, rows, cols, gates=GATES, done=1.0):
    """A weight as training leaves it: none of its numbers is zero, its entries are chosen."""
    torch.manual_seed(0)
    weight = made(form, rows, cols, gates)
    for parameter in weight.parameters():
        nn.init.normal_(parameter)
    weight.anneal(done)
    return weight


def matrix(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def tail(gate, factors, terms):
    """Σ of the squared singular values after the first of the rearranged matrix."""
    (m1, n1), (m2, n2) = factors
    blocks = [block.ravel() for row in np.split(gate, m1) for block in np.split(row, n1, 1)]
    assert blocks[0].size == m2 * n2
    return np.square(np.linalg.svd(np.stack(blocks), compute_uv=False)[terms:]).sum()


def missed(weight, w):
    """The squared errors of the gates."""
    return np.square((weight() - w).detach().numpy()).reshape(weight.gates, -1).sum(1)


@every_form
def test_gradients(name):
    weight = drawn(*FORMS[name])
    names, parameters = zip(*weight.named_parameters(), strict=True)

    def run(*values):
        return torch.func.functional_call(weight, dict(zip(names, values, strict=True)), ())

    assert torch.autograd.gradcheck(run, parameters)


@every_form
def test_gates_have_the_form_one_by_one(name):
    """Each gate is a weight of one gate with its slice of the parameters."""
    form, rows, cols = FORMS[name]
    weight, one = drawn(form, rows, cols), made(form, rows, cols, 1)
    for index, gate in enumerate(weight().split(rows)):
        for key, value in one.state_dict().items():
            axis = 1 if key in ("a", "b", "c") else 0
            value.copy_(weight.state_dict()[key].narrow(axis, index, 1))
        torch.testing.assert_close(one(), gate)


def test_products_are_those_of_numpy():
    weight = drawn(*FORMS["sum of three factors"], gates=1)
    terms = ([getattr(weight, name)[term, 0].detach() for name in "abc"] for term in (0, 1))
    expected = sum(np.kron(np.kron(a, b), c) for a, b, c in terms)
    np.testing.assert_allclose(weight().detach(), expected, rtol=1e-12)


@every_form
@pytest.mark.parametrize("variance", [0.01, 3.0])
def test_drawn_entries_have_the_variance(name, variance):
    """In 400 draws within five standard errors, estimated from the draws, of below 3 %.

    Rows of their own, dense ones say, within six of below 20 %.
    """
    torch.manual_seed(0)
    weight = made(*FORMS[name])
    draws = torch.stack([weight.draw(variance) or weight().detach() for _ in range(400)])
    for means, wanted in ((draws.mean((1, 2)), 0.0), (draws.square().mean((1, 2)), variance)):
        error = means.std() / 20
        assert abs(means.mean() - wanted) < 5 * error
        assert error < 0.03 * (variance**0.5 if wanted == 0 else variance)
    rows = draws.square().mean(2)
    errors = rows.std(0) / 20
    assert ((rows.mean(0) - variance).abs() < 6 * errors).all()
    assert (errors < 0.2 * variance).all()


@pytest.mark.parametrize("name", sorted({*FORMS} - {"sum of three factors"}))
def test_a_matrix_that_has_the_form_is_given_back(name):
    """Not sums of three factors: of several terms the last two factors are found one by one."""
    source, weight = drawn(*FORMS[name]), made(*FORMS[name])
    weight.assign(source())
    torch.testing.assert_close(weight(), source(), rtol=0, atol=1e-10)
    if name == "pruned":
        weight.anneal(1.0)
        assert torch.equal(weight(), source())


@pytest.mark.parametrize("name", ["two factors", "three factors"])
def test_factors_of_one_product_have_the_same_norm(name):
    weight = made(*FORMS[name])
    weight.assign(drawn(*FORMS[name])())
    first, *others = (factor.flatten(2).norm(dim=2) for factor in weight.parameters())
    for other in others:
        torch.testing.assert_close(first, other)


@every_form
def test_a_matrix_of_zeros(name):
    weight = made(*FORMS[name])
    weight.assign(torch.zeros_like(weight()))
    assert torch.equal(weight(), torch.zeros_like(weight()))


@given(
    factors=st.tuples(SIDES, SIDES),
    terms=st.integers(1, 4),
    dense_rows=st.integers(0, 2),
    gates=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_sums_are_the_nearest(factors, terms, dense_rows, gates, seed):
    """What Eckart and Young leave of each gate, also with more terms than a matrix has."""
    below, cols = (prod(side) for side in zip(*factors, strict=True))
    w = matrix(gates, dense_rows + below, cols, seed=seed)
    weight = made(Kronecker(factors, terms, dense_rows), dense_rows + below, cols, gates)
    weight.assign(w.flatten(0, 1))
    expected = [tail(gate, factors, terms) for gate in w[:, dense_rows:].numpy()]
    np.testing.assert_allclose(missed(weight, w.flatten(0, 1)), expected, atol=1e-10)


@given(factors=st.tuples(SIDES, SIDES, SIDES), gates=st.integers(1, 2), seed=st.integers(0, 1000))
def test_three_factors_are_near_to_the_nearest(factors, gates, seed):
    """No better than A ⊗ any and any ⊗ C can be, and no worse than both errors together."""
    a, b, c = factors
    rows, cols = (prod(side) for side in zip(*factors, strict=True))
    w = matrix(gates, rows, cols, seed=seed)
    weight = made(Kronecker(factors), rows, cols, gates)
    weight.assign(w.flatten(0, 1))
    splits = (
        (a, (b[0] * c[0], b[1] * c[1])),
        ((a[0] * b[0], a[1] * b[1]), c),
    )
    tails = np.array([[tail(gate, split, 1) for gate in w.numpy()] for split in splits])
    error = missed(weight, w.flatten(0, 1))
    assert (tails.max(0) - 1e-10 <= error).all() and (error <= tails.sum(0) + 1e-10).all()


@given(
    rows=st.integers(1, 6), cols=st.integers(1, 6), rank=st.integers(1, 6), seed=st.integers(0, 99)
)
def test_low_rank_is_the_nearest(rows, cols, rank, seed):
    rank = min(rank, rows, cols)
    w = matrix(2, rows, cols, seed=seed)
    weight = made(LowRank(rank), rows, cols, 2)
    weight.assign(w.flatten(0, 1))
    expected = np.square(np.linalg.svd(w.numpy(), compute_uv=False)[:, rank:]).sum(1)
    np.testing.assert_allclose(missed(weight, w.flatten(0, 1)), expected, atol=1e-10)


@pytest.mark.parametrize("name", ["doped", "all", "pruned"])
def test_every_entry_is_kept_before_any_is_chosen(name):
    weight = made(*FORMS[name])
    w = matrix(*weight().shape)
    weight.assign(w)
    torch.testing.assert_close(weight(), w, rtol=0, atol=1e-10)


@every_form
def test_dtype_is_that_of_the_layer(name):
    weight = made(*FORMS[name], dtype=torch.float32)
    w = matrix(*weight().shape).float()
    weight.assign(w)
    assert {value.dtype for value in (*weight.parameters(), weight())} == {torch.float32}


@given(
    rows=st.integers(1, 6),
    cols=st.integers(2, 6),
    density=st.floats(0.1, 0.7),
    seed=st.integers(0, 1000),
)
def test_the_largest_entries_are_chosen_ever_fewer(rows, cols, density, seed):
    """Gate by gate all until 10 % of training, and from 70 % on the share that is wanted."""
    entries = matrix(GATES, rows, cols, seed=seed)
    mask, size = torch.ones_like(entries, dtype=torch.bool), rows * cols
    before = size
    for step in range(21):
        left = choose(entries, mask, density, step / 20)
        counts = mask.sum((1, 2)).tolist()
        assert counts == [counts[0]] * GATES and counts[0] <= before
        assert (left == 0) == (counts[0] == round(density * size))
        if step <= 2:
            assert (left, counts[0]) == (1.0, size)
        if step >= 14:
            assert left == 0
        for gate, kept in zip(entries.abs(), mask, strict=True):
            assert kept.all() or not kept.any() or gate[kept].min() >= gate[~kept].max()
        before = counts[0]


def test_half_way_an_eighth_of_what_goes_is_left():
    """The cube of the half."""
    entries = matrix(GATES, 40, 50)
    mask = torch.ones_like(entries, dtype=torch.bool)
    assert choose(entries, mask, 0.2, 0.4) == pytest.approx(1 / 8)
    assert mask.sum((1, 2)).tolist() == [round(2000 * (0.2 + 0.8 / 8))] * GATES


def test_entries_are_chosen_for_good():
    """Until then others may come in, afterwards not, also where training begins anew."""
    entries, changed = matrix(GATES, 40, 50), matrix(GATES, 40, 50, seed=1)
    mask = torch.ones_like(entries, dtype=torch.bool)
    choose(entries, mask, 0.3, 0.6)
    other = mask.clone()
    choose(changed, mask, 0.3, 0.65)
    assert not (mask <= other).all()
    choose(changed, mask, 0.3, 0.7)
    kept = mask.clone()
    for done in (0.8, 0.0, 0.4, 1.0):
        assert choose(entries, mask, 0.3, done) == 0
        assert torch.equal(mask, kept)


def test_entries_that_are_out_do_not_add_up():
    """A training that was ended early has as many entries when another one begins."""
    entries = matrix(GATES, 40, 50)
    mask = torch.ones_like(entries, dtype=torch.bool)
    choose(entries, mask, 0.3, 0.4)
    before = mask.sum()
    assert choose(entries, mask, 0.3, 0.0) == 1
    assert mask.sum() == before


def test_rows_of_both_parts_drop_out_while_entries_are_chosen():
    """A row is that of the product, of the entries, of both or of none, and made up for."""
    form = Kronecker(((40, 3), (10, 4)), density=0.1)
    weight = drawn(form, 400, 12, 1, done=0.0)
    with torch.no_grad():
        entries = (weight.entries * weight.mask)[0]
        product = weight.eval()() - entries
        seen = weight.train()() * (1 - DROPOUT)
    parts = torch.stack([torch.zeros_like(product), product, entries, product + entries])
    matches = (seen - parts).abs().amax(2) < 1e-5
    assert (matches.sum(0) == 1).all()
    shares = matches.double().mean(1)
    keep = 1 - DROPOUT
    wanted = torch.tensor([DROPOUT**2, keep * DROPOUT, keep * DROPOUT, keep**2])
    deviation = (wanted * (1 - wanted) / 400).sqrt()
    assert ((shares - wanted).abs() < 4 * deviation).all()


def test_nothing_drops_out_once_entries_are_chosen():
    weight = drawn(Kronecker(((2, 20), (30, 4)), density=0.1), 60, 80, done=0.0)
    for done, dropout in ((0.0, DROPOUT), (0.4, DROPOUT / 8), (1.0, 0.0)):
        weight.anneal(done)
        assert weight.dropout == pytest.approx(dropout)
    assert torch.equal(weight.train()(), weight.eval()())


@pytest.mark.parametrize("name", ["two factors", "hybrid", "low rank"])
def test_without_entries_there_is_nothing_to_choose(name):
    weight = drawn(*FORMS[name])
    before = weight().clone()
    weight.anneal(0.5)
    assert torch.equal(weight.train()(), before)
