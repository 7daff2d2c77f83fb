"""The fine pass: posterior over the oversampled samples of particles, and what they add to the new model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from cryorepro.em.coarse_samples import keep_fraction_of_rows
from cryorepro.em.devices.choice import product_precision
from cryorepro.em.devices.plan import Plan
from cryorepro.em.fine_batch import FineBatch
from cryorepro.em.fine_grid import FineGrid, FineSamples
from cryorepro.em.preparation import Prepared


class FineModel(Protocol):
    """What the posterior needs to know of a model: those of `EstepModel`, by the same names."""

    @property
    def score_with_ctf(self) -> bool:
        """Whether slices are multiplied with the CTF."""

    @property
    def cross_correlation(self) -> bool:
        """Score by normalised cross-correlation."""

    @property
    def adaptive_fraction(self) -> float:
        """Share of the posterior that is kept."""

    @property
    def reduced_precision(self) -> bool:
        """Whether a GPU may round to TF32."""

    @property
    def plan(self) -> Plan:
        """How much is held at once."""

    @property
    def device(self) -> torch.device:
        """Where the step runs."""

    @property
    def compared(self) -> Tensor | None:
        """``[n]`` 0 where a pixel is not compared; None: all are."""

    def add_offset_prior_(self, scores: Tensor, offset_px: Tensor, classes: Tensor) -> None:
        """Add the log prior of whole offsets ``[g, s, 2]`` to ``scores [g, s, q]`` of ``classes [g, q]``."""


@dataclass(frozen=True)
class Posterior:
    """Weights of the significant fine samples of a batch of g particles.

    Attributes:
        rows: ``[g, u]`` fine rows that hold weight; ``sign`` ``[g, u]`` is -1 where the 180-degree mate is meant.
        shifts: ``[g, v]`` fine shifts that hold weight.
        weights: ``[g, v, u]`` float32, summing to at most 1 per particle, zero for padding.
        best_row, best_turned, best_shift: ``[g]`` the most probable sample.
        max_probability: ``[g]`` float64, its weight.
        log_evidence: ``[g]`` float64, log of the sum over all samples, up to the terms that do not depend on the model.
    """

    rows: Tensor
    sign: Tensor
    shifts: Tensor
    weights: Tensor
    best_row: Tensor
    best_turned: Tensor
    best_shift: Tensor
    max_probability: Tensor
    log_evidence: Tensor


def posterior(
    model: FineModel,
    grid: FineSamples,
    batch: FineBatch,
    images: Prepared,
    scale: Tensor,
    powers: Tensor | None = None,
) -> Posterior:
    """Score the samples of a batch at the full size of this iteration; ``images`` and ``scale [g]`` are its own.

    ``powers [g, rows]`` are the power terms of every row of the table, where they are known already.
    """
    scores = _scores(model, grid, batch, images, scale, powers)
    flat = scores.flatten(1)
    top, place = flat.max(dim=1)
    if model.cross_correlation:
        weights = torch.zeros_like(flat).scatter_(1, place[:, None], 1.0).reshape(scores.shape)
        total = torch.ones_like(top, dtype=torch.float64)
    else:
        weights = torch.exp(flat - top[:, None]).reshape(scores.shape)
        total = weights.sum(dim=(1, 2), dtype=torch.float64)
        weights.mul_(keep_fraction_of_rows(weights.flatten(1), model.adaptive_fraction).reshape(weights.shape))
        weights.div_(total.float()[:, None, None])
    orientation, shift = place % scores.shape[2], place // scores.shape[2]
    member = torch.arange(place.shape[0], device=place.device)
    use_row, use_shift = _in_use(weights.amax(dim=1)), _in_use(weights.amax(dim=2))
    chosen = weights.gather(2, use_row[:, None].expand(-1, weights.shape[1], -1))
    chosen = chosen.gather(1, use_shift[:, :, None].expand(-1, -1, chosen.shape[2]))
    return Posterior(
        rows=batch.rows.gather(1, use_row),
        sign=batch.sign.gather(1, use_row),
        shifts=batch.shifts.gather(1, use_shift),
        weights=chosen,
        best_row=batch.rows[member, orientation],
        best_turned=batch.sign[member, orientation] < 0,
        best_shift=batch.shifts[member, shift],
        max_probability=1.0 / total,
        log_evidence=top.double() + total.log(),
    )


def _in_use(largest: Tensor) -> Tensor:
    """Places ``[g, u]`` of the positive entries of ``largest [g, q]``, in order, filled up to one length."""
    used = largest > 0
    count = int(used.sum(dim=1).max())
    return torch.sort(used.to(torch.int8), dim=1, descending=True, stable=True).indices[:, :count]


def _scores(
    model: FineModel, grid: FineSamples, batch: FineBatch, images: Prepared, scale: Tensor, powers: Tensor | None
) -> Tensor:
    """Log weights ``[g, s, q]`` (or cross-correlations) of every combination of shift and row."""
    weight = images.ctf * scale[:, None] if model.score_with_ctf else torch.ones_like(images.ctf)
    inverse = torch.ones_like(images.inverse_sigma2) if model.cross_correlation else images.inverse_sigma2
    compared = model.compared
    inverse = inverse if compared is None else inverse * compared
    left = _shifted(images.masked * (weight * inverse), grid, batch.shifts)
    twice = None if powers is not None else (weight**2 * inverse).repeat(1, 2)[:, :, None]
    blocks = row_blocks(batch.rows, 2 * grid.table.pixels, model.plan.numbers_at_most)
    # bfloat16 is for the coarse pass alone; TF32 is safe here too
    with product_precision(model.reduced_precision and model.device.type == "cuda", model.device):
        parts = [_products(grid, left, twice, batch.rows[:, own], batch.sign[:, own]) for own in blocks]
    cross = _joined([cross for cross, _ in parts])
    power = _joined([power for _, power in parts]) if powers is None else powers.gather(1, batch.rows)[:, None]
    if model.cross_correlation:
        cross.mul_(power.clamp_(min=1e-30).rsqrt_())
    else:
        slots = torch.div(batch.rows, grid.children, rounding_mode="floor")
        model.add_offset_prior_(cross, images.applied_origin[:, None] + grid.shifts[batch.shifts], grid.class_of[slots])
        cross.add_(power.mul_(-0.5).add_(grid.log_prior[slots][:, None]))
    return cross.masked_fill_(~batch.allowed, -torch.inf)


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


def _products(
    grid: FineSamples, left: Tensor, weight: Tensor | None, rows: Tensor, sign: Tensor
) -> tuple[Tensor, Tensor]:
    """Cross terms ``[g, s, q]`` and power terms ``[g, 1, q]`` (none without a weight) of some rows ``[g, q]``."""
    slices = grid.table.gather(rows)
    cross = torch.bmm(left[:, :, 1], slices[:, :, 1].transpose(1, 2)).mul_(sign[:, None])
    cross.baddbmm_(left[:, :, 0], slices[:, :, 0].transpose(1, 2))
    if weight is None:
        return cross, cross.new_empty(0)
    return cross, torch.bmm(slices.square_().flatten(2), weight)[:, None, :, 0]


def row_blocks(rows: Tensor, numbers_per_row: int, most: int) -> list[slice]:
    """Cut rows ``[g, q]`` so that the slices of a block hold at most so many numbers (but at least one row of each)."""
    particles, count = rows.shape
    step = max(1, most // (numbers_per_row * max(1, particles)))
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]


def _shifted(images: Tensor, grid: FineSamples, shifts: Tensor) -> Tensor:
    """Complex ``images [g, n]`` moved by ``shifts [g, s]``: ``[g, s, 2, n]``, real and imaginary parts."""
    ramps = grid.ramps.index_select(0, shifts.flatten()).reshape(*shifts.shape, *grid.ramps.shape[1:])
    cosine, sine = ramps.unbind(2)
    real, imaginary = images.real[:, None], images.imag[:, None]
    out = torch.empty_like(ramps)
    torch.mul(cosine, real, out=out[:, :, 0]).addcmul_(sine, imaginary, value=-1.0)
    torch.mul(sine, real, out=out[:, :, 1]).addcmul_(cosine, imaginary)
    return out


@dataclass(frozen=True)
class Contribution:
    """What a batch of g particles adds to the sums of the maximisation.

    Attributes:
        rows: ``[r]`` fine rows, ``total`` ``[r]`` the posterior each holds.
        numerator: ``[r, 2, n]`` float32, real and imaginary part of weighted images times CTF over sigma2.
        weight: ``[r, n]`` float32, weighted CTF^2 over sigma2.
        signal_product: ``[g, n]`` the images' correlation with the model, per pixel, without the scale.
        reference_power: ``[g, n]`` the power of the model, per pixel, without the scale.
    """

    rows: Tensor
    total: Tensor
    numerator: Tensor
    weight: Tensor
    signal_product: Tensor
    reference_power: Tensor


def contributions(
    grid: FineGrid, post: Posterior, images: Prepared, scale: Tensor, numbers: int = Plan.numbers_at_most
) -> Iterator[Contribution]:
    """What a batch adds, some rows after others, of which the slices hold at most so many ``numbers``."""
    modelled = images.ctf * scale[:, None]
    plain = _shifted(images.plain * (modelled * images.inverse_sigma2), grid, post.shifts)
    masked = _shifted(images.masked * images.ctf, grid, post.shifts)
    for own in row_blocks(post.rows, 2 * grid.table.pixels, numbers):
        some = replace(post, rows=post.rows[:, own], sign=post.sign[:, own], weights=post.weights[:, :, own])
        yield _contribution(grid, some, images, modelled, plain, masked)


def _contribution(
    grid: FineGrid, post: Posterior, images: Prepared, modelled: Tensor, plain: Tensor, masked: Tensor
) -> Contribution:
    """Average the shifted images over the posterior of every row."""
    per_row = post.weights.transpose(1, 2)
    total = post.weights.sum(dim=1)
    plain = _averaged(per_row, plain, post.sign)
    masked = _averaged(per_row, masked, post.sign)
    slices = grid.table.gather(post.rows)
    product = masked.mul_(slices).sum(dim=(1, 2))
    power = torch.bmm(total[:, None], slices.square_().flatten(2)).reshape(total.shape[0], 2, -1).sum(dim=1)
    weight = total[:, :, None] * (modelled.square() * images.inverse_sigma2)[:, None]
    used = (total.flatten() > 0).nonzero()[:, 0]
    return Contribution(
        rows=post.rows.flatten()[used],
        total=total.flatten()[used],
        numerator=plain.flatten(0, 1)[used],
        weight=weight.flatten(0, 1)[used],
        signal_product=product,
        reference_power=power * images.ctf.square(),
    )


def _averaged(per_row: Tensor, shifted: Tensor, sign: Tensor) -> Tensor:
    """``sum_t w[q, t] X_t`` as ``[g, q, 2, n]``, conjugated where the 180-degree mate is meant."""
    pixels = shifted.shape[3]
    average = torch.bmm(per_row, shifted.flatten(2)).reshape(*sign.shape, 2, pixels)
    average[:, :, 1] *= sign[:, :, None]
    return average
