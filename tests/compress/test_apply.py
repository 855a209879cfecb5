"""Compressed layers are dense ones with the multiplied-out weights, however they are used."""

from __future__ import annotations

import copy
import io

import numpy as np
import pytest
import torch
from torch import nn

from tvm_kp.compress import (
    Choice,
    FastGRNN,
    FastRNN,
    Kronecker,
    LowRank,
    Plan,
    Pruned,
    ResetFirstGRU,
    anneal,
    apply,
)
from tvm_kp.compress.apply import apply_measured, compressed
from tvm_kp.compress.plans import sites
from tvm_kp.errors import InputError, ModelError
from tvm_kp.kronecker import factor_shapes

# Each gate has 50 numbers or more, enough for an entry of a doped weight.
LAYERS = {
    "linear": lambda: nn.Linear(4, 16),
    "lstm": lambda: nn.LSTM(4, 6, 2, bidirectional=True),
    "projection": lambda: nn.LSTM(4, 10, proj_size=2, bias=False),
    "gru": lambda: nn.GRU(4, 6),
    "rnn": lambda: nn.RNN(4, 6, nonlinearity="relu"),
    "fast rnn": lambda: FastRNN(4, 6),
    "fast grnn": lambda: FastGRNN(4, 6),
    "reset first": lambda: ResetFirstGRU(4, 6),
}
every_layer = pytest.mark.parametrize("layer", LAYERS)


def kronecker(rows, cols, dense_rows=0, **options):
    return Kronecker(factor_shapes(rows - dense_rows, cols), dense_rows=dense_rows, **options)


def three(rows, cols):
    (first, (m, n)) = factor_shapes(rows, cols)
    return Kronecker((first, (m, 1), (1, n)))


FORMS = {
    "kronecker": kronecker,
    "sum": lambda rows, cols: kronecker(rows, cols, terms=2),
    "hybrid": lambda rows, cols: kronecker(rows, cols, dense_rows=2),
    "doped": lambda rows, cols: kronecker(rows, cols, density=1 / 60),
    "three factors": three,
    "low rank": lambda _rows, _cols: LowRank(2),
    "pruned": lambda _rows, _cols: Pruned(0.3),
}
every_form = pytest.mark.parametrize("form", [*FORMS, "apart", "stacked"])


def choice(site, form):
    if form == "apart":
        forms = [kronecker(site.rows, cols) for cols in site.cols[1:]]
        return Choice(site.name, (LowRank(1), *forms))
    if form == "stacked":
        joint = kronecker(site.gates * site.rows, sum(site.cols))
        return Choice(site.name, (joint,), stacked=True)
    return Choice(site.name, (FORMS[form](site.rows, sum(site.cols)),))


def model_of(layer, form, start="random", seed=0):
    """The layer as training leaves it: no number is zero, entries are chosen."""
    torch.manual_seed(seed)
    model = nn.Sequential(LAYERS[layer]())
    apply(model, plan_of(model, form), start)
    for name, parameter in model.named_parameters():
        if name.endswith("entries"):
            nn.init.normal_(parameter)
    anneal(model, 1.0)
    return model.eval()


def plan_of(model, form):
    return Plan(tuple(choice(site, form) for site in sites(model).values()))


def dense_of(model, layer):
    """A layer with the multiplied-out weights and the other parameters of the compressed one."""
    dense = LAYERS[layer]()
    kept = {name: p for name, p in model[0].named_parameters() if "compressed" not in name}
    dense.load_state_dict(kept | model[0].compressed())
    return nn.Sequential(dense).eval()


def example(seed=0):
    return torch.randn(5, 2, 4, generator=torch.Generator().manual_seed(seed))


def flat(output):
    """Every tensor of an output."""
    if isinstance(output, tuple):
        return [tensor for part in output for tensor in flat(part)]
    return [output]


def is_same(model, other):
    return all(map(torch.equal, flat(model(example())), flat(other(example()))))


@every_layer
@every_form
def test_outputs_are_those_of_the_dense_layer(layer, form):
    """Of as many numbers as planned; a dense layer whose weights have the form stays as it is."""
    model = model_of(layer, form)
    dense = dense_of(model, layer)
    torch.testing.assert_close(model(example()), dense(example()))
    again = copy.deepcopy(dense)
    apply(again, plan_of(again, form))
    torch.testing.assert_close(again(example()), dense(example()), rtol=1e-4, atol=1e-5)
    assert [name for name, _ in compressed(again)] == ["0"] and not [*compressed(dense)]
    left_out = sum(int((~mask).sum()) for mask in model.buffers())
    numbers = sum(p.numel() for name, p in model.named_parameters() if "compressed" in name)
    assert numbers - left_out == sum(row.parameters for row in plan_of(dense, form).rows(dense))


