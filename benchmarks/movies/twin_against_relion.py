"""The stages from a twin's movies to its picks, ours and RELION's on the same files, in one table against the truth.

    python -m benchmarks.movies.twin_against_relion --dataset empiar-10288 [--movies 14] [--directory DIR]

Motion correction by both programs with the same options; CTF estimation by ours of both programs' sums (RELION has none
of its own); blobs and a template (the true map low-passed to 20 A, for both) on our sums. Picks are counted with the
limits that suit the truth best, for either program: on the figure of merit, and for ours on the local power as well,
which RELION's Laplacian figure contains. What is compared is the picker, not a default.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cryorepro_datasets import archive_entries
from cryorepro_metrics.against_truth import DefocusError
from cryorepro_metrics.motion_truth import ResidualMotion
from cryorepro_metrics.movie_truth import stem_of

from benchmarks.movies.stages import RUNNERS, Stages
from cryorepro.em.formats.maps import read_map, write_map
from cryorepro.em.formats.star import read_star
from cryorepro.em.lowpass import lowpass_map
from cryorepro.em.pick_matching import match_positions
from cryorepro.em.picking.tables import PickTable, read_picks
from cryorepro.model.dataset import DataRequest

DOSE = {"empiar-10288": 58.0, "empiar-10025": 53.0}
DIAMETERS = {"empiar-10288": (100.0, 150.0, 140.0), "empiar-10025": (120.0, 170.0, 170.0)}
_WITHIN = 1.0 / 3.0


def motion_rows(stages: Stages, name: str) -> tuple[list[str], Path]:
    """Residual motion of both programs, the defocus found in their sums, and our micrographs with their CTF."""
    inputs = {role: stages.data.files[role] for role in ("movies", "gain", "defects")}
    options = {"total_dose_e_per_square_angstrom": DOSE[name], "flip_gain_y": True, "patches_x": 4, "patches_y": 4}
    rows, ours = [], Path()
    for program in RUNNERS:
        folder, result, cpu = stages.run(program, "motioncorrection", f"motion-{program}", inputs, **options)
        left = ResidualMotion().measure(stages.context(folder, result)).value
        sums = {"micrographs": folder / result.outputs["micrographs"]}
        where, ctf, _ = stages.run("ours", "ctfestimation", f"ctf-{program}", sums)
        defocus = DefocusError().measure(stages.context(where, ctf)).value
        rows.append(f"| {program} | {cpu:.1f} | {left:.3f} | {defocus:.1f} |")
        ours = where / ctf.outputs["micrographs"] if program == "ours" else ours
    return rows, ours


def pick_rows(stages: Stages, name: str, micrographs: Path) -> list[str]:
    """Recall and precision of every picker at its best threshold."""
    small, large, template = DIAMETERS[name]
    volume, pixel = read_map(stages.truth["map"])
    reference = stages.home / "template.mrc"
    write_map(reference, lowpass_map(volume, 20.0, pixel).astype(np.float32), pixel)
    blob = {"smallest_diameter_angstrom": small, "largest_diameter_angstrom": large}
    projected = {
        "largest_diameter_angstrom": template,
        "smallest_diameter_angstrom": template,
        "least_distance_angstrom": 0.78 * template,
    }
    jobs: dict[str, tuple[str, dict[str, Any]]] = {
        "ours, blobs": (
            "ours",
            {"method": "blob", **blob, "circular": True, "elliptical": True, "lowpass_angstrom": 60.0},
        ),
        "RELION, Laplacian of a Gaussian": ("RELION", {"method": "log", **blob}),
        "ours, template": ("ours", {"method": "template", **projected}),
        "RELION, template": ("RELION", {"method": "template", **projected, "threshold": 0.05}),
    }
    rows = []
    for label, (program, given) in jobs.items():
        inputs = {"micrographs": micrographs} | ({"templates": reference} if given["method"] == "template" else {})
        folder, result, cpu = stages.run(program, "picking", label.replace(" ", "_"), inputs, **given)
        recall, precision, threshold = best(stages, read_picks(folder / result.outputs["coordinates"]), template)
        rows.append(f"| {label} | {cpu:.1f} | {recall:.3f} | {precision:.3f} | {threshold} |")
    return rows


def best(stages: Stages, table: PickTable, diameter: float) -> tuple[float, float, str]:
    """Recall, precision and the limits, where F1 is best: on the figure of merit, and on ours' local power."""
    block = read_star(stages.truth["particles"])["particles"]
    true = np.stack([block.numbers("rlnCoordinateX"), block.numbers("rlnCoordinateY")], axis=1)
    stems = np.array([stem_of(name) for name in block.text("rlnMicrographName")])
    limit = _WITHIN * diameter / stages.data.pixel_size_angstrom
    found = []
    for lowest in _limits(table):
        marks = [(picks.ncc >= lowest[0]) & ~(picks.power < lowest[1]) for picks in table.picks]
        matches = [
            match_positions(picks.at_px[mark], true[stems == stem_of(name)], limit)
            for name, picks, mark in zip(table.names, table.picks, marks, strict=True)
        ]
        hits = sum(len(match.pairs) for match in matches)
        picked = sum(match.found for match in matches)
        said = f"{lowest[0]:.3g}" + (f", power {lowest[1]:.3g}" if np.isfinite(lowest[1]) else "")
        found.append((hits / len(true), hits / max(1, picked), said))
    return max(found, key=lambda row: 2 * row[0] * row[1] / max(1e-9, row[0] + row[1]))


def _limits(table: PickTable) -> list[tuple[float, float]]:
    """Limits to try; a picker without local power (RELION) has one figure, which for its LoG is an amplitude."""
    merits = np.unique(np.quantile(table.joined("ncc"), np.linspace(0.0, 0.9, 19)))
    power = table.joined("power")
    powers = np.quantile(power, np.linspace(0.0, 0.8, 17)) if np.isfinite(power).all() else np.array([-np.inf])
    return [(float(merit), float(least)) for merit in merits for least in powers]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dataset", choices=sorted(DOSE), default="empiar-10288")
    parser.add_argument("--movies", type=int, default=14)
    parser.add_argument("--directory", type=Path, help="keep everything here; by default it is removed")
    given = parser.parse_args(arguments)
    dataset = getattr(archive_entries, given.dataset.replace("-", "_").upper())
    with tempfile.TemporaryDirectory() as name:
        home = given.directory or Path(name)
        request = DataRequest(
            tier="twin", directory=home / "data", truth_directory=home / "truth", seed=1,
            parameters={"movies": given.movies},
        )  # fmt: skip
        data = dataset.prepare(request)
        stages = Stages(data, dataset.truth(request), home)
        print(json.dumps({"dataset": given.dataset, "movies": given.movies}))
        print("| motion correction | CPU s | residual motion, px rms | median defocus error, A |\n|---|---|---|---|")
        rows, micrographs = motion_rows(stages, given.dataset)
        print("\n".join(rows), flush=True)
        print("\n| picker | CPU s | recall | precision | threshold |\n|---|---|---|---|---|")
        print("\n".join(pick_rows(stages, given.dataset, micrographs)))


if __name__ == "__main__":
    main()
