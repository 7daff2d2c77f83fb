"""A classification job that both programs can run: simulated particles on disk, options, and the two commands."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from cryorepro_relion.command import ALLOCATOR

from benchmarks.engine.metered import Metered, run_metered
from cryorepro.em.formats.maps import write_map
from tests.em.simulated import SimulatedSet, simulated_set, write_set

EXTENT_ANGSTROM = 482.6
"""Side of the box, whatever its number of pixels."""

DIAMETER_ANGSTROM = 360.0
INITIAL_LOW_PASS_ANGSTROM = 60.0
TAU2_FUDGE = 4.0
PARTICLES_PER_MICROGRAPH = 200


@dataclass(frozen=True)
class Job:
    """What is classified and how."""

    particles: int = 1000
    box_px: int = 64
    snr: float = 0.3
    classes: int = 3
    healpix_order: int = 2
    iterations: int = 5
    seed: int = 1
    threads: int = 2
    processes: int = 1

    @property
    def pixel_size_angstrom(self) -> float:
        """Pixel size that keeps the box's extent."""
        return EXTENT_ANGSTROM / self.box_px

    @property
    def name(self) -> str:
        """One word for the job, its seed and iterations left out."""
        return f"n{self.particles}-b{self.box_px}-k{self.classes}-hp{self.healpix_order}-snr{self.snr:g}"

    def data(self) -> SimulatedSet:
        """The particles with their truth; their seed is the job's."""
        return simulated_set(self.particles, self.box_px, self.pixel_size_angstrom, self.snr, self.seed)


def write_job(job: Job, directory: Path) -> None:
    """Write ``particles.star``, its stack, ``reference.mrc`` and the job itself, unless they are there."""
    described = json.dumps(asdict(job) | {"iterations": None, "threads": None, "processes": None}, sort_keys=True)
    note = directory / "job.json"
    if note.exists():
        if note.read_text() != described:
            raise SystemExit(f"{directory} holds another job: {note.read_text()}")
        return
    directory.mkdir(parents=True, exist_ok=True)
    data = job.data()
    write_set(data, directory, micrographs=max(1, job.particles // PARTICLES_PER_MICROGRAPH))
    write_map(directory / "reference.mrc", data.volume(0).numpy(), job.pixel_size_angstrom)
    note.write_text(described)


def relion_command(job: Job, output: str, resume_after: int = 0, until: int | None = None) -> list[str]:
    """RELION's command for the job, or for the rest of it after iteration ``resume_after``."""
    last = str(job.iterations if until is None else until)
    if resume_after:
        start = f"{output}/run_it{resume_after:03d}_optimiser.star"
        return ["relion_refine", "--continue", start, "--o", f"{output}/run", "--iter", last, "--j", str(job.threads)]
    options = (
        f"--ini_high {INITIAL_LOW_PASS_ANGSTROM} --firstiter_cc --ctf --tau2_fudge {TAU2_FUDGE} --zero_mask --norm"
        f" --scale --particle_diameter {DIAMETER_ANGSTROM} --flatten_solvent --sym C1 --pad 2 --pool 30"
        f" --oversampling 1 --healpix_order {job.healpix_order} --offset_range 5 --offset_step 2"
        f" --K {job.classes} --random_seed {job.seed}"
    )
    files = ["--i", "particles.star", "--ref", "reference.mrc", "--o", f"{output}/run"]
    return ["relion_refine", *files, "--iter", last, "--j", str(job.threads), *options.split()]


def our_command(job: Job, directory: Path, output: str) -> list[str]:
    """The command of this package's program for the same job."""
    parameters = {
        "number_of_classes": job.classes, "iterations": job.iterations, "tau2_fudge": TAU2_FUDGE,
        "ini_high_angstrom": INITIAL_LOW_PASS_ANGSTROM, "particle_diameter_angstrom": DIAMETER_ANGSTROM,
        "healpix_order": job.healpix_order, "oversampling": 1, "offset_range_px": 5.0, "offset_step_px": 2.0,
        "firstiter_cc": True, "flatten_solvent": True, "zero_mask": True, "norm": True, "scale": True,
    }  # fmt: skip
    inputs = {"particles": str(directory / "particles.star"), "reference": str(directory / "reference.mrc")}
    request = {
        "stage": "class3d", "kind": "class3d", "parameters": parameters, "output_dir": str(directory / output),
        "seed": job.seed, "threads": job.threads, "processes": job.processes, "inputs": inputs,
    }  # fmt: skip
    program = "cryorepro_engines.programs.class3d"
    return [sys.executable, "-m", program, "--request-json", json.dumps(request)]


def marks(directory: Path, iterations: int) -> dict[int, Path]:
    """The file that ends each iteration, for either program; 0 for the files of the start."""
    return {i: directory / f"run_it{i:03d}_data.star" for i in range(iterations + 1)}


def run_ours(job: Job, directory: Path, output: str = "ours") -> Metered:
    """Run this package's program on a written job."""
    where = directory / output
    where.mkdir(exist_ok=True)
    for left in where.glob("run_*"):
        left.unlink()
    command = our_command(job, directory, output)
    return run_metered(command, directory, marks(where, job.iterations), {}, where / "log.txt")


def run_relion(job: Job, directory: Path, output: str = "relion", until: int | None = None) -> Metered:
    """Run RELION on a written job to iteration ``until``, from the last iteration that is there."""
    where = directory / output
    where.mkdir(exist_ok=True)
    last = job.iterations if until is None else until
    done = max((i for i in range(last + 1) if (where / f"run_it{i:03d}_model.star").exists()), default=0)
    if done >= last and until is None:
        for left in where.glob("run_*"):
            left.unlink()
        done = 0
    found = run_metered(
        relion_command(job, output, done, last), directory, marks(where, last), ALLOCATOR, where / "log.txt"
    )
    if done:
        found.iterations.insert(0, (done, 0.0, 0.0))  # its start-up counts to the first iteration
    found.share_of_next = share_done(where / "log.txt")
    return found


def run_relion_from_ours(job: Job, directory: Path, after: int) -> Metered:
    """Let RELION do the one iteration that follows our iteration ``after``: the same state, the same particles."""
    ours, where = directory / "ours", directory / "relion_after_ours"
    where.mkdir(exist_ok=True)
    log = where / "log.txt"
    for left in [*where.glob("run_*"), log]:
        left.unlink(missing_ok=True)
    for name in ("particles.mrcs", "particles.star"):
        if not (ours / name).exists():
            (ours / name).symlink_to(directory / name)
    command = [
        "relion_refine", "--continue", f"run_it{after:03d}_optimiser.star", "--o", f"../{where.name}/run",
        "--iter", str(after + 1), "--j", str(job.threads),
    ]  # fmt: skip
    found = run_metered(command, ours, {after + 1: where / f"run_it{after + 1:03d}_data.star"}, ALLOCATOR, log)
    found.iterations.insert(0, (after, 0.0, 0.0))
    found.share_of_next = share_done(log)
    return found


def share_done(log: Path) -> float:
    """How far RELION's last expectation step had come, by its progress bar (elapsed over expected time)."""
    shown = log.read_text().replace("\r", "\n").rpartition("Expectation iteration")[2]
    bars = re.findall(r"^\s*([\d.]+)/\s*([\d.]+) (?:sec|min|hrs)", shown, re.MULTILINE)
    return float(bars[-1][0]) / float(bars[-1][1]) if bars and float(bars[-1][1]) > 0 else 0.0
