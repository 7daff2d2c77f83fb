"""The memory that one expectation step took at most, in a process of its own.

    python -m tests.em.devices.peak '{"count": 200, "box": 128, ...}'

prints the bytes that were resident beyond what was before the step, and what the model of the memory says.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cryorepro.em.ctf import CtfParameters
from cryorepro.em.devices.footprint import peak_bytes
from cryorepro.em.devices.plan import Plan
from cryorepro.em.estep_model import EstepModel
from cryorepro.em.expectation import expectation
from cryorepro.em.expectation_plan import step_shape
from cryorepro.em.fourier import half_plane
from cryorepro.em.imageset import ImageSet, Indices, Poses
from cryorepro.em.masks import soft_circle
from cryorepro.em.preparation import Preparation
from cryorepro.em.projection import Projector
from cryorepro.em.sampling import make_sampling


@dataclass(frozen=True)
class Made:
    """Noise images that are made when they are read, so that a set of any size takes no memory."""

    box_px: int

    def read(self, indices: Indices) -> NDArray[np.float32]:
        """Images of these numbers."""
        made = [np.random.default_rng(int(i)).standard_normal((self.box_px,) * 2, np.float32) for i in indices]
        return np.stack(made)


def case(count: int, box: int, radius: int, classes: int, order: int, plan: Plan) -> tuple[ImageSet, EstepModel]:
    """Particles of noise alone, and a model with a faint blob for every class."""
    every = torch.ones(count, dtype=torch.float64)
    ctf = CtfParameters(
        every * 15e3, every * 15e3, every * 0.0, every * 0.0, every * 300.0, every * 2.7, every * 0.1
    )  # fmt: skip
    group = torch.zeros(count, dtype=torch.int64)
    images = ImageSet(Made(box), box, 480.0 / box, ctf, group, group)
    axis = torch.arange(box) - box // 2
    blob = torch.exp(-(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + (axis - 3.0) ** 2) / (0.02 * box**2))
    sampling = make_sampling(order, 1, 3.0, 2.0)
    directions = int(sampling.pixels.shape[0])
    model = EstepModel(
        projectors=tuple(Projector(blob * 0.05 * (k + 1), radius) for k in range(classes)),
        sampling=sampling,
        preparation=Preparation(
            half_plane(box, radius), soft_circle(box, 0.4 * box), torch.full((1, box // 2 + 1), 0.5 / box**2).double()
        ),
        coarse_shell=min(radius, 8),
        log_prior=torch.full((classes, directions), 1.0 / classes / directions, dtype=torch.float64).log(),
        offset_sigma_px=2.0,
        scale=torch.ones(1, dtype=torch.float64),
        plan=plan,
    )
    return images, model


def resident() -> tuple[int, int]:
    """Bytes resident now, and at most since the mark was last set back."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    found = {line.partition(":")[0]: line.split()[1] for line in lines if line.startswith("Vm")}
    return int(found["VmRSS"]) * 1024, int(found["VmHWM"]) * 1024


def main(text: str) -> None:
    """Run the step that the JSON ``text`` describes."""
    asked = json.loads(text)
    torch.set_num_threads(1)
    plan = replace(Plan(), **asked.pop("plan", {}))
    chunk = asked.pop("chunk", None)
    images, model = case(plan=plan, **asked)
    poses = Poses.start(len(images))
    # libraries load parts of themselves with the first work they do
    expectation(images, poses, model, index=torch.arange(2))
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before, _ = resident()
    expectation(images, poses, model, chunk_size=chunk)
    _, most = resident()
    print(json.dumps({"measured": most - before, "modelled": peak_bytes(step_shape(model, images), plan)}))


if __name__ == "__main__":
    main(sys.argv[1])
