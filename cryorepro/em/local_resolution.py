"""Local resolution: the corrected FSC of two half maps in a soft window that moves over the box.

The idea is Cardone, Heymann & Steven, J. Struct. Biol. 184 (2013) 226; window, sampling, phase randomisation and the
way results are spread over voxels are those of ``relion_postprocess --locres``. A window is small, so every FSC is
taken in a cube just large enough for it (`LocalWindow.crop_px`), and its crossing of 0.143 is interpolated and counted
in shells of the whole box.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cryorepro.em.errors import InputError
from cryorepro.em.fsc import Curve, check_pair, corrected_curve, crossing, fsc_of_spectra
from cryorepro.em.local_curves import window_curves
from cryorepro.em.local_windows import LocalWindow, add_windows, sampled_points
from cryorepro.em.lowpass import Map, Volume
from cryorepro.em.random_phases import randomise_from
from cryorepro.em.transforms import backward, forward

THRESHOLD = 0.143
Points = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LocalResolution:
    """Resolution at the sampled points and on every voxel they reach.

    Attributes:
        points: ``[p, 3]`` int64 (z, y, x), voxel indices of the window centres.
        point_angstrom: ``[p]`` resolution at each.
        point_fsc: ``[p, n / 2 + 1]`` corrected FSC at each.
        map_angstrom: ``[n, n, n]``, the window-weighted harmonic mean; 0 where no window reaches.
        window: the window used.
    """

    points: Points
    point_angstrom: Curve
    point_fsc: Curve
    map_angstrom: Volume
    window: LocalWindow


def local_resolution(
    half1: Map,
    half2: Map,
    pixel_size_angstrom: float,
    window: LocalWindow,
    generator: np.random.Generator,
    mask: Map | None = None,
    randomise_at_angstrom: float = 25.0,
    worst_angstrom: float = 50.0,
    workers: int = 1,
) -> LocalResolution:
    """Estimate the resolution around every point of a grid and spread it over the voxels.

    Args:
        half1: unfiltered half map ``[n, n, n]``.
        half2: the other half map.
        pixel_size_angstrom: pixel size.
        window: size and spacing of the windows.
        generator: source of the random phases.
        mask: if given, windows that do not reach a voxel above 0.5 are left out; inside the mask this
            changes nothing.
        randomise_at_angstrom: phases are randomised from the shell at or below this resolution on.
        worst_angstrom: local resolutions are never worse than this.
        workers: threads that share the windows out; they change no result.

    Raises:
        InputError: maps or mask do not belong together, the box is too small for the window, or no window
            reaches the mask.
    """
    box = check_pair(half1, half2)
    start = int(box * pixel_size_angstrom / randomise_at_angstrom)
    if not 1 <= start <= box // 2:
        raise InputError(f"phases cannot be randomised from {randomise_at_angstrom:g} A in this box")
    points = sampled_points(box, window, mask)
    halves = [np.asarray(half, dtype=np.float32) for half in (half1, half2)]
    spectra = [forward(half) for half in halves]
    unmasked = fsc_of_spectra(*spectra)
    for spectrum in spectra:
        randomise_from(spectrum, start, generator)
    noise = [np.asarray(backward(spectrum), dtype=np.float32) for spectrum in spectra]
    del spectra
    curves = np.array(
        [
            local_fsc(unmasked, masked, randomised, start, window.crop_px)
            for masked, randomised in window_curves([*halves, *noise], points, window, workers)
        ]
    )
    shells = np.array([last_shell(curve) for curve in curves])
    best = np.maximum(shells, box * pixel_size_angstrom / worst_angstrom)
    angstrom = box * pixel_size_angstrom / best
    total = add_windows(points, np.ones(len(points)), box, window)
    inverse = add_windows(points, 1.0 / angstrom, box, window)
    values = np.divide(total, inverse, out=np.zeros_like(total), where=inverse > 0.0)
    return LocalResolution(points, angstrom, curves, values, window)


def local_fsc(unmasked: Curve, masked: Curve, randomised: Curve, start: int, crop_px: int) -> Curve:
    """A window's corrected FSC on the whole box's shells ``[n / 2 + 1]``.

    Args:
        unmasked: FSC of the whole maps.
        masked: FSC in the window, on the crop's shells.
        randomised: the same with randomised phases.
        start: shell of the whole box from which phases are random.
        crop_px: side of the crop.
    """
    box = 2 * (len(unmasked) - 1)
    fine = np.arange(box // 2 + 1) * (crop_px / box)
    coarse = np.arange(len(masked))
    plain, noise = (np.interp(fine, coarse, curve) for curve in (masked, randomised))
    return corrected_curve(plain, noise, start)


def last_shell(curve: Curve) -> float:
    """Last shell before ``curve`` first falls below 0.143; half a shell if there is none."""
    return max(float(crossing(curve, THRESHOLD).shell), 0.5)
