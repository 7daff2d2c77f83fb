"""3D classification against the real RELION: the same files and options, whole processes, run in turns.

    python -m benchmarks.engine.class3d_vs_relion --particles 1000 --box 64 --iterations 5 --repeats 2

Prints seconds and CPU-seconds per process and per iteration with their ratios, and what both found against the truth;
`--record FILE` appends everything to a JSON-lines file. RELION takes minutes to hours: `--only relion --until N` runs
it to iteration N in a `--directory` that is kept, and may be repeated; what it took is kept there too, and later runs
with that directory and `--only ours` compare with it. Seconds are compared only when both ran in turns in one call;
CPU-seconds stand the machine's other work better. `--hand-over N` lets RELION go on from our iteration N for one more:
the same state for both. A run of RELION's that is stopped (SIGTERM) still tells what its iteration would have taken, by
the share of the particles it had done; such figures are marked.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from benchmarks.engine.class3d_jobs import Job, run_ours, run_relion, run_relion_from_ours, write_job
from benchmarks.engine.metered import Metered
from benchmarks.engine.truth import Quality, quality

# The vectorised single-precision build of RELION's source is this much faster than Debian's, by other measurements.
VECTORISED_GAIN = (1.4, 2.9)


def run(options: argparse.Namespace, job: Job, directory: Path) -> dict[str, Any]:
    """Run what is asked for, in turns; RELION's measurements are kept in the directory."""
    write_job(job, directory)
    ours: list[Metered] = []
    only, after = options.only, options.hand_over
    for _ in range(options.repeats):
        if only != "ours" and after is None:
            _keep(directory, run_relion(job, directory, until=options.until))
        if only != "relion":
            ours.append(run_ours(job, directory))
        if only != "ours" and after is not None:
            _keep(directory, run_relion_from_ours(job, directory, after))
    theirs = _kept(directory)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "job": asdict(job),
        "machine": {"processor": platform.processor() or platform.machine(), "cpus": os.cpu_count()},
        "in_turns": only is None and after is None,
        "ours": [asdict(one) for one in ours],
        "relion": [asdict(one) for one in theirs],
        "per_iteration": {"ours": _per_iteration(ours), "relion": _per_iteration(theirs)},
        "estimated": [one.estimated_next() for one in theirs if one.estimated_next() is not None],
        "quality": _qualities(job, directory),
    }


def _keep(directory: Path, found: Metered) -> None:
    with (directory / "relion.jsonl").open("a") as stream:
        stream.write(json.dumps(asdict(found)) + "\n")


def _kept(directory: Path) -> list[Metered]:
    path = directory / "relion.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [Metered(**json.loads(line)) for line in lines]


def _per_iteration(found: Sequence[Metered]) -> dict[int, tuple[float, float]]:
    """Median (seconds, CPU-seconds) of each iteration over the runs that have it."""
    collected: dict[int, list[tuple[float, float]]] = {}
    for one in found:
        for number, pair in one.per_iteration().items():
            collected.setdefault(number, []).append(pair)
    return {
        number: (statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs))
        for number, pairs in sorted(collected.items())
    }


def _qualities(job: Job, directory: Path) -> dict[str, dict[int, dict[str, Any]]]:
    """Of every iteration whose files are there, for both programs."""
    data = job.data()
    found: dict[str, dict[int, dict[str, Any]]] = {"ours": {}, "relion": {}}
    for name, results in found.items():
        for number in range(1, job.iterations + 1):
            last = directory / name / f"run_it{number:03d}_class{job.classes:03d}.mrc"
            if last.exists() and (directory / name / f"run_it{number:03d}_model.star").exists():
                results[number] = asdict(quality(data, directory / name, number, job.classes))
    return found


def show(record: dict[str, Any]) -> None:
    """Print a record as tables."""
    per_iteration = record["per_iteration"]
    print(f"{'':34s}{'RELION':>12s}{'ours':>10s}{'ratio':>8s}{'vs vectorised':>16s}")
    for number in sorted({*per_iteration["relion"], *per_iteration["ours"]}):
        pair = [per_iteration[name].get(number, (None, None))[1] for name in ("relion", "ours")]
        _row(f"iteration {number}, CPU-seconds", pair[0], pair[1])
    for number, cpu in record["estimated"]:
        _row(f"iteration {number} *, CPU-seconds", cpu, per_iteration["ours"].get(number, (None, None))[1])
    if record["estimated"]:
        print("* RELION's was stopped; from the share of the iteration it had done")
    whole = {
        name: [one for one in record[name] if one["complete"] and one["iterations"][0][0] == 0]
        for name in ("relion", "ours")
    }
    for field, title in (("cpu_seconds", "process, CPU-seconds"), ("wall_seconds", "process, seconds")):
        values = [statistics.median(one[field] for one in runs) if runs else None for runs in whole.values()]
        if field == "cpu_seconds" or record["in_turns"]:
            _row(title, values[0], values[1])
    print(f"RELION's runs started at loads {[round(one['load_before'], 1) for one in record['relion']]},"
          f" ours at {[round(one['load_before'], 1) for one in record['ours']]}")  # fmt: skip
    for number in sorted({*record["quality"]["relion"], *record["quality"]["ours"]}):
        for name in ("relion", "ours"):
            if number in record["quality"][name]:
                _quality_row(number, name, Quality(**record["quality"][name][number]))


def _row(title: str, relion: float | None, ours: float | None) -> None:
    cells = [f"{value:.1f}" if value is not None else "not run" for value in (relion, ours)]
    ratio = vectorised = ""
    if relion is not None and ours is not None:
        ratio = f"{relion / ours:.1f}"
        # by arithmetic from the two builds' measured ratio: no such build was run here
        vectorised = "-".join(f"{relion / ours / gain:.0f}" for gain in reversed(VECTORISED_GAIN))
    print(f"{title:34s}{cells[0]:>12s}{cells[1]:>10s}{ratio:>8s}{vectorised:>16s}")


def _quality_row(number: int, name: str, found: Quality) -> None:
    maps = " ".join(f"{value:.1f}" for value in found.fsc_half_angstrom)
    print(
        f"iteration {number} {name:7s} class accuracy {found.class_accuracy:.3f}  within 15 degrees"
        f" {found.within_15_degrees:.3f} (median {found.median_pose_error_deg:.1f})  shift error"
        f" {found.shift_error_px:.2f} px  FSC 0.5 at {maps} A  Pmax {found.mean_pmax:.3f}"
    )


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--particles", type=int, default=1000)
    parser.add_argument("--box", type=int, default=64)
    parser.add_argument("--classes", type=int, default=3)
    parser.add_argument("--healpix-order", type=int, default=2)
    parser.add_argument("--snr", type=float, default=0.3)
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--only", choices=("ours", "relion"))
    parser.add_argument("--until", type=int, help="last iteration of RELION's in this call; it goes on where it was")
    parser.add_argument("--hand-over", type=int, metavar="N", help="RELION does one iteration after our iteration N")
    parser.add_argument("--directory", type=Path, help="keep the job here; by default it is removed")
    parser.add_argument("--record", type=Path, help="append the measurements to this JSON-lines file")
    return parser.parse_args(given)


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, print, record."""
    signal.signal(signal.SIGTERM, _stop)
    torch.set_num_threads(1)
    options = _arguments(arguments)
    job = Job(
        options.particles, options.box, options.snr, options.classes, options.healpix_order, options.iterations,
        options.seed, options.threads,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as temporary:
        directory = (options.directory or Path(temporary) / job.name).resolve()
        record = run(options, job, directory)
    show(record)
    if options.record:
        with options.record.open("a") as stream:
            stream.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
