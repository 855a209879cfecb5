"""Model Library Format, version 7: a compiled model as an uncompressed tar."""

from __future__ import annotations

import io
import json
import os
import tarfile
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tvm_kp.artifacts import Decision, Model, Operator, TensorSpec
from tvm_kp.errors import ModelError, OutputError

VERSION = 7


def write(model: Model, path: str | Path) -> None:
    """Write ``model`` to ``path``; raises ``OutputError`` and leaves nothing half-written."""
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with tarfile.open(partial, "w") as archive:
            for name, content in _members(model).items():
                info = tarfile.TarInfo(f"./{name}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OutputError(f"cannot write {path}: {error.strerror}") from error


def read(path: str | Path) -> Model:
    """The model in the archive at ``path``; raises ``ModelError`` for anything else."""
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"no archive at {path}; tvm-kp compile writes one")
    try:
        with tarfile.open(path, "r:") as archive:
            members = {
                info.name.removeprefix("./"): content.read()
                for info in archive.getmembers()
                if (content := archive.extractfile(info)) is not None
            }
        return _model(members)
    except (tarfile.TarError, OSError, KeyError, ValueError, TypeError, StopIteration) as error:
        raise ModelError(
            f"{path} is not a Model Library Format archive of tvm_kp "
            f"({type(error).__name__}: {error}); write one with tvm-kp compile"
        ) from error


def _members(model: Model) -> dict[str, bytes]:
    members = {"metadata.json": json.dumps(_metadata(model), indent=2, sort_keys=True) + "\n"}
    for name, text in model.sources.items():
        members[f"codegen/host/src/{name}"] = text
    members[f"codegen/host/include/{model.header_name}"] = model.header
    members[f"src/{model.name}.relax"] = model.relax
    content = {name: text.encode() for name, text in members.items()}
    content[f"parameters/{model.name}.params"] = model.params
    return content


def _metadata(model: Model) -> dict[str, Any]:
    return {
        "version": VERSION,
        "modules": {
            model.name: {
                "model_name": model.name,
                "export_datetime": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%SZ"),
                "style": "full-model",
                "target": [model.target],
                "executors": ["aot"],
                "external_dependencies": [],
                "memory": {"functions": _functions(model)},
                "decisions": [asdict(decision) for decision in model.decisions],
            }
        },
    }


def _functions(model: Model) -> dict[str, Any]:
    main = {
        "device": 1,
        # The operators' memory is planned together with main's.
        "workspace_size_bytes": model.workspace_bytes,
        "constants_size_bytes": model.constants_bytes,
        "tables_size_bytes": model.tables_bytes,
        "io_size_bytes": model.io_bytes,
        "state_size_bytes": model.state_bytes,
        "inputs": _tensors(model.inputs),
        "outputs": _tensors(model.outputs),
    }
    operators = [
        {
            "function_name": op.name,
            "workspace": [{"device": 1, "workspace_size_bytes": op.workspace_bytes}],
        }
        for op in model.operators
    ]
    return {"main": [main], "operator_functions": operators}


def _tensors(specs: tuple[TensorSpec, ...]) -> dict[str, Any]:
    return {
        spec.name: {
            "size": spec.nbytes,
            "dtype": spec.dtype,
            "shape": list(spec.shape),
            "position": position,
            **({} if spec.scale is None else {"scale": spec.scale}),
        }
        for position, spec in enumerate(specs)
    }


def _model(members: dict[str, bytes]) -> Model:
    metadata = json.loads(members["metadata.json"])
    if metadata["version"] != VERSION:
        raise ValueError(f"version {metadata['version']}, not {VERSION}")
    name, module = next(iter(metadata["modules"].items()))
    functions = module["memory"]["functions"]
    (main,) = functions["main"]
    operators = tuple(
        Operator(op["function_name"], op["workspace"][0]["workspace_size_bytes"])
        for op in functions["operator_functions"]
    )
    source = "codegen/host/src/"
    return Model(
        name=name,
        target=module["target"][0],
        inputs=_specs(main["inputs"]),
        outputs=_specs(main["outputs"]),
        header=members[f"codegen/host/include/tvmgen_{name}.h"].decode(),
        sources={
            path.removeprefix(source): content.decode()
            for path, content in members.items()
            if path.startswith(source)
        },
        operators=operators,
        workspace_bytes=main["workspace_size_bytes"],
        constants_bytes=main["constants_size_bytes"],
        tables_bytes=main["tables_size_bytes"],
        decisions=tuple(Decision.from_dict(entry) for entry in module["decisions"]),
        relax=members[f"src/{name}.relax"].decode(),
        params=members[f"parameters/{name}.params"],
        state_bytes=main["state_size_bytes"],
    )


def _specs(tensors: dict[str, Any]) -> tuple[TensorSpec, ...]:
    ordered = sorted(tensors.items(), key=lambda item: item[1]["position"])
    return tuple(
        TensorSpec(name, tuple(t["shape"]), t["dtype"], t.get("scale")) for name, t in ordered
    )
