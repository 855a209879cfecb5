"""JSON-RPC 2.0 over two pipes: one JSON object a line, parameters by name.

A line that is no request is answered with an error, and the next one is read.
"""

from __future__ import annotations

import inspect
import json
import traceback
import typing
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from tvm_kp.errors import TvmKpError

SERVER_ERROR = -32000
PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603

Methods = Mapping[str, Callable[..., Any]]


class RpcError(Exception):
    """What is answered instead of a result."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.reply = {"code": code, "message": message, "data": data}


def serve(requests: BinaryIO, replies: BinaryIO, methods: Methods) -> None:
    """Answer every line of ``requests`` until they end or nobody reads the ``replies``.

    Parameters must have the types of their annotations. A TvmKpError is answered as a server
    error of its message, any other exception as an internal error with its traceback.
    """
    for line in requests:
        reply = _answer(line, methods)
        if reply is None:
            continue
        try:
            replies.write(json.dumps(reply).encode() + b"\n")
            replies.flush()
        except BrokenPipeError:
            return


def _answer(line: bytes, methods: Methods) -> dict[str, Any] | None:
    """The reply to ``line``; None to a request without id, which wants none."""
    request: dict[str, Any] = {"id": None}
    try:
        request = _request(line)
        result = {"result": _call(request, methods)}
    except RpcError as error:
        result = {"error": error.reply}
    except TvmKpError as error:
        reply = RpcError(SERVER_ERROR, str(error), {"type": type(error).__name__}).reply
        result = {"error": reply}
    except Exception as error:  # a bug of ours must not end a client's session
        data = {"traceback": traceback.format_exc()}
        result = {"error": RpcError(INTERNAL_ERROR, f"{type(error).__name__}: {error}", data).reply}
    return {"jsonrpc": "2.0", "id": request["id"], **result} if "id" in request else None


def _request(line: bytes) -> dict[str, Any]:
    try:
        request = json.loads(line.decode(), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise RpcError(PARSE_ERROR, f"the line is not JSON: {error}") from None
    if not isinstance(request, dict) or request.get("jsonrpc") != "2.0":
        raise RpcError(INVALID_REQUEST, 'a request is one object with "jsonrpc": "2.0"')
    number = request.get("id")
    if isinstance(number, bool) or not isinstance(number, str | int | float | None):
        raise RpcError(INVALID_REQUEST, "id must be a text, a number or null")
    return request


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")


def _call(request: Mapping[str, Any], methods: Methods) -> Any:
    name, parameters = request.get("method"), request.get("params", {})
    if not isinstance(name, str):
        raise RpcError(INVALID_REQUEST, "method must be a text")
    if name not in methods:
        raise RpcError(METHOD_NOT_FOUND, f"no method {name}; there are {', '.join(methods)}")
    if not isinstance(parameters, dict):
        raise RpcError(INVALID_PARAMS, f"{name}: params must be an object of parameters by name")
    method = methods[name]
    try:
        inspect.signature(method).bind(**parameters)
    except TypeError as error:
        raise RpcError(INVALID_PARAMS, f"{name}: {error}") from None
    kinds = typing.get_type_hints(method)
    for parameter, value in parameters.items():
        kind = kinds[parameter]
        if isinstance(value, bool) or not isinstance(value, kind):
            text = getattr(kind, "__name__", str(kind))
            raise RpcError(INVALID_PARAMS, f"{name}: {parameter} must be {text}, not {value!r}")
    return method(**parameters)