@every_layer
@every_form
def test_a_step_of_training_moves_every_parameter(layer, form):
    model = model_of(layer, form).train()
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sum(output.square().sum() for output in flat(model(example()))).backward()
    optimizer.step()
    for name, parameter in model.named_parameters():
        assert not torch.equal(parameter, before[name]), name


@every_layer
@every_form
def test_state_dict_and_copies(layer, form):
    model, other = model_of(layer, form), model_of(layer, form, seed=1)
    twin = copy.deepcopy(model)
    assert not is_same(model, other)
    other.load_state_dict(model.state_dict())
    assert is_same(model, other) and is_same(model, twin)
    for parameter in twin.parameters():
        nn.init.zeros_(parameter)
    assert is_same(model, other) and not is_same(model, twin)


@pytest.mark.filterwarnings("ignore:The tensor attribute")
@pytest.mark.parametrize(
    ("layer", "form"),
    [
        *((layer, "kronecker") for layer in sorted({*LAYERS} - {"gru", "linear"})),
        *((layer, form) for layer in ("gru", "linear") for form in [*FORMS, "apart", "stacked"]),
    ],
)
def test_exported_program_gives_the_same(layer, form):
    model = model_of(layer, form)
    program, file = torch.export.export(model, (example(),)), io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    for one in (program, torch.export.load(file)):
        for seed in (0, 1):
            torch.testing.assert_close(one.module()(example(seed)), model(example(seed)))
        assert set(one.state_dict) == set(model.state_dict())


@pytest.mark.parametrize("direction", ["l0", "l0_reverse", "l1", "l1_reverse"])
def test_joint_factors_are_cut_between_both_weights(direction):
    """The products in numpy, gate by gate; those of the first columns multiply x."""
    layer = model_of("lstm", "kronecker")[0]
    ih, hh = f"weight_ih_{direction}", f"weight_hh_{direction}"
    weight = layer.compressed[f"{ih}-and-{hh}"]
    a, b = (factor[0].detach().numpy() for factor in (weight.a, weight.b))
    joint = np.concatenate([np.kron(*pair) for pair in zip(a, b, strict=True)])
    w = layer.compressed()
    np.testing.assert_array_equal(torch.cat([w[ih], w[hh]], 1).detach(), joint)
    assert w[ih].shape == (24, 4 if direction.startswith("l0") else 12)


@every_layer
def test_random_weights_have_the_variance_of_new_ones(layer):
    """U(−k, k) with k² = 1/H, of a linear layer 1/inputs: within four standard errors of 100."""
    torch.manual_seed(0)
    wanted = 1 / (3 * {"linear": 4, "projection": 10}.get(layer, 6))
    weights = []
    for _ in range(100):
        model = nn.Sequential(LAYERS[layer]())
        apply(model, plan_of(model, "kronecker"), "random")
        weights.append(torch.cat([w.flatten() for w in model[0].compressed().values()]))
    squares = torch.stack(weights).detach().square().mean(1)
    error = squares.std() / 10
    assert abs(squares.mean() - wanted) < 4 * error and error < 0.1 * wanted


def test_other_parameters_stay():
    model = nn.Sequential(nn.LSTM(4, 6), nn.Linear(6, 2))
    before = dict(model.named_parameters())
    apply(model, plan_of(model[:1], "kronecker"), "random")
    for name in ("0.bias_ih_l0", "0.bias_hh_l0", "1.weight", "1.bias"):
        assert model.get_parameter(name) is before[name]
    assert "0.weight_ih_l0" not in dict(model.named_parameters())


@every_layer
def test_a_failure_while_running_leaves_the_layer_usable(layer):
    model = model_of(layer, "kronecker")
    twin = copy.deepcopy(model)
    attributes = set(vars(model[0]))
    with pytest.raises(RuntimeError):
        model(torch.zeros(5, 2, 3))
    assert set(vars(model[0])) == attributes
    assert is_same(model, twin)


def test_a_layer_that_runs_twice():
    layer = nn.Linear(4, 4)
    model = nn.Sequential(layer, nn.Tanh(), layer)
    apply(model, Plan((Choice("0", (LowRank(2),)),)), "random")
    w = layer.compressed()["weight"]
    x = example()
    expected = torch.tanh(x @ w.T + layer.bias) @ w.T + layer.bias
    torch.testing.assert_close(model(x), expected)


