"""A map filtered everywhere to its own local resolution.

Every window has its own radial filter: the FSC weight of its own curve, and a low-pass at its own resolution. The
filters of all windows are close to combinations of a few (their singular vectors), so the whole map is filtered a few
times and the results are blended, instead of once per window.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cryorepro.em.local_resolution import LocalResolution
from cryorepro.em.local_windows import add_blend, add_windows
from cryorepro.em.lowpass import Map, Volume, check_cubic, raised_cosine
from cryorepro.em.sharpening import fsc_weights
from cryorepro.em.shell_sums import multiply_by_square
from cryorepro.em.transforms import backward, forward

_STEPS_PER_SHELL = 8
_LOST_POWER = 1e-5
_EDGE_SHELLS = 2.0
# Filtered maps held at once.
_BYTES_TOGETHER = 1 << 26
_FEWEST_TOGETHER = 4


def locally_filtered(volume: Map, found: LocalResolution, pixel_size_angstrom: float) -> Volume:
    """Filter ``volume [n, n, n]`` around every point by the point's curve and resolution; 0 where no window reaches.

    Args:
        volume: the mean of the half maps, sharpened or not.
        found: the local resolutions of these half maps.
        pixel_size_angstrom: pixel size.
    """
    box = check_cubic(volume)
    filters = window_filters(found, box, pixel_size_angstrom)
    left, strength, vectors = np.linalg.svd(filters, full_matrices=False)
    lost = 1.0 - np.cumsum(strength**2) / max(float((strength**2).sum()), 1e-300)
    kept = int(np.argmax(lost < _LOST_POWER)) + 1
    step = np.rint(np.sqrt(np.arange((box // 2) ** 2 + 1.0)) * _STEPS_PER_SHELL).astype(np.int64)
    spectrum = forward(np.asarray(volume, dtype=np.float32))
    together = min(kept, max(_FEWEST_TOGETHER, _BYTES_TOGETHER // (4 * box**3)))
    filtered, copy = np.empty((together, *volume.shape), dtype=np.float32), np.empty_like(spectrum)
    blended = np.zeros(volume.shape, dtype=np.float32)
    for start in range(0, kept, together):
        part = range(start, min(start + together, kept))
        for number, out in zip(part, filtered, strict=False):
            copy[:] = spectrum
            multiply_by_square(copy, vectors[number][step])
            backward(copy, out)
        values = left[:, part] * strength[part]
        add_blend(blended, found.points, values, filtered[: len(part)], found.window)
    weight = add_windows(found.points, np.ones(len(found.points)), box, found.window)
    return np.divide(blended, weight, out=np.zeros_like(blended), where=weight > 0.0)


def window_filters(found: LocalResolution, box_px: int, pixel_size_angstrom: float) -> npt.NDArray[np.float64]:
    """Radial filter of every window ``[p, r]``, at steps of an eighth of a shell up to Nyquist."""
    radius = np.arange(box_px // 2 * _STEPS_PER_SHELL + 1) / _STEPS_PER_SHELL
    nearest = np.floor(radius + 0.5).astype(np.int64)
    rows = []
    for curve, angstrom in zip(found.point_fsc, found.point_angstrom, strict=True):
        shell = round(box_px * pixel_size_angstrom / float(angstrom))
        cut = raised_cosine(radius, max(0.0, shell - _EDGE_SHELLS / 2), shell + _EDGE_SHELLS / 2)
        rows.append(fsc_weights(curve)[nearest] * cut)
    return np.array(rows)
