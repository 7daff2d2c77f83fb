"""Gold-standard refinement against RELION: the same files and options, both to convergence as whole processes.

    python -m benchmarks.engine.refine3d_vs_relion [--particles 500] [--order 1] [--seeds 1] [--only ours]
        [--directory DIR] [--record FILE]

Both search globally up to order 3 and locally from order 4 on, RELION's default. The prior on offsets is flat,
because RELION 3.1 mixes Angstrom and pixels in it. RELION runs as it must for split halves, a leader and two ranks.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import numpy as np
import torch
from cryorepro_relion.command import ALLOCATOR

from benchmarks.engine.metered import Metered, run_metered
from cryorepro.em.formats.maps import read_map, write_map
from cryorepro.em.formats.particles import read_particles
from cryorepro.em.formats.star import read_star
from cryorepro.em.fsc import crossing, fsc_curve
from cryorepro.em.rotations import euler_to_matrix, rotation_angle_deg
from tests.em.simulated import SimulatedSet, simulated_set, write_set

BOX_PX, PIXEL_SIZE_ANGSTROM, DIAMETER_ANGSTROM, START_ANGSTROM = 64, 7.54, 360.0, 60.0
_MOST_ITERATIONS = 50


@dataclass(frozen=True)
class Job:
    """What is refined; every field is in the record."""

    particles: int
    snr: float
    order: int
    local_order: int
    seed: int
    threads: int


@dataclass(frozen=True)
class Outcome:
    """One process to convergence: what it spent, and how good its map and poses are.

    ``shell`` figures count Fourier shells of the box; ``truth_fsc`` is the mean FSC with the truth over all shells.
    """

    program: str
    cpu_seconds: float
    wall_seconds: float
    iterations: int
    step_deg: float
    half_map_shell: int
    truth_shell: int
    truth_fsc: float
    pose_error_deg: float


def relion_command(job: Job) -> list[str]:
    """RELION's command for the job, started beside its files."""
    options = (
        f"--auto_refine --split_random_halves --firstiter_cc --ini_high {START_ANGSTROM} --ctf --ctf_corrected_ref"
        f" --particle_diameter {DIAMETER_ANGSTROM} --flatten_solvent --zero_mask --oversampling 1 --sym C1"
        f" --healpix_order {job.order} --auto_local_healpix_order {job.local_order} --offset_range 5 --offset_step 2"
        f" --low_resol_join_halves 40 --norm --scale --offset 1000 --fix_sigma_offset --random_seed {job.seed}"
        f" --dont_combine_weights_via_disc --pool 30 --j 1 --auto_iter_max {_MOST_ITERATIONS}"
    )
    files = ["--i", "particles.star", "--ref", "reference.mrc", "--o", "relion/run"]
    return [*_mpi(), *files, *options.split()]


def our_command(job: Job, directory: Path) -> list[str]:
    """The command of this package's program for the same job."""
    parameters = {
        "particle_diameter_angstrom": DIAMETER_ANGSTROM, "ini_high_angstrom": START_ANGSTROM,
        "healpix_order": job.order, "auto_local_healpix_order": job.local_order, "offset_range_px": 5.0,
        "offset_step_px": 2.0, "offset_sigma_angstrom": 1000.0, "fix_offset_sigma": True, "firstiter_cc": True,
        "maximum_iterations": _MOST_ITERATIONS,
    }  # fmt: skip
    request = {
        "stage": "refine3d", "kind": "refine3d", "parameters": parameters, "output_dir": str(directory / "ours"),
        "seed": job.seed, "threads": job.threads,
        "inputs": {name: str(directory / file) for name, file in
                   (("particles", "particles.star"), ("reference", "reference.mrc"))},
    }  # fmt: skip
    return [sys.executable, "-m", "cryorepro_engines.programs.refine3d", "--request-json", json.dumps(request)]


def run_program(name: str, job: Job, directory: Path) -> Metered:
    """Run one program on a written job; RELION goes on where an interrupted run of this benchmark left it.

    Raises:
        SystemExit: it was interrupted; what its finished iterations took is kept for the next time.
    """
    where = directory / name
    where.mkdir(exist_ok=True)
    before, command = _left_over(where, name, job, directory)
    marks = {i: where / f"run_it{i:03d}_data.star" for i in range(_MOST_ITERATIONS + 1)}
    environment = {"OMP_NUM_THREADS": "1", **(ALLOCATOR if name == "relion" else {})}
    spent = run_metered(command, directory, marks, environment, where / "log.txt")
    if not spent.complete:
        last = max(spent.iterations, default=(before["iteration"], 0.0, 0.0))
        kept = {"iteration": last[0], "wall": before["wall"] + last[1], "cpu": before["cpu"] + last[2]}
        (where / "spent.json").write_text(json.dumps(kept))
        raise SystemExit(
            f"{name}: interrupted after iteration {last[0]}, {kept['cpu']:.1f} CPU-s and {kept['wall']:.1f} s so far;"
            " the same command with --directory goes on"
        )
    spent.wall_seconds += before["wall"]
    spent.cpu_seconds += before["cpu"]
    return spent


def _left_over(where: Path, name: str, job: Job, directory: Path) -> tuple[dict[str, float], list[str]]:
    """What an interrupted run took, and the command that goes on from it, or nothing and the one from the start."""
    note = where / "spent.json"
    if name == "relion" and note.exists():
        before = json.loads(note.read_text())
        if before["iteration"] > 0:
            start = f"relion/run_it{before['iteration']:03d}_optimiser.star"
            again = ["--continue", start, "--o", "relion/run", "--auto_iter_max", str(_MOST_ITERATIONS)]
            runtime = ["--dont_combine_weights_via_disc", "--pool", "30", "--j", "1"]
            return before, [*_mpi(), *again, *runtime]
    for left in where.glob("run*"):
        left.unlink()
    command = our_command(job, directory) if name == "ours" else relion_command(job)
    return {"iteration": 0, "wall": 0.0, "cpu": 0.0}, command


