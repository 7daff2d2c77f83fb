"""The device a run asks for, and how far its matrix products may round."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from cryorepro.em.errors import InputError

CPU = torch.device("cpu")
_NAME = re.compile(r"^(cpu|cuda(:\d{1,3})?)$")


def chosen_device(name: str, where: str, local_rank: int = 0) -> torch.device:
    """The device called ``name``: ``cpu``, ``cuda`` (the GPU of this process) or ``cuda:N``.

    ``where`` begins the sentence of an error. ``cuda`` is GPU ``local_rank`` of those that are visible, counted
    around: each of a node's processes has one of its own while there are enough.

    Raises:
        InputError: the name is another, or torch sees no such GPU.
    """
    if not _NAME.match(name):
        raise InputError(f"{where}: device '{name}' is none of cpu, cuda and cuda:N.")
    if name == "cpu":
        return CPU
    if not torch.cuda.is_available():
        raise InputError(f"{where}: device '{name}' is not there: torch sees no GPU.")
    count = torch.cuda.device_count()
    number = int(name.partition(":")[2]) if ":" in name else local_rank % count
    if number >= count:
        raise InputError(f"{where}: device '{name}' is not there: torch sees {count} GPU(s), counted from 0.")
    device = torch.device("cuda", number)
    torch.cuda.set_device(device)
    return device


def repeat_exactly(device: torch.device) -> None:
    """Let torch take the variant of each operation that adds in one order, where it has one; CPUs always do.

    On a GPU sums by index add as threads come (torch.use_deterministic_algorithms); operations without such a variant
    warn.
    """
    if device.type == "cuda":
        torch.use_deterministic_algorithms(True, warn_only=True)


@contextmanager
def product_precision(reduced: bool, device: torch.device) -> Iterator[None]:
    """Let products of float32 matrices round their inputs; sums and results stay float32.

    Reduced means bfloat16 where a CPU has such products, and TF32 on a GPU that has them.
    """
    before = torch.get_float32_matmul_precision()
    word = ("high" if device.type == "cuda" else "medium") if reduced else "highest"
    torch.set_float32_matmul_precision(word)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
