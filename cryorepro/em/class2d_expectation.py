"""The expectation step of a 2D classification over all particles, in chunks whose sums are added in order.

Chunks have a fixed size, whatever the number of workers, and the parent adds their sums in float64 in chunk order: the
result has the same bits on one worker and on many.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryorepro.em.class2d_coarse import CoarseTable, Significant, coarse_pass, make_coarse_table, scored
from cryorepro.em.class2d_fine import (
    FineShifts,
    FineTable,
    Posterior,
    contribute,
    posterior,
    squared_distances,
)
from cryorepro.em.class2d_grid import PlaneModel
from cryorepro.em.ctf import ctf_phase
from cryorepro.em.estep_sums import Arrays, add_arrays, poses_from_arrays, poses_to_arrays
from cryorepro.em.expectation import Expectation
from cryorepro.em.imageset import ImageSet, Poses
from cryorepro.em.parallel import map_in_order
from cryorepro.em.preparation import Prepared, prepare

_SMALLEST_CHUNK = 128
_MOST_CHUNKS = 48
# Turned averages and their sums held at once, part of the definition of the last bits.
_TABLE_BYTES = 1 << 28
_BYTES_PER_COEFFICIENT = 24
# Images whose weights of every row are held at once.
_IMAGES_TOGETHER = 256


@dataclass(frozen=True)
class PlaneSums:
    """Results of one expectation step: those of `Expectation`, and those only a 2D classification has.

    Attributes:
        shared: poses, noise, scales; ``grids`` has one Hermitian ``[3, rows, columns]`` float64 per class, and
            ``direction_weight`` is ``[k, 1]``.
        class_offset: ``[k, 2]`` sum of the posterior mean of the offset of the particles of a class, in pixels.
    """

    shared: Expectation
    class_offset: Tensor


def plane_expectation(
    images: ImageSet, poses: Poses, model: PlaneModel, workers: int = 1, index: Tensor | None = None
) -> PlaneSums:
    """Run the expectation step over the particles at ``index`` (default: all)."""
    chosen = torch.arange(len(images)) if index is None else index
    size = max(_SMALLEST_CHUNK, -(-int(chosen.shape[0]) // _MOST_CHUNKS))
    chunks = torch.split(chosen, size)
    coarse, fine = make_coarse_table(model), FineShifts.of(model)
    _ = model.fine_turns  # made once, before workers are forked

    def task(number: int) -> tuple[Arrays, Arrays]:
        return _Chunk(images, poses, model, fine, chunks[number]).run(coarse)

    totals: Arrays = {}
    parts: list[Poses] = []
    for sums, state in map_in_order(task, len(chunks), workers):
        add_arrays(totals, sums)
        parts.append(poses_from_arrays(state))
    return _result(totals, parts, model)


class _Chunk:
    """The work on one chunk of particles, and its sums."""

    def __init__(self, images: ImageSet, poses: Poses, model: PlaneModel, fine: FineShifts, index: Tensor) -> None:
        self._images, self._poses, self._model, self._fine, self._index = images, poses, model, fine, index
        shells, count = images.box_px // 2 + 1, int(index.shape[0])
        columns = model.grids.shape[1] * model.grids.shape[2]
        self._grids: NDArray[np.float32] = np.zeros((3, columns, model.classes), dtype=np.float32)
        double = torch.float64
        self._sums = {
            "class": torch.zeros(model.classes, 1, dtype=double),
            "class_offset": torch.zeros(model.classes, 2, dtype=double),
            "noise": torch.zeros(images.noise_groups, shells, dtype=double),
            "noise_count": torch.zeros(images.noise_groups, dtype=double),
            "product": torch.zeros(images.scale_groups, shells, dtype=double),
            "power": torch.zeros(images.scale_groups, shells, dtype=double),
            "offset": torch.zeros(1, dtype=double),
        }
        self._residual = torch.zeros(count, dtype=double)
        self._found: list[Posterior] = []

    def run(self, coarse: CoarseTable) -> tuple[Arrays, Arrays]:
        """The sums and the new poses of the chunk, ready to be sent to the parent."""
        model, images = self._model, self._images
        prepared = prepare_plane(images, self._poses, self._index, model)
        scale = model.scale[images.scale_group[self._index]].float()
        significant = coarse_pass(model, coarse, prepared, scale)
        for rows in self._groups(significant):
            needed = torch.unique(torch.cat([significant[i].rows for i in rows]))
            table = FineTable(model, needed)
            for index in torch.split(torch.tensor(rows), _IMAGES_TOGETHER):
                self._group(table, prepared, scale, significant, index)
            table.spread(model, self._grids)
        return self._arrays(), poses_to_arrays(self._new_poses(prepared, significant))

    def _groups(self, significant: list[Significant]) -> list[list[int]]:
        """Consecutive particles whose fine rows fit in the table together."""
        per_row = _BYTES_PER_COEFFICIENT * len(self._model.plane) * self._model.sampling.children
        limit = max(1, _TABLE_BYTES // per_row)
        groups: list[list[int]] = [[]]
        needed = torch.empty(0, dtype=torch.int64)
        for i, particle in enumerate(significant):
            union = torch.unique(torch.cat([needed, particle.rows]))
            if groups[-1] and union.shape[0] > limit:
                groups.append([])
                union = torch.unique(particle.rows)
            groups[-1].append(i)
            needed = union
        return groups

    def _group(
        self, table: FineTable, prepared: Prepared, scale: Tensor, significant: list[Significant], index: Tensor
    ) -> None:
        """Posteriors of the images at ``index [b]``, and what they add to the sums and the table."""
        powers = table.powers(prepared, index, scale[index])
        products, totals = [], []
        for i, of_rows in zip(index.tolist(), powers, strict=True):
            image = (prepared, i, float(scale[i]))
            post = posterior(self._model, table, self._fine, image, significant[i], of_rows)
            product, total = contribute(table, self._fine, image, post)
            self._add(i, prepared, post)
            products.append(product)
            totals.append(total)
        per_row = torch.stack(totals)
        table.add_weights(prepared, index, scale[index], per_row)
        power = (per_row @ table.power) * prepared.ctf[index].square()
        self._add_residuals(prepared, scale, index, torch.stack(products), power)

    def _add(self, i: int, prepared: Prepared, post: Posterior) -> None:
        model, sums = self._model, self._sums
        number = post.rows // (model.sampling.rows_per_class * model.sampling.children)
        weights = post.weights.double()
        offsets = prepared.whole_origin[i] + self._fine.shifts[post.shifts]
        sums["class"].index_add_(0, number, weights.sum(dim=0)[:, None])
        sums["class_offset"].index_add_(0, number, weights.T @ offsets)
        sums["offset"] += (weights * squared_distances(offsets, model.class_offset_px)[:, number]).sum()
        self._found.append(post)

    def _add_residuals(
        self, prepared: Prepared, scale: Tensor, index: Tensor, products: Tensor, powers: Tensor
    ) -> None:
        """What the model leaves of the images at ``index [b]``, by shell.

        ``products [b, n]`` are those of image and model, ``powers [b, n]`` the model's.
        """
        sums, images = self._sums, self._images
        empty = torch.zeros(index.shape[0], sums["noise"].shape[1], dtype=torch.float64)
        product, power = (
            empty.clone().index_add_(1, self._model.plane.shell, part.double()) for part in (products, powers)
        )
        factor = scale[index].double()[:, None]
        residual = prepared.shell_power[index].double() - 2.0 * factor * product + factor**2 * power
        noise, group = images.noise_group[self._index[index]], images.scale_group[self._index[index]]
        sums["noise"].index_add_(0, noise, residual)
        sums["noise_count"].index_add_(0, noise, torch.ones(index.shape[0], dtype=torch.float64))
        sums["product"].index_add_(0, group, product)
        sums["power"].index_add_(0, group, power)
        self._residual[index] = residual[:, 1:].sum(dim=1)

    def _new_poses(self, prepared: Prepared, significant: list[Significant]) -> Poses:
        model, found = self._model, self._found
        rows = torch.tensor([post.best_row for post in found])
        turned = torch.tensor([post.best_turned for post in found])
        per_class = model.sampling.rows_per_class * model.sampling.children
        psi = model.sampling.fine_psi_deg()[rows % per_class] + 180.0 * turned
        euler = torch.zeros(len(found), 3, dtype=torch.float64)
        euler[:, 2] = (psi + 180.0) % 360.0 - 180.0
        inverse = scored(prepared.inverse_sigma2)
        power = (prepared.masked.abs().square() * inverse).sum(dim=1, dtype=torch.float64)
        normaliser = -torch.log(inverse[:, 1:].double() / (2.0 * torch.pi)).sum(dim=1)
        evidence = torch.tensor([post.log_evidence for post in found], dtype=torch.float64)
        before = self._poses.norm[self._index] / model.preparation.average_norm
        return Poses(
            euler_deg=euler,
            origin_px=prepared.whole_origin + self._fine.shifts[torch.tensor([post.best_shift for post in found])],
            class_index=rows // per_class,
            max_probability=torch.tensor([post.max_probability for post in found], dtype=torch.float64),
            log_likelihood=evidence - 0.5 * power - normaliser,
            significant=torch.tensor([int(particle.pairs.sum()) for particle in significant]),
            norm=before * (2.0 * self._residual).clamp(min=0.0).sqrt(),
        )

    def _arrays(self) -> Arrays:
        used = self._grids[2].any(axis=0).nonzero()[0]
        grids = {f"grid{number}": np.ascontiguousarray(self._grids[:, :, number]) for number in used.tolist()}
        return grids | {name: value.numpy() for name, value in self._sums.items()}


def prepare_plane(images: ImageSet, poses: Poses, index: Tensor, model: PlaneModel) -> Prepared:
    """`prepare`, with the CTF taken as 1 up to its first peak if the model says so."""
    prepared, how = prepare(images, poses, index, model.preparation), model.preparation
    if not (model.intact_first_peak and how.correct_ctf):
        return prepared
    optics, plane = images.ctf.select(index), how.plane
    phases = ctf_phase(optics, plane.kx, plane.ky, images.box_px, images.pixel_size_angstrom)
    return replace(prepared, ctf=torch.where(phases.abs() < torch.pi / 2.0, 1.0, prepared.ctf))


def _result(totals: Arrays, parts: list[Poses], model: PlaneModel) -> PlaneSums:
    shape = tuple(model.grids.shape[1:])
    empty = np.zeros((3, shape[0] * shape[1]))
    grids = [torch.from_numpy(totals.get(f"grid{k}", empty)).reshape(3, *shape) for k in range(model.classes)]
    merged = {name: torch.cat([getattr(part, name) for part in parts]) for name in Poses.__dataclass_fields__}
    shared = Expectation(
        poses=Poses(**merged),
        grids=[hermitian_plane(grid) for grid in grids],
        direction_weight=torch.from_numpy(totals["class"]),
        noise=torch.from_numpy(totals["noise"]),
        noise_count=torch.from_numpy(totals["noise_count"]),
        signal_product=torch.from_numpy(totals["product"]),
        reference_power=torch.from_numpy(totals["power"]),
        offset_power=float(totals["offset"][0]),
    )
    return PlaneSums(shared, torch.from_numpy(totals["class_offset"]))


def hermitian_plane(data: Tensor) -> Tensor:
    """Add the Friedel mates that fall on the line kx = 0 of ``data [3, rows, columns]``; the origin is its own mate."""
    line = data[..., 0]
    mates = line.flip(1) * torch.tensor([1.0, -1.0, 1.0]).to(data)[:, None]
    mates[:, line.shape[1] // 2] = 0.0
    out = data.clone()
    out[..., 0] = line + mates
    return out
