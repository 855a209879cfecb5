"""Training of a tiny problem, is the sum of a sequence positive, and what can be added to it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tvm_kp.compress import Choice, Kronecker, KroneckerLSTM, Plan, Pruned, Teacher, apply, fit
from tvm_kp.compress.training import one_thread
from tvm_kp.errors import InputError, ModelError


class Classifier(nn.Module):
    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.rnn = KroneckerLSTM(2, 6, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.dropout(self.rnn(x)[0][:, -1]))


def linear(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(10, 2))


def fitted(model, x, **options):
    """Two epochs of three batches on random classes."""
    y = torch.randint(2, (len(x),), generator=torch.Generator().manual_seed(0))
    settings = {"epochs": 2, "lr": 0.1, "batch_size": 8, "seed": 0} | options
    return fit(model, x, y, **settings), y


def assert_same(model, other):
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)


def trained(seed, dropout=0.0, epochs=3, **options):
    torch.manual_seed(0)
    model, x = Classifier(dropout), torch.randn(90, 5, 2)
    y = (x.sum((1, 2)) > 0).long()
    return model, fit(model, x, y, epochs=epochs, lr=0.03, batch_size=20, seed=seed, **options)


def test_learns():
    model, history = trained(0, epochs=30)
    assert len(history) == 30
    assert history[-1].accuracy > 0.9 and history[-1].loss < history[0].loss / 2
    assert not model.training


def test_a_seed_decides_everything():
    (first, _), (again, _), (other, _) = (trained(seed, dropout=0.2) for seed in (1, 1, 2))
    for one, two, three in zip(
        first.parameters(), again.parameters(), other.parameters(), strict=True
    ):
        assert torch.equal(one, two) and not torch.equal(one, three)


def test_leaves_the_global_generator_alone():
    trained(0)
    after = torch.rand(1)
    trained(1)
    assert torch.equal(after, torch.rand(1))


def test_reports_each_epoch():
    seen = []
    _, history = trained(0, progress=lambda number, epoch: seen.append((number, epoch)))
    assert seen == list(enumerate(history))
    assert history[0].loss == pytest.approx(0.69, abs=0.2)
    assert 0 <= history[0].accuracy <= 1


def log_softmax(scores):
    return scores - np.log(np.exp(scores).sum(1, keepdims=True))


@pytest.mark.parametrize("share", [0.3, 1.0])
@pytest.mark.parametrize("shift", [None, 1.0])
def test_the_loss_with_a_teacher(share, shift):
    """(1 - s)·CE + s·t²·KL(teacher over t, student over t), of the weights before the step.

    Both see the samples that augmentation gives.
    """
    model, teacher, x = linear(), linear(1), torch.randn(600, 5, 2)
    with torch.no_grad():
        seen = x if shift is None else x + shift
        scores, of_teacher = (net(seen).double().numpy() for net in (model, teacher))
    augment = None if shift is None else lambda batch: batch + shift
    lesson = {"teacher": Teacher(teacher, temperature=3.0, share=share), "augment": augment}
    (epoch,), y = fitted(model, x, epochs=1, batch_size=len(x), **lesson)
    entropy = -log_softmax(scores)[np.arange(len(x)), y].mean()
    found, wanted = log_softmax(scores / 3), log_softmax(of_teacher / 3)
    divergence = (np.exp(wanted) * (wanted - found)).sum(1).mean()
    expected = (1 - share) * entropy + share * 9 * divergence
    assert epoch.loss == pytest.approx(expected, rel=1e-5)
    assert epoch.accuracy == pytest.approx((scores.argmax(1) == y.numpy()).mean())


def test_a_teacher_gives_each_sample_its_scores():
    """Looked up by the sample's number, or anew for every batch."""
    model, other, x = linear(), linear(), torch.randn(20, 5, 2)
    for learner, augment in ((model, None), (other, torch.clone)):
        fitted(learner, x, teacher=Teacher(linear(1)), augment=augment)
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one, two)


class Watched(nn.Module):
    """A linear model that keeps the samples it has seen."""

    def __init__(self, seed=1):
        super().__init__()
        self.inner, self.seen = linear(seed), []

    def forward(self, x):
        self.seen.append(x)
        return self.inner(x)


def test_a_teacher_that_mixes():
    """Both see the same samples, which lie up to the given share between two of the batch."""
    model, teacher = Watched(0), Watched(1)
    x = torch.eye(10).reshape(10, 5, 2)
    fitted(model, x, batch_size=10, teacher=Teacher(teacher, share=1.0, mix=0.4))
    assert len(model.seen) == len(teacher.seen) == 2
    for one, two in zip(model.seen, teacher.seen, strict=True):
        assert torch.equal(one, two)
        largest, others = one.flatten(1).max(1).values, one.flatten(1).sum(1)
        assert largest.min() >= 0.6 and largest.min() < 1
        torch.testing.assert_close(others, torch.ones(10))
    assert not torch.equal(*model.seen)


