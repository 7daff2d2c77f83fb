"""2D classes of real apoferritin particles from the stack alone, against projections of the atomic model.

    python -m benchmarks.engine.class2d_apoferritin DATA [--particles 800] [--classes 6] [--iterations 10] [--png X.png]

DATA is the folder with ``particles_64px_3.0A.star`` (EMPIAR-10146) and, beside it, ``models/4v1w.cif``. No pose,
origin, map or mask goes in. Each average is compared with projections of the model, in every view and every in-plane
angle, over the shells between 60 and 15 A: a shell of protein looks round in all views, so the same is done with the
model's spherical average, which a mere ring would match as well.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import mrcfile
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.engine.class2d_jobs import Options, our_job
from cryorepro.em import healpix
from cryorepro.em.atomic import model_density, read_model
from cryorepro.em.formats.particles import read_particles, write_particles
from cryorepro.em.fourier import half_plane
from cryorepro.em.projection import Projector
from cryorepro.em.rotations import euler_to_matrix

DIAMETER_ANGSTROM, PIXEL_SIZE_ANGSTROM = 150.0, 3.0
_BAND_ANGSTROM = (60.0, 15.0)
_VIEW_ORDER, _PSI_DEGREES = 2, 5.0
Images = NDArray[np.float64]


@dataclass(frozen=True)
class Likeness:
    """Of one class: its particles, and the best correlation with projections of the model, and with the mere shell."""

    particles: int
    model: float
    shell: float


def without_poses(star: Path, directory: Path, particles: int) -> Path:
    """Write a table of so many particles, drawn at random, without what a refinement found; returns its path."""
    table = read_particles(star)
    found = ("rlnAngle", "rlnOrigin", "rlnClass", "rlnRandomSubset")
    kept = {label: values for label, values in table.columns.items() if not label.startswith(found)}
    rows = np.sort(np.random.default_rng(0).permutation(len(table))[:particles])
    chosen = replace(table, columns=kept).subset(rows)
    parts = (name.partition("@") for name in chosen.image_names)
    names = np.array([f"{number}@{star.parent.absolute() / stack}" for number, _, stack in parts], dtype=object)
    write_particles(directory / "particles.star", chosen.with_columns(rlnImageName=names))
    return directory / "particles.star"


def classify(star: Path, output: Path, classes: int, iterations: int, threads: int) -> tuple[Images, NDArray[np.int64]]:
    """Class averages ``[k, n, n]`` and members ``[k]`` of the last iteration."""
    options = Options(classes, iterations, 12.0, threads=threads, particle_diameter_angstrom=DIAMETER_ANGSTROM, seed=1)
    spent = our_job(star, output, options)
    print(f"{iterations} iterations, {classes} classes: {spent.cpu_seconds:.0f} CPU s, {spent.wall_seconds:.0f} s wall")
    averages = np.asarray(mrcfile.read(output / f"run_it{iterations:03d}_classes.mrcs"), dtype=np.float64)
    found = read_particles(output / f"run_it{iterations:03d}_data.star").columns["rlnClassNumber"]
    return averages, np.bincount(found, minlength=classes + 1)[1:]


def model_volume(path: Path, box_px: int) -> torch.Tensor:
    """Density ``[n, n, n]`` of the atomic model, its centre of mass on the origin."""
    return torch.from_numpy(np.asarray(model_density(read_model(path).centred(), box_px, PIXEL_SIZE_ANGSTROM))).float()


def likeness(averages: Images, members: NDArray[np.int64], volume: torch.Tensor, pixel: float) -> list[Likeness]:
    """How much each average resembles the model and its spherical average, both ``[n, n, n]``."""
    box = averages.shape[1]
    shells = [box * pixel / limit for limit in _BAND_ANGSTROM]
    best = [_best(averages, v, shells) for v in (volume, _spherical(volume))]
    return [Likeness(int(m), float(a), float(b)) for m, a, b in zip(members, *best, strict=True)]


def _best(averages: Images, volume: torch.Tensor, shells: list[float]) -> Images:
    """Highest correlation ``[k]`` in the band over views, in-plane angles and shifts of a few pixels."""
    box, radius = averages.shape[1], int(shells[1]) + 1
    plane = half_plane(box, radius)
    band = ((plane.shell >= shells[0]) & (plane.shell <= shells[1])).numpy()
    sign = (1 - 2 * ((plane.kx + plane.ky) % 2)).numpy()
    images = (np.fft.rfft2(averages).reshape(len(averages), -1)[:, plane.columns.numpy()] * sign)[:, band]
    reach = torch.arange(-3, 4, dtype=torch.float64)
    shifts = torch.stack(torch.meshgrid(reach, reach, indexing="ij"), dim=-1).reshape(-1, 2)
    ramps = plane.phase_ramps(shifts).numpy()[:, band]
    angles = healpix.pixel_angles_deg(_VIEW_ORDER)
    psi = torch.arange(0.0, 360.0, _PSI_DEGREES, dtype=torch.float64)
    euler = torch.cat([angles[:, None].expand(-1, len(psi), -1), psi[None, :, None].expand(len(angles), -1, 1)], dim=2)
    slices = Projector(volume, radius).slices(euler_to_matrix(euler.reshape(-1, 3)), plane).numpy()[:, band]
    slices /= np.linalg.norm(slices, axis=1, keepdims=True)
    out = np.empty(len(images))
    for k, image in enumerate(images):
        size = np.linalg.norm(image)
        out[k] = 0.0 if size == 0 else float(((slices.conj() @ (image * ramps).T).real).max() / size)
    return out


def _spherical(volume: torch.Tensor) -> torch.Tensor:
    box = volume.shape[0]
    axis = torch.arange(box) - box // 2
    radius = (axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis**2).double().sqrt().round().long()
    total = torch.bincount(radius.flatten(), volume.flatten().double())
    return (total / torch.bincount(radius.flatten()))[radius].float()


def montage(averages: Images, members: NDArray[np.int64], path: Path) -> None:
    """Write the averages as one PNG, largest class first, each in its own grey scale."""
    from matplotlib import image

    order = np.argsort(-members)
    tiles = [np.pad(_grey(averages[k]), 2, constant_values=1.0) for k in order]
    width = int(np.ceil(np.sqrt(len(tiles))))
    tiles += [np.ones_like(tiles[0])] * (-len(tiles) % width)
    rows = [np.hstack(tiles[start : start + width]) for start in range(0, len(tiles), width)]
    image.imsave(path, np.kron(np.vstack(rows), np.ones((2, 2))), cmap="gray", vmin=0.0, vmax=1.0)


def _grey(average: Images) -> Images:
    low, high = np.percentile(average, (1, 99.5))
    return np.asarray(np.clip((average - low) / max(high - low, 1e-12), 0.0, 1.0))


def main(arguments: Sequence[str] | None = None) -> None:
    """Classify, print each class's likeness, and write the montage."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path)
    for name, value in (("particles", 800), ("classes", 6), ("iterations", 10), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--png", type=Path)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        star = without_poses(given.data / "particles_64px_3.0A.star", Path(name), given.particles)
        averages, members = classify(star, Path(name) / "job", given.classes, given.iterations, given.threads)
    volume = model_volume(given.data.parent / "models" / "4v1w.cif", averages.shape[1])
    for k, found in enumerate(likeness(averages, members, volume, PIXEL_SIZE_ANGSTROM)):
        print(f"class {k + 1:2d}  {found.particles:5d} particles  model {found.model:.3f}  shell {found.shell:.3f}")
    if given.png:
        montage(averages, members, given.png)


if __name__ == "__main__":
    main()
