"""The smooth local motion: one polynomial fitted to the correlation of all patches in all frames at once.

No peak of a single patch in a single frame is ever looked for. Every round takes the gradient and the curvature of
each patch's score at the present trajectory (a step and its weight), and fits whole-frame shifts and polynomial
together to all steps by weighted least squares, so that patches of little contrast count for little.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryorepro.em.motion.fitting import Targets, fit_trajectory
from cryorepro.em.motion.patches import Patches
from cryorepro.em.motion.scoring import Band, narrowed, own_power, pulls, solve
from cryorepro.em.motion.trajectory import Trajectory

_STAGES = ((8.0, 2), (2.0, 2), (1.0, 3))
"""Factors of the B-factor, and rounds with each: a wide peak first."""
_STEP_PX = 4.0
_DONE_PX = 0.01
_LEAST_PATCHES, _LEAST_FRAMES = 4, 4


def fit_local(patches: Patches, whole: Trajectory, bfactor_px2: float, lowest: float) -> Trajectory:
    """Fit shifts of whole frames and the polynomial, starting from those of ``whole``.

    Args:
        patches: of all frames.
        whole: shifts with which the patches were cut out.
        bfactor_px2: of one frame, in full pixels squared.
        lowest: frequencies below this, in cycles per full pixel, count little.

    Returns:
        ``whole`` itself for a movie of fewer than 4 frames or patches.
    """
    if len(patches.spectra) < _LEAST_PATCHES or whole.frames < _LEAST_FRAMES:
        return whole
    model = whole
    for broader, rounds in _STAGES:
        narrow = [narrowed(spectra, patches.band, bfactor_px2 * broader) for spectra in patches.spectra]
        band = narrow[0][1]
        weight = band.weight(bfactor_px2 * broader, lowest)
        spectra = [(part, own_power(part)) for part, _ in narrow]
        for _ in range(rounds):
            before = _at(model, patches)
            model = fit_trajectory(_targets(spectra, patches, before, weight, band, model), model)
            if float(np.abs(_at(model, patches) - before).max()) < _DONE_PX:
                break
    return model


def _at(model: Trajectory, patches: Patches) -> NDArray[np.float64]:
    """Shifts ``[patches, frames, 2]`` at the patches' middles."""
    centres = patches.centres_px.numpy()
    return np.moveaxis(model.at(centres[:, 0], centres[:, 1]), 2, 0)


def _targets(
    spectra: list[tuple[Tensor, Tensor]],
    patches: Patches,
    before: NDArray[np.float64],
    weight: Tensor,
    band: Band,
    model: Trajectory,
) -> Targets:
    wanted, roots = before.copy(), np.zeros((len(spectra), 2, 2))
    for number, (part, power) in enumerate(spectra):
        present = torch.from_numpy(before[number]) - patches.taken_px[number]
        gradient, curvature = pulls(part, power, present, weight, band)
        values, vectors = torch.linalg.eigh(curvature)
        if float(values[0]) <= 0:
            continue
        wanted[number] += solve(gradient, curvature, _STEP_PX).numpy()
        roots[number] = (vectors * values.sqrt() @ vectors.T).numpy()
    centres = patches.centres_px.numpy()
    return Targets(wanted, roots, centres[:, 0] / model.width_px - 0.5, centres[:, 1] / model.height_px - 0.5)
