"""The coarse pass: every class, orientation and shift at low resolution, to find which samples matter.

The score of an image X shifted by t against the slice P of an orientation is, up to a constant,
``Re sum conj(X_t) c P / sigma2 - sum c^2 |P|^2 / (2 sigma2)`` (Scheres 2012, J. Mol. Biol. 415, 406, eq. 3), sums
over the half plane. The first term is a matrix product; the second does not depend on t. Both are made for one of
four related orientations and unfolded (`mirror_fold`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cryorepro.em.coarse_grid import CoarseGrid
from cryorepro.em.coarse_samples import (
    PackedSamples,
    Significant,
    join_samples,
    keep_fraction_of_each,
    pack_chosen,
    unpack_samples,
)
from cryorepro.em.devices.choice import CPU, product_precision
from cryorepro.em.estep_model import EstepModel
from cryorepro.em.imageset import ImageSet
from cryorepro.em.mirror_fold import hadamard_
from cryorepro.em.preparation import Prepared

# Orientations whose best score is this far (in nats) below the best hold nothing that counts.
_NEGLIGIBLE_NATS = 18.0


@dataclass(frozen=True)
class BlockScores:
    """Scores of b images against the slices of some classes, by variant of each slice (v).

    Attributes:
        tiles: ``[v * b * t * r]`` cross terms with the offset prior, tile after tile, each ``[v, b, t, width]``.
        base: ``[b, v, r]`` what no shift changes: minus the power term plus the log prior, or, for
            cross-correlation, one over the norm of the slice.
        best: ``[b, v, r]`` the best cross term over the shifts.
        shifts: t. ``first_row``: of the classes' slices. ``width``: rows of a whole tile.
    """

    tiles: Tensor
    base: Tensor
    best: Tensor
    shifts: int
    first_row: int
    width: int

    def at(self, image: Tensor, variant: Tensor, row: Tensor) -> Tensor:
        """Cross terms ``[m, t]`` of chosen images, variants and rows."""
        images, variants, rows = self.best.shape
        start = row // self.width * self.width
        width = (rows - start).clamp(max=self.width)
        place = variants * images * self.shifts * start
        place = place + (variant * images + image) * self.shifts * width + row - start
        return self.tiles.take(place[:, None] + torch.arange(self.shifts, device=row.device) * width[:, None])


def coarse_pass(model: EstepModel, grid: CoarseGrid, images: Prepared, scale: Tensor) -> list[Significant]:
    """Significant samples of each of the ``b`` prepared images, all classes; ``scale [b]``."""
    return unpack_samples(packed_pass(model, grid, images, scale, range(model.classes)))


def packed_pass(model: EstepModel, grid: CoarseGrid, images: Prepared, scale: Tensor, classes: range) -> PackedSamples:
    """The coarse pass over a contiguous range of classes; what it finds is on the CPU."""
    per_image = 2 * len(classes) * grid.rows_per_class * grid.shifts.shape[0]
    together = max(1, min(model.plan.images_per_block, model.plan.scores_per_block // per_image))
    space = torch.empty(min(together, images.masked.shape[0]) * per_image, device=model.device)
    choose = _best_only if model.cross_correlation else _significant
    found = []
    for start in range(0, images.masked.shape[0], together):
        scores = _scores(model, grid, images, scale, slice(start, start + together), classes, space)
        found.append(choose(model, grid, scores).to(CPU))
    return join_samples(found)


def _scores(
    model: EstepModel,
    grid: CoarseGrid,
    images: Prepared,
    scale: Tensor,
    block: slice,
    classes: range,
    space: Tensor,
) -> BlockScores:
    weight, inverse = _weights(model, grid, images, scale, block)
    order, n_shifts = grid.fold.order, grid.shifts.shape[0]
    weighted = images.masked[block][:, order] * (weight * inverse)
    left = [part.flatten(0, 1) for part in grid.fold.parts(weighted[:, None] * grid.ramps, of_table=False)]
    rows = slice(classes.start * grid.base.count, classes.stop * grid.base.count)
    count, variants = weighted.shape[0], grid.base.row.shape[0]
    best = torch.empty(count, variants, rows.stop - rows.start, device=model.device)
    tiles = space[: best.numel() * n_shifts]
    added = _offset_prior(model, grid, images, block)
    for start in range(rows.start, rows.stop, model.plan.rows_per_tile):
        tile = slice(start, min(start + model.plan.rows_per_tile, rows.stop))
        local = slice(tile.start - rows.start, tile.stop - rows.start)
        per_row = variants * count * n_shifts
        flat = tiles[per_row * local.start : per_row * local.stop]
        cross = flat.view(variants, count * n_shifts, tile.stop - tile.start)
        with product_precision(model.reduced_precision, model.device):
            _products(left, [part[tile] for part in grid.parts], added, cross)
        hadamard_(cross)
        folded = cross.view(variants, count, n_shifts, -1)
        torch.amax(folded, dim=2, out=best.transpose(0, 1)[:, :, local])
    base = _without_shift(model, grid, weight**2 * inverse, rows, classes)
    return BlockScores(tiles, base, best, n_shifts, rows.start, model.plan.rows_per_tile)


def _products(left: list[Tensor], right: list[Tensor], added: Tensor | None, out: Tensor) -> None:
    for place, (images, slices) in enumerate(zip(left, right, strict=True)):
        if place == 0 and added is not None:
            torch.addmm(added, images, slices.T, out=out[place])
        else:
            torch.mm(images, slices.T, out=out[place])


def _offset_prior(model: EstepModel, grid: CoarseGrid, images: Prepared, block: slice) -> Tensor | None:
    """Log prior ``[b * t, 1]`` of the whole offsets; None where it plays no part."""
    if model.cross_correlation:
        return None
    prior = model.log_offset_prior(images.applied_origin[block, None] + grid.shifts)
    return prior.float().reshape(-1, 1)


def _weights(
    model: EstepModel, grid: CoarseGrid, images: Prepared, scale: Tensor, block: slice
) -> tuple[Tensor, Tensor]:
    """What a slice is multiplied with (scaled CTF) and one over the noise variance, ``[b, n]`` each."""
    order = grid.fold.order
    inverse = images.inverse_sigma2[block][:, order]
    weight = images.ctf[block][:, order] * scale[block, None]
    if not model.score_with_ctf:
        weight = torch.ones_like(weight)
    return weight, torch.ones_like(inverse) if model.cross_correlation else inverse


def _without_shift(model: EstepModel, grid: CoarseGrid, weight: Tensor, rows: slice, classes: range) -> Tensor:
    """The part ``[b, v, r]`` of the scores that no shift changes; ``weight [b, n]`` of the slices' power."""
    parts = grid.fold.power_parts(weight, of_table=False)
    power = torch.stack([w @ p[rows].T for w, p in zip(parts, grid.power_parts, strict=True)])
    # half turns have the power of what they turn: variants are the mirror images of the one, then of the other
    power = hadamard_(power).transpose(0, 1).repeat(1, grid.base.row.shape[0] // power.shape[0], 1)
    if model.cross_correlation:
        return power.clamp_(min=1e-30).rsqrt_()
    direction = grid.base.row // grid.half_psi
    prior = torch.cat([model.log_prior[number][direction] for number in classes], dim=1)
    return power.mul_(-0.5).add_(prior.float())


def _significant(model: EstepModel, grid: CoarseGrid, scores: BlockScores) -> PackedSamples:
    """Keep samples of each image until they hold the adaptive fraction."""
    best = scores.best.add_(scores.base)
    top = best.amax(dim=(1, 2))
    image, variant, row = (best > (top - _NEGLIGIBLE_NATS)[:, None, None]).nonzero(as_tuple=True)
    rest = scores.base[image, variant, row] - top[image]
    weights = torch.exp(scores.at(image, variant, row) + rest[:, None])
    where, turned = _coarse_rows(grid, variant, row + scores.first_row)
    chosen = keep_fraction_of_each(weights, image, best.shape[0], model.adaptive_fraction)
    return pack_chosen(chosen, image, where, turned, best.shape[0])


def _best_only(_model: EstepModel, grid: CoarseGrid, scores: BlockScores) -> PackedSamples:
    """The one sample of highest cross-correlation of each image."""
    best = scores.best.mul_(scores.base).flatten(1)
    place = best.argmax(dim=1)
    image = torch.arange(place.shape[0], device=place.device)
    variant, row = place // scores.best.shape[2], place % scores.best.shape[2]
    cross = scores.at(image, variant, row)
    where, turned = _coarse_rows(grid, variant, row + scores.first_row)
    one = torch.zeros_like(cross, dtype=torch.bool).scatter_(1, cross.argmax(dim=1, keepdim=True), True)
    return pack_chosen(one, image, where, turned, place.shape[0])


def _coarse_rows(grid: CoarseGrid, variant: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of the coarse grid, and whether their mate is meant, for variants of slices (all classes' rows)."""
    number, within = row // grid.base.count, row % grid.base.count
    return number * grid.rows_per_class + grid.base.row[variant, within], grid.base.turned[variant, within]


def scales_of(model: EstepModel, images: ImageSet, index: Tensor) -> Tensor:
    """Intensity scale ``[b]`` float32 of the particles at ``index``, on the model's device."""
    return model.scale[images.scale_group[index]].float().to(model.device)
