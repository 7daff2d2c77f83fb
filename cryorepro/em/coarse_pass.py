"""The coarse pass: every class, orientation and shift at low resolution, to find which samples matter.

The score of an image X shifted by t against the slice P of an orientation is, up to a constant,
``Re sum conj(X_t) c P / sigma2 - sum c^2 |P|^2 / (2 sigma2)`` (Scheres 2012, J. Mol. Biol. 415, 406, eq. 3), sums
over the half plane. The first term is a matrix product; the second does not depend on t. An orientation turned by 180
degrees in the plane has the slice conj(P): both come from the same two products, Re.Re + Im.Im and Re.Re - Im.Im.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cryorepro.em.estep_model import EstepModel, SliceTable, project_table
from cryorepro.em.imageset import ImageSet
from cryorepro.em.preparation import Prepared

# Images are scored together in blocks of at most so many, and so many scores: few enough to stay near the cache.
_IMAGES_PER_BLOCK = 16
_SCORES_PER_BLOCK = 8_000_000
# Orientations whose best score is this far (in nats) below the best hold nothing that counts.
_NEGLIGIBLE_NATS = 18.0


@dataclass(frozen=True)
class CoarseGrid:
    """Slices of the coarse orientations; rows run over class, direction, first half of the in-plane angles."""

    table: SliceTable
    power: Tensor
    ramps: Tensor
    shifts: Tensor
    directions: int
    half_psi: int

    @property
    def rows_per_class(self) -> int:
        """Orientations of one class, 180-degree mates not counted."""
        return self.directions * self.half_psi


@dataclass(frozen=True)
class Significant:
    """Coarse samples of one particle that go on to the fine pass.

    Attributes:
        rows: ``[m]`` int64 into the coarse grid's rows.
        turned: ``[m]`` bool, the 180-degree mate of the row is meant.
        shifts: ``[s]`` int64 coarse shifts.
        pairs: ``[m, s]`` bool, which combinations are significant.
    """

    rows: Tensor
    turned: Tensor
    shifts: Tensor
    pairs: Tensor

    @property
    def samples(self) -> int:
        """Number of significant (orientation, shift) pairs."""
        return int(self.pairs.sum())


def make_coarse_grid(model: EstepModel, workers: int) -> CoarseGrid:
    """Slice every reference at every coarse orientation."""
    orientations = model.sampling.orientations()
    directions, n_psi = orientations.shape
    matrices = orientations.matrices(half_turn=True).reshape(-1, 3, 3)
    classes = torch.arange(model.classes).repeat_interleave(matrices.shape[0])
    plane = model.plane.prefix(model.plane.coarse_length(model.coarse_shell))
    table = project_table(model.projectors, classes, matrices.repeat(model.classes, 1, 1), plane, workers)
    power = table.real**2 + table.imaginary**2
    shifts = model.sampling.translations()
    return CoarseGrid(table, power, plane.phase_ramps(shifts), shifts, directions, n_psi // 2)


def coarse_pass(model: EstepModel, grid: CoarseGrid, images: Prepared, scale: Tensor) -> list[Significant]:
    """Significant samples of each of the ``b`` prepared images, all classes; ``scale [b]``."""
    return class_block_pass(model, grid, images, scale, range(model.classes))


def class_block_pass(
    model: EstepModel, grid: CoarseGrid, images: Prepared, scale: Tensor, classes: range
) -> list[Significant]:
    """The coarse pass over a contiguous range of classes."""
    found: list[Significant] = []
    per_image = 2 * len(classes) * grid.rows_per_class * grid.shifts.shape[0]
    together = max(1, min(_IMAGES_PER_BLOCK, _SCORES_PER_BLOCK // per_image))
    for start in range(0, images.masked.shape[0], together):
        block = slice(start, start + together)
        scores, base = _scores(model, grid, images, scale, block, classes)
        for number in range(scores.shape[2]):
            if model.cross_correlation:
                found.append(_best_only(scores[:, :, number], base[:, number], grid, classes.start))
            else:
                found.append(_significant(model, scores[:, :, number], base[:, number], grid, classes.start))
    return found


def _scores(
    model: EstepModel, grid: CoarseGrid, images: Prepared, scale: Tensor, block: slice, classes: range
) -> tuple[Tensor, Tensor]:
    """Cross terms with the offset prior ``[2, k, b, t, r]`` (r and its mate), and ``[k, b, r]`` of the rest.

    The rest is what does not depend on the shift: minus the power term plus the log prior, or, for
    cross-correlation, the factor one over the norm of the slice.
    """
    weight, inverse = _weights(model, grid, images, scale, block)
    length, rows = weight.shape[1], grid.rows_per_class
    left = (images.masked[block, :length] * (weight * inverse))[:, None] * grid.ramps
    count, n_shifts = left.shape[:2]
    added = torch.zeros(count * n_shifts, 1)
    if not model.cross_correlation:
        prior = model.log_offset_prior(images.whole_origin[block, None] + grid.shifts)
        added = prior.float().reshape(-1, 1)
    flat = left.reshape(-1, length)
    real, imaginary = flat.real.contiguous(), flat.imag.contiguous()
    crosses = torch.empty(2, len(classes), count * n_shifts, rows)
    bases = torch.empty(len(classes), count, rows)
    for place, number in enumerate(classes):
        of_class = slice(number * rows, (number + 1) * rows)
        even = torch.addmm(added, real, grid.table.real[of_class].T)
        odd = imaginary @ grid.table.imaginary[of_class].T
        torch.add(even, odd, out=crosses[0, place])
        torch.sub(even, odd, out=crosses[1, place])
        power = (weight**2 * inverse) @ grid.power[of_class].T
        bases[place] = _without_shift(model, grid, power, number)
    return crosses.reshape(2, len(classes), count, n_shifts, rows), bases


def _weights(
    model: EstepModel, grid: CoarseGrid, images: Prepared, scale: Tensor, block: slice
) -> tuple[Tensor, Tensor]:
    """What a slice is multiplied with (scaled CTF) and one over the noise variance, ``[b, n]`` each."""
    length = grid.table.real.shape[1]
    inverse = images.inverse_sigma2[block, :length]
    weight = images.ctf[block, :length] * scale[block, None]
    if not model.score_with_ctf:
        weight = torch.ones_like(weight)
    return weight, torch.ones_like(inverse) if model.cross_correlation else inverse


def _without_shift(model: EstepModel, grid: CoarseGrid, power: Tensor, number: int) -> Tensor:
    """The part ``[b, r]`` of one class's scores that no shift changes, from the slices' power ``[b, r]``."""
    if model.cross_correlation:
        return power.clamp(min=1e-30).rsqrt()
    by_direction = model.log_prior[number].float().repeat_interleave(grid.half_psi)
    return by_direction - 0.5 * power


def _significant(model: EstepModel, cross: Tensor, base: Tensor, grid: CoarseGrid, first_class: int) -> Significant:
    """Keep samples until they hold the adaptive fraction: ``cross [2, k, t, r]``, ``base [k, r]``."""
    best = cross.amax(dim=2) + base
    top = best.max()
    mate, number, row = (best > top - _NEGLIGIBLE_NATS).nonzero(as_tuple=True)
    weights = torch.exp(cross[mate, number, :, row] + (base[number, row] - top)[:, None])
    chosen = keep_fraction(weights, model.adaptive_fraction)
    rows, shifts = chosen.any(dim=1), chosen.any(dim=0).nonzero()[:, 0]
    where = (number[rows] + first_class) * grid.rows_per_class + row[rows]
    return Significant(where, mate[rows] == 1, shifts, chosen[rows][:, shifts])


def _best_only(cross: Tensor, base: Tensor, grid: CoarseGrid, first_class: int) -> Significant:
    """The one sample of highest cross-correlation."""
    best = cross.amax(dim=2) * base
    place = int(best.argmax())
    mate, number, row = (int(i) for i in torch.unravel_index(torch.tensor(place), best.shape))
    shift = cross[mate, number, :, row].argmax().reshape(1)
    where = torch.tensor([(number + first_class) * grid.rows_per_class + row])
    return Significant(where, torch.tensor([mate == 1]), shift, torch.ones(1, 1, dtype=torch.bool))


def keep_fraction(weights: Tensor, fraction: float) -> Tensor:
    """Mask of the largest ``weights`` (any shape) that together hold ``fraction`` of the sum."""
    flat = weights.flatten()
    # what is left out of the sort is less than a millionth of the sum even if every one were at the limit
    worth_sorting = flat[flat > flat.max() * (1e-6 / flat.numel())]
    ordered = worth_sorting.sort(descending=True).values
    held = ordered.double().cumsum(dim=0)
    last = int((held < fraction * held[-1]).sum())
    return weights >= ordered[min(last, ordered.shape[0] - 1)]


def scales_of(model: EstepModel, images: ImageSet, index: Tensor) -> Tensor:
    """Intensity scale ``[b]`` float32 of the particles at ``index``."""
    return model.scale[images.scale_group[index]].float()
