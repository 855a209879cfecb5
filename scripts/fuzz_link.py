"""Sessions over lines that spoil frames, and the firmware's parser under a fuzzer.

Frames are corrupted, truncated, dropped, duplicated, reordered, sent again later or made up, in
both directions. A session either gets right values or ends with one error, that nobody answers; a
wrong value or any other error ends this with exit code 4. The model adds up what it is given, so
that a run too many or too few shows in all that follows.

``--minutes`` runs the firmware's parser and commands under libFuzzer with the sanitizers of clang
for addresses and undefined behavior instead.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from faulty_line import FAULTS, FaultyLine

import tvm_kp
from tvm_kp import report
from tvm_kp.artifacts import Model, Operator, TensorSpec
from tvm_kp.board import Project, create
from tvm_kp.board.layout import HOST_DRIVEN
from tvm_kp.board.link import NoAnswerError
from tvm_kp.board.session import connect
from tvm_kp.board.transport import Transport
from tvm_kp.cli import console
from tvm_kp.errors import MissingToolError, RunError, TvmKpError

HARNESS = Path(__file__).parent.parent / "tests" / "board" / "fuzz_server.c"
RATES = (0.05, 0.2, 0.5)  # of spoiled frames, one a session
STEPS = 50  # of a session
TIMEOUT_S = 0.7
RETRY_S = {"host": 0.004, "qemu": 0.02}
SIZE = 160

HEADER = """\
#include <stdint.h>
struct tvmgen_sum_inputs { void *x; };
struct tvmgen_sum_outputs { void *total, *steps; };
struct tvmgen_sum_state { uint32_t total[160], steps; };
int32_t tvmgen_sum_step(struct tvmgen_sum_inputs *inputs, struct tvmgen_sum_outputs *outputs,
                        struct tvmgen_sum_state *state);
int32_t tvmgen_sum_reset(struct tvmgen_sum_state *state);
"""
SOURCE = """\
#include "tvmgen_sum.h"
#include <string.h>
int32_t tvmgen_sum_step(struct tvmgen_sum_inputs *inputs, struct tvmgen_sum_outputs *outputs,
                        struct tvmgen_sum_state *state) {
  const uint32_t *const x = (const uint32_t *)inputs->x;
  for (int32_t i = 0; i < 160; ++i) state->total[i] += x[i];
  state->steps += 1;
  memcpy(outputs->total, state->total, sizeof state->total);
  memcpy(outputs->steps, &state->steps, sizeof state->steps);
  return 0;
}
int32_t tvmgen_sum_reset(struct tvmgen_sum_state *state) {
  memset(state, 0, sizeof *state);
  return 0;
}
"""
SUM = Model(
    name="sum",
    target="any",
    inputs=(TensorSpec("x", (SIZE,), "int32"),),
    outputs=(TensorSpec("total", (SIZE,), "int32"), TensorSpec("steps", (1,), "int32")),
    header=HEADER,
    sources={"sum_lib0.c": SOURCE},
    operators=(Operator("tvmgen_sum_step"),),
    workspace_bytes=0,
    constants_bytes=0,
    state_bytes=4 * (SIZE + 1),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Fuzz and print what was done; the exit code is not 0 if anything was found."""
    args = _parse(argv)
    try:
        with tempfile.TemporaryDirectory(prefix="tvm_kp-") as folder:
            if args.minutes is not None:
                fuzz_parser(Path(folder), args.minutes)
                return 0
            for target in args.targets:
                made = create(
                    SUM, tvm_kp.Target.load(target), Path(folder) / target, kind=HOST_DRIVEN
                )
                begin = time.monotonic()
                counts = fuzz_sessions(made, args.frames, args.seed)
                _print(target, counts, time.monotonic() - begin)
    except TvmKpError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def fuzz_sessions(project: Project, frames: int, seed: int) -> Counter[str]:
    """Sessions with one firmware until ``frames`` were spoiled, both directions together.

    What came of them: frames that went in, those spoiled by each of `FAULTS`, sessions,
    inferences, and sessions that ended because nobody answered. Raises RunError for a wrong value
    and any other end.
    """
    counts: Counter[str] = Counter()
    retry_s = RETRY_S[project.target.runner.kind]
    line = connect(project)
    try:
        while sum(counts[fault] for fault in FAULTS) < frames:
            rate = RATES[counts["sessions"] % len(RATES)]
            faulty = FaultyLine(line, seed + counts["sessions"], rate, retry_s)
            counts["sessions"] += 1
            try:
                _converse(project, faulty, np.random.default_rng(seed), counts)
            except NoAnswerError:
                counts["ended"] += 1
            counts += faulty.counts
    finally:
        line.close()
    return counts


