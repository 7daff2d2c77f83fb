"""What several metrics ask of their context."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import read_map
from cryorepro.em.symmetry import normalise_symmetry
from cryorepro.plugins.interfaces import MetricContext

if TYPE_CHECKING:
    from torch import Tensor

    from cryorepro.em.imageset import ImageSet, Poses


def symmetry_of(context: MetricContext) -> str:
    """The stage's point group, else the dataset's, else C1."""
    known = {**context.data.parameters, **context.stage_parameters}
    return normalise_symmetry(str(known.get("symmetry", "C1")))


def both_halves(context: MetricContext) -> tuple[np.ndarray, np.ndarray, float]:
    """Both half maps of one size, and their pixel size.

    Raises:
        InputError: a half map is missing, unreadable or of another size, or both are the same map.
    """
    (first, pixel_size), (second, _) = (_artifact(context, role) for role in ("half1", "half2"))
    if first.shape != second.shape:
        raise InputError(f"half maps of {first.shape} and {second.shape} voxels")
    deviation = float(first.std() * second.std())
    if deviation > 0 and float(np.corrcoef(first.ravel(), second.ravel())[0, 1]) > 1.0 - 1e-7:
        raise InputError("half sets not independent: half1 and half2 are the same map, the same half twice")
    return first, second, pixel_size


def _artifact(context: MetricContext, role: str) -> tuple[np.ndarray, float]:
    if role not in context.artifacts:
        raise InputError(f"the stage wrote no {role}")
    return read_map(context.artifacts[role])


def number(context: MetricContext, name: str, default: float) -> float:
    """A numeric parameter of the outcome.  Raises InputError when it is no number."""
    value: Any = context.parameters.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"metric parameter {name}: {value!r} is not a number")
    return float(value)


@dataclass(frozen=True)
class Refined:
    """The run's particles with the poses and halves it left, and the operators it imposed."""

    images: ImageSet
    poses: Poses
    halves: Tensor
    symmetry: Tensor
    path: Path


def refined_particles(context: MetricContext) -> Refined:
    """Open the particle table the stage wrote, with its images.

    Raises:
        InputError: there is none, its images cannot be read, or it does not divide the particles into two halves.
    """
    import torch

    from cryorepro.em.particle_images import open_particle_images
    from cryorepro.em.symmetry import symmetry_matrices

    path = context.artifacts.get("particles")
    if path is None:
        raise InputError("the stage wrote no table of particles")
    opened = open_particle_images(path)
    halves = opened.particles.column("rlnRandomSubset")
    if set(np.unique(halves).tolist()) != {1, 2}:
        raise InputError(f"{path.name}: rlnRandomSubset does not divide the particles into halves 1 and 2")
    symmetry = torch.as_tensor(symmetry_matrices(symmetry_of(context)))
    return Refined(opened.images, opened.start_poses(), torch.as_tensor(halves), symmetry, path)
