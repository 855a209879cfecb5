"""Model Library Format, version 7: compiled models as an uncompressed tar."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tvm_kp.artifacts import Decision, Model, Operator, Pool, TensorSpec
from tvm_kp.errors import ModelError, OutputError

VERSION = 7


def write(models: Sequence[Model], path: str | Path) -> None:
    """Write ``models`` to ``path``, all or nothing.

    Raises ``OutputError``, and ``ModelError`` unless there are some and each has its own name.
    """
    path = Path(path)
    _check_names([model.name for model in models])
    partial = path.with_name(f".{path.name}.partial")
    try:
        with tarfile.open(partial, "w") as archive:
            for name, content in _members(models).items():
                info = tarfile.TarInfo(f"./{name}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OutputError(f"cannot write {path}: {error.strerror}") from error


def read(path: str | Path) -> tuple[Model, ...]:
    """The models in the archive at ``path``; raises ``ModelError`` for anything else."""
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
        metadata = json.loads(members["metadata.json"])
        if metadata["version"] != VERSION:
            raise ValueError(f"version {metadata['version']}, not {VERSION}")
        modules = metadata["modules"].items()
        return tuple(_model(name, module, members) for name, module in modules)
    except (tarfile.TarError, OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{path} is not a Model Library Format archive of tvm_kp "
            f"({type(error).__name__}: {error}); write one with tvm-kp compile"
        ) from error


def _check_names(names: Sequence[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ModelError(
            f"{names.count(twice[0])} models are called {twice[0]}, and so are their C functions: "
            "compile each with a --module-name of its own"
        )
    if not names:
        raise ModelError("there is no model to write")


def _members(models: Sequence[Model]) -> dict[str, bytes]:
    modules = {model.name: _metadata(model) for model in models}
    metadata = {"version": VERSION, "modules": modules}
    members = {"metadata.json": (json.dumps(metadata, indent=2, sort_keys=True) + "\n").encode()}
    for model in models:
        for name, text in model.sources.items():
            members[f"codegen/host/src/{name}"] = text.encode()
        for name, content in model.objects.items():
            members[f"codegen/host/lib/{name}"] = content
        members[f"codegen/host/include/{model.header_name}"] = model.header.encode()
        members[f"src/{model.name}.relax"] = model.relax.encode()
        members[f"src/{model.name}.json"] = model.relax_json.encode()
        members[f"parameters/{model.name}.params"] = model.params
    return members


def _metadata(model: Model) -> dict[str, Any]:
    return {
        "model_name": model.name,
        "export_datetime": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%SZ"),
        "style": "full-model",
        "target": [model.target],
        "executors": ["aot"],
        "external_dependencies": [],
        "sources": list(model.sources),
        "objects": list(model.objects),
        "core": model.core,
        "memory": {"functions": _functions(model)},
        "decisions": [asdict(decision) for decision in model.decisions],
    }


def _functions(model: Model) -> dict[str, Any]:
    main = {
        "device": 1,
        # The operators' memory is planned together with main's.
        "workspace_size_bytes": model.workspace_bytes,
        "workspace_lower_bound_bytes": model.workspace_bound,
        "workspace_planner": model.planner,
        "workspace_pools": [asdict(pool) for pool in model.pools],
        "workspace_pool_alignment": model.pool_alignment,
        "workspace_io": model.workspace_io,
        "constants_section": model.constants_section,
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
            "output_dtypes": list(op.output_dtypes),
            "constants_size_bytes": op.constants_bytes,
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


def _model(name: str, module: dict[str, Any], members: dict[str, bytes]) -> Model:
    functions = module["memory"]["functions"]
    (main,) = functions["main"]
    operators = tuple(
        Operator(
            op["function_name"],
            op["workspace"][0]["workspace_size_bytes"],
            tuple(op["output_dtypes"]),
            op["constants_size_bytes"],
        )
        for op in functions["operator_functions"]
    )
    return Model(
        name=name,
        target=module["target"][0],
        inputs=_specs(main["inputs"]),
        outputs=_specs(main["outputs"]),
        header=members[f"codegen/host/include/tvmgen_{name}.h"].decode(),
        sources={file: members[f"codegen/host/src/{file}"].decode() for file in module["sources"]},
        objects={file: members[f"codegen/host/lib/{file}"] for file in module["objects"]},
        core=module["core"],
        operators=operators,
        workspace_bytes=main["workspace_size_bytes"],
        constants_bytes=main["constants_size_bytes"],
        tables_bytes=main["tables_size_bytes"],
        decisions=tuple(Decision.from_dict(entry) for entry in module["decisions"]),
        relax=members[f"src/{name}.relax"].decode(),
        relax_json=members[f"src/{name}.json"].decode(),
        params=members[f"parameters/{name}.params"],
        state_bytes=main["state_size_bytes"],
        planner=main["workspace_planner"],
        workspace_bound=main["workspace_lower_bound_bytes"],
        pools=tuple(Pool(**pool) for pool in main["workspace_pools"]),
        pool_alignment=main["workspace_pool_alignment"],
        workspace_io=main["workspace_io"],
        constants_section=main["constants_section"],
    )


def _specs(tensors: dict[str, Any]) -> tuple[TensorSpec, ...]:
    ordered = sorted(tensors.items(), key=lambda item: item[1]["position"])
    return tuple(
        TensorSpec(name, tuple(t["shape"]), t["dtype"], t.get("scale")) for name, t in ordered
    )
