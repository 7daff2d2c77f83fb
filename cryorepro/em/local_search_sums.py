"""What the particles of a local search add up to beside the map, and their new poses, a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cryorepro.em.estep_sums import Arrays
from cryorepro.em.imageset import ImageSet, Poses
from cryorepro.em.local_search_pass import Group, Kept, LocalModel, LocalPosterior
from cryorepro.em.rotations import matrix_to_euler


class LocalSums:
    """Sums of one chunk over noise groups, scale groups and all particles, and the poses in the order they came."""

    def __init__(self, images: ImageSet, poses: Poses, local: LocalModel) -> None:
        """Start from zero."""
        self._images, self._poses, self._local = images, poses, local
        shells, double = images.box_px // 2 + 1, torch.float64
        self._in_shell = torch.nn.functional.one_hot(local.model.plane.shell, shells).double()
        self._sums = {
            "noise": torch.zeros(images.noise_groups, shells, dtype=double),
            "noise_count": torch.zeros(images.noise_groups, dtype=double),
            "product": torch.zeros(images.scale_groups, shells, dtype=double),
            "power": torch.zeros(images.scale_groups, shells, dtype=double),
            "offset": torch.zeros(1, dtype=double),
            "weight": torch.zeros(1, dtype=double),
        }
        self._states: list[Poses] = []

    def add(
        self,
        index: Tensor,
        group: Group,
        kept: Sequence[Kept],
        found: Sequence[LocalPosterior],
        signal_product: Tensor,
        reference_power: Tensor,
    ) -> None:
        """Add the particles at ``index [m]``; the last two ``[m, n]`` per pixel, without the intensity scales."""
        product, power = (values.double() @ self._in_shell for values in (signal_product, reference_power))
        scale = group.scale.double()[:, None]
        residual = (group.images.shell_power.double() - 2.0 * scale * product + scale**2 * power).cpu()
        product, power = product.cpu(), power.cpu()
        shifts = self._local.fine_shifts.cpu()
        noise, of_scale = self._images.noise_group[index], self._images.scale_group[index]
        self._sums["noise"].index_add_(0, noise, residual)
        self._sums["noise_count"].index_add_(0, noise, torch.ones(index.shape, dtype=torch.float64))
        self._sums["product"].index_add_(0, of_scale, product)
        self._sums["power"].index_add_(0, of_scale, power)
        for origin, post in zip(group.images.applied_origin.cpu(), found, strict=True):
            weights = post.weights.sum(dim=1, dtype=torch.float64).cpu()
            offsets = origin + shifts[post.shifts]
            self._sums["offset"] += weights @ offsets.square().sum(dim=1)
            self._sums["weight"] += weights.sum()
        self._states.append(self._state(index, group, kept, found, residual[:, 1:].sum(dim=1)))

    def _state(
        self, index: Tensor, group: Group, kept: Sequence[Kept], found: Sequence[LocalPosterior], residual: Tensor
    ) -> Poses:
        grid, model, images = self._local.grid, self._local.model, group.images
        row, shift = torch.tensor([post.best for post in found]).unbind(1)
        every = grid.fine_matrices(row // grid.children).reshape(-1, grid.children, 3, 3)
        power = (images.masked.abs().square() * images.inverse_sigma2).sum(dim=1, dtype=torch.float64).cpu()
        evidence = torch.tensor([post.log_evidence for post in found], dtype=torch.float64)
        norm = self._poses.norm[index] / model.preparation.average_norm * (2.0 * residual).clamp(min=0.0).sqrt()
        return Poses(
            euler_deg=matrix_to_euler(every[torch.arange(row.shape[0]), row % grid.children]),
            origin_px=images.applied_origin.cpu() + self._local.fine_shifts.cpu()[shift],
            class_index=torch.zeros(row.shape[0], dtype=torch.int64),
            max_probability=torch.tensor([post.max_probability for post in found], dtype=torch.float64),
            log_likelihood=evidence - 0.5 * power - images.log_normaliser.cpu(),
            significant=torch.tensor([int(part.pairs.sum()) for part in kept]),
            norm=norm,
        )

    def arrays(self) -> Arrays:
        """The sums as numpy arrays."""
        return {name: value.numpy() for name, value in self._sums.items()}

    def poses(self) -> Poses:
        """Poses of all particles added so far."""
        return joined_poses(self._states)


def joined_poses(parts: Sequence[Poses]) -> Poses:
    """Poses of several parts, one after the other."""
    merged = {name: torch.cat([getattr(part, name) for part in parts]) for name in Poses.__dataclass_fields__}
    return Poses(**merged)
