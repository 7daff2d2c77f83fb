"""How far found orientations and shifts are from the true ones."""

from __future__ import annotations

import numpy as np

from cryorepro.model.outcome import MetricValue
from cryorepro.plugins.interfaces import MetricContext
from cryorepro_metrics.assignments import pair
from cryorepro_metrics.frames import fit_frames, shift_errors_angstrom, true_orientations

CLOSE_DEGREES = 15.0


class PoseError:
    """Median angle between found and true orientation, in each class's own frame, under the stage's symmetry."""

    def measure(self, context: MetricContext) -> MetricValue:
        """Median in degrees; the fraction within 15 degrees, shift errors and frames among the details.

        Raises:
            InputError: found and true particles are not the same images.
        """
        import torch

        from cryorepro.em.rotations import symmetric_angle_deg
        from cryorepro.em.symmetry import symmetry_matrices

        pairing = pair(context.artifacts["particles"], context.truth["particles"])
        group = symmetry_matrices(context.stage_parameters.get("symmetry", "C1"))
        framed = fit_frames(pairing, group)
        operators = torch.as_tensor(group)
        true = torch.as_tensor(true_orientations(framed, pairing.found.column("rlnClassNumber")))
        angles = symmetric_angle_deg(torch.as_tensor(framed.found), true, operators.to(true.dtype)).numpy()
        frames = {f"class{k:03d}": round(frame.angle_degrees, 3) for k, frame in sorted(framed.frames.items())}
        details = {
            f"within_{CLOSE_DEGREES:g}_degrees": float((angles < CLOSE_DEGREES).mean()),
            "median_shift_error_angstrom": float(np.median(shift_errors_angstrom(pairing, framed))),
            "frame_rotation_degrees": frames,
        }
        return MetricValue(value=float(np.median(angles)), unit="degrees", details=details)
