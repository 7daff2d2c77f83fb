"""Two jobs on maps and micrographs: cross-validated filters of non-uniform refinement, and template picking."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryorepro.workflow.bench.processor import wait
from cryorepro.workflow.bench.rounds import Task, Timing
from cryorepro.workflow.bench.sizes import Sizes

if TYPE_CHECKING:
    from torch import Tensor

_CUTOFFS = 8
_TEMPLATES = 10
_ORDER = 8.0
"""Butterworth order of the candidate filters."""


def map_tasks(sizes: Sizes, device: str) -> list[Task]:
    """One task each, in torch on ``device``."""
    import torch

    box, side = sizes.fsc_box_px, sizes.movie_px
    generator = torch.Generator().manual_seed(1)
    halves = [torch.randn(box, box, box, generator=generator).to(device) for _ in range(2)]
    micrograph = torch.randn(side, side, generator=generator).to(device)
    templates = torch.randn(_TEMPLATES, side // 16, side // 16, generator=generator).to(device)

    def filters() -> Timing:
        chosen = cross_validated_cutoffs(halves[0], halves[1], _CUTOFFS)
        wait(device)
        return Timing(checks={"cutoffs": int(chosen.max()) + 1})

    def pick() -> Timing:
        peaks = best_correlation(micrograph, templates)
        wait(device)
        return Timing(checks={"finite": bool(peaks.isfinite().all())})

    filter_work = {"box_px": box, "cutoffs": _CUTOFFS, "dtype": "float32"}
    pick_work = {"side_px": side, "templates": _TEMPLATES, "dtype": "float32"}
    return [
        Task("matched_cv_filter_estimation", "gpu", device, filter_work, filters, tags=("non-uniform",)),
        Task("picking", "gpu", device, pick_work, pick, tags=("picking", "templates")),
    ]


def cross_validated_cutoffs(half1: Tensor, half2: Tensor, count: int) -> Tensor:
    """Index ``[n, n, n]`` of the low-pass filter of one half map that predicts the other best around each voxel.

    Punjani, Zhang & Fleet 2020, Nat. Methods 17, 1214, equation 2: the squared error of the filtered half against
    the other half, both ways, averaged over a window that grows with the filter's wavelength, here a Gaussian of
    one wavelength.
    """
    import torch

    box = half1.shape[-1]
    radius = _radius(box).to(half1)
    transforms = [torch.fft.rfftn(half) for half in (half1, half2)]
    best = torch.full_like(half1, torch.inf)
    chosen = torch.zeros(half1.shape, dtype=torch.long, device=half1.device)
    for index in range(count):
        cutoff = 0.5 * (index + 1) / count
        low_pass = 1.0 / (1.0 + (radius / cutoff) ** (2.0 * _ORDER)).sqrt()
        window = torch.exp(-2.0 * (torch.pi * radius / cutoff) ** 2)
        error = torch.zeros_like(half1)
        for one, other in ((0, half2), (1, half1)):
            filtered = torch.fft.irfftn(transforms[one] * low_pass, s=half1.shape)
            squared = torch.fft.rfftn((filtered - other).square())
            error += torch.fft.irfftn(squared * window, s=half1.shape)
        better = error < best
        best = torch.where(better, error, best)
        chosen = torch.where(better, index, chosen)
    return chosen


def best_correlation(micrograph: Tensor, templates: Tensor) -> Tensor:
    """Largest correlation ``[n, n]`` over ``templates [t, m, m]`` at each pixel, by transforms of the whole image."""
    import torch

    shape = micrograph.shape
    transform = torch.fft.rfft2(micrograph)
    best = torch.full_like(micrograph, -torch.inf)
    for template in templates:
        product = transform * torch.fft.rfft2(template, s=shape).conj()
        best = torch.maximum(best, torch.fft.irfft2(product, s=shape))
    return best


def _radius(box_px: int) -> Tensor:
    """Distance from the origin, in cycles a pixel, of each coefficient of a half transform."""
    import torch

    full, half = torch.fft.fftfreq(box_px), torch.fft.rfftfreq(box_px)
    radius: Tensor = (full[:, None, None] ** 2 + full[None, :, None] ** 2 + half**2).sqrt()
    return radius