@pytest.mark.parametrize("layer", ["linear", "lstm", "fast rnn"])
def test_moves_to_another_dtype(layer):
    model = model_of(layer, "kronecker")
    outputs = flat(model(example()))
    for wide, narrow in zip(flat(model.double()(example().double())), outputs, strict=True):
        assert wide.dtype == torch.float64
        torch.testing.assert_close(wide.float(), narrow)


def test_entries_are_chosen_in_every_layer():
    model = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 25))
    forms = Pruned(0.25), kronecker(25, 6, density=0.02)
    apply(model, Plan(tuple(Choice(str(k), (form,)) for k, form in enumerate(forms))))
    for done, shares in ((0.0, (1.0, 1.0)), (1.0, (0.25, 0.02))):
        anneal(model, done)
        assert tuple(mask.double().mean().item() for mask in model.buffers()) == shares


def assert_untouched(model, before):
    assert list(model.state_dict()) == list(before.state_dict())
    for layer, other in zip(model.modules(), before.modules(), strict=True):
        assert set(vars(layer)) == set(vars(other)) and not layer._forward_pre_hooks
    torch.testing.assert_close(model.state_dict(), before.state_dict(), equal_nan=True)


@pytest.mark.parametrize(
    ("names", "start", "error"),
    [
        (("0", "2"), "nearest", ModelError),
        (("0", "0"), "random", ModelError),
        (("0",), "zeros", InputError),
    ],
)
def test_a_model_stays_as_it_is_where_a_plan_does_not_fit(names, start, error):
    model = nn.Sequential(nn.LSTM(4, 6), nn.Linear(6, 2))
    before = copy.deepcopy(model)
    with pytest.raises(error):
        apply(model, Plan(tuple(Choice(name, (LowRank(1),)) for name in names)), start)
    assert_untouched(model, before)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    ("name", "forms", "message"),
    [
        ("1.weight", (LowRank(1),), "weight of 1 have NaN or infinite values"),
        ("0.weight_hh_l0", (LowRank(1),), "weight_ih_l0 and weight_hh_l0 of 0 have NaN"),
        ("0.weight_hh_l0", (LowRank(1), LowRank(2)), "weight_hh_l0 of 0 have NaN"),
    ],
)
def test_weights_that_are_not_finite(value, name, forms, message):
    """What is drawn needs none."""
    model = nn.Sequential(nn.LSTM(4, 6), nn.Linear(6, 2))
    plan = Plan((Choice("0", forms), Choice("1", (LowRank(1),))))
    with torch.no_grad():
        model.get_parameter(name)[0, 0] = value
    before = copy.deepcopy(model)
    with pytest.raises(ModelError, match=f"^{message}"):
        apply(model, plan)
    assert_untouched(model, before)
    apply(model, plan, "random")
    assert len([*compressed(model)]) == 2


def test_a_compressed_layer_is_not_compressed_again():
    model = model_of("lstm", "kronecker")
    twin = copy.deepcopy(model)
    with pytest.raises(ModelError, match="'0' is compressed already in Sequential"):
        apply(model, Plan((Choice("0", (LowRank(1),)),)))
    assert is_same(model, twin)


def test_errors_are_those_of_the_weights():
    """Of every recurrence by itself, in the order of the plan."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.LSTM(4, 6, num_layers=2), nn.Linear(6, 6))
    linear = model[1].weight.detach().clone()
    plan = Plan((Choice("1", (LowRank(2),)), Choice("0", (LowRank(2),))))
    found = apply_measured(model, plan)
    values = torch.linalg.svdvals(linear)
    assert len(found) == len(plan.rows(nn.Sequential(nn.LSTM(4, 6, num_layers=2), nn.Linear(6, 6))))
    assert found[0] == pytest.approx(float(values[2:].norm() / values.norm()), rel=1e-5)
    assert all(0.1 < error < 1 for error in found)


def test_nothing_is_an_exact_product_of_nothing():
    model = nn.Linear(4, 4)
    nn.init.zeros_(model.weight)
    assert apply_measured(model, Plan((Choice("", (LowRank(1),)),))) == [0]


def test_a_model_without_numbers():
    with pytest.raises(ModelError, match="on meta; move all of them to one device"):
        apply(nn.Linear(4, 6, device="meta"), Plan((Choice("", (LowRank(1),)),)))
    with pytest.raises(ModelError, match="the model has no parameters"):
        apply(nn.ReLU(), Plan((Choice("", (LowRank(1),)),)))
