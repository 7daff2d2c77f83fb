"""The Fourier pixels a CTF refinement compares, in an order that makes its sums products of small matrices.

A change of defocus turns all pixels of one |k|^2 by the same angle, so most sums are over those pixels first. They
are kept next to each other, and the values of |k|^2 that have equally many of them, too: with particles along the
last axis every such class is then an array ``[terms, pixels of each, particles]``. A *term* is a value of |k|^2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Whole = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Sums = npt.NDArray[np.complex128]


@dataclass(frozen=True)
class Plane:
    """Pixels of the half plane from one shell to another; kx > 0, or kx = 0 and ky > 0, no Nyquist lines.

    Attributes:
        box_px, pixel_size_angstrom: of the images.
        kx, ky: ``[n]`` Fourier indices, in classes of equally many pixels per term, by term within them.
        square: ``[t]`` |k|^2 of each term.
        classes: (terms, pixels of each) of every class.
        rows: where the pixels are in the order of rows of an image.
    """

    box_px: int
    pixel_size_angstrom: float
    kx: Whole
    ky: Whole
    square: Whole
    classes: tuple[tuple[int, int], ...]
    rows: Whole

    def __len__(self) -> int:
        """Number of pixels."""
        return len(self.kx)

    @property
    def term_shell(self) -> Whole:
        """``[t]``: ``round(|k|)`` of each term."""
        return np.floor(np.sqrt(self.square) + 0.5).astype(np.int64)

    @property
    def term_pixels(self) -> Whole:
        """``[t]``: number of pixels of each term."""
        return np.repeat([pixels for _, pixels in self.classes], [terms for terms, _ in self.classes])

    def blocks(self) -> Iterator[tuple[slice, slice, tuple[int, int]]]:
        """Terms and pixels of each class, and its (terms, pixels of each)."""
        term = pixel = 0
        for terms, each in self.classes:
            yield slice(term, term + terms), slice(pixel, pixel + terms * each), (terms, each)
            term, pixel = term + terms, pixel + terms * each

    def over_pixels(self, values: Singles, factors: Singles) -> Singles:
        """Sum ``values [n, b]`` times ``factors`` (``[n]`` or ``[n, b]``) over the pixels of each term: ``[t, b]``."""
        out = np.empty((len(self.square), values.shape[1]), dtype=np.float32)
        how = "tcb,tc->tb" if factors.ndim == 1 else "tcb,tcb->tb"
        for terms, pixels, shape in self.blocks():
            np.einsum(how, values[pixels].reshape(*shape, -1), _shaped(factors[pixels], shape), out=out[terms])
        return out

    def over_particles(self, values: Singles, factors: Singles) -> Floats:
        """Sum ``values [n, b]`` times the ``factors [t, b]`` of their terms over particles: ``[n]``."""
        out = np.empty(len(self), dtype=np.float64)
        for terms, pixels, shape in self.blocks():
            block = np.einsum("tcb,tb->tc", values[pixels].reshape(*shape, -1), factors[terms])
            out[pixels] = block.reshape(-1)
        return out

    def rates(self, wavelength_angstrom: float) -> Floats:
        """``[3, n]`` rad per Angstrom: of the mean defocus, and of its astigmatic parts along cos 2a and sin 2a."""
        kx, ky = self.kx.astype(np.float64), self.ky.astype(np.float64)
        return np.asarray(self.scale(wavelength_angstrom) * np.stack([kx**2 + ky**2, kx**2 - ky**2, 2.0 * kx * ky]))

    def term_rates(self, wavelength_angstrom: float) -> Floats:
        """``[t]`` rad per Angstrom of mean defocus."""
        return np.asarray(self.scale(wavelength_angstrom) * self.square, dtype=np.float64)

    def scale(self, wavelength_angstrom: float) -> float:
        """Rad per Angstrom of defocus and unit of |k|^2."""
        return math.pi * wavelength_angstrom / (self.box_px * self.pixel_size_angstrom) ** 2


def _shaped(factors: Singles, shape: tuple[int, int]) -> Singles:
    return factors.reshape(shape) if factors.ndim == 1 else factors.reshape(*shape, -1)


def ring(box_px: int, pixel_size_angstrom: float, lowest_shell: int, highest_radius: int) -> Plane:
    """Pixels of shells from ``lowest_shell`` on with ``|k| <= highest_radius``."""
    kx, ky = rows_of(box_px, highest_radius)
    squared = kx**2 + ky**2
    kept = (squared <= highest_radius**2) & (np.floor(np.sqrt(squared) + 0.5) >= lowest_shell)
    kept &= (kx > 0) | (ky > 0)
    squared = np.where(kept, squared, -1)
    square, term, each = np.unique(squared[kept], return_inverse=True, return_counts=True)
    order = np.lexsort((square, each))
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    rows = np.flatnonzero(kept)[np.argsort(rank[term.reshape(-1)], kind="stable")]
    sizes, counts = np.unique(each, return_counts=True)
    classes = tuple(zip(counts.tolist(), sizes.tolist(), strict=True))
    return Plane(box_px, pixel_size_angstrom, kx[rows], ky[rows], square[order], classes, rows)


def rows_of(box_px: int, highest_radius: int) -> tuple[Whole, Whole]:
    """kx and ky, row after row, of the rectangle of pixels that holds the half plane out to a radius."""
    reach = min(highest_radius, box_px // 2 - 1)
    ky, kx = np.meshgrid(np.arange(-reach, reach + 1), np.arange(reach + 1), indexing="ij")
    return kx.reshape(-1), ky.reshape(-1)


def turns(phase: Floats) -> tuple[Singles, Singles]:
    """Cosine and sine in single precision of phases that may be hundreds of radians."""
    part = np.mod(phase, 2.0 * math.pi).astype(np.float32)
    return np.cos(part), np.sin(part)
