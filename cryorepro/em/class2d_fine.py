"""The fine pass of a 2D classification: turned averages that some particles need, and what these add to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cryorepro.em.class2d_grid import PlaneModel
from cryorepro.em.coarse_samples import Significant
from cryorepro.em.estep_model import SliceTable
from cryorepro.em.fine_grid import FineSamples
from cryorepro.em.fine_pass import Posterior, row_blocks
from cryorepro.em.preparation import Prepared

# Of a turned average and of the sums of what is added to it.
_BYTES_PER_COEFFICIENT = 24
# Turned averages and their sums held at once by a CPU's worker, and where sums are exact: then last bits depend on it.
_TABLE_BYTES = 1 << 28


def fine_samples(model: PlaneModel, coarse_rows: Tensor) -> FineSamples:
    """Turn the averages to the children of ``coarse_rows`` (distinct, ascending, on the CPU)."""
    children, device, count = model.sampling.children, model.device, coarse_rows.shape[0]
    class_of = coarse_rows // model.sampling.rows_per_class
    values = torch.empty(count * children, 2, len(model.plane), device=device)
    for angle, rows, classes in by_angle(model, coarse_rows):
        slices = model.fine_turns[angle].read(model.columns[:, :, classes].flatten(1))
        values[rows] = slices.reshape(-1, 2, classes.shape[0]).permute(2, 1, 0)
    slot_of = torch.full((model.classes * model.sampling.rows_per_class,), -1)
    slot_of[coarse_rows] = torch.arange(count)
    shifts = model.sampling.fine_shifts().to(device)
    class_of = class_of.to(device)
    return FineSamples(
        table=SliceTable(values),
        slot_of=slot_of.to(device),
        class_of=class_of,
        children=children,
        shifts=shifts,
        shift_children=children**2,
        ramps=torch.view_as_real(model.plane.phase_ramps(shifts)).movedim(-1, 1).contiguous(),
        log_prior=model.log_class()[class_of],
    )


def by_angle(model: PlaneModel, coarse_rows: Tensor) -> list[tuple[int, Tensor, Tensor]]:
    """For each fine angle in use: its number, the fine rows of that angle, and their classes, on the model's device."""
    children, per_class = model.sampling.children, model.sampling.rows_per_class
    angle, number = coarse_rows % per_class, coarse_rows // per_class
    found = []
    for coarse in torch.unique(angle).tolist():
        slots = (angle == coarse).nonzero()[:, 0]
        classes = number[slots].to(model.device)
        for child in range(children):
            found.append((coarse * children + child, (slots * children + child).to(model.device), classes))
    return found


def groups_of(model: PlaneModel, significant: Sequence[Significant]) -> list[list[int]]:
    """Consecutive particles whose fine rows fit in a table together."""
    held = model.plan.table_bytes if model.device.type == "cuda" and not model.plan.exact else _TABLE_BYTES
    limit = max(1, held // (_BYTES_PER_COEFFICIENT * len(model.plane) * model.sampling.children))
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


@dataclass(frozen=True)
class RowSums:
    """Sums of a table's rows.

    Attributes:
        grid: the table and its samples.
        numerator: ``[q, 2, n]`` weighted images times CTF over sigma2, real and imaginary parts.
        weight: ``[q, n]`` weighted CTF^2 over sigma2.
        power: ``[q, n]`` squared moduli of the turned averages.
    """

    grid: FineSamples
    numerator: Tensor
    weight: Tensor
    power: Tensor

    @classmethod
    def of(cls, grid: FineSamples) -> RowSums:
        """Zero."""
        values = grid.table.values
        power = values[:, 0].square().addcmul_(values[:, 1], values[:, 1])
        return cls(grid, torch.zeros_like(values), torch.zeros_like(power), power)

    def powers(self, model: PlaneModel, images: Prepared, scale: Tensor) -> Tensor:
        """``[b, q]`` power of every row, as ``b`` images would see it, over sigma2; ``scale [b]``."""
        weight = images.ctf * scale[:, None]
        return (weight.square_() * images.inverse_sigma2 * model.compared) @ self.power.T

    def add_weights(self, images: Prepared, scale: Tensor, totals: Tensor) -> Tensor:
        """Add CTF^2 over sigma2 of ``b`` images to every row, ``totals [b, q]`` times.

        Returns the power ``[b, n]`` of the model of each image, without its scale.
        """
        modelled = images.ctf * scale[:, None]
        self.weight.addmm_(totals.T, modelled.square_() * images.inverse_sigma2)
        return (totals @ self.power) * images.ctf.square()

    def add_images(self, images: Prepared, scale: Tensor, post: Posterior, numbers: int) -> Tensor:
        """Average ``g`` shifted images over their posteriors, and add them to the rows.

        Returns the images' correlation with the model per pixel ``[g, n]``, without the scale. The slices worked on
        together hold at most so many ``numbers``.
        """
        grid, pixels = self.grid, self.grid.table.pixels
        ramps = grid.ramps.index_select(0, post.shifts.flatten()).reshape(*post.shifts.shape, 2 * pixels)
        plain = (images.plain * (images.ctf * scale[:, None] * images.inverse_sigma2))[:, None]
        product = torch.zeros(images.ctf.shape, device=images.ctf.device)
        for own in row_blocks(post.rows, 2 * pixels, numbers):
            rows, sign, weights = post.rows[:, own], post.sign[:, own, None], post.weights[:, :, own]
            # the mean of the ramps over the shifts is the same for every image of a particle
            mean = torch.bmm(weights.transpose(1, 2), ramps).reshape(*rows.shape, 2, pixels)
            cosine, sine = mean.unbind(2)
            turned = grid.table.gather(rows)
            real, imaginary = turned[:, :, 0], turned[:, :, 1] * sign
            # Re of X m conj(P), summed over the rows before it meets the image
            along = (cosine * real).addcmul_(sine, imaginary).sum(dim=1)
            across = (sine * real).addcmul_(cosine, imaginary, value=-1.0).sum(dim=1)
            product += images.masked.real * along - images.masked.imag * across
            added = torch.empty_like(mean)
            torch.mul(cosine, plain.real, out=added[:, :, 0]).addcmul_(sine, plain.imag, value=-1.0)
            torch.mul(sine, plain.real, out=added[:, :, 1]).addcmul_(cosine, plain.imag).mul_(sign)
            use = (weights.sum(dim=1).flatten() > 0).nonzero()[:, 0]
            self.numerator.index_add_(0, rows.flatten()[use], added.flatten(0, 1)[use])
        return product * images.ctf

    def spread(self, model: PlaneModel, coarse_rows: Tensor, grids: Tensor) -> None:
        """Add the sums to the classes' ``grids [grid points, 3, k]`` (numerator, weight)."""
        for angle, rows, classes in by_angle(model, coarse_rows):
            parts = torch.cat([self.numerator[rows], self.weight[rows, None]], dim=1)
            added = model.fine_turns[angle].spread(parts.permute(2, 1, 0).flatten(1))
            grids.index_add_(2, classes, added.reshape(-1, 3, classes.shape[0]))
