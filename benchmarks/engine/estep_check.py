"""The expectation step against the real RELION: same particles, same references, one iteration.

    python -m benchmarks.engine.estep_check [--particles 200] [--healpix-order 2]

Both programs get the same files, with the sampling's perturbation off and a flat prior on offsets: RELION 3.1 mixes
Angstrom and pixels in that prior (ml_optimiser.cpp 6782-6795), which a wide one hides.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import SupportsFloat

import numpy as np
import torch
from cryorepro_relion.command import ALLOCATOR

from cryorepro.em.formats.maps import write_map
from cryorepro.em.formats.particles import Particles, read_particles
from cryorepro.em.formats.star import make_block, read_star, write_star
from cryorepro.em.rotations import euler_to_matrix, rotation_angle_deg
from tests.em.simulated import SimulatedSet, simulated_set, write_set

DIAMETER_ANGSTROM = 360.0
LOW_PASS_ANGSTROM = 30.0


@dataclass(frozen=True)
class Agreement:
    """Fractions of particles, and figures of both programs (RELION's first)."""

    same_class: float
    same_pose: float
    same_shift: float
    same_class_and_pose: float
    mean_pmax: tuple[float, float]
    mean_significant: tuple[float, float]
    within_15_degrees_of_truth: tuple[float, float]
    class_accuracy: tuple[float, float]
    noise_ratio: tuple[float, float]
    cpu_seconds: tuple[float, float]
    wall_seconds: tuple[float, float]


def run_check(
    directory: Path, particles: int, healpix_order: int, threads: int, strict_angstrom: float | None = None
) -> Agreement:
    """Simulate, run both programs, compare; ``strict_angstrom`` is RELION's ``--strict_highres_exp``."""
    data = simulated_set(particles)
    star = write_set(data, directory)
    references = _write_references(data, directory)
    relion_command = _relion_command(star, references, directory / "relion", healpix_order, threads)
    if strict_angstrom is not None:
        relion_command += ["--strict_highres_exp", str(strict_angstrom)]
    our_command = _our_command(star, references, directory / "ours", healpix_order, threads, strict_angstrom)
    relion, ours = _timed(relion_command, directory), _timed(our_command, directory)
    return _compare(directory, data, relion, ours)


def _write_references(data: SimulatedSet, directory: Path) -> Path:
    names = [f"reference{k + 1}.mrc" for k in range(3)]
    for k, name in enumerate(names):
        volume = data.volume(k, LOW_PASS_ANGSTROM).numpy()
        write_map(directory / name, volume, data.imaging.pixel_size_angstrom)
    write_star(directory / "references.star", [make_block("", {"rlnReferenceImage": names})])
    return directory / "references.star"


def _relion_command(star: Path, references: Path, output: Path, order: int, threads: int) -> list[str]:
    output.mkdir()
    options = (
        f"--iter 1 --ini_high {LOW_PASS_ANGSTROM} --ctf --ctf_corrected_ref --tau2_fudge 4 --zero_mask --norm --scale"
        f" --particle_diameter {DIAMETER_ANGSTROM} --flatten_solvent --sym C1 --pad 2 --pool 30 --random_seed 1"
        f" --oversampling 1 --healpix_order {order} --offset_range 5 --offset_step 2 --offset 1000 --perturb 0"
    )
    files = ["--i", star.name, "--ref", references.name, "--o", f"{output.name}/run", "--j", str(threads)]
    return ["relion_refine", *files, *options.split()]


def _our_command(
    star: Path, references: Path, output: Path, order: int, threads: int, strict_angstrom: float | None
) -> list[str]:
    output.mkdir()
    parameters = {
        "number_of_classes": 3, "iterations": 1, "ini_high_angstrom": LOW_PASS_ANGSTROM, "tau2_fudge": 4.0,
        "particle_diameter_angstrom": DIAMETER_ANGSTROM, "healpix_order": order, "offset_sigma_angstrom": 1000.0,
        "perturbation": 0.0, "ctf_corrected_ref": True, "flatten_solvent": True, "zero_mask": True, "norm": True,
        "scale": True, "strict_highres_angstrom": strict_angstrom,
    }  # fmt: skip
    request = {
        "stage": "class3d", "kind": "class3d", "parameters": parameters, "output_dir": str(output), "seed": 1,
        "threads": threads, "inputs": {"particles": str(star), "reference": str(references)},
    }  # fmt: skip
    program = "cryorepro_engines.programs.class3d"
    return [sys.executable, "-m", program, "--request-json", json.dumps(request)]


def _timed(command: list[str], directory: Path) -> tuple[float, float]:
    """(CPU seconds, wall seconds) of a command; its output is shown if it fails."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        command, cwd=directory, env={**os.environ, **ALLOCATOR}, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stdout[-1500:]} {done.stderr[-1500:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, time.monotonic() - started


def _compare(directory: Path, data: SimulatedSet, relion: tuple[float, float], ours: tuple[float, float]) -> Agreement:
    first = read_particles(directory / "relion" / "run_it001_data.star")
    second = _in_order_of(first, read_particles(directory / "ours" / "run_it001_data.star"))
    tables = (first, second)
    views = [euler_to_matrix(torch.from_numpy(table.angles_degrees)) for table in tables]
    pose = (rotation_angle_deg(*views) < 1.0).numpy()
    classes = [table.numbers("rlnClassNumber") for table in tables]
    group = classes[0] == classes[1]
    shift = np.abs(first.origins_angstrom - second.origins_angstrom).max(axis=1)
    truth = [_truth_rows(table, data) for table in tables]
    spectra = [_noise(directory / name) for name in ("relion", "ours")]
    ratio = spectra[1] / spectra[0]
    return Agreement(
        same_class=float(group.mean()),
        same_pose=float(pose.mean()),
        same_shift=float((shift < 0.1 * data.imaging.pixel_size_angstrom).mean()),
        same_class_and_pose=float((group & pose).mean()),
        mean_pmax=_pair(table.numbers("rlnMaxValueProbDistribution").mean() for table in tables),
        mean_significant=_pair(table.numbers("rlnNrOfSignificantSamples").mean() for table in tables),
        within_15_degrees_of_truth=_pair(
            (rotation_angle_deg(view, true_view) < 15.0).double().mean()
            for view, (true_view, _) in zip(views, truth, strict=True)
        ),
        class_accuracy=_pair((c - 1 == true).mean() for c, (_, true) in zip(classes, truth, strict=True)),
        noise_ratio=(float(ratio.min()), float(ratio.max())),
        cpu_seconds=(relion[0], ours[0]),
        wall_seconds=(relion[1], ours[1]),
    )


def _pair(values: Iterable[SupportsFloat]) -> tuple[float, float]:
    first, second = (float(value) for value in values)
    return first, second


def _in_order_of(first: Particles, second: Particles) -> Particles:
    place = {name: row for row, name in enumerate(second.image_names)}
    return second.subset([place[name] for name in first.image_names])


def _truth_rows(table: Particles, data: SimulatedSet) -> tuple[torch.Tensor, np.ndarray]:
    rows = np.array([int(name.partition("@")[0]) - 1 for name in table.image_names])
    angles = torch.from_numpy(data.views.angles_degrees[rows])
    return euler_to_matrix(angles), data.views.conformers[rows]


def _noise(directory: Path) -> np.ndarray:
    """Noise spectra of all groups, shells 1 to 16."""
    blocks = read_star(directory / "run_it001_model.star")
    groups = [block for name, block in blocks.items() if name.startswith("model_group_")]
    return np.stack([block.numbers("rlnSigma2Noise")[1:17] for block in groups])


def show(found: Agreement) -> None:
    """Print the comparison as a table."""
    print(f"{'':44s} {'RELION':>10s} {'ours':>10s}")
    for name in ("same_class", "same_pose", "same_shift", "same_class_and_pose"):
        print(f"{name.replace('_', ' ') + ' (fraction of particles)':44s} {getattr(found, name):21.4f}")
    for name in (
        "mean_pmax", "mean_significant", "within_15_degrees_of_truth", "class_accuracy", "cpu_seconds", "wall_seconds",
    ):  # fmt: skip
        first, second = getattr(found, name)
        print(f"{name.replace('_', ' '):44s} {first:10.4f} {second:10.4f}")
    low, high = found.noise_ratio
    print(f"{'noise spectrum ours / RELION, shells 1-16':44s} {low:10.4f} {high:10.4f}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the check in a temporary directory and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--particles", type=int, default=200)
    parser.add_argument("--healpix-order", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as directory:
        show(run_check(Path(directory), options.particles, options.healpix_order, options.threads))


if __name__ == "__main__":
    main()
