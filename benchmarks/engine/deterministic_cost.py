"""What deterministic mode costs, and how far runs of the default differ: whole Class3D processes, in turns.

    python -m benchmarks.engine.deterministic_cost --particles 500 --box 64 --iterations 4 --repeats 3

Three runs a round: the default, deterministic mode, and the default on two processes, whose sums are taken in another
order. Printed: medians of CPU-seconds and seconds with their ratio, whether every deterministic run left the same bits,
and the difference of the two defaults, iteration by iteration.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.engine.class3d_jobs import Job, marks, our_command, write_job
from benchmarks.engine.metered import Metered, run_metered
from cryorepro.em.formats.maps import read_map
from cryorepro.em.formats.particles import read_particles
from cryorepro.em.fsc import fsc_curve

MODES: dict[str, dict[str, Any]] = {
    "default": {},
    "deterministic": {"deterministic": True},
    "default on two processes": {"processes": 2},
}


def run(job: Job, directory: Path, mode: str) -> tuple[Metered, Path]:
    """One process of a mode; what it took and where its files are."""
    where = directory / mode.replace(" ", "-")
    where.mkdir(exist_ok=True)
    for left in where.glob("run_*"):
        left.unlink()
    command = our_command(job, directory, where.name)
    command[-1] = json.dumps(json.loads(command[-1]) | MODES[mode])
    return run_metered(command, directory, marks(where, job.iterations), {}, where / "log.txt"), where


def bits(where: Path, job: Job) -> str:
    """Digest of the last iteration's maps and particles."""
    digest = hashlib.sha256()
    for path in sorted(where.glob(f"run_it{job.iterations:03d}_*")):
        if path.suffix in (".mrc", ".star"):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def difference(first: Path, second: Path, iteration: int, classes: int) -> dict[str, float]:
    """How two runs differ after an iteration: voxels over the largest, lowest FSC to half of Nyquist, particles."""
    maps = [[read_map(f / f"run_it{iteration:03d}_class{k + 1:03d}.mrc")[0] for k in range(classes)]
            for f in (first, second)]  # fmt: skip
    tables = [read_particles(folder / f"run_it{iteration:03d}_data.star") for folder in (first, second)]
    shells = slice(1, maps[0][0].shape[0] // 4)
    same = tables[0].columns["rlnClassNumber"] == tables[1].columns["rlnClassNumber"]
    angles = np.abs(tables[0].angles_degrees - tables[1].angles_degrees).max(axis=1) < 1e-3
    return {
        "largest voxel": max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in zip(*maps, strict=True)),
        "lowest FSC": min(float(fsc_curve(a, b)[shells].min()) for a, b in zip(*maps, strict=True)),
        "same class": float(same.mean()),
        "same pose": float(angles.mean()),
    }


def measure(job: Job, directory: Path, repeats: int) -> dict[str, Any]:
    """All modes in turns, ``repeats`` times."""
    write_job(job, directory)
    taken: dict[str, list[Metered]] = {mode: [] for mode in MODES}
    digests: dict[str, set[str]] = {mode: set() for mode in MODES}
    folders: dict[str, Path] = {}
    for _ in range(repeats):
        for mode in MODES:
            found, folders[mode] = run(job, directory, mode)
            taken[mode].append(found)
            digests[mode].add(bits(folders[mode], job))
    pair = folders["default"], folders["default on two processes"]
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "job": job.name,
        "cpu_seconds": {mode: [one.cpu_seconds for one in found] for mode, found in taken.items()},
        "seconds": {mode: [one.wall_seconds for one in found] for mode, found in taken.items()},
        "results": {mode: len(found) for mode, found in digests.items()},
        "difference": {i: difference(*pair, i, job.classes) for i in range(1, job.iterations + 1)},
    }


def show(record: dict[str, Any]) -> None:
    """Print a record."""
    for name in ("cpu_seconds", "seconds"):
        medians = {mode: statistics.median(values) for mode, values in record[name].items()}
        ratio = medians["deterministic"] / medians["default"]
        print(
            f"{name}: default {medians['default']:.2f}, deterministic {medians['deterministic']:.2f}, ratio {ratio:.3f}"
        )
    print(f"different results among the repeats: {record['results']}")
    for iteration, found in record["difference"].items():
        print(f"iteration {iteration}, default on one and on two processes: {found}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--particles", type=int, default=500)
    parser.add_argument("--box", type=int, default=64)
    parser.add_argument("--snr", type=float, default=0.3)
    parser.add_argument("--classes", type=int, default=3)
    parser.add_argument("--healpix-order", type=int, default=2)
    parser.add_argument("--iterations", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--record", type=Path, help="append the measurements to this JSON-lines file")
    options = parser.parse_args(arguments)
    job = Job(
        options.particles, options.box, options.snr, options.classes, options.healpix_order, options.iterations,
        threads=options.threads,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as temporary:
        record = measure(job, Path(temporary) / job.name, options.repeats)
    show(record)
    if options.record:
        with options.record.open("a") as stream:
            stream.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
