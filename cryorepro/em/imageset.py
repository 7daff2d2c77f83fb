"""What the expectation step is given: the images with their optics, and where each particle was last found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryorepro.em.ctf import CtfParameters

Indices = Sequence[int] | NDArray[np.int64]


class ImageSource(Protocol):
    """Anything that reads particle images by index (a memory-mapped stack, an array)."""

    def read(self, indices: Indices) -> NDArray[np.float32]:
        """Images float32 ``[len(indices), box, box]`` in the order asked for."""


@dataclass(frozen=True)
class ArraySource:
    """Images ``[n, box, box]`` that are already in memory."""

    images: NDArray[np.float32]

    def read(self, indices: Indices) -> NDArray[np.float32]:
        """The images at ``indices``."""
        chosen: NDArray[np.float32] = self.images[np.asarray(indices)]
        return chosen


@dataclass(frozen=True)
class TensorSource:
    """Images ``[n, box, box]``, float16 or float32, that are already on a device and stay there."""

    images: Tensor

    def read(self, indices: Indices) -> NDArray[np.float32]:
        """The images at ``indices``, brought to the CPU."""
        return np.asarray(self.tensor(torch.from_numpy(np.asarray(indices))).cpu().numpy())

    def tensor(self, indices: Tensor) -> Tensor:
        """The images at ``indices``, float32, where they are."""
        return self.images[indices.to(self.images.device)].float()


@dataclass(frozen=True)
class ImageSet:
    """n particle images of one box and pixel size.

    Attributes:
        source: where pixels come from.
        box_px: even box size.
        pixel_size_angstrom: the same for all.
        ctf: per-particle optics, ``[n]`` each.
        noise_group: ``[n]`` int64, which noise spectrum applies (RELION: optics group).
        scale_group: ``[n]`` int64, which intensity scale applies (RELION: micrograph).
    """

    source: ImageSource
    box_px: int
    pixel_size_angstrom: float
    ctf: CtfParameters
    noise_group: Tensor
    scale_group: Tensor

    def __len__(self) -> int:
        """Number of particles."""
        return int(self.noise_group.shape[0])

    @property
    def noise_groups(self) -> int:
        """Number of noise spectra."""
        return int(self.noise_group.max()) + 1

    @property
    def scale_groups(self) -> int:
        """Number of intensity scales."""
        return int(self.scale_group.max()) + 1

    def read(self, indices: Tensor) -> Tensor:
        """Images ``[b, box, box]`` float32 of the particles at ``indices``; on the CPU but for a `TensorSource`."""
        if isinstance(self.source, TensorSource):
            return self.source.tensor(indices)
        # clone: torch's own memory is aligned, so a product's bits do not depend on where numpy put its copy
        return torch.from_numpy(self.source.read(indices.numpy())).clone()


@dataclass(frozen=True)
class Poses:
    """The state of n particles after an iteration.

    Attributes:
        euler_deg: ``[n, 3]`` float64 (rot, tilt, psi).
        origin_px: ``[n, 2]`` float64 (x, y), the shift that centres the particle.
        class_index: ``[n]`` int64, from 0.
        max_probability: ``[n]`` float64, the posterior of the best sample.
        log_likelihood: ``[n]`` float64.
        significant: ``[n]`` int64, coarse samples that went on to the fine pass.
        norm: ``[n]`` float64, residual deviation of the image, RELION's rlnNormCorrection.
    """

    euler_deg: Tensor
    origin_px: Tensor
    class_index: Tensor
    max_probability: Tensor
    log_likelihood: Tensor
    significant: Tensor
    norm: Tensor

    @classmethod
    def start(cls, count: int, origin_px: Tensor | None = None, euler_deg: Tensor | None = None) -> Poses:
        """Poses before the first iteration; origins and angles from an earlier job may be given."""
        zeros = torch.zeros(count, dtype=torch.float64)
        whole = torch.zeros(count, dtype=torch.int64)
        origin = torch.zeros(count, 2, dtype=torch.float64) if origin_px is None else origin_px.double()
        euler = torch.zeros(count, 3, dtype=torch.float64) if euler_deg is None else euler_deg.double()
        return cls(euler, origin, whole, zeros, zeros.clone(), whole.clone(), torch.ones_like(zeros))

    def select(self, index: Tensor) -> Poses:
        """The poses of the particles at ``index``."""
        return Poses(*(getattr(self, field.name)[index] for field in fields(self)))

    def updated(self, index: Tensor, part: Poses) -> Poses:
        """A copy in which the particles at ``index`` have the poses of ``part``."""
        merged = {field.name: getattr(self, field.name).clone() for field in fields(self)}
        for name, values in merged.items():
            values[index] = getattr(part, name)
        return replace(self, **merged)
