"""NVML at its boundary: every call and its answer on a tape, and a tape played back as if it were the library.

A tape is plain JSON, ``{"call(arguments)": answer}``. Handles are written as their device's index, structures as
mappings of their fields, errors as ``{"NVMLError": text}``; so a tape of one machine can be read on another.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

_HANDLE = "nvmlDeviceGetHandleByIndex"


class Tape:
    """Passes calls on to NVML and remembers what it answered or refused."""

    def __init__(self, nvml: Any) -> None:
        self.nvml = nvml
        self.error: type[Exception] = nvml.NVMLError
        self.answers: dict[str, Any] = {}
        self._handles: dict[int, int] = {}

    def constant(self, name: str, otherwise: Any = None) -> Any:
        """A constant of the binding; ``otherwise`` when this version of it lacks the name."""
        return getattr(self.nvml, name, otherwise)

    def call(self, name: str, *arguments: Any) -> Any:
        """Call ``name``.

        Raises:
            NVMLError: what the driver refuses, as its own exception.
            AttributeError: this binding lacks the call.
        """
        shown = f"{name}({', '.join(str(self._handles.get(id(value), value)) for value in arguments)})"
        try:
            answer = getattr(self.nvml, name)(*arguments)
        except self.error as error:
            self.answers[shown] = {"NVMLError": str(error)}
            raise
        if name == _HANDLE:
            self._handles[id(answer)] = arguments[0]
            self.answers[shown] = arguments[0]
        else:
            self.answers[shown] = plain(answer)
        return answer

    def raw(self) -> str:
        """The tape as JSON text."""
        return json.dumps(self.answers, indent=0, sort_keys=True)


class ReplayError(Exception):
    """What NVML refused when the tape was made."""


class Replay:
    """A tape played back as the module ``pynvml``: same names, same answers, same refusals.

    A call that is not on the tape is one that this library lacks (AttributeError).
    """

    NVMLError = ReplayError

    def __init__(self, tape: Mapping[str, Any], constants: Mapping[str, int] | None = None) -> None:
        self._tape = tape
        self._names = {shown.partition("(")[0] for shown in tape} | {"nvmlInit", "nvmlShutdown"}
        for name, value in (constants or {}).items():
            setattr(self, name, value)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """The call ``name``, answered from the tape."""
        if not name.startswith("nvml") or name not in self._names:
            raise AttributeError(f"this NVML has no {name}")

        def answer(*arguments: Any) -> Any:
            if name in ("nvmlInit", "nvmlShutdown"):
                return None
            shown = f"{name}({', '.join(map(str, arguments))})"
            if shown not in self._tape:
                raise ReplayError(f"{shown} is not on the tape")
            value = self._tape[shown]
            if isinstance(value, Mapping) and "NVMLError" in value:
                raise ReplayError(value["NVMLError"])
            return _structure(value)

        return answer


def plain(value: Any) -> Any:
    """Answers as JSON: bytes as text, structures by their fields."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    fields = [field[0] for field in getattr(value, "_fields_", [])] or list(getattr(value, "__dict__", {}))
    return {name: plain(getattr(value, name)) for name in fields} if fields else str(value)


def _structure(value: Any) -> Any:
    if isinstance(value, Mapping):
        return SimpleNamespace(**{name: _structure(item) for name, item in value.items()})
    return [_structure(item) for item in value] if isinstance(value, list) else value
