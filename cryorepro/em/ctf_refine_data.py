"""What a refinement of CTFs compares: images against projections of the map at their known poses.

A particle enters by two quantities per Fourier pixel, whatever its CTF c: the overlap Re(X conj P) and the power
|P|^2 of its projection. With a signal scale s and a noise variance sigma2 per shell the negative log-likelihood is

    sum_k [ s^2 |P|^2 c^2 - 2 s Re(X conj P) c ] / (2 sigma2) + const.

s absorbs the map's grey scale and fall-off, and vanishes where the map holds no signal, so no other weight is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cryorepro.em.ctf import CtfParameters, ctf_phase
from cryorepro.em.fourier import HalfPlane, half_plane, image_coefficients
from cryorepro.em.imageset import ImageSet, Poses
from cryorepro.em.projection import Projector
from cryorepro.em.rotations import euler_to_matrix

_IMAGES_PER_CHUNK = 64
_ELEMENTS_PER_BLOCK = 1 << 21


@dataclass(frozen=True)
class Observed:
    """b particles on n pixels: ``cross`` ``[b, n]`` is X conj P, ``power`` is |P|^2.

    They are kept as complex64 and float32, which is what a large micrograph needs memory for; `blocks` gives rows at
    a time as complex128 and float64, for sums. ``shell_power [shells]`` sums |X|^2 over particles and the pixels of
    every shell.
    """

    cross: Tensor
    power: Tensor
    shell_power: Tensor

    def turned(self, phase: Tensor) -> Observed:
        """The same with the images' phases advanced by ``phase [n]``, which takes an aberration away."""
        factor = torch.polar(torch.ones_like(phase), phase).to(self.cross.dtype)
        return replace(self, cross=self.cross * factor)

    def blocks(self) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Rows, and their ``cross`` and ``power`` in double precision."""
        count, pixels = self.power.shape
        step = max(1, _ELEMENTS_PER_BLOCK // pixels)
        for start in range(0, count, step):
            rows = slice(start, min(start + step, count))
            yield rows, self.cross[rows].to(torch.complex128), self.power[rows].double()


@dataclass(frozen=True)
class Weights:
    """Signal scale and noise variance per component, ``[g, shells]`` float64, of every optics group."""

    signal: Tensor
    noise: Tensor

    def power_factor(self, group: int, plane: HalfPlane) -> Tensor:
        """``[n]``: s^2 / sigma2."""
        return (self.signal[group] ** 2 / self.noise[group])[plane.shell]

    def cross_factor(self, group: int, plane: HalfPlane) -> Tensor:
        """``[n]``: s / sigma2."""
        return (self.signal[group] / self.noise[group])[plane.shell]


class Observer:
    """Reads particles and projects their reference: the map of their own half, or the only one."""

    def __init__(
        self, images: ImageSet, poses: Poses, maps: Sequence[Tensor], map_of: Tensor, radii: tuple[int, int]
    ) -> None:
        """Prepare ``maps``, ``[n, n, n]`` each; ``map_of [n]`` says which is whose, ``radii`` which shells count."""
        self.images, self.poses, self.map_of = images, poses, map_of
        lowest, highest = radii
        whole = half_plane(images.box_px, highest)
        kept = whole.shell >= lowest
        parts = [tensor[kept] for tensor in (whole.kx, whole.ky, whole.shell, whole.columns)]
        self.plane = HalfPlane(images.box_px, *parts)
        self.projectors = [Projector(volume.float(), highest) for volume in maps]

    def observe(self, index: Tensor) -> Observed:
        """The particles at ``index``."""
        parts = [self._observe(chunk) for chunk in torch.split(index, _IMAGES_PER_CHUNK)]
        power = sum((part.shell_power for part in parts), start=torch.zeros(self.images.box_px // 2 + 1).double())
        return Observed(torch.cat([p.cross for p in parts]), torch.cat([p.power for p in parts]), power)

    def _observe(self, index: Tensor) -> Observed:
        plane = self.plane
        spectra = image_coefficients(self.images.read(index), plane) * plane.phase_ramps(self.poses.origin_px[index])
        matrices = euler_to_matrix(self.poses.euler_deg[index])
        projected = torch.empty_like(spectra)
        for number, projector in enumerate(self.projectors):
            chosen = self.map_of[index] == number
            projected[chosen] = projector.slices(matrices[chosen], plane)
        shells = torch.zeros(self.images.box_px // 2 + 1, dtype=torch.float64)
        shells.index_add_(0, plane.shell, spectra.abs().double().square().sum(dim=0))
        return Observed(spectra * projected.conj(), projected.abs().square(), shells)

    def phase(self, optics: CtfParameters) -> Tensor:
        """CTF phases ``[b, n]`` float64 of particles with these parameters."""
        plane = self.plane
        return ctf_phase(optics, plane.kx, plane.ky, self.images.box_px, self.images.pixel_size_angstrom)


@dataclass(frozen=True)
class ShellSums:
    """Sums over particles and pixels, ``[shells]`` float64, from which `Weights` follow."""

    cross: Tensor
    power: Tensor
    image: Tensor
    pixels: Tensor

    @classmethod
    def of(cls, seen: Observed, optics: CtfParameters, observer: Observer) -> ShellSums:
        """The sums at these CTFs, ``[b]``."""
        plane = observer.plane
        shells = [torch.zeros_like(seen.shell_power) for _ in range(2)]
        for rows, cross, power in seen.blocks():
            transfer = torch.sin(observer.phase(optics.select(row_index(rows))))
            sums = (cross.real * transfer).sum(dim=0), (power * transfer.square()).sum(dim=0)
            for total, part in zip(shells, sums, strict=True):
                total.index_add_(0, plane.shell, part)
        pixels = torch.bincount(plane.shell, minlength=len(seen.shell_power)).double() * seen.power.shape[0]
        return cls(shells[0], shells[1], seen.shell_power, pixels)

    def __add__(self, other: ShellSums) -> ShellSums:
        """Sums over both."""
        return ShellSums(
            self.cross + other.cross, self.power + other.power, self.image + other.image, self.pixels + other.pixels
        )

    def signal_and_noise(self) -> tuple[Tensor, Tensor]:
        """Least-squares scale of the projections, and what is left of the images per real component."""
        scale = torch.where(self.power > 0, self.cross / self.power.clamp(min=1e-300), 0.0)
        # a map correlates with its particles: a shell where it seems not to holds no signal
        scale = scale.clamp(min=0.0)
        rest = self.image - 2.0 * scale * self.cross + scale.square() * self.power
        noise = rest / (2.0 * self.pixels).clamp(min=1.0)
        floor = noise[noise > 0].min() if bool((noise > 0).any()) else torch.tensor(1.0, dtype=noise.dtype)
        return scale, torch.where(noise > 0, noise, floor)


def row_index(rows: slice) -> Tensor:
    """The rows of a slice as an index."""
    return torch.arange(rows.start, rows.stop)
