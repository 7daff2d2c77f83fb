"""Non-uniform against homogeneous refinement of particles from the movies of 10288's twin, at less contrast.

    python -m benchmarks.movies.nonuniform_twin OUT [--contrast 0.45] [--data-seeds 1 2 3] [--box 80]

At the twin's own contrast both refinements reach the Nyquist limit. Movies are simulated, corrected and their CTF
fitted as in the pipeline; particles are cut at the true places, so that only refinement differs, and both start from
the true map low-passed to 30 A. What is held against the truth, inside the protein without its belt, is the plain mean
of the half maps: poses alone make the difference. Writes ``OUT/nonuniform_twin.csv`` and, of the first seed,
``OUT/nonuniform_twin.png``.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cryorepro_datasets.archive_entries import EMPIAR_10288
from cryorepro_metrics.aligned_map import AlignedMapTruth
from cryorepro_metrics.matched_poses import MatchedPoseError
from cryorepro_metrics.movie_truth import stem_of
from numpy.typing import NDArray

from benchmarks.movies.stages import Stages
from cryorepro.em.formats.maps import read_map, write_map
from cryorepro.em.formats.star import read_star
from cryorepro.em.local_resolution import local_resolution
from cryorepro.em.local_windows import LocalWindow
from cryorepro.em.lowpass import lowpass_map
from cryorepro.em.map_resampling import resample_map
from cryorepro.em.picking.picks import Picks
from cryorepro.em.picking.tables import write_picks
from cryorepro.model.dataset import DataRequest
from cryorepro.plugins.interfaces import MetricContext

KINDS = {"homogeneous": "homogeneousrefinement", "non-uniform": "nonuniformrefinement"}
BOX_IN_MICROGRAPH, DIAMETER_ANGSTROM, START_ANGSTROM = 180, 180.0, 30.0
_WINDOW = LocalWindow(3, 6, 4)
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """One refinement: the mean of its half maps, their local resolution, its mask, and what the truth says."""

    mean: Floats
    local_angstrom: Floats
    mask: Floats
    row: dict[str, Any]


def prepared(home: Path, contrast: float, seed: int) -> Stages:
    """The twin's movies at this contrast, and its truth."""
    request = DataRequest(
        tier="twin", directory=home / "data", truth_directory=home / "truth", seed=seed,
        parameters={"contrast_gain": contrast},
    )  # fmt: skip
    return Stages(EMPIAR_10288.prepare(request), EMPIAR_10288.truth(request), home)


def particles(stages: Stages, box: int) -> Path:
    """Particles cut at their true places from our sums of the movies."""
    movies = {role: stages.data.files[role] for role in ("movies", "gain", "defects")}
    dose = {"total_dose_e_per_square_angstrom": 58.0, "flip_gain_y": True, "patches_x": 4, "patches_y": 4}
    folder, result, _ = stages.run("ours", "motioncorrection", "motion", movies, **dose)
    sums = {"micrographs": folder / result.outputs["micrographs"]}
    folder, result, _ = stages.run("ours", "ctfestimation", "ctf", sums)
    found = {role: folder / result.outputs[role] for role in ("micrographs", "local_defocus")}
    places = true_places(stages, found["micrographs"])
    inputs = {**found, "coordinates": places}
    folder, result, _ = stages.run(
        "ours", "extraction", "extraction", inputs, box_px=BOX_IN_MICROGRAPH, rescaled_box_px=box
    )
    return folder / result.outputs["particles"]


def true_places(stages: Stages, micrographs: Path) -> Path:
    """The truth's coordinates as a list of picks."""
    block = read_star(stages.truth["particles"])["particles"]
    at = np.stack([block.numbers("rlnCoordinateX"), block.numbers("rlnCoordinateY")], axis=1)
    stems = np.array([stem_of(name) for name in block.text("rlnMicrographName")])
    names = read_star(micrographs)["micrographs"].text("rlnMicrographName")
    picks = []
    for name in names:
        own = at[stems == stem_of(name)]
        ones = np.ones(len(own))
        picks.append(Picks(own, ones, ones, 0.0 * ones, ones.astype(np.int64), DIAMETER_ANGSTROM * ones))
    folder = stages.home / "true-places"
    folder.mkdir()
    write_picks(folder, names, picks, {})
    return folder / "autopick.star"


