"""kp_model.h, through which the harness of a project knows its model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from tvm_kp.artifacts import Model, TensorSpec
from tvm_kp.board.template import filled

POOL_SECTION = ".bss.noinit.pool."
_IDENTITY_BYTES = 8


def identity(model: Model) -> bytes:
    """What tells the code of ``model`` from that of another: 8 bytes."""
    digest = hashlib.sha256(model.header.encode())
    for name, text in sorted(model.sources.items()):
        digest.update(f"{name}\0{text}\0".encode())
    for name, content in sorted(model.objects.items()):
        digest.update(f"{name}\0".encode() + content)
    return digest.digest()[:_IDENTITY_BYTES]


def model_header(model: Model) -> str:
    """kp_model.h: a buffer for each tensor, tables and structs that point to them."""
    both = (("INPUT", model.inputs), ("OUTPUT", model.outputs))
    values = {
        "NAME": model.name,
        "HEADER": model.header_name,
        "OPERATOR_COUNT": str(len(model.operators)),
        "IDENTITY": ", ".join(f"0x{byte:02x}" for byte in identity(model)),
        "POOLS": "".join(f"{line}\n" for line in _pools(model)),
        **_entry(model),
        "BUFFERS": "\n".join(
            f"static uint8_t {_buffer(kind, t)}[{t.nbytes}] __attribute__((aligned(16)));"
            for kind, tensors in both
            for t in tensors
        ),
    }
    for kind, tensors in both:
        names = [(t.name, _buffer(kind, t)) for t in tensors]
        values[f"{kind}_COUNT"] = str(len(tensors))
        values[f"{kind}_TABLE"] = _rows(f"{{{b}, sizeof {b}}}" for _, b in names)
        values[f"{kind}_FIELDS"] = _rows(f".{name} = {b}" for name, b in names)
        values[f"{kind}_PLACES"] = "\n".join(
            f"  buffers[{index}] = (struct kp_buffer){{at.{t.name}, {t.nbytes}}};"
            for index, t in enumerate(tensors)
        )
    values["TENSORS"] = filled("mapped.h.in" if model.workspace_io else "buffers.h.in", values)
    return filled("kp_model.h.in", values)


def _entry(model: Model) -> dict[str, str]:
    """How one inference is run, and what comes before the first."""
    entry, *resets = model.entries
    arguments = [] if model.workspace_io else ["&kp_input_struct", "&kp_output_struct"]
    arguments += ["&kp_state"] if resets else []
    arguments += ["&kp_pools"] if model.pools else []
    return {
        "STATE": f"static struct tvmgen_{model.name}_state kp_state;" if resets else "",
        "START": f"{resets[0]}(&kp_state)" if resets else "0",
        "RUN": f"{entry}({', '.join(arguments)})",
        "MAPPED": "&kp_pools" if model.pools else "",
    }


def _pools(model: Model) -> Iterator[str]:
    """A buffer for each workspace pool, and the struct of them."""
    for pool in model.pools:
        section = f'section("{POOL_SECTION}{pool.name}")'
        yield f"static uint8_t kp_pool_{pool.name}[{pool.nbytes}]"
        yield f"    __attribute__(({section}, aligned({model.pool_alignment})));"
    if model.pools:
        yield f"static struct tvmgen_{model.name}_workspace_pools kp_pools = {{"
        yield _rows(f".{pool.name} = kp_pool_{pool.name}" for pool in model.pools)
        yield "};"


def _buffer(kind: str, tensor: TensorSpec) -> str:
    return f"kp_{kind.lower()}_{tensor.name}"


def _rows(rows: Iterable[str]) -> str:
    return "\n".join(f"    {row}," for row in rows)
