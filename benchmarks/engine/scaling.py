"""How the cost of a classification grows with particles, box, classes, iterations, threads and processes.

    python -m benchmarks.engine.scaling [--points FILE]

CPU-seconds and seconds on the clock of whole runs are taken as sums of parts, each proportional to a count that the job
and the image sizes of its iterations give. The factors are fitted to some runs by non-negative least squares on
relative errors and tried on others, which the fit never saw.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls

from benchmarks.engine.class3d_jobs import DIAMETER_ANGSTROM, EXTENT_ANGSTROM, Job, run_ours, write_job
from cryorepro.em.conventions import PADDING
from cryorepro.em.expectation import default_chunk_size
from cryorepro.em.formats.star import read_star
from cryorepro.em.healpix import pixel_count
from cryorepro.em.sampling import psi_count, translation_grid

PARTS = ("process", "coarse score pixel", "image pixel", "image pixel of iteration 2", "grid point", "pixel read")
FITTED = (
    Job(400, 64, 0.3, 3, iterations=6), Job(1600, 64, 0.3, 3, iterations=4), Job(800, 64, 0.3, 1, iterations=5),
    Job(800, 64, 0.3, 6, iterations=4), Job(400, 128, 0.1, 3, iterations=4), Job(800, 128, 0.1, 1, iterations=4),
    Job(800, 64, 0.3, 3, threads=1), Job(200, 96, 0.2, 2, iterations=6, threads=1), Job(1200, 96, 0.2, 3, iterations=3),
    Job(800, 64, 0.3, 3, iterations=4, processes=2), Job(600, 96, 0.2, 2, iterations=4, processes=4),
    Job(2400, 64, 0.3, 2, iterations=3, processes=2),
)  # fmt: skip
HELD_OUT = (
    Job(1000, 64, 0.3, 3), Job(600, 128, 0.1, 2, iterations=5), Job(800, 96, 0.2, 3, iterations=4, processes=2),
    Job(600, 64, 0.3, 4, iterations=6, threads=1), Job(1000, 64, 0.3, 3, iterations=4, processes=4),
    Job(3000, 64, 0.3, 3, iterations=5),
)  # fmt: skip
_KEEPSAFE = 1.2
Counts = tuple[float, ...]


@dataclass(frozen=True)
class Point:
    """One run: the Fourier radius of each iteration, and what it took."""

    job: Job
    radii: tuple[int, ...]
    cpu_seconds: float
    wall_seconds: float


def iteration_counts(job: Job, number: int, radius: int) -> Counts:
    """What the parts of an iteration are proportional to, in the order of `PARTS`."""
    psi = psi_count(job.healpix_order)
    # by cross-correlation, and then with a random class for each particle, one class is looked at
    classes = 1 if number <= 2 else job.classes
    scores = classes * pixel_count(job.healpix_order) * psi * len(translation_grid(5.0, 2.0))
    arc = DIAMETER_ANGSTROM * math.pi / psi
    coarse_radius = min(radius, math.ceil(EXTENT_ANGSTROM / arc * _KEEPSAFE))
    chunks = math.ceil(job.particles / default_chunk_size(job.particles))
    pixels = job.particles * math.pi / 2.0 * radius**2
    return (
        0.0,
        job.particles * scores * math.pi / 2.0 * coarse_radius**2,
        0.0 if number == 2 else pixels,
        pixels if number == 2 else 0.0,
        job.classes * 4.0 * (PADDING * radius + 1) ** 3 * (chunks + 8.0),
        0.0,
    )


def run_counts(point: Point) -> NDArray[np.float64]:
    """Those of a whole run: its start, and every iteration."""
    job = point.job
    total = np.array([job.processes, 0.0, 0.0, 0.0, 0.0, float(job.particles * job.box_px**2)])
    for number, radius in enumerate(point.radii, start=1):
        total += iteration_counts(job, number, radius)
    return total


def clock_counts(point: Point) -> NDArray[np.float64]:
    """The same as the clock sees them: shared by as many cores as there are workers."""
    job, cores = point.job, os.cpu_count() or 1
    shared = run_counts(point) / min(cores, max(job.threads, job.processes))
    shared[0] = max(1.0, job.processes / cores)
    return np.asarray(shared)


def measure(job: Job, directory: Path) -> Point:
    """Run a job."""
    write_job(job, directory)
    found = run_ours(job, directory)
    models = [directory / "ours" / f"run_it{number:03d}_model.star" for number in range(1, job.iterations + 1)]
    return Point(job, tuple(_image_radius(path) for path in models), found.cpu_seconds, found.wall_seconds)


def _image_radius(path: Path) -> int:
    return int(float(read_star(path)["model_general"].value("rlnCurrentImageSize"))) // 2


def fit(matrix: NDArray[np.float64], measured: NDArray[np.float64]) -> NDArray[np.float64]:
    """Factors of the parts ``matrix [runs, parts]``, none negative, that make the relative errors least."""
    size = matrix.max(axis=0)
    factors, _ = nnls(matrix / size / measured[:, None], np.ones(len(measured)))
    return np.asarray(factors / size)


def show(
    points: Sequence[Point], cpu: NDArray[np.float64], wall: NDArray[np.float64], title: str
) -> tuple[float, float]:
    """Print measured and predicted costs; the largest relative error of CPU-seconds and of seconds."""
    print(f"| {title}: particles, box, K, iterations, threads, processes | CPU-s | predicted | | s | predicted | |")
    print("|---|---|---|---|---|---|---|")
    worst = [0.0, 0.0]
    for point in points:
        job, cells = point.job, []
        for place, (measured, expected) in enumerate(
            [
                (point.cpu_seconds, float(cpu @ run_counts(point))),
                (point.wall_seconds, float(wall @ clock_counts(point))),
            ]
        ):
            error = expected / measured - 1.0
            worst[place] = max(worst[place], abs(error))
            cells += [f"{measured:.1f}", f"{expected:.1f}", f"{error:+.0%}"]
        what = (job.particles, job.box_px, job.classes, job.iterations, job.threads, job.processes)
        print(f"| {', '.join(f'{value:,}' for value in what)} | {' | '.join(cells)} |")
    return worst[0], worst[1]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, fit, try."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--points", type=Path, help="keep measured points in this JSON-lines file and go on from it")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    points = _kept(options.points)
    for job in (*FITTED, *HELD_OUT)[len(points) :]:
        with tempfile.TemporaryDirectory() as directory:
            points.append(measure(job, Path(directory) / job.name))
        last = points[-1]
        print(f"{job.name}: {last.cpu_seconds:.2f} CPU-seconds, {last.wall_seconds:.2f} s", flush=True)
        if options.points:
            with options.points.open("a") as stream:
                stream.write(json.dumps(asdict(last)) + "\n")
    fitted, tried = points[: len(FITTED)], points[len(FITTED) :]
    cpu = fit(np.stack([run_counts(p) for p in fitted]), np.array([p.cpu_seconds for p in fitted]))
    wall = fit(np.stack([clock_counts(p) for p in fitted]), np.array([p.wall_seconds for p in fitted]))
    show(fitted, cpu, wall, "fitted")
    worst = show(tried, cpu, wall, "held out")
    for name, first, second in zip(PARTS, cpu, wall, strict=True):
        print(f"{first:.3g} CPU-seconds and {second:.3g} s (on the clock, shared by the cores) per {name}")
    print(f"largest relative error on runs held out: {worst[0]:.0%} of CPU-seconds, {worst[1]:.0%} of seconds")


def _kept(path: Path | None) -> list[Point]:
    if path is None or not path.exists():
        return []
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [Point(Job(**e["job"]), tuple(e["radii"]), e["cpu_seconds"], e["wall_seconds"]) for e in lines]


if __name__ == "__main__":
    main()
