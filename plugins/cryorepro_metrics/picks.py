"""Picks held against the true particles of a twin of movies: how many were found, and how many picks are particles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.errors import InputError
from cryorepro.em.formats.star import read_star
from cryorepro.em.pick_matching import match_positions
from cryorepro.em.picking.tables import LIST_BLOCK, read_picks
from cryorepro.model.outcome import MetricValue
from cryorepro.plugins.interfaces import MetricContext
from cryorepro_metrics.context import number
from cryorepro_metrics.movie_truth import rows_by_stem, stem_of, truth_table

Floats = NDArray[np.float64]
_WITHIN_DIAMETERS = 1.0 / 3.0


@dataclass(frozen=True)
class PickCount:
    """What became of picks and particles, those at the edges left out of both counts unless they were matched."""

    matched_particles: int
    particles: int
    matched_picks: int
    picks: int
    distances_px: Floats
    micrographs: int
    within_px: float
    edge_px: float

    def details(self) -> dict[str, Any]:
        """All counts, recall and precision."""
        return {
            "recall": round(self.matched_particles / max(1, self.particles), 4),
            "precision": round(self.matched_picks / max(1, self.picks), 4),
            "particles": self.particles,
            "picks": self.picks,
            "micrographs": self.micrographs,
            "within_px": round(self.within_px, 2),
            "edge_px": round(self.edge_px, 2),
            "median_distance_px": round(float(np.median(self.distances_px)), 3) if len(self.distances_px) else None,
        }


def count_picks(context: MetricContext) -> PickCount:
    """Match picks one to one with the true particles of the micrographs that were picked.

    A pick counts as a particle within a third of its diameter (``within_px``).  What lies nearer to an edge than the
    particle's radius (``edge_px``) is asked of nobody: such a particle is not missed, such a pick is not wrong.

    Raises:
        InputError: a table is missing or malformed, or a micrograph is not in the truth.
    """
    found = stage_positions(context)
    true = true_positions(context)
    pixel, known = context.data.pixel_size_angstrom, context.data.parameters
    diameter = float(known.get("particle_diameter_angstrom", 0.0)) / pixel
    within = number(context, "within_px", _WITHIN_DIAMETERS * diameter)
    edge = number(context, "edge_px", 0.5 * diameter)
    shape = (float(known["columns_px"]), float(known["rows_px"]))
    totals = np.zeros(4, dtype=np.int64)
    distances: list[Floats] = []
    for stem, picks in found.items():
        if stem not in true:
            raise InputError(f"{stem}: this micrograph is not in the truth")
        match = match_positions(picks, true[stem], within)
        hit_picks, hit_true = (np.zeros(len(rows), dtype=bool) for rows in (picks, true[stem]))
        hit_picks[match.pairs[:, 0]], hit_true[match.pairs[:, 1]] = True, True
        asked_picks, asked_true = (_inside(rows, shape, edge) for rows in (picks, true[stem]))
        totals += (
            (hit_true & asked_true).sum(), asked_true.sum(), hit_picks.sum(), (hit_picks | asked_picks).sum()
        )  # fmt: skip
        distances.append(match.distances)
    everything = np.concatenate(distances) if distances else np.empty(0)
    hits, asked, right, made = (int(total) for total in totals)
    return PickCount(hits, asked, right, made, everything, len(found), within, edge)


def _inside(points: Floats, shape: tuple[float, float], edge: float) -> NDArray[np.bool_]:
    return np.asarray(((points >= edge) & (points <= np.asarray(shape) - edge)).all(axis=1))


def stage_positions(context: MetricContext) -> dict[str, Floats]:
    """Positions [n, 2] (x, y) in pixels by micrograph: of the stage's ``coordinates``, else of its ``particles``.

    Raises:
        InputError: the stage wrote neither, or a file is malformed.
    """
    role = next((role for role in ("coordinates", "particles") if role in context.artifacts), None)
    if role is None:
        raise InputError("the stage wrote neither coordinates nor particles")
    path = context.artifacts[role]
    blocks = read_star(path)
    if LIST_BLOCK in blocks:
        table = read_picks(path)
        return {stem_of(name): picks.at_px for name, picks in zip(table.names, table.picks, strict=True)}
    block = next((each for each in blocks.values() if "rlnCoordinateX" in each.columns), None)
    if block is None:
        raise InputError(f"{path.name}: column rlnCoordinateX is missing")
    points = np.stack([block.numbers("rlnCoordinateX"), block.numbers("rlnCoordinateY")], axis=1)
    return {stem: points[rows] for stem, rows in rows_by_stem(block).items()}


def true_positions(context: MetricContext) -> dict[str, Floats]:
    """True positions [n, 2] (x, y) by micrograph."""
    table = truth_table(context, "particles")
    points = np.stack([table.numbers("rlnCoordinateX"), table.numbers("rlnCoordinateY")], axis=1)
    return {stem: points[rows] for stem, rows in rows_by_stem(table).items()}


class PickRecall:
    """Share of the true particles that were picked, in the micrographs that were."""

    def measure(self, context: MetricContext) -> MetricValue:
        """0 to 1; precision and all counts among the details.

        Raises:
            InputError: as `count_picks`, or there is no true particle.
        """
        count = count_picks(context)
        if not count.particles:
            raise InputError("there is no true particle in the micrographs that were picked")
        value = round(count.matched_particles / count.particles, 4)
        return MetricValue(value=value, unit="fraction", details=count.details())


class PickPrecision:
    """Share of the picks that are true particles."""

    def measure(self, context: MetricContext) -> MetricValue:
        """0 to 1; recall and all counts among the details.

        Raises:
            InputError: as `count_picks`, or there is no pick.
        """
        count = count_picks(context)
        if not count.picks:
            raise InputError("there is no pick")
        value = round(count.matched_picks / count.picks, 4)
        return MetricValue(value=value, unit="fraction", details=count.details())
