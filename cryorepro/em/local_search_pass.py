"""Both passes of a local search over a group of particles that share slices.

The scores are those of :mod:`cryorepro.em.coarse_pass` and :mod:`cryorepro.em.fine_pass`; here each particle has
its own orientations and its own prior on them, and slices are made for the union of what a group needs, so many
rows at a time that memory does not grow with the order of the grid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cryorepro.em.coarse_samples import keep_fraction
from cryorepro.em.estep_model import EstepModel
from cryorepro.em.fourier import HalfPlane
from cryorepro.em.local_search import LocalGrid, Window
from cryorepro.em.preparation import Prepared

# Bytes of slices (and of the sums on them) held at once, and scores of one block of rows.
_SLICE_BYTES = 1 << 26
_SCORES_PER_BLOCK = 4_000_000
_SLICES_IN_CACHE_BYTES = 1 << 24
# Sparse windows are scored on these shares of the pixels first; rows that lie so far below the best go no further.
_STAGES = (0.1, 0.2, 0.4)
_HOPELESS_NATS = 30.0
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
    shifts, fine = (sampling.translations(order).to(model.device) for order in (0, sampling.oversampling))
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
    """Coarse samples of one particle that go on (on the CPU).

    ``rows [r]`` with their prior, ``shifts [s]``, ``pairs [r, s]``.
    """

    rows: Tensor
    log_prior: Tensor
    shifts: Tensor
    pairs: Tensor


def coarse_search(local: LocalModel, group: Group) -> list[Kept]:
    """Score every particle's window at low resolution and keep what matters."""
    model, length = local.model, local.coarse_length
    weight, inverse = _weights(model, group, length)
    left = (group.images.masked[:, :length] * (weight * inverse))[:, None] * local.coarse_ramps
    flat = _halves(left).flatten(0, 1)
    own = (weight**2 * inverse).repeat(1, 2).T.contiguous()
    alone = len(group) == 1
    rows = group.windows[0].rows if alone else torch.unique(torch.cat([window.rows for window in group.windows]))
    plane = model.plane.prefix(length)
    parts: list[list[Tensor]] = [[] for _ in group.windows]
    shape = (len(group), local.coarse_shifts.shape[0])
    limit = min(_SLICE_BYTES // (_BYTES_PER_SLICE_PIXEL * length), _SCORES_PER_BLOCK // (shape[0] * shape[1]))
    for block in torch.split(rows, max(1, limit)):
        slices = _slices(local, local.grid.matrices(block), plane)
        cross = (flat @ slices.T).reshape(*shape, -1)
        power = slices.square_() @ own
        for i, window in enumerate(group.windows):
            column = slice(None) if alone else _within(window.rows, block)[1].to(cross.device)
            parts[i].append(cross[i][:, column] - 0.5 * power[column, i])
    offsets = model.log_offset_prior(group.images.applied_origin[:, None] + local.coarse_shifts).float()
    return [
        _kept(torch.cat(parts[i], dim=1) + offsets[i][:, None], window, model.adaptive_fraction)
        for i, window in enumerate(group.windows)
    ]


def coarse_search_apart(local: LocalModel, group: Group) -> list[Kept]:
    """`coarse_search` for particles whose windows have nothing in common: slices of several are made at once."""
    limit = max(1, _SLICES_IN_CACHE_BYTES // (_BYTES_PER_SLICE_PIXEL * local.coarse_length))
    kept: list[Kept] = []
    while len(kept) < len(group):
        some = _run_of_rows(group.windows, len(kept), limit)
        scored = _scored_by_stages(local, group, some)
        kept += [_kept(scores, window, local.model.adaptive_fraction) for scores, window in scored]
    return kept


def _scored_by_stages(local: LocalModel, group: Group, some: range) -> list[tuple[Tensor, Window]]:
    """Log-likelihoods ``[t, w']`` of some particles' windows, and what is left of these: from the centre outwards.

    Sums over shells only ever add up.  A row that the shells so far, and the prior, put far below the best one is
    left out: if that were the right one, they would speak so strongly against it with a chance of at most
    ``exp(-_HOPELESS_NATS)``, since a likelihood ratio has mean 1 under the hypothesis in its denominator.
    """
    weight, inverse = _weights(local.model, group, local.coarse_length)
    images, own = group.images.masked[:, : local.coarse_length] * (weight * inverse), weight**2 * inverse
    at = group.images.applied_origin[some.start : some.stop, None] + local.coarse_shifts
    scores = list(local.model.log_offset_prior(at).float()[:, :, None])
    windows = [group.windows[i] for i in some]
    matrices = [local.grid.matrices(window.rows) for window in windows]
    for part in _stages(local.coarse_length):
        slices = _slices(local, torch.cat(matrices), local.model.plane.part(part))
        tables = torch.split(slices, [rows.shape[0] for rows in matrices])
        for place, (i, table) in enumerate(zip(some, tables, strict=True)):
            cross = _halves(images[i, part] * local.coarse_ramps[:, part]) @ table.T
            scores[place] = scores[place] + cross.sub_(table.square_() @ own[i, part].repeat(2), alpha=0.5)
            if part.stop < local.coarse_length:
                hopeful = _hopeful(scores[place], windows[place])
                scores[place] = scores[place][:, hopeful.to(slices.device)]
                windows[place] = Window(windows[place].rows[hopeful], windows[place].log_prior[hopeful])
                matrices[place] = matrices[place][hopeful]
    return list(zip(scores, windows, strict=True))


def _stages(pixels: int) -> list[slice]:
    """The leading ``pixels`` in parts, each from shells further out."""
    ends = [0, *(math.ceil(share * pixels) for share in _STAGES), pixels]
    return [slice(first, last) for first, last in zip(ends, ends[1:], strict=False) if last > first]


def _hopeful(scores: Tensor, window: Window) -> Tensor:
    """Positions of the rows (on the CPU) whose best of ``scores [t, w]``, with the prior, may still win."""
    best = scores.amax(dim=0).cpu() + window.log_prior.float()
    return (best >= best.max() - _HOPELESS_NATS).nonzero()[:, 0]


def _run_of_rows(windows: list[Window], first: int, limit: int) -> range:
    """Windows from ``first`` on whose rows together number at most ``limit``, but at least one."""
    last, rows = first + 1, int(windows[first].rows.shape[0])
    while last < len(windows) and rows + int(windows[last].rows.shape[0]) <= limit:
        rows += int(windows[last].rows.shape[0])
        last += 1
    return range(first, last)


def _slices(local: LocalModel, matrices: Tensor, plane: HalfPlane) -> Tensor:
    """Slices ``[r, 2 n]`` float32, all real parts before all imaginary ones."""
    out = torch.empty(matrices.shape[0], 2, len(plane), device=plane.kx.device)
    local.model.projectors[0].slices_into(out, matrices.to(out.device), plane)
    return out.flatten(1)


def _halves(values: Tensor) -> Tensor:
    """Complex ``[..., n]`` as ``[..., 2 n]``, all real parts before all imaginary ones."""
    return torch.cat([values.real, values.imag], dim=-1)


def _within(rows: Tensor, block: Tensor) -> tuple[Tensor, Tensor]:
    """Positions of those of the ascending ``rows`` that lie in an ascending ``block``, and their places there."""
    use = ((rows >= block[0]) & (rows <= block[-1])).nonzero()[:, 0]
    return use, torch.searchsorted(block, rows[use])


def _kept(likelihood: Tensor, window: Window, fraction: float) -> Kept:
    """The largest of ``likelihood [t, w]`` times prior that hold the adaptive fraction."""
    scores = likelihood + window.log_prior.float().to(likelihood.device)
    chosen = keep_fraction(torch.exp(scores - scores.max()), fraction).cpu()
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

    Weights are on the step's device, the rest on the CPU.
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
    """What one particle adds: slices' sums on fine rows, and per-pixel sums for the noise and the scale.

    ``numerator [q, 2 n]`` holds all real parts before all imaginary ones; ``weight [q, n]``.
    """

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
        """Orientations ``[q, 3, 3]`` and slices ``[q, 2 n]`` of a block's children."""
        if self._last is None or self._last[0] != number:
            matrices = self._local.grid.fine_matrices(self.blocks[number])
            self._last = (number, matrices, _slices(self._local, matrices, self._local.model.plane))
        return self._last[1], self._last[2]


def rows_that_fit(local: LocalModel) -> int:
    """Coarse rows whose children's slices are held at once."""
    return max(1, _SLICE_BYTES // (_BYTES_PER_SUM_PIXEL * local.grid.children * len(local.model.plane)))


def fine_search(local: LocalModel, group: Group, kept: list[Kept], slices: FineSlices) -> list[LocalPosterior]:
    """The posterior of every particle over the children of what it kept."""
    parts: list[list[Tensor]] = [[] for _ in kept]
    for number, block in enumerate(slices.blocks):
        table = _compared(local, slices.block(number)[1])
        for i, particle in enumerate(kept):
            _, place = _within(particle.rows, block)
            if place.shape[0] > 0:
                rows = table[_children(place, local.grid.children).to(table.device)] if len(kept) > 1 else table
                parts[i].append(_fine_likelihood(local, group, i, particle, rows))
    return [_posterior(local, group, i, kept[i], torch.cat(parts[i], dim=1)) for i in range(len(kept))]


def _compared(local: LocalModel, table: Tensor) -> Tensor:
    """The pixels ``[q, 2 m]`` of slices ``[q, 2 n]`` that are compared."""
    pixels = table.shape[1] // 2
    if local.score_length == pixels:
        return table
    return table.reshape(-1, 2, pixels)[:, :, : local.score_length].flatten(1)


def _children(rows: Tensor, count: int) -> Tensor:
    return (rows[:, None] * count + torch.arange(count)).flatten()


def _fine_likelihood(local: LocalModel, group: Group, i: int, kept: Kept, table: Tensor) -> Tensor:
    """Log-likelihood ``[s, q]`` of fine rows with slices ``table [q, 2 n]``."""
    weight, inverse = (values[i] for values in _weights(local.model, group, local.score_length))
    shifts = _children(kept.shifts, local.shift_children).to(table.device)
    image = group.images.masked[i, : local.score_length] * (weight * inverse)
    left = image * local.fine_ramps[shifts][:, : local.score_length]
    return _halves(left) @ table.T - 0.5 * (table.square() @ (weight**2 * inverse).repeat(2))


def _posterior(local: LocalModel, group: Group, i: int, kept: Kept, likelihood: Tensor) -> LocalPosterior:
    children = local.grid.children
    shifts, rows = _children(kept.shifts, local.shift_children), _children(kept.rows, children)
    device = likelihood.device
    at = group.images.applied_origin[i] + local.fine_shifts[shifts.to(device)]
    offsets = local.model.log_offset_prior(at).float()
    scores = likelihood + offsets[:, None] + kept.log_prior.repeat_interleave(children).to(device)
    allowed = kept.pairs.T.repeat_interleave(local.shift_children, dim=0).repeat_interleave(children, dim=1)
    scores = scores.masked_fill_(~allowed.to(device), -torch.inf)
    best_shift, best_row = divmod(int(scores.argmax()), scores.shape[1])
    top = float(scores[best_shift, best_row])
    weights = torch.exp(scores - top)
    total = weights.sum(dtype=torch.float64)
    chosen = keep_fraction(weights, local.model.adaptive_fraction)
    use_shift, use_row = chosen.any(dim=1).nonzero()[:, 0], chosen.any(dim=0).nonzero()[:, 0]
    return LocalPosterior(
        rows[use_row.cpu()],
        shifts[use_shift.cpu()],
        (weights * chosen)[use_shift][:, use_row] / total.float(),
        (int(rows[best_row]), int(shifts[best_shift])),
        1.0 / float(total),
        top + float(total.log()),
    )


def share(local: LocalModel, group: Group, i: int, post: LocalPosterior, use: Tensor, table: Tensor) -> Share:
    """What particle ``i`` adds at those of its rows that ``use [q']`` picks; ``table [q', 2 n]`` are their slices."""
    device = post.weights.device
    per_row = post.weights[:, use.to(device)].T
    images, ramps, pixels = group.images, local.fine_ramps[post.shifts.to(device)], len(local.model.plane)
    plain, masked = (per_row @ _halves(image[i] * ramps) for image in (images.plain, images.masked))
    ctf = images.ctf[i]
    modelled, inverse = ctf * group.scale[i], images.inverse_sigma2[i]
    total = per_row.sum(dim=1)
    product = (table * masked).sum(dim=0)
    power = total @ table.square()
    return Share(
        numerator=plain * (modelled * inverse).repeat(2),
        weight=total[:, None] * (modelled**2 * inverse),
        signal_product=(product[:pixels] + product[pixels:]) * ctf,
        reference_power=(power[:pixels] + power[pixels:]) * ctf**2,
    )
