"""From a PyTorch model to C, and from C to a run: the stages in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tvm_kp import board, calibration
from tvm_kp.artifacts import (
    Footprint,
    Model,
    OutputError,
    Quantized,
    Recurrence,
    RunResult,
    TensorSpec,
)
from tvm_kp.c import library_format
from tvm_kp.c.names import c_name, c_part
from tvm_kp.errors import InputError, TargetError
from tvm_kp.quantizations import CALIBRATION_RANGES, IO_BITS, QUANTIZATIONS
from tvm_kp.structure import Doped
from tvm_kp.target import Target, names

if TYPE_CHECKING:
    import torch
    import tvm

Progress = Callable[[str, float], None]

LEAST_ALIGNMENT = 4  # of buffers, in bytes: kernels load several words at once


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

    def __post_init__(self) -> None:
        known = {
            "quantize": (None, *QUANTIZATIONS),
            "calibration_range": CALIBRATION_RANGES,
            "io": tuple(IO_BITS),
        }
        for name, values in known.items():
            if (value := getattr(self, name)) not in values:
                raise InputError(f"{name} is {value!r}; there are {', '.join(map(str, values))}")
        if self.quantize is None and (self.io != "float32" or self.allow_float):
            raise InputError("io and allow_float are of quantized models: give quantize too")

    @property
    def keeps_factors(self) -> bool:
        return self.factorize and "FactorizeKronecker" not in self.disabled_pass


@dataclass(frozen=True)
class Compiled:
    """A compiled model, its size on the target, and what is known of how it was compiled.

    ``stages`` are the seconds that each took, ``recurrences`` what became of the loops that
    PyTorch had unrolled, ``output_errors`` what approximate weights change on the calibration
    inputs, ``quantized`` how the model was quantized.
    """

    model: Model
    target: Target
    footprint: Footprint
    stages: Mapping[str, float] = field(default_factory=dict)
    recurrences: tuple[Recurrence, ...] = ()
    output_errors: tuple[OutputError, ...] = ()
    quantized: Quantized | None = None

    def save(self, path: str | Path) -> None:
        """Write a Model Library Format archive; raises ``OutputError``."""
        library_format.write(self.model, path)


def compile(
    source: torch.nn.Module | torch.export.ExportedProgram | str | Path,
    target: str | Target,
    *,
    example_inputs: Sequence[Any] | None = None,
    options: Options | None = None,
    progress: Progress | None = None,
) -> Compiled:
    """Compile a model to C for ``target``.

    ``source`` is an ``nn.Module`` (with ``example_inputs``), an ``ExportedProgram`` or a ``.pt2``
    file. ``progress(stage, seconds)`` is called after each stage. Raises ``ModelError``,
    ``TargetError``, ``FitError``, ``BuildError``, ``OutputError`` or ``MissingToolError``.
    """
    options = options or Options()
    target = Target.load(target) if isinstance(target, str) else target
    board.find_compiler(target)
    stage = _Stages(progress)
    with stage("load TVM"):
        from tvm_kp import graph
        from tvm_kp.c.model import make_model
        from tvm_kp.kernel.schedule import schedule
    with stage("import"):
        mod = graph.import_torch(source, example_inputs, batches=target.platform == "host")
    with _pass_context(options):
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
        with stage("schedule"):
            kernels = schedule(legal, target.isa)
        with stage("emit"):
            model = make_model(
                legal,
                kernels,
                name=c_part(options.module_name),
                target=target.name,
                alignment=max(LEAST_ALIGNMENT, options.workspace_alignment),
                decisions=graph.decisions(mod, kept=options.keeps_factors),
                initial=streamed.initial,
                scales=None if integers is None else integers.scales,
            )
    with stage("footprint"):
        footprint = board.footprint(model, target)
        board.check_fit(footprint, target)
    errors: tuple[OutputError, ...] = ()
    if options.calibration is not None and (options.tolerance or options.quantize is None):
        with stage("output errors"):
            errors = _output_errors(source, example_inputs, options)
    return Compiled(
        model,
        target,
        footprint,
        stage.seconds,
        graph.recurrences(mod),
        errors,
        None if integers is None else integers.report,
    )


class _Integers(NamedTuple):
    """A quantized module, the scales of its inputs and outputs, and what there is to report."""

    mod: tvm.IRModule
    scales: tuple[tuple[float | None, ...], tuple[float | None, ...]]
    report: Quantized


def _quantize(mod: tvm.IRModule, options: Options, stage: _Stages) -> _Integers:
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
    return _Integers(quantized.mod, (quantized.inputs, quantized.outputs), report)


def _output_errors(
    source: Any, example_inputs: Sequence[Any] | None, options: Options
) -> tuple[OutputError, ...]:
    """Run the model here with the weights it has, and with those that replace them."""
    kept = replace(options, calibration=None, dump=None, quantize=None, stream=False)
    given: calibration.Calibration | None = None

    def outputs(tolerance: float) -> Mapping[str, np.ndarray]:
        nonlocal given
        one = replace(kept, tolerance=tolerance)
        model = compile(source, "host", example_inputs=example_inputs, options=one).model
        given = given or calibration.read(options.calibration, model.inputs)
        return run(model, "host", given.arrays).outputs

    exact, near = outputs(0.0), outputs(options.tolerance)
    return tuple(
        OutputError(
            name,
            float(np.abs(near[name] - values).max()),
            float(np.linalg.norm(near[name] - values) / (np.linalg.norm(values) or 1.0)),
        )
        for name, values in exact.items()
    )


def load(path: str | Path) -> Model:
    """The model in a Model Library Format archive; raises ``ModelError``."""
    return library_format.read(path)


def build(
    model: Model, target: str | Target, directory: str | Path, *, force: bool = False
) -> board.Project:
    """A project folder for ``model`` with its firmware, or host library, built.

    ``force`` replaces a project that is there. Raises ``OutputError``, ``BuildError``,
    ``FitError`` or ``MissingToolError``.
    """
    target = Target.load(target) if isinstance(target, str) else target
    project = board.create(model, target, directory, force)
    board.build(project)
    return project


def run(
    model: Model,
    target: str | Target,
    inputs: Mapping[str, np.ndarray],
    *,
    repeat: int = 1,
    profile: bool = False,
    timeout_s: float | None = None,
) -> RunResult:
    """Run ``model`` on ``target``: here, or on the emulated board.

    ``inputs`` maps every input to an array of its shape, or to several stacked. ``profile``
    counts each operator by itself; ``timeout_s`` ends an emulator that hangs. Raises
    ``InputError``, ``BuildError``, ``FitError``, ``RunError`` or ``MissingToolError``.
    """
    target = Target.load(target) if isinstance(target, str) else target
    _check_compiled_for(model, target)
    return board.run(model, target, inputs, repeat=repeat, profile=profile, timeout_s=timeout_s)


def _check_compiled_for(model: Model, target: Target) -> None:
    """Refuse C that uses instructions that ``target`` does not have."""
    if model.target in names():
        lacking = set(Target.load(model.target).isa) - set(target.isa)
        if lacking:
            raise TargetError(
                f"model {model.name} was compiled for {model.target} and may use its "
                f"{', '.join(sorted(lacking))}, which {target.name} lacks; compile it for "
                f"{target.name}"
            )


def _pass_context(options: Options) -> tvm.transform.PassContext:
    import tvm
    from tvm.ir.instrument import DumpIR

    instruments = [] if options.dump is None else [DumpIR(options.dump)]
    return tvm.transform.PassContext(
        disabled_pass=list(options.disabled_pass), instruments=instruments
    )


class _Stages:
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
