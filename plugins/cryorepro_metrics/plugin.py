"""Outcomes that can be measured from RELION-style files."""

from __future__ import annotations

from collections.abc import Iterable

from cryorepro.plugins.hookspecs import hookimpl
from cryorepro.plugins.types import Metric

CRYOREPRO_API = "1"


@hookimpl
def cryorepro_metrics() -> Iterable[Metric]:
    """Classification against published figures and against a twin's truth; maps against halves and model."""
    home = "cryorepro_metrics"
    yield Metric(
        "class3d_resolution",
        "Last shell with signal over noise above 1",
        f"{home}.resolution:Class3DResolution",
        unit="shells",
    )
    yield Metric(
        "class_occupancy",
        "Fraction of particles in the largest class",
        f"{home}.classes:ClassOccupancy",
        unit="fraction",
    )
    yield Metric(
        "class_accuracy",
        "Fraction of particles in their true class",
        f"{home}.classes:ClassAccuracy",
        unit="fraction",
        needs_truth=True,
    )
    yield Metric(
        "pose_error",
        "Median angle between found and true orientations",
        f"{home}.poses:PoseError",
        unit="degrees",
        needs_truth=True,
    )
    yield Metric(
        "map_truth_fsc",
        "Mean shell where class maps and true maps part",
        f"{home}.class_maps:MapTruthFsc",
        unit="shells",
        needs_truth=True,
    )
    yield Metric("half_map_fsc", "Shell where two half maps part", f"{home}.half_maps:HalfMapFsc", unit="shells")
    yield Metric(
        "map_model_fsc",
        "Shell where the map and the atomic model part",
        f"{home}.map_model:MapModelFsc",
        unit="shells",
    )
    yield Metric(
        "postprocess_resolution",
        "Shell of the mask-corrected FSC at 0.143",
        f"{home}.half_maps:PostprocessResolution",
        unit="shells",
    )
