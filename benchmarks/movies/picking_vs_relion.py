"""Picking against RELION's autopick: agreement with a person on real micrographs, and cost on large ones.

    python -m benchmarks.movies.picking_vs_relion --data .../apoferritin_EMPIAR-10146 [--rounds 3] [--mosaics 8]

Agreement: the nine usable micrographs of EMPIAR-10146 with one setting per program, within a quarter of the diameter.
RELION leaves out what is nearer to the border than half a particle, so labels further in are counted apart as well;
and as its figure of merit needs a threshold, the one that suits the labels best is shown beside its default.
Cost: mosaics of the nine (13.4 Mpx each); the start of the process is taken out by doing two and ``--mosaics`` of them.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from cryorepro_datasets.empiar_10146 import Empiar10146
from cryorepro_engines.runner import RelionLikeRunner
from cryorepro_metrics.labels import match_micrographs, pooled
from cryorepro_relion.runner import RelionRunner

from benchmarks.engine.metered import run_metered
from cryorepro.em.formats.maps import write_stack
from cryorepro.em.formats.star import make_block, read_star, write_star
from cryorepro.em.pick_matching import PickMatch
from cryorepro.em.picking.inspection import KEPT, Limits, automatic_limits
from cryorepro.em.picking.tables import PickTable, read_picks
from cryorepro.em.reextraction import read_micrograph
from cryorepro.model.dataset import DataRequest
from cryorepro.model.picking_stages import PickingParameters
from cryorepro.model.stage import StageRequest

PIXEL, DIAMETER, SHAPE, DRIFTED = 1.5, 140.0, (1200, 1240), "May08_06.09.02"
WITHIN_PX = DIAMETER / 4.0 / PIXEL
MARGIN_PX = DIAMETER / 2.0 / PIXEL
RUNNERS: Mapping[str, RelionLikeRunner | RelionRunner] = {"ours": RelionLikeRunner(), "RELION": RelionRunner()}
BLOB = {"smallest_diameter_angstrom": 110, "largest_diameter_angstrom": 130}
TEMPLATE = {"method": "template", "largest_diameter_angstrom": 120, "least_distance_angstrom": 90, "symmetry": "O"}
JOBS: Mapping[str, tuple[str, dict[str, object]]] = {
    "ours, rings": ("ours", {"method": "blob", "ring": True, **BLOB}),
    "ours, projections of the model": ("ours", TEMPLATE),
    "RELION, Laplacian of a Gaussian": ("RELION", {"method": "log", **BLOB}),
    "RELION, projections of the model": ("RELION", {**TEMPLATE, "largest_diameter_angstrom": 140, "threshold": 0.05}),
}


@dataclass(frozen=True)
class Spent:
    """CPU and wall seconds of one process, and its picks."""

    cpu_seconds: float
    wall_seconds: float
    picks: PickTable


def prepare(source: Path, directory: Path) -> dict[str, Path]:
    """The nine micrographs with the CTF that came with them, people's labels, and the model low-passed to 15 A."""
    request = DataRequest(
        tier="subset", directory=directory, truth_directory=directory / "truth", seed=1, local_path=source,
        parameters={"micrographs": True, "reference_low_pass_angstrom": 15.0},
    )  # fmt: skip
    files = Empiar10146().prepare(request).files
    with (source / "ctf_fit.csv").open() as stream:
        fits = {row["micrograph"].removesuffix(".bin_avg.png"): row for row in csv.DictReader(stream)}
    names = [name for name in read_star(files["micrographs"])["micrographs"].text("rlnMicrographName")
             if DRIFTED not in name]  # fmt: skip
    write_table(files["micrographs"], names, [fits[Path(name).stem] for name in names])
    return {"micrographs": files["micrographs"], "templates": files["reference"], "labels": files["labels"]}


def write_table(star: Path, names: Sequence[str], fits: Sequence[Mapping[str, str]]) -> None:
    optics = {"rlnOpticsGroupName": ["one"], "rlnOpticsGroup": [1], "rlnMicrographPixelSize": [PIXEL],
              "rlnVoltage": [300.0], "rlnSphericalAberration": [2.7], "rlnAmplitudeContrast": [0.07]}  # fmt: skip
    labels = {"rlnDefocusU": "defocus_u_A", "rlnDefocusV": "defocus_v_A", "rlnDefocusAngle": "astig_angle_deg"}
    rows: dict[str, list[object]] = {"rlnMicrographName": list(names), "rlnOpticsGroup": [1] * len(names)}
    rows |= {label: [float(fit[column]) for fit in fits] for label, column in labels.items()}
    write_star(star, [make_block("optics", optics), make_block("micrographs", rows)])  # type: ignore[arg-type]


def mosaics(files: Mapping[str, Path], directory: Path, count: int) -> Path:
    """``count`` mosaics of the nine micrographs, each turned around by one place."""
    folder = files["micrographs"].parent
    names = read_star(files["micrographs"])["micrographs"].text("rlnMicrographName")
    images = [read_micrograph(folder / name).astype(np.float32) for name in names]
    (directory / "mosaics").mkdir(parents=True)
    written = [f"mosaics/m{number:02d}.mrc" for number in range(count)]
    for number, name in enumerate(written):
        tiles = [images[(number + place) % 9] for place in range(9)]
        write_stack(directory / name, np.block([tiles[row * 3 : row * 3 + 3] for row in range(3)])[None], PIXEL)
    fit = {"defocus_u_A": "20000", "defocus_v_A": "19500", "astig_angle_deg": "125"}
    write_table(directory / "micrographs.star", written, [fit] * count)
    return directory / "micrographs.star"


