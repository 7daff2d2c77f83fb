"""The expectation step of a 2D classification against the real RELION: same particles and references, one iteration.

    python -m benchmarks.engine.class2d_check [--particles 200] [--views 4] [--psi-step 12]

The sampling's perturbation is off, and a wide prior on offsets hides that RELION 3.1 mixes Angstrom and pixels there.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from benchmarks.engine.class2d_jobs import Options, in_order_of, our_job, relion_job
from cryorepro.em.formats.maps import write_stack
from cryorepro.em.formats.particles import read_particles
from cryorepro.em.formats.star import make_block, read_star, write_star
from tests.em.simulated import write_set
from tests.em.views import view_set


@dataclass(frozen=True)
class Agreement:
    """Fractions of particles, ratios ours / RELION, and mean figures of both (RELION's first)."""

    same_class: float
    same_psi: float
    same_shift: float
    same_all: float
    mean_pmax: tuple[float, float]
    mean_significant: tuple[float, float]
    worst_noise_ratio: float
    worst_average_correlation: float


def run_check(
    directory: Path,
    particles: int = 200,
    views: int = 4,
    psi_step_degrees: float = 12.0,
    strict_angstrom: float | None = None,
) -> Agreement:
    """Simulate, run both programs from the true projections at 40 A, compare particle by particle.

    ``strict_angstrom`` is RELION's ``--strict_highres_exp``.
    """
    seen = view_set(particles, views)
    star = write_set(seen.data, directory)
    pixel = seen.data.imaging.pixel_size_angstrom
    references = np.stack([seen.projection(view, 40.0 * view) for view in range(views)])
    write_stack(directory / "references.mrcs", references, pixel)
    names = [f"{view + 1:06d}@references.mrcs" for view in range(views)]
    write_star(directory / "references.star", [make_block("", {"rlnReferenceImage": names})])
    options = Options(
        classes=views, iterations=1, psi_step_degrees=psi_step_degrees, references=directory / "references.star",
        ini_high_angstrom=40.0, offset_sigma_angstrom=1000.0, perturbation=0.0,
        strict_highres_angstrom=strict_angstrom,
    )  # fmt: skip
    relion_job(star, directory / "relion", options)
    our_job(star, directory / "ours", options)
    return _compare(directory, pixel)


def _compare(directory: Path, pixel_size_angstrom: float) -> Agreement:
    first = read_particles(directory / "relion" / "run_it001_data.star")
    second = in_order_of(first, read_particles(directory / "ours" / "run_it001_data.star"))
    group = first.columns["rlnClassNumber"] == second.columns["rlnClassNumber"]
    turn = (first.numbers("rlnAnglePsi") - second.numbers("rlnAnglePsi") + 180.0) % 360.0 - 180.0
    psi = np.abs(turn) < 1.0
    shift = np.abs(first.origins_angstrom - second.origins_angstrom).max(axis=1) < 0.1 * pixel_size_angstrom
    spectra = [_noise(directory / name) for name in ("relion", "ours")]
    averages = [_averages(directory / name / "run_it001_classes.mrcs") for name in ("relion", "ours")]
    alike = [float(np.corrcoef(a.ravel(), b.ravel())[0, 1]) for a, b in zip(*averages, strict=True)]
    pairs = {
        label: (float(first.numbers(label).mean()), float(second.numbers(label).mean()))
        for label in ("rlnMaxValueProbDistribution", "rlnNrOfSignificantSamples")
    }
    return Agreement(
        same_class=float(group.mean()),
        same_psi=float(psi.mean()),
        same_shift=float(shift.mean()),
        same_all=float((group & psi & shift).mean()),
        mean_pmax=pairs["rlnMaxValueProbDistribution"],
        mean_significant=pairs["rlnNrOfSignificantSamples"],
        worst_noise_ratio=float(np.abs(spectra[1] / spectra[0] - 1.0).max()),
        worst_average_correlation=min(alike),
    )


def _noise(directory: Path) -> np.ndarray:
    """Noise spectra of all groups, shells 1 to 10: those that both programs compare."""
    blocks = read_star(directory / "run_it001_model.star")
    groups = [block for name, block in blocks.items() if name.startswith("model_group_")]
    return np.stack([block.numbers("rlnSigma2Noise")[1:11] for block in groups])


def _averages(path: Path) -> np.ndarray:
    import mrcfile

    return np.asarray(mrcfile.read(path), dtype=np.float64)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the check in a temporary directory and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--particles", type=int, default=200)
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--psi-step", type=float, default=12.0)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as directory:
        found = run_check(Path(directory), options.particles, options.views, options.psi_step)
    for field in fields(found):
        print(f"{field.name.replace('_', ' '):32s} {getattr(found, field.name)}")


if __name__ == "__main__":
    main()
