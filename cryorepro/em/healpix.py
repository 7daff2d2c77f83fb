"""HEALPix pixel centres in nested order: the equal-area grid of view directions.

Formulae from Gorski et al. 2005, ApJ 622, 759, sections 4.1 and 5; written from the paper.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Ring and longitude of the lowest corner of each of the 12 base faces, in units of nside and pi/4.
_FACE_ROW = (2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4)
_FACE_COLUMN = (1, 3, 5, 7, 0, 2, 4, 6, 1, 3, 5, 7)


def pixel_count(order: int) -> int:
    """Number of pixels, ``12 * 4**order``; raises ValueError for an order outside 0..13."""
    if not 0 <= order <= 13:
        raise ValueError(f"HEALPix order {order} is outside 0..13.")
    return int(12 * 4**order)


def pixel_angles_deg(order: int) -> Tensor:
    """Centres ``[12 * 4**order, 2]`` float64 as (phi, theta) in degrees, nested order.

    phi is in (-180, 180] and theta, counted from +z, in [0, 180]: RELION's (rot, tilt) of a direction.
    """
    return angles_deg_of(order, torch.arange(pixel_count(order)))


def angles_deg_of(order: int, pixel: Tensor) -> Tensor:
    """Centres ``[m, 2]`` float64 of the pixels ``pixel [m]`` int64 alone, as `pixel_angles_deg` gives them."""
    nside = 2**order
    face, within = pixel // nside**2, pixel % nside**2
    column, row = _deinterleave(within, order)
    # Gorski et al. eq. 10: ring index counted from the north pole, 1 .. 4 nside - 1
    ring = torch.tensor(_FACE_ROW)[face] * nside - column - row - 1
    in_cap_north, in_cap_south = ring < nside, ring > 3 * nside
    per_quarter = torch.where(in_cap_north, ring, torch.where(in_cap_south, 4 * nside - ring, nside))
    z = _ring_height(ring, per_quarter, nside)
    belt = ~(in_cap_north | in_cap_south)
    # half a pixel of longitude on every other ring of the equatorial belt
    shifted = torch.where(belt, (ring - nside) % 2, torch.zeros_like(ring))
    longitude = (torch.tensor(_FACE_COLUMN)[face] * per_quarter + column - row + 1 + shifted) // 2
    phi = (longitude.double() - (1.0 + shifted.double()) / 2.0) * 90.0 / per_quarter.double()
    phi = torch.remainder(phi, 360.0)
    phi = torch.where(phi > 180.0, phi - 360.0, phi)
    return torch.stack([phi, torch.rad2deg(torch.acos(z))], dim=1)


def _deinterleave(index: Tensor, order: int) -> tuple[Tensor, Tensor]:
    """Split nested indices into (even bits, odd bits): coordinates inside a base face."""
    even, odd = torch.zeros_like(index), torch.zeros_like(index)
    for bit in range(order):
        even |= ((index >> (2 * bit)) & 1) << bit
        odd |= ((index >> (2 * bit + 1)) & 1) << bit
    return even, odd


def _ring_height(ring: Tensor, per_quarter: Tensor, nside: int) -> Tensor:
    """cos(theta) of each ring: eq. 4 (polar caps) and eq. 8 (equatorial belt)."""
    cap = 1.0 - per_quarter.double() ** 2 / (3.0 * nside**2)
    belt = (2 * nside - ring).double() * 2.0 / (3.0 * nside)
    return torch.where(ring < nside, cap, torch.where(ring > 3 * nside, -cap, belt))
