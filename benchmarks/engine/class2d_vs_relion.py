"""2D classification against RELION: the same files and options, both as whole processes, cost and quality.

    python -m benchmarks.engine.class2d_vs_relion [--particles 1000] [--classes 20] [--seeds 1,2,3] [--only ours]

Particles show a simulated ribosome from a few fixed directions, so that the class each belongs to is known.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from benchmarks.engine.class2d_jobs import Options, Spent, our_job, relion_job
from benchmarks.engine.class2d_quality import Quality, quality
from tests.em.simulated import write_set
from tests.em.views import ViewSet, view_set

JOBS: dict[str, Callable[[Path, Path, Options], Spent]] = {"RELION": relion_job, "ours": our_job}


@dataclass(frozen=True)
class Run:
    """One process: what it spent and how good its classes are."""

    program: str
    seed: int
    spent: Spent
    quality: Quality


def compare(
    directory: Path, seen: ViewSet, options: Options, seeds: Sequence[int], programs: Sequence[str]
) -> list[Run]:
    """Run every program with every seed, in turn, on one set written to ``directory``."""
    star = write_set(seen.data, directory)
    runs = []
    for seed in seeds:
        for program in programs:
            output = directory / f"{program}-{seed}"
            spent = JOBS[program](star, output, replace(options, seed=seed))
            run = Run(program, seed, spent, quality(output, options.iterations, seen))
            runs.append(run)
            print(_row(run), flush=True)
    return runs


def _row(run: Run) -> str:
    found, spent = run.quality, run.spent
    return (
        f"| {run.program} | {run.seed} | {spent.cpu_seconds:.1f} | {spent.wall_seconds:.1f} | {found.purity:.3f} |"
        f" {found.adjusted_rand:.3f} | {found.classes_in_use} | {found.views_found} | {found.mean_frc:.3f} |"
    )


def summary(runs: Sequence[Run]) -> str:
    """Ratio of the medians of CPU and wall seconds, RELION's over ours."""
    spent = {name: [run.spent for run in runs if run.program == name] for name in JOBS}
    if not all(spent.values()):
        return ""
    cpu, wall = (
        median(getattr(s, part) for s in spent["RELION"]) / median(getattr(s, part) for s in spent["ours"])
        for part in ("cpu_seconds", "wall_seconds")
    )
    return f"RELION / ours, medians: CPU {cpu:.1f}, wall {wall:.1f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the comparison in a temporary directory and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    for name, value in (("particles", 1000), ("views", 8), ("classes", 20), ("iterations", 10), ("box", 64)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--psi-step", type=float, default=12.0)
    parser.add_argument("--snr", type=float, default=0.3)
    parser.add_argument("--seeds", default="1")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=sorted(JOBS))
    given = parser.parse_args(arguments)
    seen = view_set(given.particles, given.views, given.box, 7.54 * 64 / given.box, given.snr)
    options = Options(given.classes, given.iterations, given.psi_step, threads=given.threads)
    programs = [given.only] if given.only else list(JOBS)
    print("| program | seed | CPU s | wall s | purity | adjusted Rand | classes in use | views found | mean FRC |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as directory:
        runs = compare(Path(directory), seen, options, [int(seed) for seed in given.seeds.split(",")], programs)
    print(summary(runs))


if __name__ == "__main__":
    main()
