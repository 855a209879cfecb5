"""A training that was cut off goes on as if it had not been; other files are refused and kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tvm_kp.compress import Choice, Kronecker, LowRank, Plan, Pruned, Teacher, apply, fit
from tvm_kp.errors import InputError, OutputError

SETTINGS = {"epochs": 5, "lr": 0.03, "batch_size": 8, "seed": 3}
FORMS = {
    "dense": None,
    "low rank": LowRank(2),
    "pruned": Pruned(0.3),
    "doped": Kronecker(((2, 3), (5, 2)), density=1 / 60),
}


class Cut(Exception):
    """Ends a training from outside."""


def model_of(form=None, seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Dropout(0.3), nn.Linear(10, 2))
    if form is not None:
        apply(model, Plan((Choice("0", (form,)),)))
    return model


def data(count=20, scale=1, least=0):
    x = scale * torch.randn(count, 6, generator=torch.Generator().manual_seed(1))
    return x, (x.sum(1) > least).long()


def noisy(x):
    return x + 0.1 * torch.randn_like(x)


def train(model, checkpoint=None, samples=(20,), **options):
    return fit(model, *data(*samples), checkpoint=checkpoint, **{**SETTINGS, **options})


def cut_off(model, checkpoint, after=2, **options):
    def stop(number, _epoch):
        if number + 1 == after:
            raise Cut

    with pytest.raises(Cut):
        train(model, checkpoint, progress=stop, **options)


def assert_same(model, other):
    for name, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("after", [1, 2, 3, 5])
def test_goes_on_as_if_it_had_not_been_cut_off(tmp_path, name, after):
    """Bit for bit, with dropout, augmentation that draws, a teacher that mixes, decay and masks.

    Rows of a doped weight drop out in the first three epochs.
    """
    teacher = Teacher(model_of(seed=8).eval(), mix=0.3)
    options = {"augment": noisy, "weight_decay": 0.1, "teacher": teacher}
    whole, file = model_of(FORMS[name]), tmp_path / "kept"
    history = train(whole, **options)
    cut_off(model_of(FORMS[name]), file, after, **options)
    numbers, again = [], model_of(FORMS[name], seed=9)
    resumed = train(again, file, progress=lambda number, _: numbers.append(number), **options)
    assert (resumed, numbers) == (history, list(range(after, 5)))
    assert_same(again, whole)
    assert not again.training


def test_cut_off_twice(tmp_path):
    whole, file, last = model_of(), tmp_path / "kept", model_of()
    history = train(whole)
    for after in (1, 3):
        cut_off(model_of(), file, after)
    assert train(last, file) == history
    assert_same(last, whole)


def test_a_checkpoint_changes_nothing_else(tmp_path):
    """Not the training and not the caller's generator, and no other file is left."""
    first, second, third = (model_of() for _ in range(3))
    before = torch.get_rng_state()
    assert train(first) == train(second, tmp_path / "kept")
    cut_off(third, tmp_path / "other")
    train(third, tmp_path / "other")
    assert torch.equal(torch.get_rng_state(), before)
    assert_same(first, second)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "other"]


@pytest.mark.parametrize(
    "other",
    [
        {"epochs": 6},
        {"lr": 0.02},
        {"batch_size": 5},
        {"seed": 4},
        {"weight_decay": 0.2},
        {"samples": (19,)},
        {"samples": (20, 2)},
        {"samples": (20, 1, 1)},
        {"teacher": None},
        {"teacher": Teacher(model_of(seed=7))},
        {"teacher": Teacher(model_of(seed=8), temperature=3.0)},
        {"teacher": Teacher(model_of(seed=8), share=0.5)},
    ],
    ids=[
        *("epochs", "rate", "batch size", "seed", "decay", "fewer samples", "other samples"),
        *("other classes", "no teacher", "other teacher", "temperature", "share"),
    ],
)
def test_a_checkpoint_of_another_training(tmp_path, other):
    file, model = tmp_path / "kept", model_of(seed=9)
    options = {"weight_decay": 0.1, "teacher": Teacher(model_of(seed=8))}
    cut_off(model_of(), file, **options)
    kept = file.read_bytes()
    with pytest.raises(InputError, match=r"is of a training with .*; delete .*kept to begin anew"):
        train(model, file, **options | other)
    assert file.read_bytes() == kept
    assert_same(model, model_of(seed=9))


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A checkpoint, and what is in it."""
    file = tmp_path_factory.mktemp("folder") / "kept"
    cut_off(model_of(), file)
    return file, file.read_bytes()


@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_byte_that_has_changed(kept, place, flip):
    file, content = kept
    changed = bytearray(content)
    changed[int(place * len(content))] ^= flip
    file.write_bytes(changed)
    refused(file)


@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_that_was_cut_off(kept, share):
    file, content = kept
    file.write_bytes(content[: int(share * len(content))])
    refused(file)


@pytest.mark.parametrize("length", range(7))
def test_the_first_bytes(kept, length):
    file, content = kept
    for start in (content[:length], bytes(length), content + bytes(length + 1)):
        file.write_bytes(start)
        refused(file)


def test_what_is_no_checkpoint(kept):
    file, content = kept
    for other in (b"no checkpoint\n", bytes(100) + content[100:], content[4:], bytes(5000)):
        file.write_bytes(other)
        refused(file)


def test_a_folder(tmp_path):
    with pytest.raises(InputError, match=r"cannot read the checkpoint .*: Is a directory; delete"):
        train(model_of(), tmp_path)
    assert tmp_path.is_dir() and not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [{}, {"settings": {}}, [1.0], "text", None], ids=str)
def test_a_file_of_something_else(tmp_path, content):
    torch.save(content, tmp_path / "kept")
    refused(tmp_path / "kept")


@pytest.mark.parametrize("form", [LowRank(1), Pruned(0.3)], ids=str)
def test_a_checkpoint_of_another_model(tmp_path, form):
    cut_off(model_of(LowRank(2)), tmp_path / "kept")
    refused(tmp_path / "kept", form)


def refused(file, form=None):
    """The file is named and kept as it is."""
    kept = file.read_bytes()
    with pytest.raises(InputError) as error:
        train(model_of(form), file)
    assert f"delete {file} to begin anew, or give another file" in str(error.value)
    assert file.read_bytes() == kept


def test_a_file_that_cannot_be_written(tmp_path):
    with pytest.raises(OutputError, match="cannot write the checkpoint"):
        train(model_of(), tmp_path / "missing" / "kept")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("owner", "name"), [(Path, "write_bytes"), (os, "replace")])
def test_a_write_that_fails_leaves_the_earlier_file(tmp_path, monkeypatch, owner, name):
    file = tmp_path / "kept"
    cut_off(model_of(), file)
    kept = file.read_bytes()

    def full(path, _):
        with path.open("wb") as begun:
            begun.write(b"begun")
        raise OSError("no space left")

    monkeypatch.setattr(owner, name, full)
    with pytest.raises(OutputError, match="no space left"):
        train(model_of(), file)
    assert file.read_bytes() == kept
    assert list(tmp_path.iterdir()) == [file]
