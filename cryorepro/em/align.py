"""Alignment of one map to another: every rotation, both hands, and a local refinement of rotation and shift.

Both spectra are whitened shell by shell first, because the coarse shells of a round particle hardly depend on
its orientation and would drown the ones that do.  The search runs over a super-Fibonacci spiral of rotations
(Alexa, CVPR 2022), each with the best shift from a Fourier cross-correlation; the best few are refined on the
mean FSC.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage, optimize
from scipy.spatial.transform import Rotation

from cryorepro.em.errors import InputError
from cryorepro.em.fsc import fsc_curve, shell_sums
from cryorepro.em.lowpass import Map, Volume, check_cubic, fourier_radius
from cryorepro.em.symmetry import Matrices, symmetry_matrices

_MIRROR = np.diag([1.0, 1.0, -1.0])
_REFINED_CANDIDATES = 4
_SMALLEST_BOX = 12


@dataclass(frozen=True)
class Alignment:
    """How the moving map must be moved onto the fixed one: ``x -> rotation @ x + shift`` in (x, y, z).

    ``score`` is the mean FSC over the shells used; ``other_hand_score`` is the best score of the mirror image
    of the moving map, found by the same search.
    """

    rotation: Matrices
    shift_angstrom: npt.NDArray[np.float64]
    score: float
    other_hand_score: float

    @property
    def same_hand(self) -> bool:
        """Whether the moving map fits better as it is than mirrored."""
        return self.score >= self.other_hand_score


def transform_map(volume: Map, matrix: Matrices, shift_px: npt.NDArray[np.float64]) -> Volume:
    """Return ``V'(x) = V(matrix^-1 (x - shift))`` about voxel ``n // 2``; an improper matrix mirrors.

    ``volume`` is ``[z, y, x]``, ``matrix`` and ``shift_px`` act on (x, y, z); outside the box it is zero.
    """
    inverse = np.linalg.inv(matrix)[::-1, ::-1]
    origin = np.full(3, volume.shape[0] // 2, dtype=np.float64)
    offset = origin - inverse @ (origin + np.asarray(shift_px)[::-1])
    moved = ndimage.affine_transform(np.asarray(volume, dtype=np.float64), inverse, offset, order=1)
    return np.asarray(moved)


def rotation_grid(count: int) -> Matrices:
    """``count`` rotations ``[count, 3, 3]`` spread evenly over all rotations (super-Fibonacci spiral)."""
    index = np.arange(count) + 0.5
    radius, other = np.sqrt(index / count), np.sqrt(1.0 - index / count)
    alpha = 2.0 * np.pi * index / np.sqrt(2.0)
    beta = 2.0 * np.pi * index / 1.533751168755204288118041
    quaternion = [radius * np.sin(alpha), radius * np.cos(alpha), other * np.sin(beta), other * np.cos(beta)]
    return np.asarray(Rotation.from_quat(np.stack(quaternion, axis=1)).as_matrix())


def unique_rotations(rotations: Matrices, symmetry: str) -> Matrices:
    """Keep one of each set ``R @ S``: the one that turns least."""
    traces = np.einsum("rij,sji->rs", rotations, symmetry_matrices(symmetry))
    return np.asarray(rotations[traces[:, 0] >= traces.max(axis=1) - 1e-9])


def align_maps(
    fixed: Map,
    moving: Map,
    pixel_size_angstrom: float,
    symmetry: str = "C1",
    search_resolution_angstrom: float = 20.0,
    refine_resolution_angstrom: float = 10.0,
    rotations: int = 4608,
) -> Alignment:
    """Find the rotation and shift that lay ``moving`` on ``fixed``, and whether its mirror image fits better.

    Args:
        fixed: map ``[n, n, n]``.
        moving: map of the same size, for example the density of a model.
        pixel_size_angstrom: pixel size of both.
        symmetry: point group of ``moving`` about its own origin, which leaves fewer rotations to try.
        search_resolution_angstrom: finest shell in the search over all rotations.
        refine_resolution_angstrom: finest shell in the local refinement.
        rotations: rotations in the whole search grid (4608 are about 15 degrees apart).

    Raises:
        InputError: the maps are not finite cubes of one size.
    """
    same, other = align_hands(
        fixed, moving, pixel_size_angstrom, symmetry, search_resolution_angstrom, refine_resolution_angstrom, rotations
    )
    return Alignment(same.rotation, same.shift_angstrom, same.score, other.score)


@dataclass(frozen=True)
class HandAlignment:
    """``x -> rotation @ x + shift`` in (x, y, z) for one hand, an improper ``rotation`` for the other; its score."""

    rotation: Matrices
    shift_angstrom: npt.NDArray[np.float64]
    score: float


def align_hands(
    fixed: Map,
    moving: Map,
    pixel_size_angstrom: float,
    symmetry: str = "C1",
    search_resolution_angstrom: float = 20.0,
    refine_resolution_angstrom: float = 10.0,
    rotations: int = 4608,
) -> tuple[HandAlignment, HandAlignment]:
    """The best alignments of ``moving`` as it is and of its mirror image; arguments as in `align_maps`.

    Raises:
        InputError: the maps are not finite cubes of one size.
    """
    box = check_cubic(fixed, "fixed map")
    if check_cubic(moving, "moving map") != box:
        raise InputError(f"maps of {box} and {moving.shape[0]} voxels cannot be aligned")
    coarse = [_shrink(v, pixel_size_angstrom, search_resolution_angstrom) for v in (fixed, moving)]
    fine = [_shrink(v, pixel_size_angstrom, refine_resolution_angstrom) for v in (fixed, moving)]
    grid = unique_rotations(rotation_grid(rotations), symmetry)
    scale = fine[0].shape[0] / coarse[0].shape[0]
    pixel = pixel_size_angstrom * box / fine[0].shape[0]

    def best(hand: Matrices) -> HandAlignment:
        starts = _search(coarse[0], coarse[1], grid @ hand)
        found = max((_refine(fine[0], fine[1], m, scale * s) for m, s in starts), key=lambda each: each[2])
        return HandAlignment(found[0], found[1] * pixel, found[2])

    return best(np.eye(3)), best(_MIRROR)


def refine_hand(
    fixed: Map, moving: Map, pixel_size_angstrom: float, start: HandAlignment, resolution_angstrom: float
) -> HandAlignment:
    """A known alignment refined on finer shells, down to ``resolution_angstrom``.

    Raises:
        InputError: the maps are not finite cubes of one size.
    """
    box = check_cubic(fixed, "fixed map")
    if check_cubic(moving, "moving map") != box:
        raise InputError(f"maps of {box} and {moving.shape[0]} voxels cannot be aligned")
    fine = [_shrink(volume, pixel_size_angstrom, resolution_angstrom) for volume in (fixed, moving)]
    pixel = pixel_size_angstrom * box / fine[0].shape[0]
    matrix, shift, score = _refine(fine[0], fine[1], start.rotation, start.shift_angstrom / pixel)
    return HandAlignment(matrix, shift * pixel, score)


def _shrink(volume: Map, pixel_size: float, resolution: float) -> Volume:
    """Fourier-crop to the smallest even box that holds ``resolution``, every shell whitened."""
    box = volume.shape[0]
    half = int(np.ceil(box * pixel_size / resolution)) + 1
    small = min(box, max(_SMALLEST_BOX, 2 * half))
    centred = fft.ifftshift(np.asarray(volume, dtype=np.float64))
    spectrum = fft.rfftn(centred)
    keep = np.r_[0 : small // 2, box - small // 2 : box]
    spectrum = spectrum[np.ix_(keep, keep, np.arange(small // 2 + 1))]
    power = shell_sums(np.abs(spectrum) ** 2, small) / shell_sums(np.ones(spectrum.shape), small)
    shells = np.rint(fourier_radius(small)).astype(np.int64)
    inside = (shells > 0) & (shells < min(half, small // 2))
    amplitude = np.sqrt(np.maximum(power, 1e-300))[np.minimum(shells, small // 2)]
    whitened = np.where(inside, spectrum / amplitude, 0.0)
    return np.asarray(fft.fftshift(fft.irfftn(whitened, s=(small, small, small))))


def _search(fixed: Volume, moving: Volume, matrices: Matrices) -> list[tuple[Matrices, npt.NDArray[np.float64]]]:
    """The best candidates (matrix, shift in pixels) by cross-correlation, best first."""
    box = fixed.shape[0]
    target = fft.rfftn(fixed)
    results = []
    for matrix in matrices:
        turned = fft.rfftn(transform_map(moving, matrix, np.zeros(3)))
        correlation = fft.irfftn(target * turned.conj(), s=fixed.shape)
        peak = np.array(np.unravel_index(int(correlation.argmax()), correlation.shape), dtype=np.float64)
        norm = float(np.sqrt((np.abs(turned) ** 2).sum())) or 1.0
        shift = (peak + box // 2) % box - box // 2
        results.append((float(correlation.max()) / norm, matrix, shift[::-1]))
    results.sort(key=lambda found: -found[0])
    return [(matrix, shift) for _, matrix, shift in results[:_REFINED_CANDIDATES]]


def _refine(
    fixed: Volume, moving: Volume, matrix: Matrices, shift: npt.NDArray[np.float64]
) -> tuple[Matrices, npt.NDArray[np.float64], float]:
    """Refine a rotation vector (radians) and a shift (pixels) on the mean FSC of the filled shells."""
    radius = moving.shape[0] / 4.0  # one radian moves the particle's surface by about this many pixels

    def moved(step: npt.NDArray[np.float64]) -> tuple[Matrices, npt.NDArray[np.float64]]:
        turn = Rotation.from_rotvec(step[:3] / radius).as_matrix()
        return np.asarray(turn @ matrix), shift + step[3:]

    def loss(step: npt.NDArray[np.float64]) -> float:
        return -float(fsc_curve(fixed, transform_map(moving, *moved(step)))[1:-1].mean())

    start = np.vstack([np.zeros(6), np.eye(6)])
    options: Any = {"initial_simplex": start, "xatol": 0.01, "fatol": 1e-5, "maxfev": 250}
    found = optimize.minimize(loss, np.zeros(6), method="Nelder-Mead", options=options)
    best_matrix, best_shift = moved(found.x)
    return best_matrix, best_shift, -float(found.fun)
