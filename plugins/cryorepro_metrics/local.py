"""Quantiles of a local resolution inside the mask."""

from __future__ import annotations

import numpy as np

from cryorepro.em.errors import InputError
from cryorepro.em.formats.locres_products import QUANTILES
from cryorepro.em.formats.maps import read_map
from cryorepro.model.outcome import MetricValue
from cryorepro.plugins.interfaces import MetricContext
from cryorepro_metrics.context import number
from cryorepro_metrics.half_maps import read_artifact


class LocalResolutionQuantile:
    """A quantile (the median unless given) of the local resolution inside the mask."""

    def measure(self, context: MetricContext) -> MetricValue:
        """In Fourier shells of the box, as every resolution; the quantiles in Angstrom among the details.

        Raises:
            InputError: the stage wrote no local resolution, the mask has another size, or no voxel has one.
        """
        values, pixel_size = read_artifact(context, "local_resolution")
        inside = values > 0
        if "mask" in context.data.files:
            mask, _ = read_map(context.data.files["mask"])
            if mask.shape != values.shape:
                raise InputError(f"a local resolution of {values.shape} and a mask of {mask.shape} voxels")
            inside &= mask > 0.5
        if not inside.any():
            raise InputError("no voxel inside the mask has a local resolution")
        level = number(context, "quantile", 0.5)
        if not 0.0 <= level <= 1.0:
            raise InputError(f"metric parameter quantile: {level} is not between 0 and 1")
        box = values.shape[0]
        angstrom = values[inside].astype(np.float64)
        shell = box * pixel_size / float(np.quantile(angstrom, level))
        return MetricValue(
            value=round(shell, 3),
            unit="shells",
            shell=round(shell),
            box_px=box,
            pixel_size_angstrom=pixel_size,
            details={
                "quantiles_angstrom": {f"{q:g}": float(np.quantile(angstrom, q)) for q in sorted({*QUANTILES, level})},
                "quantile": level,
            },
        )
