"""The data sets of the benchmarks, from a folder with a subfolder for each.

``mnist`` are the four idx files, which ``download`` fetches. The others are arrays made of public
sets: ``usps/usps.npz`` the grey values times 1000 of the classic split, ``uci_har/uci_har.npz`` the
windows of UCI's smartphone data, (N, 128, 9), and ``speech_commands_v2/gsc_v2_testset_mfcc.npz``
49 × 10 MFCCs of the official test set of Speech Commands v0.02 (40 ms Hann windows, 20 ms apart, 40
mel bands from 20 to 4000 Hz). Whatever is read must have the checksum below.
"""

from __future__ import annotations

import gzip
import hashlib
import urllib.request
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
    "usps/usps.npz": "86982223aafab8bcd6eee1f2247dd559ee592094358db1d0a58ef75348150a26",
    "uci_har/uci_har.npz": "11b3a093babd71206f82a882c107bf6fd33ac4518eccd332689a3b2c93ef870b",
    "speech_commands_v2/gsc_v2_testset_mfcc.npz": (
        "9d2a5ba17bb628a395064ac84e6e04cf58a332fb378b9237c61371a5cfec7a22"
    ),
}


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
    arrays = _arrays(folder, "usps/usps.npz")

    def part(name: str) -> tuple[Tensor, Tensor]:
        images = torch.tensor(arrays[f"X_{name}"] / 1000, dtype=torch.float32)
        return images, _classes(arrays[f"y_{name}"])

    return Data(part("train"), part("test"))


def har(folder: Path) -> Data:
    """64 steps of 9 channels at 25 Hz: every other sample, normalized by channel."""
    arrays = _arrays(folder, "uci_har/uci_har.npz")
    x = _normalized(*(arrays[f"X_{part}"][:, 1::2] for part in ("train", "test")))
    y = [_classes(arrays[f"y_{part}"]) - 1 for part in ("train", "test")]
    return Data((x[0], y[0]), (x[1], y[1]))


def keywords(folder: Path) -> Data:
    """25 steps of 10 MFCCs, 40 ms apart, normalized; training samples keep all 49 frames.

    The set is small, so what is trained on is shifted in time, masked, scaled and made noisy. The
    speakers of the validation part are trained on too: nothing is chosen by it.
    """
    arrays = _arrays(folder, "speech_commands_v2/gsc_v2_testset_mfcc.npz")
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


def _arrays(folder: Path, name: str) -> dict[str, np.ndarray]:
    _check(_read(folder, name), name, folder)
    with np.load(folder / name) as arrays:
        return dict(arrays)


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
