"""The coarse pass of a 2D classification: every class, in-plane angle and shift, as two matrix products.

The score of an image X shifted by t against the turned average P is ``Re sum conj(X_t) c P / sigma2 -
sum c^2 |P|^2 / (2 sigma2)`` (Scheres 2012, J. Mol. Biol. 415, 406, eq. 3) plus the log priors. The offset prior
``-|o - m_k|^2 / (2 s^2)`` of class k, o the whole offset, is a product too: of ``(-|o|^2 / 2, o_x, o_y) / s^2`` with
``(1, m_x, m_y)``; it rides along as three more pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cryorepro.em.class2d_grid import PlaneModel
from cryorepro.em.coarse_samples import Significant, keep_fraction_of_each, pack_chosen, unpack_samples
from cryorepro.em.devices.choice import CPU, product_precision
from cryorepro.em.preparation import Prepared

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


def make_coarse_table(model: PlaneModel) -> CoarseTable:
    """Turn every class average to every coarse angle."""
    plane, device = model.coarse_plane, model.device
    per_class, classes, pixels = model.sampling.rows_per_class, model.classes, len(plane)
    real = torch.empty(classes, per_class, pixels + 3, device=device)
    imaginary = torch.empty(classes, per_class, pixels, device=device)
    for angle, turned in enumerate(model.coarse_turns):
        slices = turned.read(model.columns.flatten(1))
        real[:, angle, :pixels], imaginary[:, angle] = slices[:, :classes].T, slices[:, classes:].T
    real[:, :, pixels:] = model.class_factors[:, None]
    real, imaginary = real.flatten(0, 1), imaginary.flatten(0, 1)
    power = real[:, :pixels] ** 2 + imaginary**2
    shifts = model.sampling.shifts().to(device)
    base = model.log_class().repeat_interleave(per_class)
    return CoarseTable(real, imaginary, power, base, plane.phase_ramps(shifts), shifts)


def coarse_pass(model: PlaneModel, table: CoarseTable, images: Prepared, scale: Tensor) -> list[Significant]:
    """Significant samples of each of the ``b`` prepared images; ``scale [b]``."""
    found: list[Significant] = []
    per_image = model.sampling.mates * table.real.shape[0] * table.shifts.shape[0]
    together = max(1, min(model.plan.images_per_block, model.plan.scores_per_block // per_image))
    for start in range(0, images.masked.shape[0], together):
        with product_precision(model.reduced_precision and model.device.type == "cuda", model.device):
            cross, base = _scores(model, table, images, scale, slice(start, start + together))
        found += _significant(cross, base, model.adaptive_fraction)
    return found


def _scores(
    model: PlaneModel, table: CoarseTable, images: Prepared, scale: Tensor, block: slice
) -> tuple[Tensor, Tensor]:
    """Cross terms with the part of the priors that shifts change ``[mates, b, t, r]``, and the rest ``[b, r]``."""
    pixels, n_shifts = table.imaginary.shape[1], table.shifts.shape[0]
    inverse = images.inverse_sigma2[block, :pixels] * model.compared[:pixels]
    weight = images.ctf[block, :pixels] * scale[block, None]
    left = ((images.masked[block, :pixels] * (weight * inverse))[:, None] * table.ramps).flatten(0, 1)
    prior = model.offset_factors(images.applied_origin[block, None] + table.shifts)
    even = torch.cat([left.real, prior.flatten(0, 1)], dim=1) @ table.real.T
    odd = left.imag.contiguous() @ table.imaginary.T
    cross = torch.empty(model.sampling.mates, *even.shape, device=even.device)
    torch.add(even, odd, out=cross[0])
    if model.sampling.mates == 2:
        torch.sub(even, odd, out=cross[1])
    base = torch.addmm(table.base, weight**2 * inverse, table.power.T, alpha=-0.5)
    return cross.reshape(model.sampling.mates, -1, n_shifts, base.shape[1]), base


def _significant(cross: Tensor, base: Tensor, fraction: float) -> list[Significant]:
    """Keep samples of each image until they hold ``fraction``: ``cross [mates, b, t, r]``, ``base [b, r]``."""
    count = base.shape[0]
    best = (cross.amax(dim=2) + base).transpose(0, 1)
    top = best.amax(dim=(1, 2))
    image, mate, row = (best > (top - _NEGLIGIBLE_NATS)[:, None, None]).nonzero(as_tuple=True)
    weights = torch.exp(cross[mate, image, :, row] + (base[image, row] - top[image])[:, None])
    chosen = keep_fraction_of_each(weights, image, count, fraction)
    return unpack_samples(pack_chosen(chosen, image, row, mate == 1, count).to(CPU))
