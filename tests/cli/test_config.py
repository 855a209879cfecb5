from __future__ import annotations

import json

import pytest

from tvm_kp.cli.config import flags_from_file
from tvm_kp.errors import InputError


def flags(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_text(text)
    return flags_from_file(path)


def test_layout_of_tvmc(tmp_path):
    values = {
        "targets": [{"kind": "c", "mcpu": "cortex-m4"}],
        "executor": {"kind": "aot", "interface-api": "c", "unpacked-api": True},
        "runtime": {"kind": "crt"},
        "pass-config": {"tir.usmp.enable": 1},
        "report": "r.html",
        "profile": True,
        "print-time": False,
    }
    assert flags(tmp_path, json.dumps(values)) == [
        "--target=c",
        "--target-c-mcpu=cortex-m4",
        "--executor=aot",
        "--executor-aot-interface-api=c",
        "--executor-aot-unpacked-api=1",
        "--runtime=crt",
        "--pass-config=tir.usmp.enable=1",
        "--report=r.html",
        "--profile",
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{", "not JSON"),
        ("[]", "object"),
        ('{"targets": []}', '"targets"'),
        ('{"targets": [{"mcpu": "cortex-m4"}]}', '"kind"'),
        ('{"report": null}', '"report"'),
    ],
)
def test_refused(tmp_path, text, found):
    with pytest.raises(InputError, match=found):
        flags(tmp_path, text)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        flags_from_file(tmp_path / "none.json")
