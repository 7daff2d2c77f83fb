"""Class maps held against a twin's true maps, each in the frame its class ended up in."""

from __future__ import annotations

import numpy as np

from cryorepro.em.align import transform_map
from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import read_map
from cryorepro.em.fsc import crossing, fsc_curve
from cryorepro.model.outcome import MetricValue
from cryorepro.plugins.interfaces import MetricContext
from cryorepro_metrics.assignments import pair
from cryorepro_metrics.frames import fit_frames
from cryorepro_metrics.half_maps import map_scale

THRESHOLD = 0.5


class MapTruthFsc:
    """Mean over classes of the last shell before the FSC with the true map falls below 0.5."""

    def measure(self, context: MetricContext) -> MetricValue:
        """Mean shell over the matched classes; shells and curves of each among the details.

        Raises:
            InputError: a class map is missing, or has another size than the truth.
        """
        pairing = pair(context.artifacts["particles"], context.truth["particles"])
        frames = fit_frames(pairing).frames
        box, pixel = map_scale(context)
        shells: dict[str, int] = {}
        curves: dict[str, list[float]] = {}
        for found, true in sorted(pairing.true_of_found.items()):
            role, target = f"class{found:03d}", f"class{true:03d}"
            if role not in context.artifacts or target not in context.truth:
                raise InputError(f"map {role} (true {target}) is missing")
            first, _ = read_map(context.artifacts[role])
            second, _ = read_map(context.truth[target])
            frame = frames[found]
            # V_found(v) = V_true(G v + u): the true map, turned by G^T and moved by -G^T u.
            turned = frame.rotation.T
            shift_px = -turned @ frame.shift_angstrom / pixel
            moved = transform_map(second.astype(np.float64), turned, shift_px)
            curve = fsc_curve(first.astype(np.float64), moved)
            shells[role] = crossing(curve, THRESHOLD).shell
            curves[role] = [round(float(value), 5) for value in curve]
        mean = float(np.mean(list(shells.values())))
        return MetricValue(
            value=round(mean, 3),
            unit="shells",
            shell=round(mean),
            box_px=box,
            pixel_size_angstrom=pixel,
            details={"shells": shells, "curves": curves},
        )
