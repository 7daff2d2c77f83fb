"""The same 2D classification as a process of RELION and as one of ours, with what each spent."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from cryorepro_relion.command import ALLOCATOR

from cryorepro.em.formats.particles import Particles

DIAMETER_ANGSTROM = 360.0


@dataclass(frozen=True)
class Options:
    """What both programs are told."""

    classes: int
    iterations: int
    psi_step_degrees: float
    references: Path | None = None
    ini_high_angstrom: float | None = None
    offset_sigma_angstrom: float = 10.0
    perturbation: float = 0.5
    seed: int = 1
    threads: int = 1
    tau2_fudge: float = 2.0
    particle_diameter_angstrom: float = DIAMETER_ANGSTROM
    strict_highres_angstrom: float | None = None


@dataclass(frozen=True)
class Spent:
    """CPU seconds (user and system, all processes) and wall seconds of a whole process."""

    cpu_seconds: float
    wall_seconds: float


def relion_job(star: Path, output: Path, options: Options) -> Spent:
    """Run ``relion_refine`` in the particles' directory, with the allocator settings that suit it."""
    output.mkdir()
    argv = [
        "relion_refine", "--i", str(star), "--o", str(output / "run"), "--ctf", "--iter", str(options.iterations),
        "--tau2_fudge", str(options.tau2_fudge), "--particle_diameter", str(options.particle_diameter_angstrom),
        "--K", str(options.classes), "--zero_mask", "--oversampling", "1", "--psi_step", str(options.psi_step_degrees),
        "--offset_range", "5", "--offset_step", "2", "--norm", "--scale", "--random_seed", str(options.seed),
        "--offset", str(options.offset_sigma_angstrom), "--perturb", str(options.perturbation), "--pad", "2",
        "--pool", "30", "--j", str(options.threads),
    ]  # fmt: skip
    if options.references is not None:
        argv += ["--ref", str(options.references), "--ctf_corrected_ref"]
    if options.ini_high_angstrom is not None:
        argv += ["--ini_high", str(options.ini_high_angstrom)]
    if options.strict_highres_angstrom is not None:
        argv += ["--strict_highres_exp", str(options.strict_highres_angstrom)]
    return _timed(argv, star.parent)


def our_job(star: Path, output: Path, options: Options) -> Spent:
    """Run the stage program with the same options."""
    output.mkdir()
    parameters = {
        "number_of_classes": options.classes, "iterations": options.iterations, "tau2_fudge": options.tau2_fudge,
        "particle_diameter_angstrom": options.particle_diameter_angstrom, "oversampling": 1, "zero_mask": True,
        "psi_step_degrees": options.psi_step_degrees, "offset_range_px": 5.0, "offset_step_px": 2.0, "norm": True,
        "offset_sigma_angstrom": options.offset_sigma_angstrom, "perturbation": options.perturbation, "scale": True,
        "ini_high_angstrom": options.ini_high_angstrom, "strict_highres_angstrom": options.strict_highres_angstrom,
    }  # fmt: skip
    inputs = {"particles": str(star)}
    if options.references is not None:
        inputs["references"] = str(options.references)
    request = {
        "stage": "class2d", "kind": "class2d", "parameters": parameters, "output_dir": str(output),
        "seed": options.seed, "threads": options.threads, "inputs": inputs,
    }  # fmt: skip
    argv = [sys.executable, "-m", "cryorepro_engines.programs.class2d", "--request-json", json.dumps(request)]
    return _timed(argv, star.parent)


def in_order_of(first: Particles, second: Particles) -> Particles:
    """``second`` with its rows in the order of ``first``, matched by image."""
    place = {name: row for row, name in enumerate(second.image_names)}
    return second.subset([place[name] for name in first.image_names])


def _timed(argv: list[str], directory: Path) -> Spent:
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    environment = os.environ | ALLOCATOR | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(argv, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{argv[0]} ended with {done.returncode}: {done.stdout[-1500:]} {done.stderr[-1500:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Spent(cpu, time.monotonic() - started)
