"""Outcomes that can be measured from RELION-style files."""

from __future__ import annotations

from collections.abc import Iterable

from cryorepro.plugins.hookspecs import hookimpl
from cryorepro.plugins.types import Metric

CRYOREPRO_API = "1"

_Row = tuple[str, str, str, str]
"""Name, summary, module and class, unit."""

_FROM_RESULTS: tuple[_Row, ...] = (
    ("class3d_resolution", "Last shell with signal over noise above 1", "resolution:Class3DResolution", "shells"),
    ("class_occupancy", "Fraction of particles in the largest class", "classes:ClassOccupancy", "fraction"),
    ("half_map_fsc", "Shell where two half maps part", "half_maps:HalfMapFsc", "shells"),
    ("masked_half_map_fsc", "The same under the dataset's mask, corrected", "masked:MaskedHalfMapFsc", "shells"),
    ("backed_resolution", "Shell to which signal backs the half maps", "backing:BackedResolution", "shells"),
    ("half_set_provenance", "Half maps hold their own noise", "backing:HalfSetProvenance", "correlation"),
    ("map_model_fsc", "Shell where the map and the atomic model part", "map_model:MapModelFsc", "shells"),
    ("postprocess_resolution", "Shell of the mask-corrected FSC at 0.143", "half_maps:PostprocessResolution", "shells"),
    ("conical_fsc_ratio", "Least over greatest FSC area in cones (cFAR)", "directions:ConicalFscRatio", "ratio"),
    ("orientation_sampling", "How evenly views fill Fourier space", "directions:OrientationSampling", "fraction"),
    ("particle_bfactor", "B-factor over subsets of the particles", "series:ParticleBFactor", "angstrom2"),
    ("label_recall", "Fraction of people's labels that were picked", "labels:LabelRecall", "fraction"),
    ("label_precision", "Fraction of picks that people labelled too", "labels:LabelPrecision", "fraction"),
    ("local_resolution", "Quantile of the local resolution", "local:LocalResolutionQuantile", "shells"),
)
_AGAINST_TRUTH: tuple[_Row, ...] = (
    ("class_accuracy", "Fraction of particles in their true class", "classes:ClassAccuracy", "fraction"),
    ("adjusted_rand", "Adjusted Rand index of found and true classes", "against_truth:AdjustedRand", "index"),
    ("class_view_angle", "Median angle of views to their 2D class's mean", "views:ClassViewAngle", "degrees"),
    ("pose_error", "Median angle between found and true orientations", "poses:PoseError", "degrees"),
    ("shift_error", "Median distance of found and true centres", "against_truth:ShiftError", "angstrom"),
    ("defocus_error", "Median error of the defocus", "against_truth:DefocusError", "angstrom"),
    ("map_truth_fsc", "Mean shell where class maps and true maps part", "class_maps:MapTruthFsc", "shells"),
    ("refined_map_truth", "Shell where refined and true map part", "map_truth:RefinedMapTruth", "shells"),
    ("pick_f1", "F1 of picked against true positions", "against_truth:PickF1", "fraction"),
    ("residual_motion", "RMS motion left in corrected movies", "motion_truth:ResidualMotion", "px"),
    ("astigmatism_angle_error", "Median error of its direction", "micrograph_truth:AstigmatismAngleError", "degrees"),
    ("pick_recall", "Share of true particles that were picked", "picks:PickRecall", "fraction"),
    ("pick_precision", "Share of picks that are true particles", "picks:PickPrecision", "fraction"),
    ("matched_pose_error", "Median pose error of picked particles", "matched_poses:MatchedPoseError", "degrees"),
    ("aligned_map_truth", "Shell where map and truth part, any hand", "aligned_map:AlignedMapTruth", "shells"),
    ("motion_error", "RMS distance of found and true trajectories", "against_truth:MotionError", "angstrom"),
)


@hookimpl
def cryorepro_metrics() -> Iterable[Metric]:
    """Quantities of a run's own results, and of a twin's results against its truth."""
    for rows, needs_truth in ((_FROM_RESULTS, False), (_AGAINST_TRUTH, True)):
        for name, summary, place, unit in rows:
            yield Metric(name, summary, f"cryorepro_metrics.{place}", unit=unit, needs_truth=needs_truth)
