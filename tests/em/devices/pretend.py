"""A device that only pretends to be one: CPU tensors that carry a mark, and the rules that a GPU would enforce.

Inside `pretend_gpu` whatever is made on, or moved to, the device `GPU` carries the mark, and so does all that is
computed from it. An operation that takes marked and unmarked tensors together (numbers alone excepted) raises as torch
would, a marked tensor refuses to become a numpy array, and nothing else changes: results have the CPU's bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

GPU = torch.device("cuda", 0)
_CPU = torch.device("cpu")


class Marked(Tensor):
    """A tensor on the pretended device."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} was called on the pretended device outside of `pretend_gpu`")


def mark(value: Any) -> Any:
    """``value`` on the pretended device, if it is a tensor."""
    return value.as_subclass(Marked) if type(value) is Tensor else value


def _plain(value: Any) -> Any:
    with torch._C.DisableTorchFunctionSubclass():
        return value.as_subclass(Tensor) if isinstance(value, Marked) else value


def _wanted(value: Any) -> torch.device | None:
    """The device an argument names."""
    if isinstance(value, torch.device):
        return value
    return torch.device(value) if isinstance(value, str) and value.partition(":")[0] in ("cpu", "cuda") else None


class PretendGpu(TorchFunctionMode):
    """Counts what ran on the device, and raises where devices meet."""

    def __init__(self) -> None:
        """Nothing has run."""
        super().__init__()
        self.operations = 0
        self.copies = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        values = [v for v in tree_flatten((args, kwargs))[0] if isinstance(v, Tensor)]
        here = [v for v in values if isinstance(v, Marked)]
        if name == "__get__" and here and getattr(func, "__self__", None) is Tensor.device:
            return GPU
        if name in ("to", "copy_", "cpu", "cuda"):
            return self._moved(func, name, args, kwargs, bool(here))
        if here and name in ("numpy", "__array__"):
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        device = _wanted(kwargs.get("device"))
        on_device = bool(here) if device is None else device.type == "cuda"
        if device is not None:
            kwargs["device"] = _CPU
        apart = [v for v in values if not isinstance(v, Marked) and v.ndim > 0]
        if here and apart and not name.startswith(("__get__", "__set__")):
            raise RuntimeError(f"{name}: expected all tensors to be on the same device, cuda:0 and cpu")
        self.operations += bool(here)
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*tree_map(_plain, args), **tree_map(_plain, kwargs))
        if any(result is _plain(v) for v in here):  # what works in place hands its argument back
            return here[0]
        return tree_map(mark, result) if on_device else result

    def _moved(self, func: Any, name: str, args: Any, kwargs: Any, any_here: bool) -> Any:
        target = next((d for d in map(_wanted, [*args[1:], *kwargs.values()]) if d is not None), None)
        like = args[1] if len(args) > 1 and isinstance(args[1], Tensor) else None
        if name == "copy_":
            on_device = isinstance(args[0], Marked)
        elif target is not None:
            on_device = target.type == "cuda"
        elif like is not None:
            on_device = isinstance(like, Marked)
        else:
            on_device = name == "cuda" or (name == "to" and isinstance(args[0], Marked))
        self.copies += on_device != isinstance(args[0], Marked)
        args = [_CPU if _wanted(a) is not None else _plain(a) for a in args]
        kwargs = {k: _CPU if _wanted(v) is not None else _plain(v) for k, v in kwargs.items()}
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **kwargs)
        return mark(result) if on_device else result


@contextmanager
def pretend_gpu() -> Iterator[PretendGpu]:
    """Let `GPU` be a device."""
    with PretendGpu() as mode:
        yield mode
