"""Fourier shell correlations in many windows of two maps.

A window fills part of the cube it is cut into, so most lines of the cube's transform along the first axes are empty
and left out. Products of coefficients are first added over the octants, where |k| is the same, and then over shells.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from cryorepro.em.fsc import Curve
from cryorepro.em.local_windows import Kernel, LocalWindow, Points, crop
from cryorepro.em.shell_sums import largest_square, shell_of_squares
from cryorepro.em.transforms import Spectrum, forward_within


def window_curves(
    volumes: Sequence[Kernel], points: Points, window: LocalWindow, workers: int = 1
) -> Iterator[tuple[Curve, Curve]]:
    """FSC in every window of the halves ``volumes[:2]`` and of those with randomised phases, ``volumes[2:]``.

    Curves have the shells of the window's cube, 0 to ``crop_px / 2``. Threads share the windows out; they change no
    result.
    """
    kernel, places, begins = window.kernel(), *octant_order(window.crop_px)

    def curves(centre: npt.NDArray[np.int64]) -> tuple[Curve, Curve]:
        spectra = [forward_within(crop(v, centre, len(kernel)) * kernel, window.crop_px) for v in volumes]
        a, b, c, d = spectra
        return _correlation(a, b, places, begins), _correlation(c, d, places, begins)

    if workers == 1:
        yield from map(curves, points)
        return
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(curves, points)


def octant_order(side: int) -> tuple[Points, Points]:
    """Places of a flattened octant ``[side / 2 + 1] * 3`` in order of their shell, and where each shell begins.

    Shells 0 to ``side / 2``; what lies beyond is left out.
    """
    axis = np.arange(side // 2 + 1) ** 2
    squared = (axis[:, None, None] + axis[None, :, None] + axis[None, None]).reshape(-1)
    inside = np.flatnonzero(squared <= largest_square(side))
    shell = shell_of_squares(side)[squared[inside]]
    order = np.argsort(shell, kind="stable")
    return inside[order], np.searchsorted(shell[order], np.arange(side // 2 + 1))


def _correlation(first: Spectrum, second: Spectrum, places: Points, begins: Points) -> Curve:
    cross, *powers = (_sums(*pair, places, begins) for pair in ((first, second), (first, first), (second, second)))
    return np.asarray(cross / np.sqrt(np.maximum(powers[0] * powers[1], 1e-300)))


def _sums(first: Spectrum, second: Spectrum, places: Points, begins: Points) -> Curve:
    """Real part of ``first * conj(second)`` over shells."""
    product = first.view(first.real.dtype) * second.view(second.real.dtype)
    half = first.shape[0] // 2
    product[1:half] += product[:half:-1]
    product[: half + 1, 1:half] += product[: half + 1, :half:-1]
    octant = product[: half + 1, : half + 1, ::2] + product[: half + 1, : half + 1, 1::2]
    return np.asarray(np.add.reduceat(octant.reshape(-1)[places], begins, dtype=np.float64))
