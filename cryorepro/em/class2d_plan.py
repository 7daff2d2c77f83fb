"""What an expectation step of a 2D classification may hold at once on its device."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cryorepro.em.class2d_grid import PlaneModel
from cryorepro.em.devices.plan import Plan
from cryorepro.em.devices.planning import largest_plan, that_fits
from cryorepro.em.imageset import ImageSet

# Bytes per pixel of an image while it is prepared, and per coefficient of one that is.
_PREPARING, _PREPARED_COEFFICIENT = 28, 24
# Cells and weights of one in-plane angle, per pixel; the starts of its grid points, per point.
_TURN_PIXEL, _TURN_POINT = 68, 4
# A grid point of a class: its transform, the columns they are read from, the sums of a chunk, and their copy.
_GRID_POINT = 8 + 8 + 12 + 12
# Gathered averages, ramps and what comes out of them, times the numbers of a batch.
_BATCH = 32


@dataclass(frozen=True)
class PlaneShape:
    """Sizes of a step.

    Attributes:
        box_px: of the images; ``pixels`` and ``coarse_pixels`` of the half planes of both passes.
        points: of one padded grid.
        classes: and ``coarse_rows`` of all of them, ``coarse_shifts``, ``fine_angles`` (half turns not counted).
        children: fine rows of a coarse one.
    """

    box_px: int
    pixels: int
    coarse_pixels: int
    points: int
    classes: int
    coarse_rows: int
    coarse_shifts: int
    fine_angles: int
    children: int


def plane_shape(model: PlaneModel, images: ImageSet) -> PlaneShape:
    """The sizes that decide how much memory a step takes."""
    sampling = model.sampling
    return PlaneShape(
        box_px=images.box_px,
        pixels=len(model.plane),
        coarse_pixels=len(model.coarse_plane),
        points=model.grids[0].numel(),
        classes=model.classes,
        coarse_rows=model.classes * sampling.rows_per_class,
        coarse_shifts=int(sampling.shifts().shape[0]),
        fine_angles=sampling.rows_per_class * sampling.children,
        children=sampling.children,
    )


def plane_bytes(shape: PlaneShape, plan: Plan) -> int:
    """The most that a step takes together on a GPU."""
    turns = (shape.fine_angles * shape.pixels + shape.coarse_rows * shape.coarse_pixels // shape.classes) * _TURN_PIXEL
    starts = 2 * shape.fine_angles * shape.points * _TURN_POINT
    coarse = shape.coarse_rows * shape.coarse_pixels * 12
    rows = min(shape.coarse_rows * shape.children, plan.table_bytes // (24 * shape.pixels))
    images, at_once = plan.block_particles, max(1, plan.pixels_together // shape.box_px**2)
    making = min(images, at_once) * shape.box_px**2 * _PREPARING
    block = images * (shape.box_px**2 * 8 + shape.pixels * _PREPARED_COEFFICIENT + rows * 12)
    per_image = 2 * shape.coarse_rows * shape.coarse_shifts
    scores = max(1, min(plan.images_per_block, plan.scores_per_block // per_image)) * per_image * 16
    batch = max(plan.numbers_per_batch, plan.numbers_at_most) * _BATCH + shape.pixels * (shape.box_px // 2 + 1) * 8
    fixed = turns + starts + coarse + shape.classes * shape.points * _GRID_POINT
    return fixed + making + block + rows * shape.pixels * 24 + max(scores, batch)


def plane_plan(model: PlaneModel, images: ImageSet, free: int, exact: bool) -> Plan:
    """The largest plan that leaves some of ``free`` bytes; on a CPU the one that suits its caches."""
    plan, shape = largest_plan(model.device, free, exact), plane_shape(model, images)
    return plan if model.device == torch.device("cpu") else that_fits(plan, lambda p: plane_bytes(shape, p), free)
