"""Transforms of two half maps, and what is measured with them, a plane at a time.

Transforms of large maps wait for memory more than for the processor. So a map is transformed along x and y plane by
plane, then along z for one ky after another, and whatever is to be done with a part is done while it is at hand:
products are summed, phases turned, maps masked. Planes and rows outside the mask hold nothing and are left out, and so
are coefficients beyond the last shell where only shells are asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cryorepro.em.random_phases import RandomTurns
from cryorepro.em.shell_sums import (
    Curve,
    add_squares,
    by_shell,
    largest_square,
    octant_squares,
    same_squares,
)
from cryorepro.em.transforms import Real, Spectrum, along, back_along, real_rows


@dataclass(frozen=True)
class _Extent:
    """Planes and rows of a box outside of which a map is 0."""

    planes: slice
    rows: slice

    @classmethod
    def of(cls, mask: Real) -> _Extent:
        """Those of a mask that is not 0 everywhere."""
        planes = np.flatnonzero([plane.any() for plane in mask])
        first, last = int(planes[0]), int(planes[-1]) + 1
        rows = np.flatnonzero(mask[first:last].any(axis=(0, 2)))
        return cls(slice(first, last), slice(int(rows[0]), int(rows[-1]) + 1))

    @classmethod
    def whole(cls, box_px: int) -> _Extent:
        """All of them."""
        return cls(slice(0, box_px), slice(0, box_px))


class HalfSpectra:
    """The transforms of two half maps of one size."""

    def __init__(self, half1: Real, half2: Real) -> None:
        """Transform them, in single precision if they are float32, and sum over each |k|^2."""
        box = half1.shape[0]
        self.box_px = box
        self._spectra = [_planes_forward(half, None, _Extent.whole(box)) for half in (half1, half2)]
        sums = _PairSums(box)
        amplitudes = np.zeros(largest_square(box) + 1)
        for ky, reach, squares in octant_squares(box):
            folded = np.zeros(squares.shape)
            for mate in {ky, -ky % box}:
                first, second = (self._along_z(number, mate) for number in (0, 1))
                sums.add_plane(first, second, reach)
                folded += _folded_amplitudes(first, second, box, reach)
            sums.end_planes(ky, squares)
            add_squares(amplitudes, ky, squares, folded)
        self.fsc = sums.curve()
        self.mean_amplitudes = amplitudes
        """Amplitudes of the mean of both maps, summed over each |k|^2."""

    def _along_z(self, number: int, ky: int) -> Spectrum:
        plane = along(np.ascontiguousarray(self._spectra[number][:, ky]), 0)
        self._spectra[number][:, ky] = plane
        return plane

    def randomised_masked_fsc(self, mask: Real, from_shell: float, generator: np.random.Generator) -> Curve:
        """FSC of the masked maps after their phases were drawn anew at ``|k| >= from_shell``."""
        extent, box = _Extent.of(mask), self.box_px
        drawn = []
        for spectrum in self._spectra:
            turns = RandomTurns(box, from_shell, generator, spectrum.dtype)
            partly = np.empty((extent.planes.stop - extent.planes.start, box, box // 2 + 1), dtype=spectrum.dtype)
            for ky in range(box):
                partly[:, ky] = back_along(spectrum[:, ky] * turns.plane(ky), 0)[extent.planes]
            for plane, within in zip(partly, mask[extent.planes, extent.rows], strict=True):
                rows = real_rows(back_along(plane, 0)[extent.rows], box)
                plane[:] = _plane_forward(rows * within, box, extent.rows)
            drawn.append(partly)
        return _fsc_of_planes(drawn, box, extent)

    def filtered_mean(self, factors: Curve) -> Real:
        """The mean of both maps with every coefficient times the factor of its |k|^2; 0 beyond the factors.

        The transforms are lost.
        """
        box, (first, second) = self.box_px, self._spectra
        table = np.zeros(2 * largest_square(box) + 1, dtype=first.real.dtype)
        table[: len(factors)] = 0.5 * factors
        for ky, reach, squares in octant_squares(box):
            octant = table[squares]
            for mate in {ky, -ky % box}:
                plane = np.zeros((box, box // 2 + 1), dtype=first.dtype)
                for (_, rows), where in same_squares(box, 0, reach):
                    both = first[rows, mate, : reach + 1] + second[rows, mate, : reach + 1]
                    plane[rows, : reach + 1] = both * octant[where]
                first[:, mate] = back_along(plane, 0)
        out = np.empty((box, box, box), dtype=first.real.dtype)
        for real, plane in zip(out, first, strict=True):
            real[:] = real_rows(back_along(plane, 0), box)
        return out


def masked_fsc_curve(half1: Real, half2: Real, mask: Real) -> Curve:
    """FSC of two maps times a mask."""
    extent, box = _Extent.of(mask), half1.shape[0]
    return _fsc_of_planes([_planes_forward(half, mask, extent) for half in (half1, half2)], box, extent)


def _planes_forward(volume: Real, mask: Real | None, extent: _Extent) -> Spectrum:
    """``[planes, n, n // 2 + 1]``: planes of a map, times the mask if given, transformed along y and x."""
    box, within = volume.shape[0], volume[extent.planes, extent.rows]
    single = volume.dtype == np.float32 and (mask is None or mask.dtype == np.float32)
    real = np.float32 if single else np.float64
    out = np.empty((len(within), box, box // 2 + 1), dtype=np.complex64 if single else np.complex128)
    for number, rows in enumerate(within):
        masked = rows if mask is None else rows * mask[extent.planes.start + number, extent.rows]
        out[number] = _plane_forward(np.asarray(masked, dtype=real), box, extent.rows)
    return out


def _plane_forward(rows: Real, box_px: int, where: slice) -> Spectrum:
    """One plane of which only the rows ``where`` hold anything."""
    partly = along(np.ascontiguousarray(rows), 1)
    if len(partly) < box_px:
        padded = np.zeros((box_px, box_px // 2 + 1), dtype=partly.dtype)
        padded[where] = partly
        partly = padded
    return along(partly, 0)


def _fsc_of_planes(partly: Sequence[Spectrum], box_px: int, extent: _Extent) -> Curve:
    """FSC of two maps whose planes within ``extent`` are transformed along y and x."""
    sums = _PairSums(box_px)
    for ky, reach, squares in octant_squares(box_px):
        for mate in {ky, -ky % box_px}:
            planes = [np.zeros((box_px, reach + 1), dtype=spectrum.dtype) for spectrum in partly]
            for plane, spectrum in zip(planes, partly, strict=True):
                plane[extent.planes] = spectrum[:, mate, : reach + 1]
            sums.add_plane(along(planes[0], 0), along(planes[1], 0), reach)
        sums.end_planes(ky, squares)
    return sums.curve()


class _PairSums:
    """Product and powers of two transforms, summed over each |k|^2."""

    def __init__(self, box_px: int) -> None:
        self._box = box_px
        self._totals = np.zeros((3, largest_square(box_px) + 1))
        self._folded: list[npt.NDArray[np.floating]] = []

    def add_plane(self, first: Spectrum, second: Spectrum, reach: int) -> None:
        """Add planes ``[kz, kx]`` of both; kz and -kz are added to each other, kx counts up to ``reach``."""
        for number, (a, b) in enumerate(((first, second), (first, first), (second, second))):
            product = _folded_products(a, b, self._box, reach)
            if len(self._folded) <= number:
                self._folded.append(product)
            else:
                self._folded[number] += product

    def end_planes(self, ky: int, squares: npt.NDArray[np.int64]) -> None:
        """Sort into |k|^2 what was added for ky and -ky."""
        for total, product in zip(self._totals, self._folded, strict=True):
            add_squares(total, ky, squares, product[:, ::2] + product[:, 1::2])
        self._folded = []

    def curve(self) -> Curve:
        """The FSC; 0 in empty shells."""
        cross, one, other = (by_shell(total, self._box) for total in self._totals)
        power = np.sqrt(one * other)
        return np.asarray(np.divide(cross, power, out=np.zeros_like(cross), where=power > 0.0))


def _row_pairs(box_px: int, reach: int) -> Iterator[tuple[slice, slice]]:
    for (_, rows), where in same_squares(box_px, 0, reach):
        yield rows, where


def _folded_products(a: Spectrum, b: Spectrum, box_px: int, reach: int) -> Real:
    """``[reach + 1, 2 reach + 2]``: products of real and of imaginary parts side by side, kz and -kz added."""
    one, other = (s.view(s.real.dtype)[:, : 2 * (reach + 1)] for s in (a, b))
    out = np.zeros((reach + 1, 2 * (reach + 1)), dtype=one.dtype)
    for rows, where in _row_pairs(box_px, reach):
        out[where] += one[rows] * other[rows]
    return out


def _folded_amplitudes(first: Spectrum, second: Spectrum, box_px: int, reach: int) -> Real:
    """``[reach + 1] * 2``: amplitudes of the mean, kz and -kz added."""
    out = np.zeros((reach + 1, reach + 1), dtype=first.real.dtype)
    for rows, where in _row_pairs(box_px, reach):
        both = first[rows, : reach + 1] + second[rows, : reach + 1]
        power = np.square(both.view(out.dtype))
        out[where] += np.sqrt(power[:, ::2] + power[:, 1::2])
    out *= 0.5
    return out
