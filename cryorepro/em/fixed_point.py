"""Sums whose bits do not depend on the order of their terms: whole multiples of a fixed quantum, in 64-bit integers.

Floating-point addition is not associative, integer addition is. Grids of a step have one quantum each, from a bound
that is known before it; the few other numbers, whose sizes differ widely, are split into words of 40 bits with quanta
that never change (compare Demmel & Nguyen, IEEE Trans. Comput. 64 (2015) 2060, who bin floating-point numbers).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cryorepro.em.conventions import PADDING
from cryorepro.em.estep_model import EstepModel
from cryorepro.em.preparation import Preparation, Prepared
from cryorepro.em.projection import Corners, corner_offsets, weights_across_x
from cryorepro.em.reconstruction import SliceAccumulator

LARGEST_SNR = 4096.0
"""A coefficient over the deviation of its noise, at most: with the number of particles it bounds every sum."""
# Pixels of a slice that share a grid point, at most.
_SHARED = 8.0
# Bits of a sum below its bound; the sign and one bit to spare are left.
_BITS = 62
# The words' quanta: 40 bits apart, sums of 8 million terms fit. Together they reach from 2^77 to 2^-107.
_WORD_QUANTA = tuple(2.0**power for power in (14, -26, -66, -106))


def quantum_of(bound: float) -> float:
    """The power of two whose multiples hold every sum of at most ``bound`` in 63 bits."""
    return float(2.0 ** (math.ceil(math.log2(bound)) - _BITS))


def step_quanta(model: EstepModel, count: int) -> tuple[float, float]:
    """Quanta of the grids' numerators and weights for ``count`` particles, from bounds that hold on every process."""
    return bounded_quanta(model.preparation, model.scale, count)


def bounded_quanta(how: Preparation, scales: Tensor, count: int) -> tuple[float, float]:
    """`step_quanta` from how images are prepared and the groups' intensity ``scales``."""
    largest = 1.0 / float(how.sigma2[:, how.plane.shell].min())
    scale = max(1.0, float(scales.max()))
    weight = _SHARED * count * scale**2 * largest
    return quantum_of(_SHARED * count * scale * math.sqrt(largest) * LARGEST_SNR), quantum_of(weight)


def check_bound(images: Prepared) -> None:
    """Raise a ValueError where a coefficient is so large that sums might pass the bound they are given."""
    largest = (images.plain.abs() * images.inverse_sigma2.sqrt()).amax()
    if not bool(largest <= LARGEST_SNR):
        raise ValueError(
            f"A coefficient of an image exceeds its noise {float(largest):.3g} times, more than {LARGEST_SNR:.0f}:"
            " exact sums cannot hold it; check the image, or run without deterministic mode."
        )


def to_words(values: Tensor) -> Tensor:
    """Float64 ``values [...]`` as int64 words ``[4, ...]``, exact to 2^-107."""
    left = values.double()
    words = []
    for quantum in _WORD_QUANTA:
        word = torch.trunc(left / quantum)
        left = left - word * quantum
        words.append(word.long())
    return torch.stack(words)


def from_words(words: Tensor) -> Tensor:
    """Float64 ``[...]`` from (sums of) words ``[4, ...]``."""
    parts = [word.double() * quantum for word, quantum in zip(words, _WORD_QUANTA, strict=True)]
    total: Tensor = ((parts[3] + parts[2]) + parts[1]) + parts[0]
    return total


class FixedAccumulator(SliceAccumulator):
    """A `SliceAccumulator` whose sums are whole numbers of quanta: any order of slices gives the same bits.

    ``data`` is int64 ``[3, cells]``; ``quanta`` are those of the numerator and of the weight.
    """

    def __init__(self, max_radius: int, quanta: tuple[float, float], data: Tensor, padding: int = PADDING) -> None:
        """Start from zero, in ``data``."""
        super().__init__(max_radius, padding, data=data)
        self._per_quantum = (1.0 / quanta[0], 1.0 / quanta[0], 1.0 / quanta[1])

    def _scatter(self, cell: Corners, numerator: Tensor, weight: Tensor) -> None:
        index = cell.index.long()
        parts = numerator.real, numerator.imag * cell.sign, weight
        values = [part * factor for part, factor in zip(parts, self._per_quantum, strict=True)]
        offsets = [offset for _, _, dx, offset in corner_offsets(self.shape[2] - 1) if dx == 0]
        for across, offset in zip(weights_across_x(cell), offsets, strict=True):
            upper = across * cell.x
            for share, start in ((across.sub_(upper), offset), (upper, offset + 1)):
                for sums, value in zip(self.data, values, strict=True):
                    sums[start:].scatter_add_(0, index, (share * value).round_().long())