def refined(stages: Stages, label: str, star: Path, start: Path, seed: int) -> Outcome:
    """One refinement held against the truth."""
    inputs = {"particles": star, "reference": start}
    given = {"symmetry": "C1", "particle_diameter_angstrom": DIAMETER_ANGSTROM}
    folder, result, cpu = stages.run("ours", KINDS[label], label, inputs, **given)
    read = [read_map(folder / f"run_half{k}_class001_unfil.mrc") for k in (1, 2)]
    halves, pixel = [half.astype(np.float64) for half, _ in read], read[0][1]
    mean, file = 0.5 * (halves[0] + halves[1]), folder / "mean_of_halves.mrc"
    write_map(file, mean.astype(np.float32), pixel)
    curve = AlignedMapTruth().measure(MetricContext({"map": file}, stages.data, stages.truth, {}, {}))
    poses = MatchedPoseError().measure(stages.context(folder, result))
    mask = read_map(folder / "run_mask.mrc")[0].astype(np.float64)
    local = local_resolution(halves[0], halves[1], pixel, _WINDOW, np.random.default_rng(1), mask).map_angstrom
    row = {
        "data_seed": seed,
        "refinement": label,
        "fsc_to_truth_05_angstrom": round(float(curve.details["interpolated_angstrom"]), 2),
        "mean_fsc_to_truth": curve.details["mean_within_mask"],
        "median_pose_error_degrees": round(poses.value, 3),
        "within_15_degrees": poses.details["within_15_degrees"],
        "half_map_resolution_angstrom": round(result.numbers["current_resolution_angstrom"], 2),
        "median_local_resolution_angstrom": round(float(np.median(local[mask > 0.5])), 2),
        "cpu_seconds": round(cpu, 1),
    }
    return Outcome(mean, np.asarray(local, dtype=np.float64), mask, row)


def draw(path: Path, outcomes: dict[str, Outcome], title: str) -> None:
    """Sections of the map and of its local resolution, one row for each refinement."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 3.4 * len(outcomes)), layout="constrained")
    FigureCanvasAgg(figure)
    for line, (label, outcome) in zip(figure.subplots(len(outcomes), 2, squeeze=False), outcomes.items(), strict=True):
        middle = outcome.mask.shape[0] // 2
        within = outcome.mask[:, middle] > 0.5
        resolution = np.where(within, outcome.local_angstrom[:, middle], np.nan)
        line[0].imshow(outcome.mean[:, middle], origin="lower", cmap="gray")
        shown = line[1].imshow(resolution, origin="lower", cmap="viridis_r", vmin=7.5, vmax=20.0)
        figure.colorbar(shown, ax=line[1], label="local resolution, Å", shrink=0.8)
        for axis, words in zip(line, ("mean of the half maps", "local resolution"), strict=True):
            axis.contour(within, levels=[0.5], colors="red", linewidths=0.8)
            axis.set_title(f"{label}: {words}", fontsize=9)
            axis.set_axis_off()
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=110)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all seeds; the table is written as it grows, the picture after the first."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--contrast", type=float, default=0.45, help="times life's; the twin's own is 2")
    parser.add_argument("--data-seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--box", type=int, default=80, help="of the particles, which are 180 pixels wide in the sums")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for seed in given.data_seeds:
        home = given.out / f"seed{seed}"
        home.mkdir(parents=True)
        stages = prepared(home, given.contrast, seed)
        star = particles(stages, given.box)
        volume, pixel = read_map(stages.truth["map"])
        coarse, start = lowpass_map(volume, START_ANGSTROM, pixel).astype(np.float64), home / "start.mrc"
        wide = stages.data.pixel_size_angstrom * BOX_IN_MICROGRAPH / given.box
        write_map(start, resample_map(coarse, pixel, given.box, wide).astype(np.float32), wide)
        outcomes = {label: refined(stages, label, star, start, seed) for label in KINDS}
        rows += [outcome.row for outcome in outcomes.values()]
        print("\n".join(str(row) for row in rows[-len(KINDS) :]), flush=True)
        if seed == given.data_seeds[0]:
            title = f"Twin of 10288 at {given.contrast:g} times life's contrast, movies of seed {seed}"
            draw(given.out / "nonuniform_twin.png", outcomes, title)
        with (given.out / "nonuniform_twin.csv").open("w", newline="") as stream:
            table = csv.DictWriter(stream, list(rows[0]))
            table.writeheader()
            table.writerows(rows)


if __name__ == "__main__":
    main()