def _mpi() -> list[str]:
    root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
    return ["mpirun", "-n", "3", "--oversubscribe", *root, "relion_refine_mpi"]


def outcome(name: str, spent: Metered, directory: Path, data: SimulatedSet) -> Outcome:
    """Read what a converged refinement left, and hold it against the truth."""
    where = directory / name
    volume, _ = read_map(where / "run_class001.mrc")
    truth = fsc_curve(volume, data.volume(0).numpy())
    halves = [read_map(where / f"run_half{k}_class001_unfil.mrc")[0] for k in (1, 2)]
    table = read_particles(where / "run_data.star")
    rows = [int(image.partition("@")[0]) - 1 for image in table.image_names]
    found = euler_to_matrix(torch.from_numpy(table.angles_degrees))
    error = rotation_angle_deg(found, euler_to_matrix(torch.from_numpy(data.views.angles_degrees[rows])))
    order = int(read_star(where / "run_sampling.star")["sampling_general"].value("rlnHealpixOrder"))
    return Outcome(
        program=name,
        cpu_seconds=round(spent.cpu_seconds, 1),
        wall_seconds=round(spent.wall_seconds, 1),
        iterations=max((number for number, _, _ in spent.iterations), default=0),
        step_deg=60.0 / 2 ** (order + 1),
        half_map_shell=crossing(fsc_curve(halves[0], halves[1]), 0.143).shell,
        truth_shell=crossing(truth, 0.5).shell,
        truth_fsc=round(float(truth[1:].mean()), 4),
        pose_error_deg=round(float(error.median()), 3),
    )


def compare(job: Job, directory: Path, programs: Sequence[str]) -> list[Outcome]:
    """Write the set, run every program on it, print a row each."""
    directory.mkdir(parents=True, exist_ok=True)
    data = simulated_set(job.particles, BOX_PX, PIXEL_SIZE_ANGSTROM, job.snr, job.seed, shares=(1.0, 0.0, 0.0))
    if not (directory / "particles.star").exists():
        write_set(data, directory)
    write_map(directory / "reference.mrc", data.volume(0, START_ANGSTROM).numpy(), PIXEL_SIZE_ANGSTROM)
    found = []
    for name in programs:
        found.append(outcome(name, run_program(name, job, directory), directory, data))
        print(_row(job, found[-1]), flush=True)
    return found


def _row(job: Job, found: Outcome) -> str:
    extent = BOX_PX * PIXEL_SIZE_ANGSTROM
    return (
        f"| {found.program} | {job.seed} | {found.cpu_seconds:.1f} | {found.wall_seconds:.1f} | {found.iterations}"
        f" | {found.step_deg:.2f} | {extent / found.half_map_shell:.1f} A ({found.half_map_shell})"
        f" | {extent / found.truth_shell:.1f} A ({found.truth_shell}) | {found.truth_fsc:.4f}"
        f" | {found.pose_error_deg:.2f} |"
    )


def summary(runs: Sequence[Outcome]) -> str:
    """Ratios of the medians, RELION's over ours; empty unless both ran."""

    def middle(program: str, part: Callable[[Outcome], float]) -> float:
        return median(part(run) for run in runs if run.program == program)

    if len({run.program for run in runs}) < 2:
        return ""
    cpu = middle("relion", lambda run: run.cpu_seconds) / middle("ours", lambda run: run.cpu_seconds)
    wall = middle("relion", lambda run: run.wall_seconds) / middle("ours", lambda run: run.wall_seconds)
    return f"RELION / ours, medians: CPU {cpu:.1f}, wall {wall:.1f}"


def append_record(path: Path, job: Job, runs: Sequence[Outcome]) -> None:
    """Append one dated line of JSON."""
    line = {
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "benchmark": "refine3d_vs_relion",
        "job": asdict(job),
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "load_after": os.getloadavg()[0]},
        "versions": {"torch": torch.__version__, "numpy": np.__version__},
        "runs": [asdict(run) for run in runs],
    }
    with path.open("a") as stream:
        stream.write(json.dumps(line) + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the comparison and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    for name, value in (("particles", 500), ("order", 1), ("local-order", 4), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--snr", type=float, default=0.3)
    parser.add_argument("--seeds", default="1")
    parser.add_argument("--only", choices=("relion", "ours"))
    parser.add_argument("--directory", type=Path, help="keep the jobs here; default: a temporary directory")
    parser.add_argument("--record", type=Path, default=Path(__file__).with_name("records.jsonl"))
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    programs = [given.only] if given.only else ["relion", "ours"]
    print(
        "| program | seed | CPU s | wall s | iterations | step | half maps 0.143 | truth 0.5 | mean FSC | pose error |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    runs: list[Outcome] = []
    with tempfile.TemporaryDirectory() as temporary:
        for seed in (int(text) for text in given.seeds.split(",")):
            job = Job(given.particles, given.snr, given.order, given.local_order, seed, given.threads)
            found = compare(job, (given.directory or Path(temporary)) / f"seed{seed}", programs)
            append_record(given.record, job, found)
            runs += found
    print(summary(runs))


if __name__ == "__main__":
    main()
