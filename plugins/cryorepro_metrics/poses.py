"""How far found orientations and shifts are from the true ones."""

from __future__ import annotations

import numpy as np

from cryorepro.model.outcome import MetricValue
from cryorepro.plugins.interfaces import MetricContext
from cryorepro_metrics.assignments import pair

CLOSE_DEGREES = 15.0


class PoseError:
    """Median angle of the rotation between found and true orientation, under the stage's symmetry."""

    def measure(self, context: MetricContext) -> MetricValue:
        """Median in degrees; the fraction within 15 degrees and the median shift error among the details.

        Raises:
            InputError: found and true particles are not the same images.
        """
        import torch

        from cryorepro.em.rotations import euler_to_matrix, symmetric_angle_deg
        from cryorepro.em.symmetry import symmetry_matrices

        pairing = pair(context.artifacts["particles"], context.truth["particles"])
        operators = torch.as_tensor(symmetry_matrices(context.stage_parameters.get("symmetry", "C1")))
        found, true = (
            euler_to_matrix(torch.as_tensor(table.angles_degrees)) for table in (pairing.found, pairing.true)
        )
        angles = symmetric_angle_deg(found, true, operators.to(found.dtype)).numpy()
        shifts = np.linalg.norm(pairing.found.origins_angstrom - pairing.true.origins_angstrom, axis=1)
        details = {
            f"within_{CLOSE_DEGREES:g}_degrees": float((angles < CLOSE_DEGREES).mean()),
            "median_shift_error_angstrom": float(np.median(shifts)),
        }
        return MetricValue(value=float(np.median(angles)), unit="degrees", details=details)
