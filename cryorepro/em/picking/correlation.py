"""Locally normalised cross-correlation of an image with templates, by FFT.

At every place the part of the image under a round support is brought to mean 0 and length 1 before it is
multiplied with the template, which has both already: the coefficient lies between -1 and 1 whatever the local
contrast (Roseman, Ultramicroscopy 94 (2003) 225, equations 1 to 4). Pixels outside the image, or marked unusable,
stand at the mean of the usable ones under the support: they neither help nor hurt a template's shape.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from scipy import fft
from torch import Tensor

_LEAST_VARIANCE = 1e-9
AT_ONCE = {"cpu": 4, "cuda": 64}
"""Templates that are correlated together: on the CPU so many that intermediate images stay in a core's cache."""


@dataclass(frozen=True)
class Field:
    """An image's statistics under one round support, ready to be correlated.

    Attributes:
        spectrum: ``rfft2`` of the image, padded, unusable pixels filled, moved by the templates' origin pixel.
        inverse_length: ``[rows, columns]`` one over the length of the centred part under the support.
        variance: ``[rows, columns]`` of the part under the support.
        coverage: ``[rows, columns]`` share of the support that lies on usable pixels.
        padded: sides of the padded image.
    """

    spectrum: Tensor
    inverse_length: Tensor
    variance: Tensor
    coverage: Tensor
    padded: tuple[int, int]

    def correlate(self, templates: Tensor) -> Tensor:
        """Coefficients ``[k, rows, columns]`` of ``templates [k, n, n]`` (mean 0 and length 1 under the support).

        A template's origin pixel is ``n // 2``; the value at a pixel is for the template's origin there.
        """
        rows, columns = self.inverse_length.shape
        kernel = torch.fft.rfft2(templates, s=self.padded).conj()
        found: Tensor = torch.fft.irfft2(self.spectrum * kernel, s=self.padded)[..., :rows, :columns]
        return found * self.inverse_length


def make_field(image: Tensor, usable: Tensor, support: Tensor) -> Field:
    """Statistics of ``image [rows, columns]`` under ``support [n, n]`` of zeros and ones; ``usable`` is boolean."""
    rows, columns = image.shape
    side = support.shape[-1]
    padded = (fft.next_fast_len(rows + side, real=True), fft.next_fast_len(columns + side, real=True))
    whole = torch.zeros(padded, dtype=image.dtype, device=image.device)
    whole[:side, :side] = support
    disc = torch.fft.rfft2(torch.roll(whole, (-(side // 2), -(side // 2)), dims=(0, 1))).conj()
    count = float(support.sum())

    def under(values: Tensor) -> Tensor:
        found: Tensor = torch.fft.irfft2(torch.fft.rfft2(values, s=padded) * disc, s=padded)
        return found

    valid = torch.zeros(padded, dtype=image.dtype, device=image.device)
    valid[:rows, :columns] = usable.to(image.dtype)
    known = torch.zeros_like(valid)
    known[:rows, :columns] = torch.where(usable, image, torch.zeros_like(image))
    covered = under(valid)
    # half a pixel of support is rounding, not cover
    mean = torch.where(covered > 0.5, under(known) / covered.clamp(min=0.5), torch.zeros_like(covered))
    filled = torch.where(valid > 0, known, mean)
    sums, squares = under(filled), under(filled.square())
    variance = (squares / count - (sums / count).square()).clamp(min=_LEAST_VARIANCE)[:rows, :columns]
    inverse = (variance * count).rsqrt()
    # the image is moved once, so that no template has to be
    spectrum = torch.fft.rfft2(torch.roll(filled, (side // 2, side // 2), dims=(0, 1)))
    return Field(spectrum, inverse, variance, (covered / count).clamp(0.0, 1.0)[:rows, :columns], padded)


def normalised(templates: Tensor, support: Tensor) -> Tensor:
    """Templates ``[k, n, n]`` of mean 0 and length 1 under ``support [n, n]``, and 0 outside."""
    count = support.sum()
    centred = (templates - (templates * support).sum(dim=(-2, -1), keepdim=True) / count) * support
    return centred / centred.square().sum(dim=(-2, -1), keepdim=True).sqrt().clamp(min=_LEAST_VARIANCE)


def best_of(field: Field, templates: Iterable[Tensor], at_once: int = AT_ONCE["cpu"]) -> tuple[Tensor, Tensor]:
    """Highest coefficient at every pixel over all templates (in chunks ``[k, n, n]``), and the template's number."""
    value = torch.full_like(field.inverse_length, -1.0)
    which = torch.zeros(value.shape, dtype=torch.int64, device=value.device)
    start = 0
    for part in (part for chunk in templates for part in torch.tensor_split(chunk, -(-len(chunk) // at_once))):
        top, index = field.correlate(part.to(value)).max(dim=0)
        better = top > value
        value = torch.where(better, top, value)
        which = torch.where(better, index + start, which)
        start += len(part)
    return value, which
