"""The fine pass: posterior over the oversampled samples of one particle, and what it adds to the new model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cryorepro.em.coarse_pass import Significant, keep_fraction
from cryorepro.em.estep_model import EstepModel
from cryorepro.em.fine_grid import FineGrid
from cryorepro.em.preparation import Prepared


@dataclass(frozen=True)
class ParticleView:
    """One prepared image: its row in the batch, its intensity scale, and its significant coarse samples."""

    images: Prepared
    row: int
    scale: float
    coarse: Significant


@dataclass(frozen=True)
class Posterior:
    """Weights of one particle's significant fine samples.

    Attributes:
        rows: ``[q]`` fine rows; ``sign`` ``[q]`` is -1 where the 180-degree mate is meant.
        shifts: ``[s]`` fine shifts.
        weights: ``[s, q]`` float32, summing to at most 1.
        best_row, best_turned, best_shift: the most probable sample.
        max_probability: its weight.
        log_evidence: log of the sum over all samples, up to the terms that do not depend on the model.
    """

    rows: Tensor
    sign: Tensor
    shifts: Tensor
    weights: Tensor
    best_row: int
    best_turned: bool
    best_shift: int
    max_probability: float
    log_evidence: float


def posterior(model: EstepModel, grid: FineGrid, view: ParticleView) -> Posterior:
    """Score the children of the significant coarse samples at the full size of this iteration."""
    rows = grid.rows_of(view.coarse.rows)
    shifts = grid.shifts_of(view.coarse.shifts)
    sign = torch.where(view.coarse.turned, -1.0, 1.0).repeat_interleave(grid.children)
    scores = _scores(model, grid, view, rows, sign, shifts)
    place = int(scores.argmax())
    best_shift, best_row = divmod(place, scores.shape[1])
    top = float(scores.flatten()[place])
    turned = bool(sign[best_row] < 0)
    if model.cross_correlation:
        one = torch.ones(1, 1)
        return Posterior(
            rows[best_row : best_row + 1], sign[best_row : best_row + 1], shifts[best_shift : best_shift + 1],
            one, int(rows[best_row]), turned, int(shifts[best_shift]), 1.0, top,
        )  # fmt: skip
    weights = torch.exp(scores - top)
    total = weights.sum(dtype=torch.float64)
    kept = keep_fraction(weights, model.adaptive_fraction)
    use_shift, use_row = kept.any(dim=1).nonzero()[:, 0], kept.any(dim=0).nonzero()[:, 0]
    chosen = (weights * kept)[use_shift][:, use_row] / total.float()
    return Posterior(
        rows[use_row], sign[use_row], shifts[use_shift], chosen, int(rows[best_row]), turned,
        int(shifts[best_shift]), 1.0 / float(total), top + float(total.log()),
    )  # fmt: skip


def _scores(
    model: EstepModel, grid: FineGrid, view: ParticleView, rows: Tensor, sign: Tensor, shifts: Tensor
) -> Tensor:
    """Log weights ``[s, q]`` (or cross-correlations) of every combination of shift and row."""
    images, row = view.images, view.row
    weight = images.ctf[row] * view.scale if model.score_with_ctf else torch.ones_like(images.ctf[row])
    inverse = images.inverse_sigma2[row]
    inverse = torch.ones_like(inverse) if model.cross_correlation else inverse
    left = (images.masked[row] * (weight * inverse)) * grid.ramps[shifts]
    real, imaginary = grid.table.real[rows], grid.table.imaginary[rows]
    cross = left.real.contiguous() @ real.T + (left.imag.contiguous() @ imaginary.T) * sign
    power = (real.square_().add_(imaginary.square_())) @ (weight**2 * inverse)
    if model.cross_correlation:
        return cross * power.clamp(min=1e-30).rsqrt()
    slots = view.coarse.rows
    slot = grid.slot_of[slots]
    prior = model.log_prior[grid.class_of[slot], grid.direction_of[slot]].float()
    offsets = model.log_offset_prior(images.whole_origin[row] + grid.shifts[shifts]).float()
    scores = cross + offsets[:, None] + (prior.repeat_interleave(grid.children) - 0.5 * power)
    return scores.masked_fill_(_insignificant(grid, view.coarse), -torch.inf)


def _insignificant(grid: FineGrid, coarse: Significant) -> Tensor:
    """``[s, q]`` fine combinations whose coarse parents are not a significant pair."""
    per_shift = (~coarse.pairs.T).repeat_interleave(grid.shift_children, dim=0)
    return per_shift.repeat_interleave(grid.children, dim=1)


@dataclass(frozen=True)
class Contribution:
    """What one particle adds to the sums of the maximisation.

    Attributes:
        numerator: ``[q, n]`` complex64, weighted images times CTF over sigma2, for the posterior's rows.
        weight: ``[q, n]`` float32, weighted CTF^2 over sigma2.
        signal_product: ``[n]`` the image's correlation with the model, per pixel, without the scale.
        reference_power: ``[n]`` the power of the model, per pixel, without the scale.
    """

    numerator: Tensor
    weight: Tensor
    signal_product: Tensor
    reference_power: Tensor


def contribution(grid: FineGrid, view: ParticleView, post: Posterior) -> Contribution:
    """Average the shifted images over the posterior of every row."""
    images, row = view.images, view.row
    ramps = grid.ramps[post.shifts]
    per_row = post.weights.T.contiguous()
    plain = _weighted_sum(per_row, images.plain[row] * ramps, post.sign)
    masked = _weighted_sum(per_row, images.masked[row] * ramps, post.sign)
    ctf, inverse = images.ctf[row], images.inverse_sigma2[row]
    modelled = ctf * view.scale
    total = per_row.sum(dim=1)
    real, imaginary = grid.table.real[post.rows], grid.table.imaginary[post.rows]
    product = (real * masked.real + imaginary * masked.imag).sum(dim=0)
    power = total @ (real**2 + imaginary**2)
    return Contribution(
        numerator=plain * (modelled * inverse),
        weight=total[:, None] * (modelled**2 * inverse),
        signal_product=product * ctf,
        reference_power=power * ctf**2,
    )


def _weighted_sum(per_row: Tensor, shifted: Tensor, sign: Tensor) -> Tensor:
    """``sum_t w[q, t] X_t`` as complex ``[q, n]``, conjugated where the 180-degree mate is meant."""
    flat = per_row @ torch.view_as_real(shifted).flatten(1)
    pairs = flat.reshape(per_row.shape[0], -1, 2)
    pairs[..., 1] *= sign[:, None]
    return torch.view_as_complex(pairs)
