"""How well orientations and shifts are determined, and by how much they changed."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cryorepro.em.estep_model import EstepModel
from cryorepro.em.imageset import ImageSet, Poses
from cryorepro.em.preparation import prepare
from cryorepro.em.refine_schedule import Accuracy, Changes
from cryorepro.em.rotations import euler_to_matrix, symmetric_angle_deg

PARTICLES_USED = 100
_LOG_ODDS = 4.60517
"""An error is noticed when it costs this much log-likelihood: odds of 100 to 1, RELION's choice."""
_PROBE_DEG, _PROBE_PX = 1.0, 0.5
_WORST_DEG, _WORST_PX = 90.0, 50.0


def estimate_accuracy(images: ImageSet, poses: Poses, model: EstepModel, index: Tensor) -> Accuracy:
    """Errors at which a wrong pose of the first class becomes a hundred times less likely than the right one.

    The cost of a small error grows with its square, so one probe each about three axes and along two gives
    the size.  The mean over the particles at ``index`` is returned.
    """
    prepared = prepare(images, poses, index, model.preparation)
    matrices = euler_to_matrix(poses.euler_deg[index]).to(model.device)
    projector, plane = model.projectors[0], model.plane
    scale = model.scale[images.scale_group[index]].float().to(model.device)
    weight = (prepared.ctf * scale[:, None]) ** 2 * prepared.inverse_sigma2 / 2.0
    compared = model.compared
    weight = weight if compared is None else weight * compared
    slices = projector.slices(matrices, plane)
    probes = euler_to_matrix(torch.diag(torch.full((3,), _PROBE_DEG, dtype=torch.float64))).to(model.device)
    turned = [projector.slices(matrices @ probe, plane) for probe in (probes[0], probes[1])]
    turned.append(projector.slices(probes[2] @ matrices, plane))
    rotation = torch.stack([_cost(weight, slices, other) for other in turned])
    ramps = plane.phase_ramps(torch.eye(2, dtype=torch.float64).to(model.device) * _PROBE_PX)
    offset = torch.stack([_cost(weight, slices, slices * ramp) for ramp in ramps])
    return Accuracy(min(_size(rotation, _PROBE_DEG), _WORST_DEG), min(_size(offset, _PROBE_PX), _WORST_PX))


def _cost(weight: Tensor, slices: Tensor, other: Tensor) -> Tensor:
    return (weight * (slices - other).abs().square()).sum(dim=1, dtype=torch.float64)


def _size(cost: Tensor, probe: float) -> float:
    return float((probe * torch.sqrt(_LOG_ODDS / cost.clamp(min=1e-12))).mean())


def assignment_changes(before: Poses, after: Poses, symmetry: Tensor) -> Changes:
    """Mean rotation (symmetry taken into account) and root mean square shift per axis between two states."""
    angle = symmetric_angle_deg(euler_to_matrix(before.euler_deg), euler_to_matrix(after.euler_deg), symmetry).mean()
    offset = (after.origin_px - before.origin_px).square().sum(dim=1).mean() / 2.0
    return Changes(float(angle), math.sqrt(float(offset)))
