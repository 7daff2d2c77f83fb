"""NVIDIA's library as the real binding (nvidia-ml-py) sees it: C functions that fill what they are pointed to.

Answers come from a tape (``tapes/h200.json``). ``{"series": [...]}`` gives one answer a call, the last one for good.
``site(...)`` makes a directory that, on PYTHONPATH, puts this library below the binding in every Python process.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

ERRORS = {"Not Supported": 3, "Insufficient Permissions": 4, "GPU is lost": 15, "Unknown Error": 999}
_NOT_FOUND, _INSUFFICIENT_SIZE, _INVALID = 6, 7, 2
_BASE = 0x1000
"""Handles are addresses; a device's is this and its index."""

_SITE = """
import json, sys
sys.path.insert(0, {root!r})
import pynvml
from tests.plugins.nvml_library import Library
pynvml.nvmlLib = Library(json.loads(open({tape!r}).read()))
"""


class Library:
    """What ``ctypes.CDLL("libnvidia-ml.so.1")`` would be."""

    def __init__(self, tape: dict[str, Any]) -> None:
        self._tape = tape
        self._given: dict[str, int] = {}
        self._names = {shown.partition("(")[0] for shown in tape}

    def __getattr__(self, symbol: str) -> Callable[..., int]:
        name = symbol.rstrip("0123456789").removesuffix("_v")
        if symbol in ("nvmlInitWithFlags", "nvmlInit_v2", "nvmlShutdown"):
            return lambda *_: 0
        if name not in self._names:
            raise AttributeError(symbol)
        return lambda *arguments: self._answer(name, arguments)

    def _answer(self, name: str, arguments: tuple[Any, ...]) -> int:
        places = [place for place, item in enumerate(arguments) if _is_out(item)]
        first = places[0] if places else len(arguments)
        shown = f"{name}({', '.join(str(_plain(item)) for item in arguments[:first])})"
        if shown not in self._tape:
            return _INVALID
        value = self._value(shown)
        if isinstance(value, dict) and "NVMLError" in value:
            return ERRORS[value["NVMLError"]]
        if name.endswith("RunningProcesses"):
            return _processes(value, arguments[first:])
        if name == "nvmlDeviceGetHandleByIndex":
            value = _BASE + value
        outs = [arguments[place] for place in places]
        for out, item in zip(outs, value if isinstance(value, list) else [value], strict=True):
            _fill(out, item)
        return 0

    def _value(self, shown: str) -> Any:
        value = self._tape[shown]
        if isinstance(value, dict) and "series" in value:
            place = self._given.get(shown, 0)
            self._given[shown] = place + 1
            return value["series"][min(place, len(value["series"]) - 1)]
        return value


def _is_out(item: Any) -> bool:
    return hasattr(item, "_obj") or isinstance(item, ctypes.Array)


def _plain(item: Any) -> Any:
    if isinstance(item, ctypes._Pointer):  # a handle
        return ctypes.cast(item, ctypes.c_void_p).value - _BASE  # type: ignore[operator]
    return getattr(item, "value", item)


def _fill(out: Any, value: Any) -> None:
    if isinstance(out, ctypes.Array):
        out.value = value.encode()
        return
    target = out._obj
    if isinstance(target, ctypes.Structure):
        for field, item in value.items():
            setattr(target, field, item)
    elif isinstance(target, ctypes._Pointer):
        ctypes.cast(ctypes.pointer(target), ctypes.POINTER(ctypes.c_void_p))[0] = value
    else:
        target.value = value


def _processes(value: list[dict[str, int]], outs: tuple[Any, ...]) -> int:
    count, array = outs
    room, count._obj.value = count._obj.value, len(value)
    if len(value) > room:
        return _INSUFFICIENT_SIZE
    for place, process in enumerate(value):
        for field, item in process.items():
            setattr(array[place], field, item)
    return 0


def site(directory: Path, tape: dict[str, Any]) -> Path:
    """A directory for PYTHONPATH: every Python process that starts with it has this library."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "tape.json").write_text(json.dumps(tape))
    root = Path(__file__).resolve().parents[2]
    text = _SITE.format(root=str(root), tape=str(directory / "tape.json"))
    (directory / "sitecustomize.py").write_text(text)
    return directory
