"""Trials on an attached board: calls, one after the other, over its serial line."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from tvm_kp.board import attached, emulator
from tvm_kp.board.board_memory import BoardMemory
from tvm_kp.board.commands import Commands
from tvm_kp.board.link import Fault, Link, NoAnswerError
from tvm_kp.board.transport import Transport
from tvm_kp.board.trial_calls import Call, Ending, TrialRun, too_long
from tvm_kp.board.trial_image import TrialImage
from tvm_kp.errors import RunError
from tvm_kp.target import Target

# After a fault: what is sent before the board has started anew is lost, and then it answers soon.
_RESET_S, _START_S = 0.05, 3.0


class AttachedMachine:
    """The board of ``target``, on which ``image`` is put, and again if it does not answer.

    A call that makes it silent for ``timeout_s`` hangs. ``flashed`` is called after each flash.
    Raises MissingToolError, RunError on entering.
    """

    def __init__(
        self,
        image: TrialImage,
        target: Target,
        limit: int,
        timeout_s: float,
        flashed: Callable[[], None],
    ) -> None:
        self._image, self._target, self._flashed = image, target, flashed
        self._limit, self._timeout_s = limit, timeout_s
        self._transport: Transport | None = None
        self._commands: Commands | None = None
        self._seen: dict[int, np.ndarray] = {}

    def __enter__(self) -> AttachedMachine:
        self._flash()
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def start(self, calls: Sequence[Call]) -> tuple[list[TrialRun], Ending | None]:
        """The first of ``calls``, up to the one that failed, and how it did. Raises RunError."""
        commands = self._commands or self._greeted()
        memory = BoardMemory(commands, self._image.layout.room, self._seen)
        done: list[TrialRun] = []
        for index, content in calls:
            memory.put(content)
            try:
                count = commands.call(index, memory.offset(content.nbytes))
                done.append(TrialRun(None, memory.get(content.nbytes), count))
            except (Fault, NoAnswerError) as error:
                self._commands = None
                return done, self._ending(error)
        return done, None

    def _ending(self, error: Fault | NoAnswerError) -> Ending:
        if isinstance(error, NoAnswerError):
            return "hang", f"{self._target.name} did not answer within {self._timeout_s:g} s"
        if str(error) == "LIMIT":
            return too_long(self._limit, "cycles")
        path = self._image.path
        return "fault", emulator.failure(str(error), 0, path, self._target)

    def _greeted(self) -> Commands:
        """A session with the firmware after it started anew; one that does not is put there."""
        time.sleep(_RESET_S)
        try:
            return self._hello(_START_S)
        except NoAnswerError:
            self._flash()
            assert self._commands is not None
            return self._commands

    def _flash(self) -> None:
        self._close()
        attached.flash(self._image.path, self._target)
        self._flashed()
        self._transport = attached.connect(self._image.path, self._target)
        self._hello(self._timeout_s)

    def _hello(self, within_s: float) -> Commands:
        assert self._transport is not None
        name = self._target.name
        commands = Commands(Link(self._transport, name, self._timeout_s), within_s)
        if commands.welcome.identity != self._image.identity:
            raise RunError(
                f"{name} runs another firmware than was put on it: see that --port is its"
            )
        self._commands = commands
        return commands

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()
        self._transport = self._commands = None
