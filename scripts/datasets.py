"""The data sets of the benchmarks, from a folder with a subfolder for each.

``mnist`` are the four idx files, which ``download`` fetches. The others are arrays made of public
sets, in .npz files of any compression; what is read of them must have the checksums below:

- ``usps/usps.npz``, the classic split (LIBSVM's usps, zip.train and zip.test of "The Elements of
  Statistical Learning", usps.h5 of github.com/niuers/Learning-From-Data-A-Short-Course, in its
  order): ``X_train`` (7291, 16, 16) and ``X_test`` (2007, 16, 16), int16, the grey values from −1
  to 1 times 1000, exact; ``y_train`` and ``y_test``, uint8, the digits.
- ``uci_har/uci_har.npz``, windows of UCI's "Human Activity Recognition Using Smartphones" at 50 Hz:
  ``X_train`` (6928, 128, 9) and ``X_test`` (2776, 128, 9), float32, total_acc, body_acc and
  body_gyro, each of x, y and z; ``y_train`` and ``y_test``, int8, from 1. Some windows are not
  there: 424 of 7352 and 171 of 2947 could not be rebuilt from what was at hand.
- ``speech_commands_v2/gsc_v2_testset_mfcc.npz``, of the test set of Speech Commands v0.02
  (download.tensorflow.org/data/speech_commands_test_set_v0.02.tar.gz): ``mfcc`` (4890, 49, 10),
  float32, of 40 ms Hann windows, 20 ms apart, 1024-point FFT, magnitudes in 40 mel bands from 20 to
  4000 Hz, log(· + 1e-6), orthonormal DCT-II; ``y``, int8, from 0 in the order down, go, left, no,
  off, on, right, stop, up, yes, silence, unknown; ``split``, int8, 0 to train, 1 to validate and 2
  to test, by sha1(speaker) % 100: below 70, below 80, others
  (of silence, which nobody speaks, by that of the file's name).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tvm_kp.cli import output
from tvm_kp.errors import InputError

MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist"
TIMEOUT_SECONDS = 60
CHECKSUMS = {
    "mnist/train-images-idx3-ubyte": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
    ),
    "mnist/train-labels-idx1-ubyte": (
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
    ),
    "mnist/t10k-images-idx3-ubyte": (
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
    ),
    "mnist/t10k-labels-idx1-ubyte": (
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
    ),
    "usps/usps.npz": "a83ae3680b687e10a3b37c8549a4640a30252160fed8e8c85b73d3a8523398e7",
    "uci_har/uci_har.npz": "6cd6e0a511499939697aa0da6de21db2537e44b3ef761e3d7a46568116589ae6",
    "speech_commands_v2/gsc_v2_testset_mfcc.npz": (
        "03ee90983a68161fb087bebe1a0f8bd820ebf0b3c123b846311d807b3e8ef7a0"
    ),
}
_PARTS = ("X_train", "y_train", "X_test", "y_test")


@dataclass(frozen=True)
class Data:
    """Samples (N, T, I), float32, and classes (N,), int64, to train on and to test on.

    ``augment`` makes the batches that are trained on of ``train``'s samples; these have more
    steps than ``test``'s where it also chooses among them.
    """

    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    augment: Callable[[Tensor], Tensor] | None = None


def download(folder: Path) -> None:
    """Fetches the files of MNIST that ``folder`` lacks."""
    for name in CHECKSUMS:
        file = folder / f"{name}.gz"
        if not name.startswith("mnist/") or file.exists():
            continue
        url = f"{MNIST_URL}/{file.name}"
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:
                packed = answer.read()
            _check(gzip.decompress(packed), name, folder)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(
                f"cannot fetch {url}: {error}; try again, or copy the file to {file}"
            ) from error
        file.parent.mkdir(parents=True, exist_ok=True)
        output.write(file, packed)


def mnist(folder: Path) -> Data:
    """Rows of 28 pixels from 0 to 1."""

    def read(part: str) -> tuple[Tensor, Tensor]:
        images = _unpacked(folder, f"mnist/{part}-images-idx3-ubyte")[16:].reshape(-1, 28, 28)
        labels = _unpacked(folder, f"mnist/{part}-labels-idx1-ubyte")[8:]
        return torch.tensor(images / 255, dtype=torch.float32), _classes(labels)

    return Data(read("train"), read("t10k"))


def usps(folder: Path) -> Data:
    """Rows of 16 pixels from −1 to 1."""
    arrays = _arrays(folder, "usps/usps.npz", _PARTS)

    def part(name: str) -> tuple[Tensor, Tensor]:
        images = torch.tensor(arrays[f"X_{name}"] / 1000, dtype=torch.float32)
        return images, _classes(arrays[f"y_{name}"])

    return Data(part("train"), part("test"))


def har(folder: Path) -> Data:
    """64 steps of 9 channels at 25 Hz: every other sample, normalized by channel."""
    arrays = _arrays(folder, "uci_har/uci_har.npz", _PARTS)
    x = _normalized(*(arrays[f"X_{part}"][:, 1::2] for part in ("train", "test")))
    y = [_classes(arrays[f"y_{part}"]) - 1 for part in ("train", "test")]
    return Data((x[0], y[0]), (x[1], y[1]))


def keywords(folder: Path) -> Data:
    """25 steps of 10 MFCCs, 40 ms apart, normalized; training samples keep all 49 frames.

    The set is small, so what is trained on is shifted in time, masked, scaled and made noisy. The
    speakers of the validation part, by which recipes are chosen, are trained on too in the end.
    """
    name = "speech_commands_v2/gsc_v2_testset_mfcc.npz"
    arrays = _arrays(folder, name, ("mfcc", "y", "split"))
    known, y = arrays["split"] < 2, _classes(arrays["y"])
    train, test = _normalized(arrays["mfcc"][known], arrays["mfcc"][~known])
    return Data((train, y[known]), (test[:, ::2].contiguous(), y[~known]), _spoken_otherwise)


def _spoken_otherwise(x: Tensor) -> Tensor:
    """(N, 49, I) -> (N, 25, I): every other frame from a random start, and changed."""
    count, frames, width = x.shape
    start = torch.randint(-5, 7, (count, 1))
    at = (torch.arange(0, frames, 2) + start).clamp(0, frames - 1)
    y = x[torch.arange(count)[:, None], at]
    steps = torch.arange(y.shape[1])
    begin, length = torch.randint(0, len(steps), (count, 1)), torch.randint(0, 5, (count, 1))
    y[(steps >= begin) & (steps < begin + length)] = 0
    tilt = 0.1 * torch.randn(count, 1, width)
    return y * (1 + 0.1 * torch.randn(count, 1, 1)) + tilt + 0.05 * torch.randn_like(y)


def _normalized(train: np.ndarray, test: np.ndarray) -> list[Tensor]:
    """Both with the means and deviations of ``train``'s features removed."""
    mean, spread = train.mean((0, 1)), train.std((0, 1))
    return [torch.tensor((x - mean) / spread, dtype=torch.float32) for x in (train, test)]


def _classes(labels: np.ndarray) -> Tensor:
    return torch.tensor(labels.astype(np.int64))


def _unpacked(folder: Path, name: str) -> np.ndarray:
    data = gzip.decompress(_read(folder, name + ".gz"))
    _check(data, name, folder)
    return np.frombuffer(data, np.uint8)


def _arrays(folder: Path, name: str, keys: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The arrays called ``keys``; the checksum is that of their bytes one after the other."""
    data = _read(folder, name)
    try:
        with np.load(io.BytesIO(data)) as arrays:
            found = {key: arrays[key] for key in keys}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"{folder / name} is damaged or another file ({error}): it is an .npz file with "
            f"{', '.join(keys)}, as scripts/datasets.py describes them"
        ) from error
    _check(b"".join(array.tobytes() for array in found.values()), name, folder)
    return found


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read {folder / name}: {error.strerror}; --data names the folder that has it, "
            "--download fetches MNIST, and scripts/datasets.py says what the other sets are made of"
        ) from error


def _check(data: bytes, name: str, folder: Path) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != CHECKSUMS[name]:
        raise InputError(
            f"{folder / name} has the SHA-256 {found}, not {CHECKSUMS[name]}: it is damaged or "
            "another file; fetch it again"
        )
