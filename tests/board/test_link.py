from __future__ import annotations

import ctypes
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_kp.artifacts import Model
from tvm_kp.board.layout import HOST_DRIVEN
from tvm_kp.board.link import Command, Link, NoAnswerError, decode, encode
from tvm_kp.board.project import create
from tvm_kp.errors import RunError
from tvm_kp.target import Target

TEMPLATES = Path(__file__).parent.parent.parent / "tvm_kp" / "board" / "templates"
LARGEST = 516
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wdouble-promotion", "-Werror")
# Zeros and long runs of others are what COBS is about.
payloads = st.one_of(
    st.binary(min_size=4, max_size=LARGEST),
    st.builds(
        lambda size, zeros: bytes(0 if i in zeros else 1 + i % 255 for i in range(size)),
        st.integers(4, LARGEST),
        st.sets(st.integers(0, LARGEST), max_size=4),
    ),
)


class CPayload(ctypes.Structure):
    _fields_ = (("bytes", ctypes.c_uint8 * LARGEST), ("size", ctypes.c_size_t))


class CLink:
    """link.c of the firmware, called here."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.library = library
        self.library.kp_decode.restype = self.library.kp_encode.restype = ctypes.c_size_t

    def encode(self, payload: bytes) -> bytes:
        frame = (ctypes.c_uint8 * 1000)()
        content = CPayload((ctypes.c_uint8 * LARGEST)(*payload), len(payload))
        size = self.library.kp_encode(ctypes.byref(content), frame)
        return bytes(frame[:size])

    def decode(self, stream: bytes) -> list[bytes]:
        """The payloads of all frames in ``stream``."""
        decoder = (ctypes.c_uint8 * 1000)()
        sizes = (self.library.kp_decode(decoder, ctypes.c_uint8(byte)) for byte in stream)
        return [bytes(decoder[:size]) for size in sizes if size]


@pytest.fixture(scope="module")
def c_link(tmp_path_factory: pytest.TempPathFactory) -> CLink:
    path = tmp_path_factory.mktemp("link") / "liblink.so"
    source = TEMPLATES / "link" / "link.c"
    subprocess.run(["gcc", *STRICT, "-O1", "-shared", "-fPIC", source, "-o", path], check=True)
    return CLink(ctypes.CDLL(str(path)))


@given(payload=payloads)
def test_both_sides_make_the_same_frame_and_read_it(c_link: CLink, payload: bytes) -> None:
    frame = encode(payload)
    assert c_link.encode(payload) == frame
    assert c_link.decode(frame) == [payload]
    assert frame.index(0) == len(frame) - 1 and decode(frame[:-1]) == payload


@given(
    stream=st.lists(
        st.one_of(
            payloads.map(encode),
            st.binary(max_size=700),
            st.binary(max_size=40).map(lambda data: data + b"\0"),
            st.tuples(payloads.map(encode), st.integers(1, 100)).map(lambda p: p[0][: -p[1]]),
        ),
        max_size=6,
    ).map(b"".join)
)
def test_both_sides_take_the_same_of_any_stream(c_link: CLink, stream: bytes) -> None:
    *frames, _ = stream.split(b"\0")
    expected = [payload for payload in map(decode, frames) if payload is not None]
    assert c_link.decode(stream) == [p for p in expected if len(p) <= LARGEST]


@given(garbage=st.binary(max_size=2000), payload=payloads)
def test_a_frame_after_garbage_and_a_zero_is_taken(
    c_link: CLink, garbage: bytes, payload: bytes
) -> None:
    assert c_link.decode(garbage + b"\0" + encode(payload))[-1] == payload


@given(payload=payloads, place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_flipped_bit_is_noticed(payload: bytes, place: int, bit: int) -> None:
    frame = bytearray(encode(payload)[:-1])
    frame[place % len(frame)] ^= 1 << bit
    assert decode(bytes(frame)) is None


def test_none_of_many_random_frames_is_taken(c_link: CLink) -> None:
    """Of as many, a CRC of 16 bits would let three through."""
    rng = np.random.default_rng(0)
    noise = rng.integers(1, 256, (200_000, 12), np.uint8)
    noise[:, -1] = 0
    noise[:, 0] = 11
    assert c_link.decode(noise.tobytes()) == []


def streams() -> bytes:
    """Streams for fuzz_server.c: noise, frames, spoiled frames, and messages."""
    rng = random.Random(0)
    made = []
    for _ in range(3000):
        header = rng.randbytes(2) + bytes([rng.randrange(4), rng.randrange(13)])
        frame = encode(header + rng.randbytes(rng.randrange(60)))
        messages = b""
        for _ in range(rng.randrange(8)):
            body = rng.choice([b"", rng.randbytes(2), bytes(rng.randrange(9)), rng.randbytes(7)])
            body += bytes(rng.choice([0, 0, 12, 500, 513]))
            messages += bytes([rng.randrange(13)]) + len(body).to_bytes(2, "little") + body
        cut = rng.randrange(len(frame))
        for kind, data in ((0, rng.randbytes(cut)), (0, frame), (0, frame[cut:] + frame)):
            made.append(bytes([kind]) + data)
        made.append(b"\1" + messages)
    return b"".join(len(stream).to_bytes(2, "little") + stream for stream in made)


@pytest.mark.parametrize("profile", [(), ("-DTVMGEN_PROFILE",)])
def test_no_stream_hurts_the_firmware(
    profile: tuple[str, ...], make_model: Callable[..., Model], tmp_path: Path
) -> None:
    folder = create(make_model(), Target.load("host"), tmp_path / "p", kind=HOST_DRIVEN).directory
    names = ("link", "server", "commands", "profile")
    sources = [Path(__file__).parent / "fuzz_server.c", *(folder / f"src/{n}.c" for n in names)]
    sources += folder.glob("model/*.c")
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", *profile]
    flags += ["-DKP_STANDALONE", *STRICT, f"-I{folder}/include", f"-I{folder}/model"]
    subprocess.run(["gcc", *flags, *sources, "-o", tmp_path / "fuzz"], check=True)
    done = subprocess.run([tmp_path / "fuzz"], input=streams(), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


class Echo:
    """A line to nobody that gives back what is said, and then ``more``."""

    retry_s = 0.01

    def __init__(self, more: Callable[[bytes], bytes] = lambda frame: b"") -> None:
        self.more = more
        self.pending = b""
        self.requests = 0

    def read(self, timeout_s: float) -> bytes:
        data, self.pending = self.pending, b""
        return data

    def write(self, data: bytes) -> None:
        self.requests += len(data) > 1
        self.pending += data + self.more(data)

    def close(self) -> None: ...


def test_an_echo_is_no_answer() -> None:
    line = Echo()
    with pytest.raises(NoAnswerError, match=r"b did not answer within 0\.1 s"):
        Link(line, "b", 0.1).hello()
    assert line.requests >= 3


def test_noise_without_an_end_is_bounded() -> None:
    line = Echo(lambda frame: b"\x55" * 100_000)
    with pytest.raises(NoAnswerError):
        Link(line, "b", 0.1).hello()


def test_another_protocol_version_is_told() -> None:
    def answer(frame: bytes) -> bytes:
        return encode(bytes([7, 0, 0, Command.HELLO | 0x80, 4, 9]) + bytes(5))

    with pytest.raises(RunError, match=r"speaks protocol 9, this tvm_kp 1.*build and flash"):
        Link(Echo(answer), "b", 1).hello()


def test_a_refusal_is_told() -> None:
    def answer(frame: bytes) -> bytes:
        return encode(bytes([0, 0, 1, Command.READ | 0x80, 3]))

    with pytest.raises(RunError, match="b refused READ: out of bounds"):
        Link(Echo(answer), "b", 1).call(Command.READ)