def pick(name: str, micrographs: Path, templates: Path, output: Path) -> Spent:
    """Run one job as its runner would."""
    program, parameters = JOBS[name]
    inputs = {"micrographs": micrographs} | ({"templates": templates} if parameters["method"] == "template" else {})
    chosen = PickingParameters.model_validate(parameters).model_dump()
    request = StageRequest(stage="pick", kind="picking", parameters=chosen, inputs=inputs, output_dir=output, seed=1)
    output.mkdir(parents=True)
    command = RUNNERS[program].plan(request)
    spent = run_metered(command.argv, output, {}, command.environment, output / "log.txt")
    result = RUNNERS[program].collect(request, output / "log.txt")
    return Spent(spent.cpu_seconds, spent.wall_seconds, read_picks(output / result.outputs["coordinates"]))


def kept(table: PickTable, limits: Limits) -> PickTable:
    """The picks within limits."""
    marks = [np.array([why == KEPT for why in limits.reasons(p.ncc, p.power)], dtype=bool) for p in table.picks]
    parts = tuple(picks.subset(mark) for picks, mark in zip(table.picks, marks, strict=True))
    return PickTable(table.source, table.names, parts)


def inner(table: PickTable) -> PickTable:
    """The places at least half a particle away from the border."""
    size = np.array([SHAPE[1], SHAPE[0]])
    marks = [((p.at_px >= MARGIN_PX) & (p.at_px <= size - 1 - MARGIN_PX)).all(axis=1) for p in table.picks]
    parts = tuple(picks.subset(np.asarray(mark)) for picks, mark in zip(table.picks, marks, strict=True))
    return PickTable(table.source, table.names, parts)


def matched(found: PickTable, labels: PickTable) -> PickMatch:
    return pooled(match_micrographs(found, labels, WITHIN_PX))


def best_limits(table: PickTable, labels: PickTable) -> Limits:
    """The threshold on the figure of merit with the best F1 against the labels."""
    tried = np.quantile(table.joined("ncc"), np.linspace(0.0, 0.6, 31))
    return max((Limits(float(value)) for value in tried), key=lambda limits: matched(kept(table, limits), labels).f1)


def agreement(name: str, rule: str, table: PickTable, labels: PickTable) -> str:
    whole = matched(table, labels)
    recall, precision = matched(table, inner(labels)).recall, matched(inner(table), labels).precision
    return (
        f"| {name} | {rule} | {table.total} | {whole.recall:.3f} | {whole.precision:.3f} | {recall:.3f} |"
        f" {precision:.3f} | {PIXEL * float(np.median(whole.distances)):.1f} |"
    )


def judge(name: str, table: PickTable, labels: PickTable) -> list[str]:
    if name.startswith("ours"):
        return [agreement(name, "valley", kept(table, automatic_limits(table, "valley", Limits())), labels)]
    best = best_limits(table, labels)
    return [
        agreement(name, "its default", table, labels),
        agreement(name, "best by the labels", kept(table, best), labels),
    ]


def cost(files: Mapping[str, Path], directory: Path, count: int, rounds: int) -> list[str]:
    """Mpx per CPU-second without the start of a process, medians of interleaved rounds."""
    few, many = (mosaics(files, directory / f"set{number}", number) for number in (2, count))
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in JOBS}
    for turn in range(rounds):
        for name in JOBS:
            runs = [pick(name, star, files["templates"], directory / f"{turn}-{name}-{number}")
                    for number, star in enumerate((few, many))]  # fmt: skip
            spent[name].append((runs[0].cpu_seconds, runs[1].cpu_seconds))
    size = 9 * SHAPE[0] * SHAPE[1] / 1e6
    rows = []
    for name, pairs in spent.items():
        each = median((more - less) / (count - 2) for less, more in pairs)
        start = median(less - 2 * (more - less) / (count - 2) for less, more in pairs)
        rows.append(f"| {name} | {each:.2f} | {size / each:.1f} | {start:.1f} |")
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mosaics", type=int, default=6)
    parser.add_argument("--only", choices=("agreement", "cost"))
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        files = prepare(given.data, directory / "data")
        labels = read_picks(files["labels"])
        if given.only != "cost":
            print("| picker | threshold | picks | recall | precision | recall inside | precision inside | median A |")
            print("|---|---|---|---|---|---|---|---|")
            for job in JOBS:
                found = pick(job, files["micrographs"], files["templates"], directory / job)
                print("\n".join(judge(job, found.picks, labels)), flush=True)
        if given.only != "agreement":
            rows = cost(files, directory, given.mosaics, given.rounds)
            print("\n| picker | CPU s per micrograph of 13.4 Mpx | Mpx per CPU s | start, CPU s |\n|---|---|---|---|")
            print("\n".join(rows))


if __name__ == "__main__":
    main()
