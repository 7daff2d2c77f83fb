"""The processes that share a run: who they are, and what they tell each other (torch.distributed)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from cryorepro.em.devices.rendezvous import Place

# A process may wait this long for the slowest one's share of an iteration.
_PATIENCE = timedelta(hours=6)

Value = TypeVar("Value")


@dataclass(frozen=True)
class Ranks:
    """One process of ``size``; alone by default, when every method is free."""

    rank: int = 0
    size: int = 1
    local_size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def share(self, count: int) -> range:
        """This process's part of ``count`` things, all parts being contiguous and as equal as can be."""
        return range(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def sum_(self, values: Tensor) -> Tensor:
        """Add the ``values`` of all processes, in place, on all."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def gather(self, value: Value) -> list[Value]:
        """The values of all processes, by rank, on all."""
        if self.size == 1:
            return [value]
        found: list[Value | None] = [None] * self.size
        dist.all_gather_object(found, value)
        return cast("list[Value]", found)

    def wait(self) -> None:
        """Until every process is here."""
        if self.size > 1:
            dist.barrier()


ALONE = Ranks()


@contextmanager
def joined(place: Place | None, device: torch.device) -> Iterator[Ranks]:
    """The processes of the rendezvous in the environment (`place_in`), connected; this one alone without any."""
    if place is None:
        yield ALONE
        return
    # what is on the CPU always goes by gloo: poses, and everything where there is no GPU
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    os.environ.update(place.environment())
    dist.init_process_group(backend, init_method="env://", timeout=_PATIENCE)
    try:
        yield Ranks(place.rank, place.size, place.local_size)
    finally:
        dist.destroy_process_group()
