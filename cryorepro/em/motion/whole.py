"""Shifts of whole frames: correlation peaks with few frequencies first, then gradient steps with all of them."""

from __future__ import annotations

import torch
from torch import Tensor

from cryorepro.em.motion.reduced import taper
from cryorepro.em.motion.scoring import Band, narrowed, own_power, phases, pulls, solve

_COARSE_SIDE = 256
_COARSE_ROUNDS = 5
_STAGES = ((16.0, 2), (4.0, 2), (1.0, 4))
"""Factors of the B-factor, and rounds with each: a wide peak first."""
_DONE_PX = 0.005
_STEP_PX = 6.0
_PRIOR_DEVIATIONS = 8.0
"""By so many deviations of the noise must a peak at the largest shift stand out more than one without a shift."""


def align_whole(reduced: Tensor, factor: int, bfactor_px2: float, lowest: float, largest_px: float) -> Tensor:
    """Return shifts ``[frames, 2]`` (x, y) in pixels of full frames, 0 for the first one; on the CPU.

    Args:
        reduced: ``[frames, h, w]`` small frames of mean 0.
        factor: by which they are binned.
        bfactor_px2: of one frame, in full pixels squared.
        lowest: frequencies below this, in cycles per full pixel, count little.
        largest_px: no frame is moved further than this from the middle one's place.
    """
    (height, width), device = reduced.shape[1:], reduced.device
    window = taper(height, height // 12, device)[:, None] * taper(width, width // 12, device)
    band = Band.of(height, width, factor, 0.5 / factor, device)
    spectra = torch.stack([band.transform(image * window) for image in reduced])
    shifts = _coarse(spectra, band, factor, bfactor_px2, lowest, largest_px)
    for broader, rounds in _STAGES:
        part, used = narrowed(spectra, band, bfactor_px2 * broader)
        weight, power = used.weight(bfactor_px2 * broader, lowest), own_power(part)
        for _ in range(rounds):
            steps = solve(*pulls(part, power, shifts, weight, used), longest_px=_STEP_PX)
            shifts = shifts + steps
            if float(steps.abs().max()) < _DONE_PX:
                break
    return shifts - shifts[0]


def _coarse(spectra: Tensor, band: Band, factor: int, bfactor_px2: float, lowest: float, largest_px: float) -> Tensor:
    """Place every frame at the peak of its correlation with the others, over the whole range of shifts."""
    limit = 0.5 / factor * min(1.0, _COARSE_SIDE / max(band.size))
    keep = torch.nonzero(band.fy.abs() < limit)[:, 0]
    columns = int((band.fx < limit).sum())
    used = Band(band.fy[keep], band.fx[:columns], band.rows[keep], band.size)
    few = spectra[:, keep, :columns]
    weight = used.weight(max(bfactor_px2, 1.0 / (2.0 * limit**2)), lowest)
    weight[:, 1:] *= 0.5
    high, wide = len(keep) + 1 - len(keep) % 2, 2 * columns - 1
    shifts = torch.zeros(len(spectra), 2, dtype=torch.float64)
    step = torch.tensor([band.size[1] * factor / wide, band.size[0] * factor / high], dtype=torch.float64)
    for _ in range(_COARSE_ROUNDS):
        moved = few * (phases(used.fy, shifts[:, 1])[:, :, None] * phases(used.fx, shifts[:, 0])[:, None, :])
        product = moved.conj() * (moved.sum(dim=0) - moved) * weight
        images = torch.fft.irfft2(product, s=(high, wide))
        found = _peaks(images, step, largest_px)
        shifts = shifts + found
        shifts = (shifts - shifts[len(shifts) // 2]).clamp(-largest_px, largest_px)
        if float(found.abs().max()) < 0.05 * float(step.min()):
            break
    return shifts


def _peaks(images: Tensor, step_px: Tensor, largest_px: float) -> Tensor:
    """Return the places ``[n, 2]`` (x, y) in pixels of the highest points, a parabola's top along each axis.

    Looked for on the images' device, returned on the CPU.
    """
    (count, high, wide), device = images.shape, images.device
    reach_y = min(int(largest_px / float(step_px[1])) + 1, (high - 3) // 2)
    reach_x = min(int(largest_px / float(step_px[0])) + 1, (wide - 3) // 2)
    centred = torch.fft.fftshift(images, dim=(1, 2))
    middle_y, middle_x = high // 2, wide // 2
    # in units of the map's noise; a peak far out must stand out more than one near by, as it is less likely
    y_px = (torch.arange(high, device=device) - middle_y) * float(step_px[1])
    x_px = (torch.arange(wide, device=device) - middle_x) * float(step_px[0])
    far = (y_px[:, None] ** 2 + x_px**2) * (_PRIOR_DEVIATIONS / largest_px**2)
    centred = centred / centred.std(dim=(1, 2), keepdim=True).clamp(min=1e-20) - far
    inner = centred[
        :, middle_y - reach_y : middle_y + reach_y + 1, middle_x - reach_x : middle_x + reach_x + 1
    ].reshape(count, -1)
    best = inner.argmax(dim=1)
    y = best // (2 * reach_x + 1) - reach_y + middle_y
    x = best % (2 * reach_x + 1) - reach_x + middle_x
    every = torch.arange(count, device=device)
    top = centred[every, y, x]
    tops = [
        _top(centred[every, y, x - 1], top, centred[every, y, x + 1]) + x - middle_x,
        _top(centred[every, y - 1, x], top, centred[every, y + 1, x]) + y - middle_y,
    ]
    return torch.stack(tops, dim=1).cpu() * step_px


def _top(before: Tensor, at: Tensor, after: Tensor) -> Tensor:
    bend = (before - 2 * at + after).double()
    found = 0.5 * (before - after).double() / torch.where(bend < 0, bend, -torch.ones_like(bend))
    return torch.where(bend < 0, found, torch.zeros_like(found)).clamp(-0.5, 0.5)
