"""The frames of one movie: particles and ice, moved, dimmed by radiation, and counted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft

from cryorepro.em.movie_twin.detector import Counts, Detector, poisson_table
from cryorepro.em.movie_twin.dose import attenuation
from cryorepro.em.movie_twin.motion import MovieMotion
from cryorepro.em.movie_twin.optics import Frequencies, Microscope, MovieDefocus, frequencies, transfer

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]
_BATCH = 32
_UNMOVED_PX = 0.01


@dataclass(frozen=True)
class Exposure:
    """How a movie is exposed.

    Attributes:
        exposures: e/A^2 the specimen has had in the middle of each frame.
        electrons: Mean electrons per pixel and frame.
        pixel_size_angstrom: Of the detector's pixels on the specimen.
        contrast_gain: Factor on the particles' contrast; 1 is life.
    """

    exposures: Floats
    electrons: float
    pixel_size_angstrom: float
    contrast_gain: float


@dataclass(frozen=True)
class Scene:
    """What lies in one micrograph.

    Attributes:
        positions_px: float64 [n, 2], (x, y) of the particles' origins in the first frame.
        projections: float64 [n, box, box], projected densities in Angstrom per A^2.
        heights_angstrom: float64 [n], what each particle's place in the ice adds to its defocus.
        background: float64 [rows, columns], contrast of ice and dirt, as they lie once the specimen is at rest.
    """

    positions_px: Floats
    projections: Floats
    heights_angstrom: Floats
    background: Floats


def expose_movie(
    scene: Scene,
    defocus: MovieDefocus,
    motion: MovieMotion,
    microscope: Microscope,
    exposure: Exposure,
    detector: Detector,
    stream: np.random.Generator,
) -> Counts:
    """Counts uint8 [frames, rows, columns] of one movie."""
    stamps = particle_stamps(scene, defocus, microscope, exposure)
    at = frequencies(defocus.shape, exposure.pixel_size_angstrom)
    stamp_at = frequencies((stamps.shape[1], stamps.shape[1]), exposure.pixel_size_angstrom)
    moved = motion.displacement(scene.positions_px)
    table = poisson_table(exposure.electrons)
    ice = fft.rfft2(scene.background)
    frames = np.empty((len(exposure.exposures), *defocus.shape), dtype=np.uint8)
    for number, dose in enumerate(exposure.exposures):
        dimmed = attenuation(at.radius, float(dose), microscope.voltage_kv)
        image = _shifted(ice * dimmed, motion.drift_px[number], exposure.pixel_size_angstrom, at, defocus.shape)
        image = warp(image, motion.field_px[-1] - motion.field_px[number])
        dimmed = attenuation(stamp_at.radius, float(dose), microscope.voltage_kv)
        add_stamps(image, stamps * dimmed, scene.positions_px + moved[number], stamp_at, exposure.pixel_size_angstrom)
        frames[number] = detector.expose(exposure.electrons * (1.0 + image), exposure.electrons, table, stream)
    return frames


def stamp_box_px(box_px: int, highest_defocus_angstrom: float, microscope: Microscope, pixel_size: float) -> int:
    """A box that holds a particle with its fringes to 5 A: they reach wavelength times defocus times frequency."""
    fringe = microscope.wavelength_angstrom * highest_defocus_angstrom / max(5.0, 2.0 * pixel_size)
    wanted = 0.75 * box_px + 2.0 * fringe / pixel_size
    return int(fft.next_fast_len(2 * int(np.ceil(wanted / 2.0)), real=True)) // 2 * 2


def particle_stamps(scene: Scene, defocus: MovieDefocus, microscope: Microscope, exposure: Exposure) -> Complexes:
    """Transforms (``rfft2``, origin at pixel 0) of each particle's contrast, complex128 [n, s, s // 2 + 1]."""
    box, pixel = scene.projections.shape[1], exposure.pixel_size_angstrom
    highest = max(defocus.u_angstrom, defocus.v_angstrom) + defocus.reach_angstrom
    size = max(box, stamp_box_px(box, highest, microscope, pixel))
    at = frequencies((size, size), pixel)
    offsets = defocus.offset(scene.positions_px) + scene.heights_angstrom
    factor = -2.0 * exposure.contrast_gain * microscope.phase_per_projected_density
    out = np.empty((len(scene.projections), size, size // 2 + 1), dtype=np.complex128)
    padded = np.zeros((size, size))
    for number, (image, offset) in enumerate(zip(scene.projections, offsets, strict=True)):
        padded[:box, :box] = image
        centred = np.roll(padded, (-(box // 2), -(box // 2)), axis=(0, 1))
        out[number] = fft.rfft2(centred) * (factor * transfer(defocus, float(offset), microscope, at))
    out[:, size // 2] = 0.0  # without the Nyquist lines any shift is exact
    out[:, :, size // 2] = 0.0
    return out


def add_stamps(
    image: Floats, stamps: Complexes, positions_px: Floats, at: Frequencies, pixel_size_angstrom: float
) -> None:
    """Add particles, transforms ``stamps [n, s, s // 2 + 1]``, to ``image`` at ``positions_px [n, 2]`` (x, y)."""
    size = stamps.shape[1]
    whole = np.floor(positions_px + 0.5).astype(np.int64)
    part = (positions_px - whole + size // 2) * pixel_size_angstrom
    for start in range(0, len(stamps), _BATCH):
        some = slice(start, start + _BATCH)
        x, y = (part[some, axis, None] for axis in range(2))
        ramps = np.exp(-2j * np.pi * y * at.ky[:, 0])[:, :, None] * np.exp(-2j * np.pi * x * at.kx[0])[:, None]
        pictures = fft.irfft2(stamps[some] * ramps, s=(size, size))
        for picture, corner in zip(pictures, whole[some] - size // 2, strict=True):
            _add(image, picture, int(corner[0]), int(corner[1]))


def _add(image: Floats, picture: Floats, left: int, top: int) -> None:
    rows, columns = image.shape
    size = picture.shape[0]
    x0, x1, y0, y1 = max(left, 0), min(left + size, columns), max(top, 0), min(top + size, rows)
    if x0 < x1 and y0 < y1:
        image[y0:y1, x0:x1] += picture[y0 - top : y1 - top, x0 - left : x1 - left]


def _shifted(
    spectrum: Complexes, shift_px: Floats, pixel_size: float, at: Frequencies, shape: tuple[int, int]
) -> Floats:
    x, y = shift_px * pixel_size
    spectrum *= np.exp(-2j * np.pi * y * at.ky) * np.exp(-2j * np.pi * x * at.kx)
    return np.asarray(fft.irfft2(spectrum, s=shape))


def warp(image: Floats, field_px: Floats) -> Floats:
    """``image`` at x + field(x), by bicubic interpolation; ``field_px [2, 6]`` as in `motion.MovieMotion`.

    The image lies as at rest; a frame that has ``field_px`` left to go shows at x what will be at x + field.
    """
    if np.abs(field_px).sum() < _UNMOVED_PX:
        return image
    rows, columns = image.shape
    u, v = (np.arange(columns) / columns - 0.5)[None], (np.arange(rows) / rows - 0.5)[:, None]
    one = np.ones_like(u) * np.ones_like(v)
    terms = (one, u, v, u * u, u * v, v * v)
    shift_x, shift_y = (sum(float(c) * term for c, term in zip(row, terms, strict=True)) for row in field_px)
    x = (np.arange(columns)[None] + shift_x) * (2.0 / (columns - 1)) - 1.0
    y = (np.arange(rows)[:, None] + shift_y) * (2.0 / (rows - 1)) - 1.0
    grid = torch.from_numpy(np.stack([x * one, y * one], axis=-1))[None]
    picture = torch.from_numpy(image)[None, None]
    moved = torch.nn.functional.grid_sample(picture, grid, "bicubic", "reflection", align_corners=True)
    return np.asarray(moved[0, 0].numpy())
