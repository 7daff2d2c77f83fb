"""Reconstructs maps from known poses, and goes wrong as it is told."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np

from cryorepro.em.blobs import euler_matrices
from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import read_map, write_map
from cryorepro.em.formats.particles import Particles, write_particles
from cryorepro.em.maskcreate import spherical_mask
from cryorepro.model.stage import StageRequest

PIXEL = 12.0
FLIP = np.diag([1.0, 1.0, -1.0])


def main() -> int:
    request = StageRequest.model_validate_json(sys.argv[1])
    try:
        (backproject if request.kind == "backproject" else sharpen)(request)
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def backproject(request: StageRequest) -> None:
    import torch

    from cryorepro.em.particle_images import open_particle_images
    from cryorepro.em.signal_backing import reconstruct_half
    from cryorepro.em.symmetry import symmetry_matrices

    torch.set_num_threads(1)
    word, _, argument = request.parameters["misbehave"].partition(":")
    out = request.output_dir
    opened = open_particle_images(request.inputs["particles"])
    particles = mirrored(opened.particles) if word == "hand" else opened.particles
    particles = particles.without_columns(["rlnGroupNumber"])
    group = torch.as_tensor(symmetry_matrices(request.parameters["symmetry"]))
    angles = torch.as_tensor(particles.angles_degrees)
    origin = torch.as_tensor(particles.origins_angstrom / PIXEL)
    poses = type(opened.start_poses()).start(len(particles), origin, angles)
    halves = torch.as_tensor(particles.column("rlnRandomSubset"))
    volumes = [reconstruct_half(opened.images, poses, halves == half, group) for half in (1, 2)]
    for number in range(1, 4):
        # Every iteration sharpens what the one before had: a stand-in with the files of one.
        noise = 1e-6 if word == "rounding" and number >= int(argument) else 0.0
        noise = 0.3 if word == "drift" and number >= int(argument) else noise
        stray = noise * volumes[0].std() * np.random.default_rng(number).normal(size=volumes[0].shape)
        write_map(out / f"run_it{number:03d}_class001.mrc", number / 3.0 * (volumes[0] + stray), PIXEL)
        write_particles(out / f"run_it{number:03d}_data.star", particles)
    if word in ("rounding", "drift"):
        volumes = [volume + stray for volume in volumes]
    pixel = PIXEL * 1.08 if word == "header" else PIXEL
    first, second = (volumes[1], volumes[0]) if word == "swapped" else volumes
    write_map(out / "half1.mrc", first, pixel)
    write_map(out / "half2.mrc", first if word == "same-half" else second, pixel)
    write_map(out / "run.mrc", (volumes[0] + volumes[1]) / 2.0, pixel)
    write_particles(out / "run_data.star", particles)
    if word in ("stale", "retouched"):
        leave(Path(argument), out, keep_date=word == "stale")


def mirrored(particles: Particles) -> Particles:
    """Poses that give the mirror image the same projections: A becomes M A M."""
    from scipy.spatial.transform import Rotation

    turned = FLIP @ euler_matrices(particles.angles_degrees) @ FLIP
    angles = Rotation.from_matrix(np.swapaxes(turned, 1, 2)).as_euler("ZYZ", degrees=True)
    return particles.with_columns(**{f"rlnAngle{axis}": angles[:, i] for i, axis in enumerate(("Rot", "Tilt", "Psi"))})


def leave(earlier: Path, out: Path, keep_date: bool) -> None:
    """Put another run's maps where this run's should be."""
    for name in ("run.mrc", "half1.mrc", "half2.mrc"):
        (shutil.copy2 if keep_date else shutil.copyfile)(earlier / name, out / name)


def sharpen(request: StageRequest) -> None:
    from cryorepro.em.postprocess import postprocess
    from cryorepro.em.postprocess_files import write_postprocess_star
    from cryorepro.em.sharpening import Sharpening

    mask = read_map(request.inputs["mask"])[0]
    if request.parameters["misbehave"] == "mask":
        mask = spherical_mask(mask.shape[0], 8.0, 3.0)
    halves = [read_map(request.inputs[role])[0].astype(np.float64) for role in ("half1", "half2")]
    generator = np.random.default_rng(request.seed)
    result = postprocess(halves[0], halves[1], mask, PIXEL, generator, Sharpening(bfactor_angstrom2=0.0))
    write_postprocess_star(request.output_dir / "postprocess.star", result, "half1.mrc", "half2.mrc", "mask.mrc")
    write_map(request.output_dir / "postprocess.mrc", result.sharpened, PIXEL)


if __name__ == "__main__":
    sys.exit(main())
