"""User-facing errors: one tree, each with the exit code of the command line.

A message says what was found, what is possible and what to do. Anything that is not a
``TvmKpError`` is a bug of ours and keeps its traceback.
"""

from __future__ import annotations

import textwrap


class TvmKpError(Exception):
    """Something the user can put right."""

    exit_code = 4


class ModelError(TvmKpError):
    """A model that cannot be read, or that uses something not supported."""


class TargetError(TvmKpError):
    """An unknown target, or a target description that does not make sense."""


class InputError(TvmKpError):
    """Input data that does not fit the model."""


class OutputError(TvmKpError):
    """An output that cannot be written."""


class FitError(TvmKpError):
    """A model that does not fit the memories of its target."""


class BuildError(TvmKpError):
    """Sources that the target's toolchain refused."""


class RunError(TvmKpError):
    """A run that failed: a fault, a time-out, a broken link."""


class MissingToolError(TvmKpError):
    """A package or program that is not installed; the message has the command that installs it."""

    exit_code = 5


def told(error: BaseException) -> str:
    """Type and message of an error in a user's code, or of a library, in one line."""
    message = textwrap.shorten(str(error), 200, placeholder=" …")
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
