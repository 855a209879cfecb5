from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_kp.cli import json_rpc
from tvm_kp.errors import BuildError


def add(a: int, b: int | float | None = 1) -> object:
    return None if b is None else a + b


def fail(options: dict) -> None:
    raise BuildError("gcc refused main.c") if options else ZeroDivisionError("nothing")


METHODS = {"add": add, "fail": fail}
PING = {"jsonrpc": "2.0", "id": "ping", "method": "add", "params": {"a": 1}}
PONG = {"jsonrpc": "2.0", "id": "ping", "result": 2}


def answers(*lines: bytes | dict) -> list[dict]:
    raw = (line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    replies = io.BytesIO()
    json_rpc.serve(io.BytesIO(b"".join(line + b"\n" for line in raw)), replies, METHODS)
    return [json.loads(line) for line in replies.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("change", "code", "found"),
    [
        ({"jsonrpc": "1.0"}, json_rpc.INVALID_REQUEST, '"jsonrpc": "2.0"'),
        ({"id": [1]}, json_rpc.INVALID_REQUEST, "id must be"),
        ({"id": True}, json_rpc.INVALID_REQUEST, "id must be"),
        ({"method": 3}, json_rpc.INVALID_REQUEST, "method must be"),
        ({"method": "__init__"}, json_rpc.METHOD_NOT_FOUND, "there are add, fail"),
        ({"params": [1, 2]}, json_rpc.INVALID_PARAMS, "by name"),
        ({"params": {}}, json_rpc.INVALID_PARAMS, "missing a required argument: 'a'"),
        ({"params": {"a": 1, "c": 2}}, json_rpc.INVALID_PARAMS, "'c'"),
        ({"params": {"a": "1"}}, json_rpc.INVALID_PARAMS, "a must be int, not '1'"),
        ({"params": {"a": True}}, json_rpc.INVALID_PARAMS, "a must be int, not True"),
        ({"params": {"a": 1, "b": "2"}}, json_rpc.INVALID_PARAMS, "b must be int | float | None"),
    ],
)
def test_wrong_requests(change, code, found):
    wrong, right = answers(PING | change, PING)
    assert right == PONG
    assert wrong["error"]["code"] == code
    assert found in wrong["error"]["message"]
    assert wrong["id"] == (None if change.keys() & {"id", "jsonrpc"} else "ping")


def test_results():
    none, number = answers(
        {**PING, "id": 1, "params": {"a": 1, "b": None}}, {**PING, "params": {"a": 1, "b": 0.5}}
    )
    assert none == {"jsonrpc": "2.0", "id": 1, "result": None}
    assert number["result"] == 1.5


def test_errors_of_the_user_and_ours():
    user, ours, right = answers(
        {**PING, "method": "fail", "params": {"options": {"a": 1}}},
        {**PING, "method": "fail", "params": {"options": {}}},
        PING,
    )
    assert user["error"] == {
        "code": json_rpc.SERVER_ERROR,
        "message": "gcc refused main.c",
        "data": {"type": "BuildError"},
    }
    assert ours["error"]["code"] == json_rpc.INTERNAL_ERROR
    assert "ZeroDivisionError: nothing" in ours["error"]["data"]["traceback"]
    assert right == PONG


@pytest.mark.parametrize("line", [b"{", b"", b"\xff", b"NaN", b"[" * 100_000, b"9" * 10_000])
def test_lines_that_are_not_json(line):
    wrong, right = answers(line, PING)
    assert wrong["id"] is None
    assert wrong["error"]["code"] in (json_rpc.PARSE_ERROR, json_rpc.INVALID_REQUEST)
    assert right == PONG


def test_notifications_are_not_answered():
    silent = {name: value for name, value in PING.items() if name != "id"}
    assert answers(silent, {**silent, "method": "none"}, PING) == [PONG]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
FIELDS = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0") | VALUES, "id": VALUES},
    optional={"method": st.sampled_from(("add", "fail")) | VALUES, "params": VALUES},
)
LINES = st.binary().filter(lambda b: b"\n" not in b) | (FIELDS | VALUES).map(
    lambda value: json.dumps(value).encode()
)


@given(lines=st.lists(LINES, max_size=4))
def test_the_server_outlives_whatever_comes(lines):
    *replies, last = answers(*lines, PING)
    assert last == PONG
    assert len(replies) <= len(lines)
    assert all(("error" in reply) != ("result" in reply) for reply in replies)


def test_a_client_that_does_not_read():
    class Closed(io.BytesIO):
        def write(self, data):
            raise BrokenPipeError

    requests = io.BytesIO(json.dumps(PING).encode() + b"\n" + b"more\n")
    json_rpc.serve(requests, Closed(), METHODS)
    assert requests.read() == b"more\n"
