"""Sums over shells of what an ``rfftn`` stores, ``[n, n, n // 2 + 1]``, plane by plane.

|k|^2 is the same in the four quarters of a plane and on the planes at kz and -kz. Values are added over these first
and then sorted into shells, so that the sorting, which costs most, is of a quarter of the numbers, and a plane at a
time stays in the processor's cache. Coefficients beyond the last shell, n / 2, are not looked at. Every stored
coefficient counts once (see `cryorepro.em.fsc`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from cryorepro.em.transforms import Real, Spectrum

Curve = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]
Rows = tuple[int, slice]


def largest_square(box_px: int) -> int:
    """Largest |k|^2 that rounds into the last shell, n / 2."""
    half = box_px // 2
    return half * half + half


def shell_of_squares(box_px: int) -> Whole:
    """Shell ``[largest_square + 1]`` of every |k|^2."""
    return np.rint(np.sqrt(np.arange(largest_square(box_px) + 1))).astype(np.int64)


def octant_squares(box_px: int) -> Iterator[tuple[int, int, Whole]]:
    """kz from 0 to n / 2, the largest kx and ky with coefficients in a shell there, and |k|^2 ``[ky, kx]``."""
    half, last = box_px // 2, largest_square(box_px)
    axis = np.arange(half + 1, dtype=np.int64) ** 2
    for kz in range(half + 1):
        reach = min(half, int(np.sqrt(last - kz * kz)))
        flat = axis[: reach + 1]
        yield kz, reach, flat[:, None] + flat[None, :] + kz * kz


def same_squares(box_px: int, kz: int, reach: int) -> list[tuple[Rows, slice]]:
    """Where an octant lies among the stored: (plane, rows) each, and to which of its ky these rows belong."""
    below = min(reach, box_px // 2 - 1)
    planes = (kz,) if kz in (0, box_px // 2) else (kz, box_px - kz)
    found: list[tuple[Rows, slice]] = []
    for plane in planes:
        found.append(((plane, slice(0, reach + 1)), slice(0, reach + 1)))
        if below > 0:
            found.append(((plane, slice(-1, -below - 1, -1)), slice(1, below + 1)))
    return found


def square_sums(value: Callable[[int, slice, int], Real], box_px: int) -> Curve:
    """Sums ``[largest_square + 1]`` over each |k|^2.

    ``value(plane, rows, columns)`` gives what is summed, on those rows and the first ``columns`` columns.
    """
    total = np.zeros(largest_square(box_px) + 1)
    for kz, reach, squares in octant_squares(box_px):
        folded = np.zeros(squares.shape)
        for (plane, rows), where in same_squares(box_px, kz, reach):
            folded[where] += value(plane, rows, reach + 1)
        add_squares(total, kz, squares, folded)
    return total


def add_squares(total: Curve, kz: int, squares: Whole, values: Real) -> None:
    """Add an octant's ``values [ky, kx]`` at ``kz`` to the sums ``total`` over each |k|^2."""
    begin = kz * kz
    sums = np.bincount((squares - begin).reshape(-1), weights=values.reshape(-1))[: len(total) - begin]
    total[begin : begin + len(sums)] += sums


def by_shell(sums: Curve, box_px: int) -> Curve:
    """Sums over shells 0 to n / 2 of sums over |k|^2."""
    return np.asarray(np.bincount(shell_of_squares(box_px), weights=sums, minlength=box_px // 2 + 1))


def product_sums(first: Spectrum, second: Spectrum) -> Curve:
    """Real part of ``first * conj(second)`` summed over each |k|^2."""
    a, b = (np.ascontiguousarray(s).view(s.real.dtype) for s in (first, second))

    def product(plane: int, rows: slice, columns: int) -> Real:
        both = a[plane, rows, : 2 * columns] * b[plane, rows, : 2 * columns]
        return np.asarray(both[:, ::2] + both[:, 1::2])

    return square_sums(product, first.shape[0])


def amplitude_sums(spectrum: Spectrum) -> Curve:
    """Amplitudes summed over each |k|^2."""
    parts = np.ascontiguousarray(spectrum).view(spectrum.real.dtype)

    def amplitude(plane: int, rows: slice, columns: int) -> Real:
        power = np.square(parts[plane, rows, : 2 * columns])
        return np.asarray(np.sqrt(power[:, ::2] + power[:, 1::2]))

    return square_sums(amplitude, spectrum.shape[0])


@lru_cache(maxsize=8)
def square_counts(box_px: int) -> Curve:
    """Number of stored coefficients of each |k|^2."""
    return square_sums(lambda plane, rows, columns: np.ones(()), box_px)


def multiply_by_square(spectrum: Spectrum, factors: Curve) -> None:
    """Multiply every coefficient by the factor of its |k|^2, in place; those beyond the factors become 0."""
    box = spectrum.shape[0]
    table = np.zeros(2 * largest_square(box) + 1, dtype=spectrum.real.dtype)
    table[: len(factors)] = factors
    for kz, reach, squares in octant_squares(box):
        octant = table[squares]
        for (plane, rows), where in same_squares(box, kz, reach):
            spectrum[plane, rows, : reach + 1] *= octant[where]
            spectrum[plane, rows, reach + 1 :] = 0.0
        for plane in {kz, -kz % box}:
            spectrum[plane, reach + 1 : box - min(reach, box // 2 - 1)] = 0.0
