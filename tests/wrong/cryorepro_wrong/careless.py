"""A refinement that refines nothing: every particle at a random orientation, and two half maps of that."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from cryorepro.em.formats.maps import write_map
from cryorepro.em.formats.particles import read_particles, write_particles
from cryorepro.em.formats.stack_links import find_root, link_stacks
from cryorepro.model.stage import Progress, StageCommand, StageRequest, StageResult
from cryorepro_wrong.runner import OUTPUTS


class Careless:
    def plan(self, request: StageRequest) -> StageCommand:
        program = [sys.executable, "-m", "cryorepro_wrong.careless", request.model_dump_json()]
        return StageCommand(argv=program, cwd=request.output_dir, environment={"OMP_NUM_THREADS": "1"})

    def progress(self, request: StageRequest) -> Progress | None:
        return None

    def collect(self, request: StageRequest, log: Path) -> StageResult:
        outputs = {role: Path(name) for role, name in OUTPUTS["backproject"].items()}
        root, _ = find_root(read_particles(request.inputs["particles"]))
        link_stacks(request.output_dir / outputs["particles"], root)
        return StageResult(outputs=outputs)

    def version(self) -> dict[str, str]:
        return {"name": "careless", "version": "1"}


def main() -> int:
    import torch

    from cryorepro.em.imageset import Poses
    from cryorepro.em.particle_images import open_particle_images
    from cryorepro.em.rotations import matrix_to_euler, random_rotations
    from cryorepro.em.signal_backing import reconstruct_half
    from cryorepro.em.symmetry import symmetry_matrices

    torch.set_num_threads(1)
    request = StageRequest.model_validate_json(sys.argv[1])
    opened = open_particle_images(request.inputs["particles"])
    count, pixel = len(opened.images), opened.images.pixel_size_angstrom
    angles = matrix_to_euler(random_rotations(count, torch.Generator().manual_seed(request.seed)))
    poses = Poses.start(count, torch.zeros(count, 2), angles)
    halves = np.arange(count) % 2 + 1
    group = torch.as_tensor(symmetry_matrices(str(request.parameters["symmetry"])))
    volumes = [reconstruct_half(opened.images, poses, torch.as_tensor(halves == half), group) for half in (1, 2)]
    names = OUTPUTS["backproject"]
    for role, volume in zip(("half1", "half2", "map"), (*volumes, (volumes[0] + volumes[1]) / 2.0), strict=True):
        write_map(request.output_dir / names[role], volume, pixel)
    columns = {f"rlnAngle{axis}": angles[:, i].numpy() for i, axis in enumerate(("Rot", "Tilt", "Psi"))}
    write_particles(
        request.output_dir / names["particles"], opened.particles.with_columns(**columns, rlnRandomSubset=halves)
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
