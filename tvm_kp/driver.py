"""From a PyTorch model to C, and from C to a run: the stages in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tvm_kp import board, calibration
from tvm_kp.artifacts import Footprint, Model, OutputError, Quantized, Recurrence, RunResult
from tvm_kp.c import library_format
from tvm_kp.c.names import c_part
from tvm_kp.codegen import LLVM
from tvm_kp.errors import InputError, ModelError, TargetError, told
from tvm_kp.lowering import Options, Progress, Stages, lower, pass_context, tuned_ways
from tvm_kp.optimization import SPEED
from tvm_kp.target import Target, names

if TYPE_CHECKING:
    import torch
    import tvm

LEAST_ALIGNMENT = 4  # of buffers, in bytes: kernels load several words at once


@dataclass(frozen=True)
class Compiled:
    """A compiled model, its size on the target, and what is known of how it was compiled.

    ``stages`` are the seconds that each took, ``recurrences`` what became of the loops that
    PyTorch had unrolled, ``output_errors`` what approximate weights change on the calibration
    inputs, ``quantized`` how the model was quantized. Of its kernels, ``tuned`` are scheduled as
    records of tuning say; ``stale`` records were ignored, and ``damaged`` lines that are none.
    """

    model: Model
    target: Target
    footprint: Footprint
    stages: Mapping[str, float] = field(default_factory=dict)
    recurrences: tuple[Recurrence, ...] = ()
    output_errors: tuple[OutputError, ...] = ()
    quantized: Quantized | None = None
    tuned: int = 0
    stale: int = 0
    damaged: int = 0

    def save(self, path: str | Path) -> None:
        """Write a Model Library Format archive; raises ``OutputError``."""
        library_format.write([self.model], path)


def compile(
    source: torch.nn.Module | torch.export.ExportedProgram | str | Path,
    target: str | Target,
    *,
    example_inputs: Sequence[Any] | None = None,
    options: Options | None = None,
    progress: Progress | None = None,
) -> Compiled:
    """Compile a model to C for ``target``, or to an object if its TOML says so.

    ``source`` is an ``nn.Module`` (with ``example_inputs``), an ``ExportedProgram`` or a ``.pt2``
    file. ``progress(stage, seconds)`` is called after each stage. Raises ``ModelError``,
    ``InputError``, ``TargetError``, ``FitError``, ``BuildError``, ``OutputError`` or
    ``MissingToolError``.
    """
    options = options or Options()
    target = Target.load(target) if isinstance(target, str) else target
    llvm = target.codegen.kind == LLVM
    if llvm:
        _check_object(options)
    else:
        board.find_compiler(target)
    stage = Stages(progress)
    with pass_context(options):
        lowered = lower(source, target, example_inputs, options, stage)
        from tvm_kp import graph
        from tvm_kp.c.model import make_model
        from tvm_kp.kernel.schedule import schedule

        with stage("schedule"):
            tuned = tuned_ways(options, target)
            kernels = schedule(lowered.legal, target.isa, tuned, target.codegen.kind)
        with stage("emit"):
            model = make_model(
                lowered.legal,
                kernels,
                name=c_part(options.module_name),
                target=target.name,
                alignment=max(LEAST_ALIGNMENT, options.workspace_alignment),
                decisions=graph.decisions(lowered.mod, options.keeps_factors, options.weight_bytes),
                initial=lowered.initial,
                scales=None if lowered.integers is None else lowered.integers.scales,
                memory=options.memory,
                optimize=options.optimize,
                llvm=target if llvm else None,
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
        graph.recurrences(lowered.mod),
        errors,
        None if lowered.integers is None else lowered.integers.report,
        tuned.used,
        tuned.stale,
        tuned.damaged,
    )


def _check_object(options: Options) -> None:
    """Refuse what only C can have."""
    if options.workspace_io:
        raise InputError(
            "inputs and outputs in the workspace are for kind c: objects have no functions that "
            "tell where these are; compile to C, or keep them apart"
        )
    if options.optimize != SPEED:
        raise InputError(
            f"optimize is {options.optimize!r}: that is for kind c, what LLVM makes is the same; "
            "compile to C, or leave it out"
        )


def _output_errors(
    source: Any, example_inputs: Sequence[Any] | None, options: Options
) -> tuple[OutputError, ...]:
    """Run the model here with the weights it has, and with those that replace them."""
    own = replace(options, workspace_pools={}, workspace_io=False)
    kept = replace(own, calibration=None, dump=None, quantize=None, stream=False)
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


def export_library(models: Sequence[Compiled | Model], path: str | Path) -> None:
    """Write models, for one firmware, to a Model Library Format archive, all or nothing.

    Raises ``OutputError``, and ``ModelError`` if two have one name.
    """
    library_format.write([m.model if isinstance(m, Compiled) else m for m in models], path)


def load_mlf(path: str | Path) -> dict[str, Model]:
    """The models in a Model Library Format archive by name; raises ``ModelError``."""
    return {model.name: model for model in library_format.read(path)}


def load(path: str | Path, name: str | None = None) -> Model:
    """The model in a Model Library Format archive, or that of several which is called ``name``.

    Raises ``ModelError``.
    """
    models = load_mlf(path)
    there = ", ".join(models)
    if name is None and len(models) > 1:
        raise ModelError(f"{path} has several models: {there}; say which")
    if name is not None and name not in models:
        raise ModelError(f"{path} has no model {name}; there are {there}")
    return models[name] if name is not None else next(iter(models.values()))


def relax_module(model: Model) -> tvm.IRModule:
    """The Relax module, weights included, that the C of ``model`` was made of.

    Raises ``ModelError`` if this TVM cannot read it.
    """
    import tvm

    try:
        return tvm.ir.load_json(model.relax_json)
    except Exception as error:  # TVM raises many kinds
        raise ModelError(
            f"the Relax module of {model.name} cannot be read: {told(error)}"
        ) from None


def build(
    model: Model,
    target: str | Target,
    directory: str | Path,
    *,
    force: bool = False,
    kind: str = "host_driven",
) -> board.Project:
    """A project folder for ``model`` with its firmware built.

    ``kind`` is ``host_driven``, for a ``Session``, or ``batch``, which runs many inferences and
    ends. ``force`` replaces a project that is there. Raises ``OutputError``, ``BuildError``,
    ``FitError`` or ``MissingToolError``.
    """
    target = Target.load(target) if isinstance(target, str) else target
    project = board.create(model, target, directory, force, kind)
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


def trace(
    model: Model,
    target: str | Target,
    inputs: Mapping[str, np.ndarray],
    *,
    timeout_s: float | None = None,
) -> list[board.CallOutput]:
    """What every operator of ``model`` gives on ``target``, call by call, over all inferences.

    Takes and raises what `run` does, and ``TargetError`` for an attached board.
    """
    target = Target.load(target) if isinstance(target, str) else target
    _check_compiled_for(model, target)
    return board.trace_operators(model, target, inputs, timeout_s)


def _check_compiled_for(model: Model, target: Target) -> None:
    """Refuse code that uses instructions that ``target`` does not have."""
    if model.core and model.core != target.core:
        raise TargetError(
            f"model {model.name} is an object for {model.core}, and {target.name} has a "
            f"{target.core}; compile it for {target.name}"
        )
    if model.target in names():
        lacking = set(Target.load(model.target).isa) - set(target.isa)
        if lacking:
            raise TargetError(
                f"model {model.name} was compiled for {model.target} and may use its "
                f"{', '.join(sorted(lacking))}, which {target.name} lacks; compile it for "
                f"{target.name}"
            )
