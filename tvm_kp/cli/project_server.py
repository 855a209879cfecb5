"""``micro server``: microTVM's Project API, in front of the projects of ``micro``."""

from __future__ import annotations

import argparse
import base64
import contextlib
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_kp.cli import json_rpc, project_options, projects
from tvm_kp.cli.json_rpc import INVALID_PARAMS, SERVER_ERROR, RpcError
from tvm_kp.cli.options import add_verb
from tvm_kp.errors import RunError
from tvm_kp.target import LIBRARY_PLATFORMS, PLATFORMS

if TYPE_CHECKING:
    from tvm_kp.board.transport import Transport

PROTOCOL_VERSION = 1
LAUNCHER = Path(__file__).parent / "project_api" / "microtvm_api_server.py"
_PLATFORM = project_options.ProjectOption(
    "platform",
    "str",
    "what the project is for (the platform of the archive's target)",
    ("create",),
    (*PLATFORMS, *LIBRARY_PLATFORMS),
)
_POLL_S = 3600.0  # longest wait for bytes at once: a time-out may be none at all


def register(steps: Any) -> None:
    """Add ``server`` to the parser's ``steps`` of ``micro``."""
    parser = add_verb(steps, "server", "serve microTVM's Project API: JSON-RPC 2.0", run)
    parser.add_argument(
        "--project-dir",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="the project; a folder that is none serves generate_project (this folder)",
    )
    for name, number, text in (("read", 0, "requests (stdin)"), ("write", 1, "replies (stdout)")):
        parser.add_argument(
            f"--{name}-fd", type=int, default=number, metavar="N", help=f"descriptor of {text}"
        )


def run(args: argparse.Namespace) -> int:
    """Serve until the requests end."""
    server = ProjectServer(args.project_dir)
    methods = {
        name: getattr(server, name)
        for name in (
            *("server_info_query", "generate_project", "build", "flash"),
            *("open_transport", "close_transport", "read_transport", "write_transport"),
        )
    }
    # Whatever prints must not get between the replies.
    with (
        os.fdopen(args.read_fd, "rb", closefd=False) as requests,
        os.fdopen(args.write_fd, "wb", closefd=False) as replies,
        contextlib.redirect_stdout(sys.stderr),
        contextlib.closing(server),
    ):
        json_rpc.serve(requests, replies, methods)
    return 0


class ProjectServer:
    """The methods of the Project API for ``folder``: a project, or a template if it is none yet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._transport: Transport | None = None
        self._pending = b""

    def server_info_query(self, tvm_version: str = "") -> dict[str, Any]:
        """What ``folder`` is, and the options that the methods take."""
        is_template = not projects.is_project(self._folder)
        platform = "tvm_kp" if is_template else self._platform()
        options = _all_options() if is_template else project_options.options_of(platform)
        return {
            "protocol_version": PROTOCOL_VERSION,
            "platform_name": platform,
            "is_template": is_template,
            "model_library_format_path": None,
            "project_options": [o.to_json() for o in options],
        }

    def generate_project(
        self,
        model_library_format_path: str,
        project_dir: str,
        options: dict,
        standalone_crt_dir: str = "",
    ) -> None:
        """Create a project that serves this API as well; no runtime of TVM is needed for it."""
        asked = options.get(_PLATFORM.name)
        platform = None if asked is None else str(_PLATFORM.read(asked))
        archive, folder = Path(model_library_format_path), Path(project_dir)
        projects.create(archive, platform, folder, _of_step("create", options))
        shutil.copy(LAUNCHER, folder)

    def build(self, options: dict) -> None:
        """Build the project's firmware."""
        projects.build(self._folder, None, _of_step("build", options))

    def flash(self, options: dict) -> None:
        """Put the firmware on its board."""
        projects.flash(self._folder, None, _of_step("flash", options))

    def open_transport(self, options: dict) -> dict[str, Any]:
        """Start the firmware with a line to it, or keep that which is open; the time-outs."""
        project_options.read(
            self._platform(), "open_transport", _of_step("open_transport", options)
        )
        from tvm_kp.board import Project
        from tvm_kp.board.session import connect

        project = Project.open(self._folder)
        if self._transport is None:
            self._transport = connect(project)
        limit = project.target.runner.timeout_s
        return {
            "timeouts": {
                "session_start_retry_timeout_sec": self._transport.retry_s,
                "session_start_timeout_sec": limit,
                "session_established_timeout_sec": limit,
            }
        }

    def close_transport(self) -> None:
        """End the line, if there is one."""
        if self._transport is not None:
            self._transport.close()
        self._transport, self._pending = None, b""

    def read_transport(self, n: int, timeout_sec: int | float | None) -> dict[str, str]:
        """The next ``n`` bytes; those of a read that timed out are the next one's first."""
        if n < 0:
            raise RpcError(INVALID_PARAMS, f"read_transport: n must not be negative, as {n} is")
        deadline = time.monotonic() + (float("inf") if timeout_sec is None else timeout_sec)
        try:
            while len(self._pending) < n:
                left = deadline - time.monotonic()
                came = self._line().read(min(max(left, 0.0), _POLL_S))
                if not came and left <= 0:
                    raise RpcError(SERVER_ERROR, "IoTimeoutError")
                self._pending += came
        except RunError as error:
            raise _closed(error) from None
        data, self._pending = self._pending[:n], self._pending[n:]
        return {"data": base64.b85encode(data).decode()}

    def write_transport(self, data: str, timeout_sec: int | float | None) -> None:
        """Send ``data``; the line itself bounds how long that takes."""
        try:
            self._line().write(base64.b85decode(data))
        except ValueError as error:
            raise RpcError(
                INVALID_PARAMS, f"write_transport: data is not base85: {error}"
            ) from None
        except RunError as error:
            raise _closed(error) from None

    close = close_transport

    def _line(self) -> Transport:
        if self._transport is None:
            raise RunError("the transport is not open; call open_transport")
        return self._transport

    def _platform(self) -> str:
        return projects.platform_of(projects.open_project(self._folder, None))


def _all_options() -> tuple[project_options.ProjectOption, ...]:
    return (_PLATFORM, *project_options.options_of(PLATFORMS[0]))


def _of_step(step: str, options: dict) -> dict[str, Any]:
    """``options`` without those of other steps: clients send all to every method."""
    others = {o.name for o in _all_options() if o is _PLATFORM or step not in o.steps}
    return {name: value for name, value in options.items() if name not in others}


def _closed(error: RunError) -> RpcError:
    return RpcError(SERVER_ERROR, "TransportClosedError", {"reason": str(error)})
