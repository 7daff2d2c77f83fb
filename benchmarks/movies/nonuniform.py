"""Non-uniform against homogeneous refinement on a membrane protein in detergent: FSC to the truth, and a picture.

    python benchmarks/movies/nonuniform.py OUT [--particles N] [--snr S] [--belt M] [--seeds 1 2 3] [--workers W]

Every particle has a belt of its own.  Both refinements get the same images, halves, first reference and mask rule; the
final maps compared are the plain means of the half maps, so that only poses differ.  The truth is the protein's closed
form, turned and moved into each refinement's own frame by its poses.  Writes ``OUT/nonuniform.csv`` and
``OUT/nonuniform.png``: local resolution of both and the local low-pass, of the first seed.
"""

from __future__ import annotations

import argparse
import csv
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cryorepro.em.blobs import BlobModel
from cryorepro.em.ctf import CtfParameters
from cryorepro.em.errors import InputError
from cryorepro.em.fsc import crossing, fsc_curve
from cryorepro.em.half_sets import random_halves
from cryorepro.em.homogeneous.files import lowpass_angstrom
from cryorepro.em.homogeneous.options import HomogeneousOptions, LocalFilterOptions
from cryorepro.em.homogeneous.refinement import Finished, finish, run, start
from cryorepro.em.imageset import ArraySource, ImageSet, Poses
from cryorepro.em.local_resolution import local_resolution
from cryorepro.em.local_windows import LocalWindow
from cryorepro.em.maskcreate import create_mask
from cryorepro.em.micelle_phantom import BeltOptions, MicelleSet, micelle_set
from cryorepro.em.rotations import euler_to_matrix, rotation_angle_deg
from cryorepro.em.simulate import Imaging

BOX, PIXEL, FIRST_REFERENCE_ANGSTROM = 48, 3.4, 20.0
KINDS = {
    "homogeneous": None,
    # the control: how much of a gain comes from cross-validation, how much from its being local
    "one low-pass, cross-validated": LocalFilterOptions(family="lowpass", window_factor=1e3),
    "non-uniform, low-passes": LocalFilterOptions(family="lowpass"),
    "non-uniform, bands": LocalFilterOptions(family="bands"),
}
_FRAME_DEGREES = (20.0, 10.0, 5.0)
_LOCAL_STEP_PX, _LOCAL_RADIUS_PX, _LOCAL_EDGE_PX = 3, 5, 4
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """One refinement, judged in its own frame."""

    finished: Finished
    truth: Floats
    inside: Floats
    curve: Floats
    within_10_degrees: float
    median_error_degrees: float
    seconds: float


def image_set(data: MicelleSet) -> ImageSet:
    """The images as an expectation step takes them."""
    defocus, count = torch.from_numpy(data.views.defocus), len(data.views)
    every, group = torch.ones(count, dtype=torch.float64), torch.zeros(count, dtype=torch.int64)
    imaging = data.imaging
    ctf = CtfParameters(
        defocus[:, 0], defocus[:, 1], defocus[:, 2], every * 0.0, every * imaging.voltage_kv,
        every * imaging.spherical_aberration_mm, every * imaging.amplitude_contrast,
    )  # fmt: skip
    return ImageSet(ArraySource(data.images), imaging.box_px, imaging.pixel_size_angstrom, ctf, group, group)


def refine(
    data: MicelleSet, local: LocalFilterOptions | None, iterations: int, marginalise: bool, seed: int, workers: int
) -> Outcome:
    """Refine from the protein low-passed to 20 A, and judge the result."""
    images, began = image_set(data), time.monotonic()
    options = HomogeneousOptions(
        0.85 * BOX * PIXEL,
        torch.eye(3, dtype=torch.float64)[None],
        shift_range_px=0.1 * BOX,
        local_filter=local,
        marginalise=marginalise,
    )
    reference, halves = data.protein_map(FIRST_REFERENCE_ANGSTROM), random_halves(len(images), seed)
    state = start(images, Poses.start(len(images)), [reference], halves, options, FIRST_REFERENCE_ANGSTROM, workers)
    for done in run(images, state, options, seed, workers, iterations):
        state = done
    finished = finish(images, state, options, seed, workers)
    return judged(data, finished, time.monotonic() - began)


def judged(data: MicelleSet, finished: Finished, seconds: float) -> Outcome:
    """FSC of the half maps' mean to the truth inside the protein."""
    poses = finished.final.refinement.poses
    protein = moved(data, poses)
    truth, smooth = protein.volume(BOX, PIXEL), protein.volume(BOX, PIXEL, 8.0)
    inside = create_mask(smooth, PIXEL, 0.25 * float(smooth.max()), None, 2.0, 3.0)
    mean = 0.5 * sum(half.double().numpy() for half in finished.final.halves)
    error = rotation_angle_deg(
        euler_to_matrix(poses.euler_deg), euler_to_matrix(torch.from_numpy(data.views.angles_degrees))
    ).numpy()
    curve = fsc_curve(truth * inside, np.asarray(mean) * inside)
    within = float((error < 10.0).mean())
    return Outcome(finished, truth, inside, curve, within, float(np.median(error)), seconds)


