"""Samples of the coarse pass that go on to the fine one: how they are chosen, and how they are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# What is this much smaller than a particle's largest weight (over the number of weights) is not worth sorting.
_NOT_WORTH_SORTING = 1e-6


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


@dataclass(frozen=True)
class PackedSamples:
    """The significant samples of many particles, end to end: quick to send.

    Attributes:
        rows, turned, shifts, pairs: of all particles, flat.
        sizes: ``[n, 2]`` int64 numbers of rows and shifts of each.
    """

    rows: Tensor
    turned: Tensor
    shifts: Tensor
    pairs: Tensor
    sizes: Tensor

    def to(self, device: torch.device) -> PackedSamples:
        """The same samples on another device."""
        return PackedSamples(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))

    @property
    def nbytes(self) -> int:
        """Memory they take."""
        return sum(int(getattr(self, name).nbytes) for name in self.__dataclass_fields__)


def pack_samples(found: Sequence[Significant]) -> PackedSamples:
    """Put particles' samples end to end."""
    return PackedSamples(
        rows=torch.cat([one.rows for one in found]),
        turned=torch.cat([one.turned for one in found]),
        shifts=torch.cat([one.shifts for one in found]),
        pairs=torch.cat([one.pairs.flatten() for one in found]),
        sizes=torch.tensor([one.pairs.shape for one in found]),
    )


def unpack_samples(packed: PackedSamples) -> list[Significant]:
    """The inverse of `pack_samples`."""
    sizes = packed.sizes.tolist()
    rows, shifts = [m for m, _ in sizes], [s for _, s in sizes]
    flat = (
        torch.split(packed.rows, rows), torch.split(packed.turned, rows), torch.split(packed.shifts, shifts),
        torch.split(packed.pairs, [m * s for m, s in sizes]), sizes,
    )  # fmt: skip
    return [Significant(r, t, s, p.reshape(size)) for r, t, s, p, size in zip(*flat, strict=True)]


def join_samples(parts: Sequence[PackedSamples]) -> PackedSamples:
    """The particles of several packs, one after the other."""
    if len(parts) == 1:
        return parts[0]
    names = PackedSamples.__dataclass_fields__
    return PackedSamples(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def pack_chosen(chosen: Tensor, owner: Tensor, rows: Tensor, turned: Tensor, count: int) -> PackedSamples:
    """Pack the samples ``chosen [m, t]`` bool of ``count`` particles.

    Line i is of particle ``owner [m]`` (ascending), and means row ``rows [m]`` or its 180-degree mate (``turned [m]``).
    """
    line, column = chosen.nonzero(as_tuple=True)
    used = torch.zeros(count, chosen.shape[1], dtype=torch.bool, device=chosen.device)
    used[owner[line], column] = True
    kept = chosen.any(dim=1)
    of_kept = owner[kept]
    sizes = torch.stack([torch.bincount(of_kept, minlength=count), used.sum(dim=1)], dim=1)
    return PackedSamples(rows[kept], turned[kept], used.nonzero()[:, 1], chosen[kept][used[of_kept]], sizes)


def keep_fraction(weights: Tensor, fraction: float) -> Tensor:
    """Mask of the largest ``weights`` (any shape) that together hold ``fraction`` of the sum."""
    flat = weights.flatten()
    # what is left out of the sort is less than a millionth of the sum even if every one were at the limit
    worth_sorting = flat[flat > flat.max() * (1e-6 / flat.numel())]
    ordered = worth_sorting.sort(descending=True).values
    held = ordered.double().cumsum(dim=0)
    last = int((held < fraction * held[-1]).sum())
    return weights >= ordered[min(last, ordered.shape[0] - 1)]


def keep_fraction_of_rows(weights: Tensor, fraction: float) -> Tensor:
    """`keep_fraction` of every line of ``weights [g, m]``."""
    ordered = weights.sort(dim=1, descending=True).values
    held = ordered.cumsum(dim=1, dtype=torch.float64)
    last = (held < fraction * held[:, -1:]).sum(dim=1, keepdim=True).clamp(max=weights.shape[1] - 1)
    return weights >= ordered.gather(1, last)


def keep_fraction_of_each(weights: Tensor, owner: Tensor, count: int, fraction: float) -> Tensor:
    """`keep_fraction` for each of ``count`` particles: line i of ``weights [m, t]`` is of ``owner [m]`` (ascending)."""
    every = owner.repeat_interleave(weights.shape[1])
    flat = weights.flatten()
    largest = torch.zeros(count, dtype=flat.dtype, device=flat.device).scatter_reduce_(0, every, flat, "amax")
    number = torch.bincount(every, minlength=count).clamp(min=1)
    use = (flat > (largest * (_NOT_WORTH_SORTING / number))[every]).nonzero()[:, 0]
    flat, every = flat[use], every[use]
    # one sort for all: each particle's weights are moved to an interval of their own, the largest first
    key = every - flat.double() / (2.0 * largest.double())[every]
    place = key.argsort()
    ordered = flat[place]
    size = torch.bincount(every, minlength=count)
    end = size.cumsum(dim=0)
    held = ordered.cumsum(dim=0, dtype=torch.float64)
    before = torch.cat([held.new_zeros(1), held])[end - size]
    total = held[end - 1] - before
    short = held - before[every] < fraction * total[every]
    last = torch.zeros_like(size).index_add_(0, every, short.long())
    threshold = ordered[end - size + torch.minimum(last, size - 1)]
    return weights >= threshold[owner][:, None]
