"""Slices that are mirror images or half turns of one another, so that one of four is made and compared.

Two exact relations hold between central slices P(kx, ky). Turned by 180 degrees in its plane a slice is its own
conjugate. Seen from the opposite direction it is its mirror image: from A(rot + 180, 180 - tilt, -psi) =
diag(1, -1, -1) A(rot, tilt, psi) follows P'(kx, ky) = P(kx, -ky). Directions of HEALPix come in opposite pairs, the
in-plane angles k 360 / n with their negatives.

An inner product with an image splits into parts that each relation leaves alone or negates: real and imaginary parts,
and within each what is even and odd under ky -> -ky. Products of half the pixels then serve four orientations, by sums
and differences alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cryorepro.em.fourier import HalfPlane
from cryorepro.em.sampling import OrientationGrid

_SAME_DIRECTION = 1e-9


@dataclass(frozen=True)
class Fold:
    """How pixels of a half plane pair up under ky -> -ky.

    Attributes:
        order: ``[n]`` the pixels sorted: ``pairs`` with ky > 0, their mirror images, ``along_x`` on the line ky = 0,
            ``along_y`` on the line kx = 0 (mirrored into their own Friedel mates).
        mirrored: False for a grid without opposite directions: nothing is paired.
    """

    order: Tensor
    pairs: int
    along_x: int
    along_y: int
    mirrored: bool

    def parts(self, values: Tensor, *, of_table: bool) -> list[Tensor]:
        """Real matrices from complex ``[..., n]`` in this order: even and odd real, even and odd imaginary.

        Their products with the same parts of a table (``of_table``), added with the signs of a Hadamard matrix, are
        the inner products with the four related slices. Without mirrors: the real and the imaginary part.
        """
        if not self.mirrored:
            return [values.real.contiguous(), values.imag.contiguous()]
        return [*self._real(values.real, of_table), *self._imaginary(values.imag, of_table)]

    def power_parts(self, values: Tensor, *, of_table: bool) -> list[Tensor]:
        """The same for real values ``[..., n]`` that Friedel mates share; without mirrors the values as they are."""
        return self._real(values, of_table) if self.mirrored else [values]

    def _halves(self, values: Tensor, of_table: bool) -> tuple[Tensor, Tensor]:
        upper, lower = values[..., : self.pairs], values[..., self.pairs : 2 * self.pairs]
        even, odd = upper + lower, upper - lower
        return (even.mul_(0.5), odd.mul_(0.5)) if of_table else (even, odd)

    def _real(self, values: Tensor, of_table: bool) -> list[Tensor]:
        even, odd = self._halves(values, of_table)
        return [torch.cat([even, values[..., 2 * self.pairs :]], dim=-1), odd]

    def _imaginary(self, values: Tensor, of_table: bool) -> list[Tensor]:
        even, odd = self._halves(values, of_table)
        end = values.shape[-1] - self.along_y
        along_x, along_y = values[..., 2 * self.pairs : end], values[..., end:]
        return [torch.cat([even, along_x], dim=-1), torch.cat([odd, along_y], dim=-1)]


def make_fold(plane: HalfPlane, mirrored: bool) -> Fold:
    """The pairs of a half plane (a disc: with a pixel it holds its mirror image)."""
    kx, ky = plane.kx, plane.ky
    everything = torch.arange(len(plane), device=kx.device)
    if not mirrored:
        return Fold(everything, 0, 0, 0, mirrored=False)
    # sorting by (kx, |ky|) puts both members of every pair at the same place of their lists
    by_place = torch.argsort(kx * plane.box_px + ky.abs(), stable=True)
    upper = by_place[(kx[by_place] > 0) & (ky[by_place] > 0)]
    lower = by_place[(kx[by_place] > 0) & (ky[by_place] < 0)]
    along_x, along_y = everything[ky == 0], everything[kx == 0]
    order = torch.cat([upper, lower, along_x, along_y])
    return Fold(order, int(upper.shape[0]), int(along_x.shape[0]), int(along_y.shape[0]), mirrored=True)


def hadamard_(parts: Tensor) -> Tensor:
    """Sums of ``parts [2**m, ...]`` with the signs of a Hadamard matrix, in place.

    Entry v of the result is the sum over u of ``(-1)**(number of bits u and v share)`` times entry u.
    """
    step, count = 1, parts.shape[0]
    while step < count:
        pairs = parts.view(count // (2 * step), 2, step, *parts.shape[1:])
        first, second = pairs[:, 0], pairs[:, 1]
        first.add_(second)
        torch.sub(first, second, alpha=2.0, out=second)
        step *= 2
    return parts


@dataclass(frozen=True)
class BaseRows:
    """The slices of one class that are made, and what each of them stands for.

    Attributes:
        direction, psi: ``[m]`` int64 of the orientations that are sliced.
        row: ``[variants, m]`` int64, direction times half the in-plane angles plus in-plane angle of what each
            variant stands for; ``turned`` where its 180-degree mate is meant.
        mirrored: variants are slice, mirror image, half turn, both; otherwise slice and half turn.
    """

    direction: Tensor
    psi: Tensor
    row: Tensor
    turned: Tensor
    mirrored: bool

    def to(self, device: torch.device) -> BaseRows:
        """The same rows on another device."""
        direction, psi, row, turned = (t.to(device) for t in (self.direction, self.psi, self.row, self.turned))
        return BaseRows(direction, psi, row, turned, self.mirrored)

    @property
    def count(self) -> int:
        """Number of slices."""
        return int(self.direction.shape[0])


def base_rows(grid: OrientationGrid) -> BaseRows:
    """Choose the orientations to slice: one of each opposite pair if all have one, else every direction."""
    directions, n_psi = grid.shape
    half = n_psi // 2
    opposite = opposite_directions(grid.directions_deg)
    everything = torch.arange(directions)
    chosen = everything if opposite is None else everything[everything < opposite]
    direction, psi = chosen.repeat_interleave(half), torch.arange(half).repeat(chosen.shape[0])
    seen = [(direction, psi), (direction, psi + half)]
    if opposite is not None:
        other = opposite[direction]
        seen = [seen[0], (other, -psi % n_psi), seen[1], (other, (half - psi) % n_psi)]
    row = torch.stack([d * half + p % half for d, p in seen])
    turned = torch.stack([p >= half for _, p in seen])
    return BaseRows(direction, psi, row, turned, opposite is not None)


def opposite_directions(directions_deg: Tensor) -> Tensor | None:
    """Index ``[d]`` of the direction opposite to each of ``directions_deg [d, 2]``; None unless all have one."""
    rot, tilt = torch.deg2rad(directions_deg).unbind(1)
    vectors = torch.stack([tilt.sin() * rot.cos(), tilt.sin() * rot.sin(), tilt.cos()], dim=1)
    # pairs meet when sorted by coordinates: no table of all against all, which a fine grid would not hold
    key = (vectors / _KEY_STEP).round().long() + _KEY_RANGE
    mate = 2 * _KEY_RANGE - key
    numbers, mates = (_packed(k) for k in (key, mate))
    ordered, place = torch.sort(numbers)
    at = torch.searchsorted(ordered, mates).clamp(max=ordered.shape[0] - 1)
    found = place[at]
    apart = (vectors[found] + vectors).abs().amax()
    return found if float(apart) < _SAME_DIRECTION * 1e3 else None


_KEY_STEP = 1e-6
_KEY_RANGE = 1 << 20


def _packed(key: Tensor) -> Tensor:
    return (key[:, 0] << 42) + (key[:, 1] << 21) + key[:, 2]
