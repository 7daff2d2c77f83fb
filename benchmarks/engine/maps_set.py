"""Files for the map and CTF benchmark: half maps of even and uneven resolution, particles with known CTF errors."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cryorepro.em.formats.maps import write_map
from cryorepro.em.lowpass import lowpass_map
from cryorepro.em.maskcreate import spherical_mask
from tests.em.aberrated import AberratedSet, aberrated_set

Floats = NDArray[np.float64]
TILT_MRAD = (0.4, -0.3)
LOWPASS_ANGSTROM = 15.0


@dataclass(frozen=True)
class MapsSet:
    """Paths of the files by role, and the truth."""

    paths: dict[str, Path]
    truth: AberratedSet
    stated_defocus: Floats
    threshold: float
    pixel_size_angstrom: float


def write_maps_set(directory: Path, box_px: int, particles: int, pixel_size_angstrom: float = 1.2) -> MapsSet:
    """Simulate and write everything; ``relion_postprocess`` makes the FSC table its own CTF refinement asks for."""
    truth = aberrated_set(particles, max(2, particles // 50), box_px, pixel_size_angstrom, 0.05, TILT_MRAD)
    stated = perturbed(truth)
    truth.write(directory, stated)
    pixel = pixel_size_angstrom
    volume = truth.model.volume(box_px, pixel)
    stream = np.random.default_rng(6)
    blurred = ndimage.gaussian_filter(volume, 2.5)
    side = 1.0 / (1.0 + np.exp(-(np.arange(box_px) - box_px // 2) / 3.0))
    uneven = volume * side + blurred * (1.0 - side)
    maps = {"mask": spherical_mask(box_px, 0.4 * box_px, 5.0)}
    for number in (1, 2):
        maps[f"half{number}"] = volume + stream.normal(0, volume.std(), volume.shape)
        maps[f"uneven{number}"] = uneven + stream.normal(0, 3.0 * volume.std(), volume.shape)
    paths = {role: directory / f"{role}.mrc" for role in maps}
    for role, values in maps.items():
        write_map(paths[role], values.astype(np.float32), pixel)
    argv = ["relion_postprocess", "--i", "half1.mrc", "--i2", "half2.mrc", "--mask", "mask.mrc", "--angpix", str(pixel)]
    subprocess.run([*argv, "--o", "postprocess", "--adhoc_bfac", "0"], cwd=directory, capture_output=True, check=False)
    paths |= {"particles": directory / "particles.star", "postprocess": directory / "postprocess.star"}
    threshold = float(0.3 * lowpass_map(volume, LOWPASS_ANGSTROM, pixel).max())
    return MapsSet(paths, truth, stated, threshold, pixel)


def perturbed(truth: AberratedSet) -> Floats:
    """True defocus ``[n, 3]`` with errors: 250 A per particle, 150 A and 12 degrees of astigmatism per micrograph."""
    stream = np.random.default_rng(4)
    true, place = truth.views.defocus, truth.micrograph
    groups = int(place.max()) + 1
    mean = true[:, :2].mean(axis=1) + stream.normal(0, 250, len(true))
    size = (true[:, 0] - true[:, 1]) + stream.normal(0, 150, groups)[place]
    angle = true[:, 2] + stream.normal(0, 12, groups)[place]
    return np.stack([mean + size / 2, mean - size / 2, angle], axis=1)


def defocus_errors(found: Floats, true: Floats) -> tuple[float, float, float]:
    """Errors in Angstrom: of the mean defocus rms and median, and of the astigmatism as a vector, rms."""
    mean = (found[:, :2] - true[:, :2]).mean(axis=1)
    vectors = [(d[:, 0] - d[:, 1]) * np.exp(2j * np.deg2rad(d[:, 2])) for d in (found, true)]
    astigmatism = float(np.sqrt((np.abs(vectors[0] - vectors[1]) ** 2).mean()))
    return float(np.sqrt((mean**2).mean())), float(np.median(np.abs(mean))), astigmatism
