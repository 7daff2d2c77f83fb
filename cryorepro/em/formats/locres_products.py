"""What a local resolution leaves, checked for physical sense, and its distribution inside the mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.formats.maps import read_map
from cryorepro.em.formats.relion_job import IncompleteJob, JobReport, check_map, readable

LOCRES_FILES = {"local_resolution": "relion_locres.mrc", "map": "relion_locres_filtered.mrc"}
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def inspect_locres(directory: Path, *, box_px: int, mask: Path | None = None) -> JobReport:
    """Check a local-resolution map: no voxel finer than Nyquist or coarser than the box.

    Args:
        directory: where the maps are.
        box_px: their box.
        mask: the mask inside which quantiles are taken; without one all voxels with a resolution count.

    Raises:
        IncompleteJob: a map is missing or holds what is no resolution, or the mask has no voxel with one.
    """
    paths = {role: directory / name for role, name in LOCRES_FILES.items()}
    pixel_size = check_map(paths["local_resolution"], box_px)
    check_map(paths["map"], box_px, pixel_size)
    values, _ = readable(read_map, paths["local_resolution"])
    known = values > 0
    if mask is not None:
        known &= readable(read_map, mask)[0] > 0.5
    if not known.any():
        raise IncompleteJob(f"{paths['local_resolution'].name}: no voxel inside the mask has a resolution")
    inside = values[known].astype(np.float64)
    if values.min() < 0 or inside.min() < 2 * pixel_size * (1 - 1e-3) or inside.max() > 2 * box_px * pixel_size:
        raise IncompleteJob(
            f"{paths['local_resolution'].name}: resolutions from {inside.min():g} to {inside.max():g} Angstrom, "
            f"not between Nyquist ({2 * pixel_size:g}) and twice the box"
        )
    return JobReport({role: Path(name) for role, name in LOCRES_FILES.items()}, numbers=_numbers(inside))


def _numbers(inside: NDArray[np.float64]) -> dict[str, float]:
    found = zip(QUANTILES, np.quantile(inside, QUANTILES), strict=True)
    numbers = {f"local_resolution_q{round(100 * level):02d}_angstrom": float(value) for level, value in found}
    return numbers | {"local_resolution_voxels": float(inside.size)}
