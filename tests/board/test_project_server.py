"""The Project API as microTVM's client uses it: a server in a folder, started with two pipes."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tvm_kp.artifacts import Model
from tvm_kp.board import Project, Session, create
from tvm_kp.board.library_project import create_library
from tvm_kp.c import library_format
from tvm_kp.cli import json_rpc
from tvm_kp.cli.project_server import LAUNCHER
from tvm_kp.errors import RunError
from tvm_kp.target import Target


class Client:
    """Sends requests to a server and gives its replies."""

    retry_s = 0.2

    def __init__(self, requests: Any, replies: Any) -> None:
        self.requests, self.replies = requests, replies

    def line(self, line: bytes) -> dict[str, Any]:
        self.requests.write(line + b"\n")
        return json.loads(self.replies.readline())

    def call(self, name: str, **parameters: Any) -> dict[str, Any]:
        request = {"jsonrpc": "2.0", "id": 7, "method": name, "params": parameters}
        reply = self.line(json.dumps(request).encode())
        assert (reply["jsonrpc"], reply["id"]) == ("2.0", 7)
        return reply

    def result(self, name: str, **parameters: Any) -> Any:
        reply = self.call(name, **parameters)
        assert "error" not in reply, reply
        return reply["result"]

    def error(self, name: str, **parameters: Any) -> dict[str, Any]:
        return self.call(name, **parameters)["error"]

    # What a Session asks of its line.
    def read(self, timeout_s: float) -> bytes:
        reply = self.call("read_transport", n=1, timeout_sec=timeout_s)
        if "error" in reply:
            if reply["error"]["message"] == "TransportClosedError":
                raise RunError(reply["error"]["data"]["reason"])
            assert reply["error"]["message"] == "IoTimeoutError"
            return b""
        return base64.b85decode(reply["result"]["data"])

    def write(self, data: bytes) -> None:
        text = base64.b85encode(data).decode()
        assert self.result("write_transport", data=text, timeout_sec=1.0) is None

    def close(self) -> None:
        self.result("close_transport")


@contextmanager
def served(folder: Path) -> Iterator[Client]:
    """A client of the server that lies in ``folder``, which ends with its requests."""
    (requests, to_server), (from_server, replies) = os.pipe(), os.pipe()
    command = [sys.executable, folder / LAUNCHER.name]
    command += ["--read-fd", str(requests), "--write-fd", str(replies)]
    with (
        subprocess.Popen(command, cwd=folder, pass_fds=(requests, replies)) as process,
        os.fdopen(from_server, "rb") as answers,
        os.fdopen(to_server, "wb", buffering=0) as questions,
    ):
        os.close(requests)
        os.close(replies)
        yield Client(questions, answers)
        questions.close()
        assert process.wait(timeout=60) == 0


@pytest.fixture
def model(make_model: Callable[..., Model]) -> Model:
    return replace(make_model(), target="host")


def test_from_an_archive_to_a_session(
    model: Model,
    inputs: dict[str, np.ndarray],
    expected: dict[str, np.ndarray],
    tmp_path: Path,
) -> None:
    archive, folder = tmp_path / "model.tar", tmp_path / "project"
    library_format.write([model], archive)
    shutil.copy(LAUNCHER, tmp_path)
    options = {"project_type": "host_driven", "profile": False, "platform": "host"}
    with served(tmp_path) as client:
        info = client.result("server_info_query", tvm_version="0.18.0")
        assert info["is_template"] and info["protocol_version"] == 1
        known = {option["name"]: option for option in info["project_options"]}
        assert known.keys() == {"platform", "board", "model", "project_type", "profile"}
        assert known["profile"]["optional"] == ["build"] and known["profile"]["type"] == "bool"
        assert known["project_type"]["default"] == "host_driven"
        made = {
            "model_library_format_path": str(archive),
            "standalone_crt_dir": "",
            "project_dir": str(folder),
        }
        assert client.result("generate_project", options=options, **made) is None
        wrong = client.error("generate_project", options={"board": 3}, **made)
        assert (wrong["code"], wrong["message"][:16]) == (json_rpc.SERVER_ERROR, "unknown target '")
        again = client.error("generate_project", options=options, **made)
        assert again["code"] == json_rpc.SERVER_ERROR and "exists already" in again["message"]
    with served(folder) as client:
        info = client.result("server_info_query")
        assert (info["is_template"], info["platform_name"]) == (False, "host")
        assert client.result("build", options=options) is None
        assert client.result("flash", options=options) is None
        timeouts = client.result("open_transport", options=options)["timeouts"]
        assert timeouts.keys() == {
            "session_start_retry_timeout_sec",
            "session_start_timeout_sec",
            "session_established_timeout_sec",
        }
        assert all(seconds > 0 for seconds in timeouts.values())
        with Session(folder, transport=client) as session:
            for index in range(2):
                outputs = session.step(**{name: array[index] for name, array in inputs.items()})
                for name, array in outputs.items():
                    np.testing.assert_array_equal(array, expected[name][index])


def test_transports(model: Model, tmp_path: Path) -> None:
    folder = create(model, Target.load("host"), tmp_path / "p", kind="host_driven").directory
    shutil.copy(LAUNCHER, folder)
    with served(folder) as client:
        for method, parameters in (("read_transport", {"n": 1}), ("write_transport", {"data": ""})):
            closed = client.error(method, timeout_sec=0, **parameters)
            assert closed["message"] == "TransportClosedError"
            assert "open_transport" in closed["data"]["reason"]
        assert client.result("close_transport") is None
        client.result("open_transport", options={})
        assert client.result("open_transport", options={}) is not None
        assert client.error("read_transport", n=5, timeout_sec=0.05)["message"] == "IoTimeoutError"
        assert client.result("read_transport", n=0, timeout_sec=None) == {"data": ""}
        for wrong, parameters in (
            ("negative", {"n": -1, "timeout_sec": 0}),
            ("n must be int", {"n": 1.5, "timeout_sec": 0}),
        ):
            error = client.error("read_transport", **parameters)
            assert error["code"] == json_rpc.INVALID_PARAMS and wrong in error["message"]
        error = client.error("write_transport", data='"', timeout_sec=1)
        assert error["code"] == json_rpc.INVALID_PARAMS and "base85" in error["message"]
        error = client.line(b"{not json")["error"]
        assert error["code"] == json_rpc.PARSE_ERROR
        error = client.error("build", options={"speed": 3})
        assert "no project option speed; there are profile" in error["message"]
        client.close()
        assert client.error("nothing")["code"] == json_rpc.METHOD_NOT_FOUND


def test_a_firmware_that_ends_in_between(
    make_model: Callable[..., Model], inputs: dict[str, np.ndarray], tmp_path: Path
) -> None:
    model = replace(make_model("fault"), target="host")
    folder = create(model, Target.load("host"), tmp_path / "p", kind="host_driven").directory
    shutil.copy(LAUNCHER, folder)
    with served(folder) as client:
        for _ in range(2):
            client.result("open_transport", options={})
            with Session(folder, transport=client) as session, pytest.raises(RunError):
                session.step(**{name: array[0] for name, array in inputs.items()})


def test_libraries_have_no_transport(model: Model, tmp_path: Path) -> None:
    folder = create_library(model, "zephyr", tmp_path / "p").directory
    shutil.copy(LAUNCHER, folder)
    with served(folder) as client:
        assert client.result("server_info_query")["platform_name"] == "zephyr"
        assert "is a library" in client.error("open_transport", options={})["message"]
        assert "west build" in client.error("build", options={})["message"]
        assert "west flash" in client.error("flash", options={})["message"]


def test_created_projects_have_no_server(model: Model, tmp_path: Path) -> None:
    project = create(model, Target.load("host"), tmp_path / "p")
    assert not (project.directory / LAUNCHER.name).exists()
    assert Project.open(project.directory).model.name == model.name
