"""Particles, picks and motion held against a twin's truth, each in its own unit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cryorepro.em.class_matching import match_classes
from cryorepro.em.errors import InputError
from cryorepro.em.formats.star import read_star
from cryorepro.em.pick_matching import PickMatch, match_positions
from cryorepro.em.trajectories import path_length, rms_distance
from cryorepro.model.outcome import MetricValue
from cryorepro.plugins.interfaces import MetricContext
from cryorepro_metrics.assignments import pair
from cryorepro_metrics.context import number
from cryorepro_metrics.matched_poses import matched_defocus_error
from cryorepro_metrics.micrograph_truth import micrograph_defocus_error


class ShiftError:
    """Median distance between found and true particle centres in the image."""

    def measure(self, context: MetricContext) -> MetricValue:
        """In Angstrom, the frame of each class taken out; the 90th percentile among the details.

        Raises:
            InputError: found and true particles are not the same images.
        """
        from cryorepro.em.symmetry import symmetry_matrices
        from cryorepro_metrics.context import symmetry_of
        from cryorepro_metrics.frames import fit_frames, shift_errors_angstrom

        pairing = pair(context.artifacts["particles"], context.truth["particles"])
        errors = shift_errors_angstrom(pairing, fit_frames(pairing, symmetry_matrices(symmetry_of(context))))
        details = {"quantile_0.9_angstrom": float(np.quantile(errors, 0.9))}
        return MetricValue(value=float(np.median(errors)), unit="angstrom", details=details)


class DefocusError:
    """Median absolute error of the mean defocus of each particle, or of each micrograph where the stage wrote those."""

    def measure(self, context: MetricContext) -> MetricValue:
        """In Angstrom; the median signed error among the details.

        Particles of a twin of movies are matched with the true ones by where they lie, others by their images.

        Raises:
            InputError: found and true particles are not the same images, or a defocus is missing.
        """
        if "particles" not in context.artifacts and "micrographs" in context.artifacts:
            return micrograph_defocus_error(context)
        if "defocus" in context.truth:
            return matched_defocus_error(context)
        pairing = pair(context.artifacts["particles"], context.truth["particles"])
        found, true = (
            (table.defocus_u_angstrom + table.defocus_v_angstrom) / 2.0 for table in (pairing.found, pairing.true)
        )
        details = {"median_signed_angstrom": float(np.median(found - true))}
        return MetricValue(value=float(np.median(np.abs(found - true))), unit="angstrom", details=details)


class AdjustedRand:
    """Adjusted Rand index of found and true classes."""

    def measure(self, context: MetricContext) -> MetricValue:
        """1 for the same division, 0 for chance; matching and occupancies among the details.

        Raises:
            InputError: found and true particles are not the same images.
        """
        pairing = pair(context.artifacts["particles"], context.truth["particles"])
        match = match_classes(pairing.found.column("rlnClassNumber"), pairing.true.column("rlnClassNumber"))
        details: dict[str, Any] = {
            "confusion": match.table.tolist(),
            "true_of_found": {str(found): true for found, true in match.pairs},
            "agreement": match.agreement,
            "largest_occupancy_difference": match.largest_occupancy_difference,
        }
        return MetricValue(value=match.adjusted_rand_index, unit="index", details=details)


class PickF1:
    """F1 of picked against true positions, one to one within a distance (the particle's radius unless given)."""

    def measure(self, context: MetricContext) -> MetricValue:
        """F1 over all micrographs; precision, recall and the median distance among the details.

        Tables name ``rlnMicrographName`` with ``rlnCoordinateX`` and ``rlnCoordinateY`` in pixels; the limit is the
        outcome's ``within_px``.

        Raises:
            InputError: a table is missing or malformed, or there is nothing to match.
        """
        roles = [role for role in ("coordinates", "particles") if role in context.artifacts and role in context.truth]
        if not roles:
            raise InputError("there are no positions: neither coordinates nor particles, found and true")
        found, true = (_positions(paths[roles[0]]) for paths in (context.artifacts, context.truth))
        diameter = float(context.data.parameters.get("particle_diameter_angstrom", 0.0))
        limit = number(context, "within_px", diameter / 2.0 / context.data.pixel_size_angstrom)
        empty = np.empty((0, 2))
        matches = [match_positions(found.get(name, empty), true.get(name, empty), limit) for name in found | true]
        return _pick_value(matches, limit)


def _pick_value(matches: list[PickMatch], limit: float) -> MetricValue:
    pairs, found, true = (
        sum(values) for values in zip(*((len(m.pairs), m.found, m.true) for m in matches), strict=True)
    )
    if found + true == 0:
        raise InputError("there is no position, found or true")
    distances = np.concatenate([match.distances for match in matches])
    details = {
        "matched": pairs,
        "picked": found,
        "true": true,
        "precision": pairs / found if found else 0.0,
        "recall": pairs / true if true else 0.0,
        "within_px": limit,
        "median_distance_px": float(np.median(distances)) if len(distances) else None,
        "micrographs": len(matches),
    }
    return MetricValue(value=2.0 * pairs / (found + true), unit="fraction", details=details)


def _positions(path: Path) -> dict[str, np.ndarray]:
    blocks = [block for block in read_star(path).values() if "rlnCoordinateX" in block.columns]
    if not blocks:
        raise InputError(f"{path.name}: column rlnCoordinateX is missing")
    block = blocks[0]
    positions = np.stack([block.numbers("rlnCoordinateX"), block.numbers("rlnCoordinateY")], axis=1)
    names = np.array([Path(name).stem for name in block.text("rlnMicrographName")])
    return {str(name): positions[names == name] for name in np.unique(names)}


class MotionError:
    """Root mean square distance of found and true trajectories of the stage, a constant taken out."""

    def measure(self, context: MetricContext) -> MetricValue:
        """In Angstrom; the length of both paths among the details.

        Both files hold RELION's ``data_global_shift`` (``rlnMicrographShiftX``, ``rlnMicrographShiftY``, in pixels).

        Raises:
            InputError: a table is missing or malformed, or has another number of frames.
        """
        if "motion" not in context.artifacts or "motion" not in context.truth:
            raise InputError("the stage wrote no motion, or there is no true one")
        pixel = number(context, "pixel_size_angstrom", context.data.pixel_size_angstrom)
        found, true = (pixel * read_track(paths["motion"]) for paths in (context.artifacts, context.truth))
        details = {"path_angstrom": path_length(found), "true_path_angstrom": path_length(true)}
        return MetricValue(value=rms_distance(found, true), unit="angstrom", details=details)


def read_track(path: Path) -> np.ndarray:
    """Positions ``[frames, 2]`` (x, y) in pixels.  Raises InputError naming the file when there are none."""
    block = read_star(path).get("global_shift")
    if block is None:
        raise InputError(f"{path.name}: the table data_global_shift is missing")
    order = np.argsort(block.integers("rlnMicrographFrameNumber"))
    return np.stack([block.numbers(f"rlnMicrographShift{axis}")[order] for axis in "XY"], axis=1)
