"""Where the coarse pass's time goes, and how near it is to what the processor's products and memory can do.

    python -m benchmarks.engine.coarse_rate [--particles 128] [--box 64]

CPU-seconds of one thread: of the products alone, at the pass's own shapes and at a large square one, and of the whole
pass, in reduced and in full precision; and what a copy in memory reaches.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from benchmarks.engine.class3d_jobs import DIAMETER_ANGSTROM, EXTENT_ANGSTROM, INITIAL_LOW_PASS_ANGSTROM, Job
from cryorepro.em.class3d import Class3DJob, coarse_shell
from cryorepro.em.class3d_state import Class3DSettings
from cryorepro.em.coarse_grid import CoarseGrid, make_coarse_grid
from cryorepro.em.coarse_pass import coarse_pass
from cryorepro.em.estep_model import EstepModel
from cryorepro.em.fourier import half_plane
from cryorepro.em.imageset import ImageSet, Poses
from cryorepro.em.masks import soft_circle
from cryorepro.em.noise import initial_noise
from cryorepro.em.preparation import Preparation, Prepared, prepare
from cryorepro.em.projection import Projector
from cryorepro.em.sampling import make_sampling
from cryorepro.em.team import Team

_SQUARE = 1536
_COPIED_FLOATS = 1 << 26


@dataclass(frozen=True)
class Case:
    """Prepared images, the slices they are compared with, and the model of both."""

    images: Prepared
    grid: CoarseGrid
    model: EstepModel


def make_case(job: Job) -> Case:
    """The coarse pass of a job's later iterations, with the true maps as references."""
    data = job.data()
    images: ImageSet = data.image_set()
    settings = Class3DSettings(particle_diameter_angstrom=DIAMETER_ANGSTROM, healpix_order=job.healpix_order)
    sampling = make_sampling(job.healpix_order, 1, 5.0, 2.0, perturbation=0.1)
    radius = min(round(EXTENT_ANGSTROM / INITIAL_LOW_PASS_ANGSTROM) + 12, job.box_px // 2)
    mask = soft_circle(job.box_px, DIAMETER_ANGSTROM / 2.0 / job.pixel_size_angstrom)
    poses = Poses.start(len(images))
    directions = job.classes * sampling.pixels.shape[0]
    model = EstepModel(
        projectors=tuple(Projector(data.volume(k % 3), radius) for k in range(job.classes)),
        sampling=sampling,
        preparation=Preparation(half_plane(job.box_px, radius), mask, initial_noise(images, poses, mask, 1)),
        coarse_shell=coarse_shell(Class3DJob(images, settings, 1), sampling, radius),
        log_prior=torch.full((job.classes, sampling.pixels.shape[0]), 1.0 / directions, dtype=torch.float64).log(),
        offset_sigma_px=2.0,
        scale=torch.ones(images.scale_groups, dtype=torch.float64),
    )
    every = torch.arange(len(images))
    return Case(prepare(images, poses, every, model.preparation), make_coarse_grid(model, Team(1, {})), model)


def cpu_seconds(work: Callable[[], object], times: int = 5) -> float:
    """Least CPU time of one call: what other processes disturb only adds."""
    work()
    found = []
    for _ in range(times):
        before = time.process_time()
        work()
        found.append(time.process_time() - before)
    return min(found)


def product_flop(case: Case) -> float:
    """Floating-point operations of the products over all images."""
    columns = sum(part.shape[1] for part in case.grid.parts)
    rows = case.grid.parts[0].shape[0]
    return 2.0 * case.images.masked.shape[0] * case.grid.shifts.shape[0] * rows * columns


def show(case: Case) -> None:
    """Print the table."""
    count, flop = case.images.masked.shape[0], product_flop(case)
    scores = count * case.grid.shifts.shape[0] * case.grid.parts[0].shape[0] * case.grid.base.row.shape[0]
    source, target = torch.ones(_COPIED_FLOATS), torch.empty(_COPIED_FLOATS)
    copied = 8.0 * _COPIED_FLOATS / cpu_seconds(lambda: target.copy_(source))
    print(
        f"{count} images, {scores / count:.3g} scores and {flop / count:.3g} flop each;"
        f" copying reads and writes {copied / 1e9:.1f} GB/s"
    )
    left = [torch.randn(16 * case.grid.shifts.shape[0], part.shape[1]) for part in case.grid.parts]
    square = torch.randn(_SQUARE, _SQUARE)
    for name, reduced in (("bfloat16 inputs", True), ("float32", False)):
        torch.set_float32_matmul_precision("medium" if reduced else "highest")
        best = 2.0 * _SQUARE**3 / cpu_seconds(lambda: square @ square, 3)
        shaped = cpu_seconds(lambda: [a @ b[:1152].T for a, b in zip(left, case.grid.parts, strict=True)])
        rate = sum(2.0 * a.shape[0] * a.shape[1] * 1152 for a in left) / shaped
        torch.set_float32_matmul_precision("highest")
        whole = _whole_pass(replace(case, model=replace(case.model, reduced_precision=reduced)))
        print(
            f"{name:16s} square products {best / 1e9:4.0f} GF/s, of the pass's shapes {rate / 1e9:4.0f} GF/s; the pass"
            f" {whole / count * 1e3:.2f} ms per image or {flop / whole / 1e9:.0f} GF/s, {flop / rate / whole:.0%} of it"
            f" products; {16.0 * scores / whole / 1e9:.1f} GB/s if every score is moved four times"
        )


def _whole_pass(case: Case) -> float:
    scale = torch.ones(case.images.masked.shape[0])
    return cpu_seconds(lambda: coarse_pass(case.model, case.grid, case.images, scale))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--particles", type=int, default=128)
    parser.add_argument("--box", type=int, default=64)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    show(make_case(Job(options.particles, options.box)))


if __name__ == "__main__":
    main()
