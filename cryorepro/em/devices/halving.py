"""Work that starts again with half of what it held at once when memory did not suffice."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import torch

from cryorepro.em.devices.plan import Plan
from cryorepro.em.parallel import WorkerError

Result = TypeVar("Result")
_LOG = logging.getLogger(__name__)


def with_what_fits(
    work: Callable[[Plan], Result],
    plan: Plan,
    device: torch.device,
    before_again: Callable[[Plan], None] = lambda _plan: None,
) -> Result:
    """``work(plan)``, again with a smaller plan after each failure for lack of memory; a warning tells.

    ``before_again`` is called with the smaller plan once the failed attempt holds nothing any more.

    Raises:
        MemoryError, torch.OutOfMemoryError, WorkerError: there is nothing left to halve.
    """
    while True:
        try:
            return work(plan)
        except (torch.OutOfMemoryError, MemoryError, WorkerError) as error:
            smaller = plan.smaller()
            if smaller is None or (isinstance(error, WorkerError) and not error.lack_of_memory):
                raise
        plan = smaller
        before_again(plan)
        if device.type == "cuda":
            torch.cuda.empty_cache()
        _LOG.warning(
            "out of memory: the step starts again with half of what it held at once (%d particles, tables of %d MB)",
            plan.block_particles, plan.table_bytes >> 20,
        )  # fmt: skip


def with_size_that_fits(
    work: Callable[[int], Result], size: int, least: int, device: torch.device, what: str
) -> Result:
    """``work(size)``, again with half the size, at least ``least``, when a GPU lacks the memory; a warning tells.

    ``what`` names what the size counts: "templates at once", say.

    Raises:
        torch.OutOfMemoryError: not even the least size fits.
    """
    while True:
        try:
            return work(size)
        except torch.OutOfMemoryError:
            if device.type != "cuda" or size <= least:
                raise
        size = max(least, size // 2)
        torch.cuda.empty_cache()
        _LOG.warning("out of memory on %s: once more, with %d %s", device, size, what)
