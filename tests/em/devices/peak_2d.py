"""The memory that one expectation step of a 2D classification took at most, in a process of its own.

    python -m tests.em.devices.peak_2d COUNT

prints the bytes that were resident beyond what was before the step, of COUNT particles in one chunk.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from cryorepro.em import class2d_expectation
from cryorepro.em.class2d_grid import PlaneModel, PlaneSampling
from cryorepro.em.class2d_turning import images_to_grids, plane_with_origin
from cryorepro.em.devices.plan import Plan
from cryorepro.em.imageset import Poses
from cryorepro.em.masks import soft_circle
from cryorepro.em.preparation import Preparation
from tests.em.devices.peak import case, resident

BOX, RADIUS = 64, 30


def main(count: int) -> None:
    """Run the step."""
    torch.set_num_threads(1)
    images, _ = case(count, BOX, 4, 1, 0, Plan())
    blobs = torch.stack([soft_circle(BOX, radius) * 0.05 for radius in (8.0, 14.0)])
    noise = torch.full((1, BOX // 2 + 1), 0.5 / BOX**2).double()
    model = PlaneModel(
        grids=images_to_grids(blobs, RADIUS, 2),
        sampling=PlaneSampling(30, 1, 3.0, 1.5),
        preparation=Preparation(plane_with_origin(BOX, RADIUS), soft_circle(BOX, 0.4 * BOX), noise),
        image_radius=RADIUS,
        padding=2,
        coarse_shell=12,
        log_prior=torch.full((2,), 0.5).double().log(),
        offset_sigma_px=2.0,
        class_offset_px=torch.zeros(2, 2).double(),
        scale=torch.ones(1).double(),
        plan=Plan(block_particles=50),
    )
    poses = Poses.start(count)
    class2d_expectation.plane_expectation(images, poses, model, index=torch.arange(2))
    class2d_expectation._MOST_CHUNKS = 1
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before, _ = resident()
    class2d_expectation.plane_expectation(images, poses, model)
    print(resident()[1] - before)


if __name__ == "__main__":
    main(int(sys.argv[1]))
