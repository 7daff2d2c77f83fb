"""The symmetry axes of a map: found by turning it onto itself, laid on the group's own axes, and imposed.

A map V has the symmetry of a group G about axes turned by R and through the point c when V(R S R^T (x - c) + c) is
V(x) for every S of G. How nearly that holds is measured as the correlation of the map's transform with itself at the
turned positions, every shell whitened, because the coarse shells of a round particle agree under any turn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import optimize
from scipy.spatial.transform import Rotation
from torch import Tensor

from cryorepro.em.align import rotation_grid, unique_rotations
from cryorepro.em.conventions import PADDING
from cryorepro.em.fourier import grid_shells, grid_to_volume
from cryorepro.em.lowpass import check_cubic
from cryorepro.em.projection import Projector, corner_offsets, corner_weight, locate
from cryorepro.em.symmetry import Matrices, symmetry_matrices

_ROTATIONS = 4608  # about 15 degrees apart
_SEARCH_POINTS, _REFINE_POINTS = 1200, 4000
_CANDIDATES = 6
_POINTS_SEED = 20171
_DENSE_SHARE = 0.5


@dataclass(frozen=True)
class SymmetryAxes:
    """Where a map's axes are: ``rotation`` takes the group's frame to the map's, ``centre_px`` is (x, y, z).

    ``correlation`` is the mean correlation of the whitened map with itself under the group's operators.
    """

    rotation: Matrices
    centre_px: np.ndarray
    correlation: float


class _Spectrum:
    """A map's whitened transform, to be read at any position, and points at which it is compared."""

    def __init__(self, volume: Tensor, max_radius: int) -> None:
        self.box = volume.shape[-1]
        self.projector = Projector(volume.float(), max_radius)
        grid = self.projector.grid
        squared, shell = grid_shells(grid.shape[-1] - 1)
        power = torch.zeros(int(shell.max()) + 1).index_add_(0, shell.flatten(), grid.abs().square().flatten())
        count = torch.bincount(shell.flatten(), minlength=power.shape[0])
        self.whitened = grid / (power / count.clamp(min=1)).sqrt().clamp(min=1e-30)[shell]
        self.points = _points_in_sphere(max_radius, _REFINE_POINTS)
        self.at_points = read_grid(self.whitened, self.points * PADDING)

    def correlation(self, turns: Tensor, centre_px: Tensor, count: int) -> Tensor:
        """``[t]`` correlation with itself under ``turns [t, 3, 3]`` about ``centre_px`` at ``count`` points."""
        points = self.points[:count]
        moved = points @ turns.transpose(1, 2)
        values = read_grid(self.whitened, moved.reshape(-1, 3) * PADDING).reshape(turns.shape[0], -1)
        # the phases of a shift of the centre to the origin
        phase = 2.0 * math.pi / self.box * ((moved - points) @ centre_px)
        values = values * torch.complex(torch.cos(phase), torch.sin(phase))
        own = self.at_points[:count]
        norm = own.abs().square().sum().sqrt() * values.abs().square().sum(dim=1).sqrt()
        return (own.conj() * values).sum(dim=1).real / norm.clamp(min=1e-30)


