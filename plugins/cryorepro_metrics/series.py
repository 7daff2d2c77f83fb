"""How resolution grows with the number of particles."""

from __future__ import annotations

import math

from cryorepro.em.errors import InputError
from cryorepro.model.outcome import MetricValue
from cryorepro.plugins.interfaces import MetricContext
from cryorepro_metrics.context import number, refined_particles


class ParticleBFactor:
    """B-factor of the line through ln N and 1 / d^2 over subsets of the particles, at the poses found."""

    def measure(self, context: MetricContext) -> MetricValue:
        """B-factor in Angstrom squared; its error, the ResLog line and the points among the details.

        Poses are not refined again for each subset: the figure is a lower bound.

        Raises:
            InputError: particles or images are missing, or resolution does not grow with particles.
        """
        from cryorepro.em.reslog import fit_series, subset_sizes
        from cryorepro.em.subset_series import subset_resolutions

        run = refined_particles(context)
        count = len(run.images)
        subsets, part = int(number(context, "subsets", 4)), number(context, "smallest_fraction", 0.125)
        sizes = subset_sizes(count, max(2, round(part * count)), subsets)
        seed = int(number(context, "seed", 0))
        points = subset_resolutions(run.images, run.poses, run.halves, run.symmetry, sizes, seed)
        series = fit_series(points)
        if not math.isfinite(series.bfactor_angstrom2):
            shown = ", ".join(f"{point.particles}: {point.angstrom:.2f} A" for point in points)
            raise InputError(f"B-factor: resolution does not grow with the number of particles ({shown})")
        details = {
            "error_angstrom2": series.bfactor_error_angstrom2,
            "reslog_slope_per_angstrom": series.reslog_slope_per_angstrom,
            "reslog_intercept_per_angstrom": series.reslog_intercept_per_angstrom,
            "points": [{"particles": p.particles, "angstrom": round(p.angstrom, 6), "shell": p.shell} for p in points],
        }
        return MetricValue(value=round(series.bfactor_angstrom2, 3), unit="angstrom2", details=details)
