"""A metric: one number with its unit, measured from artifacts that the run wrote."""

from __future__ import annotations

from cryorepro.em.formats.maps import read_map
from cryorepro.model.outcome import MetricValue
from cryorepro.plugins.interfaces import MetricContext


class Voxels:
    """Voxels of a mask that are 1."""

    def measure(self, context: MetricContext) -> MetricValue:
        """Count them. An InputError raised here makes the outcome ``unverifiable``."""
        mask, _ = read_map(context.artifacts["mask"])
        return MetricValue(value=float((mask > 0.5).sum()), unit="voxels", box_px=mask.shape[0])
