"""The CTF of whole micrographs held against a twin's truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.errors import InputError
from cryorepro.em.formats.star import StarBlock
from cryorepro.model.outcome import MetricValue
from cryorepro.plugins.interfaces import MetricContext
from cryorepro_metrics.context import number
from cryorepro_metrics.movie_truth import stage_table, stem_of, truth_table

Floats = NDArray[np.float64]
_STRONG_ANGSTROM = 200.0


@dataclass(frozen=True)
class MicrographPairs:
    """Defocus (u, v in Angstrom, angle in degrees) found and true, [n, 3] each, of the micrographs both list."""

    stems: list[str]
    found: Floats
    true: Floats
    true_micrographs: int


def pair_micrographs(context: MetricContext) -> MicrographPairs:
    """Pair by name.

    Raises:
        InputError: a table is missing or malformed, or a micrograph found is not in the truth.
    """
    found, true = stage_table(context, "micrographs", "micrographs"), truth_table(context, "defocus")
    places = {stem_of(name): row for row, name in enumerate(true.text("rlnMicrographName"))}
    stems = [stem_of(name) for name in found.text("rlnMicrographName")]
    strange = [stem for stem in stems if stem not in places]
    if strange or not stems:
        raise InputError(f"{strange[0] if strange else 'no micrograph'}: not in the truth")
    return MicrographPairs(stems, _defocus(found), _defocus(true)[[places[stem] for stem in stems]], len(places))


def _defocus(table: StarBlock) -> Floats:
    return np.stack([table.numbers(f"rlnDefocus{part}") for part in ("U", "V", "Angle")], axis=1)


def micrograph_defocus_error(context: MetricContext) -> MetricValue:
    """Median absolute error of the mean defocus of micrographs in Angstrom; the worst among the details."""
    pairs = pair_micrographs(context)
    signed = pairs.found[:, :2].mean(axis=1) - pairs.true[:, :2].mean(axis=1)
    astigmatism = np.diff(pairs.true[:, :2], axis=1)[:, 0] - np.diff(pairs.found[:, :2], axis=1)[:, 0]
    worst = int(np.abs(signed).argmax())
    details: dict[str, Any] = {
        "micrographs": len(pairs.stems),
        "true_micrographs": pairs.true_micrographs,
        "median_signed_angstrom": round(float(np.median(signed)), 1),
        "median_astigmatism_error_angstrom": round(float(np.median(np.abs(astigmatism))), 1),
        "worst_micrograph": pairs.stems[worst],
        "worst_angstrom": round(float(signed[worst]), 1),
    }
    if "local_defocus" in context.artifacts:
        details |= _planes(context)
    return MetricValue(value=round(float(np.median(np.abs(signed))), 2), unit="angstrom", details=details)


def _planes(context: MetricContext) -> dict[str, float]:
    """Median distance of found and true gradients, and the median length of the true ones, Angstrom per 1,000 px."""
    found, true = stage_table(context, "local_defocus", "local_defocus"), truth_table(context, "defocus")
    places = {stem_of(name): row for row, name in enumerate(true.text("rlnMicrographName"))}
    rows = [places[stem_of(name)] for name in found.text("rlnMicrographName")]
    if not rows:
        return {}
    labels = ("cryoreproDefocusGradientX", "cryoreproDefocusGradientY")
    ours, theirs = (np.stack([table.numbers(label) for label in labels], axis=1) for table in (found, true))
    return {
        "median_gradient_error_per_1000_px": round(
            1000.0 * float(np.median(np.linalg.norm(ours - theirs[rows], axis=1))), 1
        ),
        "median_gradient_per_1000_px": round(1000.0 * float(np.median(np.linalg.norm(theirs[rows], axis=1))), 1),
    }


class AstigmatismAngleError:
    """Median error of the direction of astigmatism where there is enough of it to have one."""

    def measure(self, context: MetricContext) -> MetricValue:
        """In degrees, at most 90, over micrographs whose true astigmatism exceeds ``above_angstrom`` (200).

        Raises:
            InputError: a table is missing or malformed, or no micrograph is that astigmatic.
        """
        pairs = pair_micrographs(context)
        limit = number(context, "above_angstrom", _STRONG_ANGSTROM)
        strong = pairs.true[:, 0] - pairs.true[:, 1] > limit
        if not strong.any():
            raise InputError(f"no micrograph has an astigmatism above {limit:g} A")
        turned = (pairs.found[strong, 2] - pairs.true[strong, 2] + 90.0) % 180.0 - 90.0
        errors = np.abs(turned)
        details = {"micrographs": int(strong.sum()), "worst_degrees": round(float(errors.max()), 2)}
        return MetricValue(value=round(float(np.median(errors)), 3), unit="degrees", details=details)