def moved(data: MicelleSet, poses: Poses) -> BlobModel:
    """The protein in the frame of the refined map, found from particles whose poses agree with the truth.

    Raises:
        InputError: hardly any agree.
    """
    found = euler_to_matrix(poses.euler_deg).numpy()
    true = euler_to_matrix(torch.from_numpy(data.views.angles_degrees)).numpy()
    relative, frame = np.einsum("nji,njk->nik", found, true), np.eye(3)
    good = np.ones(len(relative), dtype=bool)
    for limit in _FRAME_DEGREES:
        angle = rotation_angle_deg(torch.from_numpy(relative), torch.from_numpy(frame)).numpy()
        good = angle < limit
        if good.sum() < 10:
            raise InputError("fewer than ten poses agree with the truth: no frame can be found")
        u, _, v = np.linalg.svd(relative[good].mean(axis=0))
        frame = u @ np.diag([1.0, 1.0, np.linalg.det(u @ v)]) @ v
    offset = (data.views.shifts_angstrom + poses.origin_px.numpy() * PIXEL)[good]
    shift = np.linalg.lstsq(found[good][:, :2].reshape(-1, 3), offset.reshape(-1), rcond=None)[0]
    protein = data.protein
    return BlobModel(protein.centres_angstrom @ frame.T + shift, protein.sigmas_angstrom, protein.masses)


def row(seed: int, kind: str, outcome: Outcome) -> dict[str, object]:
    """One line of the table."""
    extent = BOX * PIXEL
    return {
        "seed": seed,
        "refinement": kind,
        "half_map_fsc_0143_angstrom": round(extent / outcome.finished.final.refinement.resolution_shell, 2),
        "fsc_to_truth_05_angstrom": round(crossing(outcome.curve, 0.5).interpolated_angstrom(BOX, PIXEL), 2),
        "mean_fsc_to_truth": round(float(outcome.curve[1:].mean()), 4),
        "poses_within_10_degrees": round(outcome.within_10_degrees, 3),
        "median_pose_error_degrees": round(outcome.median_error_degrees, 2),
        "iterations": outcome.finished.final.refinement.iteration,
        "seconds": round(outcome.seconds, 1),
    }


def draw(path: Path, outcomes: dict[str, Outcome], title: str) -> None:
    """Sections of the map, of local resolution and of the local low-pass, one row for each refinement."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.0, 3.4 * len(outcomes)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(outcomes), 3, squeeze=False)
    for line, (kind, outcome) in zip(axes, outcomes.items(), strict=True):
        panels = _panels(outcome)
        for axis, (label, section, angstrom) in zip(line, panels, strict=True):
            how = {"cmap": "viridis_r", "vmin": 6.8, "vmax": 25.0} if angstrom else {"cmap": "gray"}
            shown = axis.imshow(section, origin="lower", **how)
            axis.contour(outcome.inside[:, BOX // 2], levels=[0.5], colors="red", linewidths=0.8)
            axis.set_title(f"{kind}: {label}", fontsize=9)
            axis.set_axis_off()
            if angstrom:
                figure.colorbar(shown, ax=axis, label="Å", shrink=0.8)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=110)


def _panels(outcome: Outcome) -> list[tuple[str, Floats, bool]]:
    halves = [half.double().numpy() for half in outcome.finished.final.halves]
    mask = outcome.finished.state.mask.double().numpy()
    window = LocalWindow(_LOCAL_STEP_PX, _LOCAL_RADIUS_PX, _LOCAL_EDGE_PX)
    found = local_resolution(halves[0], halves[1], PIXEL, window, np.random.default_rng(1), mask)
    middle = BOX // 2
    local = outcome.finished.state.local
    lowpass = np.full((BOX, BOX), BOX * PIXEL / outcome.finished.final.refinement.resolution_shell)
    if local is not None:
        lowpass = lowpass_angstrom(local, BOX, PIXEL).double().numpy()[:, middle]
    shown = np.where(found.map_angstrom > 0.0, found.map_angstrom, np.nan)[:, middle]
    return [
        ("mean of the half maps", (0.5 * (halves[0] + halves[1]))[:, middle], False),
        ("local resolution", shown, True),
        ("low-pass of the reference", lowpass, True),
    ]


def main() -> None:
    """Run all seeds, write the table as it grows and the picture after the first."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--particles", type=int, default=600)
    parser.add_argument("--snr", type=float, default=0.06)
    parser.add_argument("--belt", type=float, default=0.8, help="mass of the belt over the protein's")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--iterations", type=int, default=8)
    parser.add_argument("--marginalise", action="store_true")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in given.seeds:
        imaging = Imaging(
            BOX, PIXEL, 300.0, 2.7, 0.1, given.snr, noise_knee_angstrom=20.0, background_radius_px=0.42 * BOX
        )
        data, outcomes = micelle_set(given.particles, imaging, BeltOptions(mass=given.belt), seed), {}
        for kind in given.kinds:
            outcome = refine(data, KINDS[kind], given.iterations, given.marginalise, seed, given.workers)
            outcomes[kind] = outcome
            rows.append(row(seed, kind, outcome))
            print(rows[-1], flush=True)
        if seed == given.seeds[0]:
            title = f"{given.particles} particles, SNR {given.snr:g}, belt {given.belt:g} of the protein's mass"
            draw(given.out / "nonuniform.png", outcomes, title)
        with (given.out / "nonuniform.csv").open("w", newline="") as stream:
            table = csv.DictWriter(stream, list(rows[0]))
            table.writeheader()
            table.writerows(rows)


if __name__ == "__main__":
    main()
