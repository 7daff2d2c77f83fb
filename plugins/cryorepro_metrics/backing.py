"""Whether a half-map resolution rests on signal, and whether the half maps are this run's own."""

from __future__ import annotations

from typing import Any

from cryorepro.em.errors import InputError
from cryorepro.model.outcome import MetricValue
from cryorepro.plugins.interfaces import MetricContext
from cryorepro_metrics.context import both_halves, number, refined_particles

_CONTROLS = 2


class BackedResolution:
    """Last shell to which half maps agree without their spherical averages, beyond what random poses reach."""

    def measure(self, context: MetricContext) -> MetricValue:
        """Shell index, 0 when nothing is backed; the sentence, curves and controls among the details.

        The controls are the run's own particles, halves and symmetry with every orientation drawn at random.

        Raises:
            InputError: half maps or particles are missing or unreadable.
        """
        from cryorepro.em.signal_backing import GOLD_STANDARD, measure_backing, random_pose_control

        half1, half2, pixel_size = both_halves(context)
        run = refined_particles(context)
        box = half1.shape[0]
        if box != run.images.box_px:
            raise InputError(f"half maps of {box} voxels and particles of {run.images.box_px} pixels")
        origin = run.poses.origin_px
        controls = [
            random_pose_control(run.images, origin, run.halves, run.symmetry, seed) for seed in range(_CONTROLS)
        ]
        threshold, order = number(context, "threshold", GOLD_STANDARD), int(run.symmetry.shape[0])
        found = measure_backing(half1, half2, controls, threshold, order)
        sentence = found.sentence(box, pixel_size)
        details: dict[str, Any] = {
            "backed": found.backed,
            "sentence": sentence,
            "nominal_shell": found.nominal_shell,
            "aspherical_shell": found.aspherical_shell,
            "random_pose_shell": found.control_shell,
            "threshold": found.threshold,
            "symmetry_order": found.symmetry_order,
            "aspherical_curve": [round(float(value), 5) for value in found.aspherical],
            "half_map_curve": [round(float(value), 5) for value in found.plain],
            "random_pose_curves": [[round(float(value), 5) for value in curve] for curve in found.controls],
        }
        if not found.backed:
            details["diagnosis"] = [sentence]
        return MetricValue(
            value=float(found.backed_shell),
            unit="shells",
            shell=found.backed_shell,
            box_px=box,
            pixel_size_angstrom=pixel_size,
            details=details,
        )


class HalfSetProvenance:
    """Noise correlation of each half map with the particles of its own half, the weaker of both."""

    def measure(self, context: MetricContext) -> MetricValue:
        """Mean FSC beyond the resolution; all four correlations among the details.

        Raises:
            InputError: the half maps are not those of the particles' halves: swapped, the same twice, sharing
                particles, or another run's; the sentence says which.
        """
        from cryorepro.em.half_provenance import half_provenance

        half1, half2, _ = both_halves(context)
        run = refined_particles(context)
        found = half_provenance((half1, half2), run.images, run.poses, run.halves, run.symmetry)
        if found.fault is not None:
            raise InputError(found.fault)
        own = min(float(found.noise[0, 0]), float(found.noise[1, 1]))
        details = {
            "noise_correlation": [[round(float(value), 4) for value in row] for row in found.noise],
            "half_maps_with_each_other": round(found.between, 4),
            "shells": list(found.shells),
        }
        return MetricValue(value=round(own, 4), unit="correlation", details=details)
