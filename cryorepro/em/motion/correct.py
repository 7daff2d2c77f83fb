"""Motion correction of one movie: bad pixels, alignment, exposure weights, the sums."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryorepro.em.devices.choice import CPU
from cryorepro.em.devices.halving import with_size_that_fits
from cryorepro.em.errors import InputError
from cryorepro.em.motion.background import estimate_background
from cryorepro.em.motion.dose import WeightBasis, weight_basis
from cryorepro.em.motion.local import fit_local
from cryorepro.em.motion.patches import cut_patches
from cryorepro.em.motion.raw_frames import FrameSource, RawFrames
from cryorepro.em.motion.reduced import binning, reduce_frames
from cryorepro.em.motion.resample import GROUP, weighted_sums
from cryorepro.em.motion.trajectory import Trajectory
from cryorepro.em.motion.whole import align_whole
from cryorepro.em.movies.defects import find_hot_pixels

Floats = NDArray[np.float32]
_LEAST_PATCH_PX = 160
_DEAD_FROM_COUNTS = 10.0
"""A pixel without a count is dead where so many are usual; one in 20,000 good ones has none, too, and can be spared."""
_LOWEST_WAVES = 3.0
"""Waves over the longer side of a frame that count little: the illumination does not move with the specimen."""


@dataclass(frozen=True)
class MotionSettings:
    """How a movie is corrected.

    Attributes:
        pixel_size_angstrom: of the movie's frames.
        voltage_kv: acceleration voltage.
        accumulated_e_per_angstrom2: exposure at the end of every frame; None for no exposure weighting.
        patches: along x and y; fewer where a patch would be smaller than 160 pixels.
        bfactor_angstrom2: each frame is weighted by exp(-B s^2 / 4); None for 600 pixels squared.
        largest_shift_angstrom: of a whole frame.
        binned: how many times fewer pixels per side the sums have.
        unweighted: whether the plain sum is wanted too.
        memory_bytes: for frames as stored, on the device; a movie that is larger is read three times.
    """

    pixel_size_angstrom: float
    voltage_kv: float
    accumulated_e_per_angstrom2: NDArray[np.float64] | None = None
    patches: tuple[int, int] = (5, 5)
    bfactor_angstrom2: float | None = None
    largest_shift_angstrom: float = 150.0
    binned: float = 1.0
    unweighted: bool = True
    memory_bytes: int = 3 * 2**30

    @property
    def bfactor_px2(self) -> float:
        """The B-factor in pixels squared."""
        return 600.0 if self.bfactor_angstrom2 is None else self.bfactor_angstrom2 / self.pixel_size_angstrom**2


@dataclass(frozen=True)
class CorrectedMovie:
    """What became of a movie.

    Attributes:
        weighted: sum ``[h, w]`` with exposure weights; None without them.
        unweighted: plain sum; None where it was not asked for.
        trajectory: of the specimen, in pixels of the movie.
        bad_pixels: ``[n, 2]`` (x, y) of hot and defective pixels that were replaced.
        background: small picture of the background of the plain or else the weighted sum.
        background_step_px: pixels of the sum per pixel of the background.
    """

    weighted: Floats | None
    unweighted: Floats | None
    trajectory: Trajectory
    bad_pixels: NDArray[np.int64]
    background: Floats
    background_step_px: float


def correct_movie(
    source: FrameSource,
    settings: MotionSettings,
    gain: Floats | None = None,
    defects: NDArray[np.bool_] | None = None,
    device: torch.device = CPU,
) -> CorrectedMovie:
    """Align the frames of a movie and sum them.

    The frames are held, reduced, compared, resampled and weighted on ``device``; hot pixels are found, and few numbers
    fitted, on the CPU. A GPU whose memory does not suffice starts again with fewer frames held at once.

    Args:
        source: the movie.
        settings: how.
        gain: ``[h, w]`` that frames are multiplied with; its zeros are defects.
        defects: ``[h, w]`` bad pixels, besides the hot ones that are found in the sum.
        device: where.

    Raises:
        InputError: a frame cannot be read, is zero or has NaN, or gain, defects or exposures do not fit the frames.
        torch.OutOfMemoryError: the device has not even memory for four frames and the sums.
    """
    _check(source, settings, gain, defects)
    return with_size_that_fits(
        lambda held: _corrected(RawFrames(source, held, device), settings, gain, defects),
        settings.memory_bytes if device.type == "cpu" else min(settings.memory_bytes, source.nbytes),
        GROUP * (source.nbytes // source.frames),
        device,
        "bytes of frames held",
    )


def _corrected(
    raw: RawFrames, settings: MotionSettings, gain: Floats | None, defects: NDArray[np.bool_] | None
) -> CorrectedMovie:
    total = raw.total()
    bad = find_hot_pixels(total, gain)
    if float(total.mean()) >= _DEAD_FROM_COUNTS:
        bad |= total == 0
    if gain is not None:
        bad |= gain == 0
    if defects is not None:
        bad |= defects
    mended = raw.replace(bad, gain)
    factor_map = None if mended is None else torch.from_numpy(mended).to(raw.device)
    trajectory = find_trajectory(raw, factor_map, settings)
    weighted, plain = _sums(raw, factor_map, trajectory, settings)
    seen = plain if plain is not None else weighted
    assert seen is not None
    background, step = estimate_background(seen)
    return CorrectedMovie(
        None if weighted is None else weighted.cpu().numpy(),
        None if plain is None else plain.cpu().numpy(),
        trajectory,
        np.argwhere(bad)[:, ::-1],
        background.cpu().numpy(),
        step,
    )


def _check(
    source: FrameSource, settings: MotionSettings, gain: Floats | None, defects: NDArray[np.bool_] | None
) -> None:
    for what, picture in (("gain reference", gain), ("defects", defects)):
        if picture is not None and picture.shape != source.shape:
            raise InputError(f"The {what} has shape {picture.shape}, but the frames have {source.shape}.")
    exposures = settings.accumulated_e_per_angstrom2
    if exposures is not None and len(exposures) != source.frames:
        raise InputError(f"{len(exposures)} exposures were given for {source.frames} frames.")
    if exposures is None and not settings.unweighted:
        raise InputError("Neither a weighted nor a plain sum is wanted.")
    if min(source.shape) < 64:
        raise InputError(f"Frames of {source.shape} pixels are too small to be aligned.")


def find_trajectory(raw: RawFrames, gain: Tensor | None, settings: MotionSettings) -> Trajectory:
    """Align the whole frames, then the patches."""
    height, width = raw.shape
    bfactor = settings.bfactor_px2
    factor = binning(bfactor, height, width)
    reduced = torch.cat([reduce_frames(group, gain, factor) for _, group in raw.groups()])
    still = np.zeros((2, 18))
    if raw.frames < 2:
        return Trajectory(np.zeros((raw.frames, 2)), still, height, width)
    lowest = _LOWEST_WAVES / max(height, width)
    shifts = align_whole(
        reduced, factor, bfactor, lowest, settings.largest_shift_angstrom / settings.pixel_size_angstrom
    )
    whole = Trajectory(shifts.numpy(), still, height, width)
    columns, rows = (
        max(1, min(wanted, side // _LEAST_PATCH_PX))
        for wanted, side in zip(settings.patches, (width, height), strict=True)
    )
    if columns * rows == 1:
        return whole
    patches = cut_patches(reduced, factor, shifts, (columns, rows), 0.5 / factor)
    return fit_local(patches, whole, bfactor, lowest)


def _sums(
    raw: RawFrames, gain: Tensor | None, trajectory: Trajectory, settings: MotionSettings
) -> tuple[Tensor | None, Tensor | None]:
    """The weighted and the plain sum, each None where it is not wanted."""
    exposures = settings.accumulated_e_per_angstrom2
    basis = None
    rows: list[NDArray[np.float64]] = []
    if exposures is not None:
        basis = weight_basis(exposures, settings.voltage_kv, settings.pixel_size_angstrom)
        rows.extend(basis.frames)
    if settings.unweighted:
        rows.append(np.ones(raw.frames))
    weights = torch.from_numpy(np.stack(rows)).to(torch.float32)
    sums = _added(raw, gain, trajectory, weights)
    raw.forget()
    plain = crop(torch.fft.rfft2(sums[-1]), raw.shape, settings.binned) if settings.binned > 1 else sums[-1].clone()
    if basis is None:
        return None, plain
    weighted = _weighted(basis, sums[: len(basis.curves)], raw.shape, settings.binned)
    return weighted, plain if settings.unweighted else None


def _added(raw: RawFrames, gain: Tensor | None, trajectory: Trajectory, weights: Tensor) -> Tensor:
    sums: Tensor | None = None
    for first, group in raw.groups():
        sums = weighted_sums(group, gain, trajectory, weights, first, sums)
    assert sums is not None
    return sums


def _weighted(basis: WeightBasis, sums: Tensor, shape: tuple[int, int], binned: float) -> Tensor:
    combined = basis.combine((torch.fft.rfft2(each) for each in sums), *shape, sums.device)
    return crop(combined, shape, binned)


def crop(transform: Tensor, shape: tuple[int, int], binned: float) -> Tensor:
    """Return the image of a transform ``[h, w // 2 + 1]``, with ``binned`` times fewer pixels per side (even)."""
    if binned == 1:
        whole: Tensor = torch.fft.irfft2(transform, s=shape)
        return whole
    height, width = (2 * math.floor(side / (2 * binned)) for side in shape)
    half = height // 2
    kept = torch.cat([transform[:half, : width // 2 + 1], transform[-half:, : width // 2 + 1]])
    found: Tensor = torch.fft.irfft2(kept, s=(height, width)) * (height * width / (shape[0] * shape[1]))
    return found


def accumulated_motion(
    trajectory: Trajectory, settings: MotionSettings, early_e_per_angstrom2: float
) -> Sequence[float]:
    """Path length of the whole frame in Angstrom: in all, up to that exposure, and after it."""
    exposures = settings.accumulated_e_per_angstrom2
    doses = np.arange(1, trajectory.frames + 1, dtype=np.float64) if exposures is None else exposures
    early, late = trajectory.travelled_angstrom(settings.pixel_size_angstrom, doses, early_e_per_angstrom2)
    return early + late, early, late
