"""``board-server``: put a board behind TVM's RPC tracker, for ``tune`` on any machine to use."""

from __future__ import annotations

import argparse
import time
from typing import Any

from tvm_kp.cli import console, model_flags
from tvm_kp.cli.options import add_target, add_verb, address, positive
from tvm_kp.errors import RunError
from tvm_kp.target import at_port, check_counts

PORT, PORTS = 9200, 100  # the first, and how many are tried
_POLL_S = 0.5


def register(verbs: Any) -> None:
    """Add ``board-server`` to the parser's ``verbs``."""
    text = "serve a board to tune on other machines, until Ctrl-C"
    parser = add_verb(verbs, "board-server", text, run)
    add_target(parser, "the board: a name of tvm-kp targets, or a TOML file")
    parser.add_argument(
        "--tracker",
        type=address,
        required=True,
        metavar="HOST:PORT",
        help="TVM's RPC tracker: python -m tvm.exec.rpc_tracker --host 0.0.0.0 --port 9190",
    )
    parser.add_argument(
        "--key", metavar="KEY", help="what the board is asked for by (the target's name)"
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address to serve at; 0.0.0.0 for other machines, in a network that is trusted: "
        "a client can run programs here (%(default)s)",
    )
    parser.add_argument(
        "--port",
        type=positive,
        default=PORT,
        metavar="PORT",
        help=f"the first free one of {PORTS} from here on is used (%(default)s)",
    )
    parser.add_argument(
        "--address", metavar="ADDRESS", help="what clients reach this machine by, if not --host"
    )
    parser.add_argument(
        "--serial-port",
        metavar="PORT",
        help="that of an attached board, such as /dev/ttyACM0 or socket://host:port (that of its "
        "USB device); it is flashed once a batch of candidates",
    )


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted."""
    target = at_port(model_flags.load_target(args), args.serial_port)
    check_counts(target, "serve a board")
    from tvm_kp.board import find_compiler

    find_compiler(target)
    key = args.key or target.name
    host, _, port = args.tracker.rpartition(":")
    from tvm_kp.tuning.server import start

    server = start(
        target, key, (host, int(port)), args.host, args.port, args.port + PORTS, args.address
    )
    where = f"{args.host}:{server.port}"
    console.stderr().print(
        f"{target.name} as {key} at {where}, tracker {args.tracker}; Ctrl-C ends it",
        markup=False,
        soft_wrap=True,
    )
    try:
        while server.proc.is_alive():
            time.sleep(_POLL_S)
    finally:
        server.terminate()
    raise RunError("the server ended by itself: see its last lines above")