def test_only_floats_are_mixed():
    with pytest.raises(InputError, match=r"mix 0\.5 of torch\.int64 samples"):
        fitted(linear(), torch.ones(4, 5, 2).long(), teacher=Teacher(linear(1), mix=0.5))


def test_a_teacher_sees_each_sample_once():
    """But for augmented ones, which are others each time."""
    x = torch.randn(600, 5, 2)
    once, each = Watched(), Watched()
    fitted(linear(), x, epochs=3, batch_size=250, teacher=Teacher(once))
    assert list(map(len, once.seen)) == [512, 88]
    augmented = {"augment": torch.clone, "teacher": Teacher(each)}
    fitted(linear(), x, epochs=3, batch_size=250, **augmented)
    assert list(map(len, each.seen)) == [250, 250, 100] * 3


def test_scores_and_loss_of_a_teacher():
    teacher, x = Teacher(linear(1), temperature=1.0, share=0.25), torch.randn(20, 5, 2)
    wanted, classes = teacher.scores(x), torch.arange(20) % 2
    assert torch.equal(wanted, teacher.model(x)) and not wanted.requires_grad
    entropy = nn.functional.cross_entropy(wanted, classes)
    torch.testing.assert_close(teacher.loss(wanted, wanted, classes), 0.75 * entropy)


def test_a_teacher_is_evaluated_and_not_trained():
    teacher = nn.Sequential(linear(1), nn.Dropout(0.5))
    before = [parameter.clone() for parameter in teacher.parameters()]
    fitted(linear(), torch.randn(20, 5, 2), teacher=Teacher(teacher.train()))
    assert not teacher.training
    for parameter, value in zip(teacher.parameters(), before, strict=True):
        assert parameter.grad is None and torch.equal(parameter, value)


def test_a_teacher_without_a_share_is_none():
    model, other, x = linear(), linear(), torch.randn(20, 5, 2)
    assert fitted(model, x)[0] == fitted(other, x, teacher=Teacher(linear(1), share=0.0))[0]
    assert_same(model, other)


def test_samples_are_augmented_batch_by_batch():
    model, other, x = linear(), linear(), torch.randn(20, 5, 2)
    seen = []

    def shifted(batch):
        seen.append(batch)
        return batch + 1

    histories = fitted(model, x, augment=shifted)[0], fitted(other, x + 1)[0]
    assert histories[0] == histories[1]
    assert_same(model, other)
    assert [len(batch) for batch in seen] == [8, 8, 4] * 2
    for epoch in (seen[:3], seen[3:]):
        assert sorted(torch.cat(epoch)[:, 0, 0].tolist()) == sorted(x[:, 0, 0].tolist())


def test_weight_decay_shrinks_what_has_no_gradient():
    """The weights of inputs that are all zero; without decay they stay."""
    before, x = linear()[1].weight.detach(), torch.zeros(20, 5, 2)
    for decay in (0.0, 0.5):
        model = linear()
        fitted(model, x, weight_decay=decay)
        ratio = model[1].weight.detach() / before
        torch.testing.assert_close(ratio, ratio[0, 0].expand(2, 10))
        assert (ratio == 1).all() if decay == 0 else 0.7 < ratio[0, 0] < 0.99


def test_entries_are_chosen_on_the_way():
    model = linear()
    apply(model, Plan((Choice("1", (Pruned(0.25),)),)))
    counts = []
    (mask,) = model.buffers()
    fitted(
        model, torch.randn(20, 5, 2), epochs=10, progress=lambda *_: counts.append(int(mask.sum()))
    )
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == 20 > counts[2] > 5 and counts[6:] == [5] * 4


@pytest.mark.parametrize("form", [Pruned(0.25), Kronecker(((5, 5), (2, 2)), density=0.02)], ids=str)
def test_a_model_that_is_trained_again_keeps_its_choice(form):
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(10, 10)), torch.randn(40, 5, 2)
    apply(model, Plan((Choice("1", (form,)),)))
    (mask,), seen = model.buffers(), []
    fitted(model, x, epochs=10)
    kept = mask.clone()
    assert kept.sum() == round(form.density * 100)
    fitted(model, x, epochs=10, lr=0.5, progress=lambda *_: seen.append(mask.clone()))
    assert all(torch.equal(mask, kept) for mask in seen)


def test_a_model_that_cannot_be_trained():
    with pytest.raises(ModelError, match="on meta; move"):
        fitted(linear().to("meta"), torch.randn(20, 5, 2))
    with pytest.raises(ModelError, match="the model has no parameters"):
        fitted(nn.Flatten(), torch.randn(20, 5, 2))


def test_threads_are_put_back():
    torch.set_num_threads(2)
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
