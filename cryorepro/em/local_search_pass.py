"""Both passes of a local search over a group of particles that share slices.

The scores are those of :mod:`cryorepro.em.coarse_pass` and :mod:`cryorepro.em.fine_pass`; here each particle has
its own orientations and its own prior on them, and slices are made for the union of what a group needs, so many
rows at a time that memory does not grow with the order of the grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cryorepro.em.coarse_pass import keep_fraction
from cryorepro.em.estep_model import EstepModel
from cryorepro.em.local_search import LocalGrid, Window
from cryorepro.em.preparation import Prepared

# Bytes of slices (and of the sums on them) held at once, and scores of one block of rows.
_SLICE_BYTES = 1 << 26
_SCORES_PER_BLOCK = 4_000_000
_BYTES_PER_SLICE_PIXEL, _BYTES_PER_SUM_PIXEL = 8, 20


@dataclass(frozen=True)
class LocalModel:
    """What all groups of one iteration share.

    Attributes:
        model: of the iteration; one class.
        grid: the orientations.
        coarse_length, score_length: leading pixels of the plane that the two passes compare.
        coarse_shifts, fine_shifts: ``[t, 2]`` pixels; ``coarse_ramps``, ``fine_ramps`` ``[t, n]``.
    """

    model: EstepModel
    grid: LocalGrid
    coarse_length: int
    score_length: int
    coarse_shifts: Tensor
    fine_shifts: Tensor
    coarse_ramps: Tensor
    fine_ramps: Tensor

    @property
    def shift_children(self) -> int:
        """Fine shifts of a coarse one."""
        return int(4**self.model.sampling.oversampling)


def make_local_model(model: EstepModel) -> LocalModel:
    """Prepare what groups share."""
    sampling, plane = model.sampling, model.plane
    longest = len(plane) if model.score_shell is None else plane.coarse_length(model.score_shell)
    coarse = min(plane.coarse_length(model.coarse_shell), longest)
    shifts, fine = sampling.translations(), sampling.translations(sampling.oversampling)
    ramps = plane.prefix(coarse).phase_ramps(shifts)
    return LocalModel(model, LocalGrid(sampling), coarse, longest, shifts, fine, ramps, plane.phase_ramps(fine))


@dataclass(frozen=True)
class Group:
    """Particles searched together: prepared images, intensity scales ``[m]``, and a window each."""

    images: Prepared
    scale: Tensor
    windows: list[Window]

    def __len__(self) -> int:
        """Number of particles."""
        return len(self.windows)


@dataclass(frozen=True)
class Kept:
    """Coarse samples of one particle that go on: ``rows [r]`` with their prior, ``shifts [s]``, ``pairs [r, s]``."""

    rows: Tensor
    log_prior: Tensor
    shifts: Tensor
    pairs: Tensor


def coarse_search(local: LocalModel, group: Group) -> list[Kept]:
    """Score every particle's window at low resolution and keep what matters."""
    model, length = local.model, local.coarse_length
    weight, inverse = _weights(model, group, length)
    left = (group.images.masked[:, :length] * (weight * inverse))[:, None] * local.coarse_ramps
    flat = torch.view_as_real(left).flatten(2).flatten(0, 1)
    own = (weight**2 * inverse).T.contiguous()
    rows = torch.unique(torch.cat([window.rows for window in group.windows]))
    plane = model.plane.prefix(length)
    parts: list[list[Tensor]] = [[] for _ in group.windows]
    shape = (len(group), local.coarse_shifts.shape[0])
    limit = min(_SLICE_BYTES // (_BYTES_PER_SLICE_PIXEL * length), _SCORES_PER_BLOCK // (shape[0] * shape[1]))
    for block in torch.split(rows, max(1, limit)):
        slices = model.projectors[0].slices(local.grid.matrices(block), plane)
        cross = (flat @ torch.view_as_real(slices).flatten(1).T).reshape(*shape, -1)
        power = slices.abs().square() @ own
        for i, window in enumerate(group.windows):
            within = window.rows[(window.rows >= block[0]) & (window.rows <= block[-1])]
            column = torch.searchsorted(block, within)
            parts[i].append(cross[i][:, column] - 0.5 * power[column, i])
    offsets = model.log_offset_prior(group.images.whole_origin[:, None] + local.coarse_shifts).float()
    return [
        _kept(torch.cat(parts[i], dim=1) + offsets[i][:, None], window, model.adaptive_fraction)
        for i, window in enumerate(group.windows)
    ]


def _kept(likelihood: Tensor, window: Window, fraction: float) -> Kept:
    """The largest of ``likelihood [t, w]`` times prior that hold the adaptive fraction."""
    scores = likelihood + window.log_prior.float()
    chosen = keep_fraction(torch.exp(scores - scores.max()), fraction)
    rows, shifts = chosen.any(dim=0).nonzero()[:, 0], chosen.any(dim=1).nonzero()[:, 0]
    return Kept(window.rows[rows], window.log_prior[rows].float(), shifts, chosen[shifts][:, rows].T)


def _weights(model: EstepModel, group: Group, length: int) -> tuple[Tensor, Tensor]:
    """What a slice is multiplied with, and one over the noise variance, ``[m, length]`` each."""
    weight = group.images.ctf[:, :length] * group.scale[:, None]
    if not model.score_with_ctf:
        weight = torch.ones_like(weight)
    return weight, group.images.inverse_sigma2[:, :length]


@dataclass(frozen=True)
class LocalPosterior:
    """Weights ``[s, q]`` of one particle's fine samples, over all of its fine rows and shifts, summing to at most 1.

    ``rows [q]`` int64 are ``coarse row * children + child``, ``shifts [s]`` fine shifts; ``best`` are the most
    probable row and shift.
    """

    rows: Tensor
    shifts: Tensor
    weights: Tensor
    best: tuple[int, int]
    max_probability: float
    log_evidence: float


@dataclass(frozen=True)
class Share:
    """What one particle adds: slices' sums on fine rows, and per-pixel sums for the noise and the scale."""

    rows: Tensor
    numerator: Tensor
    weight: Tensor
    signal_product: Tensor
    reference_power: Tensor


class FineSlices:
    """Slices of the children of coarse rows, a block at a time; one block is kept, more are made anew."""

    def __init__(self, local: LocalModel, rows: Tensor) -> None:
        """Take the coarse ``rows`` (ascending)."""
        per_row = _BYTES_PER_SUM_PIXEL * local.grid.children * len(local.model.plane)
        self.blocks = list(torch.split(rows, max(1, _SLICE_BYTES // per_row)))
        self._local = local
        self._last: tuple[int, Tensor, Tensor] | None = None

    def block(self, number: int) -> tuple[Tensor, Tensor]:
        """Orientations ``[q, 3, 3]`` and slices complex ``[q, n]`` of a block's children."""
        if self._last is None or self._last[0] != number:
            matrices = self._local.grid.fine_matrices(self.blocks[number])
            model = self._local.model
            self._last = (number, matrices, model.projectors[0].slices(matrices, model.plane))
        return self._last[1], self._last[2]


def rows_that_fit(local: LocalModel) -> int:
    """Coarse rows whose children's slices are held at once."""
    return max(1, _SLICE_BYTES // (_BYTES_PER_SUM_PIXEL * local.grid.children * len(local.model.plane)))


def fine_search(local: LocalModel, group: Group, kept: list[Kept], slices: FineSlices) -> list[LocalPosterior]:
    """The posterior of every particle over the children of what it kept."""
    parts: list[list[Tensor]] = [[] for _ in kept]
    for number, block in enumerate(slices.blocks):
        table = slices.block(number)[1][:, : local.score_length]
        flat, power = torch.view_as_real(table).flatten(1), table.abs().square()
        for i, particle in enumerate(kept):
            own = particle.rows[(particle.rows >= block[0]) & (particle.rows <= block[-1])]
            if own.shape[0] > 0:
                rows = _children(torch.searchsorted(block, own), local.grid.children)
                parts[i].append(_fine_likelihood(local, group, i, particle, flat[rows], power[rows]))
    return [_posterior(local, group, i, kept[i], torch.cat(parts[i], dim=1)) for i in range(len(kept))]


def _children(rows: Tensor, count: int) -> Tensor:
    return (rows[:, None] * count + torch.arange(count)).flatten()


def _fine_likelihood(local: LocalModel, group: Group, i: int, kept: Kept, flat: Tensor, power: Tensor) -> Tensor:
    """Log-likelihood ``[s, q]`` of fine rows with real slices ``flat [q, 2 n]`` and ``power [q, n]``."""
    weight, inverse = (values[i] for values in _weights(local.model, group, local.score_length))
    shifts = _children(kept.shifts, local.shift_children)
    image = group.images.masked[i, : local.score_length] * (weight * inverse)
    left = image * local.fine_ramps[shifts][:, : local.score_length]
    return torch.view_as_real(left).flatten(1) @ flat.T - 0.5 * (power @ (weight**2 * inverse))


def _posterior(local: LocalModel, group: Group, i: int, kept: Kept, likelihood: Tensor) -> LocalPosterior:
    children = local.grid.children
    shifts, rows = _children(kept.shifts, local.shift_children), _children(kept.rows, children)
    offsets = local.model.log_offset_prior(group.images.whole_origin[i] + local.fine_shifts[shifts]).float()
    scores = likelihood + offsets[:, None] + kept.log_prior.repeat_interleave(children)
    allowed = kept.pairs.T.repeat_interleave(local.shift_children, dim=0).repeat_interleave(children, dim=1)
    scores = scores.masked_fill_(~allowed, -torch.inf)
    best_shift, best_row = divmod(int(scores.argmax()), scores.shape[1])
    top = float(scores[best_shift, best_row])
    weights = torch.exp(scores - top)
    total = weights.sum(dtype=torch.float64)
    chosen = keep_fraction(weights, local.model.adaptive_fraction)
    use_shift, use_row = chosen.any(dim=1).nonzero()[:, 0], chosen.any(dim=0).nonzero()[:, 0]
    return LocalPosterior(
        rows[use_row],
        shifts[use_shift],
        (weights * chosen)[use_shift][:, use_row] / total.float(),
        (int(rows[best_row]), int(shifts[best_shift])),
        1.0 / float(total),
        top + float(total.log()),
    )


def share(local: LocalModel, group: Group, i: int, post: LocalPosterior, use: Tensor, table: Tensor) -> Share:
    """What particle ``i`` adds at those of its rows that ``use [q']`` picks; ``table [q', n]`` are their slices."""
    per_row = post.weights[:, use].T.contiguous()
    images, ramps = group.images, local.fine_ramps[post.shifts]
    plain, masked = (_weighted_sum(per_row, image[i] * ramps) for image in (images.plain, images.masked))
    ctf = images.ctf[i]
    modelled, inverse = ctf * group.scale[i], images.inverse_sigma2[i]
    total = per_row.sum(dim=1)
    product = (table.real * masked.real + table.imag * masked.imag).sum(dim=0)
    return Share(
        rows=post.rows[use],
        numerator=plain * (modelled * inverse),
        weight=total[:, None] * (modelled**2 * inverse),
        signal_product=product * ctf,
        reference_power=(total @ table.abs().square()) * ctf**2,
    )


def _weighted_sum(per_row: Tensor, shifted: Tensor) -> Tensor:
    """``sum_t w[q, t] X_t`` as complex ``[q, n]``."""
    flat = per_row @ torch.view_as_real(shifted).flatten(1)
    return torch.view_as_complex(flat.reshape(per_row.shape[0], -1, 2))
