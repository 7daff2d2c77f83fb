"""A model of the memory that an expectation step takes: parts that never change, per class, and per particle."""

from __future__ import annotations

from dataclasses import dataclass

from cryorepro.em.devices.plan import Plan

# Bytes per pixel of an image while it is prepared: read, moved (with the positions it is moved from), masked, and
# transformed twice; and per coefficient in use while its CTF is worked out, and afterwards.
_PREPARING = 28
_CTF_COEFFICIENT, _PREPARED_COEFFICIENT = 80, 24
# Gathered slices, what they are compared with and what comes out, times the numbers of a batch.
_BATCH = 24
_LEAST_ROWS_HELD, _PIXELS_SPREAD = 512, 1 << 22


@dataclass(frozen=True)
class StepShape:
    """Sizes of a step.

    Attributes:
        box_px: of the images; ``pixels`` and ``coarse_pixels`` of the half planes of both passes.
        cells: of one padded grid.
        classes: and for each, ``coarse_rows`` orientations (half turns not counted) and ``coarse_shifts``.
        oversampling: of the fine pass.
        groups: noise spectra and intensity scales.
        particles: how many there are.
    """

    box_px: int
    pixels: int
    coarse_pixels: int
    cells: int
    classes: int
    coarse_rows: int
    coarse_shifts: int
    oversampling: int
    groups: int
    particles: int


def shared_bytes(shape: StepShape, plan: Plan) -> int:
    """What is there once for all workers: references, tables of slices, samples, totals."""
    table = min(plan.table_bytes, _fine_rows(shape) * shape.pixels * 8)
    coarse = shape.classes * shape.coarse_rows * shape.coarse_pixels * 8
    small = 2 * shape.groups * (shape.box_px // 2 + 1) * (32 if plan.exact else 8)
    samples = min(plan.sample_bytes, shape.particles * 4096)
    grids = 8 * shape.cells if plan.grids_apart else shape.classes * class_bytes(shape)
    return table + coarse + small + samples + grids


def class_bytes(shape: StepShape) -> int:
    """Shared by all workers, for one class: the reference's transform, and the totals."""
    return shape.cells * (8 + 24)


def worker_bytes(shape: StepShape, plan: Plan) -> int:
    """What each worker has of its own, whatever the number of particles."""
    grids = (1 if plan.grids_apart else shape.classes) * shape.cells * 3 * (8 if plan.exact else 4)
    rows = min(_fine_rows(shape), max(_LEAST_ROWS_HELD, plan.held_bytes // (12 * shape.pixels)))
    held = rows * shape.pixels * 12 + min(_PIXELS_SPREAD, rows * shape.pixels) * 24
    scores = _together(shape, plan) * 2 * shape.classes * shape.coarse_rows * (shape.coarse_shifts + 4) * 4
    batch = max(plan.numbers_per_batch, min(plan.numbers_at_most, _fine_rows(shape) * 2 * shape.pixels)) * _BATCH
    shells = shape.pixels * (shape.box_px // 2 + 1) * 8
    return grids + held + max(scores, batch + shells)


def block_bytes(shape: StepShape, plan: Plan) -> int:
    """The images of a block: prepared a few at a time, the next block's being read meanwhile."""
    images, pixels = min(plan.block_particles, shape.particles), shape.box_px**2
    at_once = min(images, max(1, plan.pixels_together // pixels))
    making = at_once * (pixels * _PREPARING + shape.pixels * _CTF_COEFFICIENT)
    return making + images * (2 * pixels * 4 + shape.pixels * _PREPARED_COEFFICIENT)


def peak_bytes(shape: StepShape, plan: Plan, workers: int = 1) -> int:
    """The most that a step takes together."""
    own = worker_bytes(shape, plan) + block_bytes(shape, plan)
    # at the end one class after the other is made Hermitian in a copy, when workers hold nothing any more
    return shared_bytes(shape, plan) + max(max(1, workers) * own, 0 if plan.grids_apart else 24 * shape.cells)


def _fine_rows(shape: StepShape) -> int:
    """Rows of the fine grid, all classes."""
    return shape.classes * shape.coarse_rows * int(8**shape.oversampling)


def _together(shape: StepShape, plan: Plan) -> int:
    per_image = 2 * shape.classes * shape.coarse_rows * shape.coarse_shifts
    return max(1, min(plan.images_per_block, plan.scores_per_block // per_image))