def _converse(
    project: Project, line: Transport, rng: np.random.Generator, counts: Counter[str]
) -> None:
    """One session, whose outputs must be the sums of its inputs."""
    total = np.zeros(SIZE, np.int32)
    with tvm_kp.Session(project, timeout_s=TIMEOUT_S, transport=line) as session:
        for step in range(1, STEPS + 1):
            x = rng.integers(-1000, 1000, SIZE, np.int32)
            total += x
            found = session.step(x=x)
            if not np.array_equal(found["total"], total) or found["steps"] != [step]:
                raise RunError(f"wrong values in step {step} of session {counts['sessions']}")
            counts["inferences"] += 1


def fuzz_parser(folder: Path, minutes: float) -> None:
    """Run libFuzzer on link.c and server.c. Raises MissingToolError, and RunError for a finding."""
    clang = next(
        filter(None, map(shutil.which, ("clang", *(f"clang-{n}" for n in range(19, 13, -1))))), None
    )
    if clang is None:
        install = "sudo apt-get install clang libclang-rt-dev"
        raise MissingToolError(
            f"clang is not installed, libFuzzer is a part of it; type: {install}"
        )
    project = create(SUM, tvm_kp.Target.load("host"), folder / "project", kind=HOST_DRIVEN)
    image = folder / "fuzz_server"
    flags = ["-g", "-O1", "-std=c99", "-DTVMGEN_PROFILE", "-fsanitize=fuzzer,address,undefined"]
    flags += ["-fno-sanitize-recover=all", *fuzzed(project)]
    done = subprocess.run([clang, *flags, "-o", str(image)], capture_output=True, text=True)
    if done.returncode:
        raise RunError(f"{clang} refused the harness: {done.stderr.strip()[:500]}")
    limits = [f"-max_total_time={round(60 * minutes)}", "-max_len=4096", "-print_final_stats=1"]
    if subprocess.run([image, *limits], cwd=folder, check=False).returncode:
        raise RunError("libFuzzer found something, see above")


def fuzzed(project: Project) -> list[str]:
    """The sources of the harness and what it drives, and where their headers are."""
    folder = project.directory
    sources = [
        HARNESS,
        *(folder / "src" / f"{name}.c" for name in ("link", "server", "commands", "profile")),
    ]
    sources += sorted((folder / "model").glob("*.c"))
    return [*map(str, sources), *(f"-I{folder / name}" for name in ("include", "model"))]


def _print(target: str, counts: Counter[str], seconds: float) -> None:
    keys = ("frames", *FAULTS, "sessions", "inferences", "ended")
    rows = tuple((key, counts[key]) for key in keys)
    note = f"{seconds:.0f} s; ended: sessions that nobody answered. No value was wrong."
    console.stdout().print(
        report.Table(f"Spoiled lines to {target}", ("what", "count"), rows, note)
    )


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/fuzz_link", description=__doc__)
    parser.add_argument("--targets", nargs="+", default=["host", "mps2-an386"], metavar="NAME")
    parser.add_argument(
        "--frames", type=int, default=100_000, metavar="N", help="spoiled, a target"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, help="run libFuzzer for so long instead")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