def _points_in_sphere(radius: float, count: int) -> Tensor:
    """``[count, 3]`` float32 wave vectors, evenly spread over shells 1 to ``radius``, always the same."""
    stream = np.random.default_rng(_POINTS_SEED)
    directions = stream.standard_normal((count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    lengths = 1.0 + (radius - 1.0) * np.sqrt(stream.uniform(size=(count, 1)))
    return torch.from_numpy(directions * lengths).float()


def read_grid(grid: Tensor, points: Tensor) -> Tensor:
    """Trilinear values ``[p]`` of a half grid at ``points [p, 3]`` (x, y, z in grid steps)."""
    radius = grid.shape[-1] - 1
    cell, flat = locate(points, radius), grid.reshape(-1)
    value = torch.zeros(points.shape[0], dtype=flat.dtype)
    for dz, dy, dx, offset in corner_offsets(radius):
        value += flat.take(cell.index + offset) * corner_weight(cell, dz, dy, dx)
    return torch.complex(value.real, value.imag * cell.sign)


def find_axes(volume: Tensor, symmetry: str, pixel_size_angstrom: float, resolution_angstrom: float) -> SymmetryAxes:
    """Find the axes of ``symmetry`` in a map ``[n, n, n]``, compared out to ``resolution_angstrom``.

    Raises:
        InputError: the map is no finite cube, or the symmetry is not known.
    """
    box = check_cubic(volume.numpy())
    shell = max(3, min(round(box * pixel_size_angstrom / resolution_angstrom), box // 2 - 1))
    spectrum, group = _Spectrum(volume, shell), torch.from_numpy(symmetry_matrices(symmetry)).float()
    centre = _centre_of_mass(volume)
    starts = _search(spectrum, symmetry, group, centre)
    best = max((_refine(spectrum, group, start, centre, shell) for start in starts), key=lambda found: found[2])
    return SymmetryAxes(*best)


def _centre_of_mass(volume: Tensor) -> np.ndarray:
    """(x, y, z) of the denser half of a map's density, in pixels from the origin pixel."""
    dense = (volume.double() - _DENSE_SHARE * float(volume.max())).clamp(min=0.0)
    axis = torch.arange(volume.shape[0], dtype=torch.float64) - volume.shape[0] // 2
    total = dense.sum().clamp(min=1e-30)
    sums = [(dense.sum(dim=[d for d in range(3) if d != along]) * axis).sum() / total for along in (2, 1, 0)]
    return np.array([float(value) for value in sums])


def _search(spectrum: _Spectrum, symmetry: str, group: Tensor, centre: np.ndarray) -> list[Matrices]:
    """The best few turns of the axes by a few operators, which generate every group."""
    chosen = group[sorted({1, 2, 3, len(group) // 2} & set(range(1, len(group))))]
    turns = torch.from_numpy(unique_rotations(rotation_grid(_ROTATIONS), symmetry)).float()
    at = torch.from_numpy(centre).float()
    scores = torch.stack([spectrum.correlation(turn @ chosen @ turn.T, at, _SEARCH_POINTS).mean() for turn in turns])
    best = scores.argsort(descending=True)[:_CANDIDATES]
    return [turns[i].double().numpy() for i in best.tolist()]


def _refine(
    spectrum: _Spectrum, group: Tensor, start: Matrices, centre: np.ndarray, shell: int
) -> tuple[Matrices, np.ndarray, float]:
    """Refine a turn and the centre together, by all operators of the group."""
    radians_per_step = 1.0 / shell

    def placed(step: np.ndarray) -> tuple[Matrices, np.ndarray]:
        turn = Rotation.from_rotvec(step[:3] * radians_per_step).as_matrix()
        return np.asarray(turn @ start), centre + step[3:]

    def loss(step: np.ndarray) -> float:
        turn, at = placed(step)
        matrix = torch.from_numpy(turn).float()
        operators = matrix @ group[1:] @ matrix.T
        return -float(spectrum.correlation(operators, torch.from_numpy(at).float(), _SEARCH_POINTS).mean())

    simplex = np.vstack([np.zeros(6), np.eye(6)])
    options: Any = {"initial_simplex": simplex, "xatol": 0.01, "fatol": 1e-5, "maxfev": 300}
    found = optimize.minimize(loss, np.zeros(6), method="Nelder-Mead", options=options)
    turn, at = placed(found.x)
    return turn, at, -float(found.fun)


def symmetrised_on_axes(volume: Tensor, axes: SymmetryAxes, symmetry: str) -> Tensor:
    """The map ``[n, n, n]`` float32 turned so that its axes are the group's own, and averaged over the group."""
    box = volume.shape[-1]
    projector = Projector(volume.float(), box // 2 - 1)
    radius = projector.grid.shape[-1] - 1
    squared, _ = grid_shells(radius)
    inside = squared <= (PADDING * projector.max_radius) ** 2
    kz, ky, kx = inside.nonzero(as_tuple=True)
    points = torch.stack([kx, ky - radius, kz - radius], dim=1).float()
    total = torch.zeros(points.shape[0], dtype=torch.complex64)
    centre = torch.from_numpy(axes.centre_px).float()
    for operator in torch.from_numpy(axes.rotation @ symmetry_matrices(symmetry)).float():
        moved = points @ operator.T
        phase = 2.0 * math.pi / (PADDING * box) * (moved @ centre)
        total += read_grid(projector.grid, moved) * torch.complex(torch.cos(phase), torch.sin(phase))
    out = torch.zeros_like(projector.grid)
    out[inside] = total / symmetry_matrices(symmetry).shape[0]
    return grid_to_volume(out, box) / box
