from __future__ import annotations

import json
from dataclasses import replace

from tvm_kp.report import compile_json, run_json


def test_compile_keys(compiled):
    value = json.loads(json.dumps(compile_json(compiled)))
    assert set(value) == {
        *("model", "target", "decisions", "flash_bytes", "ram_bytes", "code_bytes"),
        *(
            "tables_bytes",
            "weights_bytes",
            "workspace_bytes",
            "workspace",
            "stages",
            "recurrences",
            "output_errors",
        ),
        "quantized",
        "stack_bytes",
    }
    assert set(value["decisions"][0]) >= {
        *("operator", "shape", "structure", "factors", "error", "macs_before", "macs_after"),
        *("bytes_before", "bytes_after", "reason"),
    }
    assert value["decisions"][0]["shape"] == [472, 128]
    assert (
        value["flash_bytes"] == value["code_bytes"] + value["tables_bytes"] + value["weights_bytes"]
    )
    assert value["stages"] == {"import": 2.5, "emit": 0.25}
    assert value["workspace"].keys() == {"planner", "peak_bytes", "bound_bytes", "pools", "io"}


def test_run_on_a_board(result):
    assert run_json("mps2-an386", result) == {
        "target": "mps2-an386",
        "inferences": 2,
        "instructions": 392_000,
        "cycles": None,
        "seconds": None,
        "operators": [
            {"name": "head", "calls": 1, "instructions": 2_000},
            {"name": "cell", "calls": 25, "instructions": 389_000},
        ],
    }


def test_run_on_an_attached_board(result):
    value = run_json("mine", replace(result, cycles=result.instructions, instructions=()))
    assert (value["inferences"], value["instructions"], value["cycles"]) == (2, None, 392_000)
    assert value["operators"][0] == {"name": "head", "calls": 1, "cycles": 2_000}


def test_run_on_the_host(result):
    value = run_json(
        "host", replace(result, instructions=(), seconds=(0.5, 0.1, 0.2), operators=())
    )
    assert (value["inferences"], value["instructions"], value["seconds"]) == (3, None, 0.2)
    assert value["operators"] == []


def test_quantized_tensors(compiled, quantized):
    value = json.loads(json.dumps(compile_json(replace(compiled, quantized=quantized))))
    assert compile_json(compiled)["quantized"] is None
    assert value["quantized"]["format"] == "int8" and value["quantized"]["accuracies"] == [
        0.5,
        0.25,
    ]
    assert value["quantized"]["tensors"][0]["drift"] == [0.1, 0.2, 0.05]
