"""How evenly views fill Fourier space, and how far resolution depends on direction."""

from __future__ import annotations

import numpy as np

from cryorepro.em.blobs import euler_matrices
from cryorepro.em.directional_fsc import directional_fsc
from cryorepro.em.errors import InputError
from cryorepro.em.formats.particles import read_particles
from cryorepro.em.fsc import shell_to_angstrom
from cryorepro.em.orientation_sampling import view_sampling
from cryorepro.em.symmetry import symmetry_matrices
from cryorepro.model.outcome import MetricValue
from cryorepro.plugins.interfaces import MetricContext
from cryorepro_metrics.context import both_halves, number, symmetry_of


class ConicalFscRatio:
    """Smallest over largest area under the FSC in cones of 20 degrees about 128 directions."""

    def measure(self, context: MetricContext) -> MetricValue:
        """Ratio; the range of shells, the worst direction and the mean curve among the details.

        Raises:
            InputError: a half map is missing, unreadable or of another size, or a parameter is no cone.
        """
        half1, half2, pixel_size = both_halves(context)
        count, angle = int(number(context, "directions", 128)), number(context, "half_angle_degrees", 20.0)
        found = directional_fsc(half1, half2, count, angle)
        box = half1.shape[0]
        shells = found.shells
        worst = found.directions[int(found.areas.argmin())]
        details = {
            "half_angle_degrees": angle,
            "areas_lowest_highest": [round(float(found.areas.min()), 6), round(float(found.areas.max()), 6)],
            "shells_lowest_median_highest": [int(np.quantile(shells, q, method="nearest")) for q in (0, 0.5, 1)],
            "worst_angstrom": shell_to_angstrom(max(1, int(shells.min())), box, pixel_size),
            "worst_direction_xyz": [round(float(value), 4) for value in worst],
            "curve_lowest": [round(float(value), 4) for value in found.curves.min(axis=0)],
            "curve_mean": [round(float(value), 4) for value in found.curves.mean(axis=0)],
            "curve_highest": [round(float(value), 4) for value in found.curves.max(axis=0)],
        }
        return MetricValue(value=round(found.area_ratio, 5), unit="ratio", details=details)


class OrientationSampling:
    """Sampling compensation factor of the views found: 1 when they are even, 0 when a direction has none."""

    def measure(self, context: MetricContext) -> MetricValue:
        """Factor; its least and greatest sampling and the unsampled fraction among the details.

        Raises:
            InputError: the stage wrote no table of particles.
        """
        path = context.artifacts.get("particles")
        if path is None:
            raise InputError("the stage wrote no table of particles")
        angles = read_particles(path, require_ctf=False).angles_degrees
        found = view_sampling(euler_matrices(angles), symmetry_matrices(symmetry_of(context)))
        details = {
            "unsampled_fraction": found.unsampled_fraction,
            "lowest_relative_sampling": round(float(found.relative.min()), 4),
            "highest_relative_sampling": round(float(found.relative.max()), 4),
        }
        return MetricValue(value=round(found.compensation_factor, 5), unit="fraction", details=details)
