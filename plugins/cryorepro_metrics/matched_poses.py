"""Particles that were picked and extracted, matched with the true ones by where they lie; then poses and defocus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.errors import InputError
from cryorepro.em.formats.particles import Particles, read_particles
from cryorepro.em.pick_matching import match_positions
from cryorepro.em.pose_frames import PoseFrame, find_frame
from cryorepro.model.outcome import MetricValue
from cryorepro.plugins.interfaces import MetricContext
from cryorepro_metrics.context import number, symmetry_of
from cryorepro_metrics.movie_truth import rows_by_stem, stem_of, truth_table

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
_WITHIN_DIAMETERS = 1.0 / 3.0
_CLOSE_DEGREES = 15.0


@dataclass(frozen=True)
class Matched:
    """Found particles and the rows of the truth they are.

    Attributes:
        particles: As the stage wrote them.
        rows: int64 [m], rows of ``particles`` that are true ones.
        truth: int64 [m], their rows in the true table.
        micrographs: int64 [m], a number for each one's micrograph.
        apart_angstrom: float64 [m, 2], from the true centre to the found one.
        angles_degrees: float64 [m, 3], true ones.
        defocus_angstrom: float64 [m], true mean defocus.
    """

    particles: Particles
    rows: Rows
    truth: Rows
    micrographs: Rows
    apart_angstrom: Floats
    angles_degrees: Floats
    defocus_angstrom: Floats

    @property
    def share(self) -> float:
        """Of the stage's particles, how many are true ones."""
        return len(self.rows) / max(1, len(self.particles))


def match_particles(context: MetricContext) -> Matched:
    """Match within a third of the particle's diameter (``within_px``) in each micrograph.

    A micrograph's coordinates may be shifted as a whole, by the frame its motion was taken to: the median is taken
    out, and the match made again.

    Raises:
        InputError: there are no particles or no truth, or the particles do not say where they come from.
    """
    if "particles" not in context.artifacts:
        raise InputError("the stage wrote no particles")
    particles = read_particles(context.artifacts["particles"], require_ctf=False)
    table, pixel = truth_table(context, "particles"), context.data.pixel_size_angstrom
    places = np.stack([table.numbers(f"rlnCoordinate{axis}") for axis in "XY"], axis=1) * pixel
    found = _centres(particles, pixel)
    limit = number(context, "within_px", 0.0) * pixel
    limit = limit or _WITHIN_DIAMETERS * float(context.data.parameters.get("particle_diameter_angstrom", 0.0))
    names = np.array([stem_of(str(name)) for name in particles.column("rlnMicrographName")])
    pairs = [np.empty((0, 3), dtype=np.int64)]
    for index, (stem, rows) in enumerate(rows_by_stem(table).items()):
        here = np.flatnonzero(names == stem)
        matched = _match(found[here], places[rows], limit)
        pairs.append(np.stack([here[matched[:, 0]], rows[matched[:, 1]], np.full(len(matched), index)], axis=1))
    both = np.concatenate(pairs)
    if not len(both):
        raise InputError(f"none of the {len(particles)} particles is where a true one is")
    angles = np.stack([table.numbers(f"rlnAngle{name}") for name in ("Rot", "Tilt", "Psi")], axis=1)
    defocus = 0.5 * (table.numbers("rlnDefocusU") + table.numbers("rlnDefocusV"))
    rows, true = both[:, 0], both[:, 1]
    return Matched(particles, rows, true, both[:, 2], found[rows] - places[true], angles[true], defocus[true])


def _centres(particles: Particles, pixel_size_angstrom: float) -> Floats:
    """Centres [n, 2] in Angstrom: the origin is the shift that brings the particle to the middle of its box."""
    points = np.stack([particles.column(f"rlnCoordinate{axis}") for axis in "XY"], axis=1).astype(np.float64)
    return np.asarray(points * pixel_size_angstrom - particles.origins_angstrom)


def _match(found: Floats, true: Floats, limit: float) -> Rows:
    shift = np.zeros(2)
    for _ in range(2):
        pairs = match_positions(found - shift, true, limit).pairs
        if len(pairs):
            shift = np.median(found[pairs[:, 0]] - true[pairs[:, 1]], axis=0)
    return pairs


def frame_of(context: MetricContext, matched: Matched) -> PoseFrame:
    """The frame of the stage's map under the data's point group; the hand is found with it.

    Raises:
        InputError: too few particles were matched.
    """
    import torch

    from cryorepro.em.rotations import euler_to_matrix
    from cryorepro.em.symmetry import symmetry_matrices

    found, true = (
        euler_to_matrix(torch.as_tensor(np.ascontiguousarray(angles))).numpy()
        for angles in (matched.particles.angles_degrees[matched.rows], matched.angles_degrees)
    )
    symmetry = str(context.data.parameters.get("symmetry", symmetry_of(context)))
    return find_frame(found, true, symmetry_matrices(symmetry))


class MatchedPoseError:
    """Median angle between found and true orientation of the particles that are true ones."""

    def measure(self, context: MetricContext) -> MetricValue:
        """In degrees, the map's own turn and hand taken out; shift errors and the share of true particles in details.

        Raises:
            InputError: there are no particles with poses, or too few are where a true one is.
        """
        matched = match_particles(context)
        frame = frame_of(context, matched)
        shifts = shift_errors(matched, frame)
        details: dict[str, Any] = {
            "particles": len(matched.particles),
            "matched": len(matched.rows),
            "matched_share": round(matched.share, 4),
            f"within_{_CLOSE_DEGREES:g}_degrees": round(float((frame.errors_degrees < _CLOSE_DEGREES).mean()), 4),
            "other_hand": frame.mirrored,
            "median_shift_error_angstrom": round(float(np.median(shifts)), 3),
        }
        return MetricValue(value=round(float(np.median(frame.errors_degrees)), 3), unit="degrees", details=details)


def shift_errors(matched: Matched, frame: PoseFrame) -> Floats:
    """Distances [m] in Angstrom between found and true centres in the image.

    Taken out, by least squares: where the found map has its origin, and one shift per micrograph (what its motion
    was corrected to).  The latter is done by taking each micrograph's mean from both sides first (Frisch & Waugh,
    Econometrica 1 (1933) 387).
    """
    design = _less_means(frame.true[:, :2].reshape(-1, 6), matched.micrographs).reshape(-1, 3)
    apart = _less_means(matched.apart_angstrom, matched.micrographs)
    shift, *_ = np.linalg.lstsq(design, apart.reshape(-1), rcond=None)
    return np.asarray(np.linalg.norm(apart - (design @ shift).reshape(-1, 2), axis=1))


def _less_means(values: Floats, groups: Rows) -> Floats:
    """Values [m, k] less the mean of their group."""
    totals = np.zeros((int(groups.max()) + 1, values.shape[1]))
    np.add.at(totals, groups, values)
    counts = np.maximum(np.bincount(groups, minlength=len(totals)), 1)[:, None]
    return np.asarray(values - (totals / counts)[groups])


def matched_defocus_error(context: MetricContext) -> MetricValue:
    """Median absolute error in Angstrom of the mean defocus of particles that are true ones."""
    matched = match_particles(context)
    table = matched.particles
    found = 0.5 * (table.defocus_u_angstrom + table.defocus_v_angstrom)[matched.rows]
    signed = found - matched.defocus_angstrom
    details = {"matched": len(matched.rows), "median_signed_angstrom": round(float(np.median(signed)), 1)}
    return MetricValue(value=round(float(np.median(np.abs(signed))), 2), unit="angstrom", details=details)
