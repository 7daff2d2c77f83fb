"""The work of a 2D classification's expectation step on one chunk of particles, block by block."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from cryorepro.em.class2d_coarse import CoarseTable, coarse_pass
from cryorepro.em.class2d_fine import RowSums, fine_samples, groups_of
from cryorepro.em.class2d_grid import PlaneModel
from cryorepro.em.class2d_totals import GRID, empty_plane_sums
from cryorepro.em.coarse_samples import Significant
from cryorepro.em.ctf import ctf_phase
from cryorepro.em.estep_sums import Arrays, poses_to_arrays
from cryorepro.em.expectation_tasks import image_blocks, joined_poses
from cryorepro.em.fine_batch import batches_of
from cryorepro.em.fine_grid import FineSamples
from cryorepro.em.fine_pass import Posterior, posterior
from cryorepro.em.fixed_point import check_bound
from cryorepro.em.imageset import ImageSet, Poses
from cryorepro.em.preparation import Prepared, prepare


class PlaneChunk:
    """One chunk of particles and its sums."""

    def __init__(self, images: ImageSet, poses: Poses, model: PlaneModel, coarse: CoarseTable, index: Tensor) -> None:
        """The chunk of the particles at ``index``, before any work."""
        self._images, self._poses, self._model, self._coarse, self._index = images, poses, model, coarse, index
        device = model.device
        self._grids = torch.zeros(model.grids[0].numel(), 3, model.classes, device=device)
        self._sums = {name: value.to(device) for name, value in empty_plane_sums(model, images).items()}
        self._in_shell = torch.nn.functional.one_hot(model.plane.shell, images.box_px // 2 + 1).double()
        self._class_offset = model.class_offset_px.to(device)

    def run(self) -> tuple[Arrays, Arrays]:
        """The sums and the new poses of the chunk, ready to be sent to the parent."""
        blocks = image_blocks(self._images, self._index, self._model.plan.block_particles)
        states = [self._block(index, pixels) for index, pixels in blocks]
        return self._arrays(), poses_to_arrays(joined_poses(states))

    def _block(self, index: Tensor, pixels: Tensor) -> Poses:
        model, images = self._model, self._images
        prepared = prepare_plane(images, self._poses, index, model, pixels)
        if model.quanta is not None:
            check_bound(prepared)
        scale = model.scale[images.scale_group[index]].float().to(model.device)
        significant = coarse_pass(model, self._coarse, prepared, scale)
        states = []
        for group in groups_of(model, significant):
            own = slice(group[0], group[-1] + 1)
            states.append(self._group(index[own], _rows_of(prepared, own), scale[own], significant[own]))
        return joined_poses(states)

    def _group(self, index: Tensor, images: Prepared, scale: Tensor, significant: list[Significant]) -> Poses:
        """Posteriors of some images, and what they add to the sums."""
        model = self._model
        needed = torch.unique(torch.cat([one.rows for one in significant]))
        rows = RowSums.of(fine_samples(model, needed))
        powers, found = rows.powers(model, images, scale), _Found(len(significant), model.device)
        products = torch.zeros_like(images.ctf)
        totals = torch.zeros_like(powers)
        for batch in batches_of(rows.grid, significant, model.plan.numbers_per_batch):
            at, own = batch.members, images.select(batch.members)
            post = posterior(model, rows.grid, batch, own, scale[at], powers[at])
            products[at] = rows.add_images(own, scale[at], post, model.plan.numbers_at_most)
            # padding repeats rows, but with no weight
            totals[at] = totals[at].scatter_add(1, post.rows, post.weights.sum(dim=1))
            self._add_offsets(rows.grid, own, post)
            found.add(at, post)
        power = rows.add_weights(images, scale, totals)
        residual = self._add_residuals(images, scale, index, products, power)
        rows.spread(model, needed, self._grids)
        return self._new_poses(index, images, significant, needed, found, residual)

    def _add_offsets(self, grid: FineSamples, images: Prepared, post: Posterior) -> None:
        """Add weights and mean offsets, per class, of a batch."""
        sums, weights = self._sums, post.weights.double()
        number = grid.class_of[torch.div(post.rows, grid.children, rounding_mode="floor")]
        offsets = images.applied_origin[:, None] + grid.shifts[post.shifts]
        per_class = torch.zeros(*offsets.shape[:2], self._model.classes, dtype=torch.float64, device=weights.device)
        per_class.scatter_add_(2, number[:, None].expand(weights.shape), weights)
        sums["class"] += per_class.sum(dim=(0, 1))[:, None]
        sums["class_offset"] += torch.einsum("gsk,gsx->kx", per_class, offsets)
        away = ((offsets[:, :, None] - self._class_offset) ** 2).sum(dim=-1)
        sums["offset"] += (per_class * away).sum()

    def _add_residuals(
        self, images: Prepared, scale: Tensor, index: Tensor, products: Tensor, powers: Tensor
    ) -> Tensor:
        """Add what the model leaves of the images at ``index [b]``, by shell; returns ``[b, shells]``.

        ``products [b, n]`` are those of image and model, ``powers [b, n]`` the model's.
        """
        sums, device = self._sums, scale.device
        product, power = products.double() @ self._in_shell, powers.double() @ self._in_shell
        factor = scale.double()[:, None]
        residual = images.shell_power.double() - 2.0 * factor * product + factor**2 * power
        noise = self._images.noise_group[index].to(device)
        group = self._images.scale_group[index].to(device)
        sums["noise"].index_add_(0, noise, residual)
        sums["noise_count"].index_add_(0, noise, torch.ones_like(scale, dtype=torch.float64))
        sums["product"].index_add_(0, group, product)
        sums["power"].index_add_(0, group, power)
        return residual

    def _new_poses(
        self,
        index: Tensor,
        images: Prepared,
        significant: list[Significant],
        needed: Tensor,
        found: _Found,
        residual: Tensor,
    ) -> Poses:
        model, children = self._model, self._model.sampling.children
        row = found.row.cpu()
        coarse = needed[torch.div(row, children, rounding_mode="floor")]
        angle = coarse % model.sampling.rows_per_class * children + row % children
        psi = model.sampling.fine_psi_deg()[angle] + 180.0 * found.turned.cpu()
        euler = torch.zeros(row.shape[0], 3, dtype=torch.float64)
        euler[:, 2] = (psi + 180.0) % 360.0 - 180.0
        inverse = images.inverse_sigma2[:, 1:]  # the first pixel is the origin
        power = (images.masked[:, 1:].abs().square() * inverse).sum(dim=1, dtype=torch.float64)
        normaliser = -torch.log(inverse.double() / (2.0 * torch.pi)).sum(dim=1)
        before = self._poses.norm[index] / model.preparation.average_norm
        spread = (2.0 * residual[:, 1:].sum(dim=1)).clamp(min=0.0).sqrt()
        return Poses(
            euler_deg=euler,
            origin_px=images.applied_origin.cpu() + model.sampling.fine_shifts()[found.shift.cpu()],
            class_index=coarse // model.sampling.rows_per_class,
            max_probability=found.probability.cpu(),
            log_likelihood=(found.evidence - 0.5 * power - normaliser).cpu(),
            significant=torch.tensor([particle.samples for particle in significant]),
            norm=before * spread.cpu(),
        )

    def _arrays(self) -> Arrays:
        grids = self._grids.permute(2, 1, 0).contiguous().cpu()
        used = grids[:, 2].any(dim=1).nonzero()[:, 0]
        arrays = {f"{GRID}{number}": grids[number].numpy() for number in used.tolist()}
        return arrays | {name: value.cpu().numpy() for name, value in self._sums.items()}


class _Found:
    """The best sample of each particle of a group."""

    def __init__(self, count: int, device: torch.device) -> None:
        self.row, self.turned, self.shift = torch.zeros(3, count, dtype=torch.int64, device=device).unbind()
        self.probability, self.evidence = torch.zeros(2, count, dtype=torch.float64, device=device).unbind()

    def add(self, at: Tensor, post: Posterior) -> None:
        """The particles at ``at`` of the group."""
        self.row[at], self.turned[at], self.shift[at] = post.best_row, post.best_turned.long(), post.best_shift
        self.probability[at], self.evidence[at] = post.max_probability, post.log_evidence


def _rows_of(images: Prepared, own: slice) -> Prepared:
    return Prepared(*(getattr(images, name)[own] for name in Prepared.__dataclass_fields__))


def prepare_plane(
    images: ImageSet, poses: Poses, index: Tensor, model: PlaneModel, pixels: Tensor | None = None
) -> Prepared:
    """`prepare`, with the CTF taken as 1 up to its first peak if the model says so."""
    prepared, how = prepare(images, poses, index, model.preparation, pixels), model.preparation
    if not (model.intact_first_peak and how.correct_ctf):
        return prepared
    optics, plane = images.ctf.select(index).to(model.device), how.plane
    phases = ctf_phase(optics, plane.kx, plane.ky, images.box_px, images.pixel_size_angstrom)
    return replace(prepared, ctf=torch.where(phases.abs() < torch.pi / 2.0, 1.0, prepared.ctf))
