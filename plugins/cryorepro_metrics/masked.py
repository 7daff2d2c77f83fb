"""Half-map resolution under the dataset's own mask, corrected for what the mask adds."""

from __future__ import annotations

from typing import Any

from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import read_map
from cryorepro.em.fsc import crossing, masked_fsc
from cryorepro.em.streams import random_stream
from cryorepro.model.outcome import MetricValue
from cryorepro.plugins.interfaces import MetricContext
from cryorepro_metrics.context import both_halves, number
from cryorepro_metrics.half_maps import GOLD_STANDARD, shell_value

_SEED = 0


class MaskedHalfMapFsc:
    """Last shell before the mask-corrected FSC of two half maps falls below a threshold (0.143 unless given)."""

    def measure(self, context: MetricContext) -> MetricValue:
        """Shell index; all four curves, each with its shells at 0.143 and 0.5, among the details.

        The mask is the dataset's (role ``mask``, or the outcome's ``mask_role``): one and the same for every runner.

        Raises:
            InputError: half maps or mask are missing, or of another size.
        """
        half1, half2, pixel_size = both_halves(context)
        role = str(context.parameters.get("mask_role", "mask"))
        if role not in context.data.files:
            raise InputError(f"the dataset gives no {role} to lay over the half maps")
        mask, _ = read_map(context.data.files[role])
        found = masked_fsc(half1, half2, mask, random_stream(_SEED, "phase-randomisation"))
        threshold = number(context, "threshold", GOLD_STANDARD)
        value = shell_value(found.corrected, threshold, half1.shape[0], pixel_size)
        curves = {name: getattr(found, name) for name in ("unmasked", "masked", "randomised", "corrected")}
        details: dict[str, Any] = {
            **value.details,
            **{
                f"{name}_curve": [round(float(point), 5) for point in curve]
                for name, curve in curves.items()
                if name != "corrected"  # that one is "curve", from which the value follows
            },
            "shells": {
                name: {f"{level:g}": crossing(curve, level).shell for level in (0.143, 0.5)}
                for name, curve in curves.items()
            },
            "randomised_from_shell": found.randomised_from_shell,
        }
        return value.model_copy(update={"details": details})
