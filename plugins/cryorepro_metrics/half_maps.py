"""Resolution from two half maps: their FSC, and what post-processing reports."""

from __future__ import annotations

import math

import numpy as np

from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import read_map
from cryorepro.em.formats.mrc import read_mrc_header
from cryorepro.em.formats.star import StarBlock, read_star
from cryorepro.em.fsc import Curve, crossing, fsc_curve, shell_to_angstrom
from cryorepro.em.postprocess import mask_fraction
from cryorepro.model.outcome import MetricValue
from cryorepro.plugins.interfaces import MetricContext
from cryorepro_metrics.context import both_halves

GOLD_STANDARD = 0.143
_SAME_MASK = 0.005
_MAP_ROLES = ("map", "masked", "half1", "class001")


class HalfMapFsc:
    """Last shell before the FSC of the two half maps falls below a threshold (0.143 unless given)."""

    def measure(self, context: MetricContext) -> MetricValue:
        """Shell index; the curve, the interpolated crossing in Angstrom and the mask among the details.

        No mask is laid over the halves: what a mask adds is for post-processing to add and to correct for.

        Raises:
            InputError: a half map is missing, unreadable or of another size, or both are the same map.
        """
        first, second, pixel_size = both_halves(context)
        curve = fsc_curve(first, second)
        threshold = float(context.parameters.get("threshold", GOLD_STANDARD))
        value = shell_value(curve, threshold, first.shape[0], pixel_size)
        return value.model_copy(update={"details": {**value.details, "shell_at_0.5": crossing(curve, 0.5).shell}})


class PostprocessResolution:
    """Shell of the mask-corrected FSC at 0.143, read from ``postprocess.star`` and checked against its
    curve."""

    def measure(self, context: MetricContext) -> MetricValue:
        """Shell index; the B-factor and the figure in Angstrom among the details.

        With the outcome's ``mask_role`` the mask laid over the maps must be the dataset's of that role, told by the
        fraction of the box that it takes.

        Raises:
            InputError: the table is missing or malformed, its resolution and its curve disagree, or it was made with
                another mask.
        """
        path = context.artifacts.get("star")
        if path is None:
            raise InputError("the stage wrote no postprocess.star")
        blocks = read_star(path)
        if "general" not in blocks or "fsc" not in blocks:
            raise InputError(f"{path}: tables data_general and data_fsc are needed")
        angstrom = float(blocks["general"].numbers("rlnFinalResolution")[0])
        curve = blocks["fsc"].numbers("rlnFourierShellCorrelationCorrected")
        box, pixel_size = map_scale(context)
        if len(curve) != box // 2 + 1 or not math.isfinite(angstrom) or angstrom <= 0:
            raise InputError(f"{path}: {len(curve)} shells and {angstrom:g} A do not fit a box of {box} px")
        found = crossing(curve, GOLD_STANDARD)
        if abs(box * pixel_size / angstrom - found.shell) > 1.0:
            raise InputError(f"{path}: rlnFinalResolution {angstrom:g} A is not where its curve meets 0.143")
        _check_mask(context, blocks["general"])
        details = {"bfactor_angstrom2": float(blocks["general"].numbers("rlnBfactorUsedForSharpening")[0])}
        return shell_value(curve, GOLD_STANDARD, box, pixel_size, details)


def _check_mask(context: MetricContext, general: StarBlock) -> None:
    role = context.parameters.get("mask_role")
    if role is None:
        return
    if role not in context.data.files:
        raise InputError(f"the dataset gives no {role} to hold the mask used against")
    if "rlnParticleBoxFractionSolventMask" not in general.columns:
        raise InputError(f"changed mask: {general.source} was made without a mask, the dataset's {role} is declared")
    declared = mask_fraction(read_map(context.data.files[str(role)])[0])
    used = float(general.numbers("rlnParticleBoxFractionSolventMask")[0])
    if abs(used / declared - 1.0) > _SAME_MASK:
        raise InputError(
            f"changed mask: the mask laid over the half maps has {declared / used:.2f} times the volume of the"
            f" dataset's {role}; a resolution under another mask is another quantity"
        )


def read_artifact(context: MetricContext, role: str) -> tuple[np.ndarray, float]:
    """A map among the artifacts with its pixel size.  Raises InputError if the stage did not write it."""
    if role not in context.artifacts:
        raise InputError(f"the stage wrote no {role}")
    return read_map(context.artifacts[role])


def map_scale(context: MetricContext) -> tuple[int, float]:
    """Box in pixels and pixel size in Angstrom of the stage's maps, by the header of the first; else the data's.

    Raises:
        InputError: the stage wrote no map, and the data are movies or micrographs.
    """
    for role in _MAP_ROLES:
        if role in context.artifacts:
            header = read_mrc_header(context.artifacts[role])
            # a header holds single precision
            return header.shape[2], round(header.voxel_size_angstrom[2], 5)
    if context.data.box_px is None:
        raise InputError("the stage wrote no map")
    return context.data.box_px, context.data.pixel_size_angstrom


def shell_value(
    curve: Curve,
    threshold: float,
    box_px: int,
    pixel_size_angstrom: float,
    details: dict[str, float] | None = None,
) -> MetricValue:
    """Where ``curve`` crosses ``threshold``, as an outcome in shells with its curve among the details."""
    found = crossing(curve, threshold)
    angstrom = shell_to_angstrom(max(found.shell, 0), box_px, pixel_size_angstrom)
    shown = found.interpolated_angstrom(box_px, pixel_size_angstrom)
    return MetricValue(
        value=float(found.shell),
        unit="shells",
        shell=found.shell,
        box_px=box_px,
        pixel_size_angstrom=pixel_size_angstrom,
        details={
            **(details or {}),
            "threshold": threshold,
            "crossed": found.crossed,
            "angstrom": angstrom if math.isfinite(angstrom) else None,
            "interpolated_angstrom": shown if math.isfinite(shown) else None,
            "curve": [round(float(value), 5) for value in curve],
        },
    )
