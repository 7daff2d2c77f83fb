"""What a refinement of CTFs compares: images against projections of the map at their known poses.

A particle enters by two quantities per Fourier pixel, whatever its CTF c: the overlap Re(X conj P) and the power
|P|^2 of its projection. With a signal scale s and a noise variance sigma2 per shell the negative log-likelihood is

    sum_k [ s^2 |P|^2 c^2 - 2 s Re(X conj P) c ] / (2 sigma2) + const.

s absorbs the map's grey scale and fall-off, and vanishes where the map holds no signal, so no other weight is needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cryorepro.em.ctf_refine_inputs import PosedParticles, References
from cryorepro.em.ctf_refine_plane import Floats, Plane, Singles, Whole, ring, rows_of
from cryorepro.em.ctf_refine_slices import Complexes, SliceGrid, view_matrices
from cryorepro.em.transforms import along

_IMAGES_PER_CHUNK = 64
_KEPT_BYTES = 1 << 30


@dataclass(frozen=True)
class Observed:
    """b particles on n pixels: real and imaginary part ``[n, b]`` of X conj P, and ``power [n, b]``, |P|^2.

    ``shell_power [shells]`` sums |X|^2 over particles and the pixels of every shell.
    """

    real: Singles
    imaginary: Singles
    power: Singles
    shell_power: Floats

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return 3 * self.power.nbytes

    def turned(self, phase: Floats) -> Observed:
        """The same with the images' phases advanced by ``phase [n]``, which takes an aberration away."""
        if not phase.any():
            return self
        cosine, sine = (part.astype(np.float32)[:, None] for part in (np.cos(phase), np.sin(phase)))
        return replace(
            self,
            real=self.real * cosine - self.imaginary * sine,
            imaginary=self.real * sine + self.imaginary * cosine,
        )


@dataclass(frozen=True)
class Weights:
    """Signal scale and noise variance per component, ``[g, shells]``, of every optics group."""

    signal: Floats
    noise: Floats

    def of_power(self, group: int) -> Floats:
        """``[shells]``: s^2 / sigma2."""
        return np.asarray(self.signal[group] ** 2 / self.noise[group])

    def of_cross(self, group: int) -> Floats:
        """``[shells]``: s / sigma2."""
        return np.asarray(self.signal[group] / self.noise[group])


class Observer:
    """Reads particles and projects their reference: the map of their own half, or the only one."""

    def __init__(self, particles: PosedParticles, references: References, shells: tuple[int, int]) -> None:
        """Prepare the maps; ``shells`` are the first and last that count."""
        self.particles, self._map_of = particles, references.map_of
        self.plane: Plane = ring(particles.box_px, particles.pixel_size_angstrom, *shells)
        self._grids = [SliceGrid(volume, shells[1]) for volume in references.maps]
        self._raster = np.sort(self.plane.rows)
        self._order = np.searchsorted(self._raster, self.plane.rows)
        kx, ky = rows_of(particles.box_px, shells[1])
        self._kx, self._ky = kx[self._raster], ky[self._raster]
        self._shell = np.floor(np.hypot(self._kx, self._ky) + 0.5).astype(np.int64)
        self._kept: dict[int, Observed] = {}
        self._room = _KEPT_BYTES

    def observe(self, index: Whole, key: int | None = None) -> Observed:
        """The particles at ``index``; with a ``key``, what that key gave before if there was room to keep it."""
        if key is not None and key in self._kept:
            return self._kept[key]
        seen = self._observe(index)
        if key is not None and seen.nbytes <= self._room:
            self._room -= seen.nbytes
            self._kept[key] = seen
        return seen

    def _observe(self, index: Whole) -> Observed:
        shape = (len(self.plane), len(index))
        real, imaginary, power = (np.empty(shape, dtype=np.float32) for _ in range(3))
        shells = np.zeros(self.particles.box_px // 2 + 1)
        for start in range(0, len(index), _IMAGES_PER_CHUNK):
            part = slice(start, start + _IMAGES_PER_CHUNK)
            spectra, projected = self._spectra(index[part]), self._projections(index[part])
            squares = (spectra.real**2 + spectra.imag**2).sum(axis=0, dtype=np.float64)
            shells += np.bincount(self._shell, weights=squares, minlength=len(shells))
            squared = projected.real**2 + projected.imag**2
            spectra *= projected.conj()
            for whole, values in ((real, spectra.real), (imaginary, spectra.imag), (power, squared)):
                whole[:, part] = np.ascontiguousarray(values.T)[self._order]
        return Observed(real, imaginary, power, shells)

    def _spectra(self, index: Whole) -> Complexes:
        """``[b, n]``, row after row: transforms of centred images, origin at the central pixel."""
        box = self.particles.box_px
        transform = along(along(np.ascontiguousarray(self.particles.source.read(index)), 2), 1)
        chosen = transform.reshape(len(index), -1)[:, (self._ky % box) * (box // 2 + 1) + self._kx]
        # an even box has its origin at box / 2: the phase of that shift is a sign
        scale = (1 - 2 * ((self._kx + self._ky) % 2)) / float(box * box)
        turn = -2.0 * math.pi / box
        x, y = self.particles.origin_px[index].T
        reach = int(self._kx.max())
        along_x = np.exp(1j * turn * np.outer(x, np.arange(reach + 1))).astype(np.complex64)
        along_y = np.exp(1j * turn * np.outer(y, np.arange(-reach, reach + 1))).astype(np.complex64)
        chosen *= along_x[:, self._kx]
        chosen *= along_y[:, self._ky + reach]
        chosen *= scale.astype(np.float32)
        return np.asarray(chosen)

    def _projections(self, index: Whole) -> Complexes:
        """``[b, n]``, row after row."""
        matrices = view_matrices(self.particles.euler_deg[index])
        out = np.empty((len(index), len(self._kx)), dtype=np.complex64)
        for number, grid in enumerate(self._grids):
            chosen = self._map_of[index] == number
            out[chosen] = grid.slices(matrices[chosen], self._kx, self._ky)
        return out


@dataclass(frozen=True)
class ShellSums:
    """Sums over particles and pixels, ``[shells]``, from which `Weights` follow."""

    cross: Floats
    power: Floats
    image: Floats
    pixels: Floats

    def __add__(self, other: ShellSums) -> ShellSums:
        """Sums over both."""
        return ShellSums(
            self.cross + other.cross, self.power + other.power, self.image + other.image, self.pixels + other.pixels
        )

    def signal_and_noise(self) -> tuple[Floats, Floats]:
        """Least-squares scale of the projections, and what is left of the images per real component."""
        scale = np.where(self.power > 0, self.cross / np.maximum(self.power, 1e-300), 0.0)
        # a map correlates with its particles: a shell where it seems not to holds no signal
        scale = np.maximum(scale, 0.0)
        rest = self.image - 2.0 * scale * self.cross + scale**2 * self.power
        noise = rest / np.maximum(2.0 * self.pixels, 1.0)
        floor = noise[noise > 0].min() if (noise > 0).any() else 1.0
        return scale, np.where(noise > 0, noise, floor)


def weights_of(totals: Sequence[ShellSums | None]) -> Weights:
    """Weights of every optics group; one without particles gets no signal."""
    present = next(total for total in totals if total is not None)
    neutral = np.zeros_like(present.power), np.ones_like(present.power)
    pairs = [neutral if total is None else total.signal_and_noise() for total in totals]
    return Weights(np.stack([pair[0] for pair in pairs]), np.stack([pair[1] for pair in pairs]))
