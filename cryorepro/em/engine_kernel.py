"""A refinement step in small, to be timed: project, score, assign, insert.

It does what an expectation-maximisation step does, with the package's own operators, over a fixed set of
orientations and no translations. Its results are checked by their own meaning (the best orientation of an image
projected from the reference is the one it was projected from), its times say how fast a machine does such work.
Scheres 2012, J. Mol. Biol. 415, 406, equations 5 and 8 are what ``score`` and ``marginal`` compute for white noise.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cryorepro.em.fourier import HalfPlane, half_plane, image_coefficients
from cryorepro.em.projection import Projector
from cryorepro.em.reconstruction import SliceAccumulator


@dataclass
class StepTimes:
    """Seconds of each part of a step."""

    parts: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, began: float, device: torch.device) -> float:
        """Count what passed since ``began`` to ``name``; the time now."""
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        now = time.perf_counter()
        self.parts[name] = self.parts.get(name, 0.0) + now - began
        return now


class EngineStep:
    """One reference ``[n, n, n]``, orientations ``[r, 3, 3]``, and sums over inserted images.

    Args:
        padding: of the reference's and the sums' grids, 1 or 2.
        marginal: weigh every orientation of an image instead of taking the best.
        symmetry: ``[s, 3, 3]`` operators under each of which an image is inserted.
    """

    def __init__(
        self, reference: Tensor, matrices: Tensor, padding: int, marginal: bool, symmetry: Tensor, noise_sigma: float
    ) -> None:
        box = reference.shape[-1]
        self.device = reference.device
        self.plane: HalfPlane = half_plane(box, box // 2 - 1).to(self.device)
        self.matrices = matrices.to(self.device, torch.float32)
        self.marginal = marginal
        self.symmetry = symmetry.to(self.device, torch.float32)
        self.projector = Projector(reference, box // 2, padding)
        self.sums = SliceAccumulator(box // 2, padding, device=self.device)
        # image_coefficients are divided by the number of pixels; white noise of sigma has this power in each
        self.noise_power = noise_sigma**2 / (box * box)

    def step(self, images: Tensor, times: StepTimes) -> Tensor:
        """Add ``images [b, n, n]`` to the sums; the index ``[b]`` of each image's best orientation."""
        now = time.perf_counter()
        data = image_coefficients(images, self.plane)
        now = times.add("transform", now, self.device)
        slices = self.projector.slices(self.matrices, self.plane)
        now = times.add("project", now, self.device)
        scores = score(data, slices, self.noise_power)
        now = times.add("score", now, self.device)
        best = scores.argmax(dim=1)
        weights = marginal_weights(scores) if self.marginal else None
        now = times.add("assign", now, self.device)
        self._insert(data, best, weights)
        times.add("insert", now, self.device)
        return best

    def _insert(self, data: Tensor, best: Tensor, weights: Tensor | None) -> None:
        if weights is None:
            numerator, counts, matrices = data, torch.ones_like(data.real), self.matrices[best]
        else:
            used = (weights > _SMALLEST_WEIGHT).any(dim=0).nonzero()[:, 0]
            shares = weights[:, used]
            numerator = shares.T.to(data.dtype) @ data
            counts = shares.sum(dim=0)[:, None].expand_as(numerator.real)
            matrices = self.matrices[used]
        for operator in self.symmetry:
            self.sums.insert(numerator, counts, matrices @ operator, self.plane)


_SMALLEST_WEIGHT = 1e-3
"""Orientations that hold less of every image are not inserted."""


def score(data: Tensor, slices: Tensor, noise_power: float) -> Tensor:
    """Logarithm of the likelihood ``[b, r]`` of images ``[b, n]`` given slices ``[r, n]``, up to a constant.

    ``-sum |X - P|^2 / (2 sigma^2)`` over real and imaginary parts, the image's own power left out.
    """
    left = torch.view_as_real(data).flatten(1)
    right = torch.view_as_real(slices).flatten(1)
    return (left @ right.T - 0.5 * right.square().sum(dim=1)) / (0.5 * noise_power)


def marginal_weights(scores: Tensor) -> Tensor:
    """Probability ``[b, r]`` of each orientation, under equal priors."""
    return torch.softmax(scores, dim=1)
