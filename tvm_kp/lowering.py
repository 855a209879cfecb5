"""From a PyTorch model to a legalized Relax module: what compiling and tuning share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tvm_kp import board, calibration, tuning_records
from tvm_kp.artifacts import Quantized, TensorSpec
from tvm_kp.c.memory_settings import CONSTANTS_SECTION, MemorySettings
from tvm_kp.c.names import c_name
from tvm_kp.c.planners import BEST
from tvm_kp.errors import InputError
from tvm_kp.optimization import OPTIMIZE, SIZE, SPEED
from tvm_kp.quantizations import CALIBRATION_RANGES, IO_BITS, QUANTIZATIONS
from tvm_kp.structure import Doped
from tvm_kp.target import Target

if TYPE_CHECKING:
    import tvm

    from tvm_kp.kernel.tuned import TunedWays

Progress = Callable[[str, float], None]
SHIPPED, NO_RECORDS = "shipped", "none"


@dataclass(frozen=True)
class Options:
    """How to compile.

    ``dump`` is a folder for the module after every pass, ``disabled_pass`` names passes to leave
    out, ``factorize`` says whether structured weights are kept as factors, ``tolerance`` is the
    relative Frobenius error up to which a weight may be replaced by a structure (0: exact ones
    only), ``workspace_alignment`` is that of every buffer, in bytes (at least 4), and with
    ``stream`` the C is one time step whose state the caller keeps.

    ``quantize`` names one of ``QUANTIZATIONS``, None leaving the model in float. ``calibration``
    are inputs to choose ranges and measure errors by: see ``tvm_kp.calibration.read``;
    ``calibration_range`` is one of ``CALIBRATION_RANGES``. ``io`` is the type in which inputs
    are taken and outputs given, float32, int8 or int16, and with ``allow_float`` an operator
    without an integer form runs in float.

    ``tuning_records`` is a file of ``tvm_kp.tune``, "shipped" for those that come with the
    package for the target's core, or "none".

    ``optimize`` is one of ``OPTIMIZE``: "size" gives C that compilers make smaller, and leaves
    shipped records out, which are of fast kernels.

    ``memory_planner`` is one of ``PLANNERS``. ``workspace_pools`` are memories that the caller
    provides instead of the model, filled in their order: names with the bytes that there are, or
    None for as many as needed. With ``workspace_io`` inputs and outputs lie in the workspace too,
    and ``constants_section`` is the section that the weights go to.
    """

    module_name: str = "default"
    dump: Path | None = None
    disabled_pass: tuple[str, ...] = ()
    factorize: bool = True
    tolerance: float = 0.0
    workspace_alignment: int = 8
    stream: bool = False
    quantize: str | None = None
    calibration: calibration.Source | None = None
    calibration_range: str = "min-max"
    io: str = "float32"
    allow_float: bool = False
    tuning_records: str | Path = SHIPPED
    optimize: str = SPEED
    memory_planner: str = BEST
    workspace_pools: Mapping[str, int | None] = field(default_factory=dict)
    workspace_io: bool = False
    constants_section: str = CONSTANTS_SECTION

    def __post_init__(self) -> None:
        known = {
            "quantize": (None, *QUANTIZATIONS),
            "calibration_range": CALIBRATION_RANGES,
            "io": tuple(IO_BITS),
            "optimize": OPTIMIZE,
        }
        for name, values in known.items():
            if (value := getattr(self, name)) not in values:
                raise InputError(f"{name} is {value!r}; there are {', '.join(map(str, values))}")
        if self.quantize is None and (self.io != "float32" or self.allow_float):
            raise InputError("io and allow_float are of quantized models: give quantize too")
        _ = self.memory  # raises InputError

    @property
    def memory(self) -> MemorySettings:
        return MemorySettings(
            self.memory_planner, self.workspace_pools, self.workspace_io, self.constants_section
        )

    @property
    def weight_bytes(self) -> int:
        """Of each weight that has an integer form, or of a float."""
        return 4 if self.quantize is None else 1

    @property
    def keeps_factors(self) -> bool:
        return self.factorize and "FactorizeKronecker" not in self.disabled_pass


@dataclass(frozen=True)
class Lowered:
    """A legalized module, ``legal``, and ``mod``, which has what was decided of it.

    ``initial`` is what the states of a stream start as.
    """

    mod: tvm.IRModule
    legal: tvm.IRModule
    initial: Sequence[np.ndarray]
    integers: Integers | None


def lower(
    source: Any,
    target: Target,
    example_inputs: Sequence[Any] | None,
    options: Options,
    stage: Stages,
) -> Lowered:
    """The module of a model, ready to be scheduled; ``stage`` is told of every part of it."""
    with stage("load TVM"):
        from tvm_kp import graph
    with stage("import"):
        mod = graph.import_torch(source, example_inputs, batches=target.platform == "host")
    with stage("normalize"):
        mod = graph.normalize()(mod)
        streamed = graph.Stream(mod)
        if options.stream and options.quantize is None:
            streamed = graph.stream(mod)
    with stage("recognize"):
        mod = graph.RecognizeKronecker(options.tolerance)(streamed.mod)
        if options.quantize is not None:
            mod = graph.leave_dense(mod, Doped.name, "has no integer form")
    with stage("factorize"):
        factored = graph.FactorizeKronecker()(mod) if options.keeps_factors else mod
    integers = None
    if options.quantize is not None:
        integers = _quantize(factored, options, stage)
        # After calibration, for which a step would need the states of the one before.
        factored = integers.mod
        streamed = graph.stream(factored) if options.stream else graph.Stream(factored)
        factored = streamed.mod
    with stage("legalize"):
        legal = graph.legalize()(factored)
    return Lowered(mod, legal, streamed.initial, integers)


class Integers(NamedTuple):
    """A quantized module, the scales of its inputs and outputs, and what there is to report."""

    mod: tvm.IRModule
    scales: tuple[tuple[float | None, ...], tuple[float | None, ...]]
    report: Quantized


def _quantize(mod: tvm.IRModule, options: Options, stage: Stages) -> Integers:
    from tvm_kp import graph

    bits = QUANTIZATIONS[options.quantize or ""]
    how = graph.Quantization(bits, IO_BITS[options.io], options.allow_float)
    with stage("calibrate"):
        arranged = graph.arrange()(mod)
        specs = [
            TensorSpec(c_name(param.name), tuple(map(int, param.ty.shape)), param.ty.dtype.dtype)
            for param in mod["main"].params
        ]
        given = calibration.read(options.calibration, specs)
        arrays = board.as_records(specs, given.arrays).values()
        records = [tuple(record) for record in zip(*arrays, strict=True)]
        ranges = graph.calibrate(arranged, records, options.calibration_range)
    with stage("quantize"):
        quantized = graph.quantize(arranged, ranges, how)
    with stage("measure"):
        labels = calibration.checked_labels(given, len(records))
        tensors, accuracies = graph.measure(arranged, quantized, records, labels)
    report = Quantized(options.quantize or "", given.source, len(records), tensors, accuracies)
    return Integers(quantized.mod, (quantized.inputs, quantized.outputs), report)


def tuned_ways(options: Options, target: Target) -> TunedWays:
    """What the records of ``options`` know; raises ``InputError`` if they cannot be read.

    Those nearest to time count, see ``tuning_records.nearest``.
    """
    import tvm

    from tvm_kp.kernel.tuned import TunedWays

    chosen = options.tuning_records
    path = tuning_records.shipped(target.core) if chosen == SHIPPED else Path(chosen)
    fast = chosen == SHIPPED and options.optimize == SIZE
    if chosen == NO_RECORDS or path is None or fast:
        return TunedWays(tuning_records.Best(target.core), target.isa)
    found = tuning_records.read(path)
    best = tuning_records.nearest(found.records, target.core, tvm.__version__, target.name)
    return TunedWays(best, target.isa, len(found.damaged), target.codegen.kind)


def pass_context(options: Options) -> tvm.transform.PassContext:
    import tvm
    from tvm.ir.instrument import DumpIR

    instruments = [] if options.dump is None else [DumpIR(options.dump)]
    return tvm.transform.PassContext(
        disabled_pass=list(options.disabled_pass), instruments=instruments
    )


class Stages:
    """Times the stages: ``seconds`` by name."""

    def __init__(self, progress: Progress | None) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = progress

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start
        if self._progress is not None:
            self._progress(name, self.seconds[name])
