"""The project options of ``micro`` and the project server: as microTVM's, each with its type,
choices, default and help, and the steps that take it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvm_kp.errors import InputError
from tvm_kp.target import PLATFORMS

# step -> what microTVM's Project API calls it
METHODS = {"create": "generate_project", "build": "build", "flash": "flash"}
# What microTVM had and nothing is left to say by.
_RETIRED = {
    "cmsis_path": "the C needs no CMSIS",
    "compile_definitions": "write them to CFLAGS in the project's Makefile",
    "extra_files_tar": "give a folder of templates as PLATFORM",
    "verbose": "make in the project's folder prints every command",
    "warning_as_error": "warnings in the model's C always are errors",
    "workspace_size_bytes": "memory is planned when the model is compiled",
}
_TRUTH = {"0": False, "1": True, "false": False, "true": True}


@dataclass(frozen=True)
class ProjectOption:
    """One option; ``type`` is str or bool, ``steps`` are those that can be given it.

    None needs it: without ``default`` it is left out.
    """

    name: str
    type: str
    help: str
    steps: tuple[str, ...]
    choices: tuple[str, ...] | None = None
    default: str | bool | None = None

    def read(self, given: Any) -> str | bool:
        """``given`` as a value of this option; raises InputError."""
        value: str | bool | None
        if self.type == "bool":
            value, possible = _TRUTH.get(str(given).lower()), "0 and 1 are possible"
        elif self.choices is None:
            value, possible = (given if isinstance(given, str) else None), "give a text"
        else:
            value = given if given in self.choices else None
            possible = f"{' and '.join(self.choices)} are possible"
        if value is None:
            raise InputError(f"project option {self.name}={given}: {possible}")
        return value

    def to_json(self) -> dict[str, Any]:
        """The option as microTVM's server_info_query answers it."""
        return {
            "name": self.name,
            "type": self.type,
            "choices": None if self.choices is None else list(self.choices),
            "default": self.default,
            "required": None,
            "optional": [METHODS[step] for step in self.steps],
            "help": self.help,
        }


def options_of(platform: str | Path) -> tuple[ProjectOption, ...]:
    """The options of a platform; libraries have those alone that say what the C was made for."""
    board = "name or TOML file of the target (that of the archive)"
    shared = (
        ProjectOption("board", "str", board, ("create",)),
        ProjectOption("model", "str", "which model of an archive of several", ("create",)),
    )
    if platform not in PLATFORMS:
        return shared
    from tvm_kp.board.layout import HOST_DRIVEN, KINDS

    # An attached board answers sessions alone, and has the firmware that was flashed.
    kinds, built = (
        (KINDS, ("build",)) if platform != "board" else ((HOST_DRIVEN,), ("build", "flash"))
    )
    kind = "what the firmware does: answer a session, or run a file of inputs and end"
    profile = "count every operator by itself"
    return (
        *shared,
        ProjectOption("project_type", "str", kind, ("create",), kinds, HOST_DRIVEN),
        ProjectOption("profile", "bool", profile, built, default=False),
    )


def read(platform: str | Path, step: str, given: Mapping[str, Any]) -> dict[str, str | bool]:
    """The options of ``step`` that are ``given`` or have a default; raises InputError."""
    known = {o.name: o for o in options_of(platform) if step in o.steps}
    for name in given:
        if name in _RETIRED:
            raise InputError(f"there is no project option {name} any more: {_RETIRED[name]}")
        if name not in known:
            possible = f"there are {', '.join(known)}" if known else "there are none"
            raise InputError(f"{step} of {platform} has no project option {name}; {possible}")
    values = {o.name: o.default for o in known.values() if o.default is not None}
    return values | {name: known[name].read(value) for name, value in given.items()}
