"""The course of an initial model: resolution and size of the mini-batches, and which particles each one holds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cryorepro.em.initial_model_state import InitialModelSettings
from cryorepro.em.streams import random_stream

# Classes that start from one map are told apart by dealing the particles out at random for this share of the second
# phase; afterwards every particle is free to choose.
_DEALING_SHARE = 0.1


@dataclass(frozen=True)
class Step:
    """One iteration.

    Attributes:
        resolution_angstrom: finest shell that is compared and changed.
        subset: particles in its mini-batch, before the size of the set limits them.
        classes: maps in use.
        dealt: each particle may only join the class it was dealt to.
        noise_factor: by which the noise variance is overstated, so that posteriors stay broad while the map is poor.
        size: share of the averaged gradient that is added; smaller in the last phase, where more batches are to count.
    """

    resolution_angstrom: float
    subset: int
    classes: int
    dealt: bool
    noise_factor: float
    size: float


def step_at(settings: InitialModelSettings, number: int) -> Step:
    """Iteration ``number`` (from 1)."""
    progress = _progress(settings, number)
    start, end = settings.initial_resolution_angstrom, settings.final_resolution_angstrom
    # shells, not Angstrom, grow evenly
    resolution = 1.0 / ((1.0 - progress) / start + progress / end)
    subset = round(settings.initial_subset + progress * (settings.final_subset - settings.initial_subset))
    within = number - settings.initial_iterations
    parted = settings.number_of_classes > 1 and within > 0
    dealing = max(1, round(_DEALING_SHARE * settings.inbetween_iterations))
    classes = settings.number_of_classes if parted else 1
    last = within > settings.inbetween_iterations
    size = settings.final_step_size if last else settings.step_size
    return Step(resolution, subset, classes, parted and within <= dealing, _noise_factor(settings, number), size)


def _noise_factor(settings: InitialModelSettings, number: int) -> float:
    """Falls geometrically from its first value to 1 at the end of the first phase."""
    left = max(0.0, 1.0 - (number - 1) / settings.initial_iterations)
    return float(settings.noise_factor**left)


def _progress(settings: InitialModelSettings, number: int) -> float:
    """0 in the first phase, 1 in the last, growing evenly in between."""
    within = number - settings.initial_iterations
    return min(1.0, max(0.0, within / (settings.inbetween_iterations + 1)))


def mini_batch(settings: InitialModelSettings, number: int, count: int, seed: int) -> Tensor:
    """Indices, ascending, of the particles of iteration ``number``.

    The set is gone through in a new random order each time; a batch that spans two passes holds a particle that
    falls to both once. It follows from the seed and the number alone.
    """
    if step_at(settings, number).subset >= count:
        return torch.arange(count)
    sizes = [min(count, step_at(settings, i).subset) for i in range(1, number + 1)]
    start, end = sum(sizes[:-1]), sum(sizes)
    passes = range(start // count, (end - 1) // count + 1)
    order = np.concatenate([random_stream(seed, f"mini-batches/{p}").permutation(count) for p in passes])
    first = start - passes.start * count
    return torch.from_numpy(np.unique(order[first : first + end - start]))


def dealt_classes(settings: InitialModelSettings, count: int, seed: int) -> Tensor:
    """Class ``[count]`` int64 each particle is dealt to, in equal shares."""
    shuffled = torch.from_numpy(random_stream(seed, "class-seeds").permutation(count).copy())
    dealt = torch.empty(count, dtype=torch.int64)
    dealt[shuffled] = torch.arange(count) * settings.number_of_classes // count
    return dealt
