"""A board behind TVM's RPC server."""

from __future__ import annotations

from functools import partial
from typing import Any

import tvm_ffi
from tvm import rpc

from tvm_kp import scratch
from tvm_kp.errors import RunError
from tvm_kp.target import Target
from tvm_kp.tuning import remote
from tvm_kp.tuning.boards import connect


def start(
    target: Target,
    key: str,
    tracker: tuple[str, int],
    host: str,
    port: int,
    last_port: int,
    address: str | None,
) -> Any:
    """A ``tvm.rpc.Server`` in a process of its own, which runs candidates on ``target``.

    Raises ``RunError`` if no port is free, or there is no tracker.
    """
    connect(*tracker)
    scratch.sweep()
    try:
        return rpc.Server(
            host,
            port,
            last_port,
            key=key,
            tracker_addr=tracker,
            custom_addr=address,
            silent=True,
            server_init_callback=partial(offer, target),
        )
    except (OSError, RuntimeError) as error:
        raise RunError(
            f"cannot serve {target.name} at {host}, port {port} to {last_port}: {error}"
        ) from None


def offer(target: Target) -> None:
    """Let clients of the server in this process run candidates on ``target``."""
    tvm_ffi.register_global_func(remote.FUNCTION, partial(remote.serve, target), override=True)
