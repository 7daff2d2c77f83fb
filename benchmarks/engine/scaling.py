"""How the cost of a classification's iteration grows with particles, box, classes and workers: a fitted model.

    python -m benchmarks.engine.scaling

CPU-seconds of an iteration (from the third on) are taken as a sum of four parts, each proportional to a count known
before the run: one, scores of the coarse pass times its pixels, pixels of all images at the size in use, and grid
points summed over classes and chunks. The factors are fitted to some runs by non-negative least squares on relative
errors and tried on others, which the fit never saw.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
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

PARTS = ("iteration", "coarse score pixels", "image pixels", "grid points")
FITTED = (
    Job(400, 64, 0.3, 3), Job(1600, 64, 0.3, 3), Job(800, 64, 0.3, 1), Job(800, 64, 0.3, 6), Job(400, 128, 0.1, 3),
    Job(800, 128, 0.1, 1), Job(800, 64, 0.3, 3, threads=1), Job(200, 96, 0.2, 2),
)  # fmt: skip
HELD_OUT = (
    Job(1000, 64, 0.3, 3), Job(600, 128, 0.1, 2), Job(800, 96, 0.2, 3), Job(600, 64, 0.3, 4, threads=1),
)  # fmt: skip
_KEEPSAFE = 1.2


@dataclass(frozen=True)
class Point:
    """One job: counts per iteration and its CPU-seconds, medians over the iterations used."""

    job: Job
    counts: tuple[float, ...]
    cpu_seconds: float


def counts(job: Job, image_radius: int) -> tuple[float, ...]:
    """What the parts of an iteration's cost are proportional to, in the order of `PARTS`."""
    psi = psi_count(job.healpix_order)
    scores = job.classes * pixel_count(job.healpix_order) * psi * len(translation_grid(5.0, 2.0))
    arc = DIAMETER_ANGSTROM * math.pi / psi
    coarse_radius = min(image_radius, math.ceil(EXTENT_ANGSTROM / arc * _KEEPSAFE))
    chunks = math.ceil(job.particles / default_chunk_size(job.particles))
    cells = 4.0 * (PADDING * image_radius + 1) ** 3
    return (
        1.0,
        job.particles * scores * math.pi / 2.0 * coarse_radius**2,
        job.particles * math.pi / 2.0 * image_radius**2,
        job.classes * cells * (chunks + 8.0),
    )


def measure(job: Job, directory: Path) -> Point:
    """Run a job and take its iterations from the third on."""
    write_job(job, directory)
    found = run_ours(job, directory)
    chosen = {number: cpu for number, (_, cpu) in found.per_iteration().items() if number >= 3}
    sizes = [_image_radius(directory / "ours" / f"run_it{number:03d}_model.star") for number in chosen]
    every = zip(*(counts(job, size) for size in sizes), strict=True)
    return Point(job, tuple(statistics.median(part) for part in every), statistics.median(chosen.values()))


def _image_radius(path: Path) -> int:
    return int(float(read_star(path)["model_general"].value("rlnCurrentImageSize"))) // 2


def fit(points: Sequence[Point]) -> NDArray[np.float64]:
    """Factors of the parts, none negative, that make the relative errors least."""
    matrix = np.array([point.counts for point in points])
    measured = np.array([point.cpu_seconds for point in points])
    size = matrix.max(axis=0)
    factors, _ = nnls(matrix / size / measured[:, None], np.ones(len(points)))
    return np.asarray(factors / size)


def predict(factors: NDArray[np.float64], point: Point) -> float:
    """CPU-seconds of an iteration."""
    return float(factors @ np.array(point.counts))


def show(points: Sequence[Point], factors: NDArray[np.float64], title: str) -> float:
    """Print measured and predicted costs; the largest relative error."""
    print(title)
    worst = 0.0
    for point in points:
        expected = predict(factors, point)
        error = expected / point.cpu_seconds - 1.0
        worst = max(worst, abs(error))
        job = point.job
        print(
            f"  {job.particles:6d} particles  box {job.box_px:4d}  K {job.classes:2d}  workers {job.threads}:"
            f"  measured {point.cpu_seconds:6.2f}  predicted {expected:6.2f}  ({error:+.0%})"
        )
    return worst


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, fit, try."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--iterations", type=int, default=4)
    parser.add_argument("--points", type=Path, help="keep measured points in this JSON-lines file and go on from it")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    points = _kept(options.points)
    for job in (*FITTED, *HELD_OUT)[len(points) :]:
        with tempfile.TemporaryDirectory() as directory:
            told = Job(**asdict(job) | {"iterations": options.iterations})
            points.append(measure(told, Path(directory) / told.name))
        print(f"{told.name}: {points[-1].cpu_seconds:.2f} CPU-seconds per iteration", flush=True)
        if options.points:
            with options.points.open("a") as stream:
                stream.write(json.dumps(asdict(points[-1])) + "\n")
    fitted, tried = points[: len(FITTED)], points[len(FITTED) :]
    factors = fit(fitted)
    show(fitted, factors, "runs that the model was fitted to, CPU-seconds per iteration")
    worst = show(tried, factors, "runs held out")
    for name, factor in zip(PARTS, factors, strict=True):
        print(f"  {factor:.3g} CPU-seconds per {name}")
    print(f"largest relative error on runs held out: {worst:.0%}")


def _kept(path: Path | None) -> list[Point]:
    if path is None or not path.exists():
        return []
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [Point(Job(**line["job"]), tuple(line["counts"]), line["cpu_seconds"]) for line in lines]


if __name__ == "__main__":
    main()
