"""A classification's result against the simulated truth: classes, poses, shifts, maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cryorepro.em.formats.maps import read_map
from cryorepro.em.formats.particles import Particles, read_particles
from cryorepro.em.fsc import crossing, fsc_curve
from cryorepro.em.rotations import euler_to_matrix, rotation_angle_deg
from tests.em.simulated import SimulatedSet


@dataclass(frozen=True)
class Quality:
    """What one program found.

    Attributes:
        class_accuracy: share of particles in their conformer's class, under the best assignment of classes.
        within_15_degrees, median_pose_error_deg: of all particles.
        shift_error_px: root mean square distance over particles within 15 degrees.
        fsc_half_angstrom: per conformer, where the FSC of its class's map with the truth falls below one half.
        mean_pmax: mean posterior of the best sample.
    """

    class_accuracy: float
    within_15_degrees: float
    median_pose_error_deg: float
    shift_error_px: float
    fsc_half_angstrom: tuple[float, ...]
    mean_pmax: float


def quality(data: SimulatedSet, directory: Path, iteration: int, classes: int) -> Quality:
    """Compare the files of one iteration in ``directory`` with the truth."""
    table = read_particles(directory / f"run_it{iteration:03d}_data.star")
    rows = np.array([int(name.partition("@")[0]) - 1 for name in table.image_names])
    found = table.numbers("rlnClassNumber").astype(np.int64) - 1
    names, accuracy = best_names(found, data.views.conformers[rows], classes)
    error = rotation_angle_deg(*(euler_to_matrix(torch.from_numpy(a)) for a in (
        table.angles_degrees, data.views.angles_degrees[rows],
    ))).numpy()  # fmt: skip
    return Quality(
        class_accuracy=accuracy,
        within_15_degrees=float((error < 15.0).mean()),
        median_pose_error_deg=float(np.median(error)),
        shift_error_px=_shift_error_px(table, data, rows, error < 15.0),
        fsc_half_angstrom=tuple(
            _resolution(data, conformer, directory / f"run_it{iteration:03d}_class{names.index(conformer) + 1:03d}.mrc")
            for conformer in range(classes)
        ),
        mean_pmax=float(table.numbers("rlnMaxValueProbDistribution").mean()),
    )


def best_names(found: NDArray[np.int64], true: NDArray[np.int64], classes: int) -> tuple[Sequence[int], float]:
    """The conformer that each class stands for, so that most particles agree, and the share that does."""
    together = np.zeros((classes, classes))
    np.add.at(together, (found, true), 1)
    best = max(permutations(range(classes)), key=lambda names: sum(together[k, c] for k, c in enumerate(names)))
    return best, float(sum(together[k, c] for k, c in enumerate(best)) / found.shape[0])


def _shift_error_px(table: Particles, data: SimulatedSet, rows: NDArray[np.int64], use: NDArray[np.bool_]) -> float:
    # rlnOrigin moves the image so that the particle, which stands off by the true shift, comes to the centre
    away = (table.origins_angstrom + data.views.shifts_angstrom[rows])[use] / data.imaging.pixel_size_angstrom
    return float(np.sqrt((away**2).sum(axis=1).mean()))


def _resolution(data: SimulatedSet, conformer: int, path: Path) -> float:
    curve = fsc_curve(read_map(path)[0], data.volume(conformer).numpy())
    return crossing(curve, 0.5).angstrom(data.imaging.box_px, data.imaging.pixel_size_angstrom)
