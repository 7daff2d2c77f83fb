"""The coarse pass of a 2D classification: every class, in-plane angle and shift, as two matrix products.

The score of an image X shifted by t against the turned average P is ``Re sum conj(X_t) c P / sigma2 -
sum c^2 |P|^2 / (2 sigma2)`` (Scheres 2012, J. Mol. Biol. 415, 406, eq. 3) plus the log priors. The offset prior
``-|o - m_k|^2 / (2 s^2)`` of class k, o the whole offset, is a product too: of ``(-|o|^2 / 2, o_x, o_y) / s^2`` with
``(1, m_x, m_y)``; it rides along as three more pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cryorepro.em.class2d_grid import PlaneModel
from cryorepro.em.preparation import Prepared

_IMAGES_PER_BLOCK = 16
_SCORES_PER_BLOCK = 8_000_000
# Rows whose best score is this far (in nats) below the best hold nothing that counts.
_NEGLIGIBLE_NATS = 18.0


@dataclass(frozen=True)
class CoarseTable:
    """Turned averages on the coarse plane; rows run over class, then angle.

    Attributes:
        real: ``[rows, n + 3]``, the last three columns those of the offset prior.
        imaginary, power: ``[rows, n]``.
        base: ``[rows]`` what neither image nor shift changes: log class prior, and the prior's centre.
        ramps: ``[t, n]`` complex64, and ``shifts`` ``[t, 2]``.
    """

    real: Tensor
    imaginary: Tensor
    power: Tensor
    base: Tensor
    ramps: Tensor
    shifts: Tensor


@dataclass(frozen=True)
class Significant:
    """Coarse samples of one particle that go on to the fine pass.

    ``pairs [m, s]`` says which combinations of the rows ``[m]`` (``turned``: the mate is meant) and coarse shifts
    ``[s]`` are significant.
    """

    rows: Tensor
    turned: Tensor
    shifts: Tensor
    pairs: Tensor


def make_coarse_table(model: PlaneModel) -> CoarseTable:
    """Turn every class average to every coarse angle."""
    plane = model.plane.prefix(model.plane.coarse_length(model.coarse_shell))
    per_class, classes, pixels = model.sampling.rows_per_class, model.classes, len(plane)
    real, imaginary = torch.empty(classes, per_class, pixels + 3), torch.empty(classes, per_class, pixels)
    for angle, turned in enumerate(model.coarse_turns(plane)):
        re, im = turned.read(*model.columns)
        real[:, angle, :pixels], imaginary[:, angle] = torch.from_numpy(re.T), torch.from_numpy(im.T)
    centre = model.class_offset_px
    real[:, :, pixels] = 1.0
    real[:, :, pixels + 1 :] = centre.float()[:, None]
    base = model.log_prior - (centre**2).sum(dim=1) / (2.0 * model.offset_sigma_px**2)
    real, imaginary = real.flatten(0, 1), imaginary.flatten(0, 1)
    power = real[:, :pixels] ** 2 + imaginary**2
    shifts = model.sampling.shifts()
    return CoarseTable(
        real, imaginary, power, base.float().repeat_interleave(per_class), plane.phase_ramps(shifts), shifts
    )


def coarse_pass(model: PlaneModel, table: CoarseTable, images: Prepared, scale: Tensor) -> list[Significant]:
    """Significant samples of each of the ``b`` prepared images; ``scale [b]``."""
    found: list[Significant] = []
    per_image = model.sampling.mates * table.real.shape[0] * table.shifts.shape[0]
    together = max(1, min(_IMAGES_PER_BLOCK, _SCORES_PER_BLOCK // per_image))
    for start in range(0, images.masked.shape[0], together):
        cross, base = _scores(model, table, images, scale, slice(start, start + together))
        best = cross.amax(dim=2) + base
        found += [_significant(cross[:, i], best[:, i], base[i], model.adaptive_fraction) for i in range(base.shape[0])]
    return found


def _scores(
    model: PlaneModel, table: CoarseTable, images: Prepared, scale: Tensor, block: slice
) -> tuple[Tensor, Tensor]:
    """Cross terms with the part of the priors that shifts change ``[mates, b, t, r]``, and the rest ``[b, r]``."""
    pixels, n_shifts = table.imaginary.shape[1], table.shifts.shape[0]
    inverse = scored(images.inverse_sigma2[block, :pixels])
    weight = images.ctf[block, :pixels] * scale[block, None]
    left = ((images.masked[block, :pixels] * (weight * inverse))[:, None] * table.ramps).flatten(0, 1)
    offset = images.whole_origin[block, None] + table.shifts
    prior = torch.cat([-0.5 * (offset**2).sum(dim=-1, keepdim=True), offset], dim=-1) / model.offset_sigma_px**2
    even = torch.cat([left.real, prior.flatten(0, 1).float()], dim=1) @ table.real.T
    odd = left.imag.contiguous() @ table.imaginary.T
    cross = torch.empty(model.sampling.mates, *even.shape)
    torch.add(even, odd, out=cross[0])
    if model.sampling.mates == 2:
        torch.sub(even, odd, out=cross[1])
    base = torch.addmm(table.base, weight**2 * inverse, table.power.T, alpha=-0.5)
    return cross.reshape(model.sampling.mates, -1, n_shifts, base.shape[1]), base


def scored(inverse_sigma2: Tensor) -> Tensor:
    """``inverse_sigma2 [..., n]`` with no weight on the origin, the first pixel: no score uses it."""
    without = inverse_sigma2.clone()
    without[..., 0] = 0.0
    return without


def _significant(cross: Tensor, best: Tensor, base: Tensor, fraction: float) -> Significant:
    """Keep samples until they hold ``fraction``: ``cross [mates, t, r]``, ``best [mates, r]``, ``base [r]``."""
    top = best.max()
    mate, row = (best > top - _NEGLIGIBLE_NATS).nonzero(as_tuple=True)
    weights = torch.exp(cross[mate, :, row] + (base[row] - top)[:, None])
    chosen = weights >= significant_weight(weights, fraction)
    rows, shifts = chosen.any(dim=1), chosen.any(dim=0).nonzero()[:, 0]
    return Significant(row[rows], mate[rows] == 1, shifts, chosen[rows][:, shifts])


def significant_weight(weights: Tensor, fraction: float) -> float:
    """The smallest of the largest ``weights`` that together hold ``fraction`` of the sum."""
    # numpy's sort of float32 is some forty times faster than torch's
    ordered = np.sort(weights.numpy(), axis=None)
    running = ordered.cumsum(dtype=np.float64)
    first = int(np.searchsorted(running, (1.0 - fraction) * running[-1], side="right"))
    return float(ordered[min(first, ordered.size - 1)])
