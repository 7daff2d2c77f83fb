"""One refined map held against the map it should show: a twin's true one."""

from __future__ import annotations

from typing import Any

from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import read_map
from cryorepro.em.fsc import crossing
from cryorepro.em.map_comparison import compare_maps, mean_fsc
from cryorepro.em.map_diagnosis import diagnose_map, sentences
from cryorepro.model.outcome import MetricValue
from cryorepro.plugins.interfaces import MetricContext
from cryorepro_metrics.context import number, symmetry_of
from cryorepro_metrics.half_maps import read_artifact, shell_value

_AGREES = 0.9


class RefinedMapTruth:
    """Last shell before the FSC of the map with the true one falls below a threshold (0.5 unless given)."""

    def measure(self, context: MetricContext) -> MetricValue:
        """Shell index; correlation, local difference and, where they part early, why, among the details.

        A map that does not agree as it lies is turned and shifted onto the truth, but never mirrored or magnified:
        where that, or another symmetry, would explain it, that is told instead.

        Raises:
            InputError: a map is missing or unreadable, or they differ in size or pixel size.
        """
        volume, pixel_size = read_artifact(context, "map")
        if "map" not in context.truth:
            raise InputError("the twin's truth holds no map")
        true, true_pixel = read_map(context.truth["map"])
        if abs(pixel_size / true_pixel - 1.0) > 1e-4:
            raise InputError(
                f"wrong pixel size: the map's header states {pixel_size:.4g} A, the truth's {true_pixel:.4g} A"
            )
        mask = read_map(context.data.files["mask"])[0] if "mask" in context.data.files else None
        expected = str(context.data.parameters.get("symmetry", symmetry_of(context)))
        agrees = mean_fsc(true, volume) >= _AGREES
        findings = [] if agrees else diagnose_map(volume, true, true_pixel, expected)
        found = compare_maps(true, volume, true_pixel, mask, expected, align=False if findings else None)
        threshold = number(context, "threshold", 0.5)
        value = shell_value(found.masked_curve, threshold, true.shape[0], true_pixel)
        details: dict[str, Any] = {
            **value.details,
            "shell_at_0.143": crossing(found.masked_curve, 0.143).shell,
            "correlation": round(found.correlation, 5),
            "difference_rms": round(found.difference.rms, 5),
            "largest_difference_at_px": list(found.difference.largest_at_px),
            "local_correlation_quantiles": found.difference.correlation_quantiles,
        }
        if findings:
            details["diagnosis"] = sentences(findings)
        return value.model_copy(update={"details": details})
