"""A plan of what is held at once, made from what a device has free."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import torch

from cryorepro.em.devices.footprint import StepShape, class_bytes, peak_bytes
from cryorepro.em.devices.plan import PIXELS_TOGETHER, Plan

_LOG = logging.getLogger(__name__)
# What is left to the rest of the program, and to what the model of the memory does not see.
_USABLE = 0.8
_MOST_TOGETHER_ON_GPU = 4096
# The classes' grids may take this share of a GPU; larger ones stay on the CPU, all but the one in use.
_GRIDS_SHARE = 0.4


def largest_plan(device: torch.device, free: int, exact: bool = False) -> Plan:
    """Where planning starts: a CPU's caches bound it, on a GPU the memory alone.

    An exact plan must not depend on what happens to be free: on a GPU its sizes are fixed.
    """
    if device.type == "cpu":
        return Plan(exact=exact)
    share = (4 << 30) if exact else max(1 << 30, free)
    return Plan(
        block_particles=250 if exact else _MOST_TOGETHER_ON_GPU,
        pixels_together=PIXELS_TOGETHER["cuda"],
        images_per_block=_MOST_TOGETHER_ON_GPU,
        scores_per_block=share // 64,
        rows_per_tile=1 << 15,
        numbers_per_batch=share // 256,
        numbers_at_most=share // 256,
        table_bytes=free // 3,
        held_bytes=share // 16,
        exact=exact,
    )


def plan_step(shape: StepShape, device: torch.device, free: int, workers: int = 1, exact: bool = False) -> Plan:
    """The largest plan whose peak, by the model of `footprint`, stays within the usable part of ``free`` bytes.

    The smallest there is, if none does; a warning says so, and what then happens is for the allocator to say.
    """
    plan = largest_plan(device, free, exact)
    if device.type == "cuda" and _GRIDS_SHARE * free < shape.classes * class_bytes(shape):
        plan = replace(plan, grids_apart=True)
    return that_fits(plan, lambda tried: peak_bytes(shape, tried, workers), free)


def that_fits(plan: Plan, peak: Callable[[Plan], int], free: int) -> Plan:
    """The plan, halved until its ``peak`` stays in the usable part of ``free`` bytes; the smallest, if none does."""
    while peak(plan) > _USABLE * free:
        smaller = plan.smaller()
        if smaller is None:
            _LOG.warning("this step may need %.1f GiB, and %.1f GiB are free", peak(plan) / 2**30, free / 2**30)
            return plan
        plan = smaller
    return plan
