"""Picks held against positions that people marked in the same micrographs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cryorepro.em.errors import InputError
from cryorepro.em.pick_matching import PickMatch, match_positions
from cryorepro.em.picking.tables import PickTable, read_picks, stem_of
from cryorepro.model.outcome import MetricValue
from cryorepro.plugins.interfaces import MetricContext
from cryorepro_metrics.context import number


class LabelRecall:
    """Fraction of the labelled particles that were picked, one to one within a distance."""

    def measure(self, context: MetricContext) -> MetricValue:
        """Over all labelled micrographs that the stage picked; precision and the worst micrograph among the details.

        A pair is at most the outcome's ``within_px`` apart: a quarter of the particle's diameter unless given.

        Raises:
            InputError: the stage wrote no picks, the data have no labels, or no micrograph has both.
        """
        return _measured(context, lambda match: match.recall)


class LabelPrecision:
    """Fraction of the picks that people labelled too, as `LabelRecall`."""

    def measure(self, context: MetricContext) -> MetricValue:
        """As `LabelRecall.measure`."""
        return _measured(context, lambda match: match.precision)


def _measured(context: MetricContext, part: Callable[[PickMatch], float]) -> MetricValue:
    found, labels = (_picks(paths, role) for paths, role in (
        (context.artifacts, "coordinates"), (context.data.files, "labels")))  # fmt: skip
    diameter = float(context.data.parameters.get("particle_diameter_angstrom", 0.0))
    limit = number(context, "within_px", diameter / 4.0 / context.data.pixel_size_angstrom)
    matches = match_micrographs(found, labels, limit)
    whole = pooled(matches)
    details: dict[str, Any] = {
        "matched": len(whole.pairs),
        "picked": whole.found,
        "labelled": whole.true,
        "recall": whole.recall,
        "precision": whole.precision,
        "within_px": limit,
        "median_distance_px": float(np.median(whole.distances)) if len(whole.distances) else None,
        "micrographs": len(matches),
        "worst_micrograph": min(part(match) for match in matches.values()),
    }
    return MetricValue(value=part(whole), unit="fraction", details=details)


def match_micrographs(found: PickTable, labels: PickTable, limit_px: float) -> dict[str, PickMatch]:
    """Matches by micrograph (its file's name), of the micrographs that both tables have.

    Raises:
        InputError: there is none.
    """
    marked = {stem_of(name): picks for name, picks in zip(labels.names, labels.picks, strict=True)}
    picked = {stem_of(name): picks for name, picks in zip(found.names, found.picks, strict=True)}
    both = sorted(set(marked) & set(picked))
    if not both:
        raise InputError(f"{found.source.name}: no micrograph with labels was picked")
    return {stem: match_positions(picked[stem].at_px, marked[stem].at_px, limit_px) for stem in both}


def pooled(matches: dict[str, PickMatch]) -> PickMatch:
    """All micrographs as one; rows of pairs count within their micrograph."""
    parts = list(matches.values())
    return PickMatch(
        np.concatenate([match.pairs for match in parts]),
        np.concatenate([match.distances for match in parts]),
        sum(match.found for match in parts),
        sum(match.true for match in parts),
    )


def _picks(paths: Mapping[str, Path], role: str) -> PickTable:
    if role not in paths:
        raise InputError(f"there are no {role} to hold picks against labels")
    return read_picks(paths[role])
