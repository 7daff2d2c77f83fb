"""The first estimate of the noise: the mean power of the masked images, less that of their average."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cryorepro.em.devices.ranks import ALONE, Ranks
from cryorepro.em.fixed_point import from_words, to_words
from cryorepro.em.fourier import image_shell_power, shell_pixel_counts
from cryorepro.em.imageset import ImageSet, Poses
from cryorepro.em.masks import mask_images
from cryorepro.em.parallel import map_in_order
from cryorepro.em.preparation import shift_whole_pixels

_CHUNK = 250
_FLOOR = 1e-3


def initial_noise(
    images: ImageSet,
    poses: Poses,
    mask: Tensor,
    workers: int,
    limit_per_group: int = 1000,
    index: Tensor | None = None,
    ranks: Ranks = ALONE,
) -> Tensor:
    """Noise variance per component ``[groups, box / 2 + 1]`` float64, as RELION starts from.

    Uses the first ``limit_per_group`` particles of every noise group, of those at ``index`` alone if it is given, and
    every coefficient that is stored. A group without any of them has the spectrum of all.
    Where the average image outweighs the mean power of a group's images the value of the shell before is taken.
    Works on the device of ``mask``; of several ``ranks`` each does some of the chunks, and sums do not depend on which.
    """
    device = mask.device
    chosen = _first_of_each_group(images, limit_per_group, index)
    shells = images.box_px // 2 + 1

    def task(number: int) -> tuple[np.ndarray, np.ndarray]:
        index = chosen[(mine.start + number) * _CHUNK : (mine.start + number + 1) * _CHUNK]
        shift = poses.origin_px[index].round().long().to(device)
        masked = mask_images(shift_whole_pixels(images.read(index).to(device), shift), mask)
        power = torch.zeros(images.noise_groups, shells, dtype=torch.float64, device=device)
        power.index_add_(0, images.noise_group[index].to(device), image_shell_power(masked, every_stored=True).double())
        return to_words(power).cpu().numpy(), to_words(masked.sum(dim=0, dtype=torch.float64)).cpu().numpy()

    mine = ranks.share(-(-chosen.shape[0] // _CHUNK))
    power_words = to_words(torch.zeros(images.noise_groups, shells))
    average_words = to_words(torch.zeros(images.box_px, images.box_px))
    for of_groups, total in map_in_order(task, len(mine), workers if device.type == "cpu" else 1):
        power_words += torch.from_numpy(of_groups)
        average_words += torch.from_numpy(total)
    power, average = (from_words(ranks.sum_(words)) for words in (power_words, average_words))
    pixels = 2.0 * shell_pixel_counts(images.box_px, every_stored=True).double()
    members = torch.bincount(images.noise_group[chosen], minlength=images.noise_groups).double()
    signal = image_shell_power((average / chosen.shape[0])[None], every_stored=True)[0] / pixels
    mean = (
        torch.where((members > 0)[:, None], power / members.clamp(min=1.0)[:, None], power.sum(dim=0) / members.sum())
        / pixels
    )
    return positive_spectra(mean - signal, mean)


def positive_spectra(spectra: Tensor, scale: Tensor) -> Tensor:
    """``spectra [g, s]`` with values that are not well above zero replaced by their neighbour's.

    ``scale`` is what each value is measured against. The origin, which no likelihood uses, takes shell 1's value.
    """
    out = spectra.clone()
    for shell in range(1, out.shape[1]):
        poor = out[:, shell] <= _FLOOR * scale[:, shell]
        before = out[:, shell - 1] if shell > 1 else scale[:, shell]
        out[:, shell] = torch.where(poor, before, out[:, shell])
    out[:, 0] = torch.where(out[:, 0] <= 0.0, out[:, 1], out[:, 0])
    return out


def _first_of_each_group(images: ImageSet, limit: int, index: Tensor | None) -> Tensor:
    every = torch.arange(len(images)) if index is None else index
    group_of = images.noise_group[every]
    return torch.cat([every[group_of == group][:limit] for group in range(images.noise_groups)])
